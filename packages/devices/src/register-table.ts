/** One register as its device implements it. The device takes its masks and reset values from here, `specs/` its rows. */
export interface Register {
  /** The name that the data sheet uses. */
  readonly name: string;
  /** Where it is reached: port or offset, with the selecting condition if several registers share it. */
  readonly at: string;
  readonly access: "rw" | "ro" | "wo";
  /** Value after power-on. */
  readonly reset: number;
  /** Bits that keep what the guest writes; the others read as the device says. */
  readonly writable: number;
  /** What the bits mean, in the data sheet's abbreviations. */
  readonly bits: string;
  /** Why it is as it is: the clause, or the software that depends on it. */
  readonly why: string;
}

const byteHex = (value: number): string => `0x${value.toString(16).padStart(2, "0")}`;

/** The table as Markdown lines, without a heading row; `specs/` must hold each line as it is. */
export function registerLines(registers: Readonly<Record<string, Register>>): string[] {
  return Object.values(registers).map(
    (register) =>
      `| ${register.at} | ${register.name} | ${register.access} | ${byteHex(register.reset)} | ` +
      `${byteHex(register.writable)} | ${register.bits} | ${register.why} |`,
  );
}

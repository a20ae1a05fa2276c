/** Where PCs have the TPM in guest physical memory: five pages, one per locality (PTP 1.05). */
export const tpmBase = 0xfed4_0000;
export const localityShift = 12;
export const localityLength: number = 1 << localityShift;
export const tpmLength: number = 5 * localityLength;

/** A register of a locality's page. Wider ones have a row per dword. */
export interface InterfaceRegister {
  /** The specification's name, without the TPM_ in front and the locality behind. */
  readonly name: string;
  /** Offset in the page. */
  readonly at: number;
  readonly access: "rw" | "ro" | "wo";
  /** Value after a reset. */
  readonly reset: number;
  /** Bits that keep what is written; others act, or read as the device says. */
  readonly writable: number;
  readonly bits: string;
  /** The rule of the PC Client Platform TPM Profile 1.05 under the register's name, or the software that depends on it. */
  readonly why: string;
}

/** The table as Markdown lines, without a heading row. */
export function interfaceRegisterLines(registers: Readonly<Record<string, InterfaceRegister>>): string[] {
  const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, "0")}`;
  return Object.values(registers).map(
    ({ name, at, access, reset, writable, bits, why }) =>
      `| ${hex(at, 3)} | ${name} | ${access} | ${hex(reset, 2)} | ${hex(writable, 2)} | ${bits} | ${why} |`,
  );
}

/** Who made the TPM, as its registers say. */
export interface InterfaceIdentity {
  /** 16 bits: as the virtual TPMs that drivers know have it; TCG has given out none for this one. */
  readonly vendor: number;
  readonly device: number;
  /** 8 bits. */
  readonly revision: number;
}

export const defaultIdentity: InterfaceIdentity = { vendor: 0x1014, device: 0x0001, revision: 0x01 };

/** Of INTERFACE_ID, which both interfaces have at the same place. */
export const InterfaceId = {
  typeCrb: 0x1,
  versionCrb: 0x10,
  /** Set: five localities, else locality 0 only. */
  fiveLocalities: 0x100,
  /** Transfers of up to 64 bytes. */
  transfer64: 0x1800,
  hasFifo: 0x2000,
  hasCrb: 0x4000,
  selectCrb: 0x2_0000,
  selectorLock: 0x8_0000,
  revisionShift: 24,
} as const;

/** The bits of a dword that an access of `width` bytes names which begins `shift` bytes into it. */
export function accessMask(shift: number, width: 1 | 2 | 4): number {
  return ((0xffff_ffff >>> (32 - 8 * width)) << (8 * shift)) >>> 0;
}

export function widthMask(value: number, width: 1 | 2 | 4): number {
  return width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
}

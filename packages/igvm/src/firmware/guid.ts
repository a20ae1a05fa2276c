import { toHex } from "@entresol/wire";

/** In UEFI's order the first three groups of a GUID are little-endian. */
const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

/** The text of the GUID at `at`, lower case. */
export function readGuid(bytes: Uint8Array, at: number): string {
  const digits = toHex(Uint8Array.from(order, (from) => bytes[at + from]!));
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** The 16 bytes of a GUID's text. */
export function guidBytes(text: string): Uint8Array {
  const digits = text.replaceAll("-", "");
  return Uint8Array.from(order, (from) => Number.parseInt(digits.slice(2 * from, 2 * from + 2), 16));
}

import { toHex } from "@entresol/wire";

/**
 * In which order the bytes of a GUID stand: as in its text (RFC 4122), or with its first three groups turned round, as in UEFI.
 */
export type GuidOrder = "text" | "uefi";

const uefi = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

/** The text of the 16 bytes at `at`, lower case. */
export function guidText(bytes: Uint8Array, order: GuidOrder, at = 0): string {
  const inOrder = Uint8Array.from(uefi, (from, i) => bytes[at + (order === "uefi" ? from : i)]!);
  const text = toHex(inOrder);
  return [0, 8, 12, 16, 20].map((from, i) => text.slice(from, [8, 12, 16, 20, 32][i])).join("-");
}

/** The 16 bytes of a GUID's text. Throws RangeError for another text. */
export function guidBytes(text: string, order: GuidOrder): Uint8Array {
  if (!/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text)) throw new RangeError(`"${text}" is no GUID`);
  const digits = text.replaceAll("-", "");
  const inOrder = Uint8Array.from({ length: 16 }, (_, i) =>
    Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
  return order === "uefi" ? Uint8Array.from(uefi, (from) => inOrder[from]!) : inOrder;
}

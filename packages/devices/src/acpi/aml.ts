import { Writer } from "@entresol/wire";

/*
 * A writer for the parts of the ACPI machine language that a device tree needs: ACPI 6.5 chapter 20 (AML grammar). Each function
 * gives the bytes of one term. What runs inside methods is in aml-code.ts, resource descriptors (6.4) in resources.ts.
 */

export type Aml = Uint8Array;

/** Thrown for terms that AML cannot say: a mistake in this program's tables, never in a guest's or user's input. */
export function check(condition: boolean, rule: string): void {
  if (!condition) throw new RangeError(`AML: ${rule}`);
}

export function concat(...parts: readonly (Aml | readonly number[])[]): Aml {
  const writer = new Writer();
  for (const part of parts) writer.bytes(part instanceof Uint8Array ? part : Uint8Array.from(part));
  return writer.finish();
}

/** 20.2.2: a name of segments of up to four characters each, separated by dots; leading `\` for the root, `^` for the parent. */
export function nameString(path: string): Aml {
  const [, prefix = "", rest = ""] = /^(\\|\^*)(.*)$/s.exec(path)!;
  const segments = rest === "" ? [] : rest.split(".");
  for (const segment of segments)
    check(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), `no name segment: ${segment}`);
  check(segments.length < 256, "a path of at most 255 segments");
  const writer = new Writer().ascii(prefix);
  if (segments.length === 0) writer.u8(0x00);
  if (segments.length === 2) writer.u8(0x2e);
  if (segments.length > 2) writer.u8(0x2f).u8(segments.length);
  for (const segment of segments) writer.ascii(segment, 4, 0x5f);
  return writer.finish();
}

/** 20.2.4: one byte up to 63, else four bits and up to three bytes more. */
export function encodedLength(length: number): Aml {
  if (length < 0x40) return Uint8Array.of(length);
  for (let extra = 1; extra <= 3; extra++) {
    if (length >= 2 ** (4 + 8 * extra)) continue;
    const bytes = [(extra << 6) | (length & 0xf)];
    for (let i = 0; i < extra; i++) bytes.push((length >>> (4 + 8 * i)) & 0xff);
    return Uint8Array.from(bytes);
  }
  throw new RangeError("AML: a package of at most 2^28 - 1 bytes");
}

/** 20.2.4: the length of a package counts itself. */
export function packageLength(contentLength: number): Aml {
  const size = [1, 2, 3, 4].find((bytes) => encodedLength(contentLength + bytes).length === bytes)!;
  return encodedLength(contentLength + size);
}

export function packed(opcode: readonly number[], content: Aml): Aml {
  return concat(opcode, packageLength(content.length), content);
}

/** 20.2.3: an unsigned integer in its shortest form. Ones (-1) is not made. */
export function integer(value: number | bigint): Aml {
  const wide = BigInt(value);
  check(wide >= 0n && wide < 1n << 64n, `integers are 64-bit unsigned: ${value}`);
  if (wide <= 1n) return Uint8Array.of(Number(wide));
  if (wide <= 0xffn) return new Writer().u8(0x0a).u8(Number(wide)).finish();
  if (wide <= 0xffffn) return new Writer().u8(0x0b).u16(Number(wide)).finish();
  if (wide <= 0xffffffffn) return new Writer().u8(0x0c).u32(Number(wide)).finish();
  return new Writer().u8(0x0e).u64(wide).finish();
}

/** Printable ASCII. */
export function string(text: string): Aml {
  check(/^[ -~]*$/.test(text), "strings are printable ASCII");
  return new Writer().u8(0x0d).ascii(text).u8(0).finish();
}

export function buffer(bytes: Uint8Array): Aml {
  return packed([0x11], concat(integer(bytes.length), bytes));
}

/** Package of up to 255 elements. */
export function packageOf(...elements: readonly Aml[]): Aml {
  check(elements.length < 256, "a package of at most 255 elements");
  return packed([0x12], concat([elements.length], ...elements));
}

/** `Name (path, value)`. */
export function name(path: string, value: Aml): Aml {
  return concat([0x08], nameString(path), value);
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return packed([0x10], concat(nameString(path), ...terms));
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  return packed([0x5b, 0x82], concat(nameString(path), ...terms));
}

/** Not serialized; `argumentCount` 0 to 7. */
export function method(path: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  check(argumentCount >= 0 && argumentCount <= 7, "methods take up to 7 arguments");
  return packed([0x14], concat(nameString(path), [argumentCount], ...terms));
}

export function returns(value: Aml): Aml {
  return concat([0xa4], value);
}

/** 19.3.4: "PNP0501" as the 32-bit integer that _HID takes: three letters of five bits, four hexadecimal digits. */
export function eisaId(id: string): Aml {
  check(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `no EISA id: ${id}`);
  const letters = [0, 1, 2].map((i) => id.charCodeAt(i) - 0x40);
  const vendor = (letters[0]! << 10) | (letters[1]! << 5) | letters[2]!;
  const product = Number.parseInt(id.slice(3), 16);
  // Both halves are big-endian inside the little-endian integer.
  const swap = (half: number) => ((half & 0xff) << 8) | (half >> 8);
  return integer(swap(vendor) + swap(product) * 0x10000);
}

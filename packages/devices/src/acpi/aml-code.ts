import { Writer } from "@entresol/wire";
import { type Aml, buffer, check, concat, encodedLength, integer, nameString, packed } from "./aml.ts";

/*
 * The part of the ACPI machine language that runs: fields over hardware registers and the statements of methods. ACPI 6.5,
 * 20.2.5; each function gives the bytes of one term. A target is a name, a local or an argument; without one the result is
 * only the term's value.
 */

/** A null name: the result is kept nowhere. */
const nowhere: Aml = Uint8Array.of(0);

const regionSpaces = { memory: 0, port: 1, pciConfiguration: 2 } as const;

/** 20.2.5.2: `OperationRegion (path, space, offset, length)`. */
export function operationRegion(
  path: string,
  space: keyof typeof regionSpaces,
  offset: number,
  length: number,
): Aml {
  return concat([0x5b, 0x80], nameString(path), [regionSpaces[space]], integer(offset), integer(length));
}

/** Part of a field: bits under a name, or bits that are skipped. */
export interface FieldPart {
  readonly name?: string;
  readonly bits: number;
}

/** By how many bits at once a field's region is read and written. */
const accessTypes = { byte: 1, dword: 3 } as const;

/** 20.2.5.2: `Field (region, ByteAcc, NoLock, Preserve) {parts}`: the bits of the region in order. */
export function byteField(region: string, parts: readonly FieldPart[]): Aml {
  return field(region, "byte", parts);
}

/** As `byteField`, with DWordAcc: for registers of 32 bits. */
export function registerField(region: string, parts: readonly FieldPart[]): Aml {
  return field(region, "dword", parts);
}

function field(region: string, access: keyof typeof accessTypes, parts: readonly FieldPart[]): Aml {
  const list = new Writer();
  for (const { name, bits } of parts) {
    check(bits > 0 && bits < 2 ** 28, "fields of one bit at least");
    if (name === undefined) list.u8(0);
    else {
      check(/^[A-Z_][A-Z0-9_]{0,3}$/.test(name), `no name segment: ${name}`);
      list.ascii(name, 4, 0x5f);
    }
    // Coded like a package length, but it does not count its own bytes.
    list.bytes(encodedLength(bits));
  }
  return packed([0x5b, 0x81], concat(nameString(region), [accessTypes[access]], list.finish()));
}

/** As `method` (aml.ts), but one caller at a time: for methods that make names. */
export function serializedMethod(path: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  check(argumentCount >= 0 && argumentCount <= 7, "methods take up to 7 arguments");
  return packed([0x14], concat(nameString(path), [argumentCount | 0x08], ...terms));
}

/** The method's argument `n`, 0 to 6. */
export function argument(n: number): Aml {
  check(Number.isInteger(n) && n >= 0 && n <= 6, "arguments are 0 to 6");
  return Uint8Array.of(0x68 + n);
}

/** A local variable, 0 to 7. */
export function local(n: number): Aml {
  check(Number.isInteger(n) && n >= 0 && n <= 7, "locals are 0 to 7");
  return Uint8Array.of(0x60 + n);
}

export function store(value: Aml, target: Aml): Aml {
  return concat([0x70], value, target);
}

export function and(a: Aml, b: Aml, target: Aml = nowhere): Aml {
  return concat([0x7b], a, b, target);
}

export function or(a: Aml, b: Aml, target: Aml = nowhere): Aml {
  return concat([0x7d], a, b, target);
}

/** All ones when true, as the other comparisons. */
export function equal(a: Aml, b: Aml): Aml {
  return concat([0x93], a, b);
}

export function notEqual(a: Aml, b: Aml): Aml {
  return concat([0x92, 0x93], a, b);
}

export function greater(a: Aml, b: Aml): Aml {
  return concat([0x94], a, b);
}

/** Elements of a package, or bytes of a buffer. */
export function sizeOf(value: Aml): Aml {
  return concat([0x87], value);
}

/** Element `n` of a package, as a target; `derefOf` gives its value. */
export function index(source: Aml, n: number): Aml {
  return concat([0x88], source, integer(n), nowhere);
}

export function derefOf(reference: Aml): Aml {
  return concat([0x83], reference);
}

/** `If (condition) {terms}`. */
export function when(condition: Aml, ...terms: readonly Aml[]): Aml {
  return packed([0xa0], concat(condition, ...terms));
}

/** `Else {terms}`, right after a `when`. */
export function otherwise(...terms: readonly Aml[]): Aml {
  return packed([0xa1], concat(...terms));
}

/** `CreateDWordField (source, offset, path)`: the 32 bits at byte `offset` of a buffer, under a name. */
export function dwordField(source: Aml, offset: number, path: string): Aml {
  return concat([0x8a], source, integer(offset), nameString(path));
}

/** 19.6.142: a UUID as the buffer that methods compare; its first three groups are little-endian. */
export function uuid(text: string): Aml {
  check(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text), `no UUID: ${text}`);
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return buffer(bytes);
}

import { hex, MalformedError, toHex } from "@entresol/wire";
import type { Finding } from "./finding.ts";

/*
 * A structure of fixed size is a table of its fields. From the table follow the typed value, the bytes of such a value, where each
 * field lies, what its reserved parts hold, and the tables in specs/. Numbers are little-endian, as all hardware reports have them.
 */

export type Scalar = "u8" | "u16" | "u32" | "u64";

/** A bit, or `width` bits from `bit` upwards, of a field of flags. */
export interface BitRow {
  readonly bit: number;
  /** 1 where not given. */
  readonly width?: number;
  readonly name: string;
  readonly what: string;
  /** The specification wants this bit to be one. */
  readonly one?: true;
}

export interface FieldRow {
  readonly name: string;
  /** From the beginning of the structure. */
  readonly offset: number;
  /** A number, that many bytes, or a structure. */
  readonly type: Scalar | number | Layout;
  readonly clause: string;
  readonly what: string;
  /** Must be zero. What is there all the same is reported, and kept by a builder. */
  readonly reserved?: true;
  /** First version of the structure that has the field; in those before it is reserved. */
  readonly since?: number;
  /** Of a u32 or u64. */
  readonly bits?: readonly BitRow[];
}

type ValueOf<T> = T extends "u64"
  ? bigint
  : T extends Scalar
    ? number
    : T extends number
      ? Uint8Array
      : T extends Layout<infer R>
        ? Values<R>
        : never;
/** The value of a structure: a property per row. Byte fields are views of what was read. */
export type Values<R extends readonly FieldRow[]> = {
  readonly [Row in R[number] as Row["name"]]: ValueOf<Row["type"]>;
};
type InputOf<T> = T extends Layout<infer R> ? Input<R> : ValueOf<T>;
/** What a builder takes: fields that are left out are zero. */
export type Input<R extends readonly FieldRow[]> = {
  readonly [Row in R[number] as Row["name"]]?: InputOf<Row["type"]>;
};
/** The value of a layout's structure. */
export type LayoutValues<L> = L extends Layout<infer R> ? Values<R> : never;
/** What the builder of a layout takes. */
export type LayoutInput<L> = L extends Layout<infer R> ? Input<R> : never;

const scalarSizes = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

/** Bytes that a field takes. */
export function sizeOf(type: FieldRow["type"]): number {
  if (typeof type === "number") return type;
  return typeof type === "string" ? scalarSizes[type] : type.size;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export class Layout<const R extends readonly FieldRow[] = readonly FieldRow[]> {
  /** As the specification calls the structure. */
  readonly name: string;
  /** Title of the specification; a field's clause is in it. */
  readonly spec: string;
  readonly size: number;
  readonly rows: R;
  /** The rows that `findings` looks at: most fields may hold anything. */
  readonly #judged: readonly FieldRow[];

  /** Throws RangeError unless the rows cover exactly `size` bytes, in order, without gap or overlap, and bits are of numbers. */
  constructor(name: string, spec: string, size: number, rows: R) {
    let end = 0;
    for (const row of rows) {
      if (row.bits !== undefined && row.type !== "u32" && row.type !== "u64")
        throw new RangeError(`${name}.${row.name} has bits and is neither u32 nor u64`);
      if (row.offset !== end)
        throw new RangeError(`${name}.${row.name} is at ${hex(row.offset)}, not at ${hex(end)}`);
      end += sizeOf(row.type);
    }
    if (end !== size) throw new RangeError(`${name} has ${end} bytes, not ${size}`);
    this.name = name;
    this.spec = spec;
    this.size = size;
    this.rows = rows;
    this.#judged = rows.filter(
      ({ type, reserved, since, bits }) =>
        reserved === true || since !== undefined || bits !== undefined || typeof type === "object",
    );
  }

  /** The structure at `at`. Throws MalformedError `truncated` when the bytes end before it does. */
  read(bytes: Uint8Array, at = 0, end = bytes.length): Values<R> {
    if (this.size > end - at) {
      throw new MalformedError(
        "truncated",
        Math.min(at, end),
        this.spec,
        `${this.name} has ${this.size} bytes, ${Math.max(0, end - at)} are there`,
      );
    }
    return this.#read(bytes, viewOf(bytes), at);
  }

  #read(bytes: Uint8Array, view: DataView, at: number): Values<R> {
    const values: Record<string, unknown> = {};
    for (const { name, offset, type } of this.rows) {
      const from = at + offset;
      switch (type) {
        case "u8":
          values[name] = bytes[from];
          break;
        case "u16":
          values[name] = view.getUint16(from, true);
          break;
        case "u32":
          values[name] = view.getUint32(from, true);
          break;
        case "u64":
          values[name] = view.getBigUint64(from, true);
          break;
        default:
          values[name] =
            typeof type === "number" ? bytes.subarray(from, from + type) : type.#read(bytes, view, from);
      }
    }
    return values as Values<R>;
  }

  /** The bytes of a value. Throws RangeError for a value that its field cannot hold. */
  build(values: Input<R>): Uint8Array {
    const bytes = new Uint8Array(this.size);
    this.#write(bytes, viewOf(bytes), 0, values as Record<string, unknown>);
    return bytes;
  }

  #write(bytes: Uint8Array, view: DataView, at: number, values: Record<string, unknown>): void {
    for (const { name, offset, type } of this.rows) {
      const value = values[name];
      if (value === undefined) continue;
      const from = at + offset;
      if (typeof type === "object") {
        type.#write(bytes, view, from, value as Record<string, unknown>);
      } else if (typeof type === "number") {
        if (!(value instanceof Uint8Array) || value.length !== type)
          throw new RangeError(`${this.name}.${name} takes ${type} bytes`);
        bytes.set(value, from);
      } else {
        const number = BigInt(value as number | bigint);
        if (BigInt.asUintN(8 * scalarSizes[type], number) !== number)
          throw new RangeError(`${this.name}.${name} does not hold ${number}`);
        if (type === "u8") bytes[from] = Number(number);
        else if (type === "u16") view.setUint16(from, Number(number), true);
        else if (type === "u32") view.setUint32(from, Number(number), true);
        else view.setBigUint64(from, number, true);
      }
    }
  }

  /**
   * What the structure at `at` has that its specification does not allow or this table does not know: reserved bytes that are not
   * zero, unknown bits, bits that must be one. `version` decides which fields there are. `path` goes before the fields' names.
   */
  findings(bytes: Uint8Array, at = 0, path = "", version = Number.POSITIVE_INFINITY): Finding[] {
    const found: Finding[] = [];
    this.#judge(bytes, viewOf(bytes), at, path, version, found);
    return found;
  }

  #judge(
    bytes: Uint8Array,
    view: DataView,
    at: number,
    path: string,
    version: number,
    found: Finding[],
  ): void {
    for (const row of this.#judged) {
      const from = at + row.offset;
      if (typeof row.type === "object") {
        row.type.#judge(bytes, view, from, `${path}${row.name}.`, version, found);
        continue;
      }
      const length = sizeOf(row.type);
      const finding = (kind: Finding["kind"], detail: string) =>
        found.push({
          kind,
          path: `${path}${row.name}`,
          offset: from,
          length,
          spec: `${this.spec}, ${row.clause}`,
          detail,
        });
      if (row.reserved === true || (row.since !== undefined && version < row.since)) {
        const end = from + length;
        let i = from;
        while (i < end && bytes[i] === 0) i++;
        if (i === end) continue;
        const held = length <= 16 ? toHex(bytes.subarray(from, end)) : `${hex(bytes[i]!, 2)} at ${hex(i)}`;
        finding("reserved-not-zero", `reserved, holds ${held}`);
      } else if (row.bits !== undefined) {
        const value = length === 8 ? view.getBigUint64(from, true) : BigInt(view.getUint32(from, true));
        const { known, ones } = masksOf(row.bits);
        if ((value & ones) !== ones) {
          for (const { bit, name, one } of row.bits)
            if (one === true && ((value >> BigInt(bit)) & 1n) === 0n)
              finding("bit-not-one", `bit ${bit} ${name} must be one`);
        }
        const unknown = value & ~known;
        if (unknown !== 0n) finding("unknown-bits", `unknown bits ${bitNumbers(unknown).join(", ")}`);
      }
    }
  }
}

const masks = new WeakMap<readonly BitRow[], { readonly known: bigint; readonly ones: bigint }>();

function masksOf(rows: readonly BitRow[]): { readonly known: bigint; readonly ones: bigint } {
  let both = masks.get(rows);
  if (both === undefined) {
    let known = 0n;
    let ones = 0n;
    for (const { bit, width = 1, one } of rows) {
      const mask = ((1n << BigInt(width)) - 1n) << BigInt(bit);
      known |= mask;
      if (one === true) ones |= mask;
    }
    both = { known, ones };
    masks.set(rows, both);
  }
  return both;
}

function bitNumbers(value: bigint): number[] {
  const numbers: number[] = [];
  for (let bit = 0; value >> BigInt(bit) !== 0n; bit++)
    if (((value >> BigInt(bit)) & 1n) === 1n) numbers.push(bit);
  return numbers;
}

/** The value of the bits of one row; a row is at most 32 bits and within one half of 64. */
export function bitsOf({ bit, width = 1 }: BitRow, value: bigint | number): number {
  const half = Number(BigInt.asUintN(32, BigInt(value) >> (bit < 32 ? 0n : 32n)));
  return (half >>> (bit & 31)) & (2 ** width - 1);
}

/** The names of the single bits that are set in `value`. */
export function namesOfBits<const B extends readonly BitRow[]>(
  rows: B,
  value: bigint | number,
): ReadonlySet<B[number]["name"]> {
  const low = Number(BigInt.asUintN(32, BigInt(value)));
  const high = Number(BigInt(value) >> 32n);
  const names = new Set<B[number]["name"]>();
  for (const { bit, width = 1, name } of rows) {
    if (width === 1 && (((bit < 32 ? low : high) >>> (bit & 31)) & 1) === 1) names.add(name);
  }
  return names;
}

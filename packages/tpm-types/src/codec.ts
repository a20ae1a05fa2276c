import { Rc, TpmError } from "./response-codes.ts";

/*
 * How TPM structures are marshalled (Part 1, 5; Part 2, 4): big-endian, packed. A type is a value of its own here, with a reader
 * and a writer; types are put together from smaller ones, and the TypeScript type of the value follows from that.
 */

/** Reads big-endian fields. What does not fit throws `TpmError`, as unmarshalling answers it: TPM_RC_INSUFFICIENT for bytes that are not there. */
export class TpmReader {
  readonly bytes: Uint8Array;
  offset: number;
  /** First offset that may not be read. */
  end: number;
  /** Hashes (TPM_ALG_ID) that this TPM does without: reading one is answered as reading an unknown one. */
  without: ReadonlySet<number> | undefined = undefined;

  /** Reads `bytes` from `offset` to `end`; keeps a reference. */
  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  #take(length: number): number {
    const at = this.offset;
    if (length > this.end - at) throw new TpmError(Rc.INSUFFICIENT);
    this.offset = at + length;
    return at;
  }

  // Every byte that is read is there: `#take` has seen to that.
  u8(): number {
    return this.bytes[this.#take(1)]!;
  }
  i8(): number {
    return (this.bytes[this.#take(1)]! << 24) >> 24;
  }
  u16(): number {
    const at = this.#take(2);
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }
  u32(): number {
    return this.#word(this.#take(4)) >>> 0;
  }
  i32(): number {
    return this.#word(this.#take(4));
  }
  u64(): bigint {
    const at = this.#take(8);
    return (BigInt(this.#word(at) >>> 0) << 32n) | BigInt(this.#word(at + 4) >>> 0);
  }
  #word(at: number): number {
    const { bytes } = this;
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }
  /** The next `length` bytes, as a copy: no value that was read changes with its input. */
  take(length: number): Uint8Array {
    const at = this.#take(length);
    const { bytes } = this;
    if (length > SHORT) return new Uint8Array(bytes.subarray(at, at + length));
    const copy = new Uint8Array(length);
    for (let i = 0; i < length; i++) copy[i] = bytes[at + i]!;
    return copy;
  }
}

/** Bytes up to which a loop copies faster than a call. */
const SHORT = 64;

/** A buffer that writers write to, with a view of it. */
interface Scratch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}
function scratchOf(capacity: number): Scratch {
  const bytes = new Uint8Array(capacity);
  return { bytes, view: new DataView(bytes.buffer) };
}

/** Buffers that finished writers have left: making one costs more than most of what is written. A few, for writers that are under way at the same time. */
const scratches: Scratch[] = [];
const SCRATCHES_KEPT = 4;
/** Bytes of each of them. */
const SCRATCH_SIZE = 4096;
const nothing = scratchOf(0);

/** Appends big-endian fields to a growing buffer. */
export class TpmWriter {
  #scratch: Scratch;
  #length = 0;

  /** `capacity`: bytes that there will be, as far as that is known. */
  constructor(capacity = 256) {
    this.#scratch =
      capacity > SCRATCH_SIZE ? scratchOf(capacity) : (scratches.pop() ?? scratchOf(SCRATCH_SIZE));
  }

  get length(): number {
    return this.#length;
  }

  #grow(by: number): number {
    const at = this.#length;
    const { bytes } = this.#scratch;
    if (at + by > bytes.length) {
      this.#scratch = scratchOf(Math.max(2 * bytes.length, at + by));
      this.#scratch.bytes.set(bytes.subarray(0, at));
    }
    this.#length = at + by;
    return at;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#scratch.view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.#grow(2);
    this.#scratch.view.setUint16(at, value);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4);
    this.#scratch.view.setUint32(at, value);
    return this;
  }
  u64(value: bigint): this {
    const at = this.#grow(8);
    this.#scratch.view.setBigUint64(at, value);
    return this;
  }
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#scratch.bytes.set(value, at);
    return this;
  }
  /** TPM2B: a 16-bit size and the bytes. */
  sized(value: Uint8Array): this {
    return this.u16(value.length).bytes(value);
  }
  setU16(at: number, value: number): void {
    this.#scratch.view.setUint16(at, value);
  }
  setU32(at: number, value: number): void {
    this.#scratch.view.setUint32(at, value);
  }

  /** A copy of what was written. The writer is at its beginning again then. */
  finish(): Uint8Array {
    const written = this.#scratch.bytes.slice(0, this.#length);
    if (this.#scratch.bytes.length === SCRATCH_SIZE && scratches.length < SCRATCHES_KEPT)
      scratches.push(this.#scratch);
    this.#scratch = nothing;
    this.#length = 0;
    return written;
  }
  /** What was written, without a copy, to be looked at before the next write. */
  view(): Uint8Array {
    return this.#scratch.bytes.subarray(0, this.#length);
  }
}

/** A TPM type: how its values are read and written. */
export interface Type<T> {
  readonly name: string;
  /** Throws `TpmError` for bytes that are no such value. */
  read(reader: TpmReader): T;
  write(writer: TpmWriter, value: T): void;
}

/** The TypeScript type of a TPM type's values. */
export type Value<C> = C extends Type<infer T> ? T : never;

/** A whole number of `bits` bits that may have any value. */
export function unsigned(name: string, bits: 8 | 16 | 32): Type<number> {
  switch (bits) {
    case 8:
      return { name, read: (r) => r.u8(), write: (w, v) => void w.u8(v) };
    case 16:
      return { name, read: (r) => r.u16(), write: (w, v) => void w.u16(v) };
    case 32:
      return { name, read: (r) => r.u32(), write: (w, v) => void w.u32(v) };
    default:
      return bits satisfies never;
  }
}

/** A number that `accepts` decides upon; another one is answered with `rc`. */
export function checked(
  base: Type<number>,
  name: string,
  rc: number,
  accepts: (value: number) => boolean,
): Type<number> {
  return {
    name,
    read(reader) {
      const value = base.read(reader);
      if (!accepts(value)) throw new TpmError(rc);
      return value;
    },
    write: base.write,
  };
}

/** One of `values`; another one is answered with `rc`. */
export function oneOf(base: Type<number>, name: string, rc: number, values: Iterable<number>): Type<number> {
  const set = new Set(values);
  return checked(base, name, rc, (value) => set.has(value));
}

/** TPM2B: 16-bit size and up to `maximum` bytes. A larger one is TPM_RC_SIZE. */
export function sizedBytes(name: string, maximum: number): Type<Uint8Array> {
  return {
    name,
    read(reader) {
      const size = reader.u16();
      if (size > maximum) throw new TpmError(Rc.SIZE);
      return reader.take(size);
    },
    write: (writer, value) => void writer.sized(value),
  };
}

/** TPM2B of a structure: its size must be that of the structure, and not zero, or it is TPM_RC_SIZE. */
export function sized<T>(name: string, content: Type<T>): Type<T> {
  return {
    name,
    read(reader) {
      const size = reader.u16();
      if (size === 0) throw new TpmError(Rc.SIZE);
      if (size > reader.remaining) throw new TpmError(Rc.INSUFFICIENT);
      const from = reader.offset;
      const value = content.read(reader);
      if (reader.offset - from !== size) throw new TpmError(Rc.SIZE);
      return value;
    },
    write(writer, value) {
      const at = writer.length;
      writer.u16(0);
      content.write(writer, value);
      writer.setU16(at, writer.length - at - 2);
    },
  };
}

/** TPML: 32-bit count and elements. A count outside `minimum` to `maximum` is TPM_RC_SIZE. */
export function list<T>(name: string, element: Type<T>, maximum: number, minimum = 0): Type<readonly T[]> {
  return {
    name,
    read(reader) {
      const count = reader.u32();
      if (count > maximum || count < minimum) throw new TpmError(Rc.SIZE);
      const values: T[] = [];
      for (let i = 0; i < count; i++) values.push(element.read(reader));
      return values;
    },
    write(writer, values) {
      writer.u32(values.length);
      for (const value of values) element.write(writer, value);
    },
  };
}

/** The fields of a structure, in their order. */
export type Fields = { readonly [name: string]: Type<unknown> };
export type Structure<F extends Fields> = { readonly [K in keyof F]: Value<F[K]> };

/** TPMS: fields one after the other. */
export function structure<F extends Fields>(
  name: string,
  fields: F,
): Type<Structure<F>> & { readonly fields: F } {
  const entries = Object.entries(fields);
  return {
    name,
    fields,
    read(reader) {
      const value: Record<string, unknown> = {};
      for (const [field, type] of entries) value[field] = type.read(reader);
      return value as Structure<F>;
    },
    write(writer, value) {
      for (const [field, type] of entries) type.write(writer, (value as Record<string, unknown>)[field]);
    },
  };
}

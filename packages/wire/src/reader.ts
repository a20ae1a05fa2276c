import { MalformedError } from "./malformed.ts";

/**
 * Reads little-endian fields from bytes, front to back. Every read is bounds-checked: a short input gives
 * `MalformedError` `truncated` with the offset of the field that did not fit, never `RangeError`.
 */
export class Reader {
  readonly bytes: Uint8Array;
  /** Offset of the next read, from the start of `bytes`. */
  offset = 0;
  readonly #view: DataView;
  readonly #spec: string;

  /** `spec` names the format in errors. The reader keeps a reference to `bytes`; it never writes to it. */
  constructor(bytes: Uint8Array, spec: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#spec = spec;
  }

  get remaining(): number {
    return this.bytes.length - this.offset;
  }

  /** Moves to an absolute offset. Throws `out-of-range` past the end. */
  seek(offset: number): this {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.bytes.length) {
      throw new MalformedError(
        "out-of-range",
        this.offset,
        this.#spec,
        `offset ${offset} is outside the ${this.bytes.length} bytes`,
      );
    }
    this.offset = offset;
    return this;
  }

  #take(length: number): number {
    const at = this.offset;
    if (!(length >= 0) || length > this.bytes.length - at) {
      throw new MalformedError(
        "truncated",
        at,
        this.#spec,
        `needs ${length} bytes, ${this.bytes.length - at} left`,
      );
    }
    this.offset = at + length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** A 64-bit field as a number; `out-of-range` above 2^53 - 1. */
  u64Number(): number {
    const at = this.offset;
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new MalformedError(
        "out-of-range",
        at,
        this.#spec,
        `0x${value.toString(16)} does not fit 53 bits`,
      );
    }
    return Number(value);
  }

  /** The next `length` bytes, as a view of the input. */
  view(length: number): Uint8Array {
    const at = this.#take(length);
    return this.bytes.subarray(at, at + length);
  }

  /** The next `length` bytes, as a copy. */
  take(length: number): Uint8Array {
    // Not slice(): of a Node Buffer that is a view.
    return new Uint8Array(this.view(length));
  }
}

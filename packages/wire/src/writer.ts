/** Appends little-endian fields to a growing buffer. `finish()` gives the bytes; `set*` patch fields that are already there. */
export class Writer {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  #grow(by: number): number {
    const at = this.#length;
    if (at + by > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, at + by));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#length = at + by;
    return at;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
    return this;
  }
  u16(value: number): this {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  u64(value: number | bigint): this {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  /** ASCII text without terminator, padded with `pad` (default space) or cut to `width` bytes when that is given. */
  ascii(text: string, width = text.length, pad = 0x20): this {
    const at = this.#grow(width);
    for (let i = 0; i < width; i++) this.#bytes[at + i] = i < text.length ? text.charCodeAt(i) & 0x7f : pad;
    return this;
  }

  zeros(count: number): this {
    this.#grow(count);
    return this;
  }

  /** Zero bytes up to the next multiple of `boundary`. */
  align(boundary: number): this {
    return this.zeros((boundary - (this.#length % boundary)) % boundary);
  }

  setU8(at: number, value: number): void {
    this.#inside(at, 1);
    this.#view.setUint8(at, value);
  }
  setU16(at: number, value: number): void {
    this.#inside(at, 2);
    this.#view.setUint16(at, value, true);
  }
  setU32(at: number, value: number): void {
    this.#inside(at, 4);
    this.#view.setUint32(at, value, true);
  }

  #inside(at: number, length: number): void {
    if (at < 0 || at + length > this.#length)
      throw new RangeError(`patch at ${at} is outside the ${this.#length} bytes written`);
  }

  /** A copy of the bytes written so far. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}

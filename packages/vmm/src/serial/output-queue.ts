/** The largest piece that an end gets at once, in bytes. */
const PIECE = 256 * 1024;
/** Room for which memory is taken at first, in bytes. */
const SMALLEST = 4096;

/**
 * Output on its way to an end, oldest first. One ring of bytes, however small the pieces are in which a guest sends them: what
 * a guest can make the host hold is what the limit says, and no bookkeeping beside it.
 */
export class OutputQueue {
  #ring = new Uint8Array(SMALLEST);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#ring.length) this.#resize(2 ** Math.ceil(Math.log2(needed)));
    const tail = (this.#head + this.#length) % this.#ring.length;
    const first = bytes.subarray(0, this.#ring.length - tail);
    this.#ring.set(first, tail);
    this.#ring.set(bytes.subarray(first.length), 0);
    this.#length = needed;
  }

  /** Drops the oldest bytes until `limit` are left. Gives their number. */
  dropAllBut(limit: number): number {
    const excess = Math.max(0, this.#length - limit);
    this.#skip(excess);
    return excess;
  }

  /** The oldest bytes, up to a piece that is good to write; empty when there are none. The caller may keep them. */
  take(): Uint8Array {
    const taken = this.#copy(Math.min(this.#length, PIECE));
    this.#skip(taken.length);
    // A flood must not keep its memory for ever.
    if (this.#length === 0 && this.#ring.length > PIECE) this.#resize(SMALLEST);
    return taken;
  }

  #skip(count: number): void {
    this.#head = (this.#head + count) % this.#ring.length;
    this.#length -= count;
  }

  #copy(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    const first = this.#ring.subarray(this.#head, this.#head + count);
    bytes.set(first);
    bytes.set(this.#ring.subarray(0, count - first.length), first.length);
    return bytes;
  }

  #resize(size: number): void {
    const ring = new Uint8Array(size);
    ring.set(this.#copy(this.#length));
    this.#ring = ring;
    this.#head = 0;
  }
}

/**
 * 256 bits, one per interrupt vector, in eight 32-bit words as IRR, ISR and TMR show them. `highest` is kept up to date, since
 * a processor asks for it far more often than bits change.
 */
export class VectorSet {
  readonly words = new Uint32Array(8);
  /** The highest vector in the set; -1 when it is empty. */
  highest = -1;
  /** Bit n: words[n] is not 0. Finds the highest vector without a search. */
  #occupied = 0;

  has(vector: number): boolean {
    return ((this.words[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
  }

  add(vector: number): void {
    const word = vector >>> 5;
    this.words[word]! |= 1 << (vector & 31);
    this.#occupied |= 1 << word;
    if (vector > this.highest) this.highest = vector;
  }

  delete(vector: number): void {
    const word = vector >>> 5;
    const left = this.words[word]! & ~(1 << (vector & 31));
    this.words[word] = left;
    if (left === 0) this.#occupied &= ~(1 << word);
    if (vector === this.highest) this.#find();
  }

  clear(): void {
    this.words.fill(0);
    this.#occupied = 0;
    this.highest = -1;
  }

  /** Takes eight words, vector 0 in bit 0 of the first. */
  load(words: ArrayLike<number>): void {
    this.words.set(words);
    this.#occupied = 0;
    for (let word = 0; word < 8; word++) if (this.words[word] !== 0) this.#occupied |= 1 << word;
    this.#find();
  }

  #find(): void {
    if (this.#occupied === 0) {
      this.highest = -1;
      return;
    }
    const word = 31 - Math.clz32(this.#occupied);
    this.highest = word * 32 + 31 - Math.clz32(this.words[word]!);
  }
}

/** Numbers of one sequence of operations: the same for the same seed and sequence, whatever ran before. */
export class SequenceRandom {
  #state: number;

  constructor(seed: number, sequence: number) {
    // Two rounds of a 32-bit finalizer part neighbouring seeds and sequences.
    this.#state = mix(mix(seed ^ 0x9e3779b9) ^ sequence) | 0;
  }

  /** 0 to 2^32 - 1. */
  word(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    return mix(this.#state);
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.word() / 2 ** 32) * limit);
  }

  byte(): number {
    return this.word() >>> 24;
  }

  /** True in `percent` of all cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

function mix(value: number): number {
  let z = value;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

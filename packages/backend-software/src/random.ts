const mask = (1n << 64n) - 1n;

/**
 * The source of RDRAND and RDSEED: SplitMix64, so that the same seed gives the same run. It is no secret from the host, which
 * can read all of a software guest anyway; a guest that wants entropy against its host cannot have it here.
 */
export class SeededRandom {
  #state: bigint;

  constructor(seed: bigint) {
    this.#state = seed & mask;
  }

  get state(): bigint {
    return this.#state;
  }

  set state(value: bigint) {
    this.#state = value & mask;
  }

  /** The next 64 bits. */
  next(): bigint {
    this.#state = (this.#state + 0x9e3779b97f4a7c15n) & mask;
    let z = this.#state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return z ^ (z >> 31n);
  }
}

/**
 * A fixed clock counted from guest time, exactly and without an allocation: rates up to 4 MHz, times up to 2^53 ns (104 days).
 * Whole seconds and the rest are taken apart, so that no product reaches 2^53.
 */
export class Oscillator {
  readonly #hertz: number;

  constructor(hertz: number) {
    this.#hertz = hertz;
  }

  /** Cycles completed in `ns` >= 0: floor(ns * hertz / 10^9). */
  cycles(ns: number): number {
    const seconds = Math.floor(ns / 1e9);
    return seconds * this.#hertz + Math.floor(((ns - seconds * 1e9) * this.#hertz) / 1e9);
  }

  /** The first ns at which `cycles` has reached `count` >= 0: ceil(count * 10^9 / hertz). */
  timeOf(count: number): number {
    const seconds = Math.floor(count / this.#hertz);
    return seconds * 1e9 + Math.ceil(((count - seconds * this.#hertz) * 1e9) / this.#hertz);
  }
}

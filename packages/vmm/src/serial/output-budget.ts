/** A bucket of bytes that fills with guest time: so the same run loses the same bytes. */
export class OutputBudget {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #last = 0;

  /** `rate` in bytes per second of guest time, `burst` in bytes. */
  constructor(rate: number, burst: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** How many of `count` bytes may pass at guest time `now`, ns. */
  take(now: number, count: number): number {
    const filled = this.#tokens + (Math.max(0, now - this.#last) * this.#rate) / 1e9;
    this.#last = now;
    this.#tokens = Math.min(this.#burst, filled);
    const passed = Math.min(count, Math.floor(this.#tokens));
    this.#tokens -= passed;
    return passed;
  }
}

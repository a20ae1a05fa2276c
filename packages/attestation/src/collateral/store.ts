/** An answer of a service that was found good, as it came. */
export interface StoredAnswer {
  readonly url: string;
  /** When it came, milliseconds since 1970. */
  readonly at: number;
  readonly bytes: Uint8Array;
  /** The certificates that its headers had, PEM; empty for none. */
  readonly chain: Uint8Array;
}

/** Keeps answers. What it gives is checked like what a service gives: it need not be trusted. Its failures do no harm. */
export interface CollateralStore {
  get(url: string): Promise<StoredAnswer | undefined>;
  set(answer: StoredAnswer): Promise<void>;
  /** Until when the service at an origin wants to be left alone, milliseconds since 1970: where several clients, or runs, share a store. */
  pauseOf?(origin: string): Promise<number | undefined>;
  setPause?(origin: string, until: number): Promise<void>;
}

/** Answers in memory: those used least recently are forgotten when there are too many bytes. */
export class MemoryStore implements CollateralStore {
  readonly #most: number;
  readonly #answers = new Map<string, StoredAnswer>();
  #bytes = 0;

  /** `most` bytes. */
  constructor(most = 16 << 20) {
    this.#most = most;
  }
  get bytes(): number {
    return this.#bytes;
  }

  #remove(url: string): StoredAnswer | undefined {
    const answer = this.#answers.get(url);
    if (answer === undefined) return undefined;
    this.#answers.delete(url);
    this.#bytes -= sizeOf(answer);
    return answer;
  }
  #put(answer: StoredAnswer): void {
    this.#answers.set(answer.url, answer);
    this.#bytes += sizeOf(answer);
  }

  async get(url: string): Promise<StoredAnswer | undefined> {
    const answer = this.#remove(url);
    if (answer !== undefined) this.#put(answer);
    return answer;
  }

  async set(answer: StoredAnswer): Promise<void> {
    this.#remove(answer.url);
    if (sizeOf(answer) > this.#most) return;
    this.#put(answer);
    for (const oldest of this.#answers.keys()) {
      if (this.#bytes <= this.#most) break;
      this.#remove(oldest);
    }
  }
}

const sizeOf = ({ bytes, chain, url }: StoredAnswer): number => bytes.length + chain.length + url.length;

/** A quick store before a lasting one. */
export class TieredStore implements CollateralStore {
  readonly #quick: CollateralStore;
  readonly #lasting: CollateralStore;

  constructor(quick: CollateralStore, lasting: CollateralStore) {
    this.#quick = quick;
    this.#lasting = lasting;
  }
  async get(url: string): Promise<StoredAnswer | undefined> {
    const near = await this.#quick.get(url);
    if (near !== undefined) return near;
    const far = await this.#lasting.get(url);
    if (far !== undefined) await this.#quick.set(far);
    return far;
  }
  async set(answer: StoredAnswer): Promise<void> {
    await this.#quick.set(answer);
    await this.#lasting.set(answer);
  }
  async pauseOf(origin: string): Promise<number | undefined> {
    return this.#lasting.pauseOf?.(origin);
  }
  async setPause(origin: string, until: number): Promise<void> {
    await this.#lasting.setPause?.(origin, until);
  }
}

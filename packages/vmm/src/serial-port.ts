/** Output is handed on when this many bytes wait, or after a while. */
const CAPACITY = 16 * 1024;

/**
 * The host's end of one serial port. The guest's bytes are gathered while it runs, so that no write of the host's ever stands
 * between a vCPU and its next instruction, and handed on between slices.
 */
export class SerialPort {
  /** Gets the guest's output in order. The bytes are the callee's to keep. */
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  readonly #feed: (bytes: Uint8Array) => number;
  readonly #full: () => void;
  #gathered = new Uint8Array(CAPACITY);
  #count = 0;
  #waiting: Uint8Array = new Uint8Array(0);

  /** `feed` gives bytes to the UART and returns how many it took; `full` asks for a `flush` soon, from inside an instruction. */
  constructor(feed: (bytes: Uint8Array) => number, full: () => void) {
    this.#feed = feed;
    this.#full = full;
  }

  /** A byte from the UART, which a vCPU is just writing: nobody may be called who wants the machine at rest. */
  readonly put = (byte: number): void => {
    if (this.#count === this.#gathered.length) {
      const larger = new Uint8Array(2 * this.#count);
      larger.set(this.#gathered);
      this.#gathered = larger;
    }
    this.#gathered[this.#count++] = byte;
    if (this.#count >= CAPACITY) this.#full();
  };

  /** Enough has been gathered that it should be handed on. */
  get isFull(): boolean {
    return this.#count >= CAPACITY;
  }

  /** Hands on what was gathered. */
  flush(): void {
    if (this.#count === 0) return;
    const bytes = this.#gathered.slice(0, this.#count);
    this.#count = 0;
    if (this.#gathered.length > CAPACITY) this.#gathered = new Uint8Array(CAPACITY);
    this.onOutput?.(bytes);
  }

  /** Sends bytes to the guest. Returns how many were taken; the rest did not fit the input queue. */
  input(bytes: Uint8Array): number {
    return this.#waiting.length > 0 ? 0 : this.#feed(bytes);
  }

  /** Sends bytes to the guest, all of them: what does not fit its queue waits here until the guest is idle. */
  send(bytes: Uint8Array): void {
    this.#waiting = Buffer.concat([this.#waiting, bytes]);
    this.pump();
  }

  /** Hands on what waits, as far as it fits. */
  pump(): void {
    if (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(this.#feed(this.#waiting));
  }
}

/** Output is handed on in pieces of at most this many bytes. */
const CAPACITY = 16 * 1024;

/**
 * The host's end of one serial port. The guest's bytes are gathered while it runs, so that no write of the host's ever stands
 * between a vCPU and its next instruction, and handed on between slices.
 */
export class SerialPort {
  /** Gets the guest's output in order. The bytes are the callee's to keep. */
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  readonly #feed: (bytes: Uint8Array) => number;
  readonly #gathered = new Uint8Array(CAPACITY);
  #count = 0;
  #waiting: Uint8Array = new Uint8Array(0);

  /** `feed` gives bytes to the UART and returns how many it took. */
  constructor(feed: (bytes: Uint8Array) => number) {
    this.#feed = feed;
  }

  /** A byte from the UART. */
  readonly put = (byte: number): void => {
    this.#gathered[this.#count++] = byte;
    if (this.#count === CAPACITY) this.flush();
  };

  /** Hands on what was gathered. */
  flush(): void {
    if (this.#count === 0) return;
    const bytes = this.#gathered.slice(0, this.#count);
    this.#count = 0;
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

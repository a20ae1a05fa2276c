import type { Writable } from "node:stream";
import type { SerialEnd } from "./serial-end.ts";

/** Output to a stream that somebody else owns, such as stdout. Input is that one's business, too. */
export class StreamEnd implements SerialEnd {
  readonly description: string;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;
  readonly #stream: Writable;
  readonly #changed = (): void => this.onChange?.();
  #closed = false;

  constructor(description: string, stream: Writable) {
    this.description = description;
    this.#stream = stream;
    stream.on("drain", this.#changed);
    stream.on("close", this.#changed);
  }

  get connected(): boolean {
    return !this.#closed && !this.#stream.destroyed;
  }

  get writable(): boolean {
    return this.connected && !this.#stream.writableNeedDrain;
  }

  get lost(): number {
    return this.#stream.destroyed ? this.#stream.writableLength : 0;
  }

  write(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  pauseInput(): void {}

  async close(): Promise<void> {
    this.#closed = true;
    this.#stream.off("drain", this.#changed);
    this.#stream.off("close", this.#changed);
  }
}

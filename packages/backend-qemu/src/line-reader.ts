import { QtestError } from "./qtest-error.ts";

/**
 * Cuts a stream of bytes into lines. A peer that sends no end of line cannot make it hold more than `limit` bytes: `push` then
 * throws `QtestError` "protocol".
 */
export class LineReader {
  readonly #limit: number;
  readonly #take: (line: string) => void;
  #rest = "";

  constructor(limit: number, take: (line: string) => void) {
    this.#limit = limit;
    this.#take = take;
  }

  push(bytes: Uint8Array): void {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const piece = text.slice(start, end);
      start = end + 1;
      if (this.#rest.length + piece.length > this.#limit) this.#tooLong();
      const line = this.#rest === "" ? piece : this.#rest + piece;
      this.#rest = "";
      this.#take(line.endsWith("\r") ? line.slice(0, -1) : line);
    }
    if (this.#rest.length + text.length - start > this.#limit) this.#tooLong();
    this.#rest += text.slice(start);
  }

  #tooLong(): never {
    this.#rest = "";
    throw new QtestError("protocol", `QEMU sent a line of more than ${this.#limit} bytes`);
  }
}

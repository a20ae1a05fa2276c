/** Remembers the newest output of a console, up to `limit` bytes. */
export class ConsoleLog {
  readonly #limit: number;
  #chunks: Uint8Array[] = [];
  #size = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#size += bytes.length;
    while (this.#chunks.length > 1 && this.#size - this.#chunks[0]!.length >= this.#limit)
      this.#size -= this.#chunks.shift()!.length;
  }

  text(): string {
    const text = Buffer.concat(this.#chunks).toString("utf8");
    return text.length > this.#limit ? text.slice(-this.#limit) : text;
  }

  /** The last `count` lines that hold anything. */
  lastLines(count: number): string[] {
    return this.text()
      .split(/\r*\n/)
      .filter((line) => line.trim() !== "")
      .slice(-count);
  }

  /** What stands behind the last line end: a prompt. */
  openLine(): string {
    return /[^\n]*$/.exec(this.text())![0];
  }
}

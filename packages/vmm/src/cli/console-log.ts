/** Output is kept in blocks of this many bytes: a guest that prints byte by byte must not make an object of each. */
const BLOCK = 64 * 1024;

class Blocks {
  readonly #blocks: Buffer[] = [];
  /** Bytes in the last block. */
  #used = BLOCK;
  size = 0;

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === BLOCK) {
        this.#blocks.push(Buffer.allocUnsafe(BLOCK));
        this.#used = 0;
      }
      const part = bytes.subarray(at, at + BLOCK - this.#used);
      this.#blocks.at(-1)!.set(part, this.#used);
      this.#used += part.length;
      this.size += part.length;
      at += part.length;
    }
  }

  /** Drops whole blocks from the front as long as `limit` bytes are left. */
  dropAllBut(limit: number): void {
    while (this.size - BLOCK >= limit && this.#blocks.length > 1) {
      this.#blocks.shift();
      this.size -= BLOCK;
    }
  }

  content(): Buffer {
    return Buffer.concat(this.#blocks, this.size);
  }
}

/** Keeps output from its beginning, up to `limit` bytes. */
export class KeptOutput {
  readonly #limit: number;
  readonly #blocks = new Blocks();
  #complete = true;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(bytes: Uint8Array): void {
    const room = this.#limit - this.#blocks.size;
    if (bytes.length > room) this.#complete = false;
    this.#blocks.push(bytes.subarray(0, room));
  }

  /** False when there was more than is kept. */
  get complete(): boolean {
    return this.#complete;
  }

  text(): string {
    return this.#blocks.content().toString("utf8");
  }
}

/** Remembers the newest output of a console, up to `limit` bytes. */
export class ConsoleLog {
  readonly #limit: number;
  readonly #blocks = new Blocks();

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(bytes: Uint8Array): void {
    this.#blocks.push(bytes);
    this.#blocks.dropAllBut(this.#limit);
  }

  text(): string {
    const text = this.#blocks.content().toString("utf8");
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

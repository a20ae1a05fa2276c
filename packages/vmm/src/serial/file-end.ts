import { close, closeSync, constants, fdatasync, fstatSync, openSync, write } from "node:fs";
import { promisify } from "node:util";
import { type SerialEnd, SerialEndError } from "./serial-end.ts";

/** How long a file that cannot take anything right now (a terminal's, a pipe's) is left alone, ms. */
const RETRY = 10;

/**
 * Appends output to a file. One write is under way at a time, on a thread of the host's, so that a slow disk costs the guest what the
 * port's policy says and nothing else. Closed, the bytes are on the disk.
 */
export class FileEnd implements SerialEnd {
  readonly description: string;
  readonly connected: boolean = true;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;
  readonly #file: number;
  #lost = 0;
  #closed = false;
  /** The last write failed, and so was told. */
  #failed = false;
  /** The write that is under way. */
  #writing: Promise<void> | undefined;

  /** Throws `SerialEndError` `cannot-open`. */
  constructor(path: string) {
    this.description = `file ${path}`;
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
    try {
      // Without O_NONBLOCK a named pipe without a reader would hold the whole host up.
      this.#file = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o644);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new SerialEndError("cannot-open", `cannot append to ${path}: ${code ?? String(error)}`, {
        cause: error,
      });
    }
    const about = fstatSync(this.#file);
    if (about.isFile() || about.isCharacterDevice()) return;
    closeSync(this.#file);
    throw new SerialEndError("cannot-open", `cannot append to ${path}: it is neither a file nor a device`);
  }

  get writable(): boolean {
    return this.#writing === undefined && !this.#closed;
  }

  get lost(): number {
    return this.#lost;
  }

  write(bytes: Uint8Array): void {
    this.#writing = this.#append(bytes).finally(() => {
      this.#writing = undefined;
      this.onChange?.();
    });
  }

  pauseInput(): void {}

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    // A device has nothing to sync and says so.
    await promisify(fdatasync)(this.#file).catch(() => undefined);
    await promisify(close)(this.#file).catch(() => undefined);
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      try {
        at += (await promisify(write)(this.#file, bytes, at)).bytesWritten;
        this.#failed = false;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "EAGAIN" && !this.#closed) {
          await new Promise((resolve) => setTimeout(resolve, RETRY));
          continue;
        }
        this.#lost += bytes.length - at;
        if (!this.#failed) this.onNews?.(`output to ${this.description} is lost: ${code ?? String(error)}`);
        this.#failed = true;
        return;
      }
    }
  }
}

import { closeSync, write } from "node:fs";
import { ReadStream } from "node:tty";
import { promisify } from "node:util";
import { openPseudoTerminal, type PseudoTerminal } from "./pseudo-terminal.ts";
import type { SerialEnd } from "./serial-end.ts";

/** How long a terminal that is full is left alone, ms: at first, and at most while nobody reads it. */
const FIRST_RETRY = 1;
const LAST_RETRY = 50;
/** What has been written is thrown away when the terminal is closed: how long its reader has to take it, ms, and how often that is looked at. */
const READING_TIME = 1000;
const LOOK = 5;

/**
 * A pseudo terminal for programs that want a serial device's name. Whether anybody reads it cannot be seen from this side: the
 * system keeps some kilobytes, and from then on the port's policy decides.
 */
export class PtyEnd implements SerialEnd {
  readonly description: string;
  /** Path of the terminal. */
  readonly path: string;
  readonly connected: boolean = true;
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;
  readonly #terminal: PseudoTerminal;
  /** Reads the master's side, and closes it. */
  readonly #reader: ReadStream;
  #lost = 0;
  #closed = false;
  #writing: Promise<void> | undefined;
  #wake: () => void = () => {};

  /** Rejects with `SerialEndError`: `unavailable` where koffi is not. */
  static async open(): Promise<PtyEnd> {
    return new PtyEnd(await openPseudoTerminal());
  }

  private constructor(terminal: PseudoTerminal) {
    this.#terminal = terminal;
    this.path = terminal.name;
    this.description = `pty ${terminal.name}`;
    // Only to read: what libuv writes to a terminal's master it tries until it is done, so one that nobody reads would stop
    // the whole host.
    this.#reader = new ReadStream(terminal.master);
    this.#reader.on("data", (bytes: Buffer) => this.onInput?.(bytes));
    this.#reader.on("error", () => {});
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

  pauseInput(paused: boolean): void {
    if (paused) this.#reader.pause();
    else this.#reader.resume();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake();
    await this.#writing;
    await this.#readByOthers();
    closeSync(this.#terminal.terminal);
    await new Promise<void>((resolve) => {
      this.#reader.once("close", () => resolve());
      this.#reader.destroy();
    });
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let wait = FIRST_RETRY;
    for (let at = 0; at < bytes.length; ) {
      try {
        at += (await promisify(write)(this.#terminal.master, bytes, at)).bytesWritten;
        wait = FIRST_RETRY;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || this.#closed) {
          this.#lost += bytes.length - at;
          return;
        }
        await this.#sleep(wait);
        wait = Math.min(2 * wait, LAST_RETRY);
      }
    }
  }

  /** Until the other side has read everything, or shows no sign of it. */
  async #readByOthers(): Promise<void> {
    const deadline = performance.now() + READING_TIME;
    // Twice in a row: what was just written may not have got there yet.
    for (let empty = 0; empty < 2 && performance.now() < deadline; ) {
      empty = this.#terminal.unread() === 0 ? empty + 1 : 0;
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
  }

  /** Ends early when the end is closed. */
  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

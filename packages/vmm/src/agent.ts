import { randomBytes } from "node:crypto";

/** How a command in the guest ended. */
export interface ExecResult {
  /** Exit status of the shell, 0 to 255. */
  readonly status: number;
}

interface PendingCommand {
  readonly nonce: string;
  readonly output: (bytes: Uint8Array) => void;
  readonly done: (result: ExecResult) => void;
}

const READY = /^ENTRESOL READY \d+\r?$/;
/** No line of the protocol is longer; more without a line end is noise of a guest that does not speak it. */
const LONGEST_LINE = 4096;

/**
 * The host's end of the control channel on COM2, which the guest's init serves. The guest sends lines, except between a
 * command and its end mark, where it sends the command's output as it is. The mark holds a nonce that the command cannot
 * know, so no output can end a command early.
 */
export class GuestAgent {
  readonly #send: (bytes: Uint8Array) => void;
  #line = "";
  #pending: PendingCommand | undefined;
  /** Bytes of output that could be the start of the end mark. */
  #held: number[] = [];
  #ready = false;
  #waiters: (() => void)[] = [];

  /** `send` carries bytes to the guest's COM2. */
  constructor(send: (bytes: Uint8Array) => void) {
    this.#send = send;
  }

  /** The guest's init has said that it takes commands. */
  get ready(): boolean {
    return this.#ready;
  }

  /** A command has not ended yet. */
  get busy(): boolean {
    return this.#pending !== undefined;
  }

  /** For a guest that was resumed: it said so before its snapshot. */
  markReady(): void {
    this.#ready = true;
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  /** Resolves when the guest takes commands. */
  whenReady(): Promise<void> {
    if (this.#ready) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Runs `command` in the guest's shell. `output` gets stdout and stderr as they come. One command at a time. */
  exec(command: string, output: (bytes: Uint8Array) => void): Promise<ExecResult> {
    if (this.#pending !== undefined) throw new Error("a command is already running in the guest");
    const nonce = randomBytes(16).toString("hex");
    const result = new Promise<ExecResult>((done) => {
      this.#pending = { nonce, output, done };
    });
    this.#sendLine(`EXEC ${nonce} ${Buffer.from(command, "utf8").toString("base64")}`);
    return result;
  }

  /** Asks init to power the machine off. */
  powerOff(): void {
    this.#sendLine("POWEROFF");
  }

  /** Tells the console's terminal its size. */
  resize(rows: number, columns: number): void {
    this.#sendLine(`SIZE ${rows} ${columns}`);
  }

  #sendLine(line: string): void {
    this.#send(Buffer.from(`${line}\n`, "latin1"));
  }

  /** Takes what the guest wrote to COM2. */
  receive(bytes: Uint8Array): void {
    let start = 0;
    while (start < bytes.length) {
      start =
        this.#pending === undefined
          ? this.#receiveLine(bytes, start)
          : this.#receiveOutput(this.#pending, bytes, start);
    }
  }

  #receiveLine(bytes: Uint8Array, start: number): number {
    const end = bytes.indexOf(0x0a, start);
    const part = bytes.subarray(start, end < 0 ? bytes.length : end);
    if (this.#line.length + part.length <= LONGEST_LINE) this.#line += Buffer.from(part).toString("latin1");
    if (end < 0) return bytes.length;
    if (READY.test(this.#line)) this.markReady();
    this.#line = "";
    return end + 1;
  }

  /** Passes output on, but for what could be the beginning of the mark `\nENTRESOL EXIT <nonce> <status>\n`. */
  #receiveOutput(pending: PendingCommand, bytes: Uint8Array, start: number): number {
    const mark = Buffer.from(`\nENTRESOL EXIT ${pending.nonce} `, "latin1");
    const held = this.#held;
    const out: number[] = [];
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (held.length < mark.length) {
        if (byte === mark[held.length]) {
          held.push(byte);
          continue;
        }
        // Only a line feed starts the mark, and there is one in it: nothing held can start it again.
        out.push(...held.splice(0));
        if (byte === mark[0]) held.push(byte);
        else out.push(byte);
        continue;
      }
      // The mark is whole: the status follows, up to the end of the line.
      if (byte !== 0x0a && held.length < mark.length + 8) {
        held.push(byte);
        continue;
      }
      const status = Number.parseInt(Buffer.from(held.slice(mark.length)).toString("latin1"), 10);
      held.length = 0;
      this.#pending = undefined;
      if (out.length > 0) pending.output(Uint8Array.from(out));
      pending.done({ status: Number.isNaN(status) ? 255 : status & 0xff });
      return i + 1;
    }
    if (out.length > 0) pending.output(Uint8Array.from(out));
    return bytes.length;
  }
}

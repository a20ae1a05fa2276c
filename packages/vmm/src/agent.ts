import { createHash } from "node:crypto";
import { VmError } from "./config.ts";

/** How a command in the guest ended. */
export interface ExecResult {
  /** Exit status of the shell, 0 to 255. */
  readonly status: number;
  /** The guest's agent was ended (`kill -9 -1`) before the command was: how that ended cannot be known. */
  readonly lost?: true;
}

interface PendingCommand {
  readonly nonce: string;
  readonly output: (bytes: Uint8Array) => void;
  readonly done: (result: ExecResult) => void;
}

const READY = /^ENTRESOL READY \d+\r?$/;
/** No line of the protocol is longer; more without a line end is noise of a guest that does not speak it. */
const LONGEST_LINE = 4096;

/** What a started agent says; in the middle of a command's output it may mean that the agent was ended and started again. */
const READY_LINE = "ENTRESOL READY 1\n";
/** An end mark is this, a nonce, a space, a status and a line feed. */
const MARK_START = Buffer.from("\nENTRESOL EXIT ", "latin1");
const LONGEST_MARK = MARK_START.length + 32 + 8;
const MARK = /^\nENTRESOL EXIT ([0-9a-f]{32}) (\d{1,3})\r?$/;

/**
 * The host's end of the control channel on COM2, which the guest's init serves. The guest sends lines, except between a
 * command and its end mark, where it sends the command's output as it is. The mark holds a nonce, so that no output ends a
 * command by accident.
 */
export class GuestAgent {
  readonly #send: (bytes: Uint8Array) => void;
  #line = "";
  #pending: PendingCommand | undefined;
  /** Bytes of output that could be the start of an end mark. */
  #held: number[] = [];
  /** The end of the output so far, as long as a READY line less one. */
  #tail = "";
  /** An empty command that was sent to find out whether `after`, which was under way, is still served. */
  #probe: { readonly nonce: string; readonly after: PendingCommand } | undefined;
  #commands = 0;
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

  /**
   * Runs `command` in the guest's shell. `output` gets stdout and stderr as they come. One command at a time. `ended` is called
   * in the moment in which the end is seen, which is at the same guest time in every run; a promise resolves a little later.
   * Throws `VmError` `already-running` while another command runs.
   */
  exec(
    command: string,
    output: (bytes: Uint8Array) => void,
    ended: (result: ExecResult) => void = () => {},
  ): Promise<ExecResult> {
    if (this.#pending !== undefined)
      throw new VmError("already-running", "a command is already running in the guest");
    const nonce = this.#nextNonce(command);
    const result = new Promise<ExecResult>((resolve) => {
      const done = (how: ExecResult): void => {
        ended(how);
        resolve(how);
      };
      this.#pending = { nonce, output, done };
    });
    this.#tail = "";
    this.#sendExec(nonce, command);
    return result;
  }

  /**
   * 128 bits that follow from the command: a random nonce would lie in the guest's RAM and make every run another one. A command
   * that is bent on ending itself early can do so, as it could by reading the agent's memory: it is root, and it is the caller's.
   */
  #nextNonce(command: string): string {
    this.#commands++;
    return createHash("sha256").update(`${this.#commands} ${command}`).digest("hex").slice(0, 32);
  }

  #sendExec(nonce: string, command: string): void {
    this.#sendLine(`EXEC ${nonce} ${Buffer.from(command, "utf8").toString("base64")}`);
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
    if (this.#probe !== undefined && this.#line.includes(this.#probe.nonce)) this.#probe = undefined;
    this.#line = "";
    return end + 1;
  }

  /** Passes output on, but for end marks and what could be the beginning of one. */
  #receiveOutput(pending: PendingCommand, bytes: Uint8Array, start: number): number {
    const out: number[] = [];
    let i = start;
    let result: ExecResult | undefined;
    while (i < bytes.length && result === undefined) result = this.#scan(pending, bytes[i++]!, out);
    if (result !== undefined) this.#pending = undefined;
    if (out.length > 0) pending.output(Uint8Array.from(out));
    if (result !== undefined) pending.done(result);
    else this.#watchForRestart(pending, bytes.subarray(start, i));
    return i;
  }

  /** One byte of output: to `out`, or held. Gives the command's end when the byte completes it. */
  #scan(pending: PendingCommand, byte: number, out: number[]): ExecResult | undefined {
    const held = this.#held;
    const inMark = held.length >= MARK_START.length;
    if (inMark ? byte !== 0x0a && held.length < LONGEST_MARK : byte === MARK_START[held.length]) {
      held.push(byte);
      return undefined;
    }
    const mark = inMark ? MARK.exec(Buffer.from(held).toString("latin1")) : null;
    if (mark !== null && byte === 0x0a) {
      if (mark[1] === pending.nonce) {
        held.length = 0;
        return { status: Number(mark[2]) & 0xff };
      }
      const probe = this.#probe;
      if (probe !== undefined && mark[1] === probe.nonce) {
        this.#probe = undefined;
        held.length = 0;
        // The agent takes one command after the other: it has come to this one without an end of the other.
        return probe.after === pending ? { status: 255, lost: true } : undefined;
      }
    }
    out.push(...held.splice(0));
    // Only a line feed starts a mark, and none is held but the first byte: nothing held can start another.
    if (byte === MARK_START[0]) held.push(byte);
    else out.push(byte);
    return undefined;
  }

  /**
   * The agent says READY only when it starts: then the one that served `pending` is gone. The command itself may have written the
   * line, so the agent is asked: an empty command behind the other one.
   */
  #watchForRestart(pending: PendingCommand, bytes: Uint8Array): void {
    const text = this.#tail + Buffer.from(bytes).toString("latin1");
    this.#tail = text.slice(1 - READY_LINE.length);
    if (this.#probe !== undefined || !text.includes(READY_LINE)) return;
    this.#probe = { nonce: this.#nextNonce(""), after: pending };
    this.#sendExec(this.#probe.nonce, "");
  }
}

import { OutputBudget } from "./output-budget.ts";
import { OutputQueue } from "./output-queue.ts";
import type { SerialEnd } from "./serial-end.ts";
import type { SerialLineSetting } from "./serial-setting.ts";

/** Wall-clock time that output has to leave when a port is parted from its end, ms. */
const FAREWELL = 2000;

/** What an end at a port asks of the port. */
export interface AttachmentHooks {
  /** Gives input to the UART and returns how many bytes it took. */
  feed(bytes: Uint8Array): number;
  /** The guest has not taken yet what it was sent before. */
  behind(): boolean;
  /** There is room for output again. */
  roomier(): void;
}

/** A port joined to an end: what waits between the two, and the policy that keeps it small. */
export class SerialAttachment {
  readonly end: SerialEnd;
  readonly line: SerialLineSetting;
  readonly #hooks: AttachmentHooks;
  readonly #queue = new OutputQueue();
  readonly #budget: OutputBudget | undefined;
  /** Input that the UART had no room for. */
  #input: Uint8Array = new Uint8Array(0);
  #dropped = 0;
  #release: (() => void) | undefined;
  #held: Promise<void> | undefined;

  constructor(end: SerialEnd, line: SerialLineSetting, hooks: AttachmentHooks) {
    this.end = end;
    this.line = line;
    this.#hooks = hooks;
    const { policy } = line;
    this.#budget = policy.kind === "budget" ? new OutputBudget(policy.rate, policy.burst) : undefined;
    end.onChange = () => this.#changed();
    end.onInput = (bytes) => this.#receive(bytes);
    // It rests when it is new, and when the port that it was at before had input waiting.
    end.pauseInput(false);
  }

  /** Bytes that the policy, a missing peer or the end cost. */
  get dropped(): number {
    return this.#dropped + this.end.lost;
  }

  /** Bytes that wait for the end. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** May the UART hand on `more` bytes? Only `stall` ever says no. */
  takes(more: number): boolean {
    if (this.line.policy.kind !== "stall" || !this.end.connected) return true;
    return this.#queue.length + more < this.line.keep;
  }

  /** While the machine is to rest, by the policy `hold`: resolves when it may go on. */
  get held(): Promise<void> | undefined {
    if (!this.#full) return undefined;
    this.#held ??= new Promise((resolve) => {
      this.#release = resolve;
    });
    return this.#held;
  }

  get #full(): boolean {
    return this.line.policy.kind === "hold" && this.end.connected && this.#queue.length >= this.line.keep;
  }

  /** Output of the guest's at guest time `now`, ns. */
  push(bytes: Uint8Array, now: number): void {
    const passed = this.#budget?.take(now, bytes.length) ?? bytes.length;
    this.#dropped += bytes.length - passed;
    this.#queue.push(passed === bytes.length ? bytes : bytes.subarray(0, passed));
    this.#drain();
  }

  /**
   * Hands the UART what waits for it, if the guest is idle or has taken all that was sent before: who sends faster than the guest's
   * programs read would fill the guest's buffers behind its driver, where bytes are lost.
   */
  pump(idle: boolean): void {
    if (this.#input.length === 0 || (this.#hooks.behind() && !idle)) return;
    this.#input = this.#input.subarray(this.#hooks.feed(this.#input));
    if (this.#input.length === 0) this.end.pauseInput(false);
  }

  /** Gives what waits some time to leave, then closes the end. */
  async close(): Promise<void> {
    this.end.onInput = undefined;
    const deadline = performance.now() + FAREWELL;
    while (this.#queue.length > 0 && this.end.connected && performance.now() < deadline) {
      this.#drain();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    this.#dropped += this.#queue.dropAllBut(0);
    this.end.onChange = undefined;
    await this.end.close();
    this.#release?.();
  }

  #receive(bytes: Uint8Array): void {
    const taken = this.#input.length > 0 || this.#hooks.behind() ? 0 : this.#hooks.feed(bytes);
    if (taken === bytes.length) return;
    this.#input = Buffer.concat([this.#input, bytes.subarray(taken)]);
    this.end.pauseInput(true);
  }

  #changed(): void {
    this.#drain();
    this.#hooks.roomier();
  }

  #drain(): void {
    while (this.#queue.length > 0 && this.end.writable) this.end.write(this.#queue.take());
    // Who waits for the end drops nothing as long as there is one: the UART or the whole machine stands still instead.
    const { kind } = this.line.policy;
    if (!this.end.connected || (kind !== "hold" && kind !== "stall"))
      this.#dropped += this.#queue.dropAllBut(this.line.keep);
    if (this.#held === undefined || this.#full) return;
    this.#held = undefined;
    this.#release?.();
  }
}

import { TpmStateError } from "@entresol/tpm";
import type { ExecutorState, TpmExecutor } from "../executor.ts";

/** A TPM for tests of registers: a command runs until the test ends it, and what was asked of it is written down. */
export class SlowExecutor implements TpmExecutor {
  /** Commands that were begun: locality and hex. */
  readonly commands: (readonly [locality: number, command: string])[] = [];
  /** Other requests, in order. */
  readonly log: string[] = [];
  established = false;
  powered = true;
  bufferSize = 4096;
  /** What a command that is not ended by the test answers at once; undefined: it runs. */
  answer: Uint8Array | undefined;
  #running = false;
  #response: Uint8Array | undefined;

  start(command: Uint8Array, locality: number): void {
    if (this.busy) return;
    this.commands.push([locality, Buffer.from(command).toString("hex")]);
    this.#running = true;
    if (this.answer !== undefined) this.end(this.answer);
  }
  /** The command that runs ends so. */
  end(response: Uint8Array): void {
    if (!this.#running) throw new Error("no command runs");
    this.#running = false;
    this.#response = response;
  }
  poll(): Uint8Array | undefined {
    const response = this.#response;
    this.#response = undefined;
    return response;
  }
  finish(): Uint8Array | undefined {
    if (this.#running) this.end(Uint8Array.of(0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0));
    return this.poll();
  }
  get busy(): boolean {
    return this.#running || this.#response !== undefined;
  }
  get running(): boolean {
    return this.#running;
  }
  cancel(): void {
    this.log.push("cancel");
  }
  hashStart(): void {
    this.log.push("hash start");
  }
  hashData(data: Uint8Array): void {
    this.log.push(`hash data ${Buffer.from(data).toString("hex")}`);
  }
  hashEnd(): void {
    this.log.push("hash end");
    this.established = true;
  }
  resetEstablished(locality: number): boolean {
    if (locality < 3) return false;
    this.established = false;
    return true;
  }
  setPhysicalPresence(present: boolean): void {
    this.log.push(`presence ${present}`);
  }
  power(on: boolean): void {
    this.#running = false;
    this.#response = undefined;
    this.powered = on;
    this.log.push(on ? "power on" : "power off");
  }
  setBufferSize(size: number): number {
    this.bufferSize = size;
    return size;
  }
  /** A command that runs has ended by then, as with every executor. */
  save(): ExecutorState {
    if (this.#running) this.end(Uint8Array.of(0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0));
    return {
      version: 1,
      powered: this.powered,
      established: this.established,
      bufferSize: this.bufferSize,
      permanent: Uint8Array.of(1, 2, 3),
      ...(this.#response && { response: this.#response }),
    };
  }
  restore(state: ExecutorState): void {
    if (state.permanent?.[0] !== 1) throw new TpmStateError("malformed", "no state of this TPM");
    this.powered = state.powered;
    this.established = state.established;
    this.bufferSize = state.bufferSize;
    this.#running = false;
    this.#response = state.response;
  }
}

import { StateKind } from "@entresol/tpm";
import type { ExecutorState, TpmExecutor } from "./executor.ts";
import type { TpmHost } from "./tpm-host.ts";

/**
 * Runs a command to its end in `start`: the guest's processor stands still meanwhile, so a machine stays deterministic, and no register ever
 * shows a command that runs.
 */
export class InlineExecutor implements TpmExecutor {
  readonly #host: TpmHost;
  #response: Uint8Array | undefined;
  #measuring = false;
  /** Of this machine, over its resets; the host's own one belongs to its control channel. */
  #established = false;

  constructor(host: TpmHost) {
    this.#host = host;
  }

  start(command: Uint8Array, locality: number): void {
    if (this.#response !== undefined) return;
    this.#measuring = false;
    this.#response = this.#host.execute(command, locality);
  }

  poll(): Uint8Array | undefined {
    const response = this.#response;
    this.#response = undefined;
    return response;
  }

  finish(): Uint8Array | undefined {
    return this.poll();
  }

  get busy(): boolean {
    return this.#response !== undefined;
  }

  /** Nothing runs by the time that somebody can ask. */
  cancel(): void {}

  hashStart(): void {
    this.#measuring = this.#host.running;
    this.#host.hashStart();
  }
  hashData(data: Uint8Array): void {
    this.#host.hashData(data);
  }
  hashEnd(): void {
    this.#host.hashEnd();
    if (this.#measuring) this.#established = true;
    this.#measuring = false;
  }

  get established(): boolean {
    return this.#established;
  }

  resetEstablished(locality: number): boolean {
    if (locality !== 3 && locality !== 4) return false;
    this.#established = false;
    return true;
  }

  setPhysicalPresence(present: boolean): void {
    this.#host.setPhysicalPresence(present);
  }

  power(on: boolean): void {
    this.#response = undefined;
    this.#measuring = false;
    if (on) this.#host.start();
    else this.#host.stop();
  }

  get powered(): boolean {
    return this.#host.running;
  }

  get bufferSize(): number {
    return this.#host.bufferSize;
  }

  setBufferSize(size: number): number {
    return this.#host.setBufferSize(size);
  }

  save(): ExecutorState {
    const host = this.#host;
    const powered = host.running;
    // Not handed over: a machine that was saved goes on, and is shut down in order later.
    const permanent = host.getState(StateKind.permanent, true, false)?.bytes;
    const running = powered ? host.getState(StateKind.volatile, true, false)?.bytes : undefined;
    return {
      version: 1,
      powered,
      established: this.#established,
      bufferSize: host.bufferSize,
      ...(permanent && { permanent }),
      ...(running && { volatile: running }),
      ...(this.#response && { response: this.#response }),
    };
  }

  restore(state: ExecutorState): void {
    const before = this.save();
    try {
      this.#put(state);
    } catch (error) {
      this.#put(before);
      throw error;
    }
  }

  #put(state: ExecutorState): void {
    const host = this.#host;
    host.stop();
    host.setBufferSize(state.bufferSize);
    // A host with a migration key gives states out under it, whatever was asked for.
    const encrypted = host.hasMigrationKey;
    if (state.permanent !== undefined) host.setState(StateKind.permanent, encrypted, state.permanent);
    if (state.volatile !== undefined) host.setState(StateKind.volatile, encrypted, state.volatile);
    if (state.powered) host.start(true);
    this.#established = state.established;
    this.#response = state.response;
    this.#measuring = false;
  }
}

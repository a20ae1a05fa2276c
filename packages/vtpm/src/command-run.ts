import type { Timebase, Timer } from "@entresol/devices";
import { Rc } from "@entresol/tpm-types";
import { bareResponse } from "./command-header.ts";
import type { TpmExecutor } from "./executor.ts";

/** Guest time in ns between two looks at a command that runs, for interrupts: who reads registers looks himself. */
export const lookInterval = 100_000;

/** The one command that a TPM's registers have given to its executor. */
export class CommandRun {
  readonly #executor: TpmExecutor;
  readonly #timebase: Timebase;
  readonly #timer: Timer;
  readonly #ended: (response: Uint8Array | undefined) => void;
  #executing = false;
  #abandoned = false;

  /** `ended` gets the response, or nothing when the command was abandoned. */
  constructor(
    name: string,
    executor: TpmExecutor,
    timebase: Timebase,
    ended: (response: Uint8Array | undefined) => void,
  ) {
    this.#executor = executor;
    this.#timebase = timebase;
    this.#ended = ended;
    this.#timer = timebase.timer(`${name} command`, () => {
      this.settle();
      if (this.#executing) this.#lookLater();
    });
  }

  get executing(): boolean {
    return this.#executing;
  }
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** While the machine's own software runs a command there, which is no guest's business, the guest is asked to come again. */
  start(command: Uint8Array, locality: number): void {
    if (this.#executor.busy) {
      this.#ended(bareResponse(Rc.RETRY));
      return;
    }
    this.#executing = true;
    this.#abandoned = false;
    this.#executor.start(command, locality);
    this.settle();
    if (this.#executing) this.#lookLater();
  }

  /** Is the command done? Called before a register is looked at. */
  settle(): void {
    if (!this.#executing) return;
    const response = this.#executor.poll();
    if (response === undefined) return;
    const abandoned = this.#abandoned;
    this.#forget();
    this.#ended(abandoned ? undefined : response);
  }

  cancel(): void {
    if (this.#executing) this.#executor.cancel();
  }

  /** Ends the command early, and its response goes to nobody. */
  abandon(): void {
    this.#abandoned = this.#executing;
    this.cancel();
  }

  #lookLater(): void {
    this.#timer.arm(this.#timebase.now() + lookInterval);
  }

  #forget(): void {
    this.#executing = false;
    this.#abandoned = false;
    this.#timer.disarm();
  }

  reset(): void {
    this.#forget();
  }

  /** Puts a saved one back: the executor was restored before. */
  put(executing: boolean, abandoned: boolean): void {
    this.#forget();
    this.#executing = executing;
    this.#abandoned = abandoned;
    if (executing) this.#lookLater();
  }
}

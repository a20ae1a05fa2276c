import type { TpmExecutor } from "./executor.ts";
import { type LocalityArbiter, noLocality } from "./locality-arbiter.ts";

/** The locality that only hardware has: its writes come from a processor that starts a dynamic root of trust. */
export const hardwareLocality = 4;

/** TPM_HASH_START, _DATA, _END of locality 4 (PTP 1.05): what is measured between them goes to PCR 17, or to PCR 0 before TPM2_Startup. */
export class HashSequence {
  readonly #executor: TpmExecutor;
  readonly #arbiter: LocalityArbiter;
  #open = false;

  constructor(executor: TpmExecutor, arbiter: LocalityArbiter) {
    this.#executor = executor;
    this.#arbiter = arbiter;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Without effect while another locality is active: nobody is thrown out for it. */
  start(): void {
    const { active } = this.#arbiter;
    if (active !== noLocality && active !== hardwareLocality) return;
    this.#arbiter.request(hardwareLocality);
    this.#open = true;
    this.#executor.hashStart();
  }

  data(data: Uint8Array): void {
    if (this.#open) this.#executor.hashData(data);
  }

  end(): void {
    if (!this.#open) return;
    this.#executor.hashEnd();
    this.#open = false;
    this.#arbiter.relinquish(hardwareLocality);
  }

  /** Locality 4 has lost the TPM, or the machine was reset: what was begun is not measured. */
  close(): void {
    this.#open = false;
  }

  put(open: boolean): void {
    this.#open = open;
  }
}

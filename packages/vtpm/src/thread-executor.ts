import type { RsaPrivate } from "@entresol/tpm";
import type { ExecutorState, TpmExecutor } from "./executor.ts";
import { InlineExecutor } from "./inline-executor.ts";
import { type KeySearcher, type KeySearchInProgress, searchOnThread } from "./key-search-thread.ts";
import type { TpmHost } from "./tpm-host.ts";

/**
 * Runs short commands in `start`, as `InlineExecutor` does, and lets other threads search for long keys: the guest runs on meanwhile, sees a command
 * that is executing, and may cancel it. How long that takes is not the same in every run.
 */
export class ThreadExecutor implements TpmExecutor {
  readonly #host: TpmHost;
  readonly #inline: InlineExecutor;
  #search: { readonly progress: KeySearchInProgress; readonly tell: (key: RsaPrivate) => void } | undefined;
  #response: Uint8Array | undefined;

  /** `makeHost` makes the TPM's board, with this `searchKey`. */
  constructor(makeHost: (searchKey: KeySearcher) => TpmHost, begin: KeySearcher = searchOnThread) {
    this.#host = makeHost((search) => this.#polled(begin(search)));
    this.#inline = new InlineExecutor(this.#host);
  }

  /** A search whose end is found out by `poll` and `wait`: who is in the middle of a guest's access gets no messages. */
  #polled(progress: KeySearchInProgress): KeySearchInProgress {
    return {
      ...progress,
      whenFound: (tell) => {
        this.#search = { progress, tell };
      },
      cancel: () => {
        this.#search = undefined;
        progress.cancel();
      },
    };
  }

  start(command: Uint8Array, locality: number): void {
    if (this.busy) return;
    this.#host.submit(command, locality, (response) => {
      this.#response = response;
    });
  }

  poll(): Uint8Array | undefined {
    const key = this.#search?.progress.poll();
    if (key !== undefined) this.#found(key);
    return this.#take();
  }

  finish(): Uint8Array | undefined {
    this.#settle();
    return this.#take();
  }

  #take(): Uint8Array | undefined {
    const response = this.#response;
    this.#response = undefined;
    return response;
  }

  #found(key: RsaPrivate): void {
    const search = this.#search;
    this.#search = undefined;
    search?.tell(key);
  }

  /** The command that runs comes to its end first. */
  #settle(): void {
    while (this.#search !== undefined) this.#found(this.#search.progress.wait());
  }

  get busy(): boolean {
    return this.#search !== undefined || this.#response !== undefined;
  }

  cancel(): void {
    if (this.#search !== undefined) this.#host.cancel();
  }

  hashStart(): void {
    this.#settle();
    this.#inline.hashStart();
  }
  hashData(data: Uint8Array): void {
    this.#inline.hashData(data);
  }
  hashEnd(): void {
    this.#inline.hashEnd();
  }

  get established(): boolean {
    return this.#inline.established;
  }
  resetEstablished(locality: number): boolean {
    return this.#inline.resetEstablished(locality);
  }
  setPhysicalPresence(present: boolean): void {
    this.#inline.setPhysicalPresence(present);
  }

  power(on: boolean): void {
    this.cancel();
    this.#response = undefined;
    this.#inline.power(on);
  }
  get powered(): boolean {
    return this.#inline.powered;
  }
  get bufferSize(): number {
    return this.#inline.bufferSize;
  }
  setBufferSize(size: number): number {
    return this.#inline.setBufferSize(size);
  }

  save(): ExecutorState {
    this.#settle();
    return { ...this.#inline.save(), ...(this.#response && { response: this.#response }) };
  }

  restore(state: ExecutorState): void {
    this.#settle();
    const before = this.#response;
    this.#response = undefined;
    try {
      this.#inline.restore(state);
      this.#response = this.#inline.poll();
    } catch (error) {
      this.#response = before;
      throw error;
    }
  }
}

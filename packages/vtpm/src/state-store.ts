import type { NvStore } from "@entresol/tpm";

/**
 * Where a service keeps what its TPM is: the NV, and the volatile state of a TPM that is to go on where it was. `FileNvStore` is one. A
 * volatile state goes with the NV of its moment: a commit after it makes it void.
 */
export interface StateStore extends NvStore {
  /** The newest permanent state; undefined: there is no TPM yet. */
  load(): Uint8Array | undefined;
  loadVolatile(): Uint8Array | undefined;
  saveVolatile(state: Uint8Array): void;
  deleteVolatile(): void;
}

/** A TPM that is gone when its process is. */
export class MemoryStore implements StateStore {
  #permanent: Uint8Array | undefined;
  #volatile: Uint8Array | undefined;

  load(): Uint8Array | undefined {
    return this.#permanent;
  }
  commit(permanent: Uint8Array): void {
    this.#permanent = permanent;
    this.#volatile = undefined;
  }
  loadVolatile(): Uint8Array | undefined {
    return this.#volatile;
  }
  saveVolatile(state: Uint8Array): void {
    this.#volatile = state;
  }
  deleteVolatile(): void {
    this.#volatile = undefined;
  }
}

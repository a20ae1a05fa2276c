import { mkdirSync } from "node:fs";
import { FileNvStore } from "@entresol/tpm";
import { StateLock, type StateStore } from "@entresol/vtpm";
import { EntresolError } from "@entresol/wire";
import { VmError } from "../config.ts";

/** Permission bits of a folder that was not there. */
const FOLDER_MODE = 0o700;

function unusable(folder: string, error: unknown): VmError {
  const why = error instanceof Error ? error.message : String(error);
  return new VmError("bad-config", `tpm.state: ${folder} cannot be used: ${why}`, { cause: error });
}

/** Those above it must be there: what is misspelt is not made. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, FOLDER_MODE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/**
 * The permanent state of a machine's TPM in a folder, which is this machine's alone until it is closed. What goes with power stays in memory:
 * a machine's snapshot has it, and nobody else could go on from it.
 */
export class StateFolder implements StateStore {
  readonly #lock: StateLock;
  readonly #files: FileNvStore;
  #volatile: Uint8Array | undefined;

  private constructor(lock: StateLock, files: FileNvStore) {
    this.#lock = lock;
    this.#files = files;
  }

  /** Makes the folder when it is not there, in one that is. Throws `VmError` `bad-config`: another machine has it, or it cannot be read and written. */
  static async open(folder: string): Promise<StateFolder> {
    try {
      makeFolder(folder);
      const lock = await StateLock.acquire(folder);
      try {
        const files = FileNvStore.open(folder);
        files.load();
        return new StateFolder(lock, files);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      if (error instanceof EntresolError || (error as NodeJS.ErrnoException).code !== undefined)
        throw unusable(folder, error);
      throw error;
    }
  }

  load(): Uint8Array | undefined {
    return this.#files.load();
  }
  commit(permanent: Uint8Array): void {
    this.#files.commit(permanent);
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

  async close(): Promise<void> {
    this.#files.close();
    await this.#lock.release();
  }
}

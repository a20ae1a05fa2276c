import { basename, dirname } from "node:path";
import { FileNvStore, type FileNvStoreOptions } from "@entresol/tpm";
import { StateLock, StateLockError, type StateLockOptions } from "./state-lock.ts";
import type { StateStore } from "./state-store.ts";

/**
 * A state folder that is read and written only while this process has its lock. On storage that two machines share, a machine that moves lets go of it
 * for the other one.
 */
export class LockedState implements StateStore {
  readonly #path: string;
  readonly #kind: "folder" | "file";
  readonly #options: FileNvStoreOptions;
  readonly #onFallBack: () => void;
  #lock: StateLock | undefined;
  #locking: Promise<void> | undefined;
  #files: FileNvStore | undefined;

  /**
   * Does not touch the folder, or the single file that there is in its place: that begins with `lock`. `onFallBack` is told when the state that was loaded
   * may be the one before the last.
   */
  constructor(
    path: string,
    options: FileNvStoreOptions = {},
    kind: "folder" | "file" = "folder",
    onFallBack: () => void = () => {},
  ) {
    this.#path = path;
    this.#options = options;
    this.#kind = kind;
    this.#onFallBack = onFallBack;
  }

  get held(): boolean {
    return this.#lock !== undefined;
  }

  /** Without effect when it is held; whoever asks meanwhile waits for the same. Throws as `StateLock.acquire` and `FileNvStore.open` do. */
  async lock(options: StateLockOptions = {}): Promise<void> {
    if (this.#lock !== undefined) return;
    this.#locking ??= this.#take(options).finally(() => {
      this.#locking = undefined;
    });
    await this.#locking;
  }

  async #take(options: StateLockOptions): Promise<void> {
    const lock =
      this.#kind === "folder"
        ? await StateLock.acquire(this.#path, options)
        : await StateLock.acquire(dirname(this.#path), { ...options, name: basename(this.#path) });
    try {
      // Anew: somebody else may have gone on with it.
      this.#files = FileNvStore.open(this.#path, this.#options);
      this.#lock = lock;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Lets go of the folder. Until the next `lock` there is nothing to be read, and nothing is kept. */
  async unlock(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    this.#files?.close();
    this.#files = undefined;
    await lock?.release();
  }

  /** Throws `StateLockError` `locked`. */
  #held(): FileNvStore {
    if (this.#files !== undefined) return this.#files;
    throw new StateLockError("locked", `${this.#path}: the state is not locked for this service`);
  }

  load(): Uint8Array | undefined {
    const files = this.#held();
    const permanent = files.load();
    if (files.fellBack) this.#onFallBack();
    return permanent;
  }
  commit(permanent: Uint8Array): void {
    this.#held().commit(permanent);
  }
  loadVolatile(): Uint8Array | undefined {
    return this.#held().loadVolatile();
  }
  saveVolatile(state: Uint8Array): void {
    this.#held().saveVolatile(state);
  }
  deleteVolatile(): void {
    this.#held().deleteVolatile();
  }
}

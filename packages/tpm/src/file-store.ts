import { join } from "node:path";
import { TpmStateError } from "./saved-state.ts";
import { StateKind as Kind, openState, StateKey, type StateKind, sealState } from "./sealed-state.ts";
import { type StoreFiles, systemFiles } from "./store-files.ts";
import type { NvStore } from "./tpm.ts";

/**
 * A number that is kept where the state is not, and never goes back: by it an old state that was put in the place of a newer one is found out.
 * `advance` throws when the number could not be kept.
 */
export interface EpochAnchor {
  /** Undefined: nothing was kept yet. */
  read(): bigint | undefined;
  advance(epoch: bigint): void;
}

export interface FileNvStoreOptions {
  /** 16 bytes or more: states are encrypted and authenticated (AES-256-GCM). Without, they only have a checksum. */
  readonly key?: Uint8Array;
  readonly anchor?: EpochAnchor;
  /** Permission bits of the files. */
  readonly mode?: number;
  readonly files?: StoreFiles;
}

/** The last two states, by turns. */
const generations = ["tpm2-0.state", "tpm2-1.state"] as const;
const VOLATILE = "tpm2-volatile.state";
const TEMPORARY = "tpm2.state.tmp";
const MODE = 0o600;
/** An epoch above that was made up, and the one after it would have no room. */
const LAST_EPOCH = 2n ** 63n;

/**
 * NV in a folder, in two generations. A commit writes over the older of them and makes that durable: whenever the process or the machine ends, the
 * other one holds the state of the last commit that returned. What was cut off in the middle of a write does not have its checksum. A generation
 * that is not there yet is made under another name, and gets its own when it is whole.
 */
export class FileNvStore implements NvStore {
  readonly #folder: string;
  readonly #files: StoreFiles;
  readonly #key: StateKey | undefined;
  readonly #anchor: EpochAnchor | undefined;
  readonly #mode: number;
  #folderFile: number | undefined;
  /** The generations' files, once they were written to. */
  readonly #open: (number | undefined)[] = [undefined, undefined];
  /** Index of the generation that holds the newest state, and its epoch. */
  #newest = 1;
  #epoch = 0n;
  #loaded = false;
  #fellBack = false;
  /** The state of the last commit, where there is an anchor. */
  #permanent: Uint8Array | undefined;

  private constructor(folder: string, options: FileNvStoreOptions) {
    this.#folder = folder;
    this.#files = options.files ?? systemFiles;
    this.#key = options.key === undefined ? undefined : new StateKey(options.key);
    this.#anchor = options.anchor;
    this.#mode = options.mode ?? MODE;
    this.#folderFile = this.#files.openFolder(folder);
  }

  /** Opens a folder that is there. Throws what the system throws. */
  static open(folder: string, options: FileNvStoreOptions = {}): FileNvStore {
    return new FileNvStore(folder, options);
  }

  /** Counts the commits of this TPM. */
  get epoch(): bigint {
    return this.#epoch;
  }

  /**
   * Was a generation damaged, by a commit that was cut off or in another way, or is there none or another where one must have been, so that the
   * other one was taken? It may be the state before the last commit then, and without an anchor nobody knows.
   */
  get fellBack(): boolean {
    return this.#fellBack;
  }

  /**
   * The permanent state of the last commit; undefined in a folder without one. Throws `TpmStateError`: as `openState` says of the files,
   * and `rolled-back` when the state is older than the anchor knows it to be.
   */
  load(): Uint8Array | undefined {
    let newest: { index: number; epoch: bigint; state: Uint8Array } | undefined;
    const faults: unknown[] = [];
    const epochs = new Set<bigint>();
    for (const [index, name] of generations.entries()) {
      try {
        const sealed = this.#files.read(this.#path(name));
        if (sealed === undefined) continue;
        const { epoch, state } = openState(Kind.permanent, sealed, this.#key);
        if (epoch > LAST_EPOCH) throw new TpmStateError("malformed", `nobody has committed ${epoch} times`);
        epochs.add(epoch);
        if (newest === undefined || epoch > newest.epoch) newest = { index, epoch, state };
      } catch (error) {
        // Of a disk that cannot be read nothing is known: there may be a newer state.
        if (!(error instanceof TpmStateError)) throw error;
        faults.push(error);
      }
    }
    if (newest === undefined && faults.length > 0) throw faults[0];
    const least = this.#anchor?.read() ?? 0n;
    if ((newest?.epoch ?? 0n) < least)
      throw new TpmStateError(
        "rolled-back",
        `the state is of epoch ${newest?.epoch ?? 0n}, and epoch ${least} has been seen: it was put back to an older one`,
      );
    this.#loaded = true;
    // The commit before the newest one is in the other generation, always.
    this.#fellBack =
      faults.length > 0 || (newest !== undefined && newest.epoch > 1n && !epochs.has(newest.epoch - 1n));
    if (newest === undefined) return undefined;
    this.#newest = newest.index;
    this.#epoch = newest.epoch;
    this.#remember(newest.state);
    return newest.state;
  }

  /**
   * Throws what the system throws; then the state of before is there, or the new one. Throws `TpmStateError` `rolled-back` and writes nothing when the
   * anchor has gone on without this store: a clone of the TPM has it as well.
   */
  commit(permanent: Uint8Array): void {
    // What is there must not be overwritten unseen.
    if (!this.#loaded) this.load();
    const seen = this.#anchor?.read() ?? 0n;
    if (seen > this.#epoch)
      throw new TpmStateError(
        "rolled-back",
        `epoch ${seen} has been seen, and this is ${this.#epoch}: somebody else goes on with a copy of the state`,
      );
    const epoch = this.#epoch + 1n;
    const index = 1 - this.#newest;
    this.#writeGeneration(index, sealState(Kind.permanent, epoch, permanent, this.#key));
    this.#newest = index;
    this.#epoch = epoch;
    this.#remember(permanent);
    this.#anchor?.advance(epoch);
  }

  #remember(permanent: Uint8Array): void {
    if (this.#anchor !== undefined) this.#permanent = permanent.slice();
  }

  /**
   * Keeps the state of a running TPM, apart from NV. With an anchor this is a commit as well: PCR and counters of a volatile state that was kept
   * before, put in the place of this one, would otherwise go back unseen.
   */
  saveVolatile(running: Uint8Array): void {
    if (this.#anchor !== undefined) {
      if (!this.#loaded) this.load();
      if (this.#permanent !== undefined) this.commit(this.#permanent);
    }
    this.#replace(VOLATILE, sealState(Kind.volatile, this.#epoch, running, this.#key));
  }

  /** Undefined when none was kept, or NV has gone on since: it would not fit. Throws `TpmStateError`. */
  loadVolatile(): Uint8Array | undefined {
    if (!this.#loaded) this.load();
    const sealed = this.#files.read(this.#path(VOLATILE));
    if (sealed === undefined) return undefined;
    const { epoch, state } = openState(Kind.volatile satisfies StateKind, sealed, this.#key);
    return epoch === this.#epoch ? state : undefined;
  }

  deleteVolatile(): void {
    this.#files.remove(this.#path(VOLATILE));
    this.#syncFolder();
  }

  /** Removes every state from the folder. The next commit is of epoch 1, or of the one after what the anchor knows. */
  erase(): void {
    for (const index of this.#open.keys()) this.#closeGeneration(index);
    for (const name of [VOLATILE, TEMPORARY, ...generations]) this.#files.remove(this.#path(name));
    this.#syncFolder();
    this.#epoch = this.#anchor?.read() ?? 0n;
    this.#newest = 1;
    this.#loaded = true;
    this.#fellBack = false;
    this.#permanent = undefined;
  }

  close(): void {
    for (const index of this.#open.keys()) this.#closeGeneration(index);
    if (this.#folderFile !== undefined) this.#files.close(this.#folderFile);
    this.#folderFile = undefined;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #writeGeneration(index: number, sealed: Uint8Array): void {
    if (this.#folderFile === undefined) throw new Error("the store is closed");
    const path = this.#path(generations[index]!);
    for (;;) {
      this.#open[index] ??= this.#files.reopen(path);
      const file = this.#open[index];
      if (file === undefined) {
        this.#replace(generations[index]!, sealed);
        return;
      }
      if (this.#files.write(file, sealed)) {
        this.#files.sync(file);
        return;
      }
      // Somebody has removed it, or put another in its place.
      this.#closeGeneration(index);
    }
  }

  #closeGeneration(index: number): void {
    const file = this.#open[index];
    if (file !== undefined) this.#files.close(file);
    this.#open[index] = undefined;
  }

  #replace(name: string, bytes: Uint8Array): void {
    const temporary = this.#path(TEMPORARY);
    // A process that was ended may have left one.
    this.#files.remove(temporary);
    try {
      const file = this.#files.create(temporary, this.#mode);
      try {
        this.#files.write(file, bytes);
        this.#files.sync(file);
      } finally {
        this.#files.close(file);
      }
      this.#files.rename(temporary, this.#path(name));
    } catch (error) {
      this.#files.remove(temporary);
      throw error;
    }
    // Without this a name may point to the old file again after the power went.
    this.#syncFolder();
  }

  #syncFolder(): void {
    if (this.#folderFile === undefined) throw new Error("the store is closed");
    this.#files.syncFolder(this.#folderFile);
  }
}

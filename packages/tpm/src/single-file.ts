import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { basename } from "node:path";
import { TpmStateError } from "./saved-state.ts";
import type { StoreFiles } from "./store-files.ts";

/*
 * A store's files in one file, or on a block device: an area for each, 4 KiB from the start. An area begins with 12 bytes, big-endian: "ENTF", 1 when
 * there is a file and else 0, its length. The rest is zero.
 */

const MAGIC = 0x454e_5446;
const HEADER = 12;
const FIRST_AREA = 4096;
const AREA = 1024 * 1024;
const areas = ["tpm2-0.state", "tpm2-1.state", "tpm2-volatile.state"] as const;

/** Bytes that a block device needs. */
export const SINGLE_FILE_SIZE: number = FIRST_AREA + areas.length * AREA;

/** A file that is open: an area, or one under a name that has none yet, which is kept in memory until it gets its own. */
type OpenFile =
  | { readonly kind: "folder" }
  | { readonly kind: "area"; readonly at: number }
  | { readonly kind: "new"; readonly path: string };

/** Where a file is; undefined: nowhere. */
function areaOf(path: string): number | undefined {
  const index = (areas as readonly string[]).indexOf(basename(path));
  return index < 0 ? undefined : FIRST_AREA + index * AREA;
}

/**
 * The files of a store whose "folder" is the path of that file. Throws what the system throws, and `TpmStateError`
 * `malformed` for what is neither a file nor a block device, or has something else in it.
 */
export class SingleFile implements StoreFiles {
  readonly #mode: number | undefined;
  #container: number | undefined;
  readonly #open = new Map<number, OpenFile>();
  /** What was written to new files, by their paths. */
  readonly #new = new Map<string, Uint8Array>();
  #next = 1;

  /** `mode`: permission bits of a file that is made; undefined: it has to be there. */
  constructor(mode: number | undefined) {
    this.#mode = mode;
  }

  openFolder(path: string): number {
    const made = this.#mode === undefined ? 0 : constants.O_CREAT;
    const flags = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK | made;
    const file = openSync(path, flags, this.#mode ?? 0);
    const status = fstatSync(file);
    if (!status.isFile() && !status.isBlockDevice()) {
      closeSync(file);
      throw new TpmStateError("malformed", `${path} is neither a file nor a block device`);
    }
    this.#container = file;
    return this.#remember({ kind: "folder" });
  }

  #file(): number {
    if (this.#container === undefined) throw new Error("the store is closed");
    return this.#container;
  }

  #remember(file: OpenFile): number {
    const number = this.#next++;
    this.#open.set(number, file);
    return number;
  }

  #readAt(at: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let have = 0;
    while (have < length) {
      const got = readSync(this.#file(), bytes, have, length - have, at + have);
      if (got === 0) break;
      have += got;
    }
    return bytes.subarray(0, have);
  }

  #writeAt(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#file(), bytes, done, bytes.length - done, at + done);
  }

  /** Length of the file in an area; undefined: there is none. */
  #lengthAt(at: number): number | undefined {
    const header = this.#readAt(at, HEADER);
    if (header.every((byte) => byte === 0)) return undefined;
    const view = new DataView(header.buffer);
    if (header.length < HEADER || view.getUint32(0) !== MAGIC || view.getUint32(4) > 1)
      throw new TpmStateError("malformed", "there is something else than a TPM's state in the file");
    const length = view.getUint32(8);
    if (length > AREA - HEADER) throw new TpmStateError("malformed", "the state is longer than its area");
    return view.getUint32(4) === 1 ? length : undefined;
  }

  #writeHeader(at: number, length: number | undefined): void {
    const header = new DataView(new ArrayBuffer(HEADER));
    header.setUint32(0, MAGIC);
    header.setUint32(4, length === undefined ? 0 : 1);
    header.setUint32(8, length ?? 0);
    this.#writeAt(at, new Uint8Array(header.buffer));
  }

  read(path: string): Uint8Array | undefined {
    const at = areaOf(path);
    const length = at === undefined ? undefined : this.#lengthAt(at);
    return length === undefined ? undefined : this.#readAt(at! + HEADER, length);
  }

  create(path: string): number {
    this.#new.set(path, new Uint8Array(0));
    return this.#remember({ kind: "new", path });
  }

  /** What is damaged is made anew: the other generation has been found by then. */
  reopen(path: string): number | undefined {
    const at = areaOf(path);
    if (at === undefined || !this.#isWhole(at)) return undefined;
    return this.#remember({ kind: "area", at });
  }

  #isWhole(at: number): boolean {
    try {
      return this.#lengthAt(at) !== undefined;
    } catch (error) {
      if (error instanceof TpmStateError) return false;
      throw error;
    }
  }

  write(number: number, bytes: Uint8Array): boolean {
    const file = this.#open.get(number);
    if (bytes.length > AREA - HEADER) throw new RangeError("the state is longer than its area");
    if (file?.kind === "new") this.#new.set(file.path, bytes);
    else if (file?.kind === "area") {
      this.#writeAt(file.at + HEADER, bytes);
      this.#writeHeader(file.at, bytes.length);
    }
    return file !== undefined;
  }

  sync(): void {
    fdatasyncSync(this.#file());
  }
  syncFolder(): void {
    fsyncSync(this.#file());
  }

  close(number: number): void {
    const file = this.#open.get(number);
    this.#open.delete(number);
    if (file?.kind !== "folder" || this.#container === undefined) return;
    closeSync(this.#container);
    this.#container = undefined;
  }

  /** What a file of this name was is away first: half of the new one must not be taken for a whole one. */
  rename(from: string, to: string): void {
    const at = areaOf(to);
    const bytes = this.#new.get(from);
    if (at === undefined || bytes === undefined) throw new Error(`${from} cannot be ${to}`);
    this.#new.delete(from);
    this.#writeHeader(at, undefined);
    this.sync();
    this.#writeAt(at + HEADER, bytes);
    this.sync();
    this.#writeHeader(at, bytes.length);
    this.sync();
  }

  remove(path: string): void {
    this.#new.delete(path);
    const at = areaOf(path);
    if (at !== undefined && this.#lengthAt(at) !== undefined) this.#writeHeader(at, undefined);
  }
}

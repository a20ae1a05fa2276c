import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { TpmStateError } from "./saved-state.ts";

/** What a store does with its folder. Paths are whole; everything throws what the system throws. */
export interface StoreFiles {
  /** Undefined when there is no such file. */
  read(path: string): Uint8Array | undefined;
  /** A new file; one that is there already is an error. */
  create(path: string, mode: number): number;
  /** A file that is there, to be written over; undefined when there is none, or none that may be written to: then one is made in its place. */
  reopen(path: string): number | undefined;
  /** The file holds these bytes then, and nothing else. False: it has no name any more, so nobody will find it. */
  write(file: number, bytes: Uint8Array): boolean;
  /** What was written is durable when this returns. */
  sync(file: number): void;
  /** So are the names in the folder. */
  syncFolder(folder: number): void;
  close(file: number): void;
  /** In one step, in place of what had the name. */
  rename(from: string, to: string): void;
  /** Without effect when there is no such file. */
  remove(path: string): void;
  openFolder(path: string): number;
}

/** No state is nearly as large; a larger file is none. */
const LARGEST = 16 * 1024 * 1024;

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

/** Files of the system. Links are not followed: whoever may write to the folder must not direct reads or writes elsewhere. */
export const systemFiles: StoreFiles = {
  read(path) {
    let file: number;
    try {
      file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    try {
      const status = fstatSync(file);
      if (!status.isFile() || status.size > LARGEST)
        throw new TpmStateError("malformed", `${path} is no file that a state could be in`);
      return new Uint8Array(readFileSync(file));
    } finally {
      closeSync(file);
    }
  },
  create: (path, mode) =>
    openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, mode),
  reopen(path) {
    let file: number;
    try {
      file = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      // A pipe without a reader.
      const unusable = ["EACCES", "ENXIO"].includes((error as NodeJS.ErrnoException).code ?? "");
      if (isMissing(error) || unusable) return undefined;
      throw error;
    }
    if (fstatSync(file).isFile()) return file;
    closeSync(file);
    return undefined;
  },
  write(file, bytes) {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, at);
    // A state is nearly always as long as the one before it: then nothing changes but the content, which a disk has written down in half the time.
    const { size, nlink } = fstatSync(file);
    if (size > bytes.length) ftruncateSync(file, bytes.length);
    return nlink > 0;
  },
  // The content, and of what else the system keeps of a file only what the content is found by.
  sync: fdatasyncSync,
  syncFolder: fsyncSync,
  close: closeSync,
  rename: renameSync,
  remove(path) {
    try {
      unlinkSync(path);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  },
  openFolder: (path) => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY),
};

import { createHash } from "node:crypto";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { asGpa, type GuestMemory } from "@entresol/hypervisor";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import { VmError } from "./config.ts";

/*
 * A snapshot file, all integers little-endian:
 *
 *   0   8  "ENTRSNAP"
 *   8   4  format version
 *  12   4  length H of the header
 *  16   8  number P of pages
 *  24   H  header: CBOR, what the caller gives
 *       4P page numbers, ascending
 *       4096P the pages
 *       32 SHA-256 of everything before
 *
 * Pages that are all zero are left out. The digest is checked before anything is used.
 */

const MAGIC = Buffer.from("ENTRSNAP", "latin1");
const FORMAT = 1;
const PREFIX = 24;
const DIGEST = 32;
const PAGE = 4096;
const CHUNK_PAGES = 256;
const zeroPage = Buffer.alloc(PAGE);

/** Writes header and RAM to `path`: to a file beside it first, synced, then renamed, so that `path` is never half written. */
export function writeSnapshot(path: string, header: unknown, memory: GuestMemory): void {
  // Renaming would put a file in the place of a device such as /dev/null.
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false)
    throw new VmError("bad-snapshot", `${path} is there and no regular file: no snapshot can take its place`);
  const chunk = Buffer.alloc(CHUNK_PAGES * PAGE);
  const forEachPage = (visit: (page: number, bytes: Buffer) => void): void => {
    for (let at = 0; at < memory.size; at += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, memory.size - at));
      memory.read(asGpa(at), part);
      for (let offset = 0; offset < part.length; offset += PAGE) {
        const bytes = part.subarray(offset, offset + PAGE);
        if (!bytes.equals(zeroPage)) visit((at + offset) / PAGE, bytes);
      }
    }
  };
  const pages: number[] = [];
  forEachPage((page) => pages.push(page));

  const encoded = encodeCbor(header);
  const head = Buffer.alloc(PREFIX + encoded.length + 4 * pages.length);
  MAGIC.copy(head);
  head.writeUInt32LE(FORMAT, 8);
  head.writeUInt32LE(encoded.length, 12);
  head.writeBigUInt64LE(BigInt(pages.length), 16);
  head.set(encoded, PREFIX);
  pages.forEach((page, i) => {
    head.writeUInt32LE(page, PREFIX + encoded.length + 4 * i);
  });

  const temporary = `${path}.${process.pid}.partial`;
  const write = (file: number): void => {
    const digest = createHash("sha256");
    const append = (bytes: Uint8Array): void => {
      digest.update(bytes);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    };
    append(head);
    const batch = Buffer.alloc(CHUNK_PAGES * PAGE);
    let filled = 0;
    forEachPage((_page, bytes) => {
      bytes.copy(batch, filled);
      filled += PAGE;
      if (filled === batch.length) {
        append(batch);
        filled = 0;
      }
    });
    if (filled > 0) append(batch.subarray(0, filled));
    append(digest.copy().digest());
    fsyncSync(file);
  };
  try {
    const file = openSync(temporary, "w", 0o600);
    try {
      write(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** A snapshot that was read and whose digest is right. */
export interface Snapshot {
  readonly header: unknown;
  /** Puts the pages into RAM, which must be all zero. Throws `VmError` `bad-snapshot` for a page that is outside it. */
  load(memory: GuestMemory): void;
}

function damaged(path: string, what: string): VmError {
  return new VmError("bad-snapshot", `${path} is no usable snapshot: ${what}`);
}

/** Reads and checks a snapshot. Throws `VmError` `bad-snapshot` for a file that is damaged, cut short or none; file system errors pass through. */
export function readSnapshot(path: string): Snapshot {
  // A pipe would be waited for.
  if (!statSync(path).isFile()) throw damaged(path, "it is no regular file");
  const file = openSync(path, "r");
  let content: Buffer;
  try {
    const size = fstatSync(file).size;
    if (size < PREFIX + DIGEST) throw damaged(path, `it has only ${size} bytes`);
    if (size > 2 ** 32) throw damaged(path, `it is larger than any snapshot (${size} bytes)`);
    content = Buffer.allocUnsafeSlow(size);
    for (let done = 0; done < size; ) {
      const got = readSync(file, content, done, Math.min(size - done, 1 << 30), done);
      if (got === 0) throw damaged(path, "it became shorter while it was read");
      done += got;
    }
  } finally {
    closeSync(file);
  }
  if (!content.subarray(0, 8).equals(MAGIC)) throw damaged(path, "it does not start with ENTRSNAP");
  const format = content.readUInt32LE(8);
  if (format !== FORMAT)
    throw damaged(path, `format ${format} is not known, this version reads format ${FORMAT}`);
  const end = content.length - DIGEST;
  const sum = createHash("sha256").update(content.subarray(0, end)).digest();
  if (!sum.equals(content.subarray(end))) throw damaged(path, "its SHA-256 does not match its content");
  const headerLength = content.readUInt32LE(12);
  const pages = Number(content.readBigUInt64LE(16));
  const pageNumbers = PREFIX + headerLength;
  const data = pageNumbers + 4 * pages;
  if (data + PAGE * pages !== end) throw damaged(path, "its lengths do not add up");
  let header: unknown;
  try {
    header = decodeCbor(content.subarray(PREFIX, pageNumbers));
  } catch {
    throw damaged(path, "its header is not CBOR");
  }
  return {
    header,
    load: (memory) => {
      // Runs of neighbouring pages go in one copy.
      for (let i = 0; i < pages; ) {
        const first = content.readUInt32LE(pageNumbers + 4 * i);
        let run = 1;
        while (i + run < pages && content.readUInt32LE(pageNumbers + 4 * (i + run)) === first + run) run++;
        if ((first + run) * PAGE > memory.size)
          throw damaged(path, `page ${first + run - 1} is outside the guest's RAM`);
        memory.write(asGpa(first * PAGE), content.subarray(data + i * PAGE, data + (i + run) * PAGE));
        i += run;
      }
    },
  };
}

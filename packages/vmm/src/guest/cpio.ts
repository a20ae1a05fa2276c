import { MalformedError, Reader, Writer } from "@entresol/wire";

/*
 * The newc ("SVR4 without CRC") cpio format, as the kernel's initramfs loader reads it: per entry a header of 110 bytes in
 * ASCII hexadecimal, the name with its NUL, the data; name and data each padded to 4 bytes. An entry named TRAILER!!! ends it.
 */

const spec = "newc cpio";
const magic = "070701";
const trailer = "TRAILER!!!";

/** Header fields after the magic, 8 hexadecimal digits each. */
const fields = [
  "ino",
  "mode",
  "uid",
  "gid",
  "nlink",
  "mtime",
  "filesize",
  "devmajor",
  "devminor",
  "rdevmajor",
  "rdevminor",
  "namesize",
  "check",
] as const;
type Header = Record<(typeof fields)[number], number>;

const headerSize = magic.length + 8 * fields.length;

/** File types of st_mode. */
const fileType = { directory: 0o040000, file: 0o100000, symlink: 0o120000, device: 0o020000 } as const;

interface Entry {
  /** Path without a leading slash. */
  readonly path: string;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
}
export type CpioEntry =
  | (Entry & { readonly type: "directory" })
  | (Entry & { readonly type: "file"; readonly data: Uint8Array })
  | (Entry & { readonly type: "symlink"; readonly target: string })
  /** A character device. */
  | (Entry & { readonly type: "device"; readonly major: number; readonly minor: number });

/**
 * The archive of `entries`: sorted by path, owned by root, dated 1970, so that the same entries always give the same bytes.
 * Sorting also puts a directory before what is in it, which the kernel needs.
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const writer = new Writer(64 * 1024);
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  sorted.forEach((entry, index) => {
    const data =
      entry.type === "file"
        ? entry.data
        : entry.type === "symlink"
          ? Buffer.from(entry.target)
          : new Uint8Array(0);
    writeEntry(writer, entry.path, data, {
      ino: index + 1,
      mode: fileType[entry.type] | entry.mode,
      nlink: entry.type === "directory" ? 2 : 1,
      rdevmajor: entry.type === "device" ? entry.major : 0,
      rdevminor: entry.type === "device" ? entry.minor : 0,
    });
  });
  writeEntry(writer, trailer, new Uint8Array(0), { nlink: 1 });
  return writer.finish();
}

function writeEntry(writer: Writer, path: string, data: Uint8Array, header: Partial<Header>): void {
  const name = Buffer.from(`${path}\0`);
  const values: Partial<Header> = { ...header, filesize: data.length, namesize: name.length };
  writer.ascii(magic);
  for (const field of fields) writer.ascii((values[field] ?? 0).toString(16).padStart(8, "0"));
  writer.bytes(name).align(4).bytes(data).align(4);
}

/** The entries of an archive, in its order. Throws `MalformedError` for anything that the kernel would not unpack. */
export function readCpio(bytes: Uint8Array): CpioEntry[] {
  const reader = new Reader(bytes, spec);
  const entries: CpioEntry[] = [];
  for (;;) {
    const at = reader.offset;
    const header = readHeader(reader);
    if (header.namesize < 2) {
      throw new MalformedError("bad-value", at, `${spec}, c_namesize`, "an entry without a name");
    }
    const name = reader.take(header.namesize);
    if (name.indexOf(0) !== name.length - 1) {
      throw new MalformedError("bad-value", at + headerSize, `${spec}, name`, "name and c_namesize differ");
    }
    const path = Buffer.from(name.subarray(0, -1)).toString();
    pad(reader);
    const data = new Uint8Array(reader.view(header.filesize));
    if (path === trailer) return entries;
    pad(reader);
    entries.push(toEntry(path, header, data, at));
  }
}

function readHeader(reader: Reader): Header {
  const at = reader.offset;
  const text = Buffer.from(reader.view(headerSize)).toString("latin1");
  if (!text.startsWith(magic)) {
    throw new MalformedError("bad-magic", at, `${spec}, c_magic`, "no newc header");
  }
  const header = {} as Header;
  fields.forEach((field, index) => {
    const start = magic.length + 8 * index;
    const digits = text.slice(start, start + 8);
    if (!/^[0-9a-f]{8}$/i.test(digits)) {
      throw new MalformedError("bad-value", at + start, `${spec}, c_${field}`, "not hexadecimal");
    }
    header[field] = Number.parseInt(digits, 16);
  });
  return header;
}

function pad(reader: Reader): void {
  reader.view((4 - (reader.offset % 4)) % 4);
}

function toEntry(path: string, header: Header, data: Uint8Array, at: number): CpioEntry {
  const mode = header.mode & 0o7777;
  switch (header.mode & 0o170000) {
    case fileType.directory:
      return { type: "directory", path, mode };
    case fileType.file:
      return { type: "file", path, mode, data };
    case fileType.symlink:
      return { type: "symlink", path, mode, target: Buffer.from(data).toString() };
    case fileType.device:
      return { type: "device", path, mode, major: header.rdevmajor, minor: header.rdevminor };
    default:
      throw new MalformedError(
        "bad-value",
        at,
        `${spec}, c_mode`,
        `file type 0o${header.mode.toString(8)} is not used here`,
      );
  }
}

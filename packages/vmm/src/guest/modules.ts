import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { MalformedError, Reader } from "@entresol/wire";
import xz from "xz-decompress";
import { GuestImageError } from "./release.ts";

const spec = "ELF64 relocatable";

/** A module's name as the kernel spells it: `-` and `_` are the same. */
export function moduleName(pathOrName: string): string {
  return basename(pathOrName)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

/**
 * The `key=value` strings of a module's .modinfo section, in order; a key may repeat. Throws `MalformedError` when the bytes
 * are not a 64-bit little-endian ELF file or a section lies outside of it. A file without .modinfo gives an empty map.
 */
export function readModinfo(module: Uint8Array): Map<string, string[]> {
  const section = elfSection(module, ".modinfo");
  const values = new Map<string, string[]>();
  for (const text of Buffer.from(section).toString("latin1").split("\0")) {
    const equals = text.indexOf("=");
    if (equals <= 0) continue;
    const key = text.slice(0, equals);
    values.set(key, [...(values.get(key) ?? []), text.slice(equals + 1)]);
  }
  return values;
}

/** Bytes of the section of that name; empty when there is none. ELF-64 object file format, "Section header table". */
function elfSection(file: Uint8Array, name: string): Uint8Array {
  const reader = new Reader(file, spec);
  // \x7fELF, ELFCLASS64, ELFDATA2LSB.
  if (reader.u32() !== 0x464c457f || reader.u16() !== 0x0102) {
    throw new MalformedError("bad-magic", 0, spec, "not a 64-bit little-endian ELF file");
  }
  const tableAt = reader.seek(0x28).u64Number();
  const entrySize = reader.seek(0x3a).u16();
  const count = reader.u16();
  const nameTable = reader.u16();
  if (entrySize < 64) throw new MalformedError("out-of-range", 0x3a, spec, `e_shentsize is ${entrySize}`);

  const section = (index: number) => {
    reader.seek(tableAt + index * entrySize);
    const nameAt = reader.u32();
    const offset = reader.seek(tableAt + index * entrySize + 24).u64Number();
    return { nameAt, offset, size: reader.u64Number() };
  };
  const { offset: namesAt, size: namesSize } = section(nameTable);
  const names = Buffer.from(reader.seek(namesAt).view(namesSize)).toString("latin1");
  for (let index = 0; index < count; index++) {
    const { nameAt, offset, size } = section(index);
    if (names.startsWith(`${name}\0`, nameAt)) return reader.seek(offset).view(size);
  }
  return new Uint8Array(0);
}

/** A module's ELF bytes: as they are, or unpacked when `path` ends in .xz, so that the guest's insmod needs no decompressor. */
export async function unpackModule(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  if (!path.endsWith(".xz")) return bytes;
  try {
    const packed = new Response(new Uint8Array(bytes)).body!;
    return new Uint8Array(await new Response(new xz.XzReadableStream(packed)).arrayBuffer());
  } catch (error) {
    throw new GuestImageError("corrupted-cache", `${path} does not unpack: ${String(error)}`, {
      cause: error,
    });
  }
}

export interface LoadableModule {
  readonly name: string;
  /** Unpacked ELF bytes. */
  readonly bytes: Uint8Array;
}

/**
 * `wanted` and everything they depend on, dependencies first: the order to insmod them in. `paths` are the release's module
 * files (.ko or .ko.xz), `builtIn` the names that the kernel contains anyway (its modules.builtin); those are left out.
 * Throws `GuestImageError` `unknown-module`.
 */
export async function moduleClosure(
  wanted: readonly string[],
  paths: readonly string[],
  builtIn: ReadonlySet<string>,
  load: (path: string) => Promise<Uint8Array> = (path) => readFile(path),
): Promise<LoadableModule[]> {
  const pathOf = new Map(paths.map((path) => [moduleName(path), path]));
  const order: LoadableModule[] = [];
  const seen = new Set<string>();
  const add = async (name: string, neededBy: string): Promise<void> => {
    if (seen.has(name) || builtIn.has(name)) return;
    seen.add(name);
    const path = pathOf.get(name);
    if (path === undefined) {
      throw new GuestImageError("unknown-module", `no kernel module "${name}"${neededBy}`);
    }
    const bytes = await unpackModule(path, await load(path));
    for (const list of readModinfo(bytes).get("depends") ?? []) {
      for (const dependency of list.split(",")) {
        if (dependency !== "") await add(moduleName(dependency), `, needed by ${name}`);
      }
    }
    order.push({ name, bytes });
  };
  for (const name of wanted) await add(moduleName(name), "");
  return order;
}

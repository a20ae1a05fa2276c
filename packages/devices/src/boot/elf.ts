import { hex } from "@entresol/wire";
import { BootError } from "./boot-error.ts";

/*
 * ELF-64 executables, as far as loading one needs it: System V ABI, "ELF Header" and "Program Header".
 */

const headerSize = 64;
const programHeaderSize = 56;
/** PT_LOAD and EM_X86_64. */
const loadable = 1;
const x86_64 = 62;

export interface ElfSegment {
  /** Guest physical address, p_paddr. */
  readonly physical: number;
  /** p_vaddr. */
  readonly virtual: bigint;
  /** What the file has of it; a view of the input. */
  readonly bytes: Uint8Array;
  /** Bytes in memory, at least `bytes.length`; the rest is zero. */
  readonly memorySize: number;
}
export interface ElfExecutable {
  /** Guest physical address of the entry point, inside one of the segments. */
  readonly entry: number;
  /** Loadable segments in file order, at least one. */
  readonly segments: readonly ElfSegment[];
}

export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/**
 * Reads a 64-bit x86 executable. Throws `BootError`: `not-a-kernel` without the magic, `unsupported-kernel` for another class,
 * byte order, machine or type, `truncated-kernel` when a header or segment lies outside of the file.
 */
export function parseElf64(file: Uint8Array): ElfExecutable {
  if (!isElf(file)) throw new BootError("not-a-kernel", "no ELF magic at offset 0");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const within = (at: number, length: number, what: string): number => {
    if (at + length > file.length) {
      throw new BootError(
        "truncated-kernel",
        `${what} needs bytes ${hex(at)} to ${hex(at + length)}, the file has ${hex(file.length)}`,
      );
    }
    return at;
  };
  const word = (at: number, name: string, bits = 53): number => {
    const value = view.getBigUint64(at, true);
    if (value >> BigInt(bits) !== 0n) {
      throw new BootError(
        "unsupported-kernel",
        `${name} at offset ${hex(at)} is ${hex(value)}, beyond any memory`,
      );
    }
    return Number(value);
  };

  within(0, headerSize, "the ELF header");
  if (file[4] !== 2) throw new BootError("unsupported-kernel", "a 32-bit ELF file (EI_CLASS at offset 4)");
  if (file[5] !== 1) throw new BootError("unsupported-kernel", "a big-endian ELF file (EI_DATA at offset 5)");
  const type = view.getUint16(16, true);
  const machine = view.getUint16(18, true);
  if (machine !== x86_64)
    throw new BootError("unsupported-kernel", `e_machine at offset 0x12 is ${machine}, not 62`);
  // ET_EXEC or ET_DYN: an object file or a core dump has no place to be loaded at.
  if (type !== 2 && type !== 3) throw new BootError("unsupported-kernel", `e_type at offset 0x10 is ${type}`);
  const tableAt = word(32, "e_phoff");
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (entrySize < programHeaderSize) {
    throw new BootError("unsupported-kernel", `e_phentsize at offset 0x36 is ${entrySize}`);
  }

  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = within(tableAt + index * entrySize, programHeaderSize, `program header ${index}`);
    if (view.getUint32(at, true) !== loadable) continue;
    const offset = word(at + 8, "p_offset");
    const physical = word(at + 24, "p_paddr", 52);
    const fileSize = word(at + 32, "p_filesz");
    const memorySize = word(at + 40, "p_memsz", 52);
    if (memorySize < fileSize) {
      throw new BootError(
        "unsupported-kernel",
        `segment ${index} has p_memsz ${hex(memorySize)} below p_filesz`,
      );
    }
    within(offset, fileSize, `segment ${index}`);
    if (memorySize > 0) {
      const virtual = view.getBigUint64(at + 16, true);
      segments.push({ physical, virtual, bytes: file.subarray(offset, offset + fileSize), memorySize });
    }
  }
  if (segments.length === 0) throw new BootError("unsupported-kernel", "an ELF file with nothing to load");
  return { entry: physicalEntry(view.getBigUint64(24, true), segments), segments };
}

/** Linux gives e_entry as a physical address, other kernels as a virtual one. */
function physicalEntry(entry: bigint, segments: readonly ElfSegment[]): number {
  for (const of of ["physical", "virtual"] as const) {
    for (const segment of segments) {
      const inside = entry - BigInt(segment[of]);
      if (inside >= 0n && inside < BigInt(segment.memorySize)) return segment.physical + Number(inside);
    }
  }
  throw new BootError(
    "unsupported-kernel",
    `e_entry at offset 0x18 is ${hex(entry)}, outside of all segments`,
  );
}

import { hex } from "@entresol/wire";
import { BootError } from "./boot-error.ts";
import { isElf, parseElf64 } from "./elf.ts";
import type { HeaderAddresses, MultibootHeader } from "./multiboot-header.ts";

/*
 * What of a multiboot kernel's file goes where: by the addresses of its header, or by its ELF program headers (System V ABI,
 * "ELF Header", "Program Header", "Sections").
 */

/** Bytes of the file for guest memory, and the zeroes behind them. */
export interface ImagePart {
  /** Guest physical address. */
  readonly gpa: number;
  /** A view of the file. */
  readonly bytes: Uint8Array;
  /** Bytes in memory, at least `bytes.length` and at least 1. */
  readonly memorySize: number;
}

/** The section headers of an ELF-32 file, for the kernel that wants its own symbols. */
export interface SectionTable {
  /** `count` headers of `entrySize` bytes, a view of the file. */
  readonly headers: Uint8Array;
  readonly entrySize: number;
  readonly count: number;
  /** e_shstrndx: which of them holds the names. */
  readonly names: number;
}

export interface MultibootImage {
  readonly parts: readonly ImagePart[];
  /** Guest physical address. */
  readonly entry: number;
  readonly sections: SectionTable | undefined;
}

const elf32HeaderSize = 52;
const programHeaderSize = 32;
export const sectionHeaderSize = 40;
/** PT_LOAD, EM_386. */
const loadable = 1;
const i386 = 3;

/** Throws `BootError`: `unsupported-kernel` for a format or addresses that cannot be, `truncated-kernel` for a file that ends too early. */
export function readMultibootImage(file: Uint8Array, header: MultibootHeader): MultibootImage {
  if (header.addresses !== undefined) return placeByAddresses(file, header.offset, header.addresses);
  if (!isElf(file)) {
    throw new BootError("unsupported-kernel", "neither an ELF file nor addresses in the multiboot header");
  }
  return file[4] === 2 ? placeElf64(file) : placeElf32(file);
}

/** 3.1.3: the addresses tell which byte of the file goes where by the place of the header alone. */
function placeByAddresses(file: Uint8Array, offset: number, addresses: HeaderAddresses): MultibootImage {
  const { header, load, loadEnd, bssEnd, entry } = addresses;
  const refuse = (what: string): never => {
    throw new BootError("unsupported-kernel", `multiboot header: ${what}`);
  };
  const start = offset - (header - load);
  if (header < load || start < 0) {
    refuse(`load_addr ${hex(load)} lies ${hex(Math.abs(header - load))} off header_addr ${hex(header)}`);
  }
  if (loadEnd !== 0 && loadEnd <= load) refuse(`load_end_addr ${hex(loadEnd)} is not above load_addr`);
  const length = loadEnd === 0 ? file.length - start : loadEnd - load;
  if (start + length > file.length) throw truncated(file, start + length, "load_end_addr");
  if (bssEnd !== 0 && bssEnd < load + length)
    refuse(`bss_end_addr ${hex(bssEnd)} lies below the end of what is loaded`);
  const memorySize = bssEnd === 0 ? length : bssEnd - load;
  if (entry < load || entry >= load + memorySize) refuse(`entry_addr ${hex(entry)} is outside of the image`);
  const bytes = file.subarray(start, start + length);
  return { parts: [{ gpa: load, bytes, memorySize }], entry, sections: undefined };
}

/** A 64-bit file is loaded all the same, and entered in 32-bit mode as every multiboot kernel. */
function placeElf64(file: Uint8Array): MultibootImage {
  const { entry, segments } = parseElf64(file);
  const parts = segments.map(({ physical, bytes, memorySize }) => ({ gpa: physical, bytes, memorySize }));
  return { parts, entry, sections: undefined };
}

function placeElf32(file: Uint8Array): MultibootImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const word = (at: number): number => view.getUint32(at, true);
  const half = (at: number): number => view.getUint16(at, true);
  if (file.length < elf32HeaderSize) throw truncated(file, elf32HeaderSize, "the ELF header");
  if (file[4] !== 1 || file[5] !== 1) {
    throw new BootError(
      "unsupported-kernel",
      "not a little-endian ELF file of 32 or 64 bits (offsets 4 and 5)",
    );
  }
  const type = half(16);
  if (half(18) !== i386)
    throw new BootError("unsupported-kernel", `e_machine at offset 0x12 is ${half(18)}, not 3`);
  if (type !== 2 && type !== 3) throw new BootError("unsupported-kernel", `e_type at offset 0x10 is ${type}`);
  const tableAt = word(28);
  const entrySize = half(42);
  if (entrySize < programHeaderSize)
    throw new BootError("unsupported-kernel", `e_phentsize at offset 0x2a is ${entrySize}`);

  const parts: (ImagePart & { readonly virtual: number })[] = [];
  for (let index = 0; index < half(44); index++) {
    const at = tableAt + index * entrySize;
    if (at + programHeaderSize > file.length)
      throw truncated(file, at + programHeaderSize, `program header ${index}`);
    if (word(at) !== loadable) continue;
    const offset = word(at + 4);
    const fileSize = word(at + 16);
    const memorySize = word(at + 20);
    if (memorySize < fileSize) {
      throw new BootError(
        "unsupported-kernel",
        `segment ${index} has p_memsz ${hex(memorySize)} below p_filesz`,
      );
    }
    if (offset + fileSize > file.length) throw truncated(file, offset + fileSize, `segment ${index}`);
    if (memorySize === 0) continue;
    const bytes = file.subarray(offset, offset + fileSize);
    parts.push({ gpa: word(at + 12), virtual: word(at + 8), bytes, memorySize });
  }
  if (parts.length === 0) throw new BootError("unsupported-kernel", "an ELF file with nothing to load");

  const entry = word(24);
  for (const of of ["virtual", "gpa"] as const) {
    const part = parts.find(
      (candidate) => entry >= candidate[of] && entry - candidate[of] < candidate.memorySize,
    );
    if (part !== undefined)
      return { parts, entry: part.gpa + (entry - part[of]), sections: sectionTable(file, view) };
  }
  throw new BootError(
    "unsupported-kernel",
    `e_entry at offset 0x18 is ${hex(entry)}, outside of all segments`,
  );
}

/** Nothing of a kernel depends on them, so section headers that do not fit are as good as none. */
function sectionTable(file: Uint8Array, view: DataView): SectionTable | undefined {
  const at = view.getUint32(32, true);
  const [entrySize, count, names] = [46, 48, 50].map((offset) => view.getUint16(offset, true)) as [
    number,
    number,
    number,
  ];
  const end = at + count * entrySize;
  if (count === 0 || entrySize < sectionHeaderSize || end > file.length) return undefined;
  return { headers: file.subarray(at, end), entrySize, count, names };
}

function truncated(file: Uint8Array, needed: number, what: string): BootError {
  return new BootError(
    "truncated-kernel",
    `${what} needs ${hex(needed)} bytes, the file has ${hex(file.length)}`,
  );
}

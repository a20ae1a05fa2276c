import { hex } from "@entresol/wire";
import type { AcpiTables } from "../acpi/index.ts";
import { biosDataAreas } from "./bios-data-area.ts";
import { BootError } from "./boot-error.ts";
import { type E820Entry, pcMemoryMap } from "./e820.ts";
import type { EntryState, MemoryRegion } from "./entry-state.ts";
import { highMemoryStart } from "./memory-map.ts";
import { readMultibootHeader } from "./multiboot-header.ts";
import {
  type ImagePart,
  readMultibootImage,
  type SectionTable,
  sectionHeaderSize,
} from "./multiboot-image.ts";
import {
  type BootInformation,
  codeSelector,
  dataSelector,
  descriptorsAt,
  descriptorsSize,
  informationBlock,
  type PlacedSections,
  ramFrom,
} from "./multiboot-information.ts";

/*
 * Loads a kernel the way a multiboot loader does, Multiboot Specification 0.6.96: the kernel's segments, its modules and the
 * information structure into memory, the processor at the kernel's entry in 32-bit protected mode.
 */

/** A file that the kernel is handed along with itself. */
export interface MultibootModule {
  readonly bytes: Uint8Array;
  /** Ends at its first NUL, if it has one. */
  readonly commandLine: string;
}

export interface MultibootBoot {
  /** An ELF-32 or ELF-64 executable, or any file whose header has addresses. */
  readonly kernel: Uint8Array;
  /** By custom it begins with the kernel's own name. Ends at its first NUL, if it has one. */
  readonly commandLine: string;
  readonly modules?: readonly MultibootModule[] | undefined;
  /** Bytes of RAM, from guest physical 0. */
  readonly memorySize: number;
  /** From `buildAcpiTables`: put where firmware leaves them, and where kernels look for them. */
  readonly acpi?: (Pick<AcpiTables, "kept"> & { readonly regions: readonly MemoryRegion[] }) | undefined;
}

export interface LoadedMultiboot {
  /** What to write into RAM that is otherwise zero. No two regions overlap; views of the inputs where possible. */
  readonly image: readonly MemoryRegion[];
  /** For the first vCPU; the others wait for INIT and SIPI. */
  readonly registers: EntryState;
  readonly e820: readonly E820Entry[];
}

/** 3.2: what EAX holds, so that the kernel knows who has loaded it. */
const loaderMagic = 0x2badb002;
const pageSize = 4096;
/** Where the information goes unless the kernel is there: clear of the interrupt vectors and of what boot code uses above them. */
const informationPlace = 0x10000;

/** Throws `BootError`, and nothing else, whatever the bytes are. */
export function loadMultiboot(boot: MultibootBoot): LoadedMultiboot {
  const { kernel, commandLine, memorySize } = boot;
  if (!Number.isSafeInteger(memorySize) || memorySize < highMemoryStart + pageSize) {
    throw new BootError(
      "memory-too-small",
      `${memorySize} bytes of RAM: a kernel needs ${hex(highMemoryStart + pageSize)} at least`,
    );
  }
  const e820 = pcMemoryMap(memorySize, boot.acpi?.kept);
  const { parts, entry, sections } = readMultibootImage(kernel, readMultibootHeader(kernel));
  const lowEnd = ramFrom(0, e820);
  const highEnd = highMemoryStart + ramFrom(highMemoryStart, e820);
  refuseMisplaced(parts, lowEnd, highEnd);
  const image: MemoryRegion[] = parts.map(({ gpa, bytes }) => ({ gpa, bytes }));
  const above = new RoomAbove(parts, highEnd);

  // Each on a page of its own, whether header flag 0 asks for that or not.
  const modules = (boot.modules ?? []).map((module) => {
    const start = above.take(module.bytes.length);
    if (start === undefined)
      throw new BootError(
        "initrd-too-large",
        `a module of ${module.bytes.length} bytes: ${above.left} are free above the kernel`,
      );
    image.push({ gpa: start, bytes: module.bytes });
    return { start, end: start + module.bytes.length, commandLine: module.commandLine };
  });
  const placedSections = sections && placeSections(kernel, sections, above, image);

  const information: BootInformation = { commandLine, memoryMap: e820, modules, sections: placedSections };
  const { length } = informationBlock(0, information);
  const at = lowPlace(parts, lowEnd, length) ?? above.take(length);
  if (at === undefined)
    throw new BootError(
      "command-line-too-long",
      `no room for ${length} bytes of command lines and memory map`,
    );
  image.push({ gpa: at, bytes: informationBlock(at, information) });
  const [data, extended] = biosDataAreas(lowEnd);
  // A kernel that lies there has other plans.
  if (isFree(parts, data.gpa, data.bytes.length)) image.push(data);
  image.push(extended);
  if (boot.acpi !== undefined) image.push(...boot.acpi.regions);
  return { image: image.filter(({ bytes }) => bytes.length > 0), registers: entryState(entry, at), e820 };
}

/** Every part must lie in RAM, below `lowEnd` or from 1 MiB up to `highEnd`, and apart from the others. */
function refuseMisplaced(parts: readonly ImagePart[], lowEnd: number, highEnd: number): void {
  let end = 0;
  for (const { gpa, memorySize } of parts.toSorted((a, b) => a.gpa - b.gpa)) {
    if (gpa < end) throw new BootError("unsupported-kernel", `segments overlap at ${hex(gpa)}`);
    end = gpa + memorySize;
    if (gpa >= highMemoryStart && end > highEnd) {
      throw new BootError(
        "kernel-too-large",
        `the kernel needs ${hex(memorySize)} bytes at ${hex(gpa)}, RAM ends at ${hex(highEnd)}`,
      );
    }
    if (gpa < highMemoryStart && end > lowEnd) {
      throw new BootError(
        "unsupported-kernel",
        `a segment from ${hex(gpa)} to ${hex(end)} reaches into the hole between ${hex(lowEnd)} and 1 MiB`,
      );
    }
  }
}

/** The RAM above everything that the kernel takes, given out page by page. */
class RoomAbove {
  #next: number;
  readonly #end: number;

  constructor(parts: readonly ImagePart[], end: number) {
    this.#end = end;
    this.#next = Math.max(highMemoryStart, ...parts.map(({ gpa, memorySize }) => pageUp(gpa + memorySize)));
  }

  get left(): number {
    return Math.max(0, this.#end - this.#next);
  }

  /** Guest physical address of the next `length` bytes; undefined when they do not fit. */
  take(length: number): number | undefined {
    if (length > this.left) return undefined;
    const start = this.#next;
    this.#next = pageUp(start + length);
    return start;
  }
}

/** The first free place below `end` that begins at the usual place or behind a part of the kernel; undefined when there is none. */
function lowPlace(parts: readonly ImagePart[], end: number, length: number): number | undefined {
  // A set: however many parts a hostile kernel has, there are no more places than pages.
  return [...new Set([informationPlace, ...parts.map(({ gpa, memorySize }) => pageUp(gpa + memorySize))])]
    .filter((start) => start >= informationPlace && start + length <= end)
    .toSorted((a, b) => a - b)
    .find((start) => isFree(parts, start, length));
}

/** No part of the kernel reaches into `length` bytes from `start`. */
function isFree(parts: readonly ImagePart[], start: number, length: number): boolean {
  return parts.every(({ gpa, memorySize }) => start >= gpa + memorySize || start + length <= gpa);
}

/**
 * 3.3, flag 5: the section headers, and the symbols and names that no segment brings along, with sh_addr telling where they
 * are. Undefined, and nothing placed, when they do not fit.
 */
function placeSections(
  kernel: Uint8Array,
  table: SectionTable,
  above: RoomAbove,
  image: MemoryRegion[],
): PlacedSections | undefined {
  const { entrySize, count, names } = table;
  const headers = new Uint8Array(table.headers);
  const view = new DataView(headers.buffer);
  const placed: MemoryRegion[] = [];
  const address = above.take(headers.length);
  if (address === undefined) return undefined;
  for (let at = 0; at + sectionHeaderSize <= headers.length; at += entrySize) {
    const [type, loadedAt, offset, size] = [4, 12, 16, 20].map((field) =>
      view.getUint32(at + field, true),
    ) as [number, number, number, number];
    // SHT_SYMTAB and SHT_STRTAB; what has an address is part of a segment.
    if ((type !== 2 && type !== 3) || loadedAt !== 0 || offset + size > kernel.length) continue;
    const gpa = above.take(size);
    if (gpa === undefined) return undefined;
    view.setUint32(at + 12, gpa, true);
    placed.push({ gpa, bytes: kernel.subarray(offset, offset + size) });
  }
  image.push({ gpa: address, bytes: headers }, ...placed);
  return { address, entrySize, count, names };
}

/** 3.2: 32-bit protected mode, paging off, flat segments, interrupts off, EBX at the information. A20 is never masked here. */
function entryState(entry: number, information: number): EntryState {
  const code = { selector: codeSelector, base: 0n, limit: 0xffffffff, attributes: 0xc09b };
  const data = { selector: dataSelector, base: 0n, limit: 0xffffffff, attributes: 0xc093 };
  return {
    general: { rip: BigInt(entry), rax: BigInt(loaderMagic), rbx: BigInt(information), rflags: 2n },
    control: {
      cr0: 0x11n, // ET, PE
      cr3: 0n,
      cr4: 0n,
      efer: 0n,
    },
    segments: {
      cs: code,
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      // A busy TSS, since hardware enters no guest without one.
      tr: { selector: 0, base: 0n, limit: 0x67, attributes: 0x008b },
      ldtr: { selector: 0, base: 0n, limit: 0, attributes: 0 },
    },
    gdtr: { base: BigInt(descriptorsAt(information)), limit: descriptorsSize - 1 },
    idtr: { base: 0n, limit: 0 },
  };
}

function pageUp(address: number): number {
  return Math.ceil(address / pageSize) * pageSize;
}

import { hex, Writer } from "@entresol/wire";
import type { AcpiTables } from "../acpi/index.ts";
import { BootError } from "./boot-error.ts";
import { type E820Entry, pcMemoryMap } from "./e820.ts";
import { isElf, parseElf64 } from "./elf.ts";
import { type EntryState, entryTables, linuxEntryState, type MemoryRegion } from "./entry-state.ts";
import { commandLineAt, deviceHoleStart, highMemoryStart, lowMemoryEnd, zeroPageAt } from "./memory-map.ts";
import { field, headerEnd, headerStart, synthesizeHeader, zeroPageSize } from "./setup-header.ts";

/*
 * Loads a Linux kernel the way a boot loader does, Documentation/arch/x86/boot.rst: kernel, initrd, command line, memory map
 * and boot parameters into memory, the processor at the kernel's 64-bit entry. No firmware runs.
 */

export interface LinuxBoot {
  /** A bzImage or an ELF-64 vmlinux. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** Ends at its first NUL, if it has one. */
  readonly commandLine: string;
  /** Bytes of RAM, from guest physical 0. */
  readonly memorySize: number;
  /** From `buildAcpiTables`. Without it the kernel finds no second processor and no IOAPIC. */
  readonly acpi?:
    | (Pick<AcpiTables, "rsdp" | "kept"> & { readonly regions: readonly MemoryRegion[] })
    | undefined;
}

export interface LoadedLinux {
  /** What to write into RAM that is otherwise zero. No two regions overlap; views of the inputs where possible. */
  readonly image: readonly MemoryRegion[];
  /** For the first vCPU; the others wait for INIT and SIPI. */
  readonly registers: EntryState;
  readonly e820: readonly E820Entry[];
}

/** Where the kernel goes. */
interface Placement {
  readonly parts: readonly MemoryRegion[];
  readonly entry: number;
  /** First address after everything that the kernel uses before it reads the memory map. */
  readonly end: number;
  /** Setup header for the zero page, from offset 0x1F1. */
  readonly header: Uint8Array;
  /** Largest address that the initrd may occupy. */
  readonly initrdMaximum: number;
  /** Largest length of the command line, its NUL not counted. */
  readonly commandLineMaximum: number;
}

const pageSize = 4096;
/** The kernel runs at 1 MiB at the lowest; with less RAM than this nothing could be placed. */
const smallestMemory = highMemoryStart + pageSize;

/** Throws `BootError`, and nothing else, whatever the bytes are. */
export function loadLinux(boot: LinuxBoot): LoadedLinux {
  const { kernel, initrd, acpi, memorySize } = boot;
  if (!Number.isSafeInteger(memorySize) || memorySize < smallestMemory) {
    throw new BootError(
      "memory-too-small",
      `${memorySize} bytes of RAM: Linux needs ${hex(smallestMemory)} at least`,
    );
  }
  const memoryEnd = Math.min(memorySize, deviceHoleStart);
  const placed = isElf(kernel) ? placeElf(kernel, memoryEnd) : placeBzImage(kernel, memoryEnd);
  const e820 = pcMemoryMap(memorySize, acpi?.kept);
  const commandLine = commandLineBytes(boot.commandLine, placed.commandLineMaximum);

  const image: MemoryRegion[] = [
    ...entryTables(),
    ...placed.parts,
    { gpa: commandLineAt, bytes: commandLine },
  ];
  let ramdisk = { gpa: 0, bytes: new Uint8Array(0) as Uint8Array };
  if (initrd !== undefined && initrd.length > 0) {
    ramdisk = { gpa: initrdAddress(initrd.length, placed, memoryEnd), bytes: initrd };
    image.push(ramdisk);
  }
  if (acpi !== undefined) image.push(...acpi.regions);
  image.push({ gpa: zeroPageAt, bytes: zeroPage(placed, ramdisk, e820, acpi?.rsdp ?? 0) });
  return { image, registers: linuxEntryState(placed.entry), e820 };
}

function placeBzImage(kernel: Uint8Array, memoryEnd: number): Placement {
  const magic = field.header;
  if (kernel.length < magic.offset + 4 || magic.read(kernel) !== magic.expected) {
    throw new BootError(
      "not-a-kernel",
      `neither an ELF file nor a bzImage: no "HdrS" at offset ${hex(magic.offset)}`,
    );
  }
  // Version 2.12 of the protocol brought the 64-bit entry; fields up to init_size exist since then.
  if (kernel.length < field.initSize.offset + 4) {
    throw truncated(kernel, field.initSize.offset + 4, "the setup header");
  }
  const version = field.version.read(kernel);
  if (version < 0x20c) {
    throw unsupported(field.version.offset, `boot protocol ${version >> 8}.${version & 0xff}; needs 2.12`);
  }
  if ((field.loadFlags.read(kernel) & 1) === 0) {
    throw unsupported(field.loadFlags.offset, "a zImage, which loads below 1 MiB");
  }
  if ((field.xloadFlags.read(kernel) & 1) === 0) {
    throw unsupported(field.xloadFlags.offset, "a 32-bit kernel: it has no 64-bit entry");
  }
  const end = headerEnd(kernel);
  if (end === undefined) throw unsupported(0x201, "a setup header that leaves its place in the zero page");
  if (kernel.length < end) throw truncated(kernel, end, "the setup header");

  const setupSize = ((field.setupSectors.read(kernel) || 4) + 1) * 512;
  const codeSize = field.codeParagraphs.read(kernel) * 16;
  const entryOffset = 0x200;
  // Nothing says that syssize is exact, but a kernel of fewer bytes has lost some.
  const needed = setupSize + Math.max(codeSize, entryOffset + 1);
  if (kernel.length < needed) throw truncated(kernel, needed, "setup and kernel code");
  const code = kernel.subarray(setupSize);

  const address = field.preferredAddress.read(kernel);
  if (address < highMemoryStart) {
    throw unsupported(field.preferredAddress.offset, `preferred address ${hex(address)} lies below 1 MiB`);
  }
  const size = Math.max(field.initSize.read(kernel), code.length);
  if (address + size > memoryEnd) throw tooLarge(address, size, memoryEnd);
  return {
    parts: [{ gpa: address, bytes: code }],
    entry: address + entryOffset,
    end: address + size,
    header: kernel.subarray(headerStart, end),
    initrdMaximum: field.initrdAddressMaximum.read(kernel),
    commandLineMaximum: field.commandLineSize.read(kernel),
  };
}

function placeElf(kernel: Uint8Array, memoryEnd: number): Placement {
  const { entry, segments } = parseElf64(kernel);
  const parts: MemoryRegion[] = [];
  let end = highMemoryStart;
  for (const { physical, bytes, memorySize } of [...segments].sort((a, b) => a.physical - b.physical)) {
    if (physical < highMemoryStart) {
      throw new BootError("unsupported-kernel", `a segment at ${hex(physical)}, below 1 MiB`);
    }
    if (physical < end) throw new BootError("unsupported-kernel", `segments overlap at ${hex(physical)}`);
    if (physical + memorySize > memoryEnd) throw tooLarge(physical, memorySize, memoryEnd);
    end = physical + memorySize;
    if (bytes.length > 0) parts.push({ gpa: physical, bytes });
  }
  return {
    parts,
    entry,
    end,
    header: synthesizeHeader(),
    initrdMaximum: 0x7fffffff,
    // COMMAND_LINE_SIZE of x86 is 2048 with its NUL.
    commandLineMaximum: 2047,
  };
}

function commandLineBytes(text: string, maximum: number): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  const room = Math.min(maximum, lowMemoryEnd - commandLineAt - 1);
  if (bytes.length - 1 > room) {
    throw new BootError(
      "command-line-too-long",
      `a command line of ${bytes.length - 1} bytes: this kernel takes ${room}`,
    );
  }
  return bytes;
}

/** As high as the kernel allows, so that it is out of the way of the kernel's own growth. */
function initrdAddress(length: number, placed: Placement, memoryEnd: number): number {
  const top = Math.min(memoryEnd, placed.initrdMaximum + 1);
  const address = Math.floor((top - length) / pageSize) * pageSize;
  if (address < placed.end) {
    const room = Math.max(0, top - placed.end);
    throw new BootError(
      "initrd-too-large",
      `an initrd of ${length} bytes: ${room} are free between the kernel's end at ${hex(placed.end)} and ${hex(top)}`,
    );
  }
  return address;
}

function zeroPage(
  placed: Placement,
  ramdisk: MemoryRegion,
  e820: readonly E820Entry[],
  rsdp: number,
): Uint8Array {
  const page = new Uint8Array(zeroPageSize);
  page.set(placed.header, headerStart);
  // Of no registered loader; 0xFF is what the protocol gives to those.
  field.typeOfLoader.write(page, 0xff);
  field.loadFlags.write(page, field.loadFlags.read(page) | 1);
  field.ramdiskImage.write(page, ramdisk.bytes.length === 0 ? 0 : ramdisk.gpa);
  field.ramdiskSize.write(page, ramdisk.bytes.length);
  field.commandLinePointer.write(page, commandLineAt);
  field.rsdpAddress.write(page, rsdp);
  field.e820Count.write(page, e820.length);
  const table = new Writer(e820.length * 20);
  for (const { start, length, type } of e820) table.u64(start).u64(length).u32(type);
  page.set(table.finish(), field.e820Table.offset);
  return page;
}

function truncated(kernel: Uint8Array, needed: number, what: string): BootError {
  return new BootError(
    "truncated-kernel",
    `${what} needs ${hex(needed)} bytes, the file has ${hex(kernel.length)}`,
  );
}

function unsupported(offset: number, what: string): BootError {
  return new BootError("unsupported-kernel", `${what} (setup header, offset ${hex(offset)})`);
}

function tooLarge(address: number, size: number, memoryEnd: number): BootError {
  return new BootError(
    "kernel-too-large",
    `the kernel needs ${hex(size)} bytes at ${hex(address)}, RAM ends at ${hex(memoryEnd)}`,
  );
}

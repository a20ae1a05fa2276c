import { Writer } from "@entresol/wire";
import { type E820Entry, e820Type } from "./e820.ts";
import { highMemoryStart } from "./memory-map.ts";

/*
 * What a multiboot kernel is told about the machine and itself: Multiboot Specification 0.6.96, 3.3. Little-endian.
 */

/** Where a module was put. */
export interface PlacedModule {
  /** Guest physical addresses of its first byte and of the byte behind its last. */
  readonly start: number;
  readonly end: number;
  readonly commandLine: string;
}

/** Where the kernel's section headers were put. */
export interface PlacedSections {
  /** Guest physical address. */
  readonly address: number;
  readonly entrySize: number;
  readonly count: number;
  /** Which of them holds the names. */
  readonly names: number;
}

export interface BootInformation {
  readonly commandLine: string;
  readonly memoryMap: readonly E820Entry[];
  readonly modules: readonly PlacedModule[];
  readonly sections: PlacedSections | undefined;
}

/** Which fields of the structure hold something. There is no boot device, no BIOS drive table and no screen to tell of. */
export const informationFlag = {
  memory: 1 << 0,
  commandLine: 1 << 2,
  modules: 1 << 3,
  elfSections: 1 << 5,
  memoryMap: 1 << 6,
  loaderName: 1 << 9,
} as const;

/** Offsets of those fields. */
export const informationField = {
  flags: 0,
  memoryLower: 4,
  memoryUpper: 8,
  commandLine: 16,
  moduleCount: 20,
  modules: 24,
  elfSections: 28,
  memoryMapLength: 44,
  memoryMap: 48,
  loaderName: 64,
} as const;

/** The structure up to its last field, of the frame buffer. */
const informationSize = 120;
const loaderName = "Entresol";

/** Flat segments for kernels that load a segment register before they have a GDT of their own, which 3.2 forbids them. */
export const codeSelector = 0x08;
export const dataSelector = 0x10;
const descriptors = [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn];
export const descriptorsSize = descriptors.length * 8;

/** The information as it lies at `address`: the structure, `descriptorsAt` the GDT, then memory map, modules and texts. */
export function informationBlock(address: number, information: BootInformation): Uint8Array {
  const { memoryMap, modules, sections } = information;
  const block = new Writer().zeros(informationSize);
  const set = (field: keyof typeof informationField, value: number): void =>
    block.setU32(informationField[field], value);
  const here = (): number => address + block.length;
  const text = (value: string): number => {
    const at = here();
    block.bytes(new TextEncoder().encode(value)).u8(0);
    return at;
  };

  for (const descriptor of descriptors) block.u64(descriptor);
  set("memoryMap", here());
  // 3.3: each entry begins with its size, which does not count itself.
  for (const { start, length, type } of memoryMap) block.u32(20).u64(start).u64(length).u32(type);
  set("memoryMapLength", here() - address - informationSize - descriptorsSize);
  const list = block.length;
  set("modules", here());
  set("moduleCount", modules.length);
  for (const { start, end } of modules) block.u32(start).u32(end).u32(0).u32(0);
  for (const [i, { commandLine }] of modules.entries()) block.setU32(list + i * 16 + 8, text(commandLine));
  set("commandLine", text(information.commandLine));
  set("loaderName", text(loaderName));

  const { memory, commandLine, modules: moduleList, memoryMap: map, loaderName: name } = informationFlag;
  set("flags", memory | commandLine | moduleList | map | name | (sections ? informationFlag.elfSections : 0));
  // In KiB, from 0 and from 1 MiB up to the first hole.
  set("memoryLower", ramFrom(0, memoryMap) / 1024);
  set("memoryUpper", ramFrom(highMemoryStart, memoryMap) / 1024);
  if (sections !== undefined) {
    const at = informationField.elfSections;
    for (const [i, value] of [sections.count, sections.entrySize, sections.address, sections.names].entries())
      block.setU32(at + i * 4, value);
  }
  return block.finish();
}

/** Where the GDT of an information block at `address` is. */
export function descriptorsAt(address: number): number {
  return address + informationSize;
}

/** Bytes of RAM in the range that begins at `start`. */
export function ramFrom(start: number, memoryMap: readonly E820Entry[]): number {
  return memoryMap.find((range) => range.start === start && range.type === e820Type.ram)?.length ?? 0;
}

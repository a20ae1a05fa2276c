export { BootError, type BootErrorCode } from "./boot-error.ts";
export { type E820Entry, type E820Type, e820Type, pcMemoryMap } from "./e820.ts";
export { type ElfExecutable, type ElfSegment, isElf, parseElf64 } from "./elf.ts";
export { type EntryState, enter, entryTables, linuxEntryState, type MemoryRegion } from "./entry-state.ts";
export { type LinuxBoot, type LoadedLinux, loadLinux } from "./linux.ts";
export { eventLogArea } from "./memory-map.ts";
export {
  type LoadedMultiboot,
  loadMultiboot,
  type MultibootBoot,
  type MultibootModule,
} from "./multiboot.ts";

import type {
  ControlRegister,
  DescriptorTable,
  GeneralRegister,
  Registers,
  Segment,
  SegmentName,
} from "@entresol/hypervisor";
import { Writer } from "@entresol/wire";
import { gdtAt, pageDirectoriesAt, pdptAt, pml4At, zeroPageAt } from "./memory-map.ts";

/** Bytes for guest memory. */
export interface MemoryRegion {
  /** Guest physical address. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** A processor about to run its first instruction. General registers that are not named are 0. */
export interface EntryState {
  readonly general: Readonly<Partial<Record<GeneralRegister, bigint>>>;
  readonly control: Readonly<Partial<Record<ControlRegister, bigint>>>;
  readonly segments: Readonly<Record<SegmentName, Segment>>;
  readonly gdtr: DescriptorTable;
  readonly idtr: DescriptorTable;
}

/** __BOOT_CS and __BOOT_DS, the selectors that Linux's boot protocol asks for. */
const codeSelector = 0x10;
const dataSelector = 0x18;
/** Null, unused, flat 64-bit code, flat data. */
const gdt = [0n, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn];

const code: Segment = { selector: codeSelector, base: 0n, limit: 0xffffffff, attributes: 0xa09b };
const data: Segment = { selector: dataSelector, base: 0n, limit: 0xffffffff, attributes: 0xc093 };
/** A busy 64-bit TSS, since hardware enters no guest without one; nothing uses it before the kernel loads its own. */
const task: Segment = { selector: 0, base: 0n, limit: 0x67, attributes: 0x008b };
const unusable: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

/**
 * 64-bit entry, Documentation/arch/x86/boot.rst "64-bit Boot Protocol": paging on with everything below 4 GiB mapped to
 * itself, flat segments, interrupts off, RSI at the boot parameters.
 */
export function linuxEntryState(entry: number): EntryState {
  return {
    general: { rip: BigInt(entry), rsi: BigInt(zeroPageAt), rflags: 2n },
    control: {
      cr0: 0x80050033n, // PG, AM, WP, NE, ET, MP, PE
      cr3: BigInt(pml4At),
      cr4: 0x20n, // PAE
      efer: 0x500n, // LMA, LME
    },
    segments: { cs: code, ds: data, es: data, fs: data, gs: data, ss: data, tr: task, ldtr: unusable },
    gdtr: { base: BigInt(gdtAt), limit: gdt.length * 8 - 1 },
    idtr: { base: 0n, limit: 0 },
  };
}

/** The tables that `linuxEntryState` points to. */
export function entryTables(): MemoryRegion[] {
  const present = 0x7; // present, writable, user
  const largePage = 0x87; // and PS: 2 MiB
  const gib = 4;
  const pml4 = new Writer(8).u64(pdptAt + present);
  const pdpt = new Writer(gib * 8);
  const directories = new Writer(gib * 4096);
  for (let i = 0; i < gib; i++) pdpt.u64(pageDirectoriesAt + i * 4096 + present);
  for (let i = 0; i < gib * 512; i++) directories.u64(i * 0x200000 + largePage);
  const descriptors = new Writer(gdt.length * 8);
  for (const descriptor of gdt) descriptors.u64(descriptor);
  return [
    { gpa: pml4At, bytes: pml4.finish() },
    { gpa: pdptAt, bytes: pdpt.finish() },
    { gpa: gdtAt, bytes: descriptors.finish() },
    { gpa: pageDirectoriesAt, bytes: directories.finish() },
  ];
}

/** Puts a vCPU into `state`. */
export function enter(registers: Registers, state: EntryState): void {
  // Tables and control registers before segments: a backend may derive the mode from them.
  registers.setTable("gdtr", state.gdtr);
  registers.setTable("idtr", state.idtr);
  for (const [name, value] of Object.entries(state.control)) registers.set(name as ControlRegister, value);
  for (const [name, value] of Object.entries(state.segments))
    registers.setSegment(name as SegmentName, value);
  for (const [name, value] of Object.entries(state.general)) registers.set(name as GeneralRegister, value);
}

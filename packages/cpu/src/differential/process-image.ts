import {
  CPL,
  CR0,
  CR3,
  CR4,
  EFER,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  LDTR_ATTRIBUTES,
  LDTR_BASE,
  LDTR_LIMIT,
  LDTR_SELECTOR,
  LSTAR,
  RIP,
  SEGMENT_ATTRIBUTES,
  SEGMENT_BASE,
  SEGMENT_LIMIT,
  SEGMENT_SELECTOR,
  SFMASK,
  STAR,
  TR_ATTRIBUTES,
  TR_BASE,
  TR_LIMIT,
  TR_SELECTOR,
} from "../../assembly/layout.ts";
import type { Processor } from "../processor.ts";
import {
  A_BASE,
  A_CODE,
  A_CODE_SIZE,
  A_CONSTANT,
  A_DATA,
  A_DATA_SIZE,
  A_MODIFIABLE,
  A_MODIFIABLE_SIZE,
  A_SEGMENT,
  CODE_LIMIT,
  constantByte,
  DATA_LIMIT,
  END_MARKER,
  PAGE,
} from "./record.ts";

/*
 * A system made to look, from user code, like the Linux process on the native side: same selectors, same CR0 and CR4 as
 * far as user code can tell, same pages. IRETQ enters a case and the IDT ends it: each handler is one HLT.
 *
 * Guest physical memory: tables and handlers below 1 MiB (supervisor, mapped at KERNEL), the pages of the case at PAGES.
 */
export const KERNEL_HIGH = 0xffffff80; // upper half of the linear address of guest physical 0
export const PAGES = 0x200000;
const PML4 = 0x1000;
const GDT = 0x8000;
const IDT = 0x9000;
const TSS = 0xa000;
const LDT = 0xa800;
export const STACK_TOP = 0xc000;
export const HANDLERS = 0xd000; // 16 bytes each
export const ENTRY = 0xe000; // IRETQ
export const SYSTEM_CALL = 0xf000;
export const RAM_SIZE = 0x800000;

/** The GDT of Linux, entries 1 to 6: kernel 32-bit code, kernel code, kernel data, user 32-bit code, user data, user code. */
const DESCRIPTORS: readonly [high: number, low: number][] = [
  [0, 0],
  [0x00cf9b00, 0xffff],
  [0x00af9b00, 0xffff],
  [0x00cf9300, 0xffff],
  [0x00cffb00, 0xffff],
  [0x00cff300, 0xffff],
  [0x00affb00, 0xffff],
];
const TASK_SELECTOR = 0x40;
/** Linux keeps the number of the CPU in the limit of this one; cases that would show it are avoided. */
const CPU_NUMBER: readonly [selector: number, high: number, low: number] = [0x78, 0x0040f500, 0];
/** #BP and #OF can be raised by INT n from user code, as in Linux. */
const USER_GATES = new Set([3, 4]);

/** Guest physical address of a linear one inside the pages of the case. */
export function physical(linear: number): number {
  return PAGES + linear - A_BASE;
}

/** Builds the system in guest RAM and puts vCPU 0 in front of its IRETQ. */
export function buildProcessImage(processor: Processor): void {
  buildTables(processor);
  buildContext(processor);
}

/** Writes page tables, descriptor tables and handlers into guest RAM. */
function buildTables(processor: Processor): void {
  const { view } = processor;
  const ram = processor.ram.byteOffset - view.byteOffset;
  const bytes = processor.ram;
  const put64 = (at: number, low: number, high: number) => {
    view.setUint32(ram + at, low, true);
    view.setUint32(ram + at + 4, high, true);
  };
  // Paging: the lower half holds the pages of the case only, PML4 entry 511 maps guest physical 0 for the system.
  put64(PML4, 0x2007, 0);
  put64(0x2000, 0x3007, 0);
  put64(0x3000 + 8 * (A_BASE >> 21), 0x4007, 0);
  put64(PML4 + 8 * 511, 0x5003, 0);
  put64(0x5000, 0x6003, 0);
  put64(0x6000, 0x83, 0);
  const map = (from: number, size: number, low: number, high: number) => {
    for (let at = from; at < from + size; at += PAGE) {
      put64(0x4000 + 8 * ((at - A_BASE) >> 12), (physical(at) | low) >>> 0, high);
    }
  };
  map(A_CODE, A_CODE_SIZE, 5, 0);
  map(A_MODIFIABLE, A_MODIFIABLE_SIZE, 7, 0);
  map(A_DATA, A_DATA_SIZE, 7, 0x80000000);
  map(A_CONSTANT, PAGE, 5, 0x80000000);
  const fill = (from: number, size: number) => {
    bytes.fill(END_MARKER, physical(from), physical(from) + size);
  };
  fill(A_CODE, A_CODE_SIZE);
  fill(A_MODIFIABLE, A_MODIFIABLE_SIZE);
  for (let i = 0; i < PAGE; i++) bytes[physical(A_CONSTANT) + i] = constantByte(i);

  for (const [index, [high, low]] of DESCRIPTORS.entries()) put64(GDT + 8 * index, low, high);
  put64(GDT + TASK_SELECTOR, (((TSS & 0xffff) << 16) | 0x67) >>> 0, 0x8b00);
  put64(GDT + TASK_SELECTOR + 8, KERNEL_HIGH, 0);
  put64(
    LDT,
    (((A_CODE & 0xffff) << 16) | CODE_LIMIT) >>> 0,
    (A_CODE & 0xff000000) | ((A_CODE >> 16) & 0xff) | 0xfb00,
  );
  put64(
    LDT + 8,
    (((A_SEGMENT & 0xffff) << 16) | DATA_LIMIT) >>> 0,
    (A_SEGMENT & 0xff000000) | ((A_SEGMENT >> 16) & 0xff) | 0xf300,
  );
  put64(GDT + CPU_NUMBER[0], CPU_NUMBER[2], CPU_NUMBER[1]);
  put64(TSS + 4, STACK_TOP, KERNEL_HIGH);
  view.setUint16(ram + TSS + 0x66, 0x68, true); // no I/O bitmap
  for (let vector = 0; vector < 256; vector++) {
    const handler = HANDLERS + 16 * vector;
    const type = USER_GATES.has(vector) ? 0xee00 : 0x8e00;
    put64(IDT + 16 * vector, ((0x10 << 16) | (handler & 0xffff)) >>> 0, type);
    put64(IDT + 16 * vector + 8, KERNEL_HIGH, 0);
    bytes[handler] = 0xf4;
  }
  bytes[ENTRY] = 0x48;
  bytes[ENTRY + 1] = 0xcf;
  bytes[SYSTEM_CALL] = 0xf4;
}

/** Puts the vCPU at the entry stub, at privilege level 0 in 64-bit mode. */
function buildContext(processor: Processor): void {
  const { view } = processor;
  const set = (at: number, low: number, high = 0) => {
    view.setUint32(at, low, true);
    view.setUint32(at + 4, high, true);
  };
  processor.resetVcpu(0, "power-on");
  set(CR0, 0x80050033);
  set(CR3, PML4);
  // DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT UMIP FSGSBASE SMEP SMAP
  set(CR4, 0x310ef8);
  set(EFER, 0xd01);
  set(GDTR_BASE, GDT, KERNEL_HIGH);
  view.setUint32(GDTR_LIMIT, 0x7f, true);
  set(IDTR_BASE, IDT, KERNEL_HIGH);
  view.setUint32(IDTR_LIMIT, 0xfff, true);
  set(TR_BASE, TSS, KERNEL_HIGH);
  view.setUint32(TR_LIMIT, 0x67, true);
  view.setUint16(TR_SELECTOR, TASK_SELECTOR, true);
  view.setUint16(TR_ATTRIBUTES, 0x8b, true);
  set(LDTR_BASE, LDT, KERNEL_HIGH);
  view.setUint16(LDTR_SELECTOR, 0x50, true);
  view.setUint16(LDTR_ATTRIBUTES, 0x82, true);
  view.setUint32(LDTR_LIMIT, 15, true);
  set(LSTAR, SYSTEM_CALL, KERNEL_HIGH);
  set(STAR, 0, 0x00230010);
  set(SFMASK, 0x47700);
  view.setUint32(CPL, 0, true);
  for (let index = 1; index < 7; index++) {
    const attributes = index === 2 ? 0xa09b : index === 3 ? 0xc093 : 0;
    view.setUint16(SEGMENT_SELECTOR + 2 * index, index === 2 ? 0x10 : index === 3 ? 0x18 : 0, true);
    view.setUint16(SEGMENT_ATTRIBUTES + 2 * index, attributes, true);
    view.setUint32(SEGMENT_LIMIT + 4 * index, attributes === 0 ? 0 : 0xffffffff, true);
    set(SEGMENT_BASE + 8 * index, 0);
  }
  set(RIP, ENTRY, KERNEL_HIGH);
  processor.applyRegisters();
}

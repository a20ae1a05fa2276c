import { modeChanged } from "./blocks";
import { GP, NP, SS as STACK_FAULT, fault } from "./fault";
import {
  CPL, CR0, DEBUG_ARMED, EFER, FLAGS_SYSTEM, GDTR_BASE, GDTR_LIMIT, LDTR_ATTRIBUTES, LDTR_BASE, LDTR_LIMIT, MODE,
  MODE_CHECKED, MODE_SIZE, MODE_STACK16, MODE_STEP, SEGMENT_ATTRIBUTES, SEGMENT_BASE, SEGMENT_LIMIT, SEGMENT_SELECTOR, SHADOW,
} from "./layout";
import { privilegeChanged, system_read64, system_write8 } from "./mmu";
import { CR0_PE, EFER_LMA, FLAG_TF, VENDOR_AMD } from "./profile";

/*
 * Segmentation (AMD64 volume 2, chapter 4): descriptors, the checks of a segment load, limits, and the decoding mode
 * that follows from the code and stack segments.
 *
 * Virtual-8086 mode does not exist here: whatever would set RFLAGS.VM is a fault.
 */

/** Index of each segment register in the tables of layout.ts (0 is "no segment"). */
export const ES: u32 = 1, CS: u32 = 2, SS: u32 = 3, DS: u32 = 4, FS: u32 = 5, GS: u32 = 6;

// Attribute word: descriptor byte 5, and AVL L D/B G in bits 12-15.
export const ACCESSED: u32 = 0x1;
/** Data: writable. Code: readable. */
export const WRITABLE: u32 = 0x2, READABLE: u32 = 0x2;
/** Data: expand down. Code: conforming. */
export const EXPAND_DOWN: u32 = 0x4, CONFORMING: u32 = 0x4;
export const CODE: u32 = 0x8;
/** S: code or data, not a system descriptor. */
export const NOT_SYSTEM: u32 = 0x10;
export const PRESENT: u32 = 0x80;
export const LONG: u32 = 0x2000;
/** D of code, B of data segments. */
export const BIG: u32 = 0x4000;

@inline export function selectorOf(index: u32): u32 { return load<u16>(SEGMENT_SELECTOR + (<usize>index << 1)); }
@inline export function attributesOf(index: u32): u32 { return load<u16>(SEGMENT_ATTRIBUTES + (<usize>index << 1)); }
@inline export function baseOf(index: u32): u64 { return load<u64>(SEGMENT_BASE + (<usize>index << 3)); }
@inline export function limitOf(index: u32): u32 { return load<u32>(SEGMENT_LIMIT + (<usize>index << 2)); }
@inline export function dpl(attributes: u32): u32 { return attributes >> 5 & 3; }
@inline export function cpl(): u32 { return load<u32>(CPL); }

@inline export function protectedMode(): bool { return (load<u64>(CR0) & CR0_PE) != 0; }
/** EFER.LMA: 64-bit or compatibility mode. */
@inline export function longMode(): bool { return (load<u64>(EFER) & EFER_LMA) != 0; }
/** The running code is 64-bit code. */
@inline export function in64(): bool { return (load<u32>(MODE) & MODE_SIZE) == 0; }
/** Bits 63 to 47 are all equal. */
@inline export function canonical(linear: u64): bool { return <u64>(<i64>(linear << 16) >> 16) == linear; }

// ---- descriptors ----

/** 1 while an event that the running instruction did not ask for is delivered: the EXT bit of error codes. */
let external: u32 = 0;
export function setExternal(bit: u32): void { external = bit; }
export function getExternal(): u32 { return external; }

/** Raises a fault whose error code names `selector`. */
export function selectorFault(vector: u32, selector: u32): void { fault(vector, selector & 0xfffc | external); }

/** The descriptor that `fetch` found, its linear address, and for `fetchHigh` its second half. */
export let descriptor: u64 = 0;
export let descriptorAt: u64 = 0;
export let descriptorHigh: u64 = 0;

/** An address of a descriptor table or TSS: 32 bits outside long mode. */
@inline export function tableAddress(linear: u64): u64 { return longMode() ? linear : linear & 0xffffffff; }

/** Reads the descriptor of `selector`; false when it lies outside its table. The selector must not be null. */
export function fetch(selector: u32): bool {
  const local = (selector & 4) != 0;
  if (local && (load<u16>(LDTR_ATTRIBUTES) & PRESENT) == 0) return false;
  const limit = local ? load<u32>(LDTR_LIMIT) : load<u32>(GDTR_LIMIT);
  const offset = selector & 0xfff8;
  // In 64 bits: an LDT limit of 4 GiB must not wrap the sum.
  if (<u64>offset + 7 > <u64>limit) return false;
  descriptorAt = tableAddress((local ? load<u64>(LDTR_BASE) : load<u64>(GDTR_BASE)) + offset);
  descriptor = system_read64(descriptorAt);
  return true;
}

/** Long mode system descriptors have 16 bytes: reads the second half after `fetch`. False when outside the table or when its type field is not 0. */
export function fetchHigh(selector: u32): bool {
  const limit = (selector & 4) != 0 ? load<u32>(LDTR_LIMIT) : load<u32>(GDTR_LIMIT);
  if (<u64>(selector & 0xfff8) + 15 > <u64>limit) return false;
  descriptorHigh = system_read64(descriptorAt + 8);
  return (descriptorHigh >> 40 & 0x1f) == 0;
}

@inline export function attributesIn(d: u64): u32 { return <u32>(d >> 40) & 0xf0ff; }
@inline export function baseIn(d: u64): u64 { return d >> 16 & 0xffffff | d >> 32 & 0xff000000; }
export function limitIn(d: u64): u32 {
  const raw = <u32>(d & 0xffff) | <u32>(d >> 32) & 0xf0000;
  return d >> 55 & 1 ? raw << 12 | 0xfff : raw;
}

/** Sets the accessed bit in the table. It may fault on the page, so it comes before any commit. */
export function markAccessed(d: u64, at: u64): u64 {
  if ((d >> 40 & ACCESSED) != 0) return d;
  const marked = d | <u64>ACCESSED << 40;
  system_write8(at + 5, <u8>(marked >> 40));
  return marked;
}

/** Commits a segment register. */
export function install(index: u32, selector: u32, d: u64): void {
  store<u64>(SEGMENT_BASE + (<usize>index << 3), baseIn(d));
  store<u32>(SEGMENT_LIMIT + (<usize>index << 2), limitIn(d));
  store<u16>(SEGMENT_ATTRIBUTES + (<usize>index << 1), <u16>attributesIn(d));
  store<u16>(SEGMENT_SELECTOR + (<usize>index << 1), <u16>selector);
}

/** A segment that is not in a table: SYSCALL and its kin, real mode. */
export function installFlat(index: u32, selector: u32, attributes: u32): void {
  store<u64>(SEGMENT_BASE + (<usize>index << 3), 0);
  store<u32>(SEGMENT_LIMIT + (<usize>index << 2), 0xffffffff);
  store<u16>(SEGMENT_ATTRIBUTES + (<usize>index << 1), <u16>attributes);
  store<u16>(SEGMENT_SELECTOR + (<usize>index << 1), <u16>selector);
}

/** A null selector: unusable, base 0. The limit stays, so that a return to real mode finds one. */
export function installNull(index: u32, selector: u32): void {
  store<u64>(SEGMENT_BASE + (<usize>index << 3), 0);
  store<u16>(SEGMENT_ATTRIBUTES + (<usize>index << 1), 0);
  store<u16>(SEGMENT_SELECTOR + (<usize>index << 1), <u16>selector);
}

/** Real mode: selector and base change; limit, B/D and G stay ("unreal" mode). */
export function installReal(index: u32, selector: u32): void {
  const at = SEGMENT_ATTRIBUTES + (<usize>index << 1);
  store<u64>(SEGMENT_BASE + (<usize>index << 3), <u64>selector << 4);
  store<u16>(at, <u16>(load<u16>(at) & 0xd000 | PRESENT | NOT_SYSTEM | WRITABLE | ACCESSED));
  store<u16>(SEGMENT_SELECTOR + (<usize>index << 1), <u16>selector);
}

/**
 * Checks a stack segment for privilege `level` and leaves it in `descriptor`; the faults are `vector` (#GP on a load, #TS on a
 * stack switch) and #SS when not present. Returns the descriptor with its accessed bit set. The selector must not be null.
 */
export function checkStackSegment(selector: u32, level: u32, vector: u32): u64 {
  if (!fetch(selector)) selectorFault(vector, selector);
  const a = attributesIn(descriptor);
  if ((selector & 3) != level || (a & (NOT_SYSTEM | CODE | WRITABLE)) != (NOT_SYSTEM | WRITABLE) || dpl(a) != level) selectorFault(vector, selector);
  if ((a & PRESENT) == 0) selectorFault(STACK_FAULT, selector);
  return markAccessed(descriptor, descriptorAt);
}

/** The same for ES, DS, FS and GS at the present CPL; #NP when not present. */
export function checkDataSegment(selector: u32, vector: u32): u64 {
  if (!fetch(selector)) selectorFault(vector, selector);
  const a = attributesIn(descriptor);
  // Data, or code that can be read.
  if ((a & NOT_SYSTEM) == 0 || (a & (CODE | READABLE)) == CODE) selectorFault(vector, selector);
  // Conforming code may be read from any level.
  if ((a & (CODE | CONFORMING)) != (CODE | CONFORMING) && (dpl(a) < cpl() || dpl(a) < (selector & 3))) selectorFault(vector, selector);
  if ((a & PRESENT) == 0) selectorFault(NP, selector);
  return markAccessed(descriptor, descriptorAt);
}

/** A null SS is legal for 64-bit code only, below CPL 3; on Intel its RPL must be the CPL. */
export function nullStackAllowed(selector: u32, level: u32, code64: bool): bool {
  return code64 && level != 3 && (VENDOR_AMD || (selector & 3) == level);
}

/**
 * Loads ES, SS, DS, FS or GS (volume 2, 4.10 and 4.11). Faults leave the register as it was. The caller follows with
 * `updateMode()` outside 64-bit mode.
 */
export function loadSegment(index: u32, selector: u32): void {
  if (!protectedMode()) { installReal(index, selector); return; }
  if ((selector & 0xfffc) == 0) {
    if (index == SS && !nullStackAllowed(selector, cpl(), in64())) fault(GP, 0);
    installNull(index, selector);
    return;
  }
  install(index, selector, index == SS ? checkStackSegment(selector, cpl(), GP) : checkDataSegment(selector, GP));
}

// ---- limits ----

/** Whether offset .. offset + length - 1 lies in a segment. `offset` is below 2^32, `length` at least 1. */
export function within(attributes: u32, limit: u32, offset: u64, length: u32): bool {
  const last = offset + length - 1;
  if ((attributes & (NOT_SYSTEM | CODE | EXPAND_DOWN)) == (NOT_SYSTEM | EXPAND_DOWN)) {
    return offset > <u64>limit && last <= ((attributes & BIG) != 0 ? <u64>0xffffffff : <u64>0xffff);
  }
  return last <= <u64>limit;
}

/** Outside 64-bit mode: #GP(0), or #SS(0) for SS, when an access leaves its segment or the segment is null. */
export function checkLimit(index: u32, offset: u64, length: u32): void {
  if (in64()) return;
  const a = attributesOf(index);
  if ((a == 0 && protectedMode()) || !within(a, limitOf(index), offset, length)) fault(index == SS ? STACK_FAULT : GP, index == SS ? external : 0);
}

/** `checkLimit`, and #GP(0) for a write to a segment that is not writable or a read of execute-only code; #SS(0) for SS. */
export function checkAccess(index: u32, offset: u64, length: u32, write: bool): void {
  if (in64()) return;
  if (protectedMode()) {
    const a = attributesOf(index);
    if (write ? (a & (CODE | WRITABLE)) != WRITABLE : (a & (CODE | READABLE)) == CODE) fault(index == SS ? STACK_FAULT : GP, 0);
  }
  checkLimit(index, offset, length);
}

// ---- derived state ----

/** Changes CPL; the memory unit then uses the other half of its TLBs. */
export function setCpl(level: u32): void {
  if (load<u32>(CPL) == level) return;
  store<u32>(CPL, level);
  privilegeChanged();
}

/** No access can fault: base 0, limit 4 GiB, readable and (but for CS) writable. A write through a flat CS goes unnoticed. */
function isFlat(index: u32): bool {
  if (limitOf(index) != 0xffffffff || baseOf(index) != 0) return false;
  const a = attributesOf(index);
  return index == CS ? (a & READABLE) != 0 : (a & (CODE | EXPAND_DOWN | WRITABLE)) == WRITABLE;
}

/** Derives MODE from CS, SS, EFER, TF, the armed breakpoints and SHADOW. To be called after any of them changed. */
export function updateMode(): void {
  let mode: u32 = 0;
  if (!longMode() || (attributesOf(CS) & LONG) == 0) {
    mode = (attributesOf(CS) & BIG) != 0 ? 1 : 2;
    if ((attributesOf(SS) & BIG) == 0) mode |= MODE_STACK16;
    for (let i = ES; i <= GS; i++) if (!isFlat(i)) mode |= MODE_CHECKED;
  }
  if ((load<u64>(FLAGS_SYSTEM) & FLAG_TF) != 0 || load<u32>(DEBUG_ARMED) != 0 || load<u32>(SHADOW) != 0) mode |= MODE_STEP;
  if (load<u32>(MODE) != mode) {
    store<u32>(MODE, mode);
    modeChanged();
  }
}

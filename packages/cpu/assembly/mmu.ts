/*
 * Linear addresses to memory: TLB, page walk, MMIO.
 *
 * A TLB entry is 16 bytes: tag u64 = page | generation, delta u32, host address = (u32)linear + delta. One 64-bit compare
 * decides a hit. For an access of n bytes the page of its *last* byte is compared, so an access that crosses pages
 * misses by itself. Everything about permission is decided when an entry is filled; whatever changes an answer flushes.
 * Pages that hold decoded code are never in the write table, pages with a data breakpoint in none, MMIO in none.
 */
import {
  CR0, CR3, CR4, EFER, CPL, MODE, MODE_SIZE, FLAGS_SYSTEM, DEBUG_ARMED, TLB_READ, TLB_WRITE, TLB_EXECUTE, TLB_TAG, TLB_EPOCH, RAM, RAM_SIZE, VCPU_INDEX,
  PAGE_CODE, PHYSICAL_BITS, COUNTERS, COUNTER_WALKS, COUNTER_TLB_FLUSHES,
} from "./layout";
import { TLB_HALF, TLB_STAMP, TLB_HALF_SIZE, WALK_ENTRIES, SMAP_WINDOW, LARGE_PAGES, PIECES } from "./state";
import { mmioRead, mmioWrite } from "./host";
import { AC, fault, pageFault, generalProtection, SS as STACK_FAULT } from "./fault";
import { usesStack } from "./operand";
import * as state from "./state";
import * as blocks from "./blocks";
import * as debug from "./debug";

export const READ: u32 = 0, WRITE: u32 = 1, EXECUTE: u32 = 2;
const PAGE: u64 = ~(<u64>0xfff);
const PRESENT: u64 = 1, WRITABLE: u64 = 2, USER: u64 = 4, ACCESSED: u64 = 0x20, DIRTY: u64 = 0x40, LARGE: u64 = 0x80, GLOBAL: u64 = 0x100, NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000ffffffffff000;
const CR0_WP: u64 = 0x10000, CR4_PSE: u64 = 0x10, CR4_PAE: u64 = 0x20, CR4_SMEP: u64 = 0x100000, CR4_SMAP: u64 = 0x200000;
const EFER_NXE: u64 = 0x800, EFER_LMA: u64 = 0x400, RFLAGS_AC: u32 = 0x40000;
/** CR0.AM, and RFLAGS.AC: the same bit. */
const ALIGNMENT: u32 = 0x40000;
/** In place of the generation while alignment is checked: no tag has a low half of 0 and this bit. */
const NEVER_HITS: u64 = 1 << 62;
const GENERATIONS: u32 = 4096;
const SMAP_WINDOW_ENTRIES: u32 = 60;

export function count(counter: u32): void {
  const at = COUNTERS + (<usize>counter << 3);
  store<u64>(at, load<u64>(at) + 1);
}

// ---- generations ----
let lastGeneration: u32 = 0;
let epoch: u32 = 1;

function newGeneration(): void {
  if (++lastGeneration == GENERATIONS) {
    memory.fill(TLB_READ, 0, <usize>TLB_HALF_SIZE * 6);
    memory.fill(LARGE_PAGES, 0, 0x1000);
    lastGeneration = 1;
    epoch++;
  }
  store<u32>(TLB_TAG, lastGeneration);
  store<u32>(TLB_EPOCH, epoch);
  store<u64>(TLB_STAMP, <u64>lastGeneration);
  store<u32>(SMAP_WINDOW, 0);
}
/** Makes the TLB serve the context that was just loaded; its entries from an earlier slice are good unless generations wrapped. */
export function adopt(): void {
  if (load<u32>(TLB_EPOCH) != epoch || load<u32>(TLB_TAG) == 0) newGeneration();
  else store<u64>(TLB_STAMP, <u64>load<u32>(TLB_TAG));
  closeSmapWindow();
  selectHalf();
}
/** Forgets all translations of this vCPU (and all that was concluded from them: which blocks may be entered). */
export function flushTlb(): void {
  count(COUNTER_TLB_FLUSHES);
  newGeneration();
  selectHalf();
  blocks.newTag();
}
/** INVLPG. */
export function flushPage(linear: u64): void {
  if (load<u8>(LARGE_PAGES + <usize>(largeHash(linear >> 21) >> 3)) >> <u8>(largeHash(linear >> 21) & 7) & 1
    || load<u8>(LARGE_PAGES + <usize>(largeHash(~(linear >> 30)) >> 3)) >> <u8>(largeHash(~(linear >> 30)) & 7) & 1) {
    flushTlb();
    return;
  }
  const at = entryOffset(linear, false);
  for (let half: usize = 0; half < 6; half++) store<u64>(TLB_READ + half * <usize>TLB_HALF_SIZE + at, 0);
  blocks.newTag();
}
function largeHash(region: u64): u32 { return <u32>((region * 0x9e3779b97f4a7c15) >> 49); }
function noteLargePage(linear: u64, shift: u64): void {
  noteHash(shift == 30 ? largeHash(~(linear >> 30)) : largeHash(linear >> 21));
  if (shift == 22) noteHash(largeHash((linear >> 21) ^ 1)); // the other half of 4 MiB
}
function noteHash(h: u32): void {
  const at = LARGE_PAGES + <usize>(h >> 3);
  store<u8>(at, load<u8>(at) | <u8>(<u32>1 << (h & 7)));
}
const SALT_BITS: u32 = 0x3ff0;
function selectHalf(): void {
  const salt = ((load<u32>(VCPU_INDEX) * 0x155) << 4) & SALT_BITS;
  const user = load<u32>(CPL) == 3;
  store<u32>(TLB_HALF, (user ? TLB_HALF_SIZE : 0) | salt);
  store<u64>(TLB_STAMP, user && (load<u32>(CR0) & load<u32>(FLAGS_SYSTEM) & ALIGNMENT) != 0 ? NEVER_HITS : <u64>load<u32>(TLB_TAG));
}
/** Offset in a table of the entry for `linear`. */
function entryOffset(linear: u64, user: bool): usize {
  const half: u32 = user ? TLB_HALF_SIZE : 0;
  return <usize>(half | ((load<u32>(TLB_HALF) ^ <u32>(linear >> 8)) & SALT_BITS));
}
function closeSmapWindow(): void {
  const n = load<u32>(SMAP_WINDOW);
  for (let i: u32 = 0; i < n; i++) store<u64>(<usize>load<u32>(SMAP_WINDOW + 4 + (<usize>i << 2)), 0);
  store<u32>(SMAP_WINDOW, 0);
}
/** After a change of CPL, of EFLAGS.AC, or of CR4. */
export function privilegeChanged(): void {
  if (load<u32>(SMAP_WINDOW)) closeSmapWindow();
  selectHalf();
  blocks.stamp();
}

// ---- the walk ----
/** The seam for page rules of confidential platforms: asked once per TLB fill with the page's physical address. Plain platforms admit everything. */
@inline function admit(physical: u64, linear: u64, access: u32, user: bool): void {}

/** #GP(0), or #SS(0) when the instruction addresses the stack, for an address beyond the 48 bits that are translated. */
function checkCanonical(linear: u64, write: bool): void {
  if (<u64>(<i64>(linear << 16) >> 16) == linear) return;
  if (state.current && usesStack(state.current, write)) fault(STACK_FAULT, 0);
  generalProtection();
}
/** The last byte of an access that leaves its page: not canonical comes before not present. */
function checkEnd(last: u64, write: bool): void { if (load<u64>(EFER) & EFER_LMA) checkCanonical(last, write); }

function refuse(linear: u64, access: u32, user: bool, cause: u32): void {
  const efer = load<u64>(EFER), cr4 = load<u64>(CR4);
  const reportsFetch = access == EXECUTE && ((cr4 & CR4_SMEP) != 0 || ((efer & EFER_NXE) != 0 && (cr4 & CR4_PAE) != 0));
  pageFault(linear, cause | (access == WRITE ? 2 : 0) | (user ? 4 : 0) | (reportsFetch ? 16 : 0));
}
/** A page-table entry; tables beyond RAM read as not present. */
function entryAt(at: u64, wide: bool): u64 {
  if (at + 8 > load<u64>(RAM_SIZE)) return 0;
  return wide ? load<u64>(RAM + <usize>at) : <u64>load<u32>(RAM + <usize>at);
}
function mark(at: u32, bits: u32): void {
  const word = RAM + <usize>at;
  const v = load<u32>(word);
  if ((v & bits) == bits) return;
  blocks.touch(<u64>at);
  store<u32>(word, v | bits);
}
/** What the last walk found: the leaf is a user page, and the size of its page (log2). */
let leafUser: bool = false;
let leafShift: u64 = 12;

/**
 * Translates without the TLB and sets accessed and dirty bits. `implicit`: a supervisor access that the processor makes by
 * itself (descriptor tables, TSS), for which EFLAGS.AC does not lift SMAP. Raises #PF, or #GP when not canonical.
 */
function walk(linear: u64, access: u32, user: bool, implicit: bool): u64 {
  count(COUNTER_WALKS);
  leafUser = false;
  leafShift = 12;
  if (!(load<u32>(CR0) >> 31)) return linear & 0xffffffff;
  const efer = load<u64>(EFER), cr4 = load<u64>(CR4);
  const long = (efer & EFER_LMA) != 0, wide = (cr4 & CR4_PAE) != 0;
  if (long) checkCanonical(linear, access == WRITE);
  const noExecute: u64 = wide && (efer & EFER_NXE) != 0 ? NO_EXECUTE : 0;
  let reserved: u64 = wide ? (ADDRESS & ~((<u64>1 << <u64>load<u32>(PHYSICAL_BITS)) - 1)) | (NO_EXECUTE & ~noExecute) : 0;
  if (wide && !long) reserved |= 0x7ff0000000000000;
  const bits: u64 = wide ? 9 : 10;
  let shift: u64 = long ? 39 : wide ? 30 : 22;
  let table: u64 = load<u64>(CR3) & (long ? ADDRESS : wide ? 0xffffffe0 : 0xfffff000);
  let allowed: u64 = WRITABLE | USER, entry: u64 = 0, forbidden: u64 = 0;
  let used: usize = WALK_ENTRIES;
  let physical: u64 = 0;
  while (true) {
    const at = table + (((linear >> shift) & ((1 << bits) - 1)) << (wide ? 3 : 2));
    entry = entryAt(at, wide);
    if (!(entry & PRESENT)) refuse(linear, access, user, 0);
    if (wide && !long && shift == 30) { table = entry & ADDRESS; shift = 21; continue; } // a PDPTE has no permissions
    const large = shift > 12 && (entry & LARGE) != 0 && (wide || (cr4 & CR4_PSE) != 0);
    if (entry & reserved || (large && shift == 39)) refuse(linear, access, user, 9);
    // AMD: G of an entry that is neither a page nor in a page directory must be 0.
    if (long && shift >= 30 && !large && (entry & GLOBAL) != 0) refuse(linear, access, user, 9);
    allowed &= entry;
    forbidden |= entry & noExecute;
    store<u32>(used, <u32>at);
    used += 4;
    if (large || shift == 12) {
      const inside = ((<u64>1 << shift) - 1);
      if (large) {
        // Bit 12 is PAT; the rest below the page is reserved, except that 32-bit tables keep address bits 32-39 in 13-20.
        if (entry & inside & (wide ? 0xffffffffffffe000 : 0x200000)) refuse(linear, access, user, 9);
        noteLargePage(linear, shift);
      }
      physical = (entry & (wide ? ADDRESS : 0xfffff000) & ~inside) | (linear & inside);
      if (large && !wide) physical |= (entry & 0x1fe000) << 19;
      break;
    }
    table = entry & (wide ? ADDRESS : 0xfffff000);
    shift -= bits;
  }
  leafUser = (allowed & USER) != 0;
  leafShift = shift;
  if (user) { if (!leafUser) refuse(linear, access, user, 1); }
  else if (leafUser) {
    if (access == EXECUTE) { if (cr4 & CR4_SMEP) refuse(linear, access, user, 1); }
    else if ((cr4 & CR4_SMAP) != 0 && (implicit || !(load<u32>(FLAGS_SYSTEM) & RFLAGS_AC))) refuse(linear, access, user, 1);
  }
  if (access == WRITE) { if (!(allowed & WRITABLE) && (user || (load<u64>(CR0) & CR0_WP) != 0)) refuse(linear, access, user, 1); }
  else if (access == EXECUTE && forbidden) refuse(linear, access, user, 1);
  admit(physical, linear, access, user);
  for (let at: usize = WALK_ENTRIES; at + 4 < used; at += 4) mark(load<u32>(at), <u32>ACCESSED);
  mark(load<u32>(used - 4), <u32>(access == WRITE ? ACCESSED | DIRTY : ACCESSED));
  return physical;
}
function tableOf(access: u32): usize { return access == READ ? TLB_READ : access == WRITE ? TLB_WRITE : TLB_EXECUTE; }

function translateAs(linear: u64, access: u32, user: bool, implicit: bool): u64 {
  const at = tableOf(access) + entryOffset(linear, user);
  const tag = (linear & PAGE) | load<u64>(TLB_STAMP);
  if (load<u64>(at) == tag) return <u64>(<u32>linear + load<u32>(at, 8) - <u32>RAM);
  const physical = walk(linear, access, user, implicit);
  if (physical >= load<u64>(RAM_SIZE) || alignmentChecked()) return physical;
  if (access == WRITE && (load<u32>(PAGE_CODE + (<usize>(physical >> 12) << 2)) & 1) != 0) return physical;
  if (access != EXECUTE && (load<u32>(DEBUG_ARMED) & 0xf0) != 0 && debug.watchesPage(linear)) return physical;
  if (leafUser && !user && access != EXECUTE && (load<u64>(CR4) & CR4_SMAP) != 0) {
    const n = load<u32>(SMAP_WINDOW);
    if (n >= SMAP_WINDOW_ENTRIES) return physical;
    store<u32>(SMAP_WINDOW + 4 + (<usize>n << 2), <u32>at);
    store<u32>(SMAP_WINDOW, n + 1);
  }
  store<u64>(at, tag);
  store<u32>(at, <u32>RAM + <u32>physical - <u32>linear, 8);
  return physical;
}
/** Guest physical address of `linear` for READ, WRITE or EXECUTE at the current privilege. Raises #PF or #GP. */
export function translate(linear: u64, access: u32): u64 { return translateAs(linear, access, load<u32>(CPL) == 3, false); }

/** `linear`, wrapped at 4 GiB outside 64-bit mode. */
@inline export function wrap(linear: u64): u64 { return load<u32>(MODE) & MODE_SIZE ? linear & 0xffffffff : linear; }

/** The same for accesses that the processor makes by itself: its tables lie anywhere in the linear address space of long mode. */
@inline function wrapSystem(linear: u64): u64 { return load<u64>(EFER) & EFER_LMA ? linear : linear & 0xffffffff; }

/** Takes a physical page of RAM out of the write TLB, so that writes to it are seen: it now holds decoded code. */
export function trapWrites(physical: u64): void {
  const host = <u32>RAM + (<u32>physical & ~0xfff);
  const stop = TLB_WRITE + <usize>TLB_HALF_SIZE * 2;
  for (let at = TLB_WRITE; at < stop; at += 16) {
    const tag = load<u64>(at);
    if (tag && (<u32>tag & ~0xfff) + load<u32>(at, 8) == host) store<u64>(at, 0);
  }
}

// ---- physical access ----
function readPhysical(at: u64, size: u32): u64 {
  if (at < load<u64>(RAM_SIZE)) {
    const host = RAM + <usize>at;
    switch (size) { case 1: return load<u8>(host); case 2: return load<u16>(host); case 4: return load<u32>(host); default: return load<u64>(host); }
  }
  if (size == 8) return <u64>mmioRead(<f64>at, 4) | (<u64>mmioRead(<f64>(at + 4), 4) << 32);
  const v = <u64>mmioRead(<f64>at, size);
  return size == 1 ? v & 0xff : size == 2 ? v & 0xffff : v;
}
function writePhysical(at: u64, size: u32, v: u64): void {
  if (at < load<u64>(RAM_SIZE)) {
    blocks.touch(at);
    const host = RAM + <usize>at;
    switch (size) { case 1: store<u8>(host, <u8>v); break; case 2: store<u16>(host, <u16>v); break; case 4: store<u32>(host, <u32>v); break; default: store<u64>(host, v); }
    return;
  }
  if (size == 8) { mmioWrite(<f64>at, 4, <u32>v); mmioWrite(<f64>(at + 4), 4, <u32>(v >> 32)); return; }
  mmioWrite(<f64>at, size, <u32>(size == 1 ? v & 0xff : size == 2 ? v & 0xffff : v));
}
@inline function watched(): bool { return (load<u32>(DEBUG_ARMED) & 0xf0) != 0; }

// ---- alignment ----
/** At CPL 3 under CR0.AM and RFLAGS.AC. Nothing is found in the TLB then, so that every access comes the slow way, and by `checkAlignment`. */
@inline export function alignmentChecked(): bool { return load<u64>(TLB_STAMP) == NEVER_HITS; }
/** #AC for an access of `size` bytes, a power of two, that is not aligned; before any page fault, but behind #GP of an address that is not canonical. */
export function checkAlignment(linear: u64, size: u32): void {
  if (alignmentChecked() && (<u32>linear & (size - 1)) != 0 && (!(load<u64>(EFER) & EFER_LMA) || <u64>(<i64>(linear << 16) >> 16) == linear)) fault(AC, 0);
}

function readAs(linear: u64, size: u32, access: u32, user: bool, implicit: bool): u64 {
  const left: u32 = 0x1000 - (<u32>linear & 0xfff);
  if (size > left) checkEnd(implicit ? wrapSystem(linear + size - 1) : wrap(linear + size - 1), access == WRITE);
  const first = translateAs(linear, access, user, implicit);
  if (size <= left) return readPhysical(first, size);
  const second = translateAs(implicit ? wrapSystem(linear + left) : wrap(linear + left), access, user, implicit);
  let v: u64 = 0;
  for (let i: u32 = 0; i < size; i++) v |= readPhysical(i < left ? first + i : second + (i - left), 1) << (8 * <u64>i);
  return v;
}
function writeAs(linear: u64, size: u32, v: u64, user: bool, implicit: bool): void {
  const left: u32 = 0x1000 - (<u32>linear & 0xfff);
  if (size > left) checkEnd(implicit ? wrapSystem(linear + size - 1) : wrap(linear + size - 1), true);
  const first = translateAs(linear, WRITE, user, implicit);
  if (size <= left) { writePhysical(first, size, v); return; }
  const second = translateAs(implicit ? wrapSystem(linear + left) : wrap(linear + left), WRITE, user, implicit);
  for (let i: u32 = 0; i < size; i++) writePhysical(i < left ? first + i : second + (i - left), 1, (v >> (8 * <u64>i)) & 0xff);
}
export function readSlow(linear: u64, size: u32): u64 {
  checkAlignment(linear, size);
  return readAnyhow(linear, size);
}
function readAnyhow(linear: u64, size: u32): u64 {
  const v = readAs(linear, size, READ, load<u32>(CPL) == 3, false);
  if (watched()) debug.dataAccess(linear, size, false);
  return v;
}
export function readForWriteSlow(linear: u64, size: u32): u64 {
  checkAlignment(linear, size);
  return readAs(linear, size, WRITE, load<u32>(CPL) == 3, false);
}
export function writeSlow(linear: u64, size: u32, v: u64): void {
  checkAlignment(linear, size);
  writeAnyhow(linear, size, v);
}
function writeAnyhow(linear: u64, size: u32, v: u64): void {
  writeAs(linear, size, v, load<u32>(CPL) == 3, false);
  if (watched()) debug.dataAccess(linear, size, true);
}

// ---- the fast paths ----
@inline export function slot(linear: u64): usize { return <usize>(load<u32>(TLB_HALF) ^ (<u32>(linear >> 8) & SALT_BITS)); }
@inline export function hits<T>(at: usize, table: usize, linear: u64): bool {
  return load<u64>(at + table) == (((linear + (sizeof<T>() - 1)) & PAGE) | load<u64>(TLB_STAMP));
}
@inline export function hostAddress(at: usize, table: usize, linear: u64): usize { return <usize>(<u32>linear + load<u32>(at + table, 8)); }

@inline function readHere<T>(linear: u64): T {
  const at = slot(linear);
  return hits<T>(at, TLB_READ, linear) ? load<T>(hostAddress(at, TLB_READ, linear)) : <T>readSlow(linear, sizeof<T>());
}
@inline function readForWriteHere<T>(linear: u64): T {
  const at = slot(linear);
  return hits<T>(at, TLB_WRITE, linear) ? load<T>(hostAddress(at, TLB_WRITE, linear)) : <T>readForWriteSlow(linear, sizeof<T>());
}
@inline function writeHere<T>(linear: u64, v: T): void {
  const at = slot(linear);
  if (hits<T>(at, TLB_WRITE, linear)) store<T>(hostAddress(at, TLB_WRITE, linear), v);
  else writeSlow(linear, sizeof<T>(), <u64>v);
}
export function read8(linear: u64): u8 { return readHere<u8>(linear); }
export function read16(linear: u64): u16 { return readHere<u16>(linear); }
export function read32(linear: u64): u32 { return readHere<u32>(linear); }
export function read64(linear: u64): u64 { return readHere<u64>(linear); }
export function readForWrite8(linear: u64): u8 { return readForWriteHere<u8>(linear); }
export function readForWrite16(linear: u64): u16 { return readForWriteHere<u16>(linear); }
export function readForWrite32(linear: u64): u32 { return readForWriteHere<u32>(linear); }
export function readForWrite64(linear: u64): u64 { return readForWriteHere<u64>(linear); }
export function write8(linear: u64, v: u8): void { writeHere<u8>(linear, v); }
export function write16(linear: u64, v: u16): void { writeHere<u16>(linear, v); }
export function write32(linear: u64, v: u32): void { writeHere<u32>(linear, v); }
export function write64(linear: u64, v: u64): void { writeHere<u64>(linear, v); }

/** For the 80-bit registers of an image, which follow each other without gaps and were probed as a whole: never #AC. */
export function readPacked64(linear: u64): u64 { return alignmentChecked() ? readAnyhow(linear, 8) : read64(linear); }
export function writePacked64(linear: u64, v: u64): void {
  if (alignmentChecked()) writeAnyhow(linear, 8, v);
  else write64(linear, v);
}

export function read128(linear: u64): v128 {
  const at = slot(linear);
  if (hits<v128>(at, TLB_READ, linear)) return v128.load(hostAddress(at, TLB_READ, linear));
  checkAlignment(linear, 16);
  probeRead(linear, 16);
  store<u64>(PIECES, readSlow(linear, 8));
  store<u64>(PIECES, readSlow(wrap(linear + 8), 8), 8);
  return v128.load(PIECES);
}
export function write128(linear: u64, v: v128): void {
  const at = slot(linear);
  if (hits<v128>(at, TLB_WRITE, linear)) { v128.store(hostAddress(at, TLB_WRITE, linear), v); return; }
  checkAlignment(linear, 16);
  probeWrite(linear, 16);
  writeSlow(linear, 8, i64x2.extract_lane(v, 0));
  writeSlow(wrap(linear + 8), 8, i64x2.extract_lane(v, 1));
}
/** Images of several words are aligned as their words are: by the lowest bit of their length. */
function probe(linear: u64, length: u32, access: u32): void {
  const word = length & (0 - length);
  checkAlignment(linear, word < 8 ? word : 8);
  if ((<u32>linear & 0xfff) + length > 0x1000) checkEnd(wrap(linear + length - 1), access == WRITE);
  translate(linear, access);
  if ((<u32>linear & 0xfff) + length > 0x1000) translate(wrap((linear + length - 1) & PAGE), access);
}
/** Faults now, as a read, if any byte of the range would; at most 4096 bytes. */
export function probeRead(linear: u64, length: u32): void { probe(linear, length, READ); }
/** Faults now, as a write, if any byte of the range would; at most 4096 bytes. */
export function probeWrite(linear: u64, length: u32): void { probe(linear, length, WRITE); }

/** Address in wasm memory of a byte of RAM, for runs that stay in its page; 0 when it is MMIO or watched, or alignment is checked. */
export function hostForRead(linear: u64): usize {
  if (alignmentChecked()) return 0;
  const physical = translate(linear, READ);
  return physical < load<u64>(RAM_SIZE) && !watched() ? RAM + <usize>physical : 0;
}
export function hostForWrite(linear: u64): usize {
  if (alignmentChecked()) return 0;
  const physical = translate(linear, WRITE);
  if (physical >= load<u64>(RAM_SIZE) || watched()) return 0;
  blocks.touch(physical);
  return RAM + <usize>physical;
}

// ---- accesses that the processor makes by itself: supervisor, whatever the CPL ----
function system_probe(linear: u64, length: u32, access: u32): void {
  translateAs(wrapSystem(linear), access, false, true);
  if ((<u32>linear & 0xfff) + length > 0x1000) translateAs(wrapSystem((linear + length - 1) & PAGE), access, false, true);
}
/** Faults now if any byte of the range would; at most 4096 bytes. */
export function system_probeRead(linear: u64, length: u32): void { system_probe(linear, length, READ); }
export function system_probeWrite(linear: u64, length: u32): void { system_probe(linear, length, WRITE); }
export function system_read8(linear: u64): u8 { return <u8>readAs(wrapSystem(linear), 1, READ, false, true); }
export function system_read16(linear: u64): u16 { return <u16>readAs(wrapSystem(linear), 2, READ, false, true); }
export function system_read32(linear: u64): u32 { return <u32>readAs(wrapSystem(linear), 4, READ, false, true); }
export function system_read64(linear: u64): u64 { return readAs(wrapSystem(linear), 8, READ, false, true); }
export function system_write8(linear: u64, v: u8): void { writeAs(wrapSystem(linear), 1, <u64>v, false, true); }
export function system_write16(linear: u64, v: u16): void { writeAs(wrapSystem(linear), 2, <u64>v, false, true); }
export function system_write32(linear: u64, v: u32): void { writeAs(wrapSystem(linear), 4, <u64>v, false, true); }
export function system_write64(linear: u64, v: u64): void { writeAs(wrapSystem(linear), 8, v, false, true); }

/*
 * Decoded code: where it lies, when it is valid, how it is found.
 *
 * A block is decoded for a *physical* address and a MODE; operands and branch targets that depend on RIP are stored
 * relative to its start, so one block serves every linear address. It is valid while the code pages it was decoded
 * from keep their generation (PAGE_CODE). Three ways lead to a block, each cheaper than the next:
 *   1. the block before it remembers its last two successors,
 *   2. BLOCK_CACHE by linear address (per vCPU, by a salt),
 *   3. translation and BLOCK_HASH by physical address; else it is decoded.
 * 1 and 2 are hints only. What makes them safe stands in the block itself: the linear address for which it was last
 * validated, and the stamp (tag, mode, privilege) under which. Whatever changes a mapping or code allocates a new tag.
 *
 * Memory of a block at `b`: b - 32: what validation needs; b: what entering needs; b + 32: the uops.
 */
import {
  MODE, CPL, VCPU_INDEX, BLOCK_TAG, CODE_EPOCH, BLOCK_CACHE, BLOCK_HASH, PAGE_CODE, ARENA, ARENA_END, RAM_SIZE, SEGMENT_BASE, SEGMENT_LIMIT, MODE_CHECKED, MODE_STEP,
  COUNTERS, COUNTER_BLOCK_MISSES, COUNTER_CODE_INVALIDATIONS,
} from "./layout";
import { U_OP, U_OFFSET, U_NEXT, U_LEFT } from "./uop";
import { ENTRY_STAMP, CODE_STAMP, CACHE_SALT, STEPPING, NEVER } from "./state";
import * as state from "./state";
import { generalProtection } from "./fault";
import * as mmu from "./mmu";
import { decodeBlock, limited, MAX_UOPS } from "./decode";
import { Op } from "./ops";

export const B_LINEAR: usize = 0; // u64: for this linear address ...
export const B_STAMP: usize = 8; // u32: ... and this stamp the block may be entered
export const B_COUNT: usize = 12; // u32: instructions
export const B_TAKEN: usize = 16; // u32: block that followed last time by the branch
export const B_NEXT: usize = 20; // u32: block that followed last time without it
export const B_BYTES: usize = 24; // u32: length in bytes
export const HEADER: usize = 32;
const COLD: usize = 32;
const C_PHYSICAL: usize = 0; // u32: offset of the first byte in RAM (RAM is below 4 GiB)
const C_MODE: usize = 4; // u32
const C_WORD: usize = 8; // u32: PAGE_CODE word of the page at the time of decoding
const C_HASH_NEXT: usize = 12; // u32: next block of the same hash
const C_PHYSICAL2: usize = 16; // u32: second page, when the only instruction crosses into it
const C_WORD2: usize = 20; // u32: 0 = no second page
const C_MARK: usize = 24; // u32: MARK, which no uop has there: U_SUB, U_IS_REG, U_AUX and U_NUMBER are all above their ranges
const MARK: u32 = 0xffffffff;

// An entry of BLOCK_CACHE: block u32, then for which stamp and linear address that holds.
const E_STAMP: usize = 4;
const E_LINEAR: usize = 8;

const TAGS: u32 = 1 << 26;
const CACHE_ENTRIES: u32 = 32768;
const HASH_ENTRIES: u32 = 65536;

let arena: usize = ARENA;
/** Rises whenever code changed or the arena was emptied; a vCPU that was not running then must not trust its tag. */
let codeEpoch: u32 = 1;
let lastTag: u32 = 0;
/** Rises when the arena is emptied: block pointers from before are void. */
export let arenaGeneration: u32 = 0;

/** Derives the stamps from the tag, MODE and CPL. */
export function stamp(): void {
  const mode = load<u32>(MODE);
  const value = (load<u32>(BLOCK_TAG) << 6) | ((mode & 31) << 1) | (load<u32>(CPL) == 3 ? 1 : 0);
  store<u32>(CODE_STAMP, value);
  // Stepping goes through the run loop's slow door at every instruction, also after the one that ends it.
  store<u32>(ENTRY_STAMP, mode & MODE_STEP || load<u32>(STEPPING) ? NEVER : value);
}
/** All look-ups of this vCPU start afresh: a mapping changed. */
export function newTag(): void {
  if (++lastTag >= TAGS - 1) { empty(); lastTag = 1; codeEpoch++; }
  store<u32>(BLOCK_TAG, lastTag);
  store<u32>(CODE_EPOCH, codeEpoch);
  stamp();
}
/** For the context that was just loaded. */
export function adopt(): void {
  store<u32>(CACHE_SALT, load<u32>(VCPU_INDEX) * 0x9e5);
  if (load<u32>(CODE_EPOCH) != codeEpoch || load<u32>(BLOCK_TAG) == 0) newTag();
  else stamp();
}
/** After MODE changed. Blocks know their mode, so nothing is lost. */
export function modeChanged(): void { stamp(); }

/** Drops every block. */
function empty(): void {
  arena = ARENA;
  arenaGeneration++;
  memory.fill(BLOCK_CACHE, 0, <usize>CACHE_ENTRIES << 4);
  memory.fill(BLOCK_HASH, 0, <usize>HASH_ENTRIES << 2);
  state.current = 0;
}
export function reset(): void { empty(); codeEpoch++; newTag(); }

// ---- code tracking ----
/** The page of RAM at `physical` is about to be written, or has been. */
@inline export function touch(physical: u64): void {
  const word = PAGE_CODE + (<usize>(physical >> 12) << 2);
  if (load<u32>(word) & 1) invalidate(word);
}
function invalidate(word: usize): void {
  store<u32>(word, (load<u32>(word) + 2) & ~1);
  mmu.count(COUNTER_CODE_INVALIDATIONS);
  const p = state.current;
  codeEpoch++;
  newTag();
  // The running block may be what was written: the next instruction must then come from memory again. Its uops are
  // linked by position only, so the one after the current becomes an exit. That one may belong to a later
  // instruction, behind NOPs and jumps that were decoded away: the exit is to the one right behind.
  if (p && load<u16>(p, U_LEFT) > 1 && liesOn(p, word)) {
    store<u16>(p + 32, <u16>Op.EXIT, U_OP);
    store<u16>(p + 32, load<u16>(p, U_NEXT), U_OFFSET);
    store<u16>(p + 32, load<u16>(p, U_LEFT) - 1, U_LEFT);
  }
}
function codeWord(physical: u32): usize { return PAGE_CODE + (<usize>(physical >> 12) << 2); }
/** Whether the block of the uop at `p` was decoded from the page of this PAGE_CODE word. */
function liesOn(p: usize, word: usize): bool {
  let cold = p - HEADER - COLD;
  while (load<u32>(cold, C_MARK) != MARK) cold -= 32;
  return codeWord(load<u32>(cold, C_PHYSICAL)) == word || (load<u32>(cold, C_WORD2) != 0 && codeWord(load<u32>(cold, C_PHYSICAL2)) == word);
}
/** RAM was written from outside. `length` may be 0. */
export function codeWritten(physical: f64, length: f64): void {
  if (!(length > 0) || !(physical >= 0) || !(physical < <f64>load<u64>(RAM_SIZE))) return;
  const end = physical + length < <f64>load<u64>(RAM_SIZE) ? physical + length : <f64>load<u64>(RAM_SIZE);
  const last = (<u64>end - 1) >> 12;
  for (let page = <u64>physical >> 12; page <= last; page++) touch(page << 12);
}
function markCode(physical: u64): u32 {
  const at = PAGE_CODE + (<usize>(physical >> 12) << 2);
  let word = load<u32>(at);
  if (!(word & 1)) { word |= 1; store<u32>(at, word); mmu.trapWrites(physical); }
  return word;
}

// ---- finding ----
@inline export function cacheSlot(linear: u64): usize {
  const low = <u32>linear;
  return BLOCK_CACHE + ((<usize>((low ^ (low >> 15) ^ load<u32>(CACHE_SALT)) & (CACHE_ENTRIES - 1))) << 4);
}
function hashSlot(physical: u32, mode: u32): usize {
  return BLOCK_HASH + (<usize>(((physical ^ mode) * 0x9e3779b1) >> 16) << 2);
}
/** The code pages of the block are as they were when it was decoded. */
@inline function isCurrent(cold: usize): bool {
  return load<u32>(codeWord(load<u32>(cold, C_PHYSICAL))) == load<u32>(cold, C_WORD)
    && (load<u32>(cold, C_WORD2) == 0 || load<u32>(codeWord(load<u32>(cold, C_PHYSICAL2))) == load<u32>(cold, C_WORD2));
}
@inline function isFor(cold: usize, physical: u32, mode: u32): bool { return load<u32>(cold, C_PHYSICAL) == physical && load<u32>(cold, C_MODE) == mode; }
function lookUp(physical: u32, mode: u32): usize {
  const head = hashSlot(physical, mode);
  let link = head;
  for (let b = <usize>load<u32>(link); b; b = <usize>load<u32>(link)) {
    const cold = b - COLD;
    if (!isCurrent(cold)) { store<u32>(link, load<u32>(cold, C_HASH_NEXT)); continue; } // stale for ever
    if (isFor(cold, physical, mode)) return b;
    link = cold + C_HASH_NEXT;
  }
  return 0;
}
/** The second page of a block of one crossing instruction: raises #PF as its fetch would. */
export function secondPage(linear: u64): u64 {
  const physical = mmu.translate(mmu.wrap((linear & ~0xfff) + 0x1000), mmu.EXECUTE);
  if (physical >= load<u64>(RAM_SIZE)) generalProtection();
  return physical;
}
/**
 * The block at `linear`, validated and stamped. state.rip must be `linear` and state.current 0, because fetching may
 * raise. Fetching from outside RAM raises #GP(0): no device of ours holds code.
 */
export function find(linear: u64): usize {
  const slot = cacheSlot(linear), current = load<u32>(CODE_STAMP);
  let b = <usize>load<u32>(slot);
  if (load<u64>(slot, E_LINEAR) == linear && load<u32>(slot, E_STAMP) == current) {
    // Another vCPU, or another address of the same code, has put its own stamp on the block in the meantime.
    store<u64>(b, linear, B_LINEAR);
    store<u32>(b, current, B_STAMP);
    return b;
  }
  mmu.count(COUNTER_BLOCK_MISSES);
  const mode = load<u32>(MODE) & 31;
  let room: u32 = NO_LIMIT;
  if (mode & MODE_CHECKED) {
    const offset = (linear - load<u64>(SEGMENT_BASE + 16)) & 0xffffffff, limit = <u64>load<u32>(SEGMENT_LIMIT + 8);
    if (offset > limit) generalProtection();
    if (limit - offset < 0x1000) room = <u32>(limit - offset) + 1;
  }
  const physical = mmu.translate(linear, mmu.EXECUTE);
  if (physical >= load<u64>(RAM_SIZE)) generalProtection();
  // Most misses follow a flush that changed nothing here: the block of last time is tried first.
  if (!b || load<u64>(slot, E_LINEAR) != linear || !isFor(b - COLD, <u32>physical, mode) || !isCurrent(b - COLD)) b = lookUp(<u32>physical, mode);
  if (b && load<u32>(b - COLD, C_WORD2) != 0 && <u32>secondPage(linear) != load<u32>(b - COLD, C_PHYSICAL2)) {
    // The same bytes on the first page now continue on another page: leave the old block to that other mapping.
    b = 0;
  }
  // CS's limit is not part of a block's key: one that would leave the segment is decoded again, shorter, for this entry only.
  if (!b || load<u32>(b, B_BYTES) > room) {
    b = create(linear, <u32>physical, mode, room);
    if (limited) return b;
  }
  store<u64>(b, linear, B_LINEAR);
  // Translation and decoding may have set an accessed bit in a page of code, which changes the tag.
  const valid = load<u32>(CODE_STAMP);
  store<u32>(b, valid, B_STAMP);
  store<u32>(slot, <u32>b);
  store<u32>(slot, valid, E_STAMP);
  store<u64>(slot, linear, E_LINEAR);
  return b;
}
function create(linear: u64, physical: u32, mode: u32, room: u32): usize {
  if (arena + COLD + HEADER + 32 * (<usize>MAX_UOPS + 2) > ARENA_END) { empty(); codeEpoch++; newTag(); }
  const b = arena + COLD, cold = arena;
  memory.fill(arena, 0, COLD + HEADER);
  const end = decodeBlock(b, linear, physical, mode, room);
  store<u32>(cold, physical, C_PHYSICAL);
  store<u32>(cold, mode, C_MODE);
  store<u32>(cold, MARK, C_MARK);
  store<u32>(cold, markCode(physical), C_WORD);
  const second = crossedInto;
  crossedInto = NO_PAGE;
  if (second != NO_PAGE) {
    store<u32>(cold, <u32>second, C_PHYSICAL2);
    store<u32>(cold, markCode(second), C_WORD2);
  }
  if (!limited) {
    const head = hashSlot(physical, mode);
    store<u32>(cold, load<u32>(head), C_HASH_NEXT);
    store<u32>(head, <u32>b);
  }
  arena = end;
  return b;
}
const NO_LIMIT: u32 = 0xffffffff;
const NO_PAGE: u64 = <u64>-1;
/** Physical address of the second page that the decoder read for the block in the making. */
let crossedInto: u64 = NO_PAGE;
export function noteSecondPage(physical: u64): void { crossedInto = physical; }

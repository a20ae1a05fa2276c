import { SS as STACK_FAULT, TS, fault } from "./fault";
import { GPR, MODE, MODE_SIZE, MODE_STACK16, TR_ATTRIBUTES, TR_BASE, TR_LIMIT, TR_SELECTOR } from "./layout";
import { probeWrite, read16, read32, read64, system_read16, system_read32, system_read64, system_write16, system_write32, system_write64, write16, write32, write64 } from "./mmu";
import {
  BIG, SS, attributesIn, baseIn, baseOf, canonical, checkLimit, checkStackSegment, getExternal, in64, limitIn, selectorFault, tableAddress, within,
} from "./segments";

/*
 * A cursor over a stack: what far transfers, interrupts and the multi-word pushes share.
 *
 * Words are pushed or popped while RSP keeps its value; `commitStack` moves it when nothing can fault any more. A fault in
 * between leaves at most words written below the old top of stack, as on hardware.
 */

const RSP: usize = GPR + 32;

let pointer: u64 = 0;
let mask: u64 = 0;
let base: u64 = 0;
/** Words go through SS's limit. */
let checked: bool = false;
/** The stack of an inner level that is not running yet: written with supervisor rights. */
let inner: bool = false;

/** The bits of RSP that address the running stack. */
export function stackMask(): u64 {
  const mode = load<u32>(MODE);
  if ((mode & MODE_SIZE) == 0) return ~(<u64>0);
  return (mode & MODE_STACK16) != 0 ? 0xffff : 0xffffffff;
}

/** Points the cursor at the running stack. */
export function openStack(): void {
  mask = stackMask();
  pointer = load<u64>(RSP) & mask;
  checked = !in64();
  base = checked ? baseOf(SS) : 0;
  inner = false;
}

/** Points the cursor at a 64-bit stack. */
export function openStack64(top: u64, supervisor: bool): void {
  mask = ~(<u64>0);
  pointer = top;
  checked = false;
  base = 0;
  inner = supervisor;
}

/** Points the cursor at a stack segment that is not loaded yet and checks that `bytes` fit: #SS(selector). */
function openSegment(selector: u32, d: u64, top: u64, bytes: u32): void {
  const a = attributesIn(d);
  mask = (a & BIG) != 0 ? 0xffffffff : 0xffff;
  pointer = top & mask;
  checked = false;
  base = baseIn(d);
  inner = true;
  if (!within(a, limitIn(d), pointer - bytes & mask, bytes)) selectorFault(STACK_FAULT, selector);
}

function wordAddress(size: u32): u64 {
  if (checked) checkLimit(SS, pointer, 1 << size);
  if (mask == ~(<u64>0)) {
    // The last byte counts as well: the memory unit would call it #GP.
    if (!canonical(pointer) || !canonical(pointer + (<u64>1 << size) - 1)) fault(STACK_FAULT, getExternal());
    return pointer;
  }
  return base + pointer & 0xffffffff;
}

/** Pushes 2, 4 or 8 bytes (size 1, 2, 3). */
export function push(size: u32, value: u64): void {
  pointer = pointer - (<u64>1 << size) & mask;
  const at = wordAddress(size);
  if (inner) {
    if (size == 3) system_write64(at, value);
    else if (size == 2) system_write32(at, <u32>value);
    else system_write16(at, <u16>value);
  } else {
    if (size == 3) write64(at, value);
    else if (size == 2) write32(at, <u32>value);
    else write16(at, <u16>value);
  }
}

/** Pops 2, 4 or 8 bytes. */
export function pop(size: u32): u64 {
  const at = wordAddress(size);
  const value: u64 = size == 3 ? <u64>read64(at) : size == 2 ? <u64>read32(at) : <u64>read16(at);
  pointer = pointer + (<u64>1 << size) & mask;
  return value;
}

/** Reads the word `index` words above the top of the running stack, for the parameters of a call gate. */
export function parameter(size: u32, index: u32): u64 {
  const m = stackMask();
  const offset = load<u64>(RSP) + (<u64>index << size) & m;
  checkLimit(SS, offset, 1 << size);
  const at = baseOf(SS) + offset & 0xffffffff;
  return size == 2 ? <u64>read32(at) : <u64>read16(at);
}

/** Reads the word `index` words above the cursor, which stays where it is. */
export function peek(size: u32, index: u32): u64 { return frameWord(pointer + (<u64>index << size), size); }

/** Reads a word of the running stack at `offset`, for ENTER. */
export function frameWord(offset: u64, size: u32): u64 {
  const kept = pointer;
  pointer = offset & mask;
  const value = pop(size);
  pointer = kept;
  return value;
}

/** RSP as it would be after `commitStack`. */
export function stackTop(): u64 { return mask == 0xffff ? load<u64>(RSP) & ~(<u64>0xffff) | pointer : pointer; }

/** Faults, as a push to it would, unless the word at the cursor can be written. */
export function probeTop(size: u32): void { probeWrite(wordAddress(size), <u32>1 << size); }

/** Moves the cursor over bytes that are neither read nor written. */
export function drop(bytes: u64): void { pointer = pointer + bytes & mask; }

/** RSP := the cursor, in the width of the stack it was opened on. */
export function commitStack(): void { setStackPointer(pointer, mask); }

/** RSP := value: 16-bit stacks keep the upper bits, 32-bit stacks clear bits 63-32. */
export function setStackPointer(value: u64, width: u64): void {
  if (width == 0xffff) store<u16>(RSP, <u16>value);
  else store<u64>(RSP, value & width);
}

// ---- the stacks of inner levels, from the TSS (volume 2, 12.2) ----

export let innerSelector: u32 = 0;
export let innerDescriptor: u64 = 0;

function tssOffset(offset: u32, bytes: u32): u64 {
  if (<u64>offset + bytes - 1 > <u64>load<u32>(TR_LIMIT)) selectorFault(TS, load<u16>(TR_SELECTOR));
  return tableAddress(load<u64>(TR_BASE) + offset);
}

/** Legacy mode: reads and checks SS:ESP for `level`, leaves them in `innerSelector` and `innerDescriptor`, and opens the stack with room for `bytes`. */
export function openInnerStack(level: u32, bytes: u32): void {
  let top: u64 = 0;
  let selector: u32 = 0;
  if ((load<u16>(TR_ATTRIBUTES) & 8) != 0) {
    const at = tssOffset(4 + 8 * level, 6);
    top = <u64>system_read32(at);
    selector = <u32>system_read16(tableAddress(at + 4));
  } else {
    const at = tssOffset(2 + 4 * level, 4);
    top = <u64>system_read16(at);
    selector = <u32>system_read16(tableAddress(at + 2));
  }
  if ((selector & 0xfffc) == 0) fault(TS, getExternal());
  innerDescriptor = checkStackSegment(selector, level, TS);
  innerSelector = selector;
  openSegment(selector, innerDescriptor, top, bytes);
}

/** Long mode: RSP of `level` (0 to 2), or an entry of the interrupt stack table when `ist` is 1 to 7. */
export function longStack(level: u32, ist: u32): u64 {
  const top = <u64>system_read64(tssOffset(ist != 0 ? 0x1c + 8 * ist : 4 + 8 * level, 8));
  if (!canonical(top)) fault(STACK_FAULT, getExternal());
  return top;
}

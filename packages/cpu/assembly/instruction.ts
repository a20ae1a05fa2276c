/*
 * The instruction being decoded: its bytes, its prefixes, its ModRM operand, and how they stand in a uop.
 *
 * Prefix rules: the last of F2/F3 counts, a REX counts only directly before the opcode, more than 15 bytes are #GP,
 * LOCK is #UD unless the instruction may be locked and its destination is memory.
 */
import { GPR, ZERO, BLOCK_LINEAR, MODE_SIZE, MODE_CHECKED, RAM } from "./layout";
import {
  U_OP, U_LENGTH, U_SIZE, U_REG, U_RM, U_BASE, U_INDEX, U_SCALE, U_SEGMENT, U_OFFSET, U_DISPLACEMENT, U_IMMEDIATE, U_SUB, U_IS_REG, U_NUMBER, U_NEXT, ADDRESS_32, ADDRESS_16,
  ADDRESS_CHECKED,
} from "./uop";
import { ADDRESS_LEGACY } from "./operand";
import { ONE } from "./state";
import { secondPage, noteSecondPage } from "./blocks";
import { Op } from "./ops";

export const NO_BASE: u8 = <u8>(ZERO - GPR);
const RIP_BASE: u8 = <u8>(BLOCK_LINEAR - GPR);
const ONE_INDEX: u8 = <u8>(ONE - GPR);
/** log2 of what is taken out of a displacement that might not fit 32 bits once it is relative to the block: more than a page and an instruction. */
const FAR_SHIFT: u32 = 14;
export const ES: u32 = 1, CS: u32 = 2, SS: u32 = 3, DS: u32 = 4, FS: u32 = 5, GS: u32 = 6;

// ---- the byte source ----
let position: usize = 0;
let pageEnd: usize = 0;
export let length: u32 = 0;
let linearStart: u64 = 0;
let mayCross: bool = false;
/** The instruction needs bytes of the next page but is not the first of its block. */
export let starved: bool = false;
let tooLong: bool = false;

export function next8(): u32 {
  if (length >= 15) { tooLong = true; return 0; }
  if (position >= pageEnd) {
    if (!mayCross) { starved = true; return 0; }
    const physical = secondPage(linearStart);
    noteSecondPage(physical);
    position = RAM + <usize>physical;
    pageEnd = position + 0x1000;
  }
  length++;
  return load<u8>(position++);
}
export function next16(): u32 { const low = next8(); return low | (next8() << 8); }
export function next32(): u32 { const low = next16(); return low | (next16() << 16); }
export function next64(): u64 { const low = <u64>next32(); return low | (<u64>next32() << 32); }
export function signed8(): i64 { return <i64><i8>next8(); }
export function signed32(): i64 { return <i64><i32>next32(); }
/** An immediate of the operand size, at most 32 bits, sign-extended. */
export function immediate(size: u32): i64 { return size == 0 ? <i64><i8>next8() : size == 1 ? <i64><i16>next16() : <i64><i32>next32(); }

// ---- the instruction being decoded ----
export let mode: u32 = 0; // code size: 0 = 64, 1 = 32, 2 = 16 bit
let checked: bool = false;
let offset: u32 = 0;
export let rex: u32 = 0;
export let operand66: bool = false;
let address67: bool = false;
export let repeat: u32 = 0; // 0 none, 1 = F3, 2 = F2
let lock: bool = false;
export let lockable: bool = false;
let segmentOverride: u32 = 0;
export let size: u32 = 2;
export let addressSize: u32 = 3;
export let mod: u32 = 0, reg: u32 = 0, rm: u32 = 0;
let ripRelative: bool = false;
export let ends: bool = false;
/** Relative branches keep the displacement until the length is known: see finishInstruction(). */
export let relative: bool = false;

export function setOp(p: usize, op: u32): void { store<u16>(p, <u16>op, U_OP); }
export function setSub(p: usize, sub: u32): void { store<u8>(p, <u8>sub, U_SUB); }
/** Byte offset of register `n` from GPR: without REX, byte registers 4 to 7 are AH CH DH BH. */
export function registerOffset(n: u32, width: u32): u8 { return <u8>(width == 0 && !rex && n >= 4 && n < 8 ? ((n - 4) << 3) + 1 : n << 3); }
export function setReg(p: usize, width: u32): void { store<u8>(p, registerOffset(reg, width), U_REG); }
export function setRm(p: usize, width: u32): void { if (mod == 3) store<u8>(p, registerOffset(rm, width), U_RM); }
export function setImmediate(p: usize, v: i64): void { store<i64>(p, v, U_IMMEDIATE); }

export function setSegment(p: usize, byDefault: u32): void {
  if (mode == 0) { store<u8>(p, <u8>((segmentOverride >= FS ? segmentOverride : 0) | (addressSize == 2 ? ADDRESS_32 : 0)), U_SEGMENT); return; }
  store<u8>(p, <u8>((segmentOverride ? segmentOverride : byDefault) | (addressSize == 1 ? ADDRESS_16 : ADDRESS_32) | ADDRESS_LEGACY | (checked || segmentOverride == CS ? ADDRESS_CHECKED : 0)), U_SEGMENT);
}
/** The whole ModRM byte of the instruction. */
export let modrmByte: u32 = 0;
export function modrm(p: usize): void {
  const byte = next8();
  modrmByte = byte;
  mod = byte >> 6;
  reg = ((byte >> 3) & 7) | ((rex & 4) << 1);
  rm = byte & 7;
  store<u8>(p, <u8>reg, U_NUMBER);
  if (mod == 3) { rm |= (rex & 1) << 3; store<u8>(p, 1, U_IS_REG); store<u8>(p, <u8>(rm << 3), U_RM); return; }
  store<u8>(p, NO_BASE, U_BASE);
  store<u8>(p, NO_BASE, U_INDEX);
  let segment = DS;
  if (addressSize == 1) {
    let base: u32 = 16, index: u32 = 16;
    switch (rm) {
      case 0: base = 3; index = 6; break;
      case 1: base = 3; index = 7; break;
      case 2: base = 5; index = 6; segment = SS; break;
      case 3: base = 5; index = 7; segment = SS; break;
      case 4: base = 6; break;
      case 5: base = 7; break;
      case 6: if (mod != 0) { base = 5; segment = SS; } break;
      default: base = 3;
    }
    if (base < 16) store<u8>(p, <u8>(base << 3), U_BASE);
    if (index < 16) store<u8>(p, <u8>(index << 3), U_INDEX);
    if (mod == 1) store<i32>(p, <i32>signed8(), U_DISPLACEMENT);
    else if (mod == 2 || rm == 6) store<i32>(p, <i32><i16>next16(), U_DISPLACEMENT);
  } else {
    let base = rm;
    if (rm == 4) {
      const sib = next8();
      const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      base = sib & 7;
      if (index != 4) { store<u8>(p, <u8>(index << 3), U_INDEX); store<u8>(p, <u8>(sib >> 6), U_SCALE); }
    }
    if (base == 5 && mod == 0) {
      let displacement = <i32>next32();
      if (rm == 5 && mode == 0) {
        ripRelative = true;
        store<u8>(p, RIP_BASE, U_BASE);
        if (displacement > i32.MAX_VALUE - (1 << FAR_SHIFT)) {
          displacement -= 1 << FAR_SHIFT;
          store<u8>(p, ONE_INDEX, U_INDEX);
          store<u8>(p, <u8>FAR_SHIFT, U_SCALE);
        }
      }
      store<i32>(p, displacement, U_DISPLACEMENT);
    } else {
      if (base == 4 || base == 5) segment = rex & 1 ? DS : SS;
      store<u8>(p, <u8>((base | ((rex & 1) << 3)) << 3), U_BASE);
      if (mod == 1) store<i32>(p, <i32>signed8(), U_DISPLACEMENT);
      else if (mod == 2) store<i32>(p, <i32>next32(), U_DISPLACEMENT);
    }
  }
  setSegment(p, segment);
}
/** Address is base + displacement and nothing else (RIP-relative included). */
export function simple(p: usize): bool { return load<u8>(p, U_SEGMENT) == 0 && load<u8>(p, U_INDEX) == NO_BASE; }

export function invalid(p: usize): void { setOp(p, Op.UD); ends = true; }
export function system(p: usize, code: u32): void { setOp(p, Op.SYSTEM); setSub(p, code); }
export function systemEnd(p: usize, code: u32): void { setOp(p, Op.SYSTEM_END); setSub(p, code); ends = true; }
/** An opcode that 64-bit mode does not have. */
export function legacy(p: usize, code: u32): void { if (mode == 0) invalid(p); else system(p, code); }
/** 64 bits instead of 32 where 64-bit mode has no 32-bit form: stack operations. */
export function stackSize(): u32 { return mode == 0 ? (size == 1 ? 1 : 3) : size; }

/** For the instructions of a block at `linear`: code size, whether limits are checked. */
export function beginBlock(linear: u64, blockMode: u32): void {
  mode = blockMode & MODE_SIZE;
  checked = (blockMode & MODE_CHECKED) != 0;
  linearStart = linear;
}
/**
 * Reads the prefixes of the instruction at `at`, `from` bytes into the block, into the zeroed uop `p`; returns the opcode byte. The bytes
 * of the page end at `end`; only the `first` instruction of a block goes on in the next page.
 */
export function beginInstruction(p: usize, at: usize, end: usize, from: u32, first: bool): u32 {
  position = at;
  pageEnd = end;
  offset = from;
  mayCross = first;
  length = 0;
  rex = 0; operand66 = false; address67 = false; repeat = 0; lock = false; lockable = false; segmentOverride = 0;
  mod = 0; reg = 0; rm = 0; ripRelative = false; relative = false; ends = false; starved = false; tooLong = false;
  let op: u32 = 0;
  while (!starved && !tooLong) {
    op = next8();
    if (op == 0x66) { operand66 = true; rex = 0; }
    else if (op == 0x67) { address67 = true; rex = 0; }
    else if (op == 0xf0) { lock = true; rex = 0; }
    else if (op == 0xf2) { repeat = 2; rex = 0; }
    else if (op == 0xf3) { repeat = 1; rex = 0; }
    else if (op == 0x64) { segmentOverride = FS; rex = 0; }
    else if (op == 0x65) { segmentOverride = GS; rex = 0; }
    else if (op == 0x26 || op == 0x2e || op == 0x36 || op == 0x3e) { if (mode != 0) segmentOverride = op == 0x26 ? ES : op == 0x2e ? CS : op == 0x36 ? SS : DS; rex = 0; }
    else if (mode == 0 && (op & 0xf0) == 0x40) rex = op;
    else break;
  }
  size = mode == 2 ? (operand66 ? 2 : 1) : operand66 ? 1 : 2;
  if (rex & 8) size = 3;
  addressSize = mode == 0 ? (address67 ? 2 : 3) : (mode == 1) == address67 ? 1 : 2;
  store<u8>(p, <u8>size, U_SIZE);
  return op;
}
/** What is known of the uop when the instruction's length is. */
export function finishInstruction(p: usize): void {
  if (tooLong) { memory.fill(p, 0, 32); setOp(p, Op.GP); ends = true; relative = false; ripRelative = false; }
  else if (lock && (!lockable || mod == 3)) { memory.fill(p, 0, 32); setOp(p, Op.UD); ends = true; relative = false; ripRelative = false; }
  store<u8>(p, <u8>length, U_LENGTH);
  store<u16>(p, <u16>offset, U_OFFSET);
  store<u16>(p, <u16>(offset + length), U_NEXT);
  if (ripRelative) store<i32>(p, load<i32>(p, U_DISPLACEMENT) + <i32>(offset + length), U_DISPLACEMENT);
  if (relative) store<i64>(p, load<i64>(p, U_IMMEDIATE) + <i64>(offset + length), U_IMMEDIATE);
}

/*
 * Instruction bytes to uops, for 64-, 32- and 16-bit code.
 *
 * Nothing here has a guest-visible effect except the fetch of a second page, which may raise #PF as on hardware.
 * Prefix rules: the last of F2/F3 counts, a REX counts only directly before the opcode, more than 15 bytes are #GP,
 * LOCK is #UD unless the instruction may be locked and its destination is memory. An instruction that does not exist is taken in
 * whole, with its operands, before it is #UD: it may be too long, or its end on a page that faults.
 */
import { GPR, ZERO, BLOCK_LINEAR, MODE_SIZE, MODE_CHECKED, MODE_STEP, RAM, COUNTER_DECODED, COUNTERS } from "./layout";
import {
  U_OP, U_LENGTH, U_SIZE, U_REG, U_RM, U_BASE, U_INDEX, U_SCALE, U_SEGMENT, U_OFFSET, U_DISPLACEMENT, U_IMMEDIATE, U_SUB, U_IS_REG, U_AUX, U_NUMBER,
  U_NEXT, U_LEFT, ADDRESS_32, ADDRESS_16, ADDRESS_CHECKED, Sys,
} from "./uop";
import { ADDRESS_LEGACY } from "./operand";
import { ONE } from "./state";
import { HEADER, B_COUNT, B_BYTES, secondPage, noteSecondPage } from "./blocks";
import {
  ALU_RR, ALU_RI, ALU_RM, ALU_MR, ALU_MI, TEST_RR, TEST_RI, TEST_MR, TEST_MI, MOV_RR, MOV_RI, MOV_RM, MOV_MR, MOV_MI, SHIFT_RI, SHIFT_CL, NOTNEG_R, MOVZX_R, MOVZX_M,
  MOVSX_R, MOVSX_M, JCC, LOAD, STORE, LOAD_ZX, ALU_LOAD, INCDEC_R, INCDEC_M, CMOV_R, SETCC_R, Op, Stack, Near, Flag, Str,
} from "./ops";
import { fuse } from "./fuse";

/** Instructions of a block. */
export const MAX_UOPS: u32 = 64;
const NO_BASE: u8 = <u8>(ZERO - GPR);
const RIP_BASE: u8 = <u8>(BLOCK_LINEAR - GPR);
const ONE_INDEX: u8 = <u8>(ONE - GPR);
/** log2 of what is taken out of a displacement that might not fit 32 bits once it is relative to the block: more than a page and an instruction. */
const FAR_SHIFT: u32 = 14;
const ES: u32 = 1, CS: u32 = 2, SS: u32 = 3, DS: u32 = 4, FS: u32 = 5, GS: u32 = 6;

// ---- the byte source ----
let position: usize = 0;
let pageEnd: usize = 0;
let length: u32 = 0;
let linearStart: u64 = 0;
let mayCross: bool = false;
/** The instruction needs bytes of the next page but is not the first of its block. */
let starved: bool = false;
let tooLong: bool = false;

function next8(): u32 {
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
function next16(): u32 { const low = next8(); return low | (next8() << 8); }
function next32(): u32 { const low = next16(); return low | (next16() << 16); }
function next64(): u64 { const low = <u64>next32(); return low | (<u64>next32() << 32); }
function signed8(): i64 { return <i64><i8>next8(); }
function signed32(): i64 { return <i64><i32>next32(); }
/** An immediate of the operand size, at most 32 bits, sign-extended. */
function immediate(size: u32): i64 { return size == 0 ? <i64><i8>next8() : size == 1 ? <i64><i16>next16() : <i64><i32>next32(); }

// ---- the instruction being decoded ----
let mode: u32 = 0; // code size: 0 = 64, 1 = 32, 2 = 16 bit
let checked: bool = false;
let offset: u32 = 0;
let rex: u32 = 0;
let operand66: bool = false;
let address67: bool = false;
let repeat: u32 = 0; // 0 none, 1 = F3, 2 = F2
let lock: bool = false;
let lockable: bool = false;
let segmentOverride: u32 = 0;
let size: u32 = 2;
let addressSize: u32 = 3;
let mod: u32 = 0, reg: u32 = 0, rm: u32 = 0;
let ripRelative: bool = false;
let ends: bool = false;

function setOp(p: usize, op: u32): void { store<u16>(p, <u16>op, U_OP); }
function setSub(p: usize, sub: u32): void { store<u8>(p, <u8>sub, U_SUB); }
/** Byte offset of register `n` from GPR: without REX, byte registers 4 to 7 are AH CH DH BH. */
function registerOffset(n: u32, width: u32): u8 { return <u8>(width == 0 && !rex && n >= 4 && n < 8 ? ((n - 4) << 3) + 1 : n << 3); }
function setReg(p: usize, width: u32): void { store<u8>(p, registerOffset(reg, width), U_REG); }
function setRm(p: usize, width: u32): void { if (mod == 3) store<u8>(p, registerOffset(rm, width), U_RM); }
function setImmediate(p: usize, v: i64): void { store<i64>(p, v, U_IMMEDIATE); }

function setSegment(p: usize, byDefault: u32): void {
  if (mode == 0) { store<u8>(p, <u8>((segmentOverride >= FS ? segmentOverride : 0) | (addressSize == 2 ? ADDRESS_32 : 0)), U_SEGMENT); return; }
  store<u8>(p, <u8>((segmentOverride ? segmentOverride : byDefault) | (addressSize == 1 ? ADDRESS_16 : ADDRESS_32) | ADDRESS_LEGACY | (checked || segmentOverride == CS ? ADDRESS_CHECKED : 0)), U_SEGMENT);
}
/** The whole ModRM byte of the instruction. */
let modrmByte: u32 = 0;
function modrm(p: usize): void {
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
function simple(p: usize): bool { return load<u8>(p, U_SEGMENT) == 0 && load<u8>(p, U_INDEX) == NO_BASE; }

function invalid(p: usize): void { setOp(p, Op.UD); ends = true; }
function system(p: usize, code: u32): void { setOp(p, Op.SYSTEM); setSub(p, code); }
function systemEnd(p: usize, code: u32): void { setOp(p, Op.SYSTEM_END); setSub(p, code); ends = true; }
/** An opcode that 64-bit mode does not have. */
function legacy(p: usize, code: u32): void { if (mode == 0) invalid(p); else system(p, code); }
/** 64 bits instead of 32 where 64-bit mode has no 32-bit form: stack operations. */
function stackSize(): u32 { return mode == 0 ? (size == 1 ? 1 : 3) : size; }

// ---- one-byte opcodes ----
function alu(p: usize, op: u32): void {
  const k = (op >> 3) & 7, form = op & 7, width = form & 1 ? size : 0;
  store<u8>(p, <u8>width, U_SIZE);
  if (form >= 4) {
    setOp(p, ALU_RI + width * 8 + k);
    store<u8>(p, 0, U_RM);
    setImmediate(p, immediate(width));
    return;
  }
  modrm(p);
  setReg(p, width);
  setRm(p, width);
  if (form < 2) {
    lockable = k != 7;
    setOp(p, (mod == 3 ? ALU_RR : ALU_MR) + width * 8 + k);
  } else if (mod == 3) {
    // reg <- rm: the same operation with the roles of the two registers exchanged
    const source = load<u8>(p, U_RM);
    store<u8>(p, load<u8>(p, U_REG), U_RM);
    store<u8>(p, source, U_REG);
    setOp(p, ALU_RR + width * 8 + k);
  } else if (simple(p) && width >= 2) setOp(p, ALU_LOAD + (width - 2) * 8 + k);
  else setOp(p, ALU_RM + width * 8 + k);
}
function group1(p: usize, op: u32): void {
  const width = op & 1 ? size : 0;
  store<u8>(p, <u8>width, U_SIZE);
  modrm(p);
  setRm(p, width);
  const k = reg & 7;
  lockable = k != 7;
  setImmediate(p, op == 0x83 ? signed8() : immediate(width));
  setOp(p, (mod == 3 ? ALU_RI : ALU_MI) + width * 8 + k);
}
/** SHL SHR SAR ROL ROR as numbered by the fast families; 9 for RCL and RCR. */
function commonShift(k: u32): u32 { return k == 4 || k == 6 ? 0 : k == 5 ? 1 : k == 7 ? 2 : k == 0 ? 3 : k == 1 ? 4 : 9; }
function shiftGroup(p: usize, op: u32): void {
  const width = op & 1 ? size : 0;
  store<u8>(p, <u8>width, U_SIZE);
  modrm(p);
  setRm(p, width);
  const k = reg & 7;
  setSub(p, k);
  setOp(p, Op.SHIFT);
  // U_AUX: 1 = the count is the immediate, 0 = CL
  if (op >= 0xd2) {
    const kind = commonShift(k);
    if (mod == 3 && width >= 2 && kind < 5) setOp(p, SHIFT_CL + kind * 2 + (width - 2));
    return;
  }
  const n = op >= 0xd0 ? 1 : next8();
  store<u8>(p, 1, U_AUX);
  setImmediate(p, <i64>n);
  const count = n & (width == 3 ? 63 : 31);
  if (mod == 3 && width >= 2 && count) {
    const kind = commonShift(k);
    if (kind < 5) { setOp(p, SHIFT_RI + kind * 2 + (width - 2)); setImmediate(p, <i64>count); }
  }
}
function moveSegmentRegister(p: usize, toSegment: bool): void {
  modrm(p);
  setRm(p, size);
  const n = reg & 7;
  store<u8>(p, <u8>n, U_NUMBER);
  if (n > 5 || (toSegment && n == 1)) { invalid(p); return; }
  if (!toSegment) { system(p, Sys.MOV_FROM_SEG); return; }
  if (mode == 0 && n != 2) system(p, Sys.MOV_TO_SEG); else systemEnd(p, Sys.MOV_TO_SEG);
}
function pushSegment(p: usize, n: u32): void {
  store<u8>(p, <u8>stackSize(), U_SIZE);
  store<u8>(p, <u8>n, U_NUMBER);
  system(p, Sys.PUSH_SEG);
}
function popSegment(p: usize, n: u32): void {
  store<u8>(p, <u8>stackSize(), U_SIZE);
  store<u8>(p, <u8>n, U_NUMBER);
  if (mode == 0) system(p, Sys.POP_SEG); else systemEnd(p, Sys.POP_SEG);
}
function loadFar(p: usize, segment: u32): void {
  modrm(p);
  setReg(p, size);
  if (mod == 3) { invalid(p); return; }
  store<u8>(p, <u8>segment, U_AUX);
  if (mode == 0 && segment != 2) system(p, Sys.LOAD_FAR); else systemEnd(p, Sys.LOAD_FAR);
}
function farDirect(p: usize, code: u32): void {
  setImmediate(p, size == 1 ? <i64>next16() : <i64>next32());
  store<i32>(p, <i32>next16(), U_DISPLACEMENT);
  if (mode == 0) invalid(p); else systemEnd(p, code);
}
function stack(p: usize, sub: u32): void { setOp(p, Op.STACK); setSub(p, sub); }
function push(p: usize, n: u32): void {
  const width = stackSize();
  store<u8>(p, <u8>width, U_SIZE);
  store<u8>(p, 1, U_IS_REG);
  store<u8>(p, <u8>(n << 3), U_RM);
  if (mode == 0 && width == 3) setOp(p, Op.PUSH); else stack(p, Stack.PUSH);
}
function pop(p: usize, n: u32): void {
  const width = stackSize();
  store<u8>(p, <u8>width, U_SIZE);
  store<u8>(p, 1, U_IS_REG);
  store<u8>(p, <u8>(n << 3), U_RM);
  if (mode == 0 && width == 3) setOp(p, Op.POP); else stack(p, Stack.POP);
}
function pushImmediate(p: usize, v: i64): void {
  const width = stackSize();
  store<u8>(p, <u8>width, U_SIZE);
  setImmediate(p, v);
  if (mode == 0 && width == 3) setOp(p, Op.PUSH_I); else stack(p, Stack.PUSH_I);
}
function near(p: usize, sub: u32): void { setOp(p, Op.NEAR); setSub(p, sub); ends = true; }
/** Relative branches keep the displacement until the length is known: see finish(). */
let relative: bool = false;
function branch(p: usize, displacement: i64, op: u32, sub: u32): void {
  relative = true;
  setImmediate(p, displacement);
  ends = true;
  if (mode == 0) { setOp(p, op); store<u8>(p, 3, U_SIZE); return; }
  near(p, sub);
}
function relativeImmediate(): i64 { return mode != 0 && size == 1 ? <i64><i16>next16() : signed32(); }
function conditional(p: usize, cc: u32, displacement: i64): void {
  store<u8>(p, <u8>cc, U_AUX);
  branch(p, displacement, JCC + cc, Near.JCC);
}
function indirect(p: usize, op64r: u32, op64m: u32, sub: u32): void {
  ends = true;
  if (mode == 0) {
    store<u8>(p, 3, U_SIZE);
    setRm(p, 3);
    setOp(p, mod == 3 ? op64r : op64m);
    return;
  }
  setRm(p, size);
  near(p, sub);
}
function exchange(p: usize, n: u32): void {
  store<u8>(p, 1, U_IS_REG);
  store<u8>(p, <u8>(n << 3), U_RM);
  store<u8>(p, 0, U_REG);
  setOp(p, Op.XCHG);
}
function string(p: usize, op: u32, sub: i32): void {
  store<u8>(p, <u8>(op & 1 ? (size == 3 && sub >= Str.INS ? 2 : size) : 0), U_SIZE);
  setSub(p, sub);
  store<u8>(p, <u8>repeat, U_AUX);
  setSegment(p, DS);
  setOp(p, Op.STRING);
  // Port I/O may set a timer or raise an interrupt: let the host look.
  if (sub >= Str.INS) ends = true;
}
function testForm(p: usize, width: u32): void {
  setOp(p, (mod == 3 ? TEST_RI : TEST_MI) + width);
  setImmediate(p, immediate(width));
}
function group3(p: usize, op: u32): void {
  const width = op & 1 ? size : 0;
  store<u8>(p, <u8>width, U_SIZE);
  modrm(p);
  setRm(p, width);
  const k = reg & 7;
  if (k < 2) { testForm(p, width); return; }
  lockable = k < 4;
  setSub(p, k);
  if (mod == 3 && width >= 2 && k < 4) setOp(p, NOTNEG_R + (width - 2) * 2 + (k - 2));
  else setOp(p, Op.GROUP3);
}
function incrementOrDecrement(p: usize, width: u32, k: u32): void {
  lockable = true;
  setRm(p, width);
  setSub(p, k);
  setOp(p, width >= 2 ? (mod == 3 ? INCDEC_R : INCDEC_M) + (width - 2) * 2 + k : Op.INCDEC);
}
function group5(p: usize): void {
  modrm(p);
  switch (reg & 7) {
    case 0: case 1: incrementOrDecrement(p, size, reg & 1); break;
    case 2: indirect(p, Op.CALL_R, Op.CALL_M, Near.CALL_INDIRECT); break;
    case 3: if (mod == 3) invalid(p); else systemEnd(p, Sys.CALL_FAR_MEMORY); break;
    case 4: indirect(p, Op.JMP_R, Op.JMP_M, Near.JMP_INDIRECT); break;
    case 5: if (mod == 3) invalid(p); else systemEnd(p, Sys.JMP_FAR_MEMORY); break;
    case 6: {
      const width = stackSize();
      store<u8>(p, <u8>width, U_SIZE);
      setRm(p, width);
      if (mode == 0 && width == 3) setOp(p, mod == 3 ? Op.PUSH : Op.PUSH_M); else stack(p, Stack.PUSH);
      break;
    }
    default: invalid(p);
  }
}
function moveForm(p: usize, width: u32, toRm: bool): void {
  store<u8>(p, <u8>width, U_SIZE);
  modrm(p);
  setReg(p, width);
  setRm(p, width);
  if (mod == 3) {
    if (!toRm) { const source = load<u8>(p, U_RM); store<u8>(p, load<u8>(p, U_REG), U_RM); store<u8>(p, source, U_REG); }
    setOp(p, MOV_RR + width);
  } else if (simple(p)) setOp(p, (toRm ? STORE : LOAD) + width);
  else setOp(p, (toRm ? MOV_MR : MOV_RM) + width);
}
function moveOffset(p: usize, width: u32, toMemory: bool): void {
  store<u8>(p, NO_BASE, U_BASE);
  store<u8>(p, NO_BASE, U_INDEX);
  store<u8>(p, 0, U_REG);
  setSegment(p, DS);
  const at: u64 = addressSize == 1 ? <u64>next16() : addressSize == 2 ? <u64>next32() : next64();
  if (<i64>at == <i64><i32>at || addressSize != 3) {
    store<i32>(p, <i32>at, U_DISPLACEMENT);
    setOp(p, (toMemory ? MOV_MR : MOV_RM) + width);
    return;
  }
  // A 64-bit address does not fit the displacement: it travels as the immediate. U_AUX: 1 = store.
  setImmediate(p, <i64>at);
  store<u8>(p, toMemory ? 1 : 0, U_AUX);
  setOp(p, Op.MOV_ABSOLUTE);
}

function oneByte(p: usize, op: u32): void {
  if (op < 0x40 && (op & 7) < 6) { alu(p, op); return; }
  if (op >= 0x70 && op < 0x80) { conditional(p, op & 15, signed8()); return; }
  switch (op) {
    case 0x06: case 0x0e: case 0x16: case 0x1e: if (mode == 0) invalid(p); else pushSegment(p, op >> 3); break;
    case 0x07: case 0x17: case 0x1f: if (mode == 0) invalid(p); else popSegment(p, op >> 3); break;
    case 0x0f: twoByte(p); break;
    case 0x27: legacy(p, Sys.DAA); break;
    case 0x2f: legacy(p, Sys.DAS); break;
    case 0x37: legacy(p, Sys.AAA); break;
    case 0x3f: legacy(p, Sys.AAS); break;
    case 0x40: case 0x41: case 0x42: case 0x43: case 0x44: case 0x45: case 0x46: case 0x47:
    case 0x48: case 0x49: case 0x4a: case 0x4b: case 0x4c: case 0x4d: case 0x4e: case 0x4f:
      mod = 3;
      rm = op & 7;
      store<u8>(p, 1, U_IS_REG);
      incrementOrDecrement(p, size, (op >> 3) & 1);
      break;
    case 0x50: case 0x51: case 0x52: case 0x53: case 0x54: case 0x55: case 0x56: case 0x57: push(p, (op & 7) | ((rex & 1) << 3)); break;
    case 0x58: case 0x59: case 0x5a: case 0x5b: case 0x5c: case 0x5d: case 0x5e: case 0x5f: pop(p, (op & 7) | ((rex & 1) << 3)); break;
    case 0x60: if (mode == 0) invalid(p); else systemEnd(p, Sys.PUSHA); break;
    case 0x61: if (mode == 0) invalid(p); else systemEnd(p, Sys.POPA); break;
    case 0x62: modrm(p); setReg(p, size); if (mode == 0 || mod == 3) invalid(p); else system(p, Sys.BOUND); break;
    case 0x63:
      modrm(p);
      if (mode != 0) { store<u8>(p, 1, U_SIZE); setReg(p, 1); setRm(p, 1); system(p, Sys.ARPL); break; }
      setReg(p, size);
      setRm(p, 2);
      if (size == 3) setOp(p, (mod == 3 ? MOVSX_R : MOVSX_M) + 4);
      else if (size == 2) moveLoaded(p, 2);
      else moveLoaded(p, 1);
      break;
    case 0x68: pushImmediate(p, immediate(size)); break;
    case 0x69: case 0x6b:
      modrm(p);
      setReg(p, size);
      setRm(p, size);
      setImmediate(p, op == 0x69 ? immediate(size) : signed8());
      store<u8>(p, 1, U_AUX);
      setOp(p, Op.IMUL);
      break;
    case 0x6a: pushImmediate(p, signed8()); break;
    case 0x6c: case 0x6d: string(p, op, Str.INS); break;
    case 0x6e: case 0x6f: string(p, op, Str.OUTS); break;
    case 0x82: group1(p, 0x80); if (mode == 0) invalid(p); break;
    case 0x80: case 0x81: case 0x83: group1(p, op); break;
    case 0x84: case 0x85: {
      const width = op & 1 ? size : 0;
      store<u8>(p, <u8>width, U_SIZE);
      modrm(p);
      setReg(p, width);
      setRm(p, width);
      setOp(p, (mod == 3 ? TEST_RR : TEST_MR) + width);
      break;
    }
    case 0x86: case 0x87: {
      const width = op & 1 ? size : 0;
      store<u8>(p, <u8>width, U_SIZE);
      modrm(p);
      setReg(p, width);
      setRm(p, width);
      lockable = true;
      setOp(p, Op.XCHG);
      break;
    }
    case 0x88: moveForm(p, 0, true); break;
    case 0x89: moveForm(p, size, true); break;
    case 0x8a: moveForm(p, 0, false); break;
    case 0x8b: moveForm(p, size, false); break;
    case 0x8c: moveSegmentRegister(p, false); break;
    case 0x8d:
      modrm(p);
      setReg(p, size);
      if (mod == 3) { invalid(p); break; }
      if (load<u8>(p, U_SEGMENT) & (ADDRESS_16 | ADDRESS_32) && mode == 0) setOp(p, Op.LEA);
      else if (mode == 2 || size == 1 || addressSize == 1) setOp(p, Op.LEA);
      else setOp(p, size == 3 ? Op.LEA64 : Op.LEA32);
      break;
    case 0x8e: moveSegmentRegister(p, true); break;
    case 0x8f: {
      modrm(p);
      if (reg & 7) { invalid(p); break; }
      const width = stackSize();
      store<u8>(p, <u8>width, U_SIZE);
      setRm(p, width);
      if (mode == 0 && width == 3 && mod == 3) setOp(p, Op.POP); else stack(p, Stack.POP);
      break;
    }
    case 0x90:
      if (rex & 1) exchange(p, 8);
      else if (repeat == 1) { setOp(p, Op.PAUSE); ends = true; }
      else setOp(p, Op.NOP);
      break;
    case 0x91: case 0x92: case 0x93: case 0x94: case 0x95: case 0x96: case 0x97: exchange(p, (op & 7) | ((rex & 1) << 3)); break;
    case 0x98: setOp(p, Op.WIDEN); break;
    case 0x99: setOp(p, Op.SIGN_FILL); break;
    case 0x9a: farDirect(p, Sys.CALL_FAR); break;
    case 0x9b: setOp(p, Op.FWAIT); break;
    case 0x9c: store<u8>(p, <u8>stackSize(), U_SIZE); system(p, Sys.PUSHF); break;
    case 0x9d: store<u8>(p, <u8>stackSize(), U_SIZE); systemEnd(p, Sys.POPF); break;
    case 0x9e: setOp(p, Op.FLAG); setSub(p, Flag.SAHF); break;
    case 0x9f: setOp(p, Op.FLAG); setSub(p, Flag.LAHF); break;
    case 0xa0: moveOffset(p, 0, false); store<u8>(p, 0, U_SIZE); break;
    case 0xa1: moveOffset(p, size, false); break;
    case 0xa2: moveOffset(p, 0, true); store<u8>(p, 0, U_SIZE); break;
    case 0xa3: moveOffset(p, size, true); break;
    case 0xa4: case 0xa5: string(p, op, Str.MOVS); break;
    case 0xa6: case 0xa7: string(p, op, Str.CMPS); break;
    case 0xa8: case 0xa9: {
      const width = op & 1 ? size : 0;
      mod = 3;
      store<u8>(p, 0, U_RM);
      testForm(p, width);
      break;
    }
    case 0xaa: case 0xab: string(p, op, Str.STOS); break;
    case 0xac: case 0xad: string(p, op, Str.LODS); break;
    case 0xae: case 0xaf: string(p, op, Str.SCAS); break;
    case 0xb0: case 0xb1: case 0xb2: case 0xb3: case 0xb4: case 0xb5: case 0xb6: case 0xb7:
      store<u8>(p, registerOffset((op & 7) | ((rex & 1) << 3), 0), U_RM);
      setImmediate(p, signed8());
      setOp(p, MOV_RI);
      break;
    case 0xb8: case 0xb9: case 0xba: case 0xbb: case 0xbc: case 0xbd: case 0xbe: case 0xbf:
      store<u8>(p, <u8>(((op & 7) | ((rex & 1) << 3)) << 3), U_RM);
      setImmediate(p, size == 3 ? <i64>next64() : immediate(size));
      setOp(p, MOV_RI + size);
      break;
    case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: shiftGroup(p, op); break;
    case 0xc2: case 0xc3: {
      const drop = op == 0xc2 ? next16() : 0;
      setImmediate(p, <i64>drop);
      ends = true;
      if (mode == 0) { store<u8>(p, 3, U_SIZE); setOp(p, op == 0xc2 ? Op.RET_I : Op.RET); } else near(p, Near.RET);
      break;
    }
    case 0xc4: if (mode == 0) invalid(p); else loadFar(p, 0); break;
    case 0xc5: if (mode == 0) invalid(p); else loadFar(p, 3); break;
    case 0xc6: case 0xc7: {
      const width = op & 1 ? size : 0;
      store<u8>(p, <u8>width, U_SIZE);
      modrm(p);
      setRm(p, width);
      setImmediate(p, immediate(width));
      if (reg & 7) invalid(p); else setOp(p, (mod == 3 ? MOV_RI : MOV_MI) + width);
      break;
    }
    case 0xc8: {
      store<u8>(p, <u8>stackSize(), U_SIZE);
      const bytes = next16();
      store<u8>(p, <u8>next8(), U_AUX);
      setImmediate(p, <i64>bytes | (<i64>load<u8>(p, U_AUX) << 16));
      systemEnd(p, Sys.ENTER);
      break;
    }
    case 0xc9:
      store<u8>(p, <u8>stackSize(), U_SIZE);
      if (mode == 0 && size != 1) setOp(p, Op.LEAVE64); else stack(p, Stack.LEAVE);
      break;
    case 0xca: setImmediate(p, <i64>next16()); systemEnd(p, Sys.RET_FAR); break;
    case 0xcb: systemEnd(p, Sys.RET_FAR); break;
    case 0xcc: systemEnd(p, Sys.INT3); break;
    case 0xcd: setImmediate(p, <i64>next8()); systemEnd(p, Sys.INT_N); break;
    case 0xce: if (mode == 0) invalid(p); else systemEnd(p, Sys.INTO); break;
    case 0xcf: systemEnd(p, Sys.IRET); break;
    case 0xd4: setImmediate(p, <i64>next8()); legacy(p, Sys.AAM); break;
    case 0xd5: setImmediate(p, <i64>next8()); legacy(p, Sys.AAD); break;
    case 0xd6: if (mode == 0) invalid(p); else { setOp(p, Op.FLAG); setSub(p, Flag.SALC); } break; // not in the manuals
    case 0xd7:
      store<u8>(p, 24, U_BASE); // rBX; AL is added by the operation
      store<u8>(p, NO_BASE, U_INDEX);
      setSegment(p, DS);
      store<u8>(p, 0, U_SIZE);
      system(p, Sys.XLAT);
      break;
    case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf:
      modrm(p);
      setSub(p, op);
      store<u8>(p, <u8>(reg & 7), U_AUX);
      setImmediate(p, <i64>modrmByte); // its low half is part of FOP
      if (mod == 3) store<u8>(p, <u8>((rm & 7) << 3), U_RM);
      setOp(p, Op.X87);
      break;
    case 0xe0: case 0xe1: case 0xe2: case 0xe3: {
      const displacement = signed8();
      relative = true;
      setImmediate(p, displacement);
      store<u8>(p, <u8>addressSize, U_AUX);
      if (mode == 0) store<u8>(p, 3, U_SIZE);
      near(p, op - 0xe0 + Near.LOOPNE);
      break;
    }
    case 0xe4: case 0xe5: case 0xe6: case 0xe7:
      store<u8>(p, <u8>(op & 1 ? (size == 3 ? 2 : size) : 0), U_SIZE);
      setImmediate(p, <i64>next8());
      store<u8>(p, 1, U_AUX);
      systemEnd(p, op < 0xe6 ? Sys.IN : Sys.OUT);
      break;
    case 0xe8: branch(p, relativeImmediate(), Op.CALL, Near.CALL); break;
    case 0xe9: branch(p, relativeImmediate(), Op.JMP, Near.JMP); break;
    case 0xea: farDirect(p, Sys.JMP_FAR); break;
    case 0xeb: branch(p, signed8(), Op.JMP, Near.JMP); break;
    case 0xec: case 0xed: case 0xee: case 0xef:
      store<u8>(p, <u8>(op & 1 ? (size == 3 ? 2 : size) : 0), U_SIZE);
      systemEnd(p, op < 0xee ? Sys.IN : Sys.OUT);
      break;
    case 0xf1: systemEnd(p, Sys.INT1); break;
    case 0xf4: systemEnd(p, Sys.HLT); break;
    case 0xf5: setOp(p, Op.FLAG); setSub(p, Flag.CMC); break;
    case 0xf6: case 0xf7: group3(p, op); break;
    case 0xf8: setOp(p, Op.FLAG); setSub(p, Flag.CLC); break;
    case 0xf9: setOp(p, Op.FLAG); setSub(p, Flag.STC); break;
    case 0xfa: system(p, Sys.CLI); break;
    case 0xfb: systemEnd(p, Sys.STI); break;
    case 0xfc: setOp(p, Op.FLAG); setSub(p, Flag.CLD); break;
    case 0xfd: setOp(p, Op.FLAG); setSub(p, Flag.STD); break;
    case 0xfe:
      store<u8>(p, 0, U_SIZE);
      modrm(p);
      if ((reg & 7) > 1) { invalid(p); break; }
      incrementOrDecrement(p, 0, reg & 1);
      break;
    case 0xff: group5(p); break;
    default: invalid(p);
  }
}
/** MOVSXD without REX.W: a plain move of `width`. */
function moveLoaded(p: usize, width: u32): void {
  setReg(p, width);
  if (mod == 3) { const source = load<u8>(p, U_RM); store<u8>(p, load<u8>(p, U_REG), U_RM); store<u8>(p, source, U_REG); setOp(p, MOV_RR + width); }
  else setOp(p, MOV_RM + width);
}

// ---- two-byte opcodes ----
function isSse(op: u32): bool {
  return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) || (op >= 0x50 && op <= 0x7f && op != 0x78 && op != 0x79 && op != 0x7a && op != 0x7b)
    || op == 0xc2 || (op >= 0xc4 && op <= 0xc6) || (op >= 0xd0 && op <= 0xfe);
}
function sse(p: usize, op: u32): void {
  if (op == 0x77) { if (repeat || operand66) invalid(p); else setOp(p, Op.EMMS); return; }
  modrm(p);
  if (op == 0xf7 && mod == 3) setSegment(p, DS); // MASKMOVQ, MASKMOVDQU: memory that ModRM does not name
  store<u8>(p, <u8>(rex & 8 ? 3 : 2), U_SIZE);
  if ((op >= 0x70 && op <= 0x73) || op == 0xc2 || (op >= 0xc4 && op <= 0xc6)) setImmediate(p, <i64>next8());
  setSub(p, op);
  // F3 and F2 win over 66
  store<u8>(p, <u8>(repeat == 1 ? 2 : repeat == 2 ? 3 : operand66 ? 1 : 0), U_AUX);
  setOp(p, Op.SSE);
}
function extendMove(p: usize, op: u32): void {
  const from = op & 1, signed = op >= 0xbe;
  modrm(p);
  setReg(p, size);
  setRm(p, from);
  if (size == 1) { setOp(p, Op.MOVZX16); setSub(p, from | (signed ? 2 : 0)); return; }
  if (signed) setOp(p, (mod == 3 ? MOVSX_R : MOVSX_M) + from * 2 + (size - 2));
  else setOp(p, (mod == 3 ? MOVZX_R : simple(p) ? LOAD_ZX : MOVZX_M) + from);
}
function bit(p: usize, sub: u32, byImmediate: bool): void {
  lockable = sub != 0;
  setReg(p, size);
  setRm(p, size);
  setSub(p, sub);
  if (byImmediate) { store<u8>(p, 1, U_AUX); setImmediate(p, <i64>(next8() & ((8 << size) - 1))); }
  setOp(p, Op.BIT);
}
function group6(p: usize): void {
  modrm(p);
  const k = reg & 7;
  setRm(p, size);
  switch (k) {
    case 0: system(p, Sys.SLDT); break;
    case 1: system(p, Sys.STR); break;
    case 2: systemEnd(p, Sys.LLDT); break;
    case 3: systemEnd(p, Sys.LTR); break;
    case 4: system(p, Sys.VERR); break;
    case 5: system(p, Sys.VERW); break;
    default: invalid(p);
  }
}
function group7(p: usize): void {
  modrm(p);
  setRm(p, size);
  const k = reg & 7;
  if (mod == 3) {
    switch ((k << 3) | (rm & 7)) {
      case 1: systemEnd(p, Sys.VMCALL); break;
      case 8: systemEnd(p, Sys.MONITOR); break;
      case 9: systemEnd(p, Sys.MWAIT); break;
      case 10: systemEnd(p, Sys.CLAC); break;
      case 11: systemEnd(p, Sys.STAC); break;
      case 0x19: systemEnd(p, Sys.VMMCALL); break;
      case 0x38: if (mode == 0) systemEnd(p, Sys.SWAPGS); else invalid(p); break;
      case 0x39: systemEnd(p, Sys.RDTSCP); break;
      default:
        if (k == 4) system(p, Sys.SMSW);
        else if (k == 6) systemEnd(p, Sys.LMSW);
        else invalid(p);
    }
    return;
  }
  switch (k) {
    case 0: system(p, Sys.SGDT); break;
    case 1: system(p, Sys.SIDT); break;
    case 2: systemEnd(p, Sys.LGDT); break;
    case 3: systemEnd(p, Sys.LIDT); break;
    case 4: system(p, Sys.SMSW); break;
    case 6: systemEnd(p, Sys.LMSW); break;
    case 7: systemEnd(p, Sys.INVLPG); break;
    default: invalid(p);
  }
}
function controlRegister(p: usize, op: u32): void {
  // mod is ignored: the operand is always a register of the native width
  const byte = next8();
  reg = ((byte >> 3) & 7) | ((rex & 4) << 1);
  // AMD's LOCK MOV CR0 for CR8 outside 64-bit mode is not offered (CPUID has no AltMovCr8).
  rm = (byte & 7) | ((rex & 1) << 3);
  store<u8>(p, <u8>reg, U_NUMBER);
  store<u8>(p, 1, U_IS_REG);
  store<u8>(p, <u8>(rm << 3), U_RM);
  store<u8>(p, <u8>(mode == 0 ? 3 : 2), U_SIZE);
  switch (op) {
    case 0x20: system(p, Sys.MOV_FROM_CR); break;
    case 0x21: system(p, Sys.MOV_FROM_DR); break;
    case 0x22: systemEnd(p, Sys.MOV_TO_CR); break;
    default: systemEnd(p, Sys.MOV_TO_DR);
  }
}
function group15(p: usize): void {
  modrm(p);
  const k = reg & 7;
  if (repeat == 1) {
    if (mod != 3 || k > 3 || mode != 0) { invalid(p); return; }
    setRm(p, size);
    systemEnd(p, Sys.RDFSBASE + k);
    return;
  }
  setSub(p, k);
  store<u8>(p, <u8>(rex & 8 ? 3 : 2), U_SIZE);
  store<u8>(p, operand66 ? 1 : 0, U_AUX);
  setOp(p, Op.GROUP15);
}
function group9(p: usize): void {
  modrm(p);
  const k = reg & 7;
  setRm(p, size);
  if (mod != 3) {
    if (k != 1) { invalid(p); return; }
    lockable = true;
    store<u8>(p, <u8>(rex & 8 ? 3 : 2), U_SIZE);
    setOp(p, Op.CMPXCHG_WIDE);
    return;
  }
  if (k == 6 && repeat == 0) systemEnd(p, Sys.RDRAND);
  else if (k == 7 && repeat == 0) systemEnd(p, Sys.RDSEED);
  else invalid(p);
}
function twoByte(p: usize): void {
  const op = next8();
  if (op >= 0x80 && op < 0x90) { conditional(p, op & 15, relativeImmediate()); return; }
  if (op >= 0x40 && op < 0x50) {
    modrm(p);
    setReg(p, size);
    setRm(p, size);
    setSub(p, op & 15);
    setOp(p, mod == 3 && size >= 2 ? CMOV_R + (op & 15) * 2 + (size - 2) : Op.CMOV);
    return;
  }
  if (op >= 0x90 && op < 0xa0) {
    modrm(p);
    setRm(p, 0);
    store<u8>(p, 0, U_SIZE);
    setSub(p, op & 15);
    setOp(p, mod == 3 ? SETCC_R + (op & 15) : Op.SETCC);
    return;
  }
  if (isSse(op)) { sse(p, op); return; }
  switch (op) {
    case 0x00: group6(p); break;
    case 0x01: group7(p); break;
    case 0x02: modrm(p); setReg(p, size); setRm(p, size); system(p, Sys.LAR); break;
    case 0x03: modrm(p); setReg(p, size); setRm(p, size); system(p, Sys.LSL); break;
    case 0x05: systemEnd(p, Sys.SYSCALL); break;
    case 0x06: systemEnd(p, Sys.CLTS); break;
    case 0x07: systemEnd(p, Sys.SYSRET); break;
    case 0x08: systemEnd(p, Sys.INVD); break;
    case 0x09: systemEnd(p, Sys.WBINVD); break;
    case 0x0d: modrm(p); if (mod == 3) invalid(p); else setOp(p, Op.NOP); break; // PREFETCH, PREFETCHW
    case 0x18: case 0x19: case 0x1a: case 0x1b: case 0x1c: case 0x1d: case 0x1e: case 0x1f: modrm(p); setOp(p, Op.NOP); break; // hints
    case 0x20: case 0x21: case 0x22: case 0x23: controlRegister(p, op); break;
    case 0x30: systemEnd(p, Sys.WRMSR); break;
    case 0x31: systemEnd(p, Sys.RDTSC); break;
    case 0x32: systemEnd(p, Sys.RDMSR); break;
    case 0x33: systemEnd(p, Sys.RDPMC); break;
    case 0x34: systemEnd(p, Sys.SYSENTER); break;
    case 0x35: systemEnd(p, Sys.SYSEXIT); break;
    case 0xa0: pushSegment(p, 4); break;
    case 0xa1: popSegment(p, 4); break;
    case 0xa2: systemEnd(p, Sys.CPUID); break;
    case 0xa3: modrm(p); bit(p, 0, false); break;
    case 0xa4: case 0xa5: case 0xac: case 0xad:
      modrm(p);
      setReg(p, size);
      setRm(p, size);
      setSub(p, op >= 0xac ? 1 : 0);
      if (!(op & 1)) { store<u8>(p, 1, U_AUX); setImmediate(p, <i64>next8()); }
      setOp(p, Op.DOUBLE_SHIFT);
      break;
    case 0xa8: pushSegment(p, 5); break;
    case 0xa9: popSegment(p, 5); break;
    case 0xab: modrm(p); bit(p, 1, false); break;
    case 0xae: group15(p); break;
    case 0xaf:
      modrm(p);
      setReg(p, size);
      setRm(p, size);
      setOp(p, mod == 3 && size >= 2 ? Op.IMUL32 + (size - 2) : Op.IMUL);
      break;
    case 0xb0: case 0xb1: case 0xc0: case 0xc1: {
      const width = op & 1 ? size : 0;
      store<u8>(p, <u8>width, U_SIZE);
      modrm(p);
      setReg(p, width);
      setRm(p, width);
      lockable = true;
      setOp(p, op < 0xc0 ? Op.CMPXCHG : Op.XADD);
      break;
    }
    case 0xb2: loadFar(p, 2); break;
    case 0xb3: modrm(p); bit(p, 2, false); break;
    case 0xb4: loadFar(p, 4); break;
    case 0xb5: loadFar(p, 5); break;
    case 0xb6: case 0xb7: case 0xbe: case 0xbf: extendMove(p, op); break;
    case 0xb8:
      modrm(p);
      if (repeat != 1) { invalid(p); break; }
      setReg(p, size); setRm(p, size); setSub(p, 2); setOp(p, Op.BIT_SCAN);
      break;
    case 0xba:
      modrm(p);
      bit(p, (reg & 3), true);
      if ((reg & 7) < 4) invalid(p);
      break;
    case 0xbb: modrm(p); bit(p, 3, false); break;
    case 0xbc: case 0xbd: modrm(p); setReg(p, size); setRm(p, size); setSub(p, op & 1); setOp(p, Op.BIT_SCAN); break; // F3 ignored: no BMI1, no LZCNT
    case 0xc3:
      modrm(p);
      if (mod == 3 || repeat || operand66) { invalid(p); break; }
      size = rex & 8 ? 3 : 2; // also in 16-bit code
      store<u8>(p, <u8>size, U_SIZE);
      setReg(p, size);
      setOp(p, MOV_MR + size);
      break;
    case 0xc7: group9(p); break;
    case 0xc8: case 0xc9: case 0xca: case 0xcb: case 0xcc: case 0xcd: case 0xce: case 0xcf:
      store<u8>(p, 1, U_IS_REG);
      store<u8>(p, <u8>(((op & 7) | ((rex & 1) << 3)) << 3), U_RM);
      setOp(p, Op.BSWAP);
      break;
    default: invalid(p); // 0F 0B is UD2, 0F B9 UD1, 0F FF UD0, none with a ModRM on AMD
  }
}

/** Decodes the instruction at `position` into the zeroed uop `p`. */
function decodeOne(p: usize): void {
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
  oneByte(p, op);
  if (tooLong) { memory.fill(p, 0, 32); setOp(p, Op.GP); ends = true; relative = false; ripRelative = false; }
  else if (lock && (!lockable || mod == 3)) { memory.fill(p, 0, 32); setOp(p, Op.UD); ends = true; relative = false; ripRelative = false; }
  store<u8>(p, <u8>length, U_LENGTH);
  store<u16>(p, <u16>offset, U_OFFSET);
  store<u16>(p, <u16>(offset + length), U_NEXT);
  if (ripRelative) store<i32>(p, load<i32>(p, U_DISPLACEMENT) + <i32>(offset + length), U_DISPLACEMENT);
  if (relative) store<i64>(p, load<i64>(p, U_IMMEDIATE) + <i64>(offset + length), U_IMMEDIATE);
}

/**
 * Whether a block goes on at the target of a jump: forward and in the same page. (Backward would need signed offsets, and
 * would unroll loops.)
 */
function follows(target: i64, behind: u32, room: usize): bool { return target >= <i64>behind && target < <i64>room; }

/** The block that was decoded last ends where it does because of `room`. */
export let limited: bool = false;

/** Decodes the block at `linear` (in RAM at `physical`) to `b`, at most `room` bytes (what CS's limit leaves); returns the end of its memory. */
export function decodeBlock(b: usize, linear: u64, physical: u32, blockMode: u32, room: u32): usize {
  mode = blockMode & MODE_SIZE;
  checked = (blockMode & MODE_CHECKED) != 0;
  linearStart = linear;
  limited = false;
  offset = 0;
  let p = b + HEADER, n: u32 = 0;
  const start = RAM + <usize>physical;
  const page = (start & ~0xfff) + 0x1000;
  const most: u32 = blockMode & MODE_STEP ? 1 : MAX_UOPS;
  while (n < most) {
    mayCross = n == 0;
    position = start + offset;
    pageEnd = page;
    if (position >= page) break;
    memory.fill(p, 0, 32);
    decodeOne(p);
    if (starved) break;
    if (offset + length > room) {
      limited = true;
      if (n) break;
      setOp(p, Op.GP); // the first instruction leaves the code segment
      ends = true;
    }
    const op = <u32>load<u16>(p, U_OP);
    offset += length;
    n++;
    if (op == Op.NOP && most > 1) continue; // counts as an instruction, but nobody has to execute it
    if (op == Op.JMP && most > 1 && follows(load<i64>(p, U_IMMEDIATE), offset, page - start)) {
      offset = <u32>load<i64>(p, U_IMMEDIATE);
      continue;
    }
    store<u16>(p, <u16>n, U_LEFT);
    p += 32;
    if (ends) break;
  }
  store<u64>(COUNTERS + (<usize>COUNTER_DECODED << 3), load<u64>(COUNTERS + (<usize>COUNTER_DECODED << 3)) + <u64>n);
  store<u32>(b, n, B_COUNT);
  store<u32>(b, offset, B_BYTES);
  for (let q = b + HEADER; q < p; q += 32) store<u16>(q, <u16>(n + 1 - load<u16>(q, U_LEFT)), U_LEFT);
  // A way out where there is no branch; behind a branch nobody comes here.
  memory.fill(p, 0, 32);
  setOp(p, Op.END);
  store<u16>(p, <u16>offset, U_OFFSET);
  store<u16>(p, <u16>offset, U_NEXT);
  fuse(b, p, mode == 0);
  return p + 32;
}

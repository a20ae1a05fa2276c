// The one-byte opcode map (AMD64 volume 3, appendix A.1) to uops.
import { U_SIZE, U_REG, U_RM, U_BASE, U_INDEX, U_SEGMENT, U_DISPLACEMENT, U_IS_REG, U_AUX, U_NUMBER, ADDRESS_32, ADDRESS_16, Sys } from "./uop";
import {
  ALU_RR, ALU_RI, ALU_RM, ALU_MR, ALU_MI, TEST_RR, TEST_RI, TEST_MR, TEST_MI, MOV_RR, MOV_RI, MOV_RM, MOV_MR, MOV_MI, SHIFT_RI, SHIFT_CL, NOTNEG_R, MOVSX_R, MOVSX_M,
  JCC, LOAD, STORE, ALU_LOAD, INCDEC_R, INCDEC_M, Op, Stack, Near, Flag, Str,
} from "./ops";
import {
  NO_BASE, DS, mode, rex, repeat, size, addressSize, mod, reg, rm, modrmByte, next8, next16, next32, next64, signed8, signed32, immediate, setOp, setSub,
  registerOffset, setReg, setRm, setImmediate, setSegment, modrm, simple, invalid, system, systemEnd, legacy, stackSize,
} from "./instruction";
import * as instruction from "./instruction";

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
    instruction.lockable = k != 7;
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
  instruction.lockable = k != 7;
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
export function pushSegment(p: usize, n: u32): void {
  store<u8>(p, <u8>stackSize(), U_SIZE);
  store<u8>(p, <u8>n, U_NUMBER);
  system(p, Sys.PUSH_SEG);
}
export function popSegment(p: usize, n: u32): void {
  store<u8>(p, <u8>stackSize(), U_SIZE);
  store<u8>(p, <u8>n, U_NUMBER);
  if (mode == 0) system(p, Sys.POP_SEG); else systemEnd(p, Sys.POP_SEG);
}
export function loadFar(p: usize, segment: u32): void {
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
function near(p: usize, sub: u32): void { setOp(p, Op.NEAR); setSub(p, sub); instruction.ends = true; }
function branch(p: usize, displacement: i64, op: u32, sub: u32): void {
  instruction.relative = true;
  setImmediate(p, displacement);
  instruction.ends = true;
  if (mode == 0) { setOp(p, op); store<u8>(p, 3, U_SIZE); return; }
  near(p, sub);
}
export function relativeImmediate(): i64 { return mode != 0 && size == 1 ? <i64><i16>next16() : signed32(); }
export function conditional(p: usize, cc: u32, displacement: i64): void {
  store<u8>(p, <u8>cc, U_AUX);
  branch(p, displacement, JCC + cc, Near.JCC);
}
function indirect(p: usize, op64r: u32, op64m: u32, sub: u32): void {
  instruction.ends = true;
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
  if (sub >= Str.INS) instruction.ends = true;
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
  instruction.lockable = k < 4;
  setSub(p, k);
  if (mod == 3 && width >= 2 && k < 4) setOp(p, NOTNEG_R + (width - 2) * 2 + (k - 2));
  else setOp(p, Op.GROUP3);
}
function incrementOrDecrement(p: usize, width: u32, k: u32): void {
  instruction.lockable = true;
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

/** Decodes the instruction with the opcode byte `op`, which is not 0F. */
export function oneByte(p: usize, op: u32): void {
  if (op < 0x40 && (op & 7) < 6) { alu(p, op); return; }
  if (op >= 0x70 && op < 0x80) { conditional(p, op & 15, signed8()); return; }
  switch (op) {
    case 0x06: case 0x0e: case 0x16: case 0x1e: if (mode == 0) invalid(p); else pushSegment(p, op >> 3); break;
    case 0x07: case 0x17: case 0x1f: if (mode == 0) invalid(p); else popSegment(p, op >> 3); break;
    case 0x27: legacy(p, Sys.DAA); break;
    case 0x2f: legacy(p, Sys.DAS); break;
    case 0x37: legacy(p, Sys.AAA); break;
    case 0x3f: legacy(p, Sys.AAS); break;
    case 0x40: case 0x41: case 0x42: case 0x43: case 0x44: case 0x45: case 0x46: case 0x47:
    case 0x48: case 0x49: case 0x4a: case 0x4b: case 0x4c: case 0x4d: case 0x4e: case 0x4f:
      instruction.mod = 3;
      instruction.rm = op & 7;
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
      instruction.lockable = true;
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
      else if (repeat == 1) { setOp(p, Op.PAUSE); instruction.ends = true; }
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
      instruction.mod = 3;
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
      instruction.ends = true;
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
      instruction.relative = true;
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

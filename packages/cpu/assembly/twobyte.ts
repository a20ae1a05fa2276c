// The two-byte opcode map, 0F (AMD64 volume 3, appendix A.2), to uops.
import { U_SIZE, U_RM, U_IS_REG, U_AUX, U_NUMBER, Sys } from "./uop";
import { MOV_MR, MOVZX_R, MOVZX_M, MOVSX_R, MOVSX_M, LOAD_ZX, CMOV_R, SETCC_R, Op } from "./ops";
import {
  DS, mode, rex, operand66, repeat, size, mod, reg, rm, next8, setOp, setSub, setReg, setRm, setImmediate, setSegment, modrm, simple, invalid, system, systemEnd,
} from "./instruction";
import * as instruction from "./instruction";
import { conditional, loadFar, popSegment, pushSegment, relativeImmediate } from "./onebyte";

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
  instruction.lockable = sub != 0;
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
  instruction.reg = ((byte >> 3) & 7) | ((rex & 4) << 1);
  // AMD's LOCK MOV CR0 for CR8 outside 64-bit mode is not offered (CPUID has no AltMovCr8).
  instruction.rm = (byte & 7) | ((rex & 1) << 3);
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
  store<u8>(p, repeat == 2 ? 3 : operand66 ? 1 : 0, U_AUX);
  setOp(p, Op.GROUP15);
}
function group9(p: usize): void {
  modrm(p);
  const k = reg & 7;
  setRm(p, size);
  if (mod != 3) {
    if (k != 1) { invalid(p); return; }
    instruction.lockable = true;
    store<u8>(p, <u8>(rex & 8 ? 3 : 2), U_SIZE);
    setOp(p, Op.CMPXCHG_WIDE);
    return;
  }
  if (k == 6 && repeat == 0) systemEnd(p, Sys.RDRAND);
  else if (k == 7 && repeat == 0) systemEnd(p, Sys.RDSEED);
  else invalid(p);
}
/** Decodes the instruction whose opcode goes on after 0F. */
export function twoByte(p: usize): void {
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
      instruction.lockable = true;
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
      instruction.size = rex & 8 ? 3 : 2; // also in 16-bit code
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

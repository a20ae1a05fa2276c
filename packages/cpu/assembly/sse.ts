import { GPR } from "./layout";
import { U_AUX, U_IMMEDIATE, U_NUMBER, U_SIZE, U_SUB } from "./uop";
import { invalidOpcode } from "./fault";
import { addressToRead, addressToWrite, offsetToWrite } from "./memoryoperand";
import { requireSse } from "./availability";
import {
  alignedToWrite, read128, read32, read64, readAligned128, readGeneral, rmIsRegister, writeGeneral, xmmOfReg, xmmOfRm,
} from "./xmm";
import {
  doublewordIndices, packedInteger, shiftLeftBytes, shiftLeftDoublewords, shiftLeftQuadwords, shiftLeftWords, shiftRightBytes,
  shiftRightDoublewords, shiftRightQuadwords, shiftRightWords, shiftSignedDoublewords, shiftSignedWords, shuffleWords,
} from "./packedinteger";
import * as convert from "./sseconvert";
import * as ssefloat from "./ssefloat";
import { mmx } from "./mmx";
import * as mmu from "./mmu";

/*
 * SSE and SSE2: dispatch, moves, logic, shuffles and packed integers. Arithmetic on floating-point numbers is in
 * ssefloat.ts, the forms with MMX registers are in mmx.ts.
 *
 * The outer switch is on the opcode byte after 0F, dense enough for a jump table; the mandatory prefix (none, 66,
 * F3, F2 = 0 to 3) decides inside. Prefixes that make an instruction of SSE3 or later are #UD: CPUID does not
 * offer those.
 */

const NONE: u32 = 0;
const P66: u32 = 1;
const PF3: u32 = 2;
const PF2: u32 = 3;

/** Opcodes whose form without prefix works on MMX registers. CVTPI2PS and its kin are handled apart: they need SSE. */
@inline function isMmxOpcode(opcode: u32): bool {
  return opcode >= 0x60 && opcode != 0xc2 && opcode != 0xc6;
}

/** Opcodes 60-6D, 74-76 and D1-FE that packedInteger executes, one bit each by the opcode's low six bits. */
const PACKED_LOW: u64 = 0x00703fff_00000000, PACKED_HIGH: u64 = 0x7f7eff3f_ff3e0000;
@inline function isPackedInteger(opcode: u32): bool {
  return opcode >= 0x60 && ((opcode & 0x80 ? PACKED_HIGH : PACKED_LOW) >> (opcode & 63) & 1) != 0;
}

@inline function storeLow64ZeroHigh(register: usize, value: u64): void {
  store<u64>(register, value);
  store<u64>(register, 0, 8);
}

@inline function setGeneral(p: usize, value: u32): void {
  store<u64>(GPR + (<usize>load<u8>(p, U_NUMBER) << 3), value);
}

/** Stores 16 bytes to register or memory. */
@inline function write128(p: usize, value: v128): void {
  if (rmIsRegister(p)) v128.store(xmmOfRm(p), value);
  else mmu.write128(addressToWrite(p, 16), value);
}
@inline function writeAligned128(p: usize, value: v128): void {
  if (rmIsRegister(p)) v128.store(xmmOfRm(p), value);
  else mmu.write128(alignedToWrite(p, 16), value);
}
/** The forms of MOVLP and MOVHP exist with a memory operand only. */
@inline function readMemory64(p: usize): u64 {
  if (rmIsRegister(p)) invalidOpcode();
  return mmu.read64(addressToRead(p, 8));
}
@inline function writeMemory64(p: usize, value: u64): void {
  if (rmIsRegister(p)) invalidOpcode();
  mmu.write64(addressToWrite(p, 8), value);
}

/** 0F 71-73 with 66: shifts by an immediate; ModRM.reg is the operation. */
function shiftByImmediate(p: usize, opcode: u32): void {
  if (!rmIsRegister(p)) invalidOpcode();
  const register = xmmOfRm(p), a = v128.load(register);
  const n = <i32>load<u8>(p, U_IMMEDIATE);
  let r = a;
  switch ((opcode - 0x71) << 3 | (load<u8>(p, U_NUMBER) & 7)) {
    case 0x02: r = shiftRightWords(a, n); break;
    case 0x04: r = shiftSignedWords(a, n); break;
    case 0x06: r = shiftLeftWords(a, n); break;
    case 0x0a: r = shiftRightDoublewords(a, n); break;
    case 0x0c: r = shiftSignedDoublewords(a, n); break;
    case 0x0e: r = shiftLeftDoublewords(a, n); break;
    case 0x12: r = shiftRightQuadwords(a, n); break;
    case 0x13: r = shiftRightBytes(a, n); break;
    case 0x16: r = shiftLeftQuadwords(a, n); break;
    case 0x17: r = shiftLeftBytes(a, n); break;
    default: invalidOpcode();
  }
  v128.store(register, r);
}

/**
 * MASKMOVQ, MASKMOVDQU: stores byte i of `low`:`high` to DS:rDI + i where bit i of `mask` is set. Segment override and
 * address size apply. All `length` bytes must be writable, whatever the mask says: processors may choose, AMD does so.
 */
export function storeMasked(p: usize, mask: u32, low: u64, high: u64, length: u32): void {
  const at = offsetToWrite(p, load<u64>(GPR + 7 * 8), length);
  mmu.probeWrite(at, length);
  for (let i: u32 = 0; i < length; i++) {
    if (mask >> i & 1) mmu.write8(mmu.wrap(at + i), <u8>(i < 8 ? low >> (i << 3) : high >> ((i & 7) << 3)));
  }
}

/** Executes Op.SSE. */
export function sse(p: usize): void {
  const opcode = <u32>load<u8>(p, U_SUB), prefix = <u32>load<u8>(p, U_AUX);
  if (prefix == NONE && isMmxOpcode(opcode)) { mmx(p); return; }
  requireSse();
  const d = xmmOfReg(p);
  if (prefix == P66 && isPackedInteger(opcode)) {
    v128.store(d, packedInteger(opcode, v128.load(d), readAligned128(p)));
    return;
  }
  switch (opcode) {
    case 0x10: // MOVUPS MOVUPD MOVSS MOVSD, load
      if (prefix < PF3) v128.store(d, read128(p));
      else if (prefix == PF3) {
        if (rmIsRegister(p)) store<u32>(d, load<u32>(xmmOfRm(p)));
        else storeLow64ZeroHigh(d, <u32>mmu.read32(addressToRead(p, 4)));
      } else if (rmIsRegister(p)) store<u64>(d, load<u64>(xmmOfRm(p)));
      else storeLow64ZeroHigh(d, mmu.read64(addressToRead(p, 8)));
      return;
    case 0x11: // the same, store
      if (prefix < PF3) write128(p, v128.load(d));
      else if (prefix == PF3) {
        if (rmIsRegister(p)) store<u32>(xmmOfRm(p), load<u32>(d));
        else mmu.write32(addressToWrite(p, 4), load<u32>(d));
      } else if (rmIsRegister(p)) store<u64>(xmmOfRm(p), load<u64>(d));
      else mmu.write64(addressToWrite(p, 8), load<u64>(d));
      return;
    case 0x12: // MOVLPS, MOVHLPS, MOVLPD
      if (prefix == NONE && rmIsRegister(p)) { store<u64>(d, load<u64>(xmmOfRm(p), 8)); return; }
      if (prefix > P66) break;
      store<u64>(d, readMemory64(p));
      return;
    case 0x13: // MOVLPS, MOVLPD
      if (prefix > P66) break;
      writeMemory64(p, load<u64>(d));
      return;
    case 0x14: // UNPCKLPS, UNPCKLPD
      if (prefix > P66) break;
      v128.store(d, packedInteger(prefix == P66 ? 0x6c : 0x62, v128.load(d), readAligned128(p)));
      return;
    case 0x15: // UNPCKHPS, UNPCKHPD
      if (prefix > P66) break;
      v128.store(d, packedInteger(prefix == P66 ? 0x6d : 0x6a, v128.load(d), readAligned128(p)));
      return;
    case 0x16: // MOVHPS, MOVLHPS, MOVHPD
      if (prefix == NONE && rmIsRegister(p)) { store<u64>(d, load<u64>(xmmOfRm(p)), 8); return; }
      if (prefix > P66) break;
      store<u64>(d, readMemory64(p), 8);
      return;
    case 0x17: // MOVHPS, MOVHPD
      if (prefix > P66) break;
      writeMemory64(p, load<u64>(d, 8));
      return;
    case 0x28: // MOVAPS, MOVAPD
      if (prefix > P66) break;
      v128.store(d, readAligned128(p));
      return;
    case 0x29:
      if (prefix > P66) break;
      writeAligned128(p, v128.load(d));
      return;
    case 0x2a: // CVTPI2PS CVTPI2PD CVTSI2SS CVTSI2SD
      convert.fromInteger(p, prefix);
      return;
    case 0x2b: // MOVNTPS, MOVNTPD
      if (prefix > P66 || rmIsRegister(p)) break;
      mmu.write128(alignedToWrite(p, 16), v128.load(d));
      return;
    case 0x2c: // CVTT and CVT to integer
      convert.toInteger(p, prefix, true);
      return;
    case 0x2d:
      convert.toInteger(p, prefix, false);
      return;
    case 0x2e: // UCOMISS, UCOMISD
    case 0x2f: // COMISS, COMISD
      if (prefix == P66) ssefloat.compareFlags64(load<u64>(d), read64(p), opcode == 0x2f);
      else if (prefix == NONE) ssefloat.compareFlags32(load<u32>(d), read32(p), opcode == 0x2f);
      else break;
      return;
    case 0x50: // MOVMSKPS, MOVMSKPD
      if (prefix > P66 || !rmIsRegister(p)) break;
      setGeneral(p, <u32>(prefix == P66 ? i64x2.bitmask(v128.load(xmmOfRm(p))) : i32x4.bitmask(v128.load(xmmOfRm(p)))));
      return;
    case 0x52: // RSQRTPS, RSQRTSS
    case 0x53: // RCPPS, RCPSS
      if (prefix == NONE) v128.store(d, convert.approximate128(readAligned128(p), opcode == 0x52));
      else if (prefix == PF3) store<u32>(d, convert.approximate32(read32(p), opcode == 0x52));
      else break;
      return;
    case 0x54: // ANDPS, ANDPD
      if (prefix > P66) break;
      v128.store(d, v128.and(v128.load(d), readAligned128(p)));
      return;
    case 0x55: // ANDNPS, ANDNPD
      if (prefix > P66) break;
      v128.store(d, v128.andnot(readAligned128(p), v128.load(d)));
      return;
    case 0x56: // ORPS, ORPD
      if (prefix > P66) break;
      v128.store(d, v128.or(v128.load(d), readAligned128(p)));
      return;
    case 0x57: // XORPS, XORPD
      if (prefix > P66) break;
      v128.store(d, v128.xor(v128.load(d), readAligned128(p)));
      return;
    case 0x51: // SQRT
    case 0x58: // ADD
    case 0x59: // MUL
    case 0x5c: // SUB
    case 0x5d: // MIN
    case 0x5e: // DIV
    case 0x5f: // MAX
      if (prefix == PF2) store<u64>(d, ssefloat.arithmetic64(opcode, load<u64>(d), read64(p)));
      else if (prefix == PF3) store<u32>(d, ssefloat.arithmetic32(opcode, load<u32>(d), read32(p)));
      else if (prefix == P66) v128.store(d, ssefloat.arithmetic64x2(opcode, v128.load(d), readAligned128(p)));
      else v128.store(d, ssefloat.arithmetic32x4(opcode, v128.load(d), readAligned128(p)));
      return;
    case 0x5a: // CVTPS2PD CVTPD2PS CVTSS2SD CVTSD2SS
      convert.changePrecision(p, prefix);
      return;
    case 0x5b: // CVTDQ2PS CVTPS2DQ CVTTPS2DQ
      if (prefix == PF2) break;
      if (prefix == NONE) v128.store(d, convert.int32x4ToSingle(readAligned128(p)));
      else v128.store(d, convert.singleToInt32x4(readAligned128(p), prefix == PF3));
      return;
    case 0x6e: // MOVD, MOVQ from a general register or memory
      if (prefix != P66) break;
      storeLow64ZeroHigh(d, readGeneral(p, load<u8>(p, U_SIZE)));
      return;
    case 0x6f: // MOVDQA, MOVDQU
      if (prefix == P66) v128.store(d, readAligned128(p));
      else if (prefix == PF3) v128.store(d, read128(p));
      else break;
      return;
    case 0x70: { // PSHUFD, PSHUFHW, PSHUFLW
      const s = readAligned128(p), selector = <u32>load<u8>(p, U_IMMEDIATE);
      if (prefix == P66) v128.store(d, i8x16.swizzle(s, doublewordIndices(selector)));
      else if (prefix == PF3) v128.store(d, i64x2.replace_lane(s, 1, shuffleWords(i64x2.extract_lane(s, 1), selector)));
      else v128.store(d, i64x2.replace_lane(s, 0, shuffleWords(i64x2.extract_lane(s, 0), selector)));
      return;
    }
    case 0x71: case 0x72: case 0x73:
      if (prefix != P66) break;
      shiftByImmediate(p, opcode);
      return;
    case 0x7e: // MOVD, MOVQ to a general register or memory; F3: MOVQ load
      if (prefix == PF3) { storeLow64ZeroHigh(d, read64(p)); return; }
      if (prefix != P66) break;
      writeGeneral(p, load<u8>(p, U_SIZE), load<u64>(d));
      return;
    case 0x7f: // MOVDQA, MOVDQU store
      if (prefix == P66) writeAligned128(p, v128.load(d));
      else if (prefix == PF3) write128(p, v128.load(d));
      else break;
      return;
    case 0xc2: { // CMP
      const predicate = <u32>load<u8>(p, U_IMMEDIATE);
      // Bits 3-7 select predicates in VEX forms only; the legacy forms ignore them.
      if (prefix == PF2) store<u64>(d, ssefloat.compare64(predicate & 7, load<u64>(d), read64(p)));
      else if (prefix == PF3) store<u32>(d, ssefloat.compare32(predicate & 7, load<u32>(d), read32(p)));
      else if (prefix == P66) v128.store(d, ssefloat.compare64x2(predicate & 7, v128.load(d), readAligned128(p)));
      else v128.store(d, ssefloat.compare32x4(predicate & 7, v128.load(d), readAligned128(p)));
      return;
    }
    case 0xc4: // PINSRW
      if (prefix != P66) break;
      store<u16>(d + ((load<u8>(p, U_IMMEDIATE) & 7) << 1), <u16>readGeneral(p, 1));
      return;
    case 0xc5: // PEXTRW
      if (prefix != P66 || !rmIsRegister(p)) break;
      setGeneral(p, load<u16>(xmmOfRm(p) + ((load<u8>(p, U_IMMEDIATE) & 7) << 1)));
      return;
    case 0xc6: { // SHUFPS, SHUFPD
      if (prefix > P66) break;
      const s = readAligned128(p), a = v128.load(d), selector = <u32>load<u8>(p, U_IMMEDIATE);
      if (prefix == P66) {
        const low = load<u64>(d + ((selector & 1) << 3));
        store<u64>(d, selector & 2 ? i64x2.extract_lane(s, 1) : i64x2.extract_lane(s, 0), 8);
        store<u64>(d, low);
      } else {
        const indices = doublewordIndices(selector);
        v128.store(d, v128.shuffle<i32>(i8x16.swizzle(a, indices), i8x16.swizzle(s, indices), 0, 1, 6, 7));
      }
      return;
    }
    case 0xd6: // MOVQ store, MOVQ2DQ, MOVDQ2Q
      if (prefix == P66) {
        if (rmIsRegister(p)) storeLow64ZeroHigh(xmmOfRm(p), load<u64>(d));
        else mmu.write64(addressToWrite(p, 8), load<u64>(d));
      } else mmx(p);
      return;
    case 0xd7: // PMOVMSKB
      if (prefix != P66 || !rmIsRegister(p)) break;
      setGeneral(p, <u32>i8x16.bitmask(v128.load(xmmOfRm(p))));
      return;
    case 0xe6: // CVTTPD2DQ CVTDQ2PD CVTPD2DQ
      if (prefix == PF3) v128.store(d, f64x2.convert_low_i32x4_s(i64x2.splat(read64(p))));
      else if (prefix != NONE) v128.store(d, convert.doubleToInt32x2(readAligned128(p), prefix == P66));
      else break;
      return;
    case 0xe7: // MOVNTDQ
      if (prefix != P66 || rmIsRegister(p)) break;
      mmu.write128(alignedToWrite(p, 16), v128.load(d));
      return;
    case 0xf7: // MASKMOVDQU
      if (prefix != P66 || !rmIsRegister(p)) break;
      storeMasked(p, <u32>i8x16.bitmask(v128.load(xmmOfRm(p))), load<u64>(d), load<u64>(d, 8), 16);
      return;
    default:
      break;
  }
  invalidOpcode();
}

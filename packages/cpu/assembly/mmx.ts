import { GPR, X87, X87_STATUS, X87_TAG, XMM } from "./layout";
import { U_AUX, U_IMMEDIATE, U_NUMBER, U_RM, U_SIZE, U_SUB } from "./uop";
import { invalidOpcode } from "./fault";
import { addressToRead, addressToWrite } from "./memoryoperand";
import { readGeneral, rmIsRegister, writeGeneral } from "./xmm";
import { requireMmx, requireNoX87Exception } from "./availability";
import {
  packedInteger, shiftLeftDoublewords, shiftLeftQuadwords, shiftLeftWords, shiftRightDoublewords, shiftRightQuadwords, shiftRightWords,
  shiftSignedDoublewords, shiftSignedWords, shuffleWords,
} from "./packedinteger";
import { storeMasked } from "./sse";
import * as mmu from "./mmu";

/*
 * MMX: the eight 64-bit registers that are the significands of the x87 registers (by physical number, not stack
 * position). Every MMX instruction but EMMS makes all of them valid and TOP 0, and a written register gets sign
 * and exponent of all ones. AMD64 volume 1, 5.8; SDM volume 1, 9.5.
 */

/** REX.R and REX.B do not reach the MMX registers. */
@inline function registerAddress(number: u32): usize { return X87 + (<usize>(number & 7) << 4); }
@inline function mmxOfReg(p: usize): usize { return registerAddress(load<u8>(p, U_NUMBER)); }
@inline function mmxOfRm(p: usize): usize { return registerAddress(load<u8>(p, U_RM) >> 3); }

/** What every MMX instruction does to the x87 state. Called when nothing can fault any more. */
export function enterMmx(): void {
  store<u8>(X87_TAG, 0xff);
  store<u16>(X87_STATUS, load<u16>(X87_STATUS) & 0xc7ff);
}

export function setMmx(register: usize, value: u64): void {
  enterMmx();
  store<u64>(register, value);
  store<u16>(register, 0xffff, 8);
}

/** Sets the MMX register that ModRM.reg names. */
export function setMmxOfReg(p: usize, value: u64): void { setMmx(mmxOfReg(p), value); }

/** The 64-bit source: MMX register or memory at any alignment. */
export function mmxSource(p: usize): u64 {
  return rmIsRegister(p) ? load<u64>(mmxOfRm(p)) : mmu.read64(addressToRead(p, 8));
}

/** EMMS: all registers empty. */
export function emms(): void {
  requireMmx();
  store<u8>(X87_TAG, 0);
  store<u16>(X87_STATUS, load<u16>(X87_STATUS) & 0xc7ff);
}

function shiftByImmediate(p: usize, opcode: u32): void {
  const register = mmxOfRm(p), a = i64x2.splat(load<u64>(register));
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
    default: r = shiftLeftQuadwords(a, n); // 0x16
  }
  setMmx(register, i64x2.extract_lane(r, 0));
}

/** Opcodes 60-7F and C0-FF that exist without prefix, one bit each by the opcode's low six bits; and those of them without a memory form. */
const EXISTING_LOW: u64 = 0xc07fcfff_00000000, EXISTING_HIGH: u64 = 0x7ffeffbf_ffbe0030;
const REGISTER_LOW: u64 = 0x000e0000_00000000, REGISTER_HIGH: u64 = 0x00800000_00800020;

/** What the opcode map leaves empty is #UD, whatever waits or is switched off. */
function checkEncoding(p: usize, opcode: u32): void {
  const high = (opcode & 0x80) != 0, bit = opcode & 63, register = rmIsRegister(p);
  let exists = ((high ? EXISTING_HIGH : EXISTING_LOW) >> bit & 1) != 0;
  if (register ? opcode == 0xe7 : ((high ? REGISTER_HIGH : REGISTER_LOW) >> bit & 1) != 0) exists = false;
  if (opcode - 0x71 < 3) {
    const operation = load<u8>(p, U_NUMBER) & 7; // shifts: right, left, and of words and doublewords arithmetic right
    if (operation != 2 && operation != 6 && (operation != 4 || opcode == 0x73)) exists = false;
  }
  if (!exists) invalidOpcode();
}

/** Executes the forms of Op.SSE without prefix that use MMX registers, and MOVQ2DQ and MOVDQ2Q. */
export function mmx(p: usize): void {
  const opcode = <u32>load<u8>(p, U_SUB), prefix = <u32>load<u8>(p, U_AUX);
  if (prefix != 0) { // 0F D6: SSE availability is checked already
    if (opcode != 0xd6 || !rmIsRegister(p)) invalidOpcode();
    requireNoX87Exception();
    if (prefix == 2) { // MOVQ2DQ
      const d = XMM + (<usize>load<u8>(p, U_NUMBER) << 4);
      store<u64>(d, load<u64>(mmxOfRm(p)));
      store<u64>(d, 0, 8);
      enterMmx();
    } else setMmx(mmxOfReg(p), load<u64>(XMM + (<usize>load<u8>(p, U_RM) << 1))); // MOVDQ2Q
    return;
  }
  checkEncoding(p, opcode);
  requireMmx();
  const d = mmxOfReg(p);
  switch (opcode) {
    case 0x60: case 0x61: case 0x62: { // PUNPCKL: a memory source is 32 bits only
      const s = rmIsRegister(p) ? load<u64>(mmxOfRm(p)) : <u64><u32>mmu.read32(addressToRead(p, 4));
      setMmx(d, i64x2.extract_lane(packedInteger(opcode, i64x2.splat(load<u64>(d)), i64x2.splat(s)), 0));
      return;
    }
    case 0x68: case 0x69: case 0x6a: // PUNPCKH: the upper half of the full interleave
      setMmx(d, i64x2.extract_lane(packedInteger(opcode - 8, i64x2.splat(load<u64>(d)), i64x2.splat(mmxSource(p))), 1));
      return;
    case 0x63: case 0x67: case 0x6b: { // PACK: both operands' lanes side by side
      const both = i64x2.replace_lane(i64x2.splat(load<u64>(d)), 1, mmxSource(p));
      setMmx(d, i64x2.extract_lane(packedInteger(opcode, both, both), 0));
      return;
    }
    case 0x64: case 0x65: case 0x66: case 0x74: case 0x75: case 0x76:
    case 0xd1: case 0xd2: case 0xd3: case 0xd4: case 0xd5:
    case 0xd8: case 0xd9: case 0xda: case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf:
    case 0xe0: case 0xe1: case 0xe2: case 0xe3: case 0xe4: case 0xe5:
    case 0xe8: case 0xe9: case 0xea: case 0xeb: case 0xec: case 0xed: case 0xee: case 0xef:
    case 0xf1: case 0xf2: case 0xf3: case 0xf4: case 0xf5: case 0xf6:
    case 0xf8: case 0xf9: case 0xfa: case 0xfb: case 0xfc: case 0xfd: case 0xfe: {
      const s = mmxSource(p);
      // PMULUDQ takes doublewords 0 and 2 of 16 bytes: with both halves equal, lane 0 is the MMX product.
      setMmx(d, i64x2.extract_lane(packedInteger(opcode, i64x2.splat(load<u64>(d)), i64x2.splat(s)), 0));
      return;
    }
    case 0x6e: // MOVD, MOVQ from a general register or memory
      setMmx(d, readGeneral(p, load<u8>(p, U_SIZE)));
      return;
    case 0x7e: { // MOVD, MOVQ to a general register or memory
      writeGeneral(p, load<u8>(p, U_SIZE), load<u64>(d));
      enterMmx();
      return;
    }
    case 0x6f: // MOVQ
      setMmx(d, mmxSource(p));
      return;
    case 0x7f:
      if (rmIsRegister(p)) setMmx(mmxOfRm(p), load<u64>(d));
      else { mmu.write64(addressToWrite(p, 8), load<u64>(d)); enterMmx(); }
      return;
    case 0x70: // PSHUFW
      setMmx(d, shuffleWords(mmxSource(p), load<u8>(p, U_IMMEDIATE)));
      return;
    case 0x71: case 0x72: case 0x73:
      shiftByImmediate(p, opcode);
      return;
    case 0xc4: { // PINSRW
      const at = <u64>((load<u8>(p, U_IMMEDIATE) & 3) << 4), word = readGeneral(p, 1) & 0xffff;
      setMmx(d, (load<u64>(d) & ~(<u64>0xffff << at)) | word << at);
      return;
    }
    case 0xc5: // PEXTRW
      store<u64>(GPR + (<usize>load<u8>(p, U_NUMBER) << 3), load<u16>(mmxOfRm(p) + ((load<u8>(p, U_IMMEDIATE) & 3) << 1)));
      enterMmx();
      return;
    case 0xd7: // PMOVMSKB
      store<u64>(GPR + (<usize>load<u8>(p, U_NUMBER) << 3), <u64>(i8x16.bitmask(i64x2.splat(load<u64>(mmxOfRm(p)))) & 0xff));
      enterMmx();
      return;
    case 0xe7: // MOVNTQ
      mmu.write64(addressToWrite(p, 8), load<u64>(d));
      enterMmx();
      return;
    default: { // F7: MASKMOVQ
      enterMmx(); // even if the store faults
      storeMasked(p, <u32>(i8x16.bitmask(i64x2.splat(load<u64>(mmxOfRm(p)))) & 0xff), load<u64>(d), 0, 8);
    }
  }
}

import {
  CR0, FLAGS_SYSTEM, X87, X87_CODE, X87_CODE_SELECTOR, X87_CONTROL, X87_DATA, X87_DATA_SELECTOR, X87_OPCODE, X87_STATUS, X87_TAG,
} from "./layout";
import { summarizeX87 } from "./availability";
import * as mmu from "./mmu";

/*
 * Control words and the memory images of the x87: FNINIT, FLDCW, FNSTENV, FLDENV, FNSAVE, FRSTOR.
 *
 * The environment has four layouts: 16 or 32 bits wide, protected or real (also virtual-8086) mode. SDM volume 1, 8.1.10.
 */

const INITIAL_CONTROL: u16 = 0x37f;
const VM: u64 = 0x20000;

export function initialize(): void {
  store<u16>(X87_CONTROL, INITIAL_CONTROL);
  store<u16>(X87_STATUS, 0);
  store<u8>(X87_TAG, 0);
  store<u16>(X87_OPCODE, 0);
  store<u64>(X87_CODE, 0);
  store<u64>(X87_DATA, 0);
  store<u16>(X87_CODE_SELECTOR, 0);
  store<u16>(X87_DATA_SELECTOR, 0);
}

/** Bits 7 and 13 to 15 do not exist and read as 0, bit 6 reads as 1. */
export function setControl(value: u32): void {
  store<u16>(X87_CONTROL, <u16>(value & 0x1f3f | 0x40));
  summarizeX87();
}

@inline function realMode(): bool { return !(load<u32>(CR0) & 1) || (load<u64>(FLAGS_SYSTEM) & VM) != 0; }

/** Address of a physical register. */
@inline function registerAddress(i: u32): usize { return X87 + (<usize>(i & 7) << 4); }

/** The 16-bit tag word, two bits per physical register: 0 valid, 1 zero, 2 special, 3 empty. */
export function fullTags(): u32 {
  const valid = <u32>load<u8>(X87_TAG);
  let tags: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    let tag: u32 = 3;
    if (valid >> i & 1) {
      const sig = load<u64>(registerAddress(i)), exponent = load<u16>(registerAddress(i), 8) & 0x7fff;
      if (exponent == 0) tag = sig == 0 ? 1 : 2;
      else tag = exponent == 0x7fff || <i64>sig >= 0 ? 2 : 0;
    }
    tags |= tag << (i << 1);
  }
  return tags;
}
function setFullTags(tags: u32): void {
  let valid: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) if ((tags >> (i << 1) & 3) != 3) valid |= 1 << i;
  store<u8>(X87_TAG, <u8>valid);
}

export function environmentSize(wide: bool): u32 { return wide ? 28 : 14; }

/** FNSTENV, without the masking that follows it. The caller has probed the range. */
export function storeEnvironment(at: u64, wide: bool): void {
  const code = load<u64>(X87_CODE), data = load<u64>(X87_DATA), opcode = <u32>load<u16>(X87_OPCODE);
  const real = realMode();
  if (wide) {
    // The unused halves of the words read as ones.
    mmu.write32(at, 0xffff0000 | <u32>load<u16>(X87_CONTROL));
    mmu.write32(at + 4, 0xffff0000 | <u32>load<u16>(X87_STATUS));
    mmu.write32(at + 8, 0xffff0000 | fullTags());
    if (real) {
      mmu.write32(at + 12, 0xffff0000 | (<u32>code & 0xffff));
      mmu.write32(at + 16, <u32>code >> 16 << 12 | opcode);
      mmu.write32(at + 20, 0xffff0000 | (<u32>data & 0xffff));
      mmu.write32(at + 24, <u32>data >> 16 << 12);
    } else {
      mmu.write32(at + 12, <u32>code);
      mmu.write32(at + 16, opcode << 16 | <u32>load<u16>(X87_CODE_SELECTOR));
      mmu.write32(at + 20, <u32>data);
      mmu.write32(at + 24, 0xffff0000 | <u32>load<u16>(X87_DATA_SELECTOR));
    }
    return;
  }
  mmu.write16(at, load<u16>(X87_CONTROL));
  mmu.write16(at + 2, load<u16>(X87_STATUS));
  mmu.write16(at + 4, <u16>fullTags());
  mmu.write16(at + 6, <u16>code);
  mmu.write16(at + 8, real ? <u16>(<u32>code >> 4 & 0xf000 | opcode) : load<u16>(X87_CODE_SELECTOR));
  mmu.write16(at + 10, <u16>data);
  mmu.write16(at + 12, real ? <u16>(<u32>data >> 4 & 0xf000) : load<u16>(X87_DATA_SELECTOR));
}

/** After FNSTENV all exceptions are masked. */
export function maskAll(): void { setControl(<u32>load<u16>(X87_CONTROL) | 0x3f); }

/** FLDENV. The caller has probed the range. */
export function loadEnvironment(at: u64, wide: bool): void {
  const step: u64 = wide ? 4 : 2;
  const controlWord = <u32>mmu.read16(at), statusWord = <u32>mmu.read16(at + step), tags = <u32>mmu.read16(at + 2 * step);
  const code = wide ? <u32>mmu.read32(at + 12) : <u32>mmu.read16(at + 6), codeHigh = wide ? <u32>mmu.read32(at + 16) : <u32>mmu.read16(at + 8);
  const data = wide ? <u32>mmu.read32(at + 20) : <u32>mmu.read16(at + 10), dataHigh = wide ? <u32>mmu.read32(at + 24) : <u32>mmu.read16(at + 12);
  if (realMode()) {
    const high: u32 = wide ? 0x0ffff000 : 0xf000;
    store<u64>(X87_CODE, code & 0xffff | (codeHigh & high) << 4);
    store<u64>(X87_DATA, data & 0xffff | (dataHigh & high) << 4);
    store<u16>(X87_OPCODE, <u16>(codeHigh & 0x7ff));
    store<u16>(X87_CODE_SELECTOR, 0);
    store<u16>(X87_DATA_SELECTOR, 0);
  } else {
    store<u64>(X87_CODE, code);
    store<u64>(X87_DATA, data);
    store<u16>(X87_OPCODE, wide ? <u16>(codeHigh >> 16 & 0x7ff) : 0);
    store<u16>(X87_CODE_SELECTOR, <u16>codeHigh);
    store<u16>(X87_DATA_SELECTOR, <u16>dataHigh);
  }
  store<u16>(X87_STATUS, <u16>statusWord);
  setFullTags(tags);
  setControl(controlWord);
}

/** Bytes of the FNSAVE image. */
export function imageSize(wide: bool): u32 { return environmentSize(wide) + 80; }

/** FNSAVE, without the initialization that follows it: environment, then ST(0) to ST(7) of 10 bytes. */
export function storeImage(at: u64, wide: bool): void {
  storeEnvironment(at, wide);
  at += environmentSize(wide);
  for (let i: u32 = 0; i < 8; i++, at += 10) {
    const register = registerAddress((load<u16>(X87_STATUS) >> 11) + i);
    mmu.writePacked64(at, load<u64>(register));
    mmu.write16(at + 8, load<u16>(register, 8));
  }
}
export function loadImage(at: u64, wide: bool): void {
  loadEnvironment(at, wide);
  at += environmentSize(wide);
  for (let i: u32 = 0; i < 8; i++, at += 10) {
    const register = registerAddress((load<u16>(X87_STATUS) >> 11) + i);
    store<u64>(register, mmu.readPacked64(at));
    store<u64>(register, <u64><u16>mmu.read16(at + 8), 8);
  }
}

import {
  MODE, MODE_SIZE, MXCSR, X87, X87_CODE, X87_CODE_SELECTOR, X87_CONTROL, X87_DATA, X87_DATA_SELECTOR, X87_OPCODE, X87_STATUS, X87_TAG,
  XMM,
} from "./layout";
import { U_AUX, U_IS_REG, U_SIZE, U_SUB } from "./uop";
import { generalProtection, invalidOpcode } from "./fault";
import { addressToRead, addressToWrite } from "./memoryoperand";
import { requireSse, requireX87, summarizeX87 } from "./availability";
import { alignedToRead, alignedToWrite } from "./xmm";
import * as mmu from "./mmu";

/*
 * Opcode group 15 (0F AE): FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, fences and CLFLUSH. XSAVE and its kin are #UD: this
 * processor does not offer CR4.OSXSAVE.
 */

/** MXCSR bits that exist; the value at offset 28 of the FXSAVE image. Writing any other bit is #GP(0). */
const MXCSR_MASK: u32 = 0xffff;

/** Bytes of the FXSAVE image that are the instruction's own; 416 to 511 are left to software. */
const IMAGE_USED: u32 = 416;
const IMAGE_SIZE: u32 = 512;

/** Offset in the image (x87 registers by stack position) of `i` and where the register lies in the context. */
@inline function stackRegister(i: u32): usize {
  return X87 + (<usize>((load<u16>(X87_STATUS) >> 11) + i & 7) << 4);
}

@inline function xmmCount(): u32 { return (load<u32>(MODE) & MODE_SIZE) == 0 ? 16 : 8; }

function fxsave(p: usize): void {
  requireX87();
  const at = alignedToWrite(p, IMAGE_SIZE);
  mmu.probeWrite(at, IMAGE_USED);
  mmu.write64(at, <u64>load<u16>(X87_CONTROL) | <u64>load<u16>(X87_STATUS) << 16 | <u64>load<u8>(X87_TAG) << 32 | <u64>load<u16>(X87_OPCODE) << 48);
  if (load<u8>(p, U_SIZE) == 3) {
    mmu.write64(at + 8, load<u64>(X87_CODE));
    mmu.write64(at + 16, load<u64>(X87_DATA));
  } else {
    mmu.write64(at + 8, <u64>load<u32>(X87_CODE) | <u64>load<u16>(X87_CODE_SELECTOR) << 32);
    mmu.write64(at + 16, <u64>load<u32>(X87_DATA) | <u64>load<u16>(X87_DATA_SELECTOR) << 32);
  }
  mmu.write64(at + 24, <u64>load<u32>(MXCSR) | <u64>MXCSR_MASK << 32);
  for (let i: u32 = 0; i < 8; i++) {
    const register = stackRegister(i);
    mmu.write64(at + 32 + (i << 4), load<u64>(register));
    mmu.write64(at + 40 + (i << 4), load<u16>(register, 8));
  }
  for (let i: u32 = 0, n = xmmCount(); i < n; i++) mmu.write128(at + 160 + (i << 4), v128.load(XMM + (<usize>i << 4)));
}

function fxrstor(p: usize): void {
  requireX87();
  const at = alignedToRead(p, IMAGE_SIZE);
  mmu.probeRead(at, IMAGE_USED);
  const mxcsr = <u32>mmu.read32(at + 24);
  if (mxcsr & ~MXCSR_MASK) generalProtection();
  const head = mmu.read64(at);
  store<u16>(X87_CONTROL, <u16>head & 0x1f3f | 0x40); // reserved bits of the control word read back as 0, bit 6 as 1
  store<u16>(X87_STATUS, <u16>(head >> 16));
  store<u8>(X87_TAG, <u8>(head >> 32));
  store<u16>(X87_OPCODE, <u16>(head >> 48) & 0x7ff);
  if (load<u8>(p, U_SIZE) == 3) {
    store<u64>(X87_CODE, mmu.read64(at + 8));
    store<u64>(X87_DATA, mmu.read64(at + 16));
    store<u16>(X87_CODE_SELECTOR, 0);
    store<u16>(X87_DATA_SELECTOR, 0);
  } else {
    const code = mmu.read64(at + 8), data = mmu.read64(at + 16);
    store<u64>(X87_CODE, <u32>code);
    store<u64>(X87_DATA, <u32>data);
    store<u16>(X87_CODE_SELECTOR, <u16>(code >> 32));
    store<u16>(X87_DATA_SELECTOR, <u16>(data >> 32));
  }
  summarizeX87();
  store<u32>(MXCSR, mxcsr);
  for (let i: u32 = 0; i < 8; i++) {
    const register = stackRegister(i);
    store<u64>(register, mmu.read64(at + 32 + (i << 4)));
    store<u64>(register, mmu.read64(at + 40 + (i << 4)) & 0xffff, 8);
  }
  for (let i: u32 = 0, n = xmmCount(); i < n; i++) v128.store(XMM + (<usize>i << 4), mmu.read128(at + 160 + (i << 4)));
}

/** Executes Op.GROUP15. */
export function group15(p: usize): void {
  const operation = load<u8>(p, U_SUB);
  if (load<u8>(p, U_AUX) != 0) invalidOpcode(); // 66: CLWB and CLFLUSHOPT, not offered
  if (load<u8>(p, U_IS_REG) != 0) {
    if (operation < 5) invalidOpcode();
    return; // LFENCE, MFENCE, SFENCE: this processor executes in order
  }
  switch (operation) {
    case 0: fxsave(p); return;
    case 1: fxrstor(p); return;
    case 2: { // LDMXCSR
      requireSse();
      const value = <u32>mmu.read32(addressToRead(p, 4));
      if (value & ~MXCSR_MASK) generalProtection();
      store<u32>(MXCSR, value);
      return;
    }
    case 3: // STMXCSR
      requireSse();
      mmu.write32(addressToWrite(p, 4), load<u32>(MXCSR));
      return;
    case 7: // CLFLUSH: no cache to flush, but the address is checked as for a load
      mmu.read8(addressToRead(p, 1));
      return;
    default:
      invalidOpcode();
  }
}

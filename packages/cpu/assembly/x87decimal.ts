import * as soft from "./softfloat";
import { integerInexact, integerTooLarge, integerUp, roundMagnitude } from "./softarithmetic";
import { pushRaw } from "./x87stack";
import * as mmu from "./mmu";

/*
 * Packed decimal: 18 digits of 4 bits in bytes 0 to 8, the sign in bit 7 of byte 9. SDM volume 1, 4.7.
 */

const LARGEST: u64 = 999999999999999999;

/** FBLD: pushes the value. Digits above 9 give no exception; they count as what they weigh. */
export function loadDecimal(digits: u64, top: u32): void {
  let value: u64 = (top >> 4 & 15) * 10 + (top & 15);
  for (let i = 60; i >= 0; i -= 4) value = value * 10 + (digits >> i & 15);
  if (value == 0) { pushRaw(top & 0x8000, 0); return; }
  const shift = clz(value);
  pushRaw((top & 0x8000) | <u32>(16383 + 63 - shift), value << shift);
}

/** FBSTP of X: writes ten bytes at `at` unless an unmasked IE forbids it; raises IE or PE. */
export function storeDecimal(at: u64): void {
  if (soft.xKind < soft.KIND_INFINITE) {
    let value = roundMagnitude();
    if (!integerTooLarge && value <= LARGEST) {
      if (integerInexact) soft.raiseFlags(soft.INEXACT);
      soft.setRoundedUp(integerUp);
      let digits: u64 = 0;
      for (let i = 0; i < 64; i += 4, value /= 10) digits |= value % 10 << i;
      mmu.write64(at, digits);
      mmu.write16(mmu.wrap(at + 8), <u16>(soft.xSign << 15 | <u32>(value / 10) << 4 | <u32>(value % 10)));
      return;
    }
  }
  soft.raiseFlags(soft.INVALID);
  soft.setRoundedUp(false);
  if (!(soft.masks & soft.INVALID)) return;
  mmu.write64(at, 0xc000000000000000); // packed decimal indefinite
  mmu.write16(mmu.wrap(at + 8), 0xffff);
}

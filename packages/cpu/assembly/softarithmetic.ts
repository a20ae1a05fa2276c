import {
  checkDenormals, checkDenormalX, copyXToResult, DIVIDE_BY_ZERO, DOWN, INEXACT, INTEGER_BIT, INVALID, KIND_FINITE, KIND_INFINITE, KIND_QUIET,
  KIND_SIGNALING, KIND_ZERO, NEAREST_EVEN, propagate, propagateX, raiseFlags, resultInvalid, rounding, rSig, rTail, setResult, setRoundedUp,
  shiftResultRight, UP, xExp, xKind, xSig, xSign, yExp, yKind, ySig, ySign,
} from "./softfloat";

/*
 * Operations on the unpacked operands X and Y of softfloat.ts. Each leaves an unrounded R and raises IE, DE and ZE;
 * rounding R adds OE, UE and PE.
 */

// ---- 128-bit integers ----

/** The upper half of the last 64 x 64 product, the remainder of the last division. */
export let productHigh: u64 = 0;
export let remainder: u64 = 0;

/** a x b: returns the lower 64 bits, leaves the upper in productHigh. */
export function multiplyWide(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const low = a0 * b0;
  const middle = a1 * b0 + (low >> 32);
  const middle2 = a0 * b1 + (middle & 0xffffffff);
  productHigh = a1 * b1 + (middle >> 32) + (middle2 >> 32);
  return middle2 << 32 | (low & 0xffffffff);
}

/** high:low / divisor with the divisor's bit 63 set and high < divisor (Knuth, TAOCP volume 2, 4.3.1 D, in 32-bit digits). */
export function divideWide(high: u64, low: u64, divisor: u64): u64 {
  const d1 = divisor >> 32, d0 = divisor & 0xffffffff;
  let q1 = high / d1, r = high - q1 * d1;
  while (q1 >> 32 != 0 || q1 * d0 > (r << 32 | low >> 32)) {
    q1--;
    r += d1;
    if (r >> 32 != 0) break;
  }
  const next = (high << 32 | low >> 32) - q1 * divisor;
  let q0 = next / d1;
  r = next - q0 * d1;
  while (q0 >> 32 != 0 || q0 * d0 > (r << 32 | (low & 0xffffffff))) {
    q0--;
    r += d1;
    if (r >> 32 != 0) break;
  }
  remainder = (next << 32 | (low & 0xffffffff)) - q0 * divisor;
  return (q1 << 32) + q0;
}

/** R = sign, exp, high:low with the leading one brought to bit 127; a zero value gives +0 or, rounding down, -0. */
export function setNormalized(sign: u32, exp: i32, high: u64, low: u64): void {
  if (high == 0) {
    if (low == 0) { setResult(KIND_ZERO, rounding == DOWN ? 1 : 0, 0, 0, 0); return; }
    high = low;
    low = 0;
    exp -= 64;
  }
  const shift = <i32>clz(high);
  if (shift) {
    high = high << shift | low >> (64 - shift);
    low <<= shift;
  }
  setResult(KIND_FINITE, sign, exp - shift, high, low);
}

// ---- arithmetic ----

function addFinite(ys: u32): void {
  let exp = xExp, sign = xSign, high = xSig, smaller = ySig, shift = xExp - yExp;
  if (shift < 0 || (shift == 0 && xSig < ySig)) {
    exp = yExp; sign = ys; high = ySig; smaller = xSig; shift = -shift;
  }
  setResult(KIND_FINITE, sign, exp, smaller, 0);
  shiftResultRight(shift);
  if (xSign == ys) {
    const sum = high + rSig;
    if (sum < high) setResult(KIND_FINITE, sign, exp + 1, sum >> 1 | INTEGER_BIT, sum << 63 | rTail >> 1 | (rTail & 1));
    else setResult(KIND_FINITE, sign, exp, sum, rTail);
    return;
  }
  const low = 0 - rTail;
  setNormalized(sign, exp, high - rSig - <u64>(rTail != 0), low);
}

/** X + Y, or X - Y when `subtract` is 1. */
export function add(subtract: u32): void {
  if (propagate()) return;
  const ys = ySign ^ subtract;
  if (xKind == KIND_INFINITE || yKind == KIND_INFINITE) {
    if (xKind == yKind && xSign != ys) { resultInvalid(); return; }
    checkDenormals();
    setResult(KIND_INFINITE, xKind == KIND_INFINITE ? xSign : ys, 0, INTEGER_BIT, 0);
    return;
  }
  checkDenormals();
  if (yKind == KIND_ZERO) {
    if (xKind == KIND_ZERO) setResult(KIND_ZERO, xSign == ys ? xSign : rounding == DOWN ? 1 : 0, 0, 0, 0);
    else copyXToResult();
    return;
  }
  if (xKind == KIND_ZERO) { setResult(KIND_FINITE, ys, yExp, ySig, 0); return; }
  addFinite(ys);
}

export function multiply(): void {
  if (propagate()) return;
  const sign = xSign ^ ySign;
  if (xKind == KIND_INFINITE || yKind == KIND_INFINITE) {
    if (xKind == KIND_ZERO || yKind == KIND_ZERO) { resultInvalid(); return; }
    checkDenormals();
    setResult(KIND_INFINITE, sign, 0, INTEGER_BIT, 0);
    return;
  }
  checkDenormals();
  if (xKind == KIND_ZERO || yKind == KIND_ZERO) { setResult(KIND_ZERO, sign, 0, 0, 0); return; }
  const low = multiplyWide(xSig, ySig);
  setNormalized(sign, xExp + yExp + 1, productHigh, low);
}

/** The quotient of two significands (bit 63 set in both): R, with the exponent of X / Y given. */
export function divideSignificands(sign: u32, exp: i32, x: u64, y: u64): void {
  let q: u64;
  if (x < y) { q = divideWide(x, 0, y); exp--; }
  else q = divideWide(x >> 1, x << 63, y);
  // The next bit of the quotient and whether anything is left after it.
  const r = remainder, rest = y - r;
  const tail = r >= rest ? INTEGER_BIT | <u64>(r != rest) : <u64>(r != 0);
  setResult(KIND_FINITE, sign, exp, q, tail);
}

export function divide(): void {
  if (propagate()) return;
  const sign = xSign ^ ySign;
  if (xKind == KIND_INFINITE) {
    if (yKind == KIND_INFINITE) { resultInvalid(); return; }
    checkDenormals();
    setResult(KIND_INFINITE, sign, 0, INTEGER_BIT, 0);
    return;
  }
  if (yKind == KIND_ZERO) {
    if (xKind == KIND_ZERO) { resultInvalid(); return; }
    raiseFlags(DIVIDE_BY_ZERO); // takes precedence over DE
    setResult(KIND_INFINITE, sign, 0, INTEGER_BIT, 0);
    return;
  }
  checkDenormals();
  if (yKind == KIND_INFINITE || xKind == KIND_ZERO) { setResult(KIND_ZERO, sign, 0, 0, 0); return; }
  divideSignificands(sign, xExp - yExp, xSig, ySig);
}

/** The square root of X. */
export function squareRoot(): void {
  if (propagateX()) return;
  if (xKind == KIND_ZERO) { copyXToResult(); return; }
  if (xSign) { resultInvalid(); return; }
  checkDenormalX();
  if (xKind == KIND_INFINITE) { copyXToResult(); return; }
  // radicand = high:low in [2^126, 2^128), so that its root has 64 bits
  const odd = (xExp & 1) != 0;
  const high = odd ? xSig : xSig >> 1, low: u64 = odd ? 0 : xSig << 63;
  // An estimate from above, good to about 50 bits; one step of Heron's rule stays above the root and doubles the digits.
  const estimate = sqrt<f64>(<f64>high) * 4294967296.0 * 1.000000000000001;
  let root: u64 = estimate >= 18446744073709549568.0 ? ~(<u64>0) : <u64>estimate;
  if (high < root) {
    const quotient = divideWide(high, low, root);
    root = (root >> 1) + (quotient >> 1) + (root & quotient & 1) + ((root ^ quotient) & 1); // (root + quotient) / 2, rounded up
  }
  let squareLow = multiplyWide(root, root);
  while (productHigh > high || (productHigh == high && squareLow > low)) {
    root--;
    squareLow = multiplyWide(root, root);
  }
  // What is left is at most 2 x root, so 65 bits; more than root means that the next bit is 1.
  const leftLow = low - squareLow, leftHigh = high - productHigh - <u64>(low < squareLow);
  const tail = leftHigh != 0 || leftLow > root ? INTEGER_BIT | 1 : <u64>(leftLow != 0);
  setResult(KIND_FINITE, 0, xExp >> 1, root, tail);
}

// ---- comparison ----

export const LESS: u32 = 1, EQUAL: u32 = 2, GREATER: u32 = 0, UNORDERED: u32 = 3;

/** Compares X with Y. Raises IE for a signaling NaN, and for a quiet one when `signaling`; DE for a denormal. */
export function compare(signaling: bool): u32 {
  if (xKind >= KIND_QUIET || yKind >= KIND_QUIET) {
    if (signaling || xKind >= KIND_SIGNALING || yKind >= KIND_SIGNALING) raiseFlags(INVALID);
    return UNORDERED;
  }
  checkDenormals();
  if (xKind == KIND_ZERO && yKind == KIND_ZERO) return EQUAL;
  if (xKind == KIND_ZERO) return ySign ? GREATER : LESS;
  if (yKind == KIND_ZERO || xSign != ySign) return xSign ? LESS : GREATER;
  let magnitude = EQUAL;
  if (xKind == KIND_INFINITE || yKind == KIND_INFINITE) {
    if (xKind != yKind) magnitude = xKind == KIND_INFINITE ? GREATER : LESS;
  } else if (xExp != yExp) magnitude = xExp > yExp ? GREATER : LESS;
  else if (xSig != ySig) magnitude = xSig > ySig ? GREATER : LESS;
  return magnitude == EQUAL ? EQUAL : xSign ? magnitude ^ 1 : magnitude;
}

// ---- integers ----

/** Whether rounding a magnitude with the given lost bits goes up. `half`: -1, 0, 1 = lost bits below, at, above one half. */
function roundsUp(sign: u32, odd: bool, half: i32, inexact: bool): bool {
  if (rounding == NEAREST_EVEN) return half > 0 || (half == 0 && odd);
  if (rounding == DOWN) return inexact && sign != 0;
  if (rounding == UP) return inexact && sign == 0;
  return false;
}

/** The last integer rounding lost bits / went up in magnitude / did not fit 64 bits unsigned. */
export let integerInexact: bool = false, integerUp: bool = false, integerTooLarge: bool = false;

/** Magnitude of finite or zero X rounded to an integer by the rounding mode. */
export function roundMagnitude(): u64 {
  integerInexact = false;
  integerUp = false;
  integerTooLarge = false;
  if (xKind == KIND_ZERO) return 0;
  if (xExp > 63) { integerTooLarge = true; return 0; }
  if (xExp == 63) return xSig;
  if (xExp < -1) {
    integerInexact = true;
    integerUp = roundsUp(xSign, false, -1, true);
    return <u64>integerUp;
  }
  const drop = 63 - xExp; // 1 to 64
  const whole = drop == 64 ? 0 : xSig >> drop;
  const lost = drop == 64 ? xSig : xSig << (64 - drop);
  integerInexact = lost != 0;
  integerUp = roundsUp(xSign, (whole & 1) != 0, lost > INTEGER_BIT ? 1 : lost == INTEGER_BIT ? 0 : -1, integerInexact);
  return whole + <u64>integerUp;
}

/**
 * X as a signed integer of `bits` (16, 32, 64), by the rounding mode. What does not fit, infinities and NaNs give
 * the integer indefinite (only the sign bit set) and IE alone.
 */
export function toSigned(bits: u32): i64 {
  const limit = <u64>1 << (bits - 1);
  if (xKind < KIND_INFINITE) {
    const magnitude = roundMagnitude();
    if (!integerTooLarge && (xSign ? magnitude <= limit : magnitude < limit)) {
      if (integerInexact) raiseFlags(INEXACT);
      return xSign ? 0 - <i64>magnitude : <i64>magnitude;
    }
    integerUp = false;
  }
  raiseFlags(INVALID);
  return 0 - <i64>limit;
}

/** R = X rounded to an integral value (FRNDINT). */
export function roundToIntegral(): void {
  if (propagateX()) return;
  copyXToResult();
  if (xKind != KIND_FINITE) return;
  checkDenormalX();
  if (xExp >= 63) return;
  const magnitude = roundMagnitude();
  if (integerInexact) raiseFlags(INEXACT);
  setRoundedUp(integerUp);
  if (magnitude == 0) { setResult(KIND_ZERO, xSign, 0, 0, 0); return; }
  const shift = <i32>clz(magnitude);
  setResult(KIND_FINITE, xSign, 63 - shift, magnitude << shift, 0);
}

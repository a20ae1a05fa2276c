import {
  C1, C2, clearC1, control, isEmpty, moveTop, pop, setRaw, setStatus, settle, setXFromStack, setYFromStack, stackOverflow, stackUnderflow,
  status, storeIndefinite, storeResult,
} from "./x87stack";
import * as soft from "./softfloat";
import { add, divideSignificands, multiply, multiplyWide, productHigh, setNormalized } from "./softarithmetic";
import { addDD, divideDD, high, low, multiplyDD } from "./doubledouble";
import {
  arctangent, cosine, exponentialMinusOne, HALF_PI, HALF_PI_LOW, LN2, LN2_LOW, logarithm, logarithmSeries, PI, PI_LOW, sine,
} from "./elementary";

/*
 * The elementary functions of the x87: F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS.
 *
 * They are evaluated to about 100 bits and rounded once, so the error is hardly above half a unit in the last place.
 * Processors promise less (about one unit) and differ from each other, so the last bit is not promised to equal any
 * one of them. What processors agree on is kept: trigonometric arguments are reduced by the 66-bit pi, and arguments of
 * 2^63 and more are refused by C2. Where the operand is outside the documented range, F2XM1 and FYL2XP1 return it unchanged.
 */

/** ln 2 x 2^64 and log2(e) x 2^63, with 64 more bits. */
const LN2_SIG: u64 = 0xb17217f7d1cf79ab, LN2_TAIL: u64 = 0xc9e3b39803f2f6af;
const LOG2E_SIG: u64 = 0xb8aa3b295c17f0bb, LOG2E_TAIL: u64 = 0xbe87fed0691d3e88;

/** Below this exponent the first term of the series is the answer but for a last bit far behind the 64. */
const TINY: i32 = -70;

// ---- between unpacked numbers and double-doubles ----

/** 2^e for e within the normal range of f64. */
@inline function powerOfTwo(e: i32): f64 { return reinterpret<f64>(<u64>(e + 1023) << 52); }
/** The two halves of sig x 2^(exp - 63), exactly. */
@inline function upper(sig: u64, exp: i32): f64 { return <f64>(sig & ~(<u64>0x7ff)) * powerOfTwo(exp - 63); }
@inline function lower(sig: u64, exp: i32): f64 { return <f64>(sig & 0x7ff) * powerOfTwo(exp - 63); }

function setNormal(value: f64, second: bool): void {
  const bits = reinterpret<u64>(value);
  const sign = <u32>(bits >> 63), exp = (<i32>(bits >> 52) & 0x7ff) - 1023, sig = soft.INTEGER_BIT | bits << 11;
  if (second) soft.setY(soft.KIND_FINITE, sign, exp, sig);
  else soft.setX(soft.KIND_FINITE, sign, exp, sig);
}

/** R = (-1)^flip x high:low, marked inexact: the true value is irrational. */
function resultFromDD(flip: u32): void {
  setNormal(high, false);
  if (abs(low) >= 2.2250738585072014e-308) setNormal(low, true);
  else soft.setY(soft.KIND_ZERO, 0, 0, 0);
  add(0);
  soft.setResult(soft.rKind, soft.rSign ^ flip, soft.rExp, soft.rSig, soft.rTail | 1);
}

/** R = a number of the size of sig at exp, but less in magnitude by next to nothing. */
function resultJustBelow(sign: u32, exp: i32, sig: u64): void { setNormalized(sign, exp, sig - 1, ~(<u64>0)); }
function resultJustAbove(sign: u32, exp: i32, sig: u64): void { soft.setResult(soft.KIND_FINITE, sign, exp, sig, 1); }

/** R = sig:tail x other, all as fractions with the integer bit on top; exp is the sum of exponents. */
function resultProduct(sign: u32, exp: i32, sig: u64, tail: u64, other: u64): void {
  multiplyWide(tail, other);
  const carry = productHigh;
  const l = multiplyWide(sig, other), sum = l + carry;
  setNormalized(sign, exp + 1, productHigh + <u64>(sum < l), sum);
  soft.setResult(soft.rKind, soft.rSign, soft.rExp, soft.rSig, soft.rTail | 1);
}

// ---- exponential and logarithms ----

/** F2XM1: 2^X - 1. */
function exponential(): void {
  if (soft.propagateX()) return;
  soft.copyXToResult();
  if (soft.xKind == soft.KIND_ZERO) return;
  if (soft.xKind == soft.KIND_INFINITE) {
    if (soft.xSign) soft.setResult(soft.KIND_FINITE, 1, 0, soft.INTEGER_BIT, 0);
    return;
  }
  soft.checkDenormalX();
  const sign = soft.xSign, exp = soft.xExp, sig = soft.xSig;
  if (exp >= 0) { // 1, -1 and what is out of range
    if (exp == 0 && sig == soft.INTEGER_BIT && sign) soft.setResult(soft.KIND_FINITE, 1, -1, sig, 0);
    soft.raiseFlags(soft.INEXACT);
    return;
  }
  if (exp < TINY) resultProduct(sign, exp - 1, LN2_SIG, LN2_TAIL, sig);
  else {
    multiplyDD(upper(sig, exp), lower(sig, exp), LN2, LN2_LOW);
    const f: f64 = sign ? -1.0 : 1.0;
    exponentialMinusOne(high * f, low * f);
    resultFromDD(0);
  }
  soft.roundTo80(64);
}

/** R = Y x high:low. PE is raised even where an integral logarithm gives an exact product, as processors do. */
function timesY(exact: bool): void {
  const ySign = soft.ySign, yExp = soft.yExp, ySig = soft.ySig;
  if (exact) {
    soft.setX64Integer(<i64>high);
    multiply();
    soft.roundTo80(64);
    const tiny = soft.rKind == soft.KIND_FINITE && !(soft.rSig & soft.INTEGER_BIT);
    soft.raiseFlags(tiny ? soft.INEXACT | soft.UNDERFLOW : soft.INEXACT);
    return;
  }
  resultFromDD(0);
  resultProduct(soft.rSign ^ ySign, soft.rExp + yExp, soft.rSig, soft.rTail, ySig);
  soft.roundTo80(64);
}

/** FYL2X: Y x log2 X. */
function yTimesLogarithm(): void {
  if (soft.propagate()) return;
  const sign = soft.xSign, ySign = soft.ySign;
  if (soft.xKind == soft.KIND_ZERO) {
    if (soft.yKind == soft.KIND_ZERO) { soft.resultInvalid(); return; }
    if (soft.yKind == soft.KIND_FINITE) soft.raiseFlags(soft.DIVIDE_BY_ZERO);
    soft.setResult(soft.KIND_INFINITE, ySign ^ 1, 0, soft.INTEGER_BIT, 0);
    return;
  }
  if (sign) { soft.resultInvalid(); return; }
  const isOne = soft.xKind == soft.KIND_FINITE && soft.xExp == 0 && soft.xSig == soft.INTEGER_BIT;
  const below = soft.xKind == soft.KIND_FINITE && soft.xExp < 0; // logarithm negative
  if (soft.xKind == soft.KIND_INFINITE || soft.yKind == soft.KIND_INFINITE) {
    if (soft.yKind == soft.KIND_ZERO || isOne) { soft.resultInvalid(); return; }
    soft.checkDenormals();
    soft.setResult(soft.KIND_INFINITE, ySign ^ <u32>below, 0, soft.INTEGER_BIT, 0);
    return;
  }
  soft.checkDenormals();
  if (soft.yKind == soft.KIND_ZERO || isOne) { soft.setResult(soft.KIND_ZERO, ySign ^ <u32>below, 0, 0, 0); return; }
  const exact = soft.xSig == soft.INTEGER_BIT;
  logarithm(upper(soft.xSig, 0), lower(soft.xSig, 0), soft.xExp);
  timesY(exact);
}

/** FYL2XP1: Y x log2(X + 1). */
function yTimesLogarithmPlusOne(): void {
  if (soft.propagate()) return;
  const sign = soft.xSign, exp = soft.xExp, sig = soft.xSig, ySign = soft.ySign;
  if (soft.xKind == soft.KIND_INFINITE || soft.yKind == soft.KIND_INFINITE) {
    if (soft.xKind == soft.KIND_ZERO || soft.yKind == soft.KIND_ZERO || (sign && soft.xKind == soft.KIND_INFINITE)) { soft.resultInvalid(); return; }
    soft.checkDenormals();
    soft.setResult(soft.KIND_INFINITE, sign ^ ySign, 0, soft.INTEGER_BIT, 0);
    return;
  }
  soft.checkDenormals();
  if (soft.xKind == soft.KIND_ZERO || soft.yKind == soft.KIND_ZERO) { soft.setResult(soft.KIND_ZERO, sign ^ ySign, 0, 0, 0); return; }
  if (sign && exp >= 0) { // -1 and less: undefined
    soft.copyXToResult();
    soft.raiseFlags(soft.INEXACT);
    return;
  }
  if (exp < TINY) {
    resultProduct(sign ^ ySign, exp, LOG2E_SIG, LOG2E_TAIL, sig);
    resultProduct(sign ^ ySign, soft.rExp + soft.yExp, soft.rSig, soft.rTail, soft.ySig);
    soft.roundTo80(64);
  } else {
    const f: f64 = sign ? -1.0 : 1.0;
    if (exp < -2) {
      const xh = upper(sig, exp) * f, xl = lower(sig, exp) * f;
      addDD(xh, xl, 2, 0);
      divideDD(xh, xl, high, low);
      logarithmSeries(high, low);
    } else if (exp > 200) logarithm(upper(sig, 0), lower(sig, 0), exp);
    else {
      addDD(upper(sig, exp) * f, lower(sig, exp) * f, 1, 0);
      const e = <i32>(reinterpret<u64>(high) >> 52) - 1023, scale = powerOfTwo(-e);
      logarithm(high * scale, low * scale, e);
    }
    timesY(false);
  }
}

// ---- trigonometry ----

let quadrant: u32 = 0;
let reducedHigh: f64 = 0, reducedLow: f64 = 0;

/** pi/2 of 66 bits is HALF_PI_UNITS x 2^-65: upper 2 bits and lower 64. */
const HALF_PI_TOP: u64 = 3, HALF_PI_REST: u64 = 0x243f6a8885a308d3;

/** X mod pi/2, to the nearest multiple: at most pi/4 in magnitude, exact. */
function reduceArgument(): void {
  const f: f64 = soft.xSign ? -1.0 : 1.0;
  quadrant = 0;
  if (soft.xExp < -1) {
    reducedHigh = upper(soft.xSig, soft.xExp) * f;
    reducedLow = lower(soft.xSig, soft.xExp) * f;
    return;
  }
  // In units of 2^-65 X is sig x 2^(exp + 2): shift left and subtract.
  let top: u64 = 0, rest = soft.xSig;
  for (let n = soft.xExp + 2; n > 0; n--) {
    top = top << 1 | rest >> 63;
    rest <<= 1;
    quadrant <<= 1;
    if (top > HALF_PI_TOP || (top == HALF_PI_TOP && rest >= HALF_PI_REST)) {
      top -= HALF_PI_TOP + <u64>(rest < HALF_PI_REST);
      rest -= HALF_PI_REST;
      quadrant |= 1;
    }
  }
  // More than half of it: from the next multiple back.
  const doubledTop = top << 1 | rest >> 63, doubledRest = rest << 1;
  let g = f;
  if (doubledTop > HALF_PI_TOP || (doubledTop == HALF_PI_TOP && doubledRest > HALF_PI_REST)) {
    top = HALF_PI_TOP - top - <u64>(HALF_PI_REST < rest);
    rest = HALF_PI_REST - rest;
    quadrant++;
    g = -g;
  }
  addDD(<f64>top * powerOfTwo(-1), 0, upper(rest, -2), 0);
  addDD(high, low, lower(rest, -2), 0);
  reducedHigh = high * g;
  reducedLow = low * g;
  if (soft.xSign) quadrant = 0 - quadrant;
}

/** high:low = sin (`turn` 0) or cos (`turn` 1) of the reduced argument in its quadrant. */
function circular(turn: u32): void {
  const q = quadrant + turn;
  if (q & 1) cosine(reducedHigh, reducedLow);
  else sine(reducedHigh, reducedLow);
  resultFromDD(q >> 1 & 1);
  soft.roundTo80(64);
}

const SINE: u32 = 0, COSINE: u32 = 1, SINE_COSINE: u32 = 2, TANGENT: u32 = 3;

/** FSIN, FCOS, FSINCOS, FPTAN. */
function trigonometric(operation: u32): void {
  const pushes = operation >= SINE_COSINE;
  setStatus(status() & ~C2);
  if (isEmpty(0) || (pushes && !isEmpty(7))) {
    if (isEmpty(0) ? !stackUnderflow() : !stackOverflow()) return;
    storeIndefinite(0);
    if (pushes) { moveTop(-1); storeIndefinite(0); }
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  const sign = soft.xSign, kind = soft.xKind, exp = soft.xExp, sig = soft.xSig;
  if (kind >= soft.KIND_INFINITE) {
    if (!soft.propagateX()) soft.resultInvalid();
    if (!settle()) return;
    storeResult(0);
    if (pushes) { moveTop(-1); storeResult(0); }
    return;
  }
  if (kind == soft.KIND_ZERO) {
    clearC1();
    if (operation == COSINE) setRaw(0, 0x3fff, soft.INTEGER_BIT);
    else if (pushes) { moveTop(-1); setRaw(0, 0x3fff, soft.INTEGER_BIT); }
    return;
  }
  if (exp >= 63) {
    setStatus(status() & ~C1 | C2);
    return;
  }
  soft.checkDenormalX();
  const tiny = exp < TINY;
  if (!tiny) reduceArgument();
  if (operation == COSINE) {
    if (tiny) { resultJustBelow(0, 0, soft.INTEGER_BIT); soft.roundTo80(64); }
    else circular(1);
    if (settle()) storeResult(0);
    return;
  }
  if (operation == TANGENT) {
    if (tiny) resultJustAbove(sign, exp, sig);
    else {
      sine(reducedHigh, reducedLow);
      const sh = high, sl = low;
      cosine(reducedHigh, reducedLow);
      if (quadrant & 1) divideDD(-high, -low, sh, sl);
      else divideDD(sh, sl, high, low);
      resultFromDD(0);
    }
  } else if (tiny) resultJustBelow(sign, exp, sig);
  else circular(0);
  if (tiny || operation == TANGENT) soft.roundTo80(64);
  if (!settle()) return;
  storeResult(0);
  if (!pushes) return;
  moveTop(-1);
  if (operation == TANGENT) { setRaw(0, 0x3fff, soft.INTEGER_BIT); return; }
  if (tiny) { resultJustBelow(0, 0, soft.INTEGER_BIT); soft.roundTo80(64); }
  else circular(1);
  settle();
  storeResult(0);
}

// ---- arctangent ----

/** R = pi x (quarters / 4) with the sign of Y. */
function resultQuarters(quarters: i32, sign: u32): void {
  multiplyDD(PI, PI_LOW, <f64>quarters * 0.25, 0);
  resultFromDD(sign);
  soft.roundTo80(64);
}

/** FPATAN: the angle of the point (X, Y), from -pi to pi. */
function angle(): void {
  if (soft.propagate()) return;
  const sign = soft.ySign, left = soft.xSign != 0;
  const xKind = soft.xKind, yKind = soft.yKind;
  soft.checkDenormals();
  if (yKind == soft.KIND_INFINITE) { resultQuarters(xKind == soft.KIND_INFINITE ? (left ? 3 : 1) : 2, sign); return; }
  if (xKind == soft.KIND_INFINITE || yKind == soft.KIND_ZERO) {
    if (left) resultQuarters(4, sign);
    else soft.setResult(soft.KIND_ZERO, sign, 0, 0, 0);
    return;
  }
  if (xKind == soft.KIND_ZERO) { resultQuarters(2, sign); return; }
  const x = soft.xSig, y = soft.ySig, e = soft.yExp - soft.xExp;
  if (e < TINY) {
    if (left) { // pi, less next to nothing
      multiplyDD(PI, PI_LOW, 1, 0);
      resultFromDD(sign);
    } else {
      divideSignificands(sign, e, y, x);
      if (soft.rTail == 0) resultJustBelow(sign, soft.rExp, soft.rSig);
    }
    soft.roundTo80(64);
    return;
  }
  if (e > -TINY) { resultQuarters(2, sign); return; }
  const xh = upper(x, 0), xl = lower(x, 0), yh = upper(y, e), yl = lower(y, e);
  if (yh < xh || (yh == xh && yl <= xl)) {
    divideDD(yh, yl, xh, xl);
    arctangent(high, low);
    if (left) addDD(PI, PI_LOW, -high, -low);
  } else {
    divideDD(xh, xl, yh, yl);
    arctangent(high, low);
    if (left) addDD(HALF_PI, HALF_PI_LOW, high, low);
    else addDD(HALF_PI, HALF_PI_LOW, -high, -low);
  }
  resultFromDD(sign);
  soft.roundTo80(64);
}

/** Instructions that replace ST(1) by a function of ST(0) = X and ST(1) = Y, and pop. */
function twoOperands(code: u32): void {
  if (isEmpty(0) || isEmpty(1)) {
    if (!stackUnderflow()) return;
    storeIndefinite(1);
    pop();
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  setYFromStack(1);
  if (code == 0x11) yTimesLogarithm();
  else if (code == 0x13) angle();
  else yTimesLogarithmPlusOne();
  if (!settle()) return;
  storeResult(1);
  pop();
}

/** Executes D9 E0 + `code`, one of the instructions named above. */
export function execute(code: u32): void {
  switch (code) {
    case 0x10: // F2XM1
      if (isEmpty(0)) {
        if (stackUnderflow()) storeIndefinite(0);
        return;
      }
      soft.beginX87(control());
      setXFromStack(0);
      exponential();
      if (settle()) storeResult(0);
      return;
    case 0x12: trigonometric(TANGENT); return;
    case 0x1b: trigonometric(SINE_COSINE); return;
    case 0x1e: trigonometric(SINE); return;
    case 0x1f: trigonometric(COSINE); return;
    default: twoOperands(code); return; // FYL2X, FPATAN, FYL2XP1
  }
}

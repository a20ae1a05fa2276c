import {
  C0, C1, C2, C3, clearC1, control, isEmpty, moveTop, precision, pushRaw, record, rememberInstruction, setConditions, setStatus,
  settle, setXFromStack, setYFromStack, stackOverflow, stackRegister, stackUnderflow, status, storeIndefinite, storeResult,
} from "./x87stack";
import * as soft from "./softfloat";
import { add, compare, divideWide, remainder, roundToIntegral, squareRoot } from "./softarithmetic";
import { relationConditions } from "./x87operations";
import * as transcendental from "./x87transcendental";

/*
 * D9 E0-FF: the x87 instructions on ST(0) and ST(1): signs, constants, examination, remainder, scaling and, through
 * x87transcendental.ts, the elementary functions.
 */

// ---- constants ----

/** FLDL2T and its kin round a longer constant by the rounding mode; `nearest` tells where nearest is. No PE. */
function pushConstant(exponent: u32, chopped: u64, nearestIsUp: bool): void {
  const rounding = control() >> 10 & 3;
  const up = rounding == soft.UP || (rounding == soft.NEAREST_EVEN && nearestIsUp);
  pushRaw(exponent, chopped + <u64>up);
}

// ---- examination ----

function examine(): void {
  const register = stackRegister(0);
  const signExponent = load<u16>(register, 8), sig = load<u64>(register);
  let codes: u16 = signExponent & 0x8000 ? C1 : 0;
  if (isEmpty(0)) codes |= C3 | C0;
  else {
    soft.setX80(signExponent, sig);
    switch (soft.xKind) {
      case soft.KIND_ZERO: codes |= C3; break;
      case soft.KIND_FINITE: codes |= soft.xDenormal ? C3 | C2 : C2; break;
      case soft.KIND_INFINITE: codes |= C2 | C0; break;
      case soft.KIND_UNSUPPORTED: break;
      default: codes |= C0; break;
    }
  }
  setConditions(codes);
}

/** FTST: compares ST(0) with 0. */
function test(): void {
  if (isEmpty(0)) {
    setConditions(C3 | C2 | C0);
    stackUnderflow();
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  soft.setY(soft.KIND_ZERO, 0, 0, 0);
  const relation = compare(true);
  record(soft.flags, 0);
  setConditions(relationConditions(relation));
}

// ---- remainder ----

/** R = significand r at exponent exp, exact; zero takes the sign given. */
function setRemainder(sign: u32, exp: i32, r: u64): void {
  if (r == 0) { soft.setResult(soft.KIND_ZERO, sign, 0, 0, 0); return; }
  const shift = <i32>clz(r);
  soft.setResult(soft.KIND_FINITE, sign, exp - shift, r << shift, 0);
}

/**
 * FPREM (`nearest` false) and FPREM1: ST(0) = ST(0) rem ST(1), at most 63 quotient bits at a time. C2 = 1: only partly
 * reduced; else C0, C3, C1 = quotient bits 2, 1, 0.
 */
function partialRemainder(nearest: bool): void {
  if (isEmpty(0) || isEmpty(1)) {
    if (stackUnderflow()) storeIndefinite(0);
    setStatus(status() & ~C2);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  setYFromStack(1);
  let quotient: u64 = 0, partial = false;
  if (!soft.propagate()) {
    if (soft.xKind == soft.KIND_INFINITE || soft.yKind == soft.KIND_ZERO) soft.resultInvalid();
    else {
      soft.checkDenormals();
      const sign = soft.xSign, difference = soft.xExp - soft.yExp, x = soft.xSig, y = soft.ySig;
      if (soft.xKind == soft.KIND_ZERO || soft.yKind == soft.KIND_INFINITE || difference < -1) soft.copyXToResult();
      else if (difference < 0) {
        soft.copyXToResult();
        if (nearest && x > y) { // more than half of Y: the nearest multiple is Y itself
          quotient = 1;
          add(soft.xSign == soft.ySign ? 1 : 0);
        }
      } else {
        // Reducing by a multiple of Y x 2^(difference - n) takes n quotient bits.
        partial = difference >= 64;
        const bits = partial ? 32 + (difference & 31) : difference;
        let r = x;
        if (r >= y) { r -= y; quotient = 1; }
        if (bits) {
          const q = divideWide(r >> (64 - bits), r << bits, y);
          quotient = (quotient << bits) + q;
          r = remainder;
        }
        const exp = soft.xExp - bits;
        if (nearest && !partial && (r > y - r || (r == y - r && (quotient & 1) != 0))) {
          quotient++;
          setRemainder(sign ^ 1, exp, y - r);
          if (y == r) soft.setResult(soft.KIND_ZERO, sign, 0, 0, 0);
        } else setRemainder(sign, exp, r);
      }
      soft.roundTo80(64);
    }
  }
  setStatus(status() & ~C2);
  if (!settle()) return;
  storeResult(0);
  if (partial) setConditions(C2);
  else if (soft.rKind <= soft.KIND_FINITE) setConditions((quotient & 1 ? C1 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 4 ? C0 : 0));
}

// ---- scaling ----

/** FSCALE: ST(0) x 2^trunc(ST(1)). */
function scale(): void {
  if (isEmpty(0) || isEmpty(1)) {
    if (stackUnderflow()) storeIndefinite(0);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  setYFromStack(1);
  if (!soft.propagate()) {
    if (soft.yKind == soft.KIND_INFINITE) {
      if (soft.ySign ? soft.xKind == soft.KIND_INFINITE : soft.xKind == soft.KIND_ZERO) soft.resultInvalid();
      else {
        soft.checkDenormals();
        soft.setResult(soft.ySign ? soft.KIND_ZERO : soft.KIND_INFINITE, soft.xSign, 0, 0, 0);
      }
    } else {
      soft.checkDenormals();
      soft.copyXToResult();
      if (soft.xKind == soft.KIND_FINITE && soft.yKind == soft.KIND_FINITE && soft.yExp >= 0) {
        const n = soft.yExp > 16 ? 0x20000 : <i32>(soft.ySig >> (63 - soft.yExp));
        soft.setResult(soft.KIND_FINITE, soft.xSign, soft.xExp + (soft.ySign ? -n : n), soft.xSig, 0);
      }
      soft.roundTo80(64);
    }
  }
  if (settle()) storeResult(0);
}

/** FXTRACT: ST(0) = exponent, then pushes the significand. */
function extract(): void {
  if (isEmpty(0) || !isEmpty(7)) {
    if (isEmpty(0) ? stackUnderflow() : stackOverflow()) {
      storeIndefinite(0);
      moveTop(-1);
      storeIndefinite(0);
    }
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  if (soft.propagateX()) {
    if (!settle()) return;
    storeResult(0);
    moveTop(-1);
    storeResult(0);
    return;
  }
  const kind = soft.xKind, sign = soft.xSign, exp = soft.xExp, sig = soft.xSig;
  if (kind == soft.KIND_ZERO) {
    soft.raiseFlags(soft.DIVIDE_BY_ZERO);
    soft.setResult(soft.KIND_INFINITE, 1, 0, 0, 0);
  } else {
    soft.checkDenormalX();
    if (kind == soft.KIND_INFINITE) soft.setResult(soft.KIND_INFINITE, 0, 0, 0, 0);
    else {
      soft.setX64Integer(exp);
      soft.copyXToResult();
    }
  }
  if (!settle()) return;
  storeResult(0);
  moveTop(-1);
  soft.setResult(kind, sign, 0, sig, 0);
  storeResult(0);
}

// ---- one operand, one result ----

function roundInteger(): void {
  if (isEmpty(0)) {
    if (stackUnderflow()) storeIndefinite(0);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  roundToIntegral();
  if (settle()) storeResult(0);
}
function root(): void {
  if (isEmpty(0)) {
    if (stackUnderflow()) storeIndefinite(0);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  squareRoot();
  soft.roundTo80(precision());
  if (settle()) storeResult(0);
}

/** Executes D9 E0 + `code`, which is not one of the holes there. */
export function execute(p: usize, code: u32): void {
  rememberInstruction(p);
  switch (code) {
    case 0x00: // FCHS
    case 0x01: // FABS
      if (isEmpty(0)) {
        if (stackUnderflow()) storeIndefinite(0);
      } else {
        clearC1();
        const register = stackRegister(0), signExponent = load<u16>(register, 8);
        store<u16>(register, code == 0 ? signExponent ^ 0x8000 : signExponent & 0x7fff, 8);
      }
      return;
    case 0x04: test(); return;
    case 0x05: examine(); return;
    case 0x08: pushRaw(0x3fff, 0x8000000000000000); return; // FLD1
    case 0x09: pushConstant(0x4000, 0xd49a784bcd1b8afe, false); return; // FLDL2T
    case 0x0a: pushConstant(0x3fff, 0xb8aa3b295c17f0bb, true); return; // FLDL2E
    case 0x0b: pushConstant(0x4000, 0xc90fdaa22168c234, true); return; // FLDPI
    case 0x0c: pushConstant(0x3ffd, 0x9a209a84fbcff798, true); return; // FLDLG2
    case 0x0d: pushConstant(0x3ffe, 0xb17217f7d1cf79ab, true); return; // FLDLN2
    case 0x0e: pushRaw(0, 0); return; // FLDZ
    case 0x14: extract(); return;
    case 0x15: partialRemainder(true); return;
    case 0x16: moveTop(-1); clearC1(); return; // FDECSTP
    case 0x17: moveTop(1); clearC1(); return; // FINCSTP
    case 0x18: partialRemainder(false); return;
    case 0x1a: root(); return;
    case 0x1c: roundInteger(); return;
    case 0x1d: scale(); return;
    default: transcendental.execute(code); return;
  }
}

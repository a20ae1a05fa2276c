import { CR4, GPR, MXCSR } from "./layout";
import { U_NUMBER, U_SIZE } from "./uop";
import { fault, invalidOpcode, UD, XM } from "./fault";
import { readOperand } from "./operand";
import { setArithmetic } from "./flags";
import { requireNoX87Exception } from "./availability";
import { read32, read64, readAligned128, rmIsRegister, xmmOfReg } from "./xmm";
import { enterMmx, mmxSource, setMmxOfReg } from "./mmx";
import * as soft from "./softfloat";
import { add, compare, divide, LESS, GREATER, EQUAL, UNORDERED, multiply, squareRoot, toSigned } from "./softarithmetic";

/*
 * SSE and SSE2 arithmetic, comparison and conversion under MXCSR.
 *
 * Each operation has a native path and a soft path. wasm arithmetic rounds to nearest and reports nothing, so the
 * native path is taken when nothing but PE could be reported and PE is either already recorded (it is sticky, and
 * masked in nearly all programs: after the first inexact result everything is native) or shown not to arise.
 * Everything else - other rounding modes, denormals, NaNs, infinities, overflow, underflow, unmasked
 * exceptions - is recomputed in integers.
 *
 * An unmasked exception raises #XM (#UD without CR4.OSXMMEXCPT) and leaves the destination as it was; the flags of
 * all elements are in MXCSR by then. SDM volume 1, 11.5; AMD64 volume 1, 4.10.
 */

const MX_PE: u32 = 0x20, MX_DAZ: u32 = 0x40, MX_PM: u32 = 0x1000, MX_RC: u32 = 0x6000;
const CR4_OSXMMEXCPT: u32 = 0x400;

const SQRT: u32 = 0x51, ADD: u32 = 0x58, MUL: u32 = 0x59, SUB: u32 = 0x5c, MIN: u32 = 0x5d, DIV: u32 = 0x5e, MAX: u32 = 0x5f;

// ---- exceptions ----

/** Ends a soft operation: records the flags, or faults. The caller stores its result afterwards. */
function commit(): void {
  const raised = soft.flags;
  const unmasked = raised & ~soft.masks;
  if (unmasked) {
    // IE, DE and ZE are found before computing: when one of them traps, nothing is computed, so OE, UE and PE are not seen.
    store<u32>(MXCSR, load<u32>(MXCSR) | (unmasked & 7 ? raised & 7 : raised));
    fault(load<u32>(CR4) & CR4_OSXMMEXCPT ? XM : UD, 0);
  }
  store<u32>(MXCSR, load<u32>(MXCSR) | raised);
}

@inline function begin(): void { soft.beginSse(load<u32>(MXCSR)); }

// ---- what needs no soft path ----

/**
 * A normal number, and not the smallest one: as a result that may have been rounded up from below, which is an underflow.
 * (Shifting the sign out leaves normal numbers at 2^53 and up, infinity at 0x7ff x 2^53.)
 */
@inline function isNormal64(bits: u64): bool { return (bits << 1) - 0x0020000000000001 < 0xffbfffffffffffff; }
@inline function isDenormal64(bits: u64): bool { return (bits << 1) - 1 < 0x001fffffffffffff; }
@inline function isPlain64(bits: u64): bool { return isNormal64(bits) || bits << 1 == 0; }
@inline function isNormal32(bits: u32): bool { return (bits << 1) - 0x01000001 < 0xfdffffff; }
@inline function isDenormal32(bits: u32): bool { return (bits << 1) - 1 < 0x00ffffff; }
@inline function isPlain32(bits: u32): bool { return isNormal32(bits) || bits << 1 == 0; }

@inline function inexactIsFree(mxcsr: u32): bool { return (mxcsr & (MX_PE | MX_PM)) == (MX_PE | MX_PM); }

/** Whether the product of two normal numbers certainly fits 53 bits: significant bits of factors add up. */
@inline function productFits64(a: u64, b: u64): bool {
  return ctz(a | 0x10000000000000) + ctz(b | 0x10000000000000) > 52;
}

/** Whether r = x + y was exact (Knuth's two-sum; TAOCP volume 2, 4.2.2 theorem B). */
@inline function sumIsExact64(x: f64, y: f64, r: f64): bool {
  const part = r - x;
  return (x - (r - part)) + (y - part) == 0;
}
@inline function sumIsExact32(x: f32, y: f32, r: f32): bool {
  const part = r - x;
  return (x - (r - part)) + (y - part) == 0;
}

export function arithmetic64(opcode: u32, a: u64, b: u64): u64 {
  const mxcsr = load<u32>(MXCSR);
  const x = reinterpret<f64>(a), y = reinterpret<f64>(b);
  if (opcode == MIN || opcode == MAX) {
    if (isPlain64(a) && isPlain64(b)) return (opcode == MIN ? x < y : x > y) ? a : b;
  } else if (!(mxcsr & MX_RC) && !isDenormal64(b)) {
    const free = inexactIsFree(mxcsr);
    let r: f64, bits: u64;
    switch (opcode - SQRT) {
      case ADD - SQRT:
        r = x + y;
        bits = reinterpret<u64>(r);
        if (isPlain64(bits) && !isDenormal64(a) && (free || sumIsExact64(x, y, r))) return bits;
        break;
      case SUB - SQRT:
        r = x - y;
        bits = reinterpret<u64>(r);
        if (isPlain64(bits) && !isDenormal64(a) && (free || sumIsExact64(x, -y, r))) return bits;
        break;
      case MUL - SQRT:
        r = x * y;
        bits = reinterpret<u64>(r);
        if (isDenormal64(a)) break;
        if (isNormal64(bits)) {
          if (free || productFits64(a, b)) return bits;
        } else if (bits << 1 == 0 && (a << 1 == 0 || b << 1 == 0)) return bits;
        break;
      case DIV - SQRT:
        r = x / y;
        bits = reinterpret<u64>(r);
        if (isNormal64(bits) && !isDenormal64(a) && (free || (productFits64(bits, b) && r * y == x))) return bits;
        break;
      default: // SQRT
        r = sqrt<f64>(y);
        bits = reinterpret<u64>(r);
        if (isNormal64(bits) && (free || (productFits64(bits, bits) && r * r == y))) return bits;
        break;
    }
  }
  begin();
  const bits = softArithmetic64(opcode, a, b);
  commit();
  return bits;
}

export function arithmetic32(opcode: u32, a: u32, b: u32): u32 {
  const mxcsr = load<u32>(MXCSR);
  const x = reinterpret<f32>(a), y = reinterpret<f32>(b);
  if (opcode == MIN || opcode == MAX) {
    if (isPlain32(a) && isPlain32(b)) return (opcode == MIN ? x < y : x > y) ? a : b;
  } else if (!(mxcsr & MX_RC) && !isDenormal32(b)) {
    const free = inexactIsFree(mxcsr);
    let r: f32, bits: u32;
    switch (opcode - SQRT) {
      case ADD - SQRT:
        r = x + y;
        bits = reinterpret<u32>(r);
        if (isPlain32(bits) && !isDenormal32(a) && (free || sumIsExact32(x, y, r))) return bits;
        break;
      case SUB - SQRT:
        r = x - y;
        bits = reinterpret<u32>(r);
        if (isPlain32(bits) && !isDenormal32(a) && (free || sumIsExact32(x, -y, r))) return bits;
        break;
      case MUL - SQRT: // two 24-bit significands: the f64 product is exact
        r = x * y;
        bits = reinterpret<u32>(r);
        if (isDenormal32(a)) break;
        if (isNormal32(bits)) {
          if (free || <f64>r == <f64>x * <f64>y) return bits;
        } else if (bits << 1 == 0 && (a << 1 == 0 || b << 1 == 0)) return bits;
        break;
      case DIV - SQRT:
        r = x / y;
        bits = reinterpret<u32>(r);
        if (isNormal32(bits) && !isDenormal32(a) && (free || <f64>r * <f64>y == <f64>x)) return bits;
        break;
      default: // SQRT
        r = sqrt<f32>(y);
        bits = reinterpret<u32>(r);
        if (isNormal32(bits) && (free || <f64>r * <f64>r == <f64>y)) return bits;
        break;
    }
  }
  begin();
  const bits = softArithmetic32(opcode, a, b);
  commit();
  return bits;
}

/** The same per lane, all ones for yes. The sign is cleared first, so signed compares do. */
@inline function normalLanes64(v: v128): v128 {
  const magnitude = i64x2.shr_u(i64x2.shl(v, 1), 1);
  return v128.and(i64x2.gt_s(magnitude, i64x2.splat(0x0010000000000000)), i64x2.lt_s(magnitude, i64x2.splat(0x7ff0000000000000)));
}
@inline function zeroLanes64(v: v128): v128 { return i64x2.eq(i64x2.shl(v, 1), i64x2.splat(0)); }
@inline function normalLanes32(v: v128): v128 {
  const magnitude = i32x4.shr_u(i32x4.shl(v, 1), 1);
  return v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x00800000)), i32x4.lt_s(magnitude, i32x4.splat(0x7f800000)));
}
@inline function zeroLanes32(v: v128): v128 { return i32x4.eq(i32x4.shl(v, 1), i32x4.splat(0)); }

export function arithmetic64x2(opcode: u32, a: v128, b: v128): v128 {
  const mxcsr = load<u32>(MXCSR);
  const plainB = v128.or(normalLanes64(b), zeroLanes64(b));
  if (opcode == MIN || opcode == MAX) {
    if (i64x2.all_true(v128.and(plainB, v128.or(normalLanes64(a), zeroLanes64(a))))) {
      return v128.bitselect(a, b, opcode == MIN ? f64x2.lt(a, b) : f64x2.gt(a, b));
    }
  } else if (!(mxcsr & MX_RC) && inexactIsFree(mxcsr) && i64x2.all_true(plainB)) {
    if (opcode == SQRT) {
      const r = f64x2.sqrt(b);
      if (i64x2.all_true(v128.or(normalLanes64(r), zeroLanes64(r)))) return r;
    } else if (i64x2.all_true(v128.or(normalLanes64(a), zeroLanes64(a)))) {
      let r: v128, exactZero: v128;
      if (opcode == ADD) { r = f64x2.add(a, b); exactZero = zeroLanes64(r); }
      else if (opcode == SUB) { r = f64x2.sub(a, b); exactZero = zeroLanes64(r); }
      else if (opcode == MUL) { r = f64x2.mul(a, b); exactZero = v128.and(zeroLanes64(r), v128.or(zeroLanes64(a), zeroLanes64(b))); }
      else { r = f64x2.div(a, b); exactZero = v128.and(zeroLanes64(r), zeroLanes64(a)); }
      if (i64x2.all_true(v128.or(normalLanes64(r), exactZero))) return r;
    }
  }
  begin();
  const low = softArithmetic64(opcode, i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0));
  const high = softArithmetic64(opcode, i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1));
  commit();
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

export function arithmetic32x4(opcode: u32, a: v128, b: v128): v128 {
  const mxcsr = load<u32>(MXCSR);
  const plainB = v128.or(normalLanes32(b), zeroLanes32(b));
  if (opcode == MIN || opcode == MAX) {
    if (i32x4.all_true(v128.and(plainB, v128.or(normalLanes32(a), zeroLanes32(a))))) {
      return v128.bitselect(a, b, opcode == MIN ? f32x4.lt(a, b) : f32x4.gt(a, b));
    }
  } else if (!(mxcsr & MX_RC) && inexactIsFree(mxcsr) && i32x4.all_true(plainB)) {
    if (opcode == SQRT) {
      const r = f32x4.sqrt(b);
      if (i32x4.all_true(v128.or(normalLanes32(r), zeroLanes32(r)))) return r;
    } else if (i32x4.all_true(v128.or(normalLanes32(a), zeroLanes32(a)))) {
      let r: v128, exactZero: v128;
      if (opcode == ADD) { r = f32x4.add(a, b); exactZero = zeroLanes32(r); }
      else if (opcode == SUB) { r = f32x4.sub(a, b); exactZero = zeroLanes32(r); }
      else if (opcode == MUL) { r = f32x4.mul(a, b); exactZero = v128.and(zeroLanes32(r), v128.or(zeroLanes32(a), zeroLanes32(b))); }
      else { r = f32x4.div(a, b); exactZero = v128.and(zeroLanes32(r), zeroLanes32(a)); }
      if (i32x4.all_true(v128.or(normalLanes32(r), exactZero))) return r;
    }
  }
  begin();
  let r = b;
  r = i32x4.replace_lane(r, 0, softArithmetic32(opcode, i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0)));
  r = i32x4.replace_lane(r, 1, softArithmetic32(opcode, i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1)));
  r = i32x4.replace_lane(r, 2, softArithmetic32(opcode, i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2)));
  r = i32x4.replace_lane(r, 3, softArithmetic32(opcode, i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3)));
  commit();
  return r;
}

// ---- soft path, one element ----

/** The operation of `opcode` on X and Y, unrounded. Square root takes its operand from the source, Y. */
function softOperate(opcode: u32): void {
  switch (opcode) {
    case ADD: add(0); break;
    case SUB: add(1); break;
    case MUL: multiply(); break;
    case DIV: divide(); break;
    default:
      soft.swapOperands();
      squareRoot();
  }
}

function softArithmetic64(opcode: u32, a: u64, b: u64): u64 {
  soft.setX64(a);
  soft.setY64(b);
  if (opcode == MIN || opcode == MAX) return compare(true) == (opcode == MIN ? LESS : GREATER) ? flushed64(a) : flushed64(b);
  softOperate(opcode);
  soft.roundTo64();
  return soft.pack64();
}

function softArithmetic32(opcode: u32, a: u32, b: u32): u32 {
  soft.setX32(a);
  soft.setY32(b);
  if (opcode == MIN || opcode == MAX) return compare(true) == (opcode == MIN ? LESS : GREATER) ? flushed32(a) : flushed32(b);
  softOperate(opcode);
  soft.roundTo32();
  return soft.pack32();
}

/** What MIN and MAX see of an operand: with DAZ a denormal is a zero of its sign. */
@inline function flushed64(bits: u64): u64 { return soft.denormalsAreZero && isDenormal64(bits) ? bits & 0x8000000000000000 : bits; }
@inline function flushed32(bits: u32): u32 { return soft.denormalsAreZero && isDenormal32(bits) ? bits & 0x80000000 : bits; }

// ---- comparison ----

/** Predicates 1, 2, 5 and 6 (LT, LE, NLT, NLE) signal for quiet NaNs. */
@inline function predicateSignals(predicate: u32): bool { return ((predicate + 1) & 2) != 0; }
/** Per predicate one bit for each relation: GREATER 0, LESS 1, EQUAL 2, UNORDERED 3. */
@inline function predicateHolds(predicate: u32, relation: u32): bool {
  // EQ 4, LT 2, LE 6, UNORD 8, then the negations of these
  const table = 0x79db8624;
  return (table >> (predicate << 2) >> relation & 1) != 0;
}

export function compare64(predicate: u32, a: u64, b: u64): u64 {
  if (isPlain64(a) && isPlain64(b)) {
    const x = reinterpret<f64>(a), y = reinterpret<f64>(b);
    return predicateHolds(predicate, x > y ? GREATER : x < y ? LESS : EQUAL) ? ~(<u64>0) : 0;
  }
  begin();
  const r = softCompare64(predicate, a, b);
  commit();
  return r;
}
export function compare32(predicate: u32, a: u32, b: u32): u32 {
  if (isPlain32(a) && isPlain32(b)) {
    const x = reinterpret<f32>(a), y = reinterpret<f32>(b);
    return predicateHolds(predicate, x > y ? GREATER : x < y ? LESS : EQUAL) ? ~(<u32>0) : 0;
  }
  begin();
  const r = softCompare32(predicate, a, b);
  commit();
  return r;
}
function softCompare64(predicate: u32, a: u64, b: u64): u64 {
  soft.setX64(a);
  soft.setY64(b);
  return predicateHolds(predicate, compare(predicateSignals(predicate))) ? ~(<u64>0) : 0;
}
function softCompare32(predicate: u32, a: u32, b: u32): u32 {
  soft.setX32(a);
  soft.setY32(b);
  return predicateHolds(predicate, compare(predicateSignals(predicate))) ? ~(<u32>0) : 0;
}

export function compare64x2(predicate: u32, a: v128, b: v128): v128 {
  if (i64x2.all_true(v128.and(v128.or(normalLanes64(a), zeroLanes64(a)), v128.or(normalLanes64(b), zeroLanes64(b))))) {
    switch (predicate) {
      case 0: return f64x2.eq(a, b);
      case 1: return f64x2.lt(a, b);
      case 2: return f64x2.le(a, b);
      case 3: return i64x2.splat(0);
      case 4: return f64x2.ne(a, b);
      case 5: return f64x2.ge(a, b);
      case 6: return f64x2.gt(a, b);
      default: return i64x2.splat(-1);
    }
  }
  begin();
  const low = softCompare64(predicate, i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0));
  const high = softCompare64(predicate, i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1));
  commit();
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}
export function compare32x4(predicate: u32, a: v128, b: v128): v128 {
  if (i32x4.all_true(v128.and(v128.or(normalLanes32(a), zeroLanes32(a)), v128.or(normalLanes32(b), zeroLanes32(b))))) {
    switch (predicate) {
      case 0: return f32x4.eq(a, b);
      case 1: return f32x4.lt(a, b);
      case 2: return f32x4.le(a, b);
      case 3: return i64x2.splat(0);
      case 4: return f32x4.ne(a, b);
      case 5: return f32x4.ge(a, b);
      case 6: return f32x4.gt(a, b);
      default: return i64x2.splat(-1);
    }
  }
  begin();
  let r = b;
  r = i32x4.replace_lane(r, 0, softCompare32(predicate, i32x4.extract_lane(a, 0), i32x4.extract_lane(b, 0)));
  r = i32x4.replace_lane(r, 1, softCompare32(predicate, i32x4.extract_lane(a, 1), i32x4.extract_lane(b, 1)));
  r = i32x4.replace_lane(r, 2, softCompare32(predicate, i32x4.extract_lane(a, 2), i32x4.extract_lane(b, 2)));
  r = i32x4.replace_lane(r, 3, softCompare32(predicate, i32x4.extract_lane(a, 3), i32x4.extract_lane(b, 3)));
  commit();
  return r;
}

/** ZF PF CF of COMISx, UCOMISx and the x87's FCOMI; OF, SF and AF become 0. */
@inline export function relationFlags(relation: u32): u64 {
  return relation == UNORDERED ? 0x45 : relation == EQUAL ? 0x40 : relation == LESS ? 1 : 0;
}

export function compareFlags64(a: u64, b: u64, signaling: bool): void {
  if (isPlain64(a) && isPlain64(b)) {
    const x = reinterpret<f64>(a), y = reinterpret<f64>(b);
    setArithmetic(x > y ? 0 : x < y ? 1 : 0x40);
    return;
  }
  begin();
  soft.setX64(a);
  soft.setY64(b);
  const relation = compare(signaling);
  commit();
  setArithmetic(relationFlags(relation));
}
export function compareFlags32(a: u32, b: u32, signaling: bool): void {
  if (isPlain32(a) && isPlain32(b)) {
    const x = reinterpret<f32>(a), y = reinterpret<f32>(b);
    setArithmetic(x > y ? 0 : x < y ? 1 : 0x40);
    return;
  }
  begin();
  soft.setX32(a);
  soft.setY32(b);
  const relation = compare(signaling);
  commit();
  setArithmetic(relationFlags(relation));
}

// ---- integer to floating point ----

function integerTo64(value: i64): u64 {
  // 2^53 and below are exact; otherwise nearest rounding is what wasm does.
  const mxcsr = load<u32>(MXCSR);
  if (<u64>(value + 0x20000000000000) <= 0x40000000000000 || (!(mxcsr & MX_RC) && inexactIsFree(mxcsr))) return reinterpret<u64>(<f64>value);
  soft.setX64Integer(value);
  soft.copyXToResult();
  soft.roundTo64();
  return soft.pack64();
}
function integerTo32(value: i64): u32 {
  const mxcsr = load<u32>(MXCSR);
  if (<u64>(value + 0x1000000) <= 0x2000000 || (!(mxcsr & MX_RC) && inexactIsFree(mxcsr))) return reinterpret<u32>(<f32>value);
  soft.setX64Integer(value);
  soft.copyXToResult();
  soft.roundTo32();
  return soft.pack32();
}

/** 0F 2A: CVTPI2PS, CVTPI2PD, CVTSI2SS, CVTSI2SD. */
export function fromInteger(p: usize, prefix: u32): void {
  const d = xmmOfReg(p);
  if (prefix >= 2) {
    const size = load<u8>(p, U_SIZE);
    const raw = readOperand(p, size), value = size == 3 ? <i64>raw : <i64><i32>raw;
    begin();
    if (prefix == 3) { const bits = integerTo64(value); commit(); store<u64>(d, bits); }
    else { const bits = integerTo32(value); commit(); store<u32>(d, bits); }
    return;
  }
  // CVTPI2PD with a memory operand is the one form that leaves the x87 state alone.
  const usesMmx = rmIsRegister(p) || prefix == 0;
  if (usesMmx) requireNoX87Exception();
  const pair = mmxSource(p);
  begin();
  if (prefix == 0) {
    const low = integerTo32(<i32>pair), high = integerTo32(<i32>(pair >> 32));
    commit();
    store<u64>(d, <u64>low | <u64>high << 32);
  } else {
    store<f64>(d, <f64><i32>pair);
    store<f64>(d, <f64><i32>(pair >> 32), 8);
  }
  if (usesMmx) enterMmx();
}

// ---- floating point to integer ----

/** Whether `rounded`, an integral f64, is exactly `value`, or the difference may be recorded by setting PE without further ado. */
@inline function mayRound(mxcsr: u32, exact: bool): bool {
  if (exact) return true;
  if ((mxcsr & (MX_PM | MX_DAZ)) != MX_PM) return false;
  if (!(mxcsr & MX_PE)) store<u32>(MXCSR, mxcsr | MX_PE);
  return true;
}

/** f64 to a signed integer of 32 or 64 bits by MXCSR or by truncation. Faults or records flags itself. */
function doubleToSigned(bits: u64, truncate: bool, width: u32): i64 {
  const mxcsr = load<u32>(MXCSR), value = reinterpret<f64>(bits);
  if (truncate || !(mxcsr & MX_RC)) {
    const rounded = truncate ? trunc(value) : nearest(value);
    if (abs(rounded) < (width == 32 ? 2147483648.0 : 9223372036854775808.0) && mayRound(mxcsr, rounded == value)) {
      return <i64>rounded;
    }
  }
  begin();
  const r = softDoubleToSigned(bits, truncate, width);
  commit();
  return r;
}
function singleToSigned(bits: u32, truncate: bool, width: u32): i64 {
  const mxcsr = load<u32>(MXCSR), value = reinterpret<f32>(bits);
  if (truncate || !(mxcsr & MX_RC)) {
    const rounded = truncate ? trunc(value) : nearest(value);
    if (abs(rounded) < <f32>(width == 32 ? 2147483648.0 : 9223372036854775808.0) && mayRound(mxcsr, rounded == value)) {
      return <i64>rounded;
    }
  }
  begin();
  const r = softSingleToSigned(bits, truncate, width);
  commit();
  return r;
}
function softDoubleToSigned(bits: u64, truncate: bool, width: u32): i64 {
  if (truncate) soft.setRounding(soft.TOWARD_ZERO);
  soft.setX64(bits);
  return toSigned(width);
}
function softSingleToSigned(bits: u32, truncate: bool, width: u32): i64 {
  if (truncate) soft.setRounding(soft.TOWARD_ZERO);
  soft.setX32(bits);
  return toSigned(width);
}

/** 0F 2C and 0F 2D: CVT(T)PS2PI, CVT(T)PD2PI, CVT(T)SS2SI, CVT(T)SD2SI. */
export function toInteger(p: usize, prefix: u32, truncate: bool): void {
  if (prefix >= 2) {
    const wide = load<u8>(p, U_SIZE) == 3;
    const value = prefix == 3 ? doubleToSigned(read64(p), truncate, wide ? 64 : 32) : singleToSigned(read32(p), truncate, wide ? 64 : 32);
    store<u64>(GPR + (<usize>load<u8>(p, U_NUMBER) << 3), wide ? <u64>value : <u64><u32>value);
    return;
  }
  requireNoX87Exception();
  let low: u32, high: u32;
  if (prefix == 0) {
    const pair = read64(p);
    begin();
    low = <u32>softSingleToSigned(<u32>pair, truncate, 32);
    high = <u32>softSingleToSigned(<u32>(pair >> 32), truncate, 32);
  } else {
    const pair = readAligned128(p);
    begin();
    low = <u32>softDoubleToSigned(i64x2.extract_lane(pair, 0), truncate, 32);
    high = <u32>softDoubleToSigned(i64x2.extract_lane(pair, 1), truncate, 32);
  }
  commit();
  setMmxOfReg(p, <u64>low | <u64>high << 32);
}

/** CVTPS2DQ, CVTTPS2DQ. */
export function singleToInt32x4(v: v128, truncate: bool): v128 {
  const mxcsr = load<u32>(MXCSR);
  if (truncate || !(mxcsr & MX_RC)) {
    const rounded = truncate ? f32x4.trunc(v) : f32x4.nearest(v);
    if (i32x4.all_true(f32x4.lt(f32x4.abs(rounded), f32x4.splat(2147483648.0))) && mayRound(mxcsr, i32x4.all_true(f32x4.eq(rounded, v)))) {
      return i32x4.trunc_sat_f32x4_s(rounded);
    }
  }
  begin();
  let r = v;
  r = i32x4.replace_lane(r, 0, <i32>softSingleToSigned(i32x4.extract_lane(v, 0), truncate, 32));
  r = i32x4.replace_lane(r, 1, <i32>softSingleToSigned(i32x4.extract_lane(v, 1), truncate, 32));
  r = i32x4.replace_lane(r, 2, <i32>softSingleToSigned(i32x4.extract_lane(v, 2), truncate, 32));
  r = i32x4.replace_lane(r, 3, <i32>softSingleToSigned(i32x4.extract_lane(v, 3), truncate, 32));
  commit();
  return r;
}
/** CVTPD2DQ, CVTTPD2DQ: the upper half of the result is 0. */
export function doubleToInt32x2(v: v128, truncate: bool): v128 {
  const mxcsr = load<u32>(MXCSR);
  if (truncate || !(mxcsr & MX_RC)) {
    const rounded = truncate ? f64x2.trunc(v) : f64x2.nearest(v);
    if (i64x2.all_true(f64x2.lt(f64x2.abs(rounded), f64x2.splat(2147483648.0))) && mayRound(mxcsr, i64x2.all_true(f64x2.eq(rounded, v)))) {
      return i32x4.trunc_sat_f64x2_s_zero(rounded);
    }
  }
  begin();
  const low = <u32>softDoubleToSigned(i64x2.extract_lane(v, 0), truncate, 32);
  const high = <u32>softDoubleToSigned(i64x2.extract_lane(v, 1), truncate, 32);
  commit();
  return i64x2.replace_lane(i64x2.splat(0), 0, <u64>low | <u64>high << 32);
}
/** CVTDQ2PS. */
export function int32x4ToSingle(v: v128): v128 {
  const mxcsr = load<u32>(MXCSR);
  if (!(mxcsr & MX_RC) && inexactIsFree(mxcsr)) return f32x4.convert_i32x4_s(v);
  begin();
  let r = v;
  r = i32x4.replace_lane(r, 0, integerTo32(i32x4.extract_lane(v, 0)));
  r = i32x4.replace_lane(r, 1, integerTo32(i32x4.extract_lane(v, 1)));
  r = i32x4.replace_lane(r, 2, integerTo32(i32x4.extract_lane(v, 2)));
  r = i32x4.replace_lane(r, 3, integerTo32(i32x4.extract_lane(v, 3)));
  commit();
  return r;
}

// ---- between single and double ----

function softWiden(bits: u32): u64 {
  soft.setX32(bits);
  if (!soft.propagateX()) {
    soft.checkDenormalX();
    soft.copyXToResult();
  }
  return soft.pack64();
}
function softNarrow(bits: u64): u32 {
  soft.setX64(bits);
  if (!soft.propagateX()) {
    soft.checkDenormalX();
    soft.copyXToResult();
  }
  soft.roundTo32();
  return soft.pack32();
}

/** 0F 5A: CVTPS2PD, CVTPD2PS, CVTSS2SD, CVTSD2SS. */
export function changePrecision(p: usize, prefix: u32): void {
  const d = xmmOfReg(p);
  const mxcsr = load<u32>(MXCSR);
  if (prefix == 2) {
    const bits = read32(p);
    if (isPlain32(bits)) { store<f64>(d, <f64>reinterpret<f32>(bits)); return; }
    begin();
    const r = softWiden(bits);
    commit();
    store<u64>(d, r);
  } else if (prefix == 3) {
    const bits = read64(p), value = reinterpret<f64>(bits), narrow = <f32>value;
    if (!(mxcsr & MX_RC) && (isNormal32(reinterpret<u32>(narrow)) || bits << 1 == 0) && (inexactIsFree(mxcsr) || <f64>narrow == value)) {
      store<f32>(d, narrow);
      return;
    }
    begin();
    const r = softNarrow(bits);
    commit();
    store<u32>(d, r);
  } else if (prefix == 0) {
    const pair = read64(p);
    begin();
    const low = softWiden(<u32>pair), high = softWiden(<u32>(pair >> 32));
    commit();
    store<u64>(d, low);
    store<u64>(d, high, 8);
  } else {
    const pair = readAligned128(p);
    begin();
    const low = softNarrow(i64x2.extract_lane(pair, 0)), high = softNarrow(i64x2.extract_lane(pair, 1));
    commit();
    store<u64>(d, <u64>low | <u64>high << 32);
    store<u64>(d, 0, 8);
  }
}

// ---- reciprocal estimates ----

/**
 * RCP and RSQRT of one element. They promise a relative error of at most 1.5 x 2^-12 and raise nothing; denormal
 * sources count as zeros and denormal results become zeros. The bits below differ between processors.
 */
export function approximate32(bits: u32, root: bool): u32 {
  const sign = bits & 0x80000000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return bits | 0x00400000;
  if (magnitude < 0x00800000) return sign | 0x7f800000;
  if (root && sign) return 0xffc00000;
  if (magnitude == 0x7f800000) return sign;
  const value = <f64>reinterpret<f32>(bits);
  const estimate = reinterpret<u32>(<f32>(root ? 1.0 / sqrt<f64>(value) : 1.0 / value));
  if ((estimate & 0x7fffffff) < 0x00800000) return sign;
  return (estimate + 0x400) & 0xfffff800; // to 12 fraction bits
}
export function approximate128(v: v128, root: bool): v128 {
  let r = v;
  r = i32x4.replace_lane(r, 0, approximate32(i32x4.extract_lane(v, 0), root));
  r = i32x4.replace_lane(r, 1, approximate32(i32x4.extract_lane(v, 1), root));
  r = i32x4.replace_lane(r, 2, approximate32(i32x4.extract_lane(v, 2), root));
  r = i32x4.replace_lane(r, 3, approximate32(i32x4.extract_lane(v, 3), root));
  return r;
}

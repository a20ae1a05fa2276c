import { CR4, MXCSR } from "./layout";
import { fault, UD, XM } from "./fault";
import { setArithmetic } from "./flags";
import * as soft from "./softfloat";
import { add, compare, divide, EQUAL, GREATER, LESS, multiply, squareRoot, UNORDERED } from "./softarithmetic";

/*
 * SSE and SSE2 arithmetic and comparison under MXCSR.
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

export const MX_PE: u32 = 0x20, MX_DAZ: u32 = 0x40, MX_PM: u32 = 0x1000, MX_RC: u32 = 0x6000;
const CR4_OSXMMEXCPT: u32 = 0x400;

const SQRT: u32 = 0x51, ADD: u32 = 0x58, MUL: u32 = 0x59, SUB: u32 = 0x5c, MIN: u32 = 0x5d, DIV: u32 = 0x5e, MAX: u32 = 0x5f;

// ---- exceptions ----

/** Ends a soft operation: records the flags, or faults. The caller stores its result afterwards. */
export function commit(): void {
  const raised = soft.flags;
  const unmasked = raised & ~soft.masks;
  if (unmasked) {
    // IE, DE and ZE are found before computing: when one of them traps, nothing is computed, so OE, UE and PE are not seen.
    store<u32>(MXCSR, load<u32>(MXCSR) | (unmasked & 7 ? raised & 7 : raised));
    fault(load<u32>(CR4) & CR4_OSXMMEXCPT ? XM : UD, 0);
  }
  store<u32>(MXCSR, load<u32>(MXCSR) | raised);
}

@inline export function begin(): void { soft.beginSse(load<u32>(MXCSR)); }

// ---- what needs no soft path ----

/**
 * A normal number, and not the smallest one: as a result that may have been rounded up from below, which is an underflow.
 * (Shifting the sign out leaves normal numbers at 2^53 and up, infinity at 0x7ff x 2^53.)
 */
@inline function isNormal64(bits: u64): bool { return (bits << 1) - 0x0020000000000001 < 0xffbfffffffffffff; }
@inline function isDenormal64(bits: u64): bool { return (bits << 1) - 1 < 0x001fffffffffffff; }
@inline export function isPlain64(bits: u64): bool { return isNormal64(bits) || bits << 1 == 0; }
@inline export function isNormal32(bits: u32): bool { return (bits << 1) - 0x01000001 < 0xfdffffff; }
@inline function isDenormal32(bits: u32): bool { return (bits << 1) - 1 < 0x00ffffff; }
@inline export function isPlain32(bits: u32): bool { return isNormal32(bits) || bits << 1 == 0; }

@inline export function inexactIsFree(mxcsr: u32): bool { return (mxcsr & (MX_PE | MX_PM)) == (MX_PE | MX_PM); }

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

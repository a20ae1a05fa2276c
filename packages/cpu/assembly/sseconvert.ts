import { GPR, MXCSR } from "./layout";
import { U_NUMBER, U_SIZE } from "./uop";
import { requireNoX87Exception } from "./availability";
import { read32, read64, readAligned128, readGeneral, rmIsRegister, xmmOfReg } from "./xmm";
import { enterMmx, mmxSource, setMmxOfReg } from "./mmx";
import * as soft from "./softfloat";
import { toSigned } from "./softarithmetic";
import { begin, commit, inexactIsFree, isNormal32, isPlain32, MX_DAZ, MX_PE, MX_PM, MX_RC } from "./ssefloat";

/*
 * SSE and SSE2 conversions between integers, singles and doubles, and the reciprocal estimates. Native and soft paths
 * as in ssefloat.ts.
 */

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
    const raw = readGeneral(p, size), value = size == 3 ? <i64>raw : <i64><i32>raw;
    begin();
    if (prefix == 3) { const bits = integerTo64(value); commit(); store<u64>(d, bits); }
    else { const bits = integerTo32(value); commit(); store<u32>(d, bits); }
    return;
  }
  // With a memory operand there is no MMX register and the x87 state stays as it is (AMD; Intel differs for CVTPI2PS).
  const usesMmx = rmIsRegister(p);
  if (usesMmx) requireNoX87Exception();
  const pair = mmxSource(p);
  if (usesMmx) enterMmx(); // even if #XM follows
  begin();
  if (prefix == 0) {
    const low = integerTo32(<i32>pair), high = integerTo32(<i32>(pair >> 32));
    commit();
    store<u64>(d, <u64>low | <u64>high << 32);
  } else {
    store<f64>(d, <f64><i32>pair);
    store<f64>(d, <f64><i32>(pair >> 32), 8);
  }
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
    enterMmx();
    begin();
    low = <u32>softSingleToSigned(<u32>pair, truncate, 32);
    high = <u32>softSingleToSigned(<u32>(pair >> 32), truncate, 32);
  } else {
    const pair = readAligned128(p);
    enterMmx();
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
  if ((estimate & 0x7fffffff) <= 0x00800000) return sign; // a power of two is estimated from below
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

/*
 * Binary floating point in integers: the reference behind every x87 instruction and behind SSE when the native
 * arithmetic of wasm cannot give the answer (other rounding modes, denormals, NaNs, exact exception flags).
 *
 * One unpacked format serves all widths: a kind, a sign, an exponent and a 64-bit significand whose bit 63 is the
 * integer bit, so a finite value is sig x 2^(exp - 63). Results carry 64 more bits below (`rTail`, its last bit
 * sticky), enough to round once and correctly to 24, 53 or 64 bits.
 *
 * The two operands X and Y and the result R live in globals: wasm functions in AssemblyScript return one value.
 * Usage: reset(...), setX..., setY..., an operation of softarithmetic.ts, then roundTo..., then pack....
 *
 * References: IEEE 754-2019 clauses 4, 6 and 7; SDM volume 1, 4.8 and 11.5.2; AMD64 volume 1, 4.7.
 */

export const KIND_ZERO: u32 = 0;
export const KIND_FINITE: u32 = 1;
export const KIND_INFINITE: u32 = 2;
export const KIND_QUIET: u32 = 3;
export const KIND_SIGNALING: u32 = 4;
/** An 80-bit encoding that no 387 and later produces: unnormal, pseudo-infinity, pseudo-NaN. */
export const KIND_UNSUPPORTED: u32 = 5;

/** Exception flags, in the bit order of both MXCSR and the x87 status word. */
export const INVALID: u32 = 1;
export const DENORMAL: u32 = 2;
export const DIVIDE_BY_ZERO: u32 = 4;
export const OVERFLOW: u32 = 8;
export const UNDERFLOW: u32 = 16;
export const INEXACT: u32 = 32;

/** Rounding modes as RC of MXCSR and of the x87 control word. */
export const NEAREST_EVEN: u32 = 0;
export const DOWN: u32 = 1;
export const UP: u32 = 2;
export const TOWARD_ZERO: u32 = 3;

export const INTEGER_BIT: u64 = 0x8000000000000000;
const QUIET_BIT: u64 = 0x4000000000000000;
/** The default NaN of x86 ("real indefinite"): negative, quiet, no payload. */
export const INDEFINITE_SIG: u64 = 0xc000000000000000;

// ---- the environment of one operation ----
export let flags: u32 = 0;
export let rounding: u32 = 0;
/** Exceptions that are masked, in the order of the flags. */
export let masks: u32 = 0x3f;
export let denormalsAreZero: bool = false;
export let flushToZero: bool = false;
/** x87 chooses between two NaNs by significand; SSE takes the first operand. */
export let x87Rules: bool = false;
/** The last rounding went away from zero: condition code C1 of the x87. */
export let roundedUp: bool = false;

export let xKind: u32 = 0, xSign: u32 = 0, xExp: i32 = 0, xSig: u64 = 0, xDenormal: bool = false;
export let yKind: u32 = 0, ySign: u32 = 0, yExp: i32 = 0, ySig: u64 = 0, yDenormal: bool = false;
export let rKind: u32 = 0, rSign: u32 = 0, rExp: i32 = 0, rSig: u64 = 0, rTail: u64 = 0;

/** Begins an operation under an MXCSR value. */
export function beginSse(mxcsr: u32): void {
  flags = 0;
  rounding = mxcsr >> 13 & 3;
  masks = mxcsr >> 7 & 0x3f;
  denormalsAreZero = (mxcsr & 0x40) != 0;
  // SDM volume 1, 10.2.3.3: FTZ works only while underflow is masked.
  flushToZero = (mxcsr & 0x8800) == 0x8800;
  x87Rules = false;
  roundedUp = false;
}

/** Begins an operation under an x87 control word. */
export function beginX87(control: u32): void {
  flags = 0;
  rounding = control >> 10 & 3;
  masks = control & 0x3f;
  denormalsAreZero = false;
  flushToZero = false;
  x87Rules = true;
  roundedUp = false;
}

export function raiseFlags(value: u32): void { flags |= value; }
export function setRounding(value: u32): void { rounding = value; }
export function setRoundedUp(value: bool): void { roundedUp = value; }

// ---- unpacking ----

export function setX(kind: u32, sign: u32, exp: i32, sig: u64): void {
  xKind = kind; xSign = sign; xExp = exp; xSig = sig; xDenormal = false;
}
export function setY(kind: u32, sign: u32, exp: i32, sig: u64): void {
  yKind = kind; ySign = sign; yExp = exp; ySig = sig; yDenormal = false;
}
export function setResult(kind: u32, sign: u32, exp: i32, sig: u64, tail: u64): void {
  rKind = kind; rSign = sign; rExp = exp; rSig = sig; rTail = tail;
}
export function copyXToY(): void { yKind = xKind; ySign = xSign; yExp = xExp; ySig = xSig; yDenormal = xDenormal; }
export function copyXToResult(): void { rKind = xKind; rSign = xSign; rExp = xExp; rSig = xSig; rTail = 0; }
export function swapOperands(): void {
  const kind = xKind, sign = xSign, exp = xExp, sig = xSig, denormal = xDenormal;
  xKind = yKind; xSign = ySign; xExp = yExp; xSig = ySig; xDenormal = yDenormal;
  yKind = kind; ySign = sign; yExp = exp; ySig = sig; yDenormal = denormal;
}

/** Unpacks an encoding with `fractionBits` stored fraction bits whose fields are given, into X. */
function unpackX(sign: u32, biased: i32, fraction: u64, fractionBits: i32, maxBiased: i32): void {
  const bias = maxBiased >> 1;
  xSign = sign;
  xDenormal = false;
  if (biased == maxBiased) {
    xSig = INTEGER_BIT | fraction << (63 - fractionBits);
    xKind = fraction == 0 ? KIND_INFINITE : xSig & QUIET_BIT ? KIND_QUIET : KIND_SIGNALING;
    xExp = maxBiased - bias;
    return;
  }
  if (biased != 0) {
    xKind = KIND_FINITE;
    xExp = biased - bias;
    xSig = INTEGER_BIT | fraction << (63 - fractionBits);
    return;
  }
  if (fraction == 0 || denormalsAreZero) {
    xKind = KIND_ZERO;
    xExp = 0;
    xSig = 0;
    return;
  }
  const shift = <i32>clz(fraction);
  xKind = KIND_FINITE;
  xDenormal = true;
  xSig = fraction << shift;
  xExp = 1 - bias - (shift - (63 - fractionBits));
}

export function setX32(bits: u32): void {
  unpackX(bits >> 31, bits >> 23 & 0xff, <u64>(bits & 0x7fffff), 23, 0xff);
}
export function setX64(bits: u64): void {
  unpackX(<u32>(bits >> 63), <i32>(bits >> 52) & 0x7ff, bits & 0xfffffffffffff, 52, 0x7ff);
}
/** `signExponent`: the upper 16 bits of the 80-bit format; `sig`: the lower 64. */
export function setX80(signExponent: u32, sig: u64): void {
  const biased = <i32>(signExponent & 0x7fff);
  xSign = signExponent >> 15 & 1;
  xSig = sig;
  xDenormal = false;
  if (biased == 0x7fff) {
    xExp = 16384;
    if (!(sig & INTEGER_BIT)) xKind = KIND_UNSUPPORTED;
    else xKind = sig << 1 == 0 ? KIND_INFINITE : sig & QUIET_BIT ? KIND_QUIET : KIND_SIGNALING;
    return;
  }
  if (biased != 0) {
    xExp = biased - 16383;
    xKind = sig & INTEGER_BIT ? KIND_FINITE : KIND_UNSUPPORTED;
    return;
  }
  if (sig == 0) {
    xKind = KIND_ZERO;
    xExp = 0;
    return;
  }
  // Exponent field 0 counts as 1; with the integer bit set it is a pseudo-denormal of the same value.
  const shift = <i32>clz(sig);
  xKind = KIND_FINITE;
  xDenormal = true;
  xSig = sig << shift;
  xExp = -16382 - shift;
}
export function setX64Integer(value: i64): void {
  xDenormal = false;
  if (value == 0) { xKind = KIND_ZERO; xSign = 0; xExp = 0; xSig = 0; return; }
  xSign = value < 0 ? 1 : 0;
  const magnitude = value < 0 ? 0 - <u64>value : <u64>value;
  const shift = <i32>clz(magnitude);
  xKind = KIND_FINITE;
  xSig = magnitude << shift;
  xExp = 63 - shift;
}
export function setY32(bits: u32): void { parkX(); setX32(bits); unparkX(); }
export function setY64(bits: u64): void { parkX(); setX64(bits); unparkX(); }
export function setY80(signExponent: u32, sig: u64): void { parkX(); setX80(signExponent, sig); unparkX(); }

let parkedKind: u32 = 0, parkedSign: u32 = 0, parkedExp: i32 = 0, parkedSig: u64 = 0, parkedDenormal: bool = false;
@inline function parkX(): void {
  parkedKind = xKind; parkedSign = xSign; parkedExp = xExp; parkedSig = xSig; parkedDenormal = xDenormal;
}
/** Moves what was unpacked to Y and takes X back. */
@inline function unparkX(): void {
  copyXToY();
  xKind = parkedKind; xSign = parkedSign; xExp = parkedExp; xSig = parkedSig; xDenormal = parkedDenormal;
}

// ---- NaNs ----

export function resultIndefinite(): void { setResult(KIND_QUIET, 1, 16384, INDEFINITE_SIG, 0); }
/** The answer to an invalid operation. */
export function resultInvalid(): void {
  flags |= INVALID;
  resultIndefinite();
}
@inline function isNan(kind: u32): bool { return kind >= KIND_QUIET; }
function resultQuietedX(): void { setResult(KIND_QUIET, xSign, 16384, xSig | QUIET_BIT, 0); }
function resultQuietedY(): void { setResult(KIND_QUIET, ySign, 16384, ySig | QUIET_BIT, 0); }

/** When X is no number, R becomes the NaN that a one-operand instruction gives. */
export function propagateX(): bool {
  if (!isNan(xKind)) return false;
  if (xKind == KIND_UNSUPPORTED) { resultInvalid(); return true; }
  if (xKind == KIND_SIGNALING) flags |= INVALID;
  resultQuietedX();
  return true;
}

/** When X or Y is no number, R becomes the NaN that the instruction gives (SDM volume 1, table 4-7). */
export function propagate(): bool {
  const xNan = isNan(xKind), yNan = isNan(yKind);
  if (!xNan && !yNan) return false;
  if (xKind == KIND_UNSUPPORTED || yKind == KIND_UNSUPPORTED) { resultInvalid(); return true; }
  if (xKind == KIND_SIGNALING || yKind == KIND_SIGNALING) flags |= INVALID;
  if (!x87Rules || !yNan || !xNan) {
    if (xNan) resultQuietedX();
    else resultQuietedY();
    return true;
  }
  if (xKind != yKind) { // one is quiet, the other signaling: the quiet one
    if (xKind == KIND_QUIET) resultQuietedX();
    else resultQuietedY();
    return true;
  }
  // The larger significand; of equal ones the positive.
  if (xSig > ySig || (xSig == ySig && xSign <= ySign)) resultQuietedX();
  else resultQuietedY();
  return true;
}

/** Raises DE when an operand was denormal. Called after NaNs and invalid operations are sorted out: those win. */
export function checkDenormals(): void { if (xDenormal || yDenormal) flags |= DENORMAL; }
export function checkDenormalX(): void { if (xDenormal) flags |= DENORMAL; }

// ---- rounding ----

/** Rounds rSig:rTail to the top `keep` bits (1 to 64). A carry out of bit 63 raises the exponent. Returns whether bits were lost. */
function roundSignificand(keep: u32): bool {
  let up = false, inexact: bool;
  let unit: u64 = 1;
  if (keep == 64) {
    inexact = rTail != 0;
    if (rounding == NEAREST_EVEN) up = rTail > INTEGER_BIT || (rTail == INTEGER_BIT && (rSig & 1) != 0);
  } else {
    const drop: u64 = 64 - keep;
    unit = <u64>1 << drop;
    const low = rSig & (unit - 1), half = unit >> 1;
    inexact = (low | rTail) != 0;
    if (rounding == NEAREST_EVEN) up = low > half || (low == half && (rTail != 0 || (rSig & unit) != 0));
    rSig ^= low;
  }
  rTail = 0;
  if (rounding == DOWN) up = inexact && rSign != 0;
  else if (rounding == UP) up = inexact && rSign == 0;
  if (up) {
    rSig += unit;
    if (rSig == 0) { rSig = INTEGER_BIT; rExp++; }
  }
  roundedUp = up;
  return inexact;
}

/** Shifts rSig:rTail right by `n`; lost bits stay visible in the last bit of the tail. */
export function shiftResultRight(n: i32): void {
  if (n <= 0) return;
  if (n < 64) {
    const lost = rTail << (64 - n);
    rTail = rSig << (64 - n) | rTail >> n | <u64>(lost != 0);
    rSig >>= n;
  } else if (n < 128) {
    const lost = (n == 64 ? 0 : rSig << (128 - n)) | rTail;
    rTail = (n == 64 ? rSig : rSig >> (n - 64)) | <u64>(lost != 0);
    rSig = 0;
  } else {
    rTail = <u64>((rSig | rTail) != 0);
    rSig = 0;
  }
}

/**
 * Rounds R to a format of `keep` significand bits and exponents minExp to maxExp and raises OE, UE and PE.
 * A denormal result keeps exponent minExp and an integer bit of 0.
 *
 * `wrap` is how an unmasked overflow or underflow delivers its result: 0 = not at all (SSE, stores to memory),
 * else the x87 exponent adjustment for register results (SDM volume 1, 8.5.4 and 8.5.5).
 * Tininess is judged after rounding to unbounded exponent, as all x86 processors do (SDM volume 1, 4.9.1.5).
 */
export function roundTo(keep: u32, minExp: i32, maxExp: i32, wrap: i32): void {
  roundedUp = false;
  if (rKind != KIND_FINITE) return;
  if (rExp < minExp) {
    let tiny = true;
    if (rExp == minExp - 1) {
      const sig = rSig, tail = rTail;
      roundSignificand(keep);
      tiny = rExp < minExp;
      rExp = minExp - 1;
      rSig = sig;
      rTail = tail;
    }
    if (tiny) {
      if (!(masks & UNDERFLOW)) {
        // Rounded as if the exponent had no bounds: what is exact then raises no PE.
        flags |= UNDERFLOW;
        if (roundSignificand(keep)) flags |= INEXACT;
        rExp += wrap;
        if (wrap && rExp < minExp) { // FSCALE can go that far
          flags |= INEXACT;
          rKind = KIND_ZERO;
          roundedUp = false;
        }
        return;
      }
      if (flushToZero) {
        flags |= UNDERFLOW | INEXACT;
        rKind = KIND_ZERO;
        return;
      }
    }
    shiftResultRight(minExp - rExp);
    rExp = minExp;
    if (roundSignificand(keep)) flags |= tiny ? UNDERFLOW | INEXACT : INEXACT;
    if (rSig == 0) rKind = KIND_ZERO;
    return;
  }
  const inexact = roundSignificand(keep);
  if (rExp <= maxExp) {
    if (inexact) flags |= INEXACT;
    return;
  }
  flags |= OVERFLOW;
  if (!(masks & OVERFLOW)) {
    if (inexact) flags |= INEXACT;
    rExp -= wrap;
    if (wrap && rExp > maxExp) {
      flags |= INEXACT;
      rKind = KIND_INFINITE;
      rSig = INTEGER_BIT;
      roundedUp = true;
    }
    return;
  }
  flags |= INEXACT;
  roundedUp = rounding == NEAREST_EVEN || rounding == (rSign ? DOWN : UP);
  if (roundedUp) {
    rKind = KIND_INFINITE;
    rSig = INTEGER_BIT;
  } else {
    rExp = maxExp;
    rSig = keep == 64 ? ~(<u64>0) : ~(~(<u64>0) >> keep);
  }
}

export function roundTo32(): void { roundTo(24, -126, 127, 0); }
export function roundTo64(): void { roundTo(53, -1022, 1023, 0); }
/** To an x87 register: `keep` is 24, 53 or 64 by precision control, the exponent range is always the extended one. */
export function roundTo80(keep: u32): void { roundTo(keep, -16382, 16383, 24576); }

// ---- packing ----

export function pack32(): u32 {
  const sign = rSign << 31;
  switch (rKind) {
    case KIND_ZERO: return sign;
    case KIND_FINITE: return sign | (rSig & INTEGER_BIT ? <u32>(rExp + 127) << 23 : 0) | (<u32>(rSig >> 40) & 0x7fffff);
    case KIND_INFINITE: return sign | 0x7f800000;
    default: return sign | 0x7f800000 | (<u32>(rSig >> 40) & 0x7fffff);
  }
}
export function pack64(): u64 {
  const sign = <u64>rSign << 63;
  switch (rKind) {
    case KIND_ZERO: return sign;
    case KIND_FINITE: return sign | (rSig & INTEGER_BIT ? <u64>(rExp + 1023) << 52 : 0) | (rSig >> 11 & 0xfffffffffffff);
    case KIND_INFINITE: return sign | 0x7ff0000000000000;
    default: return sign | 0x7ff0000000000000 | (rSig >> 11 & 0xfffffffffffff);
  }
}
/** Upper 16 bits of the 80-bit encoding; the lower 64 are pack80Significand(). */
export function pack80SignExponent(): u32 {
  const sign = rSign << 15;
  switch (rKind) {
    case KIND_ZERO: return sign;
    case KIND_FINITE: return rSig & INTEGER_BIT ? sign | <u32>(rExp + 16383) : sign;
    default: return sign | 0x7fff;
  }
}
export function pack80Significand(): u64 {
  return rKind == KIND_ZERO ? 0 : rKind == KIND_INFINITE ? INTEGER_BIT : rSig;
}

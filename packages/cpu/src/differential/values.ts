import type { Random } from "./random.ts";

/**
 * Random values that lean towards the edges where processors differ. Everything is written as 32-bit words,
 * little-endian, into a DataView.
 */

/** What an operand is taken for; decides which edges are likely. */
export type Kind = "int" | "f32" | "f64" | "f80" | "bcd" | "mixed";

const EDGES = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe,
];

/** A 64-bit integer. */
export function putInteger(random: Random, to: DataView, at: number): void {
  let low = random.word();
  let high = random.word();
  switch (random.below(8)) {
    case 0:
      low = random.pick(EDGES);
      high = random.pick(EDGES);
      break;
    case 1:
      low = random.pick(EDGES);
      high = 0;
      break;
    case 2:
      low = random.pick(EDGES);
      high = (low | 0) >> 31;
      break;
    case 3:
      low = random.below(256);
      high = 0;
      break;
    case 4: {
      // A power of two, or one less, or the negation of either.
      const bit = random.below(64);
      low = bit < 32 ? 1 << bit : 0;
      high = bit < 32 ? 0 : 1 << (bit - 32);
      if (random.oneIn(2)) {
        high = low === 0 ? high - 1 : high;
        low = low - 1;
      }
      if (random.oneIn(2)) {
        low = ~low;
        high = ~high;
      }
      break;
    }
    case 5: {
      const byte = random.below(256) * 0x01010101;
      low = byte;
      high = byte;
      break;
    }
    default:
  }
  to.setUint32(at, low >>> 0, true);
  to.setUint32(at + 4, high >>> 0, true);
}

/** A binary32 bit pattern. */
export function float32Bits(random: Random): number {
  const sign = random.oneIn(2) ? 0x80000000 : 0;
  const fraction = random.oneIn(3)
    ? random.pick([0, 1, 0x7fffff, 0x400000, 0x3fffff, 0x7ffffe])
    : random.word() & 0x7fffff;
  switch (random.below(16)) {
    case 0:
      return sign;
    case 1:
      return (sign | fraction) >>> 0; // denormal
    case 2:
      return (sign | 0x7f800000) >>> 0;
    case 3:
      return (sign | 0x7fc00000 | fraction) >>> 0; // quiet
    case 4:
      return (sign | 0x7f800000 | (fraction & 0x3fffff) | 1) >>> 0; // signalling
    case 5:
      return (sign | (1 << 23) | fraction) >>> 0; // least normal
    case 6:
      return (sign | (254 << 23) | fraction) >>> 0; // greatest normal
    case 7:
      return (sign | ((127 + random.below(66)) << 23) | (fraction & -(1 << random.below(24)))) >>> 0; // integers and overflow to one
    case 8:
      return (sign | ((126 + random.below(3)) << 23) | fraction) >>> 0; // near 1: cancellation
    case 9:
      return (sign | (random.below(50) << 23) | fraction) >>> 0;
    case 10:
      return (sign | ((200 + random.below(54)) << 23) | fraction) >>> 0;
    case 11:
      return random.word();
    default:
      return (sign | ((100 + random.below(54)) << 23) | fraction) >>> 0;
  }
}

/** A binary64 value. */
export function putFloat64(random: Random, to: DataView, at: number): void {
  const sign = random.oneIn(2) ? 0x80000000 : 0;
  let low = random.word();
  let high = random.word() & 0xfffff;
  if (random.oneIn(3)) {
    low = random.pick([0, 1, 0xffffffff, 0x80000000, 0xfffffffe, 0x20000000, 0x10000000]);
    high = random.pick([0, 1, 0xfffff, 0x80000, 0x7ffff, 0xffffe]);
  }
  let exponent = 0;
  switch (random.below(16)) {
    case 0:
      low = 0;
      high = 0;
      break;
    case 1:
      break; // denormal
    case 2:
      exponent = 0x7ff;
      low = 0;
      high = 0;
      break;
    case 3:
      exponent = 0x7ff;
      high |= 0x80000;
      break;
    case 4:
      exponent = 0x7ff;
      high &= 0x7ffff;
      low |= 1;
      break;
    case 5:
      exponent = 1;
      break;
    case 6:
      exponent = 0x7fe;
      break;
    case 7: {
      // Integers of 1 to 66 bits, with or without a fraction.
      exponent = 1023 + random.below(66);
      const kept = random.below(53);
      if (kept < 20) {
        low = 0;
        high &= -(1 << (20 - kept));
      } else {
        low &= kept === 52 ? -1 : -(1 << (52 - kept));
      }
      break;
    }
    case 8:
      exponent = 1022 + random.below(3);
      break;
    case 9:
      exponent = 896 - 24 + random.below(28); // denormal, or just not, as binary32
      break;
    case 10:
      exponent = 1023 + 124 + random.below(6); // overflows binary32, or just not
      break;
    case 11:
      exponent = random.below(2047);
      break;
    default:
      exponent = 1000 + random.below(48);
  }
  to.setUint32(at, low >>> 0, true);
  to.setUint32(at + 4, (sign | (exponent << 20) | high) >>> 0, true);
}

/** An 80-bit value: 64-bit significand, then sign and exponent; the encodings that are no longer valid included. */
export function putFloat80(random: Random, to: DataView, at: number): void {
  const sign = random.oneIn(2) ? 0x8000 : 0;
  let low = random.word();
  let high = random.word();
  if (random.oneIn(3)) {
    low = random.pick([0, 1, 0xffffffff, 0x400, 0x800, 0x3ff, 0x7ff, 0x80000000]);
    high = random.pick([0, 1, 0x7fffffff, 0x40000000, 0x80, 0x100, 0xff, 0x3fffffff]);
  }
  let integer = 0x80000000;
  let exponent = 0x3fff - 32 + random.below(64);
  switch (random.below(20)) {
    case 0:
      low = 0;
      high = 0;
      integer = 0;
      exponent = 0;
      break;
    case 1:
      integer = 0;
      exponent = 0; // denormal
      break;
    case 2:
      low = 0;
      high = 0;
      exponent = 0x7fff;
      break;
    case 3:
      high |= 0x40000000;
      exponent = 0x7fff;
      break;
    case 4:
      high &= 0x3fffffff;
      low |= 1;
      exponent = 0x7fff;
      break;
    case 5:
      exponent = random.below(3); // pseudo-denormal when 0
      break;
    case 6:
      exponent = 0x7ffe - random.below(2);
      break;
    case 7: {
      exponent = 0x3fff + random.below(68);
      const kept = random.below(63);
      if (kept < 31) {
        low = 0;
        high &= -(1 << (31 - kept));
      } else {
        low &= kept === 62 ? -1 : -(1 << (63 - kept));
      }
      break;
    }
    case 8:
      exponent = 0x3ffe + random.below(3);
      break;
    case 9:
      integer = 0; // unnormal, pseudo-infinity, pseudo-NaN
      exponent = random.oneIn(2) ? 0x7fff : 1 + random.below(0x7ffe);
      break;
    case 10:
      exponent = 0x3f81 - 25 + random.below(30); // around the least binary32
      break;
    case 11:
      exponent = 0x3c01 - 54 + random.below(60); // around the least binary64
      break;
    case 12:
      exponent = random.pick([0x3fff + 127, 0x3fff + 128, 0x3fff + 1023, 0x3fff + 1024]);
      break;
    case 13:
      exponent = random.below(0x8000);
      break;
    default:
  }
  to.setUint32(at, low >>> 0, true);
  to.setUint32(at + 4, ((high & 0x7fffffff) | integer) >>> 0, true);
  to.setUint16(at + 8, sign | exponent, true);
}

/** Ten bytes of packed decimal; one in eight holds digits above 9. */
export function putDecimal(random: Random, to: DataView, at: number): void {
  const wild = random.oneIn(8);
  for (let i = 0; i < 9; i++) {
    to.setUint8(at + i, wild ? random.below(256) : random.below(10) | (random.below(10) << 4));
  }
  to.setUint8(at + 9, random.oneIn(2) ? 0x80 : random.oneIn(8) ? random.below(256) : 0);
}

/** Fills `length` bytes (a multiple of 2) with values of `kind`, one after another. */
export function fill(random: Random, to: DataView, at: number, length: number, kind: Kind): void {
  const end = at + length;
  for (let next = at; next < end; ) {
    const now = kind === "mixed" ? random.pick(MIXED) : kind;
    if (now === "f32" && end - next >= 4) {
      to.setUint32(next, float32Bits(random), true);
      next += 4;
      continue;
    }
    // A value that does not fit is written aside and cut.
    const fits = end - next >= 10;
    const target = fits ? to : SCRATCH;
    const place = fits ? next : 0;
    let size = 8;
    switch (now) {
      case "f64":
        putFloat64(random, target, place);
        break;
      case "f80":
        putFloat80(random, target, place);
        size = 10;
        break;
      case "bcd":
        putDecimal(random, target, place);
        size = 10;
        break;
      default:
        putInteger(random, target, place);
    }
    size = Math.min(size, end - next);
    if (!fits) for (let i = 0; i < size; i++) to.setUint8(next + i, SCRATCH.getUint8(i));
    next += size;
  }
}

const MIXED: readonly Kind[] = ["int", "int", "f32", "f64"];
const SCRATCH = new DataView(new ArrayBuffer(16));

/*
 * Packed integer arithmetic: the operations of opcodes 0F 60-76 and 0F D1-FE on 16 bytes.
 *
 * MMX is the same arithmetic on 8 bytes: it runs here with its operand in the low half. The few operations that
 * mix lanes (pack, unpack) are made from these in mmx.ts.
 */

/** The low 64 bits of a shift count operand, limited so that it fits an i32: every count above 127 acts alike. */
@inline function shiftCount(b: v128): i32 {
  const count = <u64>i64x2.extract_lane(b, 0);
  return count > 127 ? 127 : <i32>count;
}

@inline export function zero128(): v128 { return i64x2.splat(0); }

/** Logical and arithmetic shifts of words, doublewords and quadwords; counts from 0 to 127, as PSRLW and its kin define them. */
export function shiftRightWords(a: v128, n: i32): v128 { return n > 15 ? zero128() : i16x8.shr_u(a, n); }
export function shiftRightDoublewords(a: v128, n: i32): v128 { return n > 31 ? zero128() : i32x4.shr_u(a, n); }
export function shiftRightQuadwords(a: v128, n: i32): v128 { return n > 63 ? zero128() : i64x2.shr_u(a, n); }
export function shiftLeftWords(a: v128, n: i32): v128 { return n > 15 ? zero128() : i16x8.shl(a, n); }
export function shiftLeftDoublewords(a: v128, n: i32): v128 { return n > 31 ? zero128() : i32x4.shl(a, n); }
export function shiftLeftQuadwords(a: v128, n: i32): v128 { return n > 63 ? zero128() : i64x2.shl(a, n); }
export function shiftSignedWords(a: v128, n: i32): v128 { return i16x8.shr_s(a, n > 15 ? 15 : n); }
export function shiftSignedDoublewords(a: v128, n: i32): v128 { return i32x4.shr_s(a, n > 31 ? 31 : n); }

/** PSLLDQ, PSRLDQ: whole-register shifts by bytes; a swizzle index outside 0-15 gives a zero byte. */
export function shiftLeftBytes(a: v128, n: i32): v128 {
  return i8x16.swizzle(a, i8x16.sub(i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), i8x16.splat(<i8>(n > 15 ? 16 : n))));
}
export function shiftRightBytes(a: v128, n: i32): v128 {
  return i8x16.swizzle(a, i8x16.add(i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), i8x16.splat(<i8>(n > 15 ? 16 : n))));
}

/** Indices for `i8x16.swizzle` that pick four doublewords by the four 2-bit fields of `selector` (PSHUFD, SHUFPS). */
@inline export function doublewordIndices(selector: u32): v128 {
  let indices = i32x4.splat((selector & 3) * 0x04040404);
  indices = i32x4.replace_lane(indices, 1, (selector >> 2 & 3) * 0x04040404);
  indices = i32x4.replace_lane(indices, 2, (selector >> 4 & 3) * 0x04040404);
  indices = i32x4.replace_lane(indices, 3, (selector >> 6 & 3) * 0x04040404);
  return i32x4.add(indices, i32x4.splat(0x03020100));
}

/** Four words picked out of `words` by the four 2-bit fields of `selector` (PSHUFW, PSHUFLW, PSHUFHW). */
export function shuffleWords(words: u64, selector: u32): u64 {
  return words >> <u64>((selector & 3) << 4) & 0xffff
    | (words >> <u64>((selector >> 2 & 3) << 4) & 0xffff) << 16
    | (words >> <u64>((selector >> 4 & 3) << 4) & 0xffff) << 32
    | words >> <u64>((selector >> 6 & 3) << 4) << 48;
}

@inline function multiplyHighSigned(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(i32x4.extmul_low_i16x8_s(a, b), i32x4.extmul_high_i16x8_s(a, b), 1, 3, 5, 7, 9, 11, 13, 15);
}
@inline function multiplyHighUnsigned(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(i32x4.extmul_low_i16x8_u(a, b), i32x4.extmul_high_i16x8_u(a, b), 1, 3, 5, 7, 9, 11, 13, 15);
}
/** PSADBW: the sum of eight byte differences, in each half. */
@inline function sumOfDifferences(a: v128, b: v128): v128 {
  const sums = i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(i8x16.sub(i8x16.max_u(a, b), i8x16.min_u(a, b))));
  return v128.and(i64x2.add(sums, i64x2.shr_u(sums, 32)), i64x2.splat(0xffff));
}

/** `a` (destination) combined with `b` (source) by the operation of opcode 0F `opcode`. An opcode of no packed operation gives `a`. */
export function packedInteger(opcode: u32, a: v128, b: v128): v128 {
  switch (opcode) {
    case 0x60: return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23); // PUNPCKLBW
    case 0x61: return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11); // PUNPCKLWD
    case 0x62: return v128.shuffle<i32>(a, b, 0, 4, 1, 5); // PUNPCKLDQ
    case 0x63: return i8x16.narrow_i16x8_s(a, b); // PACKSSWB
    case 0x64: return i8x16.gt_s(a, b); // PCMPGTB
    case 0x65: return i16x8.gt_s(a, b);
    case 0x66: return i32x4.gt_s(a, b);
    case 0x67: return i8x16.narrow_i16x8_u(a, b); // PACKUSWB
    case 0x68: return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31); // PUNPCKHBW
    case 0x69: return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    case 0x6a: return v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    case 0x6b: return i16x8.narrow_i32x4_s(a, b); // PACKSSDW
    case 0x6c: return v128.shuffle<i64>(a, b, 0, 2); // PUNPCKLQDQ
    case 0x6d: return v128.shuffle<i64>(a, b, 1, 3); // PUNPCKHQDQ
    case 0x74: return i8x16.eq(a, b); // PCMPEQB
    case 0x75: return i16x8.eq(a, b);
    case 0x76: return i32x4.eq(a, b);
    case 0xd1: return shiftRightWords(a, shiftCount(b)); // PSRLW
    case 0xd2: return shiftRightDoublewords(a, shiftCount(b));
    case 0xd3: return shiftRightQuadwords(a, shiftCount(b));
    case 0xd4: return i64x2.add(a, b); // PADDQ
    case 0xd5: return i16x8.mul(a, b); // PMULLW
    case 0xd8: return i8x16.sub_sat_u(a, b); // PSUBUSB
    case 0xd9: return i16x8.sub_sat_u(a, b);
    case 0xda: return i8x16.min_u(a, b); // PMINUB
    case 0xdb: return v128.and(a, b); // PAND
    case 0xdc: return i8x16.add_sat_u(a, b); // PADDUSB
    case 0xdd: return i16x8.add_sat_u(a, b);
    case 0xde: return i8x16.max_u(a, b); // PMAXUB
    case 0xdf: return v128.andnot(b, a); // PANDN: not destination and source
    case 0xe0: return i8x16.avgr_u(a, b); // PAVGB
    case 0xe1: return shiftSignedWords(a, shiftCount(b)); // PSRAW
    case 0xe2: return shiftSignedDoublewords(a, shiftCount(b));
    case 0xe3: return i16x8.avgr_u(a, b); // PAVGW
    case 0xe4: return multiplyHighUnsigned(a, b); // PMULHUW
    case 0xe5: return multiplyHighSigned(a, b); // PMULHW
    case 0xe8: return i8x16.sub_sat_s(a, b); // PSUBSB
    case 0xe9: return i16x8.sub_sat_s(a, b);
    case 0xea: return i16x8.min_s(a, b); // PMINSW
    case 0xeb: return v128.or(a, b); // POR
    case 0xec: return i8x16.add_sat_s(a, b); // PADDSB
    case 0xed: return i16x8.add_sat_s(a, b);
    case 0xee: return i16x8.max_s(a, b); // PMAXSW
    case 0xef: return v128.xor(a, b); // PXOR
    case 0xf1: return shiftLeftWords(a, shiftCount(b)); // PSLLW
    case 0xf2: return shiftLeftDoublewords(a, shiftCount(b));
    case 0xf3: return shiftLeftQuadwords(a, shiftCount(b));
    case 0xf4: return i64x2.extmul_low_i32x4_u(v128.shuffle<i32>(a, a, 0, 2, 0, 2), v128.shuffle<i32>(b, b, 0, 2, 0, 2)); // PMULUDQ
    case 0xf5: return i32x4.dot_i16x8_s(a, b); // PMADDWD
    case 0xf6: return sumOfDifferences(a, b); // PSADBW
    case 0xf8: return i8x16.sub(a, b); // PSUBB
    case 0xf9: return i16x8.sub(a, b);
    case 0xfa: return i32x4.sub(a, b);
    case 0xfb: return i64x2.sub(a, b); // PSUBQ
    case 0xfc: return i8x16.add(a, b); // PADDB
    case 0xfd: return i16x8.add(a, b);
    case 0xfe: return i32x4.add(a, b);
    default: return a;
  }
}

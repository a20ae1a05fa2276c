import { fractions } from "./sha-constants.ts";

/* The compression function of SHA-384 and SHA-512 (FIPS 180-4, 6.4.2). A word of 64 bits is two of 32, the upper one first. */

const ROUNDS = 80;
const halves = (values: readonly bigint[]): number[] =>
  values.flatMap((value) => [Number(value >> 32n), Number(value & 0xffff_ffffn)]);
/** Square roots of the first 8 primes, and for SHA-384 of the 9th to 16th (FIPS 180-4, 5.3.4 and 5.3.5). */
export const sha512Initial: readonly number[] = halves(fractions(2, 0, 8, 64));
export const sha384Initial: readonly number[] = halves(fractions(2, 8, 8, 64));
const constants = Int32Array.from(halves(fractions(3, 0, ROUNDS, 64)), (half) => half | 0);
const schedule = new Int32Array(2 * ROUNDS);

/** What a sum of lower halves, each taken as unsigned, carries over. */
const carry = (sum: number): number => (sum / 0x1_0000_0000) | 0;

export function compressSha512(words: Int32Array, bytes: Uint8Array, offset: number): void {
  for (let i = 0, at = offset; i < 32; i++, at += 4)
    schedule[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  for (let i = 32; i < 2 * ROUNDS; i += 2) {
    const h2 = schedule[i - 4]!;
    const l2 = schedule[i - 3]!;
    const h15 = schedule[i - 30]!;
    const l15 = schedule[i - 29]!;
    // Rotations by 19 and 61, a shift by 6; by 1 and 8, a shift by 7.
    const h1 = ((h2 >>> 19) | (l2 << 13)) ^ ((l2 >>> 29) | (h2 << 3)) ^ (h2 >>> 6);
    const l1 = ((l2 >>> 19) | (h2 << 13)) ^ ((h2 >>> 29) | (l2 << 3)) ^ ((l2 >>> 6) | (h2 << 26));
    const h0 = ((h15 >>> 1) | (l15 << 31)) ^ ((h15 >>> 8) | (l15 << 24)) ^ (h15 >>> 7);
    const l0 = ((l15 >>> 1) | (h15 << 31)) ^ ((l15 >>> 8) | (h15 << 24)) ^ ((l15 >>> 7) | (h15 << 25));
    const low = (l1 >>> 0) + (schedule[i - 13]! >>> 0) + (l0 >>> 0) + (schedule[i - 31]! >>> 0);
    schedule[i] = h1 + schedule[i - 14]! + h0 + schedule[i - 32]! + carry(low);
    schedule[i + 1] = low | 0;
  }
  let ah = words[0]!;
  let al = words[1]!;
  let bh = words[2]!;
  let bl = words[3]!;
  let ch = words[4]!;
  let cl = words[5]!;
  let dh = words[6]!;
  let dl = words[7]!;
  let eh = words[8]!;
  let el = words[9]!;
  let fh = words[10]!;
  let fl = words[11]!;
  let gh = words[12]!;
  let gl = words[13]!;
  let hh = words[14]!;
  let hl = words[15]!;
  for (let i = 0; i < 2 * ROUNDS; i += 2) {
    // Rotations by 14, 18 and 41; by 28, 34 and 39.
    const s1h = ((eh >>> 14) | (el << 18)) ^ ((eh >>> 18) | (el << 14)) ^ ((el >>> 9) | (eh << 23));
    const s1l = ((el >>> 14) | (eh << 18)) ^ ((el >>> 18) | (eh << 14)) ^ ((eh >>> 9) | (el << 23));
    const s0h = ((ah >>> 28) | (al << 4)) ^ ((al >>> 2) | (ah << 30)) ^ ((al >>> 7) | (ah << 25));
    const s0l = ((al >>> 28) | (ah << 4)) ^ ((ah >>> 2) | (al << 30)) ^ ((ah >>> 7) | (al << 25));
    const choiceH = (eh & fh) ^ (~eh & gh);
    const choiceL = (el & fl) ^ (~el & gl);
    const majorityH = (ah & bh) ^ (ah & ch) ^ (bh & ch);
    const majorityL = (al & bl) ^ (al & cl) ^ (bl & cl);
    const t1 =
      (hl >>> 0) + (s1l >>> 0) + (choiceL >>> 0) + (constants[i + 1]! >>> 0) + (schedule[i + 1]! >>> 0);
    const t1h = (hh + s1h + choiceH + constants[i]! + schedule[i]! + carry(t1)) | 0;
    const t1l = t1 | 0;
    const sum = (t1l >>> 0) + (s0l >>> 0) + (majorityL >>> 0);
    const moved = (t1l >>> 0) + (dl >>> 0);
    hh = gh;
    hl = gl;
    gh = fh;
    gl = fl;
    fh = eh;
    fl = el;
    eh = (dh + t1h + carry(moved)) | 0;
    el = moved | 0;
    dh = ch;
    dl = cl;
    ch = bh;
    cl = bl;
    bh = ah;
    bl = al;
    ah = (t1h + s0h + majorityH + carry(sum)) | 0;
    al = sum | 0;
  }
  accumulate(words, 0, ah, al);
  accumulate(words, 2, bh, bl);
  accumulate(words, 4, ch, cl);
  accumulate(words, 6, dh, dl);
  accumulate(words, 8, eh, el);
  accumulate(words, 10, fh, fl);
  accumulate(words, 12, gh, gl);
  accumulate(words, 14, hh, hl);
}

function accumulate(words: Int32Array, at: number, high: number, low: number): void {
  const sum = (words[at + 1]! >>> 0) + (low >>> 0);
  words[at] = words[at]! + high + carry(sum);
  words[at + 1] = sum | 0;
}

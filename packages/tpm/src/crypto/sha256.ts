import { fractions } from "./sha-constants.ts";

/* The compression function of SHA-256 (FIPS 180-4, 6.2.2). */

const ROUNDS = 64;
/** First 32 bits of the fractions of the first primes' square roots, and of their cube roots (FIPS 180-4, 5.3.3 and 4.2.2). */
export const sha256Initial: readonly number[] = fractions(2, 0, 8, 32).map(Number);
const constants = Int32Array.from(fractions(3, 0, ROUNDS, 32), (value) => Number(value) | 0);
const schedule = new Int32Array(ROUNDS);

const rotate = (word: number, by: number): number => (word >>> by) | (word << (32 - by));

export function compressSha256(words: Int32Array, bytes: Uint8Array, offset: number): void {
  for (let i = 0, at = offset; i < 16; i++, at += 4)
    schedule[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  for (let i = 16; i < ROUNDS; i++) {
    const w2 = schedule[i - 2]!;
    const w15 = schedule[i - 15]!;
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    schedule[i] = (s1 + schedule[i - 7]! + s0 + schedule[i - 16]!) | 0;
  }
  let a = words[0]!;
  let b = words[1]!;
  let c = words[2]!;
  let d = words[3]!;
  let e = words[4]!;
  let f = words[5]!;
  let g = words[6]!;
  let h = words[7]!;
  for (let i = 0; i < ROUNDS; i++) {
    const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const t1 = (h + sum1 + choice + constants[i]! + schedule[i]!) | 0;
    const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const t2 = (sum0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  words[0]! += a;
  words[1]! += b;
  words[2]! += c;
  words[3]! += d;
  words[4]! += e;
  words[5]! += f;
  words[6]! += g;
  words[7]! += h;
}

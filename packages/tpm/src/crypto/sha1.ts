/* The compression function of SHA-1 (FIPS 180-4, 6.1.2). */

export const sha1Initial: readonly number[] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];

/** Constants of the four phases of 20 rounds. */
const constants: readonly number[] = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6];
const ROUNDS = 80;
const schedule = new Int32Array(ROUNDS);

function mix(phase: number, b: number, c: number, d: number): number {
  if (phase === 0) return (b & c) ^ (~b & d);
  return phase === 2 ? (b & c) ^ (b & d) ^ (c & d) : b ^ c ^ d;
}

export function compressSha1(words: Int32Array, bytes: Uint8Array, offset: number): void {
  for (let i = 0, at = offset; i < 16; i++, at += 4)
    schedule[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  for (let i = 16; i < ROUNDS; i++) {
    const word = schedule[i - 3]! ^ schedule[i - 8]! ^ schedule[i - 14]! ^ schedule[i - 16]!;
    schedule[i] = (word << 1) | (word >>> 31);
  }
  let a = words[0]!;
  let b = words[1]!;
  let c = words[2]!;
  let d = words[3]!;
  let e = words[4]!;
  for (let i = 0; i < ROUNDS; i++) {
    const phase = (i / 20) | 0;
    const next = (((a << 5) | (a >>> 27)) + mix(phase, b, c, d) + e + constants[phase]! + schedule[i]!) | 0;
    e = d;
    d = c;
    c = (b << 30) | (b >>> 2);
    b = a;
    a = next;
  }
  words[0]! += a;
  words[1]! += b;
  words[2]! += c;
  words[3]! += d;
  words[4]! += e;
}

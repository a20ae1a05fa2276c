import type { Hash } from "./hash.ts";

/*
 * SHA-256 and SHA-384 (FIPS 180-4) without anything of the surroundings: for a browser, whose own hashes give promises. Words of 64 bits
 * are two of 32. Where Node's hashes are at hand they are ten times as fast.
 */

/** The first `count` primes. */
function primes(count: number): number[] {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n);
  return found;
}

/** The first 64 bits behind the point of the `degree`-th root of `n` (FIPS 180-4, 4.2 and 5.3). */
function rootBits(n: number, degree: 2 | 3): bigint {
  const scaled = BigInt(n) << BigInt(64 * degree);
  let low = 0n;
  let high = 1n << 72n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(degree) <= scaled) low = middle;
    else high = middle;
  }
  return BigInt.asUintN(64, low);
}

interface Constants {
  /** High and low halves of the constants of the rounds. */
  readonly kHigh: Int32Array;
  readonly kLow: Int32Array;
  readonly start256: Int32Array;
  /** Halves in turn. */
  readonly start384: Int32Array;
}
let computed: Constants | undefined;

/** Computed at the first hash: to load this file costs nothing. */
function constants(): Constants {
  if (computed !== undefined) return computed;
  const high = (bits: bigint) => Number(bits >> 32n) | 0;
  const low = (bits: bigint) => Number(bits & 0xffff_ffffn) | 0;
  const cubeRoots = primes(80).map((prime) => rootBits(prime, 3));
  const squareRoots = primes(16).map((prime) => rootBits(prime, 2));
  computed = {
    kHigh: Int32Array.from(cubeRoots, high),
    kLow: Int32Array.from(cubeRoots, low),
    start256: Int32Array.from(squareRoots.slice(0, 8), high),
    start384: Int32Array.from(squareRoots.slice(8).flatMap((bits) => [high(bits), low(bits)])),
  };
  return computed;
}

/** The parts as whole blocks, with the padding: a one bit, zeros, and the length in bits in the last 8 of `lengthBytes`. */
function padded(parts: readonly Uint8Array[], block: 64 | 128): DataView {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(Math.ceil((length + 1 + block / 8) / block) * block);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  bytes[length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setBigUint64(bytes.length - 8, BigInt(length) * 8n);
  return view;
}

function sha256(parts: readonly Uint8Array[]): Uint8Array {
  const { kHigh, start256 } = constants();
  const message = padded(parts, 64);
  const state = start256.slice();
  const w = new Int32Array(64);
  for (let block = 0; block < message.byteLength; block += 64) {
    for (let t = 0; t < 16; t++) w[t] = message.getInt32(block + 4 * t);
    for (let t = 16; t < 64; t++) {
      const x = w[t - 15]!;
      const y = w[t - 2]!;
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[t] = w[t - 16]! + s0 + w[t - 7]! + s1;
    }
    let [a, b, c, d, e, f, g, h] = state as unknown as Eight;
    for (let t = 0; t < 64; t++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + kHigh[t]! + w[t]!) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    for (const [i, word] of [a, b, c, d, e, f, g, h].entries()) state[i] = state[i]! + word;
  }
  return bigEndian(state, 8);
}

type Eight = [number, number, number, number, number, number, number, number];

/** Schedule of SHA-384: 80 words, high and low halves in turn. */
const schedule = new Int32Array(160);

function sha384(parts: readonly Uint8Array[]): Uint8Array {
  const { kHigh, kLow, start384 } = constants();
  const message = padded(parts, 128);
  const state = start384.slice();
  const s = new Int32Array(16);
  for (let block = 0; block < message.byteLength; block += 128) {
    expand(message, block);
    s.set(state);
    for (let t = 0; t < 80; t++) round(s, 2 * t, kHigh[t]!, kLow[t]!);
    for (let i = 0; i < 16; i += 2) addTo(state, i, s[i]!, s[i + 1]!);
  }
  return bigEndian(state, 12);
}

/** Adds a word of 64 bits to that at `at`. */
function addTo(words: Int32Array, at: number, high: number, low: number): void {
  const sum = (words[at + 1]! >>> 0) + (low >>> 0);
  words[at] = words[at]! + high + (sum > 0xffff_ffff ? 1 : 0);
  words[at + 1] = sum;
}

function expand(message: DataView, block: number): void {
  const w = schedule;
  for (let i = 0; i < 32; i++) w[i] = message.getInt32(block + 4 * i);
  for (let i = 32; i < 160; i += 2) {
    const xh = w[i - 30]!;
    const xl = w[i - 29]!;
    const yh = w[i - 4]!;
    const yl = w[i - 3]!;
    const s0h = ((xh >>> 1) | (xl << 31)) ^ ((xh >>> 8) | (xl << 24)) ^ (xh >>> 7);
    const s0l = ((xl >>> 1) | (xh << 31)) ^ ((xl >>> 8) | (xh << 24)) ^ ((xl >>> 7) | (xh << 25));
    const s1h = ((yh >>> 19) | (yl << 13)) ^ ((yl >>> 29) | (yh << 3)) ^ (yh >>> 6);
    const s1l = ((yl >>> 19) | (yh << 13)) ^ ((yh >>> 29) | (yl << 3)) ^ ((yl >>> 6) | (yh << 26));
    const low = (w[i - 31]! >>> 0) + (s0l >>> 0) + (w[i - 13]! >>> 0) + (s1l >>> 0);
    w[i] = w[i - 32]! + s0h + w[i - 14]! + s1h + Math.floor(low / 0x1_0000_0000);
    w[i + 1] = low;
  }
}

/** One round over the eight words a to h in `s`, with the word at `at` of the schedule and a constant. */
function round(s: Int32Array, at: number, kHigh: number, kLow: number): void {
  const ah = s[0]!;
  const al = s[1]!;
  const eh = s[8]!;
  const el = s[9]!;
  const s1h = ((eh >>> 14) | (el << 18)) ^ ((eh >>> 18) | (el << 14)) ^ ((el >>> 9) | (eh << 23));
  const s1l = ((el >>> 14) | (eh << 18)) ^ ((el >>> 18) | (eh << 14)) ^ ((eh >>> 9) | (el << 23));
  const chh = (eh & s[10]!) ^ (~eh & s[12]!);
  const chl = (el & s[11]!) ^ (~el & s[13]!);
  const l1 = (s[15]! >>> 0) + (s1l >>> 0) + (chl >>> 0) + (kLow >>> 0) + (schedule[at + 1]! >>> 0);
  const t1h = (s[14]! + s1h + chh + kHigh + schedule[at]! + Math.floor(l1 / 0x1_0000_0000)) | 0;
  const t1l = l1 | 0;
  const s0h = ((ah >>> 28) | (al << 4)) ^ ((al >>> 2) | (ah << 30)) ^ ((al >>> 7) | (ah << 25));
  const s0l = ((al >>> 28) | (ah << 4)) ^ ((ah >>> 2) | (al << 30)) ^ ((ah >>> 7) | (al << 25));
  const mjh = (ah & s[2]!) ^ (ah & s[4]!) ^ (s[2]! & s[4]!);
  const mjl = (al & s[3]!) ^ (al & s[5]!) ^ (s[3]! & s[5]!);
  const l2 = (t1l >>> 0) + (s0l >>> 0) + (mjl >>> 0);
  s.copyWithin(2, 0, 14);
  addTo(s, 8, t1h, t1l);
  s[0] = t1h + s0h + mjh + Math.floor(l2 / 0x1_0000_0000);
  s[1] = l2;
}

function bigEndian(words: Int32Array, count: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * count));
  for (let i = 0; i < count; i++) view.setInt32(4 * i, words[i]!);
  return new Uint8Array(view.buffer);
}

/** A `Hash` for surroundings without synchronous hashes. */
export const softwareHash: Hash = (name, ...parts) => (name === "sha256" ? sha256(parts) : sha384(parts));

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hash as oneShotHash,
  randomBytes,
  randomFillSync,
  timingSafeEqual,
} from "node:crypto";
import { Alg } from "@entresol/tpm-types";
import { concat } from "../engine.ts";
import type { CryptoProvider } from "./provider.ts";

/** Bytes. */
const JOINED = 2048;
const nothing = new Uint8Array(0);

const hashNames: ReadonlyMap<number, string> = new Map([
  [Alg.SHA1, "sha1"],
  [Alg.SHA256, "sha256"],
  [Alg.SHA384, "sha384"],
  [Alg.SHA512, "sha512"],
  [Alg.SHA3_256, "sha3-256"],
  [Alg.SHA3_384, "sha3-384"],
  [Alg.SHA3_512, "sha3-512"],
]);
const cipherNames: ReadonlyMap<number, string> = new Map([
  [Alg.AES, "aes"],
  [Alg.CAMELLIA, "camellia"],
]);
const modeNames: ReadonlyMap<number, string> = new Map([
  [Alg.CTR, "ctr"],
  [Alg.OFB, "ofb"],
  [Alg.CBC, "cbc"],
  [Alg.CFB, "cfb"],
  [Alg.ECB, "ecb"],
]);

function nameOf(names: ReadonlyMap<number, string>, id: number): string {
  const name = names.get(id);
  if (name === undefined) throw new RangeError(`algorithm 0x${id.toString(16)} is not implemented`);
  return name;
}

/** Without padding. ECB takes no vector. */
function cipher(
  alg: number,
  mode: number,
  key: Uint8Array,
  iv: Uint8Array,
  data: Uint8Array,
  encrypt: boolean,
): Uint8Array {
  const name = `${nameOf(cipherNames, alg)}-${8 * key.length}-${nameOf(modeNames, mode)}`;
  const vector = mode === Alg.ECB ? null : iv;
  const context = encrypt ? createCipheriv(name, key, vector) : createDecipheriv(name, key, vector);
  context.setAutoPadding(false);
  const out = context.update(data);
  const rest = context.final();
  return new Uint8Array(rest.length === 0 ? out : Buffer.concat([out, rest]));
}

/** Of a cipher with blocks of 16 bytes (SP 800-38B). */
function cmac(
  alg: number,
  key: Uint8Array,
  data: Uint8Array,
  chained: Uint8Array = new Uint8Array(16),
): Uint8Array {
  const block = 16;
  // 6.1: two subkeys by doubling in GF(2^128).
  const double = (value: Uint8Array): Uint8Array => {
    const doubled = new Uint8Array(block);
    for (let i = 0; i < block; i++) doubled[i] = ((value[i]! << 1) | ((value[i + 1] ?? 0) >>> 7)) & 0xff;
    doubled[block - 1]! ^= 0x87 * (value[0]! >>> 7);
    return doubled;
  };
  const zero = new Uint8Array(block);
  const k1 = double(cipher(alg, Alg.ECB, key, zero, zero, true));
  const blocks = Math.max(1, Math.ceil(data.length / block));
  const padded = new Uint8Array(blocks * block);
  padded.set(data);
  const whole = data.length > 0 && data.length % block === 0;
  if (!whole) padded[data.length] = 0x80;
  const subkey = whole ? k1 : double(k1);
  for (let i = 0; i < block; i++) padded[padded.length - block + i]! ^= subkey[i]!;
  // The last block of CBC is the MAC.
  return cipher(alg, Alg.CBC, key, chained, padded, true).slice(-block);
}

/**
 * What was stirred in so far. The operating system's generator takes no bytes from a process; so these make a mask that goes over what it
 * gives, which is no less random for that.
 */
let stirred: Uint8Array | undefined;

function stir(data: Uint8Array): void {
  const before = stirred ?? randomBytes(64);
  stirred = new Uint8Array(createHash("sha512").update(before).update(data).digest());
}

/** Random bytes that were fetched and not given out yet, from `poolAt` on. A call of the system for each nonce costs more than most commands. */
const pool = new Uint8Array(1024);
let poolAt = pool.length;
/** More than this at once is fetched for itself. */
const FROM_POOL = 64;

function freshBytes(length: number): Uint8Array {
  if (length > FROM_POOL) return new Uint8Array(randomBytes(length));
  if (poolAt + length > pool.length) {
    randomFillSync(pool);
    poolAt = 0;
  }
  const bytes = pool.slice(poolAt, poolAt + length);
  // What was given out is in one place only.
  pool.fill(0, poolAt, poolAt + length);
  poolAt += length;
  return bytes;
}

function random(length: number): Uint8Array {
  const bytes = freshBytes(length);
  if (stirred === undefined || length === 0) return bytes;
  const mask = createHash("shake256", { outputLength: length }).update(stirred).digest();
  stir(bytes);
  return bytes.map((byte, i) => byte ^ mask[i]!);
}

/** Hashes, ciphers and randomness of `node:crypto`. */
export const nodeSymmetric = {
  random,
  stir,
  hash(alg, ...parts) {
    const name = nameOf(hashNames, alg);
    const [first = nothing, ...more] = parts;
    // One call for all is the cheapest, as long as putting the parts together costs less than a call for each.
    if (more.length === 0) return new Uint8Array(oneShotHash(name, first, "buffer"));
    let length = 0;
    for (const part of parts) length += part.length;
    if (length <= JOINED) return new Uint8Array(oneShotHash(name, concat(...parts), "buffer"));
    const hash = createHash(name);
    for (const part of parts) hash.update(part);
    return new Uint8Array(hash.digest());
  },
  hmac(alg, key, ...parts) {
    const hmac = createHmac(nameOf(hashNames, alg), key);
    for (const part of parts) hmac.update(part);
    return new Uint8Array(hmac.digest());
  },
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
  cipher,
  cmac,
} satisfies Partial<CryptoProvider>;

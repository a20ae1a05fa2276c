import { digestSizes } from "@entresol/tpm-types";
import { concat, u32 } from "../engine.ts";
import type { CryptoProvider } from "./provider.ts";

const empty: Uint8Array = new Uint8Array(0);

/** The label of a KDF: ASCII and a zero byte, which ends it. */
export function label(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

/**
 * KDFa (Part 1, 11.4.10.2; SP 800-108 counter mode): `bits` bits of keying material, rounded up to bytes, the excess bits of the first byte clear.
 * `name` is the label without its zero byte.
 */
export function kdfa(
  crypto: CryptoProvider,
  hash: number,
  key: Uint8Array,
  name: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  bits: number,
): Uint8Array {
  const bytes = (bits + 7) >>> 3;
  const size = digestSizes.get(hash)!;
  const out = new Uint8Array(bytes);
  const tail = concat(label(name), contextU, contextV, u32(bits));
  for (let at = 0, counter = 1; at < bytes; at += size, counter++) {
    const block = crypto.hmac(hash, key, u32(counter), tail);
    out.set(at + size <= bytes ? block : block.subarray(0, bytes - at), at);
  }
  if ((bits & 7) !== 0) out[0]! &= (1 << (bits & 7)) - 1;
  return out;
}

/** KDFe (Part 1, 11.4.10.3; SP 800-56A): from the x coordinate `z` of a shared point, with the x coordinates of both parties. */
export function kdfe(
  crypto: CryptoProvider,
  hash: number,
  z: Uint8Array,
  name: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  bits: number,
): Uint8Array {
  const bytes = (bits + 7) >>> 3;
  const size = digestSizes.get(hash)!;
  const out = new Uint8Array(bytes);
  const tail = concat(z, label(name), partyU, partyV);
  for (let at = 0, counter = 1; at < bytes; at += size, counter++) {
    const block = crypto.hash(hash, u32(counter), tail);
    out.set(at + size <= bytes ? block : block.subarray(0, bytes - at), at);
  }
  if ((bits & 7) !== 0) out[0]! &= (1 << (bits & 7)) - 1;
  return out;
}

/** Hashes of the seed and a counter, one after the other. */
function hashCounter(
  crypto: CryptoProvider,
  hash: number,
  seed: Uint8Array,
  length: number,
  first: number,
): Uint8Array {
  const size = digestSizes.get(hash)!;
  const out = new Uint8Array(length);
  for (let at = 0, counter = first; at < length; at += size, counter++) {
    const block = crypto.hash(hash, seed, u32(counter));
    out.set(at + size <= length ? block : block.subarray(0, length - at), at);
  }
  return out;
}

/** MGF1 (RFC 8017, B.2.1). */
export function mgf1(crypto: CryptoProvider, hash: number, seed: Uint8Array, length: number): Uint8Array {
  return hashCounter(crypto, hash, seed, length, 0);
}

/** KDF2 (ISO/IEC 18033-2): as MGF1, but the counter begins with 1. */
export function kdf2(crypto: CryptoProvider, hash: number, seed: Uint8Array, length: number): Uint8Array {
  return hashCounter(crypto, hash, seed, length, 1);
}

/** XOR obfuscation (Part 1, 11.4.7.3): `data` is changed in place; the same call takes it back. */
export function xorObfuscate(
  crypto: CryptoProvider,
  hash: number,
  key: Uint8Array,
  contextU: Uint8Array,
  contextV: Uint8Array,
  data: Uint8Array,
): void {
  const mask = kdfa(crypto, hash, key, "XOR", contextU, contextV, 8 * data.length);
  for (let i = 0; i < data.length; i++) data[i]! ^= mask[i]!;
}

/** No second context. */
export const noContext = empty;

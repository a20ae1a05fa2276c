import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";
import { algorithmName, digestSizes } from "@entresol/tpm-types";
import { concat, u16, u32 } from "../engine.ts";

/*
 * Protected storage as somebody outside of the TPM does it, who knows the seed: by `node:crypto` alone, so that the engine's wraps have something to
 * be compared with (Part 1, 22 to 24). AES-128 in CFB mode.
 */

const empty: Uint8Array = new Uint8Array(0);
const noIv = new Uint8Array(16);

function hashName(hash: number): string {
  return algorithmName(hash).toLowerCase();
}

function oneBlockKdf(
  hash: number,
  key: Uint8Array,
  label: string,
  context: Uint8Array,
  bytes: number,
): Uint8Array {
  const hmac = createHmac(hashName(hash), key);
  hmac.update(concat(u32(1), new TextEncoder().encode(`${label}\0`), context, u32(8 * bytes)));
  return new Uint8Array(hmac.digest()).subarray(0, bytes);
}

export function tpm2b(data: Uint8Array): Uint8Array {
  return concat(u16(data.length), data);
}

/** AES-128-CFB without a vector. */
export function encryptCfb(key: Uint8Array, data: Uint8Array): Uint8Array {
  const cipher = createCipheriv("aes-128-cfb", key, noIv);
  return new Uint8Array(Buffer.concat([cipher.update(data), cipher.final()]));
}
export function decryptCfb(key: Uint8Array, data: Uint8Array): Uint8Array {
  const cipher = createDecipheriv("aes-128-cfb", key, noIv);
  return new Uint8Array(Buffer.concat([cipher.update(data), cipher.final()]));
}

/** An outer wrap: HMAC and encrypted data. */
export function outerWrap(hash: number, seed: Uint8Array, name: Uint8Array, data: Uint8Array): Uint8Array {
  const encrypted = encryptCfb(oneBlockKdf(hash, seed, "STORAGE", name, 16), data);
  const key = oneBlockKdf(hash, seed, "INTEGRITY", empty, digestSizes.get(hash)!);
  const hmac = createHmac(hashName(hash), key).update(encrypted).update(name).digest();
  return concat(tpm2b(new Uint8Array(hmac)), encrypted);
}

/** What is under an outer wrap. Throws when the HMAC is another. */
export function outerUnwrap(hash: number, seed: Uint8Array, name: Uint8Array, blob: Uint8Array): Uint8Array {
  const data = decryptCfb(
    oneBlockKdf(hash, seed, "STORAGE", name, 16),
    blob.subarray(2 + digestSizes.get(hash)!),
  );
  if (Buffer.compare(outerWrap(hash, seed, name, data), blob) !== 0) throw new Error("the wrap is another");
  return data;
}

/** An inner wrap: digest and data, encrypted by a key. */
export function innerWrap(hash: number, key: Uint8Array, name: Uint8Array, data: Uint8Array): Uint8Array {
  const digest = createHash(hashName(hash)).update(data).update(name).digest();
  return encryptCfb(key, concat(tpm2b(new Uint8Array(digest)), data));
}

/** KDFe for one block of SHA-256 or longer (Part 1, 11.4.10.3). */
export function oneBlockKdfe(
  hash: number,
  z: Uint8Array,
  label: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
): Uint8Array {
  const digest = createHash(hashName(hash));
  digest.update(concat(u32(1), z, new TextEncoder().encode(`${label}\0`), partyU, partyV));
  return new Uint8Array(digest.digest());
}

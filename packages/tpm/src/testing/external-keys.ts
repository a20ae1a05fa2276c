import {
  Alg,
  curveSizes,
  type EccPublic,
  type KeyedHashPublic,
  type KeyedHashScheme,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  type Public,
  Rh,
  type RsaPublic,
  type Scheme,
  type Sensitive,
  type SymCipherPublic,
} from "@entresol/tpm-types";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import type { RsaPrivate } from "../crypto/provider.ts";
import type { TpmClient } from "./client.ts";

/* Keys with a sensitive area that the caller knows, for TPM2_LoadExternal. */

export interface ExternalKey<P extends Public = Public> {
  readonly publicArea: P;
  readonly sensitive: Sensitive;
}

const empty = new Uint8Array(0);
const { decrypt, sign, userWithAuth, noDA } = ObjectAttribute;
export const signing = userWithAuth | noDA | sign;
export const decrypting = userWithAuth | noDA | decrypt;

function sensitiveArea(sensitiveType: number, sensitive: Uint8Array, seedValue = empty): Sensitive {
  return { sensitiveType, authValue: empty, seedValue, sensitive };
}
const common = (objectAttributes: number) => ({ nameAlg: Alg.SHA256, objectAttributes, authPolicy: empty });
/** What binds a symmetric key to its public area. */
const seed = new Uint8Array(32).fill(9);

export function symmetricKey(
  algorithm: number,
  key: Uint8Array,
  mode: number,
  attributes = signing | decrypting,
): ExternalKey<SymCipherPublic> {
  const sym = { algorithm, keyBits: 8 * key.length, mode, hash: Alg.NULL };
  const unique = crypto.hash(Alg.SHA256, seed, key);
  return {
    publicArea: { type: Alg.SYMCIPHER, ...common(attributes), parameters: { sym }, unique },
    sensitive: sensitiveArea(Alg.SYMCIPHER, key, seed),
  };
}

export const noKeyedHashScheme: KeyedHashScheme = { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL };
export function hmacScheme(hash: number): KeyedHashScheme {
  return { scheme: Alg.HMAC, hash, kdf: Alg.NULL };
}

/** A key without a scheme may sign and decrypt, or neither (Part 1, 27.4). */
export function keyedHash(
  key: Uint8Array,
  scheme = noKeyedHashScheme,
  attributes: number = scheme.scheme === Alg.NULL ? signing | decrypting : signing,
): ExternalKey<KeyedHashPublic> {
  const unique = crypto.hash(Alg.SHA256, seed, key);
  return {
    publicArea: { type: Alg.KEYEDHASH, ...common(attributes), parameters: { scheme }, unique },
    sensitive: sensitiveArea(Alg.KEYEDHASH, key, seed),
  };
}

export function rsaKey(
  key: RsaPrivate,
  scheme: Scheme = noScheme,
  attributes = signing | decrypting,
): ExternalKey<RsaPublic> {
  const parameters = {
    symmetric: noSymmetric,
    scheme,
    keyBits: 8 * key.modulus.length,
    exponent: key.exponent,
  };
  return {
    publicArea: { type: Alg.RSA, ...common(attributes), parameters, unique: key.modulus },
    sensitive: sensitiveArea(Alg.RSA, key.prime),
  };
}

/** `scalar` is filled up with zeros in front. */
export function eccKey(
  curveID: number,
  scalar: Uint8Array,
  scheme: Scheme = noScheme,
  attributes: number = decrypting,
): ExternalKey<EccPublic> & { readonly scalar: Uint8Array } {
  const whole = new Uint8Array(curveSizes.get(curveID)!);
  whole.set(scalar, whole.length - scalar.length);
  const kdf = { scheme: Alg.NULL, hash: Alg.NULL };
  return {
    scalar: whole,
    publicArea: {
      type: Alg.ECC,
      ...common(attributes),
      parameters: { symmetric: noSymmetric, scheme, curveID, kdf },
      unique: crypto.eccPublic(curveID, whole)!,
    },
    sensitive: sensitiveArea(Alg.ECC, whole),
  };
}

/** Loads a key into the NULL hierarchy and gives its handle. */
export function loadKey(
  client: TpmClient,
  { publicArea, sensitive }: ExternalKey,
  publicOnly = false,
): number {
  const inPrivate = publicOnly ? undefined : sensitive;
  return client.run("LoadExternal", {}, { inPrivate, inPublic: publicArea, hierarchy: Rh.NULL }).handle;
}

export function flush(client: TpmClient, flushHandle: number): void {
  client.run("FlushContext", {}, { flushHandle });
}

/** What `action` gives for a key that is loaded just for it. */
export function withKey<T>(client: TpmClient, key: ExternalKey, action: (handle: number) => T): T {
  const handle = loadKey(client, key);
  try {
    return action(handle);
  } finally {
    flush(client, handle);
  }
}

import {
  Alg,
  digestSizes,
  ObjectAttribute,
  Rc,
  type Scheme,
  type Signature,
  TpmError,
} from "@entresol/tpm-types";
import { openCommit } from "./commits.ts";
import { mgf1 } from "./crypto/kdf.ts";
import { ecdaaSign, schnorrSign, schnorrVerify, sm2Sign, sm2Verify } from "./ecc-schemes.ts";
import { concat, type Engine } from "./engine.ts";
import { hasAttributes, rsaPrivateOf } from "./objects.ts";
import type { StoredObject } from "./state.ts";

/* Signing and verifying with loaded keys, whatever their type (Part 1, annexes B and C; Part 3, 20). */

/** DER of DigestInfo up to the digest (RFC 8017, 9.2 note 1; FIPS 202 for SHA-3). */
const digestInfoPrefixes: ReadonlyMap<number, Uint8Array> = new Map(
  (
    [
      [Alg.SHA1, "3021300906052b0e03021a05000414"],
      [Alg.SHA256, "3031300d060960864801650304020105000420"],
      [Alg.SHA384, "3041300d060960864801650304020205000430"],
      [Alg.SHA512, "3051300d060960864801650304020305000440"],
      [Alg.SHA3_256, "3031300d060960864801650304020805000420"],
      [Alg.SHA3_384, "3041300d060960864801650304020905000430"],
      [Alg.SHA3_512, "3051300d060960864801650304020a05000440"],
    ] as const
  ).map(([alg, hex]) => [alg, Uint8Array.from(Buffer.from(hex, "hex"))]),
);

/** Schemes that keys of each type sign by. */
const signingSchemes: ReadonlyMap<number, readonly number[]> = new Map([
  [Alg.RSA, [Alg.RSASSA, Alg.RSAPSS]],
  [Alg.ECC, [Alg.ECDSA, Alg.ECDAA, Alg.SM2, Alg.ECSCHNORR]],
  [Alg.KEYEDHASH, [Alg.HMAC]],
]);

/** May the object sign at all? A symmetric cipher never does. */
export function isSigningKey({ publicArea }: StoredObject): boolean {
  return hasAttributes(publicArea, ObjectAttribute.sign) && publicArea.type !== Alg.SYMCIPHER;
}

/** The scheme that a key has itself, with the same shape for every type of key. */
export function schemeOf({ publicArea }: StoredObject): Scheme {
  switch (publicArea.type) {
    case Alg.RSA:
    case Alg.ECC:
      return publicArea.parameters.scheme;
    case Alg.KEYEDHASH: {
      const { scheme, hash } = publicArea.parameters.scheme;
      return { scheme, hash, count: 0 };
    }
    case Alg.SYMCIPHER:
      return { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };
    default:
      return publicArea satisfies never;
  }
}

/** Schemes in two steps, whose second needs the counter of the first (Part 1, C.5). */
const isSplit = (scheme: number): boolean => scheme === Alg.ECDAA;

/** ECDAA signs anonymously: what is attested must not tell who did (Part 3, 18.1). */
export const isAnonymous = (scheme: number): boolean => scheme === Alg.ECDAA;

/**
 * The scheme to sign with, of what the key says and the caller asks for. Undefined when they do not go together, or neither says anything
 * (Part 3, 20.2). `key` is undefined for no key at all: then nothing is signed.
 */
export function selectScheme(key: StoredObject | undefined, asked: Scheme): Scheme | undefined {
  if (key === undefined) return { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };
  const own = schemeOf(key);
  if (own.scheme === Alg.NULL)
    return signingSchemes.get(key.publicArea.type)?.includes(asked.scheme) ? asked : undefined;
  if (asked.scheme === Alg.NULL) return isSplit(own.scheme) ? undefined : own;
  return own.scheme === asked.scheme && own.hash === asked.hash ? asked : undefined;
}

/** Signs a digest. Throws TPM_RC_SCHEME for a scheme that is not one of the key's type, TPM_RC_SIZE for a digest that does not fit, TPM_RC_VALUE. */
export function sign(engine: Engine, key: StoredObject, scheme: Scheme, digest: Uint8Array): Signature {
  const { publicArea, sensitive } = key;
  if (sensitive === undefined) throw new TpmError(Rc.KEY);
  switch (publicArea.type) {
    case Alg.RSA:
      return signRsa(engine, key, scheme, digest);
    case Alg.ECC:
      return signEcc(engine, publicArea.parameters.curveID, key.name, sensitive.sensitive, scheme, digest);
    case Alg.KEYEDHASH:
      if (scheme.scheme !== Alg.HMAC) throw new TpmError(Rc.SCHEME);
      return {
        sigAlg: Alg.HMAC,
        hash: scheme.hash,
        digest: engine.crypto.hmac(scheme.hash, sensitive.sensitive, digest),
      };
    case Alg.SYMCIPHER:
      throw new TpmError(Rc.SCHEME);
    default:
      return publicArea satisfies never;
  }
}

/**
 * Is it the key's signature over the digest? Throws TPM_RC_SCHEME for a signature that the key's type cannot make, TPM_RC_HANDLE for an HMAC key
 * whose secret is not loaded.
 */
export function verify(engine: Engine, key: StoredObject, signature: Signature, digest: Uint8Array): boolean {
  const { publicArea, sensitive } = key;
  switch (publicArea.type) {
    case Alg.RSA:
      return verifyRsa(engine, key, signature, digest);
    case Alg.ECC:
      return verifyEcc(engine, key, signature, digest);
    case Alg.KEYEDHASH: {
      if (sensitive === undefined) throw new TpmError(Rc.HANDLE);
      if (signature.sigAlg !== Alg.HMAC) throw new TpmError(Rc.SCHEME);
      const own = publicArea.parameters.scheme;
      if (own.scheme !== Alg.NULL && (own.scheme !== Alg.HMAC || own.hash !== signature.hash)) return false;
      const expected = engine.crypto.hmac(signature.hash, sensitive.sensitive, digest);
      return engine.crypto.equal(expected, signature.digest);
    }
    case Alg.SYMCIPHER:
      throw new TpmError(Rc.SCHEME);
    default:
      return publicArea satisfies never;
  }
}

function signRsa(engine: Engine, key: StoredObject, { scheme, hash }: Scheme, digest: Uint8Array): Signature {
  const rsa = rsaPrivateOf(key);
  if (rsa === undefined) throw new TpmError(Rc.KEY);
  const size = rsa.modulus.length;
  let encoded: Uint8Array | undefined;
  if (scheme === Alg.RSASSA) encoded = encodePkcs1(hash, digest, size);
  else if (scheme === Alg.RSAPSS) encoded = encodePss(engine, hash, digest, rsa.modulus);
  else throw new TpmError(Rc.SCHEME);
  if (encoded === undefined) throw new TpmError(Rc.SIZE);
  const sig = engine.crypto.rsaPrivate(rsa, encoded);
  if (sig === undefined) throw new TpmError(Rc.VALUE);
  return { sigAlg: scheme, hash, sig };
}

function verifyRsa(
  engine: Engine,
  { publicArea }: StoredObject,
  signature: Signature,
  digest: Uint8Array,
): boolean {
  if (publicArea.type !== Alg.RSA) return false;
  if (signature.sigAlg !== Alg.RSASSA && signature.sigAlg !== Alg.RSAPSS) throw new TpmError(Rc.SCHEME);
  const modulus = publicArea.unique;
  if (signature.sig.length !== modulus.length) return false;
  const opened = engine.crypto.rsaPublic(modulus, publicArea.parameters.exponent, signature.sig);
  if (opened === undefined) return false;
  if (signature.sigAlg === Alg.RSAPSS) return pssHolds(engine, signature.hash, digest, opened, modulus);
  const expected = encodePkcs1(signature.hash, digest, modulus.length);
  return expected !== undefined && engine.crypto.equal(expected, opened);
}

/** EMSA-PKCS1-v1_5 (RFC 8017, 9.2). Undefined: the digest is not the hash's, or the key is too short. */
function encodePkcs1(hash: number, digest: Uint8Array, size: number): Uint8Array | undefined {
  const prefix = digestInfoPrefixes.get(hash);
  if (prefix === undefined || digest.length !== digestSizes.get(hash)) return undefined;
  const padding = size - 3 - prefix.length - digest.length;
  if (padding < 8) return undefined;
  return concat(Uint8Array.of(0, 1), new Uint8Array(padding).fill(0xff), Uint8Array.of(0), prefix, digest);
}

/** Bits of the modulus less one: what EMSA-PSS fills. */
function pssBits(modulus: Uint8Array): number {
  return 8 * (modulus.length - 1) + (32 - Math.clz32(modulus[0]!)) - 1;
}

/** Bytes of salt, for a modulus that fills its bytes: as many as the digest has, or as the key leaves room for (FIPS 186-5, 5.4). */
export function pssSaltSize(hashSize: number, size: number): number {
  return Math.min(hashSize, size - hashSize - 2);
}

/** EMSA-PSS (RFC 8017, 9.1.1) with a salt as long as the digest, or as the key leaves room for (FIPS 186-5, 5.4). */
function encodePss(
  engine: Engine,
  hash: number,
  digest: Uint8Array,
  modulus: Uint8Array,
): Uint8Array | undefined {
  const hashSize = digestSizes.get(hash)!;
  if (digest.length !== hashSize) return undefined;
  const bits = pssBits(modulus);
  const length = Math.ceil(bits / 8);
  const saltSize = pssSaltSize(hashSize, length);
  if (saltSize < 0) return undefined;
  const salt = engine.crypto.random(saltSize);
  const h = engine.crypto.hash(hash, new Uint8Array(8), digest, salt);
  const db = new Uint8Array(length - hashSize - 1);
  db[db.length - saltSize - 1] = 1;
  db.set(salt, db.length - saltSize);
  const mask = mgf1(engine.crypto, hash, h, db.length);
  for (let i = 0; i < db.length; i++) db[i]! ^= mask[i]!;
  db[0]! &= 0xff >>> (8 * length - bits);
  const encoded = concat(db, h, Uint8Array.of(0xbc));
  return encoded.length === modulus.length ? encoded : concat(new Uint8Array(1), encoded);
}

/** EMSA-PSS verification (RFC 8017, 9.1.2) with a salt of any length. */
function pssHolds(
  engine: Engine,
  hash: number,
  digest: Uint8Array,
  opened: Uint8Array,
  modulus: Uint8Array,
): boolean {
  const hashSize = digestSizes.get(hash)!;
  const bits = pssBits(modulus);
  const length = Math.ceil(bits / 8);
  const encoded = opened.subarray(opened.length - length);
  if (opened.length > length && opened[0] !== 0) return false;
  if (digest.length !== hashSize || length < hashSize + 2 || encoded[length - 1] !== 0xbc) return false;
  const h = encoded.subarray(length - hashSize - 1, length - 1);
  const db = new Uint8Array(encoded.subarray(0, length - hashSize - 1));
  const unused = 0xff & ~(0xff >>> (8 * length - bits));
  if ((db[0]! & unused) !== 0) return false;
  const mask = mgf1(engine.crypto, hash, h, db.length);
  for (let i = 0; i < db.length; i++) db[i]! ^= mask[i]!;
  db[0]! &= 0xff >>> (8 * length - bits);
  let at = 0;
  while (at < db.length && db[at] === 0) at++;
  if (db[at] !== 1) return false;
  const salt = db.subarray(at + 1);
  return engine.crypto.equal(h, engine.crypto.hash(hash, new Uint8Array(8), digest, salt));
}

function signEcc(
  engine: Engine,
  curve: number,
  name: Uint8Array,
  scalar: Uint8Array,
  { scheme, hash, count }: Scheme,
  digest: Uint8Array,
): Signature {
  switch (scheme) {
    case Alg.ECDSA:
      return { sigAlg: scheme, hash, ...engine.crypto.ecdsaSign(curve, scalar, digest) };
    case Alg.ECDAA: {
      const commit = openCommit(engine, curve, count, name);
      const signature = ecdaaSign(engine, curve, scalar, hash, digest, commit.scalar);
      commit.finish();
      return { sigAlg: scheme, hash, ...signature };
    }
    case Alg.ECSCHNORR:
      return { sigAlg: scheme, hash, ...schnorrSign(engine, curve, scalar, hash, digest) };
    case Alg.SM2:
      return { sigAlg: scheme, hash, ...sm2Sign(engine, curve, scalar, digest) };
    default:
      throw new TpmError(Rc.SCHEME);
  }
}

function verifyEcc(
  engine: Engine,
  { publicArea }: StoredObject,
  signature: Signature,
  digest: Uint8Array,
): boolean {
  if (publicArea.type !== Alg.ECC) return false;
  const curve = publicArea.parameters.curveID;
  const point = publicArea.unique;
  switch (signature.sigAlg) {
    case Alg.ECDSA:
      return engine.crypto.ecdsaVerify(curve, point, digest, signature.r, signature.s);
    case Alg.ECSCHNORR:
      return schnorrVerify(engine, curve, point, signature.hash, digest, signature.r, signature.s);
    case Alg.SM2:
      return sm2Verify(engine, curve, point, digest, signature.r, signature.s);
    default:
      // ECDAA signatures are checked by those who know the issuer's group.
      throw new TpmError(Rc.SCHEME);
  }
}

import {
  Alg,
  digestSizes,
  type Public,
  Rc,
  type Sensitive,
  type SymmetricDefinition,
  TPM2B_DIGEST,
  TPM2B_IV,
  TPMT_SENSITIVE,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { kdfa, noContext } from "./crypto/kdf.ts";
import type { Engine } from "./engine.ts";
import { protectionCipher } from "./objects.ts";
import type { StoredObject } from "./state.ts";

/*
 * Sensitive areas outside of the TPM: encrypted by their parent's cipher, under a key that follows from a seed and the object's Name, and with an HMAC
 * over that (Part 1, 22 to 24). Private areas, duplicates and credentials are all wrapped so. What is thrown has no place yet.
 */

const IV_SIZE = 16;
const noIv = new Uint8Array(IV_SIZE);

/** What a wrap is made by: the cipher and the Name hash of a key, and what follows from a seed, its own or one that was shared by it. */
interface Protection {
  readonly hash: number;
  readonly cipher: SymmetricDefinition;
  readonly seed: Uint8Array;
  readonly integrityKey: Uint8Array;
}

/** By the keys' own seeds. Objects never change, and a parent has many children. */
const ownProtections = new WeakMap<StoredObject, Protection>();

/** Protection of what is below a parent, by its own seed. */
function protectionBelow(engine: Engine, parent: StoredObject): Protection {
  let protection = ownProtections.get(parent);
  if (protection === undefined) {
    protection = protectionBy(engine, parent, parent.sensitive?.seedValue);
    ownProtections.set(parent, protection);
  }
  return protection;
}

/** Protection by a key of the kind that `isParent` and `isStorageKey` tell. Throws TPM_RC_TYPE for another key. */
function protectionBy(
  engine: Engine,
  { publicArea }: StoredObject,
  seed: Uint8Array | undefined,
): Protection {
  const cipher = protectionCipher(publicArea);
  const hash = publicArea.nameAlg;
  const digestSize = digestSizes.get(hash);
  if (cipher === undefined || cipher.algorithm === Alg.NULL || seed === undefined || digestSize === undefined)
    throw new TpmError(Rc.TYPE);
  const integrityKey = kdfa(engine.crypto, hash, seed, "INTEGRITY", noContext, noContext, 8 * digestSize);
  return { hash, cipher, seed, integrityKey };
}

function cipherKey(engine: Engine, { hash, cipher, seed }: Protection, name: Uint8Array): Uint8Array {
  return kdfa(engine.crypto, hash, seed, "STORAGE", name, noContext, cipher.keyBits);
}

function integrity(
  engine: Engine,
  { hash, integrityKey }: Protection,
  data: Uint8Array,
  name: Uint8Array,
): Uint8Array {
  return engine.crypto.hmac(hash, integrityKey, data, name);
}

/** HMAC, IV where there is one, and the encrypted data. */
function wrap(
  engine: Engine,
  protection: Protection,
  name: Uint8Array,
  data: Uint8Array,
  withIv: boolean,
): Uint8Array {
  const { crypto } = engine;
  const { algorithm } = protection.cipher;
  const iv = withIv ? crypto.random(IV_SIZE) : noIv;
  const encrypted = crypto.cipher(algorithm, Alg.CFB, cipherKey(engine, protection, name), iv, data, true);
  const body = withIv ? new TpmWriter().sized(iv).bytes(encrypted).finish() : encrypted;
  return new TpmWriter()
    .sized(integrity(engine, protection, body, name))
    .bytes(body)
    .finish();
}

/** Takes `wrap` back. Throws TPM_RC_INTEGRITY, TPM_RC_VALUE for an IV that is none, and what unmarshalling throws. */
function unwrap(
  engine: Engine,
  protection: Protection,
  name: Uint8Array,
  blob: Uint8Array,
  withIv: boolean,
): Uint8Array {
  const { crypto } = engine;
  const reader = new TpmReader(blob);
  const hmac = TPM2B_DIGEST.read(reader);
  const expected = integrity(engine, protection, blob.subarray(reader.offset), name);
  if (!crypto.equal(hmac, expected)) throw new TpmError(Rc.INTEGRITY);
  const iv = withIv ? TPM2B_IV.read(reader) : noIv;
  if (iv.length !== IV_SIZE) throw new TpmError(Rc.VALUE);
  const { algorithm } = protection.cipher;
  const encrypted = blob.subarray(reader.offset);
  return crypto.cipher(algorithm, Alg.CFB, cipherKey(engine, protection, name), iv, encrypted, false);
}

/** TPM2B_SENSITIVE, the authValue padded to the size of the Name digest so that its length does not show. */
function marshalSensitive(sensitive: Sensitive, nameAlg: number): Uint8Array {
  const authValue = new Uint8Array(Math.max(digestSizes.get(nameAlg) ?? 0, sensitive.authValue.length));
  authValue.set(sensitive.authValue);
  const writer = new TpmWriter();
  TPMT_SENSITIVE.write(writer, { ...sensitive, authValue });
  return new TpmWriter().sized(writer.finish()).finish();
}

/** The content of TPM2B_PRIVATE: the sensitive area of an object as its parent keeps it (Part 1, 22.4). */
export function sensitiveToPrivate(
  engine: Engine,
  parent: StoredObject,
  name: Uint8Array,
  { nameAlg }: Public,
  sensitive: Sensitive,
): Uint8Array {
  return wrap(engine, protectionBelow(engine, parent), name, marshalSensitive(sensitive, nameAlg), true);
}

/** Takes `sensitiveToPrivate` back. Throws TPM_RC_INTEGRITY, TPM_RC_VALUE, TPM_RC_SENSITIVE, and what unmarshalling throws. */
export function privateToSensitive(
  engine: Engine,
  parent: StoredObject,
  name: Uint8Array,
  blob: Uint8Array,
): Sensitive {
  const reader = new TpmReader(unwrap(engine, protectionBelow(engine, parent), name, blob, true));
  const size = reader.u16();
  if (size !== reader.remaining) throw new TpmError(Rc.SENSITIVE);
  try {
    const sensitive = TPMT_SENSITIVE.read(reader);
    if (reader.remaining === 0) return sensitive;
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
  }
  throw new TpmError(Rc.SENSITIVE);
}

/** The inner wrap of a duplicate: a cipher and its key, as the owner of the object chose them. Algorithm NULL: none. */
export interface InnerWrap {
  readonly cipher: SymmetricDefinition;
  readonly key: Uint8Array;
}

/** A sensitive area as it goes to a new parent, without the outer wrap (Part 1, 23.3.2.2). */
export function sensitiveToDuplicate(
  engine: Engine,
  name: Uint8Array,
  { nameAlg }: Public,
  sensitive: Sensitive,
  { cipher, key }: InnerWrap,
): Uint8Array {
  const { crypto } = engine;
  const data = marshalSensitive(sensitive, nameAlg);
  if (cipher.algorithm === Alg.NULL) return data;
  const checked = new TpmWriter()
    .sized(crypto.hash(nameAlg, data, name))
    .bytes(data)
    .finish();
  return crypto.cipher(cipher.algorithm, Alg.CFB, key, noIv, checked, true);
}

/** Takes `sensitiveToDuplicate` back. Throws TPM_RC_INTEGRITY, TPM_RC_SIZE, and what unmarshalling throws. */
export function duplicateToSensitive(
  engine: Engine,
  name: Uint8Array,
  { nameAlg }: Public,
  blob: Uint8Array,
  { cipher, key }: InnerWrap,
): Sensitive {
  const { crypto } = engine;
  const inner = cipher.algorithm !== Alg.NULL;
  const plain = inner ? crypto.cipher(cipher.algorithm, Alg.CFB, key, noIv, blob, false) : blob;
  const reader = new TpmReader(plain);
  if (inner) {
    const digest = TPM2B_DIGEST.read(reader);
    if (!crypto.equal(digest, crypto.hash(nameAlg, plain.subarray(reader.offset), name)))
      throw new TpmError(Rc.INTEGRITY);
  }
  const size = reader.u16();
  if (size !== reader.remaining) throw new TpmError(Rc.SIZE);
  const sensitive = TPMT_SENSITIVE.read(reader);
  if (reader.remaining !== 0) throw new TpmError(Rc.SIZE);
  return sensitive;
}

/** The outer wrap of a duplicate, by a seed that the new parent's key shares (Part 1, 23.3.2.3). Throws TPM_RC_TYPE for a key that is no storage key. */
export function wrapOuter(
  engine: Engine,
  parent: StoredObject,
  name: Uint8Array,
  seed: Uint8Array,
  data: Uint8Array,
): Uint8Array {
  return wrap(engine, protectionBy(engine, parent, seed), name, data, false);
}

/** Takes `wrapOuter` back. Throws TPM_RC_INTEGRITY, and what unmarshalling throws. */
export function unwrapOuter(
  engine: Engine,
  parent: StoredObject,
  name: Uint8Array,
  seed: Uint8Array,
  blob: Uint8Array,
): Uint8Array {
  return unwrap(engine, protectionBy(engine, parent, seed), name, blob, false);
}

/** The content of TPM2B_ID_OBJECT: a credential for the object of Name `name`, by a seed that `key` shares (Part 1, 24). */
export function secretToCredential(
  engine: Engine,
  key: StoredObject,
  name: Uint8Array,
  seed: Uint8Array,
  credential: Uint8Array,
): Uint8Array {
  return wrapOuter(engine, key, name, seed, new TpmWriter().sized(credential).finish());
}

/** Takes `secretToCredential` back. Throws TPM_RC_INTEGRITY, TPM_RC_SIZE, and what unmarshalling throws. */
export function credentialToSecret(
  engine: Engine,
  key: StoredObject,
  name: Uint8Array,
  seed: Uint8Array,
  blob: Uint8Array,
): Uint8Array {
  const plain = unwrapOuter(engine, key, name, seed, blob);
  const reader = new TpmReader(plain);
  const credential = TPM2B_DIGEST.read(reader);
  if (reader.remaining !== 0) throw new TpmError(Rc.SIZE);
  return credential;
}

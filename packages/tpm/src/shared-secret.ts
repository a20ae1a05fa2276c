import {
  Alg,
  digestSizes,
  type EccPublic,
  ObjectAttribute,
  Rc,
  type RsaPublic,
  TPMS_ECC_POINT,
  TpmError,
  TpmReader,
  TpmWriter,
} from "@entresol/tpm-types";
import { kdfe, label as labelOf, mgf1, noContext, xorObfuscate } from "./crypto/kdf.ts";
import type { CryptoProvider } from "./crypto/provider.ts";
import type { Engine } from "./engine.ts";
import { hasAttributes, rsaPrivateOf } from "./objects.ts";
import type { StoredObject } from "./state.ts";

/*
 * Secrets that are shared by a key: the salt of a session, the seed of a credential or of a duplicated object (Part 1, annexes B.10 and C.6).
 * RSA encrypts them by OAEP; ECC agrees on them by one-pass ECDH.
 */

const blockSize = 16;

/**
 * The secret that `secret` (the content of TPM2B_ENCRYPTED_SECRET) holds for a key. `label` is "SECRET", "IDENTITY" or "DUPLICATE".
 * `nonceCaller` counts for keys that are symmetric, which only StartAuthSession takes. Throws, without a place: TPM_RC_SCHEME for a key that
 * cannot be used so, TPM_RC_SIZE, TPM_RC_VALUE, TPM_RC_INSUFFICIENT, TPM_RC_ECC_POINT and TPM_RC_NO_RESULT for what is no secret of the key.
 */
export function decryptSecret(
  engine: Engine,
  key: StoredObject,
  label: string,
  secret: Uint8Array,
  nonceCaller: Uint8Array = noContext,
): Uint8Array {
  const { publicArea, sensitive } = key;
  const { crypto } = engine;
  if (sensitive === undefined) throw new TpmError(Rc.HANDLE);
  const size = digestSizes.get(publicArea.nameAlg) ?? 0;
  switch (publicArea.type) {
    case Alg.RSA:
      return decryptByRsa(engine, key, publicArea, label, secret);
    case Alg.ECC: {
      if (size === 0) throw new TpmError(Rc.SCHEME);
      const point = TPMS_ECC_POINT.read(new TpmReader(secret));
      const { curveID } = publicArea.parameters;
      if (!crypto.eccOnCurve(curveID, point)) throw new TpmError(Rc.ECC_POINT);
      const shared = crypto.eccAgree(curveID, sensitive.sensitive, point);
      if (shared === undefined) throw new TpmError(Rc.NO_RESULT);
      return kdfe(crypto, publicArea.nameAlg, shared, label, point.x, publicArea.unique.x, 8 * size);
    }
    case Alg.KEYEDHASH: {
      if (secret.length > size) throw new TpmError(Rc.VALUE);
      const data = new Uint8Array(secret);
      if (data.length > 0)
        xorObfuscate(crypto, publicArea.nameAlg, sensitive.sensitive, nonceCaller, noContext, data);
      return data;
    }
    case Alg.SYMCIPHER: {
      if (secret.length > size) throw new TpmError(Rc.VALUE);
      const iv = new Uint8Array(blockSize);
      iv.set(nonceCaller.subarray(0, blockSize));
      const { algorithm } = publicArea.parameters.sym;
      return crypto.cipher(algorithm, Alg.CFB, sensitive.sensitive, iv, secret, false);
    }
    default:
      return publicArea satisfies never;
  }
}

function decryptByRsa(
  engine: Engine,
  key: StoredObject,
  publicArea: RsaPublic,
  label: string,
  secret: Uint8Array,
): Uint8Array {
  const { scheme } = publicArea.parameters;
  const hash = scheme.scheme === Alg.NULL ? publicArea.nameAlg : scheme.hash;
  const limit = digestSizes.get(hash);
  if ((scheme.scheme !== Alg.NULL && scheme.scheme !== Alg.OAEP) || limit === undefined)
    throw new TpmError(Rc.SCHEME);
  if (!hasAttributes(publicArea, ObjectAttribute.decrypt)) throw new TpmError(Rc.ATTRIBUTES);
  if (secret.length !== publicArea.unique.length) throw new TpmError(Rc.SIZE);
  const block = engine.crypto.rsaPrivate(rsaPrivateOf(key)!, secret);
  const message = block === undefined ? undefined : unpadOaep(engine.crypto, hash, labelOf(label), block);
  if (message === undefined || message.length > limit) throw new TpmError(Rc.VALUE);
  return message;
}

/**
 * A new secret, of the size of the key's Name digest, and how it is sent to whoever has the private key. The public area of an asymmetric
 * key is enough. Throws TPM_RC_ATTRIBUTES for a key that does not decrypt, TPM_RC_SCHEME for one without a Name algorithm and TPM_RC_KEY for
 * one that is none.
 */
export function encryptSecret(
  engine: Engine,
  key: StoredObject,
  label: string,
): { readonly secret: Uint8Array; readonly data: Uint8Array } {
  const { publicArea } = key;
  const size = digestSizes.get(publicArea.nameAlg);
  if (!hasAttributes(publicArea, ObjectAttribute.decrypt)) throw new TpmError(Rc.ATTRIBUTES);
  if (size === undefined) throw new TpmError(Rc.SCHEME);
  if (publicArea.type === Alg.RSA) return encryptByRsa(engine, publicArea, label, size);
  if (publicArea.type === Alg.ECC) return agreeByEcc(engine, publicArea, label, size);
  throw new TpmError(Rc.KEY);
}

function encryptByRsa(engine: Engine, publicArea: RsaPublic, label: string, size: number) {
  const { crypto } = engine;
  const { parameters, unique, nameAlg } = publicArea;
  const data = crypto.random(size);
  const block = padOaep(crypto, nameAlg, labelOf(label), data, unique.length);
  const secret = block === undefined ? undefined : crypto.rsaPublic(unique, parameters.exponent, block);
  // A digest that is too long for the modulus, or a modulus that begins with zeros: no key of ours.
  if (secret === undefined) throw new TpmError(Rc.VALUE);
  return { secret, data };
}

function agreeByEcc(engine: Engine, publicArea: EccPublic, label: string, size: number) {
  const { crypto } = engine;
  const { parameters, unique, nameAlg } = publicArea;
  const { curveID } = parameters;
  if (!crypto.eccOnCurve(curveID, unique)) throw new TpmError(Rc.KEY);
  const scalar = crypto.eccScalar(curveID);
  const point = crypto.eccPublic(curveID, scalar)!;
  const shared = crypto.eccAgree(curveID, scalar, unique);
  if (shared === undefined) throw new TpmError(Rc.KEY);
  const writer = new TpmWriter();
  TPMS_ECC_POINT.write(writer, point);
  const data = kdfe(crypto, nameAlg, shared, label, point.x, unique.x, 8 * size);
  return { secret: writer.finish(), data };
}

/** EME-OAEP (RFC 8017, 7.1.1) with MGF1 of the same hash. `label` is hashed as it is, its zero byte included. Undefined when `message` is too long for a block of `size` bytes. */
export function padOaep(
  crypto: CryptoProvider,
  hash: number,
  label: Uint8Array,
  message: Uint8Array,
  size: number,
): Uint8Array | undefined {
  const digestSize = digestSizes.get(hash)!;
  if (message.length > size - 2 * digestSize - 2) return undefined;
  const block = new Uint8Array(size);
  const seed = block.subarray(1, 1 + digestSize);
  const data = block.subarray(1 + digestSize);
  data.set(crypto.hash(hash, label));
  data[data.length - message.length - 1] = 1;
  data.set(message, data.length - message.length);
  seed.set(crypto.random(digestSize));
  xorInto(data, mgf1(crypto, hash, seed, data.length));
  xorInto(seed, mgf1(crypto, hash, data, digestSize));
  return block;
}

/** Takes `padOaep` back. Undefined for a block that was not made so: one answer for all reasons, found without a branch that tells them apart (RFC 8017, 7.1.2). */
export function unpadOaep(
  crypto: CryptoProvider,
  hash: number,
  label: Uint8Array,
  block: Uint8Array,
): Uint8Array | undefined {
  const digestSize = digestSizes.get(hash)!;
  if (block.length < 2 * digestSize + 2) return undefined;
  const seed = block.slice(1, 1 + digestSize);
  const data = block.slice(1 + digestSize);
  xorInto(seed, mgf1(crypto, hash, data, digestSize));
  xorInto(data, mgf1(crypto, hash, seed, data.length));
  const labelHash = crypto.hash(hash, label);
  let bad = block[0]!;
  for (let i = 0; i < digestSize; i++) bad |= data[i]! ^ labelHash[i]!;
  // The first byte that is not zero ends the padding, and must be one.
  let searching = 1;
  let start = data.length;
  for (let i = digestSize; i < data.length; i++) {
    const byte = data[i]!;
    const notZero = ((byte | -byte) >>> 31) & 1;
    const found = searching & notZero;
    start += found * (i + 1 - data.length);
    bad |= found * (byte ^ 1);
    searching &= ~found;
  }
  bad |= searching;
  return bad === 0 ? data.slice(start) : undefined;
}

function xorInto(target: Uint8Array, mask: Uint8Array): void {
  for (let i = 0; i < target.length; i++) target[i]! ^= mask[i]!;
}

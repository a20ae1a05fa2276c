import {
  Alg,
  digestSizes,
  type EccPublic,
  type KeyedHashPublic,
  ObjectAttribute,
  type Public,
  Rc,
  type RsaPublic,
  type Sensitive,
  type SymmetricDefinition,
  TpmError,
} from "@entresol/tpm-types";
import type { CryptoProvider } from "./crypto/provider.ts";
import { hasAttributes, isDerivationParent, isFixedToTpm, protectionCipher } from "./objects.ts";
import type { StoredObject } from "./state.ts";

/*
 * Which public areas an object may have (Part 1, 25 to 28; Part 2, 8.3, 12.2 and annex tables). What is thrown has no place yet: it is said of the
 * parameter with the public area by the caller.
 */

const {
  fixedTPM,
  fixedParent,
  sensitiveDataOrigin,
  firmwareLimited,
  svnLimited,
  encryptedDuplication,
  restricted,
  decrypt,
  sign,
} = ObjectAttribute;

const signingSchemes: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [Alg.RSA, new Set<number>([Alg.RSASSA, Alg.RSAPSS])],
  [Alg.ECC, new Set<number>([Alg.ECDSA, Alg.ECDAA, Alg.ECSCHNORR, Alg.SM2])],
]);
const decryptionSchemes: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [Alg.RSA, new Set<number>([Alg.RSAES, Alg.OAEP])],
  [Alg.ECC, new Set<number>([Alg.ECDH, Alg.SM2, Alg.ECMQV])],
]);
const cipherModes: ReadonlySet<number> = new Set([Alg.CTR, Alg.OFB, Alg.CBC, Alg.CFB, Alg.ECB, Alg.NULL]);

/**
 * May an object of this template be created with `dataSize` bytes from the caller? `parent` is undefined for a primary object. Throws
 * TPM_RC_ATTRIBUTES, and what `validatePublic` throws.
 */
export function validateTemplate(
  parent: StoredObject | undefined,
  publicArea: Public,
  dataSize: number,
  weakRsa: boolean,
): void {
  const has = (attributes: number): boolean => hasAttributes(publicArea, attributes);
  const ofTpm = has(sensitiveDataOrigin);
  if (!ofTpm && dataSize === 0) throw new TpmError(Rc.ATTRIBUTES);
  // A primary object may be given data beside its seed: it is only stirred in.
  if (ofTpm && dataSize !== 0 && parent !== undefined) throw new TpmError(Rc.ATTRIBUTES);
  switch (publicArea.type) {
    case Alg.RSA:
    case Alg.ECC:
      if (!ofTpm) throw new TpmError(Rc.ATTRIBUTES);
      break;
    default:
      // Sealed data cannot come from the TPM.
      if (publicArea.type === Alg.KEYEDHASH && !has(sign) && !has(decrypt) && ofTpm)
        throw new TpmError(Rc.ATTRIBUTES);
      // A restricted key that somebody else knows must look like one that was imported.
      if (has(restricted) && !ofTpm && (has(fixedParent) || has(fixedTPM))) throw new TpmError(Rc.ATTRIBUTES);
  }
  validatePublic(parent, publicArea, weakRsa);
}

/**
 * Is the public area consistent in itself and with its parent (undefined: a seed, or nothing)? Throws TPM_RC_HASH, TPM_RC_SIZE, TPM_RC_ATTRIBUTES,
 * and what `validateSchemes` throws.
 */
export function validatePublic(parent: StoredObject | undefined, publicArea: Public, weakRsa: boolean): void {
  const has = (attributes: number): boolean => hasAttributes(publicArea, attributes);
  const { nameAlg, authPolicy } = publicArea;
  if (nameAlg === Alg.NULL) throw new TpmError(Rc.HASH);
  if (authPolicy.length !== 0 && authPolicy.length !== digestSizes.get(nameAlg)) throw new TpmError(Rc.SIZE);
  if (!attributesFit(parent, has)) throw new TpmError(Rc.ATTRIBUTES);
  if (has(sign) === has(decrypt)) {
    if (has(restricted)) throw new TpmError(Rc.ATTRIBUTES);
    // Only sealed data is for neither.
    if (publicArea.type !== Alg.KEYEDHASH && !has(sign)) throw new TpmError(Rc.ATTRIBUTES);
  }
  validateSchemes(parent, publicArea, weakRsa);
}

/** Do the attributes that tie an object to its place fit each other and the parent's? Seeds count as fixedTPM. */
function attributesFit(parent: StoredObject | undefined, has: (attributes: number) => boolean): boolean {
  const parentFixed = parent === undefined || isFixedToTpm(parent);
  if (parentFixed ? has(fixedParent) !== has(fixedTPM) : has(fixedTPM)) return false;
  if (has(fixedTPM) && has(encryptedDuplication)) return false;
  // No hierarchy is bound to a firmware version: there is no ancestor to have these from.
  if (has(firmwareLimited) || has(svnLimited)) return false;
  if (parent === undefined) return true;
  if (!parentFixed && has(encryptedDuplication) !== hasAttributes(parent.publicArea, encryptedDuplication))
    return false;
  return !isDerivationParent(parent) || (has(fixedTPM) === isFixedToTpm(parent) && has(fixedParent));
}

/**
 * Do schemes and symmetric algorithms fit what the key is for? Throws TPM_RC_SCHEME, TPM_RC_SYMMETRIC, TPM_RC_KDF, TPM_RC_HASH, and TPM_RC_VALUE for
 * an RSA key of 1024 bits where those are not allowed.
 */
export function validateSchemes(
  parent: StoredObject | undefined,
  publicArea: Public,
  weakRsa: boolean,
): void {
  switch (publicArea.type) {
    case Alg.SYMCIPHER:
      if (hasAttributes(publicArea, decrypt) && !cipherModes.has(publicArea.parameters.sym.mode))
        throw new TpmError(Rc.SCHEME);
      break;
    case Alg.KEYEDHASH:
      validateKeyedHashScheme(publicArea);
      break;
    case Alg.RSA:
      if (publicArea.parameters.keyBits < 2048 && !weakRsa) throw new TpmError(Rc.VALUE);
      validateAsymmetricScheme(publicArea);
      break;
    case Alg.ECC:
      validateAsymmetricScheme(publicArea);
      if (publicArea.parameters.kdf.scheme !== Alg.NULL) throw new TpmError(Rc.KDF);
      break;
    default:
      publicArea satisfies never;
  }
  const cipher = protectionCipher(publicArea);
  if (cipher === undefined || !hasAttributes(publicArea, restricted | decrypt)) return;
  // A parent: it protects its children by this.
  if (cipher.algorithm === Alg.NULL) throw new TpmError(Rc.SYMMETRIC);
  if (parent === undefined || !hasAttributes(publicArea, fixedParent)) return;
  if (publicArea.nameAlg !== parent.publicArea.nameAlg) throw new TpmError(Rc.HASH);
  if (!sameCipher(cipher, protectionCipher(parent.publicArea))) throw new TpmError(Rc.SYMMETRIC);
}

function sameCipher(a: SymmetricDefinition, b: SymmetricDefinition | undefined): boolean {
  return a.algorithm === b?.algorithm && a.keyBits === b.keyBits && a.mode === b.mode;
}

function validateKeyedHashScheme(publicArea: KeyedHashPublic): void {
  const { scheme, kdf } = publicArea.parameters.scheme;
  const [signs, decrypts] = [hasAttributes(publicArea, sign), hasAttributes(publicArea, decrypt)];
  const wanted = signs === decrypts ? Alg.NULL : signs ? Alg.HMAC : Alg.XOR;
  if (scheme !== wanted) throw new TpmError(Rc.SCHEME);
  // Of a derivation parent: the one KDF that objects are derived by.
  if (scheme === Alg.XOR && hasAttributes(publicArea, restricted) && kdf !== Alg.KDF1_SP800_108)
    throw new TpmError(Rc.SCHEME);
}

function validateAsymmetricScheme(publicArea: RsaPublic | EccPublic): void {
  const { scheme } = publicArea.parameters.scheme;
  const isRestricted = hasAttributes(publicArea, restricted);
  const [signs, decrypts] = [hasAttributes(publicArea, sign), hasAttributes(publicArea, decrypt)];
  if (signs === decrypts) {
    // There is no way to write down a scheme for both.
    if (scheme !== Alg.NULL) throw new TpmError(Rc.SCHEME);
  } else if (signs) {
    const proper = signingSchemes.get(publicArea.type)?.has(scheme) === true;
    if (!proper && (isRestricted || scheme !== Alg.NULL)) throw new TpmError(Rc.SCHEME);
  } else {
    const proper = !isRestricted && decryptionSchemes.get(publicArea.type)?.has(scheme) === true;
    if (!proper && scheme !== Alg.NULL) throw new TpmError(Rc.SCHEME);
  }
  if (!(isRestricted && decrypts) && publicArea.parameters.symmetric.algorithm !== Alg.NULL)
    throw new TpmError(Rc.SYMMETRIC);
}

/** Sizes in bytes of the blocks that hashes work on: an HMAC key that is longer is no stronger. */
const hashBlocks: ReadonlyMap<number, number> = new Map([
  [Alg.SHA1, 64],
  [Alg.SHA256, 64],
  [Alg.SHA384, 128],
  [Alg.SHA512, 128],
  [Alg.SHA3_256, 136],
  [Alg.SHA3_384, 104],
  [Alg.SHA3_512, 72],
]);
/** What an object can seal. */
const SEALED_MAX = 128;

/** The hash by which a keyed-hash object is measured: its scheme's, or that of its Name. */
export function keyedHashAlgorithm({ parameters, nameAlg }: KeyedHashPublic): number {
  return parameters.scheme.scheme === Alg.NULL ? nameAlg : parameters.scheme.hash;
}

/** Most bytes that a caller may give a new keyed-hash object: for a key, no more than a block of its hash. */
export function keyedHashCreationLimit(publicArea: KeyedHashPublic): number {
  const isKey = hasAttributes(publicArea, sign) || hasAttributes(publicArea, decrypt);
  return isKey ? Math.min(SEALED_MAX, hashBlocks.get(keyedHashAlgorithm(publicArea))!) : SEALED_MAX;
}

/** Most bytes that a keyed-hash object that is loaded can hold. */
export function keyedHashLimit({ parameters }: KeyedHashPublic): number {
  const { scheme, hash } = parameters.scheme;
  return scheme === Alg.NULL ? SEALED_MAX : Math.min(SEALED_MAX, hashBlocks.get(hash)!);
}

/** `unique` of a symmetric object: it binds the public area to the sensitive one (Part 1, 27.5.3). */
export function symmetricUnique(
  crypto: Pick<CryptoProvider, "hash" | "hmac">,
  publicArea: Public,
  { seedValue, sensitive }: Sensitive,
): Uint8Array {
  return hasAttributes(publicArea, restricted | decrypt)
    ? crypto.hmac(publicArea.nameAlg, seedValue, sensitive)
    : crypto.hash(publicArea.nameAlg, seedValue, sensitive);
}

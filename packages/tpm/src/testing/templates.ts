import {
  Alg,
  Curve,
  type EccPublic,
  type KdfScheme,
  type KeyedHashPublic,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  type RsaPublic,
  type Scheme,
  type SensitiveCreate,
  type SymCipherPublic,
} from "@entresol/tpm-types";
import { aes128Cfb } from "./client.ts";

/* Templates that tests make objects by. Name algorithm SHA-256 where nothing else is said. */

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt, sign } =
  ObjectAttribute;
const empty: Uint8Array = new Uint8Array(0);

/** Of a key that was made here and stays here. */
export const fixedKey = fixedTPM | fixedParent | sensitiveDataOrigin | userWithAuth | noDA;
/** Of a key that was made here and may move. */
export const movableKey = sensitiveDataOrigin | userWithAuth | noDA;
export const storageKey = restricted | decrypt;

export const noKdf: KdfScheme = { scheme: Alg.NULL, hash: Alg.NULL };

const common = { nameAlg: Alg.SHA256, objectAttributes: fixedKey | storageKey, authPolicy: empty };

/** A storage key unless `parameters` and `objectAttributes` say otherwise. */
export function rsaTemplate(
  change: Partial<Omit<RsaPublic, "type" | "parameters">> & {
    readonly parameters?: Partial<RsaPublic["parameters"]>;
  } = {},
): RsaPublic {
  return {
    ...common,
    unique: empty,
    ...change,
    type: Alg.RSA,
    parameters: { symmetric: aes128Cfb, scheme: noScheme, keyBits: 2048, exponent: 0, ...change.parameters },
  };
}

export function eccTemplate(
  change: Partial<Omit<EccPublic, "type" | "parameters">> & {
    readonly parameters?: Partial<EccPublic["parameters"]>;
  } = {},
): EccPublic {
  return {
    ...common,
    unique: { x: empty, y: empty },
    ...change,
    type: Alg.ECC,
    parameters: {
      symmetric: aes128Cfb,
      scheme: noScheme,
      curveID: Curve.NIST_P256,
      kdf: noKdf,
      ...change.parameters,
    },
  };
}

/** An unrestricted signing key of P-256. */
export function eccSigningTemplate(
  scheme: Scheme = noScheme,
  objectAttributes: number = fixedKey | sign,
): EccPublic {
  return eccTemplate({ objectAttributes, parameters: { symmetric: noSymmetric, scheme } });
}

/** Sealed data. */
export function sealTemplate(change: Partial<Omit<KeyedHashPublic, "type">> = {}): KeyedHashPublic {
  return {
    ...common,
    objectAttributes: fixedTPM | fixedParent | userWithAuth | noDA,
    parameters: { scheme: { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL } },
    unique: empty,
    ...change,
    type: Alg.KEYEDHASH,
  };
}

/** A key that others are derived from. */
export function derivationTemplate(change: Partial<Omit<KeyedHashPublic, "type">> = {}): KeyedHashPublic {
  return sealTemplate({
    objectAttributes: fixedKey | storageKey,
    parameters: { scheme: { scheme: Alg.XOR, hash: Alg.SHA256, kdf: Alg.KDF1_SP800_108 } },
    ...change,
  });
}

/** An unrestricted AES-128 key that encrypts and decrypts. */
export function cipherTemplate(change: Partial<Omit<SymCipherPublic, "type">> = {}): SymCipherPublic {
  return {
    ...common,
    objectAttributes: fixedKey | decrypt | sign,
    parameters: { sym: aes128Cfb },
    unique: empty,
    ...change,
    type: Alg.SYMCIPHER,
  };
}

export function sensitiveCreate(userAuth = "", data: Uint8Array | string = ""): SensitiveCreate {
  const bytes = (text: Uint8Array | string): Uint8Array =>
    typeof text === "string" ? new TextEncoder().encode(text) : text;
  return { userAuth: bytes(userAuth), data: bytes(data) };
}

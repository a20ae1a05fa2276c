import { Alg, symmetricKeyBits } from "./algorithms.ts";
import type { Type } from "./codec.ts";
import {
  TPM_ALG_ID,
  TPMI_ALG_ECC_SCHEME_NULL,
  TPMI_ALG_HASH,
  TPMI_ALG_KDF,
  TPMI_ALG_KDF_NULL,
  TPMI_ALG_KEYEDHASH_SCHEME_NULL,
  TPMI_ALG_RSA_DECRYPT_NULL,
  TPMI_ALG_RSA_SCHEME_NULL,
  TPMI_ALG_SIG_SCHEME_NULL,
  TPMI_ALG_SYM_MODE_NULL,
  TPMI_ALG_SYM_NULL,
  TPMI_ALG_SYM_OBJECT,
  TPMI_ALG_SYM_OBJECT_NULL,
} from "./interface-types.ts";
import { Rc, TpmError } from "./response-codes.ts";

/** A symmetric algorithm (Part 2, 11.1). With `Alg.NULL` nothing else counts; with `Alg.XOR` there is a `hash` and no key size or mode. */
export interface SymmetricDefinition {
  readonly algorithm: number;
  /** Bits; 0 for NULL and XOR. */
  readonly keyBits: number;
  /** `Alg.NULL` for NULL and XOR, and where any mode will do. */
  readonly mode: number;
  /** Of XOR, else `Alg.NULL`. */
  readonly hash: number;
}
export const noSymmetric: SymmetricDefinition = {
  algorithm: Alg.NULL,
  keyBits: 0,
  mode: Alg.NULL,
  hash: Alg.NULL,
};

function symmetric(name: string, algorithmType: Type<number>): Type<SymmetricDefinition> {
  return {
    name,
    read(reader) {
      const algorithm = algorithmType.read(reader);
      if (algorithm === Alg.NULL) return noSymmetric;
      if (algorithm === Alg.XOR) return { ...noSymmetric, algorithm, hash: TPMI_ALG_HASH.read(reader) };
      const keyBits = reader.u16();
      if (symmetricKeyBits.get(algorithm)?.includes(keyBits) !== true) throw new TpmError(Rc.VALUE);
      return { algorithm, keyBits, mode: TPMI_ALG_SYM_MODE_NULL.read(reader), hash: Alg.NULL };
    },
    write(writer, { algorithm, keyBits, mode, hash }) {
      writer.u16(algorithm);
      if (algorithm === Alg.NULL) return;
      if (algorithm === Alg.XOR) writer.u16(hash);
      else writer.u16(keyBits).u16(mode);
    },
  };
}
/** Of a session: XOR and NULL are allowed. */
export const TPMT_SYM_DEF = symmetric("TPMT_SYM_DEF+", TPMI_ALG_SYM_NULL);
export const TPMT_SYM_DEF_OBJECT = symmetric("TPMT_SYM_DEF_OBJECT", TPMI_ALG_SYM_OBJECT);
export const TPMT_SYM_DEF_OBJECT_NULL = symmetric("TPMT_SYM_DEF_OBJECT+", TPMI_ALG_SYM_OBJECT_NULL);

/** A signing, encryption or key exchange scheme (Part 2, 11.2). */
export interface Scheme {
  readonly scheme: number;
  /** `Alg.NULL` for a scheme that has none: NULL, RSAES. */
  readonly hash: number;
  /** Of ECDAA: the counter of the commit; else 0. */
  readonly count: number;
}
export const noScheme: Scheme = { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };

function scheme(name: string, schemeType: Type<number>): Type<Scheme> {
  return {
    name,
    read(reader) {
      const id = schemeType.read(reader);
      if (id === Alg.NULL || id === Alg.RSAES) return { scheme: id, hash: Alg.NULL, count: 0 };
      const hash = TPMI_ALG_HASH.read(reader);
      return { scheme: id, hash, count: id === Alg.ECDAA ? reader.u16() : 0 };
    },
    write(writer, value) {
      writer.u16(value.scheme);
      if (value.scheme === Alg.NULL || value.scheme === Alg.RSAES) return;
      writer.u16(value.hash);
      if (value.scheme === Alg.ECDAA) writer.u16(value.count);
    },
  };
}
export const TPMT_SIG_SCHEME = scheme("TPMT_SIG_SCHEME+", TPMI_ALG_SIG_SCHEME_NULL);
export const TPMT_RSA_SCHEME = scheme("TPMT_RSA_SCHEME+", TPMI_ALG_RSA_SCHEME_NULL);
export const TPMT_RSA_DECRYPT = scheme("TPMT_RSA_DECRYPT+", TPMI_ALG_RSA_DECRYPT_NULL);
export const TPMT_ECC_SCHEME = scheme("TPMT_ECC_SCHEME+", TPMI_ALG_ECC_SCHEME_NULL);

/** TPMT_KDF_SCHEME (Part 2, 11.2.3.3). */
export interface KdfScheme {
  readonly scheme: number;
  /** `Alg.NULL` with no scheme. */
  readonly hash: number;
}
function kdfScheme(hashType: Type<number>): Type<KdfScheme> {
  return {
    name: "TPMT_KDF_SCHEME+",
    read(reader) {
      const id = TPMI_ALG_KDF_NULL.read(reader);
      return { scheme: id, hash: id === Alg.NULL ? Alg.NULL : hashType.read(reader) };
    },
    write(writer, value) {
      writer.u16(value.scheme);
      if (value.scheme !== Alg.NULL) writer.u16(value.hash);
    },
  };
}
export const TPMT_KDF_SCHEME = kdfScheme(TPMI_ALG_HASH);
/** As the constants of a curve tell it: of SM2 the hash is SM3, whether anybody can compute that or not. */
export const TPMT_KDF_SCHEME_OF_CURVE = kdfScheme(TPM_ALG_ID);

/** TPMT_KEYEDHASH_SCHEME (Part 2, 11.1.23). */
export interface KeyedHashScheme {
  readonly scheme: number;
  readonly hash: number;
  /** Of XOR, else `Alg.NULL`. */
  readonly kdf: number;
}
export const TPMT_KEYEDHASH_SCHEME: Type<KeyedHashScheme> = {
  name: "TPMT_KEYEDHASH_SCHEME+",
  read(reader) {
    const id = TPMI_ALG_KEYEDHASH_SCHEME_NULL.read(reader);
    if (id === Alg.NULL) return { scheme: id, hash: Alg.NULL, kdf: Alg.NULL };
    const hash = TPMI_ALG_HASH.read(reader);
    return { scheme: id, hash, kdf: id === Alg.XOR ? TPMI_ALG_KDF.read(reader) : Alg.NULL };
  },
  write(writer, value) {
    writer.u16(value.scheme);
    if (value.scheme === Alg.NULL) return;
    writer.u16(value.hash);
    if (value.scheme === Alg.XOR) writer.u16(value.kdf);
  },
};

/** Hash functions that evidence and its certificates use. */
export type HashName = "sha1" | "sha256" | "sha384" | "sha512";
/** NIST curves by the size of their field. */
export type CurveName = "P-256" | "P-384" | "P-521";

/** Digest sizes in bytes. */
export const hashSizes: Readonly<Record<HashName, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };
/** Coordinate and scalar sizes in bytes. */
export const curveSizes: Readonly<Record<CurveName, number>> = { "P-256": 32, "P-384": 48, "P-521": 66 };

/** How a signature was made. ECDSA signatures are R || S, each of the curve's size, big-endian (IEEE P1363). */
export type SignatureScheme =
  | { readonly name: "ecdsa"; readonly hash: HashName }
  | { readonly name: "rsa-pss"; readonly hash: HashName; readonly saltLength: number }
  | { readonly name: "rsa-pkcs1"; readonly hash: HashName };

/** A public key that a provider made. Only the provider that made it can use it. */
export interface PublicKey {
  readonly type: "ec" | "rsa";
  /** Of an EC key. */
  readonly curve: CurveName | undefined;
  /** Of an RSA key: bits of its modulus. */
  readonly bits: number | undefined;
}

/**
 * The cryptography that verification needs: hashes and public-key operations, no secrets. Every method may answer at once or by a promise,
 * so that one verifier runs on synchronous native code and on WebCrypto alike.
 */
export interface CryptoProvider {
  readonly name: string;
  /** The hash over the parts, one after the other. */
  digest(hash: HashName, ...parts: readonly Uint8Array[]): Uint8Array | Promise<Uint8Array>;
  /** SHA-256 of the bytes, hexadecimal, where there is a shorter way to it than `digest`. */
  fingerprint?(bytes: Uint8Array): string;
  /** From a DER SubjectPublicKeyInfo. Throws `EvidenceError` `unsupported-key` for a key that is none, or of a kind not listed here. */
  importSpki(spki: Uint8Array): PublicKey | Promise<PublicKey>;
  /** From affine coordinates X || Y, big-endian. `unsupported-key` for a point that is not on the curve. */
  importPoint(curve: CurveName, xy: Uint8Array): PublicKey | Promise<PublicKey>;
  /** From modulus and exponent, big-endian. */
  importRsa(modulus: Uint8Array, exponent: Uint8Array): PublicKey | Promise<PublicKey>;
  /** False for a signature that does not fit, of whatever length or form; never throws because of the signature. */
  verify(
    key: PublicKey,
    scheme: SignatureScheme,
    signature: Uint8Array,
    data: Uint8Array,
  ): boolean | Promise<boolean>;
}

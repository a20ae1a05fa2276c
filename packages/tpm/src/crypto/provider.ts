import type { EccPoint } from "@entresol/tpm-types";

/** An RSA key pair as the engine keeps it: modulus and one prime, both big-endian; the exponent a number, where 0 stands for 65537. */
export interface RsaPrivate {
  readonly modulus: Uint8Array;
  readonly exponent: number;
  readonly prime: Uint8Array;
}

/** The next `length` bytes of a generator. */
export type Draw = (length: number) => Uint8Array;

/** A hash that is fed in pieces and whose state can be written down between them, for sequences that are saved and migrated. */
export interface RunningHash {
  update(data: Uint8Array): void;
  /** The digest. The hash is at its end then. */
  digest(): Uint8Array;
  /** State to go on from, by `CryptoProvider.resumeHash`. */
  save(): Uint8Array;
}

/**
 * The cryptography that the engine calls upon, all synchronous. Algorithms and curves are TPM identifiers. Implementations throw only for
 * algorithms that `implementedAlgorithms` and `curveSizes` do not list, and answer bad input by the values described here.
 */
export interface CryptoProvider {
  random(length: number): Uint8Array;
  /** Lets bytes from outside have a part in everything that `random` gives from now on. They cannot make it easier to guess. */
  stir(data: Uint8Array): void;
  /** Digest of the parts, one after the other. */
  hash(alg: number, ...parts: readonly Uint8Array[]): Uint8Array;
  hmac(alg: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  runningHash(alg: number): RunningHash;
  /** Undefined for a state that no `save` gave. */
  resumeHash(alg: number, state: Uint8Array): RunningHash | undefined;
  /** Equal, in time that does not tell where they differ; false for unequal lengths. */
  equal(a: Uint8Array, b: Uint8Array): boolean;

  /**
   * A block cipher in a mode (CTR, OFB, CBC, CFB, ECB) without padding: CBC and ECB take whole blocks only. `iv` has the block's size, but is
   * ignored by ECB.
   */
  cipher(
    alg: number,
    mode: number,
    key: Uint8Array,
    iv: Uint8Array,
    data: Uint8Array,
    encrypt: boolean,
  ): Uint8Array;
  /**
   * CMAC of a block cipher with blocks of 16 bytes (SP 800-38B). `chained` is the last block of CBC encryption, with a zero vector, of whole blocks that
   * came before `data`: for what is fed in pieces. Then `data` must not be empty.
   */
  cmac(alg: number, key: Uint8Array, data: Uint8Array, chained?: Uint8Array): Uint8Array;

  /** `data`^e mod n, of the modulus's length; undefined when `data` is not below the modulus. */
  rsaPublic(modulus: Uint8Array, exponent: number, data: Uint8Array): Uint8Array | undefined;
  /** `data`^d mod n, of the modulus's length; undefined when `data` is not below the modulus or the key is none. */
  rsaPrivate(key: RsaPrivate, data: Uint8Array): Uint8Array | undefined;
  /**
   * A key that follows from `draw` alone: the same bytes give the same key, on every machine and in every version of this program, by the rules
   * of `derivation` (1 is the only one so far). With `random` for `draw` it is a key that nobody can find again.
   */
  rsaDerive(bits: number, exponent: number, derivation: number, draw: Draw): RsaPrivate;
  /** Is `prime` a factor of the modulus that makes a key with the exponent? */
  rsaCheck(key: RsaPrivate): boolean;

  /** Coordinates have the curve's size, big-endian, in what is given back; any length in what is taken. Undefined: not on the curve, or the point at infinity. */
  eccPublic(curve: number, scalar: Uint8Array): EccPoint | undefined;
  eccOnCurve(curve: number, point: EccPoint): boolean;
  /** scalar * point. */
  eccMultiply(curve: number, scalar: Uint8Array, point: EccPoint): EccPoint | undefined;
  /** x of scalar * point: half the work of `eccMultiply`, and all that ECDH needs. */
  eccAgree(curve: number, scalar: Uint8Array, point: EccPoint): Uint8Array | undefined;
  /** a + b. */
  eccAdd(curve: number, a: EccPoint, b: EccPoint): EccPoint | undefined;
  /** Order of the base point, big-endian. */
  eccOrder(curve: number): Uint8Array;
  /**
   * A private scalar from 1 to n - 1, of the order's size, by `draw`: the order's bytes and 8 more, of which the remainder modulo n - 1 is taken, and
   * one more than that. Without `draw` by the operating system's randomness.
   */
  eccScalar(curve: number, draw?: Draw): Uint8Array;
  /** ECDSA over a digest, as long or short as it may be. Its secret number comes from `draw`, or from the operating system's randomness. */
  ecdsaSign(
    curve: number,
    scalar: Uint8Array,
    digest: Uint8Array,
    draw?: Draw,
  ): { r: Uint8Array; s: Uint8Array };
  ecdsaVerify(curve: number, point: EccPoint, digest: Uint8Array, r: Uint8Array, s: Uint8Array): boolean;
}

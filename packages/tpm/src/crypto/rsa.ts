import {
  constants,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from "node:crypto";
import { bitLength, inverse, ofLength, toInteger, toShortBytes } from "./integers.ts";
import type { CryptoProvider, RsaPrivate } from "./provider.ts";
import { deriveRsa, exponentOf } from "./rsa-derivation.ts";

/*
 * RSA on blocks as long as the modulus, without padding: `node:crypto` does the arithmetic, with CRT and blinding for the private side. Keys are
 * imported from numbers, and kept as long as somebody holds the number that they were made from.
 */

function text(value: bigint): string {
  return Buffer.from(toShortBytes(value)).toString("base64url");
}

interface Imported {
  readonly modulus: Uint8Array;
  readonly exponent: number;
  readonly key: KeyObject;
}
// By the array of the modulus and of the prime: a loaded object goes on holding the same ones.
const publicKeys = new WeakMap<Uint8Array, Imported>();
const privateKeys = new WeakMap<Uint8Array, Imported>();

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}

function publicKey(modulus: Uint8Array, exponent: number): KeyObject {
  const known = publicKeys.get(modulus);
  if (known?.exponent === exponent) return known.key;
  const numbers = { kty: "RSA", n: text(toInteger(modulus)), e: text(exponentOf(exponent)) };
  const key = createPublicKey({ key: numbers, format: "jwk" });
  publicKeys.set(modulus, { modulus, exponent, key });
  return key;
}

/** The other prime; undefined when the modulus is not the product of two different odd numbers that make a key with the exponent. */
function otherPrime({ modulus, exponent, prime }: RsaPrivate): { p: bigint; q: bigint } | undefined {
  const n = toInteger(modulus);
  const p = toInteger(prime);
  if (p < 3n || n % p !== 0n) return undefined;
  const q = n / p;
  // Primes of half the modulus's length each are the only ones that the TPM makes or takes (Part 1, annex B.2).
  const half = 4 * modulus.length;
  if (bitLength(p) !== half || bitLength(q) !== half || p === q) return undefined;
  if ((p & 1n) === 0n || (q & 1n) === 0n) return undefined;
  const e = exponentOf(exponent);
  return inverse(p - 1n, e) === undefined || inverse(q - 1n, e) === undefined ? undefined : { p, q };
}

function privateKey(key: RsaPrivate): KeyObject | undefined {
  const known = privateKeys.get(key.prime);
  if (known?.exponent === key.exponent && sameBytes(known.modulus, key.modulus)) return known.key;
  const factors = otherPrime(key);
  if (factors === undefined) return undefined;
  const { p, q } = factors;
  const e = exponentOf(key.exponent);
  // 1 / e modulo m is (1 + m * (-1 / m mod e)) / e, which needs an inversion modulo the small e only.
  const exponentInverse = (m: bigint): bigint => (1n + m * (e - inverse(m, e)!)) / e;
  const qInverse = inverse(q, p);
  if (qInverse === undefined) return undefined;
  const numbers = {
    kty: "RSA",
    n: text(p * q),
    e: text(e),
    d: text(exponentInverse((p - 1n) * (q - 1n))),
    p: text(p),
    q: text(q),
    dp: text(exponentInverse(p - 1n)),
    dq: text(exponentInverse(q - 1n)),
    qi: text(qInverse),
  };
  const imported = createPrivateKey({ key: numbers, format: "jwk" });
  privateKeys.set(key.prime, { modulus: key.modulus, exponent: key.exponent, key: imported });
  return imported;
}

/** A block of the modulus's length that is below it; undefined for what is not. */
function block(modulus: Uint8Array, data: Uint8Array): Uint8Array | undefined {
  const whole = ofLength(data, modulus.length);
  return whole !== undefined && Buffer.compare(whole, modulus) < 0 ? whole : undefined;
}

const padding = constants.RSA_NO_PADDING;

/** RSA for the provider. An exponent of 0 stands for 65537, as in a public area. */
export const nodeRsa = {
  rsaPublic(modulus, exponent, data) {
    const base = block(modulus, data);
    if (base === undefined || modulus[0] === 0 || (modulus.at(-1)! & 1) === 0) return undefined;
    try {
      return new Uint8Array(publicEncrypt({ key: publicKey(modulus, exponent), padding }, base));
    } catch {
      // A public key that somebody made up, and that OpenSSL will not work with.
      return undefined;
    }
  },
  rsaPrivate(key, data) {
    const base = block(key.modulus, data);
    if (base === undefined) return undefined;
    const imported = privateKey(key);
    if (imported === undefined) return undefined;
    try {
      return new Uint8Array(privateDecrypt({ key: imported, padding }, base));
    } catch {
      // Two numbers of the right length whose product is the modulus, but no primes: OpenSSL sees that the result is wrong.
      return undefined;
    }
  },
  rsaDerive(bits, exponent, derivation, draw) {
    if (derivation !== 1) throw new RangeError(`derivation ${derivation} is not known`);
    return deriveRsa(bits, exponent, draw);
  },
  rsaCheck: (key) => otherPrime(key) !== undefined,
} satisfies Partial<CryptoProvider>;

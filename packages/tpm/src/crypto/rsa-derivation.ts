import { constants, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import { bitLength, inverse, power, toBytes, toInteger, toShortBytes } from "./integers.ts";
import type { Draw, RsaPrivate } from "./provider.ts";

/*
 * RSA keys that follow from a generator's bytes. The rule of derivation 1, whole:
 *
 * - draw half the modulus's bytes for a number; set its two highest bits and its lowest;
 * - the prime is the least prime from there on that is not 1 more than a multiple of any factor of the exponent. If there is none of that length,
 *   draw again;
 * - a second prime is drawn in the same way, again if the two are closer than 2^(bits / 2 - 100) (FIPS 186-5, A.1.3).
 *
 * Nothing else is drawn, and whether a number is prime is no matter of how it is found out, so that sieves and tests can change without a key ever
 * changing: bases of the tests are the operating system's randomness.
 */

/** Odd numbers that one sieve looks at. */
const WINDOW = 2048;
/** Past the sieve, larger primes cost more than the tests that they save. */
const SIEVE_LIMIT = 40_000;

const smallPrimes: readonly number[] = (() => {
  const composite = new Uint8Array(SIEVE_LIMIT);
  const primes: number[] = [];
  for (let n = 3; n < SIEVE_LIMIT; n += 2) {
    if (composite[n] !== 0) continue;
    primes.push(n);
    for (let multiple = n * n; multiple < SIEVE_LIMIT; multiple += 2 * n) composite[multiple] = 1;
  }
  return primes;
})();

/** Runs of small primes with a product that a double holds exactly: one division of a large number serves them all. */
const runs: readonly { readonly product: bigint; readonly primes: readonly number[] }[] = (() => {
  const all: { product: bigint; primes: number[] }[] = [];
  let product = 1;
  let primes: number[] = [];
  for (const prime of smallPrimes) {
    if (product * prime > Number.MAX_SAFE_INTEGER) {
      all.push({ product: BigInt(product), primes });
      product = 1;
      primes = [];
    }
    product *= prime;
    primes.push(prime);
  }
  all.push({ product: BigInt(product), primes });
  return all;
})();

/** Exponent of a public area: 0 stands for 65537 (Part 2, 12.2.3.5). */
export function exponentOf(exponent: number): bigint {
  return exponent === 0 ? 65537n : BigInt(exponent >>> 0);
}

/** Marks the multiples of small primes among `start`, `start` + 2, ... (`start` odd and above all of them). */
function sieve(start: bigint): Uint8Array {
  const composite = new Uint8Array(WINDOW);
  for (const { product, primes } of runs) {
    const remainder = Number(start % product);
    for (const prime of primes) {
      let gap = prime - (remainder % prime);
      if (gap === prime) gap = 0;
      // The next odd multiple: half the gap when that is even, else one more of the prime.
      for (let at = ((gap & 1) === 0 ? gap : gap + prime) >>> 1; at < WINDOW; at += prime) composite[at] = 1;
    }
  }
  return composite;
}

/**
 * OpenSSL's modular exponentiation, six times as fast as BigInt: an RSA public key with this modulus and exponent encrypts without padding. It takes
 * long exponents for moduli of up to 3072 bits.
 */
const NATIVE_BITS = 3072;
function nativePower(modulus: bigint, bits: number, exponent: bigint): (base: bigint) => bigint {
  if (bits > NATIVE_BITS) return (base) => power(base, exponent, modulus);
  const text = (value: bigint): string => Buffer.from(toShortBytes(value)).toString("base64url");
  const numbers = { kty: "RSA", n: text(modulus), e: text(exponent) };
  const key = createPublicKey({ key: numbers, format: "jwk" });
  const padding = constants.RSA_NO_PADDING;
  return (base) => toInteger(publicEncrypt({ key, padding }, toBytes(base, bits >>> 3)));
}

/** Rounds of Miller-Rabin that leave less than 2^-100 of error for random numbers of that length (FIPS 186-5, table B.1). */
function roundsFor(bits: number): number {
  if (bits >= 1536) return 4;
  return bits >= 1024 ? 5 : 8;
}

/** Miller-Rabin (FIPS 186-5, B.3.1) on an odd number of `bits` bits, a multiple of 8. */
export function isProbablePrime(candidate: bigint, bits: number): boolean {
  const last = candidate - 1n;
  let twos = 0;
  let odd = last;
  while ((odd & 1n) === 0n) {
    odd >>= 1n;
    twos++;
  }
  const raise = nativePower(candidate, bits, odd);
  rounds: for (let round = roundsFor(bits); round > 0; round--) {
    const base = (toInteger(randomBytes(bits >>> 3)) % (candidate - 3n)) + 2n;
    let value = raise(base);
    if (value === 1n || value === last) continue;
    for (let i = 1; i < twos; i++) {
      value = (value * value) % candidate;
      if (value === last) continue rounds;
    }
    return false;
  }
  return true;
}

/** The least prime from `start` on that goes with the exponent; undefined when it is longer than `bits`. */
function primeFrom(start: bigint, bits: number, exponent: bigint): bigint | undefined {
  for (let from = start; ; from += BigInt(2 * WINDOW)) {
    const composite = sieve(from);
    for (let at = 0; at < WINDOW; at++) {
      if (composite[at] !== 0) continue;
      const candidate = from + BigInt(2 * at);
      if (candidate >> BigInt(bits) !== 0n) return undefined;
      if (inverse(candidate - 1n, exponent) === undefined) continue;
      if (isProbablePrime(candidate, bits)) return candidate;
    }
  }
}

function drawPrime(bits: number, exponent: bigint, draw: Draw): bigint {
  const set = (3n << BigInt(bits - 2)) | 1n;
  for (;;) {
    const prime = primeFrom(toInteger(draw(bits >>> 3)) | set, bits, exponent);
    if (prime !== undefined) return prime;
  }
}

/** An RSA key by the rule above. `bits` is a multiple of 16. */
export function deriveRsa(bits: number, exponent: number, draw: Draw): RsaPrivate {
  const half = bits >>> 1;
  const e = exponentOf(exponent);
  const first = drawPrime(half, e, draw);
  for (;;) {
    const second = drawPrime(half, e, draw);
    const distance = first > second ? first - second : second - first;
    if (bitLength(distance) <= half - 100) continue;
    return { modulus: toBytes(first * second, bits >>> 3), exponent, prime: toBytes(first, half >>> 3) };
  }
}

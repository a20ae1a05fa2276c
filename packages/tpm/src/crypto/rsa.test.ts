import {
  constants,
  type createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  generatePrimeSync,
  publicEncrypt,
} from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seededDraw } from "./drbg.ts";
import { power, toBytes, toInteger } from "./integers.ts";
import { nodeProvider as crypto } from "./node-provider.ts";
import type { RsaPrivate } from "./provider.ts";
import { deriveRsa, isProbablePrime } from "./rsa-derivation.ts";

const seed = new Uint8Array(64).fill(0x5a);
const drawOf = (label: string) => seededDraw(crypto, seed, label, Uint8Array.of(1, 2, 3));
const hash = (bytes: Uint8Array): string =>
  Buffer.from(crypto.hash(0x000b, bytes)).toString("hex").slice(0, 32);

function numbersOf(bits: number): RsaPrivate & { readonly key: ReturnType<typeof createPrivateKey> } {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const { n, p } = privateKey.export({ format: "jwk" });
  const number = (text: string | undefined): Uint8Array => new Uint8Array(Buffer.from(text!, "base64url"));
  return { modulus: number(n), exponent: 65537, prime: number(p), key: privateKey };
}

describe("RSA", () => {
  const key = crypto.rsaDerive(2048, 0, 1, drawOf("RSA"));

  it("undoes on one side what the other did, and is what OpenSSL does", () => {
    const theirs = numbersOf(2048);
    const text = new Uint8Array(256).fill(7);
    const enciphered = crypto.rsaPublic(theirs.modulus, theirs.exponent, text)!;
    const publicKey = createPublicKey(theirs.key);
    const direct = publicEncrypt({ key: publicKey, padding: constants.RSA_NO_PADDING }, text);
    expect(enciphered).toEqual(new Uint8Array(direct));
    expect(crypto.rsaPrivate(theirs, enciphered)).toEqual(text);
    expect(crypto.rsaCheck(theirs)).toBe(true);
  });

  it("takes short blocks as numbers, and refuses those that are not below the modulus", () => {
    const two = crypto.rsaPublic(key.modulus, 0, Uint8Array.of(2))!;
    expect(toInteger(two)).toBe(power(2n, 65537n, toInteger(key.modulus)));
    expect(toInteger(crypto.rsaPrivate(key, two)!)).toBe(2n);
    expect(crypto.rsaPublic(key.modulus, 0, key.modulus)).toBeUndefined();
    expect(crypto.rsaPrivate(key, key.modulus)).toBeUndefined();
    expect(crypto.rsaPrivate(key, new Uint8Array(257).fill(1))).toBeUndefined();
    expect(crypto.rsaPublic(key.modulus, 0, new Uint8Array(257).fill(1))).toBeUndefined();
  });

  it("uses the key that it is given, though numbers of another one are kept", () => {
    const other = crypto.rsaDerive(1024, 0, 1, drawOf("another"));
    const enciphered = crypto.rsaPublic(key.modulus, 0, Uint8Array.of(5))!;
    expect(toInteger(crypto.rsaPrivate(key, enciphered)!)).toBe(5n);
    expect(crypto.rsaPrivate({ ...key, modulus: other.modulus }, Uint8Array.of(5))).toBeUndefined();
    expect(crypto.rsaPublic(key.modulus, 3, Uint8Array.of(2))).toEqual(toBytes(8n, 256));
    expect(toInteger(crypto.rsaPublic(key.modulus, 0, Uint8Array.of(2))!)).not.toBe(8n);
  });

  it("knows primes that make no key", () => {
    expect(crypto.rsaCheck(key)).toBe(true);
    const wrong = Uint8Array.from(key.prime);
    wrong[wrong.length - 1]! ^= 2;
    expect(crypto.rsaCheck({ ...key, prime: wrong })).toBe(false);
    expect(crypto.rsaCheck({ ...key, prime: new Uint8Array(0) })).toBe(false);
    expect(crypto.rsaCheck({ ...key, prime: Uint8Array.of(1) })).toBe(false);
    expect(crypto.rsaCheck({ ...key, prime: key.modulus })).toBe(false);
    // A square, whose two primes are the same.
    const square = toBytes(toInteger(key.prime) ** 2n, 256);
    expect(crypto.rsaCheck({ ...key, modulus: square })).toBe(false);
    // A prime that is 1 more than a multiple of the exponent 3.
    let third = generatePrimeSync(512, { bigint: true });
    while (third % 3n !== 1n) third = generatePrimeSync(512, { bigint: true });
    const partner = generatePrimeSync(512, { bigint: true, add: 6n, rem: 5n });
    const unusable = { modulus: toBytes(third * partner, 128), prime: toBytes(third, 64), exponent: 3 };
    expect(crypto.rsaCheck(unusable)).toBe(false);
    expect(crypto.rsaPrivate(unusable, Uint8Array.of(2))).toBeUndefined();
  });

  it("works, or says no, with any modulus and exponent that a caller makes up", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        fc.oneof(fc.nat(5), fc.integer({ min: 0, max: 0xffff_ffff })),
        fc.uint8Array({ maxLength: 64 }),
        (modulus, exponent, data) => {
          const n = toInteger(modulus);
          const result = crypto.rsaPublic(modulus, exponent, data);
          if (modulus[0] === 0 || n % 2n === 0n || toInteger(data) >= n) {
            expect(result).toBeUndefined();
          } else if (result !== undefined) {
            const e = exponent === 0 ? 65537n : BigInt(exponent);
            expect(toInteger(result)).toBe(power(toInteger(data), e, n));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it("answers composite factors of the right length without throwing", () => {
    const composite = (third: bigint): bigint => {
      for (let n = third | 1n; ; n += 2n) if (n % 5n === 0n && n % 65537n > 1n) return n;
    };
    const p = composite(0xc000n << 496n);
    const q = composite(0xd000n << 496n);
    const fake = { modulus: toBytes(p * q, 128), prime: toBytes(p, 64), exponent: 0 };
    const result = crypto.rsaPrivate(fake, Uint8Array.of(2));
    expect(result === undefined || result.length === 128).toBe(true);
  });
});

describe("RSA derivation 1", () => {
  // These digests must never change: keys of TPMs in use hang on them.
  it.each([
    [1024, 0, "r1024", "ee29be5c34f82d6e5dd5dca1450bc53f", "a609522f7b4f8700cf3c7fc58692ed64"],
    [2048, 0, "r2048", "ff84d1e2cc080dc07f46441539434bec", "a3c4d7e8b041854c2dfb04cb5c8bc066"],
    [2048, 3, "r2048e3", "623c5f77b795ef993f0c3ee66b94f130", "992e24dae449029ead7cc7db26e949b1"],
    [3072, 0, "r3072", "9edd9db5d982de2100ab6ee6a4388fff", "70c2014028568b6caf0d06ea5d67f8ee"],
  ] as const)("of %i bits with the exponent %i gives the same key for ever", (...row) => {
    const [bits, exponent, label, modulusHash, primeHash] = row;
    const key = crypto.rsaDerive(bits, exponent, 1, drawOf(label));
    expect([hash(key.modulus), hash(key.prime)]).toEqual([modulusHash, primeHash]);
    expect(crypto.rsaCheck(key)).toBe(true);
    const modulus = toInteger(key.modulus);
    expect(modulus >> BigInt(bits - 1)).toBe(1n);
    const data = toBytes(0xabcdefn, bits / 8);
    expect(crypto.rsaPrivate(key, crypto.rsaPublic(key.modulus, exponent, data)!)).toEqual(data);
  });

  it("takes the least prime from what is drawn on, and draws only that", () => {
    const drawn: number[] = [];
    const draw = drawOf("least");
    const starts: bigint[] = [];
    const key = deriveRsa(1024, 0, (length) => {
      drawn.push(length);
      const bytes = draw(length);
      starts.push(toInteger(bytes) | (3n << 510n) | 1n);
      return bytes;
    });
    expect(drawn).toEqual([64, 64]);
    const first = toInteger(key.prime);
    const second = toInteger(key.modulus) / first;
    for (const [i, prime] of [first, second].entries()) {
      let expected = starts[i]!;
      while (!isProbablePrime(expected, 512) || expected % 65537n === 1n) expected += 2n;
      expect(prime).toBe(expected);
    }
  });

  it("draws again where there is no prime of the length, and where two primes are close", () => {
    const queue = [0xffn, 0n, 2n, 1n << 400n, 1n << 500n];
    const sizes: number[] = [];
    const key = deriveRsa(1024, 0, (length) => {
      sizes.push(length);
      const next = queue.shift()!;
      return next === 0xffn ? new Uint8Array(length).fill(0xff) : toBytes(next, length);
    });
    // All ones has no prime after it; 2 gives the first prime again, 2^400 one that is too close.
    expect(sizes).toEqual([64, 64, 64, 64, 64]);
    const first = toInteger(key.prime);
    const second = toInteger(key.modulus) / first;
    expect(first >> 16n).toBe(3n << 494n);
    expect(second >> 500n).toBe((3n << 10n) | 1n);
  });

  it("is the only one there is", () => {
    expect(() => crypto.rsaDerive(1024, 0, 2, drawOf("x"))).toThrow(RangeError);
  });
});

// CVE-2021-3505: keys that were weaker than their length says.
describe("RSA keys of random bytes", () => {
  it.each([1024, 2048, 4096])(
    "of %i bits work",
    (bits) => {
      const key = crypto.rsaDerive(bits, 0, 1, crypto.random);
      expect(crypto.rsaCheck(key)).toBe(true);
      expect(key.modulus[0]! >= 0x80 && key.modulus.length === bits / 8).toBe(true);
      const [first, second] = [toInteger(key.prime), toInteger(key.modulus) / toInteger(key.prime)];
      expect([isProbablePrime(first, bits / 2), isProbablePrime(second, bits / 2)]).toEqual([true, true]);
      const distance = first > second ? first - second : second - first;
      expect(distance >> BigInt(bits / 2 - 100) > 0n).toBe(true);
      expect(crypto.rsaDerive(bits, 0, 1, crypto.random).modulus).not.toEqual(key.modulus);
      const data = toBytes(0x123456n, bits / 8);
      expect(crypto.rsaPrivate(key, crypto.rsaPublic(key.modulus, 0, data)!)).toEqual(data);
    },
    60_000,
  );
});

describe("primality", () => {
  it("agrees with OpenSSL on primes and their products", () => {
    for (const bits of [256, 512]) {
      const [p, q] = [generatePrimeSync(bits, { bigint: true }), generatePrimeSync(bits, { bigint: true })];
      expect(isProbablePrime(p, bits)).toBe(true);
      expect(isProbablePrime(p * q, 2 * bits)).toBe(false);
    }
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bitLength, inverse } from "./integers.ts";

/** Euclid's algorithm one step after the other. */
function plainInverse(value: bigint, modulus: bigint): bigint | undefined {
  let [r0, r1] = [modulus, ((value % modulus) + modulus) % modulus];
  let [t0, t1] = [0n, 1n];
  while (r1 !== 0n) {
    const quotient = r0 / r1;
    [r0, r1, t0, t1] = [r1, r0 - quotient * r1, t1, t0 - quotient * t1];
  }
  return r0 === 1n ? ((t0 % modulus) + modulus) % modulus : undefined;
}

describe("inverses", () => {
  it("are those that Euclid's algorithm finds step by step, for numbers of every length", () => {
    const number = fc
      .tuple(fc.integer({ min: 1, max: 1100 }), fc.bigInt({ min: 0n, max: (1n << 1100n) - 1n }))
      .map(([bits, value]) => value & ((1n << BigInt(bits)) - 1n));
    fc.assert(
      fc.property(number, number, (value, other) => {
        const modulus = other + 2n;
        expect(inverse(value, modulus)).toBe(plainInverse(value, modulus));
        expect(inverse(-value, modulus)).toBe(plainInverse(-value, modulus));
      }),
      { numRuns: 500 },
    );
  });

  it("are found where every quotient is 1, and where one is as long as a number", () => {
    let [smaller, larger] = [1n, 2n];
    while (bitLength(larger) < 521) {
      [smaller, larger] = [larger, smaller + larger];
      expect((inverse(smaller, larger)! * smaller) % larger).toBe(1n);
    }
    const power = 1n << 1024n;
    for (const value of [1n, 3n, power - 1n, (power >> 1n) + 1n, (1n << 512n) + 1n])
      expect((inverse(value, power)! * value) % power).toBe(1n);
    expect(inverse(power >> 1n, power)).toBeUndefined();
    expect(inverse(0n, power)).toBeUndefined();
  });
});

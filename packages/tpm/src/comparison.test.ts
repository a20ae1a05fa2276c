import { Eo } from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { holds } from "./comparison.ts";
import { u64 } from "./engine.ts";

describe("a comparison", () => {
  /** What each operation says of numbers of 64 bits, by BigInt. */
  const operations: Readonly<Record<keyof typeof Eo, (a: bigint, b: bigint) => boolean>> = {
    EQ: (a, b) => a === b,
    NEQ: (a, b) => a !== b,
    SIGNED_GT: (a, b) => BigInt.asIntN(64, a) > BigInt.asIntN(64, b),
    UNSIGNED_GT: (a, b) => a > b,
    SIGNED_LT: (a, b) => BigInt.asIntN(64, a) < BigInt.asIntN(64, b),
    UNSIGNED_LT: (a, b) => a < b,
    SIGNED_GE: (a, b) => BigInt.asIntN(64, a) >= BigInt.asIntN(64, b),
    UNSIGNED_GE: (a, b) => a >= b,
    SIGNED_LE: (a, b) => BigInt.asIntN(64, a) <= BigInt.asIntN(64, b),
    UNSIGNED_LE: (a, b) => a <= b,
    BITSET: (a, b) => (a & b) === b,
    BITCLEAR: (a, b) => (a & b) === 0n,
  };
  const top = 1n << 63n;
  const number = fc.oneof(
    fc.bigInt(0n, 2n * top - 1n),
    fc.constantFrom(0n, 1n, 255n, 256n, top - 1n, top, top + 1n, 2n * top - 1n),
  );

  test.each(Object.keys(operations) as (keyof typeof Eo)[])(
    "by TPM_EO_%s is that of 64-bit numbers",
    (name) => {
      fc.assert(
        fc.property(number, number, fc.boolean(), (a, other, same) => {
          const b = same ? a : other;
          expect(holds(Eo[name], u64(a), u64(b))).toBe(operations[name](a, b));
        }),
      );
    },
  );

  test("of nothing with nothing finds them equal", () => {
    const empty = new Uint8Array(0);
    const found = Object.entries(Eo).filter(([, operation]) => holds(operation, empty, empty));
    expect(found.map(([name]) => name)).toEqual([
      "EQ",
      "SIGNED_GE",
      "UNSIGNED_GE",
      "SIGNED_LE",
      "UNSIGNED_LE",
      "BITSET",
      "BITCLEAR",
    ]);
  });
});

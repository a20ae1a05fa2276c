import { MalformedError, toHex } from "@entresol/wire";
import * as cborg from "cborg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CborItem, CborTag, readCbor, writeCbor } from "./cbor-item.ts";

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const refusal = (hex: string, deterministic = false) => {
  try {
    readCbor(bytes(hex), { deterministic });
  } catch (error) {
    if (error instanceof MalformedError) return [error.code, error.offset];
    throw error;
  }
  return undefined;
};

const key = fc.oneof(fc.integer(), fc.string({ maxLength: 30 }));
const item: fc.Memo<CborItem> = fc.memo((depth) =>
  depth <= 1
    ? fc.oneof(
        fc.maxSafeInteger(),
        fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
        fc.bigInt({ min: -(2n ** 64n), max: -(2n ** 53n) }),
        fc.string({ maxLength: 30 }),
        fc.boolean(),
        fc.constant(null),
        fc.constant(undefined),
        fc.uint8Array({ maxLength: 300 }),
      )
    : fc.oneof(
        item(depth - 1),
        fc.array(item(depth - 1), { maxLength: 4 }),
        fc.array(fc.tuple(key, item(depth - 1)), { maxLength: 4 }).map((entries) => new Map(entries)),
        fc.tuple(fc.nat(), item(depth - 1)).map(([tag, value]) => new CborTag(tag, value)),
      ),
);

describe("a CBOR item", () => {
  it.each([
    ["0", 0, "00"],
    ["23", 23, "17"],
    ["24", 24, "1818"],
    ["1000000", 1_000_000, "1a000f4240"],
    ["2^53", 2n ** 53n, "1b0020000000000000"],
    ["-1", -1, "20"],
    ["-1000", -1000, "3903e7"],
    ["-2^64", -(2n ** 64n), "3bffffffffffffffff"],
    ["a text", "ü", "62c3bc"],
    ["a tag", new CborTag(501, [true, null]), "d901f582f5f6"],
    [
      "a map",
      new Map<number, CborItem>([
        [-1, "b"],
        [10, "a"],
        [100, Uint8Array.of(1)],
      ]),
      "a30a6161186441012061" + "62",
    ],
  ] as const)("is written as RFC 8949 has it: %s", (_, value, encoded) => {
    expect(toHex(writeCbor(value))).toBe(encoded);
    expect(readCbor(bytes(encoded), { deterministic: true })).toEqual(value);
  });

  it("comes back as it was written, and is deterministic", () => {
    fc.assert(
      fc.property(item(4), (value) => {
        const encoded = writeCbor(value);
        expect(readCbor(encoded, { deterministic: true })).toEqual(value);
        expect(writeCbor(readCbor(encoded))).toEqual(encoded);
      }),
    );
  });

  it.each([
    ["a key that stands twice", "a201000100", ["bad-value", 3]],
    ["a key that stands twice, in two encodings", "a20100180100", ["bad-value", 3]],
    ["a key that is no number or text", "a1f500", ["bad-value", 1]],
    ["a length that is left open", "9f00ff", ["bad-value", 0]],
    ["an unknown simple value", "e0", ["bad-value", 0]],
    ["a text that is not UTF-8", "61ff", ["bad-value", 1]],
    ["bytes behind the item", "0000", ["trailing-bytes", 1]],
    ["a length past the end", "5a7fffffff00", ["truncated", 0]],
    ["an array longer than its bytes", "9a7fffffff00", ["truncated", 0]],
    ["nothing at all", "", ["truncated", 0]],
    ["nesting without end", `${"81".repeat(40)}00`, ["out-of-range", 33]],
  ])("is refused with %s", (_, encoded, want) => {
    expect(refusal(encoded)).toEqual(want);
  });

  it.each([
    ["a head that could be shorter", "1801"],
    ["keys that are not in order", "a202000100"],
    ["floating point", "f93c00"],
  ])("may have %s, unless it is to be deterministic", (_, encoded) => {
    expect(refusal(encoded)).toBeUndefined();
    expect(refusal(encoded, true)?.[0]).toBe("bad-value");
  });

  it.each([
    ["f93c00", 1],
    ["f90001", 2 ** -24],
    ["f9c400", -4],
    ["f97c00", Number.POSITIVE_INFINITY],
    ["fa47c35000", 100_000],
    ["fb3ff199999999999a", 1.1],
  ])("of floating point is read: %s", (encoded, value) => {
    expect(readCbor(bytes(encoded))).toBe(value);
  });

  it("is not written from floating point or more than 64 bits", () => {
    expect(() => writeCbor(1.5)).toThrow(RangeError);
    expect(() => writeCbor(2n ** 64n)).toThrow(RangeError);
  });

  it("is refused or read, and nothing else happens, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          readCbor(input);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
      { numRuns: 400 },
    );
  });

  it("is what another decoder reads as well", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (input) => {
        let mine: CborItem;
        try {
          mine = readCbor(input, { deterministic: true });
        } catch {
          return;
        }
        if (hasTagOrUndefined(mine)) return;
        expect(cborg.decode(input, { strict: true, useMaps: true, rejectDuplicateMapKeys: true })).toEqual(
          mine,
        );
      }),
      { numRuns: 400 },
    );
  });
});

/** What cborg reads otherwise than as a plain value. */
function hasTagOrUndefined(value: CborItem): boolean {
  if (value instanceof CborTag || value === undefined) return true;
  if (Array.isArray(value)) return value.some(hasTagOrUndefined);
  return value instanceof Map && [...value.values()].some(hasTagOrUndefined);
}

import { describe, expect, test } from "vitest";
import { ByteMap } from "./byte-map.ts";
import { bitsOf, Layout, namesOfBits } from "./layout.ts";

const spec = "test";
const clause = "c";
const inner = new Layout("inner", spec, 4, [
  { name: "a", offset: 0, type: "u16", clause, what: "a" },
  { name: "zero", offset: 2, type: "u16", clause, what: "reserved", reserved: true },
]);
const bits = [
  { bit: 0, width: 2, name: "KIND", what: "kind" },
  { bit: 4, name: "ON", what: "on" },
  { bit: 5, name: "ONE", what: "must be one", one: true },
] as const;
const layout = new Layout("outer", spec, 24, [
  { name: "head", offset: 0, type: inner, clause, what: "head" },
  { name: "flags", offset: 4, type: "u32", clause, what: "flags", bits },
  { name: "big", offset: 8, type: "u64", clause, what: "big" },
  { name: "raw", offset: 16, type: 3, clause, what: "raw" },
  { name: "later", offset: 19, type: 5, clause, what: "later", since: 2 },
]);
const bytes = layout.build({
  head: { a: 0x1234 },
  flags: 0x31,
  big: 0xfedc_ba98_7654_3210n,
  raw: Uint8Array.of(1, 2, 3),
});

describe("a layout", () => {
  test("reads and builds little-endian numbers, bytes and structures", () => {
    expect([...bytes]).toEqual([
      0x34, 0x12, 0, 0, 0x31, 0, 0, 0, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, 1, 2, 3, 0, 0, 0, 0, 0,
    ]);
    expect(layout.read(bytes)).toEqual({
      head: { a: 0x1234, zero: 0 },
      flags: 0x31,
      big: 0xfedc_ba98_7654_3210n,
      raw: Uint8Array.of(1, 2, 3),
      later: new Uint8Array(5),
    });
    expect(layout.build(layout.read(bytes))).toEqual(bytes);
  });

  test("reads at an offset, and gives views", () => {
    const whole = Uint8Array.of(9, 9, ...bytes);
    const { raw } = layout.read(whole, 2);
    expect([raw.buffer, raw.byteOffset]).toEqual([whole.buffer, 18]);
  });

  test("that does not fit is truncated, at its offset", () => {
    expect(() => layout.read(bytes, 1)).toThrow(
      expect.objectContaining({ code: "truncated", offset: 1, spec }),
    );
    expect(() => layout.read(bytes, 0, 23)).toThrow(expect.objectContaining({ code: "truncated" }));
  });

  test("whose rows leave a gap, overlap or end elsewhere is no layout", () => {
    const row = (offset: number) => ({ name: "a", offset, type: "u8", clause, what: "" }) as const;
    expect(() => new Layout("x", spec, 3, [row(0), row(2)])).toThrow(RangeError);
    expect(() => new Layout("x", spec, 2, [row(0), row(0)])).toThrow(RangeError);
    expect(() => new Layout("x", spec, 2, [row(0)])).toThrow(RangeError);
  });

  test("refuses to build a value that its field does not hold", () => {
    expect(() => inner.build({ a: 0x1_0000 })).toThrow(RangeError);
    expect(() => inner.build({ a: -1 })).toThrow(RangeError);
    expect(() => layout.build({ raw: new Uint8Array(4) })).toThrow(RangeError);
  });

  test("reports reserved bytes that are not zero, unknown bits, and bits that must be one", () => {
    const changed = bytes.slice();
    changed[3] = 7;
    changed[4] = 0x80;
    expect(layout.findings(changed, 0, "x.")).toEqual([
      {
        kind: "reserved-not-zero",
        path: "x.head.zero",
        offset: 2,
        length: 2,
        spec: "test, c",
        detail: "reserved, holds 0007",
      },
      {
        kind: "bit-not-one",
        path: "x.flags",
        offset: 4,
        length: 4,
        spec: "test, c",
        detail: "bit 5 ONE must be one",
      },
      {
        kind: "unknown-bits",
        path: "x.flags",
        offset: 4,
        length: 4,
        spec: "test, c",
        detail: "unknown bits 7",
      },
    ]);
    expect(layout.findings(bytes)).toEqual([]);
  });

  test("has fields that are reserved before their version", () => {
    const changed = bytes.slice();
    changed[20] = 1;
    expect(layout.findings(changed, 0, "", 2)).toEqual([]);
    expect(layout.findings(changed, 0, "", 1)).toMatchObject([{ kind: "reserved-not-zero", path: "later" }]);
  });

  test("names bits, and gives the value of several", () => {
    expect([...namesOfBits(bits, 0x32)]).toEqual(["ON", "ONE"]);
    expect(bitsOf(bits[0], 0x32)).toBe(2);
  });
});

describe("a byte map", () => {
  const map = new ByteMap().structure("x.", layout, 10, 1).field("rest", 34, 6, "spec", "what follows");

  test("knows where each field lies", () => {
    expect(map.get("x.head.a")).toEqual({
      path: "x.head.a",
      offset: 10,
      length: 2,
      spec: "test, c",
      what: "a",
      reserved: false,
    });
    expect(map.get("x.later")).toMatchObject({ offset: 29, length: 5, reserved: true });
    expect(map.get("nothing")).toBeUndefined();
    expect([...map].map(({ path }) => path)).toEqual([
      "x.head.a",
      "x.head.zero",
      "x.flags",
      "x.big",
      "x.raw",
      "x.later",
      "rest",
    ]);
  });

  test("finds the smallest field that holds a byte", () => {
    const nested = new ByteMap().field("all", 0, 100, spec, "").field("part", 20, 4, spec, "");
    expect([nested.at(22)?.path, nested.at(24)?.path, nested.at(100)]).toEqual(["part", "all", undefined]);
  });
});

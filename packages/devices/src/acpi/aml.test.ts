import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  buffer,
  device,
  eisaId,
  integer,
  method,
  name,
  nameString,
  packageLength,
  packageOf,
  returns,
  scope,
  string,
} from "./aml.ts";
import {
  and,
  argument,
  byteField,
  derefOf,
  dwordField,
  equal,
  greater,
  index,
  local,
  notEqual,
  operationRegion,
  or,
  otherwise,
  registerField,
  serializedMethod,
  sizeOf,
  store,
  uuid,
  when,
} from "./aml-code.ts";
import { resourceTemplate } from "./resources.ts";

const bytes = (text: string) =>
  Uint8Array.from(text.split(" ").filter(Boolean), (pair) => Number.parseInt(pair, 16));

/** ACPI 6.5 20.2.4, written the other way round than `packageLength`. */
function readPackageLength(encoded: Uint8Array): { value: number; size: number } {
  const lead = encoded[0]!;
  const extra = lead >> 6;
  if (extra === 0) return { value: lead & 0x3f, size: 1 };
  let value = lead & 0xf;
  for (let i = 0; i < extra; i++) value += encoded[1 + i]! * 2 ** (4 + 8 * i);
  return { value, size: 1 + extra };
}

describe("names (20.2.2)", () => {
  it.each([
    ["_HID", "5f 48 49 44"],
    ["RTC", "52 54 43 5f"],
    ["\\_S5", "5c 5f 53 35 5f"],
    ["^A", "5e 41 5f 5f 5f"],
    ["\\", "5c 00"],
    ["_SB.COM1", "2e 5f 53 42 5f 43 4f 4d 31"],
    ["\\_SB.A.B", "5c 2f 03 5f 53 42 5f 41 5f 5f 5f 42 5f 5f 5f"],
  ])("%s", (path, encoded) => {
    expect(nameString(path)).toEqual(bytes(encoded));
  });

  it.each(["toolong", "ABCDE", "1AB", "a", "A..B", "A-B"])("refuse %s", (path) => {
    expect(() => nameString(path)).toThrow(RangeError);
  });
});

describe("integers (20.2.3) take their shortest form", () => {
  it.each([
    [0, "00"],
    [1, "01"],
    [2, "0a 02"],
    [0xff, "0a ff"],
    [0x100, "0b 00 01"],
    [0xffff, "0b ff ff"],
    [0x10000, "0c 00 00 01 00"],
    [0xffffffff, "0c ff ff ff ff"],
    [0x1_0000_0000n, "0e 00 00 00 00 01 00 00 00"],
  ])("%s", (value, encoded) => {
    expect(integer(value)).toEqual(bytes(encoded));
  });

  it("refuse what 64 bits cannot hold", () => {
    expect(() => integer(-1)).toThrow(RangeError);
    expect(() => integer(1n << 64n)).toThrow(RangeError);
  });
});

describe("package length (20.2.4)", () => {
  it.each([
    [0, "01"],
    [62, "3f"],
    [63, "41 04"],
    [0xfff - 2, "4f ff"],
    [0xfff - 1, "81 00 01"],
    [0xfffff - 3, "8f ff ff"],
    [0xfffff - 2, "c1 00 00 01"],
  ])("of %i bytes of content", (length, encoded) => {
    expect(packageLength(length)).toEqual(bytes(encoded));
  });

  it("counts its own bytes and grows by one at a time", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 28 - 5 }), (length) => {
        const encoded = packageLength(length);
        expect(readPackageLength(encoded)).toEqual({ value: length + encoded.length, size: encoded.length });
      }),
    );
  });

  it("ends at 28 bits", () => {
    expect(() => packageLength(2 ** 28 - 4)).toThrow(RangeError);
  });
});

describe("terms", () => {
  it("EISA ids are compressed text, big-endian in a little-endian integer", () => {
    // Known from every PC: PNP0501 is EisaId 0x0105D041.
    expect(eisaId("PNP0501")).toEqual(bytes("0c 41 d0 05 01"));
    expect(eisaId("PNP0B00")).toEqual(bytes("0c 41 d0 0b 00"));
    expect(() => eisaId("ACPI0007")).toThrow(RangeError);
  });

  it("nest as definitions", () => {
    expect(name("_UID", integer(1))).toEqual(bytes("08 5f 55 49 44 01"));
    expect(packageOf(integer(5), integer(0))).toEqual(bytes("12 05 02 0a 05 00"));
    expect(string("ab")).toEqual(bytes("0d 61 62 00"));
    expect(buffer(bytes("79 00"))).toEqual(bytes("11 05 0a 02 79 00"));
    expect(scope("\\_SB", device("A"))).toEqual(bytes("10 0d 5c 5f 53 42 5f 5b 82 05 41 5f 5f 5f"));
    expect(method("_STA", 0, returns(integer(15)))).toEqual(bytes("14 09 5f 53 54 41 00 a4 0a 0f"));
  });

  it("fields name bits of a region (20.2.5.2)", () => {
    expect(operationRegion("PIRQ", "pciConfiguration", 0x60, 0x0c)).toEqual(
      bytes("5b 80 50 49 52 51 02 0a 60 0a 0c"),
    );
    expect(operationRegion("PORT", "port", 0x600, 1)).toEqual(bytes("5b 80 50 4f 52 54 01 0b 00 06 01"));
    // ByteAcc, NoLock, Preserve; 32 bits are skipped.
    expect(byteField("PIRQ", [{ name: "PRQA", bits: 8 }, { bits: 32 }, { name: "B", bits: 1 }])).toEqual(
      bytes("5b 81 12 50 49 52 51 01 50 52 51 41 08 00 20 42 5f 5f 5f 01"),
    );
    // DWordAcc.
    expect(registerField("PPIM", [{ name: "FUNC", bits: 32 }])).toEqual(
      bytes("5b 81 0b 50 50 49 4d 03 46 55 4e 43 20"),
    );
    expect(() => byteField("PIRQ", [{ bits: 0 }])).toThrow(RangeError);
    expect(() => byteField("PIRQ", [{ name: "lower", bits: 8 }])).toThrow(RangeError);
  });

  it.each([
    [63, "3f"],
    [64, "40 04"],
    [0xfff, "4f ff"],
    [0x1000, "80 00 01"],
  ])("a field of %i bits has a width that does not count itself", (bits, width) => {
    const field = byteField("R", [{ bits }]);
    expect([...field.subarray(9)]).toEqual([...bytes(width)]);
  });

  it("statements (20.2.5)", () => {
    expect(store(argument(0), local(1))).toEqual(bytes("70 68 61"));
    expect(and(local(0), integer(15))).toEqual(bytes("7b 60 0a 0f 00"));
    expect(or(argument(6), integer(1), local(7))).toEqual(bytes("7d 6e 01 67"));
    expect(equal(local(0), integer(0))).toEqual(bytes("93 60 00"));
    expect(greater(sizeOf(argument(3)), integer(1))).toEqual(bytes("94 87 6b 01"));
    expect(derefOf(index(argument(3), 0))).toEqual(bytes("83 88 6b 00 00"));
    expect(notEqual(local(0), integer(0))).toEqual(bytes("92 93 60 00"));
    expect(when(local(0), returns(integer(1)))).toEqual(bytes("a0 04 60 a4 01"));
    expect(otherwise(returns(integer(0)))).toEqual(bytes("a1 03 a4 00"));
    expect(dwordField(argument(3), 8, "CTRL")).toEqual(bytes("8a 6b 0a 08 43 54 52 4c"));
    expect(serializedMethod("_SRS", 1)).toEqual(bytes("14 06 5f 53 52 53 09"));
    expect(() => argument(7)).toThrow(RangeError);
    expect(() => local(8)).toThrow(RangeError);
    expect(() => serializedMethod("M", 8)).toThrow(RangeError);
  });

  it("UUIDs are buffers with three little-endian groups", () => {
    expect(uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")).toEqual(
      bytes("11 13 0a 10 5b 4d db 33 f7 1f 1c 40 96 57 74 41 c0 3d d7 66"),
    );
    expect(() => uuid("33db4d5b")).toThrow(RangeError);
  });

  it("resource templates hold descriptors and an end tag (6.4)", () => {
    const template = resourceTemplate([
      { type: "io", port: 0x3f8, length: 8 },
      { type: "irq", irq: 4 },
      { type: "memory", base: 0xfed00000, length: 0x400 },
      { type: "interrupt", gsi: 20, level: true },
    ]);
    expect(template).toEqual(
      bytes(
        "11 25 0a 22 47 01 f8 03 f8 03 01 08 22 10 00 86 09 00 01 00 00 d0 fe 00 04 00 00 89 06 00 01 01 14 00 00 00 79 00",
      ),
    );
  });

  it("resources outside of their range are refused", () => {
    expect(() => resourceTemplate([{ type: "irq", irq: 16 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "io", port: 0xffff, length: 2 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "memory", base: 0xffffffff, length: 2 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "bus window", first: 0, last: 256 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "port window", first: 2, last: 1 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "memory window", base: 0, length: 0 }])).toThrow(RangeError);
    expect(() => resourceTemplate([{ type: "shared interrupt", choices: [] }])).toThrow(RangeError);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MalformedError, Reader, Writer } from "./index.ts";

describe("Reader", () => {
  it("reads little-endian fields in order", () => {
    const bytes = new Writer()
      .u8(0x12)
      .u16(0x3456)
      .u32(0x789abcde)
      .u64(0x0123456789abcdefn)
      .bytes(Uint8Array.of(1, 2, 3))
      .finish();
    const reader = new Reader(bytes, "test");
    expect([reader.u8(), reader.u16(), reader.u32(), reader.u64()]).toEqual([
      0x12,
      0x3456,
      0x789abcde,
      0x0123456789abcdefn,
    ]);
    expect([...reader.take(3)]).toEqual([1, 2, 3]);
    expect(reader.remaining).toBe(0);
  });

  it("takes a copy, also of a Buffer", () => {
    const bytes = Buffer.from([1, 2]);
    const taken = new Reader(bytes, "test").take(2);
    bytes[0] = 9;
    expect([...taken]).toEqual([1, 2]);
  });

  it("names the offset of a field that does not fit", () => {
    const reader = new Reader(new Uint8Array(6), "some format");
    reader.u32();
    expect(() => reader.u32()).toThrow(
      expect.objectContaining({ code: "truncated", offset: 4, spec: "some format" }),
    );
    expect(reader.offset).toBe(4);
  });

  it("refuses 64-bit values that no number holds", () => {
    const reader = new Reader(new Writer().u64(2n ** 53n).finish(), "test");
    expect(() => reader.u64Number()).toThrow(expect.objectContaining({ code: "out-of-range", offset: 0 }));
  });

  it("throws MalformedError and nothing else, whatever it is asked", () => {
    const operations = fc.array(
      fc.oneof(fc.constantFrom("u8", "u16", "u32", "u64", "u64Number"), fc.integer(), fc.double()),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), operations, (bytes, asked) => {
        const reader = new Reader(bytes, "test");
        for (const operation of asked) {
          try {
            if (typeof operation === "number") {
              if (operation % 2 === 0) reader.take(operation);
              else reader.seek(operation);
            } else reader[operation as "u8"]();
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedError);
          }
          expect(reader.offset).toBeLessThanOrEqual(bytes.length);
        }
      }),
    );
  });
});

describe("Writer", () => {
  it("patches what was written and refuses to patch beyond", () => {
    const writer = new Writer(2).u32(0).u32(0xffffffff).align(16);
    writer.setU16(2, 0xabcd);
    writer.setU8(0, 1);
    expect([...writer.finish()]).toEqual([1, 0, 0xcd, 0xab, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(() => writer.setU32(13, 0)).toThrow(RangeError);
  });

  it("pads text with spaces or cuts it", () => {
    expect(Buffer.from(new Writer().ascii("AB", 4).ascii("ABCDE", 3).finish()).toString()).toBe("AB  ABC");
  });
});

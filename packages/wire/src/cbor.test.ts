import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32, decodeCbor, encodeCbor, hex, MalformedError, toHex } from "./index.ts";

describe("deterministic CBOR", () => {
  it("sorts keys by length, then bytes (RFC 8949 §4.2.1)", () => {
    expect(toHex(encodeCbor({ bb: 1, a: 2, c: Uint8Array.of(9) }))).toBe(
      "a3" + "6161" + "02" + "6163" + "4109" + "626262" + "01",
    );
  });

  it("gives the same bytes whatever the order of insertion", () => {
    expect(encodeCbor({ x: { p: 1, q: [1, { z: 0, y: 0 }] }, w: null })).toEqual(
      encodeCbor({ w: null, x: { q: [1, { y: 0, z: 0 }], p: 1 } }),
    );
  });

  it("leaves out fields that are undefined", () => {
    expect(encodeCbor({ a: undefined, b: 1 })).toEqual(encodeCbor({ b: 1 }));
  });

  it("brings back what was encoded", () => {
    const value = {
      text: "ä",
      list: [1, 2.5, -3, 2 ** 40],
      flag: true,
      none: null,
      bytes: Uint8Array.of(0, 255),
    };
    expect(decodeCbor(encodeCbor(value))).toEqual(value);
  });

  it("throws MalformedError and nothing else for bytes that are no CBOR", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeCbor(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("CRC-32 and hexadecimal", () => {
  it("gives the check value of CRC-32/ISO-HDLC", () => {
    expect(crc32(Buffer.from("123456789"))).toBe(0xcbf43926);
    expect(crc32(Buffer.from("56789"), crc32(Buffer.from("1234")))).toBe(0xcbf43926);
  });

  it("pads numbers", () => {
    expect(hex(0xab, 4)).toBe("0x00ab");
    expect(hex(2n ** 63n)).toBe("0x8000000000000000");
  });
});

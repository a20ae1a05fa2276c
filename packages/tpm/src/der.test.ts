import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bitsOf, element, objectIdentifier, readElement, readElements, Tag, unsigned } from "./der.ts";

const of = (...bytes: readonly number[]): Uint8Array => Uint8Array.from(bytes);

describe("DER", () => {
  it("has lengths in as many octets as they take", () => {
    expect(element(Tag.OCTET_STRING, new Uint8Array(127)).subarray(0, 2)).toEqual(of(4, 127));
    expect(element(Tag.OCTET_STRING, new Uint8Array(128)).subarray(0, 3)).toEqual(of(4, 0x81, 128));
    expect(element(Tag.OCTET_STRING, new Uint8Array(256)).subarray(0, 4)).toEqual(of(4, 0x82, 1, 0));
  });

  it("reads back what it has written, whatever the sizes", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 }), (contents) => {
        const whole = element(Tag.SEQUENCE, ...contents.map((part) => element(Tag.OCTET_STRING, part)));
        const inner = readElements(readElement(whole, Tag.SEQUENCE)!.content)!;
        expect(inner.map(({ content }) => content)).toEqual(contents);
      }),
    );
  });

  it("refuses lengths that are indefinite, not the shortest, or longer than what is there, and long tags", () => {
    for (const bytes of [
      of(4),
      of(4, 1),
      of(4, 0x80, 0, 0),
      of(4, 0x81, 1, 0),
      of(4, 0x82, 0, 128, ...new Uint8Array(128)),
      of(4, 0x83, 0, 0, 1, 0),
      of(4, 0x81),
      of(4, 0x82, 1),
      of(0x1f, 1, 0),
      of(4, 0, 4),
    ])
      expect(readElements(bytes)).toBeUndefined();
    expect(readElement(of(4, 1, 9), Tag.OCTET_STRING)?.content).toEqual(of(9));
    expect(readElement(of(4, 1, 9, 0), Tag.OCTET_STRING)).toBeUndefined();
    expect(readElement(of(4, 1, 9), Tag.INTEGER)).toBeUndefined();
  });

  it("writes numbers without leading zeros, but for one that keeps them positive", () => {
    expect(unsigned(of())).toEqual(of(2, 1, 0));
    expect(unsigned(of(0, 0))).toEqual(of(2, 1, 0));
    expect(unsigned(of(0, 127))).toEqual(of(2, 1, 127));
    expect(unsigned(of(128))).toEqual(of(2, 2, 0, 128));
    expect(unsigned(of(0, 0, 255, 1))).toEqual(of(2, 3, 0, 255, 1));
  });

  it("writes identifiers in base 128", () => {
    expect(objectIdentifier("1.2.840.113549.1.1.11")).toEqual(
      of(6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11),
    );
    expect(objectIdentifier("2.23.133.10.1.1.1")).toEqual(of(6, 7, 0x67, 0x81, 5, 10, 1, 1, 1));
  });

  it("takes bit strings from the left", () => {
    expect(bitsOf(of(7, 0x80))).toBe(0x8000_0000);
    expect(bitsOf(of(0, 1, 2, 3, 4))).toBe(0x0102_0304);
    expect(bitsOf(of(0))).toBe(0);
    for (const wrong of [of(), of(1), of(8, 0), of(3, 0x04), of(0, 1, 2, 3, 4, 5)])
      expect(bitsOf(wrong)).toBeUndefined();
  });
});

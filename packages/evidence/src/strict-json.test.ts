import { MalformedError } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jsonMember, jsonOf, jsonOptional, jsonValue, parseStrictJson } from "./strict-json.ts";

const text = (value: string) => new TextEncoder().encode(value);
const parse = (value: string) => parseStrictJson(text(value));
const refused = (code: string, offset: number) => expect.objectContaining({ code, offset });
const object = (value: string) => jsonOf(parse(value), "object", "test");

describe("strict JSON", () => {
  test("reads what JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), fc.constantFrom(undefined, 1), (json, space) => {
        const plain: unknown = JSON.parse(json);
        const written = JSON.stringify(plain, undefined, space);
        let value: unknown;
        try {
          value = jsonValue(parse(written));
        } catch (error) {
          // What I-JSON has not: numbers beyond 2^53, lone surrogates.
          expect(error).toMatchObject({ code: "bad-value", spec: expect.stringMatching(/^RFC 7493/) });
          return;
        }
        expect(JSON.stringify(value)).toBe(JSON.stringify(plain));
      }),
    );
  });

  test("refuses what JSON.parse refuses", () => {
    const piece = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"',
      "\\u00e4",
      "1",
      "-",
      "0",
      "1.5e3",
      "true",
      "nul",
      " ",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const written = pieces.join("");
        let accepted = true;
        try {
          parse(written);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
          accepted = false;
        }
        if (accepted) expect(() => JSON.parse(written)).not.toThrow();
      }),
      { numRuns: 500 },
    );
  });

  test("knows the bytes of each value", () => {
    const written = ' {"a": [1, "ä"], "b":true} ';
    const bytes = text(written);
    const node = jsonOf(parseStrictJson(bytes), "object", "test");
    const slice = ({ offset, end }: { offset: number; end: number }) =>
      new TextDecoder().decode(bytes.subarray(offset, end));
    expect(slice(node)).toBe(written.trim());
    expect(slice(node.members.get("a")!)).toBe('[1, "ä"]');
    expect(slice(jsonMember(node, "a", "array", "test").items[1]!)).toBe('"ä"');
    expect(slice(node.members.get("b")!)).toBe("true");
  });

  test.each([
    ['{"a":1,"a":1}', 7],
    ['{"a":1,"b":{},"\\u0061":1}', 14],
    ['[{"x":{"":1,"":2}}]', 12],
    ['{"__proto__":1,"__proto__":2}', 15],
  ])("refuses a name that stands twice: %s", (written, offset) => {
    expect(() => parse(written)).toThrow(
      expect.objectContaining({ code: "bad-value", offset, spec: "RFC 7493, 2.3" }),
    );
  });

  test.each([
    ["1 2", "trailing-bytes", 2],
    ["{}x", "trailing-bytes", 2],
    ["", "truncated", 0],
    ['{"a":', "truncated", 5],
    ['"a', "truncated", 2],
    ["[1,", "truncated", 3],
    ["tru", "truncated", 3],
    ["01", "bad-value", 1],
    ["+1", "bad-value", 0],
    [".5", "bad-value", 0],
    ["1e999", "bad-value", 0],
    ["9007199254740993", "bad-value", 0],
    ["'a'", "bad-value", 0],
    ["[1,]", "bad-value", 3],
    ['{"a":1,}', "bad-value", 7],
    ["\ufeff1", "bad-value", 0],
    ['"\n"', "bad-value", 1],
    ['"\\x"', "bad-value", 2],
    ['"\\ud800"', "bad-value", 1],
    ['"\\udc00\\ud800"', "bad-value", 1],
    ['"\\u12g4"', "bad-value", 5],
    ["// comment\n1", "bad-value", 0],
    ["NaN", "bad-value", 0],
  ])("refuses %j by %s at %i", (written, code, offset) => {
    expect(() => parse(written)).toThrow(refused(code, offset));
  });

  test("refuses text that is not UTF-8", () => {
    expect(() => parseStrictJson(Uint8Array.of(0x22, 0xc3, 0x28, 0x22))).toThrow(refused("bad-value", 1));
  });

  test("joins surrogates that are a pair", () => {
    expect(jsonValue(parse('"\\ud83d\\ude00\\n\\/"'))).toBe("😀\n/");
  });

  test("has bounds: depth and number of values", () => {
    expect(() => parse("[".repeat(33) + "]".repeat(33))).toThrow(refused("bad-value", 32));
    expect(parse("[".repeat(32) + "]".repeat(32)).kind).toBe("array");
    expect(() => parseStrictJson(text("[1,2,3]"), 0, 7, { depth: 2, nodes: 3 })).toThrow(
      refused("bad-value", 5),
    );
    expect(() => parse("[".repeat(1_000_000))).toThrow(refused("bad-value", 32));
  });

  test("gives members by name and kind, or says where they are not", () => {
    const node = object('{"a":"x","b":1}');
    expect(jsonMember(node, "a", "string", "test").value).toBe("x");
    expect(jsonOptional(node, "c", "string", "test")).toBeUndefined();
    expect(() => jsonMember(node, "c", "string", "doc")).toThrow(
      expect.objectContaining({ code: "bad-value", offset: 0, spec: "doc" }),
    );
    expect(() => jsonOptional(node, "b", "string", "doc")).toThrow(refused("bad-value", 13));
  });

  test("gives plain values without a prototype", () => {
    const value = jsonValue(parse('{"__proto__":{"x":1},"a":[null,false]}')) as Record<string, unknown>;
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(Object.keys(value)).toEqual(["__proto__", "a"]);
    expect(value["x"]).toBeUndefined();
  });
});

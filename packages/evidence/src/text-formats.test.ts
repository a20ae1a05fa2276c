import { MalformedError } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { guidBytes, guidText } from "./guid.ts";
import { encodePem, MAXIMUM_PEM_BLOCKS, parsePem } from "./pem.ts";
import { counted } from "./testing/sample-evidence.ts";

const text = (value: string) => new TextEncoder().encode(value);
const refused = (code: string) => expect.objectContaining({ code });

describe("base64", () => {
  test("is what Node makes of the same bytes, both alphabets", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom("base64", "base64url"),
        (bytes, alphabet) => {
          const encoded = encodeBase64(bytes, alphabet);
          expect(encoded).toBe(Buffer.from(bytes).toString(alphabet));
          expect(decodeBase64(text(encoded), alphabet, "test")).toEqual(bytes);
        },
      ),
    );
  });

  test.each([
    ["base64", "AA="],
    ["base64", "AA"],
    ["base64", "AA==="],
    ["base64", "A==="],
    ["base64", "AB=="],
    ["base64", "AA==AA=="],
    ["base64", "AA-_"],
    ["base64url", "AA=="],
    ["base64url", "AB"],
    ["base64url", "A"],
    ["base64url", "AA\n"],
    ["base64url", "AA+/"],
  ] as const)("of alphabet %s refuses %j", (alphabet, value) => {
    expect(() => decodeBase64(text(value), alphabet, "test")).toThrow(refused("bad-value"));
  });

  test("names the place of what is wrong", () => {
    expect(() => decodeBase64(text("  AAAA AA!A"), "base64", "test", 2)).toThrow(
      expect.objectContaining({ code: "bad-value", offset: 9, spec: "test" }),
    );
  });
});

describe("PEM", () => {
  const one = encodePem("CERTIFICATE", counted(100, 0));
  const two = encodePem("X509 CRL", counted(5, 0));

  test("has lines of 64 characters, and blocks that know their bytes", () => {
    expect(
      one
        .split("\n")
        .slice(1, -2)
        .map((line) => line.length),
    ).toEqual([64, 64, 8]);
    const blocks = parsePem(text(`\r\n${one}\n${two}\0\0`));
    expect(blocks.map(({ label, data, offset }) => [label, data, offset])).toEqual([
      ["CERTIFICATE", counted(100, 0), 2],
      ["X509 CRL", counted(5, 0), 3 + one.length],
    ]);
    expect(blocks[0]!.length).toBe(one.length - 1);
  });

  test("may be no block at all", () => {
    expect(parsePem(text(" \n\0"))).toEqual([]);
  });

  test.each([
    ["text before a block", `hello\n${one}`],
    ["text between blocks", `${one}hello${two}`],
    ["text behind the zeros", `${one}\0${two}`],
    ["another label at the end", one.replace("END CERTIFICATE", "END CERTIFICATF")],
    ["a header within", one.replace("CERTIFICATE-----\n", "CERTIFICATE-----\nProc-Type: 4\n\n")],
    ["wrong base64", one.replace("AAEC", "AAE=")],
  ])("with %s is refused", (_, value) => {
    expect(() => parsePem(text(value))).toThrow(refused("bad-value"));
  });

  test("that does not end is truncated", () => {
    expect(() => parsePem(text(one.slice(0, 90)))).toThrow(refused("truncated"));
  });

  test("with more blocks than any chain has is refused", () => {
    expect(parsePem(text(two.repeat(MAXIMUM_PEM_BLOCKS))).length).toBe(MAXIMUM_PEM_BLOCKS);
    expect(() => parsePem(text(two.repeat(MAXIMUM_PEM_BLOCKS + 1)))).toThrow(refused("bad-value"));
  });

  test("that is any text is refused by a code, or read", () => {
    const piece = fc.constantFrom(
      "-----BEGIN ",
      "-----END ",
      "CERTIFICATE",
      "-----",
      "\n",
      "AAAA",
      "=",
      "\0",
      " ",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        try {
          for (const { label } of parsePem(text(pieces.join("")))) expect(label).toMatch(/^[ -~]*$/);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("a GUID", () => {
  const guid = "63da758d-e664-4564-adc5-f4b93be8accd";

  test("has its bytes as in its text, or its first three groups turned round", () => {
    expect([...guidBytes(guid, "text").slice(0, 8)]).toEqual([
      0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64,
    ]);
    expect([...guidBytes(guid, "uefi").slice(0, 8)]).toEqual([
      0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45,
    ]);
    for (const order of ["text", "uefi"] as const) expect(guidText(guidBytes(guid, order), order)).toBe(guid);
  });

  test("of another text is none", () => {
    expect(() => guidBytes("63da758d-e664-4564-adc5", "text")).toThrow(RangeError);
  });
});

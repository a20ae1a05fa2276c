import { webcrypto } from "node:crypto";
import { buildTpmSignature } from "@entresol/evidence";
import { Alg, Curve, noScheme, ObjectAttribute, type Public } from "@entresol/tpm-types";
import { asyncProperty, assert as check, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { contextOf } from "../context.ts";
import { nativeProvider } from "../crypto/native.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { type Subtle, webProvider } from "../crypto/web.ts";
import { attestedBoot } from "../event-log/attested-boot.ts";
import {
  allPcrs,
  attributesOf,
  bootLog,
  goodNonce,
  hashed,
  pcrsAfter,
  type QuoteInput,
  type QuotingKey,
  quotingKey,
  tpmQuote,
} from "../testing/boot-evidence.ts";
import { publicAreaKey } from "./key.ts";
import type { TpmQuoteEvidence } from "./quote.ts";

const context = contextOf({ at: 0 });
const rsa = () => quotingKey("rsa", "ak");

/** Judges a quote by the public area of the key that made it. Gives the checks that did not pass. */
async function judged(
  input: QuoteInput = {},
  more: Partial<TpmQuoteEvidence> = {},
  {
    key = input.key ?? rsa(),
    nonce,
    crypto,
  }: { key?: QuotingKey; nonce?: Uint8Array; crypto?: CryptoProvider } = {},
) {
  const own = crypto === undefined ? context : contextOf({ at: 0, crypto });
  const attester = await publicAreaKey(own, key.publicArea);
  const boot = await attestedBoot(own, { tpmQuote: { ...tpmQuote(input), ...more } }, attester, {
    ...(nonce && { nonce }),
  });
  const off = boot.checks.filter(({ result }) => result !== "passed");
  return {
    ...boot,
    off: off.map(({ id, result }) => `${id} ${result}`),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

const providers = [
  ["node:crypto", nativeProvider()],
  ["WebCrypto", webProvider(webcrypto.subtle as unknown as Subtle)],
] as const satisfies readonly (readonly [string, CryptoProvider | undefined])[];

describe.each(providers)("a quote is verified by %s", (_name, crypto) => {
  const cases: [string, QuoteInput][] = [
    ["RSASSA with SHA-256", {}],
    ["RSASSA with SHA-384", { hash: "sha384" }],
    ["RSASSA without its algorithm", { scheme: "RSA alone" }],
    ["RSASSA without its algorithm, SHA-512", { scheme: "RSA alone", hash: "sha512" }],
    ["RSAPSS with a salt like its digest", { scheme: "RSAPSS" }],
    ["RSAPSS with all the salt that there is room for", { scheme: "RSAPSS", salt: 256 - 32 - 2 }],
    ["ECDSA on P-256", { key: quotingKey("P-256", "ak") }],
    ["ECDSA on P-384", { key: quotingKey("P-384", "ak"), hash: "sha384" }],
    [
      "PCRs of two banks",
      {
        selection: [
          ["sha1", [0, 4]],
          ["sha256", [7, 8, 23]],
        ],
      },
    ],
  ];
  test.each(cases)("%s", async (_case, input) => {
    const { off, tpm, details } = await judged(input, {}, { nonce: goodNonce, ...(crypto && { crypto }) });
    expect(off, details).toEqual([]);
    expect(tpm?.pcrs?.length).toBe(input.selection === undefined ? 24 : 5);
  });

  test("one byte of message or signature more or less is seen", async () => {
    const changes: [string, QuoteInput][] = [
      ["message", { changeMessage: (bytes) => bytes.set([bytes[60]! ^ 1], 60) }],
      ["signature", { changeSignature: (bytes) => bytes.set([bytes[100]! ^ 1], 100) }],
    ];
    for (const [name, input] of changes) {
      const { off } = await judged(input, {}, crypto && { crypto });
      expect(off, name).toContain("tpm.quote.signature failed");
    }
  });
});

test("numbers of an ECDSA signature may have leading zeros, and no more digits than the curve", async () => {
  const key = quotingKey("P-256", "ak");
  const { message, signature } = tpmQuote({ key });
  const r = signature.slice(6, 38);
  const s = signature.slice(40);
  const padded = (first: number) =>
    buildTpmSignature({ sigAlg: Alg.ECDSA, hash: Alg.SHA256, r: Uint8Array.of(first, ...r), s });
  expect((await judged({ key }, { message, signature: padded(0) })).off).toEqual([]);
  expect((await judged({ key }, { message, signature: padded(1) })).off).toContain(
    "tpm.quote.signature failed",
  );
});

describe("a quote is refused", () => {
  const flip = (at: number) => (bytes: Uint8Array) => bytes.set([bytes[at]! ^ 1], at);
  const cases: [string, QuoteInput, string][] = [
    ["that no TPM made", { magic: 0x12345678 }, "tpm.quote.form"],
    ["that is another attestation", { changeMessage: flip(5) }, "tpm.quote.form"],
    ["signed with SHA-1", { hash: "sha1" }, "tpm.quote.signature"],
    ["of another key", { key: quotingKey("rsa", "other") }, "tpm.quote.signature"],
    ["of a key of another kind", { key: quotingKey("P-256", "ak") }, "tpm.quote.signature"],
    ["whose digest is of other PCR values", { digest: new Uint8Array(32) }, "tpm.quote.pcrs"],
    ["that selects no PCR", { selection: [["sha256", []]] }, "tpm.quote.pcrs"],
    ["that selects nothing at all", { selection: [] }, "tpm.quote.pcrs"],
    [
      "with values of another boot",
      { pcrs: { sha256: pcrsAfter(bootLog({ kernel: new Uint8Array(1) }), "sha256") } },
      "tpm.quote.pcrs",
    ],
  ];
  test.each(cases)("%s", async (_name, input, id) => {
    const { off, tpm } = await judged(input, {}, { key: rsa() });
    expect(off).toContain(`${id} failed`);
    expect(tpm?.pcrs).toBeUndefined();
  });

  test("with another nonce, or none", async () => {
    for (const nonce of [new Uint8Array(0), new Uint8Array(32)])
      expect((await judged({ nonce }, {}, { nonce: goodNonce })).off).toEqual(["tpm.quote.nonce failed"]);
  });

  test("with a selection that was changed, as the digest then is of other values", async () => {
    // Behind the magic, the type, the name, the nonce, the clock and the firmware version: count, hash, size, bitmap.
    const bitmap = 4 + 2 + 2 + 34 + 2 + goodNonce.length + 17 + 8 + 4 + 2 + 1;
    const changeMessage = (bytes: Uint8Array) => bytes.set([0xfe], bitmap);
    const changed = tpmQuote();
    changeMessage(changed.message);
    expect((await judged({}, changed)).off).toEqual(["tpm.quote.signature failed", "tpm.quote.pcrs not-run"]);
  });

  test("by a scheme that its key does not sign by", async () => {
    const { privateKey, publicArea } = rsa();
    if (publicArea.type !== Alg.RSA) throw new RangeError("the key is one of RSA");
    const scheme = { ...noScheme, scheme: Alg.RSAPSS, hash: Alg.SHA256 };
    const key = {
      privateKey,
      publicArea: { ...publicArea, parameters: { ...publicArea.parameters, scheme } },
    };
    const { off, details } = await judged({}, {}, { key });
    expect(off).toContain("tpm.quote.signature failed");
    expect(details).toContain("the key signs by RSAPSS with SHA256");
    expect((await judged({ scheme: "RSAPSS" }, {}, { key })).off).toEqual([]);
  });
});

describe("PCR values", () => {
  test("that did not come along are not known, and nothing is said of them", async () => {
    const { off, tpm, checks } = await judged({ pcrs: null });
    expect(off).toEqual([]);
    expect(checks.map(({ id }) => id)).not.toContain("tpm.quote.pcrs");
    expect(tpm?.pcrs).toBeUndefined();
  });

  test("of which one is missing, or has another size, cannot be judged", async () => {
    const good = pcrsAfter(bootLog(), "sha256");
    for (const pcrs of [good.slice(0, 23), good.with(3, new Uint8Array(20))])
      expect((await judged({ pcrs: { sha256: pcrs } })).off).toEqual(["tpm.quote.pcrs not-run"]);
  });

  test("of a forged quote are not taken for known", async () => {
    const { tpm } = await judged({ changeSignature: (bytes) => bytes.set([(bytes[50] as number) ^ 1], 50) });
    expect(tpm?.pcrs).toBeUndefined();
  });
});

describe("a public area is no attestation key", () => {
  const area = (change: Partial<Public>): Public => ({ ...rsa().publicArea, ...change }) as Public;
  const ecc = quotingKey("P-256", "ak").publicArea;
  const cases: [string, Public, RegExp][] = [
    [
      "when it is not restricted: it signs what others make up",
      area({ objectAttributes: attributesOf.ak & ~ObjectAttribute.restricted }),
      /restricted/,
    ],
    [
      "when it may leave its TPM",
      area({ objectAttributes: attributesOf.ak & ~ObjectAttribute.fixedTPM }),
      /fixedTPM/,
    ],
    ["when it does not sign", area({ objectAttributes: attributesOf.ek }), /sign/],
    [
      "when it decrypts as well",
      area({ objectAttributes: attributesOf.ak | ObjectAttribute.decrypt }),
      /decrypts/,
    ],
    [
      "when its modulus is short",
      area({ unique: new Uint8Array(128).fill(0xff) } as Partial<Public>),
      /1024 bits/,
    ],
    ["when its modulus is empty", area({ unique: new Uint8Array(0) } as Partial<Public>), /empty/],
    [
      "when its point is not on the curve",
      { ...ecc, unique: { x: new Uint8Array(32).fill(1), y: new Uint8Array(32).fill(1) } } as Public,
      /no public key/,
    ],
    [
      "when its curve is another",
      {
        ...ecc,
        parameters: {
          ...(ecc as Extract<Public, { type: typeof Alg.ECC }>).parameters,
          curveID: Curve.SM2_P256,
        },
      } as Public,
      /curve/,
    ],
  ];
  test.each(cases)("%s", async (_name, publicArea, fault) => {
    const key = await publicAreaKey(context, publicArea);
    expect(key).toMatchObject({ fault: expect.stringMatching(fault) });
  });
});

test("any bytes for message and signature are judged, and never accepted", async () => {
  const good = tpmQuote();
  await check(
    asyncProperty(
      uint8Array({ maxLength: 300 }),
      uint8Array({ maxLength: 300 }),
      async (message, signature) => {
        for (const evidence of [
          { message, signature },
          { ...good, message },
          { ...good, signature },
        ]) {
          const { checks } = await judged({}, evidence);
          expect(checks.some(({ result }) => result === "failed")).toBe(true);
        }
      },
    ),
    { numRuns: 50 },
  );
});

test("banks hash by their own algorithm, the digest by that of the signature", async () => {
  const selection = [["sha1", allPcrs]] as const;
  const pcrs = pcrsAfter(bootLog(), "sha1");
  const digest = hashed("sha256", ...pcrs);
  expect((await judged({ selection, digest })).off).toEqual([]);
});

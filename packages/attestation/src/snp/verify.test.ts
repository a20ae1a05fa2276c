import { webcrypto } from "node:crypto";
import { describe, expect, test } from "vitest";
import { nativeProvider } from "../crypto/native.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { type Subtle, webProvider } from "../crypto/web.ts";
import { ia5, integer, octets } from "../testing/der-writer.ts";
import { basicConstraints, crl, keyPair, keyUsage } from "../testing/pki.ts";
import type { ChipInput } from "../testing/snp-evidence.ts";
import { chip, chipId, goodTcb } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import { KeyUsage } from "../x509/certificate.ts";
import type { SnpCheckId } from "./checks.ts";
import type { SnpEvidence, SnpOptions } from "./evidence.ts";
import { verifySnp } from "./verify.ts";

const at = "2026-06-01T00:00:00Z";
const ROOT = "1.3.6.1.4.1.3704.1";

/** Verifies what a chip made, trusting its own root. Gives the checks that did not pass. */
async function judged(input: ChipInput = {}, more: Partial<SnpEvidence> = {}, options: SnpOptions = {}) {
  const made = chip(input);
  const outcome = await verifySnp(
    { ...made, ...more },
    { at, roots: [anchorOf(chip().certificates[2])], ...options },
  );
  const off = outcome.checks.filter(({ result }) => result !== "passed");
  return {
    outcome,
    off: off.map(({ id, result }) => `${id} ${result}`),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

const roots = (input: ChipInput) => ({ roots: [anchorOf(chip(input).certificates[2])] });
const failed = (...ids: readonly SnpCheckId[]) => ids.map((id) => `${id} failed`);

const providers = [
  ["node:crypto", nativeProvider()],
  ["WebCrypto", webProvider(webcrypto.subtle as unknown as Subtle)],
] as const satisfies readonly (readonly [string, CryptoProvider | undefined])[];

describe.each(providers)("evidence that is all right passes every check, by %s", (_name, crypto) => {
  test.each(["Milan", "Genoa", "Turin"] as const)("%s, VCEK and VLEK", async (line) => {
    for (const kind of ["vcek", "vlek"] as const) {
      const input: ChipInput = { line, kind, crl: {} };
      const { outcome, off } = await judged(input, {}, { ...roots(input), ...(crypto && { crypto }) });
      expect(off, kind).toEqual([]);
      expect(outcome.verified?.claims).toMatchObject({ line, signingKey: kind, root: `ARK-${line}` });
    }
  });
});

test("without a revocation list nothing is refused, and revocation is not said to have been judged", async () => {
  const { outcome, off } = await judged();
  expect(off).toEqual(["snp.revocation not-run"]);
  expect(outcome.verified).toBeDefined();
});

test("inputs are named by their hashes, and the time is that which was judged for", async () => {
  const { outcome } = await judged();
  expect(outcome.inputs.map(({ name }) => name)).toEqual([
    "report",
    "certificate 0",
    "certificate 1",
    "certificate 2",
    "trust root 0",
  ]);
  expect(outcome.at).toBe(Date.parse(at));
});

describe("the report", () => {
  const cases: [string, ChipInput, readonly SnpCheckId[]][] = [
    ["a changed byte", { change: (r) => r.set([1], 0x90) }, ["snp.signature"]],
    ["signature algorithm 0", { report: { signatureAlgorithm: 0 } }, ["snp.signature.form", "snp.signature"]],
    ["R = 0", { change: (r) => r.fill(0, 0x2a0, 0x2a0 + 48) }, ["snp.signature.form", "snp.signature"]],
    ["S = 0", { change: (r) => r.fill(0, 0x2e8, 0x2e8 + 48) }, ["snp.signature.form", "snp.signature"]],
    ["R = n", { change: (r) => r.set(order, 0x2a0) }, ["snp.signature.form", "snp.signature"]],
    ["byte 48 of R", { change: (r) => r.set([1], 0x2a0 + 48) }, ["snp.signature.form", "snp.signature"]],
    ["byte 71 of S", { change: (r) => r.set([1], 0x2e8 + 71) }, ["snp.signature.form", "snp.signature"]],
    [
      "the last byte of the signature area",
      { change: (r) => r.set([1], 1183) },
      ["snp.signature.form", "snp.signature"],
    ],
    ["a reserved byte", { report: { reserved04c: 1 } }, ["snp.report.reserved"]],
    ["policy bit 17 clear", { report: { policy: 0x1_0000n } }, ["snp.report.reserved"]],
    ["no signing key", { report: { flags: 7 << 2 } }, ["snp.signing-key"]],
    ["a reserved signing key", { report: { flags: 3 << 2 } }, ["snp.signing-key"]],
    ["a VLEK named, a VCEK given", { report: { flags: 1 << 2 } }, ["snp.signing-key"]],
    ["an unknown processor", { report: { cpuidFamily: 0x18 } }, ["snp.product"]],
    ["a processor of another line", { report: { cpuidFamily: 0x19, cpuidModel: 0x01 } }, ["snp.product"]],
    [
      "reported TCB above committed TCB",
      { report: { committedTcb: Uint8Array.of(4, 1, 0, 0, 0, 0, 21, 0xdb) } },
      ["snp.tcb.order"],
    ],
    [
      "committed TCB above current TCB",
      { report: { committedTcb: Uint8Array.of(4, 1, 0, 0, 0, 0, 23, 0xdb) } },
      ["snp.tcb.order"],
    ],
    [
      "a chip id that is masked without its flag",
      { report: { chipId: new Uint8Array(64) } },
      ["snp.key.chip"],
    ],
    ["a chip's key that is masked, and signed by", { report: { flags: 2 } }, ["snp.signing-key"]],
    [
      "a chip id and a chip's key that are masked",
      { report: { chipId: new Uint8Array(64), flags: 2 } },
      ["snp.signing-key"],
    ],
    ["another chip", { report: { chipId: chipId.map((byte) => byte ^ 1) } }, ["snp.key.chip"]],
  ];
  test.each(cases)("%s fails %#", async (_name, input, ids) => {
    const { outcome, off } = await judged(input);
    expect(off.filter((line) => line.endsWith("failed"))).toEqual(failed(...ids));
    expect(outcome.verified).toBeUndefined();
  });

  test.each([0, 1, 4, 6])("version %i is not known", async (version) => {
    const { outcome, off } = await judged({ report: { version } });
    expect(off[0]).toBe("snp.report.form failed");
    expect(outcome).toMatchObject({ verified: undefined, claims: undefined });
  });

  test("cut by a byte it is none, and with bytes behind it it is not taken", async () => {
    const { report } = chip();
    expect((await judged({}, { report: report.subarray(0, 1183) })).off[0]).toBe("snp.report.form failed");
    const longer = new Uint8Array(1200);
    longer.set(report);
    expect((await judged({}, { report: longer })).off).toEqual(["snp.revocation not-run"]);
    longer[1199] = 1;
    expect((await judged({}, { report: longer })).off).toEqual([
      "snp.report.length failed",
      "snp.revocation not-run",
    ]);
  });

  test("unknown policy and platform bits are reported by the parser and refuse nothing", async () => {
    const { outcome, off } = await judged({
      report: { policy: (1n << 40n) | 0x3_0000n, platformInfo: 1n << 40n },
    });
    expect(off).toEqual(["snp.revocation not-run"]);
    expect(outcome.claims?.report.findings.map(({ kind }) => kind)).toEqual(["unknown-bits", "unknown-bits"]);
  });

  test("policy bit 25 and platform bits 6 and 7, which newer firmware sets, are known", async () => {
    const { outcome, off } = await judged({
      report: { policy: (1n << 25n) | 0x3_0000n, platformInfo: 0xe5n },
    });
    expect(off).toEqual(["snp.revocation not-run"]);
    expect(outcome.claims?.report.findings).toEqual([]);
  });

  test("launch TCB is judged by the policy alone", async () => {
    const { outcome } = await judged({ report: { launchTcb: Uint8Array.of(9, 9, 0, 0, 0, 0, 99, 0xff) } });
    expect(outcome.verified?.claims.tcb?.launch).toMatchObject({ snp: 99 });
  });

  test("a reserved byte of a TCB version is refused", async () => {
    const version = Uint8Array.of(4, 1, 0, 7, 0, 0, 22, 0xdb);
    expect((await judged({ report: { launchTcb: version } })).off).toContain("snp.report.reserved failed");
  });

  test("bytes that change while a verification waits are judged as they were", async () => {
    const made = chip();
    const bytes = made.report.slice();
    const running = verifySnp({ ...made, report: bytes }, { at, roots: [anchorOf(made.certificates[2])] });
    await Promise.resolve();
    bytes.fill(0xee);
    const { verified } = await running;
    expect(verified?.claims.report.fields.measurement[0]).toBe(0xcd);
  });

  test("current TCB above committed TCB is provisional firmware, which a policy judges", async () => {
    const { outcome } = await judged({ report: { currentTcb: Uint8Array.of(4, 1, 0, 0, 0, 0, 23, 0xdb) } });
    expect(outcome.verified?.claims.provisionalFirmware).toBe(true);
  });

  test("version 2 has no CPUID: the certificate alone says the product, and it cannot be Turin", async () => {
    const old = { version: 2, cpuidFamily: 0, cpuidModel: 0, cpuidStepping: 0 };
    expect((await judged({ report: old })).off).toEqual(["snp.revocation not-run"]);
    const turin: ChipInput = { line: "Turin", report: old };
    expect((await judged(turin, {}, roots(turin))).off).toContain("snp.product failed");
  });
});

/** Order of P-384, little-endian. */
const order = Uint8Array.from(
  Buffer.from(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    "hex",
  ),
).reverse();

describe("the certificates", () => {
  const cases: [string, ChipInput, readonly SnpCheckId[]][] = [
    [
      "VCEK signed by somebody else",
      { leaf: { issuer: { name: "SEV-Genoa", key: keyPair("rsa-2048", "ark") } } },
      ["snp.chain"],
    ],
    ["a forged signature of the VCEK", { leaf: { forged: true } }, ["snp.chain"]],
    ["a forged signature of the ASK", { ask: { forged: true } }, ["snp.chain"]],
    [
      "a VCEK below an ASVK",
      {
        leaf: { issuer: { name: "SEV-VLEK-Genoa", key: keyPair("rsa-2048", "ask") } },
        ask: { subject: "SEV-VLEK-Genoa" },
      },
      ["snp.chain"],
    ],
    [
      "a VCEK straight below the root",
      { leaf: { issuer: { name: "ARK-Genoa", key: keyPair("rsa-2048", "ark") } } },
      ["snp.chain"],
    ],
    ["an ASK that is no CA", { ask: { extensions: [basicConstraints(false)] } }, ["snp.chain.rules"]],
    [
      "an ASK that may not sign certificates",
      { ask: { extensions: [basicConstraints(true, 0), keyUsage(KeyUsage.digitalSignature)] } },
      ["snp.chain.rules"],
    ],
    ["an expired ASK", { ask: { notAfter: "2026-05-31T00:00:00Z" } }, ["snp.chain.rules"]],
    ["an expired VCEK", { leaf: { notAfter: "2026-05-31T00:00:00Z" } }, ["snp.chain.rules"]],
    ["a VCEK of tomorrow", { leaf: { notBefore: "2026-06-02T00:00:00Z" } }, ["snp.chain.rules"]],
    [
      "an unknown critical extension",
      { extensions: (good) => [...good, { id: "1.2.3.4", critical: true, value: integer(1) }] },
      ["snp.chain.rules"],
    ],
    [
      "another microcode level",
      {
        extensions: (good) =>
          good.map((one) => (one.id === `${ROOT}.3.8` ? { ...one, value: integer(0xda) } : one)),
      },
      ["snp.key.tcb"],
    ],
    [
      "a level that is missing",
      { extensions: (good) => good.filter(({ id }) => id !== `${ROOT}.3.3`) },
      ["snp.key.extensions", "snp.key.tcb"],
    ],
    [
      "a product that is missing",
      { extensions: (good) => good.filter(({ id }) => id !== `${ROOT}.2`) },
      ["snp.key.extensions"],
    ],
    [
      "a hwID that is missing",
      { extensions: (good) => good.filter(({ id }) => id !== `${ROOT}.4`) },
      ["snp.key.extensions"],
    ],
    [
      "a hwID of 8 bytes on Genoa",
      {
        extensions: (good) =>
          good.map((one) => (one.id === `${ROOT}.4` ? { ...one, value: chipId.slice(0, 8) } : one)),
      },
      ["snp.key.chip"],
    ],
    [
      "an unknown product",
      {
        extensions: (good) =>
          good.map((one) => (one.id === `${ROOT}.2` ? { ...one, value: ia5("Venice-A0") } : one)),
      },
      ["snp.product"],
    ],
    [
      "a level above a byte",
      {
        extensions: (good) =>
          good.map((one) => (one.id === `${ROOT}.3.8` ? { ...one, value: integer(256) } : one)),
      },
      ["snp.key.extensions"],
    ],
    [
      "a level that is no INTEGER",
      {
        extensions: (good) =>
          good.map((one) => (one.id === `${ROOT}.3.8` ? { ...one, value: octets(Uint8Array.of(1)) } : one)),
      },
      ["snp.key.extensions"],
    ],
    [
      "an FMC level on Genoa",
      { extensions: (good) => [...good, { id: `${ROOT}.3.9`, value: integer(1) }] },
      ["snp.key.extensions"],
    ],
    [
      "a VCEK that may not sign",
      {
        extensions: (good) => [...good, keyUsage(KeyUsage.keyCertSign)],
      },
      ["snp.chain.rules"],
    ],
    ["an expired VLEK", { kind: "vlek", leaf: { notAfter: "2026-05-31T00:00:00Z" } }, ["snp.chain.rules"]],
    [
      "a VLEK below the ASK",
      {
        kind: "vlek",
        leaf: { issuer: { name: "SEV-Genoa", key: keyPair("rsa-2048", "ask") } },
        ask: { subject: "SEV-Genoa" },
      },
      ["snp.chain"],
    ],
    ["a name that is none", { leaf: { subject: octets(Uint8Array.of(1)) } }, ["snp.chain"]],
    ["a key of P-256", { leaf: { key: keyPair("P-256", "leaf") } }, ["snp.signature"]],
  ];
  test.each(cases)("%s", async (_name, input, ids) => {
    const { outcome, off } = await judged(input);
    expect(off.filter((line) => line.endsWith("failed"))).toEqual(failed(...ids));
    expect(outcome.verified).toBeUndefined();
  });

  test("an extension twice makes the certificate unreadable", async () => {
    const { off, details } = await judged({ extensions: (good) => [...good, ...good.slice(0, 1)] });
    expect(off).toContain("snp.chain failed");
    expect(details).toContain("is there twice");
  });

  test("Turin needs the FMC level", async () => {
    const input: ChipInput = { line: "Turin", tcb: { ...goodTcb, fmc: 3 } };
    expect((await judged(input, {}, roots(input))).off).toEqual(["snp.revocation not-run"]);
    const without: ChipInput = {
      ...input,
      extensions: (good) => good.filter(({ id }) => id !== `${ROOT}.3.9`),
    };
    expect((await judged(without, {}, roots(without))).off).toContain("snp.key.extensions failed");
  });

  test("a hwID inside an OCTET STRING is taken as well", async () => {
    const wrapped: ChipInput = {
      extensions: (good) =>
        good.map((one) => (one.id === `${ROOT}.4` ? { ...one, value: octets(chipId) } : one)),
    };
    expect((await judged(wrapped)).off).toEqual(["snp.revocation not-run"]);
  });

  test("a root of the same name that is not trusted is none", async () => {
    const other = { name: "ARK-Genoa", key: keyPair("rsa-2048", "impostor") };
    const { off, details } = await judged({ ark: { key: other.key }, ask: { issuer: other } });
    expect(off).toContain("snp.chain failed");
    expect(details).toContain("whose key did not sign it");
    const builtIn = await judged({}, {}, { at });
    expect(builtIn.outcome.verified).toBeDefined();
    expect((await verifySnp(chip(), { at })).verified).toBeUndefined();
  });

  test("a CA in the place of the VCEK is no VCEK", async () => {
    const { outcome, off } = await judged({ extensions: (good) => [...good, basicConstraints(true)] });
    expect(off).toContain("snp.signing-key not-run");
    expect(off).toContain("snp.signature not-run");
    expect(outcome.checks.find(({ id }) => id === "snp.chain")?.result).toBe("not-run");
  });

  test("the root of another product is none", async () => {
    expect((await judged({}, {}, roots({ line: "Milan" }))).off).toContain("snp.chain failed");
    // By its name: both have the same key here.
    expect((await judged({ line: "Milan" }, {}, roots({ line: "Milan" }))).off).toEqual([
      "snp.revocation not-run",
    ]);
  });

  test("none at all: nothing fails for want of them, and nothing is verified by them", async () => {
    const { outcome, off } = await judged({}, { certificates: [] });
    expect(off).toContain("snp.signing-key not-run");
    expect(off).toContain("snp.signature not-run");
    expect(off.some((line) => line.endsWith("failed"))).toBe(false);
    expect(outcome.checks.find(({ id }) => id === "snp.signing-key")?.detail).toContain("is missing");
  });

  test("a VLEK is bound to a provider and not to a chip", async () => {
    const vlek: ChipInput = { kind: "vlek" };
    const { outcome, off } = await judged(vlek);
    expect(off).toEqual(["snp.revocation not-run"]);
    expect(outcome.claims).toMatchObject({ cspId: "a cloud", chipIdMasked: true });
    expect(outcome.checks.some(({ id }) => id === "snp.key.chip")).toBe(false);
    const without = await judged({
      ...vlek,
      extensions: (good) => good.filter(({ id }) => id !== `${ROOT}.5`),
    });
    expect(without.off).toContain("snp.key.extensions failed");
  });
});

describe("the revocation list", () => {
  const ark = { name: "ARK-Genoa", key: keyPair("rsa-2048", "ark") };
  test.each([
    [
      "names the ASK",
      { revoked: [{ serial: 7 }, { serial: 0x101 }] },
      "SEV-Genoa (serial 0101) is withdrawn",
    ],
    ["ran out", { nextUpdate: "2026-05-31T00:00:00Z" }, "ran out"],
    ["is of tomorrow", { thisUpdate: "2026-06-02T00:00:00Z" }, "after the time judged for"],
    ["has no end", { nextUpdate: null }, "no end of validity"],
    ["is signed by the ASK", { issuer: { ...ark, key: keyPair("rsa-2048", "ask") } }, "is not signed by"],
    ["is forged", { forged: true }, "is not signed by"],
    ["is of another issuer", { issuer: { ...ark, name: "ARK-Milan" } }, "is of ARK-Milan"],
    [
      "has an unknown critical extension",
      { extensions: [{ id: "1.2.3", critical: true, value: integer(1) }] },
      "critical extension 1.2.3",
    ],
    [
      "is an indirect one",
      { extensions: [{ id: "2.5.29.28", critical: true, value: Uint8Array.of(0x30, 3, 0x84, 1, 0xff) }] },
      "critical extension 2.5.29.28",
    ],
  ])("that %s fails", async (_name, list, detail) => {
    const { outcome, off, details } = await judged({ crl: list });
    expect(off).toEqual(["snp.revocation failed"]);
    expect(details).toContain(detail);
    expect(outcome.verified).toBeUndefined();
  });

  test.each([
    ["empty", new Uint8Array(0)],
    ["garbage", new Uint8Array(100).fill(0x30)],
    ["with a byte behind it", Uint8Array.of(...crl({ issuer: ark }), 0)],
  ])("that is %s fails", async (_name, der) => {
    expect((await judged({}, { crls: [der] })).off).toEqual(["snp.revocation failed"]);
  });

  test("names the root, the ASVK or a VLEK by its serial number", async () => {
    const withdrawn = async (serial: number, input: ChipInput = {}) =>
      (await judged({ ...input, crl: { revoked: [{ serial }] } })).off;
    expect(await withdrawn(0x100)).toEqual(["snp.revocation failed"]);
    expect(await withdrawn(0x101, { kind: "vlek" })).toEqual(["snp.revocation failed"]);
    expect(await withdrawn(0x77, { kind: "vlek", leaf: { serial: 0x77 } })).toEqual([
      "snp.revocation failed",
    ]);
  });

  test("serial 0 means every VCEK and so none", async () => {
    expect((await judged({ crl: { revoked: [{ serial: 0 }] } })).off).toEqual([]);
  });
});

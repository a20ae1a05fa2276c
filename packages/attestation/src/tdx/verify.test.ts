import { webcrypto } from "node:crypto";
import { encodePem } from "@entresol/evidence";
import { integer as anyInteger, asyncProperty, assert as check } from "fast-check";
import * as pkijs from "pkijs";
import { describe, expect, test } from "vitest";
import { nativeProvider } from "../crypto/native.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { type Subtle, webProvider } from "../crypto/web.ts";
import { integer, sequence } from "../testing/der-writer.ts";
import { basicConstraints, certificate, crl, keyPair, keyUsage } from "../testing/pki.ts";
import {
  distributionPoint,
  goodSgx,
  keys,
  type PlatformInput,
  platform,
  platformTime,
  pointOf,
  rootName,
  SERIALS,
  sgxExtension,
  sgxPairs,
} from "../testing/quote-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import { CertificateCache } from "../x509/cache.ts";
import { KeyUsage } from "../x509/certificate.ts";
import type { QuoteCheckId } from "./checks.ts";
import type { QuoteCollateral, QuoteEvidence, QuoteOptions } from "./evidence.ts";
import { verifySgx, verifyTdx } from "./verify.ts";

const at = platformTime;
const trusted = platform().roots;

/** Verifies what a platform made, trusting its own root. Gives the checks that did not pass. */
async function judged(
  input: PlatformInput = {},
  more: Partial<QuoteEvidence> & { readonly without?: readonly (keyof QuoteCollateral)[] } = {},
  options: QuoteOptions = {},
) {
  const made = platform(input);
  const { without = [], ...evidence } = more;
  const collateral = Object.fromEntries(
    Object.entries(evidence.collateral ?? made.collateral).filter(
      ([name]) => !(without as readonly string[]).includes(name),
    ),
  );
  const sgx = (input.bodyType ?? (input.version === 3 ? 1 : 2)) === 1;
  const outcome = await (sgx ? verifySgx : verifyTdx)(
    { quote: made.quote, ...evidence, collateral },
    { at, roots: trusted, ...options },
  );
  const off = outcome.checks.filter(({ result }) => result !== "passed");
  const failed = off.filter(({ result }) => result === "failed");
  // Whatever else: what failed is never verified, and what is verified has nothing that failed.
  expect(outcome.verified === undefined).toBe(failed.length > 0 || outcome.claims === undefined);
  return {
    outcome,
    off: off.map(({ id, result }) => `${id} ${result}`),
    failed: failed.map(({ id }) => id),
    details: failed.map(({ detail }) => detail).join("; "),
  };
}

type Case = [name: string, input: PlatformInput, ids: readonly QuoteCheckId[], detail?: string];

function refuses(cases: Case[]): void {
  test.each<Case>(cases)("%s is refused", async (_name, input, ids, detail = "") => {
    const { failed, details, outcome } = await judged(input);
    expect(failed).toEqual(ids);
    expect(details).toContain(detail);
    expect(outcome.verified).toBeUndefined();
  });
}

const providers = [
  ["node:crypto", nativeProvider()],
  ["WebCrypto", webProvider(webcrypto.subtle as unknown as Subtle)],
] as const satisfies readonly (readonly [string, CryptoProvider | undefined])[];

describe.each(providers)("a quote that is all right passes every check, by %s", (_name, crypto) => {
  test.each([
    [3, 1],
    [4, 1],
    [4, 2],
    [5, 1],
    [5, 2],
    [5, 3],
    [5, 4],
  ] as const)("version %i with body type %i", async (version, bodyType) => {
    for (const ca of ["Platform", "Processor"] as const) {
      const { outcome, off } = await judged(
        { version, bodyType, ca },
        {},
        crypto === undefined ? {} : { crypto },
      );
      expect(off).toEqual([]);
      expect(outcome.tcb).toMatchObject({ status: "UpToDate", advisories: [] });
      expect(outcome.verified?.claims).toMatchObject({ root: rootName, pck: { pceSvn: 11 } });
    }
  });

  test("an attestation key that is no point of the curve signs nothing", async () => {
    const input: PlatformInput = {
      change: (quote) => quote.fill(0x17, 48 + 584 + 4 + 64, 48 + 584 + 4 + 128),
    };
    const { failed } = await judged(input, {}, crypto === undefined ? {} : { crypto });
    expect(failed).toEqual(["qe.binding", "quote.signature"]);
  });
});

test("all inputs are named by their hashes, and the window is what all certificates, lists and documents share", async () => {
  const { outcome } = await judged();
  expect(outcome.inputs.map(({ name }) => name)).toEqual([
    "quote",
    "TCB info",
    "QE identity",
    "TCB signing certificate 0",
    "root CRL",
    "PCK CRL",
    "trust root 0",
  ]);
  expect(outcome.window).toEqual({
    from: Date.parse("2026-05-20T00:00:00Z"),
    to: Date.parse("2026-06-19T00:00:00Z"),
  });
});

describe("header, lengths and certification data", () => {
  const word = (offset: number, value: number) => (quote: Uint8Array) =>
    new DataView(quote.buffer, quote.byteOffset).setUint16(offset, value, true);
  const dword = (offset: number, value: number) => (quote: Uint8Array) =>
    new DataView(quote.buffer, quote.byteOffset).setUint32(offset, value, true);
  refuses([
    ["version 2", { beforeSigning: word(0, 2) }, ["quote.form"]],
    ["version 6", { beforeSigning: word(0, 6) }, ["quote.form"]],
    ["attestation key type 3", { beforeSigning: word(2, 3) }, ["quote.form"]],
    ["an unknown TEE", { beforeSigning: dword(4, 0x82) }, ["quote.form"]],
    ["an SGX quote called TDX", { bodyType: 2, beforeSigning: dword(4, 0) }, ["quote.form"]],
    ["another vendor's quoting enclave", { header: { qeVendorId: new Uint8Array(16) } }, ["quote.vendor"]],
    ["reserved bytes of the header", { header: { reserved8: 1 } }, ["quote.reserved"]],
    [
      "a reserved byte of the QE report",
      { qe: { reserved96: new Uint8Array(32).fill(1) } },
      ["quote.reserved"],
    ],
    [
      "version 5 with a body type that is not known",
      { version: 5, beforeSigning: word(48, 5) },
      ["quote.form"],
    ],
    ["version 5 with SGX's body type and TDX", { version: 5, beforeSigning: word(48, 1) }, ["quote.form"]],
    [
      "version 5 with a body size of another type",
      { version: 5, beforeSigning: dword(50, 648) },
      ["quote.form"],
    ],
    ["signature data beyond the end", { change: dword(48 + 584, 0xffff_fff0) }, ["quote.form"]],
    ["signature data that ends early", { change: dword(48 + 584, 600) }, ["quote.form"]],
    ["bytes behind the quote", { trailing: Uint8Array.of(1, 2, 3) }, ["quote.length"]],
    [
      "an unknown type of certification",
      { certification: { type: 9, data: new Uint8Array(8) } },
      ["pck.chain"],
    ],
    [
      "a QE report within the QE report",
      {
        certification: {
          type: 6,
          qe: {
            report: new Uint8Array(384),
            reportSignature: new Uint8Array(64),
            authData: new Uint8Array(0),
            certification: { type: 5, data: new Uint8Array(0) },
          },
        },
      },
      ["quote.form"],
    ],
    [
      "an empty chain",
      { certification: { type: 5, data: new Uint8Array(0) } },
      ["pck.chain"],
      "no PCK certificate",
    ],
    [
      "a chain that is cut within a certificate",
      {
        certification: {
          type: 5,
          data: new TextEncoder().encode(encodePem("CERTIFICATE", platform().chain[0]).slice(0, 400)),
        },
      },
      ["pck.chain"],
    ],
  ]);

  test("zeros behind the quote are padding", async () => {
    expect((await judged({ trailing: new Uint8Array(39) })).off).toEqual([]);
  });

  test("authentication data may be empty, and may be long", async () => {
    for (const authData of [new Uint8Array(0), new Uint8Array(65535).fill(7)])
      expect((await judged({ authData })).off).toEqual([]);
  });

  test("SGX evidence is none for TDX, and the other way round", async () => {
    const { quote, collateral, roots } = platform({ version: 4, bodyType: 1 });
    expect((await verifyTdx({ quote, collateral }, { at, roots })).verified).toBeUndefined();
    const td = platform();
    expect((await verifySgx(td, { at, roots })).verified).toBeUndefined();
  });

  test.each([1, 2, 3, 7] as const)(
    "certification data of type %i: the PCK certificate has to be fetched",
    async (type) => {
      const data = new Uint8Array({ 1: 36, 2: 276, 3: 404, 7: 100 }[type]);
      const input: PlatformInput = { certification: { type, data } };
      const without = await judged(input);
      expect(without.failed).toEqual([]);
      expect(without.off).toContain("pck.chain not-run");
      expect(without.off).toContain("qe.signature not-run");
      expect((await judged(input, { certificates: platform().chain })).off).toEqual([]);
    },
  );

  test("cut anywhere a quote is refused, and nothing throws", async () => {
    const { quote, collateral, roots } = platform();
    for (let size = 0; size < quote.length; size += size < 800 ? 13 : 97) {
      const { verified, checks } = await verifyTdx(
        { quote: quote.subarray(0, size), collateral },
        { at, roots },
      );
      expect(verified, `${size} bytes`).toBeUndefined();
      expect(checks[0]).toMatchObject({ id: "quote.form", result: "failed" });
    }
  });

  test("with any bit of what is signed changed a quote is refused", async () => {
    const { quote, collateral, roots } = platform({ version: 5, bodyType: 3 });
    const signed = 54 + 648;
    await check(
      asyncProperty(anyInteger({ min: 0, max: 8 * signed - 1 }), async (bit) => {
        const changed = quote.slice();
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        expect((await verifyTdx({ quote: changed, collateral }, { at, roots })).verified).toBeUndefined();
      }),
    );
  });
});

describe("the PCK chain", () => {
  const stranger = keyPair("P-256", "stranger");
  const p384 = keyPair("P-384", "pck of another curve");
  const pems = (...ders: readonly Uint8Array[]) => ({
    type: 5,
    data: new TextEncoder().encode(ders.map((one) => encodePem("CERTIFICATE", one)).join("")),
  });
  const good = platform().chain;
  refuses([
    [
      "a PCK of another CA's key",
      { pck: { issuer: { name: "Intel SGX PCK Platform CA", key: stranger } } },
      ["pck.chain"],
      "whose key did not sign it",
    ],
    [
      "a PCK of an unknown CA",
      { pck: { issuer: { name: "A CA", key: stranger } } },
      ["pck.chain"],
      "is missing",
    ],
    ["a forged signature of the PCK", { pck: { forged: true } }, ["pck.chain"]],
    ["a forged signature of the CA", { intermediate: { forged: true } }, ["pck.chain"]],
    ["a short chain", { certification: pems(good[0]) }, ["pck.chain"], "is missing"],
    [
      "a PCK right below the root",
      { pck: { issuer: { name: rootName, key: keys.root } } },
      ["pck.chain"],
      "1 certificates below",
    ],
    [
      "a PCK of the TCB signer",
      {
        pck: { issuer: { name: "Intel SGX TCB Signing", key: keys.signer } },
        certification: pems(
          platform({ pck: { issuer: { name: "Intel SGX TCB Signing", key: keys.signer } } }).chain[0],
          platform().signer,
        ),
      },
      ["pck.chain"],
      "which issues no PCK",
    ],
    [
      "a CA that is called otherwise",
      {
        intermediate: { subject: "Intel SGX PCK Cloud CA" },
        pck: { issuer: { name: "Intel SGX PCK Cloud CA", key: keys.ca } },
      },
      ["pck.chain"],
      "which issues no PCK",
    ],
    [
      "a CA in the place of the PCK",
      { pck: { extensions: [basicConstraints(true), sgxExtension(sgxPairs(goodSgx()))] } },
      ["pck.chain"],
      "no PCK certificate",
    ],
    [
      "a PCK that is called otherwise",
      { pck: { subject: "Intel SGX PCK" } },
      ["pck.chain"],
      "no PCK certificate",
    ],
    [
      "a CA without the CA bit",
      {
        intermediate: {
          extensions: [basicConstraints(false), keyUsage(KeyUsage.keyCertSign | KeyUsage.crlSign)],
        },
      },
      ["pck.chain.rules"],
      "is not a CA",
    ],
    [
      "a CA without basic constraints",
      { intermediate: { extensions: [] } },
      ["pck.chain.rules"],
      "is not a CA",
    ],
    [
      "a CA that may not sign certificates",
      { intermediate: { extensions: [basicConstraints(true, 0), keyUsage(KeyUsage.crlSign)] } },
      ["pck.chain.rules"],
      "may not sign certificates",
    ],
    [
      "a CA that may not sign lists",
      { intermediate: { extensions: [basicConstraints(true, 0), keyUsage(KeyUsage.keyCertSign)] } },
      ["pck.revocation"],
      "may not sign revocation lists",
    ],
    [
      "a PCK that may not sign",
      { pck: { extensions: [keyUsage(KeyUsage.keyCertSign), sgxExtension(sgxPairs(goodSgx()))] } },
      ["pck.chain.rules"],
      "may not sign",
    ],
    [
      "an unknown critical extension of the PCK",
      {
        pck: {
          extensions: [{ id: "1.2.3", critical: true, value: integer(1) }, sgxExtension(sgxPairs(goodSgx()))],
        },
      },
      ["pck.chain.rules"],
      "1.2.3",
    ],
    [
      "an unknown critical extension of the CA",
      {
        intermediate: {
          extensions: [basicConstraints(true, 0), { id: "2.5.29.30", critical: true, value: sequence() }],
        },
      },
      ["pck.chain.rules"],
      "2.5.29.30",
    ],
    ["an expired PCK", { pck: { notAfter: "2026-05-31T23:59:59Z" } }, ["pck.chain.rules"], "expired"],
    ["a PCK of tomorrow", { pck: { notBefore: "2026-06-01T00:00:01Z" } }, ["pck.chain.rules"], "valid from"],
    ["an expired CA", { intermediate: { notAfter: "2026-05-31T23:59:59Z" } }, ["pck.chain.rules"], "expired"],
    ["a PCK whose key is of another curve", { pck: { key: p384 } }, ["qe.signature"]],
    ["a PCK with another key than signed the QE report", { pck: { key: stranger } }, ["qe.signature"]],
    ["a name that is none", { pck: { subject: sequence(integer(1)) } }, ["pck.chain"], "cannot be read"],
  ]);

  test("path length: a CA below a CA that allows none is refused", async () => {
    const between = { name: "Intel SGX PCK Platform CA", key: keyPair("P-256", "between") };
    const above = certificate({
      subject: "A CA above",
      key: keys.ca,
      issuer: { name: rootName, key: keys.root },
      extensions: [basicConstraints(true, 0)],
    });
    const ca = certificate({
      subject: between.name,
      key: between.key,
      issuer: { name: "A CA above", key: keys.ca },
      extensions: [basicConstraints(true, 0)],
    });
    const pck = platform({ pck: { issuer: between } }).chain[0];
    const { failed, details } = await judged({ certification: pems(pck, ca, above) });
    expect(failed).toEqual(["pck.chain"]);
    expect(details).toContain("3 certificates below");
  });

  test("a root of the same name that is not trusted is none, nor is an empty list of roots", async () => {
    const key = keyPair("P-256", "impostor");
    const input: PlatformInput = { root: { key }, intermediate: { issuer: { name: rootName, key } } };
    expect((await judged(input)).failed).toEqual(["pck.chain"]);
    expect((await judged({}, {}, { roots: [] })).failed).toEqual(["pck.chain", "collateral.signer"]);
    const { quote, collateral } = platform();
    expect((await verifyTdx({ quote, collateral }, { at })).verified).toBeUndefined();
  });

  test("several PCK certificates are refused, the same one twice is not", async () => {
    const same = platform();
    const other = platform({ pck: { serial: 0x301 } }).chain[0];
    expect((await judged({}, { certificates: [other] })).failed).toEqual(["pck.chain"]);
    expect((await judged({}, { ...same, certificates: [same.chain[0]] })).off).toEqual([]);
  });

  test("strangers and any order among the certificates do no harm", async () => {
    const stray = certificate({ subject: rootName, key: stranger });
    expect((await judged({ certification: pems(stray, good[2], good[1], good[0]) })).off).toEqual([]);
  });

  pkijs.setEngine(
    "node",
    new pkijs.CryptoEngine({
      name: "node",
      crypto: webcrypto as unknown as NonNullable<pkijs.CryptoEngineParameters["crypto"]>,
    }),
  );
  test.each<[string, PlatformInput]>([
    ["that is good", {}],
    ["of the Processor CA", { ca: "Processor" }],
    ["with a forged PCK", { pck: { forged: true } }],
    ["with a forged CA", { intermediate: { forged: true } }],
    ["with an expired PCK", { pck: { notAfter: "2026-05-31T00:00:00Z" } }],
    ["with an expired CA", { intermediate: { notAfter: "2026-05-31T00:00:00Z" } }],
    ["with a CA that is none", { intermediate: { extensions: [basicConstraints(false)] } }],
    ["with a withdrawn PCK", { pckCrl: { revoked: [{ serial: SERIALS.pck }] } }],
    ["with a withdrawn CA", { rootCrl: { revoked: [{ serial: SERIALS.ca }] } }],
    [
      "with a stranger's list",
      { pckCrl: { issuer: { name: "Intel SGX PCK Platform CA", key: keyPair("P-256", "stranger") } } },
    ],
    ["with an expired list", { pckCrl: { nextUpdate: "2026-05-31T00:00:00Z" } }],
  ])("%s is judged as pkijs judges it", async (_name, input) => {
    const { chain, collateral } = platform(input);
    const engine = new pkijs.CertificateChainValidationEngine({
      trustedCerts: [pkijs.Certificate.fromBER(platform().chain[2])],
      certs: [chain[1], chain[0]].map((der) => pkijs.Certificate.fromBER(der)),
      crls: [collateral.rootCrl, collateral.pckCrl].map((der) =>
        pkijs.CertificateRevocationList.fromBER(der),
      ),
      checkDate: new Date(at),
    });
    const theirs = await engine.verify().then(
      ({ result }) => result,
      () => false,
    );
    const { failed } = await judged(input);
    expect(failed.filter((id) => id.startsWith("pck.")).length === 0).toBe(theirs);
  });
});

describe("the SGX extensions of the PCK", () => {
  const without = (index: number) => ({ pairs: (good: Uint8Array[]) => good.filter((_, i) => i !== index) });
  const ids: readonly QuoteCheckId[] = ["pck.extensions"];
  refuses([
    ["none at all", { pck: { extensions: [basicConstraints(false)] } }, ids, "no SGX extensions"],
    ["no PPID", without(0), ids, "1.2.840.113741.1.13.1.1 is missing"],
    ["no TCB", without(1), ids, "1.2.840.113741.1.13.1.2 is missing"],
    ["no PCEID", without(2), ids, "1.2.840.113741.1.13.1.3 is missing"],
    ["no FMSPC", without(3), ids, "1.2.840.113741.1.13.1.4 is missing"],
    ["no SGX type", without(4), ids, "1.2.840.113741.1.13.1.5 is missing"],
    [
      "FMSPC twice",
      { pairs: (good) => [...good, good[3] as Uint8Array] },
      ids,
      "1.2.840.113741.1.13.1.4 is there twice",
    ],
    ["TCB twice", { pairs: (good) => [...good, good[1] as Uint8Array] }, ids, "is there twice"],
    [
      "15 components",
      { sgx: (sgx) => void sgx.components.pop() },
      ids,
      "1.2.840.113741.1.13.1.2.16 is missing",
    ],
    [
      "a component above a byte",
      { sgx: (sgx) => void sgx.components.splice(0, 1, 256) },
      ids,
      "255 is the most",
    ],
    [
      "CPUSVN of other components",
      { sgx: (sgx) => void Object.assign(sgx, { cpuSvn: new Uint8Array(16) }) },
      ids,
      "CPUSVN",
    ],
    [
      "FMSPC of 5 bytes",
      { sgx: (sgx) => void Object.assign(sgx, { fmspc: new Uint8Array(5) }) },
      ids,
      "6 are right",
    ],
    [
      "an SGX type that is not known",
      { sgx: (sgx) => void Object.assign(sgx, { sgxType: 3 }) },
      ids,
      "SGX type 3",
    ],
    [
      "a platform instance of 15 bytes",
      { sgx: (sgx) => void Object.assign(sgx, { platformInstanceId: new Uint8Array(15) }) },
      ids,
      "16 are right",
    ],
  ]);

  test("the extension twice makes the certificate unreadable", async () => {
    const one = sgxExtension(sgxPairs(goodSgx()));
    const { failed, details } = await judged({ pck: { extensions: [one, one] } });
    expect(failed).toEqual(["pck.chain"]);
    expect(details).toContain("is there twice");
  });

  test("type, instance and configuration of the platform are given", async () => {
    const { outcome } = await judged();
    expect(outcome.claims?.pck).toMatchObject({
      sgxType: 1,
      dynamicPlatform: true,
      cachedKeys: false,
      smtEnabled: true,
    });
    expect(outcome.claims?.pck?.platformInstanceId).toEqual(new Uint8Array(16).fill(0x22));
    const processor = await judged({ ca: "Processor" });
    expect(processor.outcome.claims?.pck).toMatchObject({
      sgxType: 0,
      dynamicPlatform: undefined,
      platformInstanceId: undefined,
    });
  });
});

describe("revocation lists", () => {
  const root = { name: rootName, key: keys.root };
  const ca = { name: "Intel SGX PCK Platform CA", key: keys.ca };
  const stranger = keyPair("P-256", "stranger");
  const ids: readonly QuoteCheckId[] = ["pck.revocation"];
  refuses([
    [
      "a withdrawn PCK",
      { pckCrl: { revoked: [{ serial: 7 }, { serial: SERIALS.pck }] } },
      ids,
      "is withdrawn by its issuer",
    ],
    [
      "a withdrawn Platform CA",
      { rootCrl: { revoked: [{ serial: SERIALS.ca }] } },
      ids,
      "Platform CA (serial 0200) is withdrawn",
    ],
    [
      "a withdrawn Processor CA",
      { ca: "Processor", rootCrl: { revoked: [{ serial: SERIALS.ca }] } },
      ids,
      "Processor CA (serial 0200) is withdrawn",
    ],
    [
      "a withdrawn TCB signer",
      { rootCrl: { revoked: [{ serial: SERIALS.signer }] } },
      ["collateral.signer"],
      "TCB Signing (serial 0400) is withdrawn",
    ],
    [
      "a root that withdrew itself",
      { rootCrl: { revoked: [{ serial: SERIALS.root }] } },
      ids,
      "withdrawn itself",
    ],
    ["an expired PCK list", { pckCrl: { nextUpdate: "2026-05-31T23:59:59Z" } }, ids, "ran out"],
    [
      "an expired root list",
      { rootCrl: { nextUpdate: "2026-05-31T23:59:59Z" } },
      ["pck.revocation", "collateral.signer"],
      "ran out",
    ],
    [
      "a PCK list of tomorrow",
      { pckCrl: { thisUpdate: "2026-06-02T00:00:00Z" } },
      ids,
      "after the time judged for",
    ],
    ["a PCK list without an end", { pckCrl: { nextUpdate: null } }, ids, "no end of validity"],
    [
      "a PCK list that a stranger signed",
      { pckCrl: { issuer: { ...ca, key: stranger } } },
      ids,
      "is not signed by",
    ],
    [
      "a PCK list that the root signed",
      { pckCrl: { issuer: { ...ca, key: keys.root } } },
      ids,
      "is not signed by",
    ],
    [
      "a root list that the CA signed",
      { rootCrl: { issuer: { ...root, key: keys.ca } } },
      ["pck.revocation", "collateral.signer"],
      "is not signed by",
    ],
    ["a forged PCK list", { pckCrl: { forged: true } }, ids, "is not signed by"],
    [
      "the root's list in the place of the CA's",
      { pckCrl: { issuer: root } },
      ids,
      "is of Intel SGX Root CA",
    ],
    [
      "the Processor CA's list for a PCK of the Platform CA",
      { pckCrl: { issuer: { name: "Intel SGX PCK Processor CA", key: keys.ca } } },
      ids,
      "is of Intel SGX PCK Processor CA",
    ],
    [
      "an unknown critical extension of a list",
      { pckCrl: { extensions: [{ id: "1.2.3", critical: true, value: integer(1) }] } },
      ids,
      "1.2.3",
    ],
    ["an indirect list", { pckCrl: { extensions: [distributionPoint(true)] } }, ids, "2.5.29.28"],
    [
      "an indirect list that does not call that critical",
      { pckCrl: { extensions: [distributionPoint(false)] } },
      ids,
      "2.5.29.28",
    ],
    [
      "a list of changes",
      { pckCrl: { extensions: [{ id: "2.5.29.27", value: integer(1) }] } },
      ids,
      "2.5.29.27",
    ],
    [
      "an entry of another issuer",
      {
        pckCrl: {
          revoked: [{ serial: 7, extensions: [{ id: "2.5.29.29", critical: true, value: sequence() }] }],
        },
      },
      ids,
      "2.5.29.29",
    ],
  ]);

  test("a serial number in another issuer's list withdraws nothing", async () => {
    const lists: PlatformInput = {
      rootCrl: { revoked: [{ serial: SERIALS.pck }] },
      pckCrl: { revoked: [{ serial: SERIALS.ca }, { serial: SERIALS.signer }] },
    };
    expect((await judged(lists)).off).toEqual([]);
  });

  test.each([
    ["empty", new Uint8Array(0)],
    ["garbage", new Uint8Array(200).fill(0x30)],
    ["followed by a byte", Uint8Array.of(...crl({ issuer: ca }), 0)],
  ])("a list that is %s is refused", async (_name, der) => {
    const { collateral } = platform();
    expect((await judged({}, { collateral: { ...collateral, pckCrl: der } })).failed).toEqual([
      "pck.revocation",
    ]);
    expect((await judged({}, { collateral: { ...collateral, rootCrl: der } })).failed).toEqual([
      "pck.revocation",
      "collateral.signer",
    ]);
  });

  test("a list that is missing is said to be, and what it would tell has not been judged", async () => {
    expect((await judged({}, { without: ["pckCrl"] })).off).toEqual(["pck.revocation not-run"]);
    expect((await judged({}, { without: ["rootCrl"] })).off).toEqual([
      "pck.revocation not-run",
      "collateral.signer not-run",
    ]);
  });
});

describe("the signer of the collateral", () => {
  const stranger = keyPair("P-256", "stranger");
  const ids: readonly QuoteCheckId[] = ["collateral.signer"];
  refuses([
    [
      "one that is called otherwise",
      { signer: { subject: "Intel SGX PCK Certificate" } },
      ids,
      "no certificate of Intel SGX TCB Signing",
    ],
    ["one that is a CA", { signer: { extensions: [basicConstraints(true)] } }, ids],
    [
      "one that the PCK CA issued",
      { signer: { issuer: { name: "Intel SGX PCK Platform CA", key: keys.ca } } },
      ids,
    ],
    ["one of another root", { signer: { issuer: { name: rootName, key: stranger } } }, ids],
    ["an expired one", { signer: { notAfter: "2026-05-31T00:00:00Z" } }, ids, "expired"],
    [
      "one that may not sign",
      { signer: { extensions: [keyUsage(KeyUsage.keyCertSign)] } },
      ids,
      "may not sign",
    ],
    [
      "one whose key did not sign",
      { signer: { key: stranger } },
      ["tcb-info.signature", "qe-identity.signature"],
    ],
  ]);

  test("none: what is signed by it has not been judged", async () => {
    const { off } = await judged({}, { without: ["signers"] });
    expect(off).toEqual([
      "collateral.signer not-run",
      "tcb-info.signature not-run",
      "qe-identity.signature not-run",
    ]);
  });

  test("of two the one that is valid counts: they share their key", async () => {
    const old = platform({ signer: { notAfter: "2026-05-31T00:00:00Z" } }).signer;
    const { collateral } = platform();
    expect(
      (await judged({}, { collateral: { ...collateral, signers: [old, ...collateral.signers] } })).off,
    ).toEqual([]);
  });
});

describe("TCB info", () => {
  const form: readonly QuoteCheckId[] = ["tcb-info.form"];
  const level = (change: (level: ReturnType<typeof first>) => void): PlatformInput => ({
    tcbInfo: (info) => change(first(info)),
  });
  const first = (info: Parameters<NonNullable<PlatformInput["tcbInfo"]>>[0]) => {
    const [one] = info.tcbLevels;
    if (one === undefined) throw new Error("no level");
    return one;
  };
  refuses([
    [
      "a changed byte",
      { tcbInfoDocument: { after: (text) => text.replace('"tcbType":0', '"tcbType": 0') } },
      ["tcb-info.signature"],
    ],
    [
      "one that is printed anew",
      { tcbInfoDocument: { after: (text) => JSON.stringify(JSON.parse(text), null, 1) } },
      ["tcb-info.signature"],
    ],
    [
      "a stranger's signature",
      { tcbInfoDocument: { key: keyPair("P-256", "stranger") } },
      ["tcb-info.signature"],
    ],
    ["the PCK's signature", { tcbInfoDocument: { key: keys.pck } }, ["tcb-info.signature"]],
    ["a signature of 63 bytes", { tcbInfoDocument: { after: (text) => text.replace(/..."}$/, '"}') } }, form],
    [
      "no signature",
      { tcbInfoDocument: { after: (text) => text.replace(/,"signature.*/, "}") } },
      form,
      "signature",
    ],
    [
      "a name twice",
      { tcbInfoDocument: { text: (json) => json.replace('"tcbType":0', '"tcbType":1,"tcbType":0') } },
      form,
      "stands there twice",
    ],
    [
      "tcbInfo twice",
      { tcbInfoDocument: { after: (text) => text.replace(/^\{/, '{"tcbInfo":{},') } },
      form,
      "stands there twice",
    ],
    [
      "a name twice by an escape",
      { tcbInfoDocument: { text: (json) => json.replace('"tcbType":0', '"tcb\\u0054ype":1,"tcbType":0') } },
      form,
      "stands there twice",
    ],
    [
      "something beside it",
      { tcbInfoDocument: { after: (text) => text.replace(/\}$/, ',"more":1}') } },
      form,
      "more",
    ],
    ["text that is no JSON", { tcbInfoDocument: { after: (text) => text.slice(0, -1) } }, form],
    [
      "one of SGX",
      { tcbInfo: (info) => void Object.assign(info, { id: "SGX" }), bodyType: 2 },
      form,
      "of SGX",
    ],
    ["version 2", { tcbInfo: (info) => void Object.assign(info, { version: 2 }) }, form],
    ["version 4", { tcbInfo: (info) => void Object.assign(info, { version: 4 }) }, form, "version 4"],
    ["TCB type 1", { tcbInfo: (info) => void Object.assign(info, { tcbType: 1 }) }, form, "TCB type 1"],
    [
      "an expired one",
      { tcbInfo: (info) => void Object.assign(info, { nextUpdate: "2026-06-01T00:00:00Z" }) },
      ["tcb-info.window"],
      "ran out",
    ],
    [
      "one of tomorrow",
      { tcbInfo: (info) => void Object.assign(info, { issueDate: "2026-06-01T00:00:01Z" }) },
      ["tcb-info.window"],
      "after the time",
    ],
    [
      "a date that no calendar has",
      { tcbInfo: (info) => void Object.assign(info, { issueDate: "2026-02-30T00:00:00Z" }) },
      form,
      "issueDate",
    ],
    [
      "a date without a zone",
      { tcbInfo: (info) => void Object.assign(info, { issueDate: "2026-05-20T00:00:00" }) },
      form,
      "issueDate",
    ],
    [
      "an unknown status",
      level((one) => void Object.assign(one, { tcbStatus: "Fine" })),
      form,
      '"Fine" is not known',
    ],
    [
      "a status of the verifier's own",
      level((one) => void Object.assign(one, { tcbStatus: "TDRelaunchAdvised" })),
      form,
      "is not known",
    ],
    ["no TDX components", level((one) => void delete one.tcb.tdxtcbcomponents), form, "tdxtcbcomponents"],
    ["15 components", level((one) => void one.tcb.sgxtcbcomponents.pop()), form, "15 entries"],
    ["17 components", level((one) => void one.tcb.sgxtcbcomponents.push({ svn: 0 })), form, "17 entries"],
    [
      "a component above a byte",
      level((one) => void one.tcb.sgxtcbcomponents.splice(0, 1, { svn: 256 })),
      form,
      "svn",
    ],
    [
      "a component that is no whole number",
      level((one) => void one.tcb.sgxtcbcomponents.splice(0, 1, { svn: 2.5 })),
      form,
      "svn",
    ],
    ["levels out of order", { tcbInfo: (info) => void info.tcbLevels.reverse() }, form, "not below"],
    ["a level twice", { tcbInfo: (info) => void info.tcbLevels.unshift(first(info)) }, form, "not below"],
    [
      "module levels out of order",
      { tcbInfo: (info) => void info.tdxModuleIdentities?.[1]?.tcbLevels?.reverse() },
      form,
      "ISVSVN",
    ],
    [
      "another FMSPC",
      { tcbInfo: (info) => void Object.assign(info, { fmspc: "00A0B0C0D0E1" }) },
      ["tcb-info.platform"],
      "for FMSPC 00a0b0c0d0e1",
    ],
    [
      "another PCEID",
      { tcbInfo: (info) => void Object.assign(info, { pceId: "0100" }) },
      ["tcb-info.platform"],
      "PCEID 0100",
    ],
    [
      "a platform of another PCEID",
      { sgx: (sgx) => void Object.assign(sgx, { pceId: Uint8Array.of(0, 1) }) },
      ["tcb-info.platform"],
    ],
    [
      "no level that fits",
      {
        tcbInfo: (info) => void info.tcbLevels.splice(1, 3),
        sgx: (sgx) => {
          sgx.components[0] = 2;
          sgx.cpuSvn[0] = 2;
        },
      },
      ["tcb.level"],
      "no published level fits",
    ],
    ["no level at all", { tcbInfo: (info) => void info.tcbLevels.splice(0) }, ["tcb.level"]],
    [
      "a revoked level",
      {
        sgx: (sgx) => {
          sgx.components[0] = 1;
          sgx.cpuSvn[0] = 1;
        },
      },
      ["tcb.level"],
      "revoked",
    ],
    [
      "an identity of an enclave in its place",
      { tcbInfoDocument: { after: () => new TextDecoder().decode(platform().collateral.qeIdentity) } },
      form,
    ],
  ]);

  test("white space that is signed, hexadecimal of either case and members of another order are right", async () => {
    const spaced: PlatformInput = {
      tcbInfoDocument: {
        text: (json) => JSON.stringify(JSON.parse(json), null, 2),
        after: (text) => ` ${text}\n`,
      },
    };
    expect((await judged(spaced)).off).toEqual([]);
    const cased: PlatformInput = {
      tcbInfo: (info) => {
        info.fmspc = info.fmspc.toLowerCase();
        info.tdxModuleIdentities = (info.tdxModuleIdentities ?? []).map((one) => ({
          ...one,
          id: (one.id ?? "").toLowerCase(),
        }));
      },
    };
    expect((await judged(cased)).off).toEqual([]);
    const turned: PlatformInput = {
      tcbInfoDocument: {
        after: (text) => {
          const { signature } = JSON.parse(text);
          const body = text.slice('{"tcbInfo":'.length, text.lastIndexOf(',"signature"'));
          return `{"signature":"${signature}","tcbInfo":${body}}`;
        },
      },
    };
    expect((await judged(turned)).off).toEqual([]);
  });

  test("none: nothing of the TCB has been judged", async () => {
    const { off, outcome } = await judged({}, { without: ["tcbInfo"] });
    expect(off).toEqual([
      "tcb-info.signature not-run",
      "tcb-info.form not-run",
      "tcb-info.window not-run",
      "tcb-info.platform not-run",
      "tdx.module not-run",
      "tcb.level not-run",
    ]);
    expect(outcome.tcb).toBeUndefined();
  });

  test("evaluation numbers may differ, are given, and have to reach what is asked for", async () => {
    const mixed: PlatformInput = {
      tcbInfo: (info) => void Object.assign(info, { tcbEvaluationDataNumber: 21 }),
    };
    const { outcome, off } = await judged(mixed);
    expect(off).toEqual([]);
    expect(outcome.claims?.evaluationDataNumbers).toEqual({ tcbInfo: 21, qeIdentity: 20 });
    expect((await judged(mixed, {}, { minimumEvaluationDataNumber: 20 })).off).toEqual([]);
    expect((await judged(mixed, {}, { minimumEvaluationDataNumber: 21 })).failed).toEqual([
      "collateral.evaluation",
    ]);
    expect(
      (await judged(mixed, { without: ["qeIdentity"] }, { minimumEvaluationDataNumber: 1 })).off,
    ).toContain("collateral.evaluation not-run");
  });

  test("advisories may stand beside UpToDate, and are given", async () => {
    const { outcome, off } = await judged(
      level((one) => void Object.assign(one, { advisoryIDs: ["INTEL-SA-1", "INTEL-SA-2"] })),
    );
    expect(off).toEqual([]);
    expect(outcome.tcb).toMatchObject({ status: "UpToDate", advisories: ["INTEL-SA-1", "INTEL-SA-2"] });
  });

  test("SGX takes TCB info of SGX, in version 2 as well", async () => {
    expect(
      (await judged({ version: 3, tcbInfo: (info) => void Object.assign(info, { id: "TDX" }) })).failed,
    ).toEqual(["tcb-info.form"]);
    const old: PlatformInput = {
      version: 3,
      tcbInfoDocument: {
        text: (json) => {
          const { id: _, ...info } = JSON.parse(json);
          const tcbLevels = info.tcbLevels.map(
            (one: { tcb: { sgxtcbcomponents: { svn: number }[]; pcesvn: number } }) => ({
              ...one,
              tcb: {
                ...Object.fromEntries(
                  one.tcb.sgxtcbcomponents.map(({ svn }, i) => [
                    `sgxtcbcomp${String(i + 1).padStart(2, "0")}svn`,
                    svn,
                  ]),
                ),
                pcesvn: one.tcb.pcesvn,
              },
            }),
          );
          return JSON.stringify({ ...info, version: 2, tcbLevels });
        },
      },
    };
    expect((await judged(old)).off).toEqual([]);
  });
});

describe("the QE identity", () => {
  const form: readonly QuoteCheckId[] = ["qe-identity.form"];
  const ids: readonly QuoteCheckId[] = ["qe.identity"];
  refuses([
    [
      "a stranger's signature",
      { qeIdentityDocument: { key: keyPair("P-256", "stranger") } },
      ["qe-identity.signature"],
    ],
    [
      "one that is printed anew",
      { qeIdentityDocument: { after: (text) => JSON.stringify(JSON.parse(text), null, 1) } },
      ["qe-identity.signature"],
    ],
    [
      "a name twice",
      { qeIdentityDocument: { text: (json) => json.replace('"isvprodid"', '"isvprodid":9,"isvprodid"') } },
      form,
      "twice",
    ],
    ["QE for a TD", { qeIdentity: (one) => void Object.assign(one, { id: "QE" }) }, form, "of QE"],
    ["QVE", { qeIdentity: (one) => void Object.assign(one, { id: "QVE" }) }, form, "of QVE"],
    ["QAE", { qeIdentity: (one) => void Object.assign(one, { id: "QAE" }) }, form, "of QAE"],
    [
      "TD_QE for an enclave",
      { version: 3, qeIdentity: (one) => void Object.assign(one, { id: "TD_QE" }) },
      form,
      "of TD_QE",
    ],
    ["version 1", { qeIdentity: (one) => void Object.assign(one, { version: 1 }) }, form, "version 1"],
    [
      "an expired one",
      { qeIdentity: (one) => void Object.assign(one, { nextUpdate: "2026-06-01T00:00:00Z" }) },
      ["qe-identity.window"],
    ],
    [
      "one of tomorrow",
      { qeIdentity: (one) => void Object.assign(one, { issueDate: "2026-06-02T00:00:00Z" }) },
      ["qe-identity.window"],
    ],
    ["another MRSIGNER", { qe: { mrSigner: new Uint8Array(32) } }, ids, "MRSIGNER"],
    ["another product", { qe: { isvProdId: 3 } }, ids, "ISVPRODID 3"],
    ["another MISCSELECT", { qe: { miscSelect: 1 } }, ids, "MISCSELECT"],
    [
      "another MISCSELECT in its highest byte",
      {
        qe: { miscSelect: 0x0100_0000 },
        qeIdentity: (one) => void Object.assign(one, { miscselectMask: "FF000000" }),
      },
      ids,
      "MISCSELECT",
    ],
    ["another attribute under the mask", { qe: { attributeFlags: 0x31n } }, ids, "ATTRIBUTES"],
    ["a debugger", { qe: { attributeFlags: 0x13n } }, ids, "debugger"],
    [
      "a debugger that the mask leaves out",
      {
        qe: { attributeFlags: 0x13n },
        qeIdentity: (one) => void Object.assign(one, { attributesMask: "00".repeat(16) }),
      },
      ids,
      "debugger",
    ],
    ["an ISVSVN below all levels", { qe: { isvSvn: 1 } }, ["tcb.level"], "QE Unsupported"],
    ["levels out of order", { qeIdentity: (one) => void one.tcbLevels.reverse() }, form, "ISVSVN"],
    [
      "a revoked level",
      {
        qe: { isvSvn: 2 },
        qeIdentity: (one) => {
          for (const level of one.tcbLevels.slice(1)) level.tcbStatus = "Revoked";
        },
      },
      ["tcb.level"],
      "revoked",
    ],
  ]);

  test.each(["SWHardeningNeeded", "ConfigurationNeeded", "OutOfDateConfigurationNeeded"])(
    "a level of status %s is refused: it would vanish in the whole",
    async (tcbStatus) => {
      const { failed } = await judged({
        qeIdentity: (one) => void Object.assign(one.tcbLevels[0] ?? {}, { tcbStatus }),
      });
      expect(failed).toEqual(form);
    },
  );

  test("what the masks leave out may differ", async () => {
    const qe = { miscSelect: 0xff, attributeFlags: 0x15n, attributeXfrm: 0x7n };
    const masks: PlatformInput = {
      qe,
      qeIdentity: (one) => void Object.assign(one, { miscselectMask: "FFFFFF00" }),
    };
    expect((await judged(masks)).off).toEqual([]);
  });

  test("an ISVSVN between two levels has the lower one", async () => {
    const { outcome, failed } = await judged({ qe: { isvSvn: 3 } });
    expect(failed).toEqual([]);
    expect(outcome.tcb).toMatchObject({
      status: "OutOfDate",
      qe: "OutOfDate",
      platform: "UpToDate",
      advisories: ["INTEL-SA-99970"],
    });
  });
});

describe("what vouches for the attestation key", () => {
  const bound = (change: (data: Uint8Array) => void): PlatformInput => {
    const data = platform().quote.slice(48 + 584 + 4 + 128 + 6 + 320, 48 + 584 + 4 + 128 + 6 + 384);
    change(data);
    return { qe: { reportData: data } };
  };
  refuses([
    ["a hash of something else", bound((data) => data.set([(data[0] as number) ^ 1], 0)), ["qe.binding"]],
    ["a last byte of the report data that is not zero", bound((data) => data.set([1], 63)), ["qe.binding"]],
    ["a byte right behind the hash", bound((data) => data.set([1], 32)), ["qe.binding"]],
    [
      "other authentication data",
      { change: (quote) => quote.set([0xee], 48 + 584 + 4 + 128 + 6 + 450) },
      ["qe.binding"],
    ],
    [
      "another attestation key",
      { change: (quote) => quote.set(pointOf(keyPair("P-256", "stranger")), 48 + 584 + 4 + 64) },
      ["qe.binding", "quote.signature"],
    ],
    [
      "a QE report that is changed afterwards",
      { change: (quote) => quote.set([9], 48 + 584 + 4 + 128 + 6 + 258) },
      ["qe.signature"],
    ],
    [
      "a changed signature of the QE report",
      { change: (quote) => quote.set([1, 2, 3], 48 + 584 + 4 + 128 + 6 + 384) },
      ["qe.signature"],
    ],
    [
      "a changed signature of the quote",
      { change: (quote) => quote.set([1, 2, 3], 48 + 584 + 4) },
      ["quote.signature"],
    ],
    [
      "a signature of zeros",
      { change: (quote) => quote.fill(0, 48 + 584 + 4, 48 + 584 + 4 + 64) },
      ["quote.signature"],
    ],
    ["a changed body", { change: (quote) => quote.set([1], 48 + 136) }, ["quote.signature"]],
  ]);
});

describe("the TD and its module", () => {
  const svns = (...first: readonly number[]) => Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
  refuses([
    ["a reserved attribute", { td: { tdAttributes: (1n << 28n) | (1n << 40n) } }, ["tdx.attributes"], "40"],
    [
      "another MRSIGNERSEAM",
      { td: { mrSignerSeam: new Uint8Array(48).fill(1) } },
      ["tdx.module"],
      "MRSIGNERSEAM",
    ],
    ["SEAMATTRIBUTES", { td: { seamAttributes: 1n } }, ["tdx.module"], "SEAMATTRIBUTES"],
    [
      "SEAMATTRIBUTES that the mask leaves out",
      {
        td: { seamAttributes: 1n },
        tcbInfo: (info) => {
          for (const one of info.tdxModuleIdentities ?? []) one.attributesMask = "0000000000000000";
        },
      },
      ["tdx.module"],
      "0 is right",
    ],
    [
      "SEAMATTRIBUTES that the identity wants",
      {
        tcbInfo: (info) => {
          for (const one of info.tdxModuleIdentities ?? []) one.attributes = "0100000000000000";
        },
      },
      ["tdx.module"],
      "under the mask",
    ],
    [
      "a module whose version no identity has",
      { td: { teeTcbSvn: svns(6, 7, 3) } },
      ["tdx.module", "tcb.level"],
      "no identity of TDX_07",
    ],
    [
      "no identities at all",
      { tcbInfo: (info) => void delete info.tdxModuleIdentities },
      ["tdx.module", "tcb.level"],
      "no identity of TDX_01",
    ],
    [
      "a module without a version, and no tdxModule",
      { td: { teeTcbSvn: svns(5, 0, 3) }, tcbInfo: (info) => void delete info.tdxModule },
      ["tdx.module"],
      "without a version",
    ],
    [
      "a module below all levels",
      { td: { teeTcbSvn: svns(1, 1, 3) } },
      ["tcb.level"],
      "TDX module Unsupported",
    ],
    ["a revoked module", { td: { teeTcbSvn: svns(2, 1, 3) } }, ["tcb.level"], "TDX module Revoked"],
    [
      "TDX components below all levels",
      { td: { teeTcbSvn: svns(6, 1, 0) } },
      ["tcb.level"],
      "platform Unsupported",
    ],
  ]);

  test.each([
    ["DEBUG", 1n],
    ["no SEPT_VE_DISABLE", 0n],
    ["MIGRATABLE", 1n << 29n],
    ["PKS", 1n << 30n],
    ["KL", 1n << 31n],
    ["PERFMON", 1n << 63n],
  ])("%s is for the policy: the evidence is authentic", async (_name, tdAttributes) => {
    expect((await judged({ td: { tdAttributes } })).off).toEqual([]);
  });

  test("a service TD is for the policy", async () => {
    expect(
      (await judged({ version: 5, bodyType: 3, td: { mrServiceTd: new Uint8Array(48).fill(9) } })).off,
    ).toEqual([]);
  });

  test("with a version the module is judged by its identity, and its SVN is not compared with the platform's", async () => {
    // 4 is below component 0 of every level but the last.
    const { outcome, failed } = await judged({ td: { teeTcbSvn: svns(4, 1, 3) } });
    expect(failed).toEqual([]);
    expect(outcome.tcb).toEqual({
      status: "OutOfDate",
      platform: "UpToDate",
      module: "OutOfDate",
      qe: "UpToDate",
      advisories: ["INTEL-SA-99991"],
    });
  });

  test("without a version component 0 is the platform's", async () => {
    const good = await judged({ td: { teeTcbSvn: svns(5, 0, 3) } });
    expect(good.outcome.tcb).toMatchObject({ status: "UpToDate", module: "UpToDate" });
    const old = await judged({ td: { teeTcbSvn: svns(4, 0, 3) } });
    expect(old.outcome.tcb).toMatchObject({ status: "OutOfDate", platform: "OutOfDate", module: "UpToDate" });
  });

  test("a platform that is out of date is so under a module that is current", async () => {
    const { outcome } = await judged({
      sgx: (sgx) => {
        sgx.components[4] = 2;
        sgx.cpuSvn[4] = 2;
      },
    });
    expect(outcome.tcb).toMatchObject({
      status: "OutOfDate",
      platform: "OutOfDate",
      module: "UpToDate",
      advisories: ["INTEL-SA-99981"],
    });
  });

  test("a TD that was measured by an old module is advised to be launched again, in body type 3", async () => {
    const td = { teeTcbSvn: svns(4, 1, 3), teeTcbSvn2: svns(6, 1, 3) };
    expect((await judged({ version: 5, bodyType: 3, td })).outcome.tcb?.status).toBe("TDRelaunchAdvised");
    expect((await judged({ version: 5, bodyType: 4, td })).outcome.tcb?.status).toBe("OutOfDate");
    expect((await judged({ version: 5, bodyType: 3, td, qe: { isvSvn: 2 } })).outcome.tcb?.status).toBe(
      "OutOfDate",
    );
  });
});

describe("nobody gets other bytes judged than those that count", () => {
  test("bytes that change while a verification waits are judged as they were", async () => {
    const good = platform();
    const bad = platform({
      td: { mrTd: new Uint8Array(48).fill(0x66) },
      pckCrl: { revoked: [{ serial: SERIALS.pck }] },
    });
    const quote = good.quote.slice();
    const tcbInfo = good.collateral.tcbInfo.slice();
    const running = verifyTdx(
      { quote, collateral: { ...good.collateral, tcbInfo } },
      { at, roots: good.roots },
    );
    await Promise.resolve();
    quote.set(bad.quote.subarray(0, quote.length));
    const { verified } = await running;
    tcbInfo.fill(0);
    quote.fill(0);
    const { body } = verified?.claims.quote ?? {};
    expect(body?.tee === "tdx" && [...body.fields.mrTd]).toEqual(new Array(48).fill(0x44));
  });

  test("a cache does not take the hash of some bytes for others that stand in their place later", async () => {
    const good = platform();
    const forged = platform({ pck: { serial: 0x301, forged: true } });
    const crypto = nativeProvider();
    if (crypto === undefined) throw new Error("no node:crypto");
    const cache = new CertificateCache(crypto);
    const der = good.chain[0].slice();
    const running = cache.certificate(der);
    der.set(forged.chain[0].subarray(0, der.length));
    await running;
    const { certificate: known } = await cache.certificate(good.chain[0]);
    expect([...known.serial]).toEqual([0x03, 0x00]);
  });

  test("a cache that knows a platform refuses what does not fit it all the same", async () => {
    const crypto = nativeProvider();
    if (crypto === undefined) throw new Error("no node:crypto");
    const cache = new CertificateCache(crypto);
    expect((await judged({}, {}, { cache })).off).toEqual([]);
    const later = { cache, at: "2026-06-19T00:00:00Z" };
    expect((await judged({}, {}, later)).failed).toEqual(["tcb-info.window", "qe-identity.window"]);
    expect((await judged({ change: (quote) => quote.set([1], 48 + 136) }, {}, { cache })).failed).toEqual([
      "quote.signature",
    ]);
    expect(
      (
        await judged(
          {},
          {},
          { cache, roots: [anchorOf(certificate({ subject: rootName, key: keyPair("P-256", "stranger") }))] },
        )
      ).failed,
    ).toEqual(["pck.chain", "collateral.signer"]);
    // The QE report's signature is known to be good under this PCK, and under no other.
    expect((await judged({ pck: { key: keyPair("P-256", "stranger") } }, {}, { cache })).failed).toEqual([
      "qe.signature",
    ]);
    expect((await judged({ pckCrl: { revoked: [{ serial: SERIALS.pck }] } }, {}, { cache })).failed).toEqual([
      "pck.revocation",
    ]);
  });

  test("any bytes in the place of any input give an outcome that is not verified", async () => {
    const good = platform();
    const names = ["tcbInfo", "qeIdentity", "rootCrl", "pckCrl"] as const;
    await check(
      asyncProperty(
        anyInteger({ min: 0, max: 3 }),
        anyInteger({ min: 0, max: 4000 }),
        anyInteger({ min: 1, max: 255 }),
        async (which, offset, value) => {
          const name = names[which] as (typeof names)[number];
          const changed = good.collateral[name].slice();
          // The signature is hexadecimal, in either case.
          const text = which < 2 ? '","signature":""}'.length + 128 : 0;
          const place = offset % (changed.length - text);
          changed[place] = (changed[place] as number) ^ value;
          const { verified } = await verifyTdx(
            { quote: good.quote, collateral: { ...good.collateral, [name]: changed } },
            { at, roots: good.roots },
          );
          expect(verified).toBeUndefined();
        },
      ),
    );
  });
});

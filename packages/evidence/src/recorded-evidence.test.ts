import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MalformedError, toHex } from "@entresol/wire";
import { describe, expect, test } from "vitest";
import { HCL_AK } from "./hcl-claims.ts";
import { parseHclReport } from "./hcl-report.ts";
import { identifyEvidence } from "./identify.ts";
import { parsePem } from "./pem.ts";
import { buildQuote, INTEL_QE_VENDOR_ID, parseQuote, quoteInput } from "./quote.ts";
import { buildSnpIdAuth, parseSnpIdAuth } from "./snp-id-block.ts";
import { buildSnpReport, parseSnpReport } from "./snp-report.ts";
import { jsonValue, parseStrictJson } from "./strict-json.ts";
import { buildTpmAttest, parseTpmQuote, parseTpmSignature } from "./tpm-evidence.ts";
import { parseVtpmEvidence } from "./vtpm-evidence-json.ts";

/* Evidence that real machines gave, and collateral as their makers publish it: outside of the repository. */

const repository = fileURLToPath(new URL("../../..", import.meta.url));
const vectors = join(process.env["ENTRESOL_VECTORS"] ?? join(repository, "../shared/vectors"), "attest");
const missing = !existsSync(vectors);
if (missing) console.log("recorded evidence is not here (ENTRESOL_VECTORS): it is not parsed");

const files = missing
  ? []
  : readdirSync(vectors, { recursive: true, encoding: "utf8" }).map((name) => name.replaceAll("\\", "/"));
const named = (pattern: RegExp) => files.filter((name) => pattern.test(name)).sort();
const read = (name: string) => new Uint8Array(readFileSync(join(vectors, name)));
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What is refused, and how: all else must parse. */
const refused: Readonly<Record<string, string>> = {
  "snp-negative/truncated-1183/report.bin": "truncated at 0",
  "snp-negative/version-6/report.bin": "bad-version at 0",
  "snp-synthetic/version-1/report.bin": "bad-version at 0",
  "tdx-negative/akt-3-p384/quote.bin": "bad-value at 2",
  "tdx-negative/siglen-overflow/quote.bin": "truncated at 632",
  "tdx-negative/tee-type-unknown/quote.bin": "bad-value at 4",
  "tdx-negative/version-2/quote.bin": "bad-version at 0",
};

/** What is said of evidence besides; padding aside. All else is without. */
const noted: Readonly<Record<string, readonly string[]>> = {
  "snp-negative/sig-reserved-nonzero/report.bin": ["reserved-not-zero reserved2d0"],
  "tdx/v4-spr-e4-50806f/quote.bin": ["trailing-bytes trailing"],
};

function outcome<T>(name: string, parse: (bytes: Uint8Array) => T): T | undefined {
  try {
    const value = parse(read(name));
    expect(refused[name], name).toBeUndefined();
    return value;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    expect(`${error.code} at ${error.offset}`, name).toBe(refused[name]);
    return undefined;
  }
}
const findingsOf = ({ findings }: { readonly findings: readonly { kind: string; path: string }[] }) =>
  findings.filter(({ kind }) => kind !== "padding").map(({ kind, path }) => `${kind} ${path}`);

describe.skipIf(missing)("recorded evidence", () => {
  test("of SEV-SNP: every report is parsed and rebuilt, or refused as its defect wants", () => {
    const names = named(/^snp[^/]*\/.*report\.bin$/);
    expect(names.length).toBeGreaterThanOrEqual(26);
    for (const name of names) {
      const report = outcome(name, parseSnpReport);
      if (report === undefined) continue;
      expect(findingsOf(report), name).toEqual(noted[name] ?? []);
      expect(sha256(buildSnpReport(report.fields)), name).toBe(sha256(read(name)));
    }
  });

  test("of SEV-SNP: product, TCB and signing key are those of the machine", () => {
    const summary = (name: string) => {
      const { product, tcb, signingKey, fields } = parseSnpReport(read(`snp/${name}/report.bin`));
      return [fields.version, product?.name, tcb?.reported, signingKey];
    };
    expect(summary("turin-v5-msft")).toEqual([
      5,
      "Turin",
      { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 0x51 },
      "vcek",
    ]);
    expect(summary("siena-v5-live").slice(0, 2)).toEqual([5, "Bergamo or Siena"]);
    expect(summary("genoa-v3-msft").slice(0, 2)).toEqual([3, "Genoa"]);
    expect(summary("milan-v3-vlek-trustee").toSpliced(2, 1)).toEqual([3, "Milan", "vlek"]);
    const [version, product, tcb] = summary("milan-v2-trustee");
    expect([version, product, tcb]).toMatchObject([2, undefined, { microcode: 0x73 }]);
  });

  test("of TDX and SGX: every quote is parsed and rebuilt, or refused as its defect wants", () => {
    const names = named(/quote\.bin$/);
    expect(names.length).toBeGreaterThanOrEqual(51);
    for (const name of names) {
      const quote = outcome(name, parseQuote);
      if (quote === undefined) continue;
      expect(findingsOf(quote), name).toEqual(noted[name] ?? []);
      expect(sha256(buildQuote(quoteInput(quote))), name).toBe(sha256(read(name)));
      // Attestation key and authentication data are bound by the enclave's report: the parts are where they should be.
      const bound = sha256(Uint8Array.of(...quote.attestationKey, ...quote.qe.authData));
      const matches = toHex(quote.qe.report.reportData.subarray(0, 32)) === bound;
      expect(matches, name).toBe(!/qe-authdata-flip/.test(name));
      const { certification } = quote.qe;
      if (certification.kind !== "pck-chain") throw new Error(certification.kind);
      const labels = parsePem(certification.data).map(({ label }) => label);
      expect(labels.slice(0, 2), name).toEqual(["CERTIFICATE", "CERTIFICATE"]);
      const intel = toHex(quote.header.qeVendorId) === INTEL_QE_VENDOR_ID;
      expect(intel, name).toBe(!/flip-qe-vendor|wrong-vendor-id/.test(name));
    }
  });

  test("of a paravisor: claims are bound by REPORT_DATA, and name the key that signs quotes", () => {
    for (const name of named(/hcl-report\.bin$/)) {
      const hcl = outcome(name, parseHclReport)!;
      expect(findingsOf(hcl), name).toEqual([]);
      expect(hcl.hash).toBe("SHA-256");
      const matches = toHex(hcl.reportData!) === sha256(hcl.claims.bytes) + "00".repeat(32);
      expect(matches, name).toBe(!/flipped/.test(name));
      expect(hcl.claims.keys.get(HCL_AK)?.n.length, name).toBe(256);
    }
  });

  test("of a paravisor on TDX: the quote has the REPORTDATA of the TDREPORT", () => {
    const hcl = parseHclReport(read("azure/tdx-trustee/hcl-report.bin"));
    const { body } = parseQuote(read("azure/tdx-trustee/td-quote.bin"));
    expect(hcl.hardware.kind).toBe("tdx");
    expect(body.fields.reportData).toEqual(hcl.reportData);
  });

  test("of a paravisor, as agents send it: the report, and a quote whose digest is that of the PCR values", () => {
    const names = named(/azure\/.*evidence\.json$/);
    expect(names.length).toBe(3);
    for (const name of names) {
      const { hclReport, quote, vcek, tdQuote } = parseVtpmEvidence(read(name));
      const folder = name.slice(0, -"evidence.json".length);
      expect(sha256(hclReport), name).toBe(sha256(read(`${folder}hcl-report.bin`)));
      if (tdQuote !== undefined) expect(sha256(tdQuote)).toBe(sha256(read(`${folder}td-quote.bin`)));
      if (vcek !== undefined) expect(sha256(vcek)).toBe(sha256(read(`${folder}vcek.der`)));
      const { banks, pcrDigest } = parseTpmQuote(quote!.message);
      const selected = banks.flatMap(({ pcrs }) => pcrs.map((pcr) => quote!.pcrs[pcr]!));
      expect(toHex(pcrDigest), name).toBe(sha256(Uint8Array.from(selected.flatMap((value) => [...value]))));
      expect(parseTpmSignature(quote!.signature).form).toBe("rsa");
    }
  });

  test("of a vTPM: a quote, and a signature of the size of its key", () => {
    const message = read("azure/snp-trustee/tpm-quote.msg");
    const quote = parseTpmQuote(message);
    expect(buildTpmAttest(quote.attest)).toEqual(message);
    expect(quote.banks).toMatchObject([{ name: "SHA256" }]);
    expect(quote.banks[0]!.pcrs).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 14]);
    expect(parseTpmSignature(read("azure/snp-trustee/tpm-quote.sig")).form).toBe("rsa");
  });

  test("ID authentication of a launch is rebuilt", () => {
    const bytes = read("snp-measure/virtee/test_auth_block.bin");
    const auth = parseSnpIdAuth(bytes);
    expect(auth.findings).toEqual([]);
    expect([auth.fields.idKeyAlgorithm, auth.fields.idKey.curve]).toEqual([1, 2]);
    expect(sha256(buildSnpIdAuth(auth.fields))).toBe(sha256(bytes));
  });

  test("collateral is strict JSON with the values that JSON.parse gives", () => {
    const names = named(/(?:tcbinfo|qeidentity)\.json$/);
    expect(names.length).toBeGreaterThan(60);
    for (const name of names) {
      const bytes = read(name);
      expect(JSON.stringify(jsonValue(parseStrictJson(bytes))), name).toBe(
        JSON.stringify(JSON.parse(new TextDecoder().decode(bytes))),
      );
    }
  });

  test("is told by its first bytes", () => {
    const kinds = [
      [/^snp[^/]*\/.*report\.bin$/, "snp-report"],
      [/quote\.bin$/, "quote"],
      [/hcl-report\.bin$/, "hcl-report"],
      [/(?:CCEL_data|ccel_data\.dat)$|^tcg-eventlog\/.*\.bin$/, "event-log"],
      [/\.msg$/, "tpm-quote"],
      [/\.pem$/, "pem"],
      [/(?<!pck_crl)\.der$/, "der"],
    ] as const;
    for (const [pattern, kind] of kinds) {
      for (const name of named(pattern)) {
        if (name in refused) continue;
        expect(identifyEvidence(read(name)), name).toBe(kind);
      }
    }
  });
});

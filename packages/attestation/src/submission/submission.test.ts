import { buildCertificateTable, encodeBase64, encodePem } from "@entresol/evidence";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crl, keyPair } from "../testing/pki.ts";
import { platform } from "../testing/quote-evidence.ts";
import { chip } from "../testing/snp-evidence.ts";
import { judgeSubmission } from "./judgement.ts";
import { kindNamed, kindOf, kinds } from "./kinds.ts";
import { roleOfBytes, roleOfName } from "./roles.ts";
import { Submission } from "./submission.ts";
import { plainBytes } from "./text-forms.ts";

const evidence = chip({ crl: {} });
const [leaf, ask, ark] = evidence.certificates;
const list = crl({ issuer: { name: "ARK-Genoa", key: keyPair("rsa-2048", "ark") } });
const td = platform();
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const hexText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("the text form of bytes is taken off", () => {
  test.each([
    ["binary", evidence.report],
    ["hex", text(hexText(evidence.report))],
    ["hex", text(`0x${hexText(evidence.report).toUpperCase()}\n`)],
    ["hex", text(hexText(evidence.report).replaceAll(/(.{2})/g, "$1:"))],
    ["base64", text(encodeBase64(evidence.report, "base64"))],
    ["base64", text(Buffer.from(evidence.report).toString("base64url"))],
    ["base64", text(encodeBase64(evidence.report, "base64").replaceAll(/(.{64})/g, "$1\r\n"))],
    ["pem", text(encodePem("REPORT", evidence.report))],
  ])("%s", (form, bytes) => {
    const plain = plainBytes(bytes);
    expect(plain.form).toBe(form);
    expect(plain.blocks.map(({ data }) => data)).toEqual([evidence.report]);
  });

  test("JSON, and text that is neither hexadecimal nor base64, stay as they are", () => {
    for (const bytes of [td.collateral.tcbInfo, text("hello, world"), text("abc"), new Uint8Array(0)])
      expect(plainBytes(bytes)).toEqual({ form: "binary", blocks: [{ label: undefined, data: bytes }] });
  });

  test("every block of a PEM chain is one", () => {
    const chain = text([leaf, ask, ark].map((der) => encodePem("CERTIFICATE", der)).join(""));
    expect(plainBytes(chain).blocks.map(({ data }) => data)).toEqual([leaf, ask, ark]);
  });
});

describe("a file's role is told", () => {
  test.each([
    ["report.bin", "snp-report"],
    ["quote.bin", "quote"],
    ["td-quote.bin", "quote"],
    ["hcl-report.bin", "hcl-report"],
    ["tpm-quote.msg", "tpm-quote"],
    ["tpm-quote.sig", "tpm-signature"],
    ["evidence.json", "vtpm-evidence"],
    ["vcek.der", "certificate"],
    ["vlek.der", "certificate"],
    ["ask.der", "certificate"],
    ["ark.der", "certificate"],
    ["crl.der", "crl"],
    ["tcbinfo.json", "tcb-info"],
    ["qeidentity.json", "qe-identity"],
    ["tcb_signing_chain.pem", "tcb-signers"],
    ["root_ca_crl.der", "root-crl"],
    ["pck_crl.der", "pck-crl"],
    ["root_ca.der", "root"],
    ["ccel_data.dat", "ccel"],
    ["CCEL_data", "ccel"],
    ["nonce.dat", "nonce"],
    ["outblob", "tsm-report"],
    ["auxblob", "tsm-certificates"],
    ["quote-report.json", undefined],
    ["README.md", undefined],
  ])("by its name: %s", (name, role) => {
    expect(roleOfName(name)).toBe(role);
  });

  test("by its bytes where the name says nothing", () => {
    expect(roleOfBytes(evidence.report)).toBe("snp-report");
    expect(roleOfBytes(td.quote)).toBe("quote");
    expect(roleOfBytes(leaf)).toBe("certificate");
    expect(roleOfBytes(list)).toBe("crl");
    expect(roleOfBytes(td.collateral.tcbInfo)).toBe("tcb-info");
    expect(roleOfBytes(td.collateral.qeIdentity)).toBe("qe-identity");
    expect(roleOfBytes(text('{"other": 1}'))).toBeUndefined();
    expect(roleOfBytes(text("hello"))).toBeUndefined();
  });
});

describe("a submission", () => {
  test("takes certificates out of PEM, out of the host's table, and lists out of either", () => {
    const submission = new Submission();
    submission.add({
      name: "cert_chain.pem",
      bytes: text([leaf, ask].map((der) => encodePem("CERTIFICATE", der)).join("")),
    });
    submission.add({
      name: "auxblob",
      bytes: buildCertificateTable([
        { guid: "c0b406a4-a803-4952-9743-3fb6014cd0ae", data: ark },
        { guid: "92f81bc3-5811-4d3d-97ff-d19f88dc67ea", data: list },
      ]),
    });
    expect(submission.all("certificate")).toEqual([leaf, ask, ark]);
    expect(submission.all("crl")).toEqual([list]);
  });

  test("holds the same bytes once, and gives copies that grow apart", () => {
    const submission = new Submission();
    submission.add({ name: "vcek.der", bytes: leaf });
    submission.add({ name: "again.der", bytes: leaf.slice() });
    expect(submission.all("certificate")).toHaveLength(1);
    const copy = submission.copy();
    copy.add({ name: "ask.der", bytes: ask });
    expect(submission.all("certificate")).toHaveLength(1);
    expect(copy.all("certificate")).toHaveLength(2);
  });

  test("takes a nonce as it is, unless its file says that it is hexadecimal", () => {
    const nonceOf = (name: string): Uint8Array | undefined => {
      const submission = new Submission();
      submission.add({ name, bytes: text("12345678") });
      return submission.get("nonce");
    };
    expect(nonceOf("nonce.dat")).toEqual(text("12345678"));
    expect(nonceOf("nonce.hex")).toEqual(Uint8Array.of(0x12, 0x34, 0x56, 0x78));
  });

  test("takes the files of a report in configfs, as Linux has them", async () => {
    const submission = new Submission();
    const files = {
      provider: text("sev_guest\n"),
      outblob: evidence.report,
      auxblob: buildCertificateTable([{ guid: "63da758d-e664-4564-adc5-f4b93be8accd", data: leaf }]),
      manifestblob: new Uint8Array(0),
      service_guid: text("\n"),
      generation: text("1\n"),
    };
    for (const [name, bytes] of Object.entries(files)) submission.add({ name, bytes });
    expect(kindOf(submission)?.name).toBe("snp");
    expect(submission.all("certificate")).toEqual([leaf]);
    const other = new Submission();
    other.add({ name: "outblob", bytes: td.quote });
    expect(kindOf(other)?.name).toBe("tdx");
  });

  test("takes a quote for one though its file is called report.bin", () => {
    const submission = new Submission();
    submission.add({ name: "report.bin", bytes: td.quote });
    expect(submission.roles).toEqual(["quote"]);
  });

  test("keeps a revocation list that is empty, so that the verifier refuses it", () => {
    const submission = new Submission();
    submission.add({ name: "pck_crl.der", bytes: new Uint8Array(0) });
    expect(submission.collateral().pckCrl).toEqual(new Uint8Array(0));
  });

  test("never throws, whatever is added under whatever name", async () => {
    const names = fc.constantFrom(
      "report.bin",
      "quote.bin",
      "vcek.der",
      "auxblob",
      "evidence.json",
      "tcbinfo.json",
      "crl.der",
      "x",
    );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string().map(text),
      fc.nat(evidence.report.length).map((length) => evidence.report.slice(0, length)),
      fc.nat(td.quote.length).map((length) => td.quote.slice(0, length)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(names, bytes), { maxLength: 4 }), async (files) => {
        const submission = new Submission();
        for (const [name, content] of files) submission.add({ name, bytes: content });
        const { decision } = await judgeSubmission("x", submission, { at: "2026-06-01T00:00:00Z" });
        expect(decision.verdict).not.toBe("accepted");
      }),
      { numRuns: 60 },
    );
  });
});

describe("the kind of evidence is told", () => {
  test("by what a submission holds; names of kinds are told apart", () => {
    const submission = new Submission();
    expect(kindOf(submission)).toBeUndefined();
    submission.add({ name: "x", bytes: td.quote });
    expect(kindOf(submission)?.name).toBe("tdx");
    const sgx = new Submission();
    sgx.add({ name: "x", bytes: platform({ version: 3 }).quote });
    expect(kindOf(sgx)?.name).toBe("sgx");
    expect(new Set(kinds.map(({ name }) => name)).size).toBe(kinds.length);
    expect(kindNamed("snp")?.main).toBe("snp-report");
    expect(kindNamed("tpm1.2")).toBeUndefined();
  });

  test("and what is none, or not there, is unverified with the reason", async () => {
    const submission = new Submission();
    submission.add({ name: "ark.der", bytes: ark });
    const nothing = await judgeSubmission("x", submission, {});
    expect(nothing.decision.verdict).toBe("unverified");
    expect(nothing.problem).toContain("no evidence here, only what goes with it");
    expect((await judgeSubmission("x", new Submission(), {})).problem).toContain(
      "no evidence of a kind that is known",
    );
    expect((await judgeSubmission("x", submission, { kind: "tdx" })).problem).toContain(
      "there is no Intel TDX quote",
    );
    expect((await judgeSubmission("x", submission, { kind: "tpm1.2" })).problem).toContain('"tpm1.2"');
  });

  test("SNP and TDX evidence of a test PKI is accepted through it", async () => {
    const at = "2026-06-01T00:00:00Z";
    const snp = new Submission();
    snp.add({ name: "report.bin", bytes: evidence.report });
    for (const [i, bytes] of evidence.certificates.entries()) snp.add({ name: `${i}.der`, bytes });
    for (const bytes of evidence.crls ?? []) snp.add({ name: "crl.der", bytes });
    const { anchorOf } = await import("../x509/anchor.ts");
    const judged = await judgeSubmission("snp", snp, { at, roots: [anchorOf(ark)] });
    expect(judged.decision.verdict).toBe("accepted");
    expect(judged.shown.get("report")?.bytes).toEqual(evidence.report);
    const tdx = new Submission();
    tdx.add({ name: "quote.bin", bytes: td.quote });
    const { tcbInfo, qeIdentity, rootCrl, pckCrl } = td.collateral;
    const pem = text([td.signer, td.chain[2]].map((der) => encodePem("CERTIFICATE", der)).join(""));
    for (const [name, bytes] of Object.entries({
      "tcbinfo.json": tcbInfo,
      "qeidentity.json": qeIdentity,
      "root_ca_crl.der": rootCrl,
      "pck_crl.der": pckCrl,
      "tcb_signing_chain.pem": pem,
    }))
      tdx.add({ name, bytes });
    expect((await judgeSubmission("tdx", tdx, { at, roots: td.roots })).decision.verdict).toBe("accepted");
  });
});

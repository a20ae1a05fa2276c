import { Alg, St } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { identifyEvidence } from "./identify.ts";
import { buildSnpReport } from "./snp-report.ts";
import {
  buildSvsmManifest,
  MAXIMUM_SVSM_SERVICES,
  parseSvsmManifest,
  svsmReportDataInput,
} from "./svsm-attestation.ts";
import { buildTdReport, parseTdReport, tdReportLayout } from "./td-report.ts";
import {
  counted,
  sampleCertificateTable,
  sampleEvidence,
  samplePublic,
  sampleQuote,
  sampleSnpFields,
  sampleSvsmManifest,
  sampleTdReport,
  sampleTpmQuote,
  sampleTpmSignature,
} from "./testing/sample-evidence.ts";
import {
  buildTpmAttest,
  buildTpmPublic,
  parseTpmAttest,
  parseTpmPublic,
  parseTpmQuote,
  parseTpmSignature,
} from "./tpm-evidence.ts";
import { buildTsmFiles, parseTsmReport } from "./tsm-report.ts";

const refused = (code: string, offset: number) => expect.objectContaining({ code, offset });
const changed = (bytes: Uint8Array, at: number, ...values: number[]) => {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
};
const vtpm = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";
const other = "12345678-9abc-def0-1234-56789abcdef0";

describe("a quote of a TPM", () => {
  test("names nonce, clock, firmware, and which PCR its digest is over", () => {
    const quote = parseTpmQuote(sampleTpmQuote);
    expect(quote.nonce).toEqual(counted(32, 0x40));
    expect(quote.clockInfo).toEqual({ clock: 123_456n, resetCount: 3, restartCount: 1, safe: true });
    expect(quote.firmwareVersion).toBe(0x2017_0619_0016_3636n);
    expect(quote.banks).toEqual([
      { algorithm: Alg.SHA256, name: "SHA256", pcrs: [0, 4, 7, 14, 23] },
      { algorithm: Alg.SHA1, name: "SHA1", pcrs: [0] },
    ]);
    expect(quote.pcrDigest).toEqual(counted(32, 0x60));
  });

  test("knows where its fields lie", () => {
    const { map } = parseTpmQuote(sampleTpmQuote);
    const fields = [...map];
    expect(fields.map(({ path, offset }) => [path, offset])).toEqual([
      ["magic", 0],
      ["type", 4],
      ["qualifiedSigner", 6],
      ["extraData", 42],
      ["clockInfo", 76],
      ["firmwareVersion", 93],
      ["pcrSelect", 101],
      ["pcrDigest", 117],
    ]);
    const last = fields.at(-1)!;
    expect(last.offset + last.length).toBe(sampleTpmQuote.length);
  });

  test("that no TPM made has another magic", () => {
    expect(() => parseTpmQuote(changed(sampleTpmQuote, 0, 0))).toThrow(refused("bad-magic", 0));
    expect(() => parseTpmQuote(new Uint8Array(3))).toThrow(refused("truncated", 0));
  });

  test("is no other attestation", () => {
    const { attest } = parseTpmQuote(sampleTpmQuote);
    const { qualifiedSigner, extraData, clockInfo, firmwareVersion, magic } = attest;
    const creation = buildTpmAttest({
      ...{ magic, qualifiedSigner, extraData, clockInfo, firmwareVersion },
      type: St.ATTEST_CREATION,
      attested: { objectName: counted(34, 0), creationHash: counted(32, 0) },
    });
    expect(parseTpmAttest(creation).type).toBe(St.ATTEST_CREATION);
    expect(() => parseTpmQuote(creation)).toThrow(refused("bad-value", 4));
  });

  test("ends where its structure does", () => {
    expect(() => parseTpmQuote(Uint8Array.of(...sampleTpmQuote, 0))).toThrow(
      refused("trailing-bytes", sampleTpmQuote.length),
    );
    expect(() => parseTpmQuote(sampleTpmQuote.subarray(0, -1))).toThrow(
      expect.objectContaining({ code: "truncated" }),
    );
  });

  test("with a size that its type does not allow is refused", () => {
    expect(() => parseTpmQuote(changed(sampleTpmQuote, 6, 0xff))).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
  });
});

describe("a TPM's signature", () => {
  test("is a TPMT_SIGNATURE", () => {
    expect(parseTpmSignature(sampleTpmSignature)).toEqual({
      form: "tpmt",
      signature: { sigAlg: Alg.ECDSA, hash: Alg.SHA256, r: counted(32, 1), s: counted(32, 2) },
    });
    expect(() => parseTpmSignature(Uint8Array.of(...sampleTpmSignature, 0))).toThrow(
      refused("trailing-bytes", sampleTpmSignature.length),
    );
  });

  test.each([256, 384, 512])("of %i bytes is that of RSA alone", (size) => {
    expect(parseTpmSignature(counted(size, 0))).toEqual({ form: "rsa", signature: counted(size, 0) });
  });

  test("of no algorithm is refused", () => {
    expect(() => parseTpmSignature(Uint8Array.of(0, 0x10))).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
  });
});

describe("a public area", () => {
  test.each(["tpm2b", "tpmt"] as const)("is read as %s", (form) => {
    const bytes = buildTpmPublic(samplePublic, form);
    const parsed = parseTpmPublic(bytes);
    expect(parsed).toMatchObject({ form, publicArea: samplePublic });
    expect(parsed.bytes).toEqual(buildTpmPublic(samplePublic, "tpmt"));
  });

  test("with a byte too many or too few is refused", () => {
    const bytes = buildTpmPublic(samplePublic, "tpmt");
    expect(() => parseTpmPublic(Uint8Array.of(...bytes, 0))).toThrow(refused("trailing-bytes", bytes.length));
    expect(() => parseTpmPublic(bytes.subarray(0, -1))).toThrow(
      expect.objectContaining({ code: "truncated" }),
    );
  });
});

describe("a manifest of SVSM services", () => {
  test("gives what each service says, and the vTPM's endorsement key", () => {
    const { services, vtpmEk, findings, map } = parseSvsmManifest(sampleSvsmManifest);
    expect(services.map(({ kind, offset }) => [kind, offset])).toEqual([
      ["vtpm", 72],
      ["uefi-mm", 72 + buildTpmPublic(samplePublic, "tpmt").length],
    ]);
    expect(vtpmEk?.publicArea).toEqual(samplePublic);
    expect(services[1]?.data).toEqual(counted(16, 0));
    expect(findings).toEqual([]);
    expect(map.get("services.1.manifest")?.length).toBe(16);
  });

  test("has GUIDs in the order of UEFI", () => {
    expect([...sampleSvsmManifest.slice(0, 4)]).toEqual([0xbb, 0x9e, 0x84, 0x63]);
    expect(() => parseSvsmManifest(changed(sampleSvsmManifest, 0, 0x63, 0x84, 0x9e, 0xbb))).toThrow(
      refused("bad-magic", 0),
    );
  });

  test("names services that are not known", () => {
    const { services, findings, vtpmEk } = parseSvsmManifest(
      buildSvsmManifest([{ guid: other, data: counted(3, 0) }]),
    );
    expect(services).toMatchObject([{ guid: other, kind: undefined }]);
    expect([findings[0]?.kind, vtpmEk]).toEqual(["unknown-value", undefined]);
  });

  test.each([
    ["a size beyond its end", 16, [0xff, 0xff], "truncated", 16],
    ["a size without its entries", 16, [71, 0], "out-of-range", 16],
    ["a size without its last service", 16, [73, 0], "out-of-range", 40],
    ["more services than there can be", 20, [MAXIMUM_SVSM_SERVICES + 1], "bad-value", 20],
    ["a service beyond its end", 24 + 20, [0xff, 0xff], "out-of-range", 40],
    ["a service whose size wraps around", 24 + 20, [0xff, 0xff, 0xff, 0xff], "out-of-range", 40],
    ["a service over the entries", 48 + 16, [71, 0], "bad-value", 64],
    ["services over each other", 48 + 16, [80, 0], "bad-value", 64],
  ] as const)("with %s is refused", (_, at, values, code, offset) => {
    expect(() => parseSvsmManifest(changed(sampleSvsmManifest, at, ...values))).toThrow(
      refused(code, offset),
    );
  });

  test("in which a service stands twice is refused", () => {
    const twice = buildSvsmManifest([
      { guid: other, data: counted(3, 0) },
      { guid: other, data: counted(3, 0) },
    ]);
    expect(() => parseSvsmManifest(twice)).toThrow(refused("bad-value", 48));
  });

  test("whose vTPM says no public area is refused, at its place", () => {
    expect(() => parseSvsmManifest(buildSvsmManifest([{ guid: vtpm, data: counted(4, 0) }]))).toThrow(
      expect.objectContaining({ code: "bad-value", offset: 52 }),
    );
  });

  test("is bound by a hash over the nonce and itself", () => {
    expect(svsmReportDataInput(counted(64, 0), Uint8Array.of(1, 2))).toEqual(
      Uint8Array.of(...counted(64, 0), 1, 2),
    );
  });
});

describe("a TDREPORT", () => {
  test("has its parts where the module puts them", () => {
    const { fields, map, findings } = parseTdReport(sampleTdReport);
    expect(fields.reportMac).toMatchObject({ type: 0x81, version: 1, reportData: counted(64, 0x70) });
    expect(fields.tdInfo).toMatchObject({ xfam: 0xe7n, mrTd: counted(48, 0x30) });
    const paths = ["reportMac.mac", "teeTcbInfo.mrSeam", "tdInfo.tdAttributes", "tdInfo.rtmr3"];
    expect(paths.map((path) => map.get(path)?.offset)).toEqual([224, 280, 512, 864]);
    expect(findings).toEqual([]);
  });

  test("has service TDs from version 1 on", () => {
    const fields = tdReportLayout.read(sampleTdReport);
    const tdInfo = { ...fields.tdInfo, mrServiceTd: counted(48, 1) };
    const bound = (version: number) =>
      parseTdReport(buildTdReport({ ...fields, tdInfo, reportMac: { ...fields.reportMac, version } }));
    expect(bound(1).findings).toEqual([]);
    expect(bound(0).findings).toMatchObject([{ kind: "reserved-not-zero", path: "tdInfo.mrServiceTd" }]);
  });

  test("is of TDX", () => {
    expect(() => parseTdReport(changed(sampleTdReport, 0, 0))).toThrow(refused("bad-value", 0));
  });
});

describe("a report of configfs", () => {
  const outblob = buildSnpReport(sampleSnpFields);

  test("of sev_guest is an SNP report, with certificates, under an SVSM with a manifest", () => {
    const files = buildTsmFiles("sev_guest", {
      outblob,
      auxblob: sampleCertificateTable,
      manifestblob: sampleSvsmManifest,
    });
    const report = parseTsmReport(files);
    if (report.provider !== "sev_guest") throw new Error(report.provider);
    expect(report.report.bytes).toEqual(outblob);
    expect(report.certificates?.entries.length).toBe(3);
    expect(report.services?.services.length).toBe(2);
    expect(report.manifest).toEqual(sampleSvsmManifest);
  });

  test("may have no certificates and no manifest", () => {
    const report = parseTsmReport(
      buildTsmFiles("sev_guest", { outblob, auxblob: new Uint8Array(0), manifestblob: new Uint8Array(0) }),
    );
    expect(report).toMatchObject({ certificates: undefined, services: undefined, manifest: undefined });
  });

  test("of one service has that service's own manifest", () => {
    const manifestblob = buildTpmPublic(samplePublic, "tpmt");
    const guid = (text: string) => new TextEncoder().encode(`${text}\n`);
    const single = parseTsmReport(
      buildTsmFiles("sev_guest", { outblob, manifestblob, service_guid: guid(vtpm) }),
    );
    if (single.provider !== "sev_guest") throw new Error(single.provider);
    expect([single.services, single.vtpmEk?.publicArea]).toEqual([undefined, samplePublic]);
    const zeros = guid("00000000-0000-0000-0000-000000000000");
    expect(
      parseTsmReport(
        buildTsmFiles("sev_guest", { outblob, manifestblob: sampleSvsmManifest, service_guid: zeros }),
      ),
    ).toMatchObject({ vtpmEk: undefined, services: { services: [{ kind: "vtpm" }, { kind: "uefi-mm" }] } });
  });

  test("of tdx_guest is a quote", () => {
    const report = parseTsmReport(buildTsmFiles("tdx_guest", { outblob: sampleQuote(5, 3) }));
    expect(report).toMatchObject({ provider: "tdx_guest", quote: { body: { type: 3 } } });
  });

  test.each(["arm_cca_guest\n", "", "tdx_guest\0", "x".repeat(300)])(
    "of provider %j is refused",
    (provider) => {
      expect(() => parseTsmReport({ provider: new TextEncoder().encode(provider), outblob })).toThrow(
        expect.objectContaining({ code: "bad-value" }),
      );
    },
  );
});

describe("evidence whose kind nobody says", () => {
  test.each(
    sampleEvidence().flatMap(({ name, bytes }) => {
      const kind = [
        [/^SNP report/, "snp-report"],
        [/^certificate table/, "snp-certificate-table"],
        [/quote (?:3|4|5)/, "quote"],
        [/^TDREPORT/, "td-report"],
        [/^HCL report/, "hcl-report"],
        [/^SVSM/, "svsm-manifest"],
        [/^TPM quote/, "tpm-quote"],
        [/^HCL claims|JSON/, "json"],
        [/^PEM/, "pem"],
        [/./, undefined],
      ] as const;
      return [[name, kind.find(([pattern]) => pattern.test(name))![1], bytes] as const];
    }),
  )("is told by its first bytes: %s is %s", (_, kind, bytes) => {
    expect(identifyEvidence(bytes)).toBe(kind);
  });

  test("is of no kind when nothing fits", () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(2000), counted(100, 1)])
      expect(identifyEvidence(bytes)).toBeUndefined();
    expect(identifyEvidence(Uint8Array.of(0x30, 0x82, 1, 0))).toBe("der");
  });
});

import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { buildHclClaims, HCL_AK, HCL_EK, parseHclClaims } from "./hcl-claims.ts";
import { buildHclReport, parseHclReport } from "./hcl-report.ts";
import { buildSnpReport } from "./snp-report.ts";
import { counted, sampleClaims, sampleSnpFields, sampleTdReport } from "./testing/sample-evidence.ts";
import { parseVtpmEvidence } from "./vtpm-evidence-json.ts";

const text = (value: string) => new TextEncoder().encode(value);
const refused = (code: string, offset: number) => expect.objectContaining({ code, offset });
const reportData = new Uint8Array(64);
reportData.set(createHash("sha256").update(sampleClaims).digest());
const snp = buildSnpReport({ ...sampleSnpFields, reportData });
const parts = { kind: "snp", hardwareReport: snp, hash: "SHA-256", claims: sampleClaims } as const;
const report = buildHclReport(parts);
const changed = (bytes: Uint8Array, at: number, ...values: number[]) => {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
};
const REQUEST = 32 + 1184;

describe("an HCL report", () => {
  test("holds an SNP report, and claims whose hash is in it", () => {
    const hcl = parseHclReport(report);
    if (hcl.hardware.kind !== "snp") throw new Error(hcl.hardware.kind);
    expect(hcl.hardware.report.bytes).toEqual(snp);
    expect(hcl.hash).toBe("SHA-256");
    expect(hcl.reportData).toEqual(reportData);
    expect(createHash("sha256").update(hcl.claims.bytes).digest()).toEqual(
      Buffer.from(reportData.subarray(0, 32)),
    );
    expect(hcl.capabilities).toBeUndefined();
    expect(hcl.findings).toEqual([]);
    const { map } = hcl;
    const paths = ["header.version", "hardware.measurement", "request.hashType", "claims"];
    expect(paths.map((path) => map.get(path)?.offset)).toEqual([4, 32 + 0x90, REQUEST + 12, REQUEST + 20]);
    expect(map.at(REQUEST + 40)?.path).toBe(`claims.keys.${HCL_AK}`);
  });

  test("holds a TDREPORT, padded", () => {
    const hcl = parseHclReport(
      buildHclReport({ ...parts, kind: "tdx", hardwareReport: sampleTdReport, hash: "SHA-384" }),
    );
    if (hcl.hardware.kind !== "tdx") throw new Error(hcl.hardware.kind);
    expect(hcl.hardware.report.bytes).toEqual(sampleTdReport);
    expect([hcl.reportData, hcl.hash]).toEqual([counted(64, 0x70), "SHA-384"]);
    expect(hcl.map.get("hardware.tdInfo.mrTd")?.offset).toBe(32 + 512 + 16);
    expect(parseHclReport(changed(hcl.bytes, 32 + 1024, 1)).findings).toMatchObject([
      { kind: "reserved-not-zero", path: "hardware.padding", offset: 32 + 1024, length: 160 },
    ]);
  });

  test.each(["vbs", "tvm", "cca"] as const)("of %s is kept without being read", (kind) => {
    const { hardware, reportData: data } = parseHclReport(buildHclReport({ ...parts, kind }));
    expect(hardware).toEqual({ kind, report: snp });
    expect(data).toBeUndefined();
  });

  test("has capabilities from version 2 of its request data on", () => {
    const hcl = parseHclReport(buildHclReport({ ...parts, capabilities: 0x23 }));
    expect([...hcl.capabilities!]).toEqual(["ERROR_CODE", "RETRY"]);
    expect(hcl.claims.bytes).toEqual(sampleClaims);
    expect(hcl.findings).toMatchObject([{ kind: "unknown-bits", path: "request.capabilities" }]);
    expect(parseHclReport(buildHclReport({ ...parts, requestVersion: 3 })).claims.bytes).toEqual(
      sampleClaims,
    );
  });

  test("is captured with zeros behind it, which are reported", () => {
    const hcl = parseHclReport(buildHclReport({ ...parts, length: 2600 }));
    expect(hcl.findings).toMatchObject([
      { kind: "padding", offset: report.length, length: 2600 - report.length },
    ]);
    expect(hcl.bytes).toEqual(report);
  });

  test.each([
    ["another magic", 0, [0], "bad-magic", 0],
    ["version 0", 4, [0], "bad-version", 4],
    ["version 3", 4, [3], "bad-version", 4],
    ["an SNP report of version 4", 32, [4], "bad-version", 32],
    ["request data of version 0", REQUEST + 4, [0], "bad-version", REQUEST + 4],
    ["request data of version 4", REQUEST + 4, [4], "bad-version", REQUEST + 4],
    ["report type 0", REQUEST + 8, [0], "bad-value", REQUEST + 8],
    ["report type 6", REQUEST + 8, [6], "bad-value", REQUEST + 8],
    ["TDX said of an SNP report", REQUEST + 8, [4], "bad-value", 32],
    ["hash type 0", REQUEST + 12, [0], "bad-value", REQUEST + 12],
    ["hash type 4", REQUEST + 12, [4], "bad-value", REQUEST + 12],
    ["claims beyond its end", REQUEST + 16, [0xff, 0xff, 0xff, 0xff], "truncated", REQUEST + 16],
    ["claims that are shorter than the request data", REQUEST + 16, [16, 0], "out-of-range", REQUEST],
    ["request data of another size", REQUEST, [16, 0], "out-of-range", REQUEST],
    ["a report size of its own", 8, [16, 0], "out-of-range", REQUEST],
  ] as const)("with %s is refused", (_, at, values, code, offset) => {
    expect(() => parseHclReport(changed(report, at, ...values))).toThrow(refused(code, offset));
  });

  test("whose claims are no JSON is refused, at the place in the report", () => {
    expect(() => parseHclReport(changed(report, REQUEST + 20, 0x5b))).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
    expect(() => parseHclReport(changed(report, report.length - 1, 0x20))).toThrow(
      expect.objectContaining({ code: "truncated", offset: report.length }),
    );
  });
});

describe("vTPM evidence of an agent", () => {
  const bytes = counted(50, 0xe0);
  const parse = (value: unknown) => parseVtpmEvidence(text(JSON.stringify(value)));
  const quote = { message: "ff54", signature: "0A0b", pcrs: ["00ff", "01"] };

  test("holds report, quote, PCR values, and what the hardware's certificate is", () => {
    const url = Buffer.from(bytes).toString("base64url");
    for (const encoded of [Buffer.from(bytes).toString("base64"), url, `${url}=`]) {
      const evidence = {
        version: 1,
        hcl_report: encoded,
        tpm_quote: quote,
        vcek: encoded,
        td_quote: encoded,
      };
      for (const document of [evidence, { platform: "az-snp", evidence }]) {
        expect(parse(document)).toEqual({
          hclReport: bytes,
          quote: {
            message: Uint8Array.of(0xff, 0x54),
            signature: Uint8Array.of(10, 11),
            pcrs: [Uint8Array.of(0, 255), Uint8Array.of(1)],
          },
          vcek: bytes,
          tdQuote: bytes,
        });
      }
    }
  });

  test("may have a certificate in PEM, or nothing but a report", () => {
    const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    expect(parse({ hcl_report: "AAAA", vcek: pem }).vcek).toEqual(text(pem));
    expect(parse({ hcl_report: "AAAA" })).toEqual({
      hclReport: new Uint8Array(3),
      quote: undefined,
      vcek: undefined,
      tdQuote: undefined,
    });
  });

  test.each([
    ["no report", {}],
    ["a report that is no base64", { hcl_report: "A!AA" }],
    ["a quote without PCR values", { hcl_report: "AAAA", tpm_quote: { message: "", signature: "" } }],
    [
      "more PCR than there are",
      { hcl_report: "AAAA", tpm_quote: { ...quote, pcrs: new Array(25).fill("00") } },
    ],
    ["a signature that is not hexadecimal", { hcl_report: "AAAA", tpm_quote: { ...quote, signature: "0" } }],
    ["another shape", []],
  ])("with %s is refused by its bytes", (_, value) => {
    expect(() => parse(value)).toThrow(expect.objectContaining({ code: "bad-value" }));
  });
});

describe("runtime claims", () => {
  const key = (kid: string, more = "") => `{"kid":"${kid}","kty":"RSA","e":"AQAB","n":"AQID"${more}}`;
  const claims = (keys: string, more = "") => parseHclClaims(text(`{"keys":[${keys}]${more}}`));

  test("name keys, the configuration of the VM, and what the guest wanted", () => {
    const { keys, vmConfiguration, userData } = parseHclClaims(sampleClaims);
    expect([...keys.keys()]).toEqual([HCL_AK, HCL_EK]);
    expect(keys.get(HCL_AK)).toMatchObject({
      kty: "RSA",
      keyOps: ["sign"],
      n: counted(256, 0x81),
      e: Uint8Array.of(1, 0, 1),
    });
    expect(vmConfiguration["secure-boot"]).toBe(true);
    expect(userData).toEqual(counted(64, 0));
  });

  test("may have keys without operations, no configuration and no user data", () => {
    const { keys, vmConfiguration, userData } = claims(key("a"));
    expect(keys.get("a")?.keyOps).toEqual([]);
    expect([vmConfiguration, userData]).toEqual([{}, undefined]);
  });

  test("in which two keys have one name are refused: which of them is meant?", () => {
    expect(() => claims(`${key(HCL_AK)},${key(HCL_AK)}`)).toThrow(
      refused("bad-value", 9 + key(HCL_AK).length + 1),
    );
    expect(() => claims(`${key(HCL_AK)},${key("HCLA\\u006bPub")}`)).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
  });

  test.each([
    ["no keys", '{"vm-configuration":{}}'],
    ["a key without a name", '{"keys":[{"kty":"RSA","e":"AQAB","n":"AQID"}]}'],
    ["a key of another type", `{"keys":[${key("a").replace("RSA", "EC")}]}`],
    ["a key without a modulus", '{"keys":[{"kid":"a","kty":"RSA","e":"AQAB"}]}'],
    ["an empty exponent", `{"keys":[${key("a").replace("AQAB", "")}]}`],
    ["a padded modulus", `{"keys":[${key("a").replace("AQID", "AQ==")}]}`],
    ["an escape in a modulus", `{"keys":[${key("a").replace("AQID", "\\u0041QID")}]}`],
    ["an operation that is no text", `{"keys":[${key("a", ',"key_ops":[1]')}]}`],
    ["user data that is not hexadecimal", '{"keys":[],"user-data":"0g"}'],
    ["user data of half a byte", '{"keys":[],"user-data":"000"}'],
    ["a name twice", '{"keys":[],"keys":[]}'],
    ["another shape", "[]"],
  ])("with %s are refused", (_, json) => {
    expect(() => parseHclClaims(text(json))).toThrow(expect.objectContaining({ code: "bad-value" }));
  });

  test("are built as a paravisor writes them", () => {
    const built = buildHclClaims({
      keys: [{ kid: "a", keyOps: ["sign"], n: Uint8Array.of(255, 254), e: Uint8Array.of(1, 0, 1) }],
      vmConfiguration: { "tpm-enabled": true },
      userData: Uint8Array.of(0xab),
    });
    expect(new TextDecoder().decode(built)).toBe(
      '{"keys":[{"kid":"a","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"__4"}],"vm-configuration":{"tpm-enabled":true},"user-data":"AB"}',
    );
  });
});

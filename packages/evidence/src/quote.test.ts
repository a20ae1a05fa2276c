import { toHex } from "@entresol/wire";
import { describe, expect, test } from "vitest";
import { parsePem } from "./pem.ts";
import { buildQuote, INTEL_QE_VENDOR_ID, parseQuote, quoteInput } from "./quote.ts";
import { counted, sampleQe, sampleQuote } from "./testing/sample-evidence.ts";

const refused = (code: string, offset: number) => expect.objectContaining({ code, offset });
const changed = (bytes: Uint8Array, at: number, ...values: number[]) => {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
};
const input = (bytes: Uint8Array) => quoteInput(parseQuote(bytes));

describe("the header of a quote", () => {
  test("says who signed it and for which TEE", () => {
    const { header, findings } = parseQuote(sampleQuote(4, 2));
    expect(header).toMatchObject({ version: 4, attestationKeyType: 2, teeType: 0x81 });
    expect(toHex(header.qeVendorId)).toBe(INTEL_QE_VENDOR_ID);
    expect(header.qeSvn).toBeUndefined();
    expect(findings).toEqual([]);
  });

  test("has the versions of the enclaves in version 3, reserved bytes later", () => {
    const three = parseQuote(changed(sampleQuote(3, 1), 8, 7, 0, 13, 0));
    expect(three.header).toMatchObject({ version: 3, qeSvn: 7, pceSvn: 13 });
    expect(three.findings).toEqual([]);
    expect(parseQuote(changed(sampleQuote(4, 2), 8, 7, 0, 13, 0)).findings).toMatchObject([
      { kind: "reserved-not-zero", path: "header.reserved8", offset: 8 },
      { kind: "reserved-not-zero", path: "header.reserved10", offset: 10 },
    ]);
  });

  test.each([0, 1, 2, 6, 0xffff])("of version %i is refused", (version) => {
    expect(() => parseQuote(changed(sampleQuote(4, 2), 0, version & 0xff, version >> 8))).toThrow(
      refused("bad-version", 0),
    );
  });

  test("with another attestation key than P-256 is refused", () => {
    expect(() => parseQuote(changed(sampleQuote(4, 2), 2, 3))).toThrow(refused("bad-value", 2));
  });

  test("of another TEE is refused, and version 3 is SGX's alone", () => {
    expect(() => parseQuote(changed(sampleQuote(4, 2), 4, 0x82))).toThrow(refused("bad-value", 4));
    expect(() => parseQuote(changed(sampleQuote(3, 1), 4, 0x81))).toThrow(refused("bad-value", 4));
  });
});

describe("the body of a quote", () => {
  test.each([
    [3, 1, "sgx", 48, 384],
    [4, 1, "sgx", 48, 384],
    [4, 2, "tdx", 48, 584],
    [5, 1, "sgx", 54, 384],
    [5, 2, "tdx", 54, 584],
    [5, 3, "tdx", 54, 648],
    [5, 4, "tdx", 54, 885],
  ] as const)("of version %i and type %i is %s's, at %i, of %i bytes", (version, type, tee, at, size) => {
    const bytes = sampleQuote(version, type);
    const quote = parseQuote(bytes);
    expect(quote.body).toMatchObject({ type, tee });
    expect(quote.bodyBytes).toEqual(bytes.subarray(at, at + size));
    expect(quote.signedBytes).toEqual(bytes.subarray(0, at + size));
    expect(quote.body.fields.reportData).toEqual(counted(64, 0x70));
    expect(quote.map.get("body.reportData")?.offset).toBe(at + (tee === "sgx" ? 320 : 520));
  });

  test("has the fields of its type", () => {
    const { body } = parseQuote(sampleQuote(5, 4));
    if (body.type !== 4) throw new Error("not of type 4");
    expect(body.fields).toMatchObject({
      teeTcbSvn: counted(16, 5),
      tdAttributes: 0x1000_0000n,
      xfam: 0xe7n,
      mrTd: counted(48, 0x30),
      rtmr3: counted(48, 0x43),
      vmId: 1,
      tdId: counted(32, 8),
    });
    const enclave = parseQuote(sampleQuote(3, 1)).body;
    if (enclave.type !== 1) throw new Error("not of type 1");
    expect(enclave.fields).toMatchObject({ isvProdId: 2, isvSvn: 8, mrSigner: counted(32, 0x60) });
  });

  test("of a type that is not known, or of another TEE's, is refused", () => {
    expect(() => parseQuote(changed(sampleQuote(5, 3), 48, 5))).toThrow(refused("bad-value", 48));
    expect(() => parseQuote(changed(sampleQuote(5, 3), 48, 0))).toThrow(refused("bad-value", 48));
    expect(() => parseQuote(changed(sampleQuote(5, 3), 4, 0))).toThrow(refused("bad-value", 48));
  });

  test("of another size than its type has is refused", () => {
    expect(() => parseQuote(changed(sampleQuote(5, 3), 50, 0x48, 2))).toThrow(refused("bad-value", 50));
  });

  test("with attributes that are not known says so", () => {
    expect(parseQuote(changed(sampleQuote(4, 2), 48 + 120, 0x03)).findings).toMatchObject([
      { kind: "unknown-bits", path: "body.tdAttributes", detail: "unknown bits 1" },
    ]);
  });
});

describe("the signature data of a quote", () => {
  test("holds signature, attestation key, and the report of the enclave whose key it is", () => {
    for (const bytes of [sampleQuote(3, 1), sampleQuote(4, 2), sampleQuote(5, 3)]) {
      const { signature, attestationKey, qe } = parseQuote(bytes);
      expect([signature, attestationKey]).toEqual([counted(64, 0xa0), counted(64, 0xb0)]);
      expect(qe.reportBytes).toEqual(sampleQe.report);
      expect(qe.report.isvSvn).toBe(8);
      expect([qe.reportSignature, qe.authData]).toEqual([sampleQe.reportSignature, sampleQe.authData]);
      expect(qe.certification).toMatchObject({ type: 5, kind: "pck-chain" });
    }
  });

  test("has its parts in the byte map", () => {
    const bytes = sampleQuote(4, 2);
    const { map } = parseQuote(bytes);
    const paths = ["signatureLength", "signature", "attestationKey", "qe.report.cpuSvn", "qe.authData"];
    expect(paths.map((path) => map.get(path)?.offset)).toEqual([632, 636, 700, 770, 1220]);
    const chain = map.get("qe.certification.data")!;
    expect(chain.offset + chain.length).toBe(bytes.length);
  });

  test("that is longer than what is there is truncated, at its length", () => {
    expect(() => parseQuote(changed(sampleQuote(4, 2), 632, 0xff, 0xff, 0xff, 0x7f))).toThrow(
      refused("truncated", 632),
    );
    expect(() => parseQuote(changed(sampleQuote(4, 2), 632, 0xff, 0xff, 0xff, 0xff))).toThrow(
      refused("truncated", 632),
    );
  });

  test("with bytes behind the certification data is refused", () => {
    const bytes = Uint8Array.of(...sampleQuote(4, 2), 0);
    const view = new DataView(bytes.buffer);
    view.setUint32(632, view.getUint32(632, true) + 1, true);
    expect(() => parseQuote(bytes)).toThrow(refused("trailing-bytes", bytes.length - 1));
  });

  test("of version 4 without a QE report is refused", () => {
    const { qe, ...others } = input(sampleQuote(4, 2));
    const bytes = buildQuote({ ...others, qe });
    expect(() => parseQuote(changed(bytes, 764, 5))).toThrow(refused("bad-value", 764));
  });

  test("with a QE report within a QE report is refused", () => {
    const nested = { ...sampleQe, certification: { type: 6 as const, qe: sampleQe } };
    expect(() => parseQuote(sampleQuote(4, 2, nested))).toThrow(refused("bad-value", 1252));
    expect(() => parseQuote(sampleQuote(3, 1, nested))).toThrow(
      expect.objectContaining({ code: "bad-value" }),
    );
  });

  test("with authentication data beyond its end is truncated", () => {
    expect(() => parseQuote(changed(sampleQuote(4, 2), 1218, 0xff, 0xff))).toThrow(
      refused("truncated", 1218),
    );
  });

  test("may have no authentication data", () => {
    const qe = { ...sampleQe, authData: new Uint8Array(0) };
    expect(parseQuote(sampleQuote(4, 2, qe)).qe.authData).toEqual(new Uint8Array(0));
  });

  test("is followed by what is surfaced, never ignored", () => {
    const quote = sampleQuote(5, 3);
    const parsed = parseQuote(Uint8Array.of(...quote, 0, 0, 5));
    expect(parsed.bytes).toEqual(quote);
    expect([...parsed.trailing]).toEqual([0, 0, 5]);
    expect(parsed.findings).toMatchObject([{ kind: "trailing-bytes", offset: quote.length, length: 3 }]);
    expect(parseQuote(Uint8Array.of(...quote, 0)).findings).toMatchObject([{ kind: "padding" }]);
  });
});

describe("certification data", () => {
  const of = (type: number, data: Uint8Array) =>
    parseQuote(sampleQuote(4, 2, { ...sampleQe, certification: { type, data } }));

  test.each([
    [1, 16],
    [2, 256],
    [3, 384],
  ])("of type %i is a PPID of %i bytes and the versions of the platform", (type, size) => {
    const { certification } = of(type, counted(size + 20, 1)).qe;
    if (certification.kind !== "ppid") throw new Error(certification.kind);
    expect(certification.fields.ppid).toEqual(counted(size, 1));
    expect(certification.fields.cpuSvn).toEqual(counted(16, 1 + size));
    expect([certification.fields.pceSvn & 0xff, certification.fields.pceId & 0xff]).toEqual(
      [17, 19].map((n) => (n + size) & 0xff),
    );
    expect(() => of(type, counted(size + 19, 1))).toThrow(expect.objectContaining({ code: "bad-value" }));
  });

  test.each([
    [4, "pck-certificate"],
    [5, "pck-chain"],
    [7, "platform-manifest"],
  ])("of type %i is a %s", (type, kind) => {
    expect(of(type, counted(9, 0)).qe.certification).toMatchObject({
      type,
      kind,
      data: counted(9, 0),
      length: 15,
    });
  });

  test("of a type that is not known is kept, and said to be so", () => {
    const { qe, findings } = of(8, counted(9, 0));
    expect(qe.certification).toMatchObject({ type: 8, kind: "unknown", data: counted(9, 0) });
    expect(findings).toMatchObject([{ kind: "unknown-value", path: "qe.certification.type" }]);
  });

  test("of type 5 is a chain in PEM", () => {
    const { certification } = parseQuote(sampleQuote(4, 2)).qe;
    if (certification.kind !== "pck-chain") throw new Error(certification.kind);
    expect(parsePem(certification.data).map(({ data }) => data)).toEqual([counted(100, 0), counted(70, 9)]);
  });
});

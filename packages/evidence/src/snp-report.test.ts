import { describe, expect, test } from "vitest";
import { buildSnpIdAuth, buildSnpIdBlock, parseSnpIdAuth, parseSnpIdBlock } from "./snp-id-block.ts";
import { buildSnpReport, parseSnpReport, snpReportLayout, snpSignatureFields } from "./snp-report.ts";
import { buildSnpTcb, snpProduct, snpTcb } from "./snp-tcb.ts";
import { counted, sampleSnpFields } from "./testing/sample-evidence.ts";

const report = (fields: Parameters<typeof buildSnpReport>[0] = {}) =>
  buildSnpReport({ ...sampleSnpFields, ...fields });
const milan = { cpuidFamily: 0x19, cpuidModel: 1 };

describe("an SNP report", () => {
  test("has its fields where the firmware puts them", () => {
    const { fields, signedBytes, map, findings } = parseSnpReport(report());
    expect(fields).toMatchObject(sampleSnpFields);
    expect(findings).toEqual([]);
    expect(signedBytes.length).toBe(0x2a0);
    const places = ["policy", "reportData", "measurement", "chipId", "launchTcb", "signatureS"];
    expect(places.map((path) => map.get(path)?.offset)).toEqual([8, 0x50, 0x90, 0x1a0, 0x1f0, 0x2e8]);
    expect(map.at(0x91)).toMatchObject({ path: "measurement", length: 48 });
  });

  test("gives R and S big-endian, as verification wants them", () => {
    const { signature } = parseSnpReport(report());
    expect(signature.slice(0, 48)).toEqual(counted(48, 3).reverse());
    expect(signature.slice(48)).toEqual(counted(48, 5).reverse());
    expect(snpSignatureFields(signature)).toEqual({ signatureR: counted(48, 3), signatureS: counted(48, 5) });
  });

  test.each([0x2d0, 0x2e7, 0x318, 0x330, 0x49f])(
    "with a byte behind R, S or the signature that is not zero says so: %i",
    (at) => {
      const bytes = report();
      bytes[at] = 1;
      const [finding, ...others] = parseSnpReport(bytes).findings;
      expect(others).toEqual([]);
      expect(finding?.kind).toBe("reserved-not-zero");
      expect(at - finding!.offset).toBeLessThan(finding!.length);
    },
  );

  test.each([0, 1, 4, 6, 0xffff_ffff])("of version %i is refused", (version) => {
    expect(() => parseSnpReport(report({ version }))).toThrow(
      expect.objectContaining({ code: "bad-version", offset: 0 }),
    );
  });

  test("has CPUID from version 3 on, mitigation vectors from version 5", () => {
    const paths = (version: number) => parseSnpReport(report({ version })).findings.map(({ path }) => path);
    expect(paths(5)).toEqual([]);
    expect(paths(3)).toEqual(["launchMitigationVector", "currentMitigationVector"]);
    // Turin's components read as Milan's, whose reserved bytes they fill.
    expect(paths(2)).toEqual([
      "cpuidFamily",
      "cpuidModel",
      "cpuidStepping",
      "launchMitigationVector",
      "currentMitigationVector",
      ...["currentTcb", "reportedTcb", "committedTcb", "launchTcb"].map((name) => `${name}.reserved2`),
    ]);
  });

  test("tells its product by CPUID, and reads its TCB as that product's", () => {
    const turin = parseSnpReport(report());
    expect(turin.product).toMatchObject({ line: "Turin", hwIdLength: 8 });
    expect(turin.tcb?.reported).toEqual({ fmc: 1, bootloader: 4, tee: 0, snp: 24, microcode: 0xdb });
    const reportedTcb = Uint8Array.of(4, 0, 0, 0, 0, 0, 24, 0xdb);
    const other = parseSnpReport(report({ ...milan, reportedTcb }));
    expect(other.product).toMatchObject({ line: "Milan", hwIdLength: 64 });
    expect(other.tcb?.reported).toEqual({ bootloader: 4, tee: 0, snp: 24, microcode: 0xdb });
  });

  test("of version 2 has no product, and a TCB as before Turin", () => {
    const { product, tcb } = parseSnpReport(report({ version: 2 }));
    expect(product).toBeUndefined();
    expect(tcb?.current).toEqual({ bootloader: 1, tee: 4, snp: 0, microcode: 0xdb });
  });

  test("of a product that is not known has no TCB, and says why", () => {
    const { product, tcb, findings } = parseSnpReport(report({ cpuidFamily: 0x1b, cpuidModel: 0x50 }));
    expect([product, tcb]).toEqual([undefined, undefined]);
    expect(findings).toMatchObject([
      { kind: "unknown-value", path: "cpuidFamily", offset: 0x188, length: 3 },
    ]);
  });

  test("reports unknown bits of policy, platform and flags, and a policy without bit 17", () => {
    const { findings, policy, platformInfo, flags } = parseSnpReport(
      report({ policy: 0x8000_0000_000a_1f03n, platformInfo: 0x165n, flags: 0x23 }),
    );
    expect(findings.map(({ kind, path, detail }) => [kind, path, detail])).toEqual([
      ["unknown-bits", "policy", "unknown bits 63"],
      ["unknown-bits", "platformInfo", "unknown bits 8"],
      ["unknown-bits", "flags", "unknown bits 5"],
    ]);
    expect([policy.abiMajor, policy.abiMinor, [...policy.bits]]).toEqual([
      0x1f,
      3,
      ["RESERVED_ONE", "DEBUG"],
    ]);
    expect([...platformInfo]).toEqual(["SMT_EN", "ECC_EN", "ALIAS_CHECK_COMPLETE", "IOMMU_WRITE_SAFE"]);
    expect([...flags]).toEqual(["AUTHOR_KEY_EN", "MASK_CHIP_KEY"]);
    expect(parseSnpReport(report({ policy: 0x1_0000n })).findings).toMatchObject([{ kind: "bit-not-one" }]);
  });

  test.each([
    [0, "vcek"],
    [1, "vlek"],
    [7, "none"],
    [3, undefined],
  ])("whose signing key is %i is signed by %s", (key, expected) => {
    expect(parseSnpReport(report({ flags: key << 2 })).signingKey).toBe(expected);
  });

  test("may be followed by bytes, which are reported", () => {
    const padded = new Uint8Array(4000);
    padded.set(report());
    const { bytes, findings } = parseSnpReport(padded);
    expect(bytes.length).toBe(1184);
    expect(findings).toMatchObject([{ kind: "padding", offset: 1184, length: 2816 }]);
    padded[2000] = 1;
    expect(parseSnpReport(padded).findings).toMatchObject([{ kind: "trailing-bytes" }]);
  });

  test("has 1184 bytes, and one less is truncated", () => {
    expect(snpReportLayout.size).toBe(1184);
    expect(() => parseSnpReport(report().subarray(0, 1183))).toThrow(
      expect.objectContaining({ code: "truncated" }),
    );
  });
});

describe("a TCB version", () => {
  test("has its components where the product has them", () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    expect(snpTcb(bytes, "milan")).toEqual({ bootloader: 1, tee: 2, snp: 7, microcode: 8 });
    expect(snpTcb(bytes, "turin")).toEqual({ fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 8 });
  });

  test("is built as its product has it", () => {
    expect([...buildSnpTcb({ bootloader: 1, tee: 2, snp: 7, microcode: 8 })]).toEqual([
      1, 2, 0, 0, 0, 0, 7, 8,
    ]);
    expect([...buildSnpTcb({ fmc: 9, bootloader: 1, tee: 2, snp: 7, microcode: 8 })]).toEqual([
      9, 1, 2, 7, 0, 0, 0, 8,
    ]);
  });

  test.each([
    [0x19, 0x01, "Milan"],
    [0x19, 0x11, "Genoa"],
    [0x19, 0xa0, "Genoa"],
    [0x1a, 0x02, "Turin"],
    [0x17, 0x31, undefined],
    [0x1a, 0x50, undefined],
  ])("of family %i and model %i has the chain of %s", (family, model, line) => {
    expect(snpProduct(family, model)?.line).toBe(line);
  });
});

describe("an ID block", () => {
  test("has what a report shows of it", () => {
    const fields = { launchDigest: counted(48, 1), version: 1, guestSvn: 7, policy: 0x3_0000n };
    const { fields: read, map, findings } = parseSnpIdBlock(buildSnpIdBlock(fields));
    expect(read).toMatchObject(fields);
    expect([map.get("policy")?.offset, findings]).toEqual([88, []]);
    expect(() => parseSnpIdBlock(new Uint8Array(95))).toThrow(expect.objectContaining({ code: "truncated" }));
  });

  test("is authenticated by two keys, whose bytes the digests of a report go over", () => {
    const bytes = buildSnpIdAuth({ idKeyAlgorithm: 1, idKey: { curve: 2, x: counted(48, 1) } });
    const auth = parseSnpIdAuth(bytes);
    expect(auth.idKeyBytes).toEqual(bytes.subarray(576, 576 + 1028));
    expect(auth.authorKeyBytes).toEqual(new Uint8Array(1028));
    expect([auth.fields.idKey.x, bytes[0x244]]).toEqual([counted(48, 1), 1]);
    bytes[3300] = 1;
    expect(parseSnpIdAuth(bytes).findings).toMatchObject([{ kind: "reserved-not-zero", offset: 3204 }]);
  });
});

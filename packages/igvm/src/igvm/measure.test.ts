import { describe, expect, it } from "vitest";
import { measureSnpLaunch, VMSA_GPA } from "../snp/firmware-launch.ts";
import { SnpLaunchDigest } from "../snp/launch-digest.ts";
import { buildVmsa, RESET_VECTOR } from "../snp/vmsa.ts";
import { measureTdLaunch } from "../tdx/firmware-launch.ts";
import { TdMeasurement } from "../tdx/td-measurement.ts";
import { firmwareImage } from "../testing/firmware-image.ts";
import { nodeHash } from "../testing/node-hash.ts";
import { pageData, platforms, sampleHeaders } from "../testing/sample-igvm.ts";
import { buildIgvm } from "./build.ts";
import type { AnyHeader } from "./header-types.ts";
import { measureIgvmSnp, measureIgvmTdx } from "./measure.ts";
import { parseIgvm } from "./parse.ts";

const page = (fill: number) => new Uint8Array(4096).fill(fill);
const file = (...headers: readonly AnyHeader[]) => parseIgvm(buildIgvm({ headers }));
const sample = file(...sampleHeaders);

describe("the launch digest of an IGVM file under SNP", () => {
  it("is over its pages, parameter areas and save areas in the file's order, each with its type", () => {
    const want = new SnpLaunchDigest(nodeHash)
      .add("normal", 0x1000, page(1))
      .add("normal", 0x2000, page(2))
      .addUnread("unmeasured", 0x3000)
      .add("normal", 0x4000, page(0))
      .addUnread("secrets", 0x5000)
      .addUnread("cpuid", 0x6000)
      .addUnread("cpuid", 0x7000)
      .addUnread("unmeasured", 0x9000)
      .addUnread("unmeasured", 0xa000)
      .addUnread("unmeasured", 0xb000)
      .add("vmsa", VMSA_GPA, page(0x55));
    expect(measureIgvmSnp(nodeHash, sample)).toEqual(want.value);
  });

  it("is that of a firmware's launch when the file has its pages", () => {
    const image = firmwareImage({
      fill: (bytes) => bytes.fill(0x90),
      sev: [
        { gpa: 0x80_0000, size: 0x2000, type: 1 },
        { gpa: 0x80_2000, size: 0x1000, type: 2 },
        { gpa: 0x80_3000, size: 0x1000, type: 3 },
      ],
    });
    const launch = file(
      platforms.snp,
      pageData(0xffff_f000n, { mask: 1, data: image }),
      pageData(0x80_0000n, { mask: 1 }),
      pageData(0x80_1000n, { mask: 1 }),
      pageData(0x80_2000n, { mask: 1, dataType: 1 }),
      pageData(0x80_3000n, { mask: 1, dataType: 2 }),
      {
        type: "vpContext",
        gpa: 0x1000n,
        mask: 1,
        vpIndex: 0,
        data: buildVmsa({ start: RESET_VECTOR, signature: 0xa0_0f11 }),
      },
    );
    expect(measureIgvmSnp(nodeHash, launch, { kvm: true, zeroPages: true })).toEqual(
      measureSnpLaunch(nodeHash, { firmware: image, vcpus: 1, signature: 0xa0_0f11 }),
    );
  });

  it("has save areas where the file has them, or last and at KVM's address", () => {
    const context: AnyHeader = { type: "vpContext", gpa: 0x1000n, mask: 1, vpIndex: 0, data: page(0x55) };
    const launch = file(platforms.snp, context, pageData(0x2000n, { mask: 1, data: page(1) }));
    const digest = () => new SnpLaunchDigest(nodeHash);
    expect(measureIgvmSnp(nodeHash, launch)).toEqual(
      digest().add("vmsa", 0x1000, page(0x55)).add("normal", 0x2000, page(1)).value,
    );
    expect(measureIgvmSnp(nodeHash, launch, { kvm: true })).toEqual(
      digest().add("normal", 0x2000, page(1)).add("vmsa", VMSA_GPA, page(0x55)).value,
    );
  });

  it("measures a large page as the small ones that it has", () => {
    const large = file(
      platforms.snp,
      pageData(0x20_0000n, { mask: 1, flags: 1, data: new Uint8Array(0x20_0000).fill(7) }),
    );
    const want = new SnpLaunchDigest(nodeHash).addImage(0x20_0000, new Uint8Array(0x20_0000).fill(7));
    expect(measureIgvmSnp(nodeHash, large)).toEqual(want.value);
  });

  it("is of files for SNP alone, whose pages are known", () => {
    expect(() => measureIgvmSnp(nodeHash, file(platforms.tdx))).toThrow(/snp not at all/);
    expect(() =>
      measureIgvmSnp(nodeHash, file(platforms.snp, pageData(0n, { mask: 1, dataType: 9 }))),
    ).toThrow(/unknown data type 9/);
    const large = parseIgvm(buildIgvm({ version: 2, pageSize: 0x4000, headers: [platforms.snp] }));
    expect(() => measureIgvmSnp(nodeHash, large)).toThrow(/no pages of 16384 bytes/);
  });
});

describe("MRTD of an IGVM file", () => {
  it("is over its pages and parameter areas in the file's order, measured or not", () => {
    const want = new TdMeasurement(nodeHash)
      .addMeasuredPage(0x1000, page(1))
      .addPage(0x3000)
      .addMeasuredPage(0x4000);
    for (let gpa = 0x20_0000; gpa < 0x40_0000; gpa += 4096) want.addMeasuredPage(gpa, page(3));
    want.addPage(0x9000).addPage(0xa000).addPage(0xb000);
    expect(measureIgvmTdx(nodeHash, sample)).toEqual(want.finish());
  });

  it("is that of a firmware's launch when the file has its pages", () => {
    const image = firmwareImage({
      fill: (bytes) => bytes.fill(0x90),
      tdx: [
        { gpa: 0xffff_f000, size: 0x1000, type: 0, offset: 0, rawSize: 0x1000, attributes: 1 },
        { gpa: 0x80_9000, size: 0x2000, type: 2 },
      ],
    });
    const launch = file(
      platforms.tdx,
      pageData(0xffff_f000n, { mask: 2, data: image }),
      pageData(0x80_9000n, { mask: 2, flags: 2 }),
      pageData(0x80_a000n, { mask: 2, flags: 2 }),
    );
    expect(measureIgvmTdx(nodeHash, launch)).toEqual(measureTdLaunch(nodeHash, image));
  });
});

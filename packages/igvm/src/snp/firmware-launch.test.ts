import { toHex } from "@entresol/wire";
import { describe, expect, it } from "vitest";
import type { MeasurementError } from "../measurement-error.ts";
import { firmwareImage } from "../testing/firmware-image.ts";
import { nodeHash } from "../testing/node-hash.ts";
import { measureSnpLaunch } from "./firmware-launch.ts";
import { vcpuSignature } from "./vcpu-signature.ts";

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const empty = new Uint8Array();
const boot = { kernel: empty, initrd: empty };
const commandLine = "console=ttyS0 loglevel=7";

/*
 * Digests published with virtee/sev and virtee/sev-snp-measure (Apache-2.0). Their images are builds of OVMF, which are not here: of them the digest
 * of the image's pages is published as well, and the tables are those of edk2's OvmfPkg/AmdSev of the time.
 */
const early = firmwareImage({
  sev: [
    { gpa: 0x80_0000, size: 0x9000, type: 1 },
    { gpa: 0x80_a000, size: 0x3000, type: 1 },
    { gpa: 0x80_d000, size: 0x1000, type: 2 },
    { gpa: 0x80_e000, size: 0x1000, type: 3 },
    { gpa: 0x80_f000, size: 0x1000, type: 16 },
    { gpa: 0x81_0000, size: 0x1_0000, type: 1 },
  ],
  resetVector: 0x80_b004,
  hashTable: { gpa: 0x80_fc00, size: 0x400 },
});
const current = firmwareImage({
  sev: [
    { gpa: 0x80_0000, size: 0x9000, type: 1 },
    { gpa: 0x80_a000, size: 0x3000, type: 1 },
    { gpa: 0x80_d000, size: 0x1000, type: 2 },
    { gpa: 0x80_e000, size: 0x1000, type: 3 },
    { gpa: 0x80_f000, size: 0x1000, type: 4 },
    { gpa: 0x81_0000, size: 0x1000, type: 16 },
    { gpa: 0x81_1000, size: 0xf000, type: 1 },
  ],
  resetVector: 0x80_b004,
  hashTable: { gpa: 0x81_0c00, size: 0x400 },
});
const earlyDigest = bytes(
  "cab7e085874b3acfdbe2d96dcaa3125111f00c35c6fc9708464c2ae74bfdb048a198cb9a9ccae0b3e5e1a33f5f249819",
);
const earlyImage = bytes(
  "edcf6d1c57ce868a167c990f58c8667c698269ef9e0803246419eea914186343054d557e1f17acd93b032c106bc70d25",
);
const currentDigest = bytes(
  "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74",
);
const guest = { vcpus: 1, signature: vcpuSignature("EPYC-v4") };

describe("the launch digest of an SNP guest", () => {
  it.each([
    {
      name: "early kernels, empty kernel",
      launch: { ...guest, firmware: early, vmm: "qemu-early", boot },
      digest: earlyDigest,
      want: "db06fb267824b1ccb56edbe2a9c2ce88841bca5090dc6dac91d9cd30f3c2c0bf42daccb30d55d6625bfbf0dae5c50c6d",
    },
    {
      name: "early kernels, command line",
      launch: { ...guest, firmware: early, vmm: "qemu-early", boot: { ...boot, commandLine } },
      digest: earlyImage,
      want: "f07864303ad8243132029e8110b92805c78d1135a15da75f67abb9a711d78740347f24ee76f603e650ec4adf3611cc1e",
    },
    {
      name: "early kernels, no kernel",
      launch: { ...guest, firmware: early, vmm: "qemu-early" },
      digest: earlyImage,
      want: "e5e6be5a8fa6256f0245666bb237e2d028b7928148ce78d51b8a64dc9506c377709a5b5d7ab75554593bced304fcff93",
    },
    {
      name: "early kernels, four vCPUs",
      launch: { ...guest, vcpus: 4, firmware: early, vmm: "qemu-early", boot },
      digest: earlyImage,
      want: "1c784beb8c49aa604b7fd57fbc73b36ec53a3f5fb48a2b895ad6cc2ea15d18ee7cc15e3e57c792766b45f944c3e81cfe",
    },
    {
      name: "early EC2",
      launch: { ...guest, firmware: early, vmm: "ec2", boot },
      digest: earlyImage,
      want: "760b6e51039d2d6c1fc6d38ca5c387967d158e0294883e4522c36f89bd61bfc9cdb975cd1ceedffbe1b23b1daf4e3f42",
    },
    {
      name: "empty kernel",
      launch: { ...guest, firmware: current, boot },
      digest: currentDigest,
      want: "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5",
    },
    {
      name: "empty kernel, DebugSwap",
      launch: { ...guest, firmware: current, boot, features: 0x21n },
      digest: currentDigest,
      want: "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198",
    },
    {
      name: "command line",
      launch: { ...guest, firmware: current, boot: { ...boot, commandLine } },
      digest: currentDigest,
      want: "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa",
    },
    {
      name: "command line, DebugSwap",
      launch: { ...guest, firmware: current, boot: { ...boot, commandLine }, features: 0x21n },
      digest: currentDigest,
      want: "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
    },
    {
      name: "EC2",
      launch: { ...guest, firmware: current, vmm: "ec2", boot },
      digest: currentDigest,
      want: "7d3756157c805bf6adf617064c8552e8c1688fa1c8756f11cbf56ba5d25c9270fb69c0505c1cbe1c5c66c0e34c6ed3be",
    },
    {
      name: "EC2, DebugSwap",
      launch: { ...guest, firmware: current, vmm: "ec2", boot, features: 0x21n },
      digest: currentDigest,
      want: "6ae80856486b1396af8c82a40351d6ed76a20c785e9c7fa4ffa27c22d5d6313b4b3b458cd3c9968e6f89fb5d8450d7a6",
    },
    {
      name: "no kernel",
      launch: { ...guest, firmware: current },
      digest: currentDigest,
      want: "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d",
    },
    {
      name: "no kernel, DebugSwap",
      launch: { ...guest, firmware: current, features: 0x21n },
      digest: currentDigest,
      want: "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b",
    },
    {
      name: "four vCPUs",
      launch: { ...guest, vcpus: 4, firmware: current, boot },
      digest: currentDigest,
      want: "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5",
    },
    {
      name: "four vCPUs, DebugSwap",
      launch: { ...guest, vcpus: 4, firmware: current, boot, features: 0x21n },
      digest: currentDigest,
      want: "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942",
    },
  ] as const)("is as published: $name", ({ launch, digest, want }) => {
    expect(toHex(measureSnpLaunch(nodeHash, launch, digest))).toBe(want);
  });

  it("needs a firmware with SEV metadata, and for a kernel a place for its hashes", () => {
    const code = (launch: Parameters<typeof measureSnpLaunch>[1]) => {
      try {
        measureSnpLaunch(nodeHash, launch);
      } catch (error) {
        return (error as MeasurementError).code;
      }
      return undefined;
    };
    const memory = { gpa: 0x80_0000, size: 0x1000, type: 1 };
    expect(code({ ...guest, firmware: firmwareImage({}) })).toBe("not-in-image");
    expect(code({ ...guest, firmware: firmwareImage({ sev: [memory] }), boot })).toBe("not-in-image");
    expect(code({ ...guest, firmware: firmwareImage({ sev: [{ ...memory, type: 16 }] }), boot })).toBe(
      "not-in-image",
    );
    expect(code({ ...guest, vcpus: 2, firmware: firmwareImage({ sev: [memory] }) })).toBe("not-in-image");
    expect(code({ ...guest, firmware: firmwareImage({ sev: [{ ...memory, size: 0x4000_0000 }] }) })).toBe(
      "not-in-image",
    );
    expect(code({ ...guest, vcpus: 0, firmware: early })).toBe("bad-argument");
    expect(code({ ...guest, firmware: firmwareImage({ sev: [memory] }) })).toBeUndefined();
  });
});

import { describe, expect, it } from "vitest";
import { nodeHash } from "../testing/node-hash.ts";
import { SnpLaunchDigest } from "./launch-digest.ts";
import { cpuidSignature, vcpuModels, vcpuSignature } from "./vcpu-signature.ts";
import { buildVmsa, RESET_VECTOR } from "./vmsa.ts";

const badArgument = expect.objectContaining({ code: "bad-argument" });

describe("the CPUID signature of a vCPU", () => {
  it.each([
    ["EPYC", 0x0080_0f12],
    ["EPYC-v4", 0x0080_0f12],
    ["EPYC-Rome", 0x0083_0f10],
    ["EPYC-Milan-v2", 0x00a0_0f11],
    ["EPYC-Genoa", 0x00a1_0f10],
    ["EPYC-Turin", 0x00b0_0f00],
  ])("of %s is that of its family, model and stepping", (name, signature) => {
    expect(vcpuSignature(name)).toBe(signature);
  });

  it("is of the models that are known, and of numbers that a processor can have", () => {
    expect(vcpuModels).toContain("EPYC-IBPB");
    for (const name of ["", "EPYC-v", "constructor", "Skylake"])
      expect(() => vcpuSignature(name)).toThrow(badArgument);
    expect(cpuidSignature(6, 0x8f, 8)).toBe(0x0008_06f8);
    expect(() => cpuidSignature(300, 0, 0)).toThrow(badArgument);
    expect(() => cpuidSignature(25, 256, 0)).toThrow(badArgument);
    expect(() => cpuidSignature(25, 1, 16)).toThrow(badArgument);
  });
});

describe("the save area of a vCPU", () => {
  it("has reset values, and the start in CS and RIP", () => {
    const view = new DataView(buildVmsa({ start: RESET_VECTOR, signature: 0xa0_0f11 }).buffer);
    expect(view.getUint16(0x10, true)).toBe(0xf000);
    expect(view.getBigUint64(0x18, true)).toBe(0xffff_0000n);
    expect(view.getBigUint64(0x178, true)).toBe(0xfff0n);
    expect(view.getBigUint64(0x310, true)).toBe(0xa0_0f11n);
    expect(view.getBigUint64(0x3b0, true)).toBe(1n);
    expect(view.getBigUint64(0x268, true)).toBe(0x0007_0406_0007_0406n);
  });

  it("differs by VMM: segment attributes, EDX, PAT, FPU state", () => {
    const pages = (["qemu", "qemu-early", "ec2", "gce"] as const).map((vmm) =>
      buildVmsa({ start: RESET_VECTOR, signature: 1, vmm }).join(),
    );
    expect(new Set(pages).size).toBe(4);
  });

  it("is of starts below 4 GiB and features of 64 bits", () => {
    expect(() => buildVmsa({ start: 2 ** 32, signature: 0 })).toThrow(badArgument);
    expect(() => buildVmsa({ start: 0, signature: 0, features: 1n << 64n })).toThrow(badArgument);
  });
});

describe("the launch digest", () => {
  it("begins with zeros, or with what it was so far", () => {
    const digest = new SnpLaunchDigest(nodeHash);
    expect(digest.value).toEqual(new Uint8Array(48));
    const half = digest.add("normal", 0x1000, Uint8Array.of(1)).value;
    expect(new SnpLaunchDigest(nodeHash, half).addUnread("zero", 0x2000).value).toEqual(
      digest.addUnread("zero", 0x2000).value,
    );
    expect(() => new SnpLaunchDigest(nodeHash, new Uint8Array(32))).toThrow(badArgument);
  });

  it("is over the previous digest, the page's hash, and PAGE_INFO's other fields", () => {
    const page = new Uint8Array(4096).fill(3);
    const info = new Uint8Array(0x70);
    info.set(nodeHash("sha384", page), 48);
    info.set([0x70, 0, 1, 0], 96);
    new DataView(info.buffer).setBigUint64(104, 0xffff_ffff_f000n, true);
    expect(new SnpLaunchDigest(nodeHash).add("normal", 0xffff_ffff_f000, page).value).toEqual(
      nodeHash("sha384", info),
    );
  });

  it("takes pages at pages' addresses", () => {
    const digest = new SnpLaunchDigest(nodeHash);
    expect(() => digest.addUnread("zero", 0x10)).toThrow(badArgument);
    expect(() => digest.add("normal", 0, new Uint8Array(4097))).toThrow(badArgument);
  });
});

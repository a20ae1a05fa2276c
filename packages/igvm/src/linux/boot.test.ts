import { createHash } from "node:crypto";
import { MalformedError, toHex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rtmrOf } from "../tdx/rtmr.ts";
import { efiFile } from "../testing/efi-file.ts";
import { nodeHash } from "../testing/node-hash.ts";
import { efiActionDigest, initrdDigest, loadOptionsDigest, separatorDigest } from "./boot-events.ts";
import { efiImageDigest } from "./efi-image.ts";
import { buildKernelHashes, kernelHashesPage } from "./kernel-hashes.ts";
import { measureTdBoot } from "./td-boot.ts";

const sections = [new Uint8Array(0x400).fill(0x90), new Uint8Array(0x200).fill(0xcc)];
const plain = efiFile({ sections });

describe("the digest of an EFI image", () => {
  it("is what a signer of such images computes", () => {
    // osslsigncode 2.9: "Current message digest" of this file, signed.
    expect(toHex(efiImageDigest(nodeHash, plain, "sha256"))).toBe(
      "cf430c1db6c88e95fbd2b351558770a5fc8b7c08a7cbdd741d8d54a71633d40b",
    );
  });

  it("is the same whatever the checksum, and signed or not", () => {
    const digest = efiImageDigest(nodeHash, plain);
    expect(efiImageDigest(nodeHash, efiFile({ sections, checksum: 0x1234 }))).toEqual(digest);
    expect(efiImageDigest(nodeHash, efiFile({ sections, certificates: new Uint8Array(64).fill(1) }))).toEqual(
      digest,
    );
  });

  it("is over every other byte: headers, sections, and what lies behind them", () => {
    const digest = toHex(efiImageDigest(nodeHash, plain));
    for (const at of [0x10, 0x50, 0x1c0, 0x200, 0x7ff]) {
      const changed = plain.slice();
      changed[at]! ^= 1;
      expect(toHex(efiImageDigest(nodeHash, changed))).not.toBe(digest);
    }
    const rest = new Uint8Array(8).fill(5);
    expect(toHex(efiImageDigest(nodeHash, efiFile({ sections, rest })))).not.toBe(digest);
  });

  it("of a file whose size is no multiple of 8 is that of the padded file, as its signer pads it", () => {
    const odd = efiFile({ sections, rest: Uint8Array.of(1, 2, 3) });
    const padded = efiFile({ sections, rest: Uint8Array.of(1, 2, 3, 0, 0, 0, 0, 0) });
    expect(efiImageDigest(nodeHash, odd)).toEqual(efiImageDigest(nodeHash, padded));
  });

  it.each([
    ["nothing", new Uint8Array(), "truncated"],
    ["no MZ", plain.subarray(1), "bad-magic"],
    ["no PE", plain.with(0x40, 0), "bad-magic"],
    ["another optional header", plain.with(0x58, 0), "bad-magic"],
    ["headers of no size", plain.with(0x95, 0), "out-of-range"],
    ["a section outside of the file", plain.subarray(0, 0x600), "out-of-range"],
  ])("is not that of %s", (_, bytes, code) => {
    expect(() => efiImageDigest(nodeHash, Uint8Array.from(bytes))).toThrow(expect.objectContaining({ code }));
  });

  it("is computed or refused, and nothing else happens, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(0x200), fc.nat(255)), { maxLength: 5 }), (edits) => {
        const bytes = plain.slice();
        for (const [at, value] of edits) bytes[at] = value;
        try {
          expect(efiImageDigest(nodeHash, bytes).length).toBe(48);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("what firmware and kernel measure of a boot", () => {
  it("has the digests that logs of TDs have", () => {
    // CCEL of a TD on QEMU with edk2, from confidential-containers/trustee (Apache-2.0).
    expect(toHex(separatorDigest(nodeHash)).slice(0, 24)).toBe("394341b7182cd227c5c6b07e");
    expect(toHex(efiActionDigest(nodeHash, "callingApplication")).slice(0, 24)).toBe(
      "77a0dab2312b4e1e57a84d86",
    );
    expect(toHex(efiActionDigest(nodeHash, "exitBootServices")).slice(0, 24)).toBe(
      "214b0bef1379756011344877",
    );
    expect(toHex(efiActionDigest(nodeHash, "exitBootServicesReturned")).slice(0, 24)).toBe(
      "0a2e01c85deae718a530ad8c",
    );
  });

  it("has load options in UTF-16 with their zero, and the bytes of the initial RAM disk", () => {
    expect(loadOptionsDigest(nodeHash, "a b")).toEqual(
      nodeHash("sha384", Uint8Array.of(0x61, 0, 0x20, 0, 0x62, 0, 0, 0)),
    );
    expect(initrdDigest(nodeHash, Uint8Array.of(1))).toEqual(nodeHash("sha384", Uint8Array.of(1)));
  });

  it("makes RTMR1 and RTMR2 of a direct boot", () => {
    const initrd = Uint8Array.of(7);
    const boot = { kernel: plain, initrd, commandLine: "quiet" };
    const rtmr1 = [
      efiImageDigest(nodeHash, plain),
      efiActionDigest(nodeHash, "callingApplication"),
      separatorDigest(nodeHash),
      efiActionDigest(nodeHash, "exitBootServices"),
      efiActionDigest(nodeHash, "exitBootServicesReturned"),
    ];
    expect(measureTdBoot(nodeHash, boot)).toEqual({
      rtmr1: rtmrOf(nodeHash, rtmr1),
      rtmr2: rtmrOf(nodeHash, [
        loadOptionsDigest(nodeHash, "quiet initrd=initrd"),
        initrdDigest(nodeHash, initrd),
      ]),
    });
    expect(measureTdBoot(nodeHash, { ...boot, separatorIn: "rtmr0" }).rtmr1).toEqual(
      rtmrOf(nodeHash, rtmr1.toSpliced(2, 1)),
    );
    expect(measureTdBoot(nodeHash, { kernel: plain }).rtmr2).toEqual(
      rtmrOf(nodeHash, [loadOptionsDigest(nodeHash, "")]),
    );
  });
});

describe("the table of a kernel's hashes", () => {
  const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const boot = { kernel: Uint8Array.of(1), initrd: Uint8Array.of(2), commandLine: "quiet" };
  it("has the command line with its zero, the initial RAM disk and the kernel, in this order", () => {
    const table = buildKernelHashes(nodeHash, boot);
    expect(table.length).toBe(176);
    expect(toHex(table.subarray(0, 18))).toBe("06d63894224fc94cb479a793d411fd21" + "a800");
    expect(toHex(table.subarray(36, 68))).toBe(sha256(new TextEncoder().encode("quiet\0")));
    expect(toHex(table.subarray(86, 118))).toBe(sha256(boot.initrd));
    expect(toHex(table.subarray(136, 168))).toBe(sha256(boot.kernel));
  });

  it("stands in a page where the firmware looks for it, or does not fit", () => {
    const page = kernelHashesPage(nodeHash, boot, 0xc00);
    expect(page.subarray(0xc00, 0xcb0)).toEqual(buildKernelHashes(nodeHash, boot));
    expect(() => kernelHashesPage(nodeHash, boot, 4096 - 175)).toThrow(
      expect.objectContaining({ code: "out-of-range" }),
    );
  });
});

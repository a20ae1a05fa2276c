import { createHash } from "node:crypto";
import { toHex } from "@entresol/wire";
import { describe, expect, it } from "vitest";
import { firmwareImage } from "../testing/firmware-image.ts";
import { nodeHash } from "../testing/node-hash.ts";
import { measureTdLaunch } from "./firmware-launch.ts";
import { extendRtmr, rtmrOf } from "./rtmr.ts";
import { TdMeasurement } from "./td-measurement.ts";

/** A record as the TDX module hashes it, spelled out. */
const record = (operation: string, gpa: number) => {
  const bytes = Buffer.alloc(128);
  bytes.write(operation, "latin1");
  bytes.writeBigUInt64LE(BigInt(gpa), 16);
  return bytes;
};
const extends_ = (gpa: number, page: Uint8Array) =>
  Array.from({ length: 16 }, (_, i) => [
    record("MR.EXTEND", gpa + 256 * i),
    page.subarray(256 * i, 256 * i + 256),
  ]).flat();
const sha384 = (parts: readonly Uint8Array[]) => {
  const hash = createHash("sha384");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

describe("MRTD", () => {
  it("of nothing is the hash of nothing", () => {
    expect(toHex(new TdMeasurement(nodeHash).finish())).toBe(sha384([]));
  });

  it("has a record of 128 bytes per page, and per 256 measured bytes one before these", () => {
    const page = new Uint8Array(4096).map((_, i) => i >> 4);
    const measurement = new TdMeasurement(nodeHash)
      .addPage(0x80_9000)
      .addMeasuredPage(0xffe2_0000, page)
      .addMeasuredPage(0x1000, page.subarray(0, 100));
    const short = new Uint8Array(4096);
    short.set(page.subarray(0, 100));
    expect(toHex(measurement.finish())).toBe(
      sha384([
        record("MEM.PAGE.ADD", 0x80_9000),
        record("MEM.PAGE.ADD", 0xffe2_0000),
        ...extends_(0xffe2_0000, page),
        record("MEM.PAGE.ADD", 0x1000),
        ...extends_(0x1000, short),
      ]),
    );
  });

  it("is of pages at pages' addresses", () => {
    const measurement = new TdMeasurement(nodeHash);
    expect(() => measurement.addPage(0x800)).toThrow(expect.objectContaining({ code: "bad-argument" }));
    expect(() => measurement.extendPage(0, new Uint8Array(4097))).toThrow(
      expect.objectContaining({ code: "bad-argument" }),
    );
  });
});

describe("MRTD of a TD that starts in a firmware", () => {
  const image = firmwareImage({
    size: 0x2000,
    fill: (bytes) => bytes.fill(0x90),
    tdx: [
      { gpa: 0xffff_e000, size: 0x2000, type: 0, offset: 0, rawSize: 0x2000, attributes: 1 },
      { gpa: 0x80_9000, size: 0x1000, type: 2 },
      { gpa: 0x10_0000, size: 0x1000, type: 4, attributes: 2 },
    ],
  });
  const [first, second] = [image.subarray(0, 4096), image.subarray(4096)];
  it("has its sections in order, each page measured at once", () => {
    expect(toHex(measureTdLaunch(nodeHash, image))).toBe(
      sha384([
        record("MEM.PAGE.ADD", 0xffff_e000),
        ...extends_(0xffff_e000, first),
        record("MEM.PAGE.ADD", 0xffff_f000),
        ...extends_(0xffff_f000, second),
        record("MEM.PAGE.ADD", 0x80_9000),
      ]),
    );
  });

  it("is another on hosts that add all pages of a section first", () => {
    expect(toHex(measureTdLaunch(nodeHash, image, "section-by-section"))).toBe(
      sha384([
        record("MEM.PAGE.ADD", 0xffff_e000),
        record("MEM.PAGE.ADD", 0xffff_f000),
        ...extends_(0xffff_e000, first),
        ...extends_(0xffff_f000, second),
        record("MEM.PAGE.ADD", 0x80_9000),
      ]),
    );
  });

  it("needs metadata, of a size that a firmware may have", () => {
    const code = (tdx: Parameters<typeof firmwareImage>[0]["tdx"]) => {
      try {
        measureTdLaunch(nodeHash, firmwareImage(tdx === undefined ? {} : { tdx }));
      } catch (error) {
        return (error as { code: string }).code;
      }
      return undefined;
    };
    expect(code(undefined)).toBe("not-in-image");
    expect(code([{ gpa: 0, size: 0x8000_0000, type: 3 }])).toBe("not-in-image");
    expect(code([])).toBeUndefined();
  });
});

describe("an RTMR", () => {
  it("is the hash of what it was and of the digest", () => {
    const [a, b] = [nodeHash("sha384", Uint8Array.of(1)), nodeHash("sha384", Uint8Array.of(2))];
    const once = extendRtmr(nodeHash, new Uint8Array(48), a);
    expect(toHex(once)).toBe(sha384([new Uint8Array(48), a]));
    expect(rtmrOf(nodeHash, [a, b])).toEqual(extendRtmr(nodeHash, once, b));
    expect(rtmrOf(nodeHash, [])).toEqual(new Uint8Array(48));
    expect(() => extendRtmr(nodeHash, once, new Uint8Array(32))).toThrow(/48 bytes/);
  });
});

import { MalformedError, toHex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nodeHash } from "../testing/node-hash.ts";
import { idBlock, mended, pageData, platforms, sampleHeaders } from "../testing/sample-igvm.ts";
import { buildIgvm } from "./build.ts";
import { type AnyHeader, headerRows } from "./header-types.ts";
import { snpIdentityOf } from "./identity.ts";
import { parseIgvm } from "./parse.ts";
import { guestPolicyOf, headersFor, platformOf } from "./platform.ts";

const sample = buildIgvm({ headers: sampleHeaders });

/** A file's bytes changed, and its checksum mended. */
function changed(bytes: Uint8Array, change: (copy: Uint8Array, view: DataView) => void): Uint8Array {
  const copy = bytes.slice();
  change(copy, new DataView(copy.buffer));
  return mended(copy);
}

function refusal(bytes: Uint8Array): string | undefined {
  try {
    parseIgvm(bytes);
  } catch (error) {
    if (error instanceof MalformedError) return error.code;
    throw error;
  }
  return undefined;
}
const refusalOf = (...headers: readonly AnyHeader[]) => refusal(buildIgvm({ headers }));

/** The headers with a digest in the place of their data: large pages take long to compare byte by byte. */
const digested = (headers: readonly AnyHeader[]) =>
  headers.map((header) =>
    "data" in header ? { ...header, data: toHex(nodeHash("sha256", header.data)) } : header,
  );

describe("an IGVM file", () => {
  it("is built from headers of every type, and reads as these", () => {
    expect(new Set(sampleHeaders.map(({ type }) => type))).toEqual(
      new Set([...Object.keys(headerRows), "unknown"]),
    );
    const { headers, ...rest } = parseIgvm(sample);
    expect(rest).toEqual({ version: 1, architecture: "x64", pageSize: 4096 });
    expect(digested(headers)).toEqual(digested(sampleHeaders));
    expect(Buffer.compare(buildIgvm({ headers, ...rest }), sample)).toBe(0);
  });

  it("of version 2 has an architecture and a page size", () => {
    const headers = [platforms.snp, pageData(0x1_0000n, { mask: 1, data: new Uint8Array(0x1_0000).fill(1) })];
    const file = { version: 2, architecture: "arm64", pageSize: 0x1_0000, headers } as const;
    const { headers: read, ...rest } = parseIgvm(buildIgvm(file));
    expect(rest).toEqual({ version: 2, architecture: "arm64", pageSize: 0x1_0000 });
    expect(digested(read)).toEqual(digested(headers));
  });

  it("has its header at fixed places, and equal data once", () => {
    const view = new DataView(sample.buffer);
    expect(toHex(sample.subarray(0, 12))).toBe("4947564d" + "01000000" + "18000000");
    expect(view.getUint32(16, true)).toBe(sample.length);
    const twice = buildIgvm({
      headers: [
        platforms.snp,
        pageData(0n, { mask: 1, data: new Uint8Array(4096).fill(1) }),
        pageData(0x1000n, { mask: 1, data: new Uint8Array(4096).fill(1) }),
      ],
    });
    expect(twice.length).toBe(2 * 4096);
  });

  it("without data is nothing but headers", () => {
    const bytes = buildIgvm({ headers: [platforms.tdx] });
    expect(bytes.length).toBe(24 + 8 + 16);
    expect(parseIgvm(bytes).headers).toEqual([platforms.tdx]);
  });

  it("keeps its optional headers, known or not", () => {
    const headers: AnyHeader[] = [
      platforms.snp,
      { type: "requiredMemory", optional: true, gpa: 0n, mask: 1, size: 0x1000, flags: 0 },
      { type: "unknown", code: 0x3ff, content: Uint8Array.of(1) },
    ];
    expect(parseIgvm(buildIgvm({ headers })).headers).toEqual(headers);
  });

  it("whose save area ends with its fields is read with zeros behind them", () => {
    const context: AnyHeader = {
      type: "vpContext",
      gpa: 0n,
      mask: 1,
      vpIndex: 0,
      data: new Uint8Array(1648).fill(7),
    };
    const [, read] = parseIgvm(buildIgvm({ headers: [platforms.snp, context] })).headers;
    expect(read).toEqual({
      ...context,
      data: Uint8Array.of(...context.data, ...new Uint8Array(4096 - 1648)),
    });
  });

  it.each<[string, string, (copy: Uint8Array, view: DataView) => void]>([
    ["another magic", "bad-magic", (copy) => copy.fill(0, 0, 4)],
    ["version 3", "bad-version", (_, view) => view.setUint32(4, 3, true)],
    ["a size that is not its own", "out-of-range", (_, view) => view.setUint32(16, 1, true)],
    ["headers outside of the file", "out-of-range", (_, view) => view.setUint32(8, 0x8000_0000, true)],
    ["a wrong checksum", "bad-value", (_, view) => view.setUint32(20, 0, true)],
  ])("with %s is refused", (_, code, change) => {
    const copy = sample.slice();
    change(copy, new DataView(copy.buffer));
    expect(refusal(copy)).toBe(code);
  });

  it("with an unknown header that is not optional is refused", () => {
    const bytes = buildIgvm({
      headers: [platforms.snp, { type: "unknown", code: 0x3ff, content: new Uint8Array() }],
    });
    expect(refusal(changed(bytes, (_, view) => view.setUint32(48, 0x3ff, true)))).toBe("bad-value");
  });

  it("with padding or reserved bytes that are not zero is refused", () => {
    const odd = buildIgvm({
      headers: [platforms.snp, { type: "unknown", code: 0x3ff, content: Uint8Array.of(1) }],
    });
    expect(refusal(changed(odd, (copy) => copy.fill(1, odd.length - 1)))).toBe("bad-value");
    const policy = buildIgvm({ headers: [platforms.snp, { type: "guestPolicy", policy: 0n, mask: 1 }] });
    expect(refusal(changed(policy, (copy) => copy.fill(1, policy.length - 1)))).toBe("bad-value");
  });

  it("with data among its headers or behind its end is refused", () => {
    const bytes = buildIgvm({
      headers: [platforms.snp, pageData(0n, { mask: 1, data: new Uint8Array(4096) })],
    });
    const offsetAt = 24 + 24 + 8 + 12;
    expect(refusal(changed(bytes, (_, view) => view.setUint32(offsetAt, 24, true)))).toBe("out-of-range");
    expect(refusal(changed(bytes, (_, view) => view.setUint32(offsetAt, 0x7fff_f000, true)))).toBe(
      "out-of-range",
    );
    expect(refusal(changed(bytes, (_, view) => view.setUint32(offsetAt, bytes.length - 1, true)))).toBe(
      "truncated",
    );
  });

  const area: AnyHeader = { type: "parameterArea", size: 0x1000n, area: 0, data: new Uint8Array() };
  const insert: AnyHeader = { type: "parameterInsert", gpa: 0n, mask: 1, area: 0 };
  it.each<[string, string, readonly AnyHeader[]]>([
    ["no platform", "bad-value", [area]],
    ["two platforms of one mask", "bad-value", [platforms.snp, { ...platforms.tdx, mask: 1 }]],
    ["a platform with two bits", "bad-value", [{ ...platforms.snp, mask: 3 }]],
    ["a platform behind the directives", "bad-value", [platforms.snp, area, platforms.tdx]],
    [
      "a policy behind the directives",
      "bad-value",
      [platforms.snp, area, { type: "guestPolicy", policy: 0n, mask: 1 }],
    ],
    ["a header for another platform", "bad-value", [platforms.snp, pageData(0n, { mask: 3 })]],
    ["a header for no platform", "bad-value", [platforms.snp, pageData(0n, { mask: 0 })]],
    ["a page at no page's address", "out-of-range", [platforms.snp, pageData(0x800n, { mask: 1 })]],
    [
      "a large page at a small one's address",
      "out-of-range",
      [platforms.snp, pageData(0x1000n, { mask: 1, flags: 1 })],
    ],
    ["a page beyond all memory", "out-of-range", [platforms.snp, pageData(1n << 60n, { mask: 1 })]],
    ["unknown flags of a page", "bad-value", [platforms.snp, pageData(0n, { mask: 1, flags: 8 })]],
    ["a parameter without its area", "bad-value", [platforms.snp, { type: "madt", area: 0, byteOffset: 0 }]],
    [
      "a parameter behind its area",
      "out-of-range",
      [platforms.snp, area, { type: "madt", area: 0, byteOffset: 0x1000 }],
    ],
    ["two areas of one index", "bad-value", [platforms.snp, area, area]],
    ["an area that is inserted twice", "bad-value", [platforms.snp, area, insert, insert]],
    ["an endless area", "out-of-range", [platforms.snp, { ...area, size: 1n << 40n } as AnyHeader]],
  ])("with %s is refused", (_, code, headers) => {
    expect(refusalOf(...headers)).toBe(code);
  });

  it("is not built with a page, an area or a field of a wrong size", () => {
    const build = (header: AnyHeader) => () => buildIgvm({ headers: [platforms.snp, header] });
    expect(build(pageData(0n, { mask: 1, data: new Uint8Array(100) }))).toThrow(RangeError);
    expect(build({ ...area, data: new Uint8Array(100) } as AnyHeader)).toThrow(RangeError);
    expect(build({ ...idBlock, familyId: new Uint8Array(15) })).toThrow(RangeError);
  });

  it("is read or refused, and nothing else happens, whatever its bytes", () => {
    const small = buildIgvm({
      headers: sampleHeaders.filter((header) => !("flags" in header) || header.flags !== 1),
    });
    const changes = fc.array(fc.tuple(fc.nat(1600), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(changes, fc.nat(small.length), (edits, cut) => {
        const bytes = changed(small, (copy) => {
          for (const [at, value] of edits) if (at < 8 || at >= 24) copy[at] = value;
        }).subarray(0, cut % 7 === 0 ? cut : small.length);
        const code = refusal(bytes);
        if (code === undefined) expect(buildIgvm(parseIgvm(bytes)).length).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("a platform of an IGVM file", () => {
  const file = parseIgvm(sample);
  it("has the headers with its bit and those for all", () => {
    const types = (mask: number) => headersFor(file, mask).map(({ type }) => type);
    expect(types(1)).not.toContain("vbsMeasurement");
    expect(types(4)).toContain("vbsMeasurement");
    expect(types(4)).toContain("parameterArea");
    expect(types(2).filter((type) => type === "pageData")).toHaveLength(5);
    expect(guestPolicyOf(file, 1)).toBe(0x3_0000n);
    expect(guestPolicyOf(file, 2)).toBeUndefined();
  });

  it("is there once, or is not this file's", () => {
    expect(platformOf(file, "tdx").mask).toBe(2);
    expect(() => platformOf(file, "cca")).toThrow(/cca not at all/);
    const both = parseIgvm(buildIgvm({ headers: [platforms.snp, { ...platforms.snp, mask: 2 }] }));
    expect(() => platformOf(both, "snp")).toThrow(/in several ways/);
  });

  it("has an ID block as the firmware takes it, with the digests that a report shows", () => {
    const identity = snpIdentityOf(nodeHash, file)!;
    expect(identity.block.length).toBe(96);
    expect(toHex(identity.block.subarray(80))).toBe("01000000" + "07000000" + "0000030000000000");
    expect(identity.idKey.length).toBe(0x404);
    expect(toHex(identity.idKey.subarray(0, 8))).toBe("0200000003030303");
    expect(identity.idKeyDigest).toEqual(nodeHash("sha384", identity.idKey));
    expect(identity.authorKeyDigest).toEqual(nodeHash("sha384", identity.authorKey!));
    const without = parseIgvm(buildIgvm({ headers: [platforms.snp, { ...idBlock, authorKeyEnabled: 0 }] }));
    expect(snpIdentityOf(nodeHash, without)?.authorKey).toBeUndefined();
    expect(snpIdentityOf(nodeHash, parseIgvm(buildIgvm({ headers: [platforms.snp] })))).toBeUndefined();
  });
});

import { crc32 } from "@entresol/wire";
import type { AnyHeader, IgvmHeader } from "../igvm/header-types.ts";

/* A file with a header of every type, for three platforms. */

const page = (fill: number) => new Uint8Array(4096).fill(fill);

export const platforms = {
  snp: {
    type: "supportedPlatform",
    mask: 1,
    highestVtl: 2,
    platform: 2,
    platformVersion: 1,
    sharedGpaBoundary: 1n << 46n,
  },
  tdx: {
    type: "supportedPlatform",
    mask: 2,
    highestVtl: 2,
    platform: 3,
    platformVersion: 1,
    sharedGpaBoundary: 1n << 47n,
  },
  vsm: {
    type: "supportedPlatform",
    mask: 4,
    highestVtl: 2,
    platform: 1,
    platformVersion: 1,
    sharedGpaBoundary: 0n,
  },
} as const satisfies Record<string, IgvmHeader<"supportedPlatform">>;

export function pageData(gpa: bigint, more: Partial<IgvmHeader<"pageData">> = {}): IgvmHeader<"pageData"> {
  return { type: "pageData", gpa, mask: 7, flags: 0, dataType: 0, data: new Uint8Array(), ...more };
}

const parameters = [
  "vpCount",
  "srat",
  "madt",
  "mmioRanges",
  "memoryMap",
  "commandLine",
  "slit",
  "pptt",
  "deviceTree",
  "environmentInfo",
] as const;

const key = (fill: number) => new Uint8Array(72).fill(fill, 0, 48);

export const idBlock: IgvmHeader<"snpIdBlock"> = {
  type: "snpIdBlock",
  mask: 1,
  authorKeyEnabled: 1,
  launchDigest: new Uint8Array(48).fill(0xd1),
  familyId: new Uint8Array(16).fill(0xf0),
  imageId: new Uint8Array(16).fill(0x1d),
  version: 1,
  guestSvn: 7,
  idKeyAlgorithm: 1,
  authorKeyAlgorithm: 1,
  idSignatureR: key(1),
  idSignatureS: key(2),
  idKeyCurve: 2,
  idKeyX: key(3),
  idKeyY: key(4),
  authorSignatureR: key(5),
  authorSignatureS: key(6),
  authorKeyCurve: 2,
  authorKeyX: key(7),
  authorKeyY: key(8),
};

export const sampleHeaders: readonly AnyHeader[] = [
  platforms.snp,
  platforms.tdx,
  platforms.vsm,
  { type: "guestPolicy", policy: 0x3_0000n, mask: 1 },
  {
    type: "relocatableRegion",
    mask: 4,
    vpIndex: 0,
    vtl: 2,
    flags: 7,
    alignment: 0x20_0000n,
    gpa: 0x100_0000n,
    size: 0x100_0000n,
    minimumGpa: 0n,
    maximumGpa: 1n << 40n,
  },
  {
    type: "pageTableRelocation",
    mask: 4,
    vpIndex: 0,
    vtl: 2,
    gpa: 0x4000n,
    size: 0x2000n,
    usedSize: 0x1000n,
  },
  { type: "corimDocument", mask: 1, data: Uint8Array.of(0xd9, 1, 0xf5, 0xa0) },
  { type: "corimSignature", mask: 1, data: Uint8Array.of(0xd2, 0x80) },
  { type: "parameterArea", size: 0x2000n, area: 0, data: new Uint8Array() },
  { type: "parameterArea", size: 0x1000n, area: 1, data: page(9) },
  pageData(0x1000n, { data: page(1) }),
  pageData(0x2000n, { data: page(2), mask: 1 }),
  pageData(0x3000n, { data: page(2), flags: 2 }),
  pageData(0x4000n),
  pageData(0x5000n, { dataType: 1, mask: 1 }),
  pageData(0x6000n, { dataType: 2, mask: 1 }),
  pageData(0x7000n, { dataType: 3, mask: 1 }),
  pageData(0x8000n, { flags: 4 }),
  pageData(0x20_0000n, { flags: 1, data: new Uint8Array(0x20_0000).fill(3), mask: 2 }),
  ...parameters.map((type, i): AnyHeader => ({ type, area: 0, byteOffset: 16 * i })),
  { type: "parameterInsert", gpa: 0x9000n, mask: 7, area: 0 },
  { type: "parameterInsert", gpa: 0xb000n, mask: 7, area: 1 },
  { type: "requiredMemory", gpa: 0x10_0000n, mask: 7, size: 0x1000, flags: 1 },
  { type: "errorRange", gpa: 0xc000n, mask: 7, size: 0x1000 },
  { type: "vpContext", gpa: 0xffff_ffff_f000n, mask: 1, vpIndex: 0, data: page(0x55) },
  { type: "vpContext", gpa: 0n, mask: 4, vpIndex: 0, data: Uint8Array.of(1, 0, 0, 0, ...new Uint8Array(32)) },
  idBlock,
  {
    type: "vbsMeasurement",
    mask: 4,
    version: 1,
    productId: 2,
    moduleId: 3,
    securityVersion: 4,
    policyFlags: 5,
    digestAlgorithm: 1,
    signatureAlgorithm: 1,
    digest: new Uint8Array(64).fill(1),
    signature: new Uint8Array(256).fill(2),
    publicKey: new Uint8Array(512).fill(3),
  },
  { type: "unknown", code: 0x320, content: Uint8Array.of(1, 2, 3) },
];

/** The file with a checksum that is right for its headers, as far as its numbers say where these are. */
export function mended(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  view.setUint32(20, 0, true);
  const fixed = copy.subarray(0, view.getUint32(4, true) === 2 ? 32 : 24);
  const at = view.getUint32(8, true);
  view.setUint32(20, crc32(copy.subarray(at, at + view.getUint32(12, true)), crc32(fixed)), true);
  return copy;
}

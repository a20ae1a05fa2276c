/*
 * Variable headers of an IGVM file: one table, from which follow the types, the reader, the builder and the table in specs/. Numbers are
 * little-endian; u64 are bigint.
 */

type FieldType = "u8" | "u16" | "u32" | "u64" | number;
/** Name and size of a field. Names that begin with `reserved` must be zero and are no members of the value. */
type Field = readonly [name: string, type: FieldType];
export type Section = "platform" | "initialization" | "directive";

interface HeaderRow {
  readonly code: number;
  readonly section: Section;
  readonly fields: readonly Field[];
  /** What `fileOffset` points to: the value has it as `data` in the place of `fileOffset` (and `fileSize`). */
  readonly data?: "page" | "area" | "context" | "sized";
  readonly what: string;
}

const parameter = [
  ["area", "u32"],
  ["byteOffset", "u32"],
] as const satisfies readonly Field[];

export const headerTypes = {
  supportedPlatform: {
    code: 0x1,
    section: "platform",
    fields: [
      ["mask", "u32"],
      ["highestVtl", "u8"],
      ["platform", "u8"],
      ["platformVersion", "u16"],
      ["sharedGpaBoundary", "u64"],
    ],
    what: "a platform that the file can be launched on, and its bit in the masks",
  },
  guestPolicy: {
    code: 0x101,
    section: "initialization",
    fields: [
      ["policy", "u64"],
      ["mask", "u32"],
      ["reserved", "u32"],
    ],
    what: "GUEST_POLICY of SEV-SNP, attributes of TDX",
  },
  relocatableRegion: {
    code: 0x102,
    section: "initialization",
    fields: [
      ["mask", "u32"],
      ["vpIndex", "u16"],
      ["vtl", "u8"],
      ["flags", "u8"],
      ["alignment", "u64"],
      ["gpa", "u64"],
      ["size", "u64"],
      ["minimumGpa", "u64"],
      ["maximumGpa", "u64"],
    ],
    what: "memory that may be moved as a whole",
  },
  pageTableRelocation: {
    code: 0x103,
    section: "initialization",
    fields: [
      ["mask", "u32"],
      ["vpIndex", "u16"],
      ["vtl", "u8"],
      ["reserved", "u8"],
      ["gpa", "u64"],
      ["size", "u64"],
      ["usedSize", "u64"],
    ],
    what: "page tables that are mended when a region moves",
  },
  corimDocument: {
    code: 0x104,
    section: "initialization",
    fields: [
      ["mask", "u32"],
      ["fileOffset", "u32"],
      ["fileSize", "u32"],
      ["reserved", "u32"],
    ],
    data: "sized",
    what: "CoRIM with the file's reference values",
  },
  corimSignature: {
    code: 0x105,
    section: "initialization",
    fields: [
      ["mask", "u32"],
      ["fileOffset", "u32"],
      ["fileSize", "u32"],
      ["reserved", "u32"],
    ],
    data: "sized",
    what: "COSE_Sign1 over the CoRIM",
  },
  parameterArea: {
    code: 0x301,
    section: "directive",
    fields: [
      ["size", "u64"],
      ["area", "u32"],
      ["fileOffset", "u32"],
    ],
    data: "area",
    what: "an area that the host writes parameters into",
  },
  pageData: {
    code: 0x302,
    section: "directive",
    fields: [
      ["gpa", "u64"],
      ["mask", "u32"],
      ["fileOffset", "u32"],
      ["flags", "u32"],
      ["dataType", "u16"],
      ["reserved", "u16"],
    ],
    data: "page",
    what: "a page; without data one of zeros",
  },
  parameterInsert: {
    code: 0x303,
    section: "directive",
    fields: [
      ["gpa", "u64"],
      ["mask", "u32"],
      ["area", "u32"],
    ],
    what: "a parameter area's pages, unmeasured",
  },
  vpContext: {
    code: 0x304,
    section: "directive",
    fields: [
      ["gpa", "u64"],
      ["mask", "u32"],
      ["fileOffset", "u32"],
      ["vpIndex", "u16"],
      ["reserved", "u16"],
    ],
    data: "context",
    what: "registers of a vCPU at its start; a VMSA for SEV-SNP",
  },
  requiredMemory: {
    code: 0x305,
    section: "directive",
    fields: [
      ["gpa", "u64"],
      ["mask", "u32"],
      ["size", "u32"],
      ["flags", "u32"],
      ["reserved", "u32"],
    ],
    what: "memory that must be there",
  },
  vpCount: { code: 0x307, section: "directive", fields: parameter, what: "number of vCPUs" },
  srat: { code: 0x308, section: "directive", fields: parameter, what: "ACPI SRAT" },
  madt: { code: 0x309, section: "directive", fields: parameter, what: "ACPI MADT" },
  mmioRanges: { code: 0x30a, section: "directive", fields: parameter, what: "MMIO ranges" },
  snpIdBlock: {
    code: 0x30b,
    section: "directive",
    fields: [
      ["mask", "u32"],
      ["authorKeyEnabled", "u8"],
      ["reserved", 3],
      ["launchDigest", 48],
      ["familyId", 16],
      ["imageId", 16],
      ["version", "u32"],
      ["guestSvn", "u32"],
      ["idKeyAlgorithm", "u32"],
      ["authorKeyAlgorithm", "u32"],
      ["idSignatureR", 72],
      ["idSignatureS", 72],
      ["idKeyCurve", "u32"],
      ["reservedIdKey", "u32"],
      ["idKeyX", 72],
      ["idKeyY", 72],
      ["authorSignatureR", 72],
      ["authorSignatureS", 72],
      ["authorKeyCurve", "u32"],
      ["reservedAuthorKey", "u32"],
      ["authorKeyX", 72],
      ["authorKeyY", 72],
    ],
    what: "ID block of SEV-SNP, its signatures and keys, little-endian",
  },
  memoryMap: { code: 0x30c, section: "directive", fields: parameter, what: "memory map" },
  errorRange: {
    code: 0x30d,
    section: "directive",
    fields: [
      ["gpa", "u64"],
      ["mask", "u32"],
      ["size", "u32"],
    ],
    what: "shared memory in which the guest reports errors",
  },
  commandLine: { code: 0x30e, section: "directive", fields: parameter, what: "command line" },
  slit: { code: 0x30f, section: "directive", fields: parameter, what: "ACPI SLIT" },
  pptt: { code: 0x310, section: "directive", fields: parameter, what: "ACPI PPTT" },
  vbsMeasurement: {
    code: 0x311,
    section: "directive",
    fields: [
      ["mask", "u32"],
      ["version", "u32"],
      ["productId", "u32"],
      ["moduleId", "u32"],
      ["securityVersion", "u32"],
      ["policyFlags", "u32"],
      ["digestAlgorithm", "u32"],
      ["signatureAlgorithm", "u32"],
      ["digest", 64],
      ["signature", 256],
      ["publicKey", 512],
    ],
    what: "measurement for VBS isolation, signed",
  },
  deviceTree: { code: 0x312, section: "directive", fields: parameter, what: "flattened device tree" },
  environmentInfo: {
    code: 0x313,
    section: "directive",
    fields: parameter,
    what: "bit 0: memory is shared at the start",
  },
} as const satisfies Readonly<Record<string, HeaderRow>>;

export type HeaderName = keyof typeof headerTypes;
/** The table without the exact types. */
export const headerRows: Readonly<Record<HeaderName, HeaderRow>> = headerTypes;

/** First and last type of each section. */
export const sectionRanges = {
  platform: [0x1, 0x100],
  initialization: [0x101, 0x200],
  directive: [0x301, 0x400],
} as const satisfies Readonly<Record<Section, readonly [number, number]>>;

/** SUPPORTED_PLATFORM's platform types. */
export const platformTypes = { native: 0, vsm: 1, snp: 2, tdx: 3, sev: 4, "sev-es": 5, cca: 6 } as const;
export type PlatformName = keyof typeof platformTypes;

/** Flags of PAGE_DATA. */
export const pageFlags = { large: 1, unmeasured: 2, shared: 4 } as const;
/** Bytes of a page with the flag `large`. */
export const LARGE_PAGE = 0x20_0000;
/** Data types of PAGE_DATA. */
export const pageDataTypes = { normal: 0, secrets: 1, cpuid: 2, cpuidXf: 3 } as const;

type ValueOf<T> = T extends "u64" ? bigint : T extends number ? Uint8Array : number;
type FieldsOf<F extends readonly Field[]> = {
  readonly [Row in F[number] as Row[0] extends `reserved${string}` | "fileOffset" | "fileSize"
    ? never
    : Row[0]]: ValueOf<Row[1]>;
};
type DataOf<R> = R extends { readonly data: string } ? { readonly data: Uint8Array } : unknown;

/** A variable header. `data`: what the file holds for it, empty when it holds nothing. Byte fields that were read are views of the file. */
export type IgvmHeader<N extends HeaderName = HeaderName> = {
  readonly [Name in N]: {
    readonly type: Name;
    /** A loader that does not know the type may pass it over. */
    readonly optional?: true;
  } & FieldsOf<(typeof headerTypes)[Name]["fields"]> &
    DataOf<(typeof headerTypes)[Name]>;
}[N];

/** An optional header of a type that is not in the table. */
export interface UnknownHeader {
  readonly type: "unknown";
  /** Without the bit that marks it as optional. */
  readonly code: number;
  readonly content: Uint8Array;
}

export type AnyHeader = IgvmHeader | UnknownHeader;

export interface IgvmFile {
  readonly version: 1 | 2;
  readonly architecture: "x64" | "arm64";
  /** Bytes. Version 1: 4096. */
  readonly pageSize: number;
  /** In the order of the file: platforms, initialization, directives. */
  readonly headers: readonly AnyHeader[];
}

import { MalformedError } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import { type Finding, trailingFinding } from "./finding.ts";
import { type BitRow, bitsOf, Layout, type LayoutInput, type LayoutValues, namesOfBits } from "./layout.ts";
import { type SnpProduct, type SnpTcb, snpProduct, snpTcb, snpTcbLayouts } from "./snp-tcb.ts";

/* ATTESTATION_REPORT of SEV-SNP firmware (AMD publication 56860), versions 2, 3 and 5. */

const spec = "SEV-SNP ABI 56860";
const table = "ATTESTATION_REPORT";

/** GUEST_POLICY. */
export const snpPolicyBits = [
  { bit: 0, width: 8, name: "ABI_MINOR", what: "lowest minor version of the firmware's ABI" },
  { bit: 8, width: 8, name: "ABI_MAJOR", what: "major version of the firmware's ABI" },
  { bit: 16, name: "SMT", what: "simultaneous multithreading is allowed" },
  { bit: 17, name: "RESERVED_ONE", what: "must be one", one: true },
  { bit: 18, name: "MIGRATE_MA", what: "a migration agent is allowed" },
  { bit: 19, name: "DEBUG", what: "the host may read and write the guest's memory" },
  { bit: 20, name: "SINGLE_SOCKET", what: "only on one socket" },
  { bit: 21, name: "CXL_ALLOW", what: "memory behind CXL is allowed" },
  { bit: 22, name: "MEM_AES_256_XTS", what: "memory must be encrypted by AES-256 XTS" },
  { bit: 23, name: "RAPL_DIS", what: "power measurement must be off" },
  { bit: 24, name: "CIPHERTEXT_HIDING", what: "DRAM ciphertext must be hidden from the host" },
  { bit: 25, name: "PAGE_SWAP_DISABLE", what: "pages must not be swapped by the host" },
] as const satisfies readonly BitRow[];

/** PLATFORM_INFO. */
export const snpPlatformInfoBits = [
  { bit: 0, name: "SMT_EN", what: "simultaneous multithreading is on" },
  { bit: 1, name: "TSME_EN", what: "all of memory is encrypted transparently" },
  { bit: 2, name: "ECC_EN", what: "memory has error correction" },
  { bit: 3, name: "RAPL_DIS", what: "power measurement is off" },
  { bit: 4, name: "CIPHERTEXT_HIDING_DRAM_EN", what: "DRAM ciphertext is hidden from the host" },
  { bit: 5, name: "ALIAS_CHECK_COMPLETE", what: "memory was found to have no aliases since the last reset" },
  { bit: 6, name: "IOMMU_WRITE_SAFE", what: "writes of devices cannot reach guest-owned pages" },
  { bit: 7, name: "TIO_EN", what: "trusted I/O is on" },
] as const satisfies readonly BitRow[];

/** The word of flags at 0x48. */
export const snpFlagBits = [
  { bit: 0, name: "AUTHOR_KEY_EN", what: "AUTHOR_KEY_DIGEST is present" },
  { bit: 1, name: "MASK_CHIP_KEY", what: "the host has the key of the chip masked: no signature by a VCEK" },
  { bit: 2, width: 3, name: "SIGNING_KEY", what: "0 VCEK, 1 VLEK, 7 none" },
] as const satisfies readonly BitRow[];

/** By the value of SIGNING_KEY; the others are reserved. */
const signingKeys = new Map<number, "vcek" | "vlek" | "none">([
  [0, "vcek"],
  [1, "vlek"],
  [7, "none"],
]);

const field = <const N extends string, const T extends "u8" | "u32" | "u64" | number>(
  offset: number,
  name: N,
  type: T,
  what: string,
) => ({ name, offset, type, clause: `${table} 0x${offset.toString(16)}`, what });
const reserved = <const N extends string, const T extends "u8" | "u32" | number>(
  offset: number,
  name: N,
  type: T,
) => ({ ...field(offset, name, type, "reserved"), reserved: true as const });

export const snpReportLayout = new Layout(table, spec, 0x4a0, [
  field(0x000, "version", "u32", "2, 3 or 5"),
  field(0x004, "guestSvn", "u32", "security version of the guest, by its ID block"),
  { ...field(0x008, "policy", "u64", "GUEST_POLICY"), bits: snpPolicyBits },
  field(0x010, "familyId", 16, "family of the guest, by its ID block"),
  field(0x020, "imageId", 16, "image of the guest, by its ID block"),
  field(0x030, "vmpl", "u32", "VMPL of the request; 0xffffffff when the host asked"),
  field(0x034, "signatureAlgorithm", "u32", "1: ECDSA P-384 with SHA-384"),
  field(0x038, "currentTcb", 8, "TCB version of what runs"),
  { ...field(0x040, "platformInfo", "u64", "PLATFORM_INFO"), bits: snpPlatformInfoBits },
  { ...field(0x048, "flags", "u32", "author key, masked chip key, signing key"), bits: snpFlagBits },
  reserved(0x04c, "reserved04c", "u32"),
  field(0x050, "reportData", 64, "what the guest wanted to be signed"),
  field(0x090, "measurement", 48, "launch digest"),
  field(0x0c0, "hostData", 32, "what the host gave at launch"),
  field(0x0e0, "idKeyDigest", 48, "SHA-384 of the key that signed the ID block"),
  field(0x110, "authorKeyDigest", 48, "SHA-384 of the key that certified the ID key"),
  field(0x140, "reportId", 32, "of this guest"),
  field(0x160, "reportIdMa", 32, "of its migration agent"),
  field(0x180, "reportedTcb", 8, "TCB version that the VCEK was derived from"),
  { ...field(0x188, "cpuidFamily", "u8", "family and extended family"), since: 3 },
  { ...field(0x189, "cpuidModel", "u8", "model and extended model"), since: 3 },
  { ...field(0x18a, "cpuidStepping", "u8", "stepping"), since: 3 },
  reserved(0x18b, "reserved18b", 21),
  field(0x1a0, "chipId", 64, "of the chip; zero when masked or signed by a VLEK"),
  field(0x1e0, "committedTcb", 8, "TCB version below which the firmware cannot go back"),
  field(0x1e8, "currentBuild", "u8", "build of the firmware that runs"),
  field(0x1e9, "currentMinor", "u8", "its minor version"),
  field(0x1ea, "currentMajor", "u8", "its major version"),
  reserved(0x1eb, "reserved1eb", "u8"),
  field(0x1ec, "committedBuild", "u8", "build of the committed firmware"),
  field(0x1ed, "committedMinor", "u8", "its minor version"),
  field(0x1ee, "committedMajor", "u8", "its major version"),
  reserved(0x1ef, "reserved1ef", "u8"),
  field(0x1f0, "launchTcb", 8, "current TCB version when the guest was launched or imported"),
  { ...field(0x1f8, "launchMitigationVector", "u64", "mitigations at launch"), since: 5 },
  { ...field(0x200, "currentMitigationVector", "u64", "mitigations in force"), since: 5 },
  reserved(0x208, "reserved208", 152),
  field(0x2a0, "signatureR", 48, "R, little-endian"),
  reserved(0x2d0, "reserved2d0", 24),
  field(0x2e8, "signatureS", 48, "S, little-endian"),
  reserved(0x318, "reserved318", 24),
  reserved(0x330, "reserved330", 368),
]);

export const SNP_REPORT_SIZE = 0x4a0;
/** The signature is over the bytes before it. */
export const SNP_SIGNED_SIZE = 0x2a0;

/** Versions that are known. Version 4 was never given out. */
export const snpReportVersions: readonly number[] = [2, 3, 5];

export type SnpReportFields = LayoutValues<typeof snpReportLayout>;
type TcbName = "current" | "reported" | "committed" | "launch";

export interface SnpReport extends Parsed {
  /** As they stand. What a version has not reads as the zero that should be there. */
  readonly fields: SnpReportFields;
  /** What the signature is over: a view. */
  readonly signedBytes: Uint8Array;
  /** R and S, 48 bytes each, big-endian, as verification wants them. Their reserved upper bytes are in `findings` when not zero. */
  readonly signature: Uint8Array;
  /** By the report's CPUID fields; undefined in version 2, and for a processor that this package does not know. */
  readonly product: SnpProduct | undefined;
  /** Undefined when the layout is not known: version 3 and later of an unknown product. */
  readonly tcb: Readonly<Record<TcbName, SnpTcb>> | undefined;
  readonly policy: {
    readonly abiMajor: number;
    readonly abiMinor: number;
    /** Names of the bits that are set. */
    readonly bits: ReadonlySet<(typeof snpPolicyBits)[number]["name"]>;
  };
  readonly platformInfo: ReadonlySet<(typeof snpPlatformInfoBits)[number]["name"]>;
  readonly flags: ReadonlySet<(typeof snpFlagBits)[number]["name"]>;
  /** Undefined for a reserved value. */
  readonly signingKey: "vcek" | "vlek" | "none" | undefined;
}

const tcbFields = {
  current: "currentTcb",
  reported: "reportedTcb",
  committed: "committedTcb",
  launch: "launchTcb",
} as const satisfies Record<TcbName, keyof SnpReportFields>;

/**
 * The report at `at`, with offsets from the beginning of `bytes`. Throws MalformedError: `truncated`, `bad-version`. What lies behind
 * it is not looked at.
 */
export function readSnpReport(bytes: Uint8Array, at = 0, prefix = "", map = new ByteMap()): SnpReport {
  const fields = snpReportLayout.read(bytes, at);
  const { version } = fields;
  if (!snpReportVersions.includes(version)) {
    const known = snpReportVersions.join(", ");
    throw new MalformedError(
      "bad-version",
      at,
      `${spec}, ${table} 0x0`,
      `version ${version}, not one of ${known}`,
    );
  }
  map.structure(prefix, snpReportLayout, at, version);
  const findings = snpReportLayout.findings(bytes, at, prefix, version);

  const product = version < 3 ? undefined : snpProduct(fields.cpuidFamily, fields.cpuidModel);
  // Version 2 is older than Turin.
  const layout = version < 3 ? "milan" : product?.tcbLayout;
  if (layout === undefined) {
    findings.push({
      kind: "unknown-value",
      path: `${prefix}cpuidFamily`,
      offset: at + 0x188,
      length: 3,
      spec: `${spec}, ${table} 0x188`,
      detail: `family ${fields.cpuidFamily}, model ${fields.cpuidModel} is no known product`,
    });
  }
  let tcb: SnpReport["tcb"];
  if (layout !== undefined) {
    const all: Partial<Record<TcbName, SnpTcb>> = {};
    for (const name of Object.keys(tcbFields) as TcbName[]) {
      const row = snpReportLayout.rows.find((each) => each.name === tcbFields[name])!;
      all[name] = snpTcb(fields[tcbFields[name]], layout);
      findings.push(...snpTcbLayouts[layout].findings(bytes, at + row.offset, `${prefix}${row.name}.`));
    }
    tcb = all as Record<TcbName, SnpTcb>;
  }

  const signature = new Uint8Array(96);
  for (let i = 0; i < 48; i++) {
    signature[i] = fields.signatureR[47 - i]!;
    signature[48 + i] = fields.signatureS[47 - i]!;
  }
  return {
    bytes: bytes.subarray(at, at + SNP_REPORT_SIZE),
    map,
    findings,
    fields,
    signedBytes: bytes.subarray(at, at + SNP_SIGNED_SIZE),
    signature,
    product,
    tcb,
    policy: {
      abiMajor: bitsOf(snpPolicyBits[1], fields.policy),
      abiMinor: bitsOf(snpPolicyBits[0], fields.policy),
      bits: namesOfBits(snpPolicyBits, fields.policy),
    },
    platformInfo: namesOfBits(snpPlatformInfoBits, fields.platformInfo),
    flags: namesOfBits(snpFlagBits, fields.flags),
    signingKey: signingKeys.get(bitsOf(snpFlagBits[2], fields.flags)),
  };
}

/** A report that begins `bytes`; what lies behind it is a finding. Throws MalformedError: `truncated`, `bad-version`. */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  const report = readSnpReport(bytes);
  const trailing: Finding[] = trailingFinding(bytes, SNP_REPORT_SIZE, spec);
  return trailing.length === 0 ? report : { ...report, findings: [...report.findings, ...trailing] };
}

/** The 1184 bytes of a report. Fields that are left out are zero. */
export function buildSnpReport(fields: LayoutInput<typeof snpReportLayout>): Uint8Array {
  return snpReportLayout.build(fields);
}

/** R and S as they stand in a report, from 96 bytes big-endian. */
export function snpSignatureFields(signature: Uint8Array): {
  signatureR: Uint8Array;
  signatureS: Uint8Array;
} {
  if (signature.length !== 96)
    throw new RangeError(`a P-384 signature has 96 bytes, not ${signature.length}`);
  return {
    signatureR: signature.slice(0, 48).reverse(),
    signatureS: signature.slice(48).reverse(),
  };
}

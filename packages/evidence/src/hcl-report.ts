import { MalformedError, Writer } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import { type Finding, trailingFinding } from "./finding.ts";
import { type HclClaims, parseHclClaims } from "./hcl-claims.ts";
import { type BitRow, Layout, type LayoutInput, type LayoutValues, namesOfBits } from "./layout.ts";
import { readSnpReport, SNP_REPORT_SIZE, type SnpReport } from "./snp-report.ts";
import { readTdReport, TD_REPORT_SIZE, type TdReport } from "./td-report.ts";

/*
 * The report that the paravisor (HCL, OpenHCL) keeps in NV index 0x01400001 of its vTPM: a hardware report, and the runtime claims
 * whose hash is in it. Header and request data are signed by nobody.
 */

const spec = "OpenHCL IGVM attest request";

export const HCL_SIGNATURE = 0x414c4348;
/** Room for the hardware report, whatever its own size. */
export const HCL_HARDWARE_REPORT_SIZE = SNP_REPORT_SIZE;

export const hclHeaderLayout = new Layout("HCL report header", spec, 32, [
  { name: "signature", offset: 0, type: "u32", clause: "header", what: "'HCLA', 0x414c4348" },
  { name: "version", offset: 4, type: "u32", clause: "header", what: "1 or 2" },
  {
    name: "reportSize",
    offset: 8,
    type: "u32",
    clause: "header",
    what: "bytes from the header to the claims' end",
  },
  {
    name: "requestType",
    offset: 12,
    type: "u32",
    clause: "header",
    what: "1 key release, 2 AK certificate, 3 wrapped key",
  },
  { name: "status", offset: 16, type: "u32", clause: "header", what: "of the request" },
  { name: "reserved20", offset: 20, type: 12, clause: "header", what: "reserved", reserved: true },
]);

export const hclRequestLayout = new Layout("HCL request data", spec, 20, [
  {
    name: "dataSize",
    offset: 0,
    type: "u32",
    clause: "request data",
    what: "bytes of request data and claims",
  },
  { name: "version", offset: 4, type: "u32", clause: "request data", what: "from 2 on, capabilities follow" },
  {
    name: "reportType",
    offset: 8,
    type: "u32",
    clause: "request data",
    what: "1 VBS, 2 SNP, 3 trusted VM, 4 TDX, 5 CCA",
  },
  {
    name: "hashType",
    offset: 12,
    type: "u32",
    clause: "request data",
    what: "1 SHA-256, 2 SHA-384, 3 SHA-512",
  },
  {
    name: "claimsSize",
    offset: 16,
    type: "u32",
    clause: "request data",
    what: "bytes of the runtime claims",
  },
]);

export const hclCapabilityBits = [
  { bit: 0, name: "ERROR_CODE", what: "error codes are understood" },
  { bit: 1, name: "RETRY", what: "a hint to try again is understood" },
  { bit: 2, name: "SKIP_HW_UNSEALING", what: "a hint not to unseal by hardware is understood" },
  { bit: 3, name: "RSA_AES_KEY_WRAP_384", what: "keys may be wrapped with SHA-384" },
  { bit: 4, name: "CORIM", what: "CoRIM is understood" },
] as const satisfies readonly BitRow[];
export const hclCapabilityLayout = new Layout("HCL request data, capabilities", spec, 4, [
  {
    name: "capabilities",
    offset: 0,
    type: "u32",
    clause: "request data, version 2",
    what: "what the paravisor understands",
    bits: hclCapabilityBits,
  },
]);

export type HclHashAlgorithm = "SHA-256" | "SHA-384" | "SHA-512";
const hashes: ReadonlyMap<number, HclHashAlgorithm> = new Map([
  [1, "SHA-256"],
  [2, "SHA-384"],
  [3, "SHA-512"],
]);
export type HclHardware =
  | { readonly kind: "snp"; readonly report: SnpReport }
  /** Not evidence by itself: the quote of the same REPORTDATA is. */
  | { readonly kind: "tdx"; readonly report: TdReport }
  /** A report of a kind that this package does not read. */
  | { readonly kind: "vbs" | "tvm" | "cca"; readonly report: Uint8Array };
const reportTypes = { vbs: 1, snp: 2, tvm: 3, tdx: 4, cca: 5 } as const satisfies Record<
  HclHardware["kind"],
  number
>;
const kinds = new Map<number, HclHardware["kind"]>(
  Object.entries(reportTypes).map(([kind, type]) => [type, kind as HclHardware["kind"]]),
);

export interface HclReport extends Parsed {
  readonly header: LayoutValues<typeof hclHeaderLayout>;
  readonly request: LayoutValues<typeof hclRequestLayout>;
  /** Names of the capabilities; undefined in request data of version 1. */
  readonly capabilities: ReadonlySet<(typeof hclCapabilityBits)[number]["name"]> | undefined;
  readonly hardware: HclHardware;
  /** By which hash the claims are bound to the hardware report: its value begins REPORT_DATA, and zeros follow it. */
  readonly hash: HclHashAlgorithm;
  /** REPORT_DATA of the hardware report, 64 bytes: a view. Undefined for a report of a kind that is not read. */
  readonly reportData: Uint8Array | undefined;
  readonly claims: HclClaims;
}

function readHardware(bytes: Uint8Array, type: number, map: ByteMap): HclHardware {
  const kind = kinds.get(type);
  const at = hclHeaderLayout.size;
  switch (kind) {
    case "snp":
      return { kind, report: readSnpReport(bytes, at, "hardware.", map) };
    case "tdx":
      return { kind, report: readTdReport(bytes, at, "hardware.", map) };
    case undefined:
      throw new MalformedError(
        "bad-value",
        at + HCL_HARDWARE_REPORT_SIZE + 8,
        `${spec}, request data`,
        `report type ${type}`,
      );
    default:
      map.field("hardware", at, HCL_HARDWARE_REPORT_SIZE, spec, `report of type ${kind}`);
      return { kind, report: bytes.subarray(at, at + HCL_HARDWARE_REPORT_SIZE) };
  }
}

/**
 * A report that begins `bytes`: captures are read with a fixed size and end in zeros. Throws MalformedError: `truncated`, `bad-magic`,
 * `bad-version`, `out-of-range` for sizes that do not agree, `bad-value`, and what the hardware report and the claims throw; offsets
 * are from the beginning of `bytes`.
 */
export function parseHclReport(bytes: Uint8Array): HclReport {
  const header = hclHeaderLayout.read(bytes);
  if (header.signature !== HCL_SIGNATURE)
    throw new MalformedError("bad-magic", 0, `${spec}, header`, "does not begin with HCLA");
  if (header.version !== 1 && header.version !== 2)
    throw new MalformedError("bad-version", 4, `${spec}, header`, `version ${header.version}, not 1 or 2`);
  const requestAt = hclHeaderLayout.size + HCL_HARDWARE_REPORT_SIZE;
  const request = hclRequestLayout.read(bytes, requestAt);
  if (request.version < 1 || request.version > 3) {
    throw new MalformedError(
      "bad-version",
      requestAt + 4,
      `${spec}, request data`,
      `request data of version ${request.version}`,
    );
  }
  const hash = hashes.get(request.hashType);
  if (hash === undefined)
    throw new MalformedError(
      "bad-value",
      requestAt + 12,
      `${spec}, request data`,
      `hash type ${request.hashType}`,
    );

  const map = new ByteMap().structure("header.", hclHeaderLayout, 0);
  const findings: Finding[] = hclHeaderLayout.findings(bytes, 0, "header.");
  const hardware = readHardware(bytes, request.reportType, map);
  if (!(hardware.report instanceof Uint8Array)) findings.push(...hardware.report.findings);
  if (hardware.kind === "tdx") {
    const from = hclHeaderLayout.size + TD_REPORT_SIZE;
    const [rest] = trailingFinding(bytes.subarray(0, requestAt), from, spec);
    if (rest?.kind === "trailing-bytes")
      findings.push({ ...rest, kind: "reserved-not-zero", path: "hardware.padding" });
  }

  map.structure("request.", hclRequestLayout, requestAt);
  let claimsAt = requestAt + hclRequestLayout.size;
  let capabilities: HclReport["capabilities"];
  if (request.version >= 2) {
    capabilities = namesOfBits(hclCapabilityBits, hclCapabilityLayout.read(bytes, claimsAt).capabilities);
    map.structure("request.", hclCapabilityLayout, claimsAt);
    findings.push(...hclCapabilityLayout.findings(bytes, claimsAt, "request."));
    claimsAt += hclCapabilityLayout.size;
  }
  const end = claimsAt + request.claimsSize;
  if (end > bytes.length) {
    throw new MalformedError(
      "truncated",
      requestAt + 16,
      `${spec}, request data`,
      `${request.claimsSize} bytes of claims, ${bytes.length - claimsAt} left`,
    );
  }
  // Three sizes say the same. A reader that goes by another one would hash other bytes.
  if (requestAt + request.dataSize !== end || header.reportSize !== end) {
    throw new MalformedError(
      "out-of-range",
      requestAt,
      `${spec}, request data`,
      `the sizes of report (${header.reportSize}), request data (${request.dataSize}) and claims (${request.claimsSize}) disagree`,
    );
  }
  const claims = parseHclClaims(bytes, claimsAt, end);
  map.field("claims", claimsAt, request.claimsSize, `${spec}, runtime claims`, "JSON, bound by REPORT_DATA");
  for (const key of claims.keys.values())
    map.field(`claims.keys.${key.kid}`, key.offset, key.length, `${spec}, runtime claims`, "a key");
  findings.push(...trailingFinding(bytes, end, spec));
  return {
    bytes: bytes.subarray(0, end),
    map,
    findings,
    header,
    request,
    capabilities,
    hardware,
    hash,
    reportData:
      hardware.kind === "snp"
        ? hardware.report.fields.reportData
        : hardware.kind === "tdx"
          ? hardware.report.fields.reportMac.reportData
          : undefined,
    claims,
  };
}

export interface HclReportInput {
  readonly header?: Omit<LayoutInput<typeof hclHeaderLayout>, "reportSize">;
  readonly kind: HclHardware["kind"];
  /** At most 1184 bytes; zeros follow. */
  readonly hardwareReport: Uint8Array;
  readonly hash: HclHashAlgorithm;
  /** Present: request data of version 2 with these capabilities. */
  readonly capabilities?: number;
  /** Version of the request data: by default 1, with capabilities 2. */
  readonly requestVersion?: number;
  /** Runtime claims, JSON. */
  readonly claims: Uint8Array;
  /** Pads the whole with zeros to this length. */
  readonly length?: number;
}

/** A report of these parts. Whether the hardware report holds the claims' hash is the caller's business. */
export function buildHclReport(input: HclReportInput): Uint8Array {
  const { header = {}, kind, hardwareReport, hash, capabilities, claims, length = 0 } = input;
  if (hardwareReport.length > HCL_HARDWARE_REPORT_SIZE)
    throw new RangeError(`the hardware report has ${hardwareReport.length} bytes`);
  const version = input.requestVersion ?? (capabilities === undefined ? 1 : 2);
  const dataSize = hclRequestLayout.size + (version >= 2 ? hclCapabilityLayout.size : 0) + claims.length;
  const reportSize = hclHeaderLayout.size + HCL_HARDWARE_REPORT_SIZE + dataSize;
  const hashType = [...hashes].find(([, name]) => name === hash)![0];
  const writer = new Writer(4096)
    .bytes(
      hclHeaderLayout.build({ signature: HCL_SIGNATURE, version: 2, requestType: 2, ...header, reportSize }),
    )
    .bytes(hardwareReport)
    .zeros(HCL_HARDWARE_REPORT_SIZE - hardwareReport.length)
    .bytes(
      hclRequestLayout.build({
        dataSize,
        version,
        reportType: reportTypes[kind],
        hashType,
        claimsSize: claims.length,
      }),
    );
  if (version >= 2) writer.bytes(hclCapabilityLayout.build({ capabilities: capabilities ?? 0 }));
  writer.bytes(claims);
  return writer.zeros(Math.max(0, length - writer.length)).finish();
}

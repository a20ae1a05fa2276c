import { MalformedError } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import { trailingFinding } from "./finding.ts";
import { type BitRow, type FieldRow, Layout, type LayoutInput, type LayoutValues } from "./layout.ts";

/* What is reported of a trust domain: the bodies of TD quotes, and TDREPORT, which never leaves the machine unquoted. */

const quoteSpec = "Intel TDX DCAP Quoting Library API, appendix 3";
const reportSpec = "Intel TDX module base architecture 344425, TDREPORT_STRUCT";

/** ATTRIBUTES of a TD. Bits 7:0 are those of a TD under debug: any of them makes it untrusted. */
export const tdAttributeBits = [
  { bit: 0, name: "DEBUG", what: "the host may read and write the TD" },
  { bit: 4, name: "HGS_PLUS_PROF", what: "profiled for thread scheduling" },
  { bit: 5, name: "PERF_PROF", what: "profiled by performance counters of the host" },
  { bit: 6, name: "PMT_PROF", what: "profiled by platform telemetry" },
  { bit: 16, name: "ICSSD", what: "injected core-scoped features are off" },
  { bit: 27, name: "LASS", what: "linear address space separation is on" },
  { bit: 28, name: "SEPT_VE_DISABLE", what: "a page that is not accepted gives no #VE" },
  { bit: 29, name: "MIGRATABLE", what: "may be migrated by its migration TD" },
  { bit: 30, name: "PKS", what: "may use supervisor protection keys" },
  { bit: 31, name: "KL", what: "may use Key Locker" },
  { bit: 62, name: "TPA", what: "is a provisioning agent of the platform" },
  { bit: 63, name: "PERFMON", what: "may use performance monitoring" },
] as const satisfies readonly BitRow[];

const field = <const N extends string, const T extends "u8" | "u64" | number>(
  offset: number,
  name: N,
  type: T,
  what: string,
  clause = "TD report body",
) => ({ name, offset, type, clause, what });

/** Measurements from `offset` on: the same order in a quote's body and in TDINFO. */
const measurements = <const C extends string>(offset: number, clause: C) =>
  [
    { ...field(offset, "tdAttributes", "u64", "ATTRIBUTES", clause), bits: tdAttributeBits },
    field(offset + 8, "xfam", "u64", "state components that the TD may use, as XCR0", clause),
    field(offset + 16, "mrTd", 48, "measurement of the initial contents", clause),
    field(offset + 64, "mrConfigId", 48, "configuration, given by the host", clause),
    field(offset + 112, "mrOwner", 48, "owner, given by the host", clause),
    field(offset + 160, "mrOwnerConfig", 48, "the owner's configuration, given by the host", clause),
    field(offset + 208, "rtmr0", 48, "runtime measurement 0: firmware and its configuration", clause),
    field(offset + 256, "rtmr1", 48, "runtime measurement 1: boot loader and kernel", clause),
    field(offset + 304, "rtmr2", 48, "runtime measurement 2: operating system", clause),
    field(offset + 352, "rtmr3", 48, "runtime measurement 3: for applications", clause),
  ] as const satisfies readonly FieldRow[];

const body10 = [
  field(0, "teeTcbSvn", 16, "security versions: TDX module, and platform"),
  field(16, "mrSeam", 48, "measurement of the TDX module"),
  field(64, "mrSignerSeam", 48, "signer of the TDX module; zero: Intel"),
  field(112, "seamAttributes", "u64", "of the TDX module; zero"),
  ...measurements(120, "TD report body"),
  field(520, "reportData", 64, "what the TD wanted to be signed"),
] as const satisfies readonly FieldRow[];
const body15 = [
  ...body10,
  field(584, "teeTcbSvn2", 16, "security versions of the module that a relaunched TD would have"),
  field(600, "mrServiceTd", 48, "service TDs that are bound; zero: none"),
] as const satisfies readonly FieldRow[];
const bodyEx = [
  ...body15,
  field(648, "vmId", "u8", "partition that asked; 0: the TD itself"),
  field(649, "tdId", 32, "random name of the TD's instance"),
  field(681, "deviceInfoHash", 48, "of the information about its devices"),
  field(729, "initialServiceTdHash", 48, "service TDs at creation"),
  field(777, "initialServiceTdAttributes", 8, "their attributes"),
  field(785, "initialCpuSvn", 16, "CPUSVN at creation"),
  field(801, "initialTeeTcbSvn", 16, "TEE_TCB_SVN at creation"),
  field(817, "initialFmspc", 12, "FMSPC of the machine of creation"),
  field(829, "currentServiceTdHash", 48, "service TDs now"),
  field(877, "currentServiceTdAttributes", 8, "their attributes"),
] as const satisfies readonly FieldRow[];

/** TDX 1.0: quote version 4, and body type 2 of version 5. */
export const tdBody10Layout = new Layout("TD report body 1.0", quoteSpec, 584, body10);
/** TDX 1.5: body type 3. */
export const tdBody15Layout = new Layout("TD report body 1.5", quoteSpec, 648, body15);
/** TDX 1.5 with what a service TD needs: body type 4. */
export const tdBodyExLayout = new Layout("TD report body 1.5 extended", quoteSpec, 885, bodyEx);

export type TdBody10Fields = LayoutValues<typeof tdBody10Layout>;
export type TdBody15Fields = LayoutValues<typeof tdBody15Layout>;
export type TdBodyExFields = LayoutValues<typeof tdBodyExLayout>;

const reportMacLayout = new Layout("REPORTMACSTRUCT", reportSpec, 256, [
  field(0, "type", "u8", "0x81: TDX", "REPORTMACSTRUCT"),
  field(1, "subtype", "u8", "0", "REPORTMACSTRUCT"),
  field(2, "version", "u8", "0, 1: with service TDs, 3: with their history", "REPORTMACSTRUCT"),
  { ...field(3, "reserved3", "u8", "reserved", "REPORTMACSTRUCT"), reserved: true },
  { ...field(4, "reserved4", 12, "reserved", "REPORTMACSTRUCT"), reserved: true },
  field(16, "cpuSvn", 16, "security version of the processor", "REPORTMACSTRUCT"),
  field(32, "teeTcbInfoHash", 48, "SHA-384 of TEE_TCB_INFO", "REPORTMACSTRUCT"),
  field(80, "teeInfoHash", 48, "SHA-384 of TDINFO_STRUCT", "REPORTMACSTRUCT"),
  field(128, "reportData", 64, "what the TD wanted to be signed", "REPORTMACSTRUCT"),
  { ...field(192, "reserved192", 32, "reserved", "REPORTMACSTRUCT"), reserved: true },
  field(224, "mac", 32, "by a key of this processor", "REPORTMACSTRUCT"),
]);

const teeTcbInfoLayout = new Layout("TEE_TCB_INFO", reportSpec, 239, [
  field(0, "valid", "u64", "bit n: the n-th field is valid", "TEE_TCB_INFO"),
  field(8, "teeTcbSvn", 16, "security versions", "TEE_TCB_INFO"),
  field(24, "mrSeam", 48, "measurement of the TDX module", "TEE_TCB_INFO"),
  field(72, "mrSignerSeam", 48, "signer of the TDX module; zero: Intel", "TEE_TCB_INFO"),
  field(120, "seamAttributes", "u64", "of the TDX module; zero", "TEE_TCB_INFO"),
  field(128, "teeTcbSvn2", 16, "of the module that runs now, from TDX 1.5 on", "TEE_TCB_INFO"),
  { ...field(144, "reserved144", 95, "reserved", "TEE_TCB_INFO"), reserved: true },
]);

const tdInfoLayout = new Layout("TDINFO_STRUCT", reportSpec, 512, [
  ...measurements(0, "TDINFO_STRUCT"),
  { ...field(400, "mrServiceTd", 48, "service TDs that are bound; zero: none", "TDINFO_STRUCT"), since: 1 },
  { ...field(448, "extension", 64, "of version 3", "TDINFO_STRUCT"), since: 3 },
]);

export const tdReportLayout = new Layout("TDREPORT_STRUCT", reportSpec, 1024, [
  { name: "reportMac", offset: 0, type: reportMacLayout, clause: "REPORTMACSTRUCT", what: "header and MAC" },
  { name: "teeTcbInfo", offset: 256, type: teeTcbInfoLayout, clause: "TEE_TCB_INFO", what: "TCB" },
  { name: "reserved495", offset: 495, type: 17, clause: "TDREPORT_STRUCT", what: "reserved", reserved: true },
  { name: "tdInfo", offset: 512, type: tdInfoLayout, clause: "TDINFO_STRUCT", what: "the TD" },
]);

export const TD_REPORT_SIZE = 1024;
export const TEE_TYPE_TDX = 0x81;
export type TdReportFields = LayoutValues<typeof tdReportLayout>;

/** A TDREPORT. Its MAC can be verified by the processor that made it and by nobody else: it is no evidence without a quote. */
export interface TdReport extends Parsed {
  readonly fields: TdReportFields;
}

/**
 * The TDREPORT at `at`, with offsets from the beginning of `bytes`. Throws MalformedError: `truncated`, `bad-value` for a report of
 * another TEE. What lies behind it is not looked at.
 */
export function readTdReport(bytes: Uint8Array, at = 0, prefix = "", map = new ByteMap()): TdReport {
  const fields = tdReportLayout.read(bytes, at);
  const { type, version } = fields.reportMac;
  if (type !== TEE_TYPE_TDX) {
    throw new MalformedError(
      "bad-value",
      at,
      `${reportSpec}, REPORTTYPE`,
      `type ${type}, not ${TEE_TYPE_TDX}`,
    );
  }
  map.structure(prefix, tdReportLayout, at, version);
  const findings = tdReportLayout.findings(bytes, at, prefix, version);
  return { bytes: bytes.subarray(at, at + TD_REPORT_SIZE), map, findings, fields };
}

/** A TDREPORT that begins `bytes`; what lies behind it is a finding. Throws MalformedError: `truncated`, `bad-value`. */
export function parseTdReport(bytes: Uint8Array): TdReport {
  const report = readTdReport(bytes);
  const trailing = trailingFinding(bytes, TD_REPORT_SIZE, reportSpec);
  return { ...report, findings: [...report.findings, ...trailing] };
}

/** The 1024 bytes of a TDREPORT. Fields that are left out are zero. */
export function buildTdReport(fields: LayoutInput<typeof tdReportLayout>): Uint8Array {
  return tdReportLayout.build(fields);
}

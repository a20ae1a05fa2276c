import { MalformedError, Writer } from "@entresol/wire";
import type { ByteMap } from "./byte-map.ts";
import type { ByteRange, Finding } from "./finding.ts";
import { Layout } from "./layout.ts";
import { type SgxReportFields, sgxReportLayout } from "./sgx-report.ts";

/*
 * What a quote says of the key that signed it (Intel SGX DCAP Quoting Library API, A.4, "QE Certification Data"): who certified the
 * platform, and, as type 6, the report of the quoting enclave whose key it is.
 */

const spec = "Intel SGX DCAP Quoting Library API, A.4";

const ppidLayout = <const S extends number>(size: S, what: string) =>
  new Layout(`PPID of ${size} bytes`, spec, size + 20, [
    { name: "ppid", offset: 0, type: size, clause: "type 1, 2, 3", what },
    {
      name: "cpuSvn",
      offset: size,
      type: 16,
      clause: "type 1, 2, 3",
      what: "security version of the processor",
    },
    {
      name: "pceSvn",
      offset: size + 16,
      type: "u16",
      clause: "type 1, 2, 3",
      what: "of the provisioning enclave",
    },
    {
      name: "pceId",
      offset: size + 18,
      type: "u16",
      clause: "type 1, 2, 3",
      what: "of the provisioning enclave",
    },
  ]);
/** By the type of certification data. */
export const ppidLayouts = {
  1: ppidLayout(16, "PPID, plain"),
  2: ppidLayout(256, "PPID, encrypted with RSA-2048 OAEP"),
  3: ppidLayout(384, "PPID, encrypted with RSA-3072 OAEP"),
} as const;

export interface PpidFields {
  readonly ppid: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly pceSvn: number;
  readonly pceId: number;
}

/** The quoting enclave's report, signed by the platform's key, that vouches for the attestation key. */
export interface QeReportCertification {
  readonly report: SgxReportFields;
  /** What the platform's key signed: a view. */
  readonly reportBytes: Uint8Array;
  /** R and S, 32 bytes each, big-endian. */
  readonly reportSignature: Uint8Array;
  readonly authData: Uint8Array;
  readonly certification: CertificationData;
}

export type CertificationData = ByteRange &
  (
    | { readonly type: 1 | 2 | 3; readonly kind: "ppid"; readonly fields: PpidFields }
    /** One certificate, PEM. */
    | { readonly type: 4; readonly kind: "pck-certificate"; readonly data: Uint8Array }
    /** PEM: the PCK certificate first, the root last. */
    | { readonly type: 5; readonly kind: "pck-chain"; readonly data: Uint8Array }
    | { readonly type: 6; readonly kind: "qe-report"; readonly qe: QeReportCertification }
    | { readonly type: 7; readonly kind: "platform-manifest"; readonly data: Uint8Array }
    | { readonly type: number; readonly kind: "unknown"; readonly data: Uint8Array }
  );

const headLayout = new Layout("certification data", spec, 6, [
  {
    name: "type",
    offset: 0,
    type: "u16",
    clause: "certification data",
    what: "kind of certification data, 1 to 7",
  },
  { name: "size", offset: 2, type: "u32", clause: "certification data", what: "bytes that follow" },
]);
const qeLayout = new Layout("QE report certification data", spec, 450, [
  { name: "report", offset: 0, type: sgxReportLayout, clause: "type 6", what: "of the quoting enclave" },
  { name: "reportSignature", offset: 384, type: 64, clause: "type 6", what: "ECDSA by the PCK" },
  { name: "authDataSize", offset: 448, type: "u16", clause: "type 6", what: "bytes of authentication data" },
]);
export const certificationLayouts = { head: headLayout, qe: qeLayout } as const;

/** Where parsing notes what it finds. */
export interface Notes {
  readonly map: ByteMap;
  readonly findings: Finding[];
}

/** QE report, its signature, authentication data and certification data, from `at`; they must end at `end`. */
export function readQeReport(
  bytes: Uint8Array,
  at: number,
  end: number,
  path: string,
  notes: Notes,
): QeReportCertification {
  const { report, reportSignature, authDataSize } = qeLayout.read(bytes, at, end);
  notes.map.structure(path, qeLayout, at);
  notes.findings.push(...qeLayout.findings(bytes, at, path));
  const authAt = at + qeLayout.size;
  if (authDataSize > end - authAt) {
    throw new MalformedError(
      "truncated",
      at + 448,
      spec,
      `${authDataSize} bytes of authentication data, ${end - authAt} left`,
    );
  }
  notes.map.field(`${path}authData`, authAt, authDataSize, `${spec}, type 6`, "QE authentication data");
  const next = authAt + authDataSize;
  const certification = readCertificationData(bytes, next, end, `${path}certification.`, notes, true);
  return {
    report,
    reportBytes: bytes.subarray(at, at + sgxReportLayout.size),
    reportSignature,
    authData: bytes.subarray(authAt, authAt + authDataSize),
    certification,
  };
}

/**
 * Certification data from `at`; it must end at `end`. `nested`: it is that of a QE report. Throws MalformedError: `truncated`,
 * `bad-value`, `trailing-bytes`.
 */
export function readCertificationData(
  bytes: Uint8Array,
  at: number,
  end: number,
  path: string,
  notes: Notes,
  nested: boolean,
): CertificationData {
  const { type, size } = headLayout.read(bytes, at, end);
  notes.map.structure(path, headLayout, at);
  const from = at + headLayout.size;
  if (size > end - from) {
    throw new MalformedError(
      "truncated",
      at + 2,
      spec,
      `${size} bytes of certification data, ${end - from} left`,
    );
  }
  if (size < end - from) {
    throw new MalformedError(
      "trailing-bytes",
      from + size,
      spec,
      `${end - from - size} bytes behind the certification data`,
    );
  }
  const range: ByteRange = { offset: at, length: headLayout.size + size };
  const data = bytes.subarray(from, end);
  const noted = (what: string) => notes.map.field(`${path}data`, from, size, `${spec}, type ${type}`, what);
  switch (type) {
    case 1:
    case 2:
    case 3: {
      const layout: Layout = ppidLayouts[type];
      if (size !== layout.size) {
        throw new MalformedError(
          "bad-value",
          at + 2,
          spec,
          `type ${type} has ${layout.size} bytes, not ${size}`,
        );
      }
      notes.map.structure(path, layout, from);
      return { ...range, type, kind: "ppid", fields: ppidLayouts[type].read(bytes, from) };
    }
    case 4:
      noted("PCK certificate, PEM");
      return { ...range, type, kind: "pck-certificate", data };
    case 5:
      noted("PCK certificate chain, PEM");
      return { ...range, type, kind: "pck-chain", data };
    case 6:
      // A quoting enclave that vouches for a quoting enclave is not defined, and would let a quote choose how deep it is.
      if (nested)
        throw new MalformedError(
          "bad-value",
          at,
          spec,
          "a QE report within the certification of a QE report",
        );
      return { ...range, type, kind: "qe-report", qe: readQeReport(bytes, from, end, path, notes) };
    case 7:
      noted("platform manifest");
      return { ...range, type, kind: "platform-manifest", data };
    default:
      noted("unknown");
      notes.findings.push({
        kind: "unknown-value",
        path: `${path}type`,
        offset: at,
        length: 2,
        spec,
        detail: `certification data of type ${type}`,
      });
      return { ...range, type, kind: "unknown", data };
  }
}

/** What a builder takes: the bytes of a type as they stand, or a QE report. */
export type CertificationInput =
  | { readonly type: number; readonly data: Uint8Array }
  | { readonly type: 6; readonly qe: QeReportInput };
export interface QeReportInput {
  /** 384 bytes. */
  readonly report: Uint8Array;
  readonly reportSignature: Uint8Array;
  readonly authData: Uint8Array;
  readonly certification: CertificationInput;
}

export function buildQeReport({
  report,
  reportSignature,
  authData,
  certification,
}: QeReportInput): Uint8Array {
  const head = qeLayout.build({
    report: sgxReportLayout.read(report),
    reportSignature,
    authDataSize: authData.length,
  });
  return new Writer().bytes(head).bytes(authData).bytes(buildCertificationData(certification)).finish();
}

export function buildCertificationData(input: CertificationInput): Uint8Array {
  const data = "qe" in input ? buildQeReport(input.qe) : input.data;
  const head = headLayout.build({ type: input.type, size: data.length });
  return new Writer().bytes(head).bytes(data).finish();
}

/** Data of type 1, 2 or 3. */
export function buildPpid(type: 1 | 2 | 3, fields: PpidFields): Uint8Array {
  return ppidLayouts[type].build(fields);
}

/** What was read, as a builder takes it. */
export function certificationInput(data: CertificationData): CertificationInput {
  switch (data.kind) {
    case "ppid":
      return { type: data.type, data: buildPpid(data.type, data.fields) };
    case "qe-report":
      return { type: 6, qe: qeReportInput(data.qe) };
    default:
      return { type: data.type, data: data.data };
  }
}

export function qeReportInput(qe: QeReportCertification): QeReportInput {
  return {
    report: qe.reportBytes,
    reportSignature: qe.reportSignature,
    authData: qe.authData,
    certification: certificationInput(qe.certification),
  };
}

import { TPM_GENERATED } from "@entresol/tpm-types";
import { snpCertificateGuids } from "./certificate-table.ts";
import { guidText } from "./guid.ts";
import { HCL_SIGNATURE } from "./hcl-report.ts";
import { SNP_REPORT_SIZE, snpReportVersions } from "./snp-report.ts";
import { SVSM_SERVICES_GUID } from "./svsm-attestation.ts";
import { TD_REPORT_SIZE, TEE_TYPE_TDX } from "./td-report.ts";

/* What bytes that somebody hands over are meant to be, by their first bytes. */

export type EvidenceKind =
  | "snp-report"
  | "snp-certificate-table"
  | "quote"
  | "td-report"
  | "hcl-report"
  | "svsm-manifest"
  | "tpm-quote"
  | "event-log"
  | "json"
  | "pem"
  | "der";

/** "Spec ID Event03" behind the head of the first event. */
const logSignature = "Spec ID Event03";

/**
 * The kind that `bytes` begin like; undefined for no kind that is known. A guess for a user's convenience: whether they are such
 * evidence says its parser, and whether they are true the verifier.
 */
export function identifyEvidence(bytes: Uint8Array): EvidenceKind | undefined {
  if (bytes.length < 4) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = view.getUint32(0, true);
  if (first === HCL_SIGNATURE) return "hcl-report";
  if (view.getUint32(0) === TPM_GENERATED) return "tpm-quote";
  if (bytes.length >= 48 && isText(bytes, 32, logSignature)) return "event-log";
  if (bytes.length >= 48 && [3, 4, 5].includes(first & 0xffff)) {
    const teeType = view.getUint32(4, true);
    // An SNP report has its guest's SVN there, and no attestation key type in its version.
    if (first >>> 16 !== 0 && (teeType === 0 || teeType === TEE_TYPE_TDX)) return "quote";
  }
  if (bytes.length >= SNP_REPORT_SIZE && snpReportVersions.includes(first)) return "snp-report";
  if (bytes.length >= TD_REPORT_SIZE && bytes[0] === TEE_TYPE_TDX && bytes[1] === 0) return "td-report";
  if (bytes.length >= 24) {
    if (guidText(bytes, "uefi") === SVSM_SERVICES_GUID) return "svsm-manifest";
    if (snpCertificateGuids.has(guidText(bytes, "text")) || snpCertificateGuids.has(guidText(bytes, "uefi")))
      return "snp-certificate-table";
  }
  if (isText(bytes, 0, "-----BEGIN ")) return "pem";
  if (bytes[0] === 0x30 && bytes[1]! >= 0x80) return "der";
  let at = 0;
  while (at < bytes.length && [0x20, 0x09, 0x0a, 0x0d].includes(bytes[at]!)) at++;
  return bytes[at] === 0x7b || bytes[at] === 0x5b ? "json" : undefined;
}

function isText(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

export { type Base64Alphabet, decodeBase64, encodeBase64 } from "./base64.ts";
export { ByteMap, type MappedField, type Parsed } from "./byte-map.ts";
export {
  buildCertificateTable,
  type CertificateTable,
  type CertificateTableEntry,
  type CertificateTableInput,
  parseCertificateTable,
  type SnpCertificateKind,
  snpCertificateGuids,
} from "./certificate-table.ts";
export type {
  CertificationData,
  CertificationInput,
  PpidFields,
  QeReportCertification,
  QeReportInput,
} from "./certification-data.ts";
export { buildPpid } from "./certification-data.ts";
export * from "./event-log/index.ts";
export type { ByteRange, Finding, FindingKind } from "./finding.ts";
export { type GuidOrder, guidBytes, guidText } from "./guid.ts";
export {
  buildHclClaims,
  HCL_AK,
  HCL_EK,
  HCL_TRANSFER_KEY,
  type HclClaims,
  type HclClaimsInput,
  type HclKey,
  parseHclClaims,
} from "./hcl-claims.ts";
export {
  buildHclReport,
  HCL_HARDWARE_REPORT_SIZE,
  type HclHardware,
  type HclHashAlgorithm,
  type HclReport,
  type HclReportInput,
  parseHclReport,
} from "./hcl-report.ts";
export { type EvidenceKind, identifyEvidence } from "./identify.ts";
export {
  type BitRow,
  type FieldRow,
  Layout,
  type LayoutInput,
  type LayoutValues,
  namesOfBits,
} from "./layout.ts";
export { encodePem, type PemBlock, parsePem } from "./pem.ts";
export {
  ATTESTATION_KEY_P256,
  buildQuote,
  buildSignedPart,
  INTEL_QE_VENDOR_ID,
  parseQuote,
  type Quote,
  type QuoteBody,
  type QuoteBodyType,
  type QuoteHeader,
  type QuoteInput,
  quoteBodies,
  quoteInput,
  TEE_TYPE_SGX,
} from "./quote.ts";
export {
  type SgxReportFields,
  sgxAttributeBits,
  sgxAttributesOffset,
  sgxReportLayout,
} from "./sgx-report.ts";
export {
  buildSnpIdAuth,
  buildSnpIdBlock,
  parseSnpIdAuth,
  parseSnpIdBlock,
  type SnpIdAuth,
  type SnpIdBlock,
} from "./snp-id-block.ts";
export {
  buildSnpReport,
  parseSnpReport,
  SNP_REPORT_SIZE,
  SNP_SIGNED_SIZE,
  type SnpReport,
  type SnpReportFields,
  snpFlagBits,
  snpPlatformInfoBits,
  snpPolicyBits,
  snpReportLayout,
  snpReportVersions,
  snpSignatureFields,
} from "./snp-report.ts";
export {
  buildSnpTcb,
  type SnpProduct,
  type SnpProductLine,
  type SnpTcb,
  type SnpTcbLayoutName,
  snpProduct,
  snpProducts,
  snpTcb,
} from "./snp-tcb.ts";
export {
  defaultJsonLimits,
  type JsonArray,
  type JsonBoolean,
  type JsonKind,
  type JsonLimits,
  type JsonNode,
  type JsonNull,
  type JsonNumber,
  type JsonObject,
  type JsonOf,
  type JsonString,
  type JsonValue,
  jsonMember,
  jsonOf,
  jsonOptional,
  jsonValue,
  parseStrictJson,
} from "./strict-json.ts";
export {
  buildSvsmManifest,
  parseSvsmManifest,
  parseVtpmManifest,
  SVSM_SERVICES_GUID,
  type SvsmManifest,
  type SvsmService,
  type SvsmServiceKind,
  svsmReportDataInput,
  svsmServiceGuids,
} from "./svsm-attestation.ts";
export {
  buildTdReport,
  parseTdReport,
  TD_REPORT_SIZE,
  type TdBody10Fields,
  type TdBody15Fields,
  type TdBodyExFields,
  type TdReport,
  type TdReportFields,
  TEE_TYPE_TDX,
  tdAttributeBits,
  tdBody10Layout,
  tdBody15Layout,
  tdBodyExLayout,
} from "./td-report.ts";
export {
  buildTpmAttest,
  buildTpmPublic,
  buildTpmSignature,
  parseTpmAttest,
  parseTpmPublic,
  parseTpmQuote,
  parseTpmSignature,
  type QuotedBank,
  type TpmPublic,
  type TpmQuote,
  type TpmSignature,
} from "./tpm-evidence.ts";
export { buildTsmFiles, parseTsmReport, type TsmFiles, type TsmReport } from "./tsm-report.ts";
export { buildVtpmEvidence, parseVtpmEvidence, type VtpmEvidence } from "./vtpm-evidence-json.ts";

export { appraise, type Decision, judge, type VerdictName } from "./appraise.ts";
export type { CheckDefinition, CheckResult, CheckState, CheckTable, Place } from "./check.ts";
export type { VerificationOptions } from "./context.ts";
export { defaultProvider } from "./crypto/default-provider.ts";
export { nativeProvider } from "./crypto/native.ts";
export type { CryptoProvider, CurveName, HashName, PublicKey, SignatureScheme } from "./crypto/provider.ts";
export { type Subtle, webProvider } from "./crypto/web.ts";
export { EvidenceError, type EvidenceErrorCode } from "./errors.ts";
export type { EvidenceKind, InputHash, Outcome, TcbState, TcbStatus, Verified, Window } from "./outcome.ts";
export type { Reason } from "./policy/rules.ts";
export {
  defaultPolicy,
  type Policy,
  type PolicyInput,
  parsePolicy,
  policyJsonSchema,
} from "./policy/schema.ts";
export { amdKeyFigures, type SnpLine } from "./snp/amd-keys.ts";
export { type SnpCheckId, snpChecks } from "./snp/checks.ts";
export { type SnpClaims, type SnpEvidence, type SnpOptions, verifySnp } from "./snp/verify.ts";
export { type QuoteCheckId, quoteChecks } from "./tdx/checks.ts";
export { parseQeIdentity, parseTcbInfo, type QeIdentity, type TcbInfo } from "./tdx/collateral.ts";
export { intelRootFigure } from "./tdx/intel-root.ts";
export type { PckExtensions } from "./tdx/pck.ts";
export { converge, type Judgement, judgeEnclave, judgeTd } from "./tdx/tcb-level.ts";
export {
  type QuoteClaims,
  type QuoteCollateral,
  type QuoteEvidence,
  type QuoteOptions,
  verifySgx,
  verifyTdx,
} from "./tdx/verify.ts";
export { anchorOf, type TrustAnchor } from "./x509/anchor.ts";
export { CertificateCache } from "./x509/cache.ts";

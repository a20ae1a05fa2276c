export { appraise, type Decision, judge, unappraised, type VerdictName } from "./appraise.ts";
export { type TdxLogClaims, type TdxLogEvidence, type TdxLogOptions, verifyTdxLog } from "./ccel/verify.ts";
export type { CheckDefinition, CheckResult, CheckState, CheckTable, Place } from "./check.ts";
export {
  type BundleEntry,
  type CollateralBundle,
  makeBundle,
  readBundle,
  writeBundle,
} from "./collateral/bundle.ts";
export { CollateralClient, type CollateralClientOptions, type Fetch } from "./collateral/client.ts";
export { Completion, type Fetched } from "./collateral/completion.ts";
export { publicServices, type ServiceBases } from "./collateral/services.ts";
export { type CollateralStore, MemoryStore, type StoredAnswer } from "./collateral/store.ts";
export type { VerificationOptions } from "./context.ts";
export { defaultProvider } from "./crypto/default-provider.ts";
export { nativeProvider } from "./crypto/native.ts";
export type { CryptoProvider, CurveName, HashName, PublicKey, SignatureScheme } from "./crypto/provider.ts";
export { type Subtle, webProvider } from "./crypto/web.ts";
export { EvidenceError, type EvidenceErrorCode } from "./errors.ts";
export { type LogCheckId, logChecks } from "./event-log/checks.ts";
export type { LogClaims, ProvenBank, ProvenEvent } from "./event-log/replay.ts";
export { type HclCheckId, hclChecks } from "./hcl/checks.ts";
export { hclEvidenceOf, verifyHclJson } from "./hcl/evidence-json.ts";
export {
  type HardwareClaims,
  type HclEvidence,
  type HclOptions,
  type ParavisorClaims,
  type VtpmOptions,
  verifyHcl,
} from "./hcl/verify.ts";
export type { EvidenceKind, InputHash, Outcome, TcbState, TcbStatus, Verified, Window } from "./outcome.ts";
export type { Reason } from "./policy/rules.ts";
export {
  defaultPolicy,
  type Policy,
  type PolicyInput,
  parsePolicy,
  parsePolicyText,
  policyJsonSchema,
} from "./policy/schema.ts";
export {
  type TrustCategory,
  type TrustClaim,
  type TrustReason,
  type TrustTier,
  type TrustVector,
  tierOf,
  worstTier,
} from "./policy/trust-vector.ts";
export * from "./reference/index.ts";
export { adviceFor } from "./report/advice.ts";
export { decisivePlaces, type Fact, factsOf, signersOf, summaryOf, todoOf } from "./report/facts.ts";
export { type Report, reportOf } from "./report/report.ts";
export { amdKeyFigures, type SnpLine } from "./snp/amd-keys.ts";
export { type SnpCheckId, snpChecks } from "./snp/checks.ts";
export type { SnpClaims, SnpEvidence, SnpOptions } from "./snp/evidence.ts";
export type { LaunchIdentity } from "./snp/id-block.ts";
export { verifySnp } from "./snp/verify.ts";
export { openBundles } from "./submission/bundles.ts";
export {
  type Judgement as SubmissionJudgement,
  type JudgementOptions,
  judgeSubmission,
} from "./submission/judgement.ts";
export { type KindRow, kinds, type Shown } from "./submission/kinds.ts";
export { type Role, roleOfName } from "./submission/roles.ts";
export { type NamedBytes, type Remark, Submission } from "./submission/submission.ts";
export { type SvsmCheckId, svsmChecks } from "./svsm/checks.ts";
export {
  type ActivatedKey,
  type SvsmClaims,
  type SvsmEvidence,
  type SvsmOptions,
  verifySvsm,
} from "./svsm/verify.ts";
export { type QuoteCheckId, quoteChecks } from "./tdx/checks.ts";
export { parseQeIdentity, parseTcbInfo, type QeIdentity, type TcbInfo } from "./tdx/collateral.ts";
export { type CollateralComparison, type CollateralView, compareCollateral } from "./tdx/compare.ts";
export type { QuoteClaims, QuoteCollateral, QuoteEvidence, QuoteOptions } from "./tdx/evidence.ts";
export { intelRootFigure } from "./tdx/intel-root.ts";
export type { PckExtensions } from "./tdx/pck.ts";
export { converge, type Judgement, judgeEnclave, judgeTd } from "./tdx/tcb-level.ts";
export { verifySgx, verifyTdx } from "./tdx/verify.ts";
export {
  appraisalOf,
  type Ear,
  type EarAppraisal,
  type EarOptions,
  type Evaluation,
  earOf,
  earProfile,
  evaluationOf,
  policyHash,
} from "./token/ear.ts";
export {
  type SigningKey,
  signingKey,
  type TokenAlgorithm,
  type VerificationKey,
  verificationKey,
} from "./token/keys.ts";
export { type Replay, replayEar } from "./token/replay.ts";
export { type EarExpectations, earJson, signEarCwt, signEarJwt, verifyEar } from "./token/token.ts";
export { type TpmCheckId, tpmChecks } from "./tpm/checks.ts";
export type { PcrValues, QuotedPcr, TpmClaims, TpmQuoteEvidence } from "./tpm/quote.ts";
export { anchorOf, type TrustAnchor } from "./x509/anchor.ts";
export { CertificateCache } from "./x509/cache.ts";

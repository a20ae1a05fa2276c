import type { TdxLogClaims } from "./ccel/verify.ts";
import type { CheckResult } from "./check.ts";
import { EvidenceError } from "./errors.ts";
import type { ParavisorClaims } from "./hcl/verify.ts";
import { type Outcome, type TcbState, Verified } from "./outcome.ts";
import { hclRules, svsmRules, tpmRules } from "./policy/chain-rules.ts";
import { sgxRules, tdxRules } from "./policy/quote-rules.ts";
import { type Reason, Rules, type Source } from "./policy/rules.ts";
import { defaultPolicy, type Policy, type PolicyInput, parsePolicy } from "./policy/schema.ts";
import { snpRules } from "./policy/snp-rules.ts";
import { type TrustVector, trustVectorOf } from "./policy/trust-vector.ts";
import type { SnpClaims } from "./snp/evidence.ts";
import type { SvsmClaims } from "./svsm/verify.ts";
import type { QuoteClaims } from "./tdx/evidence.ts";

/** accepted: verified, and all that the policy demands. rejected: something is wrong. unverified: something is missing to tell. */
export type VerdictName = "accepted" | "rejected" | "unverified";

export interface Decision {
  readonly verdict: VerdictName;
  /** Every demand of the policy that says something about this evidence. Empty for evidence that was not verified. */
  readonly reasons: readonly Reason[];
  /** Checks that failed. */
  readonly failed: readonly CheckResult[];
  /** Checks that did not run, and which the policy does not let pass. */
  readonly missing: readonly CheckResult[];
  /** The same in the terms of AR4SI. */
  readonly trustVector: TrustVector;
  /** What the evidence was held against, with every default filled in. */
  readonly policy: Policy;
}

/**
 * Holds verified evidence against a policy. Nothing that is not verified can come here, by its type. Throws `EvidenceError` `bad-policy`
 * for a policy that does not follow its schema, `bad-argument` for evidence that no verifier made.
 */
export function appraise(verified: Verified, policy: PolicyInput = defaultPolicy): Decision {
  // Types are not there at run time: an object that only looks like evidence has passed no check.
  if (!(verified instanceof Verified))
    throw new EvidenceError("bad-argument", "only what a verifier of this package found can be appraised");
  const whole = parsePolicy(policy);
  const rules = new Rules(whole.mayBeSkipped, verified.checks);
  if (whole.kinds !== undefined)
    rules.listed("/kinds", whole.kinds, verified.kind, "the kind of evidence", formOf(verified));
  demands(verified, whole, rules);
  const missing = notRun(verified.checks, whole);
  const { reasons, debuggable } = rules;
  const verdict = reasons.some(({ holds, unknown }) => !holds && !unknown)
    ? "rejected"
    : missing.length > 0 || reasons.some(({ unknown }) => unknown)
      ? "unverified"
      : "accepted";
  return {
    verdict,
    reasons,
    failed: [],
    missing,
    trustVector: trustVectorOf({ checks: verified.checks, reasons, missing, tcb: verified.tcb, debuggable }),
    policy: whole,
  };
}

/**
 * The whole way: evidence of which a check failed is rejected, what is verified is appraised. Of the rest nothing is known to be wrong, and
 * nothing to be right.
 */
export function judge(outcome: Outcome, policy: PolicyInput = defaultPolicy): Decision {
  return outcome.verified === undefined
    ? unappraised(outcome.checks, outcome.tcb, policy)
    : appraise(outcome.verified, policy);
}

/** The decision on evidence that no policy was held against: rejected when a check failed, else unverified. */
export function unappraised(
  checks: readonly CheckResult[] = [],
  tcb: TcbState | undefined = undefined,
  policy: PolicyInput = defaultPolicy,
): Decision {
  const whole = parsePolicy(policy);
  const failed = checks.filter(({ result }) => result === "failed");
  const missing = notRun(checks, whole);
  return {
    verdict: failed.length > 0 ? "rejected" : "unverified",
    reasons: [],
    failed,
    missing,
    trustVector: trustVectorOf({ checks, reasons: [], missing, tcb, debuggable: undefined }),
    policy: whole,
  };
}

/** What told the kind: the first check of every table is that of the form. */
function formOf({ checks: [form] }: Verified): Source {
  return { places: form?.places ?? [], spec: form?.spec ?? "", check: form?.id ?? "" };
}

const notRun = (checks: readonly CheckResult[], { mayBeSkipped }: Policy): CheckResult[] => {
  const rules = new Rules(mayBeSkipped);
  return checks.filter(({ id, result }) => result === "not-run" && !rules.mayBeSkipped(id));
};

/** Every kind is held against the demands on a TPM: whoever makes some does not take evidence that has none. */
function demands(verified: Verified, policy: Policy, rules: Rules): void {
  const { kind, claims, at } = verified;
  switch (kind) {
    case "snp":
      snpRules(policy.snp, claims as SnpClaims, rules);
      tpmRules(policy.tpm, undefined, undefined, rules);
      return;
    case "tdx":
      tdxRules(policy.tdx, claims as QuoteClaims, at, rules);
      tpmRules(policy.tpm, undefined, (claims as Partial<TdxLogClaims>).log, rules);
      return;
    case "sgx":
      sgxRules(policy.sgx, claims as QuoteClaims, at, rules);
      tpmRules(policy.tpm, undefined, undefined, rules);
      return;
    case "hcl-snp":
    case "hcl-tdx":
      hclRules(policy, claims as ParavisorClaims, at, rules);
      return;
    case "svsm-snp":
      svsmRules(policy, claims as SvsmClaims, rules);
      return;
    default:
      kind satisfies never;
  }
}

import type { Decision } from "../appraise.ts";
import type { CheckResult } from "../check.ts";
import { isoTime } from "../context.ts";
import type { Judgement } from "../submission/judgement.ts";
import { claimsJson, type Json } from "./claims.ts";
import { shortOf } from "./facts.ts";

/** A judgement for machines: what `entresol-verify --json` prints, and the service answers. */
export interface Report {
  readonly verdict: Decision["verdict"];
  /** Only where something could be judged at all. */
  readonly kind: string | null;
  readonly evidence: string;
  /** ISO 8601: the time that was judged for. */
  readonly at: string | null;
  readonly tcb: {
    readonly status: string;
    readonly platform: string;
    readonly module: string | null;
    readonly qe: string;
    readonly advisories: readonly string[];
  } | null;
  /** By how much the platform is short of what Intel calls current, a line each. */
  readonly shortfall: readonly string[];
  readonly checks: readonly {
    readonly id: string;
    readonly result: CheckResult["result"];
    readonly title: string;
    readonly spec: string;
    readonly detail: string;
    readonly places: CheckResult["places"];
  }[];
  /** What the policy demanded, and what was found. */
  readonly reasons: Decision["reasons"];
  /** Checks that did not run, and which the policy does not let pass. */
  readonly missing: readonly string[];
  /** AR4SI: what a relying party may trust, in the terms of RATS. */
  readonly trustVector: Decision["trustVector"];
  readonly claims: Json;
  readonly inputs: readonly { readonly name: string; readonly sha256: string }[];
  /** When the collateral that was used is valid: both ends included. */
  readonly window: { readonly from: string; readonly to: string } | null;
  readonly remarks: readonly string[];
  /** Why nothing could be judged. */
  readonly problem: string | null;
}

/** The report of a judgement. `also`: further inputs of it, such as the policy's file. */
export function reportOf(judgement: Judgement, also: Report["inputs"] = []): Report {
  const { outcome, decision, kind, name, problem, remarks } = judgement;
  const tcb = outcome?.tcb;
  return {
    verdict: decision.verdict,
    kind: outcome?.kind ?? kind?.name ?? null,
    evidence: name,
    at: outcome === undefined ? null : isoTime(outcome.at),
    tcb:
      tcb === undefined
        ? null
        : {
            status: tcb.status,
            platform: tcb.platform,
            module: tcb.module ?? null,
            qe: tcb.qe,
            advisories: tcb.advisories,
          },
    shortfall: shortOf(judgement),
    checks: outcome?.checks ?? [],
    reasons: decision.reasons,
    missing: decision.missing.map(({ id }) => id),
    trustVector: decision.trustVector,
    claims: outcome === undefined ? {} : claimsJson(outcome),
    inputs: [...(outcome?.inputs ?? []), ...also],
    window:
      outcome?.window === undefined
        ? null
        : { from: isoTime(outcome.window.from), to: isoTime(outcome.window.to) },
    remarks: remarks.map((remark) => `${remark.name}: ${remark.text}`),
    problem: problem ?? null,
  };
}

import { contextOf } from "../context.ts";
import type { Outcome, TcbState } from "../outcome.ts";
import type { QuoteClaims, QuoteCollateral, QuoteEvidence, QuoteOptions } from "./evidence.ts";
import { verifySgx, verifyTdx } from "./verify.ts";

/** What one set of collateral makes of a quote. */
export interface CollateralView {
  /** As the caller calls the set: "early", "standard". */
  readonly name: string;
  readonly outcome: Outcome<QuoteClaims>;
}

export interface CollateralComparison {
  /** In the order in which the sets were given. */
  readonly views: readonly CollateralView[];
  /** Does each set come to the same: verified or not, and the same status in whole and in parts? */
  readonly agree: boolean;
  /** What differs, in words: a line for each part of the status, each check and the advisories that not all sets have. */
  readonly differences: readonly string[];
}

const parts = ["status", "platform", "module", "qe"] as const satisfies readonly (keyof TcbState)[];

/**
 * One quote under several sets of collateral: Intel publishes each TCB recovery early, for who has updated already, and as a standard later,
 * for who needs time, and the two can judge one platform differently. The report of each names what it used (evaluation numbers).
 * Throws `EvidenceError` `bad-argument` for a time that is none.
 */
export async function compareCollateral(
  kind: "tdx" | "sgx",
  evidence: Omit<QuoteEvidence, "collateral">,
  sets: Readonly<Record<string, QuoteCollateral>>,
  options: QuoteOptions = {},
): Promise<CollateralComparison> {
  const { at, cache } = contextOf(options);
  const verify = kind === "tdx" ? verifyTdx : verifySgx;
  const views: CollateralView[] = [];
  for (const [name, collateral] of Object.entries(sets))
    views.push({ name, outcome: await verify({ ...evidence, collateral }, { ...options, at, cache }) });

  const differences: string[] = [];
  const differ = (what: string, of: (outcome: Outcome<QuoteClaims>) => string): boolean => {
    const found = views.map(({ name, outcome }) => ({ name, value: of(outcome) }));
    if (new Set(found.map(({ value }) => value)).size < 2) return false;
    differences.push(`${what}: ${found.map(({ name, value }) => `${name} ${value}`).join(", ")}`);
    return true;
  };
  let agree = !differ("verified", ({ verified }) => (verified === undefined ? "no" : "yes"));
  for (const part of parts)
    if (differ(part === "status" ? "TCB status" : part, ({ tcb }) => tcb?.[part] ?? "unknown")) agree = false;
  differ("advisories", ({ tcb }) => tcb?.advisories.join(" ") || "none");
  differ("evaluation numbers", ({ claims }) => {
    const numbers = claims?.evaluationDataNumbers;
    return numbers === undefined ? "unknown" : `${numbers.tcbInfo}/${numbers.qeIdentity}`;
  });
  for (const { id } of views[0]?.outcome.checks ?? [])
    differ(id, ({ checks }) => checks.find((one) => one.id === id)?.result ?? "not judged");
  return { views, agree, differences };
}

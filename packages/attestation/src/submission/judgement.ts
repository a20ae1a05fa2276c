import { type Decision, judge, unappraised } from "../appraise.ts";
import type { Outcome } from "../outcome.ts";
import type { Policy } from "../policy/schema.ts";
import type { QuoteCollateral } from "../tdx/evidence.ts";
import type { KindOptions, KindRow, Shown } from "./kind.ts";
import { kindNamed, kindOf } from "./kinds.ts";
import { evidenceRoles, type Role } from "./roles.ts";
import type { Remark, Submission } from "./submission.ts";

/** How a submission is to be judged. */
export interface JudgementOptions extends KindOptions {
  /** Name of a kind, where it is not to be told from the evidence. */
  readonly kind?: string;
  readonly policy?: Policy;
}

/** What came of a submission, with all that an explanation needs. */
export interface Judgement {
  /** What the submission is called: a path, as a rule. */
  readonly name: string;
  readonly kind: KindRow | undefined;
  /** Undefined when there was nothing that could be verified; then `problem` says why. */
  readonly outcome: Outcome | undefined;
  readonly decision: Decision;
  readonly problem: string | undefined;
  readonly remarks: readonly Remark[];
  readonly shown: ReadonlyMap<string, Shown>;
  /** What Intel publishes, as it was judged by. */
  readonly collateral: QuoteCollateral;
  readonly policy: Policy | undefined;
}

/** A judgement that could not be made. */
export function unjudged(name: string, problem: string, remarks: readonly Remark[] = []): Judgement {
  return {
    name,
    kind: undefined,
    outcome: undefined,
    decision: unappraised(),
    problem,
    remarks,
    shown: new Map(),
    collateral: {},
    policy: undefined,
  };
}

/** Of these there is one in a piece of evidence: a second would be passed over, whatever it says. */
const single: ReadonlySet<Role> = new Set<Role>([
  ...evidenceRoles,
  "tpm-signature",
  "event-log",
  "ccel",
  "id-block",
  "id-auth",
]);

const namesOf = (submission: Submission, roles: readonly Role[]): string =>
  [...new Set(roles.flatMap((role) => submission.named(role).map(({ name }) => name)))].join(", ");

/** What to tell of a submission that no kind fits. */
function nothingKnown(submission: Submission): string {
  const { roles, remarks } = submission;
  if (submission.hasEvidence)
    return `${namesOf(
      submission,
      roles.filter((role) => evidenceRoles.has(role)),
    )}: no evidence by itself: the report or quote that it goes with is missing`;
  return roles.length > 0 && remarks.length === 0
    ? `there is no evidence here, only what goes with it: give the report or quote besides ${namesOf(submission, roles)}`
    : "this is no evidence of a kind that is known: a report or quote is needed, or a folder that has one under a known name (--help)";
}

/** Finds out what a submission is, verifies it and holds it against the policy. Never throws because of what was submitted. */
export async function judgeSubmission(
  name: string,
  submission: Submission,
  { kind: wanted, policy, ...options }: JudgementOptions,
): Promise<Judgement> {
  const { remarks } = submission;
  const kind = wanted === undefined ? kindOf(submission) : kindNamed(wanted);
  if (kind === undefined)
    return unjudged(
      name,
      wanted === undefined ? nothingKnown(submission) : `"${wanted}" is no kind of evidence that is known`,
      remarks,
    );
  if (!kind.fits(submission) && !submission.has(kind.main))
    return unjudged(name, `there is no ${kind.title} here`, remarks);
  const several = submission.roles.filter((role) => single.has(role) && submission.named(role).length > 1);
  if (several.length > 0)
    return unjudged(
      name,
      `only one of these can be meant: ${namesOf(submission, several)}. Judge them one at a time`,
      remarks,
    );
  const contradicted = kind.contradicted?.(submission) ?? [];
  if (contradicted.length > 0)
    return unjudged(
      name,
      `${contradicted.join(", ")}: not what the other evidence here holds in its place. Judge them one at a time`,
      remarks,
    );
  // Who is told "accepted" takes all that was handed over for accepted.
  const besides = submission.roles.filter((role) => evidenceRoles.has(role) && !kind.evidence.includes(role));
  if (besides.length > 0) {
    const names = namesOf(submission, besides);
    if (wanted === undefined)
      return unjudged(
        name,
        `${names}: no part of this evidence (${kind.title}). Judge it by itself, or say what is to be judged (--kind ${kind.name})`,
        remarks,
      );
    remarks.push({ name: names, text: `not judged: no part of this evidence (${kind.title})` });
  }
  const outcome = await kind.verify(submission, options);
  return {
    name,
    kind,
    outcome,
    decision: judge(outcome, policy),
    problem: undefined,
    remarks,
    shown: kind.shown(submission, outcome),
    collateral: submission.collateral(),
    policy,
  };
}

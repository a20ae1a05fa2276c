import type { CheckResult } from "../check.ts";
import { isoTime } from "../context.ts";
import type { Judgement } from "../submission/judgement.ts";
import { BECAUSE, decisivePlaces, type Fact, factsOf, signersOf, summaryOf, todoOf } from "./facts.ts";
import { hexView, type Marking, plainMarking } from "./hex-view.ts";

/* A judgement for people: what it is, who signed it, what is current, what failed and by how much, what to do. */

/** How words stand out. */
export interface PageStyle {
  good(text: string): string;
  bad(text: string): string;
  doubtful(text: string): string;
  strong(text: string): string;
  dim(text: string): string;
  readonly bytes: Marking;
}

const same = (text: string): string => text;
export const plainStyle: PageStyle = {
  good: same,
  bad: same,
  doubtful: same,
  strong: same,
  dim: same,
  bytes: plainMarking,
};

/** Controls, and what turns the direction of writing. */
const MOVES = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
/** Evidence writes some of the words: nothing of it may move the cursor. */
export const harmless = (text: string): string => text.replace(MOVES, "?");

export interface PageOptions {
  readonly style?: PageStyle;
  /** Every check with what it found, and the decisive bytes. */
  readonly explain?: boolean;
}

/** The page's lines. */
export function pageOf(
  judgement: Judgement,
  { style = plainStyle, explain = false }: PageOptions = {},
): string[] {
  const { outcome, decision, kind, name, problem, policy, remarks } = judgement;
  const { verdict, reasons } = decision;
  const lines: string[] = [];
  const section = (title: string): void => {
    lines.push("", style.strong(title));
  };
  const facts = (list: readonly Fact[]): void => {
    for (const [what, value] of list) lines.push(`  ${style.dim(what.padEnd(14))} ${harmless(value)}`);
  };
  const colour = { accepted: style.good, rejected: style.bad, unverified: style.doubtful }[verdict];
  lines.push(
    `${colour(style.strong(verdict.toUpperCase()))}  ${kind?.title ?? "nothing that could be judged"}`,
  );
  lines.push(`  ${style.dim("evidence".padEnd(14))} ${harmless(name)}`);
  if (outcome !== undefined)
    facts([
      [
        "judged for",
        `${isoTime(outcome.at)}, by ${policy === undefined ? "the default policy" : `the policy ${policy.name === undefined ? "given" : `"${policy.name}"`}`}`,
      ],
    ]);
  for (const remark of remarks) facts([["remark", `${remark.name}: ${remark.text}`]]);
  if (problem !== undefined) facts([["problem", problem]]);
  if (outcome === undefined) return lines;

  const { is, current } = factsOf(judgement);
  if (is.length > 0) {
    section("What it says");
    facts(is);
  }
  const signed = signersOf(judgement);
  if (signed.length > 0) {
    section("Who signed it");
    for (const { id, result, detail } of signed)
      lines.push(`  ${mark(style, result)} ${style.dim(id.padEnd(18))} ${harmless(detail)}`);
  }
  if (current.length > 0 || outcome.window !== undefined) {
    section("What is current");
    facts(current);
    if (outcome.window !== undefined)
      facts([["collateral", `${isoTime(outcome.window.from)} to ${isoTime(outcome.window.to)}`]]);
  }

  section(`What was checked: ${summaryOf(outcome.checks)}`);
  const shown = explain
    ? outcome.checks
    : outcome.checks.filter(({ result, detail }) => result !== "passed" && detail !== BECAUSE);
  if (shown.length === 0) lines.push(style.dim("  (--explain lists the checks and shows the bytes)"));
  for (const check of shown) {
    lines.push(`  ${mark(style, check.result)} ${style.strong(check.id)}: ${check.title}`);
    lines.push(`      ${harmless(check.detail)}`);
    lines.push(style.dim(`      ${check.spec}`));
  }
  const told = explain ? reasons : reasons.filter(({ holds }) => !holds);
  if (told.length > 0) {
    section("What the policy demands");
    for (const { rule, holds, unknown, detail, spec } of told) {
      lines.push(
        `  ${mark(style, holds ? "passed" : unknown ? "not-run" : "failed")} ${style.strong(rule)}: ${harmless(detail)}`,
      );
      lines.push(style.dim(`      ${spec}`));
    }
  }

  const todo = todoOf(judgement);
  if (todo.length > 0) {
    section("What to do");
    for (const one of todo) lines.push(`  - ${one}`);
  }
  if (explain) {
    const view = hexView(judgement.shown, decisivePlaces(judgement), style.bytes);
    if (view.length > 0) {
      section("The bytes that decide");
      lines.push(...view.map((line) => `  ${line}`));
    }
  }
  return lines;
}

function mark(style: PageStyle, result: CheckResult["result"]): string {
  switch (result) {
    case "passed":
      return style.good("ok  ");
    case "failed":
      return style.bad("FAIL");
    case "not-run":
      return style.doubtful("-   ");
    default:
      return result satisfies never;
  }
}

import {
  type Fact,
  factsOf,
  type SubmissionJudgement,
  signersOf,
  summaryOf,
  todoOf,
} from "@entresol/attestation";
import { element, sign } from "./element.ts";
import type { Tone } from "./hex-panel.ts";

const words = {
  accepted: { title: "Accepted", sign: "passed" },
  rejected: { title: "Rejected", sign: "failed" },
  unverified: { title: "Cannot be told", sign: "question" },
} as const;

/** How results are called, for those who do not see the signs. */
export const resultWords: Readonly<Record<Tone, string>> = {
  passed: "passed",
  failed: "failed",
  "not-run": "not run",
};

/** Options of the command line mean nothing here. */
const withoutOptions = (text: string): string => text.replace(/ ?\((?:[^()]*?--[a-z-]+[^()]*)\)/g, "");

const isoTime = (at: number): string =>
  new Date(at)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, " UTC");

/** The detail of a check that was not reached: it explains nothing. */
const UNREACHED = "a check before it did not pass";

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

/** The verdict in a sentence: what decided. */
export function sentenceOf({ outcome, decision, problem }: SubmissionJudgement): string {
  if (problem !== undefined) return sentence(problem);
  const { verdict, reasons, missing } = decision;
  const failed = outcome?.checks.filter(({ result }) => result === "failed") ?? [];
  const refused = reasons.filter(({ holds, unknown }) => !holds && !unknown);
  switch (verdict) {
    case "accepted":
      return "It is genuine, and it is all that the policy demands.";
    case "rejected":
      if (failed[0] !== undefined)
        return `${sentence(failed[0].detail)}${failed.length === 1 ? "" : ` ${failed.length} checks failed.`}`;
      return `It is genuine as far as it was checked, and the policy refuses it: ${refused.map(({ detail }) => detail).join("; ")}.`;
    case "unverified": {
      const open = [
        ...missing.map(({ detail }) => detail),
        ...reasons.filter(({ unknown }) => unknown).map(({ detail }) => detail),
      ];
      const told = [...new Set(open.filter((detail) => detail !== UNREACHED))].join("; ");
      return `Nothing is known to be wrong, but something is missing to tell${told === "" ? "" : `: ${told}`}.`;
    }
    default:
      return verdict satisfies never;
  }
}

/** What is read aloud when a verdict is there. */
export function announcementOf(judgement: SubmissionJudgement): string {
  const { outcome, kind, decision } = judgement;
  const counts = outcome === undefined ? "" : ` ${summaryOf(outcome.checks)}.`;
  return `${words[decision.verdict].title}${kind === undefined ? "" : `: ${kind.title}`}.${counts} ${sentenceOf(judgement)}`;
}

function card(title: string, ...content: readonly Node[]): HTMLElement {
  const id = `card-${title.toLowerCase().replaceAll(" ", "-")}`;
  return element(
    "section",
    { class: "panel card", "aria-labelledby": id },
    element("h3", { id }, title),
    ...content,
  );
}

const isBytes = (text: string): boolean => /^[0-9a-f]{24,}$/.test(text);

function facts(list: readonly Fact[]): HTMLElement {
  const lines = list.flatMap(([name, value]) => [
    element("dt", {}, name),
    element("dd", isBytes(value) ? { class: "hex" } : {}, value),
  ]);
  return element("dl", {}, ...lines);
}

/** Verdict, what to do, and the three things that one wants to know first. `save` is called for the report as a file. */
export function verdictView(
  judgement: SubmissionJudgement,
  ownRoot: string | undefined,
  save: () => void,
  missing: readonly HTMLElement[],
): HTMLElement[] {
  const { outcome, decision, kind, remarks } = judgement;
  const { title, sign: name } = words[decision.verdict];
  const banner = element(
    "header",
    { class: `banner ${decision.verdict}` },
    element("span", { class: "seal" }, sign(name)),
    element(
      "div",
      {},
      element("h2", { id: "verdict-title" }, title),
      element("p", { class: "kind" }, kind?.title ?? "Nothing that could be judged"),
      element("p", {}, sentenceOf(judgement)),
      ...(outcome === undefined
        ? []
        : [
            element(
              "p",
              { class: "hint" },
              `Judged for ${isoTime(outcome.at)} by ${judgement.policy === undefined ? "the default policy" : "your policy"}`,
              ownRoot === undefined ? "" : `, trusting ${ownRoot} instead of AMD's and Intel's root keys`,
            ),
          ]),
    ),
    ...(outcome === undefined
      ? []
      : [element("button", { type: "button", class: "quiet save", click: save }, "Save report (JSON)")]),
  );
  const notes = remarks.map((remark) =>
    element("p", { class: "hint remark" }, `${remark.name}: ${remark.text}`),
  );
  if (outcome === undefined) return [banner, ...notes];

  const { is, current } = factsOf(judgement);
  const cards: HTMLElement[] = [];
  if (is.length > 0) cards.push(card("What it says", facts(is)));
  const signers = signersOf(judgement);
  const side: HTMLElement[] = [];
  if (signers.length > 0)
    side.push(
      card(
        "Who signed it",
        element(
          "ul",
          { class: "signers" },
          ...signers.map(({ result, title: what, detail }) =>
            element(
              "li",
              { class: result },
              sign(result, resultWords[result]),
              element("div", {}, element("p", {}, detail), element("p", { class: "hint" }, what)),
            ),
          ),
        ),
      ),
    );
  const { window } = outcome;
  const valid: Fact[] =
    window === undefined ? [] : [["collateral", `${isoTime(window.from)} to ${isoTime(window.to)}`]];
  if (current.length + valid.length > 0) side.push(card("What is current", facts([...current, ...valid])));
  if (side.length > 0) cards.push(element("div", { class: "stack" }, ...side));
  const todo = todoOf(judgement).map(withoutOptions);
  const advice =
    todo.length === 0
      ? []
      : [
          element(
            "section",
            { class: "panel todo", "aria-labelledby": "todo-title" },
            element("h3", { id: "todo-title" }, "What to do"),
            element("ul", {}, ...todo.map((text) => element("li", {}, text))),
          ),
        ];
  return [banner, ...notes, ...advice, ...missing, element("div", { class: "cards" }, ...cards)];
}

import type { CheckResult, Place, Reason } from "@entresol/attestation";
import { element, sign } from "./element.ts";
import type { Tone } from "./hex-panel.ts";
import { resultWords } from "./verdict-view.ts";

/** A check of the verification, or a demand of the policy: what is listed, and what its bytes are. */
export interface Finding {
  readonly tone: Tone;
  readonly title: string;
  readonly detail: string;
  /** Id of the check, or place in the policy. */
  readonly name: string;
  readonly spec: string;
  readonly places: readonly Place[];
}

export const findingOfCheck = ({ id, result, title, detail, spec, places }: CheckResult): Finding => ({
  tone: result,
  title,
  detail,
  name: id,
  spec,
  places,
});

export const findingOfReason = ({ rule, holds, unknown, detail, spec, places }: Reason): Finding => ({
  tone: holds ? "passed" : unknown ? "not-run" : "failed",
  title: detail,
  detail: "",
  name: rule,
  spec,
  places,
});

const order: readonly Tone[] = ["failed", "not-run", "passed"];

/** What is wrong first, then what is missing. */
export const decisiveFirst = (findings: readonly Finding[]): Finding[] =>
  findings.toSorted((a, b) => order.indexOf(a.tone) - order.indexOf(b.tone));

/** A list of findings, of which one is chosen. */
export interface FindingList {
  readonly element: HTMLElement;
  /** Chooses the one of that name, or else the first, without taking the focus. */
  select(name?: string): void;
}

/** By pointer or by arrow keys; `chosen` hears of it. */
export function findingList(
  label: string,
  findings: readonly Finding[],
  chosen: (finding: Finding) => void,
): FindingList {
  const options = findings.map((finding, i) =>
    element(
      "li",
      {
        role: "option",
        class: finding.tone,
        "aria-selected": "false",
        tabindex: i === 0 ? 0 : -1,
        "data-name": finding.name,
      },
      sign(finding.tone, resultWords[finding.tone]),
      element(
        "div",
        {},
        element("p", { class: "title" }, finding.title),
        finding.detail === "" ? undefined : element("p", { class: "detail" }, finding.detail),
        element("p", { class: "hint" }, element("code", {}, finding.name), ` ${finding.spec}`),
      ),
    ),
  );
  const list = element("ul", { class: "findings", role: "listbox", "aria-label": label }, ...options);
  const choose = (at: number): HTMLElement | undefined => {
    const option = options[at];
    const finding = findings[at];
    if (option === undefined || finding === undefined) return undefined;
    for (const other of options) other.tabIndex = other === option ? 0 : -1;
    chosen(finding);
    option.setAttribute("aria-selected", "true");
    return option;
  };
  for (const [at, option] of options.entries())
    option.addEventListener("click", () => {
      choose(at)?.focus();
      // Where there is one column, the bytes are far below.
      if (matchMedia("(max-width: 68rem)").matches)
        document.querySelector(".bytes")?.scrollIntoView({ block: "nearest" });
    });
  list.addEventListener("keydown", (event) => {
    const at = options.indexOf(document.activeElement as HTMLLIElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1, Enter: at, " ": at }[
      event.key
    ];
    if (to === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(to)?.focus();
  });
  return {
    element: list,
    select: (name) => {
      choose(
        Math.max(
          0,
          findings.findIndex((finding) => finding.name === name),
        ),
      );
    },
  };
}

/** Nothing is chosen in any of the lists. */
export function unselect(within: ParentNode): void {
  for (const option of within.querySelectorAll('[role="option"][aria-selected="true"]'))
    option.setAttribute("aria-selected", "false");
}

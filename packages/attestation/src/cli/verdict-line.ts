import colours from "picocolors";
import { harmless, type PageStyle, plainStyle } from "../report/page.ts";
import type { Judgement } from "../submission/judgement.ts";

/** Colours where a terminal shows them. */
export function terminalStyle(): PageStyle {
  if (!process.stdout.isTTY || !colours.isColorSupported) return plainStyle;
  return {
    good: colours.green,
    bad: colours.red,
    doubtful: colours.yellow,
    strong: colours.bold,
    dim: colours.dim,
    bytes: { mark: (text) => colours.inverse(text), dim: colours.dim },
  };
}

/** One line of many. */
export function lineOf({ name, decision, outcome, problem }: Judgement, style: PageStyle): string {
  const { verdict } = decision;
  const colour = { accepted: style.good, rejected: style.bad, unverified: style.doubtful }[verdict];
  const why =
    problem ??
    outcome?.checks.find(({ result }) => result === "failed")?.detail ??
    decision.reasons.find(({ holds }) => !holds)?.detail ??
    decision.missing[0]?.detail ??
    outcome?.tcb?.status ??
    "";
  return `${colour(verdict.padEnd(10))} ${harmless(why === "" ? name : `${name}: ${why}`)}`;
}

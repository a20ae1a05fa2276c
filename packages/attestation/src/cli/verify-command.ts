import { SingleBar } from "cli-progress";
import { Command } from "commander";
import colours from "picocolors";
import { type PageStyle, pageOf, plainStyle } from "../report/page.ts";
import { reportOf } from "../report/report.ts";
import type { Judgement } from "../submission/judgement.ts";
import { type EvidenceSource, sourcesOf } from "./evidence-files.ts";
import { EXIT_ACCEPTED, EXIT_REJECTED, EXIT_UNJUDGED } from "./exit-status.ts";
import { Judging, type JudgingFlags, withJudgingOptions } from "./judging.ts";

interface VerifyFlags extends JudgingFlags {
  readonly json?: true;
  readonly explain?: true;
}

export const statusOf = ({ decision }: Judgement): number =>
  ({ accepted: EXIT_ACCEPTED, rejected: EXIT_REJECTED, unverified: EXIT_UNJUDGED })[decision.verdict];

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
function line({ name, decision, outcome, problem }: Judgement, style: PageStyle): string {
  const { verdict } = decision;
  const colour = { accepted: style.good, rejected: style.bad, unverified: style.doubtful }[verdict];
  const why =
    problem ??
    outcome?.checks.find(({ result }) => result === "failed")?.detail ??
    decision.reasons.find(({ holds }) => !holds)?.detail ??
    decision.missing[0]?.detail ??
    outcome?.tcb?.status ??
    "";
  return `${colour(verdict.padEnd(10))} ${name}${why === "" ? "" : `: ${why}`}`;
}

/** The worst of several: evidence that is wrong counts before evidence that could not be judged. */
function worst(statuses: ReadonlySet<number>): number {
  if (statuses.has(EXIT_REJECTED)) return EXIT_REJECTED;
  return statuses.has(EXIT_UNJUDGED) ? EXIT_UNJUDGED : EXIT_ACCEPTED;
}

async function verifyMany(
  sources: readonly EvidenceSource[],
  judging: Judging,
  flags: VerifyFlags,
): Promise<number> {
  const style = terminalStyle();
  const bar = process.stderr.isTTY
    ? new SingleBar({
        format: "{bar} {value}/{total} {rejected} rejected, {unverified} unverified",
        barCompleteChar: "=",
        barIncompleteChar: " ",
        hideCursor: true,
        clearOnComplete: true,
        stream: process.stderr,
      })
    : undefined;
  const counts = { accepted: 0, rejected: 0, unverified: 0 };
  const lines: string[] = [];
  const statuses = new Set<number>();
  bar?.start(sources.length, 0, counts);
  try {
    for (const source of sources) {
      const judgement = await judging.judgeSource(source);
      counts[judgement.decision.verdict]++;
      statuses.add(statusOf(judgement));
      // A line each for machines; the bar and the lines would get into each other's way on a terminal.
      lines.push(flags.json ? JSON.stringify(reportOf(judgement, judging.inputs)) : line(judgement, style));
      bar?.increment(1, counts);
    }
  } finally {
    bar?.stop();
  }
  process.stdout.write(`${lines.join("\n")}\n`);
  if (!flags.json)
    process.stdout.write(
      `${style.strong(`${sources.length} judged`)}: ${counts.accepted} accepted, ${counts.rejected} rejected, ${counts.unverified} unverified\n`,
    );
  return worst(statuses);
}

/** `entresol-verify EVIDENCE...` */
export function verifyCommand(finish: (status: number) => void): Command {
  const command = new Command("entresol-verify")
    .description(
      "Judges evidence of confidential virtual machines, and says why.\nExit status: 0 accepted, 1 rejected, 2 could not judge, or wrong command line.",
    )
    .argument(
      "<evidence...>",
      "files, or folders of files with known names (report.bin, vcek.der, quote.bin, hcl-report.bin, ...)",
    );
  return withJudgingOptions(command)
    .option("--json", "print the verdict for machines; one line each when there are several")
    .option("--explain", "list every check, and show the bytes that decide")
    .action(async (paths: readonly string[], flags: VerifyFlags) => {
      const judging = await Judging.open(flags);
      const sources = (await Promise.all(paths.map(sourcesOf))).flat();
      const [only] = sources;
      if (sources.length !== 1 || only === undefined) {
        finish(sources.length === 0 ? EXIT_UNJUDGED : await verifyMany(sources, judging, flags));
        if (sources.length === 0) process.stderr.write("entresol-verify: there is nothing in it\n");
        return;
      }
      const judgement = await judging.judgeSource(only);
      finish(statusOf(judgement));
      const text = flags.json
        ? JSON.stringify(reportOf(judgement, judging.inputs), undefined, 2)
        : pageOf(judgement, { style: terminalStyle(), explain: flags.explain === true }).join("\n");
      process.stdout.write(`${text}\n`);
    });
}

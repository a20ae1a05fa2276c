import type { SingleBar } from "cli-progress";
import { Command, Option } from "commander";
import { harmless, pageOf } from "../report/page.ts";
import { reportOf } from "../report/report.ts";
import type { Judgement } from "../submission/judgement.ts";
import { type EvidenceSource, sourcesOf } from "./evidence-files.ts";
import { CommandError, EXIT_ACCEPTED, EXIT_REJECTED, EXIT_UNJUDGED } from "./exit-status.ts";
import { Judging, type JudgingFlags, wholeNumber, withJudgingOptions } from "./judging.ts";
import type { TokenForm } from "./tokens.ts";
import { lineOf, terminalStyle } from "./verdict-line.ts";

interface VerifyFlags extends JudgingFlags {
  readonly json?: true;
  readonly explain?: true;
  readonly token?: TokenForm;
  readonly key?: string;
  readonly lifetime?: number;
  readonly replay?: string;
}

/** The names of tokens.ts. */
const forms: readonly TokenForm[] = ["ear-jwt", "ear-cwt"];

export const statusOf = ({ decision }: Judgement): number =>
  ({ accepted: EXIT_ACCEPTED, rejected: EXIT_REJECTED, unverified: EXIT_UNJUDGED })[decision.verdict];

/** The worst of several: evidence that is wrong counts before evidence that could not be judged. */
function worst(statuses: ReadonlySet<number>): number {
  if (statuses.has(EXIT_REJECTED)) return EXIT_REJECTED;
  return statuses.has(EXIT_UNJUDGED) ? EXIT_UNJUDGED : EXIT_ACCEPTED;
}

/** Loaded when it is shown: a verdict alone is there sooner. */
async function progressBar(): Promise<SingleBar> {
  const { SingleBar: Bar } = await import("cli-progress");
  return new Bar({
    format: "{bar} {value}/{total} {rejected} rejected, {unverified} unverified",
    barCompleteChar: "=",
    barIncompleteChar: " ",
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
}

async function verifyMany(
  sources: readonly EvidenceSource[],
  judging: Judging,
  flags: VerifyFlags,
): Promise<number> {
  const style = terminalStyle();
  const bar = process.stderr.isTTY ? await progressBar() : undefined;
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
      lines.push(flags.json ? JSON.stringify(reportOf(judgement, judging.inputs)) : lineOf(judgement, style));
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
    .optionsGroup("What is printed:")
    .option("--json", "print the verdict for machines; one line each when there are several")
    .option("--explain", "list every check, and show the bytes that decide")
    .addOption(
      new Option(
        "--token <form>",
        "print a signed token instead of the page; with --json, in its member token",
      ).choices(forms),
    )
    .option(
      "--key <file>",
      "private key that signs the token (PKCS#8 PEM or JWK: P-256, P-384, P-521, Ed25519)",
    )
    .option("--lifetime <seconds>", "for how long the token holds (default: it does not say)", wholeNumber)
    .option(
      "--replay <token>",
      "judge again what a token of ours speaks of, and say what differs (0 nothing, 1 something); --key: who signed it",
    )
    .action(async (paths: readonly string[], flags: VerifyFlags) => {
      if ((flags.token ?? flags.replay) === undefined && flags.key !== undefined)
        throw new CommandError("--key is for --token or --replay");
      if ((flags.token ?? flags.replay) !== undefined && flags.key === undefined)
        throw new CommandError("--token and --replay need a --key");
      // Loaded when it is asked for: a verdict without a token is there sooner.
      const tokens = flags.token === undefined ? undefined : await import("./tokens.ts");
      const key = await tokens?.keyOf(flags.key as string);
      const judging = await Judging.open(flags);
      const found = await Promise.all(paths.map(sourcesOf));
      // One that is empty must not hide behind the verdict on the others.
      for (const [i, { length }] of found.entries())
        if (length === 0) throw new CommandError(`${paths[i]}: there is nothing in it`);
      const sources = found.flat();
      const [only] = sources;
      if (only === undefined) throw new CommandError("there is nothing to judge");
      if (sources.length > 1) {
        if (flags.key !== undefined)
          throw new CommandError("--token and --replay take one piece of evidence");
        finish(await verifyMany(sources, judging, flags));
        return;
      }
      if (flags.replay !== undefined) {
        const paths = { token: flags.replay, key: flags.key as string };
        const { same, differences } = await (await import("./replay.ts")).replay(
          paths,
          judging,
          () => judging.read(only),
          flags.at,
        );
        process.stdout.write(
          `${flags.json ? JSON.stringify({ same, differences }) : same ? "the same, to the byte" : differences.map(harmless).join("\n")}\n`,
        );
        finish(same ? EXIT_ACCEPTED : EXIT_REJECTED);
        return;
      }
      const judgement = await judging.judgeSource(only);
      const token =
        key === undefined || flags.token === undefined
          ? undefined
          : await tokens?.tokenOf(judgement, flags.token, key, flags);
      finish(statusOf(judgement));
      if (flags.json) {
        const report = reportOf(judgement, judging.inputs);
        const text = token instanceof Uint8Array ? Buffer.from(token).toString("base64url") : token;
        process.stdout.write(
          `${JSON.stringify({ ...report, ...(text !== undefined && { token: text }) }, undefined, 2)}\n`,
        );
      } else if (token !== undefined) process.stdout.write(typeof token === "string" ? `${token}\n` : token);
      else {
        const page = pageOf(judgement, { style: terminalStyle(), explain: flags.explain === true });
        process.stdout.write(`${page.join("\n")}\n`);
      }
    });
}

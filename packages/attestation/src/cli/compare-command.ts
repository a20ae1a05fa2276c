import { Command } from "commander";
import { Completion } from "../collateral/completion.ts";
import type { UpdateSet } from "../collateral/services.ts";
import { harmless } from "../report/page.ts";
import { kindOf } from "../submission/kinds.ts";
import { compareCollateral } from "../tdx/compare.ts";
import type { QuoteCollateral } from "../tdx/evidence.ts";
import { companionsOf, sourcesOf } from "./evidence-files.ts";
import { CommandError, EXIT_ACCEPTED, EXIT_REJECTED } from "./exit-status.ts";
import { clientOf } from "./fetching.ts";
import { Judging, type JudgingFlags, several, withJudgingOptions } from "./judging.ts";

interface CompareFlags extends JudgingFlags {
  readonly set: readonly string[];
  readonly json?: true;
}

async function namedSet(text: string): Promise<readonly [name: string, collateral: QuoteCollateral]> {
  const [, name, path] = /^([\w-]+)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || path === undefined) throw new CommandError(`--set ${text}: take NAME=PATH`);
  return [name, (await companionsOf([], [path])).collateral()];
}

/** `entresol-verify compare QUOTE --set early=DIR --set standard=DIR`: one quote under several sets of collateral. */
export function compareCommand(finish: (status: number) => void): Command {
  const command = new Command("compare")
    .description(
      "Judges one quote by several sets of Intel's collateral and says what differs. Intel publishes a TCB recovery early and as a standard later.\nExit status: 0 they agree, 1 they differ, 2 wrong command line.",
    )
    .argument("<quote>", "file, or folder of known names")
    .addOption(
      several(
        "--set <name=path>",
        "a set: folder of known names, or bundle (several); with --fetch: Intel's two sets",
      ),
    )
    .option("--json", "print for machines");
  return withJudgingOptions(command).action(async (path: string, flags: CompareFlags) => {
    const { fetch: mayFetch, ...others } = flags;
    const judging = await Judging.open(others);
    const [source, more] = await sourcesOf(path);
    if (source === undefined || more !== undefined) throw new CommandError("one quote is needed");
    const submission = await judging.read(source);
    const kind = kindOf(submission)?.name;
    if (kind !== "tdx" && kind !== "sgx")
      throw new CommandError(`${path}: no quote, which is what sets of collateral are for`);
    const sets: Record<string, QuoteCollateral> = Object.fromEntries(
      await Promise.all(flags.set.map(namedSet)),
    );
    if (mayFetch) {
      const client = clientOf(flags);
      for (const update of ["standard", "early"] as const satisfies readonly UpdateSet[]) {
        const own = submission.copy();
        for (const role of ["tcb-info", "qe-identity", "tcb-signers"] as const) own.take(role);
        await new Completion(client, { update }).complete(own, judging.at);
        sets[update] = own.collateral();
      }
    }
    if (Object.keys(sets).length < 2)
      throw new CommandError("at least two sets are needed: --set NAME=PATH, or --fetch");
    const evidence = {
      quote: submission.get("quote") as Uint8Array,
      certificates: submission.all("certificate"),
    };
    const { views, agree, differences } = await compareCollateral(kind, evidence, sets, judging.options);
    const found = views.map(({ name, outcome }) => ({
      name,
      verified: outcome.verified !== undefined,
      tcb: outcome.tcb ?? null,
    }));
    const text = flags.json
      ? JSON.stringify({ agree, sets: found, differences }, undefined, 2)
      : [
          ...found.map(
            ({ name, verified, tcb }) =>
              `${name.padEnd(12)} ${tcb?.status ?? "unknown"}${verified ? "" : ", not verified"}`,
          ),
          agree ? "they agree" : "they differ:",
          ...differences.map((one) => `  ${one}`),
        ].join("\n");
    process.stdout.write(`${flags.json ? text : text.split("\n").map(harmless).join("\n")}\n`);
    finish(agree ? EXIT_ACCEPTED : EXIT_REJECTED);
  });
}

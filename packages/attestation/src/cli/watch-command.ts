import { createHash } from "node:crypto";
import { mkdir, rename, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Command } from "commander";
import { reportOf } from "../report/report.ts";
import type { Judgement } from "../submission/judgement.ts";
import { CommandError, EXIT_ACCEPTED } from "./exit-status.ts";
import { FolderWatch } from "./folder-watch.ts";
import { Judging, type JudgingFlags, withJudgingOptions } from "./judging.ts";
import { lineOf, terminalStyle } from "./verdict-line.ts";

interface WatchFlags extends JudgingFlags {
  readonly interval: number;
  readonly out?: string;
  readonly json?: true;
  readonly once?: true;
}

function milliseconds(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 10)
    throw new CommandError(`--interval ${text}: at least 10 milliseconds`);
  return value;
}

/** Longer names do not fit into a file's name with what comes after them. */
const LONGEST_NAME = 160;

/** A name of its own for each path: a report must not stand where that of other evidence is looked for. */
function reportName(path: string): string {
  const name = encodeURIComponent(path) || "evidence";
  return name.length <= LONGEST_NAME
    ? name
    : `${name.slice(0, LONGEST_NAME - 66)}..${createHash("sha256").update(path).digest("hex")}`;
}

/** `NAME.verdict.json` in the folder of reports, replaced as a whole. */
async function writeReport(
  folder: string,
  watched: string,
  judgement: Judgement,
  judging: Judging,
): Promise<void> {
  const name = reportName(relative(watched, judgement.name));
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${name}.verdict.json`);
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(reportOf(judgement, judging.inputs), undefined, 2)}\n`);
  await rename(temporary, path);
}

/** `entresol-verify watch-folder FOLDER`: verdicts on what comes into a folder. */
export function watchCommand(finish: (status: number) => void): Command {
  const command = new Command("watch-folder")
    .description(
      "Judges evidence that comes into a folder, and again what changes there, until it is ended (SIGINT, SIGTERM).",
    )
    .argument("<folder>", "files, or folders of files with known names")
    .option("--out <folder>", "write a report (JSON) for each piece of evidence there")
    .option("--json", "print reports for machines, one line each")
    .option("--once", "judge what is there, and end")
    .option("--interval <milliseconds>", "time between two looks", milliseconds, 500);
  return withJudgingOptions(command).action(async (folder: string, flags: WatchFlags) => {
    if (!(await stat(folder)).isDirectory()) throw new CommandError(`${folder}: not a folder`);
    if (flags.out !== undefined && !relative(folder, flags.out).startsWith(".."))
      throw new CommandError(
        `--out ${flags.out}: reports would be judged themselves; take a folder elsewhere`,
      );
    const judging = await Judging.open(flags, { refreshBehind: true });
    const watch = new FolderWatch(folder, (source) => judging.judgeSource(source));
    const style = terminalStyle();
    const ended = new AbortController();
    const stop = (): void => ended.abort();
    process.once("SIGINT", stop);
    process.once("SIGTERM", stop);
    try {
      for (let looks = 1; !ended.signal.aborted; looks++) {
        for await (const judgement of watch.look()) {
          process.stdout.write(
            `${flags.json ? JSON.stringify(reportOf(judgement, judging.inputs)) : lineOf(judgement, style)}\n`,
          );
          if (flags.out !== undefined) await writeReport(flags.out, folder, judgement, judging);
          if (ended.signal.aborted) break;
        }
        if (flags.once && looks === 2) break;
        await pause(flags.once ? 10 : flags.interval, undefined, { signal: ended.signal }).catch(() => {});
      }
    } finally {
      process.off("SIGINT", stop);
      process.off("SIGTERM", stop);
    }
    finish(EXIT_ACCEPTED);
  });
}

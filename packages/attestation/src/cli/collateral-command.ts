import { rename, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { Command, Option } from "commander";
import { type BundleEntry, makeBundle, writeBundle } from "../collateral/bundle.ts";
import { collateralRoles } from "../collateral/windows.ts";
import { isoTime, timeOf } from "../context.ts";
import { harmless } from "../report/page.ts";
import { companionsOf, readSource, sourcesOf } from "./evidence-files.ts";
import { EXIT_ACCEPTED, EXIT_UNJUDGED } from "./exit-status.ts";
import { completerOf, type FetchingFlags, withFetchingOptions } from "./fetching.ts";
import { several } from "./judging.ts";

interface CollateralFlags extends FetchingFlags {
  readonly out: string;
  readonly form?: "json" | "cbor";
  readonly certs: readonly string[];
  readonly collateral: readonly string[];
  readonly at?: string;
}

/** `entresol-verify collateral EVIDENCE... --out FILE`: all that judging the evidence takes, in one bundle. */
export function collateralCommand(finish: (status: number) => void): Command {
  const command = new Command("collateral")
    .description(
      "Puts what evidence needs (certificates, lists, TCB info, QE identity) into one file, for judging without a network.",
    )
    .argument(
      "[evidence...]",
      "evidence whose collateral is collected: with --fetch, what is missing is asked for",
    )
    .requiredOption("--out <file>", "the bundle to write")
    .addOption(new Option("--form <form>", "default: by the name of the file").choices(["json", "cbor"]))
    .addOption(several("--certs <file>", "certificates and lists to put in (may be repeated)"))
    .addOption(
      several("--collateral <path>", "folder of known names, or bundle, to put in (may be repeated)"),
    )
    .option("--at <time>", "collect what is valid at this time, ISO 8601 (default: now)");
  return withFetchingOptions(command).action(async (paths: readonly string[], flags: CollateralFlags) => {
    const at = timeOf(flags.at);
    const complete = completerOf(flags);
    const common = await companionsOf(flags.certs, flags.collateral);
    const submissions = [common];
    for (const source of (await Promise.all(paths.map(sourcesOf))).flat()) {
      const submission = await readSource(source, common);
      await complete?.(submission, at);
      submissions.push(submission);
      for (const { name, text } of submission.remarks)
        process.stderr.write(`${harmless(`${name}: ${text}`)}\n`);
    }
    const entries = new Map<string, BundleEntry>();
    for (const submission of submissions)
      for (const role of collateralRoles)
        for (const { name, bytes } of submission.named(role))
          entries.set(`${role} ${Buffer.from(bytes).toString("base64")}`, {
            role,
            name: basename(name),
            data: bytes,
          });
    const bundle = await makeBundle([...entries.values()]);
    const form = flags.form ?? (flags.out.endsWith(".cbor") ? "cbor" : "json");
    const temporary = `${flags.out}.${process.pid}.tmp`;
    await writeFile(temporary, writeBundle(bundle, form));
    await rename(temporary, flags.out);
    const { window } = bundle;
    for (const { name, role, sha256, window: valid } of bundle.entries)
      process.stdout.write(
        `${role.padEnd(12)} ${sha256.slice(0, 16)} ${valid === undefined ? "without end" : `${isoTime(valid.from)} to ${isoTime(valid.to)}`}  ${harmless(name)}\n`,
      );
    process.stdout.write(
      `${bundle.entries.length} documents in ${flags.out}${window === undefined ? "" : `; all valid from ${isoTime(window.from)} to ${isoTime(window.to)}`}\n`,
    );
    finish(bundle.entries.length > 0 ? EXIT_ACCEPTED : EXIT_UNJUDGED);
  });
}

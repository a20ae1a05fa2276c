import { type Command, CommanderError } from "commander";
import { EXIT_ACCEPTED, EXIT_UNJUDGED } from "./exit-status.ts";
import { explain } from "./failure.ts";
import { VERSION } from "./version.ts";

/** Makes a subcommand. `finish` gets the exit status. */
export type MakeCommand = (finish: (status: number) => void) => Command;

/** Subcommands by name. Only the one that is asked for is loaded: a verdict is there sooner. */
const subcommands: Readonly<Record<string, () => Promise<MakeCommand>>> = {
  "watch-folder": async () => (await import("./watch-command.ts")).watchCommand,
  serve: async () => (await import("./serve-command.ts")).serveCommand,
  collateral: async () => (await import("./collateral-command.ts")).collateralCommand,
};

const wantsHelp = (args: readonly string[]): boolean => args.some((one) => one === "--help" || one === "-h");

/** Runs the command line `args` (without the program's name) and gives the exit status. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  let status = EXIT_ACCEPTED;
  const finish = (value: number): void => {
    status = value;
  };
  const { verifyCommand } = await import("./verify-command.ts");
  const command = verifyCommand(finish);
  command
    .name("entresol-verify")
    .version(VERSION, "-v, --version")
    .showHelpAfterError("(run with --help for the options)");
  const name = args[0] ?? "";
  const one = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
  const loads = one !== undefined ? [one] : wantsHelp(args) ? Object.values(subcommands) : [];
  for (const load of loads) command.addCommand((await load())(finish));
  for (const each of [command, ...command.commands]) each.exitOverride();
  // Who closes the other end of stdout or stderr wants no more to be said, not a stack trace.
  const unheard = (): void => {};
  process.stdout.on("error", unheard);
  process.stderr.on("error", unheard);
  try {
    await command.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_ACCEPTED : EXIT_UNJUDGED;
    process.stderr.write(`entresol-verify: ${explain(error)}\n`);
    if (process.env["ENTRESOL_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return EXIT_UNJUDGED;
  } finally {
    process.stdout.off("error", unheard);
    process.stderr.off("error", unheard);
  }
}

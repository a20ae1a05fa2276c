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
  token: async () => (await import("./token-command.ts")).tokenCommand,
  compare: async () => (await import("./compare-command.ts")).compareCommand,
  collateral: async () => (await import("./collateral-command.ts")).collateralCommand,
};

/** Who closes the other end of stdout or stderr wants no more to be said, not a stack trace. */
const unheard = (): void => {};

const wantsHelp = (args: readonly string[]): boolean => args.some((one) => one === "--help" || one === "-h");

/** The command without a subcommand; subcommands are in it to be listed by --help. */
async function everyCommand(finish: (status: number) => void, args: readonly string[]): Promise<Command> {
  const { verifyCommand } = await import("./verify-command.ts");
  const command = verifyCommand(finish).version(VERSION, "-v, --version");
  if (wantsHelp(args))
    for (const load of Object.values(subcommands)) command.addCommand((await load())(finish));
  return command;
}

/** Runs the command line `args` (without the program's name) and gives the exit status. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  let status = EXIT_ACCEPTED;
  const finish = (value: number): void => {
    status = value;
  };
  const name = args[0] ?? "";
  const load = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
  const command =
    load === undefined
      ? await everyCommand(finish, args)
      : (await load())(finish).name(`entresol-verify ${name}`);
  command.showHelpAfterError("(run with --help for the options)");
  for (const each of [command, ...command.commands]) each.exitOverride();
  for (const stream of [process.stdout, process.stderr])
    if (!stream.listeners("error").includes(unheard)) stream.on("error", unheard);
  try {
    await command.parseAsync(load === undefined ? [...args] : args.slice(1), { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_ACCEPTED : EXIT_UNJUDGED;
    process.stderr.write(`entresol-verify: ${explain(error)}\n`);
    if (process.env["ENTRESOL_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return EXIT_UNJUDGED;
  }
}

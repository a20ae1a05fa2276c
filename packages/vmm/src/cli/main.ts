import { Command, CommanderError } from "commander";
import { VERSION } from "../version.ts";
import { bootCommand } from "./boot-command.ts";
import { EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import { explain } from "./failure.ts";
import { guestCommand } from "./guest-command.ts";

/** Runs the command line `args` (without the program's name) and gives the exit status. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  let status = EXIT_OK;
  const finish = (value: number): void => {
    status = value;
  };
  const program = new Command("entresol")
    .description("Boots an unmodified 64-bit guest on a processor and devices that are all Entresol's own.")
    .version(VERSION)
    .showHelpAfterError("(run with --help for the options)")
    .addCommand(bootCommand(finish))
    .addCommand(guestCommand());
  for (const command of [program, ...program.commands, ...program.commands.flatMap((c) => c.commands)])
    command.exitOverride();
  // Who closes the other end of stdout or stderr wants no more to be said, not a stack trace.
  const unheard = (): void => {};
  process.stdout.on("error", unheard);
  process.stderr.on("error", unheard);
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    const failure = explain(error);
    process.stderr.write(`entresol: ${failure.text}\n`);
    if (process.env["ENTRESOL_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return failure.status;
  }
}

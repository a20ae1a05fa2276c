import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import { EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import { explain } from "./failure.ts";
import { inspectCommand } from "./inspect-command.ts";
import { mssimCommand } from "./mssim-command.ts";
import { tellFailure } from "./service-life.ts";
import { type Invocation, socketCommand } from "./socket-command.ts";
import { VERSION } from "./version.ts";

/**
 * Runs the command line `args` (without the program's name) and gives the exit status. `program` is the path it was called by: as "swtpm"
 * it stands in for that. Never throws.
 */
export async function main(args: readonly string[], program = "entresol-vtpm"): Promise<number> {
  let status = EXIT_OK;
  const finish = (value: number): void => {
    status = value;
  };
  const name = basename(program) === "swtpm" ? "swtpm" : "entresol-vtpm";
  const invocation: Invocation = { name, program, args };
  const command = new Command(name)
    .description("A TPM 2.0 as a service.")
    .version(name === "swtpm" ? `TPM emulator version ${VERSION} (entresol-vtpm)` : VERSION, "-v, --version")
    .showHelpAfterError("(run with --help for the options)")
    .addCommand(socketCommand(invocation, finish))
    .addCommand(mssimCommand(invocation, finish))
    .addCommand(inspectCommand(finish));
  for (const each of [command, ...command.commands]) each.exitOverride();
  // Who closes the other end of stdout or stderr wants no more to be said, not a stack trace.
  const unheard = (): void => {};
  process.stdout.on("error", unheard);
  process.stderr.on("error", unheard);
  try {
    await command.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    const failure = explain(error);
    process.stderr.write(`${name}: ${failure.text}\n`);
    if (process.env["ENTRESOL_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    await tellFailure(error);
    return failure.status;
  }
}

import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import { EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import { explain } from "./failure.ts";
import type { Invocation } from "./invocation.ts";
import { VERSION } from "./version.ts";

/** Makes a subcommand. `finish` gets the exit status. */
type MakeCommand = (invocation: Invocation, finish: (status: number) => void) => Command;

/** Subcommands by name. Only the one that is asked for is loaded: a service is there sooner. */
const subcommands: Readonly<Record<string, () => Promise<MakeCommand>>> = {
  socket: async () => (await import("./socket-command.ts")).socketCommand,
  mssim: async () => (await import("./mssim-command.ts")).mssimCommand,
  inspect: async () => (await import("./inspect-command.ts")).inspectCommand,
  setup: async () => (await import("./setup-command.ts")).setupCommand,
};

/** All of them when no known one is named, for `--help` and for complaints. */
function named([name = ""]: readonly string[]): Promise<MakeCommand[]> {
  const one = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined;
  return Promise.all((one === undefined ? Object.values(subcommands) : [one]).map((load) => load()));
}

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
    .showHelpAfterError("(run with --help for the options)");
  for (const make of await named(args)) command.addCommand(make(invocation, finish));
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
    const { tellFailure } = await import("./daemon.ts");
    await tellFailure(error);
    return failure.status;
  }
}

import { EntresolError } from "@entresol/wire";
import { Command, CommanderError } from "commander";
import { bootCommand } from "./boot-command.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from "./exit-status.ts";
import { guestCommand } from "./guest-command.ts";
import { VERSION } from "./version.ts";

/** Errors of the operating system that a user can do something about. */
function systemErrorText(error: Error & { code?: unknown; path?: unknown }): string | undefined {
  if (typeof error.code !== "string") return undefined;
  const where = typeof error.path === "string" ? `${error.path}: ` : "";
  switch (error.code) {
    case "ENOENT":
      return `${where}no such file`;
    case "EACCES":
    case "EPERM":
      return `${where}permission denied`;
    case "EISDIR":
      return `${where}is a folder, a file is needed`;
    case "ENOSPC":
      return `${where}no space left`;
    case "EROFS":
      return `${where}read-only file system`;
    default:
      return undefined;
  }
}

/** Runs the command line `args` (without the program's name) and gives the exit status. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  let status = EXIT_OK;
  const finish = (value: number): void => {
    status = value;
  };
  const program = new Command("entresol")
    .description("Boots an unmodified 64-bit guest on a processor and devices that are all Entresol's own.")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError("(run with --help for the options)")
    .addCommand(bootCommand(finish))
    .addCommand(guestCommand());
  for (const command of [program, ...program.commands, ...program.commands.flatMap((c) => c.commands)])
    command.exitOverride();
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    if (error instanceof CommandError) {
      process.stderr.write(`entresol: ${error.message}\n`);
      return error.status;
    }
    if (error instanceof EntresolError) {
      process.stderr.write(`entresol: ${error.message}\n`);
      return error.code === "bad-config" ? EXIT_USAGE : EXIT_FAILURE;
    }
    const text = error instanceof Error ? systemErrorText(error) : undefined;
    if (text !== undefined) {
      process.stderr.write(`entresol: ${text}\n`);
      return EXIT_FAILURE;
    }
    const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    process.stderr.write(`entresol: internal error, please report it: ${detail}\n`);
    if (process.env["ENTRESOL_DEBUG"] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return EXIT_FAILURE;
  }
}

import { EntresolError } from "@entresol/wire";
import { CommandError, EXIT_FAILURE, EXIT_USAGE } from "./exit-status.ts";

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
    case "ENOTDIR":
      return `${where}not a folder`;
    case "EROFS":
      return `${where}read-only file system`;
    default:
      return undefined;
  }
}

/** What a user is told of an error in one line, and the exit status that goes with it. */
export function explain(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof CommandError) return { status: error.status, text: error.message };
  if (error instanceof EntresolError)
    return { status: error.code === "bad-config" ? EXIT_USAGE : EXIT_FAILURE, text: error.message };
  const known = error instanceof Error ? systemErrorText(error) : undefined;
  if (known !== undefined) return { status: EXIT_FAILURE, text: known };
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { status: EXIT_FAILURE, text: `internal error, please report it: ${detail}` };
}

/** What an error says, for a line in which it is only told. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

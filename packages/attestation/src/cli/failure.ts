import { EntresolError } from "@entresol/wire";
import { CommandError } from "./exit-status.ts";

/** Errors of the operating system that a user can do something about. */
const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "is a folder, a file is needed",
  ENOTDIR: "not a folder",
  ENOSPC: "no space left",
  EROFS: "read-only file system",
  EADDRINUSE: "somebody listens there already",
  EADDRNOTAVAIL: "this machine has no such address",
};

function systemErrorText(error: Error): string | undefined {
  const { code, path, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const text = typeof code === "string" ? systemErrors[code] : undefined;
  if (text === undefined) return undefined;
  const where = path ?? (port === undefined ? address : `${address ?? ""}:${port}`);
  return where === undefined ? text : `${where}: ${text}`;
}

/** What a user is told of an error, in one line. */
export function explain(error: unknown): string {
  if (error instanceof CommandError || error instanceof EntresolError) return error.message;
  const known = error instanceof Error ? systemErrorText(error) : undefined;
  if (known !== undefined) return known;
  return `internal error, please report it: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
}

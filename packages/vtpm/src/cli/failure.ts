import { EntresolError } from "@entresol/wire";
import { CommandError, EXIT_FAILURE } from "./exit-status.ts";

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
  EBADF: "no such file descriptor",
  EINVAL: "not usable for this",
  ECONNREFUSED: "nobody listens there",
};

function systemErrorText(error: Error): string | undefined {
  const { code, path, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const text = typeof code === "string" ? systemErrors[code] : undefined;
  if (text === undefined) return undefined;
  const where = path ?? (port !== undefined && port > 0 ? `${address ?? ""}:${port}` : address);
  return where === undefined ? text : `${where}: ${text}`;
}

/** What a user is told of an error in one line, and the exit status that goes with it. */
export function explain(error: unknown): { readonly status: number; readonly text: string } {
  if (error instanceof CommandError) return { status: error.status, text: error.message };
  if (error instanceof EntresolError) return { status: EXIT_FAILURE, text: error.message };
  const known = error instanceof Error ? systemErrorText(error) : undefined;
  if (known !== undefined) return { status: EXIT_FAILURE, text: known };
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return { status: EXIT_FAILURE, text: `internal error, please report it: ${detail}` };
}

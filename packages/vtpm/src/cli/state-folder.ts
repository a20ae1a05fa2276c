import { FileNvStore } from "@entresol/tpm";
import { CommandError, EXIT_USAGE } from "./exit-status.ts";
import { KeyValues } from "./key-values.ts";

/** A state folder as options ask for it. */
export interface StateFolder {
  readonly path: string;
  /** Permission bits of the files. */
  readonly mode: number;
}

const FILE_MODE = 0o640;
const FOLDER_URI = "dir://";

/** `--tpmstate`, or $TPM_PATH; undefined without both. Throws `CommandError`. */
export function stateFolder(text: string | undefined): StateFolder | undefined {
  if (text === undefined) {
    const path = process.env["TPM_PATH"];
    return path === undefined || path === "" ? undefined : { path, mode: FILE_MODE };
  }
  const values = new KeyValues("--tpmstate", text, ["dir", "mode", "backend-uri", "lock"]);
  const mode = values.mode(FILE_MODE);
  const folder = values.text("dir");
  const uri = values.text("backend-uri");
  if (folder !== undefined) return { path: folder, mode };
  if (uri === undefined) throw values.fault("needs dir= or backend-uri=dir://");
  if (!uri.startsWith(FOLDER_URI))
    throw values.fault(`has backend-uri=${uri}; a state is kept in a folder: dir://FOLDER`);
  return { path: uri.slice(FOLDER_URI.length), mode };
}

/** Throws `CommandError` without a folder, and what the system throws. */
export function openStateFolder(folder: StateFolder | undefined, key: Uint8Array | undefined): FileNvStore {
  if (folder === undefined)
    throw new CommandError(EXIT_USAGE, "--tpmstate dir=FOLDER, or $TPM_PATH, has to say where the state is");
  return FileNvStore.open(folder.path, { mode: folder.mode, ...(key && { key }) });
}

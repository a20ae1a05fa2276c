import { FileNvStore, SingleFile } from "@entresol/tpm";
import { LockedState } from "../locked-state.ts";
import { CommandError, EXIT_USAGE } from "./exit-status.ts";
import { KeyValues } from "./key-values.ts";

/** Where a state is, as options ask for it. */
export interface StateFolder {
  readonly path: string;
  /** Permission bits of the files. */
  readonly mode: number;
  /** The state is in one file, or on a block device, in the place of a folder. */
  readonly kind: "folder" | "file";
}

const FILE_MODE = 0o640;
/** Tries to get the folder, every 10 ms: the service before may be about to end. */
const RETRIES = 50;
const uris = { "dir://": "folder", "file://": "file" } as const;

/** `--tpmstate`, or $TPM_PATH; undefined without both. Throws `CommandError`. */
export function stateFolder(text: string | undefined): StateFolder | undefined {
  if (text === undefined) {
    const path = process.env["TPM_PATH"];
    return path === undefined || path === "" ? undefined : { path, mode: FILE_MODE, kind: "folder" };
  }
  const values = new KeyValues("--tpmstate", text, ["dir", "mode", "backend-uri", "lock"]);
  const mode = values.mode(FILE_MODE);
  const folder = values.text("dir");
  const uri = values.text("backend-uri");
  if (folder !== undefined) return { path: folder, mode, kind: "folder" };
  if (uri === undefined) throw values.fault("needs dir=, backend-uri=dir:// or backend-uri=file://");
  for (const [scheme, kind] of Object.entries(uris))
    if (uri.startsWith(scheme) && uri.length > scheme.length)
      return { path: uri.slice(scheme.length), mode, kind };
  throw values.fault(`has backend-uri=${uri}; it can be dir://FOLDER or file://FILE`);
}

/**
 * The state of a service, locked unless it is to come later. Throws `CommandError` without a folder, `StateLockError` when another service has it, and
 * what the system throws.
 */
export async function serviceState(
  folder: StateFolder | undefined,
  key: Uint8Array | undefined,
  later = false,
  log: (line: string) => void = () => {},
): Promise<LockedState> {
  const { path, mode, kind } = present(folder);
  const files = kind === "file" ? { files: new SingleFile(mode) } : {};
  const warn = (): void =>
    log(
      `${path}: one of the two copies of the state is damaged or missing; the other one is used, which may lack the last change`,
    );
  const state = new LockedState(path, { mode, ...(key && { key }), ...files }, kind, warn);
  if (!later) await state.lock({ retries: RETRIES });
  return state;
}

/** To be looked at. Throws `CommandError` without a folder, and what the system throws when there is none. */
export function openStateFolder(folder: StateFolder | undefined, key: Uint8Array | undefined): FileNvStore {
  const { path, mode, kind } = present(folder);
  const files = kind === "file" ? { files: new SingleFile(undefined) } : {};
  return FileNvStore.open(path, { mode, ...(key && { key }), ...files });
}

function present(folder: StateFolder | undefined): StateFolder {
  if (folder !== undefined) return folder;
  throw new CommandError(EXIT_USAGE, "--tpmstate dir=FOLDER, or $TPM_PATH, has to say where the state is");
}

import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { decodeCbor, encodeCbor, MalformedError } from "@entresol/wire";
import type { CollateralStore, StoredAnswer } from "../collateral/store.ts";

/** Where answers are kept when nothing else is said: $XDG_CACHE_HOME/entresol, or ~/.cache/entresol. */
export function defaultCacheFolder(): string {
  const base = process.env["XDG_CACHE_HOME"];
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "entresol");
}

const VERSION = 1;

/**
 * Answers in a folder, a file each, named by the hash of the URL. Files are replaced as a whole, so that several processes may share the
 * folder. What cannot be read counts as not there.
 */
export class DiskStore implements CollateralStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  #path(url: string): string {
    return join(this.#folder, `${createHash("sha256").update(url).digest("hex")}.cbor`);
  }

  async get(url: string): Promise<StoredAnswer | undefined> {
    let file: Uint8Array;
    try {
      file = new Uint8Array(await readFile(this.#path(url)));
    } catch {
      return undefined;
    }
    try {
      const value = decodeCbor(file) as Partial<StoredAnswer & { version: number }> | null;
      if (
        value?.version !== VERSION ||
        value.url !== url ||
        typeof value.at !== "number" ||
        !(value.bytes instanceof Uint8Array) ||
        !(value.chain instanceof Uint8Array)
      )
        return undefined;
      return { url, at: value.at, bytes: new Uint8Array(value.bytes), chain: new Uint8Array(value.chain) };
    } catch (error) {
      if (error instanceof MalformedError) return undefined;
      throw error;
    }
  }

  async set(answer: StoredAnswer): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#path(answer.url);
    const temporary = `${path}.${randomUUID()}`;
    try {
      await writeFile(temporary, encodeCbor({ version: VERSION, ...answer }), { mode: 0o600 });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

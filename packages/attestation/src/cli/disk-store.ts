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

  /** What a file holds; undefined for one that is not there or broken. */
  async #read(name: string): Promise<Partial<StoredAnswer & { version: number; until: number }> | undefined> {
    try {
      const value = decodeCbor(new Uint8Array(await readFile(this.#path(name))));
      return typeof value === "object" && value !== null ? value : undefined;
    } catch (error) {
      if (error instanceof MalformedError || (error instanceof Error && "code" in error)) return undefined;
      throw error;
    }
  }

  async #write(name: string, value: object): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = this.#path(name);
    const temporary = `${path}.${randomUUID()}`;
    try {
      await writeFile(temporary, encodeCbor({ version: VERSION, ...value }), { mode: 0o600 });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async get(url: string): Promise<StoredAnswer | undefined> {
    const value = await this.#read(url);
    if (
      value?.version !== VERSION ||
      value.url !== url ||
      typeof value.at !== "number" ||
      !(value.bytes instanceof Uint8Array) ||
      !(value.chain instanceof Uint8Array)
    )
      return undefined;
    return { url, at: value.at, bytes: new Uint8Array(value.bytes), chain: new Uint8Array(value.chain) };
  }

  async set(answer: StoredAnswer): Promise<void> {
    await this.#write(answer.url, answer);
  }

  async pauseOf(origin: string): Promise<number | undefined> {
    const { until, url } = (await this.#read(pauseName(origin))) ?? {};
    return url === pauseName(origin) && typeof until === "number" ? until : undefined;
  }

  async setPause(origin: string, until: number): Promise<void> {
    await this.#write(pauseName(origin), { url: pauseName(origin), until });
  }
}

/** No URL has a space. */
const pauseName = (origin: string): string => `pause ${origin}`;

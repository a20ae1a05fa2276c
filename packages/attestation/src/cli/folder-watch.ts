import { stat } from "node:fs/promises";
import type { Judgement } from "../submission/judgement.ts";
import { type EvidenceSource, sourcesOf } from "./evidence-files.ts";

/** What tells that a source has changed: names, sizes and times of its files. The time of the last change is one that no writer can set. */
async function stateOf({ files }: EvidenceSource): Promise<string | undefined> {
  try {
    const states = await Promise.all(
      files.map(async (file) => {
        const { ino, size, mtimeMs, ctimeMs } = await stat(file);
        return `${file} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
      }),
    );
    return states.join("\n");
  } catch {
    // Gone in between.
    return undefined;
  }
}

/**
 * Judges what comes into a folder: each piece of evidence once, and again when it has changed. What is still being written is left until
 * two looks find it the same. Looks are the caller's: `look` once an interval.
 */
export class FolderWatch {
  readonly #folder: string;
  readonly #judge: (source: EvidenceSource) => Promise<Judgement>;
  /** As each was at the last look, and when it was judged. */
  readonly #seen = new Map<string, { state: string; judged: boolean }>();

  constructor(folder: string, judge: (source: EvidenceSource) => Promise<Judgement>) {
    this.#folder = folder;
    this.#judge = judge;
  }

  /** Undefined when something was taken away while it was looked at: the next look will tell. */
  async #sources(): Promise<readonly EvidenceSource[] | undefined> {
    try {
      return await sourcesOf(this.#folder);
    } catch (error) {
      await stat(this.#folder);
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Gives the judgements on what is new since the last look and does not change any more. Throws when the folder cannot be read. */
  async *look(): AsyncGenerator<Judgement> {
    const sources = await this.#sources();
    if (sources === undefined) return;
    const names = new Set(sources.map(({ name }) => name));
    for (const name of this.#seen.keys()) if (!names.has(name)) this.#seen.delete(name);
    for (const source of sources) {
      const state = await stateOf(source);
      if (state === undefined) continue;
      const before = this.#seen.get(source.name);
      if (before?.state !== state) {
        this.#seen.set(source.name, { state, judged: false });
        continue;
      }
      if (before.judged) continue;
      before.judged = true;
      yield await this.#judge(source);
    }
  }
}

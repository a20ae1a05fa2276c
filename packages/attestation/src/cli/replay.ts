import { readFile } from "node:fs/promises";
import type { Outcome } from "../outcome.ts";
import type { Submission } from "../submission/submission.ts";
import { verificationKey } from "../token/keys.ts";
import { type Replay, replayEar } from "../token/replay.ts";
import { verifyEar } from "../token/token.ts";
import { readBounded } from "./evidence-files.ts";
import { CommandError } from "./exit-status.ts";
import type { Judging } from "./judging.ts";

/** The token in a file. A JWT in a file ends in a line's end as a rule. */
export async function tokenIn(path: string): Promise<string | Uint8Array> {
  const bytes = await readBounded(path);
  const text = new TextDecoder().decode(bytes).trim();
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(text) ? text : bytes;
}

/** Judges again what a token speaks of, for the time that it was judged for. Throws when the token does not hold. */
export async function replay(
  paths: { readonly token: string; readonly key: string },
  judging: Judging,
  submission: () => Promise<Submission>,
  at: string | undefined,
): Promise<Replay> {
  const key = await verificationKey(await readFile(paths.key, "utf8"));
  const ear = await verifyEar(await tokenIn(paths.token), key, at === undefined ? {} : { at });
  const run = async (then: Date): Promise<Outcome> => {
    const { outcome, problem } = await judging.judge("replay", await submission(), { at: then });
    if (outcome === undefined) throw new CommandError(problem ?? "nothing that could be judged");
    return outcome;
  };
  return replayEar(ear, run, judging.policy);
}

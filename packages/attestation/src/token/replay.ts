import { decodeBase64 } from "@entresol/evidence";
import type { Outcome } from "../outcome.ts";
import { defaultPolicy, type PolicyInput } from "../policy/schema.ts";
import { differences, type JsonData } from "./canonical-json.ts";
import { type Ear, earOf, evaluationOf } from "./ear.ts";
import { earJson } from "./token.ts";

/** What came of judging again what a token speaks of. */
export interface Replay {
  /** The claims are the same to the byte. */
  readonly same: boolean;
  /** JSON pointers of the claims that differ, with what the token says and what comes out now. */
  readonly differences: readonly string[];
  readonly again: Ear;
}

/**
 * Judges again: `run` verifies the same inputs for the time that it is given, and the claims that follow are compared with those of the
 * token. Inputs and policy are in them by their hashes, so nothing else than what was judged then can give the same.
 */
export async function replayEar(
  ear: Ear,
  run: (at: Date) => Promise<Outcome>,
  policy: PolicyInput = defaultPolicy,
): Promise<Replay> {
  const outcome = await run(new Date(evaluationOf(ear).at));
  const again = await earOf(outcome, policy, {
    issuedAt: ear.iat * 1000,
    ...(ear.exp !== undefined && { lifetime: ear.exp - ear.iat }),
    ...(ear.eat_nonce !== undefined && {
      nonce: decodeBase64(new TextEncoder().encode(ear.eat_nonce), "base64", "RFC 9711, 4.1"),
    }),
  });
  return {
    same: earJson(ear) === earJson(again),
    differences: differences(ear as unknown as JsonData, again as unknown as JsonData),
    again,
  };
}

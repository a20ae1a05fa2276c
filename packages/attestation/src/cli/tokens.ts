import { readFile } from "node:fs/promises";
import type { Judgement } from "../submission/judgement.ts";
import { earOf } from "../token/ear.ts";
import { type SigningKey, signingKey } from "../token/keys.ts";
import { signEarCwt, signEarJwt } from "../token/token.ts";
import { CommandError } from "./exit-status.ts";
import { explain } from "./failure.ts";

/** Forms of a token, by their names on the command line, with their media types (RFC 9782). */
export const tokenForms = {
  "ear-jwt": { type: "application/eat+jwt", sign: signEarJwt },
  "ear-cwt": { type: "application/eat+cwt", sign: signEarCwt },
} as const;
export type TokenForm = keyof typeof tokenForms;

export async function keyOf(path: string): Promise<SigningKey> {
  try {
    return await signingKey(await readFile(path, "utf8"));
  } catch (error) {
    throw new CommandError(`--key ${path}: ${explain(error)}`);
  }
}

/** A signed token that says what came of a judgement, and what it rests on. */
export async function tokenOf(
  judgement: Judgement,
  form: TokenForm,
  key: SigningKey,
  {
    lifetime,
    nonce,
  }: { readonly lifetime?: number | undefined; readonly nonce?: Uint8Array | undefined } = {},
): Promise<string | Uint8Array> {
  if (judgement.outcome === undefined)
    throw new CommandError(
      `there is nothing that a token could speak of: ${judgement.problem ?? "no evidence"}`,
    );
  const ear = await earOf(judgement.outcome, judgement.policy, {
    ...(lifetime !== undefined && { lifetime }),
    ...(nonce !== undefined && { nonce }),
  });
  return tokenForms[form].sign(ear, key);
}

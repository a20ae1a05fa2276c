import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { plainJson } from "../report/claims.ts";
import { appraisalOf } from "../token/ear.ts";
import { verificationKey } from "../token/keys.ts";
import { verifyEar } from "../token/token.ts";
import { EXIT_ACCEPTED, EXIT_REJECTED } from "./exit-status.ts";
import { nonceOf } from "./judging.ts";
import { tokenIn } from "./replay.ts";

/** `entresol-verify token FILE --key F`: is this a token that the holder of the key made, and what does it say? */
export function tokenCommand(finish: (status: number) => void): Command {
  return new Command("token")
    .description(
      "Verifies a token (JWT or CWT) that entresol-verify made, and prints its claims. Exit status: 0 when it speaks of accepted evidence, 1 when it does not, 2 when it does not hold.",
    )
    .argument("<file>", "the token")
    .requiredOption("--key <file>", "public key, certificate or private key of who signed it (PEM, JWK)")
    .option("--nonce <hex>", "the nonce that it must have", nonceOf)
    .option("--at <time>", "when it must hold, ISO 8601 (default: now)")
    .action(
      async (
        path: string,
        flags: { readonly key: string; readonly nonce?: Uint8Array; readonly at?: string },
      ) => {
        const ear = await verifyEar(
          await tokenIn(path),
          await verificationKey(await readFile(flags.key, "utf8")),
          {
            ...(flags.at !== undefined && { at: flags.at }),
            ...(flags.nonce !== undefined && { nonce: flags.nonce }),
          },
        );
        process.stdout.write(`${JSON.stringify(plainJson(ear), undefined, 2)}\n`);
        finish(appraisalOf(ear).ear_verifier_claims.verdict === "accepted" ? EXIT_ACCEPTED : EXIT_REJECTED);
      },
    );
}

import { readBundle } from "../collateral/bundle.ts";
import type { Submission } from "./submission.ts";

/** Puts the contents of bundles into the place of the bundles. Throws `EvidenceError` `bad-input` for a bundle that cannot be used. */
export async function openBundles(submission: Submission): Promise<void> {
  for (const { name, bytes } of submission.take("bundle"))
    submission.addBundle(name, await readBundle(bytes));
}

// Evidence judged without a network: what AMD published lies beside it in one file, and the verdict is for a time that is stated.
// node examples/dist/verify-offline.js
import {
  anchorOf,
  type CollateralBundle,
  judgeSubmission,
  makeBundle,
  readBundle,
  Submission,
  type TrustAnchor,
  writeBundle,
} from "@entresol/attestation";
import { makeSampleChip, type SampleChip } from "./sample-chip.ts";

/** Certificates and the revocation list of a chip, with their hashes and the time in which all of them are valid. */
export function collateralOf({ vcek, ask, crl }: SampleChip): Promise<CollateralBundle> {
  return makeBundle([
    { role: "certificate", name: "vcek.der", data: vcek },
    { role: "certificate", name: "ask.der", data: ask },
    { role: "crl", name: "crl.der", data: crl },
  ]);
}

/** The verdict on a report, with the file of a bundle. A bundle vouches for nothing: every document in it is verified. */
export async function judgeOffline(
  report: Uint8Array,
  bundle: Uint8Array,
  at: string,
  roots: readonly TrustAnchor[],
): Promise<string[]> {
  const submission = new Submission();
  submission.add({ name: "report.bin", bytes: report });
  submission.addBundle("collateral.json", await readBundle(bundle));
  const { outcome, decision } = await judgeSubmission("report.bin", submission, { at, roots });
  const open = outcome?.checks.filter(({ result }) => result !== "passed") ?? [];
  return [decision.verdict, ...open.map(({ id, result, detail }) => `${id} ${result}: ${detail}`)];
}

if (process.argv[1]?.endsWith("verify-offline.js")) {
  const chip = await makeSampleChip();
  const file = writeBundle(await collateralOf(chip));
  const roots = [anchorOf(chip.ark)];
  console.log((await judgeOffline(await chip.report(), file, "2026-06-01T00:00:00Z", roots)).join("\n"));
}

// A folder of evidence to try entresol-verify on, of a chip that nobody made. node examples/dist/sample-evidence.js FOLDER
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeSampleChip } from "./sample-chip.ts";

/** Writes report, certificates and revocation list under the names that entresol-verify knows. They are valid on 2026-06-01. */
export async function writeSampleEvidence(folder: string): Promise<void> {
  const chip = await makeSampleChip();
  mkdirSync(folder, { recursive: true });
  const files = { "report.bin": await chip.report(), "vcek.der": chip.vcek, "ask.der": chip.ask };
  for (const [name, bytes] of Object.entries({ ...files, "ark.der": chip.ark, "crl.der": chip.crl }))
    writeFileSync(join(folder, name), bytes);
}

const [, program, folder] = process.argv;
if (program?.endsWith("sample-evidence.js")) {
  if (folder === undefined) throw new Error("which folder?");
  await writeSampleEvidence(folder);
  console.log(`${folder}: report.bin, vcek.der, ask.der, ark.der, crl.der`);
}

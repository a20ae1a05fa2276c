// Writes the golden states of today's format beside this file: node packages/tpm/src/golden/generate.mjs, after a build. Only for a format that is new,
// under its own number: files that are there stay, for what was saved once must be restored for good.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Tpm } from "../../dist/index.js";
import { STATE_VERSION } from "../../dist/saved-state.js";
import { goldenAnswers, goldenStates } from "../../dist/testing/golden-states.js";

const file = (name) => join(import.meta.dirname, `version${STATE_VERSION}-${name}`);
if (existsSync(file("answers.json"))) {
  console.error(`The golden states of version ${STATE_VERSION} are there already.`);
  process.exit(1);
}
const states = goldenStates();
for (const [name, bytes] of Object.entries(states)) writeFileSync(file(`${name}.bin`), bytes);
const tpm = new Tpm({ permanent: states.permanent, now: () => 0 });
tpm.restoreVolatile(states.volatile);
writeFileSync(file("answers.json"), `${JSON.stringify(goldenAnswers(tpm), null, 2)}\n`);

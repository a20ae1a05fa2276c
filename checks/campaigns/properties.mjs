// Every test file that draws random cases, run again with fresh seeds: `npm test` itself always draws those of seed 1.
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

export const description = "property tests of all packages with a fresh seed each round, rounds counted";
export const defaultCount = 20;

const root = resolve(import.meta.dirname, "../..");
const execute = promisify(execFile);

function propertyTests() {
  return readdirSync(join(root, "packages"), { recursive: true })
    .filter((file) => file.endsWith(".test.ts") && !file.includes("node_modules"))
    .map((file) => join("packages", file))
    .filter((file) => readFileSync(join(root, file), "utf8").includes("fc.assert"));
}

export async function* run({ seed, count, position }) {
  const files = propertyTests();
  for (let round = position; round < count; round++) {
    const messages = [];
    const env = {
      ...process.env,
      ENTRESOL_PROPERTY_SEED: String((seed + round) % 0x7fff_ffff),
      NO_COLOR: "1",
    };
    try {
      await execute(process.execPath, ["node_modules/vitest/vitest.mjs", "run", ...files], {
        cwd: root,
        env,
        maxBuffer: 2 ** 26,
      });
    } catch (error) {
      const failures =
        `${error.stdout}\n${error.stderr}`.match(/^ FAIL .*$|Counterexample:.*$|seed: .*$/gm) ?? [];
      messages.push(
        `round ${round}, ENTRESOL_PROPERTY_SEED=${env.ENTRESOL_PROPERTY_SEED}: ${failures.join(" | ")}`,
      );
    }
    yield { position: round + 1, mismatches: messages.length, messages };
  }
}

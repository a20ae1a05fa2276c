// npm run campaign -- NAME [--seed N] [--count N] [--resume] [--json]: runs a test that is too long for `npm test`, from
// packages/*/campaigns/NAME.mjs or checks/campaigns/NAME.mjs. A campaign exports `description`, `defaultCount` and
// `run({ seed, count, position })`, an async generator of steps { position, mismatches, messages }: all cases below `position`
// are done. Exit status 1 when anything mismatched.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";

const root = resolve(import.meta.dirname, "..");
/** Messages that are printed; the rest is only counted. */
const SHOWN = 20;
/** Between two saves of the position, ms. */
const SAVE_INTERVAL = 5000;

function discover() {
  const found = new Map();
  const folders = readdirSync(join(root, "packages")).map((name) =>
    join(root, "packages", name, "campaigns"),
  );
  for (const folder of [join(root, "checks", "campaigns"), ...folders]) {
    if (!existsSync(folder)) continue;
    for (const file of readdirSync(folder)) {
      if (file.endsWith(".mjs")) found.set(file.slice(0, -4), join(folder, file));
    }
  }
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const load = (path) => import(pathToFileURL(path).href);

function stateFile(name) {
  const cache = process.env.ENTRESOL_CACHE ?? join(homedir(), ".cache", "entresol");
  return join(cache, "campaigns", `${name}.json`);
}

/** Written beside and renamed, so that a kill in between leaves the older state. */
function save(file, state) {
  mkdirSync(resolve(file, ".."), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(state));
  renameSync(`${file}.new`, file);
}

function wholeNumber(text, option) {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`--${option} wants a whole number, not "${text}"`);
  return value;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: "string" },
      count: { type: "string" },
      resume: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const known = discover();
  const [name] = positionals;
  const path = name === undefined ? undefined : known.get(name);
  if (path === undefined) {
    console.error(name === undefined ? "Which campaign?" : `There is no campaign "${name}".`);
    console.error("Known campaigns:");
    for (const [each, file] of known) {
      const { description, defaultCount } = await load(file);
      console.error(`  ${each.padEnd(24)} ${description} (${defaultCount.toLocaleString("en-US")} cases)`);
    }
    return 2;
  }

  const campaign = await load(path);
  const file = stateFile(name);
  const saved = values.resume && existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
  const seed =
    values.seed === undefined ? (saved?.seed ?? Date.now() % 0x80000000) : wholeNumber(values.seed, "seed");
  const count =
    values.count === undefined ? (saved?.count ?? campaign.defaultCount) : wholeNumber(values.count, "count");
  const resumed = saved !== undefined && saved.seed === seed;
  let position = resumed ? Math.min(saved.position, count) : 0;
  let mismatches = resumed ? saved.mismatches : 0;
  const messages = [];
  const started = performance.now();
  const first = position;
  const talk = values.json ? () => {} : (line) => console.log(line);
  talk(
    `${name}: seed ${seed}, ${count.toLocaleString("en-US")} cases${first > 0 ? ` from case ${first.toLocaleString("en-US")}` : ""}`,
  );

  const bar =
    process.stderr.isTTY && !values.json
      ? new SingleBar({
          format:
            " {bar} {percentage}% | {value} of {total} | mismatches {mismatches} | {eta_formatted} left",
          hideCursor: true,
        })
      : undefined;
  bar?.start(count, position, { mismatches });
  let stopped = false;
  const stop = () => {
    stopped = true;
  };
  process.once("SIGINT", stop);
  let lastSave = started;
  try {
    if (position < count) {
      for await (const step of campaign.run({ seed, count, position })) {
        position = step.position;
        mismatches += step.mismatches;
        for (const message of step.messages) if (messages.length < SHOWN) messages.push(message);
        bar?.update(position, { mismatches });
        if (performance.now() - lastSave > SAVE_INTERVAL) {
          save(file, { seed, count, position, mismatches });
          lastSave = performance.now();
        }
        if (stopped) break;
      }
    }
  } finally {
    bar?.stop();
    process.off("SIGINT", stop);
    save(file, { seed, count, position, mismatches });
  }
  const seconds = (performance.now() - started) / 1000;
  const perSecond = Math.round((position - first) / seconds);
  if (values.json) {
    console.log(JSON.stringify({ name, seed, count, position, mismatches, seconds, perSecond, messages }));
  } else {
    for (const message of messages) console.log(`  ${message}`);
    if (mismatches > messages.length) console.log(`  and ${mismatches - messages.length} more`);
    const rate = `${perSecond.toLocaleString("en-US")} cases/s, ${seconds.toFixed(1)} s`;
    console.log(
      `${position.toLocaleString("en-US")} of ${count.toLocaleString("en-US")} cases, ${mismatches} mismatches, ${rate}`,
    );
    console.log(`${position - mismatches} passed, ${mismatches} failed, 0 skipped`);
    if (position < count) console.log(`stopped early; go on with: npm run campaign -- ${name} --resume`);
  }
  return mismatches > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`campaign: ${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
  process.exitCode = 2;
}

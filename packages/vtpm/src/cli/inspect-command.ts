import { decodePermanent, decodeRunning } from "@entresol/tpm";
import { Command } from "commander";
import pc from "picocolors";
import { type Inspection, inspect } from "../inspection.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK } from "./exit-status.ts";
import type { Invocation } from "./invocation.ts";
import { readKey } from "./key-file.ts";
import { openStateFolder, stateFolder } from "./state-folder.ts";

interface InspectOptions {
  tpmstate?: string;
  key?: string;
  json?: boolean;
}

/** `entresol-vtpm inspect …`. `finish` gets the exit status. */
export function inspectCommand(_invocation: Invocation, finish: (status: number) => void): Command {
  return new Command("inspect")
    .description("Shows what a TPM's state holds: objects, sessions, NV indices, PCRs; never a secret.")
    .option("--tpmstate <place>", "where the state is: dir=FOLDER (default: $TPM_PATH)")
    .option("--key <key>", "the state is encrypted: as for socket")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
PCRs, sessions and loaded objects are shown when the TPM's volatile state was stored (STORE_VOLATILE) and NV has not changed since.

Examples:
  entresol-vtpm inspect --tpmstate dir=/var/lib/tpm
  entresol-vtpm inspect --tpmstate dir=/var/lib/tpm --json | jq .nvIndices
`,
    )
    .action((options: InspectOptions) => finish(run(options)));
}

function run(options: InspectOptions): number {
  const key = options.key === undefined ? undefined : readKey("--key", options.key);
  const folder = stateFolder(options.tpmstate);
  const store = openStateFolder(folder, key);
  try {
    const permanent = store.load();
    if (permanent === undefined)
      throw new CommandError(EXIT_FAILURE, `${folder?.path}: there is no TPM's state in this folder`);
    const running = store.loadVolatile();
    const found = inspect(
      decodePermanent(permanent),
      running === undefined ? undefined : decodeRunning(running),
    );
    const text = options.json === true ? JSON.stringify(found) : describe(found);
    process.stdout.write(`${text}\n`);
    return EXIT_OK;
  } finally {
    store.close();
  }
}

function section(title: string, lines: readonly string[]): string[] {
  return [pc.bold(`${title} (${lines.length})`), ...lines.map((line) => `  ${line}`)];
}

/** For people. */
export function describe(found: Inspection): string {
  const { dictionaryAttack: attack, running } = found;
  const lines = [
    `resets ${found.resetCount}, clock ${found.clock} ms, ${found.orderly ? "shut down in order" : "not shut down in order"}`,
    `dictionary attack: ${attack.failedTries} of ${attack.maxTries} tries failed`,
    `PCR banks: ${found.pcrBanks.join(", ")}`,
    ...section(
      "Persistent objects",
      found.persistent.map(
        ({ handle, kind, hierarchy, name }) => `${handle}  ${kind}, ${hierarchy}  ${name}`,
      ),
    ),
    ...section(
      "NV indices",
      found.nvIndices.map(
        ({ handle, kind, size, attributes }) => `${handle}  ${kind}, ${size} bytes  ${attributes.join(" ")}`,
      ),
    ),
  ];
  if (running === undefined) return [...lines, "No volatile state is stored."].join("\n");
  return [
    ...lines,
    ...section(
      "Loaded objects",
      running.objects.map(({ handle, kind }) => `${handle}  ${kind}`),
    ),
    ...section(
      "Sessions",
      running.sessions.map(({ handle, kind, hash }) => `${handle}  ${kind}, ${hash}`),
    ),
    ...Object.entries(running.pcr).flatMap(([bank, values]) =>
      section(
        `PCRs ${bank}`,
        values.map((value, i) => `${String(i).padStart(2)}  ${value}`),
      ),
    ),
  ].join("\n");
}

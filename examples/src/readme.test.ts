import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { ensureGuest } from "@entresol/vmm";
import { expect, it } from "vitest";

const root = new URL("../../", import.meta.url).pathname;
const readme = readFileSync(`${root}README.md`, "utf8");
const run = promisify(execFile);

/** The commands of the README's fenced blocks that start the built command, without their comments. */
const commands = [...readme.matchAll(/^(?:npm start(?: --)?|npx entresol) ?(.*?)(?: +#.*)?$/gm)].map(
  ([line, args]) => ({
    line: line!.replace(/ +#.*/, ""),
    arguments: line!.startsWith("npx") ? args! : `boot ${args}`,
  }),
);

const missing = await Promise.all([ensureGuest("debian12"), ensureGuest("debian13")]).then(
  () => undefined,
  (error: Error) => error.message,
);
if (missing !== undefined) console.log(`README commands skipped: ${missing}`);

it("README: shows the commands that are run here", () => {
  expect(commands.length).toBeGreaterThanOrEqual(6);
});

it.skipIf(missing !== undefined && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1").each(commands)(
  "README: $line",
  { timeout: 120_000 },
  async (command) => {
    const { stdout, stderr } = await run(
      "/bin/sh",
      ["-c", `exec ${process.execPath} ${root}packages/vmm/bin/entresol.js ${command.arguments} </dev/null`],
      { env: { ...process.env, NO_COLOR: "1" }, maxBuffer: 2 ** 26 },
    );
    expect(stdout.length).toBeGreaterThan(0);
    expect(stderr).not.toContain("entresol:");
  },
);

it("README: the TPM's program is examples/src/tpm.ts", async () => {
  const program = readFileSync(`${root}examples/src/tpm.ts`, "utf8").replace(/^\/\/.*\n/, "");
  expect(readme).toContain(`\`\`\`ts\n${program}\`\`\``);
  const { stdout } = await run(process.execPath, [`${root}examples/dist/tpm.js`]);
  expect(stdout).toMatch(/^[0-9a-f]{32}\n$/);
});

it("README: the program is examples/src/embed.ts", async () => {
  const program = readFileSync(`${root}examples/src/embed.ts`, "utf8").replace(/^\/\/.*\n/, "");
  expect(readme).toContain(`\`\`\`ts\n${program}\`\`\``);
  const { stdout } = await run(process.execPath, [`${root}examples/dist/embed.js`]);
  expect(stdout).not.toMatch(/^FAIL/m);
  expect(stdout).toMatch(/\{ kind: 'power-off' \}\n$/);
});

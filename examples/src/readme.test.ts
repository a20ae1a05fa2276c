import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ensureGuest } from "@entresol/vmm";
import { afterAll, expect, it } from "vitest";

const root = new URL("../../", import.meta.url).pathname;
const readme = readFileSync(`${root}README.md`, "utf8");
const run = promisify(execFile);

const programs: Readonly<Record<string, string>> = {
  entresol: "packages/vmm/bin/entresol.js",
  "entresol-verify": "packages/attestation/bin/entresol-verify.js",
  "entresol-vtpm": "packages/vtpm/bin/entresol-vtpm.js",
};

/** The commands of the README's fenced blocks that start a built program, without their comments. They run in one folder, in their order. */
const commands = [
  ...readme.matchAll(/^(npm start(?: --)?|npx [\w-]+|node [\w/.-]+) ?(.*?)(?: +#.*)?$/gm),
].map(([line, program = "", args]) => {
  const [runner, name = ""] = program.split(" ");
  const file = runner === "npm" ? `${programs["entresol"]} boot` : runner === "npx" ? programs[name] : name;
  return {
    line: line.replace(/ +#.*/, ""),
    program: `${root}${file}`,
    arguments: args,
    guest: name === "start" || name === "entresol",
  };
});
const folder = mkdtempSync(join(tmpdir(), "entresol-readme-"));
afterAll(() => rmSync(folder, { recursive: true }));

const missing = await Promise.all([ensureGuest("debian12"), ensureGuest("debian13")]).then(
  () => undefined,
  (error: Error) => error.message,
);
if (missing !== undefined) console.log(`README commands skipped: ${missing}`);

it("README: shows the commands that are run here", () => {
  expect(commands.length).toBeGreaterThanOrEqual(14);
  for (const { line, program } of commands)
    expect([line, existsSync(program.split(" ")[0] as string)]).toEqual([line, true]);
});

async function shown({ program, arguments: args }: (typeof commands)[number]): Promise<void> {
  const { stdout, stderr } = await run(
    "/bin/sh",
    ["-c", `exec ${process.execPath} ${program} ${args} </dev/null`],
    {
      cwd: folder,
      // A local authority for certificates is made where the user's configuration lies.
      env: { ...process.env, NO_COLOR: "1", XDG_CONFIG_HOME: folder },
      maxBuffer: 2 ** 26,
    },
  );
  expect(stdout.length).toBeGreaterThan(0);
  expect(stderr).not.toMatch(/^entresol[\w-]*:/m);
}

it.each(commands.filter(({ guest }) => !guest))("README: $line", { timeout: 60_000 }, shown);
it
  .skipIf(missing !== undefined && process.env["ENTRESOL_REQUIRE_PEERS"] !== "1")
  .each(commands.filter(({ guest }) => guest))("README: $line", { timeout: 120_000 }, shown);

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

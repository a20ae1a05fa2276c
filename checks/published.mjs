// The packages as npm would publish them, looked at by those who would use them:
//
//   node checks/published.mjs [NAME ...]    all packages, or those named
//
// - publint and "are the types wrong?" find nothing
// - no test is published, and what is published imports nothing that is not
// - each package loads on Node, out of its tarball alone
// - attestation and evidence make a bundle for a browser, without anything of Node in it; what is not used stays out of it
//
// The packages' dist/ is packed as it is, so `npm run build` comes first.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "..");
const { positionals } = parseArgs({ allowPositionals: true });
const problems = [];
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

/** Packs the packages, and unpacks them where they are found as installed: beside the packages of others, and nothing else. */
async function install(folder) {
  const { stdout } = await run(
    "npm",
    ["pack", "--workspaces", "--ignore-scripts", "--json", "--pack-destination", folder],
    { cwd: root, maxBuffer: 2 ** 28 },
  );
  const modules = join(folder, "node_modules");
  mkdirSync(join(modules, "@entresol"), { recursive: true });
  for (const name of readdirSync(join(root, "node_modules")).filter((each) => !each.startsWith(".")))
    if (name !== "@entresol") symlinkSync(join(root, "node_modules", name), join(modules, name));
  const packed = [];
  for (const { name, filename, size, files } of JSON.parse(stdout)) {
    if (name === "@entresol/examples") continue;
    const path = join(modules, name);
    mkdirSync(path);
    await run("tar", ["xzf", join(folder, filename), "-C", path, "--strip-components=1"]);
    packed.push({ name, path, tarball: join(folder, filename), size, files: files.map((file) => file.path) });
  }
  return packed;
}

/** Only ES modules are published: what CommonJS alone would see, and resolution by Node 10, are left out. */
async function typeProblems({ name, tarball }) {
  const args = [tarball, "--profile", "esm-only", "--no-definitely-typed", "--format", "ascii", "--no-color"];
  await run(join(root, "node_modules/.bin/attw"), args).catch(({ stdout }) => {
    problems.push(`${name}: are the types wrong?\n${stdout.trim()}`);
  });
}

async function lint({ name, path, files }) {
  const { messages, pkg } = await publint({ pkgDir: path, pack: false, strict: true });
  for (const message of messages) problems.push(`${name}: ${formatMessage(message, pkg, { color: false })}`);
  const tests = files.filter((file) => /\.test\.(d\.)?(ts|js)(\.map)?$/.test(file));
  if (tests.length > 0)
    problems.push(`${name}: ${tests.length} files of tests are published, such as ${tests[0]}`);
}

/** Loads it in a process of its own: an import that is not there, or a file that was not published, ends it. */
async function load({ name, path }) {
  const program = `const all = await import(${JSON.stringify(name)}); process.stdout.write(String(Object.keys(all).length));`;
  try {
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], {
      cwd: join(path, "..", "..", ".."),
    });
    return Number(stdout);
  } catch (error) {
    problems.push(
      `${name}: does not load: ${
        String(error.stderr)
          .trim()
          .split("\n")
          .find((line) => /Error/.test(line)) ?? error.message
      }`,
    );
    return 0;
  }
}

/** A bundle for a browser, of the published files: esbuild fails on any import of Node's. */
async function bundle(folder, contents) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: folder },
    absWorkingDir: folder,
    bundle: true,
    write: false,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "silent",
  });
  const [{ contents: bytes, text }] = outputFiles;
  const imported = text.match(/(?:from|import\()\s*"node:[a-z/_]+"/);
  if (imported !== null) problems.push(`bundle of ${contents}: has ${imported[0]}`);
  return { minified: bytes.length, gzip: gzipSync(bytes).length };
}

/** What somebody would take, and the most that it may be of the whole, where there is a bound. */
const bundles = [
  { title: "attestation, all of it", contents: 'export * from "@entresol/attestation"' },
  { title: "verifySnp, and a policy", contents: 'export { judge, verifySnp } from "@entresol/attestation"' },
  { title: "verifyTdx alone", contents: 'export { verifyTdx } from "@entresol/attestation"', share: 0.3 },
  { title: "verifySnp alone", contents: 'export { verifySnp } from "@entresol/attestation"', share: 0.25 },
  { title: "evidence, all of it", contents: 'export * from "@entresol/evidence"' },
  { title: "parseSnpReport alone", contents: 'export { parseSnpReport } from "@entresol/evidence"' },
];

async function inBrowser(folder) {
  let whole;
  for (const { title, contents, share } of bundles) {
    try {
      const { minified, gzip } = await bundle(folder, contents);
      whole ??= minified;
      console.log(
        `  ${title.padEnd(26)} ${kilobytes(minified).padStart(10)} minified ${kilobytes(gzip).padStart(10)} gzip`,
      );
      if (share !== undefined && minified > share * whole)
        problems.push(
          `${title}: ${Math.round((100 * minified) / whole)} % of the whole package, more than ${100 * share} %: something holds on to the rest`,
        );
    } catch (error) {
      problems.push(
        `${title}: no bundle for a browser: ${error.errors?.map(({ text }) => text).join("; ") ?? error.message}`,
      );
    }
  }
}

const folder = mkdtempSync(join(tmpdir(), "entresol-published-"));
let subjects = 1;
try {
  const packed = (await install(folder)).filter(
    ({ name }) => positionals.length === 0 || positionals.includes(name.replace("@entresol/", "")),
  );
  for (const one of packed) {
    subjects++;
    await lint(one);
    await typeProblems(one);
    const exported = await load(one);
    const { version } = JSON.parse(readFileSync(join(one.path, "package.json"), "utf8"));
    console.log(
      `${one.name} ${version}: ${kilobytes(one.size)} packed, ${one.files.length} files, ${exported} exports`,
    );
  }
  console.log("for a browser:");
  await inBrowser(folder);
} finally {
  rmSync(folder, { recursive: true });
}
for (const problem of problems) console.error(problem);
// A package is one, and the bundles for a browser are one.
const wrong = new Set(problems.map((problem) => /^(@entresol\/[^:]+): /.exec(problem)?.[1] ?? "bundles"))
  .size;
console.log(`${subjects - wrong} passed, ${wrong} failed, 0 skipped`);
if (wrong > 0) process.exitCode = 1;

// The command in few files beside those of the compiler: Node reads a dozen of them instead of two hundred, which is half of the time until there
// is a verdict. What is needed rarely stays in files of its own. bin/entresol-verify.js takes these when they are not older than the compiler's.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
const outdir = join(import.meta.dirname, "dist/bundle");
/** Packages of others that go in, with their licenses. */
const included = ["cbor-x", "commander", "picocolors", "zod"];
/** What only some subcommands and options need stays where it is. */
const external = [
  "@hono/node-server",
  "@hono/zod-openapi",
  "cbor-extract",
  "cli-progress",
  "hono",
  "jose",
  "prom-client",
];

rmSync(outdir, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["dist/cli/main.js"],
  outdir,
  entryNames: "[name]",
  bundle: true,
  splitting: true,
  external,
  format: "esm",
  platform: "node",
  target: "node20",
  sourcemap: "linked",
  minifyWhitespace: true,
  minifySyntax: true,
  metafile: true,
  logLevel: "warning",
  banner: {
    js: 'import{createRequire as __entresolRequire}from"node:module";const require=__entresolRequire(import.meta.url);',
  },
});

// Nobody's work goes in without its license.
for (const input of Object.keys(metafile.inputs)) {
  const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(input) ?? [];
  if (name !== undefined && !name.startsWith("@entresol") && !included.includes(name))
    throw new Error(`${name} is in the bundle: name it in bundle.mjs`);
}

/** The folder of a package, whatever of it may be required. */
function folderOf(name) {
  const entry = require.resolve(name);
  const at = entry.lastIndexOf(join("node_modules", name) + sep);
  return at === -1 ? dirname(entry) : entry.slice(0, at + join("node_modules", name).length);
}
const licenses = included.map((name) => {
  const folder = folderOf(name);
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  return `${name}\n\n${readFileSync(join(folder, file), "utf8")}`;
});
writeFileSync(join(outdir, "LICENSES.txt"), licenses.join("\n\n"));

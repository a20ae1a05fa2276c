// The command in few files beside those of the compiler: Node reads a dozen of them instead of a hundred and fifty, which is half of the time until
// a service answers. What is needed rarely stays in files of its own. bin/entresol-vtpm.js takes these when they are not older than the compiler's.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
const outdir = join(import.meta.dirname, "dist/bundle");
/** Packages of others that go in, with their licenses. */
const included = ["commander", "picocolors"];
/** What only some subcommands need stays where it is. */
const external = ["asn1js", "cli-progress", "pkijs"];

rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: ["dist/cli/main.js", "dist/key-search-worker.js"],
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
  logLevel: "warning",
  banner: {
    js: 'import{createRequire as __entresolRequire}from"node:module";const require=__entresolRequire(import.meta.url);',
  },
});
const licenses = included.map((name) => {
  const folder = dirname(require.resolve(name));
  return `${name}\n\n${readFileSync(join(folder, "LICENSE"), "utf8")}`;
});
writeFileSync(join(outdir, "LICENSES.txt"), licenses.join("\n\n"));

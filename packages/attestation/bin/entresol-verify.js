#!/usr/bin/env node
import { statSync } from "node:fs";

/** Milliseconds; 0 when there is no such file. */
const changed = (path) => statSync(new URL(path, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? 0;

// In a checkout that was compiled and not bundled since, what was compiled is the command. Packages that are installed have no record of a compiler.
const compiled = ["wire", "tpm-types", "evidence", "igvm", "attestation"].map((name) =>
  changed(`../../${name}/tsconfig.tsbuildinfo`),
);
const bundled = changed("../dist/bundle/main.js");
const isBundled = bundled > 0 && bundled >= Math.max(...compiled);
const { main } = await import(isBundled ? "../dist/bundle/main.js" : "../dist/cli/main.js");

process.exitCode = await main(process.argv.slice(2));

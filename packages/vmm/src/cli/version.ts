import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);

/** The packages whose code decides what a snapshot means. */
const parts = [
  "wire",
  "hypervisor",
  "cpu",
  "devices",
  "backend-software",
  "paravisor",
  "tpm-types",
  "tpm",
  "evidence",
  "vtpm",
  "vmm",
];

function* filesBelow(folder: string): Generator<string> {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (/(?<!\.test)\.(js|wasm)$/.test(entry.name)) yield path;
  }
}

/** SHA-256 over the built code: a snapshot that another build made is not resumed. */
export function buildIdentity(): string {
  const digest = createHash("sha256");
  for (const part of parts) {
    const entry =
      part === "vmm"
        ? new URL("../index.js", import.meta.url).pathname
        : require.resolve(`@entresol/${part}`);
    for (const file of filesBelow(part === "cpu" ? join(dirname(entry), "..") : dirname(entry)))
      digest.update(readFileSync(file));
  }
  return digest.digest("hex");
}

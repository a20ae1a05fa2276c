// Builds build/cpu.wasm from assembly/ and gen/. Instant when nothing changed: a hash of the sources stands beside the
// result. The result appears by rename, so that a reader never sees half of it.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { generate } from "./gen/dispatch.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, "build");
const options = [
  ...["--runtime", "stub", "--importMemory", "--noExportMemory", "--memoryBase", String(0x8000)],
  ...["--enable", "simd", "--enable", "bulk-memory", "-O3", "--noAssert"],
  // v128 crosses no boundary: it is passed between functions of the module only.
  ...["--disableWarning", "112"],
];

function sources() {
  const files = [];
  for (const folder of ["assembly", "gen"])
    for (const name of readdirSync(join(here, folder)).sort())
      if (/\.(ts|mjs)$/.test(name)) files.push(join(here, folder, name));
  return files;
}
function fingerprint() {
  const hash = createHash("sha256")
    .update(JSON.stringify(options))
    .update(readFileSync(fileURLToPath(import.meta.url)));
  for (const file of sources()) hash.update(file.slice(here.length)).update("\0").update(readFileSync(file));
  return hash.digest("hex");
}

/** Builds unless build/cpu.wasm is up to date; throws with the compiler's messages. */
export async function buildProcessor() {
  const wasm = join(build, "cpu.wasm");
  const stampFile = join(build, "cpu.hash");
  const wanted = fingerprint();
  if (existsSync(wasm) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === wanted) return false;
  mkdirSync(build, { recursive: true });
  const generated = generate(readFileSync(join(here, "assembly/ops.ts"), "utf8"));
  for (const [name, text] of Object.entries(generated)) {
    const file = join(build, `${name}.ts`);
    if (existsSync(file) && readFileSync(file, "utf8") === text) continue;
    writeFileSync(`${file}.${process.pid}`, text);
    renameSync(`${file}.${process.pid}`, file);
  }
  const { default: asc } = await import("assemblyscript/asc");
  const output = `build/cpu.${process.pid}.wasm`;
  const result = await asc.main(["assembly/index.ts", "--outFile", output, "--baseDir", here, ...options], {
    stdout: process.stdout,
    stderr: process.stderr,
  });
  if (result.error) {
    rmSync(join(here, output), { force: true });
    throw result.error;
  }
  renameSync(join(here, output), wasm);
  writeFileSync(stampFile, wanted);
  return true;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const started = performance.now();
  const built = await buildProcessor().catch((error) => {
    console.error(`cpu.wasm was not built: ${error.message}`);
    process.exit(1);
  });
  if (built)
    console.log(
      `cpu.wasm: ${readFileSync(join(build, "cpu.wasm")).length} bytes in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
}

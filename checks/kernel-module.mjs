// Builds a kernel module of ours for a guest's kernel, with the C compiler of this machine and the headers of the guest's release.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { guestFolder } from "@entresol/vmm";
import { ensureHeaders } from "../packages/vmm/dist/guest/headers.js";

/** A compiler or headers that this machine cannot have. */
export class NoModuleBuild extends Error {}

/**
 * The module in the folder `sources` (a Makefile for the kernel's build beside its C files), built for `guest`, which `ensureGuest`
 * gave. What was built before from the same sources comes from the cache. Throws `NoModuleBuild`, or Error when it does not compile.
 */
export async function kernelModule(name, sources, guest) {
  const hash = createHash("sha256").update(guest.kernelVersion);
  for (const file of readdirSync(sources).sort()) hash.update(file).update(readFileSync(join(sources, file)));
  const built = join(dirname(guestFolder()), "modules", `${name}-${hash.digest("hex").slice(0, 24)}.ko`);
  if (!existsSync(built)) await build(name, sources, guest, built);
  return { name, bytes: readFileSync(built) };
}

async function build(name, sources, guest, built) {
  if (spawnSync("gcc", ["--version"]).error !== undefined) throw new NoModuleBuild("gcc is not installed");
  const headers = await ensureHeaders(guest).catch((error) => {
    throw new NoModuleBuild(`no headers of ${guest.kernelVersion}: ${error.message}`);
  });
  const work = mkdtempSync(join(tmpdir(), "entresol-module-"));
  try {
    cpSync(sources, work, { recursive: true });
    const words = [
      "-f",
      headers.makefile,
      "-C",
      headers.build,
      `M=${work}`,
      "CC=gcc",
      "KCFLAGS=-g0",
      "modules",
    ];
    const environment = { ...process.env, LC_ALL: "C", LD_LIBRARY_PATH: headers.libraries };
    const { status, stderr, stdout } = spawnSync(headers.make, words, { encoding: "utf8", env: environment });
    if (status !== 0)
      throw new Error(`${name} does not build for ${guest.kernelVersion}:\n${stdout}${stderr}`);
    mkdirSync(dirname(built), { recursive: true });
    cpSync(join(work, `${name}.ko`), `${built}.${process.pid}`);
    renameSync(`${built}.${process.pid}`, built);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

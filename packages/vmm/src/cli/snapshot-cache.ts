import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { VmConfig } from "../config.ts";
import { guestFolder } from "../guest/index.ts";
import { buildIdentity } from "./version.ts";

/** Snapshots at the prompt that are kept; the oldest go first. */
const KEPT = 6;

/** Where the snapshot of a boot with exactly these inputs is kept. Makes the folder. */
export function promptSnapshotPath(config: VmConfig, name: string): string {
  const digest = createHash("sha256").update(buildIdentity());
  const { boot, memory, cpus } = config;
  digest.update(JSON.stringify([memory, cpus, config.time, boot.kind]));
  if (boot.kind === "linux") {
    for (const bytes of [boot.kernel, boot.initrd ?? new Uint8Array(0), Buffer.from(boot.commandLine)]) {
      digest.update(createHash("sha256").update(bytes).digest());
    }
  }
  const folder = join(dirname(guestFolder()), "prompt");
  mkdirSync(folder, { recursive: true });
  return join(folder, `${name}-${digest.digest("hex").slice(0, 24)}.snapshot`);
}

/** Removes all but the newest snapshots of the cache. */
export function trimPromptSnapshots(path: string): void {
  const folder = dirname(path);
  const files = readdirSync(folder)
    .map((name) => join(folder, name))
    .map((file) => ({ file, time: statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.time - a.time);
  for (const { file } of files.slice(KEPT)) rmSync(file, { force: true });
}

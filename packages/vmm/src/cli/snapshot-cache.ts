import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { VmConfig } from "../config.ts";
import { guestFolder } from "../guest/index.ts";
import { buildIdentity } from "./version.ts";

/** Snapshots at the prompt that are kept; the oldest go first. */
const KEPT = 6;

/** What `promptSnapshotPath` names its files. */
const SNAPSHOT_NAME = /^[a-z0-9]+-[0-9a-f]{24}\.snapshot$/;

function promptFolder(): string {
  return join(dirname(guestFolder()), "prompt");
}

/** Where the snapshot of a boot with exactly these inputs is kept. Makes the folder. */
export function promptSnapshotPath(config: VmConfig, name: string): string {
  const digest = createHash("sha256").update(buildIdentity());
  const { boot, memory, cpus, serialPorts, tpm } = config;
  digest.update(JSON.stringify([memory, cpus, config.time, boot.kind, serialPorts, tpm?.interface]));
  if (boot.kind === "linux") {
    for (const bytes of [boot.kernel, boot.initrd ?? new Uint8Array(0), Buffer.from(boot.commandLine)]) {
      digest.update(createHash("sha256").update(bytes).digest());
    }
  }
  const folder = promptFolder();
  mkdirSync(folder, { recursive: true });
  return join(folder, `${name}-${digest.digest("hex").slice(0, 24)}.snapshot`);
}

/** What `writeSnapshot` names a file before it is whole; the number is that of the process. */
const PARTIAL_NAME = /^[a-z0-9]+-[0-9a-f]{24}\.snapshot\.(\d+)\.partial$/;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Removes a file of the cache if that can be done. Others tidy up here as well, and nothing depends on it. */
export function discard(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It stays, and takes room.
  }
}

/**
 * Removes all but the newest snapshots of `folder`, and what processes that were ended in the middle have left. Whatever else lies
 * there is not ours and stays.
 */
export function trimPromptSnapshots(folder: string = promptFolder()): void {
  let files: string[];
  try {
    files = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);
  } catch {
    return;
  }
  for (const name of files) {
    const partial = PARTIAL_NAME.exec(name);
    if (partial !== null && !isAlive(Number(partial[1]))) discard(join(folder, name));
  }
  const snapshots = files
    .filter((name) => SNAPSHOT_NAME.test(name))
    .map((name) => join(folder, name))
    .map((path) => ({ path, time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.time - a.time);
  for (const { path } of snapshots.slice(KEPT)) discard(path);
}

import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { VmConfig } from "../config.ts";
import { promptSnapshotPath, trimPromptSnapshots } from "./snapshot-cache.ts";

it("is quiet about a folder that is not there", () => {
  trimPromptSnapshots(join(tmpdir(), "entresol-trim-missing"));
});

it("keeps the newest six snapshots, and everything that is no snapshot of the cache", () => {
  const folder = mkdtempSync(join(tmpdir(), "entresol-trim-"));
  try {
    for (const name of ["package.json", "notes.snapshot", "LICENSE"]) {
      writeFileSync(join(folder, name), "");
      utimesSync(join(folder, name), 1, 1);
    }
    mkdirSync(join(folder, `folder-${"0".repeat(24)}.snapshot`));
    for (let i = 0; i < 9; i++) {
      const file = join(folder, `debian12-${String(i).repeat(24)}.snapshot`);
      writeFileSync(file, "");
      utimesSync(file, 1000 + i, 1000 + i);
    }
    // One whose process is gone (no process has this number), and one that is being written.
    for (const pid of [2 ** 30, process.pid])
      writeFileSync(join(folder, `debian12-${"a".repeat(24)}.snapshot.${pid}.partial`), "");
    trimPromptSnapshots(folder);
    expect(readdirSync(folder).sort()).toEqual([
      "LICENSE",
      ...[3, 4, 5, 6, 7, 8].map((i) => `debian12-${String(i).repeat(24)}.snapshot`),
      `debian12-${"a".repeat(24)}.snapshot.${process.pid}.partial`,
      `folder-${"0".repeat(24)}.snapshot`,
      "notes.snapshot",
      "package.json",
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it("another machine is another snapshot: memory, processors, time, serial ports, command line", () => {
  const boot = { kind: "linux", kernel: Uint8Array.of(1), commandLine: "console=ttyS0" } as const;
  const usual: VmConfig = { memory: 2 ** 27, cpus: 1, time: "virtual", serialPorts: 2, boot };
  const others: readonly VmConfig[] = [
    { ...usual, memory: 2 ** 28 },
    { ...usual, cpus: 2 },
    { ...usual, time: "real" },
    { ...usual, serialPorts: 3 },
    { ...usual, boot: { ...boot, commandLine: "quiet" } },
    { ...usual, boot: { ...boot, initrd: Uint8Array.of(1) } },
  ];
  const paths = [usual, ...others].map((config) => promptSnapshotPath(config, "debian12"));
  expect(new Set(paths).size).toBe(paths.length);
  expect(promptSnapshotPath({ ...usual }, "debian12")).toBe(paths[0]);
});

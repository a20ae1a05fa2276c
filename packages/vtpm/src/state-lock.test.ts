import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { StateLock } from "./state-lock.ts";

const root = mkdtempSync(join(tmpdir(), "entresol-vtpm-lock-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
function newFolder(): string {
  const path = join(root, `state${folders++}`);
  mkdirSync(path);
  return path;
}

describe("a state folder", () => {
  it("is one holder's at a time, and the next one's after that", async () => {
    const folder = newFolder();
    const lock = await StateLock.acquire(folder);
    expect(lock.held).toBe(true);
    await expect(StateLock.acquire(folder)).rejects.toMatchObject({
      name: "StateLockError",
      code: "locked",
      message: `${folder}: another service uses this state`,
    });
    const later = StateLock.acquire(folder, { retries: 500 });
    await lock.release();
    await lock.release();
    expect(lock.held).toBe(false);
    await (await later).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is free again when its holder was killed", async () => {
    const folder = newFolder();
    const script = `require("node:net").createServer().listen(${JSON.stringify(join(folder, ".tpm2.lock.1"))}, () => console.log("up"))`;
    const holder = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    await once(holder.stdout, "data");
    await expect(StateLock.acquire(folder)).rejects.toMatchObject({ code: "locked" });
    const ended = once(holder, "exit");
    holder.kill("SIGKILL");
    await ended;
    expect(existsSync(join(folder, ".tpm2.lock.1"))).toBe(true);
    await (await StateLock.acquire(folder)).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("goes to one of many that find it left behind", async () => {
    const folder = newFolder();
    const script = `const s = require("node:net").createServer().listen(${JSON.stringify(join(folder, ".tpm2.lock.1"))}, () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", script]), "exit");
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => StateLock.acquire(folder)));
    const locks = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(locks.length).toBe(1);
    expect(readdirSync(folder)).toEqual([".tpm2.lock.2"]);
    await locks[0]!.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("has to be there", async () => {
    await expect(StateLock.acquire(join(root, "nowhere"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("may have a path of any length", async () => {
    const folder = join(newFolder(), "a".repeat(120), "b".repeat(120));
    mkdirSync(folder, { recursive: true });
    await (await StateLock.acquire(folder)).release();
    expect(readdirSync(folder)).toEqual([]);
  });
});

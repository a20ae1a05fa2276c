import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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

  it("goes to nobody while somebody holds it by any number, whatever dead locks are left above", async () => {
    const folder = newFolder();
    const lock = await StateLock.acquire(folder);
    expect(readdirSync(folder)).toEqual([".tpm2.lock.1"]);
    // As it is left by one who was killed while it took its claim back.
    writeFileSync(join(folder, ".tpm2.lock.6"), "");
    await expect(StateLock.acquire(folder)).rejects.toMatchObject({ code: "locked" });
    expect(readdirSync(folder)).toEqual([".tpm2.lock.1", ".tpm2.lock.6"]);
    await lock.release();
    const next = await StateLock.acquire(folder);
    expect(readdirSync(folder)).toEqual([".tpm2.lock.7"]);
    await next.release();
  });

  it("goes to one of two of whom one looked long before the other came", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, ".tpm2.lock.5"), "");
    const late = StateLock.acquire(folder);
    // The late one has looked, and waits to hear of number 5; that one goes, and somebody begins at 1 again.
    while (!readdirSync(folder).some((name) => name.endsWith(".new")))
      await new Promise((resolve) => setImmediate(resolve));
    rmSync(join(folder, ".tpm2.lock.5"));
    const outcomes = await Promise.allSettled([late, StateLock.acquire(folder)]);
    const locks = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(locks.length).toBe(1);
    await locks[0]!.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is refused when no number is left, which nobody would see", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, ".tpm2.lock.999999999999999"), "");
    await expect(StateLock.acquire(folder)).rejects.toMatchObject({ code: "locked" });
    rmSync(join(folder, ".tpm2.lock.999999999999999"));
    await (await StateLock.acquire(folder)).release();
  });

  it("is not taken through a link: what it leads to is asked, and left alone", async () => {
    const [folder, elsewhere] = [newFolder(), newFolder()];
    const other = await StateLock.acquire(elsewhere);
    symlinkSync(join(elsewhere, ".tpm2.lock.1"), join(folder, ".tpm2.lock.3"));
    await expect(StateLock.acquire(folder)).rejects.toMatchObject({ code: "locked" });
    await other.release();
    const lock = await StateLock.acquire(folder);
    expect(readdirSync(folder)).toEqual([".tpm2.lock.4"]);
    await lock.release();
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

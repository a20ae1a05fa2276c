import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Judgement, unjudged } from "../submission/judgement.ts";
import { run, scratchFolder } from "../testing/command.ts";
import { chip } from "../testing/snp-evidence.ts";
import { FolderWatch } from "./folder-watch.ts";

const evidence = chip({ crl: {} });
const [leaf, ask, ark] = evidence.certificates;

async function judged(watch: FolderWatch): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of watch.look()) names.push(name.replace(/^.*\//, ""));
  return names;
}
const judge = async ({ name }: { readonly name: string }): Promise<Judgement> =>
  unjudged(name, "not looked at");

describe("a folder that is watched", () => {
  test("has each piece of evidence judged once, when it does not change any more", async () => {
    using scratch = scratchFolder();
    const file = join(scratch.path, "a.bin");
    const watch = new FolderWatch(scratch.path, judge);
    writeFileSync(file, "half");
    expect(await judged(watch)).toEqual([]);
    appendFileSync(file, " and whole");
    expect(await judged(watch)).toEqual([]);
    expect(await judged(watch)).toEqual(["a.bin"]);
    expect(await judged(watch)).toEqual([]);
  });

  test("has what changed judged again, also in a folder with its companions", async () => {
    using scratch = scratchFolder();
    const vm = join(scratch.path, "vm1");
    mkdirSync(vm);
    writeFileSync(join(vm, "report.bin"), evidence.report);
    const watch = new FolderWatch(scratch.path, judge);
    await judged(watch);
    expect(await judged(watch)).toEqual(["vm1"]);
    writeFileSync(join(vm, "vcek.der"), leaf);
    await judged(watch);
    expect(await judged(watch)).toEqual(["vm1"]);
    utimesSync(join(vm, "report.bin"), 1, 1);
    await judged(watch);
    expect(await judged(watch)).toEqual(["vm1"]);
  });

  test("forgets what is gone, and judges it when it comes again", async () => {
    using scratch = scratchFolder();
    const file = join(scratch.path, "a.bin");
    const watch = new FolderWatch(scratch.path, judge);
    for (let i = 0; i < 2; i++) {
      writeFileSync(file, "x");
      await judged(watch);
      expect(await judged(watch)).toEqual(["a.bin"]);
      rmSync(file);
      expect(await judged(watch)).toEqual([]);
    }
  });
});

describe("watch-folder", () => {
  test("prints a line for each and writes reports, elsewhere only", async () => {
    using scratch = scratchFolder();
    const inbox = join(scratch.path, "in");
    const outbox = join(scratch.path, "out");
    for (const [name, report] of [
      ["good", evidence.report],
      ["bad", evidence.report.map((byte, i) => (i === 0x90 ? byte ^ 1 : byte))],
    ] as const) {
      mkdirSync(join(inbox, name), { recursive: true });
      writeFileSync(join(inbox, name, "report.bin"), report);
      writeFileSync(join(inbox, name, "vcek.der"), leaf);
      writeFileSync(join(inbox, name, "ask.der"), ask);
    }
    const root = join(scratch.path, "root.der");
    writeFileSync(root, ark);
    const args = ["--trust-root", root, "--at", "2026-06-01T00:00:00Z", "--once"];
    const { status, stdout } = await run("watch-folder", inbox, "--out", outbox, ...args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/rejected .*bad/);
    expect(stdout).toMatch(/accepted .*good/);
    const verdict = (name: string) =>
      JSON.parse(readFileSync(join(outbox, `${name}.verdict.json`), "utf8")).verdict;
    expect([verdict("good"), verdict("bad")]).toEqual(["accepted", "rejected"]);
    const inside = await run("watch-folder", inbox, "--out", join(inbox, "reports"), ...args);
    expect(inside.status).toBe(2);
    expect(inside.stderr).toContain("take a folder elsewhere");
    expect(existsSync(join(inbox, "reports"))).toBe(false);
  });

  test("wants a folder", async () => {
    using scratch = scratchFolder();
    const file = join(scratch.path, "x");
    writeFileSync(file, "x");
    expect((await run("watch-folder", file)).stderr).toContain("not a folder");
  });
});

describe("a folder that somebody hostile writes to", () => {
  test("has other bytes judged again, although size and time are as they were", async () => {
    using scratch = scratchFolder();
    const file = join(scratch.path, "a.bin");
    writeFileSync(file, "good");
    utimesSync(file, 1, 1);
    const watch = new FolderWatch(scratch.path, judge);
    await judged(watch);
    expect(await judged(watch)).toEqual(["a.bin"]);
    writeFileSync(file, "evil");
    utimesSync(file, 1, 1);
    await judged(watch);
    expect(await judged(watch)).toEqual(["a.bin"]);
  });

  test("gives each path a report of its own, also one that is as long as names can be", async () => {
    using scratch = scratchFolder();
    using out = scratchFolder();
    mkdirSync(join(scratch.path, "a"));
    for (const name of ["a/b", "a_b", "a%2Fb", "n".repeat(255)])
      writeFileSync(join(scratch.path, name), name);
    const { status } = await run("watch-folder", scratch.path, "--once", "--out", out.path);
    expect(status).toBe(0);
    expect(readdirSync(out.path)).toHaveLength(4);
    expect(existsSync(join(out.path, "a%2Fb.verdict.json"))).toBe(true);
  });
});

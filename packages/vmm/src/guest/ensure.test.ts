import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CommandResult, CommandRunner } from "./apt.ts";
import { guestFolder, lockFile } from "./cache.ts";
import { readCpio } from "./cpio.ts";
import { type EnsureGuestOptions, ensureGuest } from "./ensure.ts";
import type { GuestStep } from "./release.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "entresol-guest-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const version = "6.1.0-99-cloud-amd64";
const kernelPackage = `linux-image-${version}`;
const done = (stdout = ""): CommandResult => ({ status: 0, stdout, stderr: "" });

/** An archive of one kernel and one busybox behind commands that behave like apt's. `change` replaces answers. */
function fakeApt(change: Partial<Record<string, () => CommandResult>> = {}) {
  const calls: string[] = [];
  const run: CommandRunner = async (program, args, cwd) => {
    const words = args.filter((word, i) => !word.startsWith("-") && !args[i - 1]?.match(/^-[co]$/));
    const call = program === "dpkg-deb" ? program : `${program} ${words[0]}`;
    const key = args.includes("--print-uris") ? `${call} --print-uris` : call;
    calls.push(key);
    const changed = change[key];
    if (changed !== undefined) return changed();
    switch (key) {
      case "apt-cache depends":
        return done(`linux-image-cloud-amd64\n  Depends: ${kernelPackage}\n  Recommends: firmware\n`);
      case "apt-get download --print-uris":
        return done(
          words
            .slice(1)
            .map((name) => `'http://mirror.example/${name}.deb' ${name}_1_amd64.deb 1000 SHA256:00\n`)
            .join(""),
        );
      case "apt-get download":
        for (const name of words.slice(1)) await writeFile(join(cwd, `${name}_1_amd64.deb`), name);
        return done();
      case "dpkg-deb": {
        const [, archive, root] = args as [string, string, string];
        if (archive.includes("linux-image")) {
          await mkdir(join(root, "boot"));
          await writeFile(join(root, "boot", `vmlinuz-${version}`), "the kernel");
          await mkdir(join(root, "lib", "modules", version), { recursive: true });
          await writeFile(join(root, "lib", "modules", version, "modules.builtin"), "kernel/fs/inside.ko\n");
        } else {
          await mkdir(join(root, "bin"));
          await writeFile(join(root, "bin", "busybox"), "the busybox");
        }
        return done();
      }
      default:
        return done();
    }
  };
  return { calls, fetch: { run, mirrors: [{ uri: "http://mirror.example/debian", signedBy: undefined }] } };
}

const ensure = (options: EnsureGuestOptions = {}) =>
  ensureGuest("debian12", { folder, ...fakeApt(), ...options });

describe("ensureGuest", () => {
  it("fetches once, then needs neither apt nor network", async () => {
    const first = fakeApt();
    const image = await ensure(first);
    expect(image).toMatchObject({ release: "debian12", kernelVersion: version });
    expect(await readFile(image.kernel, "utf8")).toBe("the kernel");
    const init = readCpio(await readFile(image.initrd)).find(({ path }) => path === "bin/busybox");
    expect(init).toMatchObject({ type: "file", data: new Uint8Array(Buffer.from("the busybox")) });
    expect(first.calls).toEqual([
      "apt-get update",
      "apt-cache depends",
      "apt-get download --print-uris",
      "apt-get download",
      "dpkg-deb",
      "dpkg-deb",
    ]);

    const second = fakeApt();
    expect(await ensure(second)).toEqual(image);
    expect(second.calls).toEqual([]);
  });

  it("leaves nothing but the release in the cache", async () => {
    await ensure();
    expect(await readdir(folder)).toEqual(["debian12"]);
    const files = await readdir(join(folder, "debian12"));
    expect(files.filter((name) => !name.startsWith("initrd-")).sort()).toEqual([
      "busybox",
      "manifest.json",
      "modules",
      "vmlinuz",
    ]);
  });

  it("reports its steps in order", async () => {
    const steps: GuestStep[] = [];
    await ensure({
      progress: (step, complete, total) => {
        if (total > 0) expect(complete).toBeLessThanOrEqual(total);
        if (steps.at(-1) !== step) steps.push(step);
      },
    });
    expect(steps).toEqual(["package lists", "download", "unpack", "checksums", "initramfs"]);
  });

  it("with force fetches again and replaces what is there", async () => {
    const { kernel } = await ensure();
    await writeFile(kernel, "damaged");
    const again = fakeApt();
    await ensure({ ...again, force: true });
    expect(again.calls).toContain("apt-get download");
    expect(await readFile(kernel, "utf8")).toBe("the kernel");
    expect(await readdir(folder)).toEqual(["debian12"]);
  });

  it("asked twice at once fetches once", async () => {
    const one = fakeApt();
    const images = await Promise.all([ensure(one), ensure(one), ensure(one)]);
    expect(one.calls.filter((call) => call === "apt-get update")).toHaveLength(1);
    expect(new Set(images.map(({ initrd }) => initrd)).size).toBe(1);
  });

  it("repairs a damaged initramfs by itself", async () => {
    const { initrd } = await ensure();
    const whole = await readFile(initrd);
    await writeFile(initrd, "damaged");
    await ensure();
    expect(await readFile(initrd)).toEqual(whole);
  });
});

describe("a damaged cache is reported, not used", () => {
  const damages: [string, (release: string) => Promise<void>][] = [
    ["another kernel of the same size", (release) => writeFile(join(release, "vmlinuz"), "the kernal")],
    ["a cut kernel", (release) => writeFile(join(release, "vmlinuz"), "the")],
    ["no kernel", (release) => rm(join(release, "vmlinuz"))],
    ["another busybox", (release) => writeFile(join(release, "busybox"), "a backdoor!")],
    ["no manifest", (release) => rm(join(release, "manifest.json"))],
    ["a cut manifest", (release) => writeFile(join(release, "manifest.json"), '{"format": 1')],
    ["a manifest of another format", (release) => writeFile(join(release, "manifest.json"), '{"format": 2}')],
    [
      "a manifest without files",
      (release) =>
        writeFile(
          join(release, "manifest.json"),
          '{"format":1,"release":"debian12","kernelVersion":"6","packages":[],"files":{}}',
        ),
    ],
  ];
  it.each(damages)("%s", async (_name, damage) => {
    await ensure();
    await damage(join(folder, "debian12"));
    await expect(ensure()).rejects.toMatchObject({ code: "corrupted-cache", message: /force/ });
  });
});

describe("what fails", () => {
  const failing = (key: string, result: Partial<CommandResult>) =>
    ensure(fakeApt({ [key]: () => ({ status: 100, stdout: "", stderr: "", ...result }) }));

  it("is an unknown release", async () => {
    await expect(ensureGuest("debian99", { folder })).rejects.toMatchObject({
      code: "unknown-release",
      message: /debian12, debian13/,
    });
    await expect(ensureGuest("../debian12", { folder })).rejects.toMatchObject({ code: "unknown-release" });
  });

  it("is a system without apt", async () => {
    const absent = { status: null, stderr: "spawn apt-get ENOENT" };
    await expect(failing("apt-get update", absent)).rejects.toMatchObject({ code: "no-apt" });
    await expect(failing("dpkg-deb", absent)).rejects.toMatchObject({ code: "no-apt" });
  });

  it("is a mirror that does not answer, with apt's reason in one line", async () => {
    const stderr = [
      "W: something else",
      "E: Failed to fetch http://mirror.example/debian/InRelease  Could not connect",
      "E: Some index files failed to download. They have been ignored, or old ones used instead.",
      "",
    ].join("\n");
    await expect(failing("apt-get update", { stderr })).rejects.toMatchObject({
      code: "fetch-failed",
      message:
        "package lists of Debian 12 (bookworm): E: Failed to fetch http://mirror.example/debian/InRelease  Could not connect",
    });
  });

  it("is not one mirror of two", async () => {
    let updates = 0;
    const apt = fakeApt({
      "apt-get update": () => (updates++ === 0 ? { status: 100, stdout: "", stderr: "E: down" } : done()),
    });
    const mirrors = ["first", "second"].map((name) => ({
      uri: `http://${name}.example/debian`,
      signedBy: undefined,
    }));
    await ensure({ fetch: { ...apt.fetch, mirrors } });
    expect(updates).toBe(2);
  });

  it("is a metapackage without kernel, a download without file, a package without content", async () => {
    const quiet = (key: string) => ensure(fakeApt({ [key]: () => done() }));
    await expect(quiet("apt-cache depends")).rejects.toMatchObject({ code: "fetch-failed" });
    await expect(quiet("apt-get download")).rejects.toMatchObject({ code: "fetch-failed" });
    await expect(quiet("dpkg-deb")).rejects.toMatchObject({ code: "unpack-failed" });
    await expect(failing("dpkg-deb", { stderr: "dpkg-deb: error: broken" })).rejects.toMatchObject({
      code: "unpack-failed",
      message: /broken/,
    });
  });

  it("leaves no trace, and what was there before", async () => {
    await expect(failing("apt-get download", {})).rejects.toMatchObject({ code: "fetch-failed" });
    expect(await readdir(folder)).toEqual([]);
    const image = await ensure();
    const broken = fakeApt({ "dpkg-deb": () => ({ status: 2, stdout: "", stderr: "" }) });
    await expect(ensure({ ...broken, force: true })).rejects.toMatchObject({ code: "unpack-failed" });
    expect(await ensure()).toEqual(image);
  });

  it("leaves its work folder when it is killed, and the next fetch removes it", async () => {
    // Above the largest process id of Linux; process 1 always lives.
    for (const name of [`debian12.${2 ** 22 + 1}.work`, "debian12.1.work", `debian13.${2 ** 22 + 1}.work`]) {
      await mkdir(join(folder, name));
    }
    await ensure();
    expect((await readdir(folder)).sort()).toEqual([
      "debian12",
      "debian12.1.work",
      `debian13.${2 ** 22 + 1}.work`,
    ]);
  });

  it("is a cache that cannot be made", async () => {
    await writeFile(join(folder, "file"), "");
    for (const place of [join(folder, "file", "below"), "/proc/entresol"]) {
      await expect(ensure({ folder: place })).rejects.toMatchObject({
        code: "cache-unusable",
        message: /ENTRESOL_CACHE/,
      });
    }
  });

  it("is a module that the kernel does not have", async () => {
    await expect(ensure({ modules: ["nothing"] })).rejects.toMatchObject({ code: "unknown-module" });
    await expect(ensure({ modules: ["inside"] })).resolves.toMatchObject({ release: "debian12" });
  });
});

describe("the cache folder", () => {
  it("is ENTRESOL_CACHE's, else the user's", () => {
    expect(guestFolder({ ENTRESOL_CACHE: "/somewhere" })).toBe("/somewhere/guest");
    expect(guestFolder({ ENTRESOL_CACHE: "" })).toMatch(/\/\.cache\/entresol\/guest$/);
    expect(guestFolder({})).toMatch(/\/\.cache\/entresol\/guest$/);
  });
});

describe("a lock", () => {
  const quiet = () => {};

  it("is held by one at a time", async () => {
    const path = join(folder, "lock");
    const order: string[] = [];
    const work = async (name: string) => {
      await using _lock = await lockFile(path, quiet);
      order.push(`${name} in`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      order.push(`${name} out`);
    };
    await Promise.all([work("a"), work("b")]);
    expect(order).toHaveLength(4);
    expect(order[0]!.slice(0, 1)).toBe(order[1]!.slice(0, 1));
    expect(await readdir(folder)).toEqual([]);
  });

  it("of a process that is gone is taken over", async () => {
    const path = join(folder, "lock");
    // Above the largest process id of Linux.
    await writeFile(path, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1 }));
    await using _lock = await lockFile(path, () => expect.fail("waited"));
    expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ pid: process.pid });
  });

  it("that is older than any fetch is taken over, whoever holds it", async () => {
    const path = join(folder, "lock");
    await writeFile(path, JSON.stringify({ host: "elsewhere", pid: 1 }));
    const long = Date.now() / 1000 - 3600;
    await utimes(path, long, long);
    await using _lock = await lockFile(path, () => expect.fail("waited"));
    expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ pid: process.pid });
  });

  it("of a living process is waited for", async () => {
    const path = join(folder, "lock");
    await writeFile(path, JSON.stringify({ host: "elsewhere", pid: 1 }));
    let waits = 0;
    await using _lock = await lockFile(path, () => {
      waits++;
      if (waits === 2) void rm(path);
    });
    expect(waits).toBeGreaterThanOrEqual(2);
  });
});

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CommandResult, CommandRunner } from "./apt.ts";
import { ensureHeaders } from "./headers.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "entresol-headers-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const kernelVersion = "6.1.0-99-cloud-amd64";
const name = `linux-headers-${kernelVersion}`;
const guest = { release: "debian12", kernelVersion };
const mirrors = [{ uri: "http://mirror.example/debian", signedBy: undefined }];
const done = (stdout = ""): CommandResult => ({ status: 0, stdout, stderr: "" });

/** An archive whose packages depend on each other as `depends` says, and hold one file each. */
function fakeApt(depends: Readonly<Record<string, readonly string[]>>) {
  const downloads: string[][] = [];
  const run: CommandRunner = async (program, args, cwd) => {
    const words = args.filter((word, i) => !word.startsWith("-") && !args[i - 1]?.match(/^-[co]$/));
    if (program === "dpkg-deb") {
      const [, archive, root] = args as [string, string, string];
      await mkdir(join(root, "usr"), { recursive: true });
      await writeFile(join(root, "usr", (await readFile(archive, "utf8")).trim()), "");
    } else if (words[0] === "depends") {
      const found = depends[words[1]!];
      if (found === undefined) return { status: 100, stdout: "", stderr: "E: No packages found" };
      return done([words[1]!, ...found.map((dependency) => `  Depends: ${dependency}`), ""].join("\n"));
    } else if (words[0] === "download" && !args.includes("--print-uris")) {
      downloads.push(words.slice(1));
      for (const each of words.slice(1)) await writeFile(join(cwd, `${each}_1_amd64.deb`), each);
    }
    return done();
  };
  return { downloads, options: { folder, run, mirrors } };
}

const complete = {
  [name]: ["linux-headers-6.1.0-99-common", "linux-kbuild-6.1", "linux-compiler-gcc-12-x86"],
  "linux-kbuild-6.1": ["libc6", "libelf1"],
};

describe("ensureHeaders", () => {
  it("fetches the headers of the guest's kernel with what building needs, and no compiler", async () => {
    const { downloads, options } = fakeApt(complete);
    const headers = await ensureHeaders(guest, options);
    const packages = [name, "linux-headers-6.1.0-99-common", "linux-kbuild-6.1", "libelf1", "make"];
    expect(downloads).toEqual([packages]);
    const unpacked = join(folder, `debian12-headers-${kernelVersion}`, "usr");
    expect((await readdir(unpacked)).sort()).toEqual([...packages].sort());
    expect(headers).toEqual({
      build: join(unpacked, "src", name),
      makefile: join(unpacked, "src", "linux-headers-6.1.0-99-common", "Makefile"),
      make: join(unpacked, "bin", "make"),
      libraries: join(unpacked, "lib", "x86_64-linux-gnu"),
    });
  });

  it("fetches once, and leaves nothing but the headers in the cache", async () => {
    const { downloads, options } = fakeApt(complete);
    expect(await ensureHeaders(guest, options)).toEqual(await ensureHeaders(guest, options));
    expect(downloads).toHaveLength(1);
    expect(await readdir(folder)).toEqual([`debian12-headers-${kernelVersion}`]);
  });

  it.each([
    ["the archive has gone on to a later kernel", {}],
    ["the kernel's build programs are in no package", { [name]: ["linux-headers-6.1.0-99-common"] }],
  ])("says so when %s, and keeps nothing", async (_why, depends) => {
    const { options } = fakeApt(depends);
    await expect(ensureHeaders(guest, options)).rejects.toMatchObject({ code: "fetch-failed" });
    expect(await readdir(folder)).toEqual([]);
  });
});

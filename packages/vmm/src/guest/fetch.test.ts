import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CommandRunner, runCommand } from "./apt.ts";
import { fetchGuest } from "./fetch.ts";
import { guestRelease } from "./release.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "entresol-fetch-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("apt", () => {
  /** What apt-get update is given: its settings, its configuration file and its sources. */
  async function updateOf(release: string, signedBy?: string) {
    const seen = { settings: new Map<string, string>(), configuration: "", sources: "" };
    const run: CommandRunner = async (_program, args) => {
      for (const [index, word] of args.entries()) {
        if (word === "-c") seen.configuration = await readFile(args[index + 1]!, "utf8");
        if (word !== "-o") continue;
        const [name, ...value] = args[index + 1]!.split("=");
        seen.settings.set(name!, value.join("="));
      }
      seen.sources = await readFile(seen.settings.get("Dir::Etc::sourcelist")!, "utf8");
      return { status: 100, stdout: "", stderr: "E: enough" };
    };
    const mirrors = [{ uri: "http://mirror.example/debian", signedBy }];
    const fetched = fetchGuest(guestRelease(release), join(folder, release), {
      run,
      mirrors,
      progress: () => {},
    });
    await expect(fetched).rejects.toMatchObject({ code: "fetch-failed" });
    return seen;
  }

  it("gets a root of its own and touches nothing of the system's", async () => {
    const { settings } = await updateOf("debian12");
    for (const name of ["Dir::State", "Dir::State::status", "Dir::Cache", "Dir::Etc::sourcelist"]) {
      expect(settings.get(name), name).toMatch(new RegExp(`^${folder}/debian12\\.\\d+\\.work/apt/`));
    }
    for (const name of ["sourceparts", "preferences", "preferencesparts"]) {
      expect(settings.get(`Dir::Etc::${name}`)).toBe("/dev/null");
    }
  });

  it("does not run the system's hooks, and takes a silent mirror for an error", async () => {
    const { configuration } = await updateOf("debian12");
    expect(configuration.split("\n")).toEqual(
      expect.arrayContaining(["#clear APT::Update;", "#clear DPkg;", 'APT::Update::Error-Mode "any";']),
    );
  });

  it("fetches packages for the guest's architecture from the release's main component, and no other index", async () => {
    const { settings, sources } = await updateOf("debian13");
    expect([settings.get("APT::Architecture"), settings.get("APT::Architectures")]).toEqual([
      "amd64",
      "amd64",
    ]);
    expect(sources).toMatch(/^deb \[target=Packages[^\]]*\] http:\/\/mirror\.example\/debian trixie main\n$/);
  });

  it("checks signatures: nothing marks the source as trusted", async () => {
    const { settings, sources, configuration } = await updateOf("debian12", "/etc/apt/keyrings/mirror.gpg");
    expect(sources).toContain("signed-by=/");
    expect(`${sources}${configuration}${[...settings.keys()]}`).not.toMatch(
      /trusted|allow-|AllowUnauth|AllowInsec/i,
    );
  });
});

describe("a command", () => {
  it("gives its status and both outputs, in the C locale", async () => {
    const result = await runCommand("sh", ["-c", "echo $LC_ALL; pwd; echo err >&2; exit 3"], folder);
    expect(result).toEqual({ status: 3, stdout: `C\n${folder}\n`, stderr: "err\n" });
  });

  it("that is not installed has no status", async () => {
    expect((await runCommand("entresol-no-such-program", [], folder)).status).toBeNull();
  });

  it("ended by a signal has failed", async () => {
    const result = await runCommand("sh", ["-c", "kill -9 $$"], folder);
    expect(result.status).toBe(128);
    expect(result.stderr).toMatch(/SIGKILL/);
  });
});

import { spawn } from "node:child_process";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AptMirror, systemMirrors } from "./apt-sources.ts";
import { exists } from "./cache.ts";
import { GuestImageError, type GuestProgress, type GuestRelease } from "./release.ts";

/*
 * Packages of a release, fetched with the system's own apt-get, as whoever runs this: apt gets a root of its own (lists, archives,
 * sources), so it needs no privilege, changes nothing of the system, and still checks signatures against the system's keyrings.
 * Proxies and credentials come from the system's apt configuration.
 */

/** What a finished command gave. `status` is null when it could not be started. */
export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
/** Runs a program to its end, in folder `cwd`. Injected, so that tests need no network. */
export type CommandRunner = (program: string, args: readonly string[], cwd: string) => Promise<CommandResult>;

export const runCommand: CommandRunner = (program, args, cwd) =>
  new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C", LANGUAGE: "C", DEBIAN_FRONTEND: "noninteractive" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", (error) => resolve({ status: null, stdout, stderr: error.message }));
    child.on("close", (status, signal) =>
      resolve({
        status: status ?? 128,
        stdout,
        stderr: signal === null ? stderr : `${stderr}\nended by ${signal}`,
      }),
    );
  });

export interface FetchOptions {
  readonly progress: GuestProgress;
  readonly run?: CommandRunner;
  /** Instead of the mirrors in the system's apt sources. */
  readonly mirrors?: readonly AptMirror[];
}

/** Where Debian's keys are on a system that has them; newer releases use the second name. */
const keyrings = [
  "/usr/share/keyrings/debian-archive-keyring.gpg",
  "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/** ENTRESOL_MIRROR is for systems that are not Debian but have apt and Debian's keyring. */
async function chosenMirrors(): Promise<readonly AptMirror[]> {
  const chosen = process.env["ENTRESOL_MIRROR"];
  if (chosen !== undefined && chosen !== "") return [{ uri: chosen, signedBy: undefined }];
  const mirrors = await systemMirrors();
  if (mirrors.length === 0) {
    throw new GuestImageError(
      "fetch-failed",
      "no Debian mirror in this system's apt sources: set ENTRESOL_MIRROR to the address of one",
    );
  }
  return mirrors;
}

/** Runs `apt-get` or `apt-cache` over the private root. */
export type Apt = (program: "apt-get" | "apt-cache", ...args: string[]) => Promise<CommandResult>;

/** An apt over a root below `work`, whose package lists are those of the first mirror that answers. Throws `GuestImageError`. */
export async function updatedApt(release: GuestRelease, work: string, options: FetchOptions): Promise<Apt> {
  const { progress, run = runCommand } = options;
  const mirrors = options.mirrors ?? (await chosenMirrors());
  const root = join(work, "apt");
  const configuration = join(root, "apt.conf");
  const words = ["-c", configuration];
  const settings: Record<string, string> = {
    "Dir::State": join(root, "state"),
    "Dir::State::status": join(root, "state", "status"),
    "Dir::Cache": join(root, "cache"),
    "Dir::Etc::sourcelist": join(root, "sources.list"),
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "APT::Architecture": "amd64",
    "APT::Architectures": "amd64",
    // The user that root would hand downloads to cannot write into root's cache. For an ordinary user this changes nothing.
    "APT::Sandbox::User": "root",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "20",
    "Acquire::https::Timeout": "20",
  };
  for (const [name, value] of Object.entries(settings)) words.push("-o", `${name}=${value}`);
  const apt: Apt = (program, ...args) => run(program, [...words, ...args], work);

  let failure: GuestImageError | undefined;
  for (const mirror of mirrors) {
    await rm(root, { recursive: true, force: true });
    await mkdir(join(root, "state", "lists", "partial"), { recursive: true });
    await mkdir(join(root, "cache", "archives", "partial"), { recursive: true });
    await writeFile(join(root, "state", "status"), "");
    // The system's hooks after an update are for the system's lists and for root; and a mirror that does not answer must
    // be an error, not a warning.
    const hooks = '#clear APT::Update;\n#clear DPkg;\nAPT::Update::Error-Mode "any";\n';
    await writeFile(configuration, `${hooks}#clear APT::Architectures;\n`);
    await writeFile(join(root, "sources.list"), await sourceLine(mirror, release));

    progress("package lists", 0, 0);
    const lists = join(root, "state", "lists");
    const result = await watched(apt("apt-get", "--quiet", "update"), async () =>
      progress("package lists", await bytesBelow(lists), 0),
    );
    failure = aptFailure(`package lists of ${release.title}`, result);
    if (failure === undefined) return apt;
    if (failure.code === "no-apt") throw failure;
  }
  throw failure ?? new GuestImageError("fetch-failed", "no Debian mirror was given");
}

async function sourceLine(mirror: AptMirror, release: GuestRelease): Promise<string> {
  let keyring = mirror.signedBy;
  for (const path of keyrings) {
    if (await exists(path)) {
      keyring = path;
      break;
    }
  }
  // Packages only: no translations, no icons, whatever else the system's apt is set to fetch.
  const options = ["target=Packages", ...(keyring === undefined ? [] : [`signed-by=${keyring}`])];
  return `deb [${options.join(" ")}] ${mirror.uri} ${release.codename} main\n`;
}

/** Names of packages that `name` depends on directly, as far as `wanted` matches. Throws `GuestImageError`. */
export async function dependencies(apt: Apt, name: string, wanted: RegExp): Promise<string[]> {
  const result = await apt("apt-cache", "depends", name);
  const failure = aptFailure(name, result);
  if (failure !== undefined) throw failure;
  const found = [...result.stdout.matchAll(/^\s*Depends: (\S+)$/gm)].map(([, dependency]) => dependency!);
  return found.filter((dependency) => wanted.test(dependency));
}

/** Downloads packages into `work`; gives the paths of the .deb files, in the order of `packages`. Throws `GuestImageError`. */
export async function download(
  apt: Apt,
  packages: readonly string[],
  work: string,
  progress: GuestProgress,
): Promise<string[]> {
  const listed = await apt("apt-get", "--quiet", "download", "--print-uris", ...packages);
  const listFailure = aptFailure(packages.join(", "), listed);
  if (listFailure !== undefined) throw listFailure;
  // One line per package: 'address' file size hash
  const lines = [...listed.stdout.matchAll(/^'[^']*' (\S+\.deb) (\d+)/gm)];
  const total = lines.reduce((sum, [, , size]) => sum + Number(size), 0);
  progress("download", 0, total);
  const debs = async () => (await readdir(work)).filter((name) => name.endsWith(".deb"));
  const result = await watched(apt("apt-get", "--quiet", "download", ...packages), async () => {
    let done = await bytesBelow(join(work, "apt", "cache", "archives", "partial"));
    for (const name of await debs()) done += (await stat(join(work, name))).size;
    progress("download", Math.min(done, total), total);
  });
  const failure = aptFailure(packages.join(", "), result);
  if (failure !== undefined) throw failure;
  const found = await debs();
  progress("download", total, total);
  return packages.map((name) => {
    const file = found.find((candidate) => candidate.startsWith(`${name}_`));
    if (file === undefined) throw new GuestImageError("fetch-failed", `apt-get downloaded no ${name}`);
    return join(work, file);
  });
}

/** Unpacks .deb files below `root`, installing nothing. Throws `GuestImageError`. */
export async function unpackArchives(
  archives: readonly string[],
  root: string,
  { progress, run = runCommand }: FetchOptions,
): Promise<void> {
  await mkdir(root);
  for (const [index, archive] of archives.entries()) {
    progress("unpack", index, archives.length);
    const result = await run("dpkg-deb", ["-x", archive, root], root);
    if (result.status === null) {
      throw new GuestImageError("no-apt", "dpkg-deb, which apt needs too, is not installed");
    }
    if (result.status !== 0) {
      throw new GuestImageError("unpack-failed", `${archive}: ${lastErrorLine(result)}`);
    }
  }
  progress("unpack", archives.length, archives.length);
}

/** Waits for `result` and calls `look` now and then. */
async function watched<T>(result: Promise<T>, look: () => Promise<void>): Promise<T> {
  // A file that vanishes while it is looked at only costs one tick of the progress display.
  const timer = setInterval(() => void look().catch(() => undefined), 200);
  try {
    return await result;
  } finally {
    clearInterval(timer);
  }
}

async function bytesBelow(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return sum;
}

function aptFailure(what: string, result: CommandResult): GuestImageError | undefined {
  if (result.status === null) {
    return new GuestImageError(
      "no-apt",
      "apt-get is not installed: fetch the guest on a Debian system and copy its cache",
    );
  }
  if (result.status === 0) return undefined;
  return new GuestImageError("fetch-failed", `${what}: ${lastErrorLine(result)}`);
}

/** apt prints what went wrong as E: lines; after a failed update the last of them only says that something failed. */
function lastErrorLine({ stderr, status }: CommandResult): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/^E: Some index files/.test(line));
  const line = lines.findLast((text) => text.startsWith("E:")) ?? lines.at(-1) ?? `exit status ${status}`;
  return line.trim();
}

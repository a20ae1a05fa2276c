import { spawn } from "node:child_process";
import { copyFile, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AptMirror, systemMirrors } from "./apt-sources.ts";
import { describeFiles, exists, makeWorkFolder, writeManifest } from "./cache.ts";
import { GuestImageError, type GuestProgress, type GuestRelease } from "./release.ts";

/*
 * Fetches a release's kernel and busybox with the system's own apt-get, as whoever runs this: apt gets a root of its own
 * (lists, archives, sources), so it needs no privilege, changes nothing of the system, and still checks signatures against
 * the system's keyrings. Proxies and credentials come from the system's apt configuration.
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

/**
 * Fetches `release` into `target`, which appears (or is replaced) only when everything is there. Throws `GuestImageError`
 * `no-apt`, `fetch-failed`, `unpack-failed` or `cache-unusable`; whatever was there before stays.
 */
export async function fetchGuest(
  release: GuestRelease,
  target: string,
  options: FetchOptions,
): Promise<void> {
  const { progress, run = runCommand } = options;
  const work = await makeWorkFolder(target);
  try {
    const mirrors = options.mirrors ?? (await chosenMirrors());
    const apt = await updatedApt(release, mirrors, work, run, progress);
    const kernelPackage = await currentKernel(release, apt);
    const archives = await download(apt, [kernelPackage, release.busyboxPackage], work, progress);
    const image = join(work, "image");
    const kernelVersion = await unpack(archives, work, image, run, progress);
    const files = await describeFiles(image, progress);
    const packages = archives.map((path) => path.slice(path.lastIndexOf("/") + 1));
    await writeManifest(image, { format: 1, release: release.name, kernelVersion, packages, files });
    await replaceFolder(image, target, work);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

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
type Apt = (program: "apt-get" | "apt-cache", ...args: string[]) => Promise<CommandResult>;

/** An apt whose package lists are those of the first mirror that answers. */
async function updatedApt(
  release: GuestRelease,
  mirrors: readonly AptMirror[],
  work: string,
  run: CommandRunner,
  progress: GuestProgress,
): Promise<Apt> {
  const root = join(work, "apt");
  const configuration = join(root, "apt.conf");
  const options = ["-c", configuration];
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
  for (const [name, value] of Object.entries(settings)) options.push("-o", `${name}=${value}`);
  const apt: Apt = (program, ...args) => run(program, [...options, ...args], work);

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

/** The kernel package that the release's metapackage stands for today. */
async function currentKernel(release: GuestRelease, apt: Apt): Promise<string> {
  const result = await apt("apt-cache", "depends", release.kernelPackage);
  const failure = aptFailure(release.kernelPackage, result);
  if (failure !== undefined) throw failure;
  const name = /^\s*Depends: (linux-image-\S+)$/m.exec(result.stdout)?.[1];
  if (name === undefined) {
    throw new GuestImageError("fetch-failed", `${release.kernelPackage} depends on no linux-image package`);
  }
  return name;
}

/** Downloads packages; gives the paths of the .deb files, in the order of `packages`. */
async function download(
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

/** Unpacks the packages and lays out `image` as the cache has it. Returns the kernel's version. */
async function unpack(
  archives: readonly string[],
  work: string,
  image: string,
  run: CommandRunner,
  progress: GuestProgress,
): Promise<string> {
  const root = join(work, "root");
  await mkdir(root);
  await mkdir(image);
  for (const [index, archive] of archives.entries()) {
    progress("unpack", index, archives.length);
    const result = await run("dpkg-deb", ["-x", archive, root], work);
    if (result.status === null) {
      throw new GuestImageError("no-apt", "dpkg-deb, which apt needs too, is not installed");
    }
    if (result.status !== 0) {
      throw new GuestImageError("unpack-failed", `${archive}: ${lastErrorLine(result)}`);
    }
  }
  progress("unpack", archives.length, archives.length);
  const boot = await readdir(join(root, "boot")).catch(() => []);
  const version = boot.find((name) => name.startsWith("vmlinuz-"))?.slice("vmlinuz-".length);
  if (version === undefined)
    throw new GuestImageError("unpack-failed", "the kernel package holds no boot/vmlinuz-*");
  await copyFile(join(root, "boot", `vmlinuz-${version}`), join(image, "vmlinuz"));
  await copyFile(join(root, "boot", `config-${version}`), join(image, "config")).catch(() => undefined);
  // Releases differ in whether / and /usr are one: take what is there.
  await moveFirst(["bin/busybox", "usr/bin/busybox"], root, join(image, "busybox"));
  await moveFirst([`lib/modules/${version}`, `usr/lib/modules/${version}`], root, join(image, "modules"));
  return version;
}

async function moveFirst(candidates: readonly string[], root: string, to: string): Promise<void> {
  for (const path of candidates) {
    if (await exists(join(root, path))) {
      await rename(join(root, path), to);
      return;
    }
  }
  throw new GuestImageError("unpack-failed", `the packages hold no ${candidates.join(" or ")}`);
}

/** Puts `fresh` in the place of `target` so that a reader finds the old or the new one. */
async function replaceFolder(fresh: string, target: string, work: string): Promise<void> {
  if (await exists(target)) await rename(target, join(work, "replaced"));
  await rename(fresh, target);
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

import { createHash } from "node:crypto";
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { basename, dirname, join, relative, sep } from "node:path";
import { z } from "zod";
import { GuestImageError, type GuestProgress } from "./release.ts";

/*
 * The cache of guest images. Per release one folder, complete or absent (it is made elsewhere and renamed into place):
 *
 *   ~/.cache/entresol/guest/debian12/     or $ENTRESOL_CACHE/guest/debian12/
 *     manifest.json      format, kernel version, packages, and size and SHA-256 of each file below
 *     vmlinuz            the release's kernel, a bzImage, as packaged
 *     config             its configuration
 *     busybox            statically linked
 *     modules/           the package's lib/modules/<version>: kernel/**.ko or .ko.xz, modules.builtin, modules.order
 *     initrd-<hash>.img  initramfs images built from these files, named after their own SHA-256; not in the manifest
 *   ~/.cache/entresol/guest/debian12.lock held while a fetch is under way
 *
 * Beside it, for those who build kernel modules, the folder debian12-headers-<version>/ (headers.ts).
 */

const manifestShape = z.object({
  format: z.literal(1),
  release: z.string(),
  kernelVersion: z.string(),
  packages: z.array(z.string()),
  files: z.record(z.string(), z.object({ size: z.number(), sha256: z.string() })),
});

/** What a fetched release consists of. Keys of `files` are paths below the release's folder, with `/`. */
export type GuestManifest = z.infer<typeof manifestShape>;

/** The folder of all guest images: `$ENTRESOL_CACHE/guest`, else `~/.cache/entresol/guest`. Throws `cache-unusable`. */
export function guestFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const chosen = environment["ENTRESOL_CACHE"];
  if (chosen !== undefined && chosen !== "") return join(chosen, "guest");
  try {
    return join(homedir(), ".cache", "entresol", "guest");
  } catch (error) {
    throw unusable("this user has no home folder", error);
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Describes every file below `folder`, sorted by path. */
export async function describeFiles(
  folder: string,
  progress: GuestProgress,
): Promise<GuestManifest["files"]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
  const files: GuestManifest["files"] = {};
  for (const [index, path] of paths.entries()) {
    if (index % 64 === 0) progress("checksums", index, paths.length);
    const bytes = await readFile(join(folder, path));
    files[path] = { size: bytes.length, sha256: sha256(bytes) };
  }
  progress("checksums", paths.length, paths.length);
  return files;
}

export async function writeManifest(folder: string, manifest: GuestManifest): Promise<void> {
  await writeFile(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
}

/** The manifest of a release's folder; undefined when the release was never fetched. Throws `corrupted-cache`. */
export async function readManifest(folder: string): Promise<GuestManifest | undefined> {
  const path = join(folder, "manifest.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT") && !(await exists(folder))) return undefined;
    throw corrupted(path, "cannot be read", error);
  }
  try {
    return manifestShape.parse(JSON.parse(text));
  } catch (error) {
    throw corrupted(path, "is not a manifest of this version", error);
  }
}

/** The bytes of one file of the release, checked against the manifest. Throws `corrupted-cache`. */
export async function readChecked(
  folder: string,
  manifest: GuestManifest,
  path: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const described = Object.hasOwn(manifest.files, path) ? manifest.files[path] : undefined;
  const full = join(folder, path);
  if (described === undefined) throw corrupted(full, "is not in the manifest");
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await readFile(full);
  } catch (error) {
    throw corrupted(full, "cannot be read", error);
  }
  if (bytes.length !== described.size) {
    throw corrupted(full, `has ${bytes.length} bytes where the manifest says ${described.size}`);
  }
  if (sha256(bytes) !== described.sha256) throw corrupted(full, "does not have the manifest's SHA-256");
  return bytes;
}

function corrupted(path: string, what: string, cause?: unknown): GuestImageError {
  return new GuestImageError("corrupted-cache", `${path} ${what}: fetch the guest again with force`, {
    cause,
  });
}

/**
 * Makes the file at `path` hold `bytes`, unless it does already; it is never seen half written. Throws `cache-unusable`.
 */
export async function storeFile(path: string, bytes: Uint8Array): Promise<void> {
  const stored = await readFile(path).catch(() => undefined);
  if (stored?.equals(bytes)) return;
  const draft = `${path}.${process.pid}.draft`;
  try {
    await writeFile(draft, bytes);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw unusable(messageOf(error), error);
  }
}

/** Makes `folder` and those above it. Throws `cache-unusable`. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await makeEach(folder);
  } catch (error) {
    throw unusable(messageOf(error), error);
  }
}

/** Not mkdir's own `recursive`: that tries for ever where a file system refuses new folders with ENOENT, as /proc does. */
async function makeEach(folder: string): Promise<void> {
  const parent = dirname(folder);
  if (parent !== folder && !(await exists(parent))) await makeEach(parent);
  await mkdir(folder).catch((error: unknown) => {
    if (!hasCode(error, "EEXIST")) throw error;
  });
}

function unusable(what: string, cause: unknown): GuestImageError {
  const message = `${what}: set ENTRESOL_CACHE to a folder that can be written`;
  return new GuestImageError("cache-unusable", message, { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Holds the lock file `path` until disposed; waits while another live process has it. A lock whose process is gone is taken
 * over. The lock only saves two processes from the same work: what keeps the cache whole is that folders are renamed into place.
 */
export async function lockFile(path: string, progress: GuestProgress): Promise<AsyncDisposable> {
  const owner = JSON.stringify({ host: hostname(), pid: process.pid });
  for (let waited = 0; ; waited++) {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, "wx");
      await handle.writeFile(owner);
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) {
        throw new GuestImageError("cache-unusable", `cannot lock ${path}: ${String(error)}`, {
          cause: error,
        });
      }
    } finally {
      await handle?.close();
    }
    if (await isAbandoned(path)) {
      await rm(path, { force: true });
    } else {
      progress("waiting for another fetch", waited, 0);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** Longer than any fetch takes: a lock of this age, in ms, is a leftover even if its process cannot be asked. */
const oldestLock = 30 * 60 * 1000;

async function isAbandoned(path: string): Promise<boolean> {
  try {
    const age = Date.now() - (await stat(path)).mtimeMs;
    const { host, pid } = JSON.parse(await readFile(path, "utf8")) as { host?: unknown; pid?: unknown };
    if (age > oldestLock) return true;
    return host === hostname() && typeof pid === "number" && !isAlive(pid);
  } catch {
    // Just released, or just made and not yet written: look again.
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}

/** A fresh folder beside `target` to work in; removes those that ended processes have left. */
export async function makeWorkFolder(target: string): Promise<string> {
  const work = `${target}.${process.pid}.work`;
  await makeFolder(dirname(target));
  for (const name of await readdir(dirname(target))) {
    const pid = /^(.+)\.(\d+)\.work$/.exec(name);
    if (pid?.[1] !== basename(target)) continue;
    if (Number(pid[2]) === process.pid || !isAlive(Number(pid[2]))) {
      await rm(join(dirname(target), name), { recursive: true, force: true });
    }
  }
  await makeFolder(work);
  return work;
}

/** Puts `fresh` in the place of `target` so that a reader finds the old or the new one. */
export async function replaceFolder(fresh: string, target: string, work: string): Promise<void> {
  if (await exists(target)) await rename(target, join(work, "replaced"));
  await rename(fresh, target);
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

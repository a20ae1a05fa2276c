import { join } from "node:path";
import type { FetchOptions } from "./apt.ts";
import {
  exists,
  guestFolder,
  lockFile,
  makeFolder,
  readChecked,
  readManifest,
  sha256,
  storeFile,
} from "./cache.ts";
import { fetchGuest } from "./fetch.ts";
import { buildInitramfs } from "./initramfs.ts";
import { moduleClosure, moduleName } from "./modules.ts";
import { type GuestProgress, guestRelease } from "./release.ts";

export interface EnsureGuestOptions {
  readonly progress?: GuestProgress;
  /** Fetch even if the cache has the release. */
  readonly force?: boolean;
  /** Kernel modules that /init loads, by name; their dependencies come along. Default none: consoles and chipset are built in. */
  readonly modules?: readonly string[];
  /** Compress the initramfs. Default false, see `buildInitramfs`. */
  readonly gzip?: boolean;
  /** Instead of `guestFolder()`. */
  readonly folder?: string;
  /** How to fetch, for tests. */
  readonly fetch?: Pick<FetchOptions, "run" | "mirrors">;
}

/** A guest that can be booted: paths of files that exist and were checked. */
export interface GuestImage {
  /** Path of the bzImage. */
  readonly kernel: string;
  /** Path of the initramfs. */
  readonly initrd: string;
  /** As given to `ensureGuest`. */
  readonly release: string;
  /** For example "6.1.0-50-cloud-amd64". */
  readonly kernelVersion: string;
}

/**
 * Makes sure that the kernel and an initramfs of `release` ("debian12", "debian13") are in the cache, and says where. What is
 * cached costs no network and no apt, only a check of its SHA-256. Safe to call from several processes at once.
 * Throws `GuestImageError`; a damaged cache is reported, not silently fetched again: pass `force` to replace it.
 */
export async function ensureGuest(release: string, options: EnsureGuestOptions = {}): Promise<GuestImage> {
  const { progress = () => {}, force = false, modules = [], gzip = false } = options;
  const known = guestRelease(release);
  const all = options.folder ?? guestFolder();
  const folder = join(all, known.name);

  if (force || !(await exists(folder))) {
    await makeFolder(all);
    await using _lock = await lockFile(`${folder}.lock`, progress);
    // Whoever held the lock before us may have done the work.
    if (force || !(await exists(folder))) await fetchGuest(known, folder, { ...options.fetch, progress });
  }

  const manifest = (await readManifest(folder))!;
  await readChecked(folder, manifest, "vmlinuz");
  progress("initramfs", 0, 1);
  const paths = Object.keys(manifest.files).filter((path) => /\.ko(\.xz)?$/.test(path));
  const load = (path: string) => readChecked(folder, manifest, path);
  const builtIn = modules.length === 0 ? "" : Buffer.from(await load("modules/modules.builtin")).toString();
  const initramfs = buildInitramfs({
    busybox: await load("busybox"),
    modules: await moduleClosure(modules, paths, new Set(builtIn.split("\n").map(moduleName)), load),
    gzip,
  });
  // Building it takes less time than it would take to find out whether a stored one is still right.
  const initrd = join(folder, `initrd-${sha256(initramfs).slice(0, 16)}.img`);
  await storeFile(initrd, initramfs);
  progress("initramfs", 1, 1);
  return {
    kernel: join(folder, "vmlinuz"),
    initrd,
    release: known.name,
    kernelVersion: manifest.kernelVersion,
  };
}

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { dependencies, download, type FetchOptions, unpackArchives, updatedApt } from "./apt.ts";
import { exists, guestFolder, lockFile, makeFolder, makeWorkFolder, replaceFolder } from "./cache.ts";
import type { GuestImage } from "./ensure.ts";
import { GuestImageError, guestRelease } from "./release.ts";

export interface EnsureHeadersOptions extends Partial<FetchOptions> {
  /** Instead of `guestFolder()`. */
  readonly folder?: string;
}

/** What building a module for a guest's kernel takes besides a C compiler. Paths. */
export interface KernelHeaders {
  /** Folder for make's `-C`: the configuration and the exported symbols of this kernel. */
  readonly build: string;
  /** For make's `-f`: the kernel's own rules. */
  readonly makefile: string;
  readonly make: string;
  /** Shared objects that the kernel's build programs need, for LD_LIBRARY_PATH. */
  readonly libraries: string;
}

/**
 * Makes sure that the headers of the guest's kernel are in the cache, about 85 MB, and says where. They are unpacked, not installed.
 * Throws `GuestImageError`: `fetch-failed` also when the archive has gone on to a later kernel than the guest in the cache.
 */
export async function ensureHeaders(
  guest: Pick<GuestImage, "release" | "kernelVersion">,
  options: EnsureHeadersOptions = {},
): Promise<KernelHeaders> {
  const { progress = () => {} } = options;
  const release = guestRelease(guest.release);
  const all = options.folder ?? guestFolder();
  const folder = join(all, `${release.name}-headers-${guest.kernelVersion}`);
  const name = `linux-headers-${guest.kernelVersion}`;
  if (!(await exists(folder))) {
    await makeFolder(all);
    await using _lock = await lockFile(`${folder}.lock`, progress);
    if (!(await exists(folder))) {
      const work = await makeWorkFolder(folder);
      try {
        const fetch = { ...options, progress };
        const apt = await updatedApt(release, work, fetch);
        const needed = await dependencies(apt, name, /^linux-(headers|kbuild)-/);
        const kbuild = needed.find((dependency) => dependency.startsWith("linux-kbuild"));
        if (kbuild === undefined)
          throw new GuestImageError("fetch-failed", `${name} depends on no linux-kbuild package`);
        // Its objtool is linked to it.
        const libraries = await dependencies(apt, kbuild, /^libelf/);
        const archives = await download(apt, [name, ...needed, ...libraries, "make"], work, progress);
        const root = join(work, "root");
        await unpackArchives(archives, root, fetch);
        await replaceFolder(root, folder, work);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    }
  }
  const sources = join(folder, "usr", "src");
  return {
    build: join(sources, name),
    makefile: join(sources, name.replace(/-(cloud-)?amd64$/, "-common"), "Makefile"),
    make: join(folder, "usr", "bin", "make"),
    libraries: join(folder, "usr", "lib", "x86_64-linux-gnu"),
  };
}

import { copyFile, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Apt, dependencies, download, type FetchOptions, unpackArchives, updatedApt } from "./apt.ts";
import { describeFiles, exists, makeWorkFolder, replaceFolder, writeManifest } from "./cache.ts";
import { GuestImageError, type GuestRelease } from "./release.ts";

/**
 * Fetches the kernel and busybox of `release` into `target`, which appears (or is replaced) only when everything is there. Throws `GuestImageError`
 * `no-apt`, `fetch-failed`, `unpack-failed` or `cache-unusable`; whatever was there before stays.
 */
export async function fetchGuest(
  release: GuestRelease,
  target: string,
  options: FetchOptions,
): Promise<void> {
  const { progress } = options;
  const work = await makeWorkFolder(target);
  try {
    const apt = await updatedApt(release, work, options);
    const kernelPackage = await currentKernel(release, apt);
    const archives = await download(apt, [kernelPackage, release.busyboxPackage], work, progress);
    const image = join(work, "image");
    const root = join(work, "root");
    await unpackArchives(archives, root, options);
    const kernelVersion = await layOut(root, image);
    const files = await describeFiles(image, progress);
    const packages = archives.map((path) => path.slice(path.lastIndexOf("/") + 1));
    await writeManifest(image, { format: 1, release: release.name, kernelVersion, packages, files });
    await replaceFolder(image, target, work);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The kernel package that the release's metapackage stands for today. */
async function currentKernel(release: GuestRelease, apt: Apt): Promise<string> {
  const [name] = await dependencies(apt, release.kernelPackage, /^linux-image-/);
  if (name === undefined) {
    throw new GuestImageError("fetch-failed", `${release.kernelPackage} depends on no linux-image package`);
  }
  return name;
}

/** Lays out `image` as the cache has it, from what the packages hold. Returns the kernel's version. */
async function layOut(root: string, image: string): Promise<string> {
  await mkdir(image);
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

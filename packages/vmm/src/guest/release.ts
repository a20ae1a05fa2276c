import { EntresolError } from "@entresol/wire";

/** What can go wrong between "debian12" and a kernel and initramfs on disk. */
export type GuestImageErrorCode =
  | "unknown-release"
  | "no-apt"
  | "fetch-failed"
  | "unpack-failed"
  | "corrupted-cache"
  | "cache-unusable"
  | "unknown-module";

/** Thrown by everything in this folder that can fail. The message is one line that says what to do next. */
export class GuestImageError extends EntresolError<GuestImageErrorCode> {
  override readonly name = "GuestImageError";
}

/** A distribution release that can be fetched and booted. */
export interface GuestRelease {
  /** What a user types, and the folder's name in the cache. */
  readonly name: string;
  readonly title: string;
  /** The suite in the archive. */
  readonly codename: string;
  /** Metapackage whose one `Depends: linux-image-...` names the current kernel of the release. */
  readonly kernelPackage: string;
  readonly busyboxPackage: string;
}

/** Every release that `ensureGuest` knows; the CLI's help is printed from it. */
export const guestReleases: readonly GuestRelease[] = [
  {
    name: "debian12",
    title: "Debian 12 (bookworm)",
    codename: "bookworm",
    kernelPackage: "linux-image-cloud-amd64",
    busyboxPackage: "busybox-static",
  },
  {
    name: "debian13",
    title: "Debian 13 (trixie)",
    codename: "trixie",
    kernelPackage: "linux-image-cloud-amd64",
    busyboxPackage: "busybox-static",
  },
];

/** The release of that name. Throws `GuestImageError` `unknown-release` and lists those that exist. */
export function guestRelease(name: string): GuestRelease {
  const release = guestReleases.find((candidate) => candidate.name === name);
  if (release === undefined) {
    const known = guestReleases.map((candidate) => candidate.name).join(", ");
    throw new GuestImageError("unknown-release", `no guest release "${name}": choose one of ${known}`);
  }
  return release;
}

/** Called as the work proceeds. `total` is 0 while it is not known; bytes for downloads, else a count of things. */
export type GuestProgress = (step: GuestStep, done: number, total: number) => void;

export type GuestStep =
  | "waiting for another fetch"
  | "package lists"
  | "download"
  | "unpack"
  | "checksums"
  | "initramfs";

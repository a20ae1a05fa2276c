import { gzipSync } from "node:zlib";
import { type CpioEntry, writeCpio } from "./cpio.ts";
import { agentScript, initScript, inittab, profile } from "./init.sh.ts";
import type { LoadableModule } from "./modules.ts";

export interface InitramfsContents {
  /** A statically linked busybox for the guest's processor. */
  readonly busybox: Uint8Array;
  /** Loaded by /init, in this order. */
  readonly modules?: readonly LoadableModule[];
  /** Beside them in /lib/modules, for an `insmod` with parameters later. */
  readonly unloaded?: readonly LoadableModule[];
  /**
   * Default false: the kernel copies plain cpio much faster than it inflates it, and on a software processor the guest pays
   * for each of the instructions; the 2 MB that gzip would halve are nothing to the host.
   */
  readonly gzip?: boolean;
}

/** Numbers from the kernel's admin-guide/devices.txt. */
const devices: readonly (readonly [path: string, mode: number, major: number, minor: number])[] = [
  ["console", 0o600, 5, 1],
  ["null", 0o666, 1, 3],
  ["zero", 0o666, 1, 5],
  ["random", 0o666, 1, 8],
  ["urandom", 0o666, 1, 9],
  ["tty", 0o666, 5, 0],
  ["ttyS0", 0o600, 4, 64],
  ["ttyS1", 0o600, 4, 65],
  ["ttyS2", 0o600, 4, 66],
  ["ttyS3", 0o600, 4, 67],
];

const directories = "bin dev etc lib lib/modules proc root run sbin sys tmp usr usr/bin usr/sbin var".split(
  " ",
);

/** The initramfs: always the same bytes for the same contents. */
export function buildInitramfs(contents: InitramfsContents): Uint8Array {
  const { modules = [], unloaded = [] } = contents;
  const file = (path: string, mode: number, data: string | Uint8Array): CpioEntry => ({
    type: "file",
    path,
    mode,
    data: typeof data === "string" ? Buffer.from(data) : data,
  });
  const archive = writeCpio([
    ...directories.map((path): CpioEntry => ({ type: "directory", path, mode: 0o755 })),
    // The kernel opens /dev/console for the first process before anything is mounted there.
    ...devices.map(
      ([name, mode, major, minor]): CpioEntry => ({
        type: "device",
        path: `dev/${name}`,
        mode,
        major,
        minor,
      }),
    ),
    file("bin/busybox", 0o755, contents.busybox),
    { type: "symlink", path: "bin/sh", mode: 0o777, target: "busybox" },
    { type: "symlink", path: "var/run", mode: 0o777, target: "/run" },
    file("init", 0o755, initScript),
    file("sbin/agent", 0o755, agentScript),
    file("etc/inittab", 0o644, inittab),
    file("etc/profile", 0o644, profile),
    file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n"),
    file("etc/modules", 0o644, modules.map(({ name }) => `${name}\n`).join("")),
    ...[...modules, ...unloaded].map(({ name, bytes }) => file(`lib/modules/${name}.ko`, 0o644, bytes)),
  ]);
  if (contents.gzip !== true) return archive;
  const packed = gzipSync(archive, { level: 9 });
  // RFC 1952 2.3: the header's last field is the system that packed it; 255 is "unknown", the same everywhere.
  packed[9] = 255;
  return packed;
}

import { execFileSync } from "node:child_process";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { readCpio } from "./cpio.ts";
import { agentScript, initScript, inittab, profile } from "./init.sh.ts";
import { buildInitramfs } from "./initramfs.ts";

const busybox = Buffer.from("not really busybox");
const modules = [
  { name: "low", bytes: Buffer.from("LOW") },
  { name: "top", bytes: Buffer.from("TOP") },
];
const contents = new Map(readCpio(buildInitramfs({ busybox, modules })).map((entry) => [entry.path, entry]));
const textOf = (path: string) => {
  const entry = contents.get(path);
  return entry?.type === "file" ? Buffer.from(entry.data).toString() : undefined;
};

describe("the initramfs", () => {
  it("starts with an executable /init and a shell for it", () => {
    expect(contents.get("init")).toMatchObject({ type: "file", mode: 0o755 });
    expect(textOf("init")).toBe(initScript);
    expect(contents.get("bin/sh")).toMatchObject({ type: "symlink", target: "busybox" });
    expect(contents.get("bin/busybox")).toMatchObject({ mode: 0o755, data: new Uint8Array(busybox) });
  });

  it("has a console and the other devices that exist before devtmpfs does", () => {
    expect(contents.get("dev/console")).toEqual({
      type: "device",
      path: "dev/console",
      mode: 0o600,
      major: 5,
      minor: 1,
    });
    const names = [...contents.keys()].filter((path) => path.startsWith("dev/")).map((path) => path.slice(4));
    expect(names).toEqual("console null random tty ttyS0 ttyS1 ttyS2 ttyS3 urandom zero".split(" "));
  });

  it("has every folder that its files and mounts need", () => {
    for (const path of contents.keys()) {
      const slash = path.lastIndexOf("/");
      if (slash > 0) expect(contents.get(path.slice(0, slash))?.type, path).toBe("directory");
    }
    for (const [, target] of initScript.matchAll(/mount -t \S+ \S+ \/(\S+)/g)) {
      // The kernel's own file systems bring theirs along.
      if (target !== "dev/pts" && !target!.startsWith("sys/"))
        expect(contents.get(target!)?.type, target).toBe("directory");
    }
  });

  it("lists its modules in the order to load them", () => {
    expect(textOf("etc/modules")).toBe("low\ntop\n");
    expect(textOf("lib/modules/low.ko")).toBe("LOW");
  });

  it("holds modules that are not loaded, and does not list them", () => {
    const unloaded = [{ name: "later", bytes: Buffer.from("LATER") }];
    const entries = readCpio(buildInitramfs({ busybox, modules, unloaded }));
    const data = (path: string) => entries.find((entry) => entry.path === path);
    expect(data("lib/modules/later.ko")).toMatchObject({ data: new Uint8Array(Buffer.from("LATER")) });
    expect(data("etc/modules")).toMatchObject({ data: new Uint8Array(Buffer.from("low\ntop\n")) });
  });

  it("is the same bytes for the same contents, packed or not", () => {
    expect(buildInitramfs({ busybox, modules })).toEqual(buildInitramfs({ busybox, modules }));
    const packed = buildInitramfs({ busybox, modules, gzip: true });
    expect(packed).toEqual(buildInitramfs({ busybox, modules, gzip: true }));
    expect(new Uint8Array(gunzipSync(packed))).toEqual(buildInitramfs({ busybox, modules }));
    // No name, no date, no system in the header.
    expect([...packed.subarray(3, 8), packed[9]]).toEqual([0, 0, 0, 0, 0, 255]);
  });
});

describe("the guest's scripts", () => {
  it.each([
    ["/init", initScript],
    ["/sbin/agent", agentScript],
    ["/etc/profile", profile],
  ])("%s is a script that a POSIX shell accepts", (_name, script) => {
    execFileSync("sh", ["-n"], { input: script });
  });

  it("keep a login shell on the console and the agent alive", () => {
    expect(inittab.split("\n").filter((line) => line.includes(":respawn:"))).toEqual([
      "ttyS0::respawn:-/bin/sh",
      "null::respawn:/sbin/agent",
    ]);
    expect(contents.get("sbin/agent")).toMatchObject({ mode: 0o755 });
  });

  it("speak the protocol: READY, then one command at a time with its status at the end", () => {
    // The loop of the agent, over pipes; what it would do to a machine is not asked for.
    const loop = agentScript.slice(agentScript.indexOf("echo 'ENTRESOL READY"));
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const input = [
      `EXEC n1 ${base64("echo out; echo err >&2; exit 3")}`,
      "an unknown line",
      "",
      `EXEC n2 ${base64("cat; printf 'no line end'")}`,
      `EXEC n3 ${base64(`echo ${"x".repeat(5000)} | wc -c`)}`,
      `EXEC n4 ${base64("exit 300")}`,
      "",
    ].join("\n");
    const output = execFileSync("sh", ["-c", `exec 2>&1\n${loop}`], { input }).toString();
    expect(output).toBe(
      [
        "ENTRESOL READY 1",
        "out",
        "err",
        "",
        "ENTRESOL EXIT n1 3",
        "no line end",
        "ENTRESOL EXIT n2 0",
        "5001",
        "",
        "ENTRESOL EXIT n3 0",
        "",
        "ENTRESOL EXIT n4 44",
        "",
      ].join("\n"),
    );
  });
});

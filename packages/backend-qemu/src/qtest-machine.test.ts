import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { QtestError } from "./qtest-error.ts";
import { QtestMachine } from "./qtest-machine.ts";

const QEMU = "qemu-system-x86_64";
const hasQemu = spawnSync(QEMU, ["--version"]).status === 0;
if (!hasQemu) console.warn(`skipped: QEMU over qtest (${QEMU} is not installed)`);

const folder = mkdtempSync(join(tmpdir(), "entresol-qemu-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program that is started as QEMU is. */
function program(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error: unknown) => (error instanceof QtestError ? error.code : String(error)),
  );

/** Processes whose command line holds `text`. */
function processesWith(text: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Waits until `holds`, which a process's end brings about; never longer than ten seconds. */
async function until(holds: () => boolean): Promise<boolean> {
  for (let attempt = 0; attempt < 1000 && !holds(); attempt++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  return holds();
}

describe("a start that fails", () => {
  it("says that there is no program", async () => {
    const start = QtestMachine.start({ program: join(folder, "absent") });
    expect(await codeOf(start)).toBe("no-qemu");
  });

  it("gives the status and the last words of a program that ends", async () => {
    const start = QtestMachine.start({ program: program("ends", "echo 'no such machine' >&2; exit 1") });
    await expect(start).rejects.toMatchObject({
      code: "start-failed",
      message: expect.stringMatching(/status 1: no such machine/),
    });
  });

  it("kills a program that does not answer", async () => {
    const silent = program("silent", "exec sleep 1000 # $*");
    expect(await codeOf(QtestMachine.start({ program: silent, startTimeout: 100 }))).toBe("start-timeout");
    expect(processesWith(silent)).toEqual([]);
  });
});

describe.runIf(hasQemu)("a QEMU over qtest", () => {
  it("reaches ports, memory-mapped registers and memory", async () => {
    await using machine = await QtestMachine.start({ arguments: ["-serial", "null"] });
    expect(await machine.portRead(0x3fd, 1)).toBe(0x60);
    await machine.portWrite(0x3ff, 1, 0x5a);
    expect(await machine.portRead(0x3ff, 1)).toBe(0x5a);
    await machine.mmioWrite(0xfec0_0000, 4, 1);
    expect(await machine.mmioRead(0xfec0_0010, 4)).toBe(0x0017_0020);
    await machine.mmioWrite64(0x10_0000, 0x1122_3344_5566_7788n);
    expect(await machine.mmioRead64(0x10_0000)).toBe(0x1122_3344_5566_7788n);
    expect([...(await machine.readMemory(0x10_0000, 4))]).toEqual([0x88, 0x77, 0x66, 0x55]);
    // More than one transfer holds.
    const bytes = new Uint8Array(1_300_000).map((_, index) => index * 7);
    await machine.writeMemory(0x20_0000, bytes);
    expect(Buffer.compare(await machine.readMemory(0x20_0000, bytes.length), bytes)).toBe(0);
  });

  it("tells the levels of the lines that are intercepted", async () => {
    await using machine = await QtestMachine.start({ arguments: ["-serial", "null"] });
    await machine.mmioWrite(0xfed0_0010, 4, 2); // HPET in legacy replacement: the timer is silent
    await machine.intercept("inputs", "ioapic");
    await machine.setInput("ioapic", 5, true);
    expect(machine.levels).toBe(1 << 5);
    // THR empty, enabled.
    const { levels } = await machine.perform([
      { kind: "port write", port: 0x3f9, width: 1, value: 2 },
      { kind: "port read", port: 0x3fa, width: 1 },
      { kind: "input", path: "ioapic", line: 5, level: false },
    ]);
    expect([...levels]).toEqual([0x30, 0x20, 0x00]);
    expect(await machine.devicesOfType("isa-i8259")).toHaveLength(2);
    expect(await codeOf(machine.intercept("inputs", "nothing"))).toBe("refused");
    expect(await codeOf(machine.management("nothing"))).toBe("refused");
    expect(await codeOf(machine.portRead(0x1_0000, 1))).toBe("bad-argument");
  });

  it("leaves nothing behind when it is shut down, and refuses what is asked then", async () => {
    const machine = await QtestMachine.start({ arguments: ["-name", "entresol-shut-down"] });
    expect(processesWith("entresol-shut-down")).not.toEqual([]);
    const waiting = codeOf(machine.readMemory(0, 1 << 20));
    await Promise.all([machine.shutdown(), machine.shutdown()]);
    expect(["closed", "resolved"]).toContain(await waiting);
    expect(processesWith("entresol-shut-down")).toEqual([]);
    expect(await codeOf(machine.portRead(0, 1))).toBe("closed");
  });

  it("tells that QEMU has ended", async () => {
    const machine = await QtestMachine.start({ arguments: ["-name", "entresol-killed"] });
    const [qemu] = processesWith("entresol-killed").filter(
      (pid) => !readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith("/bin/sh"),
    );
    process.kill(qemu!, "SIGKILL");
    expect(await until(() => processesWith("entresol-killed").length === 0)).toBe(true);
    expect(await codeOf(machine.portRead(0, 1))).toBe("exited");
    await machine.shutdown();
  });

  it.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)(
    "ends with a program that dies of %s",
    async (signal) => {
      const name = `entresol-orphan-${signal}`;
      const script = `import { QtestMachine } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
      await QtestMachine.start({ arguments: ["-name", "${name}"] });
      console.log("ready");`;
      const child: ChildProcess = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout!, "data");
      expect(processesWith(`${name}\0`)).not.toEqual([]);
      child.kill(signal);
      expect(await until(() => processesWith(`${name}\0`).length === 0)).toBe(true);
    },
  );
});

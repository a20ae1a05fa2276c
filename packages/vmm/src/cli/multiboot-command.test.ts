import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Assembler, eax, ebx, ecx, esi, memory } from "@entresol/testguest";
import { afterAll, describe, expect, it } from "vitest";
import { exitWithEax, multibootKernel, say, sayTextAt, sayTextAtEsi } from "../testing/multiboot-kernel.ts";
import { type BootOptions, bootOptions, checkBootOptions } from "./boot-options.ts";

/*
 * `entresol boot --multiboot` as a user or a test runner meets it: the built command, its streams and its status.
 */

const program = new URL("../../bin/entresol.js", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "entresol-multiboot-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function boot(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, "boot", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1" },
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("close", (status) => resolve({ status, out, err }));
  });
}

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const kernel = (name: string, write: (asm: Assembler) => void): string => file(name, multibootKernel(write));

/** Says "done" and ends with `result`. */
const ends = (result: number): string =>
  kernel(`ends-${result}`, (asm) => {
    say(asm, "done\n");
    asm.op.mov(eax, result);
    exitWithEax(asm);
  });

/** Says its command line, its module's and its module, each with a NUL behind it, and ends with the number of modules. */
const talks = kernel("talks", (asm) => {
  const { op } = asm;
  sayTextAt(asm, 16);
  op.mov(ecx, memory({ base: ebx, displacement: 24 }));
  for (const field of [8, 0]) {
    op.mov(esi, memory({ base: ecx, displacement: field }));
    sayTextAtEsi(asm);
  }
  op.mov(eax, memory({ base: ebx, displacement: 20 }));
  exitWithEax(asm);
});
const content = file("module", "what is in it\0");

describe("a test kernel", () => {
  it.each([
    [0, 1],
    [127, 255],
  ])(
    "ends with the status that the result makes: %i gives %i, and stdout is its console",
    async (result, status) => {
      expect(await boot("--multiboot", ends(result), "--test-device")).toEqual({
        status,
        out: "done\n",
        err: "",
      });
    },
  );

  it("gets its arguments behind its file's name, and modules under what was given for them", async () => {
    const modules = ["--initrd", content, "--module", `${talks} one`, "--module", content];
    const { status, out, err } = await boot(
      ...["--multiboot", talks, "--append", "a  b=c", ...modules, "--test-device", "--cpus", "2"],
    );
    expect(err).toBe("");
    expect(out.split("\0")).toEqual([`${talks} a  b=c`, content, "what is in it", ""]);
    expect(status).toBe((3 << 1) | 1);
  });

  it("is told in JSON with its result", async () => {
    const { status, out } = await boot("--multiboot", ends(7), "--test-device", "--json");
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      status: 15,
      stop: "test-exit",
      testResult: 7,
      serial: "done\n",
      guest: join(folder, "ends-7"),
    });
    expect(status).toBe(15);
  });

  it("ends with 4 for what has no result, never with a status that a result could make", async () => {
    const device = "--test-device";
    const fault = kernel("fault", ({ op }) => op.ud2());
    const spin = kernel("spin", (asm) => {
      asm.label("spin");
      asm.op.jmp("spin");
    });
    const cases: [string[], RegExp][] = [
      [["--multiboot", fault, device], /triple fault/],
      [["--multiboot", spin, device, "--timeout", "1"], /time is up/],
      [["--multiboot", join(folder, "missing"), device], /no such file/],
      [["--multiboot", file("text", "hello"), device, "--json"], /"status":4/],
    ];
    const outcomes = await Promise.all(cases.map(([args]) => boot(...args)));
    for (const [i, { status, out, err }] of outcomes.entries()) {
      expect(err + out).toMatch(cases[i]![1]);
      expect(err).not.toMatch(/^ +at /m);
      expect(status).toBe(4);
    }
  });

  it("without --test-device ends as any guest does", async () => {
    const { status, err } = await boot(
      "--multiboot",
      kernel("fault2", ({ op }) => op.ud2()),
    );
    expect(err).toContain("triple fault");
    expect(status).toBe(1);
  });

  it.each<[string[], string]>([
    [["--multiboot", "x", "--kernel", "y"], "--multiboot and --kernel exclude each other"],
    [["--multiboot", "x", "--guest", "test"], "--multiboot and --guest exclude each other"],
    [["--multiboot", "x", "--cmdline", "y"], "--append gives a --multiboot kernel its arguments"],
    [["--multiboot", "x", "--exec", "y"], "--exec needs a guest with a shell"],
    [["--multiboot", "x", "--resume", "y"], "--resume and --multiboot exclude each other"],
    [["--module", "x"], "--module goes with --multiboot"],
    [["--append", "x"], "--append goes with --multiboot"],
    [["--test-device"], "--test-device goes with --multiboot"],
    [["--guest", "debian12", "--test-device"], "--test-device goes with --multiboot"],
    [["--initrd", "x"], "--initrd goes with --kernel or --multiboot"],
  ])("is refused with status 2 for options that do not go together: %j", (args, message) => {
    const options = bootOptions().parse(args, { from: "user" }).opts<BootOptions>();
    expect(() => checkBootOptions(options)).toThrow(
      expect.objectContaining({ status: 2, message: expect.stringContaining(message) }),
    );
  });

  it.each<[string[]]>([
    [["--multiboot", "x", "--initrd", "y", "--append", "z", "--test-device"]],
    [["--guest", "test", "--test-device"]],
    [["--kernel", "x", "--cmdline", "y", "--test-device"]],
    [["--resume", "x", "--test-device"]],
  ])("may be started with %j", (args) => {
    const options = bootOptions().parse(args, { from: "user" }).opts<BootOptions>();
    expect(() => checkBootOptions(options)).not.toThrow();
  });
});

const QEMU = "qemu-system-x86_64";
const hasQemu = spawnSync(QEMU, ["--version"]).status === 0;
if (!hasQemu) console.warn(`skipped: multiboot kernels on an independent machine (${QEMU} is not installed)`);

describe.runIf(hasQemu)("QEMU", () => {
  it("loads the same kernel with the same command lines and module, and ends with the same status", async () => {
    const fixed = ["-display", "none", "-serial", "stdio", "-monitor", "none", "-net", "none", "-no-reboot"];
    const devices = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "pc-testdev"];
    const what = ["-kernel", talks, "-append", "a  b=c", "-initrd", content];
    const theirs = spawnSync(QEMU, [...fixed, ...devices, ...what], { encoding: "utf8", timeout: 25_000 });
    const ours = await boot("--multiboot", talks, "--append", "a  b=c", "--initrd", content, "--test-device");
    expect({ status: ours.status, out: ours.out }).toEqual({ status: theirs.status, out: theirs.stdout });
  }, 30_000);
});

import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Assembler, type Instructions } from "@entresol/testguest";
import { Writer } from "@entresol/wire";
import { afterAll, describe, expect, it } from "vitest";
import { guestFolder } from "../guest/index.ts";

/*
 * The built command as a user runs it: what a wrong input gets is a line that says what and where, an exit status, and never
 * a stack trace.
 */

const program = new URL("../../bin/entresol.js", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "entresol-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  out: string;
  err: string;
}

function entresol(args: string[], environment: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", ...environment },
    });
    const outcome: Outcome = { status: null, out: "", err: "" };
    child.stdout.on("data", (chunk) => {
      outcome.out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      outcome.err += chunk;
    });
    child.on("close", (status) => resolve({ ...outcome, status }));
  });
}

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** An ELF64 executable that is entered at 16 MiB. */
function elf(name: string, write: (op: Instructions, asm: Assembler) => void): string {
  const asm = new Assembler({ origin: 0x1000000 });
  write(asm.op, asm);
  const code = asm.assemble().bytes;
  const header = new Writer()
    .bytes(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0))
    .zeros(8)
    .u16(2)
    .u16(62)
    .u32(1)
    .u64(asm.origin)
    .u64(64)
    .u64(0)
    .u32(0)
    .u16(64)
    .u16(56)
    .u16(1)
    .zeros(6)
    .u32(1)
    .u32(7)
    .u64(0x1000)
    .u64(asm.origin)
    .u64(asm.origin)
    .u64(code.length)
    .u64(code.length)
    .u64(0x1000);
  return file(name, header.align(0x1000).bytes(code).finish());
}

const spin = (_op: Instructions, asm: Assembler): void => {
  asm.label("spin");
  asm.op.jmp("spin");
};

const halt = (op: Instructions): void => {
  op.cli();
  op.hlt();
};

/** Nothing is armed and nobody types: no interrupt will ever come. */
const wait = (op: Instructions): void => {
  op.sti();
  op.hlt();
};

const debian = existsSync(join(guestFolder(), "debian12", "vmlinuz"));

describe("entresol boot, wrong command lines: status 2", () => {
  it.each<[string, string[], string]>([
    ["an unknown option", ["--colour"], "unknown option '--colour'"],
    ["an unknown guest", ["--guest", "plan9"], "Allowed choices are debian12, debian13, test"],
    ["an unknown backend", ["--backend", "magic"], "Allowed choices are software, auto"],
    ["memory that is no size", ["--memory", "much"], "must be a size such as 256M"],
    ["memory that is no whole page", ["--memory", "1000001"], "multiple of 4096"],
    ["no memory", ["--guest", "test", "--memory", "0"], "memory:"],
    ["too much memory", ["--guest", "test", "--memory", "64G"], "memory: 68719476736 bytes is more than"],
    ["no processor", ["--guest", "test", "--cpus", "0"], "cpus:"],
    ["too many processors", ["--guest", "test", "--cpus", "17"], "cpus:"],
    ["processors that are no number", ["--cpus", "two"], "must be a whole number"],
    ["a timeout of nothing", ["--timeout", "0"], "seconds above 0"],
    ["an initrd without a kernel", ["--initrd", "x"], "--initrd goes with --kernel"],
    ["a kernel and a guest", ["--kernel", "x", "--guest", "test"], "exclude each other"],
    ["a check of another guest", ["--check", "apic-id"], "--check goes with --guest test"],
    [
      "a check that there is not",
      ["--guest", "test", "--check", "apic-ids"],
      'the test guest has no check "apic-ids": --check list shows those it has',
    ],
    [
      "a command for a guest without shell",
      ["--guest", "test", "--exec", "ls"],
      "--exec needs a guest with a shell",
    ],
    [
      "a snapshot and a guest",
      ["--resume", "x", "--guest", "test"],
      "--resume and --guest exclude each other",
    ],
    ["an argument too many", ["debian12"], "too many arguments"],
  ])("%s", async (_name, args, message) => {
    const { status, err, out } = await entresol(["boot", ...args]);
    expect(err).toContain(message);
    expect(err + out).not.toMatch(/^ +at /m);
    expect(status).toBe(2);
  });

  it("an unknown command", async () => {
    const { status, err } = await entresol(["fly"]);
    expect(err).toContain("unknown command 'fly'");
    expect(status).toBe(2);
  });
});

describe("entresol boot, inputs that fail: status 1", () => {
  const failing: [string, () => string[], string][] = [
    ["a kernel that is not there", () => ["--kernel", join(folder, "missing")], "missing: no such file"],
    ["a kernel that is a folder", () => ["--kernel", folder], "is a folder"],
    ["a kernel that is empty", () => ["--kernel", file("empty", "")], "neither an ELF file nor a bzImage"],
    [
      "a kernel that is text",
      () => ["--kernel", file("text", "hello".repeat(1000))],
      "neither an ELF file nor a bzImage",
    ],
    [
      "an initrd larger than memory",
      () => [
        "--kernel",
        elf("spin1", spin),
        "--initrd",
        file("huge", new Uint8Array(2 ** 23)),
        "--memory",
        "20M",
      ],
      "initrd",
    ],
    [
      "memory too small for the kernel",
      () => ["--kernel", elf("spin2", spin), "--memory", "8M"],
      "RAM ends at 0x800000",
    ],
    [
      "a guest that triple-faults",
      () => ["--kernel", elf("ud", (op) => op.ud2())],
      "triple fault on processor 0 at RIP 0x1000000",
    ],
    ["a guest that halts for ever", () => ["--kernel", elf("halt", halt)], "halted with interrupts disabled"],
    [
      "a guest that hangs",
      () => ["--kernel", elf("spin3", spin), "--timeout", "1"],
      "time is up (--timeout)",
    ],
    [
      "a guest that hangs, given more time than a timer can be set to",
      () => ["--kernel", elf("halt2", halt), "--timeout", "99999999"],
      "halted with interrupts disabled",
    ],
    [
      "a guest that waits for input when there is nobody to type",
      () => ["--kernel", elf("wait", wait)],
      "waits for input that cannot come",
    ],
    [
      "a snapshot of a guest that never gets to its prompt",
      () => ["--guest", "test", "--snapshot", join(folder, "test.snapshot")],
      "no snapshot at",
    ],
    ["a snapshot that is a device", () => ["--resume", "/dev/zero"], "it is no regular file"],
    ["a snapshot that is not there", () => ["--resume", join(folder, "missing.snapshot")], "no such file"],
    [
      "a snapshot that is none",
      () => ["--resume", file("no.snapshot", new Uint8Array(5000))],
      "is no usable snapshot",
    ],
  ];
  it.each(failing)("%s", async (_name, args, message) => {
    const { status, err, out } = await entresol(["boot", ...args()]);
    expect(err).toContain(message);
    expect(err + out).not.toMatch(/^ +at |RuntimeError|unreachable/m);
    expect(status).toBe(1);
  });

  it.runIf(debian)("a bzImage that is cut short", async () => {
    const kernel = readFileSync(join(guestFolder(), "debian12", "vmlinuz"));
    for (const length of [100, 0x1f1, 0x260, 0x1000, kernel.length >> 1]) {
      const { status, err } = await entresol(["boot", "--kernel", file("cut", kernel.subarray(0, length))]);
      expect(err).toMatch(/cut: .*0x[0-9a-f]+/);
      expect(err).not.toMatch(/^ +at /m);
      expect(status).toBe(1);
    }
  });

  it("a cache that is damaged", async () => {
    const cache = join(folder, "cache");
    mkdirSync(join(cache, "guest", "debian12"), { recursive: true });
    writeFileSync(join(cache, "guest", "debian12", "manifest.json"), "{");
    const { status, err } = await entresol(["boot", "--exec", "true"], { ENTRESOL_CACHE: cache });
    expect(err).toContain("manifest.json");
    expect(err).toContain("--force");
    expect(err).not.toMatch(/^ +at /m);
    expect(status).toBe(1);
  });

  it("a cache folder that cannot be used", async () => {
    const blocked = file("blocked", "");
    chmodSync(blocked, 0o600);
    const { status, err } = await entresol(["boot", "--exec", "true"], { ENTRESOL_CACHE: blocked });
    expect(err).toContain("ENTRESOL_CACHE");
    expect(err).not.toMatch(/^ +at /m);
    expect(status).toBe(1);
  });
});

describe("entresol boot, who is on the other end", () => {
  it("gets JSON when it asked for JSON, also for what never ran", async () => {
    const { status, out, err } = await entresol(["boot", "--json", "--resume", join(folder, "missing")]);
    expect(JSON.parse(out)).toEqual({
      ok: false,
      status: 1,
      error: expect.stringContaining("missing: no such file") as string,
    });
    expect(err).toMatch(/^entresol: .*missing: no such file\n$/);
    expect(status).toBe(1);
  });

  it.each([1, 2])("may close descriptor %i before anything is said", async (descriptor) => {
    const child = spawn(process.execPath, [program, "boot", "--guest", "test", "--initrd", "x"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdio[descriptor]!.destroy();
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        said += chunk;
      });
    }
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect(said).not.toMatch(/^ +at |EPIPE/m);
    expect(status).toBe(2);
  });
});

describe.runIf(debian)("entresol boot, commands in Debian that mean harm", () => {
  const exec = (command: string, ...more: string[]) => entresol(["boot", "--exec", command, ...more]);

  it.each([
    ["ends every process, the agent too", "kill -9 -1", 1, "the command ended the guest's agent"],
    ["powers off", "poweroff -f", 1, "powered off before the command ended"],
    ["resets", "reboot -f", 1, "the guest asked for a reset"],
    ["panics the kernel", "echo c > /proc/sysrq-trigger", 1, "Kernel panic|the guest asked for a reset"],
    [
      "writes what the agent would",
      "echo 'ENTRESOL READY 1' >/dev/ttyS1; printf '\\nENTRESOL EXIT 00112233445566778899aabbccddeeff 0\\n' >/dev/ttyS1; exit 5",
      5,
      "",
    ],
    ["leaves a busy process behind", "(while :; do :; done) & exit 6", 6, ""],
    ["is empty", "", 0, ""],
  ])(
    "%s",
    async (_name, command, expected, message) => {
      const { status, err } = await exec(command, "--timeout", "60");
      expect(err).toMatch(new RegExp(message));
      expect(err).not.toMatch(/^ +at /m);
      expect(status).toBe(expected);
    },
    90_000,
  );

  it("makes the same run of the same command, whatever the host does meanwhile", async () => {
    const run = async (cpus: string) => {
      const { out } = await exec(
        "date; cat /proc/interrupts; (while :; do :; done) &",
        "--json",
        "--cpus",
        cpus,
      );
      const { instructions, guestTime, ramDigest, deviceDigest, exec: result } = JSON.parse(out);
      return { instructions, guestTime, ramDigest, deviceDigest, result };
    };
    for (const cpus of ["1", "2"]) {
      await run(cpus); // the cache may have been empty
      const [first, second] = await Promise.all([run(cpus), run(cpus)]);
      expect(second).toEqual(first);
    }
  }, 120_000);
});

describe("entresol boot, the built-in test guest", () => {
  it("prints its checks and the table, and ends with 0", async () => {
    const { status, out, err } = await entresol(["boot", "--guest", "test", "--cpus", "2"]);
    expect(err).toBe("");
    expect(out).toMatch(/^ok apic-timer-one-shot/m);
    expect(out).not.toMatch(/^FAIL/m);
    expect(out).toMatch(/^instructions +[\d,]+$/m);
    expect(out).toMatch(/^com1 +[\d,]+ +[\d,]+$/m);
    expect(status).toBe(0);
  });

  it("runs one check alone with --check, on a machine that has what its checks need", async () => {
    for (const name of ["ioapic-remote-irr", "pci-msix-mask"]) {
      const { status, out } = await entresol(["boot", "--guest", "test", "--check", name]);
      expect(out).toContain(`ok ${name}`);
      expect(out).toMatch(/^DONE 1 0$/m);
      expect(status).toBe(0);
    }
  });

  it("lists its checks with their rules by --check list", async () => {
    const { status, out } = await entresol(["boot", "--guest", "test", "--check", "list"]);
    expect(out).toMatch(/^Local APIC$/m);
    expect(out).toMatch(/^ {2}apic-id +The id register agrees with the initial APIC id of CPUID \(SDM/m);
    expect(status).toBe(0);
  });

  it("prints one JSON object with --json, the same figures each time", async () => {
    const run = async () =>
      JSON.parse((await entresol(["boot", "--guest", "test", "--json"])).out) as Record<string, unknown>;
    const first = await run();
    expect(first).toMatchObject({ ok: true, status: 0, stop: "power-off", guest: "test" });
    expect(first["ramDigest"]).toMatch(/^[0-9a-f]{64}$/);
    expect(first["serial"]).toMatch(/^ok cpuid-vendor/m);
    const second = await run();
    for (const field of [
      "instructions",
      "guestTime",
      "ramDigest",
      "deviceDigest",
      "exits",
      "interrupts",
      "serial",
    ])
      expect(second[field]).toEqual(first[field]);
  });

  it("takes its place when no guest can be had, and says so in one line", async () => {
    const { status, out, err } = await entresol(["boot"], {
      ENTRESOL_CACHE: join(folder, "none"),
      PATH: folder,
    });
    expect(err.match(/^entresol: .*/gm)?.length).toBe(1);
    expect(err).toContain("booting the built-in test guest instead");
    expect(out).toMatch(/^ok acpi-fadt/m);
    expect(status).toBe(0);
  });
});

describe("help", () => {
  it("shows examples and the guests", async () => {
    const { status, out } = await entresol(["boot", "--help"]);
    expect(out).toContain('entresol boot --exec "cat /proc/interrupts"');
    expect(out).toContain("debian13");
    expect(status).toBe(0);
    expect((await entresol(["guest", "fetch", "--help"])).out).toContain("ENTRESOL_CACHE");
    expect((await entresol(["--version"])).out).toMatch(/^\d+\.\d+\.\d+/);
  });
});

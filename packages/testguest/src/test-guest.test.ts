import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "@entresol/wire";
import { describe, expect, test } from "vitest";
import { AssemblerError, rax } from "./assembler/index.ts";
import type { CheckGroup } from "./checks/check.ts";
import { buildGuest, DEFAULT_LOAD_ADDRESS, type Guest } from "./guest.ts";
import { wrapMultiboot } from "./multiboot.ts";
import { testGuestSpecification } from "./specification.ts";
import { buildTestGuest, CHECK_GROUPS, listChecks } from "./test-guest.ts";

describe("the test guest's image", () => {
  test("equal options give equal bytes, entered at the load address", () => {
    const first = buildTestGuest();
    const second = buildTestGuest({});
    expect(toHex(first.image)).toBe(toHex(second.image));
    expect(first.loadAddress).toBe(DEFAULT_LOAD_ADDRESS);
    expect(first.entry).toBe(first.loadAddress);
    // CLI, CLD.
    expect(toHex(first.image.subarray(0, 2))).toBe("fafc");
  });

  test("the image is page-aligned, below 128 KiB, and needs less than 1 MiB of memory", () => {
    const { image, loadAddress, memoryEnd } = buildTestGuest();
    expect(image.length % 4096).toBe(0);
    expect(image.length).toBeLessThan(0x20000);
    expect(memoryEnd).toBeGreaterThan(loadAddress + image.length);
    expect(memoryEnd).toBeLessThan(loadAddress + 0x100000);
  });

  test("check names are unique, plain, and all in the image", () => {
    const { checks, image } = buildTestGuest();
    expect(new Set(checks).size).toBe(checks.length);
    expect(checks).toEqual(CHECK_GROUPS.flatMap((group) => group.checks.map((check) => check.name)));
    const text = Buffer.from(image).toString("latin1");
    for (const name of checks) {
      expect(name).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(text).toContain(`${name}\0`);
    }
  });

  test("each group makes a guest of its own", () => {
    for (const group of CHECK_GROUPS) {
      const guest = buildGuest({ title: group.title, groups: [group], loadAddress: 0x400000 });
      expect(guest.checks).toEqual(group.checks.map((check) => check.name));
      expect(guest.entry).toBe(0x400000);
    }
  });

  test("one check makes a guest of its own, with its group's set-up", () => {
    const whole = buildTestGuest();
    for (const group of CHECK_GROUPS) {
      const { name } = group.checks.at(-1)!;
      const guest = buildTestGuest({ only: name });
      expect(guest.checks).toEqual([name]);
      expect(guest.image.length).toBeLessThan(whole.image.length);
    }
    expect(toHex(buildTestGuest({ only: "apic-id" }).image)).toBe(
      toHex(buildTestGuest({ only: "apic-id" }).image),
    );
  });

  test("a check that there is not is refused by name", () => {
    for (const only of ["", "apic", "list", "__proto__"]) {
      expect(() => buildTestGuest({ only })).toThrow(
        expect.objectContaining({
          code: "no-such-check",
          message: expect.stringContaining(JSON.stringify(only)),
        }),
      );
    }
  });

  test("the catalogue lists every check once, with rule, clause and group", () => {
    const listed = listChecks();
    expect(listed.map(({ name }) => name)).toEqual(buildTestGuest().checks);
    for (const { rule, clause, group } of listed) {
      expect(rule).toMatch(/^[A-Z].*[^.]$/);
      expect(clause).not.toBe("");
      expect(CHECK_GROUPS.some(({ title }) => title === group)).toBe(true);
    }
  });

  test("what QEMU does otherwise is a check that there is", () => {
    const { checks } = buildTestGuest();
    for (const name of Object.keys(QEMU_DIFFERENCES)) expect(checks).toContain(name);
  });

  test.each([0, 0x1000, 0x200001, 0x40001000, 1.5, Number.NaN])(
    "load address %d is refused",
    (loadAddress) => {
      expect(() => buildTestGuest({ loadAddress })).toThrow(AssemblerError);
    },
  );

  test("specs/test-guest.md is the table of checks", async () => {
    await expect(testGuestSpecification()).toMatchFileSnapshot("../../../specs/test-guest.md");
  });
});

const QEMU = "qemu-system-x86_64";
/** The rules that QEMU 7.2 (TCG) does not keep, each with what it does instead. */
const QEMU_DIFFERENCES: Readonly<Record<string, string>> = {
  "uart-interrupt-order": "loop mode latches no modem changes, so that reason is missing",
  "uart-modem-changes": "loop mode latches no modem changes",
  "pic-edge-withdrawn": "an edge request outlives its input",
  "pic-special-mask": "special mask mode is felt only when something else changes",
  "ioapic-edge": "a line that is set high once more is a new edge",
  "ioapic-active-low": "polarity is ignored",
  "pit-mode-0-gate": "the gate does not stop the count",
  "pit-mode-1": "the output is low before the first trigger",
  "pit-mode-2-gate": "a low gate does not lift the output",
  "pit-mode-4": "the output is inverted",
  "pit-mode-5": "the output is inverted",
  "pit-bcd": "counts in binary",
  "pit-null-count": "there is no null-count bit",
  "pit-one-byte-access": "the count runs while the gate is low",
  "hpet-periodic": "interrupts more often than once in a period",
  "cr8-reserved-bits": "reserved bits are ignored",
  "apic-error-is-latched": "ESR is never set",
  "apic-error-illegal-vectors": "ESR is never set",
  "apic-error-interrupt": "there is no error interrupt",
  "apic-error-local-vector": "ESR is never set",
  "apic-software-disable-masks": "software disable leaves the local interrupts as they are",
  "apic-software-disabled-fixed": "a software-disabled APIC takes fixed interrupts",
  "apic-base-disable-resets": "once disabled it stays so",
  "apic-logical-cluster": "0xFF is no broadcast in the cluster model",
  "apic-timer-periodic-to-one-shot": "the last count ends without an interrupt",
  "apic-timer-expired-stays": "a one-shot that is over starts again",
  "processors-lowest-priority": "the task priority does not count",
};

const hasQemu = spawnSync(QEMU, ["--version"]).status === 0;
if (!hasQemu) console.warn(`skipped: test guest on an independent machine (${QEMU} is not installed)`);

/** What the guest prints on QEMU, counted in instructions so that a busy host changes nothing, and QEMU's exit status. */
function runOnQemu(guest: Guest, ...options: string[]): { lines: string[]; status: number | null } {
  const folder = mkdtempSync(join(tmpdir(), "entresol-test-guest-"));
  try {
    const file = join(folder, "guest.multiboot");
    writeFileSync(file, wrapMultiboot(guest));
    const fixed = [
      "-m",
      "64",
      "-display",
      "none",
      "-serial",
      "stdio",
      "-monitor",
      "none",
      "-net",
      "none",
      "-no-reboot",
      // Interrupt lines that the guest can move.
      "-device",
      "pc-testdev",
    ];
    const clock = ["-icount", "shift=2,sleep=off", "-rtc", "clock=vm,base=2026-01-02T03:04:05"];
    const run = spawnSync(QEMU, [...fixed, ...clock, ...options, "-kernel", file], {
      encoding: "utf8",
      timeout: 25_000,
    });
    return { lines: run.stdout.split("\r\n"), status: run.status };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe.runIf(hasQemu)("the test guest on QEMU", () => {
  test.each([
    ["pc", 1],
    ["pc", 2],
    ["q35", 4],
  ])("%s with %i processors passes every check but those that are listed", (machine, processors) => {
    const guest = buildTestGuest();
    const { lines, status } = runOnQemu(guest, "-M", machine, "-smp", String(processors));
    const results = lines.flatMap(
      (line) => /^(ok|FAIL|skip) ([a-z0-9-]+)/.exec(line)?.slice(1, 3).join(" ") ?? [],
    );
    // TCG before QEMU 9 has neither of the first two; nobody but us has the function; "pc" has no configuration memory.
    const skips = /^(x2apic|tsc-(deadline|write)|apic-base-faults|ioapic-eoi-register|hpet-message|pci-)/;
    const alone = /^(processors-[^s]|interrupt-to|locked-sum)/;
    const expected = guest.checks.map((name) => {
      if (results.includes(`skip ${name}`) && (skips.test(name) || (processors === 1 && alone.test(name))))
        return `skip ${name}`;
      return name in QEMU_DIFFERENCES ? `FAIL ${name}` : `ok ${name}`;
    });
    expect(results).toEqual(expected);
    expect(lines).toContain(`  started ${processors - 1} of ${processors - 1} besides this one`);
    expect(lines).toContain("  real-time clock 2026-01-02 03:04:05");
    const count = (start: string) => expected.filter((line) => line.startsWith(start)).length;
    expect(lines.at(-3)).toBe(`DONE ${count("ok")} ${count("FAIL")}`);
    expect(lines.at(-2)).toBe("Powering off.");
    expect(status).toBe(0);
  });

  test("a rule that the machine breaks is a FAIL with got and want, and the rest still runs", () => {
    const { lines } = runOnQemu(buildTestGuest(), "-cpu", "qemu64,-hypervisor,-nx");
    expect(lines).toContain("FAIL cpuid-hypervisor got=0x0 want=0x1");
    expect(lines).toContain("skip page-fault-no-execute (CPUID has no NX)");
    expect(lines.find((line) => line.startsWith("DONE"))).toMatch(/^DONE \d+ \d+$/);
  });

  test("the three endings of a check, ranges and numbers read as documented", () => {
    const group: CheckGroup = {
      title: "Endings",
      routines: (guest) => guest.variable("nothing"),
      begin: (guest) => {
        guest.say("  ");
        guest.sayDecimal(18_446_744_073_709_551_615n);
        guest.say(" ");
        guest.sayHex(0xdead_beef_0000n);
        guest.say(" ");
        guest.sayDecimal(0);
        guest.say("\n");
      },
      checks: [
        { name: "passes", rule: "", clause: "", write: () => {} },
        {
          name: "too-low",
          rule: "",
          clause: "",
          write: (guest) => {
            guest.op.mov(rax, 9);
            guest.between(10, 11);
          },
        },
        {
          name: "differs",
          rule: "",
          clause: "",
          write: (guest) => {
            guest.op.mov(rax, -1);
            guest.equal(7);
          },
        },
        {
          name: "skips",
          rule: "",
          clause: "",
          write: (guest) => guest.skipUnless("nothing", "no such thing"),
        },
        { name: "breaks", rule: "", clause: "", write: (guest) => guest.op.ud2() },
        { name: "never-runs", rule: "", clause: "", write: () => {} },
      ],
    };
    const { lines } = runOnQemu(buildGuest({ title: "Self test", groups: [group] }));
    const from = lines.indexOf("Endings");
    expect(lines.slice(from + 1, from + 6)).toEqual([
      "  18446744073709551615 0xdeadbeef0000 0",
      "ok passes",
      "FAIL too-low got=0x9 want=0xa..0xb",
      "FAIL differs got=0xffffffffffffffff want=0x7",
      "skip skips (no such thing)",
    ]);
    expect(lines).toContain("FAIL unexpected-exception got=0x6 want=0x0");
    expect(lines).not.toContain("ok never-runs");
    expect(lines).toContain("DONE 1 3");
  });
});

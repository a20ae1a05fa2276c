import { beforeEach, describe, expect, test } from "vitest";
import {
  BareMachine,
  CODE,
  code,
  DATA,
  GDT,
  HANDLERS,
  IDT,
  PAGE_TABLE,
  PML4,
  STACK,
  TSS,
  USER_CODE,
} from "./testing/bare-machine.ts";

/*
 * Page faults (AMD64 volume 2, 5.6 and 8.2.15). Error code: 1 present, 2 write, 4 user, 8 reserved bit, 16 fetch.
 */

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const NO_EXECUTE = 1n << 63n;
const WP = 0x10000n;
const SMEP = 0x100000n;
const SMAP = 0x200000n;
const NXE = 0x800n;

/** mov rax, [rdi] and mov [rdi], rax */
const READ = code("48 8b 07 f4");
const WRITE = code("48 89 07 f4");
/** jmp rdi */
const JUMP = code("ff e7");

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
  m.set({ rdi: DATA, cr0: m.control("cr0") | WP, efer: m.control("efer") | NXE });
});
function user(): void {
  m.long(3);
  m.set({ rdi: DATA, rip: USER_CODE });
}
/** The leaf entry of DATA. */
function leaf(): bigint {
  return m.read(PAGE_TABLE + 8 * (DATA >> 12));
}

describe("what a page allows", () => {
  const rows: [string, bigint, 0 | 3, number[], string][] = [
    ["supervisor read of an absent page", 0n, 0, READ, "#14(0x0)"],
    ["supervisor write of an absent page", 0n, 0, WRITE, "#14(0x2)"],
    ["user read of an absent page", 0n, 3, READ, "#14(0x4)"],
    ["user write of an absent page", 0n, 3, WRITE, "#14(0x6)"],
    ["user read of a supervisor page", PRESENT | WRITABLE, 3, READ, "#14(0x5)"],
    ["user write of a read-only page", PRESENT | USER, 3, WRITE, "#14(0x7)"],
    ["supervisor write of a read-only page with WP", PRESENT | USER, 0, WRITE, "#14(0x3)"],
    ["fetch from a no-execute page", PRESENT | WRITABLE | NO_EXECUTE, 0, JUMP, "#14(0x11)"],
    ["user fetch from a supervisor page", PRESENT | WRITABLE, 3, JUMP, "#14(0x15)"],
    ["fetch from an absent page", 0n, 0, JUMP, "#14(0x10)"],
    ["a physical address beyond the processor's width", PRESENT | (1n << 45n), 0, READ, "#14(0x9)"],
  ];
  test.each(rows)("%s", (_name, rights, level, program, outcome) => {
    if (level === 3) user();
    m.setPage(DATA, rights);
    expect(m.outcome(program)).toBe(outcome);
    expect(m.control("cr2")).toBe(BigInt(DATA));
  });

  test.each([
    ["a PML4 entry", PML4 + 8, 0x2107n, 2 ** 39, "#14(0x9)"],
    ["a page-directory-pointer entry", 0x2008, 0x3107n, 2 ** 30, "#14(0x9)"],
    ["a page-directory entry", 0x3010, 0x4107n, 2 ** 22, "halt"],
  ])("G in %s that leads on: reserved above the page directory", (_name, entry, value, at, outcome) => {
    m.write(entry, value);
    m.set({ rdi: at + DATA });
    expect(m.outcome(READ)).toBe(outcome);
  });

  test("without WP the supervisor writes read-only pages", () => {
    m.set({ cr0: m.control("cr0") & ~WP });
    m.setPage(DATA, PRESENT);
    expect(m.run(WRITE)).toBe("halt");
  });

  test("without NXE bit 63 is reserved, and fetches are not reported", () => {
    m.set({ efer: m.control("efer") & ~NXE });
    m.setPage(DATA, PRESENT | NO_EXECUTE);
    expect(m.outcome(READ)).toBe("#14(0x9)");
    m.setPage(DATA, 0n);
    m.wake();
    m.set({ rip: CODE, cr3: m.control("cr3") });
    expect(m.outcome(JUMP)).toBe("#14(0x0)");
  });

  test("SMEP: the supervisor does not execute user pages", () => {
    m.setPage(CODE, PRESENT | WRITABLE);
    m.setPage(HANDLERS, PRESENT | WRITABLE); // handlers and stack are the supervisor's
    m.setPage(STACK, PRESENT | WRITABLE);
    m.set({ cr4: m.control("cr4") | SMEP });
    expect(m.outcome(JUMP)).toBe("#14(0x11)");
  });

  test("SMAP: the supervisor reads user pages only while AC is set, even when it did so before", () => {
    // also what the processor reads by itself: tables of descriptors and gates, TSS
    for (const page of [CODE, STACK - 0x1000, STACK, HANDLERS, GDT, IDT, TSS])
      m.setPage(page, PRESENT | WRITABLE);
    m.set({ cr4: m.control("cr4") | SMAP });
    // stac; mov rax, [rdi]; clac; mov rax, [rdi]
    expect(m.outcome(code("0f 01 cb 48 8b 07 0f 01 ca 48 8b 07 f4"))).toBe("#14(0x1)");
    expect(m.frame().rip).toBe(BigInt(CODE + 9));
  });
});

describe("accessed and dirty", () => {
  test("a read sets A, a write sets A and D, and a fault neither", () => {
    expect(leaf() & 0x60n).toBe(0n);
    expect(m.run(READ)).toBe("halt");
    expect(leaf() & 0x60n).toBe(0x20n);
    m.set({ rip: CODE });
    m.wake();
    expect(m.run(WRITE)).toBe("halt");
    expect(leaf() & 0x60n).toBe(0x60n);
    m.setPage(DATA, PRESENT | USER);
    m.set({ rip: CODE });
    m.wake();
    expect(m.outcome(WRITE)).toBe("#14(0x3)");
    expect(leaf() & 0x60n).toBe(0n);
  });
});

describe("translations are kept until told", () => {
  test("a changed entry is seen after INVLPG, not before", () => {
    m.write(DATA, 1n);
    m.write(DATA + 0x1000, 2n);
    // mov rax,[rdi]; mov [rsi], rdx; mov rbx,[rdi]; invlpg [rdi]; mov rcx,[rdi]
    m.set({ rsi: PAGE_TABLE + 8 * (DATA >> 12), rdx: BigInt(DATA + 0x1000) | 7n });
    expect(m.run(code("48 8b 07 48 89 16 48 8b 1f 0f 01 3f 48 8b 0f f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rbx"), m.gpr("rcx")]).toEqual([1n, 1n, 2n]);
  });

  test("INVLPG of any address in a large page forgets all of it", () => {
    // 2 MiB at 0x200000 is one large page; read it far from the address that is invalidated
    m.write(0x3ff000 % m.processor.ram.length, 0n);
    m.set({ rdi: 0x3ff000, rsi: 0x3008, rdx: 0n, rcx: 0x200000 });
    expect(m.outcome(code("48 8b 07 48 89 16 0f 01 39 48 8b 07 f4"))).toBe("#14(0x0)");
    expect(m.control("cr2")).toBe(0x3ff000n);
  });
});

describe("accesses across two pages", () => {
  test("a write that faults on its second page has written nothing", () => {
    m.write(DATA + 0xff8, 0n);
    m.setPage(DATA + 0x1000, PRESENT | USER);
    m.set({ rdi: DATA + 0xffc, rax: -1n });
    expect(m.outcome(WRITE)).toBe("#14(0x3)");
    expect(m.control("cr2")).toBe(BigInt(DATA + 0x1000));
    expect(m.read(DATA + 0xff8)).toBe(0n);
  });

  test("and works otherwise, on pages that are not neighbours in RAM", () => {
    m.write(PAGE_TABLE + 8 * ((DATA + 0x1000) >> 12), BigInt(DATA + 0x5000) | 7n);
    m.set({ rdi: DATA + 0xffc, rax: 0x1122334455667788n });
    expect(m.run(WRITE)).toBe("halt");
    expect([m.read(DATA + 0xffc, 4), m.read(DATA + 0x5000, 4)]).toEqual([0x55667788n, 0x11223344n]);
  });

  test("an address that is not canonical is #GP(0), through RSP or RBP #SS(0)", () => {
    m.set({ rdi: 0x8000_0000_0000n, rbp: 0x8000_0000_0000n });
    expect(m.outcome(READ)).toBe("#13(0x0)");
    m.set({ rip: CODE });
    m.wake();
    expect(m.outcome(code("48 8b 45 00"))).toBe("#12(0x0)");
  });
});

describe("addresses outside RAM", () => {
  test("page tables outside RAM are not present; they are never read", () => {
    m.write(0x2000, 0xff_ffff_f007n);
    m.set({ cr3: m.control("cr3") });
    expect(m.run([])).toBe("shutdown");
  });

  test("code outside RAM is #GP(0)", () => {
    m.write(PAGE_TABLE + 8 * (DATA >> 12), 0xfee0_0007n);
    m.set({ rdi: DATA, cr3: m.control("cr3") });
    expect(m.outcome(JUMP)).toBe("#13(0x0)");
  });
});

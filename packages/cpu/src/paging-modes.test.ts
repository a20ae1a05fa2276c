import { beforeEach, describe, expect, test } from "vitest";
import { RAM } from "../assembly/layout.ts";
import { BareMachine, CODE, code, DATA, PAGE_TABLE, PML4 } from "./testing/bare-machine.ts";

/*
 * Page tables of every shape (AMD64 volume 2, 5.2 and 5.3), what their bits mean, and what makes the processor look at a
 * changed entry. Rights of 4 KiB pages in long mode are in paging.test.ts.
 */

const PRESENT = 1n;
const WRITABLE = 2n;
const USER = 4n;
const WRITE_THROUGH = 8n;
const CACHE_DISABLE = 0x10n;
const ACCESSED = 0x20n;
const DIRTY = 0x40n;
const LARGE = 0x80n;
/** Bit 7 of the entry of a 4 KiB page, bit 12 of that of a large one. */
const PAT = 0x80n;
const PAT_LARGE = 0x1000n;
const GLOBAL = 0x100n;
const NO_EXECUTE = 1n << 63n;
const ALL = PRESENT | WRITABLE | USER;

const CR0_LEGACY = 0x80010033n; // PG, WP, NE, ET, MP, PE
const CR4_PSE = 0x10n;
const CR4_PAE = 0x20n;
const CR4_PGE = 0x80n;

/** Page tables of 32-bit code, apart from those of long mode. */
const ROOT = 0x60000;
const SECOND = 0x61000;
const THIRD = 0x62000;

/** mov [e]ax, [[e]di] and mov [[e]di], [e]ax, in 64-bit and in 32-bit code. */
const READ = code("48 8b 07 f4");
const WRITE = code("48 89 07 f4");
const READ32 = code("8b 07 f4");
const WRITE32 = code("89 07 f4");
/** jmp edi */
const JUMP32 = code("ff e7");

const GIB = 1n << 30n;
/** Where the pages under test appear. Below lie the pages that hold code, stack and tables. */
const APART = 0x400000;
const PAE_APART = 0x200000;

let m: BareMachine;
beforeEach(async () => {
  m = await BareMachine.create();
  m.write(DATA, 0x1234n);
  m.write(DATA + 0x1000, 0x5678n);
});

/** Entry `index` of a table of 32-bit entries. */
function entry32(table: number, index: number): bigint {
  return m.read(table + 4 * index, 4);
}
function setEntry32(table: number, index: number, value: bigint): void {
  m.processor.view.setUint32(RAM + table + 4 * index, Number(value), true);
  m.processor.codeWritten(table + 4 * index, 4);
}
/** Runs 32-bit or 64-bit code anew, after a HLT or a fault. */
function again(program: readonly number[]): string {
  m.wake();
  m.set({ rip: CODE });
  return m.outcome(program);
}

describe("1 GiB pages of long mode", () => {
  /** One page at 1 GiB, mapped to physical 0. */
  function gibibyte(rights: bigint, upper = ALL): void {
    m.write(PML4, 0x2000n | upper);
    m.write(0x2008, rights);
    m.set({ cr3: PML4, rdi: GIB + BigInt(DATA) });
  }

  test("are translated although CPUID does not offer them, with accessed and dirty bits", () => {
    gibibyte(ALL | LARGE);
    expect(m.run(READ)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
    expect(m.read(0x2008)).toBe(ALL | LARGE | ACCESSED);
    expect(m.read(PML4) & (ACCESSED | DIRTY)).toBe(ACCESSED);
    m.set({ rax: 0x77 });
    expect(again(WRITE)).toBe("halt");
    expect(m.read(DATA)).toBe(0x77n);
    expect(m.read(0x2008)).toBe(ALL | LARGE | ACCESSED | DIRTY);
    expect(m.read(PML4) & DIRTY).toBe(0n);
  });

  test.each([13n, 14n, 20n, 21n, 29n, 40n, 51n])("bit %i of the entry is reserved", (bit) => {
    gibibyte(ALL | LARGE | (1n << bit));
    expect(m.outcome(READ)).toBe("#14(0x9)");
    expect(m.control("cr2")).toBe(GIB + BigInt(DATA));
  });

  test("bits 52 to 62 are software's", () => {
    gibibyte(ALL | LARGE | (0x7ffn << 52n));
    expect(m.run(READ)).toBe("halt");
  });

  test("the PS bit in a PML4 entry is reserved", () => {
    for (const address of [0n, 0x2000n]) {
      m.write(PML4 + 8, address | ALL | LARGE);
      m.long();
      m.set({ rdi: 1n << 39n });
      expect(m.outcome(READ)).toBe("#14(0x9)");
    }
  });

  test("INVLPG of any address in the page forgets all of it", () => {
    gibibyte(ALL | LARGE);
    // mov rax,[rdi]; mov [rsi],rdx; invlpg [rcx]; mov rax,[rdi]
    m.set({ rsi: 0x2008, rdx: 0n, rcx: GIB + 0x3000_0000n });
    expect(m.outcome(code("48 8b 07 48 89 16 0f 01 39 48 8b 07 f4"))).toBe("#14(0x0)");
    expect(m.frame().rip).toBe(BigInt(CODE + 9));
  });
});

describe("2 MiB pages of long mode", () => {
  test.each([13n, 17n, 20n, 40n, 51n])("bit %i of the entry is reserved", (bit) => {
    m.write(0x3008, 0x200000n | ALL | LARGE | (1n << bit));
    m.set({ cr3: PML4, rdi: 0x200000 });
    expect(m.outcome(READ)).toBe("#14(0x9)");
  });

  test("the same page is reached through its large page and through a small one", () => {
    m.write(0x3008, ALL | LARGE); // 2 MiB to 4 MiB shows the first 2 MiB
    m.set({ cr3: PML4, rdi: 0x200000 + DATA, rsi: DATA });
    // mov [rdi], edi; mov rbx, [rsi]
    expect(m.run(code("89 3f 48 8b 1e f4"))).toBe("halt");
    expect(m.gpr("rbx")).toBe(BigInt(0x200000 + DATA));
    expect(m.read(0x3008)).toBe(ALL | LARGE | ACCESSED | DIRTY);
  });
});

describe("rights in long mode", () => {
  /** DATA again, 512 GiB higher, through tables of its own down to the leaf's, so that what is forbidden there forbids nothing else. */
  const HIGH = (1n << 39n) + BigInt(DATA);
  test.each([
    ["the PML4", PML4 + 8],
    ["the page-directory-pointer table", ROOT],
    ["the page directory", SECOND],
  ])("what an entry of %s forbids, nothing below allows", (_name, at) => {
    const restrict = (clear: bigint, set = 0n): void => {
      m.write(PML4 + 8, BigInt(ROOT) | ALL);
      m.write(ROOT, BigInt(SECOND) | ALL);
      m.write(SECOND, BigInt(PAGE_TABLE) | ALL);
      m.write(at, (m.read(at) & ~clear) | set);
    };
    restrict(WRITABLE);
    m.set({ cr3: PML4, rdi: HIGH });
    expect(m.outcome(WRITE)).toBe("#14(0x3)");
    expect(m.control("cr2")).toBe(HIGH);
    m.long();
    m.set({ rdi: HIGH });
    expect(m.outcome(READ)).toBe("halt");
    restrict(USER);
    m.long(3);
    m.set({ rdi: HIGH });
    expect(m.outcome(READ)).toBe("#14(0x5)");
    restrict(0n, NO_EXECUTE);
    m.long();
    m.set({ rdi: HIGH });
    expect(m.outcome(JUMP32)).toBe("#14(0x11)"); // jmp rdi in 64-bit code
  });
});

describe("PAE outside long mode", () => {
  /** 2 MiB from `PAE_APART` by `directory`, the first 2 MiB as they are. The pointer has no rights of its own. */
  function pae(directory: bigint, efer = 0): void {
    m.protected32();
    m.write(ROOT, BigInt(SECOND) | PRESENT);
    m.write(SECOND, ALL | LARGE);
    m.write(SECOND + 8, directory);
    m.set({ cr3: ROOT, cr4: CR4_PAE, cr0: CR0_LEGACY, efer, rdi: PAE_APART + DATA });
  }

  test("2 MiB pages, accessed and dirty at the leaf and not in the pointer", () => {
    pae(ALL | LARGE);
    expect(m.run(READ32)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
    expect(m.read(SECOND + 8)).toBe(ALL | LARGE | ACCESSED);
    m.set({ rax: 0x99 });
    expect(again(WRITE32)).toBe("halt");
    expect(m.read(SECOND + 8)).toBe(ALL | LARGE | ACCESSED | DIRTY);
    expect(m.read(ROOT)).toBe(BigInt(SECOND) | PRESENT);
    expect(m.read(DATA, 4)).toBe(0x99n);
  });

  test("4 KiB pages", () => {
    pae(BigInt(THIRD) | ALL);
    m.write(THIRD + 8 * (DATA >> 12), BigInt(DATA + 0x1000) | ALL);
    expect(m.run(READ32)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x5678n);
    expect(m.read(SECOND + 8)).toBe(BigInt(THIRD) | ALL | ACCESSED);
    expect(m.read(THIRD + 8 * (DATA >> 12))).toBe(BigInt(DATA + 0x1000) | ALL | ACCESSED);
  });

  test("all four pointers are used, by bits 30 and 31 of the address", () => {
    pae(ALL | LARGE);
    for (let i = 1; i < 4; i++) {
      m.write(ROOT + 8 * i, BigInt(SECOND + 0x1000 * i) | PRESENT);
      m.write(SECOND + 0x1000 * i, ALL | LARGE);
      m.write(DATA + 0x10 * i, i);
      m.set({ cr3: ROOT, rdi: 2 ** 30 * i + DATA + 0x10 * i });
      expect(again(READ32)).toBe("halt");
      expect(m.gpr("rax")).toBe(BigInt(i));
    }
  });

  test("a pointer that is not present faults without P", () => {
    pae(ALL | LARGE);
    m.set({ rdi: 2 ** 30 });
    expect(m.outcome(READ32)).toBe("#14(0x0)");
    expect(m.control("cr2")).toBe(2n ** 30n);
  });

  test.each([40n, 51n, 52n, 57n, 62n, 63n])("bit %i of an entry is reserved", (bit) => {
    pae(ALL | LARGE | (1n << bit));
    expect(m.outcome(READ32)).toBe("#14(0x9)");
    pae(BigInt(THIRD) | ALL);
    m.write(THIRD + 8 * (DATA >> 12), BigInt(DATA) | ALL | (1n << bit));
    expect(again(READ32)).toBe("#14(0x9)");
  });

  test("bits 13 to 20 of the entry of a 2 MiB page are reserved, bit 12 is PAT", () => {
    for (const bit of [13n, 16n, 20n]) {
      pae(ALL | LARGE | (1n << bit));
      expect(m.outcome(READ32)).toBe("#14(0x9)");
    }
    pae(ALL | LARGE | PAT_LARGE);
    expect(m.run(READ32)).toBe("halt");
  });

  test("rights come from the directory and the table: read-only, supervisor, no-execute under EFER.NXE", () => {
    pae(PRESENT | USER | LARGE);
    expect(m.outcome(WRITE32)).toBe("#14(0x3)");
    pae(PRESENT | WRITABLE | LARGE);
    m.protected32(3);
    m.set({ cr3: ROOT, cr4: CR4_PAE, cr0: CR0_LEGACY, rdi: PAE_APART + DATA });
    expect(m.outcome(READ32)).toBe("#14(0x5)");
    pae(ALL | LARGE | NO_EXECUTE, 0x800);
    expect(m.outcome(JUMP32)).toBe("#14(0x11)");
    expect(m.control("cr2")).toBe(BigInt(PAE_APART + DATA));
    expect(again(READ32)).toBe("halt");
  });
});

describe("paging without PAE", () => {
  /** 4 MiB from `APART` by `directory`, the first 4 MiB as they are in 4 KiB pages. */
  function twoLevels(directory: bigint, cr4: bigint, level: 0 | 3 = 0): void {
    m.protected32(level);
    setEntry32(ROOT, 0, BigInt(SECOND) | ALL);
    for (let page = 0; page < 1024; page++) setEntry32(SECOND, page, (BigInt(page) << 12n) | ALL);
    setEntry32(ROOT, 1, directory);
    m.set({ cr3: ROOT, cr4, cr0: CR0_LEGACY, rdi: APART + DATA });
  }

  test("4 MiB pages under CR4.PSE, with accessed and dirty bits", () => {
    twoLevels(ALL | LARGE, CR4_PSE);
    expect(m.run(READ32)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
    expect(entry32(ROOT, 1)).toBe(ALL | LARGE | ACCESSED);
    m.set({ rax: 0x55 });
    expect(again(WRITE32)).toBe("halt");
    expect(entry32(ROOT, 1)).toBe(ALL | LARGE | ACCESSED | DIRTY);
    expect(m.read(DATA, 4)).toBe(0x55n);
  });

  test("without CR4.PSE bit 7 of a directory entry has no meaning", () => {
    twoLevels(BigInt(THIRD) | ALL | LARGE, 0n);
    setEntry32(THIRD, DATA >> 12, BigInt(DATA + 0x1000) | ALL);
    expect(m.run(READ32)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x5678n);
  });

  test("4 KiB pages, with accessed and dirty bits at both levels", () => {
    twoLevels(BigInt(THIRD) | ALL, CR4_PSE);
    setEntry32(THIRD, DATA >> 12, BigInt(DATA) | ALL);
    expect(m.run(WRITE32)).toBe("halt");
    expect(entry32(ROOT, 1)).toBe(BigInt(THIRD) | ALL | ACCESSED);
    expect(entry32(THIRD, DATA >> 12)).toBe(BigInt(DATA) | ALL | ACCESSED | DIRTY);
  });

  test("bit 21 of the entry of a 4 MiB page is reserved, bits 12 to 20 are not", () => {
    twoLevels(ALL | LARGE | (1n << 21n), CR4_PSE);
    expect(m.outcome(READ32)).toBe("#14(0x9)");
    twoLevels(ALL | LARGE | PAT_LARGE, CR4_PSE);
    expect(again(READ32)).toBe("halt");
    expect(m.gpr("rax")).toBe(0x1234n);
  });

  test("PSE36: bits 13 to 20 are physical address bits 32 to 39, where there is no RAM", () => {
    for (let bit = 13n; bit <= 20n; bit++) {
      twoLevels(ALL | LARGE | (1n << bit), CR4_PSE);
      expect(m.outcome(READ32)).toBe("halt");
      expect(m.gpr("rax")).toBe(0xffffffffn);
    }
  });

  test("rights are the AND of both levels; there is no no-execute", () => {
    for (const [directory, table, level, program, outcome] of [
      [PRESENT | USER, ALL, 0, WRITE32, "#14(0x3)"],
      [ALL, PRESENT | USER, 0, WRITE32, "#14(0x3)"],
      [PRESENT | WRITABLE, ALL, 3, READ32, "#14(0x5)"],
      [ALL, PRESENT | WRITABLE, 3, READ32, "#14(0x5)"],
      [ALL, ALL, 3, JUMP32, "#6"],
    ] as const) {
      twoLevels(BigInt(THIRD) | directory, 0n, level);
      setEntry32(THIRD, DATA >> 12, BigInt(DATA) | table);
      m.store(DATA, code("0f 0b")); // what the jump reaches
      m.set({ efer: 0x800 });
      expect(m.outcome(program)).toBe(outcome);
    }
  });

  test("a fetch is reported as such only when SMEP or NX can refuse one", () => {
    twoLevels(0n, 0n);
    expect(m.outcome(JUMP32)).toBe("#14(0x0)");
    m.protected32();
    m.set({ cr3: ROOT, cr4: 0n, cr0: CR0_LEGACY, efer: 0x800, rdi: APART }); // NXE counts with PAE only
    expect(m.outcome(JUMP32)).toBe("#14(0x0)");
  });
});

describe("bytes that a mask leaves out", () => {
  test.each([
    ["MASKMOVQ", "0f f7 c1 f4", 8],
    ["MASKMOVDQU", "66 0f f7 c1 f4", 16],
  ])("%s needs all its bytes writable, though its mask stores none", (_name, program, length) => {
    m.set({ cr0: m.control("cr0") | 0x10000n, rdi: DATA });
    m.setPage(DATA, PRESENT);
    expect(m.outcome(code(program))).toBe("#14(0x3)");
    m.setPage(DATA, PRESENT | WRITABLE);
    m.setPage(DATA + 0x1000, 0n);
    m.long();
    m.set({ rdi: DATA + 0x1001 - length }); // its last byte lies in the next page
    expect(m.outcome(code(program))).toBe("#14(0x2)");
    expect(m.control("cr2")).toBe(BigInt(DATA + 0x1000));
    m.long();
    m.set({ rdi: DATA + 0x1000 - length });
    expect(m.outcome(code(program))).toBe("halt");
    expect(m.read(DATA)).toBe(0x1234n);
  });
});

describe("memory types", () => {
  const TYPE = WRITE_THROUGH | CACHE_DISABLE;

  test("PCD, PWT and PAT in entries and CR3 have no effect", () => {
    for (const at of [PML4, 0x2000, 0x3000]) m.write(at, m.read(at) | TYPE);
    m.setPage(DATA, ALL | TYPE | PAT);
    m.write(0x3008, ALL | LARGE | TYPE | PAT_LARGE);
    m.set({ cr3: BigInt(PML4) | TYPE, rdi: DATA, rsi: 0x200000 + DATA });
    // mov rax,[rdi]; inc qword [rdi]; mov rbx,[rsi]; mov rcx,cr3
    expect(m.run(code("48 8b 07 48 ff 07 48 8b 1e 0f 20 d9 f4"))).toBe("halt");
    expect([m.gpr("rax"), m.gpr("rbx"), m.gpr("rcx")]).toEqual([0x1234n, 0x1235n, BigInt(PML4) | TYPE]);
  });
});

describe("what makes a changed entry seen", () => {
  const LEAF = PAGE_TABLE + 8 * (DATA >> 12);
  const SUPERVISOR = PRESENT | WRITABLE;
  /** mov rax,[rdi]; mov [rsi],r9; mov rbx,[rdi]; `flush`; mov rbp,[rdi]: before the change, after it, behind the flush. */
  function seen(flush: string): bigint[] {
    expect(m.run(code(`48 8b 07 49 89 c2 4c 89 0e 48 8b 1f ${flush} 48 8b 2f f4`))).toBe("halt");
    return [m.gpr("r10"), m.gpr("rbx"), m.gpr("rbp")];
  }
  /** A supervisor's pages, so that SMEP and SMAP can be set. `global`: with the G bit, under CR4.PGE. */
  function prepare(global: boolean, operand: bigint): void {
    const extra = global ? GLOBAL : 0n;
    for (let page = 0; page < 512; page++) m.setPage(page << 12, SUPERVISOR | extra);
    m.set({
      cr4: m.control("cr4") | (global ? CR4_PGE : 0n),
      rdi: DATA,
      rsi: LEAF,
      r9: BigInt(DATA + 0x1000) | SUPERVISOR | extra,
      r8: operand,
    });
  }
  const OLD = 0x1234n;
  const NEW = 0x5678n;
  const MOV_CR0 = "41 0f 22 c0";
  const MOV_CR3 = "41 0f 22 d8";
  const MOV_CR4 = "41 0f 22 e0";
  const INVLPG = "0f 01 3f";
  // mov ecx, 0xc0000080; mov eax, r8d; xor edx, edx; wrmsr
  const WRITE_EFER = "b9 80 00 00 c0 44 89 c0 31 d2 0f 30";

  const rows: [string, string, bigint][] = [
    ["MOV CR3", MOV_CR3, BigInt(PML4)],
    ["INVLPG", INVLPG, 0n],
    ["CR0.WP", MOV_CR0, 0x80050033n ^ 0x10000n],
    ["CR4.PSE", MOV_CR4, 0x620n ^ CR4_PSE],
    ["CR4.SMEP", MOV_CR4, 0x620n ^ 0x100000n],
    ["CR4.SMAP", MOV_CR4, 0x620n ^ 0x200000n],
    ["EFER.NXE", WRITE_EFER, 0xd01n ^ 0x800n],
  ];
  test.each(rows)("%s", (_name, flush, operand) => {
    prepare(false, operand);
    expect(seen(flush)).toEqual([OLD, OLD, NEW]);
  });
  test.each(rows)("%s, for a global page too", (_name, flush, operand) => {
    prepare(true, flush === MOV_CR4 ? operand | CR4_PGE : operand);
    expect(seen(flush)).toEqual([OLD, OLD, NEW]);
  });
  test("CR4.PGE, cleared or set", () => {
    prepare(true, 0x620n);
    expect(seen(MOV_CR4)).toEqual([OLD, OLD, NEW]);
    m.long();
    prepare(false, 0x620n | CR4_PGE);
    expect(seen(MOV_CR4)).toEqual([OLD, OLD, NEW]);
  });
  test("registers that the host writes", () => {
    prepare(true, 0n);
    expect(m.run(code("48 8b 07 4c 89 0e 48 8b 1f f4"))).toBe("halt");
    expect(m.gpr("rbx")).toBe(OLD);
    expect(again(READ)).toBe("halt");
    expect(m.gpr("rax")).toBe(NEW);
  });

  test("what changes no answer does not flush: other bits of CR0, CR4 and EFER", () => {
    for (const [flush, operand] of [
      [MOV_CR0, 0x8005003bn], // TS
      [MOV_CR4, 0x624n], // TSD
      [WRITE_EFER, 0xd00n], // SCE
    ] as const) {
      m.rebuild();
      m.write(DATA, OLD);
      m.write(DATA + 0x1000, NEW);
      m.long();
      prepare(false, operand);
      expect(seen(flush)).toEqual([OLD, OLD, OLD]);
    }
  });

  test("INVLPG of another page does not", () => {
    prepare(false, 0n);
    expect(seen("0f 01 bf 00 20 00 00")).toEqual([OLD, OLD, OLD]); // invlpg [rdi + 0x2000]
  });

  test("CR0.WP set: a page that was written before is read-only now", () => {
    m.set({ cr0: 0x80040033n, rdi: DATA, rax: 0x80050033n });
    m.setPage(DATA, PRESENT);
    expect(m.outcome(code("48 89 1f 0f 22 c0 48 89 1f f4"))).toBe("#14(0x3)");
    expect(m.frame().rip).toBe(BigInt(CODE + 6));
  });

  test("EFER.NXE cleared: bit 63 of a page that was read before is reserved now", () => {
    m.set({ rdi: DATA, rax: 0x501, rcx: 0xc0000080n, rdx: 0 });
    m.setPage(DATA, ALL | NO_EXECUTE);
    expect(m.outcome(code("48 8b 1f 0f 30 48 8b 1f f4"))).toBe("#14(0x9)");
  });

  /** Tables of both kinds of 32-bit paging under one CR3, whose bit 5 counts for PAE only. Without PAE the next page appears at DATA. */
  function bothKinds(): void {
    m.protected32();
    for (let page = 0; page < 1024; page++) setEntry32(SECOND, page, (BigInt(page) << 12n) | ALL);
    setEntry32(SECOND, DATA >> 12, BigInt(DATA + 0x1000) | ALL);
    setEntry32(ROOT, 0, BigInt(SECOND) | ALL);
    m.write(ROOT + 0x20, BigInt(THIRD) | PRESENT);
    m.write(THIRD, ALL | LARGE);
    m.set({ cr3: ROOT + 0x20, cr0: CR0_LEGACY, rdi: DATA, rsi: 0, rdx: 0x20 });
  }
  /** mov eax,[edi]; `one`; mov ebx,[edi]; `other`; mov ebp,[edi] */
  function seen32(one: string, other: string): bigint[] {
    expect(m.run(code(`8b 07 ${one} 8b 1f ${other} 8b 2f f4`))).toBe("halt");
    return [m.gpr("rax"), m.gpr("rbx"), m.gpr("rbp")];
  }
  test("CR4.PAE, set and cleared", () => {
    bothKinds();
    expect(seen32("0f 22 e2", "0f 22 e6")).toEqual([NEW, OLD, NEW]); // mov cr4, edx; mov cr4, esi
  });
  test("CR0.PG, cleared and set", () => {
    bothKinds();
    m.set({ rdx: 0x10033, rsi: CR0_LEGACY });
    expect(seen32("0f 22 c2", "0f 22 c6")).toEqual([NEW, OLD, NEW]); // mov cr0, edx; mov cr0, esi
  });
  test.each([0, 0x1ff000, 0x200000, 0x3ff000])(
    "INVLPG of %i in a page of 4 MiB forgets all of it",
    (offset) => {
      bothKinds();
      setEntry32(ROOT, 1, ALL | LARGE);
      // mov eax,[edi]; mov [esi],edx; invlpg [ecx]; mov eax,[edi]
      m.set({ cr4: CR4_PSE, rdi: APART + DATA, rsi: ROOT + 4, rdx: 0, rcx: APART + offset });
      expect(m.outcome(code("8b 07 89 16 0f 01 39 8b 07 f4"))).toBe("#14(0x0)");
    },
  );
});

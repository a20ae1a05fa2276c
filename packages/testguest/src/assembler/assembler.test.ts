import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Assembler } from "./assembler.ts";
import { type AssemblerCode, AssemblerError } from "./assembler-error.ts";
import type { Bits } from "./forms.ts";
import { MNEMONICS } from "./instructions.ts";
import * as exported from "./operands.ts";
import {
  addressOf,
  ah,
  al,
  ax,
  byte,
  cr3,
  cr8,
  distance,
  dword,
  eax,
  ebx,
  far,
  memory,
  type Operand,
  qword,
  r8,
  r8b,
  rax,
  rbp,
  rbx,
  rcx,
  rsp,
  sil,
  word,
  xmm0,
} from "./operands.ts";

/** Bytes of a small program, in hexadecimal. */
function assembled(write: (asm: Assembler) => void, bits: Bits = 64, origin = 0): string {
  const asm = new Assembler({ bits, origin });
  write(asm);
  return toHex(asm.assemble().bytes);
}

function codeOf(write: (asm: Assembler) => void, bits: Bits = 64): AssemblerCode | undefined {
  try {
    assembled(write, bits);
    return undefined;
  } catch (error) {
    if (error instanceof AssemblerError) return error.code;
    throw error;
  }
}

describe("labels and layout", () => {
  test("a branch is short while its target is within -128 to 127 bytes", () => {
    const forward = (gap: number) =>
      assembled((asm) => {
        asm.op.jmp("there");
        asm.reserve(gap);
        asm.label("there");
      });
    expect(forward(127).slice(0, 4)).toBe("eb7f");
    expect(forward(128).slice(0, 10)).toBe("e980000000");
    const backward = (gap: number) =>
      assembled((asm) => {
        asm.label("there");
        asm.reserve(gap);
        asm.op.je("there");
      });
    expect(backward(126).slice(-4)).toBe("7480");
    expect(backward(127).slice(-12)).toBe("0f847bffffff");
  });

  test("a branch that grows can push another one out of reach", () => {
    const bytes = assembled((asm) => {
      asm.op.jmp("a");
      asm.op.jmp("b");
      asm.reserve(125);
      asm.label("a");
      asm.reserve(3);
      asm.label("b");
    });
    expect(bytes.slice(0, 20)).toBe("e982000000e980000000");
  });

  test("memory by label is relative to RIP in 64-bit code and absolute elsewhere", () => {
    const program = (asm: Assembler) => {
      asm.label("here");
      asm.op.mov(eax, dword("here", 4));
    };
    expect(assembled(program, 64, 0x1000)).toBe("8b05feffffff");
    expect(assembled(program, 32, 0x1000)).toBe("8b0504100000");
    expect(assembled(program, 16, 0x1000)).toBe("668b060410");
  });

  test("RIP-relative displacements count from the end of the instruction, immediates included", () => {
    expect(
      assembled((asm) => {
        asm.op.mov(dword("x"), 5);
        asm.label("x");
      }),
    ).toBe("c7050000000005000000");
  });

  test("align, org and data are placed at their addresses", () => {
    expect(
      assembled(
        (asm) => {
          asm.db(1);
          asm.align(4, 0xcc);
          asm.dw(0x1234);
          asm.org(0x108, 0x90);
          asm.dd(addressOf("end"), distance("start", "end"));
          asm.label("start");
          asm.dq(-1n);
          asm.text("é");
          asm.label("end");
        },
        64,
        0x100,
      ),
    ).toBe("01cccccc341290901b0100000b000000ffffffffffffffffc3a900");
  });

  test("inside a phase labels have the address that the code is copied to", () => {
    const asm = new Assembler({ origin: 0x200000, bits: 16 });
    asm.db(0, 0, 0);
    asm.phase(0x8000);
    asm.label("start");
    asm.op.jmp("next");
    asm.align(8);
    asm.label("next");
    asm.op.mov(ax, addressOf("next", -0x8000));
    asm.phase(undefined);
    asm.label("after");
    const program = asm.assemble();
    expect(toHex(program.bytes)).toBe("000000eb06000000000000b80800");
    expect(Object.fromEntries(program.labels)).toEqual({ start: 0x8000, next: 0x8008, after: 0x20000e });
  });

  test("uninitialised memory has addresses and no bytes", () => {
    const asm = new Assembler({ origin: 0x1000 });
    asm.op.nop();
    asm.uninitialized();
    asm.align(16);
    asm.label("buffer");
    asm.reserve(0x100);
    const program = asm.assemble();
    expect(program.bytes.length).toBe(1);
    expect(program.labels.get("buffer")).toBe(0x1010);
    expect(program.end).toBe(0x1110);
  });

  test("far jumps hold offset, then selector", () => {
    expect(assembled((asm) => asm.op.jmpf(far(0x08, 0x1234)), 16)).toBe("ea34120800");
    expect(assembled((asm) => asm.op.jmpf(far(0x08, 0x12345678)), 32)).toBe("ea785634120800");
    expect(assembled((asm) => asm.op.jmpf(far(0x08, 0x12345678)), 16)).toBe("66ea785634120800");
  });
});

describe("errors", () => {
  const cases: readonly [AssemblerCode, string, (asm: Assembler) => void, Bits?][] = [
    ["no-such-form", "memory to memory", (asm) => asm.op.mov(qword(rax), qword(rbx))],
    ["no-such-form", "register widths that differ", (asm) => asm.op.add(eax, rbx)],
    ["no-such-form", "too few operands", (asm) => asm.op.lea(rax)],
    ["no-such-form", "a label where a register belongs", (asm) => asm.op.push("label")],
    ["no-such-form", "the wrong memory width", (asm) => asm.op.mov(eax, word(rbx))],
    ["ambiguous-size", "an immediate to memory of unknown width", (asm) => asm.op.add(memory(rax), 1)],
    ["ambiguous-size", "MOVZX from memory of unknown width", (asm) => asm.op.movzx(eax, memory(rax))],
    ["not-in-this-mode", "a 64-bit register in 32-bit code", (asm) => asm.op.mov(rax, rbx), 32],
    ["not-in-this-mode", "R8B in 16-bit code", (asm) => asm.op.mov(r8b, al), 16],
    ["not-in-this-mode", "SIL in 32-bit code", (asm) => asm.op.mov(sil, al), 32],
    ["not-in-this-mode", "CR8 in 32-bit code", (asm) => asm.op.mov(cr8, eax), 32],
    ["not-in-this-mode", "SYSCALL in 32-bit code", (asm) => asm.op.syscall(), 32],
    ["not-in-this-mode", "PUSHA in 64-bit code", (asm) => asm.op.pusha()],
    ["immediate-out-of-range", "a byte of 256", (asm) => asm.op.mov(al, 256)],
    ["immediate-out-of-range", "33 bits for a 32-bit register", (asm) => asm.op.mov(eax, 2 ** 32)],
    ["immediate-out-of-range", "65 bits", (asm) => asm.op.mov(rax, 2n ** 64n)],
    ["immediate-out-of-range", "a number that is not whole", (asm) => asm.op.mov(rax, 1.5)],
    [
      "immediate-out-of-range",
      "an ALU immediate that does not sign-extend",
      (asm) => asm.op.add(rax, 0x80000000),
    ],
    [
      "displacement-out-of-range",
      "a displacement of 33 bits",
      (asm) => asm.op.mov(rax, qword(rbx, 0x80000000)),
    ],
    [
      "displacement-out-of-range",
      "an absolute address above 2 GiB",
      (asm) => asm.op.mov(eax, dword(0xfee00000)),
    ],
    ["bad-address", "RSP as index", (asm) => asm.op.mov(rax, qword({ base: rbx, index: rsp }))],
    [
      "bad-address",
      "base and index of two widths",
      (asm) => asm.op.mov(rax, qword({ base: rbx, index: eax })),
    ],
    ["bad-address", "an XMM register as base", (asm) => asm.op.mov(rax, qword(xmm0))],
    ["bad-address", "AX as base in 16-bit code", (asm) => asm.op.mov(ax, word(ax)), 16],
    ["bad-address", "RBP in 32-bit code", (asm) => asm.op.mov(eax, dword(rbp)), 32],
    ["high-byte-with-rex", "AH beside R8B", (asm) => asm.op.mov(r8b, ah)],
    ["high-byte-with-rex", "AH to memory at R8", (asm) => asm.op.mov(byte(r8), ah)],
    [
      "branch-out-of-range",
      "LOOP over 128 bytes",
      (asm) => {
        asm.op.loop("far");
        asm.reserve(128);
        asm.label("far");
      },
    ],
    ["undefined-label", "a jump to nowhere", (asm) => asm.op.jmp("nowhere")],
    [
      "duplicate-label",
      "two labels of one name",
      (asm) => {
        asm.label("x");
        asm.label("x");
      },
    ],
    [
      "bad-layout",
      "org behind the position",
      (asm) => {
        asm.db(1, 2, 3);
        asm.org(2);
      },
    ],
    ["bad-layout", "an alignment of 3", (asm) => asm.align(3)],
    [
      "bad-layout",
      "bytes in uninitialised memory",
      (asm) => {
        asm.uninitialized();
        asm.db(1);
      },
    ],
    ["data-out-of-range", "a data byte of 256", (asm) => asm.db(256)],
  ];
  test.each(cases)("%s: %s", (code, _name, write, bits) => {
    expect(codeOf(write, bits)).toBe(code);
  });

  test("the message names the instruction and the kind of code", () => {
    expect(() => assembled((asm) => asm.op.mov(cr3, ax))).toThrow("mov cr3, ax: no-such-form in 64-bit code");
  });

  test("any operands at all either encode to at most 15 bytes or throw AssemblerError", () => {
    const pool: Operand[] = Object.values(exported as Record<string, unknown>).filter(
      (value): value is exported.Register => typeof value === "object" && value !== null && "kind" in value,
    );
    pool.push("here", addressOf("here"), far(8, 0x10), 0, 1, -1, 0x80, 0x12345, 2n ** 63n, -(2n ** 63n));
    for (const size of [memory, byte, word, dword, qword]) {
      pool.push(
        size(rax),
        size(rbp, 8),
        size("here"),
        size(0x10),
        size({ base: rcx, index: rbx, scale: 4 }),
        size(ebx),
      );
    }
    fc.assert(
      fc.property(
        fc.constantFrom(...MNEMONICS),
        fc.array(fc.constantFrom(...pool), { maxLength: 3 }),
        fc.constantFrom<Bits>(16, 32, 64),
        (mnemonic, operands, bits) => {
          const asm = new Assembler({ bits });
          asm.label("here");
          try {
            asm.op[mnemonic](...operands);
            expect(asm.assemble().bytes.length).toBeLessThanOrEqual(15);
          } catch (error) {
            expect(error).toBeInstanceOf(AssemblerError);
          }
        },
      ),
      { numRuns: 20_000 },
    );
  });
});

const hasBinutils = spawnSync("as", ["--version"]).status === 0;
if (!hasBinutils) console.warn("skipped: branches against GNU as (binutils is not installed)");

test.runIf(hasBinutils).each([16, 32, 64] as const)(
  "a web of %i-bit branches is laid out as GNU as does it",
  (bits) => {
    const branches = MNEMONICS.filter((name) => /^(j(?!mpf|.?cxz)|loop|call$)/.test(name));
    const asm = new Assembler({ bits });
    const source = [".intel_syntax noprefix", `.code${bits}`];
    for (let i = 0; i < 400; i++) {
      asm.label(`l${i}`);
      source.push(`l${i}:`);
      const mnemonic = branches[(i * 7) % branches.length]!;
      const reach = mnemonic.startsWith("loop") ? 3 : 60;
      const target = Math.max(0, Math.min(399, i + ((i * 37) % (2 * reach)) - reach));
      asm.op[mnemonic](`l${target}`);
      source.push(`${mnemonic} l${target}`);
    }
    const folder = mkdtempSync(join(tmpdir(), "entresol-branches-"));
    try {
      writeFileSync(join(folder, "b.s"), `${source.join("\n")}\n`);
      execFileSync("as", [bits === 64 ? "--64" : "--32", "-o", join(folder, "b.o"), join(folder, "b.s")]);
      execFileSync("objcopy", ["-O", "binary", "-j", ".text", join(folder, "b.o"), join(folder, "b.bin")]);
      const theirs = toHex(readFileSync(join(folder, "b.bin")));
      // GNU as pads the section to its alignment.
      expect(theirs.slice(0, asm.assemble().bytes.length * 2)).toBe(toHex(asm.assemble().bytes));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

/*
 * The encoder against GNU as over the whole table: every form, in every mode that it has, with sampled operands. Where GNU
 * chose another encoding of the same instruction, both are disassembled and the texts compared. The same samples are kept as
 * expected bytes in golden/encodings.txt, so that a machine without binutils still checks every byte.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "@entresol/wire";
import { describe, expect, test } from "vitest";
import { instructionText } from "./assembler.ts";
import { encode } from "./encode.ts";
import type { Bits, Form, OperandKind } from "./forms.ts";
import { INSTRUCTIONS, MNEMONICS, type Mnemonic } from "./instructions.ts";
import { mismatch } from "./match.ts";
import * as operands from "./operands.ts";
import { byte, dword, memory, type Operand, qword, type Register, word, xmmword } from "./operands.ts";

const REGISTERS: readonly Register[] = Object.values(operands as Record<string, unknown>).filter(
  (value): value is Register => typeof value === "object" && value !== null && "kind" in value,
);

/** A small deterministic generator (Park and Miller), so that the golden file stays the same. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 0x7fffffff;
    return state % below;
  };
}

const random = generator(20_241);
const pick = <T>(values: readonly T[]): T => values[random(values.length)]!;

function registersOf(kind: Register["kind"], bits: Bits): Register[] {
  return REGISTERS.filter(
    (register) =>
      register.kind === kind && (bits === 64 || (register.number < 8 && register.rex !== "required")),
  );
}

function sampleMemory(
  size: (address: operands.Address, displacement?: number) => operands.Memory,
  bits: Bits,
) {
  const displacement = pick([0, 0, 8, -8, 127, 128, -129, 0x1234]);
  const native = registersOf(bits === 64 ? "r64" : "r32", bits);
  const indexes = native.filter((register) => register.number !== 4);
  const scale = pick([1, 2, 4, 8] as const);
  switch (random(bits === 16 ? 3 : 5)) {
    case 0:
      if (bits === 16) return size(pick([operands.bx, operands.si, operands.di, operands.bp]), displacement);
      return size(pick(native), displacement);
    case 1:
      if (bits === 16) {
        return size({
          base: pick([operands.bx, operands.bp]),
          index: pick([operands.si, operands.di]),
          displacement,
        });
      }
      return size({ base: pick(native), index: pick(indexes), scale, displacement });
    case 2:
      return size(pick([0x10, 0x1234, 0x7ffe]));
    case 3:
      return size({ index: pick(indexes), scale: pick([2, 4, 8] as const), displacement });
    default:
      return size({ base: pick(native), displacement, segment: pick([operands.fs, operands.gs]) });
  }
}

const MEMORY_OF_KIND: Partial<Record<OperandKind, typeof byte>> = {
  m: memory,
  m8: byte,
  rm8: byte,
  m16: word,
  rm16: word,
  m32: dword,
  rm32: dword,
  xm32: dword,
  m64: qword,
  rm64: qword,
  xm64: qword,
  m128: xmmword,
  xm128: xmmword,
};

/** One operand for `kind`; `preferMemory` chooses for kinds that take a register or memory. */
function sampleOperand(kind: OperandKind, bits: Bits, preferMemory: boolean): Operand {
  const exact = REGISTERS.find((register) => register.name === kind);
  if (exact) return exact;
  const sized = MEMORY_OF_KIND[kind];
  if (sized && (preferMemory || kind.startsWith("m"))) return sampleMemory(sized, bits);
  switch (kind) {
    case "imm8":
      return pick([0, 1, 2, 7, 0x7f, 0x80, 0xff]);
    case "imm8s":
      return pick([0, 1, -1, 0x7f, -0x80]);
    case "imm16":
      return pick([0x180, 0x1234, 0x7fff, 0xfffe]);
    case "imm32":
      return pick([0x12345, 0x12345678, 0x7fffffff, 0xfee00000]);
    case "imm32s":
      return pick([0x12345, 0x12345678, 0x7fffffff, -0x80000000]);
    case "imm64":
      return pick([0x1122334455667788n, 0xfedcba9876543210n]);
    case "1":
      return 1;
    case "moffs":
      return memory(pick(bits === 64 ? [0x1122334455667, 0xfee00000] : [0x1234, 0x7ffe]));
    case "far16":
      return operands.far(0x10, 0x1234);
    case "far32":
      return operands.far(0x10, 0x12345678);
    default: {
      const register = /^(?:rm|rr)(\d+)$/.exec(kind);
      const name = register ? `r${register[1]}` : kind.startsWith("x") ? "xmm" : kind;
      return pick(registersOf(name as Register["kind"], bits));
    }
  }
}

interface Sample {
  readonly bits: Bits;
  readonly mnemonic: Mnemonic;
  readonly operands: readonly Operand[];
  readonly text: string;
  readonly bytes: readonly number[];
  /** In the golden file, which has at most two samples of a form. */
  readonly kept: boolean;
}

function samplesOf(mnemonic: Mnemonic, form: Form, bits: Bits): Sample[] {
  const samples: Sample[] = [];
  const count = form.operands.length === 0 ? 1 : 5;
  for (let i = 0; i < count; i++) {
    const chosen = form.operands.map((kind) => sampleOperand(kind, bits, i % 2 === 1));
    if (form.operands.some((kind) => kind === "rel8" || kind === "rel")) continue;
    if (mismatch(form, chosen, bits)) continue;
    // AH to BH beside a REX prefix is an error of its own, asserted in assembler.test.ts.
    const needsRex = chosen.some(
      (operand) =>
        typeof operand === "object" &&
        ((operand.type === "register" &&
          (operand.number > 7 || operand.rex === "required" || operand.kind === "r64")) ||
          (operand.type === "memory" && Math.max(operand.base?.number ?? 0, operand.index?.number ?? 0) > 7)),
    );
    const hasHigh = chosen.some(
      (o) => typeof o === "object" && o.type === "register" && o.rex === "forbidden",
    );
    if (needsRex && hasHigh) continue;
    const { bytes } = encode(form, chosen, bits);
    samples.push({
      bits,
      mnemonic,
      operands: chosen,
      text: instructionText(mnemonic, chosen),
      bytes,
      kept: i < 2,
    });
  }
  return samples;
}

const SAMPLES: readonly Sample[] = MNEMONICS.flatMap((mnemonic) =>
  INSTRUCTIONS[mnemonic].flatMap((form) => form.modes.flatMap((bits) => samplesOf(mnemonic, form, bits))),
);

/** Names that GNU as spells differently in Intel syntax. */
const GNU_NAMES: Partial<Record<Mnemonic, string>> = {
  pusha: "pushaw",
  popa: "popaw",
  pushf: "pushfw",
  popf: "popfw",
  iret: "iretw",
};

function gnuText(sample: Sample): string {
  const { mnemonic, operands: list, bits } = sample;
  const first = list[0];
  if (typeof first === "object" && first.type === "far") {
    const suffix = mnemonic === "callf" ? "lcall" : "ljmp";
    const wide = sample.bytes.length - (sample.bytes[0] === 0x66 ? 1 : 0) === 7;
    return `.att_syntax prefix\n${suffix}${wide ? "l" : "w"} $${first.selector}, $${first.offset}\n.intel_syntax noprefix`;
  }
  if (mnemonic === "jmpf" || mnemonic === "callf") return "";
  let text = sample.text;
  if (mnemonic === "movabs" && bits !== 64) text = text.replace("movabs", "mov");
  // GNU as knows these memory operands without a width only.
  if (/^(invlpg|clflush|prefetch|lgs|lfs|lss|lds|les|bound)/.test(mnemonic))
    text = text.replace("byte ptr ", "");
  if (/^l[fgs]s$/.test(mnemonic) && typeof first === "object" && "kind" in first && first.kind === "r64")
    text = text.replace(/(, .*)\[/, "$1tbyte ptr [");
  if (mnemonic === "sysexit" && bits === 64) return "sysexitd";
  const name = GNU_NAMES[mnemonic];
  return name ? text.replace(mnemonic, name) : text;
}

const SLOT = 16;
const OBJDUMP_MACHINE = { 16: "i8086", 32: "i386", 64: "i386:x86-64" } as const;

/** Disassembly of each 16-byte slot of `image`: its first instruction, as text. */
function disassemble(folder: string, image: Uint8Array, bits: Bits, slots: number): string[] {
  const file = join(folder, "slots.bin");
  writeFileSync(file, image);
  const machine = OBJDUMP_MACHINE[bits];
  const listing = execFileSync("objdump", ["-D", "-b", "binary", "-m", machine, "-M", "intel", "-w", file], {
    encoding: "utf8",
    maxBuffer: 1 << 27,
  });
  const texts = new Array<string>(slots).fill("");
  for (const line of listing.split("\n")) {
    const parts = /^\s*([0-9a-f]+):\t[0-9a-f ]+\t(.*)$/.exec(line);
    const at = Number.parseInt(parts?.[1] ?? "", 16);
    if (parts && at % SLOT === 0)
      texts[at / SLOT] = parts[2]!.replace(/\s+/g, " ").replace(/,0x1$/, ",1").trim();
  }
  return texts;
}

const hasBinutils =
  spawnSync("as", ["--version"]).status === 0 && spawnSync("objdump", ["--version"]).status === 0;
if (!hasBinutils) console.warn("skipped: encoder against GNU as (binutils is not installed)");

describe("instruction encodings", () => {
  test("every form of the table is sampled in at least one mode", () => {
    const sampled = new Set(SAMPLES.map((sample) => sample.mnemonic));
    const branches = MNEMONICS.filter((mnemonic) =>
      INSTRUCTIONS[mnemonic].every((form) => /^rel/.test(form.text)),
    );
    expect(MNEMONICS.filter((mnemonic) => !sampled.has(mnemonic))).toEqual(branches);
  });

  test("every sample has the bytes of golden/encodings.txt", async () => {
    const lines = SAMPLES.filter((s) => s.kept).map(
      (s) => `${s.bits} ${toHex(Uint8Array.from(s.bytes))} ${s.text}`,
    );
    await expect(`${lines.join("\n")}\n`).toMatchFileSnapshot("golden/encodings.txt");
  });

  test.runIf(hasBinutils).each([16, 32, 64] as const)("%i-bit code agrees with GNU as", (bits) => {
    const folder = mkdtempSync(join(tmpdir(), "entresol-encodings-"));
    try {
      const samples = SAMPLES.filter((sample) => sample.bits === bits && gnuText(sample) !== "");
      const source = samples.map((sample) => `${gnuText(sample)}\n.balign ${SLOT}, 0xcc`);
      const assembly = join(folder, "samples.s");
      const object = join(folder, "samples.o");
      const flat = join(folder, "samples.bin");
      writeFileSync(assembly, `.intel_syntax noprefix\n.code${bits}\n${source.join("\n")}\n`);
      execFileSync("as", [bits === 64 ? "--64" : "--32", "-mintel64", "-o", object, assembly], {
        stdio: "pipe",
      });
      execFileSync("objcopy", ["-O", "binary", "-j", ".text", object, flat]);
      const theirs = new Uint8Array(readFileSync(flat));
      const ours = new Uint8Array(samples.length * SLOT).fill(0xcc);
      for (const [index, sample] of samples.entries()) ours.set(sample.bytes, index * SLOT);
      expect(theirs.length).toBe(ours.length);
      const theirTexts = disassemble(folder, theirs, bits, samples.length);
      const ourTexts = disassemble(folder, ours, bits, samples.length);
      const different: string[] = [];
      for (const [index, sample] of samples.entries()) {
        const slot = [index * SLOT, (index + 1) * SLOT] as const;
        const same = toHex(ours.subarray(...slot)) === toHex(theirs.subarray(...slot));
        if (!same && ourTexts[index] !== theirTexts[index]) {
          different.push(`${sample.text}: ours ${ourTexts[index]}, GNU as ${theirTexts[index]}`);
        }
      }
      expect(different).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

import type { Registers } from "@entresol/hypervisor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { answerKvmHypercall, type InterruptTargets } from "./kvm-hypercalls.ts";

type Values = Partial<Record<"rax" | "rbx" | "rcx" | "rdx" | "rsi", bigint>>;

/** General registers of a processor in 64-bit mode, or in 32-bit mode, at a privilege level. */
function registers(
  values: Values,
  long = true,
  level = 0,
): Registers & { readonly values: Map<string, bigint> } {
  const held = new Map<string, bigint>(Object.entries(values));
  return {
    values: held,
    get: (name) => held.get(name) ?? 0n,
    set: (name, value) => void held.set(name, value),
    segment: (name) => ({
      selector: 8,
      base: 0n,
      limit: 0xffffffff,
      attributes: (name === "cs" ? (long ? 0xa09b : 0xc09b) : 0xc093) | (level << 5),
    }),
    setSegment() {},
    table: () => ({ base: 0n, limit: 0 }),
    setTable() {},
  };
}

/** Three processors, of which the last takes nothing. */
function machine(): InterruptTargets & { readonly log: string[] } {
  const log: string[] = [];
  return {
    log,
    fixed: (id, vector) => {
      log.push(`${id} vector ${vector}`);
      return id < 2;
    },
    nmi: (id) => {
      log.push(`${id} NMI`);
      return id < 2;
    },
  };
}

function call(values: Values, long = true, level = 0): { answer: bigint; log: string[] } {
  const targets = machine();
  const held = registers(values, long, level);
  answerKvmHypercall(held, targets);
  return { answer: held.values.get("rax")!, log: targets.log };
}

describe("KVM_HC_SEND_IPI", () => {
  it("sends a vector or an NMI to each APIC id of the bitmap and tells how many took it", () => {
    expect(call({ rax: 10n, rbx: 0b111n, rsi: 0x30n })).toEqual({
      answer: 2n,
      log: ["0 vector 48", "1 vector 48", "2 vector 48"],
    });
    expect(call({ rax: 10n, rbx: 0b10n, rsi: 0x400n })).toEqual({ answer: 1n, log: ["1 NMI"] });
  });

  it("counts ids from the lowest one, the second word behind the first", () => {
    expect(call({ rax: 10n, rbx: 1n, rcx: 1n, rdx: 1n, rsi: 0x40n }).log).toEqual([
      "1 vector 64",
      "65 vector 64",
    ]);
    // In 32-bit mode words have 32 bits.
    expect(call({ rax: 10n, rbx: 1n, rcx: 1n, rdx: 1n, rsi: 0x40n }, false).log).toEqual([
      "1 vector 64",
      "33 vector 64",
    ]);
  });

  it("has no targets where no APIC id can be", () => {
    expect(call({ rax: 10n, rbx: 0xffff_ffffn, rdx: 0xffff_ffffn, rsi: 0n }).answer).toBe(0n);
    expect(call({ rax: 10n, rbx: 1n, rdx: 1n << 32n, rsi: 0n })).toEqual({ answer: 0n, log: [] });
    expect(call({ rax: 10n, rsi: 0x30n })).toEqual({ answer: 0n, log: [] });
  });

  it("refuses logical destinations and other delivery modes", () => {
    const refused = { answer: BigInt.asUintN(64, -22n), log: [] };
    for (const rsi of [0x830n, 0x130n, 0x500n, 0x600n, 0x700n])
      expect(call({ rax: 10n, rbx: 1n, rsi })).toEqual(refused);
  });
});

it("a program is refused, at any level but 0", () => {
  for (const level of [1, 2, 3])
    expect(call({ rax: 10n, rbx: 1n, rsi: 0x30n }, true, level)).toEqual({
      answer: BigInt.asUintN(64, -1n),
      log: [],
    });
});

it("any other call is unknown, in the width of the mode", () => {
  expect(call({ rax: 0x1234n }).answer).toBe(BigInt.asUintN(64, -1000n));
  expect(call({ rax: 0x1234n }, false).answer).toBe(BigInt.asUintN(32, -1000n));
  expect(call({ rax: 0x1_0000_000an }).answer).toBe(BigInt.asUintN(64, -1000n));
  expect(call({ rax: 0x1_0000_000an }, false).answer).toBe(0n);
});

it("nothing that registers hold throws, and RAX alone changes", () => {
  const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const values = fc.record({
    rax: fc.oneof(fc.constant(10n), word),
    rbx: word,
    rcx: word,
    rdx: word,
    rsi: word,
  });
  fc.assert(
    fc.property(values, fc.boolean(), (before, long) => {
      const held = registers(before, long);
      answerKvmHypercall(held, machine());
      const { rax, ...rest } = Object.fromEntries(held.values);
      expect(rest).toEqual({ rbx: before.rbx, rcx: before.rcx, rdx: before.rdx, rsi: before.rsi });
      expect(rax! >> (long ? 64n : 32n)).toBe(0n);
    }),
  );
});

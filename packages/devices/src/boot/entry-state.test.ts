import type { Registers } from "@entresol/hypervisor";
import { expect, it } from "vitest";
import { enter, entryTables, linuxEntryState } from "./entry-state.ts";

const memory = new Map(entryTables().map(({ gpa, bytes }) => [gpa, bytes]));
function quadword(at: bigint): bigint {
  for (const [gpa, bytes] of memory) {
    const inside = Number(at) - gpa;
    if (inside < 0 || inside >= bytes.length) continue;
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(inside, true);
  }
  return 0n;
}

/** A walk of four levels as the processor does it; undefined for a page that is not present. */
function translate(address: bigint): bigint | undefined {
  const { control } = linuxEntryState(0);
  let table = control.cr3!;
  for (const shift of [39n, 30n, 21n]) {
    const entry = quadword(table + ((address >> shift) & 0x1ffn) * 8n);
    if ((entry & 1n) === 0n) return undefined;
    if (shift === 21n) {
      expect(entry & 0x80n).toBe(0x80n);
      return (entry & ~0x1fffffn) + (address & 0x1fffffn);
    }
    table = entry & ~0xfffn;
  }
  return undefined;
}

it("the page tables map the first 4 GiB to themselves, and nothing else", () => {
  for (const address of [
    0n,
    0x10000n,
    0x1fffffn,
    0x200000n,
    0x1000200n,
    0x7fffffffn,
    0xfec00000n,
    0xffffffffn,
  ]) {
    expect(translate(address)).toBe(address);
  }
  expect(translate(0x1_0000_0000n)).toBeUndefined();
  expect(translate(0x80_0000_0000n)).toBeUndefined();
});

it("segments hold what their descriptors say", () => {
  const { segments, gdtr } = linuxEntryState(0);
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    const { selector, base, limit, attributes } = segments[name];
    expect(selector + 7).toBeLessThanOrEqual(gdtr.limit);
    const descriptor = quadword(gdtr.base + BigInt(selector));
    expect((descriptor >> 40n) & 0xf0ffn).toBe(BigInt(attributes));
    expect(base).toBe(0n);
    // G is set: a limit of 0xFFFFF pages.
    expect((((descriptor >> 48n) & 0xfn) << 16n) | (descriptor & 0xffffn)).toBe(0xfffffn);
    expect(limit).toBe(0xffffffff);
  }
});

it("the processor is in 64-bit mode with interrupts off, RSI at the zero page", () => {
  const { general, control, segments } = linuxEntryState(0x1000200);
  expect(general).toEqual({ rip: 0x1000200n, rsi: 0x10000n, rflags: 2n });
  // PG and PE; PAE; LME and LMA; L without D in CS.
  expect([control.cr0! & 0x80000001n, control.cr4, control.efer]).toEqual([0x80000001n, 0x20n, 0x500n]);
  expect(segments.cs.attributes & 0x6000).toBe(0x2000);
});

it("entering sets every register of the state", () => {
  const set: Record<string, unknown> = {};
  const record = (name: string, value: unknown) => {
    set[name] = value;
  };
  const unread = () => {
    throw new Error("enter reads nothing");
  };
  const registers: Registers = {
    get: unread,
    segment: unread,
    table: unread,
    set: record,
    setSegment: record,
    setTable: record,
  };
  const state = linuxEntryState(0x1000200);
  enter(registers, state);
  const { gdtr, idtr } = state;
  expect(set).toEqual({ ...state.general, ...state.control, ...state.segments, gdtr, idtr });
});

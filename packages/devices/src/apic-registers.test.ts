import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ApicRegister, apicAccess, apicRegisters } from "./apic-registers.ts";
import { ioapicOffsets, ioapicRegisters } from "./ioapic.ts";

const spec = (name: string) =>
  readFileSync(new URL(`../../../specs/${name}.md`, import.meta.url), "utf8").split("\n");
const hex = (value: number, digits = 0) => `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;
const registers = Object.values<ApicRegister>(apicRegisters);

describe("the local APIC's register table", () => {
  it("is the table in specs/local-apic.md", () => {
    const lines = spec("local-apic");
    for (const { index, title, xapic, x2apic, writable, status, reset, note } of registers) {
      const row = [
        hex(index << 4, 3),
        hex(0x800 + index),
        title,
        xapic,
        x2apic,
        hex(writable),
        hex(status),
        hex(reset),
        note,
      ];
      expect(lines).toContain(`| ${row.join(" | ")} |`);
    }
  });

  it("has each register once, in the order of their index, with its reset value within its bits", () => {
    const indices = registers.map(({ index }) => index);
    expect(indices).toEqual([...new Set(indices)].sort((a, b) => a - b));
    for (const { writable, status, xapic, x2apic } of registers) {
      expect(writable & status).toBe(0);
      if (writable !== 0) expect(`${xapic}${x2apic}`).toContain("w");
    }
  });

  it("spreads ISR, TMR and IRR over eight read-only registers each", () => {
    for (let index = 0x10; index < 0x28; index++) {
      expect([apicAccess.xapic[index], apicAccess.x2apic[index]]).toEqual([1, 1]);
    }
  });
});

describe("the IOAPIC's register tables", () => {
  it("are the tables in specs/ioapic.md", () => {
    const lines = spec("ioapic");
    for (const { offset, title, note } of Object.values(ioapicOffsets)) {
      expect(lines).toContain(`| ${hex(offset, 2)} | ${title} | ${note} |`);
    }
    for (const { index, title, writable, note } of Object.values(ioapicRegisters)) {
      expect(lines).toContain(`| ${hex(index, 2)} | ${title} | ${hex(writable)} | ${note} |`);
    }
  });
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { pcMemoryMap } from "./e820.ts";

it("the map of a PC is RAM, a hole with the ACPI tables, RAM from 1 MiB, and the configuration space of PCI", () => {
  expect(pcMemoryMap(0x8000000)).toEqual([
    { start: 0, length: 0x9f000, type: 1 },
    { start: 0x9f000, length: 0x41000, type: 2 },
    { start: 0xe0000, length: 0x10000, type: 3 },
    { start: 0xf0000, length: 0x10000, type: 2 },
    { start: 0x100000, length: 0x7f00000, type: 1 },
    { start: 0xe0000000, length: 0x10000000, type: 2 },
  ]);
});

it("ranges follow each other without gap or overlap up to the end of RAM, and never into the PCI window", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0x101000, max: 2 ** 32 }), (size) => {
      let end = 0;
      for (const { start, length } of pcMemoryMap(size).slice(0, -1)) {
        expect(start).toBe(end);
        expect(length).toBeGreaterThan(0);
        end = start + length;
      }
      expect(end).toBe(Math.min(size, 0xc0000000));
    }),
  );
});

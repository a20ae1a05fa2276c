import { describe, expect, it } from "vitest";
import type { AcpiMachine } from "./machine.ts";
import { buildMpTable } from "./mp-table.ts";

const machine: AcpiMachine = {
  processors: 3,
  serialPorts: [],
  pci: {
    ecamBase: 0xe000_0000,
    lastBus: 255,
    portWindow: { first: 0xc000, last: 0xfeff },
    memoryWindows: [],
    rootPorts: [],
    router: { device: 0x1f, function: 0, registers: [] },
    isaChoices: [],
    pirq: (device, pin) => (device + pin) & 7,
    firstInterrupt: 16,
  },
};

/** What an operating system finds by the pointer: the entries by their type, as bytes. */
function read(of: AcpiMachine) {
  const [pointer, table] = buildMpTable(of).map(({ gpa, bytes }) => ({ gpa, bytes: Buffer.from(bytes) }));
  const { bytes } = table!;
  expect(pointer!.bytes.readUInt32LE(4)).toBe(table!.gpa);
  const entries: number[][] = [];
  for (let at = 44; at < bytes.length; at += bytes[at] === 0 ? 20 : 8)
    entries.push([...bytes.subarray(at, at + (bytes[at] === 0 ? 20 : 8))]);
  return {
    pointer: pointer!,
    bytes,
    ofType: (type: number) => entries.filter(([first]) => first === type),
    entries,
  };
}
const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

describe("MP table (MultiProcessor Specification 1.4)", () => {
  const { pointer, bytes, ofType, entries } = read(machine);

  it("is found in the BIOS area by its pointer; both sum to zero (4.1, 4.2)", () => {
    expect(pointer.gpa).toBe(0xf0000);
    expect(pointer.bytes.toString("latin1", 0, 4)).toBe("_MP_");
    expect([pointer.bytes.length, pointer.bytes[8], pointer.bytes[9], sum(pointer.bytes)]).toEqual([
      16, 1, 4, 0,
    ]);
    expect(bytes.toString("latin1", 0, 4)).toBe("PCMP");
    expect([bytes.readUInt16LE(4), bytes.readUInt16LE(34), sum(bytes)]).toEqual([
      bytes.length,
      entries.length,
      0,
    ]);
    expect(bytes.readUInt32LE(36)).toBe(0xfee00000);
  });

  it("is there for virtual wire mode: no IMCR (4.1)", () => {
    expect(pointer.bytes[12]).toBe(0);
  });

  it("lists the processors, the first one as the one that boots (4.3.1)", () => {
    expect(ofType(0).map((entry) => entry.slice(1, 4))).toEqual([
      [0, 0x14, 3],
      [1, 0x14, 1],
      [2, 0x14, 1],
    ]);
  });

  it("lists PCI bus 0 and ISA (4.3.2), and the IOAPIC (4.3.3)", () => {
    expect(ofType(1).map(([, id, ...name]) => [id, String.fromCharCode(...name)])).toEqual([
      [0, "PCI   "],
      [0xff, "ISA   "],
    ]);
    expect(ofType(2)).toEqual([[2, 0, 0x20, 1, 0x00, 0x00, 0xc0, 0xfe]]);
  });

  it("leads ISA interrupts to their pins, the timer to pin 2, the SCI as a level (4.3.4)", () => {
    const isa = ofType(3).filter(([, type, , , bus]) => type === 0 && bus === 0xff);
    expect(isa.map((entry) => [entry[5], entry[7]])).toEqual(
      [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((irq) => [irq, irq === 0 ? 2 : irq]),
    );
    expect(isa.filter((entry) => entry[2] !== 0).map((entry) => [entry[5], entry[2]])).toEqual([[9, 0x0d]]);
  });

  it("leads every pin of every device of bus 0 to interrupts 16 to 23, level triggered and active high", () => {
    const pins = ofType(3).filter((entry) => entry[4] === 0);
    expect(pins).toHaveLength(128);
    for (const [, type, flags, , , source, , pin] of pins)
      expect([type, flags, pin]).toEqual([0, 0x0d, 16 + (((source! >> 2) + (source! & 3)) & 7)]);
  });

  it("has the 8259 pair at pin 0 of the IOAPIC too", () => {
    expect(ofType(3).filter(([, type]) => type === 3)).toEqual([[3, 3, 0, 0, 0xff, 0, 0, 0]]);
  });

  it("puts the 8259 pair at LINT0 and NMI at LINT1 of all processors (4.3.5)", () => {
    expect(ofType(4).map((entry) => [entry[1], entry[6], entry[7]])).toEqual([
      [3, 0xff, 0],
      [1, 0xff, 1],
    ]);
  });

  it("has no PCI bus for a machine without, and no more processors than 8-bit ids name", () => {
    const { ofType: of } = read({ processors: 300, serialPorts: [] });
    expect(of(1)).toHaveLength(1);
    expect(of(3)).toHaveLength(16);
    expect(of(0)).toHaveLength(255);
  });
});

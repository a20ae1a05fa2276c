import { describe, expect, it } from "vitest";
import { type AmlHardware, AmlNamespace, type AmlValue, type Reference } from "../testing/aml-interpreter.ts";
import type { AcpiMachine } from "./machine.ts";
import type { AcpiPci } from "./pci-namespace.ts";
import { buildAcpiTables } from "./tables.ts";

const pci: AcpiPci = {
  ecamBase: 0xe000_0000,
  lastBus: 255,
  portWindow: { first: 0xc000, last: 0xfeff },
  memoryWindows: [
    { base: 0xc000_0000, length: 0x2000_0000 },
    { base: 2 ** 38, length: 2 ** 38 },
  ],
  rootPorts: [
    { device: 0x1c, function: 0, slot: 1 },
    { device: 0x1c, function: 1, slot: 2 },
  ],
  router: { device: 0x1f, function: 0, registers: [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b] },
  isaChoices: [5, 10, 11],
  pirq: (device, pin) => (device + pin) & 7,
  firstInterrupt: 16,
};
const machine: AcpiMachine = { processors: 1, serialPorts: [], pci };

function table(signature: string, of: AcpiMachine = machine): Uint8Array {
  return buildAcpiTables(of).regions.find((region) => region.signature === signature)!.bytes;
}

/** The DSDT over a router whose registers are an array, all PIRQs off as after reset. */
function loaded() {
  const registers = new Uint8Array(256).fill(0x80, 0x60, 0x6c);
  const hardware: AmlHardware = {
    read: (space, offset) => (space === 2 ? registers[offset]! : 0xff),
    write: (space, offset, value) => {
      if (space === 2) registers[offset] = value;
    },
  };
  return { registers, namespace: new AmlNamespace(table("DSDT"), hardware) };
}

const bridge = "\\_SB_.PCI0";
const dword = (bytes: AmlValue, at: number) =>
  new DataView((bytes as Uint8Array).buffer, (bytes as Uint8Array).byteOffset).getUint32(at, true);

describe("host bridge", () => {
  const { namespace } = loaded();

  it("is a PCI Express bridge that older systems may take for a PCI one", () => {
    // EisaId of PNP0A08 and PNP0A03.
    expect(namespace.evaluate(`${bridge}._HID`)).toBe(0x080ad041);
    expect(namespace.evaluate(`${bridge}._CID`)).toBe(0x030ad041);
    expect(namespace.evaluate(`${bridge}._SEG`)).toBe(0);
    expect(namespace.evaluate(`${bridge}._BBN`)).toBe(0);
  });

  it("passes on buses, ports and memory in windows that cannot be moved", () => {
    const windows = Buffer.from(namespace.evaluate(`${bridge}._CRS`) as Uint8Array).toString("hex");
    expect(windows).toBe(
      [
        "880d00020c00" + "0000" + "0000" + "ff00" + "0000" + "0001",
        "4701f80cf80c0108",
        "880d00010c03" + "0000" + "00c0" + "fffe" + "0000" + "003f",
        "871700000c01" + "00000000" + "000000c0" + "ffffffdf" + "00000000" + "00000020",
        "8a2b00000c01" +
          "0000000000000000" +
          "0000000040000000" +
          "ffffffff7f000000" +
          "0000000000000000" +
          "0000000040000000",
        "7900",
      ].join(""),
    );
  });

  it("names its root ports by device and function, each with the number of its slot", () => {
    expect(namespace.devices(bridge)).toEqual([`${bridge}.ISA_`, `${bridge}.RP00`, `${bridge}.RP01`]);
    expect(namespace.evaluate(`${bridge}.RP01._ADR`)).toBe(0x001c_0001);
    expect(namespace.evaluate(`${bridge}.RP01.SLOT._SUN`)).toBe(2);
  });
});

describe("interrupt routing (6.2.13)", () => {
  type Row = readonly [number, number, Reference, number];
  const rows = (namespace: AmlNamespace) => namespace.evaluate(`${bridge}._PRT`) as readonly Row[];

  it.each([
    [0, "LNK"],
    [1, "GSI"],
  ])("after \\_PIC(%i) leads every pin of every device of bus 0 to its %s link", (model, link) => {
    const { namespace } = loaded();
    namespace.evaluate("\\_PIC", model);
    const found = rows(namespace);
    expect(found).toHaveLength(128);
    for (const [address, pin, { reference }, index] of found) {
      expect([address & 0xffff, index]).toEqual([0xffff, 0]);
      expect(reference).toBe(`${link}${"ABCDEFGH"[((address >>> 16) + pin) & 7]}`);
    }
    expect(new Set(found.map(([address, pin]) => address * 4 + pin)).size).toBe(128);
  });

  it("uses the 8259 pair until the system says otherwise", () => {
    expect(rows(loaded().namespace)[0]![2].reference).toBe("LNKA");
  });

  it("has links only that exist", () => {
    const { namespace } = loaded();
    for (const [, , { reference }] of rows(namespace))
      expect(namespace.objects.has(`\\_SB_.${reference}`)).toBe(true);
  });

  it.each([
    ["GSIA", 16],
    ["GSIH", 23],
  ])("%s is interrupt %i, level triggered, active high, shared", (link, interrupt) => {
    const { namespace } = loaded();
    for (const object of ["_CRS", "_PRS"]) {
      const resources = namespace.evaluate(`\\_SB_.${link}.${object}`) as Uint8Array;
      expect([...resources.subarray(0, 5)]).toEqual([0x89, 6, 0, 0x09, 1]);
      expect(dword(resources, 5)).toBe(interrupt);
    }
  });
});

describe("links to the 8259 pair", () => {
  it.each([
    ["A", 0x60],
    ["D", 0x63],
    ["E", 0x68],
    ["H", 0x6b],
  ])("PIRQ %s: is set, read and disabled through its own router register", (letter, offset) => {
    const { namespace, registers } = loaded();
    const link = `\\_SB_.LNK${letter}`;
    expect(namespace.evaluate(`${link}._STA`)).toBe(0x09);
    expect(dword(namespace.evaluate(`${link}._CRS`), 5)).toBe(0);
    const wanted = namespace.evaluate(`${link}._CRS`) as Uint8Array;
    new DataView(wanted.buffer).setUint32(5, 11, true);
    const before = registers.slice();
    namespace.evaluate(`${link}._SRS`, wanted);
    before[offset] = 11;
    expect(registers).toEqual(before);
    expect(namespace.evaluate(`${link}._STA`)).toBe(0x0b);
    expect(dword(namespace.evaluate(`${link}._CRS`), 5)).toBe(11);
    namespace.evaluate(`${link}._DIS`);
    expect(registers[offset]).toBe(0x80);
    expect(namespace.evaluate(`${link}._STA`)).toBe(0x09);
  });

  it("offer the ISA interrupts that the machine has free", () => {
    const choices = loaded().namespace.evaluate("\\_SB_.LNKC._PRS");
    expect([5, 9, 13].map((at) => dword(choices, at))).toEqual([5, 10, 11]);
  });
});

describe("_OSC (PCI Firmware 4.5.1)", () => {
  const hostBridgeUuid = Buffer.from("5b4ddb33f71f1c40965774 41c03dd766".replaceAll(" ", ""), "hex");
  const ask = (control: number, revision = 1, id: Uint8Array = hostBridgeUuid): number[] => {
    const buffer = new Uint8Array(12);
    new DataView(buffer.buffer).setUint32(8, control, true);
    const answer = loaded().namespace.evaluate(`${bridge}._OSC`, new Uint8Array(id), revision, 3, buffer);
    return [dword(answer, 0), dword(answer, 8)];
  };

  it("gives native hot plug, PME and the capability structure to the operating system", () => {
    expect(ask(0x15)).toEqual([0, 0x15]);
  });

  it("says that it kept back what is not there: SHPC hot plug, AER, LTR", () => {
    expect(ask(0x3f)).toEqual([0x10, 0x15]);
  });

  it("says so when it does not know the revision or the UUID", () => {
    expect(ask(0x15, 2)[0]).toBe(0x08);
    expect(ask(0x15, 1, new Uint8Array(16))).toEqual([0x04, 0x15]);
  });
});

it("MCFG (PCI Firmware 4.1.2) maps all buses of segment 0", () => {
  const mcfg = table("MCFG");
  expect(mcfg).toHaveLength(60);
  expect(Buffer.from(mcfg.subarray(44)).toString("hex")).toBe(
    "000000e000000000" + "0000" + "00" + "ff" + "00000000",
  );
});

it("the configuration space is reserved as a motherboard resource (PCI Firmware 4.1.3)", () => {
  const resources = Buffer.from(loaded().namespace.evaluate("\\_SB_.MBRD._CRS") as Uint8Array);
  expect(resources.toString("hex")).toContain("86090001" + "000000e0" + "00000010");
});

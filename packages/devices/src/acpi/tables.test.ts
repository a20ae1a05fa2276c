import { readFileSync } from "node:fs";
import { hex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AmlNamespace } from "../testing/aml-interpreter.ts";
import { AcpiError, type AcpiMachine, pcPower } from "./machine.ts";
import { type AcpiTables, buildAcpiTables } from "./tables.ts";

const machine: AcpiMachine = {
  processors: 2,
  serialPorts: [
    { port: 0x3f8, irq: 4 },
    { port: 0x2f8, irq: 3 },
  ],
};

/** What an operating system does: from the RSDP to the tables, each found by its address only. */
function follow({ regions, rsdp }: AcpiTables): Map<string, DataView> {
  const at = (gpa: number): DataView => {
    const region = regions.find((candidate) => candidate.gpa === gpa);
    expect(region, `a table at ${gpa.toString(16)}`).toBeDefined();
    const { buffer, byteOffset, byteLength } = region!.bytes;
    return new DataView(buffer, byteOffset, byteLength);
  };
  const found = new Map<string, DataView>([["RSDP", at(rsdp)]]);
  const add = (gpa: number) => {
    const table = at(gpa);
    found.set(text(table, 0, 4), table);
    return table;
  };
  const xsdt = add(Number(found.get("RSDP")!.getBigUint64(24, true)));
  for (let i = 36; i < xsdt.byteLength; i += 8) add(Number(xsdt.getBigUint64(i, true)));
  const fadt = found.get("FACP")!;
  add(fadt.getUint32(36, true));
  add(Number(fadt.getBigUint64(140, true)));
  return found;
}

function text(view: DataView, at: number, length: number): string {
  return Buffer.from(view.buffer, view.byteOffset + at, length).toString("latin1");
}

function sum(view: DataView, length = view.byteLength): number {
  let total = 0;
  for (let i = 0; i < length; i++) total += view.getUint8(i);
  return total & 0xff;
}

/** The controllers of a MADT: type and the bytes after type and length. */
function controllers(madt: DataView): { type: number; body: DataView }[] {
  const list = [];
  for (let at = 44; at < madt.byteLength; ) {
    const length = madt.getUint8(at + 1);
    expect(length).toBeGreaterThanOrEqual(6);
    list.push({
      type: madt.getUint8(at),
      body: new DataView(madt.buffer, madt.byteOffset + at + 2, length - 2),
    });
    at += length;
  }
  return list;
}

function namespaceOf(of: AcpiMachine): AmlNamespace {
  const { buffer, byteOffset, byteLength } = follow(buildAcpiTables(of)).get("DSDT")!;
  return new AmlNamespace(new Uint8Array(buffer, byteOffset, byteLength));
}

describe("tables", () => {
  const tables = buildAcpiTables(machine);
  const found = follow(tables);

  it("are all reached from the RSDP", () => {
    expect([...found.keys()].sort()).toEqual(["APIC", "DSDT", "FACP", "FACS", "RSDP", "XSDT"]);
    // And two of the MultiProcessor Specification, which are found by a scan.
    expect(tables.regions.map(({ signature }) => signature).sort()).toEqual([
      "APIC",
      "DSDT",
      "FACP",
      "FACS",
      "PCMP",
      "RSD PTR ",
      "XSDT",
      "_MP_",
    ]);
  });

  it("have the length that they say and sum to zero", () => {
    for (const [signature, table] of found) {
      if (signature === "RSDP") continue;
      expect(table.getUint32(4, true), signature).toBe(table.byteLength);
      if (signature !== "FACS") expect(sum(table), signature).toBe(0);
    }
    const rsdp = found.get("RSDP")!;
    expect(text(rsdp, 0, 8)).toBe("RSD PTR ");
    expect([rsdp.getUint8(15), rsdp.getUint32(20, true), sum(rsdp, 20), sum(rsdp)]).toEqual([2, 36, 0, 0]);
  });

  it("lie in ascending order, apart, between 0xE0000 and 0xF0000, the FACS on 64 bytes", () => {
    let end = 0xe0000;
    for (const { gpa, bytes } of tables.regions) {
      expect(gpa).toBeGreaterThanOrEqual(end);
      end = gpa + bytes.length;
    }
    expect(end).toBeLessThanOrEqual(0x100000);
    const last = tables.regions.findLast(({ signature }) => !/^(_MP_|PCMP)$/.test(signature))!;
    expect(last.gpa + last.bytes.length).toBeLessThanOrEqual(0xf0000);
    expect(tables.regions.find(({ signature }) => signature === "FACS")!.gpa % 64).toBe(0);
    // A kernel that scans looks at every 16th byte.
    expect(tables.rsdp % 16).toBe(0);
  });

  it("are the same bytes for the same machine", () => {
    expect(buildAcpiTables(machine)).toEqual(tables);
  });
});

describe("FADT (5.2.9)", () => {
  const fadt = follow(buildAcpiTables(machine)).get("FACP")!;

  it("is of revision 6.5", () => {
    expect([fadt.getUint8(8), fadt.byteLength, fadt.getUint8(131)]).toEqual([6, 276, 5]);
  });

  it("gives each register block twice, alike", () => {
    const blocks = [
      { at: 56, lengthAt: 88, extendedAt: 148, port: pcPower.pm1Event, length: 4 },
      { at: 64, lengthAt: 89, extendedAt: 172, port: pcPower.pm1Control, length: 2 },
      { at: 76, lengthAt: 91, extendedAt: 208, port: pcPower.pmTimer, length: 4 },
      { at: 80, lengthAt: 92, extendedAt: 220, port: pcPower.gpe0, length: pcPower.gpe0Length },
    ];
    for (const { at, lengthAt, extendedAt, port, length } of blocks) {
      expect([fadt.getUint32(at, true), fadt.getUint8(lengthAt)]).toEqual([port, length]);
      expect([fadt.getUint8(extendedAt), fadt.getUint8(extendedAt + 1)]).toEqual([1, length * 8]);
      expect(fadt.getBigUint64(extendedAt + 4, true)).toBe(BigInt(port));
    }
  });

  it("has a power button and a sleep button in its fixed hardware, and no wake by the RTC", () => {
    expect((fadt.getUint32(112, true) >> 4) & 0b111).toBe(0b100);
  });

  it("resets through its reset register", () => {
    expect(fadt.getUint32(112, true) & (1 << 10)).not.toBe(0);
    expect([fadt.getUint8(116), fadt.getUint8(117), fadt.getUint8(128)]).toEqual([1, 8, 6]);
    expect(fadt.getBigUint64(120, true)).toBe(0xcf9n);
  });

  it("starts in ACPI mode, with an RTC, a 32-bit timer and no keyboard controller", () => {
    expect([fadt.getUint16(46, true), fadt.getUint32(48, true)]).toEqual([9, 0]);
    const bootArchitecture = fadt.getUint16(109, true);
    expect(bootArchitecture & 0b10_0011).toBe(1);
    expect(fadt.getUint32(112, true) & (1 << 8)).not.toBe(0);
    expect(fadt.getUint8(108)).toBe(0x32);
  });

  it("names the FACS once and the DSDT twice", () => {
    expect(fadt.getBigUint64(132, true)).toBe(0n);
    expect(BigInt(fadt.getUint32(40, true))).toBe(fadt.getBigUint64(140, true));
  });
});

describe("MADT (5.2.12)", () => {
  it("lists processors, one IOAPIC, both overrides and the NMI", () => {
    const list = controllers(follow(buildAcpiTables(machine)).get("APIC")!).map(({ type, body }) => [
      type,
      Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("hex"),
    ]);
    expect(list).toEqual([
      [0, "000001000000"],
      [0, "010101000000"],
      [1, "00000000c0fe00000000"],
      [2, "0000020000000000"],
      [2, "0009090000000d00"],
      [4, "ff000001"],
    ]);
  });

  it("uses x2APIC entries for ids that 8 bits do not name, and their NMI", () => {
    const list = controllers(follow(buildAcpiTables({ ...machine, processors: 300 })).get("APIC")!);
    expect(list.filter(({ type }) => type === 0)).toHaveLength(255);
    const extended = list.filter(({ type }) => type === 9);
    expect(extended.map(({ body }) => body.getUint32(2, true))).toEqual(
      Array.from({ length: 45 }, (_, i) => 255 + i),
    );
    expect(extended.every(({ body }) => body.getUint32(10, true) === body.getUint32(2, true))).toBe(true);
    expect(list.filter(({ type }) => type === 10)).toHaveLength(1);
  });
});

describe("DSDT (5.2.11.1)", () => {
  const namespace = namespaceOf(machine);
  const at = (device: string, object: string) => namespace.evaluate(`\\_SB_.${device}.${object}`);
  const resources = (device: string) => Buffer.from(at(device, "_CRS") as Uint8Array).toString("hex");

  it("turns off by sleep type 5, and has no other sleep state", () => {
    expect(namespace.evaluate("\\_S5_")).toEqual([5, 5, 0, 0]);
    for (const state of [1, 2, 3, 4]) expect(namespace.objects.has(`\\_S${state}_`)).toBe(false);
  });

  it("has a device for each processor, with the MADT's id", () => {
    expect(at("C000", "_HID")).toBe("ACPI0007");
    expect(at("C001", "_UID")).toBe(1);
    expect(namespace.objects.has("\\_SB_.C002")).toBe(false);
  });

  it("has the serial ports in order, with ports and interrupt", () => {
    expect(at("COM1", "_UID")).toBe(1);
    expect(resources("COM1")).toBe("4701f803f80301082210007900");
    expect(resources("COM2")).toBe("4701f802f80201082208007900");
  });

  it("has the PC's own devices", () => {
    const names = namespace.devices("\\_SB_").map((path) => path.slice(-4));
    expect(names).toEqual(["C000", "C001", "PIC_", "TIMR", "RTC_", "SPKR", "COM1", "COM2", "MBRD"]);
  });

  it("reserves what no driver claims: ELCR, power management", () => {
    expect(at("MBRD", "_HID")).toBe(0x020cd041);
    expect(resources("MBRD")).toBe("4701d004d0040102" + "4701000600060124" + "7900");
  });

  it("takes further devices", () => {
    const more = namespaceOf({
      ...machine,
      devices: [
        { name: "TPM", hid: "MSFT0101", resources: [{ type: "memory", base: 0xfed40000, length: 0x5000 }] },
      ],
    });
    expect(more.evaluate("\\_SB_.TPM_._HID")).toBe("MSFT0101");
    const bytes = more.evaluate("\\_SB_.TPM_._CRS") as Uint8Array;
    expect(Buffer.from(bytes).toString("hex")).toBe("860900010000d4fe005000007900");
  });

  it("says nothing of PCI for a machine that has none", () => {
    expect(namespace.objects.has("\\_SB_.PCI0")).toBe(false);
    expect(namespace.objects.has("\\_PIC")).toBe(false);
  });
});

describe("HPET (IA-PC HPET 1.0a, 3.2.4)", () => {
  const hpet = { base: 0xfed0_0000, length: 0x400, capabilities: 0x8086_a201, minimumTick: 128 };

  it("repeats the capabilities and gives the address in memory", () => {
    const table = follow(buildAcpiTables({ ...machine, hpet })).get("HPET")!;
    expect(table.byteLength).toBe(56);
    expect(table.getUint32(36, true)).toBe(0x8086_a201);
    expect([40, 41, 42, 43].map((at) => table.getUint8(at))).toEqual([0, 64, 0, 0]);
    expect(table.getBigUint64(44, true)).toBe(0xfed0_0000n);
    expect([table.getUint8(52), table.getUint16(53, true), table.getUint8(55)]).toEqual([0, 128, 1]);
  });

  it("is a device of the namespace too, with its registers", () => {
    const namespace = namespaceOf({ ...machine, hpet });
    expect(namespace.evaluate("\\_SB_.HPET._HID")).toBe(0x0301d041);
    const bytes = namespace.evaluate("\\_SB_.HPET._CRS") as Uint8Array;
    expect(Buffer.from(bytes).toString("hex")).toBe("860900010000d0fe000400007900");
  });
});

describe("machines", () => {
  it("of 1 to 1024 processors can be described", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1024 }), (processors) => {
        const found = follow(buildAcpiTables({ ...machine, processors }));
        const list = controllers(found.get("APIC")!);
        expect(list.filter(({ type }) => type === 0 || type === 9)).toHaveLength(processors);
        const { buffer, byteOffset, byteLength } = found.get("DSDT")!;
        const devices = new AmlNamespace(new Uint8Array(buffer, byteOffset, byteLength)).devices("\\_SB_");
        expect(devices.filter((path) => /\.C[0-9A-F]{3}$/.test(path))).toHaveLength(processors);
      }),
      { numRuns: 20 },
    );
  });

  it("that cannot be described are refused by code", () => {
    const refused = (change: Partial<AcpiMachine>): string => {
      try {
        buildAcpiTables({ ...machine, ...change });
        return "accepted";
      } catch (error) {
        return error instanceof AcpiError ? error.code : String(error);
      }
    };
    expect(refused({ processors: 0 })).toBe("bad-machine");
    expect(refused({ processors: 1.5 })).toBe("bad-machine");
    expect(refused({ processors: 1025 })).toBe("bad-machine");
    expect(refused({ serialPorts: [{ port: 0x3f8, irq: 16 }] })).toBe("bad-machine");
    expect(refused({ devices: [{ name: "COM1", hid: "PNP0501" }] })).toBe("bad-machine");
    expect(refused({ devices: [{ name: "lower", hid: "PNP0501" }] })).toBe("bad-machine");
    const many = Array.from({ length: 4000 }, (_, i) => ({
      name: `D${i.toString(36)}`.toUpperCase(),
      hid: "PNP0C02",
      uid: i + 256,
    }));
    expect(refused({ devices: many })).toBe("too-large");
  });
});

it("specs/acpi.md names the ports of the fixed hardware", () => {
  const text = readFileSync(new URL("../../../../specs/acpi.md", import.meta.url), "utf8");
  const { pm1Event, pm1Control, pmTimer, gpe0, gpe0Length, sleepTypeOff, resetPort, resetValue, sci } =
    pcPower;
  expect(text).toContain(
    `${hex(pm1Event)} (4 bytes), ${hex(pm1Control)} (2), ${hex(pmTimer)} (4), ${hex(gpe0)} (${gpe0Length})`,
  );
  expect(text).toContain(`| \\_S5 | SLP_TYP ${sleepTypeOff} |`);
  expect(text).toContain(`write ${resetValue} to port 0x${resetPort.toString(16).toUpperCase()}, one byte`);
  expect(text).toContain(`| SCI_INT | ${sci} |`);
});

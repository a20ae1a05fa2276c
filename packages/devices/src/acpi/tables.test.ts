import { readFileSync } from "node:fs";
import { hex } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AcpiError, type AcpiMachine, type AcpiTables, buildAcpiTables, pcPower } from "./tables.ts";

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

/** A term of the DSDT: [kind, name, content]. A reader of AML's grammar, apart from the writer that is tested. */
type Term = readonly [kind: string, name: string, content: unknown];
function readAml(view: DataView, start = 36, end = view.byteLength): Term[] {
  const terms: Term[] = [];
  let at = start;
  const u8 = () => view.getUint8(at++);
  const packageEnd = () => {
    const from = at;
    const lead = u8();
    let length = lead >> 6 === 0 ? lead & 0x3f : lead & 0xf;
    for (let i = 0; i < lead >> 6; i++) length += u8() * 2 ** (4 + 8 * i);
    expect(from + length).toBeLessThanOrEqual(end);
    return from + length;
  };
  const path = () => {
    let root = "";
    if (view.getUint8(at) === 0x5c) root = String.fromCharCode(u8());
    const segment = text(view, at, 4);
    expect(segment).toMatch(/^[A-Z_][A-Z0-9_]{3}$/);
    at += 4;
    return root + segment;
  };
  const data = (): unknown => {
    const opcode = u8();
    if (opcode <= 1) return opcode;
    if (opcode === 0x0a) return u8();
    if (opcode === 0x0b) return u8() + u8() * 256;
    if (opcode === 0x0c) {
      at += 4;
      return view.getUint32(at - 4, true);
    }
    if (opcode === 0x0d) {
      const from = at;
      while (u8() !== 0);
      return text(view, from, at - 1 - from);
    }
    const stop = packageEnd();
    if (opcode === 0x11) {
      const length = data();
      const content = Buffer.from(text(view, at, stop - at), "latin1").toString("hex");
      expect(length).toBe(stop - at);
      at = stop;
      return content;
    }
    expect(opcode).toBe(0x12);
    const elements = Array.from({ length: u8() }, data);
    expect(at).toBe(stop);
    return elements;
  };
  while (at < end) {
    const opcode = u8();
    if (opcode === 0x08) {
      terms.push(["Name", path(), data()]);
      continue;
    }
    if (opcode === 0x5b) expect(u8()).toBe(0x82);
    else expect(opcode).toBe(0x10);
    const stop = packageEnd();
    const name = path();
    terms.push([opcode === 0x5b ? "Device" : "Scope", name, readAml(view, at, stop)]);
    at = stop;
  }
  expect(at).toBe(end);
  return terms;
}

describe("tables", () => {
  const tables = buildAcpiTables(machine);
  const found = follow(tables);

  it("are all reached from the RSDP", () => {
    expect([...found.keys()].sort()).toEqual(["APIC", "DSDT", "FACP", "FACS", "RSDP", "XSDT"]);
    expect(tables.regions).toHaveLength(6);
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
    expect(end).toBeLessThanOrEqual(0xf0000);
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
  const dsdt = readAml(follow(buildAcpiTables(machine)).get("DSDT")!);
  const devices = new Map(
    (dsdt.find(([, name]) => name === "\\_SB_")![2] as Term[]).map(([, name, content]) => [
      name,
      new Map((content as Term[]).map(([, key, value]) => [key, value])),
    ]),
  );

  it("turns off by sleep type 5", () => {
    expect(dsdt.find(([, name]) => name === "\\_S5_")![2]).toEqual([5, 5, 0, 0]);
  });

  it("has a device for each processor, with the MADT's id", () => {
    expect(devices.get("C000")!.get("_HID")).toBe("ACPI0007");
    expect(devices.get("C001")!.get("_UID")).toBe(1);
    expect(devices.has("C002")).toBe(false);
  });

  it("has the serial ports in order, with ports and interrupt", () => {
    expect(devices.get("COM1")!.get("_UID")).toBe(1);
    expect(devices.get("COM1")!.get("_CRS")).toBe("4701f803f80301082210007900");
    expect(devices.get("COM2")!.get("_CRS")).toBe("4701f802f80201082208007900");
  });

  it("has the PC's own devices", () => {
    expect([...devices.keys()].filter((name) => /^(PIC_|TIMR|RTC_|SPKR)$/.test(name))).toHaveLength(4);
  });

  it("takes further devices", () => {
    const more = buildAcpiTables({
      ...machine,
      devices: [
        { name: "TPM", hid: "MSFT0101", resources: [{ type: "memory", base: 0xfed40000, length: 0x5000 }] },
      ],
    });
    const scope = readAml(follow(more).get("DSDT")!).at(-1)![2] as Term[];
    expect(scope.at(-1)).toEqual([
      "Device",
      "TPM_",
      [
        ["Name", "_HID", "MSFT0101"],
        ["Name", "_CRS", "860900010000d4fe005000007900"],
      ],
    ]);
  });
});

describe("machines", () => {
  it("of 1 to 1024 processors can be described", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1024 }), (processors) => {
        const found = follow(buildAcpiTables({ ...machine, processors }));
        const list = controllers(found.get("APIC")!);
        expect(list.filter(({ type }) => type === 0 || type === 9)).toHaveLength(processors);
        const scope = readAml(found.get("DSDT")!).at(-1)![2] as Term[];
        expect(scope.filter(([, name]) => /^C[0-9A-F]{3}$/.test(name))).toHaveLength(processors);
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

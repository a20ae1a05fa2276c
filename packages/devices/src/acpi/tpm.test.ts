import { describe, expect, it } from "vitest";
import { pcMemoryMap } from "../boot/e820.ts";
import { eventLogArea } from "../boot/memory-map.ts";
import { AmlNamespace } from "../testing/aml-interpreter.ts";
import { AcpiError, type AcpiMachine } from "./machine.ts";
import { buildAcpiTables } from "./tables.ts";
import type { AcpiTpm } from "./tpm.ts";

const crb: AcpiTpm = {
  interface: "crb",
  base: 0xfed40000,
  length: 0x5000,
  controlArea: 0x40,
  log: eventLogArea,
};
const machine = (tpm?: AcpiTpm): AcpiMachine => ({
  processors: 1,
  serialPorts: [],
  ...(tpm === undefined ? {} : { tpm }),
});

function tableOf(signature: string, of: AcpiMachine): Uint8Array | undefined {
  return buildAcpiTables(of).regions.find((region) => region.signature === signature)?.bytes;
}

describe("TPM2 (TCG ACPI 8)", () => {
  const fields = (tpm: AcpiTpm) => {
    const bytes = tableOf("TPM2", machine(tpm))!;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return {
      length: bytes.length,
      revision: bytes[8],
      sum: bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0),
      platformClass: view.getUint16(36, true),
      controlArea: view.getBigUint64(40, true),
      startMethod: view.getUint32(48, true),
      logLength: view.getUint32(64, true),
      logAddress: view.getBigUint64(68, true),
    };
  };

  it("leads to the control area of a command response buffer, started by its registers (7)", () => {
    expect(fields(crb)).toEqual({
      length: 76,
      revision: 4,
      sum: 0,
      platformClass: 0,
      controlArea: 0xfed40040n,
      startMethod: 7,
      logLength: 0x10000,
      logAddress: 0xd0000n,
    });
  });

  it("has no control area for a FIFO (6)", () => {
    expect(fields({ ...crb, interface: "tis" })).toMatchObject({ controlArea: 0n, startMethod: 6 });
  });

  it("is listed by the XSDT, and is not there without a TPM", () => {
    const tables = buildAcpiTables(machine(crb));
    const at = tables.regions.find(({ signature }) => signature === "TPM2")!.gpa;
    const xsdt = Buffer.from(tables.regions.find(({ signature }) => signature === "XSDT")!.bytes);
    const listed = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) => xsdt.readBigUInt64LE(36 + 8 * i));
    expect(listed).toContain(BigInt(at));
    expect(tableOf("TPM2", machine())).toBeUndefined();
  });
});

describe("the TPM's device", () => {
  const at = "\\_SB_.TPM_";

  it("is MSFT0101, present, with its registers and no interrupt", () => {
    const namespace = new AmlNamespace(tableOf("DSDT", machine(crb))!);
    expect(namespace.devices("\\_SB_")).toContain(at);
    expect(["_HID", "_CID", "_UID", "_STA"].map((name) => namespace.evaluate(`${at}.${name}`))).toEqual([
      "MSFT0101",
      "MSFT0101",
      0,
      0xf,
    ]);
    const text = namespace.evaluate(`${at}._STR`) as Uint8Array;
    expect(Buffer.from(text).toString("utf16le")).toBe("TPM 2.0 Device\0");
    const descriptor = [0x86, 9, 0, 1, 0, 0, 0xd4, 0xfe, 0, 0x50, 0, 0];
    expect([...(namespace.evaluate(`${at}._CRS`) as Uint8Array)]).toEqual([...descriptor, 0x79, 0]);
  });

  it("is not there without a TPM, and its name is taken with one", () => {
    const other = { devices: [{ name: "TPM", hid: "PNP0C31" }] };
    expect(new AmlNamespace(tableOf("DSDT", machine())!).devices("\\_SB_")).not.toContain(at);
    expect(() => buildAcpiTables({ ...machine(), ...other })).not.toThrow();
    expect(() => buildAcpiTables({ ...machine(crb), ...other })).toThrow(AcpiError);
  });
});

describe("the physical presence interface (PPI 8)", () => {
  const presence = 0xfed45000;
  const registers = new Map<number, number>();
  const done: number[] = [];
  const namespace = new AmlNamespace(tableOf("DSDT", machine({ ...crb, presence }))!, {
    read: (space, at, bytes) => {
      expect([space, bytes]).toEqual([0, 4]);
      return registers.get(at - presence) ?? 0;
    },
    write: (space, at, value, bytes) => {
      expect([space, bytes]).toEqual([0, 4]);
      registers.set(at - presence, value);
      if (at !== presence) return;
      done.push(value, registers.get(4) ?? 0, registers.get(8) ?? 0);
      registers.set(0x0c, 100 + value);
      registers.set(0x10, 22);
      registers.set(0x14, 33);
    },
  });
  const id = Uint8Array.from(Buffer.from("a6fadd3d1b36b44ea4248d10089d1653", "hex"));
  const call = (code: number, parameters: readonly number[] = [], revision = 1) => {
    done.length = 0;
    return namespace.evaluate("\\_SB_.TPM_._DSM", id, revision, code, [...parameters]);
  };

  it("says which functions it has, its version, and that no language can be chosen", () => {
    expect([call(0), call(1), call(6)]).toEqual([Uint8Array.of(0xff, 0x01), "1.3", 3]);
    expect(done).toEqual([]);
  });

  it("hands requests to the mailbox, with an argument where there is one", () => {
    registers.set(8, 77);
    expect([call(2, [5]), ...done]).toEqual([102, 2, 5, 0]);
    expect([call(7, [23, 2]), ...done]).toEqual([107, 7, 23, 2]);
    expect([call(7, [5]), ...done]).toEqual([107, 7, 5, 0]);
    expect([call(8, [5]), ...done.slice(0, 2)]).toEqual([108, 8, 5]);
  });

  it("gives back what the mailbox says of requests", () => {
    expect(call(3)).toEqual([103, 22]);
    expect(call(3, [], 2)).toEqual([103, 22, 33]);
    expect(call(4)).toBe(104);
    expect(call(5)).toEqual([105, 22, 33]);
  });

  it("does nothing for another identifier or function, and is not there without a mailbox", () => {
    expect(call(9)).toEqual(Uint8Array.of(0));
    expect(namespace.evaluate("\\_SB_.TPM_._DSM", id.slice().reverse(), 1, 2, [5])).toEqual(Uint8Array.of(0));
    expect(done).toEqual([]);
    const without = new AmlNamespace(tableOf("DSDT", machine(crb))!);
    expect(without.objects.has("\\_SB_.TPM_._DSM")).toBe(false);
  });
});

it("the event log lies right below the ACPI tables, in memory that the kernel leaves as it is", () => {
  const { kept } = buildAcpiTables(machine(crb));
  expect(kept).toEqual({ gpa: 0xd0000, length: 0x10000 });
  expect(pcMemoryMap(0x8000000, kept).slice(1, 4)).toEqual([
    { start: 0x9f000, length: 0x31000, type: 2 },
    { start: 0xd0000, length: 0x10000, type: 4 },
    { start: 0xe0000, length: 0x10000, type: 3 },
  ]);
});

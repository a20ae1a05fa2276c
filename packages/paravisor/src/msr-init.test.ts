import { ApicFabric, Bus, LocalApic, ManualTime } from "@entresol/devices";
import { asGpa } from "@entresol/hypervisor";
import { describe, expect, it } from "vitest";
import { ExitDispatcher, msrRules } from "./index.ts";

/*
 * What INIT and a reset of the machine do to the MSRs that the policy keeps. INIT leaves a processor's MSRs, MTRRs among them,
 * as they are (SDM volume 3A, 9.1; AMD64 volume 2, 14.1): a kernel that starts another processor by INIT and SIPI would otherwise
 * find that one with memory types of its own.
 */

const PAT = 0x277;
const MTRR_DEFAULT = 0x2ff;
const APIC_BASE = 0x1b;
const DEADLINE = 0x6e0;
const APIC_PAGE = 0xfee00000;
const ICR_LOW = 0x300;
const ICR_HIGH = 0x310;
/** INIT, level assert; the same to all but the sender. */
const INIT = 0x4500;
const INIT_OTHERS = 0xc4500;

/** Two processors, of which the first sends; `signalled` has those that the machine was told to reset. */
function machine() {
  const signalled: number[] = [];
  const fabric = new ApicFabric({
    init: (index) => signalled.push(index),
    startup() {},
    nmi() {},
    ready() {},
  });
  const time = new ManualTime();
  const bus = new Bus();
  const shape = { processors: 2, physicalAddressBits: 40, linearAddressBits: 48 };
  const processors = [0, 1].map((index) => {
    const apic = new LocalApic({ index, time, bus: fabric, physicalAddressBits: 40 });
    fabric.attach(apic);
    return new ExitDispatcher(bus, apic, shape, index);
  });
  const read = (index: number, msr: number): string | undefined => {
    const out = { low: 0, high: 0 };
    if (!processors[index]!.readMsr(msr, out)) return undefined;
    return ((BigInt(out.high) << 32n) | BigInt(out.low)).toString(16);
  };
  const write = (index: number, msr: number, value: bigint): boolean =>
    processors[index]!.writeMsr(msr, Number(value & 0xffffffffn), Number(value >> 32n));
  const send = (command: number, target = 0): void => {
    processors[0]!.mmioWrite(asGpa(APIC_PAGE + ICR_HIGH), 4, (target << 24) >>> 0);
    processors[0]!.mmioWrite(asGpa(APIC_PAGE + ICR_LOW), 4, command);
  };
  return { signalled, processors, read, write, send };
}

/** Every number of the table that can be written with another value than its first, and a value for it. */
const kept: [number, bigint][] = msrRules.flatMap((rule) => {
  if (rule.write !== "keep" || rule.mask === 0n) return [];
  const value = ~rule.reset & (rule.mask ?? (1n << 64n) - 1n);
  return Array.from({ length: rule.count ?? 1 }, (_, i): [number, bigint] => [rule.msr + i, value]);
});

describe("INIT", () => {
  it("leaves every register of the table as the guest wrote it", () => {
    const { signalled, read, write, send } = machine();
    for (const [msr, value] of kept) expect(write(1, msr, value)).toBe(true);
    send(INIT, 1);
    expect(signalled).toEqual([1]);
    for (const [msr, value] of kept) expect([msr, read(1, msr)]).toEqual([msr, value.toString(16)]);
  });

  it("of one processor touches no other's, nor the sender's", () => {
    const { signalled, read, write, send } = machine();
    write(0, PAT, 0x0106n);
    write(1, MTRR_DEFAULT, 0x800n);
    send(INIT_OTHERS);
    expect(signalled).toEqual([1]);
    expect([read(0, PAT), read(0, MTRR_DEFAULT)]).toEqual(["106", "c06"]);
    expect([read(1, PAT), read(1, MTRR_DEFAULT)]).toEqual(["7040600070406", "800"]);
  });

  it("leaves IA32_APIC_BASE, and disarms the TSC deadline with the rest of the APIC", () => {
    const { processors, read, write, send } = machine();
    write(1, APIC_BASE, 0xfee01800n);
    processors[1]!.mmioWrite(asGpa(0xfee01320), 4, 0x40030); // LVT timer: TSC deadline, vector 0x30
    write(1, DEADLINE, 0x1234_5678n);
    expect(read(1, DEADLINE)).toBe("12345678");
    send(INIT, 1);
    expect(read(1, APIC_BASE)).toBe("fee01800");
    expect(processors[1]!.mmioRead(asGpa(0xfee01320), 4)).toBe(0x10000);
    expect(read(1, DEADLINE)).toBe("0");
  });

  it("does not forget what was refused", () => {
    const { processors, read, send } = machine();
    expect(read(1, 0x12345)).toBeUndefined();
    send(INIT, 1);
    expect(processors[1]!.msrs.refusals.get(0x12345)).toBe(1);
  });
});

describe("a reset of the machine", () => {
  it("puts every register of the table back", () => {
    const { processors, read, write } = machine();
    const before = kept.map(([msr]) => read(0, msr));
    for (const [msr, value] of kept) write(0, msr, value);
    expect(processors[0]!.msrs.save().length).toBe(kept.length);
    processors[0]!.msrs.reset();
    expect(kept.map(([msr]) => read(0, msr))).toEqual(before);
    expect(processors[0]!.msrs.save()).toEqual([]);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  answerCpuid,
  featuresLeaf1Ecx,
  featuresLeaf1Edx,
  HYPERVISOR_VENDOR,
  MsrFile,
  msrRules,
} from "./index.ts";

const machine = { processors: 4, physicalAddressBits: 40, linearAddressBits: 48 };
const ask = (leaf: number, subleaf = 0, apicId = 2) => {
  const out = { eax: 1, ebx: 1, ecx: 1, edx: 1 };
  answerCpuid(machine, apicId, leaf, subleaf, out);
  return out;
};
const text = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer).toString("latin1");

describe("CPUID policy", () => {
  it("names vendor, hypervisor and processor", () => {
    const vendor = ask(0);
    expect(text(vendor.ebx, vendor.edx, vendor.ecx)).toBe("AuthenticAMD");
    const hypervisor = ask(0x40000000);
    expect(text(hypervisor.ebx, hypervisor.ecx, hypervisor.edx)).toBe(HYPERVISOR_VENDOR);
    expect(hypervisor.eax).toBe(0x40000000);
    const brand = [2, 3, 4]
      .map((n) => ask(0x80000000 + n))
      .map(({ eax, ebx, ecx, edx }) => text(eax, ebx, ecx, edx));
    expect(brand.join("").replace(/\0+$/, "")).toBe("Entresol software processor");
  });

  it("offers exactly the features of its tables", () => {
    const bits = (features: readonly { bit: number }[]) =>
      features.reduce((sum, { bit }) => sum + 2 ** bit, 0);
    const { ecx, edx } = ask(1);
    expect(ecx).toBe(bits(featuresLeaf1Ecx));
    expect(edx).toBe(bits(featuresLeaf1Edx) + 2 ** 28);
  });

  it("gives each processor its APIC id and the shape of one package", () => {
    expect(ask(1).ebx >>> 24).toBe(2);
    expect((ask(1).ebx >>> 16) & 0xff).toBe(4);
    expect(ask(0xb, 0)).toEqual({ eax: 0, ebx: 1, ecx: 0x100, edx: 2 });
    expect(ask(0xb, 1)).toEqual({ eax: 2, ebx: 4, ecx: 0x201, edx: 2 });
    expect(ask(0x80000008)).toEqual({ eax: 0x3028, ebx: 0x4000000, ecx: 0x2003, edx: 0 });
  });

  it("answers every other leaf with zeros", () => {
    const known = new Set([
      0,
      1,
      7,
      0xb,
      0x40000000,
      ...[0, 1, 2, 3, 4, 7, 8, 0x21].map((n) => 0x80000000 + n),
    ]);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 0, max: 0xffffffff }),
        (leaf, subleaf) => {
          if (!known.has(leaf)) expect(ask(leaf, subleaf)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
        },
      ),
    );
  });
});

describe("MSR policy", () => {
  const read = (file: MsrFile, msr: number) => {
    const out = { low: 0, high: 0 };
    return file.read(msr, out) ? (BigInt(out.high) << 32n) | BigInt(out.low) : undefined;
  };

  it("reads every register of the table at its reset value", () => {
    const file = new MsrFile();
    for (const rule of msrRules) {
      for (let i = 0; i < (rule.count ?? 1); i++) {
        const value = read(file, rule.msr + i);
        expect([rule.name, value]).toEqual([rule.name, rule.reset]);
      }
    }
  });

  it("takes 0 for a performance counter and nothing else", () => {
    const file = new MsrFile();
    for (let msr = 0xc0010000; msr <= 0xc0010007; msr++) {
      expect([file.write(msr, 0, 0), file.write(msr, 1, 0), file.write(msr, 0, 1)]).toEqual([
        true,
        false,
        false,
      ]);
      expect(read(file, msr)).toBe(0n);
    }
  });

  it("keeps what may be kept and refuses bits outside the mask", () => {
    const file = new MsrFile();
    expect(file.write(0x277, 0x00070106, 0x00070106)).toBe(true);
    expect(read(file, 0x277)).toBe(0x0007010600070106n);
    expect(file.write(0x277, 0x08, 0)).toBe(false);
    expect(read(file, 0x277)).toBe(0x0007010600070106n);
  });

  it("refuses what it does not know, and counts it", () => {
    const file = new MsrFile();
    expect(read(file, 0x12345)).toBeUndefined();
    expect(file.write(0x12345, 0, 0)).toBe(false);
    expect(file.write(0xfe, 0, 0)).toBe(false);
    expect(file.refusals.get(0x12345)).toBe(2);
    for (let msr = 0; msr < 5000; msr++) read(file, 0x20000 + msr);
    expect(file.refusals.size).toBeLessThanOrEqual(256);
  });

  it("saves only what changed and brings it back", () => {
    const file = new MsrFile();
    file.write(0x2ff, 0x800, 0);
    file.write(0x200, 6, 0xff);
    expect(file.save()).toEqual([
      [0x200, "ff00000006"],
      [0x2ff, "800"],
    ]);
    const other = new MsrFile();
    other.write(0x277, 0, 0);
    expect(other.restore(file.save())).toBe(true);
    expect(other.save()).toEqual(file.save());
    expect(other.restore([[0xfe, "1"]])).toBe(false);
    for (const wrong of [
      [[0x2ff, "zz"]],
      [[0x277, "8"]],
      [[0x2ff, 0x800]],
      [["0x2ff", "800"]],
      [[Number.NaN, "800"]],
      [[0x2ff]],
      [null],
      [0x2ff, "800"],
      { 0: [0x2ff, "800"] },
      null,
      undefined,
      7,
    ])
      expect(other.restore(wrong)).toBe(false);
    expect(other.save()).toEqual(file.save());
  });
});

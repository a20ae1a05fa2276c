import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApicFabric } from "./apic-fabric.ts";
import { ManualTime } from "./clock-wheel.ts";
import { LocalApic } from "./local-apic.ts";

type Mode = "xapic" | "x2apic";

function machine(count: number, mode: Mode = "xapic") {
  const time = new ManualTime();
  const log: string[] = [];
  const fabric = new ApicFabric({
    init: (i) => log.push(`init ${i}`),
    startup: (i, vector) => log.push(`startup ${i} ${vector}`),
    nmi: (i) => log.push(`nmi ${i}`),
    ready: () => {},
  });
  for (let index = 0; index < count; index++) {
    const apic = new LocalApic({ index, time, bus: fabric });
    fabric.attach(apic);
    apic.mmioWrite(0xf0, 4, 0x1ff);
    if (mode === "x2apic") apic.writeBase(0xfee0_0c00, 0);
  }
  /** APICs that have accepted `vector` since the last call; what they can deliver they have delivered and finished. */
  const took = (vector: number) => {
    const takers = fabric.apics.filter((apic) => apic.accepted[vector] !== 0);
    for (const apic of takers) {
      apic.accepted.fill(0);
      while (apic.interruptReady()) {
        apic.acknowledge();
        if (apic.isX2apic) apic.writeMsr(0x80b, 0, 0);
        else apic.mmioWrite(0xb0, 4, 0);
      }
    }
    return takers.map(({ index }) => index);
  };
  return { fabric, log, took, apics: fabric.apics };
}

const fixed = 0;
const lowest = 1;
const smi = 2;
const nmi = 4;
const init = 5;
const startup = 6;
const external = 7;
const level = 0x8000;
const assert = 0x4000;
const logical = 0x800;
const self = 1 << 18;
const all = 2 << 18;
const others = 3 << 18;

describe("ApicFabric physical destination", () => {
  it("reaches the APIC with the id", () => {
    const { fabric, took } = machine(4);
    fabric.send(0, 0x40, 2, false);
    expect(took(0x40)).toEqual([2]);
    fabric.send(0, 0x40, 9, false);
    expect(took(0x40)).toEqual([]);
  });

  it("takes 0xFF as broadcast where the destination has 8 bits, 0xFFFFFFFF where it has 32", () => {
    const { fabric, took } = machine(3, "x2apic");
    fabric.send(0, 0x40, 0xff, false);
    expect(took(0x40)).toEqual([0, 1, 2]);
    fabric.send(0, 0x40, 0xff, true);
    expect(took(0x40)).toEqual([]);
    fabric.send(0, 0x40, 0xffff_ffff, true);
    expect(took(0x40)).toEqual([0, 1, 2]);
    fabric.deliver(0xff, true, fixed, 0x40, false);
    expect(took(0x40)).toEqual([0, 1, 2]);
  });

  it("reaches ids above 255 only by their whole id in x2APIC mode", () => {
    const { fabric, took, apics } = machine(258);
    apics[257]!.writeBase(0xfee0_0c00, 0);
    fabric.send(0, 0x40, 1, false);
    expect(took(0x40)).toEqual([1]);
    fabric.send(0, 0x40, 257, true);
    expect(took(0x40)).toEqual([257]);
    fabric.send(0, 0x40, 0, false); // id 256 is 0 to an xAPIC
    expect(took(0x40)).toEqual([0, 256]);
  });
});

describe("ApicFabric ids that software has written", () => {
  it("are what xAPICs answer to, also when several share one", () => {
    const { fabric, took, apics } = machine(3);
    apics[2]!.mmioWrite(0x20, 4, 0x0100_0000);
    fabric.send(0, 0x40, 1, false);
    expect(took(0x40)).toEqual([1, 2]);
    fabric.send(0, 0x40, 2, false);
    expect(took(0x40)).toEqual([]);
    apics[2]!.mmioWrite(0x20, 4, 0x0200_0000);
    fabric.send(0, 0x40, 2, false);
    expect(took(0x40)).toEqual([2]);
  });
});

describe("ApicFabric with xAPICs and x2APICs mixed", () => {
  it("lets each APIC read a logical destination by its own mode and model", () => {
    const { fabric, took, apics } = machine(4);
    apics[0]!.mmioWrite(0xd0, 4, 0x0100_0000); // flat
    apics[1]!.mmioWrite(0xe0, 4, 0); // cluster 1, member 1
    apics[1]!.mmioWrite(0xd0, 4, 0x1100_0000);
    for (const i of [2, 3]) apics[i]!.writeBase(0xfee0_0c00, 0); // x2APIC cluster 0, members 4 and 8
    fabric.send(0, logical | 0x40, 0x05, false);
    expect(took(0x40)).toEqual([0, 2]);
    fabric.send(0, logical | 0x40, 0x11, false);
    expect(took(0x40)).toEqual([0, 1]);
    // Of 32 bits an xAPIC sees 8.
    fabric.send(2, logical | 0x40, 0x0001_0011, true);
    expect(took(0x40)).toEqual([0, 1]);
    fabric.send(2, logical | 0x40, 0xffff_ffff, true);
    expect(took(0x40)).toEqual([0, 1, 2, 3]);
  });

  it("takes 0xFF for a broadcast where it arrives at an xAPIC, and never a wider id for its low byte", () => {
    const { fabric, took, apics } = machine(3);
    apics[2]!.writeBase(0xfee0_0c00, 0);
    fabric.send(2, 0x40, 0xff, true);
    expect(took(0x40)).toEqual([0, 1]);
    fabric.send(2, 0x40, 0x101, true);
    expect(took(0x40)).toEqual([]);
  });
});

describe("ApicFabric routing", () => {
  /** How a guest has set one APIC up. */
  interface Setting {
    readonly mode: "off" | "flat" | "cluster" | "x2apic";
    readonly id: number | undefined;
    readonly logicalId: number;
    readonly enabled: boolean;
  }
  const setting: fc.Arbitrary<Setting> = fc.record({
    mode: fc.constantFrom("off", "flat", "flat", "cluster", "x2apic"),
    id: fc.option(fc.constantFrom(0, 1, 2, 3, 9, 0xff), { nil: undefined, freq: 4 }),
    logicalId: fc.nat(255),
    enabled: fc.boolean(),
  });
  const destinations = fc.oneof(fc.nat(255), fc.constantFrom(0xff, 0x100, 0x102, 0x1_0003, 0xffff_ffff));

  /** Who is meant, from the definitions alone. */
  function meant(
    index: number,
    { mode, id, logicalId }: Setting,
    destination: number,
    isLogical: boolean,
  ): boolean {
    if (mode === "x2apic") {
      if (!isLogical) return destination === index;
      return destination >>> 16 === index >>> 4 && ((destination >>> (index & 15)) & 1) === 1;
    }
    if (!isLogical)
      return destination === 0xff || destination === (destination > 0xff ? index : (id ?? index));
    const low = destination & 0xff;
    if (mode === "flat") return (low & logicalId) !== 0;
    return low >> 4 === logicalId >> 4 && (low & logicalId & 15) !== 0;
  }

  it("reaches exactly the APICs that are meant, whatever their modes, ids and models are", () => {
    fc.assert(
      fc.property(
        fc.array(setting, { minLength: 1, maxLength: 5 }),
        fc.array(fc.tuple(destinations, fc.boolean(), fc.boolean()), { maxLength: 12 }),
        (settings, messages) => {
          const { fabric, apics, took } = machine(settings.length);
          settings.forEach(({ mode, id, logicalId, enabled }, index) => {
            const apic = apics[index]!;
            if (id !== undefined) apic.mmioWrite(0x20, 4, (id << 24) >>> 0);
            apic.mmioWrite(0xd0, 4, (logicalId << 24) >>> 0);
            if (mode === "cluster") apic.mmioWrite(0xe0, 4, 0);
            if (!enabled) apic.mmioWrite(0xf0, 4, 0xff);
            if (mode === "x2apic") apic.writeBase(0xfee0_0c00, 0);
            if (mode === "off") apic.writeBase(0xfee0_0000, 0);
          });
          for (const [wanted, isLogical, wide] of messages) {
            const destination = wide ? wanted : wanted & 0xff;
            const broadcast = destination === (wide ? 0xffff_ffff : 0xff);
            fabric.send(0, (isLogical ? logical : 0) | 0x40, destination, wide);
            const expected = settings.flatMap((each, index) => {
              const listens = each.enabled && each.mode !== "off";
              return listens && (broadcast || meant(index, each, destination, isLogical)) ? [index] : [];
            });
            expect(took(0x40)).toEqual(expected);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("ApicFabric logical destination", () => {
  it("is a mask of eight in the flat model", () => {
    const { fabric, took, apics } = machine(4);
    for (const [i, apic] of apics.entries()) apic.mmioWrite(0xd0, 4, 1 << (24 + i));
    fabric.send(0, logical | 0x40, 0b1010, false);
    expect(took(0x40)).toEqual([1, 3]);
    fabric.send(0, logical | 0x40, 0, false);
    expect(took(0x40)).toEqual([]);
  });

  it("is a cluster and a mask of four in the cluster model", () => {
    const { fabric, took, apics } = machine(4);
    for (const [i, apic] of apics.entries()) {
      apic.mmioWrite(0xe0, 4, 0x0fff_ffff);
      apic.mmioWrite(0xd0, 4, (((i >> 1) << 4) | (1 << (i & 1))) << 24);
    }
    fabric.send(0, logical | 0x40, 0x13, false);
    expect(took(0x40)).toEqual([2, 3]);
    fabric.send(0, logical | 0x40, 0x02, false);
    expect(took(0x40)).toEqual([1]);
  });

  it("takes every undefined destination format for the cluster model", () => {
    const { fabric, took, apics } = machine(1);
    for (let format = 0; format < 15; format++) {
      apics[0]!.mmioWrite(0xe0, 4, (format << 28) >>> 0);
      apics[0]!.mmioWrite(0xd0, 4, 0x2100_0000);
      fabric.send(0, logical | 0x40, 0x31, false);
      expect(took(0x40)).toEqual([]);
      fabric.send(0, logical | 0x40, 0x21, false);
      expect(took(0x40)).toEqual([0]);
      apics[0]!.init();
      apics[0]!.mmioWrite(0xf0, 4, 0x1ff);
    }
  });

  it("is a cluster of 16 bits and a mask of 16 in x2APIC mode", () => {
    const { fabric, took } = machine(20, "x2apic");
    fabric.send(0, logical | 0x40, 0x0001_0005, true);
    expect(took(0x40)).toEqual([16, 18]);
    fabric.send(0, logical | 0x40, 0x0000_8001, true);
    expect(took(0x40)).toEqual([0, 15]);
  });
});

describe("ApicFabric shorthands", () => {
  it("reach self, all, and all but self with fixed interrupts", () => {
    const { fabric, took } = machine(3);
    fabric.send(1, self | 0x40, 0, false);
    expect(took(0x40)).toEqual([1]);
    fabric.send(1, all | 0x40, 0, false);
    expect(took(0x40)).toEqual([0, 1, 2]);
    fabric.send(1, others | 0x40, 0, false);
    expect(took(0x40)).toEqual([0, 2]);
  });

  it("do nothing for self and all with another mode", () => {
    const { fabric, took, log } = machine(2);
    for (const mode of [lowest, smi, nmi, init, startup, external]) {
      fabric.send(0, self | (mode << 8) | 0x40, 0, false);
      fabric.send(0, all | (mode << 8) | 0x40, 0, false);
    }
    expect(took(0x40)).toEqual([]);
    expect(log).toEqual([]);
  });

  it("start the other processors as Linux does", () => {
    const { fabric, log } = machine(3);
    fabric.send(0, others | (init << 8) | level | assert, 0, false);
    fabric.send(0, others | (init << 8) | level, 0, false); // de-assert
    fabric.send(0, (startup << 8) | 0x9a, 1, false);
    expect(log).toEqual(["init 1", "init 2", `startup 1 ${0x9a}`]);
  });
});

describe("ApicFabric delivery modes", () => {
  it("gives a lowest-priority interrupt to one APIC: least PPR, then least index, never a disabled one", () => {
    const { fabric, took, apics } = machine(4);
    apics[0]!.mmioWrite(0xf0, 4, 0xff);
    apics[1]!.writeTaskPriority(8);
    fabric.deliver(0xff, false, lowest, 0x50, false);
    expect(took(0x50)).toEqual([2]);
    apics[2]!.writeTaskPriority(9);
    apics[3]!.accept(0xe1, false);
    apics[3]!.acknowledge(); // PPR 0xE0
    took(0xe1);
    fabric.deliver(0xff, false, lowest, 0x50, false);
    expect(took(0x50)).toEqual([1]);
    fabric.send(1, others | (lowest << 8) | 0x51, 0, false);
    expect(took(0x51)).toEqual([2]);
    for (const apic of apics) apic.mmioWrite(0xf0, 4, 0xff);
    expect(fabric.deliver(0xff, false, lowest, 0x50, false)).toBe(false);
  });

  it("sends NMI, INIT and SIPI to the processor, and resets the APIC with INIT", () => {
    const { fabric, log, apics } = machine(2);
    apics[1]!.accept(0x40, false);
    expect(fabric.deliver(1, false, nmi, 0, false)).toBe(true);
    expect(fabric.deliver(1, false, init, 0, false)).toBe(true);
    expect(fabric.deliver(1, false, startup, 8, false)).toBe(true);
    expect(log).toEqual(["nmi 1", "init 1", "startup 1 8"]);
    expect(apics[1]!.interruptReady()).toBe(false);
    expect(apics[1]!.acceptsInterrupts).toBe(false);
  });

  it("sends SMI to a machine that has system management mode", () => {
    const smis: number[] = [];
    const fabric = new ApicFabric({
      init() {},
      startup() {},
      nmi() {},
      ready() {},
      smi: (i) => smis.push(i),
    });
    for (let index = 0; index < 2; index++) {
      fabric.attach(new LocalApic({ index, time: new ManualTime(), bus: fabric }));
    }
    fabric.send(0, others | (smi << 8), 0, false);
    expect(fabric.deliver(0, false, smi, 0, false)).toBe(true);
    expect(smis).toEqual([1, 0]);
  });

  it("drops SMI and the reserved mode", () => {
    const { fabric, log } = machine(1);
    expect(fabric.deliver(0, false, smi, 0, false)).toBe(false);
    expect(fabric.deliver(0, false, 3, 0x40, false)).toBe(false);
    fabric.send(0, (3 << 8) | 0x40, 0, false);
    fabric.send(0, (external << 8) | 0x40, 0, false);
    fabric.external.set(true);
    expect(fabric.apics[0]!.interruptReady()).toBe(false);
    expect(log).toEqual([]);
    expect(fabric.inspect()).toEqual({ messages: 2, lost: 2, "interprocessor commands": 2 });
  });

  it("lets an ExtINT message take its vector from the 8259 pair", () => {
    const { fabric, apics } = machine(1);
    fabric.attachExternal({
      acknowledge: () => {
        fabric.external.set(false);
        return 0x33;
      },
    });
    fabric.deliver(0, false, external, 0, false);
    expect(apics[0]!.interruptReady()).toBe(false);
    fabric.external.set(true);
    expect(apics[0]!.interruptReady()).toBe(true);
    expect(apics[0]!.acknowledge()).toBe(0x33);
    fabric.external.set(true);
    expect(apics[0]!.interruptReady()).toBe(false);
  });

  it("treats every fixed IPI as an edge, whatever its trigger bit says", () => {
    const { fabric, apics } = machine(1);
    fabric.send(0, level | assert | 0x40, 0, false);
    expect(apics[0]!.mmioRead(0x1a0, 4)).toBe(0);
  });

  it("reaches no APIC that IA32_APIC_BASE has disabled", () => {
    const { fabric, log, apics } = machine(2);
    apics[1]!.writeBase(0xfee0_0000, 0);
    for (const mode of [fixed, lowest, nmi, init, startup]) {
      expect(fabric.deliver(1, false, mode, 0x40, false)).toBe(false);
    }
    expect(log).toEqual([]);
  });
});

describe("ApicFabric MSI", () => {
  it("reads destination, mode and vector from address and data", () => {
    const { fabric, took } = machine(4);
    expect(fabric.message(0xfee0_2000, 0x41)).toBe(true);
    expect(took(0x41)).toEqual([2]);
    expect(fabric.message(0xfeef_f000, 0x41)).toBe(true);
    expect(took(0x41)).toEqual([0, 1, 2, 3]);
    expect(fabric.message(0xfef0_2000, 0x41)).toBe(false);
  });

  it("takes logical destinations with bit 2, and one of them with the redirection hint", () => {
    const { fabric, took, apics } = machine(4);
    for (const [i, apic] of apics.entries()) apic.mmioWrite(0xd0, 4, 1 << (24 + i));
    fabric.message(0xfee0_c004, 0x41);
    expect(took(0x41)).toEqual([2, 3]);
    fabric.message(0xfee0_c00c, 0x41);
    expect(took(0x41)).toEqual([2]);
  });

  it("takes destination bits 14:8 from address bits 11:5", () => {
    const { fabric, took, apics } = machine(300);
    apics[299]!.writeBase(0xfee0_0c00, 0);
    fabric.message(0xfee0_0000 | ((299 & 0xff) << 12) | ((299 >> 8) << 5), 0x41);
    expect(took(0x41)).toEqual([299]);
  });

  it("ignores the second message of a level-triggered pair", () => {
    const { fabric, took } = machine(1);
    expect(fabric.message(0xfee0_0000, level | assert | 0x41)).toBe(true);
    expect(took(0x41)).toEqual([0]);
    expect(fabric.message(0xfee0_0000, level | 0x42)).toBe(true);
    expect(took(0x42)).toEqual([]);
  });
});

describe("ApicFabric wiring", () => {
  it("refuses APICs out of order", () => {
    const { fabric } = machine(1);
    const apic = new LocalApic({ index: 5, time: new ManualTime(), bus: fabric });
    expect(() => fabric.attach(apic)).toThrow(RangeError);
  });

  it("reads 0xFF from INTA when there is no 8259 pair", () => {
    expect(machine(1).fabric.acknowledgeExternal()).toBe(0xff);
  });
});

import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Chipset, type ChipsetOptions, serialPlaces } from "./chipset.ts";
import type { Device, InterruptLine } from "./device.ts";
import { PciFunction } from "./pci/index.ts";
import { DeviceStateError } from "./saved-state.ts";

const ioapic = 0xfec00000;

function machine(overrides: Partial<ChipsetOptions> = {}) {
  const clock = { time: 0, now: () => clock.time };
  const log: string[] = [];
  const serialOutputs = [0, 1].map((n) => (byte: number) => void log.push(`com${n + 1} ${byte}`));
  const chipset = new Chipset({
    clock,
    processors: 2,
    tscFrequency: 1e9,
    physicalAddressBits: 40,
    tscOffset: () => ({ low: 0, high: 0 }),
    rtcStart: 0,
    serialOutputs,
    powerOff: () => log.push("power off"),
    reset: () => log.push("reset"),
    signals: {
      init: (i) => log.push(`init ${i}`),
      startup: (i, vector) => log.push(`startup ${i} ${vector}`),
      nmi: (i) => log.push(`nmi ${i}`),
      ready: (i) => log.push(`ready ${i}`),
    },
    ...overrides,
  });
  const { bus, apics } = chipset;
  const out = (port: number, ...values: number[]): void => {
    for (const value of values) bus.portWrite(port, 1, value);
  };
  /** Both 8259s as Linux sets them, vectors 0x30 and 0x38, nothing masked; what waits in them, IRQ 0 in bit 0. */
  const enablePic = (): void => {
    out(0x20, 0x11);
    out(0x21, 0x30, 0x04, 0x01, 0x00);
    out(0xa0, 0x11);
    out(0xa1, 0x38, 0x02, 0x01, 0x00);
  };
  const maskPic = (): void => {
    enablePic();
    out(0x21, 0xff);
    out(0xa1, 0xff);
  };
  const picRequests = (): number => {
    out(0x20, 0x0a);
    out(0xa0, 0x0a);
    return bus.portRead(0x20, 1) | (bus.portRead(0xa0, 1) << 8);
  };
  const redirect = (pin: number, low: number, high = 0): void => {
    bus.mmioWrite(ioapic, 4, 0x11 + 2 * pin);
    bus.mmioWrite(ioapic + 0x10, 4, high);
    bus.mmioWrite(ioapic, 4, 0x10 + 2 * pin);
    bus.mmioWrite(ioapic + 0x10, 4, low);
  };
  /** Every IOAPIC pin of a device to local APIC 0, edge triggered, vector 0x40 + pin. Pin 0 is the 8259 pair's. */
  const enableIoapic = (): void => {
    for (let pin = 1; pin < 24; pin++) redirect(pin, 0x40 + pin);
  };
  const accepted = (): number[] => [...apics[0]!.accepted.keys()].filter((v) => apics[0]!.accepted[v]! > 0);
  return {
    chipset,
    clock,
    log,
    bus,
    apics,
    out,
    enablePic,
    maskPic,
    picRequests,
    redirect,
    enableIoapic,
    accepted,
  };
}

/** A device that drives a line and tells when it is restored. */
class Probe implements Device {
  readonly name: string;
  readonly #line: InterruptLine | undefined;
  readonly #log: string[];
  level = false;

  constructor(name: string, log: string[], line?: InterruptLine) {
    this.name = name;
    this.#log = log;
    this.#line = line;
  }

  set(level: boolean): void {
    this.level = level;
    this.#line?.set(level);
  }

  reset(): void {
    this.#log.push(`reset ${this.name}`);
    this.set(false);
  }

  save(): unknown {
    return { level: this.level };
  }

  restore(state: unknown): void {
    this.#log.push(`restore ${this.name}`);
    this.set((state as { level: boolean }).level);
  }

  inspect() {
    return { level: this.level };
  }
}

describe("Chipset wiring", () => {
  it.each([1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])(
    "leads ISA interrupt %i to the same input of the 8259 pair and of the IOAPIC",
    (interrupt) => {
      const { chipset, enablePic, enableIoapic, picRequests, accepted } = machine();
      enablePic();
      enableIoapic();
      const line = chipset.line(interrupt);
      line.set(true);
      // A request of the slave shows on the master's cascade input, IRQ 2.
      expect(picRequests()).toBe((1 << interrupt) | (interrupt > 7 ? 4 : 0));
      expect(accepted()).toEqual([0x40 + interrupt]);
    },
  );

  it("leads the timer's interrupt 0 to input 0 of the 8259 pair and pin 2 of the IOAPIC", () => {
    const { chipset, clock, out, enablePic, enableIoapic, picRequests, accepted } = machine();
    enablePic();
    enableIoapic();
    out(0x43, 0x34);
    out(0x40, 0x00, 0x10);
    clock.time = chipset.wheel.nextDeadline();
    expect(clock.time).toBeGreaterThan(3_000_000);
    while (accepted().length === 0) {
      chipset.wheel.fireDue();
      clock.time = chipset.wheel.nextDeadline();
    }
    expect(picRequests() & 1).toBe(1);
    expect(accepted()).toEqual([0x42]);
  });

  it.each([16, 17, 18, 19, 20, 21, 22, 23])("leads interrupt %i to the IOAPIC alone", (interrupt) => {
    const { chipset, enablePic, enableIoapic, picRequests, accepted } = machine();
    enablePic();
    enableIoapic();
    chipset.line(interrupt).set(true);
    expect(picRequests()).toBe(0);
    expect(accepted()).toEqual([0x40 + interrupt]);
  });

  it.each([2, -1, 24, 1.5, Number.NaN])("refuses interrupt %d", (interrupt) => {
    expect(() => machine().chipset.line(interrupt)).toThrow(RangeError);
  });

  it("keeps a shared line high until its last source is low", () => {
    const { chipset, bus, maskPic, redirect } = machine();
    maskPic();
    redirect(5, 0x8045); // level triggered
    const [first, second] = [chipset.line(5), chipset.line(5)];
    first.set(true);
    second.set(true);
    first.set(false);
    const apic = chipset.apics[0]!;
    expect(apic.acknowledge()).toBe(0x45);
    apic.mmioWrite(0xb0, 4, 0);
    // Still high: the end of interrupt sends the next.
    expect(apic.interruptReady()).toBe(true);
    expect(apic.acknowledge()).toBe(0x45);
    second.set(false);
    apic.mmioWrite(0xb0, 4, 0);
    expect(apic.interruptReady()).toBe(false);
    expect(bus.mmioRead(ioapic + 0x10, 4)).toBe(0x8045);
  });

  it("hands the 8259 pair to the first processor through LINT0, and to no other", () => {
    const { chipset, apics, enablePic } = machine();
    enablePic();
    chipset.line(4).set(true);
    expect(apics.map((apic) => apic.interruptReady())).toEqual([true, false]);
    expect(apics[0]!.acknowledge()).toBe(0x34);
    expect(apics[0]!.interruptReady()).toBe(false);
  });

  it("hands the 8259 pair over through pin 0 of the IOAPIC too, for an entry in ExtINT mode", () => {
    const { chipset, apics, enablePic, redirect } = machine();
    apics[0]!.mmioWrite(0x350, 4, 0x10700);
    enablePic();
    redirect(0, 0x700);
    chipset.line(4).set(true);
    expect(apics[0]!.interruptReady()).toBe(true);
    expect(apics[0]!.acknowledge()).toBe(0x34);
  });

  it("cuts the 8254 and the RTC off while the HPET replaces them, and leads its timers to their interrupts", () => {
    const { chipset, clock, bus, out, enableIoapic, accepted, apics } = machine();
    const pass = (until: number): void => {
      while (chipset.wheel.nextDeadline() <= until) {
        clock.time = Math.max(clock.time, chipset.wheel.nextDeadline());
        chipset.wheel.fireDue();
      }
      clock.time = until;
    };
    enableIoapic();
    const hpet = 0xfed00000;
    bus.mmioWrite(hpet + 0x10, 4, 3);
    out(0x43, 0x34);
    out(0x40, 0x00, 0x10);
    pass(20_000_000);
    expect(accepted()).toEqual([]);
    // Timer 1 at 1 ms from the start of the counter's next run, which is interrupt 8.
    bus.mmioWrite(hpet + 0x128, 4, bus.mmioRead(hpet + 0xf0, 4) + 100_000);
    bus.mmioWrite(hpet + 0x12c, 4, 0);
    bus.mmioWrite(hpet + 0x120, 4, 4);
    pass(22_000_000);
    expect(accepted()).toEqual([0x48]);
    apics[0]!.acknowledge();
    bus.mmioWrite(hpet + 0x10, 4, 1);
    pass(50_000_000);
    expect(accepted()).toContain(0x42);
  });

  it.each([
    [0xcf8, 4],
    [0xcf8, 2],
    [0xcfa, 2],
  ] as const)("takes a write at port 0x%x of %i bytes for PCI's and not for a reset", (port, width) => {
    const { bus, log } = machine();
    bus.portWrite(port, width, 0x8000_0600);
    expect(log).not.toContain("reset");
    bus.portWrite(0xcf9, 1, 0x06);
    expect(log).toContain("reset");
  });

  it("finds the same functions by port and by memory", () => {
    const { bus } = machine();
    for (const [device, id] of [
      [0x00, 0x0008_1b36],
      [0x1c, 0x000c_1b36],
      [0x02, 0xffff_ffff],
    ] as const) {
      bus.portWrite(0xcf8, 4, 0x8000_0000 + (device << 11));
      expect(bus.portRead(0xcfc, 4)).toBe(id);
      expect(bus.mmioRead(0xe000_0000 + (device << 15), 4)).toBe(id);
    }
  });

  it("has a slot per root port, as many as are asked for", () => {
    const ports = (rootPorts: number) => {
      const { bus } = machine({ rootPorts });
      return [0, 1, 2, 3, 4, 5, 6, 7].filter(
        (n) => bus.mmioRead(0xe000_0000 + (0x1c << 15) + (n << 12), 2) !== 0xffff,
      );
    };
    expect(ports(0)).toEqual([]);
    expect(ports(3)).toEqual([0, 1, 2]);
  });

  describe("with a PCI function", () => {
    /** Function 0 of a device on bus 0: its pin A is PIRQ `device` modulo 8. */
    function plugged(device: number) {
      const m = machine();
      const fn = new PciFunction({
        name: "probe",
        vendor: 0x1b36,
        device: 0x1234,
        classCode: 0xff0000,
        interruptPin: 1,
        bars: [{ index: 0, kind: "memory32", size: 0x1000, device: { mmioRead: () => 0, mmioWrite() {} } }],
      });
      m.chipset.pci.attach(fn, { device });
      m.chipset.handOver();
      return { ...m, fn };
    }

    it.each([
      [3, 19],
      [5, 21],
      [8, 16],
    ])("leads pin A of device %i to interrupt %i of the IOAPIC, active high", (device, interrupt) => {
      const { fn, accepted, maskPic, redirect } = plugged(device);
      maskPic();
      redirect(interrupt, 0x8000 | (0x40 + interrupt));
      fn.setIntx(true);
      expect(accepted()).toEqual([0x40 + interrupt]);
    });

    it.each([
      [4, 10],
      [5, 11],
    ])(
      "leads pin A of device %i to input %i of the 8259 pair as firmware, level triggered, and not to that pin of the IOAPIC",
      (device, irq) => {
        const { fn, bus, accepted, enablePic, enableIoapic, picRequests } = plugged(device);
        enablePic();
        enableIoapic();
        expect(bus.portRead(0x4d0, 2)).toBe(0x0c00);
        fn.setIntx(true);
        expect(picRequests()).toBe((1 << irq) | 4);
        expect(accepted()).toEqual([0x40 + 16 + (device & 7)]);
        fn.setIntx(false);
        expect(picRequests()).toBe(0);
      },
    );

    it("gives it an address and the number of its interrupt", () => {
      const { bus } = plugged(4);
      bus.portWrite(0xcf8, 4, 0x8000_2010);
      expect(bus.portRead(0xcfc, 4)).toBeGreaterThanOrEqual(0xc000_0000);
      bus.portWrite(0xcf8, 4, 0x8000_203c);
      expect(bus.portRead(0xcfc, 1)).toBe(10);
    });

    it("keeps place and address through a reset", () => {
      const { bus, chipset } = plugged(4);
      const bar = () => {
        bus.portWrite(0xcf8, 4, 0x8000_2010);
        return bus.portRead(0xcfc, 4);
      };
      const before = bar();
      chipset.reset();
      expect(bar()).toBe(before);
    });
  });

  it.each([
    [0, 4],
    [1, 3],
  ])("has serial port %i at its place, on its interrupt, with its own output", (n, interrupt) => {
    const { bus, out, log, enableIoapic, accepted } = machine();
    enableIoapic();
    const { port } = serialPlaces[n]!;
    out(port, 0x41);
    expect(log).toContain(`com${n + 1} 65`);
    out(port + 4, 0x08);
    out(port + 1, 0x02);
    expect(accepted()).toEqual([0x40 + interrupt]);
    expect(bus.portRead(port + 2, 1) & 0x0f).toBe(0x02);
  });

  it("tells power off and reset to the machine, and nothing else of its own", () => {
    const { bus, log } = machine();
    bus.portWrite(0x604, 2, 0x3400);
    expect(log).toEqual(["power off"]);
    bus.portWrite(0xcf9, 1, 0x06);
    expect(log).toEqual(["power off", "reset"]);
  });

  it("tells the guest of its buttons by the system control interrupt", () => {
    const { chipset, bus, maskPic, redirect, accepted } = machine();
    maskPic();
    redirect(9, 0x8049);
    bus.portWrite(0x602, 2, 0x0300);
    chipset.pressPowerButton();
    expect(bus.portRead(0x600, 2)).toBe(0x0100);
    chipset.pressSleepButton();
    expect(bus.portRead(0x600, 2)).toBe(0x0300);
    expect(accepted()).toEqual([0x49]);
  });

  it("knows whether a device can reach a processor that is halted with interrupts off", () => {
    const { chipset, apics, redirect } = machine();
    expect(chipset.reachesHalted).toBe(false);
    redirect(8, 0x48);
    expect(chipset.reachesHalted).toBe(false);
    redirect(8, 0x448);
    expect(chipset.reachesHalted).toBe(true);
    redirect(8, 0x10448);
    expect(chipset.reachesHalted).toBe(false);
    redirect(8, 0x500);
    expect(chipset.reachesHalted).toBe(true);
    redirect(8, 0x10000);
    apics[0]!.mmioWrite(0x350, 4, 0x400);
    expect(chipset.reachesHalted).toBe(true);
  });

  it("signals INIT and SIPI of an interprocessor command", () => {
    const { apics, log } = machine();
    apics[0]!.mmioWrite(0x310, 4, 1 << 24);
    apics[0]!.mmioWrite(0x300, 4, 0x4500);
    apics[0]!.mmioWrite(0x300, 4, 0x4609);
    expect(log.filter((line) => !line.startsWith("ready"))).toEqual(["init 1", "startup 1 9"]);
  });

  it("describes itself in ACPI tables: processors, serial ports with their interrupts, the timer's override", () => {
    const { chipset } = machine({ processors: 3 });
    const { regions, rsdp } = chipset.acpiTables();
    const bytes = Buffer.concat(regions.map((region) => region.bytes));
    expect(regions.some(({ gpa, bytes: { length } }) => rsdp >= gpa && rsdp < gpa + length)).toBe(true);
    const at = bytes.indexOf("APIC");
    const madt = bytes.subarray(at, at + bytes.readUInt32LE(at + 4));
    const entries: Buffer[] = [];
    for (let i = 44; i < madt.length; i += madt[i + 1]!) entries.push(madt.subarray(i, i + madt[i + 1]!));
    const ofType = (type: number) => entries.filter((entry) => entry[0] === type);
    expect(ofType(0).map((entry) => [entry[3], entry.readUInt32LE(4) & 1])).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
    expect(ofType(1).map((entry) => entry.readUInt32LE(4))).toEqual([ioapic]);
    expect(ofType(2).map((entry) => [entry[3], entry.readUInt32LE(4), entry.readUInt16LE(8)])).toEqual(
      expect.arrayContaining([
        [0, 2, 0],
        [9, 9, 0x0d],
      ]),
    );
    // The two serial ports of this machine, and no third.
    for (const [port, present] of [
      [0x3f8, true],
      [0x2f8, true],
      [0x3e8, false],
    ] as const) {
      const resource = Buffer.from([0x47, 0x01, port & 0xff, port >> 8, port & 0xff, port >> 8]);
      expect([port, bytes.includes(resource)]).toEqual([port, present]);
    }
  });
});

describe("Chipset state", () => {
  /** Something in every device: timer, clock, serial port, both controllers, local APICs, a line that is high. */
  function used() {
    const m = machine();
    m.enablePic();
    m.redirect(9, 0x8049, 1 << 24);
    m.redirect(2, 0x42);
    m.out(0x43, 0x34);
    m.out(0x40, 0x34, 0x12);
    m.out(0x70, 0x0a);
    m.out(0x71, 0x26);
    m.out(0x3fb, 0x83);
    m.out(0x3f8, 0x0c);
    m.out(0x3fb, 0x03);
    m.out(0x3fa, 0xc7);
    m.out(0x3fc, 0x0b);
    m.out(0x3f9, 0x01);
    m.chipset.serial[0]!.receive(Buffer.from("hello"));
    m.apics[1]!.mmioWrite(0xf0, 4, 0x1ff);
    m.apics[0]!.mmioWrite(0x320, 4, 0x20050);
    m.apics[0]!.mmioWrite(0x380, 4, 100_000);
    m.clock.time = 5_000_000;
    m.chipset.wheel.fireDue();
    return m;
  }

  it("brings everything back through CBOR", () => {
    const first = used();
    const saved = first.chipset.save();
    const second = machine();
    second.clock.time = first.clock.time;
    second.chipset.restore(decodeCbor(encodeCbor(saved)));
    expect(second.chipset.save()).toEqual(saved);
    expect(second.chipset.wheel.nextDeadline()).toBe(first.chipset.wheel.nextDeadline());
    // And it goes on alike.
    for (const { chipset, clock } of [first, second]) {
      for (let i = 0; i < 100; i++) {
        clock.time = Math.max(clock.time, chipset.wheel.nextDeadline());
        chipset.wheel.fireDue();
        if (chipset.apics[0]!.interruptReady()) chipset.apics[0]!.acknowledge();
      }
    }
    expect(second.chipset.save()).toEqual(first.chipset.save());
  });

  it("saves the same after a restore over a state that was quite another", () => {
    const saved = used().chipset.save();
    const other = used();
    other.chipset.line(4).set(true);
    other.out(0x3f9, 0x0f);
    other.out(0x3fc, 0x1b);
    other.redirect(9, 0x10000);
    other.clock.time = 5_000_000;
    other.chipset.line(4).set(false);
    other.chipset.restore(saved);
    expect(other.chipset.save()).toEqual(saved);
  });

  it("restores what drives lines before the controllers, and those in the order in which lines lead through them", () => {
    const log: string[] = [];
    const { chipset } = machine();
    const saved = chipset.save();
    // Names as the chipset has them; each tells when it is restored.
    const order = Object.keys(saved);
    const spied = new Proxy(saved, {
      get: (target, name: string) => {
        log.push(name);
        return target[name];
      },
    });
    chipset.restore(spied);
    const controllers = ["pic", "ioapic", "local-apic 0", "local-apic 1"];
    expect(log.slice(-4)).toEqual(controllers);
    expect(log.slice(0, -4).sort()).toEqual(order.filter((name) => !controllers.includes(name)).sort());
  });

  it("does not take a level that was high already for a new edge", () => {
    const first = machine();
    first.maskPic();
    first.enableIoapic();
    const line = first.chipset.line(5);
    const probe = new Probe("probe", [], line);
    first.chipset.attach(probe);
    probe.set(true);
    expect(first.apics[0]!.acknowledge()).toBe(0x45);
    first.apics[0]!.mmioWrite(0xb0, 4, 0);
    const saved = first.chipset.save();

    const second = machine();
    const copy = new Probe("probe", [], second.chipset.line(5));
    second.chipset.attach(copy);
    second.chipset.restore(saved);
    expect(copy.level).toBe(true);
    expect(second.apics[0]!.interruptReady()).toBe(false);
    copy.set(false);
    copy.set(true);
    expect(second.apics[0]!.interruptReady()).toBe(true);
    expect(second.apics[0]!.acknowledge()).toBe(0x45);
  });

  it("refuses two devices of one name, and takes one of another", () => {
    const log: string[] = [];
    const { chipset } = machine();
    chipset.attach(new Probe("probe", log));
    expect(() => chipset.attach(new Probe("probe", log))).toThrow(RangeError);
    expect(() => chipset.attach(new Probe("com1", log))).toThrow("com1");
    expect(chipset.save()["probe"]).toEqual({ level: false });
    chipset.reset();
    expect(log).toEqual(["reset probe"]);
    expect(chipset.inspect()["probe"]).toEqual({ level: false });
  });

  it.each([null, undefined, 5, "x", [], {}])("refuses %j, and stays as it is", (wrong) => {
    const { chipset } = used();
    const before = chipset.save();
    expect(() => chipset.restore(wrong)).toThrow(DeviceStateError);
    expect(chipset.save()).toEqual(before);
  });

  it("refuses a state in which a device is missing", () => {
    const { chipset } = used();
    const saved = chipset.save();
    for (const name of Object.keys(saved)) {
      const { [name]: _gone, ...rest } = saved;
      expect(() => chipset.restore(rest)).toThrow(new RegExp(`no saved state of ${name}:`));
    }
  });

  it("refuses the state of a device that it has not", () => {
    const saved = machine({ serialOutputs: [() => {}, () => {}, () => {}] }).chipset.save();
    expect(() => machine().chipset.restore(saved)).toThrow("saved state of com3, which this machine has not");
  });

  it("refuses a state in which any one device's is of another shape", () => {
    const saved = used().chipset.save();
    for (const name of Object.keys(saved)) {
      for (const wrong of [null, 7, {}, { version: 99 }, { ...(saved[name] as object), more: 1 }])
        expect(() => machine().chipset.restore({ ...saved, [name]: wrong })).toThrow(DeviceStateError);
    }
  });

  it("takes an exception of a device for a state that does not fit, and keeps what it was", () => {
    const { chipset } = machine();
    const probe = new Probe("probe", []);
    chipset.attach(probe);
    const cause = new TypeError("no such thing");
    probe.restore = () => {
      throw cause;
    };
    expect(() => chipset.restore(chipset.save())).toThrow(
      expect.objectContaining({
        name: "DeviceStateError",
        message: "probe: its saved state cannot be read: no such thing",
        cause,
      }),
    );
    // Text cannot be made of every object.
    const saved = machine().chipset.save();
    const odd = { ...saved, com2: { ...(saved["com2"] as object), version: { toString: 0 } } };
    expect(() => machine().chipset.restore(odd)).toThrow(DeviceStateError);
  });

  it("throws nothing but DeviceStateError, whatever a field is replaced by", () => {
    const saved = used().chipset.save();
    const paths: string[][] = [];
    const walk = (value: unknown, path: string[]): void => {
      if (path.length > 0) paths.push(path);
      if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value))
        for (const [key, item] of Object.entries(value)) walk(item, [...path, key]);
    };
    walk(saved, []);
    const junk = fc.oneof(
      fc.constantFrom(
        Number.NaN,
        Number.POSITIVE_INFINITY,
        -1,
        -0,
        0.5,
        2 ** 53,
        2 ** 32,
        1e300,
        null,
        undefined,
      ),
      fc.anything(),
      fc.maxSafeInteger(),
    );
    /** `state` with another value at the path; what does not lie on the way to it is shared. */
    const replaced = (state: unknown, [key, ...rest]: string[], value: unknown): unknown => {
      if (key === undefined) return value;
      const copy: unknown[] | Record<string, unknown> = Array.isArray(state)
        ? [...state]
        : { ...(state as object) };
      const fields = copy as Record<string, unknown>;
      fields[key] = replaced(fields[key], rest, value);
      return copy;
    };
    // One machine for all: each starts from whatever the one before left behind.
    const { chipset, clock } = machine();
    fc.assert(
      fc.property(fc.constantFrom(...paths), junk, (path, value) => {
        const copy = replaced(saved, path, value);
        try {
          chipset.restore(copy);
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceStateError);
          return;
        }
        // What was taken must also work.
        for (let i = 0; i < 20 && Number.isFinite(chipset.wheel.nextDeadline()); i++) {
          clock.time = Math.max(clock.time + 1, Math.min(chipset.wheel.nextDeadline(), 2 ** 53 - 2 ** 42));
          chipset.wheel.fireDue();
        }
        chipset.save();
        chipset.inspect();
      }),
      { numRuns: 2000 },
    );
  });
});

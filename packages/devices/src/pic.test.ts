import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RecordingLine } from "./line.ts";
import { Pic } from "./pic.ts";
import { ocw2Commands, picRegisters } from "./pic-registers.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

const master = 0x20;
const slave = 0xa0;

function machine() {
  const output = new RecordingLine();
  const pic = new Pic({ name: "pic", output });
  const read = (port: number): number => pic.portRead(port, 1);
  const write = (port: number, value: number): void => pic.portWrite(port, 1, value);
  const raise = (irq: number): void => pic.line(irq).set(true);
  const lower = (irq: number): void => pic.line(irq).set(false);
  /** As Linux does: vectors 0x30 and 0x38, edge triggered, cascade, 8086 mode, nothing masked. */
  const initialize = (icw4 = 0x01, slaveIcw4 = icw4): void => {
    for (const [port, vector, cascade, last] of [
      [master, 0x30, 0x04, icw4],
      [slave, 0x38, 0x02, slaveIcw4],
    ] as const) {
      write(port, 0x11);
      write(port + 1, vector);
      write(port + 1, cascade);
      write(port + 1, last);
      write(port + 1, 0);
    }
  };
  const irr = (port: number): number => {
    write(port, 0x0a);
    return read(port);
  };
  const isr = (port: number): number => {
    write(port, 0x0b);
    return read(port);
  };
  return { output, pic, read, write, raise, lower, initialize, irr, isr };
}

describe("initialization", () => {
  it("takes ICW1 to ICW4 in order and then OCW1", () => {
    const { write, read, raise, pic } = machine();
    write(master, 0x11);
    write(master + 1, 0x47);
    write(master + 1, 0x04);
    write(master + 1, 0x01);
    write(master + 1, 0xfe);
    expect(read(master + 1)).toBe(0xfe);
    raise(0);
    expect(pic.acknowledge()).toBe(0x40);
  });

  it.each([
    ["ICW3 and ICW4", 0x11, 3],
    ["ICW3 only", 0x10, 2],
    ["ICW4 only in single mode", 0x13, 2],
    ["neither", 0x12, 1],
  ])("expects %s after ICW1 0x%s", (_, icw1, words) => {
    const { write, read } = machine();
    write(master + 1, 0xff);
    write(master, icw1 as number);
    for (let word = 0; word < (words as number); word++) {
      expect(read(master + 1)).toBe(0);
      write(master + 1, 0x08);
    }
    write(master + 1, 0x55);
    expect(read(master + 1)).toBe(0x55);
  });

  it("clears masks, service, edges, special mask and rotation, and reads IRR", () => {
    const { write, read, raise, pic, initialize, isr } = machine();
    initialize();
    raise(3);
    pic.acknowledge();
    write(master, 0xc3);
    write(master, 0x68);
    write(master + 1, 0xf0);
    expect(isr(master)).toBe(0x08);
    raise(4);
    write(master, 0x11);
    expect(read(master)).toBe(0);
    expect(isr(master)).toBe(0);
    expect(read(master + 1)).toBe(0);
    // An input that stayed high needs to fall first.
    expect(pic.interruptReady()).toBe(false);
  });

  it("turns AEOI off when the next ICW1 promises no ICW4", () => {
    const { write, raise, pic, initialize, isr } = machine();
    initialize(0x03);
    write(master, 0x10);
    write(master + 1, 0x30);
    write(master + 1, 0x04);
    raise(1);
    expect(pic.acknowledge()).toBe(0x31);
    expect(isr(master)).toBe(0x02);
  });
});

describe("requests", () => {
  it("gives the vector of the highest priority and holds lower ones until EOI", () => {
    const { write, raise, pic, initialize, output, isr } = machine();
    initialize();
    raise(5);
    raise(3);
    expect(output.level).toBe(true);
    expect(pic.acknowledge()).toBe(0x33);
    expect(output.level).toBe(false);
    expect(isr(master)).toBe(0x08);
    raise(1);
    expect(pic.acknowledge()).toBe(0x31);
    write(master, 0x20);
    expect(isr(master)).toBe(0x08);
    expect(pic.interruptReady()).toBe(false);
    write(master, 0x20);
    expect(pic.acknowledge()).toBe(0x35);
  });

  it("takes an edge once, and again only after the input fell", () => {
    const { write, raise, lower, pic, initialize } = machine();
    initialize();
    raise(4);
    expect(pic.acknowledge()).toBe(0x34);
    write(master, 0x20);
    raise(4);
    expect(pic.interruptReady()).toBe(false);
    lower(4);
    raise(4);
    expect(pic.interruptReady()).toBe(true);
  });

  it("withdraws an edge request whose input falls before the acknowledge", () => {
    const { raise, lower, pic, initialize, irr } = machine();
    initialize();
    raise(4);
    expect(irr(master)).toBe(0x10);
    lower(4);
    expect(irr(master)).toBe(0);
    expect(pic.interruptReady()).toBe(false);
  });

  it("repeats a level request until the input falls", () => {
    const { write, raise, lower, pic, initialize } = machine();
    initialize();
    write(0x4d1, 0x02);
    raise(9);
    for (let round = 0; round < 2; round++) {
      expect(pic.acknowledge()).toBe(0x39);
      write(slave, 0x61);
      write(master, 0x62);
      expect(pic.interruptReady()).toBe(true);
    }
    lower(9);
    expect(pic.interruptReady()).toBe(false);
  });

  it("masks by IMR and remembers the edge meanwhile", () => {
    const { write, raise, pic, initialize } = machine();
    initialize();
    write(master + 1, 0x10);
    raise(4);
    expect(pic.interruptReady()).toBe(false);
    write(master + 1, 0);
    expect(pic.acknowledge()).toBe(0x34);
  });

  it("never lets an ELCR bit of inputs 0, 1, 2, 8 or 13 be set", () => {
    const { write, read, pic } = machine();
    write(0x4d0, 0xff);
    write(0x4d1, 0xff);
    expect([read(0x4d0), read(0x4d1)]).toEqual([0xf8, 0xde]);
    expect(pic.portRead(0x4d0, 2)).toBe(0xdef8);
  });

  it("answers all-ones at ports that are none of its own, and knows no IRQ 16", () => {
    const { pic } = machine();
    expect(pic.portRead(0x22, 1)).toBe(0xff);
    expect(pic.portRead(0x21, 2)).toBe(0xff00);
    expect(() => pic.line(16)).toThrow(RangeError);
  });
});

describe("the cascade", () => {
  it("delivers the slave's vector and needs an EOI on both chips", () => {
    const { write, raise, pic, initialize, isr } = machine();
    initialize();
    raise(12);
    raise(14);
    expect(pic.acknowledge()).toBe(0x3c);
    expect([isr(master), isr(slave)]).toEqual([0x04, 0x10]);
    write(slave, 0x20);
    expect(pic.interruptReady()).toBe(false);
    write(master, 0x20);
    expect(pic.acknowledge()).toBe(0x3e);
  });

  it("ranks the slave at input 2: above IRQ 3, below IRQ 1", () => {
    const { raise, pic, initialize } = machine();
    initialize();
    raise(3);
    raise(15);
    raise(1);
    expect(pic.acknowledge()).toBe(0x31);
    expect(pic.interruptReady()).toBe(false);
    machineEoi(pic);
    expect(pic.acknowledge()).toBe(0x3f);
  });

  it("in special fully nested mode lets a higher request of a slave in service through", () => {
    const { raise, pic, initialize } = machine();
    initialize(0x11, 0x01);
    raise(12);
    pic.acknowledge();
    raise(13);
    expect(pic.interruptReady()).toBe(false);
    raise(3);
    expect(pic.interruptReady()).toBe(false);
    raise(10);
    expect(pic.acknowledge()).toBe(0x3a);
  });

  it("is not disturbed by a level driven at input 2", () => {
    const { raise, lower, pic, initialize, irr } = machine();
    initialize();
    raise(2);
    expect(irr(master)).toBe(0);
    raise(8);
    lower(2);
    expect(pic.acknowledge()).toBe(0x38);
  });
});

function machineEoi(pic: Pic): void {
  pic.portWrite(master, 1, 0x20);
}

describe("spurious interrupts", () => {
  it("are vector 7 of the master, without a bit in service", () => {
    const { pic, initialize, isr } = machine();
    initialize();
    expect(pic.acknowledge()).toBe(0x37);
    expect(isr(master)).toBe(0);
    expect(pic.inspect()["spurious"]).toBe(1);
  });

  it("are withdrawn with the slave's request, so that vector 15 is left to a race that a synchronous INTA cannot lose", () => {
    const { raise, lower, pic, initialize, isr } = machine();
    initialize();
    raise(9);
    lower(9);
    expect(pic.interruptReady()).toBe(false);
    expect(pic.acknowledge()).toBe(0x37);
    expect([isr(master), isr(slave)]).toEqual([0, 0]);
  });
});

describe("OCW2", () => {
  const service = (...irqs: number[]) => {
    const guest = machine();
    guest.initialize();
    for (const irq of irqs) {
      guest.raise(irq);
      guest.pic.acknowledge();
    }
    return guest;
  };

  it("has a name for each of its eight commands", () => {
    expect(new Set(ocw2Commands.map((command) => command.name)).size).toBe(8);
  });

  it("non-specific EOI ends the highest, specific EOI the named one", () => {
    const { write, isr } = service(5, 3, 1);
    write(master, 0x20);
    expect(isr(master)).toBe(0x28);
    write(master, 0x65);
    expect(isr(master)).toBe(0x08);
    write(master, 0x40);
    expect(isr(master)).toBe(0x08);
  });

  it("set priority makes the named input the lowest", () => {
    const { write, raise, pic } = service();
    write(master, 0xc4);
    raise(4);
    raise(6);
    raise(0);
    expect(pic.acknowledge()).toBe(0x36);
  });

  it("rotate on non-specific EOI makes the ended input the lowest", () => {
    const { write, raise, lower, pic } = service(3);
    write(master, 0xa0);
    lower(3);
    raise(3);
    raise(4);
    expect(pic.acknowledge()).toBe(0x34);
  });

  it("rotate on specific EOI does so for the named one", () => {
    const { write, raise, pic, isr } = service(3);
    write(master, 0xe3);
    expect(isr(master)).toBe(0);
    raise(0);
    raise(4);
    expect(pic.acknowledge()).toBe(0x34);
  });

  it("rotation in automatic EOI mode gives every input its turn", () => {
    const guest = machine();
    guest.initialize(0x03);
    guest.write(master, 0x80);
    guest.write(0x4d0, 0x18);
    guest.raise(3);
    guest.raise(4);
    const vectors = [1, 2, 3, 4].map(() => guest.pic.acknowledge());
    expect(vectors).toEqual([0x33, 0x34, 0x33, 0x34]);
    guest.write(master, 0x00);
    expect(guest.isr(master)).toBe(0);
  });
});

describe("automatic EOI", () => {
  it("leaves nothing in service, also on the slave, whose next request is a new edge", () => {
    const { raise, pic, initialize, isr } = machine();
    initialize(0x03);
    raise(10);
    raise(11);
    expect(pic.acknowledge()).toBe(0x3a);
    expect([isr(master), isr(slave)]).toEqual([0, 0]);
    expect(pic.acknowledge()).toBe(0x3b);
    expect(pic.interruptReady()).toBe(false);
  });
});

describe("OCW3", () => {
  it("special mask mode lets lower inputs through while a masked one is in service", () => {
    const { write, raise, pic, initialize, isr } = machine();
    initialize();
    raise(3);
    pic.acknowledge();
    raise(5);
    write(master + 1, 0x08);
    expect(pic.interruptReady()).toBe(false);
    write(master, 0x68);
    expect(pic.acknowledge()).toBe(0x35);
    // A non-specific EOI passes by what is masked.
    write(master, 0x20);
    expect(isr(master)).toBe(0x08);
    write(master, 0x20);
    expect(isr(master)).toBe(0x08);
    write(master, 0x48);
    write(master, 0x20);
    expect(isr(master)).toBe(0);
  });

  it("does not change special mask mode without ESMM, nor the read register without RR", () => {
    const { write, read, raise, pic, initialize } = machine();
    initialize();
    raise(3);
    pic.acknowledge();
    write(master, 0x0b);
    write(master, 0x28);
    expect(read(master)).toBe(0x08);
    expect(pic.inspect()["master"]).toMatchObject({ specialMask: false });
  });

  it("poll acknowledges the request with the next read of either port", () => {
    const { write, read, raise, initialize, isr, output } = machine();
    initialize();
    raise(6);
    write(master, 0x0c);
    expect(read(master + 1)).toBe(0x86);
    expect(isr(master)).toBe(0x40);
    expect(output.level).toBe(false);
    write(master, 0x0c);
    expect(read(master)).toBe(0);
    expect(read(master + 1)).toBe(0);
  });

  it("poll works through the cascade one chip at a time", () => {
    const { write, read, raise, initialize, isr } = machine();
    initialize();
    raise(12);
    write(master, 0x0c);
    expect(read(master)).toBe(0x82);
    write(slave, 0x0c);
    expect(read(slave)).toBe(0x84);
    expect([isr(master), isr(slave)]).toEqual([0x04, 0x10]);
  });
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("write" as const),
      port: fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x22, 0x1f),
      width: fc.constantFrom(1 as const, 1 as const, 2 as const, 4 as const),
      value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    }),
    fc.record({
      kind: fc.constant("read" as const),
      port: fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x22, 0x1f),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    fc.record({
      kind: fc.constant("line" as const),
      irq: fc.integer({ min: 0, max: 15 }),
      level: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("acknowledge" as const) }),
  ),
  { maxLength: 150 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ pic }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "write":
      pic.portWrite(step.port, step.width, step.value);
      return 0;
    case "read":
      return pic.portRead(step.port, step.width);
    case "line":
      pic.line(step.irq).set(step.level);
      return 0;
    case "acknowledge":
      return pic.interruptReady() ? pic.acknowledge() : -1;
    default:
      return step satisfies never;
  }
}

describe("whatever a guest does", () => {
  it("answers values of the access's width, vectors of a byte, and drives INTR as it says", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const guest = machine();
        answersInWidth(guest, all, perform, (step, value) => {
          if (step.kind !== "read") expect(value).toBeLessThan(256);
          expect(guest.output.level).toBe(guest.pic.interruptReady());
        });
      }),
    );
  });

  it("goes on after save and restore as if nothing had happened", () => {
    fc.assert(
      fc.property(steps, steps, (before, after) =>
        goesOnAfterRestore(before, after, {
          start: machine,
          perform,
          copyOf: machine,
          device: ({ pic }) => pic,
          seen: ({ output }) => output.level,
        }),
      ),
    );
  });
});

function busy() {
  const guest = machine();
  guest.initialize(0x11, 0x01);
  guest.write(0x4d1, 0x0e);
  guest.write(master, 0xc5);
  guest.write(slave + 1, 0x40);
  for (const irq of [14, 10, 4]) guest.raise(irq);
  guest.pic.acknowledge();
  guest.write(slave, 0x0b);
  return guest;
}

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const saved = expectGolden("pic", busy().pic.save());
    const { pic, output } = machine();
    pic.restore(saved);
    expect(pic.save()).toEqual(saved);
    expect(output.level).toBe(busy().output.level);
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().pic.save();
    refusesStates(
      () => machine().pic,
      [
        [{ ...good, version: 0 }, "bad-version"],
        [{ ...good, master: { ...good.master, lowest: 8 } }, "out-of-range"],
        [{ ...good, master: { ...good.master, edges: 0x81, inputs: 0x01 } }, "out-of-range"],
        [{ ...good, slave: { ...good.slave, elcr: 0x01 } }, "out-of-range"],
        [{ ...good, slave: { ...good.slave, icw2: 0x39 } }, "out-of-range"],
        [{ ...good, slave: { ...good.slave, step: "icw5" } }, "out-of-range"],
        [{ ...good, slave: undefined }, "bad-shape"],
      ],
    );
  });
});

it("reset is as power-on, with the wires at their levels", () => {
  const { pic, read, output } = busy();
  pic.reset();
  expect([read(master), read(master + 1), read(slave), read(0x4d1)]).toEqual([0, 0, 0, 0]);
  expect(output.level).toBe(false);
  pic.line(4).set(false);
  pic.line(4).set(true);
  expect(output.level).toBe(true);
});

it("specs/pic.md holds the register table", () => {
  const text = expectRegistersInSpec("pic", picRegisters);
  ocw2Commands.forEach((command, index) => {
    expect(text).toContain(`| ${index.toString(2).padStart(3, "0")} | ${command.name} |`);
  });
});

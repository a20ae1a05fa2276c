import { decodeCbor, encodeCbor } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bus } from "./bus.ts";
import { RecordingLine } from "./line.ts";
import { exitStatus, TestDevice, testDeviceRegisters } from "./test-device.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

interface Guest {
  readonly bus: Bus;
  readonly device: TestDevice;
  readonly lines: readonly RecordingLine[];
  readonly results: number[];
}

function machine(): Guest {
  const bus = new Bus();
  const lines = Array.from({ length: 24 }, () => new RecordingLine());
  const results: number[] = [];
  const device = new TestDevice({
    name: "test",
    lines: lines.map((line, n) => (n === 2 ? undefined : line)),
    exit: (value) => results.push(value),
  });
  device.register(bus);
  return { bus, device, lines, results };
}

type Width = 1 | 2 | 4;
type Step =
  | { kind: "read" | "write"; space: "port" | "memory"; at: number; width: Width; value: number }
  | { kind: "reset" };

function perform({ bus, device }: Guest, step: Step): number {
  if (step.kind === "reset") {
    device.reset();
    return 0;
  }
  const { kind, space, at, width, value } = step;
  if (kind === "read") return space === "port" ? bus.portRead(at, width) : bus.mmioRead(at, width);
  if (space === "port") bus.portWrite(at, width, value);
  else bus.mmioWrite(at, width, value);
  return 0;
}

const place = fc.oneof(
  fc.record({
    space: fc.constant("port" as const),
    at: fc.oneof(fc.integer({ min: 0xde, max: 0xf9 }), fc.integer({ min: 0x1ffe, max: 0x201a })),
  }),
  fc.record({
    space: fc.constant("memory" as const),
    at: fc.oneof(
      fc.integer({ min: 0xfeff_fffc, max: 0xff00_0008 }),
      fc.integer({ min: 0xff00_fff8, max: 0xff01_0004 }),
      fc.integer({ min: 0xff00_0000, max: 0xff00_ffff }),
    ),
  }),
);
const access = fc
  .tuple(
    fc.constantFrom("read" as const, "write" as const),
    place,
    fc.constantFrom<Width>(1, 2, 4),
    fc.oneof(fc.nat(3), fc.nat(0xffff_ffff)),
  )
  .map(([kind, { space, at }, width, value]): Step => ({ kind, space, at, width, value }));
const step = fc.oneof({ weight: 30, arbitrary: access }, fc.constant<Step>({ kind: "reset" }));

describe("the exit port", () => {
  it("hands on each result, as wide as it was written, at any of its four ports", () => {
    const { bus, results } = machine();
    bus.portWrite(0xf4, 4, 0xdead_beef);
    bus.portWrite(0xf4, 1, 0x105);
    bus.portWrite(0xf6, 2, 0x1_0003);
    expect(results).toEqual([0xdead_beef, 5, 3]);
    expect(bus.portRead(0xf4, 4)).toBe(0);
    expect(results).toHaveLength(3);
  });

  it("makes an odd status of a result: twice the result and one, in a byte", () => {
    expect([0, 1, 2, 77, 127, 128, 0xffff_ffff].map(exitStatus)).toEqual([1, 3, 5, 155, 255, 1, 255]);
  });
});

describe("the latch", () => {
  it("reads back what was written, in any width, at both its places", () => {
    const { bus } = machine();
    bus.portWrite(0xe0, 4, 0x1234_5678);
    expect([bus.portRead(0xe0, 4), bus.portRead(0xe8, 4)]).toEqual([0x1234_5678, 0x1234_5678]);
    expect([bus.portRead(0xe1, 1), bus.portRead(0xe2, 2), bus.portRead(0xeb, 1)]).toEqual([
      0x56, 0x1234, 0x12,
    ]);
    bus.portWrite(0xe9, 1, 0xab);
    bus.portWrite(0xe2, 2, 0xfedc);
    expect(bus.portRead(0xe0, 4)).toBe(0xfedc_ab78);
  });
});

describe("the interrupt lines", () => {
  it("follow the bytes written to their ports: 0 is low, all else is high", () => {
    const { bus, lines } = machine();
    bus.portWrite(0x2000 + 14, 1, 1);
    bus.portWrite(0x2000 + 23, 1, 0x80);
    expect(lines.flatMap(({ level }, n) => (level ? [n] : []))).toEqual([14, 23]);
    bus.portWrite(0x2000 + 14, 1, 1);
    bus.portWrite(0x2000 + 14, 1, 0);
    expect(lines[14]!.history).toEqual([true, false]);
  });

  it("are moved by bytes alone, and fall with a reset", () => {
    const { bus, device, lines } = machine();
    bus.portWrite(0x2004, 2, 0xffff);
    bus.portWrite(0x2004, 4, 0xffff_ffff);
    expect(lines.every(({ history }) => history.length === 0)).toBe(true);
    bus.portWrite(0x2005, 1, 1);
    device.reset();
    expect(lines[5]!.history).toEqual([true, false]);
  });

  it("have none for the cascade", () => {
    const { bus, lines } = machine();
    bus.portWrite(0x2002, 1, 1);
    expect(lines[2]!.history).toEqual([]);
  });
});

describe("the memory", () => {
  it("holds bytes, low byte first, at any alignment", () => {
    const { bus } = machine();
    bus.mmioWrite(0xff00_0101, 4, 0x8765_4321);
    expect(bus.mmioRead(0xff00_0101, 4)).toBe(0x8765_4321);
    expect([0, 1, 2, 3].map((i) => bus.mmioRead(0xff00_0101 + i, 1))).toEqual([0x21, 0x43, 0x65, 0x87]);
    bus.mmioWrite(0xff00_fffe, 4, 0x1111_2222);
    expect(bus.mmioRead(0xff00_fffe, 4)).toBe(0xffff_2222);
  });
});

it("answers whatever a guest does, and touches its own lines alone", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const guest = machine();
      answersInWidth(guest, steps, perform);
      expect(guest.lines[2]!.history).toEqual([]);
    }),
  );
});

describe("saved state", () => {
  const used = (): Guest => {
    const guest = machine();
    guest.bus.portWrite(0xe0, 4, 0xcafe_babe);
    guest.bus.portWrite(0x200e, 1, 1);
    guest.bus.portWrite(0x2017, 1, 1);
    guest.bus.mmioWrite(0xff00_0003, 1, 0x5a);
    return guest;
  };

  it("is the golden one and comes back from it, lines driven", () => {
    const golden = expectGolden("test-device", used().device.save());
    const { device, lines } = machine();
    device.restore(golden);
    expect(device.save()).toEqual(used().device.save());
    expect(lines.flatMap(({ level }, n) => (level ? [n] : []))).toEqual([14, 23]);
    expect(decodeCbor(encodeCbor(device.save()))).toEqual(device.save());
  });

  it("goes on as if nothing had happened", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.array(step, { maxLength: 10 }), (before, after) => {
        goesOnAfterRestore(before, after, {
          start: machine,
          copyOf: machine,
          device: ({ device }) => device,
          seen: ({ lines }) => lines.map(({ level }) => level),
          perform,
        });
      }),
      { numRuns: 50 },
    );
  });

  it("is refused when it does not fit, and then changes nothing", () => {
    const good = used().device.save();
    refusesStates(
      () => used().device,
      [
        [{ ...good, version: 2 }, "bad-version"],
        [{ ...good, latch: 2 ** 32 }, "out-of-range"],
        [{ ...good, lines: 2 ** 24 }, "out-of-range"],
        [{ ...good, memory: new Uint8Array(0x1_0001) }, "bad-shape"],
        [{ ...good, more: 1 }, "bad-shape"],
        [null, "bad-shape"],
      ],
    );
  });
});

it("has every register in its spec", () => {
  expectRegistersInSpec("test-device", testDeviceRegisters);
});

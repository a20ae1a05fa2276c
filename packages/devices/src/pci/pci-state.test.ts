import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  answersInWidth,
  expectGolden,
  goesOnAfterRestore,
  refusesStates,
} from "../testing/device-contract.ts";
import { BareMachine, ecamAt } from "./bare-machine.ts";
import { pciLayout } from "./layout.ts";
import { TestFunction } from "./test-function.ts";

/** A machine with a test function on bus 0, one behind port 0, and one beside the machine for port 1. */
class Guest extends BareMachine {
  readonly functions: readonly [TestFunction, TestFunction, TestFunction];

  constructor(now = 0, plugged = false) {
    super();
    this.time.advance(now);
    const make = (integrated: boolean) => new TestFunction({ timebase: this.time, integrated });
    this.functions = [make(true), make(false), make(false)];
    this.host.attach(this.functions[0], { device: 2 });
    this.host.attach(this.functions[1], { port: 0 });
    if (plugged) this.host.attach(this.functions[2], { port: 1 });
    this.host.assignResources();
  }

  get plugged(): boolean {
    return this.host.rootPorts[1]!.occupied;
  }
}

type Width = 1 | 2 | 4;
type Step =
  | { readonly kind: "read"; readonly at: number; readonly width: Width; readonly ports: boolean }
  | {
      readonly kind: "write";
      readonly at: number;
      readonly width: Width;
      readonly ports: boolean;
      readonly value: number;
    }
  | { readonly kind: "time"; readonly ns: number }
  | { readonly kind: "interrupt"; readonly which: number; readonly vector: number }
  | { readonly kind: "intx"; readonly which: number; readonly level: boolean }
  | { readonly kind: "plug" }
  | { readonly kind: "press"; readonly port: number };

function perform(guest: Guest, step: Step): number {
  const { bus, host } = guest;
  switch (step.kind) {
    case "read":
      return step.ports ? bus.portRead(step.at, step.width) : bus.mmioRead(step.at, step.width);
    case "write":
      if (step.ports) bus.portWrite(step.at, step.width, step.value);
      else bus.mmioWrite(step.at, step.width, step.value);
      return 0;
    case "time":
      guest.time.advance(step.ns);
      return 0;
    case "interrupt":
      return Number(guest.functions[step.which]!.raiseInterrupt(step.vector));
    case "intx":
      guest.functions[step.which]!.setIntx(step.level);
      return 0;
    case "plug":
      if (guest.plugged) host.hotRemove(1);
      else host.hotAdd(1, guest.functions[2]);
      return 0;
    case "press":
      return Number(host.pressAttentionButton(step.port));
    default:
      return step satisfies never;
  }
}

/** Everything that a guest or the rest of the machine sees of it. */
const seen = (guest: Guest) => ({
  pirqs: guest.pirqs.map(({ level }) => level),
  inputs: [...guest.inputs].map(([input, { level }]) => [input, level]),
  owners: guest.bus
    .statistics()
    .map(({ name, kind, first, last }) => `${kind} ${name} ${first} ${last}`)
    .sort(),
  deadline: guest.time.nextDeadline(),
});

const width = fc.constantFrom<Width>(1, 2, 4);
// Addresses and values that mean something to BARs, windows and bus numbers, beside arbitrary ones.
const value = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 2, 3, 4, 6, 7, 0x8000, 0x8001, 0xc000, 0xffff_ffff, 0x0001_0100, 0x00ff_0100, 0x0400),
  fc.constantFrom(0xc000_0000, 0xc100_0000, 0xe000_0000, 0xfee0_0000, 0xfee0_1000, 0xc000, 0xcf8, 0xf0, 0x40),
);
const place = fc.constantFrom(
  [0, 0, 0],
  [0, 2, 0],
  [0, 0x1c, 0],
  [0, 0x1c, 1],
  [0, 0x1f, 0],
  [1, 0, 0],
  [9, 0, 0],
);
const ecam = fc
  .tuple(place, fc.integer({ min: -2, max: 0x110 }))
  .map(([[bus, device, fn], at]) => ecamAt(bus!, device!, fn!, at));
const address = fc.oneof(
  fc.record({ at: ecam, ports: fc.constant(false) }),
  fc.record({ at: fc.integer({ min: 0xcf5, max: 0xd01 }), ports: fc.constant(true) }),
  fc.record({
    at: fc.integer({ min: pciLayout.memory32.base, max: pciLayout.memory32.base + 0x2000 }),
    ports: fc.constant(false),
  }),
  fc.record({ at: fc.integer({ min: 0xc100_0000, max: 0xc100_1000 }), ports: fc.constant(false) }),
  fc.record({ at: fc.integer({ min: 0xc000, max: 0xc080 }), ports: fc.constant(true) }),
  fc.record({
    at: fc.integer({ min: pciLayout.memory64.base, max: pciLayout.memory64.base + 0x4000 }),
    ports: fc.constant(false),
  }),
);
const which = fc.nat(2);
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.tuple(address, width).map(([a, w]): Step => ({ kind: "read", ...a, width: w })),
    },
    {
      weight: 12,
      arbitrary: fc
        .tuple(address, width, value)
        .map(([a, w, v]): Step => ({ kind: "write", ...a, width: w, value: v })),
    },
    fc.nat(1_000_000).map((ns): Step => ({ kind: "time", ns })),
    fc
      .tuple(which, fc.integer({ min: -1, max: 40 }))
      .map(([w, vector]): Step => ({ kind: "interrupt", which: w, vector })),
    fc.tuple(which, fc.boolean()).map(([w, level]): Step => ({ kind: "intx", which: w, level })),
    fc.constant<Step>({ kind: "plug" }),
    fc.nat(1).map((port): Step => ({ kind: "press", port })),
  ),
  { maxLength: 40 },
);

/** A machine in the middle of everything, for the golden file. */
function busy(): Guest {
  const guest = new Guest(1000);
  guest.write(0, 2, 0, 4, 2, 7);
  guest.write(1, 0, 0, 4, 2, 0x0407);
  const bar = guest.read(0, 2, 0, 0x10);
  guest.bus.mmioWrite(bar + 0x04, 4, 0xdead_beef);
  guest.bus.mmioWrite(bar + 0x14, 4, 5);
  guest.bus.mmioWrite(bar + 0x800, 4, 0xfee0_0000);
  guest.bus.mmioWrite(bar + 0x808, 4, 0x41);
  guest.bus.mmioWrite(
    guest.read(0, 2, 0, 0x1c) * 2 ** 32 + ((guest.read(0, 2, 0, 0x18) & ~0xf) >>> 0),
    4,
    0x1122_3344,
  );
  guest.functions[1].setIntx(true);
  guest.time.advance(150_000);
  guest.host.pressAttentionButton(0);
  guest.read(0, 2, 0, 0x3c);
  return guest;
}

describe("PCI under any guest", () => {
  it("answers in the width that was asked, throws nothing, and never loses ECAM or the address port", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const guest = new Guest();
        answersInWidth(guest, list, perform);
        expect(guest.bus.mmioRead(ecamAt(0, 0, 0), 4)).toBe(0x0008_1b36);
        expect(guest.read(0, 0x1f, 0, 0)).toBe(0x00e1_1b36);
      }),
    );
  });

  it("drives a PIRQ exactly while a function that leads to it asserts its pin", () => {
    fc.assert(
      fc.property(steps, (list) => {
        const guest = new Guest();
        for (const step of list) perform(guest, step);
        guest.host.reset();
        expect(guest.pirqs.map(({ level }) => level)).toEqual(Array(8).fill(false));
        expect([...guest.inputs.values()].every(({ level }) => !level)).toBe(true);
      }),
    );
  });

  it("goes on after a restore as the machine that was saved", () => {
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        goesOnAfterRestore(before, after, {
          start: () => new Guest(),
          copyOf: (guest) => new Guest(guest.time.now(), guest.plugged),
          device: (guest) => guest.host,
          seen,
          perform,
        });
      }),
    );
  });
});

describe("PCI's saved state", () => {
  it("is the golden one, which still restores", () => {
    const guest = new Guest(151_000);
    guest.host.restore(expectGolden("pci", busy().host.save()));
    expect(guest.host.save()).toEqual(busy().host.save());
    expect(seen(guest)).toEqual(seen(busy()));
    expect(guest.pirqs.map(({ level }) => level)).toEqual([
      false,
      false,
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
  });

  it("that does not fit is refused, and nothing has changed", () => {
    const good = busy().host.save();
    const edited = (
      change: (state: { address: number; functions: Record<string, Record<string, unknown>> }) => void,
    ) => {
      const copy = structuredClone(good) as unknown as Parameters<typeof change>[0];
      change(copy);
      return copy;
    };
    refusesStates(
      () => busy().host,
      [
        [null, "bad-shape"],
        [{ ...good, version: 2 }, "bad-version"],
        [{ ...good, address: 3 }, "out-of-range"],
        [edited((state) => delete state.functions["02.0"]), "bad-shape"],
        [edited((state) => Object.assign(state.functions, { "09.0": {} })), "bad-shape"],
        [edited((state) => Object.assign(state.functions["02.0"]!, { config: [1] })), "bad-shape"],
        [
          edited((state) =>
            Object.assign(state.functions["02.0"]!, {
              config: (state.functions["02.0"]!["config"] as number[]).map(() => 0xffff_ffff),
            }),
          ),
          "out-of-range",
        ],
        [edited((state) => delete state.functions["02.0"]!["device"]), "bad-shape"],
        [edited((state) => delete state.functions["02.0"]!["msix"]), "bad-shape"],
        [
          edited((state) =>
            Object.assign(state.functions["02.0"]!["msix"] as object, { entries: Array(64).fill(3) }),
          ),
          "out-of-range",
        ],
        ...[
          [0x1_0000, 0],
          [0, 1],
        ].map(
          (pending) =>
            [
              edited((state) => Object.assign(state.functions["02.0"]!["msix"] as object, { pending })),
              "out-of-range",
            ] as const,
        ),
        [
          edited((state) => Object.assign(state.functions["02.0"]!["device"] as object, { extra: 1 })),
          "bad-shape",
        ],
        [edited((state) => Object.assign(state.functions["00.0"]!, { intx: 1 })), "bad-shape"],
      ],
    );
  });

  it("of a machine with a function more or less is refused", () => {
    const plugged = new Guest(0, true).host;
    const empty = new Guest().host;
    expect(() => empty.restore(plugged.save())).toThrow("1c.1/00.0");
    expect(() => plugged.restore(empty.save())).toThrow("1c.1/00.0");
  });
});

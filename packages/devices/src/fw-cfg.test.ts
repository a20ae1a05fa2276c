import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bus } from "./bus.ts";
import { FwCfg, fwCfgItems } from "./fw-cfg.ts";
import {
  answersInWidth,
  expectGolden,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";

interface Guest {
  readonly bus: Bus;
  readonly device: FwCfg;
}

function machine(): Guest {
  const bus = new Bus();
  const device = new FwCfg({ name: "fw_cfg", memorySize: 0x1_8000_0000, processors: 3 });
  device.register(bus);
  return { bus, device };
}

/** The first `length` bytes of an item. */
function item({ bus }: Guest, selector: number, length: number): number[] {
  bus.portWrite(0x510, 2, selector);
  return Array.from({ length }, () => bus.portRead(0x511, 1));
}

describe("an item", () => {
  it("is what the machine is like: RAM and processors, little-endian", () => {
    const guest = machine();
    expect(item(guest, 3, 8)).toEqual([0, 0, 0, 0x80, 1, 0, 0, 0]);
    expect(item(guest, 5, 2)).toEqual([3, 0]);
    expect(item(guest, 0x0f, 2)).toEqual([3, 0]);
  });

  it("tells who is there: the signature, the traditional interface without DMA, and no files", () => {
    const guest = machine();
    expect(String.fromCharCode(...item(guest, 0, 4))).toBe("QEMU");
    expect(item(guest, 1, 4)).toEqual([1, 0, 0, 0]);
    expect(item(guest, 0x19, 4)).toEqual([0, 0, 0, 0]);
  });

  it("is zero beyond its end, and zero when there is none", () => {
    const guest = machine();
    expect(item(guest, 0, 6)).toEqual([0x51, 0x45, 0x4d, 0x55, 0, 0]);
    expect(item(guest, 2, 3)).toEqual([0, 0, 0]);
    // Items of the architecture are others than the common ones.
    expect(item(guest, 0x8005, 2)).toEqual([0, 0]);
  });

  it("is selected by a word, bit 14 not counted, and starts anew with it", () => {
    const guest = machine();
    expect(item(guest, 0x4000, 2)).toEqual([0x51, 0x45]);
    guest.bus.portWrite(0x510, 1, 5);
    expect(guest.bus.portRead(0x511, 1)).toBe(0x4d);
    expect(item(guest, 0, 1)).toEqual([0x51]);
  });

  it("cannot be written, and its selector not be read", () => {
    const guest = machine();
    item(guest, 0, 1);
    guest.bus.portWrite(0x511, 1, 0xff);
    expect(guest.bus.portRead(0x510, 1)).toBe(0xff);
    expect(guest.bus.portRead(0x511, 1)).toBe(0x45);
  });
});

interface Step {
  readonly kind: "read" | "write";
  readonly port: number;
  readonly width: 1 | 2 | 4;
  readonly value: number;
}
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("read", "write"),
  port: fc.integer({ min: 0x50d, max: 0x512 }),
  width: fc.constantFrom(1, 2, 4),
  value: fc.oneof(fc.constantFrom(...fwCfgItems.map(({ selector }) => selector)), fc.nat(0xffff_ffff)),
});
const perform = ({ bus }: Guest, { kind, port, width, value }: Step): number => {
  if (kind === "read") return bus.portRead(port, width);
  bus.portWrite(port, width, value);
  return 0;
};

it("answers whatever a guest does", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => answersInWidth(machine(), steps, perform)),
  );
});

describe("saved state", () => {
  const used = (): FwCfg => {
    const guest = machine();
    item(guest, 3, 5);
    return guest.device;
  };

  it("is the golden one and comes back from it", () => {
    const golden = expectGolden("fw-cfg", used().save());
    const guest = machine();
    guest.device.restore(golden);
    expect(guest.device.save()).toEqual(used().save());
    expect(guest.bus.portRead(0x511, 1)).toBe(0);
    guest.device.reset();
    expect(guest.device.inspect()).toEqual({ selector: 0, offset: 0 });
  });

  it("goes on as if nothing had happened", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.array(step, { maxLength: 20 }), (before, after) => {
        goesOnAfterRestore(before, after, {
          start: machine,
          copyOf: machine,
          device: ({ device }) => device,
          seen: () => undefined,
          perform,
        });
      }),
      { numRuns: 50 },
    );
  });

  it("is refused when it does not fit, and then changes nothing", () => {
    const good = used().save();
    refusesStates(used, [
      [{ ...good, version: 0 }, "bad-version"],
      [{ ...good, selector: 0x1_0000 }, "out-of-range"],
      [{ ...good, offset: 9 }, "out-of-range"],
      [{ ...good, selector: 7, offset: 1 }, "out-of-range"],
      [{ ...good, more: 1 }, "bad-shape"],
    ]);
  });
});

it("has every item in its spec", () => {
  const text = readFileSync(new URL("../../../specs/test-device.md", import.meta.url), "utf8");
  for (const { selector, name } of fwCfgItems)
    expect(text).toContain(`| 0x${selector.toString(16).padStart(2, "0")} | ${name} |`);
});

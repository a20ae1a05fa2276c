import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AccessWidth, Bus, BusConflictError } from "./bus.ts";
import type { MmioDevice, PortDevice } from "./device.ts";

/** A device that answers `fill` and writes down what it saw. */
function recorder(fill = 0) {
  const log: string[] = [];
  const device: PortDevice & MmioDevice = {
    portRead: (port, width) => {
      log.push(`in ${port.toString(16)}/${width}`);
      return fill;
    },
    portWrite: (port, width, value) => log.push(`out ${port.toString(16)}/${width} ${value.toString(16)}`),
    mmioRead: (offset, width) => {
      log.push(`read ${offset.toString(16)}/${width}`);
      return fill;
    },
    mmioWrite: (offset, width, value) =>
      log.push(`write ${offset.toString(16)}/${width} ${value.toString(16)}`),
  };
  return { device, log };
}

function conflict(action: () => void): { code: string; message: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof BusConflictError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: "accepted", message: "" };
}

describe("Bus ports", () => {
  it("gives an access to the owner with the absolute port", () => {
    const bus = new Bus();
    const { device, log } = recorder(0x1234);
    bus.registerPorts("uart", 0x3f8, 8, device);
    expect(bus.portRead(0x3f9, 2)).toBe(0x1234);
    bus.portWrite(0x3ff, 1, 0x41);
    expect(log).toEqual(["in 3f9/2", "out 3ff/1 41"]);
  });

  it("reads all ones where nobody answers, drops writes there, and counts both", () => {
    const bus = new Bus();
    expect([bus.portRead(0x80, 1), bus.portRead(0x80, 2), bus.portRead(0x80, 4)]).toEqual([
      0xff, 0xffff, 0xffff_ffff,
    ]);
    bus.portWrite(0x80, 1, 1);
    expect(bus.statistics()[0]).toMatchObject({ name: "unclaimed", kind: "port", reads: 3, writes: 1 });
  });

  it("masks what a device answers and what it is given to the width", () => {
    const bus = new Bus();
    const { device, log } = recorder(-1);
    bus.registerPorts("d", 0x10, 8, device);
    expect([bus.portRead(0x10, 1), bus.portRead(0x10, 2), bus.portRead(0x10, 4)]).toEqual([
      0xff, 0xffff, 0xffff_ffff,
    ]);
    bus.portWrite(0x10, 1, 0xabc);
    bus.portWrite(0x10, 4, -2);
    expect(log.slice(3)).toEqual(["out 10/1 bc", "out 10/4 fffffffe"]);
  });

  it("splits an access that straddles two owners into bytes, low address first", () => {
    const bus = new Bus();
    const low = recorder(0x11);
    const high = recorder(0x22);
    bus.registerPorts("low", 0x20, 2, low.device);
    bus.registerPorts("high", 0x22, 1, high.device);
    expect(bus.portRead(0x20, 4)).toBe(0xff22_1111);
    bus.portWrite(0x21, 2, 0xbbaa);
    expect(low.log).toEqual(["in 20/1", "in 21/1", "out 21/1 aa"]);
    expect(high.log).toEqual(["in 22/1", "out 22/1 bb"]);
  });

  it("reaches an owner whose ports lie in the middle of an access", () => {
    const bus = new Bus();
    const written: number[] = [];
    bus.registerPorts("middle", 0x81, 1, {
      portRead: () => 0x42,
      portWrite: (_port, _width, value) => written.push(value),
    });
    expect(bus.portRead(0x80, 4)).toBe(0xffff_42ff);
    bus.portWrite(0x80, 4, 0x4433_2211);
    expect(written).toEqual([0x22]);
  });

  it("takes bytes beyond port 0xFFFF for unclaimed", () => {
    const bus = new Bus();
    const { device, log } = recorder(0);
    bus.registerPorts("top", 0xffff, 1, device);
    expect(bus.portRead(0xffff, 4)).toBe(0xffff_ff00);
    bus.portWrite(0xffff, 2, 0x0102);
    expect(log).toEqual(["in ffff/1", "out ffff/1 2"]);
  });

  it("refuses overlaps and names both owners", () => {
    const bus = new Bus();
    const { device } = recorder();
    bus.registerPorts("pic", 0x20, 2, device);
    expect(conflict(() => bus.registerPorts("evil", 0x21, 4, device))).toEqual({
      code: "overlap",
      message: "ports 0x21-0x24 of evil overlap 0x20-0x21 of pic",
    });
    expect(bus.portRead(0x22, 1)).toBe(0xff);
  });

  it("refuses empty, fractional and outlying ranges", () => {
    const bus = new Bus();
    const { device } = recorder();
    for (const [first, count] of [
      [0, 0],
      [-1, 2],
      [0xffff, 2],
      [0.5, 1],
      [Number.NaN, 1],
    ] as const) {
      expect(conflict(() => bus.registerPorts("d", first, count, device)).code).toBe("bad-range");
    }
  });

  it("holds 255 ranges and says so when asked for more", () => {
    const bus = new Bus();
    const { device } = recorder();
    for (let i = 0; i < 255; i++) bus.registerPorts(`d${i}`, i * 8, 8, device);
    expect(conflict(() => bus.registerPorts("late", 0x8000, 1, device)).code).toBe("full");
    bus.unregister("d7");
    expect(conflict(() => bus.registerPorts("late", 0x8000, 1, device)).code).toBe("accepted");
  });

  it("forgets every range of a name that is unregistered", () => {
    const bus = new Bus();
    const { device } = recorder(0);
    bus.registerPorts("pic", 0x20, 2, device);
    bus.registerPorts("pic", 0xa0, 2, device);
    bus.registerMmio("pic", 0x1000, 16, device);
    expect(bus.unregister("pic")).toBe(true);
    expect(bus.unregister("pic")).toBe(false);
    expect([bus.portRead(0x21, 1), bus.portRead(0xa0, 1), bus.mmioRead(0x1000, 1)]).toEqual([
      0xff, 0xff, 0xff,
    ]);
  });

  it("counts per range and shows it to people", () => {
    const bus = new Bus();
    const { device } = recorder();
    bus.registerPorts("uart", 0x3f8, 8, device);
    bus.portRead(0x3f8, 1);
    bus.portWrite(0x3f8, 1, 0);
    bus.portWrite(0x3f8, 1, 0);
    expect(bus.statistics()).toContainEqual({
      name: "uart",
      kind: "port",
      first: 0x3f8,
      last: 0x3ff,
      reads: 1,
      writes: 2,
    });
    expect(bus.inspect()["port 0x3f8-0x3ff"]).toEqual({ owner: "uart", reads: 1, writes: 2 });
  });
});

describe("Bus MMIO", () => {
  it("gives an access to the owner with the offset from its base, also above 4 GiB and below a page", () => {
    const bus = new Bus();
    const low = recorder(1);
    const sub = recorder(2);
    const high = recorder(3);
    bus.registerMmio("ioapic", 0xfec0_0000, 0x1000, low.device);
    bus.registerMmio("hpet", 0xfed0_0000, 0x400, sub.device);
    bus.registerMmio("bar", 2 ** 40, 2 ** 34, high.device);
    expect(bus.mmioRead(0xfec0_0010, 4)).toBe(1);
    expect(bus.mmioRead(0xfed0_03fc, 4)).toBe(2);
    expect(bus.mmioRead(0xfed0_0400, 4)).toBe(0xffff_ffff);
    expect(bus.mmioRead(2 ** 40 + 2 ** 34 - 4, 4)).toBe(3);
    bus.mmioWrite(2 ** 40 + 7, 2, 0x1_0005);
    expect(low.log).toEqual(["read 10/4"]);
    expect(sub.log).toEqual(["read 3fc/4"]);
    expect(high.log).toEqual(["read 3fffffffc/4", "write 7/2 5"]);
  });

  it("splits an access across an edge of a range into bytes, whichever side is owned", () => {
    const bus = new Bus();
    const { device, log } = recorder(0);
    bus.registerMmio("d", 0x1002, 4, device);
    expect(bus.mmioRead(0x1000, 4)).toBe(0x0000_ffff);
    expect(bus.mmioRead(0x1004, 4)).toBe(0xffff_0000);
    bus.mmioWrite(0x1001, 2, 0xbbaa);
    expect(log).toEqual(["read 0/1", "read 1/1", "read 2/1", "read 3/1", "write 0/1 bb"]);
  });

  it("refuses overlaps and ranges beyond 2^52", () => {
    const bus = new Bus();
    const { device } = recorder();
    bus.registerMmio("a", 0x1000, 0x1000, device);
    expect(conflict(() => bus.registerMmio("b", 0x1fff, 1, device))).toEqual({
      code: "overlap",
      message: "MMIO 0x1fff-0x1fff of b overlap 0x1000-0x1fff of a",
    });
    expect(conflict(() => bus.registerMmio("c", 2 ** 52, 1, device)).code).toBe("bad-range");
  });

  it("lets a device move its own range in the middle of an access", () => {
    const bus = new Bus();
    const bar: MmioDevice = { mmioRead: (offset) => offset, mmioWrite() {} };
    bus.registerMmio("bar", 0x1_0000, 0x1000, bar);
    bus.registerPorts("pci", 0xcfc, 4, {
      portRead: () => 0,
      portWrite: (_port, _width, value) => {
        bus.unregister("bar");
        bus.registerMmio("bar", value, 0x1000, bar);
      },
    });
    bus.portWrite(0xcfc, 4, 0x8000_0000);
    expect(bus.mmioRead(0x8000_0123, 4)).toBe(0x123);
    expect(bus.mmioRead(0x1_0123, 4)).toBe(0xffff_ffff);
  });
});

describe("Bus properties", () => {
  const width = fc.constantFrom<AccessWidth>(1, 2, 4);

  it("reads as an array of bytes would, for any ranges, address and width", () => {
    const range = fc.record({ first: fc.nat(60), count: fc.integer({ min: 1, max: 12 }) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 8 }), fc.nat(70), width, (ranges, at, w) => {
        const bus = new Bus();
        const model = new Uint8Array(80).fill(0xff);
        ranges.forEach(({ first, count }, i) => {
          // Each byte of a range reads as the range's number, whatever the access's width.
          const answer = (i + 1) * 0x0101_0101;
          const device = {
            portRead: () => answer,
            portWrite() {},
            mmioRead: () => answer,
            mmioWrite() {},
          };
          const code = conflict(() => bus.registerPorts(`${i}`, first, count, device)).code;
          expect(conflict(() => bus.registerMmio(`${i}`, first, count, device)).code).toBe(code);
          if (code === "accepted") model.fill(i + 1, first, first + count);
        });
        let expected = 0;
        for (let i = 0; i < w; i++) expected += model[at + i]! * 2 ** (8 * i);
        expect(bus.portRead(at, w)).toBe(expected);
        expect(bus.mmioRead(at, w)).toBe(expected);
      }),
    );
  });
});

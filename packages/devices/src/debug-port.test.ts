import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bus } from "./bus.ts";
import { DebugPort, debugPorts } from "./debug-port.ts";
import { debugPortRegisters } from "./debug-port-registers.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  refusesStates,
} from "./testing/device-contract.ts";

function machine() {
  const written: number[] = [];
  const port = new DebugPort({ name: "debug", output: (byte) => written.push(byte) });
  const bus = new Bus();
  bus.registerPorts("debug console", debugPorts.console, 1, port);
  bus.registerPorts("post code", debugPorts.post, 1, port);
  return { port, bus, written };
}

describe("the debug console", () => {
  it("hands on each byte, and reads as its own number", () => {
    const { bus, written, port } = machine();
    for (const byte of Buffer.from("hello")) bus.portWrite(0xe9, 1, byte);
    expect(Buffer.from(written).toString()).toBe("hello");
    expect(bus.portRead(0xe9, 1)).toBe(0xe9);
    expect(port.inspect()).toEqual({ post: 0, written: 5 });
  });

  it("takes only its own byte of a wider access", () => {
    const { bus, written } = machine();
    bus.portWrite(0xe8, 4, 0x4443_4241);
    expect(written).toEqual([0x42]);
    expect(bus.portRead(0xe8, 2)).toBe(0xe9ff);
  });
});

describe("the POST code", () => {
  it("is kept until the next one and until a reset", () => {
    const { bus, port, written } = machine();
    bus.portWrite(0x80, 1, 0xa5);
    expect(bus.portRead(0x80, 1)).toBe(0xa5);
    port.reset();
    expect(bus.portRead(0x80, 1)).toBe(0);
    expect(written).toEqual([]);
  });
});

describe("whatever a guest does", () => {
  it("answers values of the access's width and never throws", () => {
    const step = fc.record({
      kind: fc.constantFrom("read" as const, "write" as const),
      port: fc.constantFrom(0x7e, 0x80, 0xe7, 0xe9, 0xea),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) =>
        answersInWidth(machine(), steps, ({ port }, { kind, port: at, width, value }) => {
          if (kind === "read") return port.portRead(at, width);
          port.portWrite(at, width, value);
          return 0;
        }),
      ),
    );
  });
});

describe("saved state", () => {
  it("is the golden one and comes back from it", () => {
    const { bus, port } = machine();
    bus.portWrite(0x80, 1, 0x3c);
    const saved = expectGolden("debug-port", port.save());
    const other = machine();
    other.port.restore(saved);
    expect(other.bus.portRead(0x80, 1)).toBe(0x3c);
  });

  it("is refused when it does not fit, and changes nothing", () => {
    refusesStates(
      () => machine().port,
      [
        [{ version: 2, post: 0 }, "bad-version"],
        [{ version: 1, post: 256 }, "out-of-range"],
        [{ version: 1 }, "bad-shape"],
      ],
    );
  });
});

it("specs/debug-port.md holds the register table", () => {
  expectRegistersInSpec("debug-port", debugPortRegisters);
});

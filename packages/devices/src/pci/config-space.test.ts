import { describe, expect, it } from "vitest";
import { type ConfigRegister, ConfigSpace, configLines } from "./config-space.ts";

const register = (fields: Partial<ConfigRegister> & { readonly at: number }): ConfigRegister => ({
  name: `r${fields.at}`,
  bytes: 4,
  reset: 0,
  writable: 0,
  bits: "b",
  why: "w",
  ...fields,
});

describe("ConfigSpace", () => {
  it("keeps writable bits, clears those that 1 clears, and leaves the rest", () => {
    const space = new ConfigSpace(
      [register({ at: 0x40, reset: 0x0000_00f1, writable: 0xff00, clear: 0x00f0, status: 0x00f0 })],
      256,
      () => {},
    );
    space.write(0x40, 4, 0xffff_ff2f);
    expect(space.read(0x40, 4)).toBe(0xffd1);
    space.write(0x41, 1, 0);
    expect(space.read(0x40, 4)).toBe(0xd1);
  });

  it("reads and writes at any alignment; a write that crosses dwords is its bytes", () => {
    const space = new ConfigSpace(
      [register({ at: 0x40, writable: 0xffff_ffff }), register({ at: 0x44, writable: 0xffff_ffff })],
      256,
      () => {},
    );
    space.write(0x42, 4, 0x1234_5678);
    expect([space.read(0x40, 4), space.read(0x44, 4)]).toEqual([0x5678_0000, 0x1234]);
    expect([space.read(0x43, 2), space.read(0x41, 4), space.read(0x43, 4)]).toEqual([
      0x3456, 0x3456_7800, 0x0012_3456,
    ]);
  });

  it("tells of a write once per dword, with what was there and which bytes were written", () => {
    const seen: unknown[] = [];
    const space = new ConfigSpace([register({ at: 0x44, writable: 0xff, effect: "bar" })], 256, (...write) =>
      seen.push(write),
    );
    space.write(0x44, 4, 0xffff_ffff);
    space.write(0x45, 1, 0x12);
    space.write(0x40, 4, 1);
    expect(seen).toEqual([
      ["bar", 0x44, 0, 0xffff_ffff, 0xffff_ffff],
      ["bar", 0x44, 0xff, 0x1200, 0xff00],
    ]);
  });

  it("reads 0 where it has no register, and all ones beyond its size", () => {
    const space = new ConfigSpace([register({ at: 0x00, reset: 1 })], 4096, () => {});
    expect([space.read(0x80, 4), space.read(0xfff, 1), space.read(0x1000, 4), space.read(0x1000, 1)]).toEqual(
      [0, 0, 0xffff_ffff, 0xff],
    );
    space.write(0x800, 4, 1);
    expect(space.read(0x800, 4)).toBe(0);
  });

  it("goes back to reset values; a function-level reset leaves sticky bits", () => {
    const space = new ConfigSpace(
      [register({ at: 0x40, reset: 0x5, writable: 0xff, sticky: 0xf0 })],
      256,
      () => {},
    );
    space.write(0x40, 1, 0xaa);
    space.reset("function");
    expect(space.read(0x40, 1)).toBe(0xa5);
    space.reset("power-on");
    expect(space.read(0x40, 1)).toBe(0x05);
  });

  it("refuses registers that overlap, leave their dword, or want two effects in one", () => {
    const make =
      (...registers: ConfigRegister[]) =>
      () =>
        new ConfigSpace(registers, 256, () => {});
    expect(make(register({ at: 0x40 }), register({ at: 0x42, bytes: 2 }))).toThrow(RangeError);
    expect(make(register({ at: 0x41 }))).toThrow(RangeError);
    expect(make(register({ at: 0x100 }))).toThrow(RangeError);
    expect(
      make(register({ at: 0x40, bytes: 2, effect: "bar" }), register({ at: 0x42, bytes: 2, effect: "msi" })),
    ).toThrow(RangeError);
  });

  it("prints a row per register", () => {
    expect(configLines([register({ at: 0x44, bytes: 2, reset: 5, writable: 0xff })], 0x40)).toEqual([
      "| 0x04 | 2 | r68 | 0x0005 | 0x00ff | – | b | w |",
    ]);
  });
});

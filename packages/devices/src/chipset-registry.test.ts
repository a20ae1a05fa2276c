import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Chipset } from "./chipset.ts";
import { deviceLines, deviceRegistry } from "./chipset-registry.ts";

const root = new URL("../../../", import.meta.url);
const chipset = new Chipset({
  clock: { now: () => 0 },
  processors: 2,
  tscFrequency: 1e9,
  physicalAddressBits: 40,
  tscOffset: () => ({ low: 0, high: 0 }),
  rtcStart: 0,
  serialOutputs: [1, 2, 3, 4].map(() => () => {}),
  powerOff() {},
  reset() {},
  signals: { init() {}, startup() {}, nmi() {}, ready() {} },
});

describe("device registry", () => {
  it("has each device of a machine in one row", () => {
    for (const name of Object.keys(chipset.save()))
      expect([name, deviceRegistry.filter(({ devices }) => devices.test(name)).length]).toEqual([name, 1]);
  });

  it("has each range of the bus in one row", () => {
    for (const { name } of chipset.bus.statistics()) {
      if (name === "unclaimed") continue;
      const owners = deviceRegistry.filter(({ ranges }) => ranges?.test(name));
      expect([name, owners.length]).toEqual([name, 1]);
    }
  });

  it("names a file in specs/ for each", () => {
    for (const { spec } of deviceRegistry)
      expect([spec, existsSync(new URL(`specs/${spec}`, root))]).toEqual([spec, true]);
  });

  it("is what the README lists", () => {
    const readme = readFileSync(new URL("README.md", root), "utf8");
    const lines = deviceLines(chipset);
    expect(readme).toContain(lines.join("\n"));
  });
});

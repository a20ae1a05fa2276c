import { describe, expect, it } from "vitest";
import { checkConfig, parseSize, type VmConfig } from "./config.ts";

const boot = { kind: "flat", image: new Uint8Array(1), loadAddress: 0x10000, entry: 0x10000 } as const;

describe("VmConfig", () => {
  it("fills in defaults", () => {
    expect(checkConfig({ memory: 2 ** 28, boot })).toMatchObject({
      cpus: 1,
      time: "virtual",
      seed: 1n,
      serialPorts: 2,
    });
  });

  it.each([
    [{ memory: 0, boot }, "memory: "],
    [{ memory: 2 ** 28 + 1, boot }, "memory: must be a multiple of 4096"],
    [{ memory: 2 ** 28, cpus: 0, boot }, "cpus: "],
    [{ memory: 2 ** 28, cpus: 17, boot }, "cpus: "],
    [{ memory: 2 ** 28, cpus: 1.5, boot }, "cpus: "],
    [{ memory: 2 ** 28, boot: { ...boot, loadAddress: -1 } }, "boot.loadAddress: "],
    [{ memory: 2 ** 28, boot: { ...boot, image: "text" } }, "boot.image: must be a Uint8Array"],
    [{ memory: 2 ** 28, boot: { kind: "cdrom" } }, "boot.kind: "],
    [{ memory: 2 ** 28, boot, time: "fast" }, 'time: must be "virtual" or "real"'],
    [{ memory: 2 ** 28, boot, colour: "red" }, "config: "],
    [{ memory: 2 ** 28, boot, rtcStart: 2 ** 52 }, "rtcStart: "],
    [{ memory: 2 ** 28, boot, hypervisor: {} }, "hypervisor: must be a Hypervisor"],
    [{ memory: 2 ** 28, boot, hypervisor: null }, "hypervisor: must be a Hypervisor"],
    [{ memory: 2 ** 28, boot, devices: {} }, "devices: must be an array"],
    [{ memory: 2 ** 28, boot, devices: [5] }, "devices: must be an array"],
    [undefined, "config: must be an object"],
    [null, "config: must be an object"],
    ["x", "config: must be an object"],
  ])("names the field that is wrong: %#", (config, message) => {
    expect(() => checkConfig(config as unknown as VmConfig)).toThrow(
      expect.objectContaining({ code: "bad-config", message: expect.stringContaining(message) }),
    );
  });

  it("names every field that is wrong", () => {
    expect(() => checkConfig({ memory: 1, cpus: 99, boot })).toThrow(/memory: .*; cpus: /);
  });
});

describe("sizes", () => {
  it.each([
    ["256M", 2 ** 28],
    ["1g", 2 ** 30],
    ["64KiB", 65536],
    ["4096", 4096],
    ["2GB", 2 ** 31],
  ])("reads %s", (text, size) => {
    expect(parseSize(text)).toBe(size);
  });

  it.each(["", "M", "-1M", "1.5G", "1T", "0x100", "999999999999999G", "1 M x"])("refuses %s", (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});

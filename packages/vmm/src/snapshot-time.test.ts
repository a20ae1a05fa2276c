import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { Vm, type VmConfig } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-snapshot-time-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

/** A guest at 1 MiB that spins for ever. */
const spinning: VmConfig = {
  memory: 16 * 2 ** 20,
  boot: { kind: "flat", image: Uint8Array.of(0xeb, 0xfe), loadAddress: 0x100000, entry: 0x100000 },
};

describe("a snapshot of a VM that follows real time", () => {
  it("costs the guest none of the time that writing takes", async () => {
    let wall = 1000;
    vi.spyOn(performance, "now").mockImplementation(() => wall);
    await using vm = await Vm.create({ ...spinning, time: "real" });
    expect(await vm.run({ until: 1_000_000 })).toEqual({ kind: "paused" });
    wall += 2; // the wall clock is ahead of the guest, by 1 ms
    const slow = {
      // Reading what is to be kept stands for writing it: five seconds pass.
      get note() {
        wall += 5000;
        return "slow";
      },
    };
    vm.snapshot(join(folder, "real"), slow);
    expect(wall).toBeGreaterThan(6000);
    expect(await vm.run({ until: 1_000_500 })).toEqual({ kind: "paused" });
    expect(vm.now).toBeLessThan(1_001_000);
    wall += 3; // from here on the wall clock counts again
    await vm.run({ until: 4_000_000 });
    expect(vm.now).toBeGreaterThanOrEqual(4_000_000);
    expect(vm.now).toBeLessThan(4_100_000);
  });
});

describe("a VM that was resumed", () => {
  it("cannot be restarted: it has no image to start from, and can go on", async () => {
    const path = join(folder, "resumed");
    await using first = await Vm.create(spinning);
    await first.run({ until: 1000 });
    expect(first.canRestart).toBe(true);
    first.snapshot(path);
    const { vm } = await Vm.resume(path);
    expect(vm.canRestart).toBe(false);
    expect(() => vm.restart()).toThrow(expect.objectContaining({ code: "bad-config" }));
    expect(vm.now).toBe(first.now);
    expect(await vm.run({ until: 5000 })).toEqual({ kind: "paused" });
    await vm[Symbol.asyncDispose]();
  });
});

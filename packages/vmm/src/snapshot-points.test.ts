import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { softwareHypervisor } from "@entresol/backend-software";
import { buildTestGuest } from "@entresol/testguest";
import { afterAll, describe, expect, it } from "vitest";
import { type DeviceFactory, Vm } from "./index.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";

const folder = mkdtempSync(join(tmpdir(), "entresol-snapshot-points-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { image, loadAddress, entry } = buildTestGuest();
const testGuest = (cpus: number) =>
  ({ memory: 16 * 2 ** 20, cpus, boot: { kind: "flat", image, loadAddress, entry } }) as const;

/** A guest at 1 MiB that spins for ever. */
const spinning = {
  memory: 16 * 2 ** 20,
  boot: { kind: "flat", image: Uint8Array.of(0xeb, 0xfe), loadAddress: 0x100000, entry: 0x100000 },
} as const;

/** For its RAM, which is all zero. */
const blankPartition = () =>
  softwareHypervisor.createPartition({ memory: 16 * 2 ** 20, vcpus: 1, time: "virtual", seed: 1n });

const seen = (vm: Vm) => ({
  now: vm.now,
  instructions: vm.statistics().instructions,
  devices: vm.deviceDigest(),
});

describe.each([1, 4])("with %i processors, at any guest time", (cpus) => {
  // Prime, so that points fall into slices anywhere.
  const step = 9_968_787;

  it("neither a pause nor a snapshot and another VM changes what the guest does", async () => {
    await using undisturbed = await Vm.create(testGuest(cpus));
    expect(await undisturbed.run()).toEqual({ kind: "power-off" });
    const end = { ...seen(undisturbed), ram: undisturbed.ramDigest() };

    await using paused = await Vm.create(testGuest(cpus));
    let points = 0;
    while ((await paused.run({ until: paused.now + step })).kind === "paused") points++;
    expect(points).toBeGreaterThan(8);
    expect({ ...seen(paused), ram: paused.ramDigest() }).toEqual(end);

    const path = join(folder, `point-${cpus}`);
    let vm = await Vm.create(testGuest(cpus));
    while ((await vm.run({ until: vm.now + step })).kind === "paused") {
      vm.snapshot(path);
      const before = seen(vm);
      await vm[Symbol.asyncDispose]();
      ({ vm } = await Vm.resume(path));
      expect(seen(vm)).toEqual(before);
    }
    expect({ ...seen(vm), ram: vm.ramDigest() }).toEqual(end);
    await vm[Symbol.asyncDispose]();
  });
});

describe("whose turn it is", () => {
  async function saved() {
    const path = join(folder, "turn");
    await using vm = await Vm.create(testGuest(2));
    await vm.run({ until: 1_000_000 });
    vm.snapshot(path);
    const { header } = readSnapshot(path);
    return { memory: (await blankPartition()).memory, header: header as Record<string, unknown> };
  }

  it("may be missing in a snapshot of an older build", async () => {
    const { header, memory } = await saved();
    const { schedule, ...older } = header;
    expect(schedule).toMatchObject({ turn: expect.any(Number), nextFlush: expect.any(Number) });
    const path = join(folder, "older");
    writeSnapshot(path, older, memory);
    const { vm } = await Vm.resume(path);
    expect(vm.now).toBeGreaterThanOrEqual(1_000_000);
    await vm[Symbol.asyncDispose]();
  });

  it("is refused when it is none", async () => {
    const { header, memory } = await saved();
    const good = { turn: 0, unfinished: null, nextFlush: 0 };
    const path = join(folder, "wrong");
    for (const wrong of [
      null,
      5,
      {},
      { ...good, turn: 2 },
      { ...good, turn: -1 },
      { ...good, nextFlush: 0.5 },
      { ...good, unfinished: 7 },
      { ...good, unfinished: { vcpu: 2, end: 0 } },
      { ...good, unfinished: { vcpu: 0, end: "1" } },
    ]) {
      writeSnapshot(path, { ...header, schedule: wrong }, memory);
      await expect(Vm.resume(path)).rejects.toMatchObject({ code: "bad-snapshot" });
    }
  });

  it("gives a vCPU no more than a slice, whatever the snapshot says", async () => {
    // Its alarm tells how late the run loop looks at the wheel.
    let late = -1;
    const probe: DeviceFactory = ({ time }) => {
      const timer = time.timer("probe", (deadline) => {
        late = time.now() - deadline;
      });
      return {
        name: "probe",
        reset: () => timer.disarm(),
        save: () => ({ version: 1 }),
        restore: () => timer.arm(time.now() + 60_000),
        inspect: () => ({}),
      };
    };
    const path = join(folder, "endless");
    await using vm = await Vm.create({ ...spinning, devices: [probe] });
    await vm.run({ until: 1_000_000 });
    vm.snapshot(path);
    const { header, load } = readSnapshot(path);
    const { memory } = await blankPartition();
    load(memory);
    const unfinished = { vcpu: 0, end: Number.MAX_SAFE_INTEGER };
    const forged = { ...(header as object), schedule: { turn: 0, unfinished, nextFlush: 0 } };
    writeSnapshot(path, forged, memory);
    const { vm: resumed } = await Vm.resume(path, { devices: [probe] });
    expect(await resumed.run({ until: 2_000_000 })).toEqual({ kind: "paused" });
    expect(late).toBeGreaterThanOrEqual(0);
    expect(late).toBeLessThan(60_000);
    await resumed[Symbol.asyncDispose]();
  });
});

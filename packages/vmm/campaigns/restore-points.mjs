// A Debian boot that is saved, given up and gone on with in a new VM at random points of guest time, again and again, beside one
// that nothing disturbs: at every point and at the end both must have executed the same instructions and hold the same devices
// and, at the end, the same RAM. Half of the points lie in a boot with one vCPU, half in one with four.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_COMMAND_LINE } from "../dist/cli/guest-choice.js";
import { ensureGuest, Vm } from "../dist/index.js";

export const description = "save, restore and go on at random points of a Debian 12 boot with 1 and 4 vCPUs";
export const defaultCount = 2000;

const MEMORY = 192 * 2 ** 20;
const PROCESSORS = [1, 4];
/** Guest time that runs on behind the prompt, ns. */
const BEHIND_PROMPT = 50_000_000;
/** A guest that has no prompt by then has none, ns of guest time. */
const GIVE_UP = 5_000_000_000;
const READY = "ENTRESOL READY";

/** 32 random bits by the Weyl sequence and mixer of SplitMix32. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
}

/** What two VMs at the same point must agree on. */
const fingerprint = (vm) => `${vm.statistics().instructions} instructions, devices ${vm.deviceDigest()}`;

/** Makes a VM, lets `use` have it, and gives it back. */
async function withVm(config, use) {
  const vm = await Vm.create(config);
  try {
    return await use(vm);
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

/** Boots to the prompt and a little further without a pause. */
async function undisturbed(vm) {
  let text = "";
  let prompt = false;
  vm.serial[1].onOutput = (bytes) => {
    text += Buffer.from(bytes).toString("latin1");
    if (prompt || !text.includes(READY)) return;
    prompt = true;
    vm.pauseAt(vm.now + BEHIND_PROMPT);
  };
  const stop = await vm.run({ until: GIVE_UP });
  if (!prompt || stop.kind !== "paused")
    throw new Error(`no prompt with ${vm.config.cpus} vCPUs: ${stop.kind}`);
  return { end: vm.now, last: fingerprint(vm), ram: vm.ramDigest() };
}

/** The same boot with a pause at each of `points` and nothing else: what it is there. */
async function pausedAt(vm, points) {
  const prints = [];
  for (const until of points) {
    await vm.run({ until });
    prints.push(fingerprint(vm));
  }
  return prints;
}

/** Goes from point to point, from number `first` on, each time in another VM. Yields what differs at each. */
async function* chain(config, points, first, expected, folder) {
  const path = join(folder, "point");
  let vm = await Vm.create(config);
  try {
    if (first > 0) await vm.run({ until: points[first - 1] });
    for (let i = first; i < points.length; i++) {
      await vm.run({ until: points[i] });
      vm.snapshot(path);
      const saved = fingerprint(vm);
      await vm[Symbol.asyncDispose]();
      ({ vm } = await Vm.resume(path));
      const restored = fingerprint(vm);
      const where = `${config.cpus} vCPUs, guest time ${points[i]} ns`;
      const messages = [];
      if (saved !== expected.prints[i])
        messages.push(`${where}: ${saved}, but ${expected.prints[i]} undisturbed`);
      if (restored !== saved) messages.push(`${where}: ${saved} when saved, but ${restored} when restored`);
      if (i === points.length - 1) {
        await vm.run({ until: expected.end });
        const last = fingerprint(vm);
        if (last !== expected.last)
          messages.push(`${config.cpus} vCPUs, end: ${last}, but ${expected.last} undisturbed`);
        if (vm.ramDigest() !== expected.ram) messages.push(`${config.cpus} vCPUs, end: RAM differs`);
      }
      yield messages;
    }
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

export async function* run({ seed, count, position }) {
  const image = await ensureGuest("debian12");
  const boot = {
    kind: "linux",
    kernel: readFileSync(image.kernel),
    initrd: readFileSync(image.initrd),
    commandLine: DEFAULT_COMMAND_LINE,
  };
  // Snapshots of this size are written a thousand times: not to a disk if there is another place.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "entresol-points-"));
  try {
    let before = 0;
    for (const [n, cpus] of PROCESSORS.entries()) {
      const cases = Math.floor(((n + 1) * count) / PROCESSORS.length) - before;
      const first = Math.max(0, position - before);
      if (first < cases) {
        const config = { memory: MEMORY, cpus, serialPorts: 2, boot };
        const whole = await withVm(config, undisturbed);
        const random = generator(seed * PROCESSORS.length + n);
        const points = Array.from({ length: cases }, () =>
          Math.floor((random() / 2 ** 32) * whole.end),
        ).toSorted((a, b) => a - b);
        const expected = { ...whole, prints: await withVm(config, (vm) => pausedAt(vm, points)) };
        let done = before + first;
        for await (const messages of chain(config, points, first, expected, folder))
          yield { position: ++done, mismatches: messages.length > 0 ? 1 : 0, messages };
      }
      before += cases;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

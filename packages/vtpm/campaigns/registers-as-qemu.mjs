// Our TPM's registers beside QEMU's with swtpm behind, FIFO first, then CRB: random accesses and commands given as drivers do, at every read the same
// value. What differs by design is left out of what is drawn, or made the same before it is looked at: specs/tpm-interfaces.md, "Where it differs".
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ManualTime } from "@entresol/devices";
import { QtestMachine } from "../../backend-qemu/dist/index.js";
import { CrbDevice, InlineExecutor, MemoryStore, TisDevice, TpmHost, tpmBase } from "../dist/index.js";

export const description = "a TPM's registers beside QEMU's with swtpm, reads counted";
export const defaultCount = 20_000;

/** Reads between two looks at the generator: a round's accesses follow from the seed and its number. */
const ROUND = 200;
/** Time that swtpm may take for a command, in looks of 2 ms. */
const LOOKS = 500;
const LOCALITIES = [0, 0x1000, 0x2000, 0x3000];
const COMMANDS = [
  "80010000000c000001440000",
  "8001000000140000017e00000001000b03000001",
  "80020000001b0000013d0000001000000009400000090000000000",
  "80010000000a00000fff",
  "8001000000150000017d0003616263000b40000007",
].map((hex) => [...Buffer.from(hex, "hex")]);

function generator(seed) {
  let state = (Math.imul(seed, 0x9e3779b9) ^ 0x5bd1e995) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** QEMU with one TPM, and the swtpm that it brings power to. */
async function peer(kind) {
  const folder = mkdtempSync(join(tmpdir(), "entresol-swtpm-"));
  const control = join(folder, "control");
  const swtpm = spawn(
    "swtpm",
    ["socket", "--tpm2", "--tpmstate", `dir=${folder}`, "--ctrl", `type=unixio,path=${control}`],
    { stdio: "ignore" },
  );
  swtpm.on("error", () => {});
  while (!existsSync(control)) {
    if (swtpm.exitCode !== null || swtpm.pid === undefined) throw new Error("swtpm does not run here");
    await sleep(10);
  }
  const machine = await QtestMachine.start({
    arguments: ["-chardev", `socket,id=chr,path=${control}`, "-tpmdev", "emulator,id=tpm,chardev=chr"].concat(
      ["-device", `tpm-${kind},tpmdev=tpm`],
    ),
  });
  return {
    machine,
    async end() {
      const ended = swtpm.exitCode === null ? once(swtpm, "exit") : undefined;
      await machine[Symbol.asyncDispose]();
      swtpm.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Both sides of one comparison. */
class Pair {
  constructor(kind, { machine, end }) {
    const host = new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 } });
    const identity = kind.identity;
    const options = { name: "tpm", executor: new InlineExecutor(host), timebase: new ManualTime(), identity };
    this.ours = kind.make(options);
    this.ours.reset();
    this.machine = machine;
    this.end = end;
    this.reads = 0;
    this.told = [];
    this.problem = undefined;
  }
  async write(offset, width, bits) {
    const value = bits % 2 ** (8 * width);
    this.told.push(`0x${offset.toString(16)} <- ${value.toString(16)} (${width})`);
    await this.machine.mmioWrite(tpmBase + offset, width, value);
    this.ours.mmioWrite(offset, width, value);
  }
  async read(offset, width) {
    const theirs = await this.machine.mmioRead(tpmBase + offset, width);
    const ours = this.ours.mmioRead(offset, width);
    this.reads++;
    this.told.push(`0x${offset.toString(16)} -> ${theirs.toString(16)} (${width})`);
    if (ours !== theirs) this.problem ??= `${this.told.slice(-12).join(", ")}; ours ${ours.toString(16)}`;
  }
  /** QEMU's TPM runs on a thread; ours has ended by now. */
  async wait(offset, done) {
    for (let look = 0; look < LOOKS; look++) {
      if (done(await this.machine.mmioRead(tpmBase + offset, 4))) return;
      await sleep(2);
    }
    this.problem ??= `QEMU's command does not end: ${this.told.slice(-12).join(", ")}`;
  }
}

const pick = (random, items) => items[random() % items.length];

async function tisStep(pair, random) {
  const page = pick(random, LOCALITIES);
  const kind = random() % 12;
  if (kind < 2) {
    await pair.write(page, 1, pick(random, [0x02, 0x08, 0x10, 0x20]));
    // A response that was not read through would be there still, at QEMU's.
    for (const each of LOCALITIES) await pair.write(each + 0x18, 1, 0x40);
  } else if (kind === 2) await pair.write(page + 0x18, 1, pick(random, [0x40, 0x02]));
  else if (kind === 3) await pair.write(page + 0x24, pick(random, [1, 2, 4]), random());
  else if (kind === 4) await pair.write(page + 0x08, 4, random() & 0x9f);
  else if (kind === 5) {
    await pair.write(page, 1, 0x02);
    await pair.write(page + 0x18, 1, 0x40);
    for (const byte of pick(random, COMMANDS)) await pair.write(page + 0x24, 1, byte);
    await pair.read(page + 0x18, 4);
    await pair.write(page + 0x18, 1, 0x20);
    await pair.wait(page + 0x18, (status) => status === 0xffff_ffff || (status & 0x10) !== 0);
  } else if (kind < 8) await pair.read(page + 0x24, pick(random, [1, 2, 4]));
  else if (kind < 10) {
    for (const each of LOCALITIES) await pair.read(each, 1);
    await pair.read(page + 0x18, pick(random, [1, 4]));
  } else {
    const places = [0, 0x08, 0x10, 0x14, 0x18, 0x1a, 0x1b, 0x20, 0x28, 0x40, 0xf00, 0xf02, 0xf04];
    await pair.read(page + pick(random, places), pick(random, [1, 2]));
  }
}

const CRB_PLACES = [0, 4, 8, 12, 0x10, 0x14, 0x18, 0x30, 0x34, 0x38, 0x40, 0x44, 0x48, 0x4c].concat([
  0x58, 0x5c, 0x60, 0x64, 0x68, 0x6c,
]);

async function crbStep(pair, random) {
  const kind = random() % 8;
  if (kind < 2) await pair.write(0x08, 4, pick(random, [1, 2]));
  else if (kind < 7) {
    // QEMU takes these from who has not the TPM.
    await pair.write(0x08, 4, 1);
    if (kind === 2) await pair.write(0x40, 4, pick(random, [1, 2]));
    else if (kind < 5) {
      await pair.write(0x40, 4, 1);
      for (const [i, byte] of pick(random, COMMANDS).entries()) await pair.write(0x80 + i, 1, byte);
      await pair.write(0x4c, 4, 1);
      await pair.wait(0x4c, (start) => start === 0);
      for (let i = 0; i < 10; i++) await pair.read(0x80 + i, 1);
    } else await pair.read(0x80 + (random() % 40), pick(random, [1, 2, 4]));
  } else await pair.read(pick(random, CRB_PLACES), pick(random, [1, 2, 4]));
}

const kinds = [
  { name: "tis", make: (options) => new TisDevice(options), step: tisStep },
  {
    name: "crb",
    make: (options) => new CrbDevice({ ...options, localities: 1 }),
    step: crbStep,
    identity: { vendor: 0x1014, device: 0, revision: 0 },
  },
];

export async function* run({ seed, count, position }) {
  let pair;
  let current;
  try {
    for (let done = position; done < count; ) {
      const kind = kinds[done < count / 2 ? 0 : 1];
      if (kind !== current || pair === undefined) {
        await pair?.end();
        pair = undefined;
        pair = new Pair(kind, await peer(kind.name));
        current = kind;
      }
      const random = generator((Math.imul(seed, 1_000_003) + done) >>> 0);
      const from = pair.reads;
      while (pair.reads - from < ROUND && pair.problem === undefined) await kind.step(pair, random);
      done += Math.max(pair.reads - from, 1);
      const messages = pair.problem === undefined ? [] : [`${kind.name}: ${pair.problem}`];
      pair.told.length = 0;
      // What differs once differs from then on: both begin anew.
      if (messages.length > 0) current = undefined;
      yield { position: Math.min(done, count), mismatches: messages.length, messages };
    }
  } finally {
    await pair?.end();
  }
}

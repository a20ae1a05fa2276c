import { isDeepStrictEqual } from "node:util";
import { ManualTime, RecordingLine } from "@entresol/devices";
import { CrbDevice } from "../crb.ts";
import { crbRegisters, hashRegisters } from "../crb-registers.ts";
import type { ExecutorState, TpmExecutor } from "../executor.ts";
import { InlineExecutor } from "../inline-executor.ts";
import type { InterfaceOptions } from "../interface-core.ts";
import { tpmLength } from "../interface-registers.ts";
import { MemoryStore } from "../state-store.ts";
import { TisDevice } from "../tis.ts";
import { tisRegisters } from "../tis-registers.ts";
import { TpmHost } from "../tpm-host.ts";

/*
 * A guest that asks a TPM's registers at random, drives them half properly, and lets time pass. Half of the lives have the engine behind, half a
 * TPM that takes some looks for each command; those go on in a second machine that was restored from the first one's state in the middle.
 */

type Width = 1 | 2 | 4;

/** xorshift, 32 bits; never 0. */
function generator(seed: number): () => number {
  let state = (Math.imul(seed, 0x9e37_79b9) ^ 0x5bd1_e995) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Answers a command with what can be worked out from it, after as many looks as its last byte says. */
class CountingExecutor implements TpmExecutor {
  established = false;
  powered = true;
  bufferSize = 4096;
  #looks = 0;
  #response: Uint8Array | undefined;

  start(command: Uint8Array, locality: number): void {
    if (this.busy) return;
    const response = new Uint8Array(10 + (command.length % 300));
    response.set([0x80, 1, 0, 0, response.length >>> 8, response.length & 0xff, 0, 0, 0, locality]);
    for (let i = 10; i < response.length; i++) response[i] = (command[i % command.length] ?? 0) ^ i;
    this.#response = response;
    this.#looks = (command.at(-1) ?? 0) % 12;
  }
  poll(): Uint8Array | undefined {
    if (this.#response === undefined || this.#looks-- > 0) return undefined;
    return this.finish();
  }
  finish(): Uint8Array | undefined {
    const response = this.#response;
    this.#response = undefined;
    return response;
  }
  get busy(): boolean {
    return this.#response !== undefined;
  }
  cancel(): void {
    this.#looks = Math.min(this.#looks, 1);
  }
  hashStart(): void {}
  hashData(): void {}
  hashEnd(): void {
    this.established = true;
  }
  resetEstablished(locality: number): boolean {
    if (locality < 3) return false;
    this.established = false;
    return true;
  }
  setPhysicalPresence(): void {}
  power(on: boolean): void {
    this.powered = on;
    this.#response = undefined;
  }
  setBufferSize(size: number): number {
    this.bufferSize = size;
    return size;
  }
  save(): ExecutorState {
    this.#looks = 0;
    const { powered, established, bufferSize } = this;
    const response = this.#response;
    return { version: 1, powered, established, bufferSize, ...(response && { response }) };
  }
  restore(state: ExecutorState): void {
    this.powered = state.powered;
    this.established = state.established;
    this.bufferSize = state.bufferSize;
    this.#looks = 0;
    this.#response = state.response;
  }
}

const crbPlaces = [...Object.values(crbRegisters), ...Object.values(hashRegisters)].map(({ at }) => at);
const tisPlaces = [...Object.values(tisRegisters), ...Object.values(hashRegisters)].map(({ at }) => at);

interface Kind {
  readonly places: readonly number[];
  readonly make: (options: InterfaceOptions) => CrbDevice | TisDevice;
  /** Offset and value of dwords that give a command of a locality, byte by byte between them. */
  readonly before: readonly (readonly [at: number, value: number])[];
  readonly bytesAt: (index: number) => number;
  readonly go: readonly [at: number, value: number];
  readonly relinquish: readonly [at: number, value: number];
}
const kinds: readonly Kind[] = [
  {
    places: crbPlaces,
    make: (options) => new CrbDevice(options),
    before: [
      [0x08, 1],
      [0x40, 1],
    ],
    bytesAt: (index) => 0x80 + index,
    go: [0x4c, 1],
    relinquish: [0x08, 2],
  },
  {
    places: tisPlaces,
    make: (options) => new TisDevice(options),
    before: [
      [0x00, 0x02],
      [0x18, 0x40],
    ],
    bytesAt: () => 0x24,
    go: [0x18, 0x20],
    relinquish: [0x00, 0x20],
  },
];

const commands = [
  "80010000000c000001440000",
  "80010000000c0000017b0020",
  "8001000000140000017e00000001000b03000001",
  "8001000000160000017a000000060000010000000040",
  "8001000000150000017d0003616263000b40000007",
  "80020000001b0000013d0000001000000009400000090000000000",
].map((hex) => Uint8Array.from(Buffer.from(hex, "hex")));

class Machine {
  readonly device: CrbDevice | TisDevice;
  readonly time = new ManualTime();
  readonly line = new RecordingLine();

  constructor(kind: Kind, executor: TpmExecutor, hardwareLocality: boolean) {
    const { time: timebase, line } = this;
    this.device = kind.make({ name: "tpm", executor, timebase, line, hardwareLocality });
    this.device.reset();
  }
}

function command(device: CrbDevice | TisDevice, kind: Kind, page: number, bytes: Uint8Array): void {
  for (const [at, value] of kind.before) device.mmioWrite(page + at, 1, value);
  bytes.forEach((byte, i) => {
    device.mmioWrite(page + kind.bytesAt(i), 1, byte);
  });
  device.mmioWrite(page + kind.go[0], 1, kind.go[1]);
}

/** A dynamic launch, as far as the other localities let it and the machine has one. */
function measure(device: CrbDevice | TisDevice, kind: Kind, random: () => number): void {
  const [at, value] = kind.relinquish;
  for (let locality = 0; locality < 5; locality++) device.mmioWrite((locality << 12) + at, 1, value);
  const { hashStart, hashData, hashEnd } = hashRegisters;
  for (const register of [hashStart, hashData, hashData, hashEnd])
    if (random() % 16 !== 0) device.mmioWrite(0x4000 + register.at, 4, random());
}

/** One thing that the guest does; gives what it saw. */
function step(machine: Machine, kind: Kind, random: () => number): number {
  const { device, time } = machine;
  const choice = random() % 16;
  const locality = ((random() % 8) % 5) << 12;
  const width = ([1, 2, 4] as const)[random() % 3]!;
  if (choice < 6) {
    const offset =
      locality + kind.places[random() % kind.places.length]! + ((random() & 7) === 0 ? random() & 3 : 0);
    return access(device, offset, width, random(), (random() & 1) === 0 ? 1 << (random() % 32) : random());
  }
  if (choice < 9) return access(device, random() % (tpmLength - 3), width, random(), random());
  if (choice === 9) {
    time.advance(random() % 400_000);
    return machine.line.history.length;
  }
  if (choice === 10) {
    if (random() % 4 === 0) measure(device, kind, random);
    return machine.line.level ? 1 : 0;
  }
  if (choice === 11 && random() % 64 === 0) device.reset();
  if (choice < 14)
    return access(device, locality + kind.bytesAt(random() % 32), width, random() | 1, random());
  const bytes = commands[random() % commands.length]!.slice();
  if ((random() & 3) === 0) bytes[random() % bytes.length] = random();
  command(device, kind, locality, bytes);
  return device.mmioRead(locality + kind.go[0], 4);
}

function access(
  device: CrbDevice | TisDevice,
  offset: number,
  width: Width,
  kind: number,
  value: number,
): number {
  if ((kind & 1) === 0) {
    device.mmioWrite(offset, width, (value >>> 0) % 2 ** (8 * width));
    return 0;
  }
  const got = device.mmioRead(offset, width);
  if (!(got >= 0 && got < 2 ** (8 * width) && Number.isInteger(got)))
    throw new Error(`0x${offset.toString(16)} reads ${got} in ${width} bytes`);
  return got;
}

/** A life of `count` steps from `seed`: what went wrong. */
export function randomRegisters(seed: number, count: number): string[] {
  const random = generator(seed);
  const kind = kinds[seed & 1]!;
  const engine = (seed & 2) !== 0;
  const hardwareLocality = (random() & 1) === 0;
  const newMachine = (): Machine =>
    new Machine(
      kind,
      engine
        ? new InlineExecutor(new TpmHost({ store: new MemoryStore(), tpm: { now: () => 0 } }))
        : new CountingExecutor(),
      hardwareLocality,
    );
  let done = 0;
  try {
    const machine = newMachine();
    command(machine.device, kind, 0, commands[0]!);
    for (; done < count / 2; done++) step(machine, kind, random);
    const saved = machine.device.save();
    const copy = newMachine();
    copy.device.restore(structuredClone(saved));
    const again = copy.device.save();
    if (!isDeepStrictEqual(again, saved) || copy.line.level !== machine.line.level)
      return [`seed ${seed}: the restored interface saves another state`];
    const from = random();
    const [ours, theirs] = [generator(from), generator(from)];
    // What moved before is not the copy's.
    machine.line.history.length = 0;
    copy.line.history.length = 0;
    for (; done < count; done++) {
      const seen = step(machine, kind, ours);
      const there = step(copy, kind, theirs);
      // The engine's random bytes are its own.
      if (!engine && seen !== there)
        return [`seed ${seed}, step ${done}: 0x${seen.toString(16)}, restored 0x${there.toString(16)}`];
    }
    machine.device.inspect();
    return [];
  } catch (error) {
    return [`seed ${seed}, step ${done}: ${error instanceof Error ? error.stack : String(error)}`];
  }
}

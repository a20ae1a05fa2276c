import { isDeepStrictEqual } from "node:util";
import { Chipset } from "../chipset.ts";
import type { InterruptLine } from "../device.ts";
import { FwCfg } from "../fw-cfg.ts";
import { TestFunction } from "../pci/index.ts";
import { TestDevice, testLineCount } from "../test-device.ts";

/*
 * A guest that asks at random: any range of the chipset, any width and alignment, any order, while time moves on, lines toggle and
 * interrupts are taken. Each case goes on in a second machine that was restored from the first one's saved state in the middle.
 */

type Width = 1 | 2 | 4;

/** What one range of the bus, or one face of the local APICs, offers to a guest. */
interface Place {
  readonly first: number;
  readonly last: number;
  read(machine: Machine, at: number, width: Width): number;
  write(machine: Machine, at: number, width: Width, value: number): void;
}

/** Interrupts, NMIs, INITs, SIPIs and bytes out that one step may cause beyond one for each nanosecond. More is a storm. */
const eventsPerStep = 512;
/** Passes of the clock wheel in one step; a guest with a timer of a few nanoseconds is overtaken, as it is on a busy host. */
const passesPerStep = 48;
const processors = 2;
const widths: readonly Width[] = [1, 2, 4];
const timerPin = 2;
/** A root port whose slot is filled and emptied. */
const hotPort = 1;
const debugConsole = "debug console";
const lines = 24;
const ioapicBase = 0xfec0_0000;
/** RAM that PCI functions can reach. */
const ramSize = 0x1_0000;

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

/** A chipset with its surroundings, which leave a trace. */
class Machine {
  readonly chipset: Chipset;
  readonly lines: readonly InterruptLine[];
  plugged = false;
  /** The test device takes the ports of the debug console. */
  readonly testDevice: boolean;
  readonly ram = new Uint8Array(ramSize);
  /** Everything that went out, mixed into one number, and how much it was. */
  trace = 0;
  events = 0;
  #now: number;
  #resetAsked = false;

  constructor(now: number, testDevice: boolean) {
    this.#now = now;
    this.testDevice = testDevice;
    const zero = { low: 0, high: 0 };
    this.chipset = new Chipset({
      clock: { now: () => this.#now },
      processors,
      tscFrequency: 1e9,
      physicalAddressBits: 40,
      tscOffset: () => zero,
      rtcStart: 1_700_000_000,
      serialOutputs: [1, 2, 3, 4].map((port) => (byte: number) => this.note(port, byte)),
      memory: {
        size: ramSize,
        read: (at, target) => target.set(this.#reached(at, target.length)),
        write: (at, source) => {
          this.#reached(at, source.length).set(source);
          this.note(10, at);
        },
      },
      powerOff: () => this.note(5, 0),
      reset: () => {
        this.#resetAsked = true;
      },
      signals: {
        init: (index) => this.note(6, index),
        startup: (index, vector) => this.note(7, index * 256 + vector),
        nmi: (index) => this.note(8, index),
        ready: (index) => this.note(9, index),
      },
    });
    const { pci, bus, wheel: timebase } = this.chipset;
    const fwCfg = new FwCfg({ name: "fw_cfg", memorySize: ramSize, processors });
    fwCfg.register(bus);
    this.chipset.attach(fwCfg);
    if (testDevice) {
      const device = new TestDevice({
        name: "test device",
        lines: Array.from({ length: testLineCount }, (_, n) =>
          n === timerPin ? undefined : this.chipset.line(n),
        ),
        exit: (value) => this.note(11, value),
      });
      device.register(bus);
      this.chipset.attach(device);
    }
    pci.attach(new TestFunction({ timebase, integrated: true }), { device: 2 });
    pci.attach(new TestFunction({ timebase }), { port: 0 });
    this.chipset.reset();
    this.lines = Array.from({ length: lines }, (_, n) =>
      n === timerPin ? { set() {} } : this.chipset.line(n),
    );
    this.trace = 0;
    this.events = 0;
  }

  get now(): number {
    return this.#now;
  }

  /** Fills the slot of `hotPort`, or empties it. */
  plug(): void {
    const { pci, wheel: timebase } = this.chipset;
    if (this.plugged) pci.hotRemove(hotPort);
    else pci.hotAdd(hotPort, new TestFunction({ timebase }));
    this.plugged = !this.plugged;
  }

  #reached(at: number, length: number): Uint8Array {
    if (at < 0 || at + length > ramSize)
      throw new RangeError(`a device reaches beyond RAM: ${at}, ${length}`);
    return this.ram.subarray(at, at + length);
  }

  note(kind: number, value: number): void {
    this.trace = (Math.imul(this.trace ^ kind, 0x0100_0193) + value) | 0;
    this.events++;
  }

  /** What the machine around a chipset does after each access: resets it when it was asked to, fires what is due. */
  settle(): void {
    if (this.#resetAsked) {
      this.#resetAsked = false;
      this.chipset.reset();
    }
    this.chipset.wheel.fireDue();
  }

  /** Moves time on, stopping at deadlines on the way as often as a run loop would. */
  advance(ns: number): void {
    const { wheel } = this.chipset;
    const end = this.#now + ns;
    for (let pass = 0; pass < passesPerStep && wheel.nextDeadline() <= end; pass++) {
      this.#now = Math.max(this.#now, wheel.nextDeadline());
      this.settle();
    }
    this.#now = end;
  }
}

/** Half of the guests first set up the interrupt controllers as a kernel does, so that interrupts flow. */
function setUpInterrupts({ chipset }: Machine, random: () => number): void {
  const { bus, apics } = chipset;
  for (const apic of apics) apic.mmioWrite(0xf0, 4, 0x1ff);
  for (const [port, vector, cascade] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ] as const) {
    for (const [offset, value] of [
      [0, 0x11],
      [1, vector],
      [1, cascade],
      [1, 1],
      [1, random() & 0xff],
    ] as const)
      bus.portWrite(port + offset, 1, value);
  }
  bus.portWrite(0x4d0, 2, random() & 0xffff);
  for (let pin = 0; pin < lines; pin++) {
    const flags = random() & 0xa100;
    bus.mmioWrite(ioapicBase, 4, 0x11 + 2 * pin);
    bus.mmioWrite(ioapicBase + 0x10, 4, (random() & 1) << 24);
    bus.mmioWrite(ioapicBase, 4, 0x10 + 2 * pin);
    bus.mmioWrite(ioapicBase + 0x10, 4, flags | (0x30 + pin));
  }
}

const ports = (first: number, last: number): Place => ({
  first,
  last,
  read: ({ chipset }, at, width) => chipset.bus.portRead(at & 0xffff, width),
  write: ({ chipset }, at, width, value) => chipset.bus.portWrite(at & 0xffff, width, value),
});

const memory = (first: number, last: number): Place => ({
  first,
  last,
  read: ({ chipset }, at, width) => chipset.bus.mmioRead(Math.max(at, 0), width),
  write: ({ chipset }, at, width, value) => chipset.bus.mmioWrite(Math.max(at, 0), width, value),
});

const apicPage = (index: number): Place => ({
  first: 0,
  last: 0xfff,
  read: ({ chipset }, at, width) => chipset.apics[index]!.mmioRead(at & 0xfff, width),
  write: ({ chipset }, at, width, value) => chipset.apics[index]!.mmioWrite(at & 0xfff, width, value),
});

const out = { low: 0, high: 0 };
const apicMsrs = (index: number, first: number, last: number): Place => ({
  first,
  last,
  read: ({ chipset }, at, width) => {
    if (!chipset.apics[index]!.readMsr(at, out)) return 0;
    return ((out.low ^ out.high) >>> 0) % 2 ** (8 * width);
  },
  write: ({ chipset }, at, width, value) => {
    chipset.apics[index]!.writeMsr(at, value, width === 4 ? 0 : value & 0xff);
  },
});

/** Places by the name of their owner: every owner on the bus now, the local APICs, and what nobody owns. */
function placesOf(chipset: Chipset): Map<string, Place[]> {
  const places = new Map<string, Place[]>();
  for (const { name, kind, first, last } of chipset.bus.statistics()) {
    if (name === "unclaimed") continue;
    const place = kind === "port" ? ports(first, last) : memory(first, last);
    places.set(name, [...(places.get(name) ?? []), place]);
  }
  for (let index = 0; index < processors; index++) {
    places.set(`local-apic ${index}`, [
      apicPage(index),
      apicMsrs(index, 0x800, 0x83f),
      apicMsrs(index, 0x800, 0x8ff),
      apicMsrs(index, 0x1b, 0x1b),
      apicMsrs(index, 0x6e0, 0x6e0),
    ]);
  }
  places.set("unclaimed", [ports(0, 0xffff), memory(0, 2 ** 40), memory(0xe000_0000, 0xffff_ffff)]);
  return places;
}

/** The owners that `randomAccesses` can aim at. */
export function accessTargets(): string[] {
  const machines = [new Machine(0, false), new Machine(0, true)];
  return [...new Set(machines.flatMap(({ chipset }) => [...placesOf(chipset).keys()]))];
}

// Values that set things in motion, beside arbitrary ones: enables, entries of interrupt tables, commands, counts.
const telling = [
  0, 1, 3, 0x0b, 0x11, 0x13, 0x20, 0x40, 0x68, 0x80, 0xff, 0x1ff, 0x11ff, 0x8041, 0x700, 0x400, 0x2_0051,
  0x4_0052, 0x4_0061, 0x8_0062, 0xc_0500, 0xfee0_0800, 0xfee0_0c00, 0x1_0000, 0x8000_0000, 0xffff_ffff,
];

/**
 * Makes `count` accesses, most of them to `target`, drawn from `seed`. Gives what went wrong: an exception, a value wider than its
 * access, a storm, an alarm that stays due, a saved state that is refused or goes on differently.
 */
export function randomAccesses(seed: number, target: string, count: number): string[] {
  const random = generator(seed);
  const below = (limit: number): number => random() % limit;
  const machine = new Machine(below(1e9), target !== debugConsole);
  if (below(2) === 0) setUpInterrupts(machine, random);
  let places = placesOf(machine.chipset);
  let names = [...places.keys()];
  /** Where something answered, so that registers that matter are found in large ranges. */
  const hot: number[] = [];
  const levels = new Array<boolean>(lines).fill(false);
  const half = (count >> 2) + below(Math.max(count >> 1, 1));
  let copy: Machine | undefined;

  const address = (place: Place): number => {
    const length = place.last - place.first + 1;
    const spread = length > 0xffff_ffff ? random() * 0x100 + below(0x100) : random();
    switch (below(8)) {
      case 0:
        return place.first - 3 + below(6);
      case 1:
        return place.last - 3 + below(6);
      case 2:
        return place.first + (spread % length);
      case 3:
        return place.first + ((random() & ((1 << below(24)) - 1)) % length);
      case 4:
      case 5: {
        const at = hot[below(Math.max(hot.length, 1))];
        if (at !== undefined && at >= place.first && at <= place.last) return at;
        return place.first + (spread % length);
      }
      default:
        return place.first + (((spread % length) & ~3 & 0x7fff_ffff) % length);
    }
  };
  const value = (): number => {
    switch (below(6)) {
      case 0:
        return (1 << below(32)) >>> 0;
      case 1:
        return below(0x100);
      case 2:
        return random();
      case 3:
        return (0x8000_0000 | below(0x1_0000)) >>> 0;
      default:
        return telling[below(telling.length)]!;
    }
  };

  /** One step on one machine; the draws have been made. Gives what was read. */
  const act = (on: Machine, step: Step): number => {
    on.events = 0;
    const before = on.now;
    let result = 0;
    switch (step.kind) {
      case "read":
        result = step.place.read(on, step.at, step.width);
        break;
      case "write":
        step.place.write(on, step.at, step.width, step.value);
        break;
      case "time":
        on.advance(step.value);
        break;
      case "line":
        on.lines[step.at]!.set(step.value !== 0);
        break;
      case "take": {
        const apic = on.chipset.apics[step.at]!;
        for (let n = 0; n < step.value && apic.interruptReady(); n++) {
          result = result * 31 + apic.acknowledge();
          if (step.width === 1) continue; // this one forgets its EOI
          if (apic.isX2apic) apic.writeMsr(0x80b, 0, 0);
          else apic.mmioWrite(0xb0, 4, 0);
        }
        break;
      }
      case "input":
        result = on.chipset.serial[step.at]!.receive(new Uint8Array(step.value).fill(step.value));
        break;
      case "button":
        if (step.at === 0) on.chipset.pressPowerButton();
        else if (step.at === 1) on.chipset.pressSleepButton();
        else on.chipset.pci.pressAttentionButton(hotPort);
        break;
      case "plug":
        on.plug();
        break;
      default:
        step satisfies never;
    }
    on.settle();
    if (on.chipset.wheel.nextDeadline() <= on.now) throw new Error("an alarm stays due");
    if (on.events > eventsPerStep + (on.now - before)) throw new Error(`${on.events} events in one step`);
    if (step.kind === "read" && !(Number.isInteger(result) && result >= 0 && result < 2 ** (8 * step.width)))
      throw new Error(`read ${result}`);
    return result;
  };

  const problems: string[] = [];
  for (let n = 0; n < count; ) {
    // Ranges move: a guest writes base address registers.
    if ((n & 0xff) === 0xff) {
      places = placesOf(machine.chipset);
      names = [...places.keys()];
    }
    const name = below(8) === 0 || !places.has(target) ? names[below(names.length)]! : target;
    const step = draw(name);
    const access = n;
    if (step.kind === "read" || step.kind === "write") n++;
    try {
      if (access === half && copy === undefined) copy = restored(machine, levels);
      if (step.kind === "line") levels[step.at] = step.value !== 0;
      const result = act(machine, step);
      if (step.kind === "read" && result !== 0 && result !== 2 ** (8 * step.width) - 1) {
        if (hot.length < 64) hot.push(step.at);
        else hot[below(64)] = step.at;
      }
      if (copy !== undefined) {
        if (act(copy, step) !== result) throw new Error("the restored machine answers differently");
        if (copy.trace !== machine.trace) throw new Error("the restored machine acts differently");
      }
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      problems.push(`${target}, seed ${seed}, access ${access} (${describe(step, name)}): ${text}`);
      return problems;
    }
  }
  if (copy !== undefined && !isDeepStrictEqual(copy.ram, machine.ram))
    problems.push(`${target}, seed ${seed}: the restored machine's RAM ends differently`);
  if (copy !== undefined && !isDeepStrictEqual(copy.chipset.save(), machine.chipset.save()))
    problems.push(
      `${target}, seed ${seed}: the restored machine ends differently: ${difference(copy, machine)}`,
    );
  return problems;

  function draw(name: string): Step {
    const dice = below(32);
    // Seconds at most, and now and then hours: a device that catches up beat by beat would take as long.
    if (dice === 0)
      return { kind: "time", at: 0, width: 4, value: below(2 ** below(32)) * (below(16) === 0 ? 8192 : 1) };
    if (dice === 1) return { kind: "line", at: below(lines), width: 4, value: below(2) };
    if (dice === 2)
      return { kind: "take", at: below(processors), width: widths[below(3)]!, value: 1 + below(3) };
    if (dice === 3 && below(4) === 0)
      return { kind: "input", at: below(machine.chipset.serial.length), width: 4, value: below(40) };
    if (dice === 3 && below(16) === 0) return { kind: "button", at: below(3), width: 4, value: 0 };
    if (dice === 3 && below(16) === 0) return { kind: "plug", at: hotPort, width: 4, value: 0 };
    const offered = places.get(name)!;
    const place = offered[below(offered.length)]!;
    const at = address(place);
    const width = widths[below(3)]!;
    if (below(2) === 0) return { kind: "read", place, at, width };
    return { kind: "write", place, at, width, value: value() % 2 ** (8 * width) };
  }
}

type Step =
  | { readonly kind: "read"; readonly place: Place; readonly at: number; readonly width: Width }
  | {
      readonly kind: "write";
      readonly place: Place;
      readonly at: number;
      readonly width: Width;
      readonly value: number;
    }
  | {
      readonly kind: "time" | "line" | "take" | "input" | "button" | "plug";
      readonly at: number;
      readonly width: Width;
      readonly value: number;
    };

const hex = (value: number): string => `0x${value.toString(16)}`;

function describe(step: Step, name: string): string {
  const { kind, at, width } = step;
  if (kind === "read") return `read ${name} ${hex(at)} width ${width}`;
  if (kind === "write") return `write ${name} ${hex(at)} width ${width} value ${hex(step.value)}`;
  return `${kind} ${at} ${step.value}`;
}

/** A second machine in the state of `machine`, with the same levels on the lines from outside. */
function restored(machine: Machine, levels: readonly boolean[]): Machine {
  const state = machine.chipset.save();
  const copy = new Machine(machine.now, machine.testDevice);
  copy.ram.set(machine.ram);
  levels.forEach((level, n) => {
    copy.lines[n]!.set(level);
  });
  if (machine.plugged) copy.plug();
  copy.chipset.restore(structuredClone(state));
  if (!isDeepStrictEqual(copy.chipset.save(), state))
    throw new Error(`the restored machine saves another state: ${difference(copy, machine)}`);
  const [due, wanted] = [copy.chipset.wheel.nextDeadline(), machine.chipset.wheel.nextDeadline()];
  if (due !== wanted) throw new Error(`the restored machine wakes at ${due}, not at ${wanted}`);
  copy.trace = machine.trace;
  return copy;
}

/** Devices whose states differ, with the fields. */
function difference(one: Machine, other: Machine): string {
  const [first, second] = [one.chipset.save(), other.chipset.save()];
  return Object.keys(second)
    .filter((name) => !isDeepStrictEqual(first[name], second[name]))
    .map((name) => {
      const [a, b] = [first[name] as Record<string, unknown>, second[name] as Record<string, unknown>];
      const fields = Object.keys(b).filter((field) => !isDeepStrictEqual(a[field], b[field]));
      return `${name}: ${fields.map((f) => `${f} ${JSON.stringify(a[f])} not ${JSON.stringify(b[f])}`).join(", ")}`;
    })
    .join("; ");
}

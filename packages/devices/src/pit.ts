import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { Oscillator } from "./oscillator.ts";
import { PitCounter, type PitCounterState } from "./pit-counter.ts";
import { pitRegisters } from "./pit-registers.ts";
import { SavedFields } from "./saved-state.ts";

/** Cycles of the PIT's clock per second of guest time. */
export const pitHertz = 1_193_182;

/** Four ports from `counters`, one at `portB`. */
export const pitPorts = { counters: 0x40, portB: 0x61 } as const;

/** Counter 1 refreshed memory every 18 clocks in the first PCs; port 0x61 bit 4 still tells. */
const refreshClocks = 18;

export interface PitOptions {
  readonly name: string;
  readonly timebase: Timebase;
  /** OUT of counter 0: ISA interrupt 0. */
  readonly line: InterruptLine;
}

export interface PitState {
  readonly version: 1;
  readonly counters: readonly PitCounterState[];
  readonly portB: number;
  /** When counter 0's next edge is due; null is never. */
  readonly edge: number | null;
}

/** The 8254 interval timer with its three counters, and port 0x61, which gates counter 2 and reads its OUT. */
export class Pit extends BytePorts implements Device<PitState> {
  readonly name: string;
  readonly #timebase: Timebase;
  readonly #line: InterruptLine;
  readonly #timer: Timer;
  readonly #clock = new Oscillator(pitHertz);
  readonly #counters: readonly [PitCounter, PitCounter, PitCounter];
  #portB: number = pitRegisters.portB.reset;

  constructor(options: PitOptions) {
    super();
    this.name = options.name;
    this.#timebase = options.timebase;
    this.#line = options.line;
    this.#timer = options.timebase.timer(`${options.name} counter 0`, () => this.#edge());
    // Only counter 2 has a gate that software reaches; the other two are tied high.
    this.#counters = [
      new PitCounter(this.#clock, true),
      new PitCounter(this.#clock, true),
      new PitCounter(this.#clock, false),
    ];
  }

  protected override readByte(port: number): number {
    const now = this.#timebase.now();
    if (port === pitPorts.portB) return this.#readPortB(now);
    return this.#counters[port - pitPorts.counters]?.read(now) ?? (port === pitPorts.counters + 3 ? 0 : 0xff);
  }

  protected override writeByte(port: number, value: number): void {
    const now = this.#timebase.now();
    if (port === pitPorts.portB) {
      this.#portB = value & pitRegisters.portB.writable;
      this.#counters[2].setGate((value & 1) !== 0, now);
      return;
    }
    const selected = port - pitPorts.counters;
    // An edge that is due already must not be lost to what this write does to counter 0.
    if ((selected === 0 || selected === 3) && this.#timer.deadline <= now) this.#edge();
    if (selected === 3) this.#writeControl(value, now);
    else {
      this.#counters[selected]?.writeCount(value, now);
      if (selected === 0) this.#drive(now);
    }
  }

  #writeControl(value: number, now: number): void {
    const selected = value >> 6;
    if (selected === 3) {
      this.#counters.forEach((counter, index) => {
        if ((value & (2 << index)) === 0) return;
        // Bits 5 and 4 are inverted: 0 latches (82C54, "Read-back command").
        if ((value & 0x10) === 0) counter.latchStatus(now);
        if ((value & 0x20) === 0) counter.latchCount(now);
      });
      return;
    }
    const counter = this.#counters[selected]!;
    if ((value & 0x30) === 0) counter.latchCount(now);
    else {
      counter.writeControl(value, now);
      if (selected === 0) this.#drive(now);
    }
  }

  #readPortB(now: number): number {
    const refresh = Math.floor(this.#clock.cycles(now) / refreshClocks) & 1;
    return this.#portB | (refresh << 4) | (this.#counters[2].out(now) ? 0x20 : 0);
  }

  #edge(): void {
    // Modes 2 and 4 pull OUT low for one clock only. Nobody can tell that from an edge at its end, and one event does.
    const mode = this.#counters[0].mode;
    if (mode === 2 || mode === 4 || mode === 5) this.#line.set(false);
    this.#drive(this.#timebase.now());
  }

  #drive(now: number): void {
    const counter = this.#counters[0];
    this.#line.set(this.#level(now));
    this.#timer.arm(counter.nextEdge(now));
  }

  #level(now: number): boolean {
    const mode = this.#counters[0].mode;
    return mode === 2 || mode === 4 || mode === 5 || this.#counters[0].out(now);
  }

  reset(): void {
    this.#counters.forEach((counter, index) => {
      counter.reset(index !== 2);
    });
    this.#portB = pitRegisters.portB.reset;
    this.#drive(this.#timebase.now());
  }

  save(): PitState {
    const edge = this.#timer.deadline;
    return {
      version: 1,
      counters: this.#counters.map((counter) => counter.save()),
      portB: this.#portB,
      edge: Number.isFinite(edge) ? edge : null,
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const counters = fields.list("counters", 3).map((saved, index) => this.#counters[index]!.prepare(saved));
    const portB = fields.integer("portB", 0, pitRegisters.portB.writable);
    const edge = fields.deadline("edge");
    fields.end();
    for (const putInPlace of counters) putInPlace();
    this.#portB = portB;
    this.#line.set(this.#level(this.#timebase.now()));
    this.#timer.arm(edge);
  }

  inspect(): Inspection {
    const now = this.#timebase.now();
    return {
      portB: this.#readPortB(now),
      counter0: this.#counters[0].inspect(now),
      counter1: this.#counters[1].inspect(now),
      counter2: this.#counters[2].inspect(now),
    };
  }
}

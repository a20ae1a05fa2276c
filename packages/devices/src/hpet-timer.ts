import type { Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { type HpetCounter, hpetTick } from "./hpet-counter.ts";
import { HpetTimerBit, hpetRegisters } from "./hpet-registers.ts";
import { type SavedDeadline, type SavedFields, saveDeadline } from "./saved-state.ts";

export interface HpetTimerState {
  readonly configuration: number;
  readonly comparatorLow: number;
  readonly comparatorHigh: number;
  readonly periodLow: number;
  readonly periodHigh: number;
  readonly messageData: number;
  readonly messageAddress: number;
  /** Halves of the comparator that VAL_SET opens for the next write: 1 low, 2 high. */
  readonly settable: number;
  /** Bit of GINTR_STA. */
  readonly status: boolean;
  /** An edge-triggered interrupt holds its line high. */
  readonly edgeHeld: boolean;
  /** Guest time in ns of the next match; null is never. */
  readonly match: SavedDeadline;
  /** Guest time in ns of the next interrupt; null is never. */
  readonly alarm: SavedDeadline;
}

/** Where a timer's interrupts go. */
export interface HpetTimerWiring {
  readonly name: string;
  readonly timebase: Timebase;
  readonly counter: HpetCounter;
  /** The line that LEG_RT_CNF gives the timer; none for timer 2 and up. */
  readonly legacyLine: InterruptLine | undefined;
  /** By IOAPIC input. */
  readonly routes: ReadonlyMap<number, InterruptLine>;
  readonly message: (address: number, data: number) => void;
}

const word = 2 ** 32;
/** Distances and periods from here on, in ticks, are beyond the end of guest time. Sums and products of those below are exact enough to tell. */
const never = 2 ** 50;
/** Guest time that a period below it is stretched to for interrupts, ns: else a guest could stop itself, and its neighbours, for good. */
const shortestPeriod = 1_000;
/** The 8259 pair has the inputs below: it wants an edge held until it is acknowledged. Those above are the IOAPIC's alone, shared with PCI. */
const firstSharedInput = 16;
const writable = hpetRegisters.timerConfiguration.writable;

/**
 * One comparator of the HPET. It knows the guest time of its next match; whoever looks at it first lets it `settle`, so that a
 * timer without an interrupt costs nothing while it runs.
 */
export class HpetTimer {
  readonly #counter: HpetCounter;
  readonly #legacyLine: InterruptLine | undefined;
  readonly #routes: ReadonlyMap<number, InterruptLine>;
  readonly #message: (address: number, data: number) => void;
  readonly #alarm: Timer;
  #configuration = 0;
  #comparatorLow: number = hpetRegisters.comparatorLow.reset;
  #comparatorHigh: number = hpetRegisters.comparatorHigh.reset;
  #periodLow = 0;
  #periodHigh = 0;
  #messageData = 0;
  #messageAddress = 0;
  #settable = 0;
  #status = false;
  #edgeHeld = false;
  #match = Number.POSITIVE_INFINITY;
  #legacy = false;
  /** The line that is high on behalf of this timer. */
  #driven: InterruptLine | undefined;

  constructor(wiring: HpetTimerWiring) {
    this.#counter = wiring.counter;
    this.#legacyLine = wiring.legacyLine;
    this.#routes = wiring.routes;
    this.#message = wiring.message;
    this.#alarm = wiring.timebase.timer(wiring.name, () => this.settle(wiring.timebase.now()));
  }

  get status(): boolean {
    return this.#status;
  }

  get configuration(): number {
    const opened = (this.#settable & 1) !== 0 ? HpetTimerBit.valueSet : 0;
    return hpetRegisters.timerConfiguration.reset | this.#configuration | opened;
  }

  get routeCapability(): number {
    let mask = 0;
    for (const input of this.#routes.keys()) mask |= 1 << input;
    return mask >>> 0;
  }

  get comparatorLow(): number {
    return this.#comparatorLow;
  }

  get comparatorHigh(): number {
    return this.#comparatorHigh;
  }

  get messageData(): number {
    return this.#messageData;
  }

  get messageAddress(): number {
    return this.#messageAddress;
  }

  /** Does what the matches up to now bring: status, interrupt, next comparator. To be called before anything is read or written. */
  settle(now: number): void {
    if (now < this.#match) return;
    if (this.#has(HpetTimerBit.level)) this.#status = true;
    // What is told to others comes last: whoever hears it finds the timer ready for the next match.
    this.#advance(now);
    if (this.#has(HpetTimerBit.interruptEnable)) {
      if (this.#has(HpetTimerBit.message)) this.#message(this.#messageAddress, this.#messageData);
      else if (!this.#has(HpetTimerBit.level)) this.#edge();
    }
    this.#drive();
    this.#arm(now);
  }

  writeConfiguration(value: number, now: number): void {
    const before = this.#configuration;
    let next = value & writable & ~HpetTimerBit.valueSet;
    const route = (next & HpetTimerBit.route) >> 9;
    // Software finds out what a timer can be routed to by reading back what it wrote (2.3.8).
    if (route !== 0 && !this.#routes.has(route))
      next = (next & ~HpetTimerBit.route) | (before & HpetTimerBit.route);
    this.#configuration = next;
    this.#settable = (value & HpetTimerBit.valueSet) !== 0 && this.#has(HpetTimerBit.periodic) ? 3 : 0;
    if (this.#has(HpetTimerBit.mode32)) {
      this.#comparatorHigh = 0;
      this.#periodHigh = 0;
    }
    const changed = before ^ next;
    if ((changed & HpetTimerBit.level) !== 0) this.#status = false;
    if ((changed & ~(HpetTimerBit.periodic | HpetTimerBit.mode32)) !== 0) this.#edgeHeld = false;
    if ((changed & (HpetTimerBit.periodic | HpetTimerBit.mode32)) !== 0) this.#findMatch(now, false);
    this.#drive();
    this.#arm(now);
  }

  /** Writes half of the comparator: in periodic mode the period, and the comparator only if VAL_SET opened it (2.3.9.2.2). */
  writeComparator(high: boolean, value: number, now: number): void {
    if (high && this.#has(HpetTimerBit.mode32)) return;
    const periodic = this.#has(HpetTimerBit.periodic);
    if (periodic) {
      if (high) this.#periodHigh = value;
      else this.#periodLow = value;
    }
    const half = high ? 2 : 1;
    if (!periodic || (this.#settable & half) !== 0) {
      if (high) this.#comparatorHigh = value;
      else this.#comparatorLow = value;
      this.#findMatch(now, true);
    }
    // A 64-bit write comes as two, the low half first: what it opened for the high half ends with the next write of the low one.
    this.#settable = !high && (this.#settable & 1) !== 0 ? 2 : 0;
    this.#arm(now);
  }

  writeMessage(address: boolean, value: number): void {
    if (address) this.#messageAddress = value;
    else this.#messageData = value;
  }

  clearStatus(now: number): void {
    if (!this.#status) return;
    this.#status = false;
    this.#drive();
    this.#arm(now);
  }

  /** The counter was started, halted, or LEG_RT_CNF changed. */
  generalChange(now: number, legacy: boolean, counterChanged: boolean): void {
    if (legacy !== this.#legacy) this.#edgeHeld = false;
    this.#legacy = legacy;
    if (counterChanged) {
      this.#edgeHeld = false;
      this.#findMatch(now, true);
    }
    this.#drive();
    this.#arm(now);
  }

  #has(bit: number): boolean {
    return (this.#configuration & bit) !== 0;
  }

  /** Ticks from one match to the next, Infinity when there is no other one. */
  #repetition(): number {
    const period = this.#has(HpetTimerBit.periodic) ? this.#periodHigh * word + this.#periodLow : 0;
    if (period > 0) return period < never ? period : Number.POSITIVE_INFINITY;
    // A 32-bit comparator matches whenever the low half of the counter comes round (2.3.9.2.1).
    return this.#has(HpetTimerBit.mode32) ? word : Number.POSITIVE_INFINITY;
  }

  /** Finds the next match; one in this very tick only if `inclusive`. */
  #findMatch(now: number, inclusive: boolean): void {
    this.#match = Number.POSITIVE_INFINITY;
    if (!this.#counter.running) return;
    const low = this.#comparatorLow - this.#counter.low(now);
    let distance = low < 0 ? low + word : low;
    if (!this.#has(HpetTimerBit.mode32)) {
      const high = this.#comparatorHigh - this.#counter.high(now) - (low < 0 ? 1 : 0);
      distance += (high < 0 ? high + word : high) * word;
    }
    if (distance === 0 && !inclusive) distance = this.#has(HpetTimerBit.mode32) ? word : never;
    if (distance < never) this.#match = reachable(this.#counter.timeOf(this.#counter.ticks(now) + distance));
  }

  /** Moves the match, and in periodic mode the comparator, beyond now. */
  #advance(now: number): void {
    const repetition = this.#repetition();
    if (repetition === Number.POSITIVE_INFINITY) {
      this.#match = repetition;
      if (this.#has(HpetTimerBit.periodic)) this.#addPeriod(this.#periodLow, this.#periodHigh);
      return;
    }
    const passed = Math.floor((now - this.#match) / (repetition * hpetTick)) + 1;
    const ticks = passed * repetition;
    this.#match = reachable(this.#match + ticks * hpetTick);
    if (this.#has(HpetTimerBit.periodic)) this.#addPeriod(ticks >>> 0, Math.floor(ticks / word));
  }

  #addPeriod(low: number, high: number): void {
    const sum = this.#comparatorLow + low;
    this.#comparatorLow = sum >>> 0;
    if (this.#has(HpetTimerBit.mode32)) return;
    this.#comparatorHigh = (this.#comparatorHigh + high + (sum >= word ? 1 : 0)) >>> 0;
  }

  #line(): InterruptLine | undefined {
    if (this.#has(HpetTimerBit.message)) return undefined;
    if (this.#legacy && this.#legacyLine !== undefined) return this.#legacyLine;
    return this.#routes.get((this.#configuration & HpetTimerBit.route) >> 9);
  }

  #edge(): void {
    const line = this.#line();
    if (line === undefined) return;
    line.set(false);
    line.set(true);
    this.#driven = line;
    this.#edgeHeld =
      line === this.#legacyLine || (this.#configuration & HpetTimerBit.route) >> 9 < firstSharedInput;
  }

  #drive(): void {
    const level = this.#has(HpetTimerBit.level) ? this.#status : this.#edgeHeld;
    const enabled = this.#counter.running && this.#has(HpetTimerBit.interruptEnable);
    const line = level && enabled ? this.#line() : undefined;
    if (line !== this.#driven) this.#driven?.set(false);
    line?.set(true);
    this.#driven = line;
  }

  /** An alarm is needed only for what interrupts. */
  #arm(now: number): void {
    const quiet = this.#has(HpetTimerBit.level) && !this.#has(HpetTimerBit.message) && this.#status;
    let at = this.#match;
    if (quiet || !this.#has(HpetTimerBit.interruptEnable)) at = Number.POSITIVE_INFINITY;
    else if (at < now + shortestPeriod) {
      const period = this.#repetition() * hpetTick;
      if (period < shortestPeriod) at += Math.ceil((now + shortestPeriod - at) / period) * period;
    }
    if (at !== this.#alarm.deadline) this.#alarm.arm(at);
  }

  reset(): void {
    this.#configuration = 0;
    this.#comparatorLow = hpetRegisters.comparatorLow.reset;
    this.#comparatorHigh = hpetRegisters.comparatorHigh.reset;
    this.#periodLow = 0;
    this.#periodHigh = 0;
    this.#messageData = hpetRegisters.messageData.reset;
    this.#messageAddress = hpetRegisters.messageAddress.reset;
    this.#settable = 0;
    this.#status = false;
    this.#edgeHeld = false;
    this.#legacy = false;
    this.#match = Number.POSITIVE_INFINITY;
    this.#drive();
    this.#alarm.disarm();
  }

  save(): HpetTimerState {
    return {
      configuration: this.#configuration,
      comparatorLow: this.#comparatorLow,
      comparatorHigh: this.#comparatorHigh,
      periodLow: this.#periodLow,
      periodHigh: this.#periodHigh,
      messageData: this.#messageData,
      messageAddress: this.#messageAddress,
      settable: this.#settable,
      status: this.#status,
      edgeHeld: this.#edgeHeld,
      match: saveDeadline(this.#match),
      alarm: saveDeadline(this.#alarm.deadline),
    };
  }

  /** Checks a saved timer; the returned function puts it in place and drives its line. */
  prepare(fields: SavedFields, origin: number, running: boolean, legacy: boolean): () => void {
    const configuration = fields.integer("configuration", 0, writable);
    const comparatorLow = fields.dword("comparatorLow");
    const comparatorHigh = fields.dword("comparatorHigh");
    const periodLow = fields.dword("periodLow");
    const periodHigh = fields.dword("periodHigh");
    const messageData = fields.dword("messageData");
    const messageAddress = fields.dword("messageAddress");
    const settable = fields.integer("settable", 0, 3);
    const status = fields.boolean("status");
    const edgeHeld = fields.boolean("edgeHeld");
    const match = fields.deadline("match");
    const alarm = fields.deadline("alarm");
    const route = (configuration & HpetTimerBit.route) >> 9;
    fields.require(
      (configuration & ~(writable & ~HpetTimerBit.valueSet)) === 0,
      "configuration holds writable bits, and VAL_SET is in settable",
    );
    fields.require(route === 0 || this.#routes.has(route), "the route is one that the timer has");
    fields.require(
      (configuration & HpetTimerBit.mode32) === 0 || (comparatorHigh === 0 && periodHigh === 0),
      "a 32-bit timer has no upper halves",
    );
    fields.require(
      match === Number.POSITIVE_INFINITY || (running && (match - origin) % hpetTick === 0),
      "matches are ticks of a running counter",
    );
    fields.require(alarm === Number.POSITIVE_INFINITY || alarm >= match, "an interrupt comes of a match");
    fields.end();
    return () => {
      this.#configuration = configuration;
      this.#comparatorLow = comparatorLow;
      this.#comparatorHigh = comparatorHigh;
      this.#periodLow = periodLow;
      this.#periodHigh = periodHigh;
      this.#messageData = messageData;
      this.#messageAddress = messageAddress;
      this.#settable = settable;
      this.#status = status;
      this.#edgeHeld = edgeHeld;
      this.#match = match;
      this.#legacy = legacy;
      this.#drive();
      this.#alarm.arm(alarm);
    };
  }

  inspect(): Inspection {
    const route = (this.#configuration & HpetTimerBit.route) >> 9;
    return {
      mode: this.#has(HpetTimerBit.periodic) ? "periodic" : "one-shot",
      bits: this.#has(HpetTimerBit.mode32) ? 32 : 64,
      trigger: this.#has(HpetTimerBit.level) ? "level" : "edge",
      enabled: this.#has(HpetTimerBit.interruptEnable),
      delivery: this.#has(HpetTimerBit.message)
        ? "message"
        : this.#legacy && this.#legacyLine !== undefined
          ? "legacy replacement"
          : `input ${route}`,
      comparator: hex64(this.#comparatorHigh, this.#comparatorLow),
      period: hex64(this.#periodHigh, this.#periodLow),
      status: this.#status,
    };
  }
}

/** `time`, or Infinity where guest time does not get to: a state must be saved in whole numbers. */
function reachable(time: number): number {
  return time <= Number.MAX_SAFE_INTEGER ? time : Number.POSITIVE_INFINITY;
}

/** Two halves as one number, for people. */
export function hex64(high: number, low: number): string {
  return `0x${((BigInt(high) << 32n) | BigInt(low)).toString(16)}`;
}

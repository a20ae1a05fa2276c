import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { Oscillator } from "./oscillator.ts";
import { Cmos, flagsMask, periodicCycles, RegisterB, rtcRegisters } from "./rtc-registers.ts";
import { nextAlarm, readTime, writeTime } from "./rtc-time.ts";
import { SavedFields } from "./saved-state.ts";

/** Index and data port of the clock's bank, then those of the extended bank. */
export const rtcPorts = { index: 0x70, data: 0x71, extendedIndex: 0x72, extendedData: 0x73 } as const;

export interface RtcOptions {
  readonly name: string;
  readonly timebase: Timebase;
  /** IRQ, which on a PC is ISA interrupt 8. High while register C holds IRQF. */
  readonly line: InterruptLine;
  /** What the clock shows at guest time 0: seconds since 1970-01-01 UTC. Never the host's clock: a run must repeat. */
  readonly startTime: number;
}

export interface RtcState {
  /** Version 1 had no extended bank: it restores as zeros. */
  readonly version: 2;
  readonly index: number;
  /** 128 bytes. Time and calendar are current only while the clock is stopped. */
  readonly ram: Uint8Array;
  /** 7 bits. */
  readonly extendedIndex: number;
  /** 128 bytes. */
  readonly extendedRam: Uint8Array;
  /** Register C bits 6:4. */
  readonly flags: number;
  /** Guest time in ns at which the divider chain began a second; may be negative. */
  readonly phase: number;
  /** Seconds since 1970 that the clock showed, or would have shown, at `phase`. */
  readonly base: number;
  readonly weekdayShift: number;
  /** Guest time up to which the flags are worked out. */
  readonly seen: number;
}

const second = 1_000_000_000;
/** UIP is set for 8 cycles of the crystal before an update. */
const updateWarning = 244_141;
/** "The first update cycle begins one-half second later" than the end of the divider's reset. */
const firstUpdate = 500_000_000;
const largestEpoch = 1e12;

/** MC146818A clock in 128 bytes of CMOS RAM, and the chipset's 128 bytes beside them. Its flags are worked out from guest time when somebody looks. */
export class Rtc extends BytePorts implements Device<RtcState> {
  readonly name: string;
  readonly #timebase: Timebase;
  readonly #line: InterruptLine;
  readonly #timer: Timer;
  readonly #crystal = new Oscillator(32_768);
  readonly #ram = new Uint8Array(128);
  readonly #extendedRam = new Uint8Array(128);
  #index = 0;
  #extendedIndex = 0;
  #flags = 0;
  #phase = 0;
  #base: number;
  #weekdayShift = 0;
  /** The second that the time and calendar bytes of `#ram` show, NaN when something has been written since. */
  #shown = Number.NaN;
  #seen: number;
  #level = false;

  /** Throws RangeError for a start time that is not within 30000 years. */
  constructor(options: RtcOptions) {
    super();
    const base = Math.floor(options.startTime);
    if (!(Math.abs(base) <= largestEpoch)) {
      throw new RangeError(`${options.name}: ${options.startTime} is not a time in seconds since 1970`);
    }
    this.name = options.name;
    this.#timebase = options.timebase;
    this.#line = options.line;
    this.#timer = options.timebase.timer(`${options.name} event`, () => this.#update(this.#timebase.now()));
    this.#base = base;
    this.#seen = this.#timebase.now();
    this.#ram[Cmos.a] = rtcRegisters.a.reset;
    this.#ram[Cmos.b] = rtcRegisters.b.reset;
    this.#ram[Cmos.d] = rtcRegisters.d.reset;
  }

  /** Port 0x70 bit 7: the platform does not deliver NMIs. */
  get nmiMasked(): boolean {
    return (this.#index & 0x80) !== 0;
  }

  protected override readByte(port: number): number {
    if (port === rtcPorts.extendedIndex) return this.#extendedIndex;
    if (port === rtcPorts.extendedData) return this.#extendedRam[this.#extendedIndex]!;
    if (port !== rtcPorts.data) return 0xff;
    const now = this.#timebase.now();
    const at = this.#index & 0x7f;
    switch (at) {
      case Cmos.a:
        return this.#ram[at]! | (this.#updateInProgress(now) ? 0x80 : 0);
      case Cmos.c:
        return this.#readFlags(now);
      case Cmos.seconds:
      case Cmos.minutes:
      case Cmos.hours:
      case Cmos.weekday:
      case Cmos.day:
      case Cmos.month:
      case Cmos.year:
      case Cmos.century:
        if (this.#updates()) this.#showTime(now);
        return this.#ram[at]!;
      default:
        return this.#ram[at]!;
    }
  }

  protected override writeByte(port: number, value: number): void {
    if (port === rtcPorts.index) this.#index = value;
    if (port === rtcPorts.extendedIndex) this.#extendedIndex = value & rtcRegisters.extendedIndex.writable;
    if (port === rtcPorts.extendedData) this.#extendedRam[this.#extendedIndex] = value;
    if (port !== rtcPorts.data) return;
    const now = this.#timebase.now();
    const at = this.#index & 0x7f;
    // Up to now the old settings held.
    this.#notice(now);
    switch (at) {
      case Cmos.a:
        this.#writeA(value & rtcRegisters.a.writable, now);
        break;
      case Cmos.b:
        this.#writeB(value, now);
        break;
      case Cmos.c:
      case Cmos.d:
        return;
      case Cmos.seconds:
      case Cmos.minutes:
      case Cmos.hours:
      case Cmos.weekday:
      case Cmos.day:
      case Cmos.month:
      case Cmos.year:
      case Cmos.century:
        if (this.#updates()) {
          this.#showTime(now);
          this.#ram[at] = value;
          this.#takeTime(now);
        } else this.#ram[at] = value;
        break;
      default:
        this.#ram[at] = value;
    }
    this.#shown = Number.NaN;
    this.#update(now);
  }

  #writeA(value: number, now: number): void {
    const ran = this.#chainRuns();
    const updated = this.#updates();
    if (updated) this.#showTime(now);
    this.#ram[Cmos.a] = value;
    if (!this.#chainRuns()) return;
    if (!ran) this.#phase = now - firstUpdate;
    if (!updated && this.#updates()) this.#takeTime(now);
  }

  #writeB(value: number, now: number): void {
    const updated = this.#updates();
    if (updated) this.#showTime(now);
    const set = (value & RegisterB.set) !== 0;
    this.#ram[Cmos.b] = set ? value & ~RegisterB.update : value;
    if (!updated && this.#updates()) this.#takeTime(now);
  }

  #readFlags(now: number): number {
    this.#notice(now);
    const value = this.#flags | (this.#requests() ? 0x80 : 0);
    this.#flags = 0;
    this.#update(now);
    return value;
  }

  /** Dividers 0 to 2 are for three crystals; a PC has the one of 2, and 0 and 1 run alike. The others stop the chain. */
  #chainRuns(): boolean {
    return (this.#ram[Cmos.a]! & 0x70) <= 0x20;
  }

  #updates(): boolean {
    return this.#chainRuns() && (this.#ram[Cmos.b]! & RegisterB.set) === 0;
  }

  #updateInProgress(now: number): boolean {
    if (!this.#updates()) return false;
    const elapsed = now - this.#phase;
    return elapsed - Math.floor(elapsed / second) * second >= second - updateWarning;
  }

  /** Seconds since 1970 that the clock shows while it updates. */
  #epoch(now: number): number {
    return this.#base + Math.floor((now - this.#phase) / second);
  }

  #showTime(now: number): void {
    const epoch = this.#epoch(now);
    if (epoch === this.#shown) return;
    writeTime(this.#ram, epoch, this.#ram[Cmos.b]!, this.#weekdayShift);
    this.#shown = epoch;
  }

  /** The clock goes on from what the registers hold, in step with the divider chain. */
  #takeTime(now: number): void {
    const { epoch, weekdayShift } = readTime(this.#ram, this.#ram[Cmos.b]!);
    this.#base = epoch - Math.floor((now - this.#phase) / second);
    this.#weekdayShift = weekdayShift;
  }

  /** Sets the flags of everything that happened since the last look. */
  #notice(now: number): void {
    const seen = this.#seen;
    this.#seen = now;
    if (seen >= now || !this.#chainRuns()) return;
    const period = this.#period();
    if (period > 0 && this.#periods(seen, period) !== this.#periods(now, period)) {
      this.#flags |= RegisterB.periodic;
    }
    if (!this.#updates() || this.#epoch(seen) === this.#epoch(now)) return;
    this.#flags |= RegisterB.update;
    if ((this.#flags & RegisterB.alarm) !== 0) return;
    if (nextAlarm(this.#ram, this.#epoch(seen), this.#ram[Cmos.b]!) <= this.#epoch(now)) {
      this.#flags |= RegisterB.alarm;
    }
  }

  #period(): number {
    return periodicCycles[this.#ram[Cmos.a]! & 0x0f]!;
  }

  #periods(at: number, period: number): number {
    return Math.floor(this.#crystal.cycles(at - this.#phase) / period);
  }

  #requests(): boolean {
    return (this.#flags & this.#ram[Cmos.b]! & flagsMask) !== 0;
  }

  #update(now: number): void {
    this.#notice(now);
    const level = this.#requests();
    if (level) this.#timer.disarm();
    else this.#timer.arm(this.#nextEvent(now));
    if (level === this.#level) return;
    this.#level = level;
    this.#line.set(level);
  }

  /** Guest time of the next event that would interrupt. Only called while none does, so an enabled flag is not set. */
  #nextEvent(now: number): number {
    const enabled = this.#ram[Cmos.b]! & flagsMask;
    let next = Number.POSITIVE_INFINITY;
    if (enabled === 0 || !this.#chainRuns()) return next;
    const period = this.#period();
    if ((enabled & RegisterB.periodic) !== 0 && period > 0) {
      next = this.#phase + this.#crystal.timeOf((this.#periods(now, period) + 1) * period);
    }
    if (!this.#updates()) return next;
    const epoch = this.#epoch(now);
    if ((enabled & RegisterB.update) !== 0) next = Math.min(next, this.#timeOfEpoch(epoch + 1));
    if ((enabled & RegisterB.alarm) !== 0) {
      next = Math.min(next, this.#timeOfEpoch(nextAlarm(this.#ram, epoch, this.#ram[Cmos.b]!)));
    }
    return next;
  }

  #timeOfEpoch(epoch: number): number {
    return this.#phase + (epoch - this.#base) * second;
  }

  /** The RESET pin: interrupts off, flags clear. Time, alarm and RAM live on the battery. */
  reset(): void {
    const now = this.#timebase.now();
    this.#notice(now);
    this.#index = rtcRegisters.index.reset;
    this.#extendedIndex = rtcRegisters.extendedIndex.reset;
    this.#flags = 0;
    this.#ram[Cmos.b]! &= ~(flagsMask | RegisterB.squareWave);
    this.#update(now);
  }

  save(): RtcState {
    return {
      version: 2,
      index: this.#index,
      ram: this.#ram.slice(),
      extendedIndex: this.#extendedIndex,
      extendedRam: this.#extendedRam.slice(),
      flags: this.#flags,
      phase: this.#phase,
      base: this.#base,
      weekdayShift: this.#weekdayShift,
      seen: this.#seen,
    };
  }

  restore(state: unknown): void {
    const now = this.#timebase.now();
    const fields = SavedFields.open(this.name, state, 1, 2);
    const index = fields.byte("index");
    const ram = fields.bytes("ram", this.#ram.length);
    const isExtended = fields.integer("version", 1, 2) === 2;
    const extendedIndex = isExtended ? fields.integer("extendedIndex", 0, 0x7f) : 0;
    const extendedRam = isExtended ? fields.bytes("extendedRam", this.#extendedRam.length) : undefined;
    const flags = fields.byte("flags");
    const phase = fields.integer("phase", -firstUpdate, now);
    const base = fields.integer("base", -2 * largestEpoch, 2 * largestEpoch);
    const weekdayShift = fields.integer("weekdayShift", 0, 6);
    const seen = fields.integer("seen", phase, now);
    fields.require((flags & ~flagsMask) === 0, "flags are bits 6 to 4");
    fields.require(
      (ram[Cmos.a]! & 0x80) === 0 && ram[Cmos.c] === 0,
      "UIP and register C are not kept in RAM",
    );
    fields.require(ram[Cmos.d] === rtcRegisters.d.reset, "register D is constant");
    fields.end();
    this.#index = index;
    this.#ram.set(ram);
    this.#extendedIndex = extendedIndex;
    if (extendedRam === undefined) this.#extendedRam.fill(0);
    else this.#extendedRam.set(extendedRam);
    this.#flags = flags;
    this.#phase = phase;
    this.#base = base;
    this.#weekdayShift = weekdayShift;
    this.#seen = seen;
    this.#shown = Number.NaN;
    // Not `#update`: what happened between saving and now is noticed when it would have been.
    this.#level = this.#requests();
    this.#line.set(this.#level);
    if (this.#level) this.#timer.disarm();
    else this.#timer.arm(this.#nextEvent(seen));
  }

  inspect(): Inspection {
    const now = this.#timebase.now();
    return {
      time: this.#updates() ? new Date(this.#epoch(now) * 1000).toISOString() : "stopped",
      index: this.#index & 0x7f,
      nmiMasked: this.nmiMasked,
      a: this.#ram[Cmos.a]! | (this.#updateInProgress(now) ? 0x80 : 0),
      b: this.#ram[Cmos.b]!,
      c: this.#flags | (this.#requests() ? 0x80 : 0),
      interrupt: this.#level,
    };
  }
}

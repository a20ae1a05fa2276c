import type { Msr64 } from "@entresol/hypervisor";
import type { Timebase, Timer } from "./device.ts";
import { type SavedDeadline, type SavedFields, saveDeadline } from "./saved-state.ts";

/** LVT timer bits 18:17. The reserved value 3 counts like one-shot. */
export const timerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

/** How the guest's TSC follows guest time. */
export interface TscSource {
  /** Ticks per second, a multiple of 1000. */
  readonly frequency: number;
  /** What the guest added by writing the TSC, modulo 2^64: TSC = ticks since start + offset. */
  offset(): Msr64;
}

export interface ApicTimerState {
  readonly initialCount: number;
  readonly divide: number;
  readonly due: SavedDeadline;
  readonly tscDeadlineLow: number;
  readonly tscDeadlineHigh: number;
}

/** A deadline beyond 2^53 ns (104 days) is kept but never armed: guest time does not get there. */
const horizon = Number.MAX_SAFE_INTEGER;

/**
 * The local APIC's timer (SDM 3A, "APIC Timer"). Its input clock runs at 1 GHz, so that a count of 1 at divide 1 is 1 ns. It
 * holds no running counter: the current count follows from the deadline.
 */
export class ApicTimer {
  readonly #time: Timebase;
  readonly #alarm: Timer;
  readonly #tsc: TscSource;
  readonly #expired: () => void;
  #mode = 0;
  #initialCount = 0;
  #divide = 0;
  #deadlineLow = 0;
  #deadlineHigh = 0;

  /** `expired` is called once per period; whether the LVT lets it through is the APIC's business. */
  constructor(name: string, time: Timebase, tsc: TscSource, expired: () => void) {
    this.#time = time;
    this.#tsc = tsc;
    this.#expired = expired;
    this.#alarm = time.timer(name, (deadline) => this.#fire(deadline));
  }

  reset(): void {
    this.#alarm.disarm();
    this.#mode = 0;
    this.#initialCount = 0;
    this.#divide = 0;
    this.#deadlineLow = 0;
    this.#deadlineHigh = 0;
  }

  /** Guest time in ns of the next expiry; Infinity when stopped. */
  get due(): number {
    return this.#alarm.deadline;
  }

  /**
   * LVT timer bits 18:17. Going to or from TSC-deadline mode stops the timer; between one-shot and periodic the count
   * goes on from where it is.
   */
  setMode(mode: number): void {
    if (mode === this.#mode) return;
    if (mode === timerMode.tscDeadline || this.#mode === timerMode.tscDeadline) {
      this.#alarm.disarm();
      this.#initialCount = 0;
      this.#deadlineLow = 0;
      this.#deadlineHigh = 0;
    }
    this.#mode = mode;
  }

  get initialCount(): number {
    return this.#initialCount;
  }

  /** TMICT: starts the count; 0 stops it. */
  set initialCount(count: number) {
    if (this.#mode === timerMode.tscDeadline) return;
    this.#initialCount = count;
    if (count === 0) this.#alarm.disarm();
    else this.#alarm.arm(this.#time.now() + count * this.#divisor());
  }

  /** TMCCT. */
  get currentCount(): number {
    const due = this.#alarm.deadline;
    if (due === Number.POSITIVE_INFINITY || this.#mode === timerMode.tscDeadline) return 0;
    let left = due - this.#time.now();
    if (left <= 0) {
      // The expiry is due but has not been noticed yet.
      if (this.#mode !== timerMode.periodic) return 0;
      const period = this.#initialCount * this.#divisor();
      left = period - (-left % period);
    }
    return Math.ceil(left / this.#divisor());
  }

  get divide(): number {
    return this.#divide;
  }

  /** DCR. A running count keeps its value and goes on at the new rate. */
  set divide(value: number) {
    const left = this.currentCount;
    this.#divide = value;
    if (left !== 0) this.#alarm.arm(this.#time.now() + left * this.#divisor());
  }

  /** IA32_TSC_DEADLINE: 0 when the timer is not armed or in another mode. */
  readDeadline(out: Msr64): void {
    out.low = this.#deadlineLow;
    out.high = this.#deadlineHigh;
  }

  /** Arms for the moment at which the TSC reaches the value, at once when it has; 0 disarms. Ignored in other modes. */
  writeDeadline(low: number, high: number): void {
    if (this.#mode !== timerMode.tscDeadline) return;
    this.#deadlineLow = low;
    this.#deadlineHigh = high;
    this.#armDeadline();
  }

  /** The TSC's offset has changed: the deadline stays where it is on the TSC's scale. */
  tscChanged(): void {
    if (this.#mode === timerMode.tscDeadline) this.#armDeadline();
  }

  save(): ApicTimerState {
    return {
      initialCount: this.#initialCount,
      divide: this.#divide,
      due: saveDeadline(this.#alarm.deadline),
      tscDeadlineLow: this.#deadlineLow,
      tscDeadlineHigh: this.#deadlineHigh,
    };
  }

  /** Checks a saved state and returns what puts it in place; the mode comes from the LVT. */
  prepare(fields: SavedFields, mode: number): () => void {
    const initialCount = fields.dword("initialCount");
    const divide = fields.integer("divide", 0, 0xb);
    const due = fields.deadline("due");
    const low = fields.dword("tscDeadlineLow");
    const high = fields.dword("tscDeadlineHigh");
    fields.end();
    fields.require((divide & 4) === 0, "divide has bit 2 set");
    const deadlineMode = mode === timerMode.tscDeadline;
    fields.require(deadlineMode || (low === 0 && high === 0), "a TSC deadline outside TSC-deadline mode");
    fields.require(!deadlineMode || initialCount === 0, "an initial count in TSC-deadline mode");
    fields.require(
      due === Number.POSITIVE_INFINITY || (deadlineMode ? low !== 0 || high !== 0 : initialCount !== 0),
      "armed without a count or a deadline",
    );
    return () => {
      this.#mode = mode;
      this.#initialCount = initialCount;
      this.#divide = divide;
      this.#deadlineLow = low;
      this.#deadlineHigh = high;
      this.#alarm.arm(due);
    };
  }

  #fire(deadline: number): void {
    if (this.#mode === timerMode.periodic) {
      const period = this.#initialCount * this.#divisor();
      const late = this.#time.now() - deadline;
      // Periods that have passed unnoticed are one interrupt, as they would be in the IRR.
      this.#alarm.arm(deadline + period * (Math.floor(late / period) + 1));
    } else if (this.#mode === timerMode.tscDeadline) {
      this.#deadlineLow = 0;
      this.#deadlineHigh = 0;
    }
    this.#expired();
  }

  /** DCR bits 3, 1, 0 count 2, 4, ... 128, 1. */
  #divisor(): number {
    const exponent = ((this.#divide >> 1) & 4) | (this.#divide & 3);
    return exponent === 7 ? 1 : 2 << exponent;
  }

  #armDeadline(): void {
    const low = this.#deadlineLow;
    const high = this.#deadlineHigh;
    if (low === 0 && high === 0) {
      this.#alarm.disarm();
      return;
    }
    // The TSC now, in two halves: a guest may set it anywhere in 64 bits, where a double has gaps.
    const now = this.#time.now();
    const ticks = this.#ticksAt(now);
    const ticksHigh = Math.floor(ticks / 0x1_0000_0000);
    const offset = this.#tsc.offset();
    const lowSum = ticks - ticksHigh * 0x1_0000_0000 + offset.low;
    const carry = lowSum > 0xffff_ffff ? 1 : 0;
    const tscHigh = (ticksHigh + offset.high + carry) >>> 0;
    // Exact where it matters: a distance that a double cannot hold is beyond the horizon.
    const ahead = (high - tscHigh) * 0x1_0000_0000 + (low - (lowSum - carry * 0x1_0000_0000));
    if (ahead <= 0) {
      this.#alarm.disarm();
      this.#fire(now);
      return;
    }
    const target = ticks + ahead;
    const due = this.#timeOfTick(target);
    if (target <= horizon && due <= horizon) this.#alarm.arm(due);
    else this.#alarm.disarm();
  }

  // Whole milliseconds and the rest apart: each product then stays below 2^53 and is exact.
  #ticksAt(ns: number): number {
    if (this.#tsc.frequency === 1e9) return ns;
    const perMillisecond = this.#tsc.frequency / 1000;
    const milliseconds = Math.floor(ns / 1e6);
    return milliseconds * perMillisecond + Math.floor(((ns - milliseconds * 1e6) * perMillisecond) / 1e6);
  }

  /** The first ns at which `ticksAt` has reached `tick`. */
  #timeOfTick(tick: number): number {
    if (this.#tsc.frequency === 1e9) return tick;
    const perMillisecond = this.#tsc.frequency / 1000;
    const milliseconds = Math.floor(tick / perMillisecond);
    return milliseconds * 1e6 + Math.ceil(((tick - milliseconds * perMillisecond) * 1e6) / perMillisecond);
  }
}

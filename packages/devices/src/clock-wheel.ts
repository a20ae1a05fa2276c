import type { Inspection, Timebase, Timer } from "./device.ts";

const disarmed = Number.POSITIVE_INFINITY;

/**
 * All alarms of a machine over its guest clock. It holds no state of its own worth saving: each device saves its deadlines
 * and arms them again when it is restored.
 *
 * The run loop asks `nextDeadline()`, lets the guest run until then, and calls `fireDue()`.
 */
export class ClockWheel implements Timebase {
  /** Called when an alarm becomes the earliest outside `fireDue`: a running vCPU has a deadline that is now too late. */
  onEarlier: (() => void) | undefined;

  readonly #clock: { now(): number };
  readonly #names: string[] = [];
  readonly #fire: ((deadline: number) => void)[] = [];
  readonly #fired: number[] = [];
  // A machine has a few dozen alarms: a scan over one typed array beats a heap's bookkeeping.
  #deadlines = new Float64Array(16).fill(disarmed);
  #lastPass = new Float64Array(16);
  #earliest = disarmed;
  /** The earliest alarm was moved later or away: scan before `#earliest` is used. */
  #stale = false;
  #pass = 0;
  #firing = false;
  #passNow = 0;

  constructor(clock: { now(): number }) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  timer(name: string, fire: (deadline: number) => void): Timer {
    const index = this.#fire.length;
    if (index === this.#deadlines.length) this.#grow();
    this.#names.push(name);
    this.#fire.push(fire);
    this.#fired.push(0);
    const wheel = this;
    return {
      arm: (deadline) => wheel.#arm(index, deadline),
      disarm: () => wheel.#arm(index, disarmed),
      get deadline() {
        return wheel.#deadlines[index]!;
      },
    };
  }

  /** Guest time in ns of the earliest alarm; Infinity when none is armed. May lie in the past. */
  nextDeadline(): number {
    if (this.#stale) this.#rescan();
    return this.#earliest;
  }

  /**
   * Fires every alarm that is due now, in the order of deadline, then creation. Each alarm fires at most once per call, and one
   * that arms itself into the past again waits until the next nanosecond: an alarm with a period shorter than the time
   * between two calls loses beats, it cannot keep the guest from running.
   */
  fireDue(): void {
    if (this.#firing) return;
    const now = this.#clock.now();
    if (this.nextDeadline() > now) return;
    this.#firing = true;
    this.#passNow = now;
    this.#pass++;
    try {
      for (let index = this.#nextDue(now); index >= 0; index = this.#nextDue(now)) {
        const deadline = this.#deadlines[index]!;
        this.#deadlines[index] = disarmed;
        this.#lastPass[index] = this.#pass;
        this.#fired[index]!++;
        this.#fire[index]!(deadline);
      }
    } finally {
      this.#firing = false;
      this.#rescan();
    }
  }

  inspect(): Inspection {
    const alarms: Record<string, Inspection> = {};
    this.#names.forEach((name, index) => {
      const deadline = this.#deadlines[index]!;
      alarms[name] = { deadline: deadline === disarmed ? "disarmed" : deadline, fired: this.#fired[index]! };
    });
    return alarms;
  }

  #arm(index: number, at: number): void {
    // A deadline that is no number can only come from a device's arithmetic on a disarmed deadline.
    let deadline = Number.isNaN(at) ? disarmed : at;
    if (this.#firing && deadline <= this.#passNow && this.#lastPass[index] === this.#pass) {
      deadline = this.#passNow + 1;
    }
    if (this.#firing) {
      this.#deadlines[index] = deadline; // fireDue scans again when it is done
      return;
    }
    const earliest = this.nextDeadline();
    const before = this.#deadlines[index]!;
    this.#deadlines[index] = deadline;
    if (deadline < earliest) {
      this.#earliest = deadline;
      this.onEarlier?.();
    } else if (before === earliest) {
      this.#stale = true;
    }
  }

  #nextDue(now: number): number {
    let found = -1;
    let earliest = disarmed;
    const count = this.#fire.length;
    for (let index = 0; index < count; index++) {
      const deadline = this.#deadlines[index]!;
      if (deadline <= now && deadline < earliest && this.#lastPass[index] !== this.#pass) {
        found = index;
        earliest = deadline;
      }
    }
    return found;
  }

  #rescan(): void {
    let earliest = disarmed;
    const count = this.#fire.length;
    for (let index = 0; index < count; index++) {
      const deadline = this.#deadlines[index]!;
      if (deadline < earliest) earliest = deadline;
    }
    this.#earliest = earliest;
    this.#stale = false;
  }

  #grow(): void {
    const deadlines = new Float64Array(this.#deadlines.length * 2).fill(disarmed);
    deadlines.set(this.#deadlines);
    this.#deadlines = deadlines;
    const lastPass = new Float64Array(deadlines.length);
    lastPass.set(this.#lastPass);
    this.#lastPass = lastPass;
  }
}

/** A clock wheel whose time only the holder moves, for tests of devices. */
export class ManualTime extends ClockWheel {
  readonly #clock: { time: number };

  constructor(start = 0) {
    const clock = { time: start, now: () => clock.time };
    super(clock);
    this.#clock = clock;
  }

  /** Moves time forward by `ns`, stopping at every deadline on the way to fire it. */
  advance(ns: number): void {
    const end = this.#clock.time + ns;
    for (let next = this.nextDeadline(); next <= end; next = this.nextDeadline()) {
      if (next > this.#clock.time) this.#clock.time = next;
      this.fireDue();
    }
    this.#clock.time = end;
  }
}

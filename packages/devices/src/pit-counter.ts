import type { Inspection } from "./device.ts";
import type { Oscillator } from "./oscillator.ts";
import { type ModeRules, type PitMode, pitModes, pitRegisters } from "./pit-registers.ts";
import type { SavedFields } from "./saved-state.ts";

export interface PitCounterState {
  /** Control word bits 5:0 as written. */
  readonly control: number;
  readonly gate: boolean;
  /** The count register, 1 to 65536 (BCD: to 16665), 0 before a count was written. */
  readonly register: number;
  readonly nullCount: boolean;
  /** The count that the running sequence started from; 0 when there is none. */
  readonly period: number;
  readonly counting: boolean;
  readonly origin: number;
  readonly offset: number;
  readonly loadAt: number;
  readonly residue: number;
  readonly lowByte: number;
  readonly readsHigh: boolean;
  readonly latchedCount: number;
  readonly latchedStatus: number;
}

const controlReset = pitRegisters.status.reset & 0x3f;
/** Thousands digits that are no digits: 15 * 1000 + 15 * 100 + 15 * 10 + 15. */
const largestBcd = 16665;
const largestCycle = 2 ** 52;

/**
 * One counter of the 8254. It does not count: it remembers when its sequence began, and works count and OUT out of the clock
 * cycles since then. A count is taken over at the moment it is written, not one clock later as on the chip.
 */
export class PitCounter {
  readonly #clock: Oscillator;
  #control = controlReset;
  #mode: PitMode = 0;
  #rules: ModeRules = pitModes[0]!;
  #gate: boolean;
  #register = 0;
  /** The register holds a count that the sequence has not taken over. */
  #nullCount = true;
  #period = 0;
  #counting = false;
  /** While it counts, cycles since the sequence began = `offset` + cycles since guest time `origin`; else `offset`. */
  #origin = 0;
  #offset = 0;
  /** Modes 2 and 3: the cycle at which a count written meanwhile is taken over. */
  #loadAt = 0;
  /** What the counting element holds while no sequence runs, as read. */
  #residue = 0;
  /** First byte of a two-byte count, -1 when none waits. */
  #lowByte = -1;
  #readsHigh = false;
  /** Output latches, -1 when they follow the counting element. The count keeps bit 16 set once its low byte was read. */
  #latchedCount = -1;
  #latchedStatus = -1;

  constructor(clock: Oscillator, gate: boolean) {
    this.#clock = clock;
    this.#gate = gate;
  }

  get mode(): PitMode {
    return this.#mode;
  }

  get gate(): boolean {
    return this.#gate;
  }

  /** A control word for this counter that is no latch command. */
  writeControl(value: number, now: number): void {
    this.#residue = this.#count(now);
    this.#setControl(value & 0x3f);
    this.#register = 0;
    this.#nullCount = true;
    this.#period = 0;
    this.#counting = false;
    this.#offset = 0;
    this.#lowByte = -1;
    this.#readsHigh = false;
    this.#latchedCount = -1;
    this.#latchedStatus = -1;
  }

  writeCount(byte: number, now: number): void {
    this.#settle(now);
    switch (this.#access()) {
      case 1:
        this.#load(byte, now);
        break;
      case 2:
        this.#load(byte << 8, now);
        break;
      default:
        if (this.#lowByte >= 0) {
          this.#load(this.#lowByte | (byte << 8), now);
          this.#lowByte = -1;
          break;
        }
        this.#lowByte = byte;
        this.#nullCount = true;
        // Mode 0: "writing the first byte disables counting. OUT is set low immediately".
        if (this.#mode === 0) {
          this.#residue = this.#count(now);
          this.#period = 0;
          this.#counting = false;
        }
    }
  }

  read(now: number): number {
    if (this.#latchedStatus >= 0) {
      const status = this.#latchedStatus;
      this.#latchedStatus = -1;
      return status;
    }
    this.#settle(now);
    const access = this.#access();
    if (this.#latchedCount >= 0) {
      const count = this.#latchedCount;
      if (access === 3 && count <= 0xffff) {
        this.#latchedCount = count | 0x10000;
        return count & 0xff;
      }
      this.#latchedCount = -1;
      return access === 1 ? count & 0xff : (count >> 8) & 0xff;
    }
    const count = this.#count(now);
    if (access === 1) return count & 0xff;
    if (access === 2) return count >> 8;
    this.#readsHigh = !this.#readsHigh;
    return this.#readsHigh ? count & 0xff : count >> 8;
  }

  latchCount(now: number): void {
    this.#settle(now);
    if (this.#latchedCount < 0) this.#latchedCount = this.#count(now);
  }

  latchStatus(now: number): void {
    this.#settle(now);
    if (this.#latchedStatus >= 0) return;
    this.#latchedStatus = (this.out(now) ? 0x80 : 0) | (this.#nullCount ? 0x40 : 0) | this.#control;
  }

  setGate(level: boolean, now: number): void {
    if (level === this.#gate) return;
    this.#settle(now);
    const elapsed = this.#elapsed(now);
    this.#gate = level;
    if (level && this.#rules.risingGateStarts) {
      if (this.#register > 0) this.#start(now);
    } else if (this.#rules.lowGate !== "ignored" && this.#period > 0) {
      // The clock goes on in its phase while the gate is low: a pulse between two of its cycles is not seen.
      this.#offset = level ? elapsed - this.#clock.cycles(now - this.#origin) : elapsed;
      this.#counting = level;
    }
  }

  out(now: number): boolean {
    this.#settle(now);
    const period = this.#period;
    if (period === 0) return this.#rules.idleOut;
    const elapsed = this.#elapsed(now);
    switch (this.#mode) {
      case 0:
      case 1:
        return elapsed >= period;
      case 2:
        return !this.#gate || elapsed % period !== period - 1;
      case 3:
        return !this.#gate || elapsed % period < highHalf(period);
      case 4:
      case 5:
        return elapsed !== period;
      default:
        return this.#mode satisfies never;
    }
  }

  /**
   * Guest time of the next rising edge of OUT, and in mode 3 of the falling ones too; Infinity if there is none. A period of
   * 1 is illegal in modes 2 and 3 and gives none.
   */
  nextEdge(now: number): number {
    this.#settle(now);
    if (!this.#counting) return Number.POSITIVE_INFINITY;
    const elapsed = this.#elapsed(now);
    const cycle = this.#nextEdgeCycle(elapsed);
    return cycle === Number.POSITIVE_INFINITY
      ? cycle
      : this.#origin + this.#clock.timeOf(cycle - this.#offset);
  }

  #nextEdgeCycle(elapsed: number): number {
    const period = this.#period;
    switch (this.#mode) {
      case 0:
      case 1:
        return elapsed < period ? period : Number.POSITIVE_INFINITY;
      case 2:
        return period > 1 ? elapsed - (elapsed % period) + period : Number.POSITIVE_INFINITY;
      case 3:
        return period > 1 ? this.#halfEnd(elapsed) : Number.POSITIVE_INFINITY;
      case 4:
      case 5:
        return elapsed <= period ? period + 1 : Number.POSITIVE_INFINITY;
      default:
        return this.#mode satisfies never;
    }
  }

  #load(written: number, now: number): void {
    const count = this.#bcd() ? fromBcd(written) : written;
    this.#register = count === 0 ? this.#modulus() : count;
    this.#nullCount = true;
    if (this.#rules.takesCount === "at a trigger") return;
    if (this.#rules.takesCount === "at once" || this.#period === 0) this.#start(now);
    // With a low gate it is taken over by the trigger that starts the counter again.
    else if (this.#counting) {
      const elapsed = this.#elapsed(now);
      this.#loadAt =
        this.#mode === 3 ? this.#halfEnd(elapsed) : elapsed - (elapsed % this.#period) + this.#period;
    } else this.#loadAt = Number.POSITIVE_INFINITY;
  }

  #start(now: number): void {
    this.#period = this.#register;
    this.#nullCount = false;
    this.#offset = 0;
    this.#origin = now;
    this.#counting = this.#gate || this.#rules.lowGate === "ignored";
  }

  /** Takes over a count that was written while modes 2 or 3 ran, if its time has come. */
  #settle(now: number): void {
    if (!this.#nullCount || !this.#counting || this.#lowByte >= 0) return;
    if (this.#rules.takesCount !== "at the end of the period" || this.#elapsed(now) < this.#loadAt) return;
    // Mode 3 changes at the end of a half: the low half of the new count follows the high half of the old one.
    const atHalf = this.#mode === 3 && this.#loadAt % this.#period !== 0;
    this.#offset -= this.#loadAt - (atHalf ? highHalf(this.#register) : 0);
    this.#period = this.#register;
    this.#nullCount = false;
  }

  #halfEnd(elapsed: number): number {
    const start = elapsed - (elapsed % this.#period);
    const half = highHalf(this.#period);
    return elapsed < start + half ? start + half : start + this.#period;
  }

  #elapsed(now: number): number {
    return this.#counting ? this.#offset + this.#clock.cycles(now - this.#origin) : this.#offset;
  }

  /** The counting element, 0 to 0xFFFF, as it is read. */
  #count(now: number): number {
    if (this.#period === 0) return this.#residue;
    const value = this.#value(this.#elapsed(now)) % this.#modulus();
    return this.#bcd() ? toBcd(value) : value;
  }

  #value(elapsed: number): number {
    const period = this.#period;
    switch (this.#mode) {
      case 0:
      case 1:
      case 4:
      case 5: {
        // The counter wraps around and goes on after the terminal count.
        const modulus = this.#modulus();
        return (((period - elapsed) % modulus) + modulus) % modulus;
      }
      case 2:
        return period - (elapsed % period);
      case 3: {
        // Steps of two; an odd count starts one lower and spends the extra clock of its high half at 0.
        const position = elapsed % period;
        const half = highHalf(period);
        return period - (period & 1) - 2 * (position < half ? position : position - half);
      }
      default:
        return this.#mode satisfies never;
    }
  }

  #access(): number {
    return this.#control >> 4;
  }

  #bcd(): boolean {
    return (this.#control & 1) !== 0;
  }

  #modulus(): number {
    return this.#bcd() ? 10_000 : 65_536;
  }

  #setControl(control: number): void {
    this.#control = control;
    const mode = (control >> 1) & 7;
    this.#mode = (mode > 5 ? mode - 4 : mode) as PitMode;
    this.#rules = pitModes[this.#mode]!;
  }

  reset(gate: boolean): void {
    this.writeControl(controlReset, 0);
    this.#residue = 0;
    this.#gate = gate;
  }

  save(): PitCounterState {
    return {
      control: this.#control,
      gate: this.#gate,
      register: this.#register,
      nullCount: this.#nullCount,
      period: this.#period,
      counting: this.#counting,
      origin: this.#origin,
      offset: this.#offset,
      loadAt: Number.isFinite(this.#loadAt) ? this.#loadAt : 0,
      residue: this.#residue,
      lowByte: this.#lowByte,
      readsHigh: this.#readsHigh,
      latchedCount: this.#latchedCount,
      latchedStatus: this.#latchedStatus,
    };
  }

  /** Checks a saved counter; the returned function puts it in place. */
  prepare(fields: SavedFields): () => void {
    const state: PitCounterState = {
      control: fields.integer("control", 0x10, 0x3f),
      gate: fields.boolean("gate"),
      register: fields.integer("register", 0, 65_536),
      nullCount: fields.boolean("nullCount"),
      period: fields.integer("period", 0, 65_536),
      counting: fields.boolean("counting"),
      origin: fields.integer("origin", 0, Number.MAX_SAFE_INTEGER),
      offset: fields.integer("offset", -largestCycle, largestCycle),
      loadAt: fields.integer("loadAt", 0, largestCycle),
      residue: fields.word("residue"),
      lowByte: fields.integer("lowByte", -1, 0xff),
      readsHigh: fields.boolean("readsHigh"),
      latchedCount: fields.integer("latchedCount", -1, 0x1ffff),
      latchedStatus: fields.integer("latchedStatus", -1, 0xff),
    };
    const largest = (state.control & 1) !== 0 ? largestBcd : 65_536;
    fields.require(state.register <= largest && state.period <= largest, "a BCD count has four digits");
    fields.require(state.period === 0 || state.register > 0, "a sequence runs from a count");
    fields.require(!state.counting || state.period > 0, "only a sequence counts");
    fields.end();
    return () => {
      this.#setControl(state.control);
      this.#gate = state.gate;
      this.#register = state.register;
      this.#nullCount = state.nullCount;
      this.#period = state.period;
      this.#counting = state.counting;
      this.#origin = state.origin;
      this.#offset = state.offset;
      this.#loadAt = state.loadAt;
      this.#residue = state.residue;
      this.#lowByte = state.lowByte;
      this.#readsHigh = state.readsHigh;
      this.#latchedCount = state.latchedCount;
      this.#latchedStatus = state.latchedStatus;
    };
  }

  inspect(now: number): Inspection {
    return {
      mode: `${this.#mode} ${this.#rules.name}`,
      bcd: this.#bcd(),
      written: this.#register,
      period: this.#period,
      count: this.#count(now),
      out: this.out(now),
      gate: this.#gate,
      nullCount: this.#nullCount,
    };
  }
}

/** Clocks for which mode 3 keeps OUT high: (N + 1) / 2 of an odd count, N / 2 of an even one. */
function highHalf(period: number): number {
  return (period + 1) >> 1;
}

/** Digits above 9, which the data sheet does not define, count with their weight. */
function fromBcd(word: number): number {
  return (word >> 12) * 1000 + ((word >> 8) & 15) * 100 + ((word >> 4) & 15) * 10 + (word & 15);
}

function toBcd(value: number): number {
  return (
    (Math.floor(value / 1000) << 12) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 10) % 10) << 4) |
    (value % 10)
  );
}

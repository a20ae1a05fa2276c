import type { Timebase, Timer } from "./device.ts";
import type { SavedFields } from "./saved-state.ts";
import { Lsr } from "./uart16550-registers.ts";

export interface UartTransmitterState {
  /** Bytes behind the one that is being sent, oldest first. */
  readonly fifo: number[];
  /** The byte that is being sent; -1: none. */
  readonly shift: number;
  /** Guest times in ns. When the last stop bit of `shift` is out. */
  readonly shiftEnd: number;
  /** When an empty FIFO is told; -1: it is told, or is not empty. */
  readonly emptyAt: number;
  /** Until when `shift` waits for the host's end; -1: it does not wait. */
  readonly waitEnd: number;
  /** LSR.THRE. */
  readonly empty: boolean;
  /** Two bytes were in the FIFO at once since it was last told empty. */
  readonly filled: boolean;
  /** The host's end took nothing for so long that bytes are dropped until it does. */
  readonly givenUp: boolean;
}

/** What stands between the transmitter and the host. */
export interface TransmitterPace {
  /** Characters take the time that the divisor gives them. */
  readonly pacing: boolean;
  /** Does the host's end take a byte now? Without it, always. Asked inside an access: it must not call back. */
  readonly ready?: (() => boolean) | undefined;
  /** Guest time that a byte waits for `ready`, ns. */
  readonly stallLimit: number;
}

const fifoSize = 16;
const never = Number.POSITIVE_INFINITY;

/**
 * The sending half of a 16550A: holding register or FIFO, and the shift register behind it. As it comes it takes no time: a byte
 * leaves while it is written, and LSR always reads empty. With pacing a character takes its time on the line; with a host's end that
 * can be full the shift register waits for it, but never longer than a limit of guest time: what is behind a dead end is dropped and counted.
 */
export class UartTransmitter {
  readonly #timebase: Timebase;
  readonly #timer: Timer;
  readonly #leave: (byte: number) => void;
  readonly #fifo = new Uint8Array(fifoSize);
  #pace: TransmitterPace = { pacing: false, stallLimit: 0 };
  /** A character's ns, and its stop bits' share. */
  #characterTime = 0;
  #stopTime = 0;

  #head = 0;
  #count = 0;
  #size = 1;
  #shift = -1;
  #shiftEnd = 0;
  #emptyAt = never;
  #waitEnd = never;
  #empty = true;
  #filled = false;
  #givenUp = false;
  /** What the timer is armed for: arming it anew costs more than a byte. */
  #deadline = never;
  #lost = 0;
  /** The transmitter's interrupt: raised when THRE becomes set, taken back by a write or a read of IIR. */
  pending = false;
  /** THRE and TEMT, the transmitter's bits of LSR (8.4). */
  status: number = Lsr.idle;
  /** Nothing can make a byte wait: it is out as it is written, and `send` is not to be called. Set by `setPace`. */
  immediate = true;

  /** `leave` takes a byte that is out; `changed` hears of what time has done to LSR and to `pending`. */
  constructor(name: string, timebase: Timebase, leave: (byte: number) => void, changed: () => void) {
    this.#timebase = timebase;
    this.#leave = leave;
    this.#timer = timebase.timer(`${name} transmit`, () => {
      this.#deadline = never;
      this.#advance();
      changed();
    });
  }

  /** Bytes that a full FIFO or a dead end cost. */
  get lost(): number {
    return this.#lost;
  }

  /** A byte waits for the host's end. */
  get stalled(): boolean {
    return this.#waitEnd !== never;
  }

  /** A new pace also holds for what is on its way. */
  setPace(pace: TransmitterPace): void {
    this.#pace = pace;
    this.immediate = !pace.pacing && pace.ready === undefined;
    this.#waitEnd = never;
    this.#givenUp = false;
    this.#advance();
  }

  /** In ns, for the characters to come. */
  setCharacterTime(character: number, stopBits: number): void {
    this.#characterTime = character;
    this.#stopTime = stopBits;
  }

  send(byte: number): void {
    this.pending = false;
    this.#empty = false;
    this.#emptyAt = never;
    if (this.#count < this.#size) this.#count++;
    // A full FIFO drops what comes, a full register is overwritten.
    else {
      this.#lost++;
      if (this.#size > 1) {
        this.#settle();
        return;
      }
    }
    this.#fifo[(this.#head + this.#count - 1) % fifoSize] = byte;
    if (this.#count >= 2) this.#filled = true;
    this.#advance();
  }

  /** The host's end takes bytes again. */
  resume(): void {
    this.#advance();
  }

  /** Moves on as far as time and the host's end allow. */
  #advance(): void {
    const now = this.#timebase.now();
    // Characters follow each other without a gap, however late this is looked at.
    for (let start = now; ; start = this.#shiftEnd) {
      if (this.#shift < 0 && !this.#load(start)) break;
      if (this.#emptyAt <= now) this.#tellEmpty();
      if (this.#pace.pacing && now < this.#shiftEnd) break;
      if (this.#waits(now)) break;
      this.#shift = -1;
    }
    this.#settle();
  }

  /** The next byte into the shift register, which starts to send it at `start`. False when there is none. */
  #load(start: number): boolean {
    if (this.#count === 0) return false;
    this.#shift = this.#fifo[this.#head]!;
    this.#head = (this.#head + 1) % fifoSize;
    this.#count--;
    this.#shiftEnd = start + this.#characterTime;
    if (this.#count > 0) return true;
    // 8.4, FIFO mode: after a single byte the empty FIFO is told a character time, less the stop bits, later.
    if (this.#pace.pacing && this.#size > 1 && !this.#filled) this.#emptyAt = this.#shiftEnd - this.#stopTime;
    else this.#tellEmpty();
    return true;
  }

  #tellEmpty(): void {
    this.#emptyAt = never;
    this.#empty = true;
    this.#filled = false;
    this.pending = true;
  }

  /** Hands the byte in the shift register on, or drops it. True when it waits for the host's end. */
  #waits(now: number): boolean {
    const { ready, stallLimit } = this.#pace;
    if (ready === undefined || ready()) {
      if (this.#waitEnd !== never) this.#shiftEnd = now;
      this.#waitEnd = never;
      this.#givenUp = false;
      this.#leave(this.#shift);
      return false;
    }
    if (!this.#givenUp) {
      if (this.#waitEnd === never) this.#waitEnd = now + stallLimit;
      if (now < this.#waitEnd) return true;
      this.#givenUp = true;
      this.#waitEnd = never;
      this.#shiftEnd = now;
    }
    this.#lost++;
    return false;
  }

  /** Behind each change: what LSR shows, and the alarm for what time does next. */
  #settle(): void {
    this.status = !this.#empty ? 0 : this.#shift < 0 ? Lsr.idle : Lsr.holdingEmpty;
    let deadline = this.#emptyAt;
    if (this.#shift >= 0) {
      const end = this.#waitEnd === never ? this.#shiftEnd : this.#waitEnd;
      if (end < deadline) deadline = end;
    }
    if (deadline === this.#deadline) return;
    this.#deadline = deadline;
    this.#timer.arm(deadline);
  }

  /** 8.5: empties the FIFO, not the shift register. The transmitter reports that it is empty, as after each byte. */
  clear(): void {
    this.#lost += this.#count;
    this.#head = 0;
    this.#count = 0;
    this.#tellEmpty();
    this.#settle();
  }

  /** FIFO or single register. Only an empty one changes. */
  useFifo(on: boolean): void {
    this.#size = on ? fifoSize : 1;
  }

  /** As after power-on. What was on its way is gone. */
  reset(): void {
    this.#lost += this.#count + (this.#shift < 0 ? 0 : 1);
    this.#put(idle, 1);
    this.pending = false;
    this.#settle();
  }

  save(): UartTransmitterState {
    const fifo: number[] = [];
    for (let n = 0; n < this.#count; n++) fifo.push(this.#fifo[(this.#head + n) % fifoSize]!);
    return {
      fifo,
      shift: this.#shift,
      shiftEnd: this.#shiftEnd,
      emptyAt: this.#emptyAt === never ? -1 : this.#emptyAt,
      waitEnd: this.#waitEnd === never ? -1 : this.#waitEnd,
      empty: this.#empty,
      filled: this.#filled,
      givenUp: this.#givenUp,
    };
  }

  /** Checks a saved transmitter of a chip whose FIFO is on or off, undefined for an idle one; the returned function puts it in place. */
  prepare(fields: SavedFields | undefined, fifoOn: boolean): (pending: boolean) => void {
    const size = fifoOn ? fifoSize : 1;
    const state = fields === undefined ? idle : readState(fields, size);
    return (pending) => {
      this.#put(state, size);
      this.pending = pending;
      // A state from outside must not make a byte wait longer than any does here.
      if (this.#waitEnd !== never)
        this.#waitEnd = Math.min(this.#waitEnd, this.#timebase.now() + this.#pace.stallLimit);
      // What a machine without a pace takes over leaves now; one with a pace goes on.
      this.#advance();
    };
  }

  #put(state: UartTransmitterState, size: number): void {
    this.#head = 0;
    this.#count = state.fifo.length;
    this.#size = size;
    this.#fifo.set(state.fifo);
    this.#shift = state.shift;
    this.#shiftEnd = state.shiftEnd;
    this.#emptyAt = state.emptyAt < 0 ? never : state.emptyAt;
    this.#waitEnd = state.waitEnd < 0 ? never : state.waitEnd;
    this.#empty = state.empty;
    this.#filled = state.filled;
    this.#givenUp = state.givenUp;
  }
}

const idle: UartTransmitterState = {
  fifo: [],
  shift: -1,
  shiftEnd: 0,
  emptyAt: -1,
  waitEnd: -1,
  empty: true,
  filled: false,
  givenUp: false,
};

function readState(fields: SavedFields, size: number): UartTransmitterState {
  const state: UartTransmitterState = {
    fifo: fields.integers("fifo", size, 0xff, 0),
    shift: fields.integer("shift", -1, 0xff),
    shiftEnd: fields.integer("shiftEnd", 0, Number.MAX_SAFE_INTEGER),
    emptyAt: fields.integer("emptyAt", -1, Number.MAX_SAFE_INTEGER),
    waitEnd: fields.integer("waitEnd", -1, Number.MAX_SAFE_INTEGER),
    empty: fields.boolean("empty"),
    filled: fields.boolean("filled"),
    givenUp: fields.boolean("givenUp"),
  };
  fields.require(!state.empty || state.fifo.length === 0, "THRE is clear while bytes are in the FIFO");
  fields.require(
    state.fifo.length === 0 || state.shift >= 0,
    "bytes wait only behind one that is being sent",
  );
  fields.require(
    state.empty || state.fifo.length > 0 || state.emptyAt >= 0,
    "an empty FIFO is told, or will be",
  );
  fields.require(state.shift >= 0 || state.waitEnd < 0, "only a byte that is being sent waits");
  fields.end();
  return state;
}

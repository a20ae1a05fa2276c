import { maximumSavedBytes, ReceiveQueue } from "./receive-queue.ts";
import type { SavedFields } from "./saved-state.ts";
import { Lsr } from "./uart16550-registers.ts";

export interface UartReceiverState {
  readonly overrun: boolean;
  readonly timeoutPending: boolean;
  /** Characters in the FIFO, oldest first: bits 7:0 the byte, 12:10 PE, FE and BI, 8 sent in loop mode. */
  readonly fifo: number[];
  readonly lastByte: number;
  /** Guest times in ns: the last movement in the FIFO; when the next character may arrive from the queue. */
  readonly lastActivity: number;
  readonly nextArrival: number;
  /** Characters that have followed each other without a gap; 0 in states of version 1. */
  readonly streak: number;
  /** Characters that wait on the host's side, two bytes each: the byte, its errors. */
  readonly queue: Uint8Array;
}

const fifoSize = 16;
/**
 * Characters that follow each other without any time between them. A driver that reads until nothing is left would find no end to a
 * stream that is refilled behind its back: Linux gives up after 512 passes of 256 characters, with the line still high, and an
 * edge-triggered interrupt is then dead.
 */
const longestStreak = 32768;
/** A character's second byte: LSR error bits, and in bit 0 (which is no error) that loop mode sent it. */
const looped = 0x01;
/** No character's second byte is larger. */
const largestErrors = Lsr.errors | 0x03;

/** The receiving half of a 16550A: FIFO or single register, errors, and the queue of what was sent too early. */
export class UartReceiver {
  readonly #queue = new ReceiveQueue();
  readonly #fifo = new Uint16Array(fifoSize);
  #head = 0;
  #count = 0;
  #size = 1;
  /** How many characters in the FIFO have errors that LSR has not told. */
  #flawed = 0;
  #overrun = false;
  /** RBR of a chip without FIFO keeps its byte after it was read. */
  #lastByte = 0;
  #lastActivity = 0;
  #nextArrival = 0;
  #streak = 0;
  #received = 0;
  #overruns = 0;
  /** Bytes have been waiting below the trigger for too long. Movement in the FIFO ends it. */
  timeoutPending = false;

  /** Bytes in the FIFO. */
  get count(): number {
    return this.#count;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  get received(): number {
    return this.#received;
  }

  /** Characters that were lost because the FIFO or the register was full. */
  get overruns(): number {
    return this.#overruns;
  }

  get lastActivity(): number {
    return this.#lastActivity;
  }

  get nextArrival(): number {
    return this.#nextArrival;
  }

  /** Queues as many of `bytes` as fit and returns their number. */
  push(bytes: Uint8Array): number {
    let accepted = 0;
    while (accepted < bytes.length && this.#queue.push(bytes[accepted]!)) accepted++;
    return accepted;
  }

  pushBreak(): boolean {
    return this.#queue.push(Lsr.break << 8);
  }

  /** Moves what the FIFO has room for. False when characters could arrive, but only from `nextArrival` on. */
  feed(now: number, characterTime: number): boolean {
    if (this.#queue.length === 0 || this.#count >= this.#size) return true;
    if (now < this.#nextArrival) return false;
    while (this.#queue.length > 0 && this.#count < this.#size) {
      if (this.#streak === longestStreak) return this.#pause(now, characterTime);
      this.#streak++;
      this.#arrive(this.#queue.shift(), now);
    }
    return true;
  }

  /** The gap behind a long streak: the guest finds the FIFO empty, and that for a character's time. */
  #pause(now: number, characterTime: number): boolean {
    if (this.#count > 0) return true;
    this.#streak = 0;
    this.#nextArrival = now + characterTime;
    return false;
  }

  /**
   * Moves what has had the time to arrive, one character in `characterTime`. With `overrun` a full FIFO does not hold the line up: what comes
   * is lost. False when the next character arrives at `nextArrival`.
   */
  feedPaced(now: number, characterTime: number, overrun: boolean): boolean {
    while (this.#queue.length > 0 && (overrun || this.#count < this.#size)) {
      if (now < this.#nextArrival) return false;
      this.#arrive(this.#queue.shift(), now);
      // Characters follow each other without a gap, however late this is looked at; the first one of many is here already.
      const late = now - this.#nextArrival < characterTime;
      this.#nextArrival = (late ? this.#nextArrival : now) + characterTime;
    }
    return true;
  }

  /** A byte comes back in loop mode. */
  loop(byte: number, now: number): void {
    this.#arrive(byte | (looped << 8), now);
  }

  /** A full FIFO drops the character, a full register is overwritten (PC16550D 8.4, OE). */
  #arrive(character: number, now: number): void {
    if (this.#count >= this.#size) {
      this.#overrun = true;
      this.#overruns++;
      if (this.#size > 1) return;
      this.#count = 0;
      this.#flawed = 0;
    }
    if (((character >> 8) & Lsr.errors) !== 0) this.#flawed++;
    this.#fifo[(this.#head + this.#count) % fifoSize] = character;
    this.#count++;
    if (this.#size === 1) this.#lastByte = character & 0xff;
    this.#received++;
    this.#lastActivity = now;
    this.timeoutPending = false;
  }

  /** RBR. An empty FIFO gives 0, an empty register its last byte. */
  read(now: number): number {
    if (this.#count === 0) return this.#size > 1 ? 0 : this.#lastByte;
    const byte = this.#fifo[this.#head]! & 0xff;
    if (this.#flawed > 0 && this.#errorsOfNext() !== 0) this.#flawed--;
    this.#head = (this.#head + 1) % fifoSize;
    this.#count--;
    // The line goes low: what comes next is an edge.
    if (this.#count === 0 && this.#queue.length === 0) this.#streak = 0;
    this.#lastActivity = now;
    this.timeoutPending = false;
    return byte;
  }

  /** The receiver's bits of LSR. Errors belong to a character and show when it is the next to be read (8.4). */
  get status(): number {
    const overrun = this.#overrun ? Lsr.overrun : 0;
    if (this.#count === 0) return overrun;
    if (this.#flawed === 0) return overrun | Lsr.ready;
    return overrun | Lsr.ready | this.#errorsOfNext() | (this.#size > 1 ? Lsr.inFifo : 0);
  }

  /** Is there something that LSR has not told yet? */
  get hasErrors(): boolean {
    return this.#overrun || (this.#flawed > 0 && this.#errorsOfNext() !== 0);
  }

  /** What reading LSR does. */
  clearErrors(): void {
    this.#overrun = false;
    if (this.#flawed === 0 || this.#errorsOfNext() === 0) return;
    this.#flawed--;
    this.#fifo[this.#head]! &= 0x01ff;
  }

  #errorsOfNext(): number {
    return (this.#fifo[this.#head]! >> 8) & Lsr.errors;
  }

  /**
   * On a wire the bytes in the FIFO would be lost. They go back to the head of the queue instead, as if they had been sent a
   * little later: the FIFO is empty for the character time that a guest may look at it, and what was typed is not lost. With `lose`
   * they are lost.
   */
  clear(now: number, characterTime: number, lose: boolean): void {
    const before = this.#queue.length;
    while (this.#count > 0) {
      this.#count--;
      const character = this.#fifo[(this.#head + this.#count) % fifoSize]!;
      if (!lose && ((character >> 8) & looped) === 0) this.#queue.unread(character);
    }
    this.#head = 0;
    this.#flawed = 0;
    this.timeoutPending = false;
    if (this.#queue.length !== before) this.#nextArrival = now + characterTime;
  }

  /** FIFO or single register. Only an empty receiver changes. */
  useFifo(on: boolean): void {
    this.#size = on ? fifoSize : 1;
  }

  /** As after power-on, but for the queue, which is not in the chip. */
  reset(): void {
    this.#head = 0;
    this.#count = 0;
    this.#size = 1;
    this.#flawed = 0;
    this.#overrun = false;
    this.#lastByte = 0;
    this.#lastActivity = 0;
    this.#nextArrival = 0;
    this.#streak = 0;
    this.timeoutPending = false;
  }

  save(): UartReceiverState {
    const fifo: number[] = [];
    for (let index = 0; index < this.#count; index++) fifo.push(this.#fifo[(this.#head + index) % fifoSize]!);
    return {
      overrun: this.#overrun,
      timeoutPending: this.timeoutPending,
      fifo,
      lastByte: this.#lastByte,
      lastActivity: this.#lastActivity,
      nextArrival: this.#nextArrival,
      streak: this.#streak,
      queue: this.#queue.save(),
    };
  }

  /** Checks a saved receiver of a chip whose FIFO is on or off; the returned function puts it in place. */
  prepare(fields: SavedFields, fifoOn: boolean): () => void {
    const size = fifoOn ? fifoSize : 1;
    const state: UartReceiverState = {
      overrun: fields.boolean("overrun"),
      timeoutPending: fields.boolean("timeoutPending"),
      fifo: fields.integers("fifo", size, (largestErrors << 8) | 0xff, 0),
      lastByte: fields.byte("lastByte"),
      lastActivity: fields.integer("lastActivity", 0, Number.MAX_SAFE_INTEGER),
      nextArrival: fields.integer("nextArrival", 0, Number.MAX_SAFE_INTEGER),
      streak: fields.has("streak") ? fields.integer("streak", 0, longestStreak) : 0,
      queue: fields.bytes("queue", maximumSavedBytes, 0),
    };
    fields.require(state.queue.length % 2 === 0, "queue holds two bytes per character");
    fields.require(
      state.queue.every((byte, i) => i % 2 === 0 || byte <= largestErrors),
      "a character has errors that there are none of",
    );
    fields.require(
      !state.timeoutPending || state.fifo.length > 0,
      "a receive timeout needs a byte in the FIFO",
    );
    fields.end();
    return () => {
      this.#head = 0;
      this.#count = state.fifo.length;
      this.#size = size;
      this.#fifo.set(state.fifo);
      this.#flawed = state.fifo.filter((character) => ((character >> 8) & Lsr.errors) !== 0).length;
      this.#overrun = state.overrun;
      this.timeoutPending = state.timeoutPending;
      this.#lastByte = state.lastByte;
      this.#lastActivity = state.lastActivity;
      this.#nextArrival = state.nextArrival;
      this.#streak = state.streak;
      this.#queue.restore(state.queue);
    };
  }
}

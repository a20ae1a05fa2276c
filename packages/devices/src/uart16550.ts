import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { maximumSavedBytes, ReceiveQueue } from "./receive-queue.ts";
import { SavedFields } from "./saved-state.ts";
import {
  Fcr,
  Ier,
  Iir,
  Lcr,
  Lsr,
  Mcr,
  ModemLine,
  receiveTriggers,
  uartRegisters,
} from "./uart16550-registers.ts";

/*
 * A 16550A serial port. Output leaves at once: the transmitter is always empty and a vCPU never waits for the host. Input
 * waits in a queue until the guest's driver listens, then follows as fast as the guest empties the FIFO: the line runs at
 * the programmed rate only for what a guest measures, the receive timeout.
 */

export interface UartOptions {
  readonly name: string;
  /** First of its eight ports. */
  readonly base: number;
  readonly timebase: Timebase;
  /** INTR behind the gate that OUT2 opens. */
  readonly line: InterruptLine;
  /** Takes a byte at once. What it throws counts as a lost byte; the guest does not see it. */
  readonly output: (byte: number) => void;
}

export interface UartState {
  readonly version: 1;
  readonly registers: {
    ier: number;
    fcr: number;
    lcr: number;
    mcr: number;
    scr: number;
    dll: number;
    dlm: number;
  };
  readonly lineStatus: { overrun: boolean; transmitPending: boolean; timeoutPending: boolean };
  /** MSR as read outside loop mode. */
  readonly modem: number;
  /** Characters in the receive FIFO, oldest first: bits 7:0 the byte, bits 12:10 PE, FE, BI, bit 8 came by loop mode. */
  readonly fifo: number[];
  readonly lastByte: number;
  /** Guest times in ns: last movement in the receive FIFO; when the next character may arrive. */
  readonly lastActivity: number;
  readonly nextArrival: number;
  /** Characters that wait on the host's side, two bytes each: the byte, its errors. */
  readonly queue: Uint8Array;
}

const fifoSize = 16;
/** A character's second byte: LSR error bits, and in bit 0 (which is no error) that loop mode sent it. */
const looped = 0x01;
/** 16 clocks of 1.8432 MHz make a bit at divisor 1. */
const bitTime = 16e9 / 1_843_200;

export class Uart16550 extends BytePorts implements Device<UartState> {
  readonly name: string;
  readonly #base: number;
  readonly #timebase: Timebase;
  readonly #line: InterruptLine;
  readonly #output: (byte: number) => void;
  readonly #timeout: Timer;
  readonly #arrival: Timer;
  readonly #queue = new ReceiveQueue();

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  #dll = 0;
  #dlm = 0;
  /** MSR outside loop mode. */
  #modem = 0;
  #overrun = false;
  #transmitPending = false;
  #timeoutPending = false;
  readonly #fifo = new Uint16Array(fifoSize);
  #head = 0;
  #count = 0;
  /** RBR of a 16450 keeps its byte after it was read. */
  #lastByte = 0;
  #lastActivity = 0;
  #nextArrival = 0;

  /** Interrupt identification without the FIFO bits, and the level of the line; both follow from the fields above. */
  #iir: number = Iir.none;
  #level = false;
  #characterTime = 0;

  #sent = 0;
  #lost = 0;
  #received = 0;

  constructor(options: UartOptions) {
    super();
    this.name = options.name;
    this.#base = options.base;
    this.#timebase = options.timebase;
    this.#line = options.line;
    this.#output = options.output;
    this.#timeout = options.timebase.timer(`${options.name} receive timeout`, () => this.#update());
    this.#arrival = options.timebase.timer(`${options.name} arrival`, () => this.#feedAndUpdate());
    this.#scr = uartRegisters.scr.reset;
    this.#powerOn();
  }

  /** Bytes that wait for the guest's driver; the caller of `receive` can hold back more. */
  get waiting(): number {
    return this.#queue.length;
  }

  /**
   * Bytes for the guest. Returns how many were accepted; the rest did not fit the queue of 64 KiB and is the caller's. They
   * wait until the guest asserts DTR and RTS and either turns its FIFO on or enables the data interrupt: a driver clears the
   * chip several times while it starts, and what it had been sent by then would be gone.
   */
  receive(bytes: Uint8Array): number {
    let accepted = 0;
    while (accepted < bytes.length && this.#queue.push(bytes[accepted]!)) accepted++;
    this.#feedAndUpdate();
    return accepted;
  }

  /** The far end sends a break: a zero byte with BI (and Linux's SysRq key). False when the queue is full. */
  receiveBreak(): boolean {
    const accepted = this.#queue.push(Lsr.break << 8);
    this.#feedAndUpdate();
    return accepted;
  }

  /** Levels of CTS, DSR, RI and DCD as `ModemLine` bits, true = asserted. */
  setModemLines(lines: number): void {
    const levels = lines & 0xf0;
    const changed = (this.#modem ^ levels) & 0xf0;
    // TERI only reports the end of ringing (8.9), the others any change.
    const ringEnded = (changed & ModemLine.ri & ~levels) !== 0 ? 0x04 : 0;
    const deltas = ((changed & ~ModemLine.ri) >> 4) | ringEnded;
    this.#modem = levels | (this.#modem & 0x0f) | deltas;
    this.#update();
  }

  protected override readByte(port: number): number {
    const offset = port - this.#base;
    const latch = (this.#lcr & Lcr.dlab) !== 0;
    switch (offset) {
      case 0:
        return latch ? this.#dll : this.#readReceiver();
      case 1:
        return latch ? this.#dlm : this.#ier;
      case 2:
        return this.#readIdentification();
      case 3:
        return this.#lcr;
      case 4:
        return this.#mcr;
      case 5:
        return this.#readLineStatus();
      case 6:
        return this.#readModemStatus();
      case 7:
        return this.#scr;
      default:
        return 0;
    }
  }

  protected override writeByte(port: number, value: number): void {
    const offset = port - this.#base;
    const latch = (this.#lcr & Lcr.dlab) !== 0;
    switch (offset) {
      case 0:
        if (latch) {
          this.#dll = value;
          this.#updateCharacterTime();
        } else this.#send(value);
        break;
      case 1:
        if (latch) {
          this.#dlm = value;
          this.#updateCharacterTime();
        } else this.#writeInterruptEnable(value);
        break;
      case 2:
        this.#writeFifoControl(value);
        break;
      case 3:
        this.#lcr = value;
        this.#updateCharacterTime();
        break;
      case 4:
        this.#mcr = value & uartRegisters.mcr.writable;
        this.#feedAndUpdate();
        break;
      case 7:
        this.#scr = value;
        break;
      // 8.4 and 8.9: LSR and MSR are for reading; a write, like one past the last register, changes nothing.
      default:
        break;
    }
  }

  #send(byte: number): void {
    if ((this.#mcr & Mcr.loop) !== 0) this.#arrive(byte | (looped << 8));
    else if ((this.#lcr & Lcr.break) !== 0) this.#lost++;
    else {
      try {
        this.#output(byte);
        this.#sent++;
      } catch {
        // The sink's trouble is the host's; a guest that writes a byte must not be able to stop the machine.
        this.#lost++;
      }
    }
    // Writing THR takes the interrupt back, and the byte has left by now: empty again (8.6, table of interrupt sources).
    this.#transmitPending = true;
    this.#update();
  }

  #readReceiver(): number {
    if (this.#count === 0) return this.#fifoOn() ? 0 : this.#lastByte;
    const character = this.#fifo[this.#head]!;
    this.#head = (this.#head + 1) % fifoSize;
    this.#count--;
    this.#lastByte = character & 0xff;
    this.#lastActivity = this.#timebase.now();
    this.#timeoutPending = false;
    this.#feedAndUpdate();
    return character & 0xff;
  }

  #readIdentification(): number {
    const value = this.#iir | (this.#fifoOn() ? 0xc0 : 0);
    if (this.#iir === Iir.transmit) {
      this.#transmitPending = false;
      this.#update();
    }
    return value;
  }

  #readLineStatus(): number {
    const value = this.#lineStatus();
    if ((value & (Lsr.overrun | Lsr.errors)) !== 0) {
      this.#overrun = false;
      this.#fifo[this.#head]! &= 0x01ff;
      this.#update();
    }
    return value;
  }

  #lineStatus(): number {
    let value: number = Lsr.idle;
    if (this.#overrun) value |= Lsr.overrun;
    if (this.#count === 0) return value;
    // Errors belong to a character and show when it is the next to be read (8.4).
    value |= Lsr.ready | ((this.#fifo[this.#head]! >> 8) & Lsr.errors);
    if (this.#fifoOn()) {
      for (let index = 0; index < this.#count; index++) {
        if (((this.#fifo[(this.#head + index) % fifoSize]! >> 8) & Lsr.errors) !== 0)
          return value | Lsr.inFifo;
      }
    }
    return value;
  }

  #readModemStatus(): number {
    if ((this.#mcr & Mcr.loop) !== 0) return this.#loopedModemStatus();
    const value = this.#modem;
    if ((value & 0x0f) !== 0) {
      this.#modem &= 0xf0;
      this.#update();
    }
    return value;
  }

  /** 8.8: in loop mode DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD. Changes are not recorded there. */
  #loopedModemStatus(): number {
    const mcr = this.#mcr;
    return (
      ((mcr & Mcr.dtr) !== 0 ? ModemLine.dsr : 0) |
      ((mcr & Mcr.rts) !== 0 ? ModemLine.cts : 0) |
      ((mcr & Mcr.out1) !== 0 ? ModemLine.ri : 0) |
      ((mcr & Mcr.out2) !== 0 ? ModemLine.dcd : 0)
    );
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~this.#ier & Ier.transmit;
    this.#ier = value & uartRegisters.ier.writable;
    // The transmitter is always empty, so enabling reports it at once. Linux's test for a lost THRE interrupt wants this
    // each time, also when an IIR read has taken the interrupt back before.
    if (enabled !== 0) this.#transmitPending = true;
    this.#feedAndUpdate();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fcr) & Fcr.enable) !== 0;
    const on = (value & Fcr.enable) !== 0;
    // 8.5: the other bits count only together with bit 0.
    this.#fcr = on ? value & Fcr.kept : 0;
    if (toggled || (on && (value & Fcr.clearReceiver) !== 0)) this.#clearReceiver();
    this.#feedAndUpdate();
  }

  /**
   * On a wire the bytes in the FIFO would be lost. They go back to the head of the queue instead, as if they had been sent a
   * little later: the FIFO is empty for the character time that a guest may look at it, and what was typed is not lost.
   */
  #clearReceiver(): void {
    const sentBefore = this.#queue.length;
    while (this.#count > 0) {
      this.#count--;
      const character = this.#fifo[(this.#head + this.#count) % fifoSize]!;
      if (((character >> 8) & looped) === 0) this.#queue.unread(character);
    }
    this.#head = 0;
    this.#timeoutPending = false;
    if (this.#queue.length !== sentBefore) this.#nextArrival = this.#timebase.now() + this.#characterTime;
  }

  /** A character reaches the receiver. A full FIFO drops it, a full RBR is overwritten (8.4, OE). */
  #arrive(character: number): void {
    const on = this.#fifoOn();
    if (this.#count >= (on ? fifoSize : 1)) {
      this.#overrun = true;
      if (on) return;
      this.#count = 0;
    }
    this.#fifo[(this.#head + this.#count) % fifoSize] = character;
    this.#count++;
    this.#received++;
    this.#lastActivity = this.#timebase.now();
    this.#timeoutPending = false;
  }

  #listening(): boolean {
    if ((this.#mcr & (Mcr.dtr | Mcr.rts | Mcr.loop)) !== (Mcr.dtr | Mcr.rts)) return false;
    return this.#fifoOn() || (this.#ier & Ier.receive) !== 0;
  }

  #feedAndUpdate(): void {
    const room = this.#fifoOn() ? fifoSize : 1;
    if (this.#queue.length > 0 && this.#count < room && this.#listening()) {
      if (this.#timebase.now() < this.#nextArrival) this.#arrival.arm(this.#nextArrival);
      else while (this.#queue.length > 0 && this.#count < room) this.#arrive(this.#queue.shift());
    }
    this.#update();
  }

  #fifoOn(): boolean {
    return (this.#fcr & Fcr.enable) !== 0;
  }

  #trigger(): number {
    return this.#fifoOn() ? receiveTriggers[(this.#fcr >> 6) & 3]! : 1;
  }

  /** Which source is reported (8.6, in this order), and the level of the line. */
  #update(): void {
    if (this.#count > 0) this.#watchTimeout();
    else if (this.#timeout.deadline !== Number.POSITIVE_INFINITY) this.#timeout.disarm();
    this.#iir = this.#identify();
    const gate = (this.#mcr & (Mcr.out2 | Mcr.loop)) === Mcr.out2;
    const level = gate && this.#iir !== Iir.none;
    if (level !== this.#level) {
      this.#level = level;
      this.#line.set(level);
    }
  }

  #identify(): number {
    const ier = this.#ier;
    if (ier === 0) return Iir.none;
    const errors = this.#count > 0 ? (this.#fifo[this.#head]! >> 8) & Lsr.errors : 0;
    if ((ier & Ier.lineStatus) !== 0 && (this.#overrun || errors !== 0)) return Iir.lineStatus;
    if ((ier & Ier.receive) !== 0 && this.#count >= this.#trigger()) return Iir.receive;
    if ((ier & Ier.receive) !== 0 && this.#timeoutPending) return Iir.timeout;
    if ((ier & Ier.transmit) !== 0 && this.#transmitPending) return Iir.transmit;
    if ((ier & Ier.modem) !== 0 && (this.#mcr & Mcr.loop) === 0 && (this.#modem & 0x0f) !== 0)
      return Iir.modem;
    return Iir.none;
  }

  /** 8.6.1: bytes below the trigger are reported when nothing came or was read for four character times. */
  #watchTimeout(): void {
    const waiting = this.#fifoOn() && this.#count < this.#trigger() && (this.#ier & Ier.receive) !== 0;
    const deadline = this.#lastActivity + 4 * this.#characterTime;
    if (!waiting || this.#timeoutPending) this.#timeout.disarm();
    else if (deadline > this.#timebase.now()) this.#timeout.arm(deadline);
    else {
      this.#timeout.disarm();
      this.#timeoutPending = true;
    }
  }

  #updateCharacterTime(): void {
    // 8.1: start, 5 to 8 data bits, parity, stop bits (one and a half count as two); a divisor of 0 counts as 1.
    const bits =
      1 + 5 + (this.#lcr & 3) + ((this.#lcr & 0x08) !== 0 ? 1 : 0) + ((this.#lcr & 0x04) !== 0 ? 2 : 1);
    this.#characterTime = Math.ceil(bits * Math.max(1, this.#dll | (this.#dlm << 8)) * bitTime);
  }

  #powerOn(): void {
    this.#ier = uartRegisters.ier.reset;
    this.#fcr = uartRegisters.fcr.reset;
    this.#lcr = uartRegisters.lcr.reset;
    this.#mcr = uartRegisters.mcr.reset;
    this.#dll = uartRegisters.dll.reset;
    this.#dlm = uartRegisters.dlm.reset;
    this.#modem = uartRegisters.msr.reset;
    this.#overrun = false;
    this.#transmitPending = false;
    this.#timeoutPending = false;
    this.#head = 0;
    this.#count = 0;
    this.#lastByte = 0;
    this.#lastActivity = 0;
    this.#nextArrival = 0;
    this.#updateCharacterTime();
  }

  /** Master reset. SCR keeps its value (8.0, table of reset functions), and so does the queue: it is not in the chip. */
  reset(): void {
    this.#powerOn();
    this.#timeout.disarm();
    this.#arrival.disarm();
    this.#update();
  }

  save(): UartState {
    const fifo: number[] = [];
    for (let index = 0; index < this.#count; index++) fifo.push(this.#fifo[(this.#head + index) % fifoSize]!);
    return {
      version: 1,
      registers: {
        ier: this.#ier,
        fcr: this.#fcr,
        lcr: this.#lcr,
        mcr: this.#mcr,
        scr: this.#scr,
        dll: this.#dll,
        dlm: this.#dlm,
      },
      lineStatus: {
        overrun: this.#overrun,
        transmitPending: this.#transmitPending,
        timeoutPending: this.#timeoutPending,
      },
      modem: this.#modem,
      fifo,
      lastByte: this.#lastByte,
      lastActivity: this.#lastActivity,
      nextArrival: this.#nextArrival,
      queue: this.#queue.save(),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const registers = fields.nested("registers");
    const ier = registers.integer("ier", 0, uartRegisters.ier.writable);
    const fcr = registers.byte("fcr");
    const [lcr, mcr] = [registers.byte("lcr"), registers.integer("mcr", 0, uartRegisters.mcr.writable)];
    const [scr, dll, dlm] = [registers.byte("scr"), registers.byte("dll"), registers.byte("dlm")];
    registers.require((fcr & ~Fcr.kept) === 0, "fcr has bits that clear, not keep");
    registers.require(fcr === 0 || (fcr & Fcr.enable) !== 0, "fcr without its FIFO bit is 0");
    registers.end();
    const lineStatus = fields.nested("lineStatus");
    const overrun = lineStatus.boolean("overrun");
    const transmitPending = lineStatus.boolean("transmitPending");
    const timeoutPending = lineStatus.boolean("timeoutPending");
    lineStatus.end();
    const modem = fields.byte("modem");
    const fifo = fields.integers("fifo", (fcr & Fcr.enable) !== 0 ? fifoSize : 1, 0x1fff, 0);
    const lastByte = fields.byte("lastByte");
    const lastActivity = fields.integer("lastActivity", 0, Number.MAX_SAFE_INTEGER);
    const nextArrival = fields.integer("nextArrival", 0, Number.MAX_SAFE_INTEGER);
    const queue = fields.bytes("queue", maximumSavedBytes, 0);
    fields.require(queue.length % 2 === 0, "queue holds two bytes per character");
    fields.require(!timeoutPending || fifo.length > 0, "a receive timeout needs a byte in the FIFO");
    fields.end();

    this.#ier = ier;
    this.#fcr = fcr;
    this.#lcr = lcr;
    this.#mcr = mcr;
    this.#scr = scr;
    this.#dll = dll;
    this.#dlm = dlm;
    this.#overrun = overrun;
    this.#transmitPending = transmitPending;
    this.#timeoutPending = timeoutPending;
    this.#modem = modem;
    this.#head = 0;
    this.#count = fifo.length;
    this.#fifo.set(fifo);
    this.#lastByte = lastByte;
    this.#lastActivity = lastActivity;
    this.#nextArrival = nextArrival;
    this.#queue.restore(queue);
    this.#updateCharacterTime();
    this.#timeout.disarm();
    this.#arrival.disarm();
    this.#feedAndUpdate();
    // Also when it is the level that this object drove before: the receiver of the line may be a new one.
    this.#line.set(this.#level);
  }

  inspect(): Inspection {
    return {
      base: this.#base,
      ier: this.#ier,
      iir: this.#iir | (this.#fifoOn() ? 0xc0 : 0),
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      lsr: this.#lineStatus(),
      msr: (this.#mcr & Mcr.loop) !== 0 ? this.#loopedModemStatus() : this.#modem,
      scr: this.#scr,
      divisor: this.#dll | (this.#dlm << 8),
      interrupt: this.#level,
      fifo: this.#count,
      waiting: this.#queue.length,
      listening: this.#listening(),
      sent: this.#sent,
      lost: this.#lost,
      received: this.#received,
    };
  }
}

import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { SavedFields } from "./saved-state.ts";
import { UartReceiver, type UartReceiverState } from "./uart-receiver.ts";
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
 * waits in a queue until the guest's driver listens, then follows as fast as the guest empties the FIFO. The programmed rate
 * only shows in the receive timeout.
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
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly scr: number;
  readonly dll: number;
  readonly dlm: number;
  /** MSR as read outside loop mode. */
  readonly modem: number;
  readonly transmitPending: boolean;
  readonly receiver: UartReceiverState;
}

/** 16 clocks of 1.8432 MHz make a bit at divisor 1; in ns. */
const bitTime = 16e9 / 1_843_200;

export class Uart16550 extends BytePorts implements Device<UartState> {
  readonly name: string;
  readonly #base: number;
  readonly #timebase: Timebase;
  readonly #line: InterruptLine;
  readonly #output: (byte: number) => void;
  readonly #timeout: Timer;
  readonly #arrival: Timer;
  readonly #receiver = new UartReceiver();

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr: number = uartRegisters.scr.reset;
  #dll = 0;
  #dlm = 0;
  /** MSR outside loop mode. */
  #modem = 0;
  #transmitPending = false;

  /** Interrupt identification without the FIFO bits, the level of the line, a character's ns. */
  #iir: number = Iir.none;
  #level = false;
  #characterTime = 0;
  /** Asking the timer itself costs more than the rest of a byte. */
  #timeoutArmed = false;

  #sent = 0;
  #lost = 0;

  constructor(options: UartOptions) {
    super();
    this.name = options.name;
    this.#base = options.base;
    this.#timebase = options.timebase;
    this.#line = options.line;
    this.#output = options.output;
    this.#timeout = options.timebase.timer(`${options.name} receive timeout`, () => {
      this.#timeoutArmed = false;
      this.#update();
    });
    this.#arrival = options.timebase.timer(`${options.name} arrival`, () => this.#feedAndUpdate());
    this.#powerOn();
  }

  /** Bytes that wait for the guest's driver; the caller of `receive` can hold back more. */
  get waiting(): number {
    return this.#receiver.waiting;
  }

  /**
   * Bytes for the guest. Returns how many were accepted; the rest did not fit the queue of 64 KiB and is the caller's. They
   * wait until the guest asserts DTR and RTS and either turns its FIFO on or enables the data interrupt: a driver clears the
   * chip several times while it starts, and what it had been sent by then would be gone.
   */
  receive(bytes: Uint8Array): number {
    const accepted = this.#receiver.push(bytes);
    this.#feedAndUpdate();
    return accepted;
  }

  /** The far end sends a break: a zero byte with BI (and Linux's SysRq key). False when the queue is full. */
  receiveBreak(): boolean {
    const accepted = this.#receiver.pushBreak();
    this.#feedAndUpdate();
    return accepted;
  }

  /** Levels of CTS, DSR, RI and DCD as `ModemLine` bits, set = asserted. */
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
    const latch = (this.#lcr & Lcr.dlab) !== 0;
    switch (port - this.#base) {
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
    const latch = (this.#lcr & Lcr.dlab) !== 0;
    switch (port - this.#base) {
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
    if (this.#loops()) this.#receiver.loop(byte, this.#timebase.now());
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
    if (this.#transmitPending && !this.#loops()) return;
    this.#transmitPending = true;
    this.#update();
  }

  #readReceiver(): number {
    if (this.#receiver.count === 0) return this.#receiver.read(0);
    const byte = this.#receiver.read(this.#timebase.now());
    this.#feedAndUpdate();
    return byte;
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
    const value = Lsr.idle | this.#receiver.status;
    if (this.#receiver.hasErrors) {
      this.#receiver.clearErrors();
      this.#update();
    }
    return value;
  }

  #readModemStatus(): number {
    const value = this.#modemStatus();
    if (!this.#loops() && (value & 0x0f) !== 0) {
      this.#modem &= 0xf0;
      this.#update();
    }
    return value;
  }

  /** 8.8: in loop mode DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD. Changes are not recorded there. */
  #modemStatus(): number {
    if (!this.#loops()) return this.#modem;
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
    if (toggled || (on && (value & Fcr.clearReceiver) !== 0)) {
      this.#receiver.clear(this.#timebase.now(), this.#characterTime);
      this.#receiver.useFifo(on);
    }
    // A cleared transmitter reports that it is empty, as after each byte.
    if (toggled || (on && (value & Fcr.clearTransmitter) !== 0)) this.#transmitPending = true;
    this.#feedAndUpdate();
  }

  #loops(): boolean {
    return (this.#mcr & Mcr.loop) !== 0;
  }

  #fifoOn(): boolean {
    return (this.#fcr & Fcr.enable) !== 0;
  }

  #listening(): boolean {
    if ((this.#mcr & (Mcr.dtr | Mcr.rts | Mcr.loop)) !== (Mcr.dtr | Mcr.rts)) return false;
    return this.#fifoOn() || (this.#ier & Ier.receive) !== 0;
  }

  #trigger(): number {
    return this.#fifoOn() ? receiveTriggers[(this.#fcr >> 6) & 3]! : 1;
  }

  #feedAndUpdate(): void {
    if (this.#receiver.waiting > 0 && this.#listening()) {
      if (!this.#receiver.feed(this.#timebase.now())) this.#arrival.arm(this.#receiver.nextArrival);
    }
    this.#update();
  }

  /** Which source is reported, and the level of the line. */
  #update(): void {
    this.#watchTimeout();
    this.#iir = this.#identify();
    const gate = (this.#mcr & (Mcr.out2 | Mcr.loop)) === Mcr.out2;
    const level = gate && this.#iir !== Iir.none;
    if (level === this.#level) return;
    this.#level = level;
    this.#line.set(level);
  }

  /** The enabled source of the highest priority (8.6). */
  #identify(): number {
    const ier = this.#ier;
    if (ier === 0) return Iir.none;
    const receiver = this.#receiver;
    if ((ier & Ier.lineStatus) !== 0 && receiver.hasErrors) return Iir.lineStatus;
    if ((ier & Ier.receive) !== 0 && receiver.count >= this.#trigger()) return Iir.receive;
    if ((ier & Ier.receive) !== 0 && receiver.timeoutPending) return Iir.timeout;
    if ((ier & Ier.transmit) !== 0 && this.#transmitPending) return Iir.transmit;
    if ((ier & Ier.modem) !== 0 && !this.#loops() && (this.#modem & 0x0f) !== 0) return Iir.modem;
    return Iir.none;
  }

  /** 8.6: bytes below the trigger are reported when nothing came or was read for four character times. */
  #watchTimeout(): void {
    const receiver = this.#receiver;
    const waits = receiver.count > 0 && receiver.count < this.#trigger() && (this.#ier & Ier.receive) !== 0;
    if (!waits || receiver.timeoutPending) {
      if (this.#timeoutArmed) this.#disarmTimeout();
      return;
    }
    // An alarm that rings too early comes back here, which is cheaper than moving it for each byte.
    if (this.#timeoutArmed) return;
    const deadline = receiver.lastActivity + 4 * this.#characterTime;
    if (deadline <= this.#timebase.now()) receiver.timeoutPending = true;
    else {
      this.#timeoutArmed = true;
      this.#timeout.arm(deadline);
    }
  }

  #disarmTimeout(): void {
    this.#timeoutArmed = false;
    this.#timeout.disarm();
  }

  #updateCharacterTime(): void {
    // 8.1: start, 5 to 8 data bits, parity, stop bits (one and a half count as two); a divisor of 0 counts as 1.
    const bits =
      1 + 5 + (this.#lcr & 3) + ((this.#lcr & 0x08) !== 0 ? 1 : 0) + ((this.#lcr & 0x04) !== 0 ? 2 : 1);
    this.#characterTime = Math.ceil(bits * Math.max(1, this.#dll | (this.#dlm << 8)) * bitTime);
    // The next look at the receiver arms it for the new rate.
    if (this.#timeoutArmed) {
      this.#disarmTimeout();
      this.#update();
    }
  }

  #powerOn(): void {
    this.#ier = uartRegisters.ier.reset;
    this.#fcr = uartRegisters.fcr.reset;
    this.#lcr = uartRegisters.lcr.reset;
    this.#mcr = uartRegisters.mcr.reset;
    this.#dll = uartRegisters.dll.reset;
    this.#dlm = uartRegisters.dlm.reset;
    this.#modem = uartRegisters.msr.reset;
    this.#transmitPending = false;
    this.#receiver.reset();
    this.#updateCharacterTime();
  }

  /** Master reset. SCR keeps its value (8.0, table of reset functions), and so does the queue: it is not in the chip. */
  reset(): void {
    this.#powerOn();
    this.#disarmTimeout();
    this.#arrival.disarm();
    this.#update();
  }

  save(): UartState {
    return {
      version: 1,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scr: this.#scr,
      dll: this.#dll,
      dlm: this.#dlm,
      modem: this.#modem,
      transmitPending: this.#transmitPending,
      receiver: this.#receiver.save(),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const ier = fields.integer("ier", 0, uartRegisters.ier.writable);
    const fcr = fields.byte("fcr");
    const lcr = fields.byte("lcr");
    const mcr = fields.integer("mcr", 0, uartRegisters.mcr.writable);
    const scr = fields.byte("scr");
    const dll = fields.byte("dll");
    const dlm = fields.byte("dlm");
    const modem = fields.byte("modem");
    const transmitPending = fields.boolean("transmitPending");
    fields.require((fcr & ~Fcr.kept) === 0, "fcr has bits that clear, not keep");
    fields.require(fcr === 0 || (fcr & Fcr.enable) !== 0, "fcr without its FIFO bit is 0");
    const putInPlace = this.#receiver.prepare(fields.nested("receiver"), (fcr & Fcr.enable) !== 0);
    fields.end();

    this.#ier = ier;
    this.#fcr = fcr;
    this.#lcr = lcr;
    this.#mcr = mcr;
    this.#scr = scr;
    this.#dll = dll;
    this.#dlm = dlm;
    this.#modem = modem;
    this.#transmitPending = transmitPending;
    putInPlace();
    this.#disarmTimeout();
    this.#updateCharacterTime();
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
      lsr: Lsr.idle | this.#receiver.status,
      msr: this.#modemStatus(),
      scr: this.#scr,
      divisor: this.#dll | (this.#dlm << 8),
      interrupt: this.#level,
      fifo: this.#receiver.count,
      waiting: this.#receiver.waiting,
      listening: this.#listening(),
      sent: this.#sent,
      lost: this.#lost,
      received: this.#receiver.received,
    };
  }
}

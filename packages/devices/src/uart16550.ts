import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, Timebase, Timer } from "./device.ts";
import { SavedFields } from "./saved-state.ts";
import { UartModem } from "./uart-modem.ts";
import { UartReceiver, type UartReceiverState } from "./uart-receiver.ts";
import { type TransmitterPace, UartTransmitter, type UartTransmitterState } from "./uart-transmitter.ts";
import { Fcr, Ier, Iir, Lcr, Mcr, receiveTriggers, uartRegisters } from "./uart16550-registers.ts";

/*
 * A 16550A serial port. As it comes output leaves at once: the transmitter is always empty and a vCPU never waits for the host.
 * Input waits in a queue until the guest's driver listens, then follows as fast as the guest empties the FIFO; the programmed rate
 * only shows in the receive timeout. `wire` asks for another line: one that takes its time, or whose far end can be full.
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

/** How the port's line behaves; a property of the host's, which neither reset nor a restored state changes. */
export interface UartWiring extends TransmitterPace {
  /**
   * "wait": input waits until the guest listens. "now": it arrives at the programmed rate whether the guest listens or not, and
   * what finds the FIFO full is lost as an overrun.
   */
  readonly input: "wait" | "now";
}

export interface UartState {
  /** Version 1 had no transmitter: output had always left. */
  readonly version: 2;
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
  readonly transmitter: UartTransmitterState;
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
  readonly #transmitter: UartTransmitter;
  readonly #modem = new UartModem();
  /** Input waits for the guest. Characters that arrive take their time. */
  #inputWaits = true;
  #pacedInput = false;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr: number = uartRegisters.scr.reset;
  #dll = 0;
  #dlm = 0;

  /** Interrupt identification without the FIFO bits, the level of the line, a character's ns. */
  #iir: number = Iir.none;
  #level = false;
  #characterTime = 0;
  /** Asking the timer itself costs more than the rest of a byte. */
  #timeoutArmed = false;
  #arrivalArmed = false;

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
    this.#arrival = options.timebase.timer(`${options.name} arrival`, () => {
      this.#arrivalArmed = false;
      this.#feedAndUpdate();
    });
    this.#transmitter = new UartTransmitter(
      options.name,
      options.timebase,
      (byte) => this.#leave(byte),
      () => this.#update(),
    );
    this.#powerOn();
  }

  /** Joins the port to another line, from now on and for what is on its way. */
  wire(wiring: UartWiring): void {
    this.#inputWaits = wiring.input === "wait";
    // Who does not wait for the guest would overrun any FIFO at once without the time that characters take.
    this.#pacedInput = wiring.pacing || !this.#inputWaits;
    this.#transmitter.setPace(wiring);
    this.#feedAndUpdate();
  }

  /** A byte waits for the host's end, which was not ready for it. */
  get stalled(): boolean {
    return this.#transmitter.stalled;
  }

  /** The host's end, which was not ready, takes bytes again. */
  resume(): void {
    this.#transmitter.resume();
    this.#update();
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
    this.#modem.setLines(lines, this.#mcr);
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
        this.#writeModemControl(value & uartRegisters.mcr.writable);
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
    const transmitter = this.#transmitter;
    if (transmitter.immediate) {
      this.#leave(byte);
      // Writing THR takes the interrupt back, and the byte has left by now: empty again (8.6, table of interrupt sources).
      if (transmitter.pending && !this.#loops()) return;
      transmitter.pending = true;
    } else transmitter.send(byte);
    this.#update();
  }

  /** A byte is out: back into the receiver, or to the host. */
  #leave(byte: number): void {
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
      this.#transmitter.pending = false;
      this.#update();
    }
    return value;
  }

  #readLineStatus(): number {
    const value = this.#transmitter.status | this.#receiver.status;
    if (this.#receiver.hasErrors) {
      this.#receiver.clearErrors();
      this.#update();
    }
    return value;
  }

  #readModemStatus(): number {
    const value = this.#modem.status(this.#mcr);
    if (this.#modem.changed) {
      this.#modem.clearChanges();
      this.#update();
    }
    return value;
  }

  #writeModemControl(value: number): void {
    this.#modem.control(this.#mcr, value);
    this.#mcr = value;
    this.#feedAndUpdate();
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~this.#ier & Ier.transmit;
    this.#ier = value & uartRegisters.ier.writable;
    // Enabling reports an empty transmitter at once. Linux's test for a lost THRE interrupt wants this each time, also when an
    // IIR read has taken the interrupt back before.
    if (enabled !== 0 && this.#transmitter.status !== 0) this.#transmitter.pending = true;
    this.#feedAndUpdate();
  }

  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fcr) & Fcr.enable) !== 0;
    const on = (value & Fcr.enable) !== 0;
    // 8.5: the other bits count only together with bit 0.
    this.#fcr = on ? value & Fcr.kept : 0;
    if (toggled || (on && (value & Fcr.clearReceiver) !== 0)) {
      this.#receiver.clear(this.#timebase.now(), this.#characterTime, !this.#inputWaits);
      this.#receiver.useFifo(on);
    }
    if (toggled || (on && (value & Fcr.clearTransmitter) !== 0)) {
      this.#transmitter.clear();
      this.#transmitter.useFifo(on);
    }
    this.#feedAndUpdate();
  }

  #loops(): boolean {
    return (this.#mcr & Mcr.loop) !== 0;
  }

  #fifoOn(): boolean {
    return (this.#fcr & Fcr.enable) !== 0;
  }

  #listening(): boolean {
    // In loop mode the receiver hears itself only (8.8).
    if (!this.#inputWaits) return !this.#loops();
    if ((this.#mcr & (Mcr.dtr | Mcr.rts | Mcr.loop)) !== (Mcr.dtr | Mcr.rts)) return false;
    return this.#fifoOn() || (this.#ier & Ier.receive) !== 0;
  }

  #trigger(): number {
    return this.#fifoOn() ? receiveTriggers[(this.#fcr >> 6) & 3]! : 1;
  }

  /** Lets characters arrive that can, and sets the alarm for the next one that only lacks the time. */
  #feedAndUpdate(): void {
    if (this.#arrivalArmed) this.#disarmArrival();
    if (this.#receiver.waiting > 0 && this.#listening()) {
      const now = this.#timebase.now();
      const fed = this.#pacedInput
        ? this.#receiver.feedPaced(now, this.#characterTime, !this.#inputWaits)
        : this.#receiver.feed(now, this.#characterTime);
      if (!fed) {
        this.#arrivalArmed = true;
        this.#arrival.arm(this.#receiver.nextArrival);
      }
    }
    this.#update();
  }

  #disarmArrival(): void {
    this.#arrivalArmed = false;
    this.#arrival.disarm();
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
    if ((ier & Ier.transmit) !== 0 && this.#transmitter.pending) return Iir.transmit;
    if ((ier & Ier.modem) !== 0 && this.#modem.changed) return Iir.modem;
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
    const stopBits = (this.#lcr & 0x04) !== 0 ? 2 : 1;
    const bits = 1 + 5 + (this.#lcr & 3) + ((this.#lcr & 0x08) !== 0 ? 1 : 0) + stopBits;
    const oneBit = Math.max(1, this.#dll | (this.#dlm << 8)) * bitTime;
    this.#characterTime = Math.ceil(bits * oneBit);
    this.#transmitter.setCharacterTime(this.#characterTime, Math.floor(stopBits * oneBit));
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
    this.#modem.reset(uartRegisters.msr.reset);
    this.#transmitter.reset();
    this.#receiver.reset();
    this.#updateCharacterTime();
  }

  /** Master reset. SCR keeps its value (8.0, table of reset functions), and so does the queue: it is not in the chip. */
  reset(): void {
    this.#powerOn();
    this.#disarmTimeout();
    this.#disarmArrival();
    this.#update();
  }

  save(): UartState {
    return {
      version: 2,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scr: this.#scr,
      dll: this.#dll,
      dlm: this.#dlm,
      modem: this.#modem.save(),
      transmitPending: this.#transmitter.pending,
      transmitter: this.#transmitter.save(),
      receiver: this.#receiver.save(),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1, 2);
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
    const fifoOn = (fcr & Fcr.enable) !== 0;
    const placeReceiver = this.#receiver.prepare(fields.nested("receiver"), fifoOn);
    const saved = fields.has("transmitter") ? fields.nested("transmitter") : undefined;
    const placeTransmitter = this.#transmitter.prepare(saved, fifoOn);
    fields.end();

    this.#ier = ier;
    this.#fcr = fcr;
    this.#lcr = lcr;
    this.#mcr = mcr;
    this.#scr = scr;
    this.#dll = dll;
    this.#dlm = dlm;
    this.#modem.restore(modem);
    placeReceiver();
    this.#disarmTimeout();
    this.#updateCharacterTime();
    placeTransmitter(transmitPending);
    this.#disarmArrival();
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
      lsr: this.#transmitter.status | this.#receiver.status,
      msr: this.#modem.status(this.#mcr),
      scr: this.#scr,
      divisor: this.#dll | (this.#dlm << 8),
      interrupt: this.#level,
      fifo: this.#receiver.count,
      waiting: this.#receiver.waiting,
      listening: this.#listening(),
      stalled: this.#transmitter.stalled,
      sent: this.#sent,
      lost: this.#lost + this.#transmitter.lost,
      received: this.#receiver.received,
      overruns: this.#receiver.overruns,
    };
  }
}

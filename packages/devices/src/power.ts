import { pcPower } from "./acpi/machine.ts";
import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine, PortDevice, Timebase, Timer } from "./device.ts";
import { Oscillator } from "./oscillator.ts";
import { Pm1, powerRegisters } from "./power-registers.ts";
import { SavedFields } from "./saved-state.ts";

export interface PowerOptions {
  readonly name: string;
  readonly timebase: Timebase;
  /** System control interrupt, level triggered. */
  readonly sci: InterruptLine;
  /** The guest turned the machine off. Called inside the guest's write: take note, do not act on the vCPU. */
  readonly powerOff: () => void;
  /** The guest asked for a reset of the platform. As with `powerOff`. */
  readonly reset: () => void;
}

export interface PowerState {
  readonly version: 1;
  readonly status: number;
  readonly enable: number;
  readonly control: number;
  readonly gpeStatus: number;
  readonly gpeEnable: number;
  readonly resetControl: number;
  readonly systemControl: number;
  /** Half periods of the PM timer that the status bit has told of. */
  readonly halfPeriods: number;
}

/** Cycles of the PM timer per second of guest time (ACPI 4.8.3.3). */
export const pmTimerHertz = 3_579_545;
const halfPeriod = 2 ** 31;

const { pm1Event, pm1Control, pmTimer, gpe0, sleepTypeOff, resetPort } = pcPower;
const gpeHalf = pcPower.gpe0Length / 2;
const keyboardData = 0x60;
const keyboardCommand = 0x64;
const systemControl = 0x92;

/** Every range of ports, to be registered under the given names; but for 0xCF9, of which PCI's host hands on what is not its own. */
export const powerPorts = [
  { name: "acpi pm1", first: pm1Event, count: 6 },
  { name: "acpi timer", first: pmTimer, count: 4 },
  { name: "acpi gpe0", first: gpe0, count: pcPower.gpe0Length },
  { name: "system control", first: systemControl, count: 1 },
  { name: "keyboard data", first: keyboardData, count: 1 },
  { name: "keyboard command", first: keyboardCommand, count: 1 },
] as const;

/** ACPI fixed hardware: power off, SCI, PM timer, general purpose events; and all the ways in which a PC resets itself. */
export class PowerManagement extends BytePorts implements Device<PowerState> {
  readonly name: string;
  readonly #timebase: Timebase;
  readonly #sci: InterruptLine;
  readonly #powerOff: () => void;
  readonly #reset: () => void;
  readonly #carry: Timer;
  readonly #clock = new Oscillator(pmTimerHertz);
  #status = 0;
  #enable = 0;
  #control: number = powerRegisters.control.reset;
  #gpeStatus = 0;
  #gpeEnable = 0;
  #resetControl = 0;
  #systemControl: number = powerRegisters.systemControl.reset;
  #halfPeriods = 0;
  #level = false;

  constructor(options: PowerOptions) {
    super();
    this.name = options.name;
    this.#timebase = options.timebase;
    this.#sci = options.sci;
    this.#powerOff = options.powerOff;
    this.#reset = options.reset;
    this.#carry = options.timebase.timer(`${options.name} timer carry`, () => this.#update());
    this.#halfPeriods = this.#halfPeriodsNow();
  }

  /** Takes all its ports on `bus`. */
  register(bus: {
    registerPorts(name: string, first: number, count: number, device: PortDevice): void;
  }): void {
    for (const { name, first, count } of powerPorts) bus.registerPorts(name, first, count, this);
  }

  /** The user pushes the power button: a guest that listens shuts itself down. */
  pressPowerButton(): void {
    this.#status |= Pm1.powerButton;
    this.#update();
  }

  /** The user pushes the sleep button: as the power button, for a guest that does not turn itself off at once. */
  pressSleepButton(): void {
    this.#status |= Pm1.sleepButton;
    this.#update();
  }

  /** General purpose event `event`, 0 to 15, happens. */
  signalEvent(event: number): void {
    if (!Number.isInteger(event) || event < 0 || event >= 8 * gpeHalf) {
      throw new RangeError(`${this.name}: there is no event ${event}, only 0 to ${8 * gpeHalf - 1}`);
    }
    this.#gpeStatus |= 1 << event;
    this.#update();
  }

  override portRead(port: number, width: 1 | 2 | 4): number {
    // What guests with this as their clock read all the time: in one piece.
    if (port === pmTimer && width === 4) return this.#timerCount();
    return super.portRead(port, width);
  }

  protected override readByte(port: number): number {
    switch (port) {
      case pm1Event:
      case pm1Event + 1:
        this.#noticeCarry();
        return byteOf(this.#status, port - pm1Event);
      case pm1Event + 2:
      case pm1Event + 3:
        return byteOf(this.#enable, port - pm1Event - 2);
      case pm1Control:
      case pm1Control + 1:
        return byteOf(this.#control, port - pm1Control);
      case pmTimer:
      case pmTimer + 1:
      case pmTimer + 2:
      case pmTimer + 3:
        return byteOf(this.#timerCount(), port - pmTimer);
      case gpe0:
      case gpe0 + 1:
        return byteOf(this.#gpeStatus, port - gpe0);
      case gpe0 + gpeHalf:
      case gpe0 + gpeHalf + 1:
        return byteOf(this.#gpeEnable, port - gpe0 - gpeHalf);
      case resetPort:
        return this.#resetControl;
      case systemControl:
        return this.#systemControl;
      case keyboardCommand:
        return powerRegisters.keyboardStatus.reset;
      default:
        return 0xff;
    }
  }

  protected override writeByte(port: number, value: number): void {
    switch (port) {
      case pm1Event:
      case pm1Event + 1:
        this.#noticeCarry();
        this.#status &= ~(value << (8 * (port - pm1Event)));
        break;
      case pm1Event + 2:
      case pm1Event + 3:
        this.#enable = withByte(this.#enable, port - pm1Event - 2, value) & powerRegisters.enable.writable;
        break;
      case pm1Control:
      case pm1Control + 1:
        this.#writeControl(port - pm1Control, value);
        break;
      case gpe0:
      case gpe0 + 1:
        this.#gpeStatus &= ~(value << (8 * (port - gpe0)));
        break;
      case gpe0 + gpeHalf:
      case gpe0 + gpeHalf + 1:
        this.#gpeEnable = withByte(this.#gpeEnable, port - gpe0 - gpeHalf, value);
        break;
      case resetPort:
        this.#resetControl = value & powerRegisters.resetControl.writable;
        // A reset returns the bit to 0, so that every write of 1 is a change from 0.
        if ((value & 0x04) !== 0) this.#reset();
        return;
      case systemControl:
        this.#systemControl = value & powerRegisters.systemControl.writable;
        if ((value & 0x01) !== 0) this.#reset();
        return;
      case keyboardCommand:
        if (value === 0xfe) this.#reset();
        return;
      default:
        return;
    }
    this.#update();
  }

  #writeControl(byte: number, value: number): void {
    this.#control =
      powerRegisters.control.reset | (withByte(this.#control, byte, value) & powerRegisters.control.writable);
    const sleepEnable = byte === 1 && (value & 0x20) !== 0;
    // The other sleep types are not offered by the ACPI tables (no \_S1 to \_S4) and do nothing.
    if (sleepEnable && ((this.#control >> 10) & 7) === sleepTypeOff) this.#powerOff();
  }

  #timerCount(): number {
    return this.#clock.cycles(this.#timebase.now()) >>> 0;
  }

  #halfPeriodsNow(): number {
    return Math.floor(this.#clock.cycles(this.#timebase.now()) / halfPeriod);
  }

  /** The status bit is worked out when somebody looks; an alarm is only set while it would interrupt. */
  #noticeCarry(): void {
    const halfPeriods = this.#halfPeriodsNow();
    if (halfPeriods === this.#halfPeriods) return;
    this.#halfPeriods = halfPeriods;
    this.#status |= Pm1.timer;
  }

  #update(): void {
    this.#noticeCarry();
    this.#drive();
  }

  #drive(): void {
    const waits = (this.#enable & ~this.#status & Pm1.timer) !== 0;
    if (waits) this.#carry.arm(this.#clock.timeOf((this.#halfPeriods + 1) * halfPeriod));
    else this.#carry.disarm();
    const level = (this.#status & this.#enable) !== 0 || (this.#gpeStatus & this.#gpeEnable) !== 0;
    if (level === this.#level) return;
    this.#level = level;
    this.#sci.set(level);
  }

  reset(): void {
    this.#status = powerRegisters.status.reset;
    this.#enable = powerRegisters.enable.reset;
    this.#control = powerRegisters.control.reset;
    this.#gpeStatus = powerRegisters.gpeStatus.reset;
    this.#gpeEnable = powerRegisters.gpeEnable.reset;
    this.#resetControl = powerRegisters.resetControl.reset;
    this.#systemControl = powerRegisters.systemControl.reset;
    this.#halfPeriods = this.#halfPeriodsNow();
    this.#update();
  }

  save(): PowerState {
    return {
      version: 1,
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      gpeStatus: this.#gpeStatus,
      gpeEnable: this.#gpeEnable,
      resetControl: this.#resetControl,
      systemControl: this.#systemControl,
      halfPeriods: this.#halfPeriods,
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const status = fields.word("status");
    const enable = fields.word("enable");
    const control = fields.word("control");
    const gpeStatus = fields.word("gpeStatus");
    const gpeEnable = fields.word("gpeEnable");
    const resetControl = fields.byte("resetControl");
    const system = fields.byte("systemControl");
    const halfPeriods = fields.integer("halfPeriods", 0, this.#halfPeriodsNow());
    const kept: [string, number, number][] = [
      ["status", status, powerRegisters.status.writable],
      ["enable", enable, powerRegisters.enable.writable],
      ["control", control ^ powerRegisters.control.reset, powerRegisters.control.writable],
      ["resetControl", resetControl, powerRegisters.resetControl.writable],
      ["systemControl", system, powerRegisters.systemControl.writable],
    ];
    for (const [field, value, writable] of kept) {
      fields.require((value & ~writable) === 0, `${field} has bits that the register does not keep`);
    }
    fields.end();
    this.#status = status;
    this.#enable = enable;
    this.#control = control;
    this.#gpeStatus = gpeStatus;
    this.#gpeEnable = gpeEnable;
    this.#resetControl = resetControl;
    this.#systemControl = system;
    this.#halfPeriods = halfPeriods;
    // Not `#update`: a carry between saving and now is noticed when it would have been.
    this.#drive();
    this.#sci.set(this.#level);
  }

  inspect(): Inspection {
    return {
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      timer: this.#timerCount(),
      gpeStatus: this.#gpeStatus,
      gpeEnable: this.#gpeEnable,
      resetControl: this.#resetControl,
      interrupt: this.#level,
    };
  }
}

function byteOf(value: number, index: number): number {
  return (value >>> (8 * index)) & 0xff;
}

function withByte(word: number, index: number, byte: number): number {
  return (word & ~(0xff << (8 * index))) | (byte << (8 * index));
}

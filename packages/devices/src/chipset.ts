import type { Clock, Msr64 } from "@entresol/hypervisor";
import { type AcpiTables, buildAcpiTables } from "./acpi/index.ts";
import { ApicFabric, type VcpuSignals } from "./apic-fabric.ts";
import { Bus } from "./bus.ts";
import { ClockWheel } from "./clock-wheel.ts";
import { deliveryMode } from "./delivery-mode.ts";
import type { Device, Inspection, InterruptLine } from "./device.ts";
import { Ioapic, ioapicPins } from "./ioapic.ts";
import { LineFanout, SharedLine } from "./line.ts";
import { LocalApic } from "./local-apic.ts";
import { lvtEntry } from "./local-vector-table.ts";
import { Pic, picPorts } from "./pic.ts";
import { Pit } from "./pit.ts";
import { PowerManagement } from "./power.ts";
import { Rtc } from "./rtc.ts";
import { DeviceStateError } from "./saved-state.ts";
import { Uart16550 } from "./uart16550.ts";

/** The PC's serial ports, COM1 first: first port and ISA interrupt. */
export const serialPlaces = [
  { name: "com1", port: 0x3f8, interrupt: 4 },
  { name: "com2", port: 0x2f8, interrupt: 3 },
  { name: "com3", port: 0x3e8, interrupt: 4 },
  { name: "com4", port: 0x2e8, interrupt: 3 },
] as const;

const ioapicBase = 0xfec00000;
/** System control interrupt: level triggered, active high by the MADT's override. */
const sciInterrupt = 9;
const rtcInterrupt = 8;
const timerInterrupt = 0;
/** Mask bit of IOAPIC entries and of the local vector table alike. */
const maskedEntry = 1 << 16;
/** Where the timer arrives at the IOAPIC, by the MADT's override. */
const timerPin = 2;

export interface ChipsetOptions {
  readonly clock: Clock;
  /** Number of vCPUs; APIC ids 0 to n - 1. */
  readonly processors: number;
  readonly tscFrequency: number;
  readonly physicalAddressBits: number;
  /** What vCPU `index` added to its TSC. */
  readonly tscOffset: (index: number) => Msr64;
  /** What the RTC shows at guest time 0: seconds since 1970-01-01 UTC. */
  readonly rtcStart: number;
  /** One sink per serial port, COM1 first, at most four. Each takes a byte at once. */
  readonly serialOutputs: readonly ((byte: number) => void)[];
  readonly powerOff: () => void;
  readonly reset: () => void;
  readonly signals: VcpuSignals;
}

/** The PC that a guest finds: every device on one bus, one clock wheel and one interrupt fabric. */
export class Chipset {
  readonly bus = new Bus();
  readonly wheel: ClockWheel;
  readonly apics: readonly LocalApic[];
  readonly serial: readonly Uart16550[];
  readonly #fabric: ApicFabric;
  readonly #ioapic: Ioapic;
  readonly #inputs: SharedLine[] = [];
  /** The interrupt controllers, in the order in which they are restored. */
  readonly #controllers: readonly Device[];
  readonly #devices: Device[] = [];

  constructor(options: ChipsetOptions) {
    this.wheel = new ClockWheel(options.clock);
    const { bus, wheel } = this;
    this.#fabric = new ApicFabric(options.signals);
    this.apics = Array.from({ length: options.processors }, (_, index) => {
      const apic = new LocalApic({
        index,
        time: wheel,
        bus: this.#fabric,
        physicalAddressBits: options.physicalAddressBits,
        tscFrequency: options.tscFrequency,
        tscOffset: () => options.tscOffset(index),
      });
      this.#fabric.attach(apic);
      return apic;
    });

    const ioapic = new Ioapic(this.#fabric);
    this.#ioapic = ioapic;
    const pic = new Pic({ name: "pic", output: this.#fabric.external });
    this.#fabric.attachExternal(pic);
    this.#fabric.attachListener(ioapic);
    for (let n = 0; n < ioapicPins; n++) {
      // ISA interrupts reach both controllers; the timer is pin 2 of the IOAPIC, and input 2 of the pair is its cascade.
      const pin = ioapic.pins[n === timerInterrupt ? timerPin : n]!;
      if (n === timerPin) this.#inputs.push(new SharedLine({ set() {} }));
      else this.#inputs.push(new SharedLine(n < 16 ? new LineFanout(pic.line(n), pin) : pin));
    }

    const pit = new Pit({ name: "pit", timebase: wheel, line: this.line(timerInterrupt) });
    const rtc = new Rtc({
      name: "rtc",
      timebase: wheel,
      line: this.line(rtcInterrupt),
      startTime: options.rtcStart,
    });
    const power = new PowerManagement({
      name: "power",
      timebase: wheel,
      sci: this.line(sciInterrupt),
      powerOff: options.powerOff,
      reset: options.reset,
    });
    this.serial = options.serialOutputs.map((output, n) => {
      const { name, port, interrupt } = serialPlaces[n]!;
      return new Uart16550({ name, base: port, timebase: wheel, line: this.line(interrupt), output });
    });

    bus.registerPorts("pic master", picPorts.master, 2, pic);
    bus.registerPorts("pic slave", picPorts.slave, 2, pic);
    bus.registerPorts("pic elcr", picPorts.elcr, 2, pic);
    bus.registerPorts("pit", 0x40, 4, pit);
    bus.registerPorts("port 61", 0x61, 1, pit);
    bus.registerPorts("rtc", 0x70, 2, rtc);
    power.register(bus);
    for (const [n, uart] of this.serial.entries())
      bus.registerPorts(uart.name, serialPlaces[n]!.port, 8, uart);
    bus.registerMmio("ioapic", ioapicBase, 0x1000, ioapic);
    this.#controllers = [pic, ioapic, ...this.apics];
    this.#devices.push(...this.#controllers, pit, rtc, power, ...this.serial);
    this.reset();
  }

  /** A new source on global system interrupt `interrupt`, 0 to 23. Sources of one interrupt are OR-ed. */
  line(interrupt: number): InterruptLine {
    const input = this.#inputs[interrupt];
    if (input === undefined || interrupt === timerPin) {
      throw new RangeError(`interrupt ${interrupt} cannot be wired: 0 to ${ioapicPins - 1} but ${timerPin}`);
    }
    return input.source();
  }

  /** Adds a device that is not of the chipset to reset, saved state and inspection. It registers its own ports. */
  attach(device: Device): void {
    if (this.#devices.some(({ name }) => name === device.name))
      throw new RangeError(`there is already a device ${device.name}`);
    this.#devices.push(device);
  }

  /**
   * Can a device reach a processor that is halted with interrupts off: by NMI or INIT, through the IOAPIC or the 8259 pair's LINT0?
   * (Nothing drives LINT1.)
   */
  get reachesHalted(): boolean {
    const { nmi, init } = deliveryMode;
    const reaches = (entry: number): boolean => {
      const mode = (entry >>> 8) & 7;
      return (entry & maskedEntry) === 0 && (mode === nmi || mode === init);
    };
    return (
      this.#ioapic.save().entries.some(reaches) ||
      this.apics.some((apic) => reaches(apic.save().lvt[lvtEntry.lint0]!))
    );
  }

  /** ACPI tables for this machine, to be written into RAM. */
  acpiTables(): AcpiTables {
    return buildAcpiTables({
      processors: this.apics.length,
      serialPorts: this.serial.map(({ name }, n) => ({
        name,
        port: serialPlaces[n]!.port,
        irq: serialPlaces[n]!.interrupt,
      })),
    });
  }

  /** Power-on state, handed over as firmware would: the 8259 pair wired through the first local APIC. */
  reset(): void {
    for (const device of this.#devices) device.reset();
    this.apics[0]!.enterVirtualWire();
  }

  /** State of every device by name. */
  save(): Record<string, unknown> {
    return Object.fromEntries(this.#devices.map((device) => [device.name, device.save()]));
  }

  /** Throws `DeviceStateError` when a device is missing, is one too many, or its state does not fit; then some may be restored already. */
  restore(state: unknown): void {
    const saved = state as Record<string, unknown> | null;
    if (saved === null || typeof saved !== "object")
      throw new DeviceStateError("bad-shape", "chipset: no saved state");
    for (const device of this.#devices) {
      if (!Object.hasOwn(saved, device.name))
        throw new DeviceStateError("bad-shape", `chipset: no saved state of ${device.name}`);
    }
    // A device that is left out would be one that the guest knows and does not find.
    for (const name of Object.keys(saved)) {
      if (!this.#devices.some((device) => device.name === name))
        throw new DeviceStateError(
          "bad-shape",
          `chipset: saved state of ${name}, which this machine has not`,
        );
    }
    for (const device of this.#inRestoreOrder()) {
      try {
        device.restore(saved[device.name]);
      } catch (error) {
        if (error instanceof DeviceStateError) throw error;
        // Whatever a device stumbles over in a state from outside, it is the state that is wrong.
        const why = error instanceof Error ? error.message : String(error);
        throw new DeviceStateError("bad-shape", `${device.name}: its saved state cannot be read: ${why}`, {
          cause: error,
        });
      }
    }
  }

  /**
   * What drives lines first, then the controllers that the lines lead to, then the local APICs: a line that is driven again while
   * its controller is restored must not look like a new interrupt.
   */
  #inRestoreOrder(): readonly Device[] {
    const last = new Map<Device, number>(this.#controllers.map((device, n) => [device, n + 1]));
    return this.#devices.toSorted((a, b) => (last.get(a) ?? 0) - (last.get(b) ?? 0));
  }

  inspect(): Record<string, Inspection> {
    return {
      ...Object.fromEntries(this.#devices.map((device) => [device.name, device.inspect()])),
      fabric: this.#fabric.inspect(),
      alarms: this.wheel.inspect(),
      bus: this.bus.inspect(),
    };
  }
}

import type { Clock, Msr64 } from "@entresol/hypervisor";
import { type AcpiPci, type AcpiTables, type AcpiTpm, buildAcpiTables } from "./acpi/index.ts";
import { ApicFabric, type VcpuSignals } from "./apic-fabric.ts";
import { Bus } from "./bus.ts";
import { InterruptWiring, timerInterrupt } from "./chipset-interrupts.ts";
import { ClockWheel } from "./clock-wheel.ts";
import { DebugPort, debugPorts } from "./debug-port.ts";
import { deliveryMode } from "./delivery-mode.ts";
import type { Device, Inspection, InterruptLine } from "./device.ts";
import { Hpet, hpetBase, hpetLength, SwitchedLine } from "./hpet.ts";
import { Ioapic } from "./ioapic.ts";
import { LineFanout } from "./line.ts";
import { LocalApic } from "./local-apic.ts";
import { lvtEntry } from "./local-vector-table.ts";
import { type DmaMemory, PciHost, pciDevices, pciLayout, pirqOf, pirqRegisters } from "./pci/index.ts";
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
/** Fewest ticks of the HPET between two interrupts of a periodic timer that an operating system can serve: 1.28 us. */
const hpetMinimumTick = 128;
/** PIRQ A; B to H follow. */
const firstPirq = 16;
const pirqs = pirqRegisters.length;
/** What the operating system may lead PIRQs to: ISA interrupts that no fixed device has. */
const isaChoices = [5, 10, 11];
/** Mask bit of IOAPIC entries and of the local vector table alike. */
const maskedEntry = 1 << 16;

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
  /** The local APICs have x2APIC mode; default true. */
  readonly x2apic?: boolean;
  /** One sink per serial port, COM1 first, at most four. Each takes a byte at once. */
  readonly serialOutputs: readonly ((byte: number) => void)[];
  /** Takes each byte that the guest writes to the debug console; they are dropped when absent. */
  readonly debugOutput?: (byte: number) => void;
  /** Guest RAM, for PCI functions that read and write it; none when absent. */
  readonly memory?: DmaMemory;
  /** PCI Express root ports, each with a slot: 0 to 8, 2 when absent. */
  readonly rootPorts?: number;
  /** What the ACPI tables say about a TPM; its device is attached apart. */
  readonly tpm?: AcpiTpm;
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
  /** Where PCI functions are plugged in. Before the machine starts `handOver` has to follow. */
  readonly pci: PciHost;
  readonly #fabric: ApicFabric;
  readonly #ioapic: Ioapic;
  readonly #wiring: InterruptWiring;
  readonly #hpet: Hpet;
  readonly #power: PowerManagement;
  /** The interrupt controllers, in the order in which they are restored. */
  readonly #controllers: readonly Device[];
  readonly #tpm: AcpiTpm | undefined;
  readonly #devices: Device[] = [];

  constructor(options: ChipsetOptions) {
    this.wheel = new ClockWheel(options.clock);
    this.#tpm = options.tpm;
    const { bus, wheel } = this;
    this.#fabric = new ApicFabric(options.signals);
    this.apics = Array.from({ length: options.processors }, (_, index) => {
      const apic = new LocalApic({
        index,
        time: wheel,
        bus: this.#fabric,
        physicalAddressBits: options.physicalAddressBits,
        tscFrequency: options.tscFrequency,
        ...(options.x2apic === undefined ? {} : { x2apic: options.x2apic }),
        tscOffset: () => options.tscOffset(index),
      });
      this.#fabric.attach(apic);
      return apic;
    });

    const ioapic = new Ioapic(this.#fabric);
    this.#ioapic = ioapic;
    // INTR goes to LINT0 of the processors and, as on boards, to pin 0 of the IOAPIC for an entry in ExtINT mode.
    const output = new LineFanout(this.#fabric.external, ioapic.pins[0]!);
    const pic = new Pic({ name: "pic", output });
    this.#fabric.attachExternal(pic);
    this.#fabric.attachListener(ioapic);
    this.#wiring = new InterruptWiring(pic, ioapic);

    // The HPET's legacy replacement cuts the 8254 and the RTC off from their interrupts.
    const pitLine = new SwitchedLine(this.line(timerInterrupt));
    const rtcLine = new SwitchedLine(this.line(rtcInterrupt));
    const pit = new Pit({ name: "pit", timebase: wheel, line: pitLine });
    const rtc = new Rtc({ name: "rtc", timebase: wheel, line: rtcLine, startTime: options.rtcStart });
    const hpet = new Hpet({
      name: "hpet",
      // A third one would be free for applications: Linux then spins on it for two milliseconds at boot to measure it, an access
      // every few nanoseconds, which costs a fifth of the whole boot.
      timers: 2,
      timebase: wheel,
      line: (n) => this.line(n),
      legacyLines: [this.line(timerInterrupt), this.line(rtcInterrupt)],
      legacyReplacement: (active) => {
        pitLine.connect(!active);
        rtcLine.connect(!active);
      },
      message: (address, data) => this.#fabric.message(address, data),
    });
    const debug = new DebugPort({ name: "debug", output: options.debugOutput ?? (() => {}) });
    const power = new PowerManagement({
      name: "power",
      timebase: wheel,
      sci: this.line(sciInterrupt),
      powerOff: options.powerOff,
      reset: options.reset,
    });
    this.#hpet = hpet;
    this.#power = power;
    const pci = new PciHost({
      bus,
      physicalAddressBits: options.physicalAddressBits,
      ...(options.rootPorts === undefined ? {} : { rootPorts: options.rootPorts }),
      message: (address, data) => void this.#fabric.message(address, data),
      memory: options.memory ?? { size: 0, read() {}, write() {} },
      interrupts: Array.from({ length: pirqs }, (_, n) => this.line(firstPirq + n)),
      legacyInput: (irq) => this.#wiring.pairInput(irq),
      resetControl: power,
    });
    this.pci = pci;
    this.serial = options.serialOutputs.map((output, n) => {
      const { name, port, interrupt } = serialPlaces[n]!;
      return new Uart16550({ name, base: port, timebase: wheel, line: this.line(interrupt), output });
    });

    bus.registerPorts("pic master", picPorts.master, 2, pic);
    bus.registerPorts("pic slave", picPorts.slave, 2, pic);
    bus.registerPorts("pic elcr", picPorts.elcr, 2, pic);
    bus.registerPorts("pit", 0x40, 4, pit);
    bus.registerPorts("port 61", 0x61, 1, pit);
    bus.registerPorts("rtc", 0x70, 4, rtc);
    bus.registerPorts("debug console", debugPorts.console, 1, debug);
    bus.registerPorts("post code", debugPorts.post, 1, debug);
    power.register(bus);
    for (const [n, uart] of this.serial.entries())
      bus.registerPorts(uart.name, serialPlaces[n]!.port, 8, uart);
    bus.registerMmio("ioapic", ioapicBase, 0x1000, ioapic);
    bus.registerMmio("hpet", hpetBase, hpetLength, hpet);
    this.#controllers = [pic, ioapic, ...this.apics];
    this.#devices.push(...this.#controllers, pit, rtc, hpet, debug, power, pci, ...this.serial);
    this.reset();
  }

  /** A new source on global system interrupt `interrupt`, 0 to 23. Sources of one interrupt are OR-ed. */
  line(interrupt: number): InterruptLine {
    return this.#wiring.line(interrupt);
  }

  /** The user pushes the power button: a guest that listens shuts itself down. */
  pressPowerButton(): void {
    this.#power.pressPowerButton();
  }

  /** The user pushes the sleep button. There is no sleep state of the platform: what a guest does about it is its own. */
  pressSleepButton(): void {
    this.#power.pressSleepButton();
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
      hpet: {
        base: hpetBase,
        length: hpetLength,
        capabilities: this.#hpet.capabilities,
        minimumTick: hpetMinimumTick,
      },
      pci: this.#acpiPci(),
      ...(this.#tpm === undefined ? {} : { tpm: this.#tpm }),
    });
  }

  #acpiPci(): AcpiPci {
    const { ecam, memory32, ports } = pciLayout;
    const { highWindow, rootPorts } = this.pci;
    return {
      ecamBase: ecam.base,
      lastBus: ecam.length / 2 ** 20 - 1,
      portWindow: { first: ports.base, last: ports.base + ports.length - 1 },
      memoryWindows: highWindow === undefined ? [memory32] : [memory32, highWindow],
      rootPorts: rootPorts.map(({ index }) => ({
        device: pciDevices.rootPorts,
        function: index,
        slot: index + 1,
      })),
      router: { device: pciDevices.isaBridge, function: 0, registers: pirqRegisters },
      isaChoices,
      pirq: (device, pin) => pirqOf(device, pin + 1),
      firstInterrupt: firstPirq,
    };
  }

  /** Power-on state, handed over as firmware would. */
  reset(): void {
    for (const device of this.#devices) device.reset();
    this.handOver();
  }

  /**
   * Firmware's part, before an operating system starts: addresses and interrupts of the PCI functions that are plugged in, inputs
   * of the 8259 pair that they share level triggered, and the pair wired through the first local APIC.
   */
  handOver(): void {
    this.pci.assignResources();
    this.bus.portWrite(picPorts.elcr, 2, this.pci.levelInputs);
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
        throw new DeviceStateError(
          "bad-shape",
          `chipset: no saved state of ${device.name}: the machine that was saved had none`,
        );
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

import { Bus } from "../bus.ts";
import { ManualTime } from "../clock-wheel.ts";
import type { InterruptLine } from "../device.ts";
import { RecordingLine } from "../line.ts";
import { PciHost, type PciHostOptions } from "./host.ts";
import { routableInputs } from "./isa-bridge.ts";
import { pciLayout } from "./layout.ts";

/** What stands around a host in tests: a bus, lines that remember, RAM, and the guest's ways to reach configuration space. */
export class BareMachine {
  readonly bus = new Bus();
  readonly time = new ManualTime();
  /** PIRQ A to H. */
  readonly pirqs = Array.from({ length: 8 }, () => new RecordingLine());
  /** Inputs of the 8259 pair, by number. */
  readonly inputs = new Map(routableInputs.map((input) => [input as number, new RecordingLine()]));
  /** Interrupt messages, address and data. */
  readonly messages: (readonly [number, number])[] = [];
  /** Byte accesses that reached reset control. */
  readonly resets: number[] = [];
  readonly ram = new Uint8Array(0x1_0000);
  readonly host: PciHost;

  constructor(options: Partial<Pick<PciHostOptions, "rootPorts" | "physicalAddressBits">> = {}) {
    const { ram, resets } = this;
    this.host = new PciHost({
      bus: this.bus,
      physicalAddressBits: 40,
      ...options,
      message: (address, data) => this.messages.push([address, data]),
      memory: {
        size: ram.length,
        read: (at, target) => target.set(ram.subarray(at, at + target.length)),
        write: (at, source) => ram.set(source, at),
      },
      interrupts: this.pirqs,
      legacyInput: (input): InterruptLine => this.inputs.get(input)!,
      resetControl: {
        portRead: () => 0x5a,
        portWrite: (_port, _width, value) => {
          resets.push(value);
        },
      },
    });
  }

  /** A configuration read by mechanism #1. */
  read(bus: number, device: number, fn: number, at: number, width: 1 | 2 | 4 = 4): number {
    this.#select(bus, device, fn, at);
    return this.bus.portRead(pciLayout.dataPort + (at & 3), width);
  }

  write(bus: number, device: number, fn: number, at: number, width: 1 | 2 | 4, value: number): void {
    this.#select(bus, device, fn, at);
    this.bus.portWrite(pciLayout.dataPort + (at & 3), width, value);
  }

  #select(bus: number, device: number, fn: number, at: number): void {
    this.bus.portWrite(
      pciLayout.addressPort,
      4,
      0x8000_0000 + (bus << 16) + (device << 11) + (fn << 8) + (at & 0xfc),
    );
  }
}

/** Guest physical address of a function's configuration space in ECAM. */
export function ecamAt(bus: number, device: number, fn: number, at = 0): number {
  return pciLayout.ecam.base + (bus << 20) + (device << 15) + (fn << 12) + at;
}

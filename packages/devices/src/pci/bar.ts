import type { MmioDevice, PortDevice } from "../device.ts";
import type { ConfigRegister } from "./config-space.ts";
import { headerOffsets } from "./header.ts";

export type BarKind = "io" | "memory32" | "memory64" | "rom";

/** A range of addresses that a function asks for. */
export interface BarOptions {
  /** 0 to 5; a 64-bit one takes `index + 1` too. An expansion ROM has the index 6. */
  readonly index: number;
  readonly kind: BarKind;
  /** A power of two: ports 4 to 256, memory from 16 bytes, a ROM from 2 KiB. */
  readonly size: number;
  readonly prefetchable?: boolean;
  /**
   * Answers accesses by offset from the BAR's start, in ports and memory alike. Without one the function does, by `readBar` and
   * `writeBar`.
   */
  readonly device?: MmioDevice;
}

export const romIndex = 6;

/** Ports that lead to a device which counts from its BAR's start. */
class PortsOf implements PortDevice {
  readonly #device: MmioDevice;
  readonly #first: number;

  constructor(device: MmioDevice, first: number) {
    this.#device = device;
    this.#first = first;
  }

  portRead(port: number, width: 1 | 2 | 4): number {
    return this.#device.mmioRead(port - this.#first, width);
  }

  portWrite(port: number, width: 1 | 2 | 4, value: number): void {
    this.#device.mmioWrite(port - this.#first, width, value);
  }
}

/** One base address register, and what answers behind it. */
export class PciBar {
  readonly index: number;
  readonly kind: BarKind;
  readonly size: number;
  readonly prefetchable: boolean;
  readonly #device: MmioDevice;

  /** Throws RangeError for a size or an index that no BAR can have. */
  constructor({ index, kind, size, prefetchable }: BarOptions, device: MmioDevice) {
    const [least, most] =
      kind === "io" ? [4, 256] : [kind === "rom" ? 2048 : 16, kind === "memory64" ? 2 ** 40 : 2 ** 31];
    const last = kind === "memory64" ? 4 : 5;
    if (kind === "rom" ? index !== romIndex : !Number.isInteger(index) || index < 0 || index > last)
      throw new RangeError(`BAR ${index}: no index of a ${kind} BAR`);
    if (!Number.isInteger(Math.log2(size)) || size < least || size > most)
      throw new RangeError(`BAR ${index}: ${size} bytes are no power of two from ${least} to ${most}`);
    this.index = index;
    this.kind = kind;
    this.size = size;
    this.prefetchable = prefetchable ?? false;
    this.#device = device;
  }

  /** Offset of its register in configuration space. */
  get at(): number {
    return this.kind === "rom" ? headerOffsets.rom : headerOffsets.bars + 4 * this.index;
  }

  get isPorts(): boolean {
    return this.kind === "io";
  }

  mmio(): MmioDevice {
    return this.#device;
  }

  ports(first: number): PortDevice {
    return new PortsOf(this.#device, first);
  }

  /** Sizing (PCI 3.0 6.2.5.1) needs no code: address bits below the size are not writable, so all ones read back as the size's mask. */
  registers(): ConfigRegister[] {
    const { at, index, kind, size, prefetchable } = this;
    const low = size >= 2 ** 32 ? 0 : -size >>> 0;
    if (kind === "rom") {
      const bits = "0 enable, 31:11 address";
      return [
        {
          name: "Expansion ROM",
          at,
          bytes: 4,
          reset: 0,
          writable: (low | 1) >>> 0,
          effect: "bar",
          bits,
          why: "6.2.5.2",
        },
      ];
    }
    if (kind === "io") {
      const bits = "0 ports, 31:2 address";
      return [
        { name: `BAR ${index}`, at, bytes: 4, reset: 1, writable: low, effect: "bar", bits, why: "6.2.5.1" },
      ];
    }
    const type = (kind === "memory64" ? 4 : 0) | (prefetchable ? 8 : 0);
    const bits = "2:1 width, 3 prefetchable, 31:4 address";
    const lower: ConfigRegister = {
      name: `BAR ${index}`,
      at,
      bytes: 4,
      reset: type,
      writable: low,
      effect: "bar",
      bits,
      why: "6.2.5.1",
    };
    if (kind === "memory32") return [lower];
    const high = size >= 2 ** 32 ? -(size / 2 ** 32) >>> 0 : 0xffff_ffff;
    return [
      lower,
      {
        name: `BAR ${index}, upper half`,
        at: at + 4,
        bytes: 4,
        reset: 0,
        writable: high,
        effect: "bar",
        bits: "31:0 address 63:32",
        why: "6.2.5.1",
      },
    ];
  }
}

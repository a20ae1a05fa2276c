import { Writer } from "@entresol/wire";
import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, PortDevice } from "./device.ts";
import { SavedFields } from "./saved-state.ts";

/*
 * The firmware configuration device by which QEMU tells firmware, and test kernels, about the machine: docs/specs/fw_cfg of
 * QEMU, the traditional interface. A 16-bit write selects an item, byte reads give it from its start on.
 */

export interface FwCfgOptions {
  readonly name: string;
  /** Bytes of RAM. */
  readonly memorySize: number;
  readonly processors: number;
}

export interface FwCfgState {
  readonly version: 1;
  /** Item that is selected, as it was written. */
  readonly selector: number;
  /** Bytes of it that were read. */
  readonly offset: number;
}

export const fwCfgPorts = { selector: 0x510, data: 0x511 } as const;

/** Bits 13:0 say which item; bit 14 once meant writing, which is not offered; bit 15 marks those of one architecture. */
const itemBits = 0xbfff;

/** An item: where it is selected, and what it holds. */
interface Item {
  readonly selector: number;
  readonly name: string;
  readonly value: (machine: FwCfgOptions) => Uint8Array;
}

/** Little-endian but for the directory, which is big-endian. */
export const fwCfgItems: readonly Item[] = [
  { selector: 0x00, name: 'signature: "QEMU"', value: () => new Writer(4).ascii("QEMU").finish() },
  {
    selector: 0x01,
    name: "features, u32: bit 0 the traditional interface; bit 1, DMA, is 0",
    value: () => new Writer(4).u32(1).finish(),
  },
  {
    selector: 0x03,
    name: "RAM in bytes, u64",
    value: ({ memorySize }) => new Writer(8).u64(memorySize).finish(),
  },
  { selector: 0x04, name: "no graphics, u16: 1", value: () => new Writer(2).u16(1).finish() },
  {
    selector: 0x05,
    name: "processors, u16",
    value: ({ processors }) => new Writer(2).u16(processors).finish(),
  },
  {
    selector: 0x0f,
    name: "largest number of processors, u16",
    value: ({ processors }) => new Writer(2).u16(processors).finish(),
  },
  { selector: 0x19, name: "directory of files, u32 count: 0", value: () => new Uint8Array(4) },
];

/** Both ports. What is read beyond the end of an item, or of an item that does not exist, is zero. */
export class FwCfg extends BytePorts implements Device<FwCfgState> {
  readonly name: string;
  readonly #items: ReadonlyMap<number, Uint8Array>;
  #selector = 0;
  #offset = 0;

  constructor(options: FwCfgOptions) {
    super();
    this.name = options.name;
    this.#items = new Map(fwCfgItems.map(({ selector, value }) => [selector, value(options)]));
  }

  register(bus: {
    registerPorts(name: string, first: number, count: number, device: PortDevice): void;
  }): void {
    // Both in one range, so that the bus hands over the 16-bit write to the selector in one piece.
    bus.registerPorts(this.name, fwCfgPorts.selector, 2, this);
  }

  override portWrite(port: number, width: 1 | 2 | 4, value: number): void {
    // A byte is no selector, and data cannot be written.
    if (port !== fwCfgPorts.selector || width !== 2) return;
    this.#selector = value;
    this.#offset = 0;
  }

  protected override readByte(port: number): number {
    if (port !== fwCfgPorts.data) return 0xff;
    const item = this.#items.get(this.#selector & itemBits);
    if (item === undefined || this.#offset >= item.length) return 0;
    return item[this.#offset++]!;
  }

  protected override writeByte(): void {}

  reset(): void {
    this.#selector = 0;
    this.#offset = 0;
  }

  save(): FwCfgState {
    return { version: 1, selector: this.#selector, offset: this.#offset };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const selector = fields.word("selector");
    const offset = fields.integer("offset", 0, this.#items.get(selector & itemBits)?.length ?? 0);
    fields.end();
    this.#selector = selector;
    this.#offset = offset;
  }

  inspect(): Inspection {
    return { selector: this.#selector, offset: this.#offset };
  }
}

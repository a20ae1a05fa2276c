import { Bus, PciHost } from "@entresol/devices";
import type { Operation, OwnOutcome, Subject } from "./lockstep.ts";
import { type ComparedFunction, comparedFunctions, rootPort } from "./pci-functions.ts";
import { addressPort, comparedBits, dataPort, type Place, targetOf } from "./pci-places.ts";

const unconnected = { set() {} };
/** Offset of slot status in the Express capability, and its bits for events. */
const slotStatus = 0x1a;
export const slotEvents = 0x1f;

/** Our host with the compared functions. An access to a capability is led to where ours has it. */
export class PciSubject implements Subject {
  #address = 0;
  readonly #host = new PciHost({
    bus: new Bus(),
    physicalAddressBits: 40,
    rootPorts: [{ powerController: true }],
    message() {},
    memory: { size: 0, read() {}, write() {} },
    interrupts: Array.from({ length: 8 }, () => unconnected),
    legacyInput: () => unconnected,
    resetControl: { portRead: () => 0xff, portWrite() {} },
  });

  /** Where our functions have their capabilities, by ID. */
  readonly #offsets = new Map<ComparedFunction, ReadonlyMap<number, number>>();

  constructor() {
    const host = this.#host;
    for (const compared of comparedFunctions) {
      const { make, device, behindRootPort } = compared;
      const fn = make?.() ?? host.functionAt(0, device << 3)!;
      if (make !== undefined) host.attach(fn, behindRootPort === true ? { port: 0 } : { device });
      const offsets = new Map<number, number>();
      for (let at = fn.config.read(0x34, 1); at !== 0; at = fn.config.read(at + 1, 1))
        offsets.set(fn.config.read(at, 1), at);
      this.#offsets.set(compared, offsets);
    }
  }

  /** Bus numbers of the root port, whether it holds the bus behind in reset, and the events in its slot status. */
  get bridge(): {
    readonly secondary: number;
    readonly subordinate: number;
    readonly resets: boolean;
    readonly events: number;
  } {
    const { config } = this.#host.rootPorts[0]!;
    return {
      events: config.read(this.#offsets.get(rootPort)!.get(0x10)! + slotStatus, 1) & slotEvents,
      secondary: config.read(0x19, 1),
      subordinate: config.read(0x1a, 1),
      resets: (config.read(0x3e, 1) & 0x40) !== 0,
    };
  }

  perform(operation: Operation): OwnOutcome {
    const bits = comparedBits(operation, this.#address);
    let value = 0;
    if (operation.kind === "port write") {
      if (operation.port === addressPort) this.#select(operation.value);
      else this.#host.portWrite(operation.port, operation.width, operation.value);
    } else if (operation.kind === "port read") {
      value =
        operation.port === addressPort
          ? this.#readAddress()
          : this.#host.portRead(operation.port, operation.width);
    } else if (operation.kind === "memory write")
      this.#host.mmioWrite(this.#ecamOffset(operation), operation.width, operation.value);
    else if (operation.kind === "memory read")
      value = this.#host.mmioRead(this.#ecamOffset(operation), operation.width);
    return { value: (value & bits) >>> 0, levels: 0, messages: "", note: this.#address };
  }

  /** What ours gives back of what was written, and not of where a capability is. */
  #readAddress(): number {
    const own = this.#host.portRead(addressPort, 4);
    return ((own & ~0xfc) | (this.#address & 0xfc)) >>> 0;
  }

  #ecamOffset(operation: Operation): number {
    const { address, place, lane } = targetOf(operation, 0)!;
    return ((address >>> 8) & 0xffff) * 0x1000 + this.#ownOffset(address, place) + lane;
  }

  #select(address: number): void {
    this.#address = address;
    const { place } = targetOf({ kind: "port read", port: dataPort, width: 4 }, address)!;
    this.#host.portWrite(addressPort, 4, ((address & ~0xfc) | this.#ownOffset(address, place)) >>> 0);
  }

  /** A capability lies elsewhere in ours. */
  #ownOffset(address: number, place: Place | undefined): number {
    if (place?.region.capability === undefined) return address & 0xfc;
    return this.#offsets.get(place.fn)!.get(place.region.capability)! + place.offset;
  }
}

import type { InterruptMessages } from "./apic-fabric.ts";
import { deliveryMode } from "./delivery-mode.ts";
import type { Device, Inspection, InterruptLine, MmioDevice } from "./device.ts";
import { SavedFields } from "./saved-state.ts";

export const ioapicPins = 24;

/** MMIO offsets. All else in the page reads 0 and ignores writes. */
export const ioapicOffsets = {
  select: { offset: 0x00, title: "IOREGSEL", note: "number of the register behind IOWIN, 8 bits" },
  window: { offset: 0x10, title: "IOWIN", note: "the selected register, 32 bits" },
  endOfInterrupt: {
    offset: 0x40,
    title: "EOI",
    note: "write only, since version 0x20: a vector, as an EOI broadcast would carry it",
  },
} as const;

/** Registers behind IOWIN. Numbers that are not listed read 0 and ignore writes. */
export const ioapicRegisters = {
  id: { index: 0x00, title: "ID", writable: 0x0f00_0000, note: "27:24; kept and without effect" },
  version: {
    index: 0x01,
    title: "version",
    writable: 0,
    note: "0x00170020: version 0x20 (has the EOI register), last entry 23",
  },
  arbitration: { index: 0x02, title: "arbitration", writable: 0, note: "27:24 copy the ID" },
  redirection: {
    index: 0x10,
    title: "redirection entry",
    writable: 0x0001_afff,
    note: "low dword of pin n at 0x10 + 2n: vector 7:0, mode 10:8, logical 11, delivery status 12 (RO), active low 13, remote IRR 14 (RO), level 15, mask 16",
  },
  destination: {
    index: 0x11,
    title: "destination",
    writable: 0xffff_0000,
    note: "high dword of pin n at 0x11 + 2n: destination 31:24, extended destination id 23:17 (bits 14:8 of the destination), 16 kept",
  },
} as const;

const versionValue = 0x0017_0020;
const masked = 1 << 16;
const levelTriggered = 1 << 15;
const remoteIrr = 1 << 14;
const activeLow = 1 << 13;
const logicalMode = 1 << 11;

export interface IoapicState {
  readonly version: 1;
  readonly select: number;
  readonly id: number;
  /** Low dwords of the redirection entries, remote IRR included. */
  readonly entries: readonly number[];
  /** High dwords. */
  readonly destinations: readonly number[];
  /** Levels of the pins, pin 0 in bit 0. */
  readonly levels: number;
}

/**
 * An IOAPIC of version 0x20 with 24 pins (Intel 82093AA, and the EOI register of its successors). A pin whose entry is
 * edge-triggered sends when it becomes active, unless masked, when the edge is lost; a level-triggered one sends while
 * it is active, unmasked, and the last one has been finished (remote IRR clear).
 */
export class Ioapic implements Device<IoapicState>, MmioDevice {
  readonly name = "ioapic";
  /** Inputs 0 to 23. */
  readonly pins: readonly InterruptLine[];

  readonly #messages: InterruptMessages;
  readonly #entries = new Uint32Array(ioapicPins);
  readonly #destinations = new Uint32Array(ioapicPins);
  readonly #sent = new Float64Array(ioapicPins);
  /** Levels of the pins, pin 0 in bit 0. */
  #levels = 0;
  /** Pins whose entry has remote IRR set, pin 0 in bit 0: an EOI looks only at these. */
  #unfinished = 0;
  #select = 0;
  #id = 0;

  constructor(messages: InterruptMessages) {
    this.#messages = messages;
    this.pins = Array.from({ length: ioapicPins }, (_, pin) => new IoapicPin(this, pin));
    this.reset();
  }

  /** Drives input `pin`, 0 to 23. Only changes count. */
  setPin(pin: number, level: boolean): void {
    const bit = 1 << pin;
    if (level === ((this.#levels & bit) !== 0)) return;
    this.#levels ^= bit;
    const entry = this.#entries[pin]!;
    if ((entry & levelTriggered) !== 0) this.#serveLevel(pin);
    else if ((entry & masked) === 0 && level === ((entry & activeLow) === 0)) this.#send(pin, entry, false);
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    let value = 0;
    if (offset === ioapicOffsets.select.offset) value = this.#select;
    else if (offset === ioapicOffsets.window.offset) value = this.#read(this.#select);
    return width === 4 ? value : value & (width === 1 ? 0xff : 0xffff);
  }

  /** Narrow writes count as dwords with zeros above: the chip knows only dwords. */
  mmioWrite(offset: number, _width: 1 | 2 | 4, value: number): void {
    if (offset === ioapicOffsets.select.offset) this.#select = value & 0xff;
    else if (offset === ioapicOffsets.window.offset) this.#write(this.#select, value >>> 0);
    else if (offset === ioapicOffsets.endOfInterrupt.offset) this.endOfInterrupt(value & 0xff);
  }

  /** A level-triggered interrupt with this vector was finished, by a broadcast or through the EOI register. */
  endOfInterrupt(vector: number): void {
    for (let left = this.#unfinished; left !== 0; left &= left - 1) {
      const pin = 31 - Math.clz32(left & -left);
      const entry = this.#entries[pin]!;
      if ((entry & 0xff) !== vector) continue;
      this.#setRemote(pin, false);
      this.#serveLevel(pin);
    }
  }

  /** A level-triggered pin whose interrupt nobody took still asks: somebody may take it now. */
  retry(): void {
    for (let pin = 0; pin < ioapicPins; pin++) this.#serveLevel(pin);
  }

  /** As after power-on: all pins masked. The levels of the pins belong to who drives them. */
  reset(): void {
    this.#entries.fill(masked);
    this.#destinations.fill(0);
    this.#unfinished = 0;
    this.#select = 0;
    this.#id = 0;
  }

  save(): IoapicState {
    return {
      version: 1,
      select: this.#select,
      id: this.#id,
      entries: [...this.#entries],
      destinations: [...this.#destinations],
      levels: this.#levels,
    };
  }

  /** Sends nothing: what was on its way is in the local APICs' state. */
  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const select = fields.byte("select");
    const id = fields.dword("id");
    const entries = fields.integers("entries", ioapicPins, 0x1_ffff);
    const destinations = fields.integers("destinations", ioapicPins, 0xffff_ffff);
    const levels = fields.integer("levels", 0, 2 ** ioapicPins - 1);
    fields.end();
    fields.require((id & ~ioapicRegisters.id.writable) === 0, "id has reserved bits set");
    for (const entry of entries) {
      fields.require((entry & 0x1000) === 0, "an entry with delivery status set");
      fields.require(
        (entry & remoteIrr) === 0 || (entry & levelTriggered) !== 0,
        "remote IRR of an edge-triggered entry",
      );
    }
    for (const destination of destinations) {
      fields.require(
        (destination & ~ioapicRegisters.destination.writable) === 0,
        "a destination with reserved bits set",
      );
    }
    this.#select = select;
    this.#id = id;
    this.#entries.set(entries);
    this.#destinations.set(destinations);
    this.#levels = levels;
    this.#unfinished = 0;
    entries.forEach((entry, pin) => {
      if ((entry & remoteIrr) !== 0) this.#unfinished |= 1 << pin;
    });
  }

  inspect(): Inspection {
    const pins: Record<string, Inspection> = {};
    this.#entries.forEach((entry, pin) => {
      if ((entry & masked) !== 0 && this.#sent[pin] === 0) return;
      pins[`pin ${pin}`] = {
        entry: `0x${entry.toString(16)}`,
        destination: this.#destinations[pin]! >>> 24,
        level: ((this.#levels >>> pin) & 1) !== 0,
        sent: this.#sent[pin]!,
      };
    });
    return { id: this.#id >>> 24, version: `0x${versionValue.toString(16)}`, pins };
  }

  #serveLevel(pin: number): void {
    const entry = this.#entries[pin]!;
    if ((entry & (masked | remoteIrr | levelTriggered)) !== levelTriggered) return;
    const active = ((this.#levels >>> pin) & 1) !== ((entry & activeLow) === 0 ? 0 : 1);
    if (!active) return;
    // 82093AA 3.2.4: only fixed and lowest priority may be level-triggered. The others would send without end.
    const mode = (entry >>> 8) & 7;
    if (mode !== deliveryMode.fixed && mode !== deliveryMode.lowestPriority) return;
    if (this.#send(pin, entry, true)) this.#setRemote(pin, true);
  }

  #setRemote(pin: number, unfinished: boolean): void {
    if (unfinished) {
      this.#entries[pin]! |= remoteIrr;
      this.#unfinished |= 1 << pin;
    } else {
      this.#entries[pin]! &= ~remoteIrr;
      this.#unfinished &= ~(1 << pin);
    }
  }

  #send(pin: number, entry: number, level: boolean): boolean {
    this.#sent[pin]!++;
    const high = this.#destinations[pin]!;
    const destination = (high >>> 24) | (((high >>> 17) & 0x7f) << 8);
    const logical = (entry & logicalMode) !== 0;
    return this.#messages.deliver(destination, logical, (entry >>> 8) & 7, entry & 0xff, level);
  }

  #read(index: number): number {
    switch (index) {
      case ioapicRegisters.id.index:
      case ioapicRegisters.arbitration.index:
        return this.#id;
      case ioapicRegisters.version.index:
        return versionValue;
      default: {
        const pin = (index - ioapicRegisters.redirection.index) >> 1;
        if (pin < 0 || pin >= ioapicPins) return 0;
        return (index & 1) === 0 ? this.#entries[pin]! : this.#destinations[pin]!;
      }
    }
  }

  #write(index: number, value: number): void {
    if (index === ioapicRegisters.id.index) {
      this.#id = value & ioapicRegisters.id.writable;
      return;
    }
    const pin = (index - ioapicRegisters.redirection.index) >> 1;
    if (pin < 0 || pin >= ioapicPins) return;
    if ((index & 1) !== 0) {
      this.#destinations[pin] = value & ioapicRegisters.destination.writable;
      return;
    }
    const kept = value & ioapicRegisters.redirection.writable;
    // Switching to edge clears remote IRR; Linux finishes stuck interrupts that way on older versions.
    const stays = (kept & levelTriggered) !== 0 && (this.#entries[pin]! & remoteIrr) !== 0;
    this.#entries[pin] = kept;
    this.#setRemote(pin, stays);
    this.#serveLevel(pin);
  }
}

class IoapicPin implements InterruptLine {
  readonly #ioapic: Ioapic;
  readonly #pin: number;

  constructor(ioapic: Ioapic, pin: number) {
    this.#ioapic = ioapic;
    this.#pin = pin;
  }

  set(level: boolean): void {
    this.#ioapic.setPin(this.#pin, level);
  }
}

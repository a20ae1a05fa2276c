import { EntresolError } from "@entresol/wire";
import type { Inspection, MmioDevice, PortDevice } from "./device.ts";

/** "overlap": another owner has part of the range. "bad-range": empty or outside the address space. "full": 255 ranges are taken. */
export type BusConflictCode = "overlap" | "bad-range" | "full";

/** Thrown when a range cannot be registered; an overlap names both owners. Never thrown by an access. */
export class BusConflictError extends EntresolError<BusConflictCode> {
  override readonly name = "BusConflictError";
}

export type AccessWidth = 1 | 2 | 4;

/** How often a range was reached; the rows named "unclaimed" count accesses that nobody owns. */
export interface RangeStatistics {
  readonly name: string;
  readonly kind: "port" | "mmio";
  readonly first: number;
  readonly last: number;
  readonly reads: number;
  readonly writes: number;
}

interface Range {
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

const slots = 256;
const portCount = 0x1_0000;
/** Guest physical addresses are whole numbers below 2^52. */
const mmioEnd = 2 ** 52;

/** Slot 0: an empty bus floats high, and a write to it is lost. */
const unclaimed: PortDevice & MmioDevice = {
  portRead: () => 0xffff_ffff,
  portWrite() {},
  mmioRead: () => 0xffff_ffff,
  mmioWrite() {},
};
const nobody: Range = { name: "unclaimed", first: 0, last: 0 };

/**
 * Port and MMIO dispatch of one machine. A device registers ranges and sees only accesses that lie wholly inside one of them;
 * an access that straddles owners reaches each with bytes, low address first. Values are masked to their width both ways.
 *
 * Ranges may be registered and unregistered at any time, also by a device in the middle of an access (PCI BARs).
 */
export class Bus {
  readonly #portRanges: (Range | undefined)[] = [nobody];
  readonly #portDevices: PortDevice[] = [unclaimed];
  // Three bytes more than there are ports: the end of a 4-byte access at 0xFFFF is looked up without a check.
  readonly #portSlots = new Uint8Array(portCount + 3);
  readonly #portReads = new Float64Array(slots);
  readonly #portWrites = new Float64Array(slots);

  readonly #mmioRanges: (Range | undefined)[] = [nobody];
  readonly #mmioDevices: MmioDevice[] = [unclaimed];
  readonly #mmioReads = new Float64Array(slots);
  readonly #mmioWrites = new Float64Array(slots);
  // Bounds by slot. Slot 0 owns nothing; a free slot has an empty range.
  readonly #mmioFirst = new Float64Array(slots).fill(mmioEnd);
  readonly #mmioLast = new Float64Array(slots).fill(-1);
  /** Slots in the order of their first address, so that a look-up is a binary search whatever the size of the ranges. */
  #mmioOrder = new Uint8Array(0);
  #mmioRecent = 0;

  /** Gives ports `first` to `first + count - 1` to `device`. A name may own several ranges. */
  registerPorts(name: string, first: number, count: number, device: PortDevice): void {
    const range = checkedRange("ports", name, first, count, portCount);
    const slot = freeSlot(this.#portRanges, name);
    refuseOverlap("ports", this.#portRanges, range);
    this.#portRanges[slot] = range;
    this.#portDevices[slot] = device;
    this.#portReads[slot] = 0;
    this.#portWrites[slot] = 0;
    this.#portSlots.fill(slot, first, first + count);
  }

  /** Gives guest physical addresses `base` to `base + length - 1` to `device`, which sees offsets from `base`. */
  registerMmio(name: string, base: number, length: number, device: MmioDevice): void {
    const range = checkedRange("MMIO", name, base, length, mmioEnd);
    const slot = freeSlot(this.#mmioRanges, name);
    refuseOverlap("MMIO", this.#mmioRanges, range);
    this.#mmioRanges[slot] = range;
    this.#mmioDevices[slot] = device;
    this.#mmioReads[slot] = 0;
    this.#mmioWrites[slot] = 0;
    this.#mmioFirst[slot] = range.first;
    this.#mmioLast[slot] = range.last;
    this.#sortMmio();
  }

  /** Takes away every range of `name`; false when it owned none. */
  unregister(name: string): boolean {
    let found = false;
    for (let slot = 1; slot < this.#portRanges.length; slot++) {
      const range = this.#portRanges[slot];
      if (range?.name !== name) continue;
      this.#portSlots.fill(0, range.first, range.last + 1);
      this.#portRanges[slot] = undefined;
      this.#portDevices[slot] = unclaimed;
      found = true;
    }
    for (let slot = 1; slot < this.#mmioRanges.length; slot++) {
      if (this.#mmioRanges[slot]?.name !== name) continue;
      this.#mmioRanges[slot] = undefined;
      this.#mmioDevices[slot] = unclaimed;
      this.#mmioFirst[slot] = mmioEnd;
      this.#mmioLast[slot] = -1;
      found = true;
    }
    this.#sortMmio();
    return found;
  }

  /** IN. `port` 0 to 65535. Bytes beyond port 65535 belong to nobody. */
  portRead(port: number, width: AccessWidth): number {
    const slot = this.#portSlots[port]!;
    if (width !== 1 && !this.#samePortOwner(slot, port, width)) return this.#splitPortRead(port, width);
    this.#portReads[slot]!++;
    const value = this.#portDevices[slot]!.portRead(port, width);
    return width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
  }

  /** OUT. */
  portWrite(port: number, width: AccessWidth, value: number): void {
    const slot = this.#portSlots[port]!;
    if (width !== 1 && !this.#samePortOwner(slot, port, width)) {
      for (let i = 0; i < width; i++) this.portWrite(port + i, 1, value >>> (8 * i));
      return;
    }
    this.#portWrites[slot]!++;
    const masked = width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
    this.#portDevices[slot]!.portWrite(port, width, masked);
  }

  /** A read at guest physical address `at`, 0 to 2^52 - 1, of any alignment. */
  mmioRead(at: number, width: AccessWidth): number {
    const slot = this.#mmioSlot(at);
    if (width !== 1 && at + width - 1 > this.#mmioLast[slot]!) {
      if (slot !== 0 || this.#claimsAny(at + 1, width - 1)) return this.#splitMmioRead(at, width);
    }
    this.#mmioReads[slot]!++;
    const value = this.#mmioDevices[slot]!.mmioRead(at - this.#mmioFirst[slot]!, width);
    return width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
  }

  mmioWrite(at: number, width: AccessWidth, value: number): void {
    const slot = this.#mmioSlot(at);
    if (width !== 1 && at + width - 1 > this.#mmioLast[slot]!) {
      if (slot !== 0 || this.#claimsAny(at + 1, width - 1)) {
        for (let i = 0; i < width; i++) this.mmioWrite(at + i, 1, value >>> (8 * i));
        return;
      }
    }
    this.#mmioWrites[slot]!++;
    const masked = width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
    this.#mmioDevices[slot]!.mmioWrite(at - this.#mmioFirst[slot]!, width, masked);
  }

  /** Every range with its counters, ports first; counters of a range that was unregistered are gone. */
  statistics(): RangeStatistics[] {
    const rows: RangeStatistics[] = [];
    this.#portRanges.forEach((range, slot) => {
      if (range === undefined) return;
      rows.push({ ...range, kind: "port", reads: this.#portReads[slot]!, writes: this.#portWrites[slot]! });
    });
    this.#mmioRanges.forEach((range, slot) => {
      if (range === undefined) return;
      rows.push({ ...range, kind: "mmio", reads: this.#mmioReads[slot]!, writes: this.#mmioWrites[slot]! });
    });
    return rows;
  }

  inspect(): Inspection {
    const rows: Record<string, Inspection> = {};
    for (const { name, kind, first, last, reads, writes } of this.statistics()) {
      const key = name === nobody.name ? `${kind} unclaimed` : `${kind} ${rangeText({ name, first, last })}`;
      rows[key] = { owner: name, reads, writes };
    }
    return rows;
  }

  /** Every byte is asked: a range of one or two ports may lie in the middle of an access whose ends belong to nobody. */
  #samePortOwner(slot: number, port: number, width: 2 | 4): boolean {
    const owners = this.#portSlots;
    if (owners[port + 1]! !== slot) return false;
    return width === 2 || (owners[port + 2]! === slot && owners[port + 3]! === slot);
  }

  #splitPortRead(port: number, width: AccessWidth): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.portRead(port + i, 1) << (8 * i);
    return value >>> 0;
  }

  #splitMmioRead(at: number, width: AccessWidth): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.mmioRead(at + i, 1) << (8 * i);
    return value >>> 0;
  }

  /** The slot that owns the byte at `at`, 0 when nobody does. */
  #mmioSlot(at: number): number {
    const recent = this.#mmioRecent;
    if (at >= this.#mmioFirst[recent]! && at <= this.#mmioLast[recent]!) return recent;
    const order = this.#mmioOrder;
    let low = 0;
    let high = order.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const slot = order[middle]!;
      if (at < this.#mmioFirst[slot]!) high = middle - 1;
      else if (at > this.#mmioLast[slot]!) low = middle + 1;
      else {
        this.#mmioRecent = slot;
        return slot;
      }
    }
    return 0;
  }

  #claimsAny(at: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#mmioSlot(at + i) !== 0) return true;
    return false;
  }

  #sortMmio(): void {
    const used: number[] = [];
    this.#mmioRanges.forEach((range, slot) => {
      if (slot !== 0 && range !== undefined) used.push(slot);
    });
    used.sort((a, b) => this.#mmioFirst[a]! - this.#mmioFirst[b]!);
    this.#mmioOrder = Uint8Array.from(used);
    this.#mmioRecent = 0;
  }
}

function rangeText(range: Range): string {
  return `0x${range.first.toString(16)}-0x${range.last.toString(16)}`;
}

function checkedRange(space: string, name: string, first: number, count: number, end: number): Range {
  const whole = Number.isSafeInteger(first) && Number.isSafeInteger(count);
  if (!whole || first < 0 || count < 1 || first + count > end) {
    throw new BusConflictError(
      "bad-range",
      `${name}: ${space} 0x${first.toString(16)} + ${count} is empty or outside the address space`,
    );
  }
  return { name, first, last: first + count - 1 };
}

function refuseOverlap(space: string, ranges: readonly (Range | undefined)[], range: Range): void {
  for (const other of ranges) {
    if (other === undefined || other === nobody) continue;
    if (range.first <= other.last && other.first <= range.last) {
      throw new BusConflictError(
        "overlap",
        `${space} ${rangeText(range)} of ${range.name} overlap ${rangeText(other)} of ${other.name}`,
      );
    }
  }
}

function freeSlot(ranges: readonly (Range | undefined)[], name: string): number {
  for (let slot = 1; slot < slots; slot++) if (ranges[slot] === undefined) return slot;
  throw new BusConflictError("full", `${name}: the bus holds at most ${slots - 1} ranges`);
}

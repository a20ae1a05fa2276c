import type { PciBar } from "./bar.ts";
import { PciBridge, type PciBus } from "./bridge.ts";
import type { PciFunction } from "./function.ts";
import { commandBits, headerOffsets } from "./header.ts";
import { type IsaBridge, pirqRegisters } from "./isa-bridge.ts";
import { type AddressWindow, pciLayout } from "./layout.ts";
import { RootPort } from "./root-port.ts";

/** Bus numbers that a port with a slot gets, so that a card with bridges of its own finds some. */
const busesPerSlot = 8;

/** Spaces that addresses are given from, with what a bridge can open of each and what an empty slot gets. */
const spaces = {
  ports: { granularity: 0x1000, perSlot: 0x1000 },
  low: { granularity: 0x10_0000, perSlot: 0x0100_0000 },
  high: { granularity: 0x10_0000, perSlot: 2 ** 32 },
} as const;
type Space = keyof typeof spaces;

/** Addresses that somebody needs in one space. */
interface Request {
  readonly size: number;
  readonly alignment: number;
  /** For what may be plugged in later: only from what is left over. */
  readonly spare: boolean;
  readonly place: (base: number) => void;
}

/** 8259 inputs that no fixed device has; the PIRQs take turns. */
const legacyInputs = [10, 11] as const;

/** Bus numbers, bridge windows, BARs, interrupt routing and lines: what firmware leaves behind for a system. */
export function assignResources(root: PciBus, isa: IsaBridge, high: AddressWindow | undefined): void {
  numberBuses(root, 0);
  fill(requests(root, "ports", high), pciLayout.ports);
  fill(requests(root, "low", high), pciLayout.memory32);
  if (high !== undefined) fill(requests(root, "high", high), high);
  pirqRegisters.forEach((at, pirq) => {
    isa.config.write(at, 1, legacyInputs[pirq % legacyInputs.length]!);
  });
  setLinesAndCommands(root, isa);
}

/** Depth first; gives the highest number used. */
function numberBuses(bus: PciBus, number: number): number {
  let last = number;
  for (const { fn } of bus) {
    if (!(fn instanceof PciBridge)) continue;
    const secondary = last + 1;
    // Open while the buses behind are numbered; closed to what there is afterwards.
    fn.config.write(headerOffsets.busNumbers, 4, number | (secondary << 8) | (0xff << 16));
    last = numberBuses(fn.secondary, secondary);
    if (fn instanceof RootPort) last = Math.max(last, Math.min(secondary + busesPerSlot - 1, 0xff));
    fn.config.write(headerOffsets.busNumbers, 4, number | (secondary << 8) | (last << 16));
  }
  return last;
}

/** What the functions on `bus` need of a space. */
function requests(bus: PciBus, space: Space, high: AddressWindow | undefined): Request[] {
  const found: Request[] = [];
  for (const { fn } of bus) {
    for (const bar of fn.bars) {
      if (spaceOf(bar, high) !== space) continue;
      found.push({
        size: bar.size,
        alignment: bar.size,
        spare: false,
        place: (base) => setBar(fn, bar, base),
      });
    }
    if (fn instanceof PciBridge) found.push(windowRequest(fn, space, high));
  }
  return found;
}

function windowRequest(bridge: PciBridge, space: Space, high: AddressWindow | undefined): Request {
  const { granularity, perSlot } = spaces[space];
  const inner = requests(bridge.secondary, space, high);
  const least = bridge instanceof RootPort ? perSlot : 0;
  const alignment = inner.reduce<number>((most, request) => Math.max(most, request.alignment), granularity);
  // Sorted by alignment the parts of `inner` lie side by side.
  const size = Math.max(roundUp(extent(inner), granularity), least);
  setWindow(bridge, space, 0, 0);
  return {
    size,
    alignment,
    spare: extent(inner) === 0,
    place: (base) => {
      setWindow(bridge, space, base, size);
      fill(inner, { base, length: size });
    },
  };
}

/** Only prefetchable BARs may lie above 4 GiB, since a bridge has a 64-bit window for no others (Bridge 1.2, 3.2.5.9). */
function spaceOf(bar: PciBar, high: AddressWindow | undefined): Space {
  if (bar.isPorts) return "ports";
  return bar.kind === "memory64" && bar.prefetchable && high !== undefined ? "high" : "low";
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

function sorted(list: readonly Request[]): Request[] {
  return list.toSorted((a, b) => Number(a.spare) - Number(b.spare) || b.alignment - a.alignment);
}

function extent(list: readonly Request[]): number {
  return sorted(list).reduce((end, { size, alignment }) => roundUp(end, alignment) + size, 0);
}

/** Places what fits, what is needed first and the strictest alignment first; the rest stays without addresses. */
function fill(list: readonly Request[], { base, length }: AddressWindow): void {
  let next = base;
  for (const { size, alignment, place } of sorted(list)) {
    if (size === 0) continue;
    const at = roundUp(next, alignment);
    if (at + size > base + length) continue;
    place(at);
    next = at + size;
  }
}

function setBar(fn: PciFunction, bar: PciBar, base: number): void {
  fn.config.write(bar.at, 4, base % 2 ** 32);
  if (bar.kind === "memory64") fn.config.write(bar.at + 4, 4, Math.floor(base / 2 ** 32));
}

/** Opens `size` bytes at `base`, or with size 0 closes the window: its limit lies below its base. */
function setWindow({ config }: PciBridge, space: Space, base: number, size: number): void {
  const first = size === 0 ? 0xfff0_0000 : base;
  const last = size === 0 ? 0 : base + size - 1;
  const low = first % 2 ** 32;
  const pair = ((low >>> 16) & 0xfff0) | ((last % 2 ** 32) & 0xfff0_0000);
  switch (space) {
    case "ports":
      config.write(
        headerOffsets.ioWindow,
        2,
        (((size === 0 ? 0xf000 : first) >>> 8) & 0xf0) | (last & 0xf000),
      );
      return;
    case "low":
      config.write(headerOffsets.memoryWindow, 4, pair);
      return;
    case "high":
      config.write(headerOffsets.prefetchableWindow, 4, pair);
      config.write(headerOffsets.prefetchableBaseHigh, 4, Math.floor(first / 2 ** 32));
      config.write(headerOffsets.prefetchableLimitHigh, 4, Math.floor(last / 2 ** 32));
      return;
    default:
      space satisfies never;
  }
}

function setLinesAndCommands(bus: PciBus, isa: IsaBridge): void {
  for (const { number, fn } of bus) {
    if (fn.interruptPin !== 0) {
      const input = isa.inputOf(bus.pirqOf(number >>> 3, fn.interruptPin));
      fn.config.write(headerOffsets.interrupt, 1, input < 0 ? 0xff : input);
    }
    const bridge = fn instanceof PciBridge;
    const io = bridge || fn.bars.some((bar) => bar.isPorts) ? commandBits.io : 0;
    const memory = bridge || fn.bars.some((bar) => !bar.isPorts) ? commandBits.memory : 0;
    fn.config.write(headerOffsets.command, 2, io | memory | (bridge ? commandBits.busMaster : 0));
    if (bridge) setLinesAndCommands(fn.secondary, isa);
  }
}

/*
 * Cost of a register access through the bus and the device, beside the same access to an empty handler on the same bus. The
 * registers are those that a running guest asks for most, one row each; accesses that start or stop a clock are among them.
 */
import { Chipset } from "../dist/index.js";
import { compare } from "./rounds/compare.mjs";

const clock = { time: 1_000_000, now: () => clock.time };
const zero = { low: 0, high: 0 };
const chipset = new Chipset({
  clock,
  processors: 4,
  tscFrequency: 1e9,
  physicalAddressBits: 40,
  tscOffset: () => zero,
  rtcStart: 1_700_000_000,
  serialOutputs: [() => {}, () => {}, () => {}, () => {}],
  powerOff() {},
  reset() {},
  signals: { init() {}, startup() {}, nmi() {}, ready() {} },
});
const { bus } = chipset;

class Empty {
  portRead() {
    return 1;
  }
  portWrite() {}
  mmioRead() {
    return 1;
  }
  mmioWrite() {}
}
const emptyPort = 0x9000;
const emptyPage = 0xfec8_0000;
bus.registerPorts("empty", emptyPort, 8, new Empty());
bus.registerMmio("empty", emptyPage, 0x1000, new Empty());

/** Name, first port or address, width, value written (absent: a read), and what to set up before. */
const ports = [
  { name: "8259 IMR read", at: 0x21, width: 1 },
  { name: "8259 IMR write", at: 0x21, width: 1, value: (i) => 0xff ^ (i & 0x10) },
  { name: "8259 OCW2 write (EOI)", at: 0x20, width: 1, value: () => 0x20 },
  { name: "8254 counter 0 read", at: 0x40, width: 1 },
  { name: "8254 control write (latch)", at: 0x43, width: 1, value: () => 0 },
  { name: "8254 counter 2 write", at: 0x42, width: 1, value: (i) => i & 0xff },
  { name: "port 0x61 read", at: 0x61, width: 1 },
  { name: "RTC index write", at: 0x70, width: 1, value: (i) => i & 0x7f },
  { name: "RTC NVRAM read", at: 0x71, width: 1, before: () => bus.portWrite(0x70, 1, 0x40) },
  { name: "RTC seconds read", at: 0x71, width: 1, before: () => bus.portWrite(0x70, 1, 0) },
  { name: "PM timer read", statistics: "acpi timer", width: 4 },
  { name: "16550A LSR read", at: 0x3fd, width: 1 },
  { name: "16550A IIR read", at: 0x3fa, width: 1 },
  { name: "16550A scratch write", at: 0x3ff, width: 1, value: (i) => i & 0xff },
  { name: "16550A THR write", at: 0x3f8, width: 1, value: (i) => i & 0xff },
  { name: "PCI configuration address write", at: 0xcf8, width: 4, value: () => 0x8000_0000 },
  {
    name: "PCI configuration data read",
    at: 0xcfc,
    width: 4,
    before: () => bus.portWrite(0xcf8, 4, 0x8000_0000),
  },
];
const pages = [
  { name: "IOAPIC IOREGSEL write", owner: "ioapic", offset: 0, value: () => 0x12 },
  { name: "IOAPIC redirection entry read", owner: "ioapic", offset: 0x10 },
  { name: "IOAPIC redirection entry write", owner: "ioapic", offset: 0x10, value: (i) => 0x1_0030 | (i & 7) },
  { name: "HPET main counter read", owner: "hpet", offset: 0xf0 },
  { name: "HPET comparator write", owner: "hpet", offset: 0x108, value: (i) => 1_000_000 + i },
];

const firstOf = (name) => bus.statistics().find((row) => row.name === name)?.first;
const owned = (at) =>
  bus
    .statistics()
    .some(
      ({ kind, name, first, last }) => kind === "port" && name !== "unclaimed" && at >= first && at <= last,
    );

export async function bench() {
  const rows = [];
  const row = (name, ours, peer) =>
    rows.push(compare(name, ours, peer, "empty handler on the bus", { iterations: 200_000 }));
  for (const { name, at: fixed, statistics, width, value, before } of ports) {
    const at = fixed ?? firstOf(statistics);
    if (at === undefined || !owned(at)) continue;
    before?.();
    if (value === undefined)
      row(
        name,
        () => bus.portRead(at, width),
        () => bus.portRead(emptyPort, width),
      );
    else
      row(
        name,
        (i) => bus.portWrite(at, width, value(i)),
        (i) => bus.portWrite(emptyPort, width, value(i)),
      );
  }
  for (const { name, owner, offset, value } of pages) {
    const base = firstOf(owner);
    if (base === undefined) continue;
    const at = base + offset;
    if (value === undefined)
      row(
        name,
        () => bus.mmioRead(at, 4),
        () => bus.mmioRead(emptyPage, 4),
      );
    else
      row(
        name,
        (i) => bus.mmioWrite(at, 4, value(i)),
        (i) => bus.mmioWrite(emptyPage, 4, value(i)),
      );
  }
  return rows;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const { case: name, ours, peer } of await bench())
    console.log(
      `${name.padEnd(34)} ${ours.toFixed(1).padStart(7)} ns, ${(ours - peer).toFixed(1).padStart(6)} above the empty handler`,
    );
}

/*
 * Cost of an interrupt's way through the controllers, beside the same number of calls to empty handlers of the same shape: what
 * remains of the difference is the controllers' own work.
 */
import { ApicFabric, ClockWheel, Ioapic, LocalApic, Pic } from "../dist/index.js";
import { compare } from "./rounds/compare.mjs";

const processors = 4;
const clock = { time: 0, now: () => clock.time };

function machine(x2apic) {
  const fabric = new ApicFabric({ init() {}, startup() {}, nmi() {}, ready() {} });
  const wheel = new ClockWheel(clock);
  // About as many alarms as a machine has.
  for (let i = 0; i < 16; i++) wheel.timer(`other ${i}`, () => {}).arm(1e12 + i);
  const apics = [];
  for (let index = 0; index < processors; index++) {
    const apic = new LocalApic({ index, time: wheel, bus: fabric });
    fabric.attach(apic);
    apic.mmioWrite(0xf0, 4, 0x1ff);
    if (x2apic) apic.writeBase(0xfee0_0c00, 0);
    apics.push(apic);
  }
  const ioapic = new Ioapic(fabric);
  fabric.attachListener(ioapic);
  const redirect = (pin, low, destination) => {
    ioapic.mmioWrite(0, 4, 0x11 + 2 * pin);
    ioapic.mmioWrite(0x10, 4, destination << 24);
    ioapic.mmioWrite(0, 4, 0x10 + 2 * pin);
    ioapic.mmioWrite(0x10, 4, low);
  };
  redirect(4, 0x34, 1);
  redirect(9, 0x8039, 2);
  return { fabric, apics, ioapic };
}

const x = machine(false);
const x2 = machine(true);
const out = { low: 0, high: 0 };

class Empty {
  deliver(_destination, _logical, _mode, _vector) {
    return true;
  }
  ready() {
    return true;
  }
  acknowledge() {
    return 0;
  }
  write(_msr, _low, _high) {
    return true;
  }
}
const empties = [new Empty(), new Empty(), new Empty(), new Empty()];

function emptyInterrupt(i) {
  const empty = empties[i & 3];
  empty.deliver(i & 3, false, 0, 0x40);
  const vector = empty.ready() ? empty.acknowledge() : 0;
  empty.write(0x80b, 0, 0);
  return vector;
}

function accepted(apic, i) {
  apic.accept(0x40 + (i & 0x3f), false);
  const vector = apic.interruptReady() ? apic.acknowledge() : 0;
  apic.mmioWrite(0xb0, 4, 0);
  return vector;
}

const edge = x.ioapic.pins[4];
const level = x.ioapic.pins[9];

const cases = [
  { name: "inject, accept, EOI (xAPIC)", ours: (i) => accepted(x.apics[i & 3], i), peer: emptyInterrupt },
  {
    name: "message, accept, EOI (x2APIC, 4 processors)",
    ours: (i) => {
      const target = i & 3;
      const apic = x2.apics[target];
      x2.fabric.deliver(target, false, 0, 0x40 + (i & 0x3f), false);
      const vector = apic.interruptReady() ? apic.acknowledge() : 0;
      apic.writeMsr(0x80b, 0, 0);
      return vector;
    },
    peer: emptyInterrupt,
  },
  {
    name: "IPI by ICR, accept, EOI (x2APIC)",
    ours: (i) => {
      const target = i & 3;
      const apic = x2.apics[target];
      x2.apics[0].writeMsr(0x830, 0x40, target);
      const vector = apic.interruptReady() ? apic.acknowledge() : 0;
      apic.writeMsr(0x80b, 0, 0);
      return vector;
    },
    peer: emptyInterrupt,
  },
  {
    name: "edge on an IOAPIC pin, accept, EOI",
    ours: () => {
      edge.set(true);
      edge.set(false);
      const vector = x.apics[1].acknowledge();
      x.apics[1].mmioWrite(0xb0, 4, 0);
      return vector;
    },
    peer: emptyInterrupt,
  },
  {
    name: "level on an IOAPIC pin, accept, EOI broadcast",
    ours: () => {
      level.set(true);
      const vector = x.apics[2].acknowledge();
      level.set(false);
      x.apics[2].mmioWrite(0xb0, 4, 0);
      return vector;
    },
    peer: emptyInterrupt,
  },
  {
    name: "register read (TPR, xAPIC)",
    ours: (i) => x.apics[i & 3].mmioRead(0x80, 4),
    peer: (i) => empties[i & 3].acknowledge(),
  },
  {
    name: "register read (TPR, x2APIC)",
    ours: (i) => (x2.apics[i & 3].readMsr(0x808, out) ? out.low : 0),
    peer: (i) => empties[i & 3].acknowledge(),
  },
  {
    name: "CR8 write",
    ours: (i) => x2.apics[i & 3].writeTaskPriority(i & 15),
    peer: (i) => empties[i & 3].write(0, i & 15, 0),
  },
];

// TSC-deadline mode for the last case, in a machine of its own.
const deadline = machine(true);
for (const apic of deadline.apics) apic.writeMsr(0x832, 0x4_00ec, 0);
cases.push({
  name: "TSC deadline armed (20 alarms)",
  ours: (i) => deadline.apics[i & 3].writeMsr(0x6e0, 1_000_000 + i, 0),
  peer: (i) => empties[i & 3].write(0x6e0, i, 0),
});

// The 8259 pair as firmware leaves it: LINT0 of one local APIC as ExtINT.
const wired = machine(false);
const pic = new Pic({ name: "pic", output: wired.fabric.external });
wired.fabric.attachExternal(pic);
wired.apics[0].enterVirtualWire();
for (const [port, vector, cascade] of [
  [0x20, 0x30, 4],
  [0xa0, 0x38, 2],
]) {
  pic.portWrite(port, 1, 0x11);
  for (const value of [vector, cascade, 1, 0]) pic.portWrite(port + 1, 1, value);
}
const irq4 = pic.line(4);
const irq12 = pic.line(12);
cases.push(
  {
    name: "edge on an 8259 input, INTA, EOI",
    ours: () => {
      irq4.set(true);
      const vector = wired.apics[0].acknowledge();
      irq4.set(false);
      pic.portWrite(0x20, 1, 0x20);
      return vector;
    },
    peer: emptyInterrupt,
  },
  {
    name: "edge on an input of the second 8259, INTA, two EOIs",
    ours: () => {
      irq12.set(true);
      const vector = wired.apics[0].acknowledge();
      irq12.set(false);
      pic.portWrite(0xa0, 1, 0x20);
      pic.portWrite(0x20, 1, 0x20);
      return vector;
    },
    peer: emptyInterrupt,
  },
);

export async function bench() {
  return cases.map(({ name, ours, peer }) => compare(name, ours, peer, "calls of empty handlers"));
}

if (process.argv[1] === new URL(import.meta.url).pathname) console.table(await bench());

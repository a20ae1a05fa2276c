import { describe, expect, it } from "vitest";
import { BareMachine } from "./bare-machine.ts";
import { endpointExpress } from "./express.ts";
import { PciFunction } from "./function.ts";
import type { PciHostOptions } from "./host.ts";

const card = () =>
  new PciFunction({
    name: "card",
    vendor: 0x1234,
    device: 0x5678,
    classCode: 0,
    capabilities: [endpointExpress(false)],
  });

// Offsets in a root port's configuration space: the PCI Express capability is its first.
const linkCapabilities = 0x4c;
const linkControl = 0x50;
const linkStatus = 0x52;
const slotCapabilities = 0x54;
const slotControl = 0x58;
const slotStatus = 0x5a;

const pressed = 1 << 0;
const presenceChanged = 1 << 3;
const completed = 1 << 4;
const present = 1 << 6;
const linkChanged = 1 << 8;

/** Root port 0 with its bus number 1. */
function machineWith(rootPorts: NonNullable<PciHostOptions["rootPorts"]> = 1) {
  const machine = new BareMachine({ rootPorts });
  machine.host.assignResources();
  const get = (at: number) => machine.read(0, 0x1c, 0, at, 2);
  const set = (at: number, value: number) => machine.write(0, 0x1c, 0, at, 2, value);
  return { ...machine, machine, host: machine.host, port: machine.host.rootPorts[0]!, get, set };
}

describe("A root port's slot", () => {
  it("has a number, an attention button, indicators, surprise and hot-plug, and reports its link", () => {
    const { machine, get } = machineWith(2);
    expect(get(slotCapabilities)).toBe(0x0cf9);
    expect(get(slotCapabilities + 2)).toBe(1 << 3);
    expect(machine.read(0, 0x1c, 1, slotCapabilities + 2, 2)).toBe(2 << 3);
    expect(get(linkCapabilities + 2)).toBe(0x0110);
  });

  it("has a power controller or no button when it is made so", () => {
    const { get } = machineWith([{ attentionButton: false, powerController: true }]);
    expect(get(slotCapabilities) & 3).toBe(2);
    const plain = machineWith([{ attentionButton: false }]);
    expect(plain.get(slotCapabilities) & 3).toBe(0);
    expect(plain.host.pressAttentionButton(0)).toBe(false);
    expect(plain.get(slotStatus)).toBe(0);
  });

  it("with something in it from the start shows presence and link, and no change", () => {
    const { machine, get, host } = machineWith();
    host.attach(card(), { port: 0 });
    host.assignResources();
    expect([get(slotStatus), get(linkStatus)]).toEqual([present, 0x2011]);
    expect(machine.read(1, 0, 0, 0)).toBe(0x5678_1234);
  });
});

describe("Hot add", () => {
  it("sets presence and link with their changes, and the function is reached at once", () => {
    const { machine, get, set, host } = machineWith();
    expect([get(slotStatus), get(linkStatus), machine.read(1, 0, 0, 0)]).toEqual([0, 0, 0xffff_ffff]);
    host.hotAdd(0, card());
    expect([get(slotStatus), get(linkStatus)]).toEqual([presenceChanged | present | linkChanged, 0x2011]);
    expect(machine.read(1, 0, 0, 0)).toBe(0x5678_1234);
    set(slotStatus, presenceChanged | linkChanged);
    expect(get(slotStatus)).toBe(present);
  });

  it("with a power controller waits for the system to switch the slot on, and a slot that is off is reset", () => {
    const { machine, get, set, host, port } = machineWith([{ powerController: true }]);
    const fn = card();
    host.hotAdd(0, fn);
    expect([get(slotStatus), get(linkStatus), machine.read(1, 0, 0, 0)]).toEqual([
      presenceChanged | present,
      0,
      0xffff_ffff,
    ]);
    set(slotControl, 0x01c0);
    expect([port.linkActive, machine.read(1, 0, 0, 0)]).toEqual([true, 0x5678_1234]);
    machine.write(1, 0, 0, 0x3c, 1, 5);
    set(slotControl, 0x07c0);
    expect([port.linkActive, machine.read(1, 0, 0, 0)]).toEqual([false, 0xffff_ffff]);
    set(slotControl, 0x01c0);
    expect(machine.read(1, 0, 0, 0x3c, 1)).toBe(0);
  });

  it("of a device with more functions tells of one change", () => {
    const { machine, get, set, host } = machineWith();
    host.hotAdd(0, card());
    set(slotStatus, presenceChanged | linkChanged);
    host.hotAdd(0, card(), 1);
    expect([get(slotStatus), machine.read(1, 0, 1, 0), machine.read(1, 0, 0, 0x0e, 1)]).toEqual([
      present,
      0x5678_1234,
      0x80,
    ]);
  });
});

describe("Surprise removal", () => {
  it("makes everything behind read all ones, and tells", () => {
    const { machine, get, set, host, bus } = machineWith();
    const fn = new PciFunction({
      name: "card",
      vendor: 0x1234,
      device: 0x5678,
      classCode: 0,
      interruptPin: 1,
      bars: [{ index: 0, kind: "memory32", size: 0x1000, device: { mmioRead: () => 7, mmioWrite() {} } }],
    });
    host.attach(fn, { port: 0 });
    host.reset();
    host.assignResources();
    const at = machine.read(1, 0, 0, 0x10);
    fn.setIntx(true);
    expect([bus.mmioRead(at, 4), machine.pirqs[4]!.level]).toEqual([7, true]);
    host.hotRemove(0);
    expect([bus.mmioRead(at, 4), machine.read(1, 0, 0, 0), machine.pirqs[4]!.level]).toEqual([
      0xffff_ffff,
      0xffff_ffff,
      false,
    ]);
    expect([get(slotStatus), get(linkStatus)]).toEqual([presenceChanged | linkChanged, 0]);
    // What is out drives nothing and sends nothing.
    fn.setIntx(true);
    expect([machine.pirqs[4]!.level, fn.dmaWrite(0, Uint8Array.of(1)), fn.attached]).toEqual([
      false,
      false,
      false,
    ]);
    set(slotStatus, 0xffff);
    host.hotAdd(0, fn);
    expect([machine.read(1, 0, 0, 0), machine.read(1, 0, 0, 4)]).toEqual([0x5678_1234, 0]);
  });
});

describe("The link", () => {
  it("goes down while it is disabled, which resets what is behind", () => {
    const { machine, get, set, host } = machineWith();
    host.hotAdd(0, card());
    machine.write(1, 0, 0, 0x3c, 1, 9);
    set(slotStatus, 0xffff);
    set(linkControl, 0x10);
    expect([get(linkStatus), get(slotStatus), machine.read(1, 0, 0, 0)]).toEqual([
      0,
      present | linkChanged,
      0xffff_ffff,
    ]);
    set(linkControl, 0);
    expect([get(linkStatus), machine.read(1, 0, 0, 0), machine.read(1, 0, 0, 0x3c, 1)]).toEqual([
      0x2011, 0x5678_1234, 0,
    ]);
  });
});

describe("Hot-plug interrupts", () => {
  it("complete every command", () => {
    const { get, set } = machineWith();
    set(slotControl, 0x03c0);
    expect(get(slotStatus)).toBe(completed);
    set(slotStatus, completed);
    expect(get(slotStatus)).toBe(0);
  });

  it("are a level on the pin while an event is enabled and pending", () => {
    const { get, set, host, pirqs } = machineWith();
    const pin = pirqs[4]!;
    host.pressAttentionButton(0);
    expect([get(slotStatus), pin.level]).toEqual([pressed, false]);
    // The event alone is not enough, nor is the interrupt enable.
    set(slotControl, 0x0001);
    expect(pin.level).toBe(false);
    set(slotControl, 0x0020);
    expect(pin.level).toBe(false);
    set(slotControl, 0x0021);
    expect(pin.level).toBe(true);
    set(slotStatus, pressed);
    expect(pin.level).toBe(false);
  });

  it("by MSI come each time that the condition becomes true", () => {
    const { machine, set, host, messages, pirqs } = machineWith();
    const port = host.rootPorts[0]!;
    let at = machine.read(0, 0x1c, 0, 0x34, 1);
    while (machine.read(0, 0x1c, 0, at, 1) !== 5) at = machine.read(0, 0x1c, 0, at + 1, 1);
    machine.write(0, 0x1c, 0, at + 4, 4, 0xfee0_0000);
    machine.write(0, 0x1c, 0, at + 12, 2, 0x55);
    set(at + 2, 1);
    set(slotControl, 0x1021);
    set(slotStatus, completed);
    host.hotAdd(0, card());
    expect(messages).toEqual([[0xfee0_0000, 0x55]]);
    // One more event while one is pending is no new message.
    host.pressAttentionButton(0);
    set(slotStatus, linkChanged);
    expect(messages.length).toBe(1);
    set(slotStatus, pressed);
    host.pressAttentionButton(0);
    expect([messages.length, pirqs[4]!.level, port.occupied]).toEqual([2, false, true]);
  });

  it("with MSI switched on while the condition holds come then", () => {
    const { machine, set, host, messages } = machineWith();
    let at = machine.read(0, 0x1c, 0, 0x34, 1);
    while (machine.read(0, 0x1c, 0, at, 1) !== 5) at = machine.read(0, 0x1c, 0, at + 1, 1);
    machine.write(0, 0x1c, 0, at + 4, 4, 0xfee0_0000);
    set(slotControl, 0x0021);
    host.pressAttentionButton(0);
    set(at + 2, 1);
    expect(messages.length).toBe(1);
  });
});

describe("Indicators", () => {
  it("show what the system set: when the power indicator is off the slot is out of use", () => {
    const { set, port } = machineWith();
    const states: string[] = [];
    for (const value of [0x0100, 0x0200, 0x0300, 0x0040, 0x0080]) {
      set(slotControl, value);
      states.push(`${port.powerIndicator} ${port.attentionIndicator}`);
    }
    expect(states).toEqual(["on off", "blink off", "off off", "off on", "off blink"]);
  });
});

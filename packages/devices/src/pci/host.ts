import type { Bus } from "../bus.ts";
import type { Device, Inspection, InterruptLine, MmioDevice, PortDevice } from "../device.ts";
import { SharedLine, unconnectedLine } from "../line.ts";
import { DeviceStateError, SavedFields } from "../saved-state.ts";
import { AddressMap } from "./address-map.ts";
import { assignResources } from "./assign.ts";
import { PciBridge, PciBus } from "./bridge.ts";
import { type DmaMemory, PciFunction, type PciFunctionState } from "./function.ts";
import { IsaBridge, routableInputs } from "./isa-bridge.ts";
import { highWindow, pciDevices, pciLayout, placeText } from "./layout.ts";
import { RootPort, type RootPortOptions } from "./root-port.ts";

export interface PciHostOptions {
  readonly bus: Bus;
  readonly physicalAddressBits: number;
  /** Number of root ports, 0 to 8; or how each is made. Two by default. */
  readonly rootPorts?: number | readonly Omit<RootPortOptions, "index">[];
  /** An interrupt message: a dword written to 0xFEExxxxx. */
  readonly message: (address: number, data: number) => void;
  readonly memory: DmaMemory;
  /** PIRQ A to H, true while asserted. */
  readonly interrupts: readonly InterruptLine[];
  /** A new source on an input of the 8259 pair, active high. */
  readonly legacyInput: (input: number) => InterruptLine;
  /** Gets byte accesses at port 0xCF9. */
  readonly resetControl: PortDevice;
}

/** On bus 0, as the device behind a root port, or behind a bridge that is plugged in. Function 0 of a device comes first. */
export type PciPlace =
  | { readonly device: number; readonly function?: number }
  | { readonly port: number; readonly function?: number }
  | { readonly bridge: PciBridge; readonly device: number; readonly function?: number };

export interface PciState {
  readonly version: 1;
  /** CONFIG_ADDRESS. */
  readonly address: number;
  /** By path: "1c.0", "1c.0/00.0". */
  readonly functions: Readonly<Record<string, PciFunctionState>>;
}

/** CONFIG_ADDRESS: enable, bus, device, function, dword. The rest is reserved and reads 0 (PCI 3.0, 3.2.2.3.2). */
export const configAddressMask = 0x80ff_fffc;
const allOnes = 0xffff_ffff;
const pirqs = 8;

/** The PCI Express hierarchy of the machine: segment 0, with a host bridge, an ISA bridge and root ports on bus 0. */
export class PciHost implements Device<PciState>, PortDevice, MmioDevice {
  readonly name = "pci";
  readonly root: PciBus = new PciBus();
  readonly rootPorts: readonly RootPort[];
  /** Window above 4 GiB, where the processor has addresses for one. */
  readonly highWindow: ReturnType<typeof highWindow>;
  readonly #options: PciHostOptions;
  readonly #map: AddressMap;
  readonly #isa: IsaBridge;
  readonly #wires: readonly SharedLine[];
  readonly #legacy: readonly InterruptLine[];
  /** Asserted PIRQs, A in bit 0. */
  #asserted = 0;
  #address = 0;
  /** By bus number, what configuration accesses reach. */
  #routes: (PciBus | undefined)[] = Array.from({ length: 256 }, () => undefined);
  #accesses = 0;
  #absent = 0;

  constructor(options: PciHostOptions) {
    const { rootPorts = 2, interrupts, bus, legacyInput } = options;
    const ports = typeof rootPorts === "number" ? Array.from({ length: rootPorts }, () => ({})) : rootPorts;
    if (
      !Number.isInteger(ports.length) ||
      ports.length > 8 ||
      (typeof rootPorts === "number" && rootPorts !== ports.length)
    )
      throw new RangeError("a machine has 0 to 8 root ports");
    if (interrupts.length !== pirqs)
      throw new RangeError(`there are ${pirqs} PCI interrupts, not ${interrupts.length}`);
    this.#options = options;
    this.highWindow = highWindow(options.physicalAddressBits);
    this.#map = new AddressMap(bus);
    this.#legacy = routableInputs.map((input) => legacyInput(input));
    this.#wires = interrupts.map(
      (line, pirq) => new SharedLine({ set: (level) => this.#setPirq(pirq, level, line) }),
    );
    this.#isa = new IsaBridge(() => this.#routeLegacy());
    this.attach(
      new PciFunction({ name: "host bridge", vendor: 0x1b36, device: 0x0008, classCode: 0x060000 }),
      {
        device: pciDevices.host,
      },
    );
    this.attach(this.#isa, { device: pciDevices.isaBridge });
    this.rootPorts = ports.map((port, index) => new RootPort({ ...port, index }));
    for (const port of this.rootPorts)
      this.attach(port, { device: pciDevices.rootPorts, function: port.index });
    bus.registerPorts("pci address", pciLayout.addressPort, 4, this);
    bus.registerPorts("pci data", pciLayout.dataPort, 4, this);
    bus.registerMmio("pci ecam", pciLayout.ecam.base, pciLayout.ecam.length, this);
  }

  // --- Plugging -------------------------------------------------------------------------------------------------------

  /** Plugs `fn` in before the machine starts; `assignResources` gives it addresses. Throws RangeError when the place is not free. */
  attach(fn: PciFunction, place: PciPlace): void {
    const number = place.function ?? 0;
    if ("port" in place) this.#plugBehind(fn, place.port, number, false);
    else if (!("bridge" in place)) this.#plug(fn, this.root, place.device, number);
    else if (place.bridge.attached && !(place.bridge instanceof RootPort))
      this.#plug(fn, place.bridge.secondary, place.device, number);
    else throw new RangeError(`${place.bridge.name} is not plugged in, or is a root port`);
  }

  /**
   * Plugs `fn` into a root port of a running machine: the system is told by the port's slot and gives it addresses. Of a device with
   * more functions, function 0 comes first.
   */
  hotAdd(port: number, fn: PciFunction, number = 0): void {
    this.#plugBehind(fn, port, number, true);
  }

  /** Pulls out whatever is behind a root port. The system is told afterwards: from now on all reads there give all ones. */
  hotRemove(port: number): void {
    const target = this.#port(port);
    if (!target.occupied) throw new RangeError(`root port ${port} has nothing in its slot`);
    for (const { number, fn } of target.secondary) {
      target.secondary.functions[number] = undefined;
      disconnect(fn);
    }
    this.#changed();
    target.presenceChanged(true);
  }

  /** Asks the system to take a root port's slot out of use, or into it. Its power indicator tells when that is done. */
  pressAttentionButton(port: number): boolean {
    return this.#port(port).pressAttentionButton();
  }

  /** Does what firmware does before a system starts: bus numbers, windows, BARs, interrupt routing. */
  assignResources(): void {
    assignResources(this.root, this.#isa, this.highWindow);
  }

  /** Inputs of the 8259 pair that PIRQs are routed to, input n in bit n: they are level triggered, which ELCR must say. */
  get levelInputs(): number {
    let inputs = 0;
    for (let pirq = 0; pirq < pirqs; pirq++) {
      const input = this.#isa.inputOf(pirq);
      if (input >= 0) inputs |= 1 << input;
    }
    return inputs;
  }

  // --- Configuration accesses -----------------------------------------------------------------------------------------

  portRead(port: number, width: 1 | 2 | 4): number {
    if (port >= pciLayout.dataPort) {
      const address = this.#address;
      // Bit 31 clear: no configuration cycle.
      if (address < 0x8000_0000) return allOnes;
      return this.#read(
        (address >>> 16) & 0xff,
        (address >>> 8) & 0xff,
        (address & 0xfc) | (port & 3),
        width,
      );
    }
    // PCI 3.0 3.2.2.3.2: only whole dwords are the address register; all else passes to the ports beneath.
    if (width === 4) return this.#address;
    return port === pciLayout.resetControlPort && width === 1
      ? this.#options.resetControl.portRead(port, 1)
      : allOnes;
  }

  portWrite(port: number, width: 1 | 2 | 4, value: number): void {
    if (port >= pciLayout.dataPort) {
      const address = this.#address;
      if (address < 0x8000_0000) return;
      this.#write(
        (address >>> 16) & 0xff,
        (address >>> 8) & 0xff,
        (address & 0xfc) | (port & 3),
        width,
        value,
      );
    } else if (width === 4) this.#address = (value & configAddressMask) >>> 0;
    else if (port === pciLayout.resetControlPort && width === 1)
      this.#options.resetControl.portWrite(port, 1, value);
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    if ((offset & 0xfff) + width > 0x1000) {
      let value = 0;
      for (let i = 0; i < width; i++) value |= this.mmioRead(offset + i, 1) << (8 * i);
      return value >>> 0;
    }
    return this.#read(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, width);
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    if ((offset & 0xfff) + width > 0x1000) {
      for (let i = 0; i < width; i++) this.mmioWrite(offset + i, 1, (value >>> (8 * i)) & 0xff);
      return;
    }
    this.#write(offset >>> 20, (offset >>> 12) & 0xff, offset & 0xfff, width, value);
  }

  /** The function that configuration accesses to `bus`, device << 3 | function reach. */
  functionAt(bus: number, number: number): PciFunction | undefined {
    return this.#routes[bus]?.functions[number];
  }

  #read(bus: number, number: number, at: number, width: 1 | 2 | 4): number {
    const fn = this.#routes[bus]?.functions[number];
    if (fn === undefined) {
      this.#absent++;
      return width === 4 ? allOnes : width === 2 ? 0xffff : 0xff;
    }
    this.#accesses++;
    return fn.config.read(at, width);
  }

  #write(bus: number, number: number, at: number, width: 1 | 2 | 4, value: number): void {
    const fn = this.#routes[bus]?.functions[number];
    if (fn === undefined) {
      this.#absent++;
      return;
    }
    this.#accesses++;
    fn.config.write(at, width, value);
  }

  // --- State ----------------------------------------------------------------------------------------------------------

  /** As after power-on: no bus numbers, no addresses. What is plugged in stays. */
  reset(): void {
    this.#address = 0;
    // Bridges reset what is behind them.
    for (const { fn } of this.root) fn.reset();
  }

  save(): PciState {
    const functions: Record<string, PciFunctionState> = {};
    for (const fn of this.#all()) functions[fn.path] = fn.save();
    return { version: 1, address: this.#address, functions };
  }

  /** The same functions must be plugged in the same places as when the state was saved. */
  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const address = fields.dword("address");
    fields.require((address & ~configAddressMask) === 0, "address has reserved bits");
    const saved = fields.nested("functions");
    const commits = this.#all().map((fn) => {
      if (!saved.has(fn.path))
        throw new DeviceStateError("bad-shape", `${this.name}: no saved state of ${fn.path}, ${fn.name}`);
      return fn.prepare(saved.nested(fn.path));
    });
    saved.end();
    fields.end();
    this.#address = address;
    for (const commit of commits) commit();
    this.#changed();
    this.#routeLegacy();
  }

  inspect(): Inspection {
    return {
      address: `0x${this.#address.toString(16).padStart(8, "0")}`,
      "configuration accesses": this.#accesses,
      "to absent functions": this.#absent,
      "asserted PIRQs": [...Array(pirqs).keys()]
        .filter((pirq) => (this.#asserted >>> pirq) & 1)
        .map((pirq) => "ABCDEFGH"[pirq]!),
      buses: Object.fromEntries(
        this.#routes.flatMap((bus, n) => (bus === undefined ? [] : [[n, bus.bridge?.path ?? "root"]])),
      ),
      bars: this.#map.inspect(),
      functions: Object.fromEntries(this.#all().map((fn) => [fn.path, fn.inspect()])),
    };
  }

  // --- Inside ---------------------------------------------------------------------------------------------------------

  #port(index: number): RootPort {
    const port = this.rootPorts[index];
    if (port === undefined)
      throw new RangeError(`there is no root port ${index}, only ${this.rootPorts.length}`);
    return port;
  }

  #plugBehind(fn: PciFunction, index: number, number: number, running: boolean): void {
    const port = this.#port(index);
    this.#plug(fn, port.secondary, 0, number);
    port.presenceChanged(running);
  }

  #plug(fn: PciFunction, bus: PciBus, device: number, number: number): void {
    if (
      !Number.isInteger(device) ||
      device < 0 ||
      device > 31 ||
      !Number.isInteger(number) ||
      number < 0 ||
      number > 7
    )
      throw new RangeError(`there is no place ${device}.${number}: devices are 0 to 31, functions 0 to 7`);
    const place = (device << 3) | number;
    const text = placeText(device, number);
    if (fn.attached) throw new RangeError(`${fn.name} is plugged in already`);
    if (bus.functions[place] !== undefined)
      throw new RangeError(`${text} is taken by ${bus.functions[place].name}`);
    // PCI 3.0 3.2.2.3.4: without function 0 nobody looks for the others.
    if (number > 0 && bus.functions[device << 3] === undefined)
      throw new RangeError(`${placeText(device, 0)} must be plugged in before ${text}`);
    bus.functions[place] = fn;
    this.#connect(fn, bus, place);
    const several = bus.functions
      .slice(device << 3, (device + 1) << 3)
      .filter((other) => other !== undefined);
    for (const other of several) other.setMultiFunction(several.length > 1);
    this.#changed();
  }

  /** Wires `fn`, and what a bridge has behind it already. */
  #connect(fn: PciFunction, bus: PciBus, place: number): void {
    const text = placeText(place >>> 3, place & 7);
    const { interruptPin } = fn;
    if (fn instanceof PciBridge) {
      fn.primary = bus;
      fn.onReroute = () => this.#reroute();
    }
    fn.attach({
      path: bus.bridge === undefined ? text : `${bus.bridge.path}/${text}`,
      pin:
        interruptPin === 0 ? unconnectedLine : this.#wires[bus.pirqOf(place >>> 3, interruptPin)]!.source(),
      memory: this.#options.memory,
      message: this.#options.message,
      upstreamOpen: () => upstreamOpen(bus),
      remap: () => this.#map.update(),
    });
    if (!(fn instanceof PciBridge)) return;
    for (const { number, fn: behind } of fn.secondary) this.#connect(behind, fn.secondary, number);
  }

  #changed(): void {
    this.#reroute();
    this.#map.populate(this.root);
  }

  #all(): PciFunction[] {
    const found: PciFunction[] = [];
    const walk = (bus: PciBus): void => {
      for (const { fn } of bus) {
        found.push(fn);
        if (fn instanceof PciBridge) walk(fn.secondary);
      }
    };
    walk(this.root);
    return found;
  }

  /**
   * Bus numbers to buses. A bridge has a say only over numbers that all bridges above it cover, and a number that two bridges claim
   * belongs to the first: whatever numbers a guest writes, each bus is entered at most once.
   */
  #reroute(): void {
    const routes: (PciBus | undefined)[] = Array.from({ length: 256 }, () => undefined);
    const enter = (bus: PciBus, number: number, last: number): void => {
      routes[number] = bus;
      for (const { fn } of bus) {
        if (!(fn instanceof PciBridge) || !fn.open) continue;
        const secondary = fn.secondaryNumber;
        if (secondary <= number || secondary > last || secondary > fn.subordinateNumber) continue;
        if (routes[secondary] === undefined)
          enter(fn.secondary, secondary, Math.min(last, fn.subordinateNumber));
      }
    };
    enter(this.root, 0, 255);
    this.#routes = routes;
  }

  #setPirq(pirq: number, level: boolean, line: InterruptLine): void {
    this.#asserted = (this.#asserted & ~(1 << pirq)) | (level ? 1 << pirq : 0);
    line.set(level);
    this.#routeLegacy();
  }

  /** Each input of the 8259 pair is high while a PIRQ that is routed to it is asserted. */
  #routeLegacy(): void {
    let high = 0;
    for (let pirq = 0; pirq < pirqs; pirq++) {
      if (((this.#asserted >>> pirq) & 1) === 0) continue;
      const input = this.#isa.inputOf(pirq);
      if (input >= 0) high |= 1 << input;
    }
    routableInputs.forEach((input, index) => {
      this.#legacy[index]!.set(((high >>> input) & 1) !== 0);
    });
  }
}

/** Takes `fn` and what is behind it off the machine; a bridge keeps what is plugged into it. */
function disconnect(fn: PciFunction): void {
  if (fn instanceof PciBridge) for (const { fn: behind } of fn.secondary) disconnect(behind);
  fn.detach();
}

function upstreamOpen(bus: PciBus): boolean {
  for (let at: PciBus | undefined = bus; at?.bridge !== undefined; at = at.bridge.primary)
    if (!at.bridge.forwardsUp) return false;
  return true;
}

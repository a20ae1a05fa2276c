import type { PciBar } from "./bar.ts";
import type { ConfigEffect } from "./config-space.ts";
import { PciFunction, type PciFunctionOptions } from "./function.ts";
import { bridgeControlBits, commandBits, headerOffsets } from "./header.ts";
import { pirqOf, swizzle } from "./layout.ts";

/** What is plugged in behind a bridge, or on bus 0: functions by device << 3 | function. */
export class PciBus {
  readonly functions: (PciFunction | undefined)[] = Array.from({ length: 256 }, () => undefined);
  /** The bridge to it; undefined for bus 0. */
  readonly bridge: PciBridge | undefined;

  constructor(bridge?: PciBridge) {
    this.bridge = bridge;
  }

  /** PIRQ, 0 to 7, that pin 1 to 4 of `device` here leads to, through the bridges above. */
  pirqOf(device: number, pin: number): number {
    const above = this.bridge?.primary;
    if (above === undefined) return pirqOf(device, pin);
    return above.pirqOf(above.functions.indexOf(this.bridge) >>> 3, swizzle(pin, device));
  }

  /** Every function, by device and function number. */
  *[Symbol.iterator](): Generator<{ readonly number: number; readonly fn: PciFunction }> {
    for (let number = 0; number < this.functions.length; number++) {
      const fn = this.functions[number];
      if (fn !== undefined) yield { number, fn };
    }
  }
}

/** A function that leads to another bus (PCI-to-PCI Bridge 1.2): it passes on what its windows and bus numbers cover. */
export class PciBridge extends PciFunction {
  readonly secondary: PciBus = new PciBus(this);
  /** The bus that the bridge is on; set by the host. */
  primary: PciBus | undefined;
  /** Called when bus numbers or what is reachable behind changed; set by the host. */
  onReroute: (() => void) | undefined;

  constructor(options: PciFunctionOptions) {
    super(options, "bridge");
  }

  /** Is there a way to the other side: power, no reset of the secondary bus, and for a port a link. */
  get open(): boolean {
    return (
      this.powered && (this.config.dword(headerOffsets.interrupt) & bridgeControlBits.secondaryReset) === 0
    );
  }

  get secondaryNumber(): number {
    return (this.config.dword(headerOffsets.busNumbers) >>> 8) & 0xff;
  }

  get subordinateNumber(): number {
    return (this.config.dword(headerOffsets.busNumbers) >>> 16) & 0xff;
  }

  /** Does it pass DMA and messages from behind? */
  get forwardsUp(): boolean {
    return this.open && (this.config.dword(headerOffsets.command) & commandBits.busMaster) !== 0;
  }

  /** Does it pass accesses to the whole of `bar` at `first`? */
  forwards(bar: PciBar, first: number): boolean {
    if (!this.open) return false;
    const command = this.config.dword(headerOffsets.command);
    const last = first + bar.size - 1;
    if (bar.isPorts) {
      if ((command & commandBits.io) === 0) return false;
      const window = this.config.dword(headerOffsets.ioWindow);
      // Bridge 1.2 3.2.5.18: with ISA set, of each KiB only the first 256 ports are passed on.
      const isa = (this.config.dword(headerOffsets.interrupt) & bridgeControlBits.isaEnable) !== 0;
      return (
        first >= (window & 0xf0) << 8 &&
        last <= ((window & 0xf000) | 0xfff) &&
        !(isa && (first & 0x300) !== 0)
      );
    }
    if ((command & commandBits.memory) === 0) return false;
    const memory = this.config.dword(headerOffsets.memoryWindow);
    if (first >= (memory & 0xfff0) * 0x1_0000 && last <= ((memory & 0xfff0_0000) >>> 0) + 0xf_ffff)
      return true;
    const low = this.config.dword(headerOffsets.prefetchableWindow);
    const base = this.config.dword(headerOffsets.prefetchableBaseHigh) * 2 ** 32 + (low & 0xfff0) * 0x1_0000;
    const limit =
      this.config.dword(headerOffsets.prefetchableLimitHigh) * 2 ** 32 +
      ((low & 0xfff0_0000) >>> 0) +
      0xf_ffff;
    return first >= base && last <= limit;
  }

  protected override written(
    effect: ConfigEffect,
    at: number,
    before: number,
    value: number,
    lanes: number,
  ): void {
    switch (effect) {
      case "windows":
        if (before !== this.config.dword(at)) this.remap();
        return;
      case "bus numbers":
        if (before !== this.config.dword(at)) this.onReroute?.();
        return;
      case "bridge control":
        this.#bridgeControl(before, this.config.dword(at));
        return;
      default:
        super.written(effect, at, before, value, lanes);
        if (effect === "power") this.onReroute?.();
    }
  }

  /** Resets everything behind, bridges first. */
  resetBehind(): void {
    for (const { fn } of this.secondary) fn.reset();
  }

  protected override configReset(): void {
    super.configReset();
    this.onReroute?.();
  }

  /** A reset of a bridge is one of its secondary bus (Bridge 1.2 11.1). */
  protected override resetDevice(): void {
    this.resetBehind();
  }

  #bridgeControl(before: number, after: number): void {
    const changed = before ^ after;
    if ((changed & (bridgeControlBits.secondaryReset | bridgeControlBits.isaEnable)) === 0) return;
    if ((changed & after & bridgeControlBits.secondaryReset) !== 0) this.resetBehind();
    this.onReroute?.();
    this.remap();
  }
}

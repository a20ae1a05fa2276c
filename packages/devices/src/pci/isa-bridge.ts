import type { ConfigEffect, ConfigRegister } from "./config-space.ts";
import { PciFunction } from "./function.ts";

/** Offsets of the routing registers, PIRQ A to H, in the bridge's configuration space. */
export const pirqRegisters = [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b] as const;

/** Inputs of the 8259 pair that a PIRQ can be routed to. The others belong to the chipset. */
export const routableInputs = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15] as const;

export const notRouted = 0x80;

/** The routers, as registers of the bridge. */
export const pirqRouters: readonly ConfigRegister[] = pirqRegisters.map((at, index) => ({
  name: `PIRQ ${"ABCDEFGH"[index]} routing`,
  at,
  bytes: 1,
  reset: notRouted,
  writable: 0x8f,
  effect: "pirq",
  bits: "3:0 input of the 8259 pair: 3 to 7, 9 to 12, 14, 15; 7 not routed",
  why: "ours, as the PIRQ routers of PC chipsets",
}));

/** The way to the PC's fixed devices, which need no resources of PCI; here it routes PCI interrupts to the 8259 pair. */
export class IsaBridge extends PciFunction {
  readonly #routed: () => void;

  /** `routed` is called when a routing register was written. */
  constructor(routed: () => void) {
    super({
      name: "ISA bridge",
      vendor: 0x1b36,
      device: 0x00e1,
      classCode: 0x060100,
      registers: pirqRouters,
    });
    this.#routed = routed;
  }

  /** Input of the 8259 pair that PIRQ `pirq`, 0 to 7, goes to; -1 when it goes nowhere. */
  inputOf(pirq: number): number {
    const value = this.config.read(pirqRegisters[pirq]!, 1);
    if ((value & notRouted) !== 0) return -1;
    const input = value & 0x0f;
    return routableInputs.some((routable) => routable === input) ? input : -1;
  }

  protected override written(
    effect: ConfigEffect,
    at: number,
    before: number,
    value: number,
    lanes: number,
  ): void {
    super.written(effect, at, before, value, lanes);
    if (effect === "pirq") this.#routed();
  }

  protected override configReset(): void {
    super.configReset();
    this.#routed();
  }
}

import type { InterruptLine } from "./device.ts";
import { type Ioapic, ioapicPins } from "./ioapic.ts";
import { LineFanout, SharedLine } from "./line.ts";
import type { Pic } from "./pic.ts";

/** Interrupt of the 8254. */
export const timerInterrupt = 0;
/** Where the timer arrives at the IOAPIC, by the MADT's override; at the 8259 pair this input is the cascade. */
export const timerPin = 2;
const isaInterrupts = 16;

/**
 * The wires between devices and interrupt controllers. Global system interrupts 0 to 15 are ISA's: they reach the 8259 pair and
 * the IOAPIC alike. 16 to 23 are PCI's PIRQ A to H and reach the IOAPIC alone; PCI's router leads them to inputs of the pair too.
 * Every wire is active high at the controllers and OR-ed from its sources.
 */
export class InterruptWiring {
  readonly #interrupts: readonly SharedLine[];
  readonly #pairInputs: readonly SharedLine[];

  constructor(pic: Pic, ioapic: Ioapic) {
    this.#pairInputs = Array.from({ length: isaInterrupts }, (_, irq) => new SharedLine(pic.line(irq)));
    this.#interrupts = Array.from({ length: ioapicPins }, (_, n) => {
      if (n === timerPin) return new SharedLine({ set() {} });
      const pin = ioapic.pins[n === timerInterrupt ? timerPin : n]!;
      const input = this.#pairInputs[n]?.source();
      return new SharedLine(input === undefined ? pin : new LineFanout(input, pin));
    });
  }

  /** A new source on global system interrupt `interrupt`, 0 to 23 but 2. Throws RangeError for others. */
  line(interrupt: number): InterruptLine {
    const wire = this.#interrupts[interrupt];
    if (wire === undefined || interrupt === timerPin) {
      throw new RangeError(`interrupt ${interrupt} cannot be wired: 0 to ${ioapicPins - 1} but ${timerPin}`);
    }
    return wire.source();
  }

  /** A new source on input `irq` of the 8259 pair, 0 to 15 but 2, which the IOAPIC does not see. Throws RangeError for others. */
  pairInput(irq: number): InterruptLine {
    const wire = this.#pairInputs[irq];
    if (wire === undefined || irq === timerPin) {
      throw new RangeError(
        `input ${irq} of the 8259 pair cannot be wired: 0 to ${isaInterrupts - 1} but ${timerPin}`,
      );
    }
    return wire.source();
  }
}

import type { Inspection } from "./device.ts";
import { ocw2Commands, picRegisters } from "./pic-registers.ts";
import type { SavedFields } from "./saved-state.ts";

/** Which word a write to A0 = 1 is taken for; "ready" = OCW1. */
const steps = ["ready", "icw2", "icw3", "icw4"] as const;
type Step = (typeof steps)[number];

export interface I8259State {
  readonly inputs: number;
  readonly edges: number;
  readonly inService: number;
  readonly mask: number;
  readonly elcr: number;
  readonly lowest: number;
  readonly step: Step;
  readonly icw1: number;
  readonly icw2: number;
  readonly icw3: number;
  readonly icw4: number;
  readonly readsInService: boolean;
  readonly poll: boolean;
  readonly specialMask: boolean;
  readonly rotateOnAutoEoi: boolean;
}

/** ICW4 bits that change what the chip does here. */
const autoEoi = 0x02;
const specialFullyNested = 0x10;

/**
 * One 8259A. Its INT output is `requested() >= 0`; the pair in `pic.ts` asks for it after every operation, so the chip
 * itself knows no wires.
 */
export class I8259 {
  /** The input that a slave drives, -1 on the slave itself. */
  readonly #cascade: number;
  readonly #elcrWritable: number;

  /** Levels of the inputs. */
  #inputs = 0;
  /** Edge sense latches: inputs that rose and were not acknowledged since. */
  #edges = 0;
  #inService = 0;
  #mask = 0;
  #elcr = 0;
  /** The input with the lowest priority; the next one, cyclically, has the highest. */
  #lowest = 7;
  #step: Step = "ready";
  #icw1 = 0;
  #icw2 = 0;
  #icw3 = 0;
  #icw4 = 0;
  #readsInService = false;
  #poll = false;
  #specialMask = false;
  #rotateOnAutoEoi = false;

  constructor(cascade: number, elcrWritable: number) {
    this.#cascade = cascade;
    this.#elcrWritable = elcrWritable;
  }

  setInput(input: number, level: boolean): void {
    const bit = 1 << input;
    if (level) {
      if ((this.#inputs & bit) === 0) this.#edges |= bit;
      this.#inputs |= bit;
    } else {
      // The request is the AND of latch and input: an input that falls before it is acknowledged withdraws it.
      this.#inputs &= ~bit;
      this.#edges &= ~bit;
    }
  }

  /** IRR. An edge request must be held until it is acknowledged ("Edge and level triggered modes"). */
  #requests(): number {
    return this.#inputs & (this.#edges | this.#elcr);
  }

  /** The input that INT stands for, -1 if INT is low. */
  requested(): number {
    const requests = this.#requests() & ~this.#mask;
    if (requests === 0) return -1;
    const best = this.#highest(requests);
    // "Special mask mode": a masked input that is in service stops no other.
    const service = this.#specialMask ? this.#inService & ~this.#mask : this.#inService;
    if (service === 0) return best;
    const current = this.#highest(service);
    if (best === current) {
      // "Special fully nested mode": a slave in service may still bring a request of a higher priority of its own.
      return best === this.#cascade && (this.#icw4 & specialFullyNested) !== 0 ? best : -1;
    }
    return this.#rank(best) < this.#rank(current) ? best : -1;
  }

  /** The interrupt acknowledge cycle for `input`, as `requested` gave it; -1 is a spurious one. Returns the vector. */
  acknowledge(input: number): number {
    // No request left: "IR7 default", without an in-service bit.
    if (input < 0) return this.#icw2 | 7;
    this.#edges &= ~(1 << input);
    if ((this.#icw4 & autoEoi) === 0) this.#inService |= 1 << input;
    else if (this.#rotateOnAutoEoi) this.#lowest = input;
    return this.#icw2 | input;
  }

  /** A read; `a0` is the address line. After a poll command it is an acknowledge. */
  read(a0: number): number {
    if (this.#poll) {
      // "Poll command": the next read is the acknowledge, whichever register it addresses.
      this.#poll = false;
      const input = this.requested();
      if (input < 0) return 0;
      this.acknowledge(input);
      return 0x80 | input;
    }
    if (a0 === 1) return this.#mask;
    return this.#readsInService ? this.#inService : this.#requests();
  }

  /** Will the next read be an acknowledge? The pair needs to know, since INT pulses then. */
  get polls(): boolean {
    return this.#poll;
  }

  write(a0: number, value: number): void {
    if (a0 === 1) this.#writeData(value);
    else if ((value & 0x10) !== 0) this.#writeIcw1(value);
    else if ((value & 0x08) !== 0) this.#writeOcw3(value);
    else this.#writeOcw2(value);
  }

  get elcr(): number {
    return this.#elcr;
  }

  set elcr(value: number) {
    this.#elcr = value & this.#elcrWritable;
  }

  #writeIcw1(value: number): void {
    this.#icw1 = value & picRegisters.icw1.writable;
    this.#edges = 0;
    this.#inService = 0;
    this.#mask = 0;
    this.#lowest = 7;
    this.#specialMask = false;
    this.#readsInService = false;
    this.#poll = false;
    this.#rotateOnAutoEoi = false;
    this.#icw4 = 0;
    this.#step = "icw2";
  }

  #writeData(value: number): void {
    const single = (this.#icw1 & 0x02) !== 0;
    const wantsIcw4 = (this.#icw1 & 0x01) !== 0;
    switch (this.#step) {
      case "ready":
        this.#mask = value;
        break;
      case "icw2":
        this.#icw2 = value & picRegisters.icw2.writable;
        this.#step = single ? (wantsIcw4 ? "icw4" : "ready") : "icw3";
        break;
      case "icw3":
        this.#icw3 = value;
        this.#step = wantsIcw4 ? "icw4" : "ready";
        break;
      case "icw4":
        this.#icw4 = value & picRegisters.icw4.writable;
        this.#step = "ready";
        break;
      default:
        this.#step satisfies never;
    }
  }

  #writeOcw2(value: number): void {
    const command = ocw2Commands[value >> 5]!;
    const level = value & 7;
    let ended = -1;
    if (command.end === "specific") ended = level;
    else if (command.end === "highest") {
      // "a masked IS bit is not cleared by a non-specific EOI in special mask mode"
      const service = this.#specialMask ? this.#inService & ~this.#mask : this.#inService;
      if (service !== 0) ended = this.#highest(service);
    }
    if (ended >= 0) this.#inService &= ~(1 << ended);
    if (command.lowest === "specific") this.#lowest = level;
    else if (command.lowest === "ended" && ended >= 0) this.#lowest = ended;
    if (command.rotateOnAutoEoi !== undefined) this.#rotateOnAutoEoi = command.rotateOnAutoEoi;
  }

  #writeOcw3(value: number): void {
    if ((value & 0x40) !== 0) this.#specialMask = (value & 0x20) !== 0;
    if ((value & 0x02) !== 0) this.#readsInService = (value & 0x01) !== 0;
    if ((value & 0x04) !== 0) this.#poll = true;
  }

  /** Distance from the highest priority, 0 to 7. */
  #rank(input: number): number {
    return (input - this.#lowest - 1) & 7;
  }

  /** The input of highest priority among `bits`, which must not be 0. */
  #highest(bits: number): number {
    const first = (this.#lowest + 1) & 7;
    const rotated = ((bits >> first) | (bits << (8 - first))) & 0xff;
    return (31 - Math.clz32(rotated & -rotated) + first) & 7;
  }

  reset(): void {
    this.#writeIcw1(0);
    // The wires keep their level, and after power-on no words are expected.
    this.#step = "ready";
    this.#icw2 = picRegisters.icw2.reset;
    this.#icw3 = picRegisters.icw3.reset;
    this.#mask = picRegisters.imr.reset;
    this.#elcr = 0;
  }

  save(): I8259State {
    return {
      inputs: this.#inputs,
      edges: this.#edges,
      inService: this.#inService,
      mask: this.#mask,
      elcr: this.#elcr,
      lowest: this.#lowest,
      step: this.#step,
      icw1: this.#icw1,
      icw2: this.#icw2,
      icw3: this.#icw3,
      icw4: this.#icw4,
      readsInService: this.#readsInService,
      poll: this.#poll,
      specialMask: this.#specialMask,
      rotateOnAutoEoi: this.#rotateOnAutoEoi,
    };
  }

  /** Checks a saved chip; the returned function puts it in place. */
  prepare(fields: SavedFields): () => void {
    const state: I8259State = {
      inputs: fields.byte("inputs"),
      edges: fields.byte("edges"),
      inService: fields.byte("inService"),
      mask: fields.byte("mask"),
      elcr: fields.byte("elcr"),
      lowest: fields.integer("lowest", 0, 7),
      step: fields.choice("step", steps),
      icw1: fields.integer("icw1", 0, picRegisters.icw1.writable),
      icw2: fields.byte("icw2"),
      icw3: fields.byte("icw3"),
      icw4: fields.integer("icw4", 0, picRegisters.icw4.writable),
      readsInService: fields.boolean("readsInService"),
      poll: fields.boolean("poll"),
      specialMask: fields.boolean("specialMask"),
      rotateOnAutoEoi: fields.boolean("rotateOnAutoEoi"),
    };
    fields.require((state.edges & ~state.inputs) === 0, "only a high input holds an edge");
    fields.require((state.elcr & ~this.#elcrWritable) === 0, "elcr has inputs that are always edges");
    fields.require((state.icw2 & 7) === 0, "icw2 is a multiple of 8");
    fields.end();
    return () => {
      this.#inputs = state.inputs;
      this.#edges = state.edges;
      this.#inService = state.inService;
      this.#mask = state.mask;
      this.#elcr = state.elcr;
      this.#lowest = state.lowest;
      this.#step = state.step;
      this.#icw1 = state.icw1;
      this.#icw2 = state.icw2;
      this.#icw3 = state.icw3;
      this.#icw4 = state.icw4;
      this.#readsInService = state.readsInService;
      this.#poll = state.poll;
      this.#specialMask = state.specialMask;
      this.#rotateOnAutoEoi = state.rotateOnAutoEoi;
    };
  }

  inspect(): Inspection {
    return {
      irr: this.#requests(),
      isr: this.#inService,
      imr: this.#mask,
      elcr: this.#elcr,
      inputs: this.#inputs,
      base: this.#icw2,
      lowest: this.#lowest,
      expects: this.#step,
      autoEoi: (this.#icw4 & autoEoi) !== 0,
      specialFullyNested: (this.#icw4 & specialFullyNested) !== 0,
      specialMask: this.#specialMask,
    };
  }
}

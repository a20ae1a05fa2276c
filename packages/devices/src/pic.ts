import { BytePorts } from "./byte-ports.ts";
import type { Device, Inspection, InterruptLine } from "./device.ts";
import { I8259, type I8259State } from "./i8259.ts";
import { picRegisters } from "./pic-registers.ts";
import { SavedFields } from "./saved-state.ts";

/** Ports of the pair and of its edge/level control registers. */
export const picPorts = { master: 0x20, slave: 0xa0, elcr: 0x4d0 } as const;

const cascade = 2;

export interface PicOptions {
  readonly name: string;
  /** INTR: high while `interruptReady()`. Drops for a moment at each acknowledge, as the chip's INT does. */
  readonly output: InterruptLine;
}

export interface PicState {
  readonly version: 1;
  readonly master: I8259State;
  readonly slave: I8259State;
  /** Acknowledges that found no request. */
  readonly spurious: number;
}

/** The PC's interrupt controller: two cascaded 8259As for ISA interrupts 0 to 15, and the ELCR that makes inputs level triggered. */
export class Pic extends BytePorts implements Device<PicState> {
  readonly name: string;
  readonly #output: InterruptLine;
  readonly #master = new I8259(cascade, picRegisters.elcr1.writable);
  readonly #slave = new I8259(-1, picRegisters.elcr2.writable);
  readonly #lines: readonly InterruptLine[];
  #ready = false;
  #spurious = 0;

  constructor(options: PicOptions) {
    super();
    this.name = options.name;
    this.#output = options.output;
    this.#lines = Array.from({ length: 16 }, (_, irq) => ({
      set: (level: boolean) => this.#setInput(irq, level),
    }));
  }

  /** The input of ISA interrupt `irq`, 0 to 15. Input 2 is the cascade: what is driven there goes nowhere. */
  line(irq: number): InterruptLine {
    const line = this.#lines[irq];
    if (line === undefined) throw new RangeError(`${this.name}: there is no IRQ ${irq}, only 0 to 15`);
    return line;
  }

  /** INTR. */
  interruptReady(): boolean {
    return this.#ready;
  }

  /** INTA: the vector, 0 to 255. Without a request it is the spurious one of input 7 or 15. */
  acknowledge(): number {
    const input = this.#master.requested();
    let vector = this.#master.acknowledge(input);
    if (input === cascade) {
      const slaveInput = this.#slave.requested();
      // The request was withdrawn meanwhile: 15, and the master keeps its in-service bit for input 2 (8259A, "IR7 default").
      if (slaveInput < 0) this.#spurious++;
      vector = this.#acknowledgeSlave(slaveInput);
    } else if (input < 0) this.#spurious++;
    this.#pulse();
    return vector;
  }

  protected override readByte(port: number): number {
    if (port === picPorts.elcr) return this.#master.elcr;
    if (port === picPorts.elcr + 1) return this.#slave.elcr;
    const master = (port & ~1) === picPorts.master;
    if (!master && (port & ~1) !== picPorts.slave) return 0xff;
    const chip = master ? this.#master : this.#slave;
    if (!chip.polls) return chip.read(port & 1);
    if (!master) this.#master.setInput(cascade, false);
    const value = chip.read(port & 1);
    this.#pulse();
    return value;
  }

  protected override writeByte(port: number, value: number): void {
    if (port === picPorts.elcr) this.#master.elcr = value;
    else if (port === picPorts.elcr + 1) this.#slave.elcr = value;
    else if ((port & ~1) === picPorts.master) this.#master.write(port & 1, value);
    else if ((port & ~1) === picPorts.slave) this.#slave.write(port & 1, value);
    this.#update();
  }

  #setInput(irq: number, level: boolean): void {
    if (irq === cascade) return;
    if (irq < 8) this.#master.setInput(irq, level);
    else this.#slave.setInput(irq - 8, level);
    this.#update();
  }

  /** INT of the slave falls at its acknowledge, so a request that it still has is a new edge for the master. */
  #acknowledgeSlave(input: number): number {
    const vector = this.#slave.acknowledge(input);
    this.#master.setInput(cascade, false);
    return vector;
  }

  #update(): void {
    this.#master.setInput(cascade, this.#slave.requested() >= 0);
    const ready = this.#master.requested() >= 0;
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.#output.set(ready);
  }

  #pulse(): void {
    if (this.#ready) {
      this.#ready = false;
      this.#output.set(false);
    }
    this.#update();
  }

  reset(): void {
    this.#master.reset();
    this.#slave.reset();
    this.#spurious = 0;
    this.#update();
  }

  save(): PicState {
    return { version: 1, master: this.#master.save(), slave: this.#slave.save(), spurious: this.#spurious };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const master = this.#master.prepare(fields.nested("master"));
    const slave = this.#slave.prepare(fields.nested("slave"));
    const spurious = fields.integer("spurious", 0, Number.MAX_SAFE_INTEGER);
    fields.end();
    master();
    slave();
    this.#spurious = spurious;
    this.#update();
    this.#output.set(this.#ready);
  }

  inspect(): Inspection {
    return {
      interrupt: this.#ready,
      spurious: this.#spurious,
      master: this.#master.inspect(),
      slave: this.#slave.inspect(),
    };
  }
}

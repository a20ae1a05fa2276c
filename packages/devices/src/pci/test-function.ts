import type { Inspection, Timebase, Timer } from "../device.ts";
import { type SavedFields, saveDeadline } from "../saved-state.ts";
import { powerCapability, vendorCapability } from "./capabilities.ts";
import { endpointExpress } from "./express.ts";
import { PciFunction } from "./function.ts";
import { MemoryRegion } from "./memory-region.ts";
import { MsiCapability, MsixCapability } from "./messages.ts";
import { testFunctionRegisters } from "./test-function-registers.ts";

export interface TestFunctionOptions {
  readonly timebase: Timebase;
  /** On bus 0, where an endpoint is part of the root complex and has no link. */
  readonly integrated?: boolean;
}

/** Who it is; no driver binds to it by itself. */
export const testFunctionIdentity = {
  vendor: 0x1b36,
  device: 0x00e2,
  classCode: 0xff0000,
  revision: 1,
} as const;

const registers = testFunctionRegisters;
type RegisterName = keyof typeof registers;
/** Offsets by name, as numbers. */
const offsets = Object.fromEntries(
  Object.entries(registers).map(([name, { at }]) => [name, Number(at)]),
) as Record<RegisterName, number>;
const registerPorts = 128;
const memorySize = 0x4000;
const leastInterval = 1000;
const longestCopy = 0x1_0000;
const outcomes = { none: 0, done: 1, refused: 2, badLength: 3 } as const;

/** Registers that keep what is written, by dword index. */
const kept = [
  "scratch",
  "control",
  "vector",
  "interval",
  "source",
  "sourceHigh",
  "target",
  "targetHigh",
  "length",
] as const;
const keptAt: readonly number[] = kept.map((name) => offsets[name]);

/**
 * A function for tests of guests: it raises as many interrupts as it is asked to, by INTx, MSI or MSI-X, counts them and their
 * acknowledgements, copies guest memory, and has a BAR of each kind.
 */
export class TestFunction extends PciFunction {
  readonly #timer: Timer;
  readonly #time: Timebase;
  readonly #memory: MemoryRegion;
  /** Values of `kept`, in its order. */
  readonly #kept = new Uint32Array(kept.length);
  readonly #buffer = new Uint8Array(longestCopy);
  #remaining = 0;
  #raised = 0;
  #acknowledged = 0;
  #excess = 0;
  /** Raised and not acknowledged. */
  #waiting = 0;
  /** INTx is asserted. */
  #level = false;
  /** The next one was due while the one before was held. */
  #held = false;
  #outcome: number = outcomes.none;

  constructor(options: TestFunctionOptions) {
    const memory = new MemoryRegion(memorySize);
    super({
      name: "test function",
      ...testFunctionIdentity,
      interruptPin: 1,
      bars: [
        { index: 0, kind: "memory32", size: 0x1000 },
        { index: 2, kind: "memory64", size: memorySize, prefetchable: true, device: memory },
        { index: 4, kind: "io", size: registerPorts },
      ],
      capabilities: [
        endpointExpress(options.integrated ?? false),
        powerCapability(true),
        new MsiCapability(8),
        new MsixCapability({ vectors: 16, bar: 0, table: 0x800, pending: 0xc00 }),
        vendorCapability(new TextEncoder().encode("test!")),
      ],
    });
    this.#memory = memory;
    this.#time = options.timebase;
    this.#timer = options.timebase.timer(this.name, () => this.#due());
    this.resetDevice();
  }

  protected override readBar(_index: number, offset: number, width: 1 | 2 | 4): number {
    if ((offset & 3) + width > 4) return 0;
    const value = this.#readRegister(offset & ~3) >>> (8 * (offset & 3));
    return width === 4 ? value : value & (width === 1 ? 0xff : 0xffff);
  }

  protected override writeBar(_index: number, offset: number, width: 1 | 2 | 4, value: number): void {
    if (width !== 4 || (offset & 3) !== 0) return;
    const index = keptAt.indexOf(offset);
    if (index >= 0) this.#kept[index] = value & registers[kept[index]!].writable;
    else if (offset === offsets.trigger) this.#trigger(value);
    else if (offset === offsets.acknowledge) this.#acknowledge();
    else if (offset === offsets.command) this.#outcome = this.#copy();
  }

  protected override resetDevice(): void {
    kept.forEach((name, index) => {
      this.#kept[index] = registers[name].reset;
    });
    this.#memory.bytes.fill(0);
    this.#remaining = 0;
    this.#raised = 0;
    this.#acknowledged = 0;
    this.#excess = 0;
    this.#waiting = 0;
    this.#level = false;
    this.#held = false;
    this.#outcome = outcomes.none;
    this.#timer.disarm();
  }

  protected override saveDevice(): Readonly<Record<string, unknown>> {
    return {
      kept: [...this.#kept],
      // Without the zeros at its end.
      memory: this.#memory.bytes.slice(0, this.#memory.bytes.findLastIndex((byte) => byte !== 0) + 1),
      remaining: this.#remaining,
      raised: this.#raised,
      acknowledged: this.#acknowledged,
      excess: this.#excess,
      waiting: this.#waiting,
      level: this.#level,
      held: this.#held,
      outcome: this.#outcome,
      deadline: saveDeadline(this.#timer.deadline),
    };
  }

  protected override prepareDevice(fields: SavedFields): () => void {
    const values = fields.integers("kept", kept.length, 0xffff_ffff);
    const memory = fields.bytes("memory", memorySize, 0);
    const remaining = fields.dword("remaining");
    const raised = fields.dword("raised");
    const acknowledged = fields.dword("acknowledged");
    const excess = fields.dword("excess");
    const waiting = fields.dword("waiting");
    const level = fields.boolean("level");
    const held = fields.boolean("held");
    const outcome = fields.integer("outcome", 0, outcomes.badLength);
    const deadline = fields.deadline("deadline");
    const fits = values.every((value, index) => (value & ~registers[kept[index]!].writable) === 0);
    fields.require(fits, "a register holds bits that it does not keep");
    return () => {
      this.#kept.set(values);
      this.#memory.bytes.fill(0).set(memory);
      this.#remaining = remaining;
      this.#raised = raised;
      this.#acknowledged = acknowledged;
      this.#excess = excess;
      this.#waiting = waiting;
      this.#level = level;
      this.#held = held;
      this.#outcome = outcome;
      this.#timer.arm(deadline);
    };
  }

  override detach(): void {
    super.detach();
    this.#timer.disarm();
  }

  protected override inspectDevice(): Inspection {
    return {
      registers: Object.fromEntries(
        Object.values(registers)
          .filter(({ access }) => access !== "wo")
          .map(({ name, at }) => [name, this.#readRegister(Number(at))]),
      ),
    };
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case offsets.id:
        return registers.id.reset;
      case offsets.trigger:
        return this.#remaining;
      case offsets.raised:
        return this.#raised;
      case offsets.acknowledged:
        return this.#acknowledged;
      case offsets.excess:
        return this.#excess;
      case offsets.status:
        return (this.#waiting > 0 ? 1 : 0) | (this.#level ? 2 : 0);
      case offsets.outcome:
        return this.#outcome;
      default: {
        const index = keptAt.indexOf(offset);
        return index < 0 ? 0 : this.#kept[index]!;
      }
    }
  }

  #keptValue(name: (typeof kept)[number]): number {
    return this.#kept[kept.indexOf(name)]!;
  }

  get #interval(): number {
    return Math.max(this.#keptValue("interval"), leastInterval);
  }

  #trigger(count: number): void {
    this.#remaining = count;
    this.#held = false;
    if (count === 0) this.#timer.disarm();
    else this.#timer.arm(this.#time.now() + this.#interval);
  }

  /** The next interrupt of the series. A level that is still up cannot be raised again: it waits, and so do messages that hold. */
  #due(): void {
    if (this.#remaining === 0) return;
    const holds = this.#level || (this.#keptValue("control") & 1) !== 0;
    if (holds && this.#waiting > 0) {
      this.#held = true;
      return;
    }
    this.#raise();
    if (this.#remaining > 0) this.#timer.arm(this.#time.now() + this.#interval);
  }

  #raise(): void {
    this.#remaining--;
    this.#raised = (this.#raised + 1) >>> 0;
    this.#waiting = (this.#waiting + 1) >>> 0;
    if (this.raiseInterrupt(this.#keptValue("vector"))) return;
    this.#level = true;
    this.setIntx(true);
  }

  #acknowledge(): void {
    if (this.#waiting === 0) this.#excess = (this.#excess + 1) >>> 0;
    else {
      this.#waiting--;
      this.#acknowledged = (this.#acknowledged + 1) >>> 0;
    }
    if (this.#level) {
      this.#level = false;
      this.setIntx(false);
    }
    if (!this.#held || this.#waiting > 0) return;
    this.#held = false;
    this.#timer.arm(this.#time.now() + this.#interval);
  }

  #copy(): number {
    const length = this.#keptValue("length");
    if (length === 0 || length > longestCopy) return outcomes.badLength;
    const bytes = this.#buffer.subarray(0, length);
    const source = this.#keptValue("sourceHigh") * 2 ** 32 + this.#keptValue("source");
    const target = this.#keptValue("targetHigh") * 2 ** 32 + this.#keptValue("target");
    return this.dmaRead(source, bytes) && this.dmaWrite(target, bytes) ? outcomes.done : outcomes.refused;
  }
}

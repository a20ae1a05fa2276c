import { apicAccess, apicLvtEntries, apicRegisters } from "./apic-registers.ts";
import { deliveryMode } from "./delivery-mode.ts";

/** What an entry of the table does when its source fires; all of it only notes. */
export interface LocalInterruptEffects {
  /** A fixed interrupt; false when it was not taken. */
  accept(vector: number, level: boolean): boolean;
  nmi(): void;
  init(): void;
  smi(): void;
}

const masked = 1 << 16;
const levelTriggered = 1 << 15;
const remoteIrr = 1 << 14;
const activeLow = 1 << 13;

const first = apicRegisters.timer.index;
const { writable } = apicAccess;

/** Entries by their place in the table. */
export const lvtEntry = {
  timer: 0,
  lint0: apicRegisters.lint0.index - first,
  lint1: apicRegisters.lint1.index - first,
  error: apicRegisters.error.index - first,
} as const;
const { lint0, lint1 } = lvtEntry;

/**
 * The local vector table and the two pins that it gives a meaning to (Intel SDM 3A, "Local Vector Table"). Entries are counted
 * from 0, the timer.
 */
export class LocalVectorTable {
  readonly entries = new Uint32Array(apicLvtEntries.length);
  /** Levels of the pins LINT0 and LINT1. */
  readonly pins = [false, false];
  readonly #effects: LocalInterruptEffects;

  constructor(effects: LocalInterruptEffects) {
    this.#effects = effects;
    this.reset();
  }

  /** All entries masked. The levels of the pins stay: they belong to who drives them. */
  reset(): void {
    for (let entry = 0; entry < this.entries.length; entry++) {
      this.entries[entry] = apicAccess.reset[first + entry]!;
    }
  }

  /** `unmaskable`: software disable keeps every mask bit set. */
  write(entry: number, value: number, unmaskable: boolean): void {
    const kept = value & writable[first + entry]!;
    // Remote IRR belongs to the hardware and has no meaning for an edge.
    const remote = (kept & levelTriggered) !== 0 ? this.entries[entry]! & remoteIrr : 0;
    this.entries[entry] = kept | remote | (unmaskable ? 0 : masked);
    if (entry === lint0) this.#serve(lint0, false);
  }

  /** Software disable (SDM, "Local APIC State After It Has Been Software Disabled"). */
  maskAll(): void {
    for (let entry = 0; entry < this.entries.length; entry++) this.entries[entry]! |= masked;
  }

  /** Bits 18:17 of the timer's entry. */
  get timerMode(): number {
    return (this.entries[lvtEntry.timer]! >>> 17) & 3;
  }

  /** The timer or the error register fires: entries without delivery mode, always fixed. */
  fire(entry: number): void {
    const value = this.entries[entry]!;
    if ((value & masked) === 0) this.#effects.accept(value & 0xff, false);
  }

  /** Is the entry of pin 0 or 1 masked? */
  isMasked(pin: number): boolean {
    return (this.entries[lint0 + pin]! & masked) !== 0;
  }

  /** Pin 0 or 1 has changed to `level`. */
  setPin(pin: number, level: boolean): void {
    this.pins[pin] = level;
    this.#serve(pin === 0 ? lint0 : lint1, true);
  }

  /** Does a pin ask for an interrupt whose vector the 8259 pair has? ExtINT is always a level (SDM, "Trigger Mode"). */
  get passesExternal(): boolean {
    return this.#passesExternal(lint0) || this.#passesExternal(lint1);
  }

  /** A level-triggered interrupt with `vector` was finished. */
  endOfInterrupt(vector: number): void {
    const value = this.entries[lint0]!;
    if ((value & remoteIrr) === 0 || (value & 0xff) !== vector) return;
    this.entries[lint0] = value & ~remoteIrr;
    this.#serve(lint0, false);
  }

  #passesExternal(entry: number): boolean {
    const value = this.entries[entry]!;
    return (value & (masked | 0x700)) === deliveryMode.external << 8 && this.#isActive(entry, value);
  }

  #isActive(entry: number, value: number): boolean {
    return this.pins[entry - lint0]! !== ((value & activeLow) !== 0);
  }

  /** A pin (`moved`) or its entry has changed. */
  #serve(entry: number, moved: boolean): void {
    const value = this.entries[entry]!;
    if ((value & masked) !== 0 || !this.#isActive(entry, value)) return;
    switch ((value >>> 8) & 7) {
      case deliveryMode.fixed:
        // LINT1 is edge-triggered whatever its bit 15 says.
        if (entry === lint0 && (value & levelTriggered) !== 0) {
          if ((value & remoteIrr) === 0 && this.#effects.accept(value & 0xff, true)) {
            this.entries[entry] = value | remoteIrr;
          }
        } else if (moved) this.#effects.accept(value & 0xff, false);
        break;
      case deliveryMode.nmi:
        if (moved) this.#effects.nmi();
        break;
      case deliveryMode.init:
        if (moved) this.#effects.init();
        break;
      case deliveryMode.smi:
        if (moved) this.#effects.smi();
        break;
      default: // ExtINT is `passesExternal`; the rest is reserved.
    }
  }
}

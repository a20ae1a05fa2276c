import type { Msr64 } from "@entresol/hypervisor";

const bootstrap = 1 << 8;
const extended = 1 << 10;
const enable = 1 << 11;
const resetAddress = 0xfee0_0000;

/** What a write to IA32_APIC_BASE did; "refused" is #GP and nothing has changed. */
export type BaseTransition = "refused" | "same" | "disabled" | "enabled" | "to-x2apic";

/**
 * IA32_APIC_BASE, MSR 0x1B: bit 8 bootstrap processor, 10 x2APIC (EXTD), 11 enable (EN), 12 and up the page's address.
 *
 * | from / to  | disabled | xAPIC | x2APIC | EXTD without EN |
 * |------------|----------|-------|--------|-----------------|
 * | disabled   | yes      | yes   | #GP    | #GP             |
 * | xAPIC      | yes      | yes   | yes    | #GP             |
 * | x2APIC     | yes      | #GP   | yes    | #GP             |
 *
 * (Intel SDM 3A, "x2APIC State Transitions".)
 */
export class ApicBase {
  readonly #lowDefined: number;
  readonly #highReserved: number;
  readonly #isBootstrap: boolean;
  #low = 0;
  #high = 0;

  constructor(isBootstrap: boolean, offersX2apic: boolean, physicalAddressBits: number) {
    this.#isBootstrap = isBootstrap;
    this.#lowDefined = 0xffff_f000 | bootstrap | enable | (offersX2apic ? extended : 0);
    // Physical addresses of fewer than 32 bits do not occur in 64-bit processors.
    this.#highReserved = ~(2 ** Math.max(physicalAddressBits - 32, 0) - 1) >>> 0;
  }

  /** Guest physical address of the register page. */
  get address(): number {
    return this.#high * 0x1_0000_0000 + ((this.#low & 0xffff_f000) >>> 0);
  }

  get enabled(): boolean {
    return (this.#low & enable) !== 0;
  }

  get isX2apic(): boolean {
    return (this.#low & extended) !== 0;
  }

  get isXapic(): boolean {
    return (this.#low & (enable | extended)) === enable;
  }

  get isBootstrap(): boolean {
    return (this.#low & bootstrap) !== 0;
  }

  reset(): void {
    this.#low = resetAddress + enable + (this.#isBootstrap ? bootstrap : 0);
    this.#high = 0;
  }

  read(out: Msr64): void {
    out.low = this.#low;
    out.high = this.#high;
  }

  write(low: number, high: number): BaseTransition {
    if (!this.holds(low, high)) return "refused";
    const enabled = (low & enable) !== 0;
    const x2apic = (low & extended) !== 0;
    if (x2apic && !this.enabled) return "refused";
    if (enabled && !x2apic && this.isX2apic) return "refused";
    const transition: BaseTransition =
      enabled !== this.enabled
        ? enabled
          ? "enabled"
          : "disabled"
        : x2apic && !this.isX2apic
          ? "to-x2apic"
          : "same";
    this.load(low, high);
    return transition;
  }

  /** Is it a value that the register can hold at all? */
  holds(low: number, high: number): boolean {
    if ((low & ~this.#lowDefined) !== 0 || (high & this.#highReserved) !== 0) return false;
    return (low & (enable | extended)) !== extended;
  }

  /** Takes a value that `holds` without asking where it comes from. */
  load(low: number, high: number): void {
    this.#low = low >>> 0;
    this.#high = high >>> 0;
  }
}

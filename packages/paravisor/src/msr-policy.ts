import type { Msr64 } from "@entresol/hypervisor";

/*
 * Model-specific registers that neither the processor nor the local APIC keeps: one closed table. What it does not name is
 * #GP, so that nobody relies by accident on a register that means nothing here.
 */

/** How a register answers writes. */
type WriteRule =
  /** #GP */
  | "refuse"
  /** accepted, no effect */
  | "ignore"
  /** kept, within `mask` (a bit outside gives #GP) */
  | "keep";

export interface MsrRule {
  readonly msr: number;
  /** How many consecutive registers the row covers; 1 when absent. */
  readonly count?: number;
  readonly name: string;
  readonly reset: bigint;
  readonly write: WriteRule;
  /** Bits that may be set, for "keep". */
  readonly mask?: bigint;
  readonly why: string;
}

const all = (1n << 64n) - 1n;
const writeBack = 0x0606060606060606n;
const physical = (1n << 40n) - 1n;

export const msrRules: readonly MsrRule[] = [
  { msr: 0x17, name: "PLATFORM_ID", reset: 0n, write: "refuse", why: "microcode drivers of kernels read it" },
  {
    msr: 0x8b,
    name: "PATCH_LEVEL",
    reset: 0x0a0011d1n,
    write: "ignore",
    why: "kernels compare it before they believe a CPU is not flawed",
  },
  {
    msr: 0xfe,
    name: "MTRRcap",
    reset: 0x508n,
    write: "refuse",
    why: "8 variable ranges, fixed ranges, write-combining",
  },
  {
    msr: 0x200,
    count: 16,
    name: "MTRRphysBase/Mask 0-7",
    reset: 0n,
    write: "keep",
    mask: physical,
    why: "memory types have no effect; kept for the guest",
  },
  {
    msr: 0x250,
    name: "MTRRfix64K",
    reset: writeBack,
    write: "keep",
    mask: all,
    why: "as above; write-back so that nothing looks broken",
  },
  { msr: 0x258, count: 2, name: "MTRRfix16K", reset: writeBack, write: "keep", mask: all, why: "as above" },
  { msr: 0x268, count: 8, name: "MTRRfix4K", reset: writeBack, write: "keep", mask: all, why: "as above" },
  {
    msr: 0x277,
    name: "PAT",
    reset: 0x0007040600070406n,
    write: "keep",
    mask: 0x0707070707070707n,
    why: "page attributes have no effect; kept for the guest",
  },
  {
    msr: 0x2ff,
    name: "MTRRdefType",
    reset: 0xc06n,
    write: "keep",
    mask: 0xcffn,
    why: "enabled, default write-back: Linux disables PAT when MTRRs are off",
  },
  {
    msr: 0xc0010000,
    count: 8,
    name: "PerfEvtSel, PerfCtr",
    reset: 0n,
    write: "keep",
    mask: 0n,
    why: "no counters: 0, which test kernels write at their start, is all that they hold; the guest's probe faults and finds no PMU",
  },
  {
    msr: 0xc0010010,
    name: "SYSCFG",
    reset: 0n,
    write: "keep",
    mask: 0x7c0000n,
    why: "read for memory encryption, which is off here",
  },
  {
    msr: 0xc0010015,
    name: "HWCR",
    reset: 0x1000000n,
    write: "keep",
    mask: 0x1ffffffffn,
    why: "TscFreqSel set: the TSC does not change with P-states",
  },
  {
    msr: 0xc001001a,
    name: "TOP_MEM",
    reset: 0xc0000000n,
    write: "refuse",
    why: "below it is RAM, above it the chipset",
  },
  { msr: 0xc001001d, name: "TOP_MEM2", reset: 0n, write: "refuse", why: "no RAM above 4 GiB" },
  {
    msr: 0xc001001f,
    name: "NB_CFG1",
    reset: 0n,
    write: "ignore",
    why: "kernels test for extended configuration space",
  },
  {
    msr: 0xc0010055,
    name: "INT_PENDING_MSG",
    reset: 0n,
    write: "ignore",
    why: "read by idle drivers of old kernels",
  },
  { msr: 0xc0010140, count: 2, name: "OSVW", reset: 0n, write: "refuse", why: "no known errata" },
  {
    msr: 0xc0011020,
    count: 4,
    name: "LS_CFG, IC_CFG, DC_CFG, BU_CFG",
    reset: 0n,
    write: "ignore",
    why: "touched by work-arounds for errata",
  },
  {
    msr: 0xc0011029,
    name: "DE_CFG",
    reset: 0x2n,
    write: "ignore",
    why: "LFENCE is serialising: Linux checks bit 1",
  },
  { msr: 0xc001102a, name: "BU_CFG2", reset: 0n, write: "ignore", why: "as above" },
];

/** The registers of one processor. */
export class MsrFile {
  readonly #rules = new Map<number, MsrRule>();
  readonly #values = new Map<number, bigint>();
  /** Accesses that got #GP, by register: what a guest wanted and did not get. Bounded. */
  readonly refusals = new Map<number, number>();

  constructor() {
    for (const rule of msrRules) {
      for (let i = 0; i < (rule.count ?? 1); i++) this.#rules.set(rule.msr + i, rule);
    }
    this.reset();
  }

  reset(): void {
    for (const [msr, rule] of this.#rules) this.#values.set(msr, rule.reset);
  }

  #refuse(msr: number): false {
    if (this.refusals.size < 256 || this.refusals.has(msr))
      this.refusals.set(msr, (this.refusals.get(msr) ?? 0) + 1);
    return false;
  }

  /** False: #GP(0). */
  read(msr: number, out: Msr64): boolean {
    const value = this.#values.get(msr >>> 0);
    if (value === undefined) return this.#refuse(msr >>> 0);
    out.low = Number(value & 0xffffffffn);
    out.high = Number(value >> 32n);
    return true;
  }

  /** False: #GP(0). */
  write(msr: number, low: number, high: number): boolean {
    const rule = this.#rules.get(msr >>> 0);
    if (rule === undefined) return this.#refuse(msr >>> 0);
    const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    switch (rule.write) {
      case "refuse":
        return this.#refuse(msr >>> 0);
      case "ignore":
        return true;
      case "keep":
        if (value & ~(rule.mask ?? all)) return this.#refuse(msr >>> 0);
        this.#values.set(msr >>> 0, value);
        return true;
      default:
        return rule.write satisfies never;
    }
  }

  /** Register number and value of everything that differs from its reset value, in order of number. */
  save(): [number, string][] {
    const changed: [number, string][] = [];
    for (const [msr, value] of this.#values) {
      if (value !== this.#rules.get(msr)!.reset) changed.push([msr, value.toString(16)]);
    }
    return changed.sort(([a], [b]) => a - b);
  }

  /** Puts `save`'s result back. False, and no change, when it is not a list of registers that can be kept with values they can have. */
  restore(changed: unknown): boolean {
    if (!Array.isArray(changed)) return false;
    const values = new Map<number, bigint>();
    for (const entry of changed as readonly unknown[]) {
      if (!Array.isArray(entry) || entry.length !== 2) return false;
      const [msr, text] = entry as readonly unknown[];
      if (typeof msr !== "number" || typeof text !== "string" || !/^[0-9a-f]{1,16}$/.test(text)) return false;
      const rule = this.#rules.get(msr);
      const value = BigInt(`0x${text}`);
      if (rule?.write !== "keep" || (value & ~(rule.mask ?? all)) !== 0n) return false;
      values.set(msr, value);
    }
    this.reset();
    for (const [msr, value] of values) this.#values.set(msr, value);
    return true;
  }
}

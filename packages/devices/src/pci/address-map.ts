import { type Bus, BusConflictError } from "../bus.ts";
import type { PciBar } from "./bar.ts";
import { PciBridge, type PciBus } from "./bridge.ts";
import type { PciFunction } from "./function.ts";

/** One BAR's wish, and what became of it. */
interface Claim {
  readonly bar: PciBar;
  readonly fn: PciFunction;
  /** The bus that the function is on. */
  readonly on: PciBus;
  /** Owner's name on the bus. */
  readonly name: string;
  /** Where it wants to answer; -1 nowhere. */
  wanted: number;
  wins: boolean;
  /** Where it is registered; -1 nowhere. */
  held: number;
}

/**
 * Puts BARs on the bus where the guest has set them. Who answers follows from the registers alone, not from the order in which they
 * were written: of two BARs that overlap the one that comes first by place, and never one that overlaps a range of other devices.
 * The others do not answer until they are moved. RAM is not on the bus and hides what a guest puts over it.
 */
export class AddressMap {
  readonly #bus: Bus;
  #claims: Claim[] = [];

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** The functions on `root` and behind, after some came or went. */
  populate(root: PciBus): void {
    const kept = new Map(this.#claims.map((claim) => [claim.name, claim]));
    const claims: Claim[] = [];
    const walk = (bus: PciBus): void => {
      for (const { fn } of bus) {
        for (const bar of fn.bars) {
          const name = `pci ${fn.path} bar ${bar.index}`;
          const before = kept.get(name);
          if (before?.bar === bar) {
            kept.delete(name);
            claims.push(before);
          } else claims.push({ bar, fn, on: bus, name, wanted: -1, wins: false, held: -1 });
        }
        if (fn instanceof PciBridge) walk(fn.secondary);
      }
    };
    walk(root);
    for (const { name, held } of kept.values()) if (held >= 0) this.#bus.unregister(name);
    this.#claims = claims;
    this.update();
  }

  /** Moves ranges to where the registers say. */
  update(): void {
    const claims = this.#claims;
    for (let i = 0; i < claims.length; i++) {
      const claim = claims[i]!;
      claim.wanted = wantedBy(claim);
      claim.wins = claim.wanted >= 0;
      for (let j = 0; claim.wins && j < i; j++)
        if (claims[j]!.wins && overlap(claims[j]!, claim)) claim.wins = false;
    }
    // What moves away makes room first.
    for (const claim of claims) {
      if (claim.held < 0 || (claim.wins && claim.held === claim.wanted)) continue;
      this.#bus.unregister(claim.name);
      claim.held = -1;
    }
    this.#register(claims.filter(({ bar }) => bar.isPorts));
    this.#register(claims.filter(({ bar }) => !bar.isPorts));
  }

  /** By BAR, where it answers, or why it does not. */
  inspect(): Record<string, string> {
    const rows: Record<string, string> = {};
    for (const { name, bar, wanted, held } of this.#claims) {
      const at = `0x${wanted.toString(16)} + 0x${bar.size.toString(16)}`;
      if (wanted < 0) rows[name] = "off";
      else rows[name] = held >= 0 ? at : `${at}: does not answer, another owner has it or the bus is full`;
    }
    return rows;
  }

  /** Claims of one space. A hostile guest moves BARs over the interrupt controllers, over ECAM, or has more than the bus has room for. */
  #register(claims: readonly Claim[]): void {
    for (const claim of claims) {
      if (!claim.wins || claim.held >= 0) continue;
      const { bar, name, wanted } = claim;
      try {
        if (bar.isPorts) this.#bus.registerPorts(name, wanted, bar.size, bar.ports(wanted));
        else this.#bus.registerMmio(name, wanted, bar.size, bar.mmio());
        claim.held = wanted;
      } catch (error) {
        if (!(error instanceof BusConflictError)) throw error;
        if (error.code === "full") return;
      }
    }
  }
}

function wantedBy({ fn, bar, on }: Claim): number {
  const first = fn.decoded(bar);
  if (first < 0) return -1;
  for (let bus: PciBus | undefined = on; bus?.bridge !== undefined; bus = bus.bridge.primary)
    if (!bus.bridge.forwards(bar, first)) return -1;
  return first;
}

function overlap(a: Claim, b: Claim): boolean {
  if (a.bar.isPorts !== b.bar.isPorts) return false;
  return a.wanted < b.wanted + b.bar.size && b.wanted < a.wanted + a.bar.size;
}

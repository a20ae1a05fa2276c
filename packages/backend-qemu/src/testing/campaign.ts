import { type DeviceOracle, Lockstep, type Subject } from "./lockstep.ts";

/** Sequences between two steps. */
const sequencesPerStep = 200;

/** What checks/campaign.mjs prints and keeps. */
export interface CampaignStep {
  /** Operations compared so far. */
  readonly position: number;
  readonly mismatches: number;
  readonly messages: readonly string[];
}

/** A campaign as checks/campaign.mjs runs it: random operations on our device and QEMU's. */
export interface Campaign {
  readonly description: string;
  readonly defaultCount: number;
  run(options: {
    readonly seed: number;
    readonly count: number;
    readonly position: number;
  }): AsyncGenerator<CampaignStep>;
}

export function oracleCampaign<S extends Subject>(oracle: DeviceOracle<S>): Campaign {
  return {
    description: `random register operations on our ${oracle.name} and on QEMU's`,
    defaultCount: 1_000_000,
    async *run({ seed, count, position: first }) {
      await using lockstep = await Lockstep.start(oracle);
      const met = new Map<string, number>();
      let position = first;
      while (position < count) {
        // A sequence compares at least one operation, so the position numbers sequences without repeating one.
        const sequences = Math.min(sequencesPerStep, Math.ceil((count - position) / oracle.length));
        const report = await lockstep.run(seed, position, sequences);
        position += report.compared;
        for (const [name, times] of report.explained) met.set(name, (met.get(name) ?? 0) + times);
        const messages = [...report.messages];
        if (position >= count)
          messages.push(
            `known differences met: ${[...met].map(([name, times]) => `${name} ${times}`).join(", ") || "none"}`,
          );
        yield { position: Math.min(position, count), mismatches: report.mismatches, messages };
      }
    },
  };
}

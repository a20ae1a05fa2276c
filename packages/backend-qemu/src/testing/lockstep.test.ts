import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { oracleCampaign } from "./campaign.ts";
import { type DeviceOracle, Lockstep } from "./lockstep.ts";
import { differenceLines, oracles } from "./oracles.ts";
import { SequenceRandom } from "./random.ts";

const QEMU = "qemu-system-x86_64";
const hasQemu = spawnSync(QEMU, ["--version"]).status === 0;
if (!hasQemu) console.warn(`skipped: devices beside QEMU's (${QEMU} is not installed)`);

/** Operations of each device; the campaigns do a million. Where time passes between any two, each costs a hundred times as much. */
const countOf = (name: string): number => (name === "uart-timeout" ? 2000 : 20_000);

const byName = oracles.map((oracle) => [oracle.name, oracle] as const);

describe.runIf(hasQemu)("our devices do what QEMU's do, but for the known differences", () => {
  it.concurrent.each(byName)("%s", { timeout: 180_000 }, async (name, oracle) => {
    const count = countOf(name);
    let compared = 0;
    for await (const { position, mismatches, messages } of oracleCampaign(oracle).run({
      seed: 1,
      count,
      position: 0,
    })) {
      compared = position;
      expect(mismatches, messages.join("\n")).toBe(0);
    }
    expect(compared).toBe(count);
  });

  it("finds a register that is wrong, and shrinks what shows it", async () => {
    const [uart] = oracles;
    const faulty: DeviceOracle = {
      ...uart!,
      create: () => {
        const subject = uart!.create();
        return {
          // The scratch register loses a bit.
          perform: (operation) => {
            const outcome = subject.perform(operation);
            const isScratch =
              operation.kind === "port read" && operation.port === 0x3ff && operation.width === 1;
            return isScratch ? { ...outcome, value: outcome.value & ~1 } : outcome;
          },
        };
      },
    };
    await using lockstep = await Lockstep.start(faulty);
    const report = await lockstep.run(1, 0, 40);
    expect(report.mismatches).toBeGreaterThan(20);
    expect(report.messages).toHaveLength(3);
    for (const message of report.messages)
      expect(message).toMatch(
        /^uart, seed 1, sequence \d+: out\d+ 0x3f[bcdef]=0x[0-9a-f]+; in8 0x3ff -> ours value/,
      );
  });
});

describe("random sequences", () => {
  it("are the same for the same seed and number, and no others", () => {
    const words = (seed: number, sequence: number): string => {
      const random = new SequenceRandom(seed, sequence);
      return Array.from({ length: 4 }, () => random.word()).join(" ");
    };
    expect(words(1, 2)).toBe(words(1, 2));
    expect(new Set([words(1, 2), words(1, 3), words(2, 2), words(2, 1)]).size).toBe(4);
  });
});

describe("the known differences", () => {
  it("have names of their own", () => {
    // The UART is compared twice, by the same rules and more.
    const differences = new Set(oracles.flatMap((oracle) => [...oracle.differences]));
    expect(new Set([...differences].map(({ name }) => name)).size).toBe(differences.size);
  });

  it.each(byName)("of %s are in specs/qemu-oracle.md as in the code", (_, oracle) => {
    const text = readFileSync(new URL("../../../../specs/qemu-oracle.md", import.meta.url), "utf8");
    for (const line of differenceLines(oracle)) expect(text).toContain(`${line}\n`);
    expect(text).toContain(oracle.excluded);
  });
});

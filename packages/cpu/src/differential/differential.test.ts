import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Comparison } from "./compare.ts";
import { Core } from "./core.ts";
import { decodeCorpus } from "./corpus.ts";
import { nativeAvailable } from "./native.ts";
import { R_CROSS, R_FLAGS, R_RIP, R_RULE, R_SIZE, R_VECTOR } from "./record.ts";
import { differentialFolder, mismatchText, nativeSource, Session } from "./session.ts";

const CASES = 20_000;

describe("recorded on a real processor", () => {
  const corpus = decodeCorpus(readFileSync(join(differentialFolder(), "corpus.bin.gz")));

  test("the software processor does what the recorded one did, case by case", async () => {
    const core = await Core.create();
    const comparison = new Comparison();
    const failures: string[] = [];
    for (const { seed, index, input, outcome } of corpus.cases) {
      const ours = new DataView(input.buffer.slice(0));
      core.run(ours);
      if (comparison.agree(input, outcome, ours)) continue;
      const differences = comparison.differences(input, outcome, ours);
      failures.push(`seed ${seed} case ${index}: ${JSON.stringify(differences)}`);
    }
    expect(corpus.cases.length).toBeGreaterThan(3000);
    expect(failures).toEqual([]);
  });

  test("one wrong bit in any compared place of an outcome is reported", () => {
    const comparison = new Comparison();
    // The first case that ended normally and has no comparison rule of its own.
    const { input, outcome } = corpus.cases.find(
      (c) => c.input.getUint8(R_RULE) === 0,
    ) as (typeof corpus.cases)[number];
    const planted = [
      { field: "rax", at: 0, bit: 0x80 },
      { field: "flags", at: R_FLAGS + 1, bit: 0x04 },
      { field: "rip", at: R_RIP, bit: 0x01 },
      { field: "vector", at: R_VECTOR, bit: 0x02 },
      { field: "cross+8", at: R_CROSS + 8, bit: 0x40 },
    ];
    expect(comparison.agree(input, outcome, new DataView(outcome.buffer.slice(0)))).toBe(true);
    for (const { field, at, bit } of planted) {
      const wrong = new DataView(outcome.buffer.slice(0));
      wrong.setUint8(at, wrong.getUint8(at) ^ bit);
      expect(comparison.agree(input, outcome, wrong)).toBe(false);
      expect(comparison.differences(input, outcome, wrong).map((d) => d.field)).toEqual([field]);
    }
  });

  test("a defined arithmetic flag that is wrong is caught in nearly every case, an undefined one never", () => {
    const comparison = new Comparison();
    let caught = 0;
    for (const { input, outcome } of corpus.cases) {
      const wrong = new DataView(outcome.buffer.slice(0));
      wrong.setUint8(R_FLAGS, wrong.getUint8(R_FLAGS) ^ 0x01);
      if (!comparison.agree(input, outcome, wrong)) caught++;
    }
    expect(caught / corpus.cases.length).toBeGreaterThan(0.9);
    expect(caught).toBeLessThan(corpus.cases.length);
  });
});

// Without a C compiler the recorded corpus has to do.
// Where peers are required a compiler that cannot build native.c is a failure, not a skip.
const native = process.env["ENTRESOL_REQUIRE_PEERS"] === "1" || (await nativeAvailable(nativeSource()));

describe.runIf(native)("against the processor of this machine", () => {
  // The same cases every time: a test must not fail for a change that did not break it. Campaigns look for new ones.
  const seed = Number(process.env["ENTRESOL_SEED"] ?? 1);
  let session: Session;

  beforeAll(async () => {
    session = await Session.create({ seed });
  });
  afterAll(() => session.close());

  test(`${CASES} fresh cases of seed ${seed} agree`, async () => {
    const tally = await session.run(0, CASES);
    expect(tally.details.map(mismatchText)).toEqual([]);
    expect(tally.cases).toBe(CASES);
  }, 120_000);

  test("the same seed and index give the same case and the same native outcome", async () => {
    const [first, second] = [new Uint8Array(R_SIZE), new Uint8Array(R_SIZE)];
    const generate = (to: Uint8Array) => session.source.generate(4711, new DataView(to.buffer));
    generate(first);
    session.source.generate(1, new DataView(second.buffer));
    generate(second);
    expect(second).toEqual(first);
    await session.native.run(first, 1);
    await session.native.run(second, 1);
    expect(second).toEqual(first);
  });
});

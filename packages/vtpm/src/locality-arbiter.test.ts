import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LocalityArbiter, localityCount, noLocality } from "./locality-arbiter.ts";

/** An arbiter with a command that runs as long as the test says; its log has changes and aborts. */
function fixture() {
  const state = { executing: false };
  const log: string[] = [];
  const arbiter = new LocalityArbiter({
    executing: () => state.executing,
    abort: () => log.push("abort"),
    changed: (from, to) => log.push(`${from} to ${to}`),
  });
  return { state, log, arbiter };
}

describe("the active locality", () => {
  it("is the first that asks, then the highest that waits", () => {
    const { arbiter, log } = fixture();
    for (const locality of [1, 0, 3, 2]) arbiter.request(locality);
    for (let i = 0; i < 4; i++) arbiter.relinquish(arbiter.active);
    expect(log).toEqual(["-1 to 1", "1 to 3", "3 to 2", "2 to 0", "0 to -1"]);
  });

  it("is taken away by a higher one only", () => {
    const { arbiter, log } = fixture();
    arbiter.seize(1);
    arbiter.seize(1);
    arbiter.seize(0);
    arbiter.seize(4);
    expect(log).toEqual(["-1 to 1", "1 to 4"]);
    expect([0, 1, 4].map((locality) => arbiter.wasSeized(locality))).toEqual([false, true, false]);
  });

  it("keeps the TPM until its command has ended, aborted once; the highest that seizes gets it", () => {
    const { arbiter, log, state } = fixture();
    arbiter.request(0);
    state.executing = true;
    arbiter.relinquish(0);
    expect(arbiter.changing).toBe(true);
    arbiter.seize(2);
    arbiter.seize(1);
    arbiter.seize(3);
    expect(arbiter.active).toBe(0);
    state.executing = false;
    arbiter.settled();
    expect(log).toEqual(["-1 to 0", "abort", "0 to 3"]);
    expect(arbiter.changing).toBe(false);
  });

  it("that lets go in the middle of a command and asks again gets the TPM back unless a higher one waits", () => {
    const { arbiter, log, state } = fixture();
    arbiter.request(1);
    state.executing = true;
    arbiter.relinquish(1);
    arbiter.request(1);
    arbiter.request(0);
    state.executing = false;
    arbiter.settled();
    expect(log).toEqual(["-1 to 1", "abort", "1 to 1"]);
    expect(arbiter.othersRequest(1)).toBe(true);
    expect(arbiter.requests(0)).toBe(true);
  });

  it("withdraws a request that waits", () => {
    const { arbiter } = fixture();
    arbiter.request(0);
    arbiter.request(2);
    arbiter.relinquish(2);
    arbiter.relinquish(0);
    expect(arbiter.active).toBe(noLocality);
  });
});

describe("whatever localities do", () => {
  it("one is active, nobody waits for a free TPM, and only a higher one takes it away", () => {
    const step = fc.tuple(
      fc.constantFrom("request", "relinquish", "seize", "clearSeized", "run", "end"),
      fc.nat(localityCount - 1),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { arbiter, state } = fixture();
        for (const [action, locality] of steps) {
          const { active } = arbiter;
          if (action === "run") state.executing = active !== noLocality;
          else if (action === "end") {
            state.executing = false;
            arbiter.settled();
          } else arbiter[action](locality);
          if (action === "seize" && arbiter.active !== active) {
            expect(arbiter.active).toBe(locality);
            expect(locality).toBeGreaterThan(active);
          }
          const saved = arbiter.save();
          if (arbiter.active === noLocality) expect(saved.requests).toBe(0);
          else expect(arbiter.requests(arbiter.active) && !arbiter.changing).toBe(false);
          if (state.executing) expect(arbiter.active).toBe(active);
          expect(arbiter.changing && !state.executing).toBe(false);
        }
      }),
    );
  });
});

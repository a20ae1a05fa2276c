import fc from "fast-check";
import { expect, it } from "vitest";
import { Oscillator } from "./oscillator.ts";

it("is floor(ns * hertz / 10^9), exactly, for 104 days and up to 4 MHz", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.constantFrom(1_193_182, 3_579_545, 32_768, 4_000_000, 1), (ns, hertz) => {
      const exact = (BigInt(ns) * BigInt(hertz)) / 1_000_000_000n;
      expect(new Oscillator(hertz).cycles(ns)).toBe(Number(exact));
    }),
    { numRuns: 5_000 },
  );
});

it("finds the first nanosecond of each cycle", () => {
  const cases = fc
    .constantFrom(1_193_182, 3_579_545, 4_000_000)
    .chain((hertz) => fc.tuple(fc.constant(hertz), fc.integer({ min: 1, max: hertz * 9_000_000 })));
  fc.assert(
    fc.property(cases, ([hertz, cycle]) => {
      const oscillator = new Oscillator(hertz);
      const at = oscillator.timeOf(cycle);
      expect(oscillator.cycles(at)).toBe(cycle);
      expect(oscillator.cycles(at - 1)).toBe(cycle - 1);
    }),
    { numRuns: 5_000 },
  );
  expect(new Oscillator(32_768).timeOf(0)).toBe(0);
});

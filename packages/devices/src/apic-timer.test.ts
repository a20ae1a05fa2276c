import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ApicTimer, timerMode } from "./apic-timer.ts";
import { ManualTime } from "./clock-wheel.ts";

const halves = (value: bigint) => ({ low: Number(value & 0xffff_ffffn), high: Number(value >> 32n) });

/** 64-bit values that meet: small distances around a few corners, and anything. */
const quadword = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc
    .tuple(
      fc.constantFrom(0n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n),
      fc.bigInt({ min: -5000n, max: 5000n }),
    )
    .map(([corner, distance]) => BigInt.asUintN(64, corner + distance)),
);

describe("ApicTimer in TSC-deadline mode", () => {
  it("agrees with 64-bit arithmetic, wherever the guest has put its TSC", () => {
    const now = fc.oneof(fc.nat(10_000), fc.integer({ min: 0, max: 2 ** 52 }));
    fc.assert(
      fc.property(now, quadword, quadword, (start, offset, deadline) => {
        const time = new ManualTime(start);
        let fired = 0;
        const timer = new ApicTimer("timer", time, { frequency: 1e9, offset: () => halves(offset) }, () => {
          fired++;
        });
        timer.setMode(timerMode.tscDeadline);
        const { low, high } = halves(deadline);
        timer.writeDeadline(low, high);
        const tsc = BigInt.asUintN(64, BigInt(start) + offset);
        const due = BigInt(start) + deadline - tsc;
        if (deadline === 0n || deadline <= tsc || due > BigInt(Number.MAX_SAFE_INTEGER)) {
          expect(timer.due).toBe(Number.POSITIVE_INFINITY);
          expect(fired).toBe(deadline !== 0n && deadline <= tsc ? 1 : 0);
        } else {
          expect(timer.due).toBe(Number(due));
          expect(fired).toBe(0);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

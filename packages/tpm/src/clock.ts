import type { ClockInfo } from "@entresol/tpm-types";
import { advanceActs } from "./acts.ts";
import type { Engine } from "./engine.ts";
import { selfHeal } from "./lockout.ts";
import type { VolatileState } from "./state.ts";

/* Time and Clock (Part 1, clause 36): both in milliseconds. Time begins with power, Clock goes on over the life of the owner. */

/** Clock is written down when it passes a multiple of this (TPM_PT_CLOCK_UPDATE, ms). */
export const CLOCK_UPDATE = 4096;
const UPDATE_STEP = BigInt(CLOCK_UPDATE);

/** The rate is counted in parts of this many (TPM2_ClockRateAdjust). */
const RATE_NOMINAL = 30_000;
/** What one TPM_CLOCK_ADJUST is worth, by its amount; and how far the rate can be from 1 in all. */
const rateSteps = [0, 1, 30, 300] as const;
export const RATE_LIMIT = 5000;

/** What the time source said when Time was last advanced, and what was left over then, in 1/30000 ms. A TPM that was given power, or restored, begins anew. */
const lastSeen = new WeakMap<VolatileState, { now: number; rest: number }>();

/** Whole milliseconds. */
function passedSince(engine: Engine): number {
  const { volatile } = engine.state;
  const now = engine.now();
  let seen = lastSeen.get(volatile);
  if (seen === undefined) {
    seen = { now, rest: 0 };
    lastSeen.set(volatile, seen);
  }
  const passed = seen.rest + Math.max(0, now - seen.now) * (RATE_NOMINAL + volatile.clockRate);
  const whole = Math.floor(passed / RATE_NOMINAL);
  seen.now = Math.max(now, seen.now);
  seen.rest = passed - whole * RATE_NOMINAL;
  return whole;
}

/**
 * Sets Clock. When it passes a multiple of CLOCK_UPDATE it is written down, and is safe from then on: whatever it was before power was lost,
 * it was less (Part 1, 36.3.2).
 */
export function setClock(engine: Engine, clock: bigint): void {
  const { permanent } = engine.state;
  const passes = clock / UPDATE_STEP > permanent.clock / UPDATE_STEP;
  permanent.clock = clock;
  if (!passes) return;
  permanent.clockSafe = true;
  engine.nvDirty = true;
}

/** Lets Time, Clock and all that goes by them go on to now. Called before each command. */
export function advanceClock(engine: Engine): void {
  const { volatile, permanent } = engine.state;
  const passed = BigInt(passedSince(engine));
  if (passed > 0n) {
    const before = volatile.time;
    volatile.time += passed;
    setClock(engine, permanent.clock + passed);
    advanceActs(engine, Number(volatile.time / 1000n - before / 1000n));
  }
  if (volatile.started) selfHeal(engine);
}

/** Makes Time and Clock faster or slower by a TPM_CLOCK_ADJUST, -3 to 3. They do not leave a sixth of the time source's rate. */
export function adjustRate(engine: Engine, adjust: number): void {
  const { volatile } = engine.state;
  const rate = volatile.clockRate + Math.sign(adjust) * (rateSteps[Math.abs(adjust)] ?? 0);
  volatile.clockRate = Math.max(-RATE_LIMIT, Math.min(RATE_LIMIT, rate));
}

export function clockInfo(engine: Engine): ClockInfo {
  const { permanent, reset } = engine.state;
  return {
    clock: permanent.clock,
    resetCount: permanent.resetCount,
    restartCount: reset.restartCount,
    safe: permanent.clockSafe,
  };
}

export function timeInfo(engine: Engine): { readonly time: bigint; readonly clockInfo: ClockInfo } {
  return { time: engine.state.volatile.time, clockInfo: clockInfo(engine) };
}

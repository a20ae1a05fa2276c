import { Rc, Rh, TpmError } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import type { PermanentState } from "./state.ts";

/*
 * Protection against dictionary attacks (Part 1, 19.8). Times in permanent state are seconds, Time is milliseconds and begins with power: only time that
 * the TPM is on makes it forget.
 *
 * A failure is written down before it is answered, so nothing that somebody learned is forgotten with power, and a start-up after a
 * disorderly shutdown need not count one for the case.
 */

/** As the TPM is made, and as Clear leaves it. */
export const initialLockout = {
  failedTries: 0,
  maxTries: 3,
  recoveryTime: 1000,
  lockoutRecovery: 1000,
  lockoutAuthEnabled: true,
} as const satisfies Partial<PermanentState>;

/** Lets failures that are old enough be forgotten: one per `recoveryTime` without a new one, and lockoutAuth after `lockoutRecovery`. */
export function selfHeal(engine: Engine): void {
  const { permanent, volatile } = engine.state;
  if (permanent.failedTries > 0) {
    if (permanent.recoveryTime === 0) {
      // Protection is off.
      permanent.failedTries = 0;
      engine.nvDirty = true;
    } else {
      const step = BigInt(permanent.recoveryTime) * 1000n;
      const steps = (volatile.time - volatile.selfHealTime) / step;
      if (steps > 0n) {
        const forgotten = steps > BigInt(permanent.failedTries) ? permanent.failedTries : Number(steps);
        permanent.failedTries -= forgotten;
        volatile.selfHealTime += steps * step;
        engine.nvDirty = true;
      }
    }
  }
  // Without a time only a start-up brings lockoutAuth back.
  if (!permanent.lockoutAuthEnabled && permanent.lockoutRecovery > 0) {
    if (volatile.time - volatile.lockoutTime >= BigInt(permanent.lockoutRecovery) * 1000n) {
      permanent.lockoutAuthEnabled = true;
      engine.nvDirty = true;
    }
  }
}

/** Throws TPM_RC_LOCKOUT when a protected authValue may not be tried now; `ofLockout`: it is lockoutAuth. */
export function requireNotLockedOut(engine: Engine, ofLockout: boolean): void {
  if (ofLockout ? !engine.state.permanent.lockoutAuthEnabled : inLockout(engine))
    throw new TpmError(Rc.LOCKOUT);
}

export function inLockout(engine: Engine): boolean {
  const { failedTries, maxTries } = engine.state.permanent;
  return failedTries >= maxTries;
}

/** A protected authValue was wrong. It is written down before the answer is given. */
export function registerFailure(engine: Engine, handle: number): void {
  const { permanent, volatile } = engine.state;
  if (handle === Rh.LOCKOUT) {
    permanent.lockoutAuthEnabled = false;
    volatile.lockoutTime = volatile.time;
  } else {
    volatile.selfHealTime = volatile.time;
    if (permanent.recoveryTime === 0) return;
    permanent.failedTries++;
  }
  engine.nvDirty = true;
}

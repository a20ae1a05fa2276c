import { ofParameter, Rc, Rh, TpmError } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import type { ActState } from "./state.ts";

/* Authenticated countdown timers (Part 1, clause 45 "Authenticated Countdown Timer"): seconds that run out unless somebody authorized sets them again. */

/** A timer of this many seconds does not run: it was turned off. */
const NEVER = 0xffff_ffff;

function signalWhenOut(act: ActState, remaining: number): void {
  act.remaining = remaining;
  if (remaining === 0) act.signaled = true;
}

/** Lets all timers go on by whole seconds. */
export function advanceActs(engine: Engine, seconds: number): void {
  for (const act of engine.state.clear.acts)
    if (act.remaining !== 0 && act.remaining !== NEVER)
      signalWhenOut(act, Math.max(0, act.remaining - seconds));
}

/**
 * Sets a timer, which turns its signal off. Zero lets a timer that runs signal at once, and does nothing to one that does not. 0xffffffff
 * only turns a signal off: TPM_RC_VALUE of parameter 1 when there is none (Part 3, 33.2).
 */
export function setActTimeout(engine: Engine, handle: number, seconds: number): void {
  const act = engine.state.clear.acts.find(({ number }) => number === handle - Rh.ACT_0);
  if (act === undefined || (seconds === NEVER && !act.signaled)) throw new TpmError(ofParameter(Rc.VALUE, 1));
  if (seconds !== 0) {
    act.remaining = seconds;
    act.signaled = false;
  } else if (act.remaining !== 0) {
    signalWhenOut(act, 0);
  }
  act.updated = true;
}

/**
 * A timer as Shutdown(STATE) keeps it. One that was not set since start-up is halved: saving state again and again must not stop it
 * (Part 1, clause 45).
 */
export function keptAct(act: ActState): ActState {
  const { remaining, updated } = act;
  const halved = updated || remaining === NEVER || remaining <= 1 ? remaining : Math.floor(remaining / 2);
  return { ...act, remaining: halved, updated: false };
}

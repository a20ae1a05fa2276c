import { ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import { setActTimeout } from "../acts.ts";
import { adjustRate, setClock, timeInfo } from "../clock.ts";
import type { Handlers } from "../command.ts";

/* Clocks and timers (Part 3, clauses 29 and 33). */

/** Clock goes no further by command, so that it lasts for as long as the TPM does. */
const LATEST = 0xffff_0000_0000_0000n;

export const clockCommands = {
  ReadClock(engine) {
    return { currentTime: timeInfo(engine) };
  },

  /** Forward only. */
  ClockSet(engine, { parameters: { newTime } }) {
    if (newTime > LATEST || newTime < engine.state.permanent.clock)
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    setClock(engine, newTime);
    engine.nvDirty = true;
    return {};
  },

  ClockRateAdjust(engine, { parameters: { rateAdjust } }) {
    adjustRate(engine, rateAdjust);
    return {};
  },

  ACT_SetTimeout(engine, { handles: { actHandle }, parameters: { startTimeout } }) {
    setActTimeout(engine, actHandle, startTimeout);
    return {};
  },
} satisfies Handlers;

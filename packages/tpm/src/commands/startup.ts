import { digestSizes, implementedAlgorithms, ofParameter, Rc, Su, TpmError } from "@entresol/tpm-types";
import { keptAct } from "../acts.ts";
import type { Handlers } from "../command.ts";
import { concat, type Engine, u32 } from "../engine.ts";
import { initialClearState, initialResetState } from "../manufacture.ts";
import { nvStartup } from "../nv.ts";
import { startPcrs } from "../pcr.ts";
import { selfTest } from "../self-test.ts";
import { noteShutdown } from "../shutdown.ts";
import type { ClearState, PermanentState, ResetState } from "../state.ts";

/* Start-up, shutdown and self test (Part 3, clauses 9 and 10; Part 1, clause 12). */

/** Told apart beside the kind of shutdown, for a Resume must be started as its boot was. */
const AFTER_HCRTM = 0x8000;
const AT_LOCALITY_3 = 0x4000;
const SHUTDOWN_KIND = 0x3fff;

/** A Reset begins everything anew, a Restart keeps what outlives Clear, a Resume goes on where Shutdown(STATE) was. */
export type StartupKind = "reset" | "restart" | "resume";

const implemented = new Set(implementedAlgorithms.map(({ id }) => id));

function startupKind(engine: Engine, startupType: number, atLocality3: boolean): StartupKind {
  const { permanent, volatile } = engine.state;
  const { orderly, kept } = permanent;
  const kind = orderly === undefined ? undefined : orderly & SHUTDOWN_KIND;
  if (startupType === Su.CLEAR) return kind === Su.STATE && kept !== undefined ? "restart" : "reset";
  if (orderly === undefined || kind !== Su.STATE || kept === undefined)
    throw new TpmError(ofParameter(Rc.VALUE, 1));
  if (volatile.drtmBeforeStartup !== ((orderly & AFTER_HCRTM) !== 0))
    throw new TpmError(ofParameter(Rc.VALUE, 1));
  if (atLocality3 !== ((orderly & AT_LOCALITY_3) !== 0)) throw new TpmError(Rc.LOCALITY);
  return "resume";
}

/** What a Shutdown(STATE) kept, as it was then: the TPM goes on changing what it has. */
function copyOf<T extends ClearState | ResetState | PermanentState["kept"]>(state: T): T {
  return structuredClone(state);
}

export const startupCommands = {
  Startup(engine, { parameters: { startupType } }) {
    const { state } = engine;
    const { permanent, volatile } = state;
    // The PC Client profile knows two localities that start up.
    if (engine.locality !== 0 && engine.locality !== 3) throw new TpmError(Rc.LOCALITY);
    const hcrtm = volatile.drtmBeforeStartup;
    // What was measured before counts for more than who starts up.
    const locality = hcrtm ? 0 : engine.locality;
    const kind = startupKind(engine, startupType, locality === 3);
    const { kept } = permanent;
    const wasOrderly = permanent.orderly !== undefined;

    state.reset =
      kind === "reset" || kept === undefined ? initialResetState(engine.crypto) : copyOf(kept.reset);
    state.clear = kind !== "resume" || kept === undefined ? initialClearState() : copyOf(kept.clear);
    // Whatever was: only the platform itself can turn its hierarchy off, and it has just started.
    state.clear.platformEnable = true;
    const { reset } = state;
    if (kind === "reset") {
      permanent.resetCount = (permanent.resetCount + 1) >>> 0;
      permanent.totalResetCount = (permanent.totalResetCount + 1) >>> 0;
    } else {
      reset.restartCount = (reset.restartCount + 1) >>> 0;
      if (kind === "restart") reset.clearCount = (reset.clearCount + 1) >>> 0;
    }
    volatile.startedOrderly = wasOrderly;
    if (!wasOrderly) permanent.clockSafe = false;
    if (permanent.lockoutRecovery === 0) permanent.lockoutAuthEnabled = true;
    startPcrs(engine, kind === "resume" ? kept?.pcr.banks : undefined, locality, hcrtm);

    nvStartup(engine, kind);

    volatile.startupLocality = locality;
    volatile.started = true;
    permanent.orderly = undefined;
    permanent.kept = undefined;
    engine.nvDirty = true;
    return {};
  },

  Shutdown(engine, { parameters: { shutdownType } }) {
    const { permanent, volatile, clear, reset, pcr } = engine.state;
    // PCR values would come back to another allocation.
    if (permanent.pcrAllocationPending !== undefined && shutdownType === Su.STATE)
      throw new TpmError(ofParameter(Rc.TYPE, 1));
    permanent.orderly = shutdownType;
    permanent.kept = undefined;
    if (shutdownType === Su.STATE) {
      permanent.kept = copyOf({ clear: { ...clear, acts: clear.acts.map(keptAct) }, reset, pcr });
      if (volatile.drtmBeforeStartup) permanent.orderly |= AFTER_HCRTM;
      else if (volatile.startupLocality === 3) permanent.orderly |= AT_LOCALITY_3;
    }
    noteShutdown(engine);
    engine.nvDirty = true;
    return {};
  },

  SelfTest(engine, { parameters: { fullTest } }) {
    const { volatile } = engine.state;
    if (fullTest || !volatile.selfTestDone) selfTest(engine);
    volatile.selfTestDone = true;
    return {};
  },

  /** All tests are short enough to run at once: nothing is left to do when this returns. */
  IncrementalSelfTest(engine, { parameters: { toTest } }) {
    const { volatile } = engine.state;
    if (toTest.some((algorithm) => !implemented.has(algorithm) || engine.without.has(algorithm)))
      throw new TpmError(ofParameter(Rc.VALUE, 1));
    if (toTest.length > 0 && !volatile.selfTestDone) {
      selfTest(engine);
      volatile.selfTestDone = true;
    }
    const toDoList = volatile.selfTestDone
      ? []
      : [...digestSizes.keys()].filter((algorithm) => !engine.without.has(algorithm));
    return { toDoList };
  },

  /** In failure mode: where it failed, as three numbers. */
  GetTestResult(engine) {
    const { lastFailure } = engine.state.volatile;
    if (lastFailure === undefined) return { outData: new Uint8Array(0), testResult: Rc.SUCCESS };
    const outData = concat(u32(lastFailure.function), u32(lastFailure.line), u32(lastFailure.code));
    return { outData, testResult: Rc.FAILURE };
  },
} satisfies Handlers;

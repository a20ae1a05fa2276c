import type { RunningHash } from "./crypto/provider.ts";
import type { Engine } from "./engine.ts";
import { allocateBanks, DRTM_PCR, extendPcr, HCRTM_PCR, resetDynamicPcrs, setPcr } from "./pcr.ts";
import type { VolatileState } from "./state.ts";

/*
 * _TPM_Hash_Start, _Data and _End (Part 1, 34.3): the platform's own measurement of what it starts with, a core root of trust before
 * TPM2_Startup (PCR[0]) or a dynamic one after it (PCR[17]).
 */

/** The measurement that goes on, one hash per bank. It does not outlive the next command, nor a move to another machine. */
const measurements = new WeakMap<VolatileState, { hashAlg: number; running: RunningHash }[]>();

/** Value that PCR[0] begins from when locality 4 measures (PC Client profile). */
const LOCALITY_4 = 4;

export function hashStart(engine: Engine): void {
  const { permanent, volatile } = engine.state;
  const banks = permanent.pcrAllocation.map(({ hash }) => ({
    hashAlg: hash,
    running: engine.crypto.runningHash(hash),
  }));
  measurements.set(volatile, banks);
}

/** Without a start it has no effect. */
export function hashData(engine: Engine, data: Uint8Array): void {
  for (const { running } of measurements.get(engine.state.volatile) ?? []) running.update(data);
}

/** Without a start it has no effect. */
export function hashEnd(engine: Engine): void {
  const { volatile, reset } = engine.state;
  const measurement = measurements.get(volatile);
  if (measurement === undefined) return;
  measurements.delete(volatile);
  const digests = measurement.map(({ hashAlg, running }) => ({ hashAlg, digest: running.digest() }));
  if (volatile.started) {
    resetDynamicPcrs(engine);
    extendPcr(engine, DRTM_PCR, digests);
    reset.restartCount = (reset.restartCount + 1) >>> 0;
    return;
  }
  allocateBanks(engine);
  setPcr(engine, HCRTM_PCR, 0, LOCALITY_4);
  extendPcr(engine, HCRTM_PCR, digests);
  volatile.drtmBeforeStartup = true;
}

/** A command ends a measurement that was not (Part 1, 34.3). */
export function abandonMeasurement(engine: Engine): void {
  measurements.delete(engine.state.volatile);
}

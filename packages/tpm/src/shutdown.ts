import { type CommandName, PCR_COUNT, PtPcr } from "@entresol/tpm-types";
import type { Engine } from "./engine.ts";
import { pcrInGroup } from "./pcr-groups.ts";
import { encodeKept } from "./saved-state.ts";
import type { ClearState, PcrState, ResetState, VolatileState } from "./state.ts";

/*
 * A TPM goes on after TPM2_Shutdown. When something then changes that the shutdown has kept, power may not come back to what was kept: PCR, counters
 * and sessions of before would be there again. The shutdown is void then (Part 1, 12.2.4).
 */

/** Commands whose effect is not among what is compared: orderly NV data is not kept, and timers run by themselves. */
const voidsAlways: ReadonlySet<string> = new Set<CommandName>([
  "NV_Extend",
  "NV_Increment",
  "NV_SetBits",
  "NV_Write",
  "ACT_SetTimeout",
]);

interface Kept {
  readonly clear: ClearState;
  readonly reset: ResetState;
  readonly pcr: PcrState;
}

/** What counts of a state, as bytes: of the PCR those that are saved; of timers the policy; not the counter of PCR changes, which start-up raises. */
function substance({ clear, reset, pcr }: Kept): Uint8Array {
  const acts = clear.acts.map((act) => ({ ...act, remaining: 0, signaled: false, updated: false }));
  const banks = pcr.banks.map(({ hash, values }) => {
    const size = values.length / PCR_COUNT;
    return {
      hash,
      values: values.map((byte, at) => (pcrInGroup(PtPcr.SAVE, Math.floor(at / size)) ? byte : 0)),
    };
  });
  return encodeKept({ clear: { ...clear, acts }, reset: { ...reset, pcrCounter: 0 }, pcr: { banks } });
}

/** The substance at the shutdown. A TPM that was moved since has it in what was kept, if anything was. */
const atShutdown = new WeakMap<VolatileState, Uint8Array>();

/** Takes note that the TPM has been shut down. */
export function noteShutdown({ state }: Engine): void {
  atShutdown.set(state.volatile, substance(state));
}

/** Takes note that a command has been carried out. */
export function afterCommand(engine: Engine, command: string): void {
  const { state } = engine;
  const { permanent } = state;
  if (permanent.orderly === undefined) return;
  const { kept } = permanent;
  const before = atShutdown.get(state.volatile) ?? (kept && substance(kept));
  const changed = before !== undefined && !engine.crypto.equal(before, substance(state));
  if (changed || voidsAlways.has(command)) voidShutdown(engine);
}

/** What the shutdown has kept is no longer what power may come back to. */
export function voidShutdown(engine: Engine): void {
  const { permanent } = engine.state;
  if (permanent.orderly === undefined) return;
  permanent.orderly = undefined;
  permanent.kept = undefined;
  engine.nvDirty = true;
}

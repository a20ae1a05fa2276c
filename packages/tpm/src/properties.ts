import {
  commandList,
  curveSizes,
  Max,
  MemoryAttribute,
  Nt,
  PCR_COUNT,
  PermanentAttribute,
  Pt,
  SPECIFICATION,
  StartupClearAttribute,
} from "@entresol/tpm-types";
import { CLOCK_UPDATE } from "./clock.ts";
import { CONTEXT_CIPHER, CONTEXT_GAP_MAX, CONTEXT_KEY_BITS } from "./contexts.ts";
import { CONTEXT_HASH, type Engine } from "./engine.ts";
import { nvType } from "./entities.ts";
import { inLockout } from "./lockout.ts";
import { ORDERLY_COUNT } from "./nv.ts";

/* TPM_CAP_TPM_PROPERTIES: one row per TPM_PT (Part 2, 6.13). */

/** `text` four characters at a time, big-endian, zero bytes behind. */
function word(text: string, index = 0): number {
  let value = 0;
  for (let i = 0; i < 4; i++) value = value * 256 + ((text.charCodeAt(4 * index + i) || 0) & 0xff);
  return value;
}

/** Bits that are set, by name. */
function bits<N extends string>(
  names: Readonly<Record<N, number>>,
  set: Readonly<Record<N, boolean>>,
): number {
  let value = 0;
  for (const [name, bit] of Object.entries<number>(names)) if (set[name as N]) value |= bit;
  return value >>> 0;
}

/** Largest saved contexts, in bytes; what ContextSave gives is no larger. */
const OBJECT_CONTEXT = 0xa84;
const SESSION_CONTEXT = 0x25a;

const VENDOR_TPM_TYPE = 1;
const U32 = 0xffff_ffff;

function counters(engine: Engine): number {
  return engine.state.permanent.nvIndices.filter(({ attributes }) => nvType(attributes) === Nt.COUNTER)
    .length;
}

function nvBytes(engine: Engine): number {
  return engine.state.permanent.nvIndices.reduce((sum, { dataSize }) => sum + dataSize, 0);
}

/** Room for counters: each has eight bytes. */
function countersAvailable({ limits, state }: Engine, free: number): number {
  return Math.max(0, Math.min(limits.nvIndices - state.permanent.nvIndices.length, Math.floor(free / 8)));
}

/** Loaded and saved sessions. */
function activeSessions({ state }: Engine): number {
  return state.volatile.sessions.length + state.reset.savedSessions.length;
}

const properties: ReadonlyMap<number, (engine: Engine) => number> = new Map<
  number,
  (engine: Engine) => number
>([
  [Pt.FAMILY_INDICATOR, () => SPECIFICATION.family],
  [Pt.LEVEL, () => SPECIFICATION.level],
  [Pt.REVISION, () => SPECIFICATION.version],
  [Pt.DAY_OF_YEAR, () => SPECIFICATION.dayOfYear],
  [Pt.YEAR, () => SPECIFICATION.year],
  [Pt.MANUFACTURER, ({ identity }) => word(identity.manufacturer)],
  [Pt.VENDOR_STRING_1, ({ identity }) => word(identity.vendorString, 0)],
  [Pt.VENDOR_STRING_2, ({ identity }) => word(identity.vendorString, 1)],
  [Pt.VENDOR_STRING_3, ({ identity }) => word(identity.vendorString, 2)],
  [Pt.VENDOR_STRING_4, ({ identity }) => word(identity.vendorString, 3)],
  [Pt.VENDOR_TPM_TYPE, () => VENDOR_TPM_TYPE],
  [Pt.FIRMWARE_VERSION_1, ({ identity }) => identity.firmwareVersion[0]],
  [Pt.FIRMWARE_VERSION_2, ({ identity }) => identity.firmwareVersion[1]],
  [Pt.INPUT_BUFFER, () => Max.BUFFER],
  [Pt.HR_TRANSIENT_MIN, ({ limits }) => limits.transientObjects],
  [Pt.HR_PERSISTENT_MIN, ({ limits }) => limits.persistentObjects],
  [Pt.HR_LOADED_MIN, ({ limits }) => limits.loadedSessions],
  [Pt.ACTIVE_SESSIONS_MAX, ({ limits }) => limits.activeSessions],
  [Pt.PCR_COUNT, () => PCR_COUNT],
  [Pt.PCR_SELECT_MIN, () => PCR_COUNT / 8],
  [Pt.CONTEXT_GAP_MAX, () => CONTEXT_GAP_MAX],
  [Pt.NV_COUNTERS_MAX, () => 0],
  [Pt.NV_INDEX_MAX, () => Max.NV_INDEX],
  [Pt.MEMORY, () => MemoryAttribute.sharedNV | MemoryAttribute.objectCopiedToRam],
  [Pt.CLOCK_UPDATE, () => CLOCK_UPDATE],
  [Pt.CONTEXT_HASH, () => CONTEXT_HASH],
  [Pt.CONTEXT_SYM, () => CONTEXT_CIPHER],
  [Pt.CONTEXT_SYM_SIZE, () => CONTEXT_KEY_BITS],
  [Pt.ORDERLY_COUNT, () => Number(ORDERLY_COUNT)],
  [Pt.MAX_COMMAND_SIZE, ({ bufferSize }) => bufferSize],
  [Pt.MAX_RESPONSE_SIZE, ({ bufferSize }) => bufferSize],
  [Pt.MAX_DIGEST, () => Max.DIGEST],
  [Pt.MAX_OBJECT_CONTEXT, () => OBJECT_CONTEXT],
  [Pt.MAX_SESSION_CONTEXT, () => SESSION_CONTEXT],
  [Pt.PS_FAMILY_INDICATOR, () => SPECIFICATION.family],
  [Pt.PS_LEVEL, () => SPECIFICATION.level],
  [Pt.PS_REVISION, () => SPECIFICATION.version],
  [Pt.PS_DAY_OF_YEAR, () => SPECIFICATION.dayOfYear],
  [Pt.PS_YEAR, () => SPECIFICATION.year],
  [Pt.SPLIT_MAX, ({ state }) => 8 * state.reset.commitArray.length],
  [Pt.TOTAL_COMMANDS, () => commandList.length],
  [Pt.LIBRARY_COMMANDS, () => commandList.length],
  [Pt.VENDOR_COMMANDS, () => 0],
  [Pt.NV_BUFFER_MAX, () => Max.NV_BUFFER],
  [Pt.MODES, () => 0],
  [Pt.MAX_CAP_BUFFER, () => Max.CAP_BUFFER],
  [
    Pt.PERMANENT,
    (engine) => {
      const { permanent } = engine.state;
      return bits(PermanentAttribute, {
        ownerAuthSet: permanent.ownerAuth.length > 0,
        endorsementAuthSet: permanent.endorsementAuth.length > 0,
        lockoutAuthSet: permanent.lockoutAuth.length > 0,
        disableClear: permanent.disableClear,
        inLockout: inLockout(engine),
        tpmGeneratedEPS: permanent.tpmGeneratedEps,
      });
    },
  ],
  [
    Pt.STARTUP_CLEAR,
    ({ state: { clear, volatile } }) =>
      bits(StartupClearAttribute, {
        phEnable: clear.platformEnable,
        shEnable: clear.ownerEnable,
        ehEnable: clear.endorsementEnable,
        phEnableNV: clear.platformNvEnable,
        readOnly: clear.readOnly,
        orderly: volatile.startedOrderly,
      }),
  ],
  [Pt.HR_NV_INDEX, ({ state }) => state.permanent.nvIndices.length],
  [Pt.HR_LOADED, ({ state }) => state.volatile.sessions.length],
  [Pt.HR_LOADED_AVAIL, ({ limits, state }) => limits.loadedSessions - state.volatile.sessions.length],
  [Pt.HR_ACTIVE, activeSessions],
  [Pt.HR_ACTIVE_AVAIL, (engine) => engine.limits.activeSessions - activeSessions(engine)],
  [Pt.HR_TRANSIENT_AVAIL, ({ limits, state }) => limits.transientObjects - state.volatile.transients.length],
  [Pt.HR_PERSISTENT, ({ state }) => state.permanent.persistent.length],
  [
    Pt.HR_PERSISTENT_AVAIL,
    ({ limits, state }) => limits.persistentObjects - state.permanent.persistent.length,
  ],
  [Pt.NV_COUNTERS, counters],
  [Pt.NV_COUNTERS_AVAIL, (engine) => countersAvailable(engine, engine.limits.nvSpace - nvBytes(engine))],
  [Pt.ALGORITHM_SET, ({ state }) => state.permanent.algorithmSet],
  [Pt.LOADED_CURVES, () => curveSizes.size],
  [Pt.LOCKOUT_COUNTER, ({ state }) => state.permanent.failedTries],
  [Pt.MAX_AUTH_FAIL, ({ state }) => state.permanent.maxTries],
  [Pt.LOCKOUT_INTERVAL, ({ state }) => state.permanent.recoveryTime],
  [Pt.LOCKOUT_RECOVERY, ({ state }) => state.permanent.lockoutRecovery],
  [Pt.NV_WRITE_RECOVERY, () => 0],
  [Pt.AUDIT_COUNTER_0, ({ state }) => Number((state.permanent.auditCounter >> 32n) & BigInt(U32))],
  [Pt.AUDIT_COUNTER_1, ({ state }) => Number(state.permanent.auditCounter & BigInt(U32))],
]);

/** Properties come in groups of so many numbers; a list never goes beyond its group (Part 2, 6.13). */
const GROUP = 0x100;

/** Is the property told by a TPM in failure mode? Who made it, and which one it is (Part 1, 12.4). */
function toldInFailure(property: number): boolean {
  return property >= Pt.MANUFACTURER && property <= Pt.FIRMWARE_VERSION_2;
}

/** The properties of the group of `first`, from it on. */
export function propertiesFrom(engine: Engine, first: number): { property: number; value: number }[] {
  const from = Math.max(first, Pt.FAMILY_INDICATOR);
  const end = (Math.floor(from / GROUP) + 1) * GROUP;
  const failed = engine.state.volatile.lastFailure !== undefined;
  const found: { property: number; value: number }[] = [];
  for (const [property, value] of properties) {
    if (property < from || property >= end || (failed && !toldInFailure(property))) continue;
    found.push({ property, value: value(engine) >>> 0 });
  }
  return found;
}

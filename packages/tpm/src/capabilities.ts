import {
  ActAttribute,
  Cap,
  type CapabilityData,
  commandAttributes,
  commandList,
  curveSizes,
  Ht,
  handleType,
  implementedAlgorithms,
  ofParameter,
  PCR_COUNT,
  Rc,
  Rh,
  TpmError,
} from "@entresol/tpm-types";
import { auditedCommands } from "./command-audit.ts";
import type { Engine } from "./engine.ts";
import { authPolicy } from "./entities.ts";
import { pcrProperties } from "./pcr-groups.ts";
import { propertiesFrom } from "./properties.ts";
import { sessionNumber } from "./sessions.ts";

/* What TPM2_GetCapability tells: lists in ascending order, from `property` on, and whether there is more than was asked for or fits. */

/** Bytes of a list in one answer (TPM_PT_MAX_CAP_BUFFER less capability and count). */
const LIST_BYTES = 1024 - 8;

/** What TPM2_GetCapability gives. */
export interface Found {
  readonly moreData: boolean;
  readonly capabilityData: CapabilityData;
}

interface Slice<T> {
  readonly moreData: boolean;
  readonly data: readonly T[];
}

/** Up to `count` of the items that are not below `from`, and no more than fit when each has `size` bytes. */
function slice<T>(
  items: Iterable<T>,
  key: (item: T) => number,
  from: number,
  count: number,
  size: number,
): Slice<T> {
  const found = [...items].filter((item) => key(item) >= from).sort((a, b) => key(a) - key(b));
  const room = Math.min(count, Math.floor(LIST_BYTES / size));
  return { moreData: found.length > room, data: found.slice(0, room) };
}

const identity = (value: number): number => value;
const numbers = (items: Iterable<number>, from: number, count: number, size = 4): Slice<number> =>
  slice(items, identity, from, count, size);

/** TPM_RH that exist, in ascending order (Part 2, 7.4), without timers. */
const permanentHandles: readonly number[] = [
  Rh.OWNER,
  Rh.NULL,
  Rh.PW,
  Rh.LOCKOUT,
  Rh.ENDORSEMENT,
  Rh.PLATFORM,
  Rh.PLATFORM_NV,
];
const handlesWithPolicy: readonly number[] = [Rh.OWNER, Rh.LOCKOUT, Rh.ENDORSEMENT, Rh.PLATFORM];

function timers(engine: Engine): readonly number[] {
  return engine.state.clear.acts.map(({ number }) => Rh.ACT_0 + number);
}

/** Handles of the type of `from`; undefined for a type that there is no list of. */
function handlesOf(engine: Engine, from: number): readonly number[] | undefined {
  const { volatile, permanent } = engine.state;
  switch (handleType(from)) {
    case Ht.PCR:
      return Array.from({ length: PCR_COUNT }, (_, pcr) => pcr);
    case Ht.NV_INDEX:
      return permanent.nvIndices.map(({ handle }) => handle);
    case Ht.PERMANENT:
      return [...permanentHandles, ...timers(engine)];
    case Ht.TRANSIENT:
      return volatile.transients.map(({ handle }) => handle);
    case Ht.PERSISTENT:
      return permanent.persistent.map(({ handle }) => handle);
    default:
      return undefined;
  }
}

/** The two lists of sessions go by number: the type of `from` says whether loaded or saved ones are asked for (Part 2, 7.2). */
function sessionHandles(engine: Engine, from: number, count: number): Slice<number> | undefined {
  const type = handleType(from);
  if (type === Ht.HMAC_SESSION) {
    const loaded = engine.state.volatile.sessions.map(({ handle }) => handle);
    return slice(loaded, sessionNumber, sessionNumber(from), count, 4);
  }
  if (type === Ht.POLICY_SESSION) {
    // The kind of a saved session is not told: all are shown as HMAC sessions.
    const saved = engine.state.reset.savedSessions.map(
      ({ handle }) => (Ht.HMAC_SESSION << 24) | sessionNumber(handle),
    );
    return slice(saved, sessionNumber, sessionNumber(from), count, 4);
  }
  return undefined;
}

function pcrSelect(members: readonly number[]): Uint8Array {
  const bits = new Uint8Array(PCR_COUNT / 8);
  for (const pcr of members) bits[pcr >>> 3]! |= 1 << (pcr & 7);
  return bits;
}

const badProperty = (rc: number): TpmError => new TpmError(ofParameter(rc, 2));

/** The list that is asked for; undefined for a capability that there is none of. Throws what a wrong `property` is answered with. */
export function capabilityData(
  engine: Engine,
  capability: number,
  property: number,
  count: number,
): Found | undefined {
  const { permanent, clear } = engine.state;
  switch (capability) {
    case Cap.ALGS: {
      const offered = implementedAlgorithms.filter(({ id }) => !engine.without.has(id));
      const { moreData, data } = slice(offered, ({ id }) => id, property & 0xffff, count, 6);
      const list = data.map(({ id, attributes }) => ({ alg: id, algProperties: attributes }));
      return { moreData, capabilityData: { capability: Cap.ALGS, data: list } };
    }
    case Cap.HANDLES: {
      const sessions = sessionHandles(engine, property, count);
      const handles = sessions === undefined ? handlesOf(engine, property) : undefined;
      const found = sessions ?? (handles && numbers(handles, property, count));
      if (found === undefined) throw badProperty(Rc.HANDLE);
      return { moreData: found.moreData, capabilityData: { capability: Cap.HANDLES, data: found.data } };
    }
    case Cap.COMMANDS: {
      const { moreData, data } = slice(commandList, ({ code }) => code, property, count, 4);
      return {
        moreData,
        capabilityData: { capability: Cap.COMMANDS, data: data.map(commandAttributes) },
      };
    }
    case Cap.PP_COMMANDS: {
      const { moreData, data } = numbers(permanent.ppCommands, property, count);
      return { moreData, capabilityData: { capability: Cap.PP_COMMANDS, data } };
    }
    case Cap.AUDIT_COMMANDS: {
      const { moreData, data } = numbers(auditedCommands(engine), property, count);
      return { moreData, capabilityData: { capability: Cap.AUDIT_COMMANDS, data } };
    }
    case Cap.PCRS: {
      // All banks or none (Part 3, 30.2).
      if (property !== 0) throw badProperty(Rc.VALUE);
      const data = count === 0 ? [] : permanent.pcrAllocation;
      return { moreData: count === 0, capabilityData: { capability: Cap.PCRS, data } };
    }
    case Cap.TPM_PROPERTIES: {
      const room = Math.min(count, Math.floor(LIST_BYTES / 8));
      const found = propertiesFrom(engine, property);
      return {
        moreData: found.length > room,
        capabilityData: { capability: Cap.TPM_PROPERTIES, data: found.slice(0, room) },
      };
    }
    case Cap.PCR_PROPERTIES: {
      const { moreData, data } = slice(pcrProperties, ([tag]) => tag, property, count, 8);
      const list = data.map(([tag, members]) => ({ tag, pcrSelect: pcrSelect(members) }));
      return { moreData, capabilityData: { capability: Cap.PCR_PROPERTIES, data: list } };
    }
    case Cap.ECC_CURVES: {
      const { moreData, data } = numbers(curveSizes.keys(), property & 0xffff, count, 2);
      return { moreData, capabilityData: { capability: Cap.ECC_CURVES, data } };
    }
    case Cap.AUTH_POLICIES: {
      if (handleType(property) !== Ht.PERMANENT) throw badProperty(Rc.VALUE);
      // A handle, an algorithm and the largest digest.
      const { moreData, data } = numbers([...handlesWithPolicy, ...timers(engine)], property, count, 70);
      const list = data.map((handle) => {
        const { alg, digest } = authPolicy(engine, handle);
        return { handle, policyHash: { hashAlg: alg, digest } };
      });
      return { moreData, capabilityData: { capability: Cap.AUTH_POLICIES, data: list } };
    }
    case Cap.ACT: {
      if (property < Rh.ACT_0 || property > Rh.ACT_F) throw badProperty(Rc.VALUE);
      const { moreData, data } = slice(clear.acts, ({ number }) => Rh.ACT_0 + number, property, count, 12);
      const list = data.map((act) => ({
        handle: Rh.ACT_0 + act.number,
        timeout: act.remaining,
        attributes:
          (act.signaled ? ActAttribute.signaled : 0) |
          (act.preserveSignaled ? ActAttribute.preserveSignaled : 0),
      }));
      return { moreData, capabilityData: { capability: Cap.ACT, data: list } };
    }
    default:
      return undefined;
  }
}

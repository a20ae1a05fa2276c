import {
  Alg,
  type AuthRole,
  Ht,
  handleType,
  Nt,
  NV_TYPE_SHIFT,
  NvAttribute,
  ObjectAttribute,
  PtPcr,
  Rc,
  Rh,
  TPMS_NV_PUBLIC,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import { concat, type Engine, u16, u32 } from "./engine.ts";
import { pcrInGroup } from "./pcr-groups.ts";
import {
  type AuthPolicy,
  type NvIndex,
  noPolicy,
  type SequenceState,
  type Slot,
  type StoredObject,
} from "./state.ts";

/* What can be authorized: hierarchies, objects, NV indices, PCR and timers, found by their handles (Part 1, clause "Names" and 19). */

const empty: Uint8Array = new Uint8Array(0);

/** The slot of a transient or persistent handle; undefined when nothing is there. */
export function slotAt(engine: Engine, handle: number): Slot | undefined {
  const { volatile, permanent } = engine.state;
  if (handleType(handle) === Ht.TRANSIENT)
    return volatile.transients.find((entry) => entry.handle === handle)?.slot;
  const persistent = permanent.persistent.find((entry) => entry.handle === handle);
  return persistent === undefined ? undefined : { kind: "object", object: persistent.object };
}

export function sequenceAt(engine: Engine, handle: number): SequenceState | undefined {
  const slot = slotAt(engine, handle);
  return slot?.kind === "sequence" ? slot.sequence : undefined;
}

function objectOf(engine: Engine, handle: number): StoredObject | undefined {
  const slot = slotAt(engine, handle);
  return slot?.kind === "object" ? slot.object : undefined;
}

export function nvIndexAt(engine: Engine, handle: number): NvIndex | undefined {
  return engine.state.permanent.nvIndices.find((index) => index.handle === handle);
}

/** Type of an NV index, a `Nt`. */
export function nvType(attributes: number): number {
  return (attributes >>> NV_TYPE_SHIFT) & 0xf;
}

/** Name of an NV index: its Name algorithm and the digest of its public area. */
export function nvName(engine: Engine, index: NvIndex): Uint8Array {
  const writer = new TpmWriter();
  TPMS_NV_PUBLIC.write(writer, {
    nvIndex: index.handle,
    nameAlg: index.nameAlg,
    attributes: index.attributes,
    authPolicy: index.authPolicy,
    dataSize: index.dataSize,
  });
  return concat(u16(index.nameAlg), engine.crypto.hash(index.nameAlg, writer.finish()));
}

/** Name of what a handle stands for (Part 1, clause 16): of objects and NV indices by their public areas, of all else the handle. */
export function entityName(engine: Engine, handle: number): Uint8Array {
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT:
      // A sequence has no Name.
      return objectOf(engine, handle)?.name ?? empty;
    case Ht.NV_INDEX: {
      const index = nvIndexAt(engine, handle);
      return index === undefined ? empty : nvName(engine, index);
    }
    default:
      return u32(handle);
  }
}

/**
 * Can the entity be used now? Throws the code that a handle in the handle area is answered with (Part 3, 5.4): REFERENCE_H0 for
 * an object or session that is not loaded, HANDLE for a persistent object or NV index that is not there, HIERARCHY for a hierarchy that is disabled.
 */
export function requireUsable(engine: Engine, handle: number, position: number): void {
  const { state } = engine;
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
      if (slotAt(engine, handle) === undefined) throw new TpmError(Rc.REFERENCE_H0 + position);
      return;
    case Ht.PERSISTENT: {
      const object = objectOf(engine, handle);
      if (object === undefined || !hierarchyEnabled(engine, object.hierarchy)) throw new TpmError(Rc.HANDLE);
      return;
    }
    case Ht.HMAC_SESSION:
    case Ht.POLICY_SESSION:
      requireLoadedSession(engine, handle, Rc.REFERENCE_H0 + position);
      return;
    case Ht.NV_INDEX: {
      const index = nvIndexAt(engine, handle);
      if (index === undefined) throw new TpmError(Rc.HANDLE);
      const ofPlatform = (index.attributes & NvAttribute.PLATFORMCREATE) !== 0;
      if (!(ofPlatform ? state.clear.platformNvEnable : state.clear.ownerEnable))
        throw new TpmError(Rc.HANDLE);
      return;
    }
    case Ht.PERMANENT:
      if (handle >= Rh.ACT_0 && handle <= Rh.ACT_F) {
        if (!state.clear.acts.some((act) => act.number === handle - Rh.ACT_0)) throw new TpmError(Rc.VALUE);
        return;
      }
      if (!hierarchyEnabled(engine, handle)) throw new TpmError(Rc.HIERARCHY);
      return;
    default:
      return;
  }
}

/** The bits of a handle that count within its type. */
const HANDLE_NUMBER = 0x00ff_ffff;

/** Can there be an object or session of this handle at all? Throws TPM_RC_VALUE, as unmarshalling does, for a number beyond the limits. */
export function requirePossible(engine: Engine, handle: number): void {
  const { transientObjects, activeSessions } = engine.limits;
  const type = handleType(handle);
  const ofSession = type === Ht.HMAC_SESSION || type === Ht.POLICY_SESSION;
  const limit = type === Ht.TRANSIENT ? transientObjects : ofSession ? activeSessions : undefined;
  if (limit !== undefined && (handle & HANDLE_NUMBER) >= limit) throw new TpmError(Rc.VALUE);
}

/** Is the session loaded? Throws TPM_RC_HANDLE for one that is of the other kind than its handle says, and `absent`. */
export function requireLoadedSession(engine: Engine, handle: number, absent: number): void {
  const number = handle & HANDLE_NUMBER;
  const { sessions } = engine.state.volatile;
  const loaded = sessions.find((session) => (session.handle & HANDLE_NUMBER) === number);
  if (loaded === undefined) throw new TpmError(absent);
  if (loaded.handle !== handle) throw new TpmError(Rc.HANDLE);
}

/** Is a hierarchy enabled? Handles that are none, and the NULL hierarchy, always are. */
export function hierarchyEnabled(engine: Engine, hierarchy: number): boolean {
  const { clear } = engine.state;
  switch (hierarchy) {
    case Rh.OWNER:
      return clear.ownerEnable;
    case Rh.ENDORSEMENT:
      return clear.endorsementEnable;
    case Rh.PLATFORM:
      return clear.platformEnable;
    default:
      return true;
  }
}

/** authValue of an entity; empty where there is none. */
export function authValue(engine: Engine, handle: number): Uint8Array {
  const { permanent, clear } = engine.state;
  switch (handle) {
    case Rh.OWNER:
      return permanent.ownerAuth;
    case Rh.ENDORSEMENT:
      return permanent.endorsementAuth;
    case Rh.LOCKOUT:
      return permanent.lockoutAuth;
    case Rh.PLATFORM:
      return clear.platformAuth;
    default:
      break;
  }
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      const slot = slotAt(engine, handle);
      if (slot === undefined) return empty;
      return slot.kind === "sequence" ? slot.sequence.auth : (slot.object.sensitive?.authValue ?? empty);
    }
    case Ht.NV_INDEX:
      return nvIndexAt(engine, handle)?.authValue ?? empty;
    case Ht.PCR:
      return pcrInGroup(PtPcr.AUTH, handle) ? clear.pcrAuth : empty;
    case Ht.PERMANENT:
      // A timer is authorized as the platform is.
      return handle >= Rh.ACT_0 && handle <= Rh.ACT_F ? clear.platformAuth : empty;
    default:
      return empty;
  }
}

/** authPolicy of an entity; algorithm NULL and nothing where there is none. */
export function authPolicy(engine: Engine, handle: number): AuthPolicy {
  const { permanent, clear } = engine.state;
  switch (handle) {
    case Rh.OWNER:
      return permanent.ownerPolicy;
    case Rh.ENDORSEMENT:
      return permanent.endorsementPolicy;
    case Rh.LOCKOUT:
      return permanent.lockoutPolicy;
    case Rh.PLATFORM:
      return clear.platformPolicy;
    default:
      break;
  }
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      const object = objectOf(engine, handle);
      if (object === undefined) return noPolicy();
      return { alg: object.publicArea.nameAlg, digest: object.publicArea.authPolicy };
    }
    case Ht.NV_INDEX: {
      const index = nvIndexAt(engine, handle);
      return index === undefined ? noPolicy() : { alg: index.nameAlg, digest: index.authPolicy };
    }
    case Ht.PCR:
      return pcrInGroup(PtPcr.POLICY, handle) ? permanent.pcrPolicy : noPolicy();
    case Ht.PERMANENT:
      return clear.acts.find((act) => act.number === handle - Rh.ACT_0)?.policy ?? noPolicy();
    default:
      return noPolicy();
  }
}

/** Is a wrong authValue of this entity not counted (Part 1, 19.8)? Objects and NV indices say so themselves; of the rest only lockoutAuth is protected. */
export function isDaExempt(engine: Engine, handle: number): boolean {
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      const object = objectOf(engine, handle);
      return object === undefined || (object.publicArea.objectAttributes & ObjectAttribute.noDA) !== 0;
    }
    case Ht.NV_INDEX:
      return ((nvIndexAt(engine, handle)?.attributes ?? 0) & NvAttribute.NO_DA) !== 0;
    default:
      return handle !== Rh.LOCKOUT;
  }
}

/** Commands that write to the NV index that they are authorized by. */
const nvWrites = new Set<string>(["NV_Write", "NV_Increment", "NV_SetBits", "NV_Extend", "NV_WriteLock"]);

/** May the entity's authValue be used for this role in this command? */
export function authValueAvailable(engine: Engine, handle: number, command: string, role: AuthRole): boolean {
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      const object = objectOf(engine, handle);
      if (object === undefined) return true; // a sequence
      if (object.sensitive === undefined) return false;
      const { objectAttributes } = object.publicArea;
      if ((objectAttributes & ObjectAttribute.userWithAuth) !== 0) return true;
      return role === "admin" && (objectAttributes & ObjectAttribute.adminWithPolicy) === 0;
    }
    case Ht.NV_INDEX: {
      const index = nvIndexAt(engine, handle);
      if (index === undefined) return false;
      const { attributes } = index;
      if (nvWrites.has(command)) return (attributes & NvAttribute.AUTHWRITE) !== 0;
      const type = nvType(attributes);
      if (type === Nt.PIN_FAIL || type === Nt.PIN_PASS) {
        if ((attributes & NvAttribute.WRITTEN) === 0) return false;
        const view = new DataView(index.data.buffer, index.data.byteOffset, index.data.byteLength);
        return view.getUint32(0) < view.getUint32(4);
      }
      return (attributes & NvAttribute.AUTHREAD) !== 0;
    }
    default:
      return true;
  }
}

/** May a policy session authorize the entity for this role in this command? */
export function authPolicyAvailable(
  engine: Engine,
  handle: number,
  command: string,
  role: AuthRole,
): boolean {
  const policy = authPolicy(engine, handle);
  if (policy.digest.length === 0) return false;
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT:
      return objectOf(engine, handle)?.sensitive !== undefined;
    case Ht.NV_INDEX: {
      if (policyRequired(engine, handle, role)) return true;
      const { attributes } = nvIndexAt(engine, handle)!;
      const needed = nvWrites.has(command) ? NvAttribute.POLICYWRITE : NvAttribute.POLICYREAD;
      return (attributes & needed) !== 0;
    }
    default:
      return true;
  }
}

/** Is a policy session the only way to authorize the role? */
export function policyRequired(engine: Engine, handle: number, role: AuthRole): boolean {
  if (role === "dup") return true;
  switch (handleType(handle)) {
    case Ht.TRANSIENT:
    case Ht.PERSISTENT: {
      if (role !== "admin") return false;
      const object = objectOf(engine, handle);
      return (
        object !== undefined && (object.publicArea.objectAttributes & ObjectAttribute.adminWithPolicy) !== 0
      );
    }
    case Ht.NV_INDEX:
      return role === "admin";
    case Ht.PCR:
      return pcrInGroup(PtPcr.POLICY, handle) && engine.state.permanent.pcrPolicy.alg !== Alg.NULL;
    default:
      return false;
  }
}

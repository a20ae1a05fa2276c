import {
  digestSizes,
  Max,
  Nt,
  NvAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { type Engine, u64, withoutTrailingZeros } from "../engine.ts";
import { nvName, nvType } from "../entities.ts";
import {
  defineNv,
  deleteNv,
  hasNvAttribute,
  nvNumber,
  nvOf,
  ORDERLY_COUNT,
  readNv,
  requireChangeable,
  requireReadable,
  requireWritable,
  setNvAttributes,
  writeNv,
} from "../nv.ts";
import type { NvIndex } from "../state.ts";

/* TPM2_NV_* (Part 3, clause 31), without NV_Certify. */

/** The index that a command of the given type is for. Throws TPM_RC_ATTRIBUTES of handle 2 for another. */
function requireType(index: NvIndex, type: number): void {
  if (nvType(index.attributes) !== type) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 2));
}

/** What a command that writes has checked first. */
function writable(engine: Engine, { authHandle, nvIndex }: { authHandle: number; nvIndex: number }): NvIndex {
  const index = nvOf(engine, nvIndex);
  requireChangeable(engine, index);
  requireWritable(authHandle, index);
  return index;
}

/** Does the check throw the code? Other codes go on their way. */
function answers(rc: number, check: () => void): boolean {
  try {
    check();
    return false;
  } catch (error) {
    if (error instanceof TpmError && error.rc === rc) return true;
    throw error;
  }
}

function publicArea(index: NvIndex): Pick<NvIndex, "nameAlg" | "attributes" | "authPolicy" | "dataSize"> & {
  readonly nvIndex: number;
} {
  const { handle, nameAlg, attributes, authPolicy, dataSize } = index;
  return { nvIndex: handle, nameAlg, attributes, authPolicy, dataSize };
}

/** Types that have commands of their own to be changed by. */
const notWritten: ReadonlySet<number> = new Set([Nt.COUNTER, Nt.BITS, Nt.EXTEND]);

export const nvCommands = {
  NV_DefineSpace(engine, { handles: { authHandle }, parameters: { auth, publicInfo } }) {
    defineNv(engine, authHandle, auth, publicInfo);
    return {};
  },

  NV_DefineSpace2(engine, { handles: { authHandle }, parameters: { auth, publicInfo } }) {
    defineNv(engine, authHandle, auth, publicInfo);
    return {};
  },

  NV_UndefineSpace(engine, { handles: { authHandle, nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    if (hasNvAttribute(index, NvAttribute.POLICY_DELETE)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 2));
    if (authHandle === Rh.OWNER && hasNvAttribute(index, NvAttribute.PLATFORMCREATE))
      throw new TpmError(Rc.NV_AUTHORIZATION);
    deleteNv(engine, index);
    return {};
  },

  NV_UndefineSpaceSpecial(engine, { handles: { nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    if (!hasNvAttribute(index, NvAttribute.POLICY_DELETE)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    deleteNv(engine, index);
    return {};
  },

  NV_ReadPublic(engine, { handles: { nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    return { nvPublic: publicArea(index), nvName: nvName(engine, index) };
  },

  NV_ReadPublic2(engine, { handles: { nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    return { nvPublic: publicArea(index), nvName: nvName(engine, index) };
  },

  NV_Write(engine, { handles, parameters: { data, offset } }) {
    const index = writable(engine, handles);
    // Of no handle or parameter, in the reference too.
    if (notWritten.has(nvType(index.attributes))) throw new TpmError(Rc.ATTRIBUTES);
    if (offset > index.dataSize) throw new TpmError(ofParameter(Rc.VALUE, 2));
    if (data.length > index.dataSize - offset) throw new TpmError(Rc.NV_RANGE);
    if (hasNvAttribute(index, NvAttribute.WRITEALL) && data.length < index.dataSize)
      throw new TpmError(Rc.NV_RANGE);
    writeNv(engine, index, offset, data);
    return {};
  },

  /** A counter that was never written begins above all that were deleted. */
  NV_Increment(engine, { handles: { authHandle, nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    requireWritable(authHandle, index);
    requireType(index, Nt.COUNTER);
    const first = !hasNvAttribute(index, NvAttribute.WRITTEN);
    const count = BigInt.asUintN(64, nvNumber(index, engine.state.permanent.maximumCounter) + 1n);
    writeNv(engine, index, 0, u64(count), { later: !first && (count & ORDERLY_COUNT) !== 0n });
    return {};
  },

  NV_SetBits(engine, { handles, parameters: { bits } }) {
    const index = writable(engine, handles);
    requireType(index, Nt.BITS);
    writeNv(engine, index, 0, u64(nvNumber(index, 0n) | bits));
    return {};
  },

  NV_Extend(engine, { handles, parameters: { data } }) {
    const index = writable(engine, handles);
    requireType(index, Nt.EXTEND);
    const old = hasNvAttribute(index, NvAttribute.WRITTEN) ? index.data : new Uint8Array(index.dataSize);
    writeNv(engine, index, 0, engine.crypto.hash(index.nameAlg, old, data));
    return {};
  },

  NV_WriteLock(engine, { handles: { authHandle, nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    requireChangeable(engine, index);
    // What is locked already is no error.
    if (answers(Rc.NV_LOCKED, () => requireWritable(authHandle, index))) return {};
    if (!hasNvAttribute(index, NvAttribute.WRITEDEFINE | NvAttribute.WRITE_STCLEAR))
      throw new TpmError(ofHandle(Rc.ATTRIBUTES, 2));
    setNvAttributes(engine, index, NvAttribute.WRITELOCKED);
    return {};
  },

  NV_GlobalWriteLock(engine) {
    for (const index of engine.state.permanent.nvIndices)
      if (hasNvAttribute(index, NvAttribute.GLOBALLOCK))
        setNvAttributes(engine, index, NvAttribute.WRITELOCKED);
    return {};
  },

  NV_Read(engine, { handles: { authHandle, nvIndex }, parameters: { size, offset } }) {
    const index = nvOf(engine, nvIndex);
    requireReadable(authHandle, index);
    if (size > Max.NV_BUFFER) throw new TpmError(ofParameter(Rc.VALUE, 1));
    if (offset > index.dataSize) throw new TpmError(ofParameter(Rc.VALUE, 2));
    return { data: readNv(engine, authHandle, nvIndex, offset, size) };
  },

  NV_ReadLock(engine, { handles: { authHandle, nvIndex } }) {
    const index = nvOf(engine, nvIndex);
    requireChangeable(engine, index);
    if (hasNvAttribute(index, NvAttribute.READLOCKED)) return {};
    // An index may be locked before anything is in it.
    answers(Rc.NV_UNINITIALIZED, () => requireReadable(authHandle, index));
    if (!hasNvAttribute(index, NvAttribute.READ_STCLEAR)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 2));
    setNvAttributes(engine, index, NvAttribute.READLOCKED);
    return {};
  },

  NV_ChangeAuth(engine, { handles: { nvIndex }, parameters: { newAuth } }) {
    const index = nvOf(engine, nvIndex);
    const authValue = withoutTrailingZeros(newAuth);
    if (authValue.length > digestSizes.get(index.nameAlg)!) throw new TpmError(ofParameter(Rc.SIZE, 1));
    index.authValue = authValue;
    engine.nvDirty = true;
    return {};
  },
} satisfies Handlers;

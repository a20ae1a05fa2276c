import {
  digestSizes,
  Ht,
  handleType,
  Max,
  Nt,
  NvAttribute,
  type NvPublic,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  TpmError,
} from "@entresol/tpm-types";
import { type Engine, withoutTrailingZeros } from "./engine.ts";
import { nvIndexAt, nvType } from "./entities.ts";
import type { NvIndex } from "./state.ts";

/*
 * NV indices: who may read, write and define them, how they are written, and what a start-up makes of them (Part 1, clause 37).
 *
 * An orderly index is not written down with every change (Part 1, 37.7): what was lost with power is made up for by the next start-up, which
 * takes its data for unwritten, and lets a counter go on from where it cannot have been.
 */

const {
  WRITELOCKED,
  READLOCKED,
  WRITTEN,
  WRITEDEFINE,
  WRITEALL,
  GLOBALLOCK,
  ORDERLY,
  CLEAR_STCLEAR,
  NO_DA,
  AUTHWRITE,
  POLICY_DELETE,
  PLATFORMCREATE,
  PPREAD,
  OWNERREAD,
  AUTHREAD,
  POLICYREAD,
  PPWRITE,
  OWNERWRITE,
  POLICYWRITE,
} = NvAttribute;

/** Bytes of counters, bits and PINs. */
const FIXED_SIZE = 8;
/** An orderly counter is written down when these bits of it are zero (TPM_PT_ORDERLY_COUNT). */
export const ORDERLY_COUNT = 0xffn;
/** Bytes of an ordinary index that the first write does not reach, in NV: erased, it is all ones. All else begins at zero. */
const ERASED = 0xff;

/** The NV index of a handle. Throws TPM_RC_HANDLE when there is none. */
export function nvOf(engine: Engine, handle: number): NvIndex {
  const index = nvIndexAt(engine, handle);
  if (index === undefined) throw new TpmError(Rc.HANDLE);
  return index;
}

export function hasNvAttribute(index: NvIndex, attribute: number): boolean {
  return (index.attributes & attribute) !== 0;
}

/** May `authHandle`, which is authorized, be used on the index? The index itself was checked with its authorization. */
function requireAllowed(authHandle: number, index: NvIndex, byOwner: number, byPlatform: number): void {
  const allowed =
    authHandle === Rh.OWNER
      ? hasNvAttribute(index, byOwner)
      : authHandle === Rh.PLATFORM
        ? hasNvAttribute(index, byPlatform)
        : authHandle === index.handle;
  if (!allowed) throw new TpmError(Rc.NV_AUTHORIZATION);
}

/** Throws TPM_RC_NV_LOCKED, TPM_RC_NV_AUTHORIZATION or TPM_RC_NV_UNINITIALIZED for an index that may not be read now, in that order. */
export function requireReadable(authHandle: number, index: NvIndex): void {
  if (hasNvAttribute(index, READLOCKED)) throw new TpmError(Rc.NV_LOCKED);
  requireAllowed(authHandle, index, OWNERREAD, PPREAD);
  // Last: an index may be locked for reading before there is anything to read.
  if (!hasNvAttribute(index, WRITTEN)) throw new TpmError(Rc.NV_UNINITIALIZED);
}

/** Throws TPM_RC_NV_LOCKED or TPM_RC_NV_AUTHORIZATION for an index that may not be written now, in that order. */
export function requireWritable(authHandle: number, index: NvIndex): void {
  if (hasNvAttribute(index, WRITELOCKED)) throw new TpmError(Rc.NV_LOCKED);
  requireAllowed(authHandle, index, OWNERWRITE, PPWRITE);
}

/** In read-only mode only what no start-up leaves there may be changed (Part 1, 1.83, "Read-Only Mode"). Throws TPM_RC_READ_ONLY. */
export function requireChangeable(engine: Engine, index: NvIndex): void {
  const passing = hasNvAttribute(index, ORDERLY) && hasNvAttribute(index, CLEAR_STCLEAR);
  if (engine.state.clear.readOnly && !passing) throw new TpmError(Rc.READ_ONLY);
}

/**
 * Reads an index by what `authHandle` authorizes, as a copy. Throws what `requireReadable` does, and TPM_RC_NV_RANGE beyond the end; a size of
 * zero at offset zero asks only whether it may be read.
 */
export function readNv(
  engine: Engine,
  authHandle: number,
  nvIndex: number,
  offset: number,
  size: number,
): Uint8Array {
  const index = nvOf(engine, nvIndex);
  requireReadable(authHandle, index);
  if (offset + size > index.dataSize) throw new TpmError(Rc.NV_RANGE);
  return index.data.slice(offset, offset + size);
}

/** Puts data into an index, which is written from now on. It must fit. `later`: an orderly index may be written down another time. */
export function writeNv(
  engine: Engine,
  index: NvIndex,
  offset: number,
  data: Uint8Array,
  { later = true }: { readonly later?: boolean } = {},
): void {
  const orderly = hasNvAttribute(index, ORDERLY);
  // A PIN of which only a part was ever written must not have all ones for its limit.
  const erased = nvType(index.attributes) === Nt.ORDINARY && !orderly ? ERASED : 0;
  if (!hasNvAttribute(index, WRITTEN)) index.data.fill(erased);
  index.data.set(data, offset);
  index.attributes |= WRITTEN;
  if (!orderly || !later) engine.nvDirty = true;
}

function viewOf(index: NvIndex): DataView {
  return new DataView(index.data.buffer, index.data.byteOffset, index.data.byteLength);
}

/** Value of a counter or of bits; `unwritten` when it was never written. */
export function nvNumber(index: NvIndex, unwritten: bigint): bigint {
  return hasNvAttribute(index, WRITTEN) ? viewOf(index).getBigUint64(0) : unwritten;
}

/** Sets attributes of an index, which are written down at once. */
export function setNvAttributes(engine: Engine, index: NvIndex, attributes: number): void {
  index.attributes = (index.attributes | attributes) >>> 0;
  engine.nvDirty = true;
}

const types: ReadonlySet<number> = new Set(Object.values(Nt));

/** Could the index have been defined, by type and sizes? What works on its data relies on that, wherever the index comes from. */
export function isSoundNv(index: NvIndex): boolean {
  const digestSize = digestSizes.get(index.nameAlg) ?? 0;
  const type = nvType(index.attributes);
  const size = sizeOfType(type, digestSize);
  return (
    handleType(index.handle) === Ht.NV_INDEX &&
    types.has(type) &&
    (size === undefined || index.dataSize === size) &&
    index.data.length === index.dataSize &&
    (index.authPolicy.length === 0 || index.authPolicy.length === digestSize) &&
    index.authValue.length <= digestSize
  );
}

/** Bytes that an index of a type must have; undefined: any number. */
function sizeOfType(type: number, digestSize: number): number | undefined {
  switch (type) {
    case Nt.ORDINARY:
      return undefined;
    case Nt.EXTEND:
      return digestSize;
    default:
      return FIXED_SIZE;
  }
}

/** What the attributes of one type must be like, beside what all must be. */
function typeAllows(type: number, attributes: number): boolean {
  const none = (unwanted: number): boolean => (attributes & unwanted) === 0;
  switch (type) {
    case Nt.COUNTER:
      return none(CLEAR_STCLEAR);
    // authValue is not to be had before a PIN is written: it could never be, or be locked for good at a value that nobody wants.
    case Nt.PIN_FAIL:
      return none(AUTHWRITE | GLOBALLOCK | WRITEDEFINE) && (attributes & NO_DA) !== 0;
    case Nt.PIN_PASS:
      return none(AUTHWRITE | GLOBALLOCK | WRITEDEFINE);
    default:
      return true;
  }
}

/** Throws what is wrong with a new index, of handle 1 and parameters 1 and 2, in the order of the reference (Part 3, 31.3). */
function requireDefinable(engine: Engine, authHandle: number, auth: Uint8Array, publicInfo: NvPublic): void {
  const { attributes, authPolicy, dataSize, nameAlg } = publicInfo;
  const has = (attribute: number): boolean => (attributes & attribute) !== 0;
  const digestSize = digestSizes.get(nameAlg)!;
  const ofPublic = (rc: number): TpmError => new TpmError(ofParameter(rc, 2));

  if (authPolicy.length !== 0 && authPolicy.length !== digestSize) throw ofPublic(Rc.SIZE);
  if (auth.length > digestSize) throw new TpmError(ofParameter(Rc.SIZE, 1));
  if (authHandle === Rh.PLATFORM && !engine.state.clear.platformNvEnable)
    throw new TpmError(ofHandle(Rc.HIERARCHY, 1));

  const type = nvType(attributes);
  if (!types.has(type)) throw ofPublic(Rc.ATTRIBUTES);
  const size = sizeOfType(type, digestSize);
  if (size !== undefined && dataSize !== size) throw ofPublic(Rc.SIZE);
  if (!typeAllows(type, attributes)) throw ofPublic(Rc.ATTRIBUTES);
  // What only use can set.
  if (has(WRITTEN | WRITELOCKED | READLOCKED)) throw ofPublic(Rc.ATTRIBUTES);
  // Somebody must be able to read it, and to write it.
  if (!has(OWNERREAD | PPREAD | AUTHREAD | POLICYREAD)) throw ofPublic(Rc.ATTRIBUTES);
  if (!has(OWNERWRITE | PPWRITE | AUTHWRITE | POLICYWRITE)) throw ofPublic(Rc.ATTRIBUTES);
  if (has(CLEAR_STCLEAR) && has(WRITEDEFINE)) throw ofPublic(Rc.ATTRIBUTES);
  // Who makes it must be able to delete it.
  if (has(PLATFORMCREATE) !== (authHandle === Rh.PLATFORM)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
  if (has(POLICY_DELETE) && authHandle !== Rh.PLATFORM) throw ofPublic(Rc.ATTRIBUTES);
  // It could never be written in one piece.
  if (has(WRITEALL) && dataSize > Max.NV_BUFFER) throw ofPublic(Rc.SIZE);
  if (nvIndexAt(engine, publicInfo.nvIndex) !== undefined) throw new TpmError(Rc.NV_DEFINED);

  const { nvIndices } = engine.state.permanent;
  const used = nvIndices.reduce((sum, index) => sum + index.dataSize, 0);
  if (nvIndices.length >= engine.limits.nvIndices || used + dataSize > engine.limits.nvSpace)
    throw new TpmError(Rc.NV_SPACE);
}

/** Makes a new index. Throws what TPM2_NV_DefineSpace answers. */
export function defineNv(engine: Engine, authHandle: number, auth: Uint8Array, publicInfo: NvPublic): void {
  const authValue = withoutTrailingZeros(auth);
  requireDefinable(engine, authHandle, authValue, publicInfo);
  const { nvIndex, nameAlg, attributes, authPolicy, dataSize } = publicInfo;
  engine.state.permanent.nvIndices.push({
    handle: nvIndex,
    nameAlg,
    attributes,
    authPolicy,
    authValue,
    dataSize,
    data: new Uint8Array(dataSize),
  });
  engine.nvDirty = true;
}

/** Deletes an index. What a counter has reached is remembered: no new one begins below it, so that none goes back by being made anew. */
export function deleteNv(engine: Engine, index: NvIndex): void {
  const { permanent } = engine.state;
  if (nvType(index.attributes) === Nt.COUNTER) {
    const reached = nvNumber(index, 0n);
    if (reached > permanent.maximumCounter) permanent.maximumCounter = reached;
  }
  index.authValue.fill(0);
  permanent.nvIndices = permanent.nvIndices.filter((other) => other !== index);
  engine.nvDirty = true;
}

/** Deletes the persistent objects of a hierarchy, and of the owner the NV indices too (Part 3, 24.6 "Clear"). */
export function flushPermanent(engine: Engine, hierarchy: number): void {
  const { permanent } = engine.state;
  permanent.persistent = permanent.persistent.filter(({ object }) => object.hierarchy !== hierarchy);
  if (hierarchy === Rh.OWNER) {
    for (const index of [...permanent.nvIndices])
      if (!hasNvAttribute(index, PLATFORMCREATE)) deleteNv(engine, index);
  }
  engine.nvDirty = true;
}

/**
 * What a start-up makes of the indices: nothing, when it is a Resume. Otherwise locks go that hold only so long, and so does data that is cleared by it
 * (Part 1, 37.5; Part 3, 9.3). `volatile.startedOrderly` must be known: a counter that power was taken from goes on from a value that it
 * cannot have had yet.
 */
export function nvStartup(engine: Engine, kind: "reset" | "restart" | "resume"): void {
  if (kind === "resume") return;
  const { permanent, volatile } = engine.state;
  for (const index of permanent.nvIndices) {
    const counter = nvType(index.attributes) === Nt.COUNTER;
    const orderly = hasNvAttribute(index, ORDERLY);
    let lost = READLOCKED;
    if (!counter && (hasNvAttribute(index, CLEAR_STCLEAR) || (orderly && kind === "reset"))) lost |= WRITTEN;
    if (!hasNvAttribute(index, WRITTEN & ~lost) || !hasNvAttribute(index, WRITEDEFINE)) lost |= WRITELOCKED;
    index.attributes = (index.attributes & ~lost) >>> 0;
    if (counter && orderly && !volatile.startedOrderly && hasNvAttribute(index, WRITTEN))
      viewOf(index).setBigUint64(0, nvNumber(index, 0n) | ORDERLY_COUNT);
  }
  engine.nvDirty = true;
}

import {
  Alg,
  type Context,
  digestSizes,
  Max,
  ofParameter,
  Rc,
  Rh,
  TPM2B_DIGEST,
  TpmError,
  TpmReader,
  TpmWriter,
  type Type,
} from "@entresol/tpm-types";
import { kdfa } from "./crypto/kdf.ts";
import { CONTEXT_HASH, type Engine, u32, u64 } from "./engine.ts";
import { hierarchyEnabled, slotAt } from "./entities.ts";
import { allocateSlot, requireFreeSlot } from "./objects.ts";
import { savedTypes } from "./saved-state.ts";
import { isSequence } from "./sequences.ts";
import { sessionAt } from "./sessions.ts";
import { proofOf } from "./tickets.ts";

/*
 * Saved contexts (Part 1, clause 30): objects, sequences and sessions that the TPM has given out of its hands, encrypted and authenticated by a
 * hierarchy's proof. An object may be loaded as often as one likes; of a session exactly one form exists, in the TPM or outside.
 */

/** The cipher of contexts (TPM_PT_CONTEXT_SYM, bits TPM_PT_CONTEXT_SYM_SIZE): in CFB mode. */
export const CONTEXT_CIPHER = Alg.AES;
export const CONTEXT_KEY_BITS = 256;
const BLOCK = 16;
/** How many saves of sessions a saved session may lie behind (TPM_PT_CONTEXT_GAP_MAX). */
export const CONTEXT_GAP_MAX = 0xffff;

/** What a saved context says of its content by its handle (Part 2, 14.5). */
const Saved = { OBJECT: 0x8000_0000, SEQUENCE: 0x8000_0001, ST_CLEAR: 0x8000_0002 } as const;

/** Of the bytes inside; another one is not loaded. */
const FORMAT = 1;
/** The response around a context: header, sequence, handles and the blob's size. */
const RESPONSE_OVERHEAD = 10 + 8 + 4 + 4 + 2;

/** Has the oldest saved session fallen so far behind that no other may be saved (Part 1, 30.5)? */
export function gapIsFull(engine: Engine): boolean {
  const { reset } = engine.state;
  return reset.savedSessions.some(({ sequence }) => reset.contextCounter - sequence > CONTEXT_GAP_MAX);
}

/** Is there one slot left for a session, which only the oldest saved one may have? */
export function gapKeepsLastSlot(engine: Engine): boolean {
  const free = engine.limits.loadedSessions - engine.state.volatile.sessions.length;
  return free === 1 && gapIsFull(engine);
}

/** Key and vector by the proof of the hierarchy: every context has its own (Part 1, 30.3.1). */
function cryptContext(
  engine: Engine,
  { sequence, savedHandle, hierarchy }: Omit<Context, "contextBlob">,
  data: Uint8Array,
  encrypt: boolean,
): Uint8Array {
  const material = kdfa(
    engine.crypto,
    CONTEXT_HASH,
    proofOf(engine, hierarchy),
    "CONTEXT",
    u64(sequence),
    u32(savedHandle),
    CONTEXT_KEY_BITS + 8 * BLOCK,
  );
  const keySize = CONTEXT_KEY_BITS / 8;
  const [key, iv] = [material.subarray(0, keySize), material.subarray(keySize)];
  return engine.crypto.cipher(CONTEXT_CIPHER, Alg.CFB, key, iv, data, encrypt);
}

/**
 * Integrity (Part 1, 30.3.2): the count of resets, so that no context outlives one; for an object with stClear the count of restarts as well;
 * sequence, handle and the encrypted content.
 */
function contextIntegrity(
  engine: Engine,
  { sequence, savedHandle, hierarchy }: Omit<Context, "contextBlob">,
  encrypted: Uint8Array,
): Uint8Array {
  const { permanent, reset } = engine.state;
  return engine.crypto.hmac(
    CONTEXT_HASH,
    proofOf(engine, hierarchy),
    u32(permanent.totalResetCount),
    savedHandle === Saved.ST_CLEAR ? u32(reset.clearCount) : new Uint8Array(0),
    u64(sequence),
    u32(savedHandle),
    encrypted,
  );
}

/** Wraps a value up. Throws TPM_RC_MEMORY when there is more of it than a response can carry. */
function wrap<T>(engine: Engine, head: Omit<Context, "contextBlob">, type: Type<T>, value: T): Context {
  const writer = new TpmWriter(2048);
  writer.u64(head.sequence).u8(FORMAT);
  type.write(writer, value);
  const encrypted = cryptContext(engine, head, writer.view(), true);
  writer.view().fill(0);
  const blob = new TpmWriter(encrypted.length + 2 + digestSizes.get(CONTEXT_HASH)!);
  blob.sized(contextIntegrity(engine, head, encrypted)).bytes(encrypted);
  if (blob.length > Max.RESPONSE - RESPONSE_OVERHEAD) throw new TpmError(Rc.MEMORY);
  return { ...head, contextBlob: blob.finish() };
}

const wrong = (rc: number): TpmError => new TpmError(ofParameter(rc, 1));

/** Checks and decrypts: a reader at the value. Throws TPM_RC_SIZE and TPM_RC_INTEGRITY of the first parameter. */
function unwrap(engine: Engine, context: Context): TpmReader {
  const reader = new TpmReader(context.contextBlob);
  const integrity = TPM2B_DIGEST.read(reader);
  if (integrity.length !== digestSizes.get(CONTEXT_HASH)) throw wrong(Rc.SIZE);
  if (reader.remaining < 8) throw wrong(Rc.SIZE);
  const encrypted = reader.take(reader.remaining);
  if (!engine.crypto.equal(integrity, contextIntegrity(engine, context, encrypted)))
    throw wrong(Rc.INTEGRITY);
  const content = new TpmReader(cryptContext(engine, context, encrypted, false));
  // The TPM itself has made what follows; another build of it may have.
  if (content.u64() !== context.sequence || content.u8() !== FORMAT) throw wrong(Rc.INTEGRITY);
  return content;
}

function readWhole<T>(reader: TpmReader, type: Type<T>): T {
  try {
    const value = type.read(reader);
    if (reader.remaining === 0) return value;
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
  }
  throw wrong(Rc.INTEGRITY);
}

/** A context of the object or sequence in a transient slot, where it stays. */
export function saveObject(engine: Engine, handle: number): Context {
  const { reset } = engine.state;
  const slot = slotAt(engine, handle);
  if (slot === undefined) throw new TpmError(Rc.HANDLE);
  const sequence = reset.objectContextId;
  const head =
    slot.kind === "sequence"
      ? { sequence, savedHandle: Saved.SEQUENCE, hierarchy: Rh.NULL }
      : {
          sequence,
          savedHandle: slot.object.stClear ? Saved.ST_CLEAR : Saved.OBJECT,
          hierarchy: slot.object.hierarchy,
        };
  const context = wrap(engine, head, savedTypes.slot, slot);
  reset.objectContextId++;
  return context;
}

/** A context of a loaded session, which is not loaded any more then. Throws TPM_RC_CONTEXT_GAP. */
export function saveSession(engine: Engine, handle: number): Context {
  const { volatile, reset } = engine.state;
  const session = sessionAt(engine, handle);
  if (session === undefined) throw new TpmError(Rc.HANDLE);
  if (gapIsFull(engine)) throw new TpmError(Rc.CONTEXT_GAP);
  const sequence = reset.contextCounter;
  const head = { sequence, savedHandle: handle, hierarchy: Rh.NULL };
  const context = wrap(engine, head, savedTypes.session, session);
  reset.contextCounter++;
  reset.savedSessions.push({ handle, sequence });
  // An exclusive audit session stays the exclusive one: saving is no command that counts (Part 1, 17.4).
  volatile.sessions.splice(volatile.sessions.indexOf(session), 1);
  session.sessionKey.fill(0);
  return context;
}

/**
 * Loads a context and gives the handle of what was in it. Throws, of the first parameter, TPM_RC_SIZE or TPM_RC_INTEGRITY for bytes that this
 * TPM did not give out since its reset, TPM_RC_HIERARCHY for an object of a disabled one, TPM_RC_HANDLE for a session that is not out, and
 * without parameter TPM_RC_OBJECT_MEMORY, TPM_RC_SESSION_MEMORY and TPM_RC_CONTEXT_GAP.
 */
export function loadContext(engine: Engine, context: Context): number {
  const reader = unwrap(engine, context);
  const { savedHandle } = context;
  const ofObject = savedHandle >= Saved.OBJECT && savedHandle <= Saved.ST_CLEAR;
  return ofObject ? loadObject(engine, context, reader) : loadSession(engine, context, reader);
}

function loadObject(engine: Engine, context: Context, reader: TpmReader): number {
  if (!hierarchyEnabled(engine, context.hierarchy)) throw wrong(Rc.HIERARCHY);
  requireFreeSlot(engine);
  const slot = readWhole(reader, savedTypes.slot);
  // Another build may keep running hashes in another way.
  if (slot.kind === "sequence" && !isSequence(engine, slot.sequence)) throw wrong(Rc.INTEGRITY);
  return allocateSlot(engine, slot);
}

function loadSession(engine: Engine, { sequence, savedHandle }: Context, reader: TpmReader): number {
  const { volatile, reset } = engine.state;
  const saved = reset.savedSessions.find((entry) => entry.handle === savedHandle);
  // An older context of the same session, or one that was loaded already: played back.
  if (saved === undefined || saved.sequence !== sequence) throw wrong(Rc.HANDLE);
  if (volatile.sessions.length >= engine.limits.loadedSessions) throw new TpmError(Rc.SESSION_MEMORY);
  const oldest = reset.savedSessions.every((entry) => entry.sequence >= sequence);
  if (gapKeepsLastSlot(engine) && !oldest) throw new TpmError(Rc.CONTEXT_GAP);
  const session = readWhole(reader, savedTypes.session);
  reset.savedSessions.splice(reset.savedSessions.indexOf(saved), 1);
  volatile.sessions.push(session);
  return session.handle;
}

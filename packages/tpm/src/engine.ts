import { Alg, Rc, TpmError } from "@entresol/tpm-types";
import type { CryptoProvider } from "./crypto/provider.ts";
import type { DeferredSearch } from "./key-search.ts";
import type { StoredObject, TpmState } from "./state.ts";

/** Where time comes from: milliseconds that never go back, from any start. */
export type TimeSource = () => number;

/** What the engine is bounded by. */
export interface Limits {
  /** Slots for transient objects and sequences, and of loaded sessions. */
  readonly transientObjects: number;
  readonly loadedSessions: number;
  /** Loaded and saved. */
  readonly activeSessions: number;
  readonly persistentObjects: number;
  readonly nvIndices: number;
  /** Bytes of all NV indices together. */
  readonly nvSpace: number;
}

export const defaultLimits: Limits = {
  transientObjects: 3,
  loadedSessions: 3,
  activeSessions: 64,
  persistentObjects: 64,
  nvIndices: 256,
  nvSpace: 128 * 1024,
};

/** Who the TPM says it is. Four characters each, padded with zero bytes. */
export interface Identity {
  readonly manufacturer: string;
  /** Up to 16 characters. */
  readonly vendorString: string;
  /** Two 32-bit words. */
  readonly firmwareVersion: readonly [number, number];
}

/** What commands work on: the state, and the services around it. One per TPM. */
export interface Engine {
  readonly crypto: CryptoProvider;
  readonly limits: Limits;
  readonly identity: Identity;
  state: TpmState;
  /** Locality of the command that runs. */
  locality: number;
  /** Something that NV holds was changed: it is written down before the response is given. */
  nvDirty: boolean;
  /** Bytes that the interface carries in either direction: the largest command and response (TPM_PT_MAX_COMMAND_SIZE). */
  bufferSize: number;
  /** RSA-1024 may be made and used. */
  readonly weakRsa: boolean;
  /** Hashes of the tables that this TPM neither lists nor takes. */
  readonly without: ReadonlySet<number>;
  /** How searches for keys are put off; undefined: they are made at once. */
  keySearch?: DeferredSearch | undefined;
  /** Somebody waits for the command to end early. Long work asks now and then and answers TPM_RC_CANCELED. */
  canceled(): boolean;
  readonly now: TimeSource;
}

/** Hash by which contexts, tickets and proofs are made (TPM_PT_CONTEXT_HASH). */
export const CONTEXT_HASH = Alg.SHA512;
/** Size of seeds and proofs in bytes. */
export const PRIMARY_SEED_SIZE = 64;
export const PROOF_SIZE = 64;

const nothing: Uint8Array = new Uint8Array(0);

/** The object in a slot of `handle`, transient or persistent. Throws TPM_RC_HANDLE when there is none, or a sequence. */
export function objectAt(engine: Engine, handle: number): StoredObject {
  const { volatile, permanent } = engine.state;
  const transient = volatile.transients.find((entry) => entry.handle === handle);
  if (transient?.slot.kind === "object") return transient.slot.object;
  const persistent = permanent.persistent.find((entry) => entry.handle === handle);
  if (persistent !== undefined) return persistent.object;
  throw new TpmError(Rc.HANDLE);
}

/** A buffer without its trailing zeros: authValues are compared and used so (Part 1, 19.6.4.3). */
export function withoutTrailingZeros(value: Uint8Array): Uint8Array {
  let length = value.length;
  while (length > 0 && value[length - 1] === 0) length--;
  return length === value.length ? value : value.slice(0, length);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 0) return nothing;
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Big-endian. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of((value >>> 8) & 0xff, value & 0xff);
}
export function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}
export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

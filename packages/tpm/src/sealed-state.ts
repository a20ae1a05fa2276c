import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { TpmError, TpmReader, TpmWriter } from "@entresol/tpm-types";
import { concat } from "./engine.ts";
import { TpmStateError } from "./saved-state.ts";

/*
 * A saved state wrapped for a file or the network: with its epoch, and encrypted and authenticated when there is a key. Big-endian:
 *
 *   u32 "ENTS"  u16 version  u8 kind  u8 1 when encrypted  u64 epoch
 *   encrypted: 12 bytes nonce, AES-256-GCM of the state with the 16 bytes above as additional data, 16 bytes tag
 *   else:      32 bytes SHA-256 of the 16 bytes above and the state, the state
 */

const MAGIC = 0x454e_5453;
const VERSION = 1;
const HEADER = 16;
const NONCE = 12;
const TAG = 16;
const CHECKSUM = 32;

/** What is inside: so that one is never taken for another, even under one key. */
export const StateKind = { permanent: 1, volatile: 2 } as const;
export type StateKind = (typeof StateKind)[keyof typeof StateKind];

/** What states are encrypted by: an AES-256 key made of a secret of 16 bytes or more. Throws `RangeError` for a shorter one. */
export class StateKey {
  readonly cipherKey: KeyObject;

  constructor(secret: Uint8Array) {
    if (secret.length < 16)
      throw new RangeError(`a key of ${secret.length} bytes is too short: 16 are the least`);
    const derived = hkdfSync("sha256", secret, new Uint8Array(0), "entresol tpm state", 32);
    this.cipherKey = createSecretKey(new Uint8Array(derived));
  }
}

function cipherKey(key: StateKey | Uint8Array): KeyObject {
  return (key instanceof StateKey ? key : new StateKey(key)).cipherKey;
}

/** Wraps a state. `epoch` counts the states of one TPM. */
export function sealState(
  kind: StateKind,
  epoch: bigint,
  state: Uint8Array,
  key: StateKey | Uint8Array | undefined,
): Uint8Array {
  const encrypted = key !== undefined;
  const header = new TpmWriter(HEADER)
    .u32(MAGIC)
    .u16(VERSION)
    .u8(kind)
    .u8(encrypted ? 1 : 0)
    .u64(epoch)
    .finish();
  if (key === undefined) return concat(header, checksum(header, state), state);
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv("aes-256-gcm", cipherKey(key), nonce);
  cipher.setAAD(header);
  return concat(header, nonce, cipher.update(state), cipher.final(), cipher.getAuthTag());
}

function checksum(header: Uint8Array, state: Uint8Array): Uint8Array {
  return createHash("sha256").update(header).update(state).digest();
}

/**
 * Unwraps a state. Throws `TpmStateError`: `bad-magic` and `bad-version` for what is no such state, or of another kind; `malformed` for one that is
 * damaged; `wrong-key` for one that this key does not open, that is encrypted where there is no key, or not where there is one.
 */
export function openState(
  kind: StateKind,
  sealed: Uint8Array,
  key: StateKey | Uint8Array | undefined,
): { readonly epoch: bigint; readonly state: Uint8Array } {
  const { encrypted, epoch } = readHeader(kind, sealed);
  if (encrypted !== (key !== undefined))
    throw new TpmStateError(
      "wrong-key",
      encrypted
        ? "the state is encrypted and there is no key"
        : "there is a key and the state is not encrypted",
    );
  const header = sealed.subarray(0, HEADER);
  if (key === undefined) {
    const sum = sealed.subarray(HEADER, HEADER + CHECKSUM);
    const state = sealed.slice(HEADER + CHECKSUM);
    if (sum.length < CHECKSUM || !timingSafeEqual(sum, checksum(header, state)))
      throw new TpmStateError("malformed", "the state is damaged: its checksum is wrong");
    return { epoch, state };
  }
  if (sealed.length < HEADER + NONCE + TAG) throw new TpmStateError("malformed", "the state is cut short");
  const nonce = sealed.subarray(HEADER, HEADER + NONCE);
  const decipher = createDecipheriv("aes-256-gcm", cipherKey(key), nonce);
  decipher.setAAD(header);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  const clear = decipher.update(sealed.subarray(HEADER + NONCE, sealed.length - TAG));
  try {
    return { epoch, state: concat(clear, decipher.final()) };
  } catch (cause) {
    throw new TpmStateError("wrong-key", "the state does not open: another key, or it was changed", {
      cause,
    });
  }
}

function readHeader(kind: StateKind, sealed: Uint8Array): { encrypted: boolean; epoch: bigint } {
  const reader = new TpmReader(sealed);
  try {
    if (reader.u32() !== MAGIC) throw new TpmStateError("bad-magic", "these bytes are no state of this TPM");
    const version = reader.u16();
    if (version !== VERSION)
      throw new TpmStateError("bad-version", `state wrapped in way ${version}; this build reads ${VERSION}`);
    if (reader.u8() !== kind)
      throw new TpmStateError("bad-magic", "permanent and volatile state were taken for each other");
    const encrypted = reader.u8();
    if (encrypted > 1) throw new TpmStateError("malformed", `the state says ${encrypted} of its encryption`);
    return { encrypted: encrypted === 1, epoch: reader.u64() };
  } catch (error) {
    if (!(error instanceof TpmError)) throw error;
    throw new TpmStateError("malformed", "the state is cut short", { cause: error });
  }
}

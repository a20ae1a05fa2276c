import { Alg, digestSizes, pcrBankHashes, TPM_GENERATED, type TpmtHa } from "@entresol/tpm-types";
import type { CryptoProvider } from "./crypto/provider.ts";
import { blockSizeOf } from "./crypto/running-hash.ts";
import { concat, type Engine } from "./engine.ts";
import type { SequenceState } from "./state.ts";

/*
 * Hashes, MACs and events that come in pieces (Part 1, clause 32). Between two pieces a sequence is plain data: the hashes' states as they
 * are saved, and for CMAC the chained block with the bytes behind it.
 */

const empty: Uint8Array = new Uint8Array(0);
const INNER = 0x36;
const OUTER = 0x5c;
/** Of the ciphers that there are. */
const CIPHER_BLOCK = 16;

const GENERATED_SIZE = 4;
/** Does the data begin as an attestation of the TPM does? Then no ticket may say that it is safe to sign (Part 1, 31.4). */
export function beginsGenerated(data: Uint8Array): boolean {
  return (
    data.length >= GENERATED_SIZE &&
    new DataView(data.buffer, data.byteOffset, data.length).getUint32(0) === TPM_GENERATED
  );
}

function begun(
  crypto: CryptoProvider,
  alg: number,
  first: Uint8Array = empty,
): { alg: number; state: Uint8Array } {
  const hash = crypto.runningHash(alg);
  hash.update(first);
  return { alg, state: hash.save() };
}

function sequence(kind: SequenceState["kind"], auth: Uint8Array): SequenceState {
  return { kind, auth, hashes: [], key: empty, mac: undefined, firstBlock: true, ticketSafe: false };
}

export function hashSequence({ crypto }: Engine, auth: Uint8Array, hash: number): SequenceState {
  return { ...sequence("hash", auth), hashes: [begun(crypto, hash)] };
}

/** A hash of every kind that has a PCR bank. */
export function eventSequence({ crypto }: Engine, auth: Uint8Array): SequenceState {
  return { ...sequence("event", auth), hashes: pcrBankHashes.map((hash) => begun(crypto, hash)) };
}

/** The key of an HMAC filled to a block, with every byte XORed (RFC 2104). */
function padded(crypto: CryptoProvider, hash: number, key: Uint8Array, pad: number): Uint8Array {
  const size = blockSizeOf(hash);
  const block = new Uint8Array(size);
  block.set(key.length > size ? crypto.hash(hash, key) : key);
  return block.map((byte) => byte ^ pad);
}

export function hmacSequence(
  { crypto }: Engine,
  auth: Uint8Array,
  hash: number,
  key: Uint8Array,
): SequenceState {
  return {
    ...sequence("hmac", auth),
    hashes: [begun(crypto, hash, padded(crypto, hash, key, INNER))],
    key,
  };
}

/** By the CMAC of a block cipher. */
export function cmacSequence(auth: Uint8Array, cipher: number, key: Uint8Array): SequenceState {
  return { ...sequence("hmac", auth), key, mac: { alg: cipher, data: new Uint8Array(CIPHER_BLOCK) } };
}

/** Feeds the sequence, in place. */
export function updateSequence({ crypto }: Engine, state: SequenceState, data: Uint8Array): void {
  if (state.kind === "hash" && state.firstBlock) {
    state.firstBlock = false;
    // Of fewer bytes than TPM_GENERATED has nobody knows how they will go on.
    state.ticketSafe = data.length >= GENERATED_SIZE && !beginsGenerated(data);
  }
  for (const hash of state.hashes) {
    const running = resumed(crypto, hash);
    running.update(data);
    hash.state = running.save();
  }
  if (state.mac !== undefined) updateCmac(crypto, state.key, state.mac, data);
}

/** Digest of a hash or HMAC sequence, or MAC, after the last data. */
export function completeSequence(engine: Engine, state: SequenceState, data: Uint8Array): Uint8Array {
  const { crypto } = engine;
  updateSequence(engine, state, data);
  if (state.mac !== undefined) {
    const { alg, data: left } = state.mac;
    return crypto.cmac(alg, state.key, left.subarray(CIPHER_BLOCK), left.subarray(0, CIPHER_BLOCK));
  }
  const hash = state.hashes[0]!;
  const digest = resumed(crypto, hash).digest();
  if (state.kind === "hash") return digest;
  return crypto.hash(hash.alg, padded(crypto, hash.alg, state.key, OUTER), digest);
}

/** Digests of an event sequence by its hashes, after the last data. */
export function completeEvent(engine: Engine, state: SequenceState, data: Uint8Array): TpmtHa[] {
  updateSequence(engine, state, data);
  return state.hashes.map((hash) => ({ hashAlg: hash.alg, digest: resumed(engine.crypto, hash).digest() }));
}

function resumed(crypto: CryptoProvider, { alg, state }: { alg: number; state: Uint8Array }) {
  const running = crypto.resumeHash(alg, state);
  // States come from `save`, or were checked when they were read back.
  if (running === undefined) throw new RangeError("a sequence whose hash state is none");
  return running;
}

/** Chains whole blocks, but never the last one, which a subkey belongs to. */
function updateCmac(
  crypto: CryptoProvider,
  key: Uint8Array,
  mac: { readonly alg: number; data: Uint8Array },
  data: Uint8Array,
): void {
  const chained = mac.data.subarray(0, CIPHER_BLOCK);
  const pending = concat(mac.data.subarray(CIPHER_BLOCK), data);
  const blocks = Math.max(0, Math.ceil(pending.length / CIPHER_BLOCK) - 1) * CIPHER_BLOCK;
  const whole = pending.subarray(0, blocks);
  const next =
    blocks === 0
      ? chained
      : crypto.cipher(mac.alg, Alg.CBC, key, chained, whole, true).subarray(-CIPHER_BLOCK);
  mac.data = concat(next, pending.subarray(blocks));
}

/** Can this be the state of a sequence? For one that comes from outside. */
export function isSequence({ crypto }: Pick<Engine, "crypto">, state: SequenceState): boolean {
  if (state.mac !== undefined) {
    const { length } = state.mac.data;
    return (
      state.kind === "hmac" &&
      state.hashes.length === 0 &&
      length >= CIPHER_BLOCK &&
      length <= 2 * CIPHER_BLOCK
    );
  }
  const wanted = state.kind === "event" ? pcrBankHashes : [state.hashes[0]?.alg ?? Alg.NULL];
  return (
    state.hashes.length === wanted.length &&
    state.hashes.every(
      ({ alg, state: saved }, i) =>
        alg === wanted[i] && digestSizes.has(alg) && crypto.resumeHash(alg, saved) !== undefined,
    )
  );
}

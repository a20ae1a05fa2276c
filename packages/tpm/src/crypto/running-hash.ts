import { Alg, digestSizes } from "@entresol/tpm-types";
import { absorbKeccak, KECCAK_STATE_WORDS } from "./keccak.ts";
import type { RunningHash } from "./provider.ts";
import { compressSha1, sha1Initial } from "./sha1.ts";
import { compressSha256, sha256Initial } from "./sha256.ts";
import { compressSha512, sha384Initial, sha512Initial } from "./sha512.ts";

/*
 * Hashes whose state between two blocks can be written down, which OpenSSL's through node:crypto cannot: for sequences, that are saved as contexts and move
 * with a TPM. A saved state is the chaining words (32 bits each, big-endian), the length so far in bytes (64 bits), and what the last block has
 * of it.
 */

interface Construction {
  /** Bytes of a block. */
  readonly block: number;
  /** Chaining words at the start. */
  readonly initial: readonly number[];
  /** Works the block at `offset` into the words. */
  readonly compress: (words: Int32Array, bytes: Uint8Array, offset: number, block: number) => void;
  /** The last bytes after the data: the first and, of Merkle and Damgård's hashes, the size of the length at the end; a sponge has a bit there. */
  readonly padding: { readonly first: number; readonly lengthSize: number };
  /** Words of a sponge are little-endian. */
  readonly littleEndian: boolean;
}

function merkleDamgard(
  block: number,
  initial: readonly number[],
  compress: Construction["compress"],
): Construction {
  return { block, initial, compress, padding: { first: 0x80, lengthSize: block / 8 }, littleEndian: false };
}
/** SHA-3 with a digest of `size` bytes: the capacity is twice that (FIPS 202, 6.1). */
function sponge(size: number): Construction {
  const initial = new Array<number>(KECCAK_STATE_WORDS).fill(0);
  const padding = { first: 0x06, lengthSize: 0 };
  return { block: 200 - 2 * size, initial, compress: absorbKeccak, padding, littleEndian: true };
}

const constructions: ReadonlyMap<number, Construction> = new Map([
  [Alg.SHA1, merkleDamgard(64, sha1Initial, compressSha1)],
  [Alg.SHA256, merkleDamgard(64, sha256Initial, compressSha256)],
  [Alg.SHA384, merkleDamgard(128, sha384Initial, compressSha512)],
  [Alg.SHA512, merkleDamgard(128, sha512Initial, compressSha512)],
  [Alg.SHA3_256, sponge(32)],
  [Alg.SHA3_384, sponge(48)],
  [Alg.SHA3_512, sponge(64)],
]);

function constructionOf(alg: number): Construction {
  const construction = constructions.get(alg);
  if (construction === undefined) throw new RangeError(`hash 0x${alg.toString(16)} is not implemented`);
  return construction;
}

/** Bytes of a block of the hash: the size to which HMAC fills its key. */
export function blockSizeOf(alg: number): number {
  return constructionOf(alg).block;
}

const LENGTH_SIZE = 8;

class SavableHash implements RunningHash {
  readonly #construction: Construction;
  readonly #digestSize: number;
  readonly #words: Int32Array;
  readonly #pending: Uint8Array;
  /** Bytes so far. */
  #length = 0;

  constructor(alg: number) {
    this.#construction = constructionOf(alg);
    this.#digestSize = digestSizes.get(alg)!;
    this.#words = Int32Array.from(this.#construction.initial);
    this.#pending = new Uint8Array(this.#construction.block);
  }

  update(data: Uint8Array): void {
    const { block, compress } = this.#construction;
    const held = this.#length % block;
    this.#length += data.length;
    let at = 0;
    if (held > 0) {
      at = Math.min(block - held, data.length);
      this.#pending.set(data.subarray(0, at), held);
      if (held + at < block) return;
      compress(this.#words, this.#pending, 0, block);
    }
    for (; at + block <= data.length; at += block) compress(this.#words, data, at, block);
    this.#pending.set(data.subarray(at));
  }

  digest(): Uint8Array {
    const { block, compress, padding, littleEndian } = this.#construction;
    const held = this.#length % block;
    const end = this.#pending;
    end.fill(0, held);
    end[held] = padding.first;
    if (padding.lengthSize === 0) {
      end[block - 1]! |= 0x80;
    } else {
      if (held + 1 + padding.lengthSize > block) {
        compress(this.#words, end, 0, block);
        end.fill(0);
      }
      // Of the length's 64 or 128 bits the upper ones are zero: bytes are counted in a double.
      new DataView(end.buffer).setBigUint64(block - 8, 8n * BigInt(this.#length));
    }
    compress(this.#words, end, 0, block);
    return this.#wordBytes(littleEndian).slice(0, this.#digestSize);
  }

  save(): Uint8Array {
    const words = this.#wordBytes(false);
    const held = this.#length % this.#construction.block;
    const state = new Uint8Array(words.length + LENGTH_SIZE + held);
    state.set(words);
    new DataView(state.buffer).setBigUint64(words.length, BigInt(this.#length));
    state.set(this.#pending.subarray(0, held), words.length + LENGTH_SIZE);
    return state;
  }

  /** Takes what `save` gave; false for what cannot be that. */
  restore(state: Uint8Array): boolean {
    const { block } = this.#construction;
    const wordsSize = 4 * this.#words.length;
    if (state.length < wordsSize + LENGTH_SIZE) return false;
    const view = new DataView(state.buffer, state.byteOffset, state.length);
    const length = view.getBigUint64(wordsSize);
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) return false;
    const held = Number(length) % block;
    if (state.length !== wordsSize + LENGTH_SIZE + held) return false;
    for (let i = 0; i < this.#words.length; i++) this.#words[i] = view.getInt32(4 * i);
    this.#pending.set(state.subarray(wordsSize + LENGTH_SIZE));
    this.#length = Number(length);
    return true;
  }

  #wordBytes(littleEndian: boolean): Uint8Array {
    const bytes = new Uint8Array(4 * this.#words.length);
    const view = new DataView(bytes.buffer);
    for (const [i, word] of this.#words.entries()) view.setInt32(4 * i, word, littleEndian);
    return bytes;
  }
}

export function runningHash(alg: number): RunningHash {
  return new SavableHash(alg);
}

/** Goes on from a saved state; undefined for a state that no `save` of that hash gave. */
export function resumeHash(alg: number, state: Uint8Array): RunningHash | undefined {
  const hash = new SavableHash(alg);
  return hash.restore(state) ? hash : undefined;
}

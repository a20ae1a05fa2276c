import { createHash } from "node:crypto";
import type { CryptoProvider } from "@entresol/tpm";
import { nodeProvider } from "@entresol/tpm";

/** Bytes of the generator's state. */
export const RANDOM_STATE_SIZE = 64;

/** What each use of the state is marked with, so that none gives what another one gave. */
const use = { output: 0, next: 1, stir: 2 } as const;

function digest(state: Uint8Array, mark: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha512").update(state).update(Uint8Array.of(mark));
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/**
 * Where a machine's TPM has its randomness from: all of it follows from the seed and from what was stirred in, so that a run can be
 * repeated; who knows neither cannot tell it from other randomness. What was given cannot be computed from a later state.
 */
export class SeededRandom {
  #state: Uint8Array;

  constructor(...seed: readonly Uint8Array[]) {
    this.#state = digest(new Uint8Array(RANDOM_STATE_SIZE), use.stir, ...seed);
  }

  /** A secret like those that it makes. */
  get state(): Uint8Array {
    return this.#state.slice();
  }
  /** `RANDOM_STATE_SIZE` bytes. */
  set state(state: Uint8Array) {
    if (state.length !== RANDOM_STATE_SIZE) throw new RangeError(`a state of ${state.length} bytes`);
    this.#state = state.slice();
  }

  bytes(length: number): Uint8Array {
    const marked = createHash("shake256", { outputLength: length }).update(this.#state);
    const output = length === 0 ? new Uint8Array(0) : marked.update(Uint8Array.of(use.output)).digest();
    this.#state = digest(this.#state, use.next);
    return new Uint8Array(output);
  }

  stir(...parts: readonly Uint8Array[]): void {
    this.#state = digest(this.#state, use.stir, ...parts);
  }
}

/**
 * `nodeProvider` with everything that is random about its results taken from `random`. What is random and has no part in a result
 * (blinding, the bases of primality tests) stays the operating system's.
 */
export function seededProvider(random: SeededRandom): CryptoProvider {
  const draw = (length: number): Uint8Array => random.bytes(length);
  return {
    ...nodeProvider,
    random: draw,
    stir: (data) => random.stir(data),
    eccScalar: (curve, given = draw) => nodeProvider.eccScalar(curve, given),
    ecdsaSign(curve, scalar, hash, given) {
      if (given !== undefined) return nodeProvider.ecdsaSign(curve, scalar, hash, given);
      // Two machines that go on from one snapshot have one state. Were the same secret number used for two digests, the two signatures
      // would give the key away: so it follows from the digest, and from the key, as in RFC 6979.
      random.stir(scalar, hash);
      return nodeProvider.ecdsaSign(curve, scalar, hash, draw);
    },
  };
}

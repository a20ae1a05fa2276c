import type { CryptoProvider, RsaPrivate } from "./crypto/provider.ts";

/*
 * Searching for a long RSA key takes up to seconds, in which whoever called the engine could do nothing else. So a search can be put off: the
 * command stops where it needs the key, before it has changed anything, the key is searched elsewhere, and the command is run again with it.
 */

/** An RSA key that a command waits for. Plain data, for another thread; `draws` are secret, for the key follows from them. */
export interface KeySearch {
  readonly bits: number;
  readonly exponent: number;
  readonly derivation: number;
  /** What the generator gives, by turns. */
  readonly draws: readonly Uint8Array[];
}

/** Two are used, and more only if there is no prime between one and the next power of 2, or two lie side by side: of 8, none is the last. */
export const SEARCH_DRAWS = 8;

/** The searches of an engine that runs a command which may wait. */
export interface DeferredSearch {
  /** Longest key, in bits, that is searched for within a command. */
  readonly longest: number;
  /** What was found for the command that runs. */
  found: RsaPrivate | undefined;
}

/** Ends a command that has to wait for a key. */
export class KeySearchNeeded extends Error {
  readonly search: KeySearch;

  constructor(search: KeySearch) {
    super("a key has to be searched for");
    this.search = search;
  }
}

/** Makes the search: the key is the one that the command would have found itself. Throws what `draw`, called before each prime, throws. */
export function searchKey(
  crypto: CryptoProvider,
  { bits, exponent, derivation, draws }: KeySearch,
  beforePrime: () => void = () => {},
): RsaPrivate {
  let drawn = 0;
  return crypto.rsaDerive(bits, exponent, derivation, (length) => {
    beforePrime();
    const bytes = draws[drawn++];
    if (bytes?.length !== length) throw new RangeError("a search has draws of half the key's length");
    return bytes;
  });
}

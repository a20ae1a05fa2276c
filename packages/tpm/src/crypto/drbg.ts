import { Alg, digestSizes } from "@entresol/tpm-types";
import { concat } from "../engine.ts";
import type { CryptoProvider, Draw } from "./provider.ts";

/**
 * HMAC_DRBG with SHA-512 (SP 800-90A, 10.1.2) that is seeded with nothing but what it is given: the same seed, label and further input give
 * the same sequence. For keys that follow from a seed (derivation 1). The label goes in with a zero byte that ends it, the further parts one after the
 * other: a caller whose parts could be read in two ways puts sizes in.
 */
export function seededDraw(
  crypto: Pick<CryptoProvider, "hmac">,
  seed: Uint8Array,
  label: string,
  ...parts: readonly Uint8Array[]
): Draw {
  const hash = Alg.SHA512;
  const size = digestSizes.get(hash)!;
  let key: Uint8Array = new Uint8Array(size);
  let value: Uint8Array = new Uint8Array(size).fill(1);
  const update = (...input: readonly Uint8Array[]): void => {
    for (const round of input.length === 0 ? [0] : [0, 1]) {
      key = crypto.hmac(hash, key, value, Uint8Array.of(round), ...input);
      value = crypto.hmac(hash, key, value);
    }
  };
  update(seed, new TextEncoder().encode(`${label}\0`), ...parts);
  return (length) => {
    const blocks: Uint8Array[] = [];
    for (let have = 0; have < length; have += size) {
      value = crypto.hmac(hash, key, value);
      blocks.push(value);
    }
    update();
    return concat(...blocks).slice(0, length);
  };
}

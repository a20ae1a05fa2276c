import { nodeEcc } from "./ecc.ts";
import type { CryptoProvider } from "./provider.ts";
import { nodeRsa } from "./rsa.ts";
import { resumeHash, runningHash } from "./running-hash.ts";
import { nodeSymmetric } from "./symmetric.ts";

/**
 * Cryptography by `node:crypto`, and by this package where that has no call for it: hashes that can be saved, BN_P256 (in BigInt throughout), ECDSA over a
 * digest, the search for RSA primes. BigInt is not constant in time: see `ecc.ts` for what is blinded there.
 */
export const nodeProvider: CryptoProvider = {
  ...nodeSymmetric,
  runningHash,
  resumeHash,
  ...nodeRsa,
  ...nodeEcc,
};

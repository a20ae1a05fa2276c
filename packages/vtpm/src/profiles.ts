import type { TpmOptions } from "@entresol/tpm";

/** What a TPM offers, by the names of profiles (swtpm since 0.10). */
export const profiles = {
  /**
   * What libtpms offers, and its clients are used to: no SHA-3, with which tpm2-tss cannot compute, so that a tool that goes through all algorithms fails;
   * and RSA keys of 1024 bits.
   */
  "default-v1": { weakRsa: true, sha3: false },
  /** All that there is, but for RSA keys of 1024 bits. */
  entresol: { weakRsa: false, sha3: true },
} as const satisfies Readonly<Record<string, Partial<TpmOptions>>>;

export type ProfileName = keyof typeof profiles;

/** Of a service. */
export const DEFAULT_PROFILE: ProfileName = "default-v1";

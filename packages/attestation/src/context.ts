import { toHex } from "@entresol/wire";
import { defaultProvider } from "./crypto/default-provider.ts";
import type { CryptoProvider } from "./crypto/provider.ts";
import { EvidenceError } from "./errors.ts";
import type { InputHash } from "./outcome.ts";
import { CertificateCache } from "./x509/cache.ts";

/** What every verification is told besides the evidence. */
export interface VerificationOptions {
  /** The time to judge for. Default: now. */
  readonly at?: Date | number | string;
  /** Serves several verifications; brings its provider of cryptography along. */
  readonly cache?: CertificateCache;
  readonly crypto?: CryptoProvider;
}

/** The same, complete. */
export interface Context {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly crypto: CryptoProvider;
  readonly cache: CertificateCache;
}

/** Throws `EvidenceError` `bad-argument` for a time that is none. */
export function contextOf(options: VerificationOptions): Context {
  const at = options.at === undefined ? Date.now() : new Date(options.at).getTime();
  if (Number.isNaN(at))
    throw new EvidenceError(
      "bad-argument",
      `"${String(options.at)}" is not a time: take ISO 8601, such as 2026-06-01T00:00:00Z`,
    );
  const crypto = options.cache?.crypto ?? options.crypto ?? defaultProvider();
  return { at, crypto, cache: options.cache ?? new CertificateCache(crypto) };
}

/** The hash of an input, for the report. */
export async function inputHash({ crypto }: Context, name: string, bytes: Uint8Array): Promise<InputHash> {
  return { name, sha256: toHex(await crypto.digest("sha256", bytes)) };
}

/** A time as people read it: ISO 8601 without milliseconds. */
export function isoTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, -5)}Z`;
}

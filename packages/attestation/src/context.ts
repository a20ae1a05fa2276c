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

/** A day, or a time with its zone: without one it would mean another time on each machine. */
const ISO = /^(\d{4})-(\d\d)-(\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d))?$/;

/** Is it written as ISO 8601, on a day that there is? `Date` takes the 30th of February for a day in March, and "1" for a year. */
function isIsoTime(text: string): boolean {
  const [, year, month, day] = ISO.exec(text) ?? [];
  return (
    day !== undefined &&
    new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() === Number(day)
  );
}

/** Milliseconds since 1970; now for none. Throws `EvidenceError` `bad-argument` for a time that is none. */
export function timeOf(at: Date | number | string | undefined): number {
  const time = at === undefined ? Date.now() : new Date(at).getTime();
  if (Number.isNaN(time) || (typeof at === "string" && !isIsoTime(at)))
    throw new EvidenceError(
      "bad-argument",
      `"${String(at)}" is not a time: take ISO 8601 with its zone, such as 2026-06-01T00:00:00Z`,
    );
  return time;
}

/** Throws `EvidenceError` `bad-argument` for a time that is none. */
export function contextOf(options: VerificationOptions): Context {
  const at = timeOf(options.at);
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

import { DIGEST_SIZE, type Hash } from "../hash.ts";
import { MeasurementError } from "../measurement-error.ts";

/** RTMR after TDG.MR.RTMR.EXTEND with a digest of 48 bytes (TDX module ABI). */
export function extendRtmr(hash: Hash, value: Uint8Array, digest: Uint8Array): Uint8Array {
  if (value.length !== DIGEST_SIZE || digest.length !== DIGEST_SIZE)
    throw new MeasurementError("bad-argument", `a register is extended by ${DIGEST_SIZE} bytes`);
  return Uint8Array.from(hash("sha384", value, digest));
}

/** An RTMR after these digests, from zero as a TD starts. */
export function rtmrOf(hash: Hash, digests: readonly Uint8Array[]): Uint8Array {
  return digests.reduce((value, digest) => extendRtmr(hash, value, digest), new Uint8Array(DIGEST_SIZE));
}

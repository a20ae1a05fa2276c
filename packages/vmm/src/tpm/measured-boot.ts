import { createHash } from "node:crypto";
import { type EventDigest, EventLogBuilder } from "@entresol/evidence";
import { Alg, algorithmName, Cap, digestSizes, Rh, Su } from "@entresol/tpm-types";
import { VmError } from "../config.ts";
import type { FirmwareTpm } from "./firmware-tpm.ts";
import type { Measurement } from "./measurements.ts";

/** Bytes of the authorization that closes the platform hierarchy; nobody learns it. */
const PLATFORM_AUTH_SIZE = 32;

const hashNames: ReadonlyMap<number, string> = new Map(
  [Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512].map((id) => [id, algorithmName(id).toLowerCase()]),
);

function refused(what: string): VmError {
  return new VmError("failed", `the TPM does not work: ${what} was refused, so the guest cannot be measured`);
}

/** The hashes by which the TPM has PCRs, in its order. */
function banks(tpm: FirmwareTpm): number[] {
  const answer = tpm.run("GetCapability", {}, { capability: Cap.PCRS, property: 0, propertyCount: 1 });
  if (answer?.capabilityData.capability !== Cap.PCRS) throw refused("TPM2_GetCapability");
  return answer.capabilityData.data
    .filter(({ pcrSelect }) => pcrSelect.some((byte) => byte !== 0))
    .map(({ hash }) => hash)
    .filter((hash) => hashNames.has(hash));
}

/** What firmware does first with a TPM that has just been given power. Throws `VmError` `failed`. */
export function startTpm(tpm: FirmwareTpm): void {
  if (tpm.run("Startup", {}, { startupType: Su.CLEAR }) === undefined) throw refused("TPM2_Startup");
}

/**
 * What firmware does with a TPM that was started: extends its PCRs in every bank, closes the platform hierarchy
 * (PFP 1.06, 3.3.1: nobody after it may use it). Gives the crypto-agile event log. Throws `VmError` `failed` when the TPM refuses any of it:
 * a guest that runs without having been measured would look like another one.
 */
export function measureBoot(
  tpm: FirmwareTpm,
  measurements: readonly Measurement[],
  logLimit: number,
): Uint8Array {
  const hashes = banks(tpm);
  const log = new EventLogBuilder(hashes.map((id) => ({ id, digestSize: digestSizes.get(id)! })));
  const known = new Map<Uint8Array, readonly EventDigest[]>();
  /** A kernel is measured twice, and takes some time. */
  const digestsOf = (measured: Uint8Array): readonly EventDigest[] => {
    const digests =
      known.get(measured) ??
      hashes.map((algorithm) => ({
        algorithm,
        digest: new Uint8Array(createHash(hashNames.get(algorithm)!).update(measured).digest()),
      }));
    known.set(measured, digests);
    return digests;
  };
  for (const { pcr, type, measured, data } of measurements) {
    const digests = digestsOf(measured);
    const values = digests.map(({ algorithm, digest }) => ({ hashAlg: algorithm, digest }));
    if (tpm.run("PCR_Extend", { pcrHandle: pcr }, { digests: values }) === undefined)
      throw refused("TPM2_PCR_Extend");
    log.add({ index: pcr, type, digests, data });
    // Readers stop in front of an event that ends with the area.
    if (log.length >= logLimit)
      throw new VmError("bad-config", `the event log has more than ${logLimit} bytes: too many measurements`);
  }
  const random = tpm.run("GetRandom", {}, { bytesRequested: PLATFORM_AUTH_SIZE });
  if (random === undefined) throw refused("TPM2_GetRandom");
  const closed = tpm.run("HierarchyChangeAuth", { authHandle: Rh.PLATFORM }, { newAuth: random.randomBytes });
  if (closed === undefined) throw refused("TPM2_HierarchyChangeAuth");
  return log.finish();
}

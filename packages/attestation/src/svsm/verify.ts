import {
  parseSvsmManifest,
  parseTpmPublic,
  parseVtpmManifest,
  type SvsmManifest,
  svsmReportDataInput,
  type TpmPublic,
} from "@entresol/evidence";
import { ObjectAttribute } from "@entresol/tpm-types";
import { MalformedError, toHex } from "@entresol/wire";
import { Checklist, type Place } from "../check.ts";
import { type Context, contextOf, inputHash } from "../context.ts";
import { attestedBoot } from "../event-log/attested-boot.ts";
import type { LogClaims } from "../event-log/replay.ts";
import type { VtpmOptions } from "../hcl/verify.ts";
import { innerChecks, innerInputs } from "../inner.ts";
import { type InputHash, type Outcome, outcomeOf } from "../outcome.ts";
import { ownCopy } from "../own-copy.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import { verifySnp } from "../snp/verify.ts";
import {
  type AttestationKey,
  type KeyFault,
  type KeyMissing,
  publicAreaKey,
  signsQuotes,
} from "../tpm/key.ts";
import { quoteInputs, type TpmClaims, type TpmQuoteEvidence } from "../tpm/quote.ts";
import { sameBytes } from "../x509/chain.ts";
import { type SvsmCheckId, svsmChecks } from "./checks.ts";

/** An SVSM's attestation of its services, and what came with it. */
export interface SvsmEvidence {
  /** SNP report that the SVSM asked for. */
  readonly report: Uint8Array;
  readonly certificates?: readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  /** Manifest of all services, or that of the virtual TPM alone: in the very bytes that were hashed. */
  readonly manifest: Uint8Array;
  /** What the SVSM was asked with, 64 bytes. Left out: that of the options. */
  readonly nonce?: Uint8Array;
  /** A quote of the virtual TPM, by the key `attestationKey`. */
  readonly tpmQuote?: TpmQuoteEvidence;
  readonly eventLog?: Uint8Array;
  /** Public area of the key that quotes. */
  readonly attestationKey?: Uint8Array;
}

export interface SvsmOptions extends Omit<VtpmOptions, "nonce"> {
  /** What the SVSM must have been asked with. */
  readonly nonce?: Uint8Array;
  /** What the TPM's quote has to hold in extraData. */
  readonly quoteNonce?: Uint8Array;
  /**
   * Keys that the relying party has seen activated: TPM2_ActivateCredential answered a challenge that only the endorsement key opens. By
   * this alone a key that signs belongs to an endorsement key that does not: without it a quote says nothing about this machine.
   */
  readonly activated?: readonly ActivatedKey[];
}

/** Two public areas, with or without their sizes. */
export interface ActivatedKey {
  readonly endorsementKey: Uint8Array;
  readonly attestationKey: Uint8Array;
}

/** What an SVSM's attestation says, once it could be read. */
export interface SvsmClaims {
  readonly snp: SnpClaims;
  /** Undefined for the manifest of one service. */
  readonly manifest: SvsmManifest | undefined;
  readonly endorsementKey: TpmPublic | undefined;
  readonly tpm: TpmClaims | undefined;
  readonly log: LogClaims | undefined;
}

const NONCE_SIZE = 64;
const GUID_START = 0xbb;
const MANIFEST = "manifest";
/** Before the ids of inner checks. */
export const SVSM_PREFIX = "svsm.";

const reportPlace = (offset: number, length: number): Place => ({ input: "report", offset, length });

/** Verifies what an SVSM says of its services, the SNP report under it, and the quote of its TPM, for a given time. Never throws because of the evidence. */
export async function verifySvsm(given: SvsmEvidence, told: SvsmOptions = {}): Promise<Outcome<SvsmClaims>> {
  const evidence = ownCopy(given);
  const { nonce: wanted, quoteNonce: asked, activated } = told;
  const own = ownCopy({
    ...(wanted && { nonce: wanted }),
    ...(asked && { quoteNonce: asked }),
    ...(activated && { activated }),
  });
  const options = { ...told, ...own };
  const context = contextOf(options);
  const checks = new Checklist<SvsmCheckId>(svsmChecks);
  const { report, manifest, certificates, crls, tpmQuote, eventLog } = evidence;
  const { roots, nonce: expected, quoteNonce, eventLogRegisters } = options;
  const inner = await verifySnp(
    { report, ...(certificates && { certificates }), ...(crls && { crls }) },
    { at: context.at, cache: context.cache, ...(roots && { roots }) },
  );
  const inputs: InputHash[] = [...innerInputs(inner), await inputHash(context, MANIFEST, manifest)];
  for (const [name, bytes] of [
    ["nonce", evidence.nonce],
    ["attestation key", evidence.attestationKey],
    ["event-log", eventLog],
  ] as const)
    if (bytes !== undefined) inputs.push(await inputHash(context, name, bytes));
  if (tpmQuote !== undefined) inputs.push(...(await quoteInputs(context, tpmQuote)));

  const services = readManifest(checks, manifest);
  const nonce = evidence.nonce ?? expected;
  judgeNonce(checks, nonce, expected);
  const snp = inner.claims;
  if (snp !== undefined) await bind(context, checks, snp, nonce, manifest);
  const ek = services && endorsementKey(checks, services);
  const key = ek && tpmQuote && (await attestationKey(context, ek, evidence, options));
  const boot = await attestedBoot(
    context,
    { ...(tpmQuote && { tpmQuote }), ...(eventLog && { eventLog }) },
    key,
    {
      ...(quoteNonce && { nonce: quoteNonce }),
      ...(eventLogRegisters && { eventLogRegisters }),
    },
  );
  return outcomeOf({
    kind: "svsm-snp",
    checks: [...checks.results(), ...innerChecks(inner, SVSM_PREFIX), ...boot.checks],
    inputs,
    at: context.at,
    tcb: undefined,
    window: undefined,
    claims: snp && {
      snp,
      manifest: services?.manifest,
      endorsementKey: services?.ek,
      tpm: boot.tpm,
      log: boot.log,
    },
  });
}

interface Services {
  readonly manifest: SvsmManifest | undefined;
  readonly ek: TpmPublic | undefined;
  readonly place: Place;
}

function readManifest(checks: Checklist<SvsmCheckId>, bytes: Uint8Array): Services | undefined {
  try {
    // No public area begins as the GUID of the services does.
    if (bytes[0] !== GUID_START) {
      const ek = parseVtpmManifest(bytes);
      const place = { input: MANIFEST, offset: 0, length: bytes.length };
      checks.pass("svsm.manifest.form", "of the virtual TPM alone", place);
      checks.pass("svsm.manifest.length", `${bytes.length} bytes`);
      return { manifest: undefined, ek, place };
    }
    const manifest = parseSvsmManifest(bytes);
    const { services, findings, vtpmEk: ek } = manifest;
    const names = services.map(({ kind, guid }) => kind ?? guid);
    checks.pass("svsm.manifest.form", `services: ${names.join(", ") || "none"}`, {
      input: MANIFEST,
      offset: 0,
      length: manifest.bytes.length,
    });
    const behind = findings.find(({ kind }) => kind === "trailing-bytes" || kind === "padding");
    if (behind === undefined) checks.pass("svsm.manifest.length", `${bytes.length} bytes`);
    else
      checks.fail("svsm.manifest.length", behind.detail, {
        input: MANIFEST,
        offset: behind.offset,
        length: behind.length,
      });
    const vtpm = services.find(({ kind }) => kind === "vtpm");
    const place = { input: MANIFEST, offset: vtpm?.offset ?? 0, length: vtpm?.data.length ?? 0 };
    return { manifest, ek, place };
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    checks.fail("svsm.manifest.form", error.message, { input: MANIFEST, offset: error.offset, length: 4 });
    return undefined;
  }
}

function judgeNonce(
  checks: Checklist<SvsmCheckId>,
  nonce: Uint8Array | undefined,
  expected: Uint8Array | undefined,
): void {
  if (nonce === undefined) {
    checks.skip("svsm.nonce", "the nonce that the SVSM was asked with is not there");
    return;
  }
  const known = expected === undefined || sameBytes(nonce, expected);
  const whole = nonce.length === NONCE_SIZE;
  checks.decide(
    "svsm.nonce",
    known && whole,
    !whole
      ? `${nonce.length} bytes, ${NONCE_SIZE} are right`
      : known
        ? toHex(nonce)
        : `${toHex(nonce)}, ${toHex(expected)} was asked for`,
    { input: "nonce", offset: 0, length: nonce.length },
  );
}

async function bind(
  context: Context,
  checks: Checklist<SvsmCheckId>,
  { report }: SnpClaims,
  nonce: Uint8Array | undefined,
  manifest: Uint8Array,
): Promise<void> {
  const { reportData, vmpl } = report.fields;
  checks.decide(
    "svsm.vmpl",
    vmpl === 0,
    vmpl === 0 ? "VMPL 0" : `VMPL ${vmpl}: what runs there is the guest, which may say what it likes`,
    reportPlace(0x30, 4),
  );
  if (nonce === undefined) {
    checks.skip("svsm.manifest.binding", "without the nonce the hash cannot be made");
    return;
  }
  // A nonce of another length would let bytes wander between it and the manifest.
  if (nonce.length !== NONCE_SIZE) return;
  const hash = await context.crypto.digest("sha512", svsmReportDataInput(nonce, manifest));
  const bound = sameBytes(hash, reportData);
  checks.decide(
    "svsm.manifest.binding",
    bound,
    bound ? toHex(hash) : `the hash is ${toHex(hash)}, REPORT_DATA ${toHex(reportData)}`,
    reportPlace(0x50, 64),
    { input: MANIFEST, offset: 0, length: manifest.length },
  );
}

/** What an endorsement key is by every template of the TCG: made in the TPM, never to leave it. */
const ownKey = {
  fixedTPM: ObjectAttribute.fixedTPM,
  fixedParent: ObjectAttribute.fixedParent,
  sensitiveDataOrigin: ObjectAttribute.sensitiveDataOrigin,
  restricted: ObjectAttribute.restricted,
} as const;

function endorsementKey(checks: Checklist<SvsmCheckId>, { ek, place }: Services): TpmPublic | undefined {
  if (ek === undefined) {
    checks.fail("svsm.ek", "the manifest has no virtual TPM", place);
    return undefined;
  }
  const { objectAttributes } = ek.publicArea;
  const lacking = Object.entries(ownKey)
    .filter(([, bit]) => (objectAttributes & bit) === 0)
    .map(([name]) => name);
  const fit = lacking.length === 0;
  checks.decide(
    "svsm.ek",
    fit,
    fit ? "made in its TPM, which it never leaves" : `without ${lacking.join(", ")}`,
    place,
  );
  return fit ? ek : undefined;
}

/** The key that may quote for this endorsement key. */
async function attestationKey(
  context: Context,
  ek: TpmPublic,
  { attestationKey: given }: SvsmEvidence,
  { activated = [] }: SvsmOptions,
): Promise<AttestationKey | KeyFault | KeyMissing> {
  if (signsQuotes(ek.publicArea)) return publicAreaKey(context, ek.publicArea);
  if (given === undefined) return { missing: "the endorsement key does not sign, and no other key is there" };
  const ak = publicAreaOf(given);
  if (ak === undefined) return { fault: "the attestation key's public area cannot be read" };
  const known = activated.some(
    (pair) =>
      sameBytes(publicAreaOf(pair.endorsementKey)?.bytes ?? new Uint8Array(0), ek.bytes) &&
      sameBytes(publicAreaOf(pair.attestationKey)?.bytes ?? new Uint8Array(0), ak.bytes),
  );
  return known
    ? publicAreaKey(context, ak.publicArea)
    : { missing: "nobody has seen the attestation key activated under the manifest's endorsement key" };
}

function publicAreaOf(bytes: Uint8Array): TpmPublic | undefined {
  try {
    return parseTpmPublic(bytes);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}

import { HCL_AK, type HclReport, parseHclReport } from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import { Checklist, type Place } from "../check.ts";
import { type Context, contextOf, inputHash, type VerificationOptions } from "../context.ts";
import { type HashName, hashSizes } from "../crypto/provider.ts";
import { attestedBoot } from "../event-log/attested-boot.ts";
import type { LogClaims } from "../event-log/replay.ts";
import { innerChecks, innerInputs, type Within } from "../inner.ts";
import { type InputHash, type Outcome, outcomeOf } from "../outcome.ts";
import { ownCopy } from "../own-copy.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import { verifySnp } from "../snp/verify.ts";
import type { QuoteClaims, QuoteCollateral } from "../tdx/evidence.ts";
import { verifyTdx } from "../tdx/verify.ts";
import { type AttestationKey, type KeyFault, rsaKey } from "../tpm/key.ts";
import { quoteInputs, type TpmClaims, type TpmQuoteEvidence } from "../tpm/quote.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import { sameBytes } from "../x509/chain.ts";
import { type HclCheckId, hclChecks } from "./checks.ts";

/** A paravisor's report and what came with it. */
export interface HclEvidence {
  /** As NV index 0x01400001 has it; zeros may follow. */
  readonly report: Uint8Array;
  /** DER certificates and revocation lists of an SNP machine, as for `verifySnp`. */
  readonly certificates?: readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  /** Of a TDX machine: the quote of the TD, and what Intel publishes. */
  readonly quote?: Uint8Array;
  readonly collateral?: QuoteCollateral;
  /** By the attestation key that the report names. No certificate of that key is taken: a guest can have another key certified. */
  readonly tpmQuote?: TpmQuoteEvidence;
  /** The firmware's log: it has to lead to the quoted PCRs. */
  readonly eventLog?: Uint8Array;
}

/** What a verification of a virtual TPM's evidence may be told. */
export interface VtpmOptions extends VerificationOptions {
  /** Roots to trust in place of AMD's and Intel's. */
  readonly roots?: readonly TrustAnchor[];
  /** What the TPM's quote has to hold in extraData. */
  readonly nonce?: Uint8Array;
  /** PCRs that the event log has to lead to, and the only ones that are looked at. By default all that it names and the quote holds. */
  readonly eventLogRegisters?: readonly number[];
}

export interface HclOptions extends VtpmOptions {
  readonly minimumEvaluationDataNumber?: number;
  /** What `user-data` of the runtime claims has to be, up to 64 bytes; zeros follow. */
  readonly userData?: Uint8Array;
}

export type HardwareClaims =
  | { readonly kind: "snp"; readonly claims: SnpClaims }
  | { readonly kind: "tdx"; readonly claims: QuoteClaims };

/** What a paravisor's evidence says, once it could be read. */
export interface ParavisorClaims {
  readonly report: HclReport;
  /** Undefined when the hardware report could not be judged. */
  readonly hardware: HardwareClaims | undefined;
  /** Undefined when there was no quote, or it could not be read. */
  readonly tpm: TpmClaims | undefined;
  readonly log: LogClaims | undefined;
}

const INPUT = "hcl-report";
const HARDWARE_AT = 32;
/** Before the ids of inner checks. */
export const HCL_PREFIX = "hcl.";
/** An SNP report lies in the report; a TD quote comes beside it. */
export const hclWithin: Readonly<Record<string, Within>> = { report: { input: INPUT, offset: HARDWARE_AT } };

const hashNames = { "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" } as const satisfies Record<
  HclReport["hash"],
  HashName
>;

/**
 * Verifies a paravisor's report, the hardware report in it, and the quote of its virtual TPM, for a given time. Never throws because of the
 * evidence. The claims are the word of whatever was measured at launch: any guest could make such a report, and only a policy that names the
 * paravisor's measurement (or MRTD) tells it from others.
 */
export async function verifyHcl(
  given: HclEvidence,
  told: HclOptions = {},
): Promise<Outcome<ParavisorClaims>> {
  const evidence = ownCopy(given);
  const { nonce, userData } = ownCopy({ nonce: told.nonce, userData: told.userData });
  const options = { ...told, ...(nonce && { nonce }), ...(userData && { userData }) };
  const context = contextOf(options);
  const checks = new Checklist<HclCheckId>(hclChecks);
  const inputs: InputHash[] = [await inputHash(context, INPUT, evidence.report)];
  const parsed = readReport(checks, evidence.report);
  const inner = parsed && (await hardware(parsed, evidence, options, context, checks));
  if (parsed?.hardware.kind !== "tdx") checks.drop("hcl.td-quote");
  if (inner !== undefined) inputs.push(...innerInputs(inner.outcome, hclWithin));
  if (evidence.tpmQuote !== undefined) inputs.push(...(await quoteInputs(context, evidence.tpmQuote)));
  if (evidence.eventLog !== undefined) inputs.push(await inputHash(context, "event-log", evidence.eventLog));
  const key = parsed && (await claims(parsed, options, context, checks));
  const boot = await attestedBoot(context, evidence, key, options);
  return outcomeOf({
    kind: parsed?.hardware.kind === "tdx" ? "hcl-tdx" : "hcl-snp",
    checks: [
      ...checks.results(),
      ...(inner === undefined ? [] : innerChecks(inner.outcome, HCL_PREFIX, hclWithin)),
      ...boot.checks,
    ],
    inputs,
    at: context.at,
    tcb: inner?.outcome.tcb,
    window: inner?.outcome.window,
    claims: parsed && { report: parsed, hardware: inner?.hardware, tpm: boot.tpm, log: boot.log },
  });
}

/** Where a field of the report lies. */
function placeOf({ map }: HclReport, path: string): Place {
  const field = map.get(path);
  return { input: INPUT, offset: field?.offset ?? 0, length: field?.length ?? 0 };
}

function readReport(checks: Checklist<HclCheckId>, bytes: Uint8Array): HclReport | undefined {
  let parsed: HclReport;
  try {
    parsed = parseHclReport(bytes);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    checks.fail("hcl.report.form", error.message, { input: INPUT, offset: error.offset, length: 4 });
    return undefined;
  }
  const { findings, header, request } = parsed;
  checks.pass(
    "hcl.report.form",
    `version ${header.version}, request data ${request.version}, ${parsed.bytes.length} bytes`,
    {
      input: INPUT,
      offset: 0,
      length: 32,
    },
  );
  // What is not zero in the hardware report is that report's own check.
  const own = findings.filter(
    ({ kind, offset, path }) =>
      kind === "reserved-not-zero" && (offset < HARDWARE_AT || !/^hardware\.(?!padding)/.test(path)),
  );
  for (const { path, detail, offset, length } of own)
    checks.fail("hcl.report.reserved", `${path}: ${detail}`, { input: INPUT, offset, length });
  if (own.length === 0) checks.pass("hcl.report.reserved", "all zero");
  const behind = findings.find(({ kind }) => kind === "trailing-bytes");
  if (behind === undefined) checks.pass("hcl.report.length", `${parsed.bytes.length} bytes`);
  else
    checks.fail("hcl.report.length", behind.detail, {
      input: INPUT,
      offset: behind.offset,
      length: behind.length,
    });
  return parsed;
}

interface Inner {
  readonly outcome: Outcome;
  readonly hardware: HardwareClaims | undefined;
}

/** Judges the hardware report, or the quote that stands for it. */
async function hardware(
  parsed: HclReport,
  evidence: HclEvidence,
  options: HclOptions,
  context: Context,
  checks: Checklist<HclCheckId>,
): Promise<Inner | undefined> {
  const { kind, report } = parsed.hardware;
  const { roots, minimumEvaluationDataNumber } = options;
  const shared = { at: context.at, cache: context.cache, ...(roots && { roots }) };
  const type = placeOf(parsed, "request.reportType");
  switch (kind) {
    case "snp": {
      checks.pass("hcl.hardware", "SEV-SNP", type);
      const { certificates, crls } = evidence;
      const outcome = await verifySnp(
        { report: report.bytes, ...(certificates && { certificates }), ...(crls && { crls }) },
        shared,
      );
      const { vmpl } = report.fields;
      checks.decide(
        "hcl.paravisor",
        vmpl === 0,
        vmpl === 0 ? "VMPL 0" : `VMPL ${vmpl}: what runs there is the guest, which may say what it likes`,
        placeOf(parsed, "hardware.vmpl"),
      );
      return { outcome, hardware: outcome.claims && { kind, claims: outcome.claims } };
    }
    case "tdx": {
      checks.pass("hcl.hardware", "TDX", type);
      const { quote, collateral, certificates } = evidence;
      if (quote === undefined) {
        // Failed, not not-run: no policy can let this pass.
        checks.fail("hcl.td-quote", "there is no quote: the TDREPORT alone is no evidence", type);
        return undefined;
      }
      const outcome = await verifyTdx(
        { quote, ...(collateral && { collateral }), ...(certificates && { certificates }) },
        { ...shared, ...(minimumEvaluationDataNumber !== undefined && { minimumEvaluationDataNumber }) },
      );
      quoteFits(parsed, outcome.claims, checks);
      return { outcome, hardware: outcome.claims && { kind, claims: outcome.claims } };
    }
    default:
      checks.fail("hcl.hardware", `a report of type ${kind} is not verified here`, type);
      return undefined;
  }
}

function quoteFits(parsed: HclReport, claims: QuoteClaims | undefined, checks: Checklist<HclCheckId>): void {
  if (claims === undefined || claims.quote.body.tee !== "tdx") return;
  const { quote } = claims;
  const { body } = claims.quote;
  const inQuote = quote.map.get("body.reportData");
  const fits = sameBytes(body.fields.reportData, parsed.reportData ?? new Uint8Array(0));
  checks.decide(
    "hcl.td-quote",
    fits,
    fits ? "the quote has its REPORTDATA" : `the quote has REPORTDATA ${toHex(body.fields.reportData)}`,
    placeOf(parsed, "hardware.reportMac.reportData"),
    { input: "quote", offset: inQuote?.offset ?? 0, length: inQuote?.length ?? 0 },
  );
  const partition = body.type === 4 ? body.fields.vmId : 0;
  checks.decide(
    "hcl.paravisor",
    partition === 0,
    partition === 0
      ? "the TD itself"
      : `partition ${partition}: what runs there is the guest, which may say what it likes`,
    { input: "quote", offset: quote.map.get("body.vmId")?.offset ?? 0, length: partition === 0 ? 0 : 1 },
  );
}

/** Binds the runtime claims to the hardware report, and takes the attestation key from them. */
async function claims(
  parsed: HclReport,
  { userData }: HclOptions,
  context: Context,
  checks: Checklist<HclCheckId>,
): Promise<AttestationKey | KeyFault | undefined> {
  const { reportData } = parsed;
  const where = placeOf(parsed, "claims");
  if (reportData !== undefined) {
    const name = hashNames[parsed.hash];
    const size = hashSizes[name];
    const hash = await context.crypto.digest(name, parsed.claims.bytes);
    const path = parsed.hardware.kind === "snp" ? "hardware.reportData" : "hardware.reportMac.reportData";
    const place = placeOf(parsed, path);
    const bound = sameBytes(hash, reportData.subarray(0, size));
    checks.decide(
      "hcl.claims.hash",
      bound,
      bound
        ? `${parsed.hash} ${toHex(hash)}`
        : `${parsed.hash} of the claims is ${toHex(hash)}, REPORT_DATA begins with ${toHex(reportData.subarray(0, size))}`,
      { ...place, length: size },
      where,
    );
    const rest = reportData.subarray(size);
    const empty = rest.every((byte) => byte === 0);
    checks.decide("hcl.claims.tail", empty, empty ? `${rest.length} zeros` : toHex(rest), {
      ...place,
      offset: place.offset + size,
      length: rest.length,
    });
  }
  if (userData === undefined) checks.drop("hcl.claims.user-data");
  else {
    const wanted = new Uint8Array(64);
    wanted.set(userData.subarray(0, 64));
    const found = parsed.claims.userData;
    const holds = userData.length <= 64 && found !== undefined && sameBytes(found, wanted);
    checks.decide(
      "hcl.claims.user-data",
      holds,
      holds
        ? toHex(wanted)
        : `${found === undefined ? "none" : toHex(found)}, ${toHex(wanted)} was asked for`,
      where,
    );
  }
  const key = parsed.claims.keys.get(HCL_AK);
  if (key === undefined) {
    checks.fail("hcl.claims.key", `there is no key ${HCL_AK}`, where);
    return undefined;
  }
  const place = placeOf(parsed, `claims.keys.${HCL_AK}`);
  // Paravisors of 2022 wrote "encrypt" for a key that signs.
  const fit = key.keyOps.length === 1 && (key.keyOps[0] === "sign" || key.keyOps[0] === "encrypt");
  if (!fit) {
    checks.fail(
      "hcl.claims.key",
      `${HCL_AK} is for ${key.keyOps.join(", ") || "nothing"}, and not to sign`,
      place,
    );
    return undefined;
  }
  const made = await rsaKey(context, key.n, key.e);
  checks.decide("hcl.claims.key", !("fault" in made), "fault" in made ? made.fault : made.text, place);
  return made;
}

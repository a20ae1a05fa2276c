import {
  buildHclClaims,
  buildHclReport,
  buildSvsmManifest,
  buildTdReport,
  buildTpmPublic,
  HCL_AK,
  HCL_EK,
  type HclClaimsInput,
  type HclReportInput,
} from "@entresol/evidence";
import { Alg, noScheme, type Public } from "@entresol/tpm-types";
import type { HclEvidence } from "../hcl/verify.ts";
import type { SvsmEvidence } from "../svsm/verify.ts";
import { anchorOf, type TrustAnchor } from "../x509/anchor.ts";
import {
  attributesOf,
  bootLog,
  hashed,
  type QuoteInput,
  type QuotingKey,
  quotingKey,
  tpmQuote,
} from "./boot-evidence.ts";
import { type PlatformInput, platform } from "./quote-evidence.ts";
import { type ChipInput, chip } from "./snp-evidence.ts";

/* Machines with a paravisor or an SVSM, and what they say, for tests: everything can be made otherwise. Good on 2026-06-01. */

type ClaimsKey = HclClaimsInput["keys"][number];

const exponent = Uint8Array.of(1, 0, 1);
export const modulusOf = ({ publicArea }: QuotingKey): Uint8Array =>
  publicArea.type === Alg.RSA ? publicArea.unique : new Uint8Array(0);

export const goodKeys = (): ClaimsKey[] => [
  { kid: HCL_AK, keyOps: ["sign"], n: modulusOf(quotingKey("rsa", "ak")), e: exponent },
  { kid: HCL_EK, keyOps: ["encrypt"], n: modulusOf(quotingKey("rsa", "ek")), e: exponent },
];

export interface ParavisorInput {
  readonly hardware?: "snp" | "tdx" | "vbs";
  readonly keys?: readonly ClaimsKey[];
  readonly userData?: Uint8Array;
  readonly hash?: "SHA-256" | "SHA-384" | "SHA-512";
  /** REPORT_DATA: gets the right one, gives the one to use. */
  readonly reportData?: (good: Uint8Array) => Uint8Array;
  readonly header?: HclReportInput["header"];
  readonly chip?: ChipInput;
  readonly platform?: PlatformInput;
  /** Changes the report's bytes afterwards. */
  readonly change?: (report: Uint8Array) => void;
  readonly length?: number;
  /** null: there is none. */
  readonly quote?: QuoteInput | null;
  readonly log?: Uint8Array | null;
}

const nodeNames = { "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" } as const;

/** Evidence of a paravisor: report, hardware, TPM quote, log. */
export function paravisor(
  input: ParavisorInput = {},
): HclEvidence & { readonly roots: readonly TrustAnchor[] } {
  const { hardware = "snp", hash = "SHA-256", keys = goodKeys(), userData = new Uint8Array(64) } = input;
  const claims = buildHclClaims({ keys, vmConfiguration: { "secure-boot": true }, userData });
  const bound = new Uint8Array(64);
  bound.set(hashed(nodeNames[hash], claims));
  const reportData = input.reportData?.(bound) ?? bound;
  const log = input.log === null ? undefined : (input.log ?? bootLog());
  const wrap = (hardwareReport: Uint8Array): Uint8Array => {
    const report = buildHclReport({
      kind: hardware,
      hardwareReport,
      hash,
      claims,
      ...(input.header && { header: input.header }),
      ...(input.length && { length: input.length }),
    });
    input.change?.(report);
    return report;
  };
  const boot = {
    ...(input.quote !== null && { tpmQuote: tpmQuote({ ...(log && { log }), ...input.quote }) }),
    ...(log && { eventLog: log }),
  };
  if (hardware === "tdx") {
    const made = platform({
      bodyType: 3,
      version: 5,
      ...input.platform,
      td: { reportData, ...input.platform?.td },
    });
    const report = buildTdReport({ reportMac: { type: 0x81, reportData } });
    const { quote, collateral, roots } = made;
    return { report: wrap(report), quote, collateral, roots, ...boot };
  }
  const { report, certificates } = chip({ ...input.chip, report: { reportData, ...input.chip?.report } });
  return { report: wrap(report), certificates, roots: [anchorOf(certificates[2])], ...boot };
}

export const svsmNonce = Uint8Array.from({ length: 64 }, (_, i) => i);
const VTPM = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";

/** The public area of an endorsement key by the TCG's template. */
export const endorsementArea = (objectAttributes: number = attributesOf.ek): Public => {
  const { publicArea } = quotingKey("rsa", "ek");
  if (publicArea.type !== Alg.RSA) throw new RangeError("the endorsement key is one of RSA");
  return {
    ...publicArea,
    objectAttributes,
    parameters: {
      ...publicArea.parameters,
      scheme: noScheme,
      symmetric: { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL },
    },
  };
};

export interface SvsmInput {
  readonly services?: Parameters<typeof buildSvsmManifest>[0];
  /** Instead of a manifest of services. */
  readonly manifest?: Uint8Array;
  readonly nonce?: Uint8Array;
  readonly reportData?: (good: Uint8Array) => Uint8Array;
  readonly chip?: ChipInput;
  readonly quote?: QuoteInput;
}

/** Attestation of an SVSM: report, manifest, nonce. */
export function svsm(
  input: SvsmInput = {},
): SvsmEvidence & { readonly roots: readonly TrustAnchor[]; readonly nonce: Uint8Array } {
  const { nonce = svsmNonce } = input;
  const services = input.services ?? [{ guid: VTPM, data: buildTpmPublic(endorsementArea(), "tpmt") }];
  const manifest = input.manifest ?? buildSvsmManifest(services);
  const good = hashed("sha512", nonce, manifest);
  const reportData = input.reportData?.(good) ?? good;
  const { report, certificates } = chip({ ...input.chip, report: { reportData, ...input.chip?.report } });
  return {
    report,
    certificates,
    manifest,
    nonce,
    roots: [anchorOf(certificates[2])],
    ...(input.quote && { tpmQuote: tpmQuote(input.quote), eventLog: bootLog() }),
  };
}

import type { ByteMap } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { verifyTdxLog } from "../ccel/verify.ts";
import { hclEvidenceOf, verifyHclJson } from "../hcl/evidence-json.ts";
import { type HclEvidence, type ParavisorClaims, verifyHcl } from "../hcl/verify.ts";
import type { Outcome } from "../outcome.ts";
import type { SnpEvidence } from "../snp/evidence.ts";
import { type SvsmClaims, verifySvsm } from "../svsm/verify.ts";
import type { QuoteEvidence } from "../tdx/evidence.ts";
import { verifyTdx } from "../tdx/verify.ts";
import type { TpmClaims } from "../tpm/quote.ts";
import { sameBytes } from "../x509/chain.ts";
import type { KindOptions, KindRow, Shown } from "./kind.ts";
import type { Role } from "./roles.ts";
import type { Submission } from "./submission.ts";

/* Kinds of evidence that carry other evidence: a paravisor's report, an SVSM's attestation. */

/** What a virtual TPM contributed. */
function bootOf(submission: Submission): Pick<HclEvidence, "tpmQuote" | "eventLog"> {
  const message = submission.get("tpm-quote");
  const signature = submission.get("tpm-signature");
  const eventLog = submission.get("event-log") ?? submission.get("ccel");
  return {
    // A quote without its signature is refused, and not passed over.
    ...(message && { tpmQuote: { message, signature: signature ?? new Uint8Array(0) } }),
    ...(eventLog && { eventLog }),
  };
}

/** Inputs that were handed over, by the names that places use. `maps`: of those that were read. */
function shownOf(
  submission: Submission,
  inputs: readonly (readonly [name: string, role: Role])[],
  maps: Readonly<Record<string, ByteMap | undefined>>,
): Map<string, Shown> {
  const shown = new Map<string, Shown>();
  for (const [name, role] of inputs) {
    const bytes = submission.get(role);
    if (bytes !== undefined && !shown.has(name)) shown.set(name, { bytes, map: maps[name] });
  }
  return shown;
}

const bootInputs = [
  ["tpm-quote", "tpm-quote"],
  ["tpm-signature", "tpm-signature"],
  ["event-log", "event-log"],
  ["event-log", "ccel"],
  ["nonce", "nonce"],
] as const satisfies readonly (readonly [string, Role])[];

/** What was not handed over by itself but within evidence.json is shown as it was read from there. */
function innerShown(shown: Map<string, Shown>, { report, hardware, tpm }: ParavisorClaims): void {
  const add = (name: string, bytes: Uint8Array, map: ByteMap) => {
    if (!shown.has(name)) shown.set(name, { bytes, map });
  };
  add("hcl-report", report.bytes, report.map);
  if (hardware?.kind === "tdx") add("quote", hardware.claims.quote.bytes, hardware.claims.quote.map);
  if (tpm !== undefined) add("tpm-quote", tpm.quote.bytes, tpm.quote.map);
}

const tpmMap = (tpm: TpmClaims | undefined): ByteMap | undefined => tpm?.quote.map;

/** Files beside evidence.json that differ from what it holds: only one of both would be judged. */
function contradictedByJson(submission: Submission): readonly string[] {
  const json = submission.get("vtpm-evidence");
  if (json === undefined) return [];
  let inner: HclEvidence;
  try {
    inner = hclEvidenceOf(json);
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
  const { report, quote, tpmQuote } = inner;
  // Behind a report there may be the rest of the TPM's index that it lies in.
  const sameReport = (bytes: Uint8Array): boolean => sameBytes(bytes.subarray(0, report.length), report);
  const differs = (role: Role, within: Uint8Array | undefined): string[] =>
    submission
      .named(role)
      .filter(
        ({ bytes }) =>
          within !== undefined && !(role === "hcl-report" ? sameReport(bytes) : sameBytes(bytes, within)),
      )
      .map(({ name }) => name);
  return [
    ...differs("hcl-report", report),
    ...differs("quote", quote),
    ...differs("tpm-quote", tpmQuote?.message),
    ...differs("tpm-signature", tpmQuote?.signature),
  ];
}

export const hclRow: KindRow = {
  name: "hcl",
  title: "Paravisor (HCL) report with its virtual TPM",
  main: "hcl-report",
  evidence: ["hcl-report", "vtpm-evidence", "quote", "tpm-quote"],
  fits: (submission) => submission.has("hcl-report", "vtpm-evidence"),
  contradicted: contradictedByJson,
  verify: async (submission, options) => {
    const nonce = submission.get("nonce");
    const quote = submission.get("quote");
    const besides = {
      certificates: submission.all("certificate"),
      crls: submission.all("crl"),
      collateral: submission.collateral(),
      ...(quote && { quote }),
      ...bootOf(submission),
    };
    const told = { ...options, ...(nonce && { nonce }) };
    const json = submission.get("vtpm-evidence");
    if (json === undefined)
      return verifyHcl({ ...besides, report: submission.get("hcl-report") as Uint8Array }, told);
    const outcome = await verifyHclJson(json, besides, told);
    const within = outcome.claims?.report.bytes;
    for (const { name, bytes } of submission.named("hcl-report"))
      if (within === undefined || !sameBytes(bytes.subarray(0, within.length), within))
        submission.remarks.push({ name, text: "is not the report of the JSON evidence, which was judged" });
    return outcome;
  },
  shown: (submission, outcome) => {
    const claims = (outcome as Outcome<ParavisorClaims>).claims;
    const { hardware } = claims ?? {};
    const shown = shownOf(
      submission,
      [["hcl-report", "hcl-report"], ["evidence.json", "vtpm-evidence"], ["quote", "quote"], ...bootInputs],
      {
        "hcl-report": claims?.report.map,
        quote: hardware?.kind === "tdx" ? hardware.claims.quote.map : undefined,
        "tpm-quote": tpmMap(claims?.tpm),
      },
    );
    if (claims !== undefined) innerShown(shown, claims);
    return shown;
  },
};

export const svsmRow: KindRow = {
  name: "svsm",
  title: "AMD SEV-SNP report of an SVSM and its services",
  main: "svsm-manifest",
  evidence: ["svsm-manifest", "snp-report", "tpm-quote"],
  fits: (submission) => submission.has("svsm-manifest") && submission.has("snp-report"),
  verify: (submission, options) => {
    const nonce = submission.get("nonce");
    return verifySvsm(
      {
        // Without a report there is nothing that the manifest is bound to, and its form fails.
        report: submission.get("snp-report") ?? new Uint8Array(0),
        manifest: submission.get("svsm-manifest") as Uint8Array,
        certificates: submission.all("certificate"),
        crls: submission.all("crl"),
        ...(nonce && { nonce }),
        ...bootOf(submission),
      },
      options,
    );
  },
  shown: (submission, outcome) => {
    const claims = (outcome as Outcome<SvsmClaims>).claims;
    return shownOf(submission, [["report", "snp-report"], ["manifest", "svsm-manifest"], ...bootInputs], {
      report: claims?.snp.report.map,
      manifest: claims?.manifest?.map,
      "tpm-quote": tpmMap(claims?.tpm),
    });
  },
};

/** What the guest's owner signed at launch, when it was handed over. */
export function identityOf(submission: Submission): Pick<SnpEvidence, "identity"> {
  const idBlock = submission.get("id-block");
  const idAuth = submission.get("id-auth");
  return idBlock === undefined ? {} : { identity: { idBlock, ...(idAuth && { idAuth }) } };
}

/** A TD quote, and the firmware's log where there is one. */
export function verifyTdxSubmission(
  submission: Submission,
  evidence: QuoteEvidence,
  options: KindOptions,
): Promise<Outcome> {
  const eventLog = submission.get("ccel") ?? submission.get("event-log");
  return eventLog === undefined
    ? verifyTdx(evidence, options)
    : verifyTdxLog({ ...evidence, eventLog }, options);
}

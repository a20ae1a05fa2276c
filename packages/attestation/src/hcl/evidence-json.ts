import { parsePem, parseVtpmEvidence } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { Checklist } from "../check.ts";
import { contextOf, inputHash } from "../context.ts";
import { type Outcome, outcomeOf } from "../outcome.ts";
import { sameBytes } from "../x509/chain.ts";
import { type HclCheckId, hclChecks } from "./checks.ts";
import { type HclEvidence, type HclOptions, type ParavisorClaims, verifyHcl } from "./verify.ts";

const INPUT = "evidence.json";

/**
 * Evidence of a paravisor in the JSON that attestation agents send, for `verifyHcl`. What comes along in it is as trustworthy as the rest:
 * collateral and lists are the caller's to add. Throws MalformedError as `parseVtpmEvidence`.
 */
export function hclEvidenceOf(json: Uint8Array): HclEvidence {
  const { hclReport, quote, vcek, tdQuote } = parseVtpmEvidence(json);
  return {
    report: hclReport,
    ...(vcek && { certificates: certificatesOf(vcek) }),
    ...(tdQuote && { quote: tdQuote }),
    ...(quote && {
      tpmQuote: {
        message: quote.message,
        signature: quote.signature,
        ...(quote.pcrs.length > 0 && { pcrs: { sha256: quote.pcrs } }),
      },
    }),
  };
}

const MINUS = 0x2d;

function certificatesOf(file: Uint8Array): readonly Uint8Array[] {
  if (file[0] !== MINUS) return [file];
  return parsePem(file)
    .filter(({ label }) => label === "CERTIFICATE")
    .map(({ data }) => data);
}

/** Verifies evidence in JSON, with what else came along. Never throws because of the evidence. */
export async function verifyHclJson(
  json: Uint8Array,
  besides: Partial<HclEvidence> = {},
  options: HclOptions = {},
): Promise<Outcome<ParavisorClaims>> {
  let evidence: HclEvidence;
  try {
    evidence = hclEvidenceOf(json);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    const context = contextOf(options);
    const checks = new Checklist<HclCheckId>(hclChecks);
    checks.fail("hcl.report.form", error.message, { input: INPUT, offset: error.offset, length: 4 });
    return outcomeOf<ParavisorClaims>({
      kind: "hcl-snp",
      checks: checks.results(),
      inputs: [await inputHash(context, INPUT, json)],
      at: context.at,
      tcb: undefined,
      window: undefined,
      claims: undefined,
    });
  }
  const certificates = [...(evidence.certificates ?? []), ...(besides.certificates ?? [])];
  const own = certificates.filter((one, i) => certificates.findIndex((other) => sameBytes(one, other)) === i);
  return verifyHcl({ ...besides, ...evidence, certificates: own }, options);
}

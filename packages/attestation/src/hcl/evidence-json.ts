import { parsePem, parseVtpmEvidence } from "@entresol/evidence";
import type { HclEvidence } from "./verify.ts";

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

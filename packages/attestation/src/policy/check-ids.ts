import { type LogCheckId, logChecks } from "../event-log/checks.ts";
import { type HclCheckId, hclChecks } from "../hcl/checks.ts";
import { snpChecks } from "../snp/checks.ts";
import { type SvsmCheckId, svsmChecks } from "../svsm/checks.ts";
import { quoteChecks } from "../tdx/checks.ts";
import { type TpmCheckId, tpmChecks } from "../tpm/checks.ts";

/* Which checks a policy may let pass without a result, by their ids. */

/** What carries other evidence, with the checks of the inner evidence behind its name: "hcl.snp.revocation". */
const carriers = ["hcl", "svsm"] as const;

/**
 * Checks that make evidence out of bytes: its form, its chain of keys, its signatures. Who has not run them knows nothing, so no policy can
 * let them pass.
 */
const proof: ReadonlySet<string> = new Set([
  "snp.report.form",
  "snp.report.reserved",
  "snp.report.length",
  "snp.signing-key",
  "snp.chain",
  "snp.chain.rules",
  "snp.signature.form",
  "snp.signature",
  "snp.certificate-table",
  "snp.id-block",
  "snp.id-key",
  "snp.author-key",
  "quote.form",
  "quote.reserved",
  "quote.length",
  "quote.vendor",
  "pck.chain",
  "pck.chain.rules",
  "qe.signature",
  "qe.binding",
  "quote.signature",
  "tpm.quote.form",
  "tpm.key",
  "tpm.quote.signature",
  "tpm.quote.nonce",
  "log.form",
  // What binds evidence to the evidence in it is all of it proof.
  ...(Object.keys(hclChecks) as HclCheckId[]),
  ...(Object.keys(svsmChecks) as SvsmCheckId[]),
] satisfies readonly (
  | keyof typeof snpChecks
  | keyof typeof quoteChecks
  | TpmCheckId
  | LogCheckId
  | HclCheckId
  | SvsmCheckId
)[]);

/** Checks that a policy may name in `mayBeSkipped`. A name holds for the evidence itself, and for where it is carried by other evidence. */
export const skippableChecks: readonly string[] = Object.keys({
  ...snpChecks,
  ...quoteChecks,
  ...tpmChecks,
  ...logChecks,
}).filter((id) => !proof.has(id));

const without = (id: string): string => {
  const carrier = carriers.find((name) => id.startsWith(`${name}.`));
  return carrier === undefined ? id : id.slice(carrier.length + 1);
};

/** True for a check without which evidence is only bytes, be it carried by other evidence or not. */
export const isProof = (id: string): boolean => proof.has(id) || proof.has(without(id));

/** True when the list names the check: by its own id, or by the id that it has without its carrier. */
export function isNamed(list: readonly string[], id: string): boolean {
  return list.includes(id) || list.includes(without(id));
}

import type { CheckResult } from "../check.ts";

/* What somebody can do about a check that failed or did not run: by the check's id, the longest beginning that fits. */

const advice: Readonly<Record<string, string>> = {
  "snp.report": "Get a fresh report: these bytes are no report that the firmware made.",
  "snp.product":
    "Update this software if the processor is newer than it; otherwise the certificate is of another machine.",
  "snp.signing-key":
    "Get the VCEK certificate of the chip and its reported TCB from AMD's service, or the VLEK certificate from the host (--fetch).",
  "snp.chain":
    "Pass the certificates of the product's chain, or leave them out to use the keys that are built in; a test root has to be trusted explicitly (--certs, --trust-root).",
  "snp.chain.rules":
    "Get a current certificate (VLEKs run out after a year), or judge for a time at which it was valid (--at).",
  "snp.revocation":
    "What is on AMD's revocation list is not to be trusted any more; if the list is missing, get it; one that is old has to be left out for that (--fetch).",
  "snp.key":
    "Get the certificate for this chip and this reported TCB: it changes with every firmware update.",
  "snp.signature": "Do not trust this report: it was changed, or signed by another key.",
  "snp.tcb.order": "Do not trust this report: no firmware makes one like it.",
  "quote.form": "Get a fresh quote: these bytes are no quote.",
  "quote.reserved": "Get a fresh quote.",
  "quote.length": "Cut off what stands behind the quote.",
  "quote.vendor": "Use a machine with Intel's quoting enclave.",
  "quote.signature": "Do not trust this quote: it was changed after it was signed.",
  "pck.chain":
    "Pass the PCK certificate chain; a test root has to be trusted explicitly (--certs, --fetch, --trust-root).",
  "pck.chain.rules": "Get a current PCK certificate of the platform, or judge for another time (--at).",
  "pck.extensions": "Get the PCK certificate of this platform again: this one is not whole.",
  "pck.revocation":
    "A platform that is on Intel's revocation lists is not to be trusted any more; if they are missing, get them; those that are old have to be left out for that (--fetch).",
  "collateral.signer":
    "Get the TCB signing chain that came with TCB info, and the root's current revocation list (--fetch).",
  "collateral.evaluation": "Get newer TCB info and QE identity (--fetch).",
  "tcb-info":
    "Get TCB info for this platform and this time, in the very bytes that the service gives (--fetch).",
  "tcb-info.window":
    "Leave this TCB info out and get the current one, or judge for a time at which it was valid (--fetch, --at).",
  "qe-identity.window":
    "Leave this QE identity out and get the current one, or judge for a time at which it was valid (--fetch, --at).",
  "qe-identity": "Get the QE identity for this time, in the very bytes that the service gives (--fetch).",
  "qe.identity": "Use a machine with Intel's current quoting enclave.",
  qe: "Do not trust this quote: its quoting enclave did not vouch for it.",
  "tdx.module": "Use a TDX module that Intel has signed, and TCB info that knows it.",
  "tdx.attributes": "Update this software if the attributes are newer than it.",
  "tcb.level": "Update firmware and microcode of the machine, and get a fresh quote.",
  hcl: "Get a fresh report and quote from the virtual machine: its parts do not belong together.",
  tpm: "Get a fresh quote from the vTPM, with the nonce that you gave.",
  svsm: "Get a fresh report and manifest from the SVSM.",
  "snp.certificate-table": "Get the table of certificates from the host again: it is broken.",
  "snp.id-block": "Give the ID block that the guest was launched with.",
  "snp.id-key": "Give the ID block that the guest was launched with, with its signature.",
  "snp.author-key": "Give the ID block that the guest was launched with, with its author key.",
  log: "Get the event log again, at the same time as the quote.",
};

function byLongestBeginning(id: string): string | undefined {
  for (let name = id; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf("."))))
    if (Object.hasOwn(advice, name)) return advice[name];
  return undefined;
}

/** Before the ids of checks of evidence inside of other evidence: "hcl.snp.signature". */
const OUTER = /^(hcl|svsm)\./;

/** What another check's advice mends when these did not run. */
const ofFailuresAlone: ReadonlySet<string> = new Set(["snp.product"]);

/** What to do; undefined when nothing is known that helps. */
export function adviceFor({
  id,
  result,
}: Pick<CheckResult, "id"> & Partial<Pick<CheckResult, "result">>): string | undefined {
  if (result === "not-run" && ofFailuresAlone.has(id.replace(OUTER, ""))) return undefined;
  return (OUTER.test(id) ? byLongestBeginning(id.replace(OUTER, "")) : undefined) ?? byLongestBeginning(id);
}

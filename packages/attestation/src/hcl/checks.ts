import type { CheckTable } from "../check.ts";

const HCL = "OpenHCL IGVM attest request";

/**
 * What is checked of a paravisor's report itself. The checks of the hardware report stand beside these as "hcl.snp.signature" and the like,
 * those of the TPM's quote and the log as they are.
 */
export const hclChecks = {
  "hcl.report.form": {
    title: "The report is whole, of versions that are known, and its sizes agree",
    spec: `${HCL}, header and request data`,
  },
  "hcl.report.reserved": { title: "Reserved bytes of the report are zero", spec: `${HCL}, header` },
  "hcl.report.length": { title: "Nothing but zeros follows the report", spec: `${HCL}, header` },
  "hcl.hardware": {
    title: "The report holds a hardware report of a kind that is verified here",
    spec: `${HCL}, request data, report type`,
  },
  "hcl.td-quote": {
    title: "A TD quote vouches for the TDREPORT, which nobody else can verify: both have the same REPORTDATA",
    spec: "Intel TDX module base architecture 344425, TDREPORT_STRUCT",
  },
  "hcl.paravisor": {
    title: "The paravisor itself asked for the hardware report, and not the guest that it holds",
    spec: "SEV-SNP ABI 56860, ATTESTATION_REPORT VMPL; TDX 1.5 TD report, VM id",
  },
  "hcl.claims.hash": {
    title: "REPORT_DATA of the hardware report begins with the hash of the runtime claims",
    spec: `${HCL}, runtime claims`,
  },
  "hcl.claims.tail": {
    title: "Nothing else is in REPORT_DATA: zeros follow the hash",
    spec: `${HCL}, runtime claims`,
  },
  "hcl.claims.key": {
    title: "The runtime claims name the attestation key HCLAkPub, as a key that signs",
    spec: `${HCL}, runtime claims, keys; RFC 7517, 4.3`,
  },
  "hcl.claims.user-data": {
    title: "The runtime claims hold the user data that was asked for",
    spec: `${HCL}, runtime claims, user-data`,
  },
} as const satisfies CheckTable;

export type HclCheckId = keyof typeof hclChecks;

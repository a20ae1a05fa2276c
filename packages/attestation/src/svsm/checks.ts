import type { CheckTable } from "../check.ts";

const SVSM = "SVSM 58019";

/** What is checked of an SVSM's attestation itself. The checks of the SNP report stand beside these as "svsm.snp.signature" and the like. */
export const svsmChecks = {
  "svsm.manifest.form": {
    title: "The manifest is whole: of all services, or of the virtual TPM alone",
    spec: `${SVSM}, 7.1 tables 11 to 13; 8.3.1`,
  },
  "svsm.manifest.length": { title: "Nothing follows the manifest", spec: `${SVSM}, 7.1 table 12` },
  "svsm.nonce": {
    title: "The nonce is the one that was asked for, of 64 bytes",
    spec: `${SVSM}, 7.1 attestation nonce`,
  },
  "svsm.manifest.binding": {
    title: "REPORT_DATA is SHA-512 of the nonce and the manifest",
    spec: `${SVSM}, 7.1`,
  },
  "svsm.vmpl": {
    title: "The SVSM itself asked for the report, at VMPL 0, and not the guest that it serves",
    spec: `${SVSM}, 7.1; SEV-SNP ABI 56860, ATTESTATION_REPORT VMPL`,
  },
  "svsm.ek": {
    title: "The manifest names the endorsement key of the virtual TPM, as a key that never leaves it",
    spec: `${SVSM}, 8.3.1; TCG EK Credential Profile, B.3`,
  },
} as const satisfies CheckTable;

export type SvsmCheckId = keyof typeof svsmChecks;

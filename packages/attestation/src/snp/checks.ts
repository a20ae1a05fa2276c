import type { CheckTable } from "../check.ts";

const ABI = "SEV-SNP ABI 56860";
const KDS = "VCEK KDS 57230";

/** What is checked of an SEV-SNP report, in this order. */
export const snpChecks = {
  "snp.report.form": {
    title: "The report is whole and of a version that is known",
    spec: `${ABI}, ATTESTATION_REPORT`,
  },
  "snp.report.reserved": {
    title: "Reserved bytes are zero, and policy bit 17 is one",
    spec: `${ABI}, ATTESTATION_REPORT; GUEST_POLICY`,
  },
  "snp.report.length": {
    title: "Nothing but zeros follows the report",
    spec: `${ABI}, ATTESTATION_REPORT`,
  },
  "snp.product": {
    title: "The processor is a known product, and its key is of that product's chain",
    spec: `${ABI}, CPUID_FAM_ID; ${KDS}, 3.1`,
  },
  "snp.signing-key": {
    title: "The certificate is of the kind of key that the report names",
    spec: `${ABI}, ATTESTATION_REPORT 0x48 SIGNING_KEY`,
  },
  "snp.chain": {
    title: "The signing key's certificate leads to a trusted AMD root key by signatures",
    spec: `${KDS}, 2.2; RFC 5280, 6.1`,
  },
  "snp.chain.rules": {
    title: "Every certificate is valid at the time, and may do what it does",
    spec: "RFC 5280, 6.1.3 and 6.1.4",
  },
  "snp.revocation": {
    title: "No certificate of the chain is on AMD's revocation list, which is authentic and current",
    spec: `${KDS}, 4.2; RFC 5280, 6.3.3`,
  },
  "snp.key.extensions": {
    title: "The certificate has every extension of its kind, once and well formed",
    spec: `${KDS}, 3.1 table 8`,
  },
  "snp.key.tcb": {
    title: "The key was derived from the TCB version that the report states",
    spec: `${KDS}, 3.1; ${ABI}, REPORTED_TCB`,
  },
  "snp.key.chip": {
    title: "The key is of the chip that the report states",
    spec: `${KDS}, 3.1 hwID; ${ABI}, CHIP_ID`,
  },
  "snp.signature.form": {
    title: "The signature is ECDSA P-384 with SHA-384, R and S in range, unused bytes zero",
    spec: `${ABI}, signature formats, ECDSA P-384`,
  },
  "snp.signature": {
    title: "The report is signed by the key of the certificate",
    spec: `${ABI}, ATTESTATION_REPORT 0x2a0`,
  },
  "snp.tcb.order": {
    title: "Reported TCB <= committed TCB <= current TCB, in every component",
    spec: `${ABI}, TCB_VERSION; SNP_COMMIT`,
  },
  "snp.certificate-table": {
    title: "The host's table of certificates is whole, and each of them stands there once",
    spec: "GHCB 56421, 4.1.8.1",
  },
  "snp.id-block": {
    title: "The ID block that the guest's owner signed is that of the report",
    spec: `${ABI}, 8.18 ID_BLOCK`,
  },
  "snp.id-key": {
    title: "The key whose digest the report has signed the ID block",
    spec: `${ABI}, 8.18 ID_AUTH, ID_KEY_DIGEST`,
  },
  "snp.author-key": {
    title: "The author's key whose digest the report has signed the ID key",
    spec: `${ABI}, 8.18 ID_AUTH, AUTHOR_KEY_DIGEST`,
  },
} as const satisfies CheckTable;

export type SnpCheckId = keyof typeof snpChecks;

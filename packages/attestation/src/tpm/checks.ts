import type { CheckTable } from "../check.ts";

const P2 = "TPM 2.0 Part 2";
const P3 = "TPM 2.0 Part 3";

/** What is checked of a quote of a virtual TPM, once it is known which key attests. */
export const tpmChecks = {
  "tpm.quote.form": {
    title: "The quote is whole, was made by a TPM, and is a quote",
    spec: `${P2}, 10.12 TPMS_ATTEST; 6.2 TPM_GENERATED`,
  },
  "tpm.key": {
    title: "The attestation key is known from what the hardware signed, and is fit to sign quotes",
    spec: `${P2}, 8.3 TPMA_OBJECT; RFC 7518, 6.3.1`,
  },
  "tpm.quote.signature": {
    title: "The quote is signed by the attestation key, by a scheme that is still sound",
    spec: `${P2}, 11.3.4 TPMT_SIGNATURE; ${P3}, 18.4 TPM2_Quote`,
  },
  "tpm.quote.nonce": {
    title: "The quote holds the nonce that was asked for",
    spec: `${P2}, 10.12.12 extraData`,
  },
  "tpm.quote.pcrs": {
    title: "The quote's digest is that of the PCR values, over those that it selects",
    spec: `${P2}, 10.12.1 TPMS_QUOTE_INFO`,
  },
} as const satisfies CheckTable;

export type TpmCheckId = keyof typeof tpmChecks;

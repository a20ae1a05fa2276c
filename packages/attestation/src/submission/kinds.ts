import type { Outcome } from "../outcome.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import { verifySnp } from "../snp/verify.ts";
import type { QuoteClaims, QuoteEvidence } from "../tdx/evidence.ts";
import { verifySgx } from "../tdx/verify.ts";
import { hclRow, identityOf, svsmRow, verifyTdxSubmission } from "./chain-kinds.ts";
import type { KindOptions, KindRow, Shown } from "./kind.ts";
import type { Submission } from "./submission.ts";

export type { KindOptions, KindRow, Shown } from "./kind.ts";

/** Offset of the TEE type in a quote; its first byte is zero for SGX. */
const TEE_TYPE = 4;

const quoteRow = (
  name: "tdx" | "sgx",
  title: string,
  verify: (submission: Submission, evidence: QuoteEvidence, options: KindOptions) => Promise<Outcome>,
  isKind: (quote: Uint8Array) => boolean,
): KindRow => ({
  name,
  title,
  main: "quote",
  evidence: ["quote"],
  fits: (submission) => {
    const quote = submission.get("quote");
    return quote !== undefined && isKind(quote);
  },
  verify: (submission, options) =>
    verify(
      submission,
      {
        quote: submission.get("quote") as Uint8Array,
        collateral: submission.collateral(),
        certificates: submission.all("certificate"),
      },
      options,
    ),
  shown: (submission, { claims }) => {
    const eventLog = submission.get("ccel") ?? submission.get("event-log");
    return new Map<string, Shown>([
      [
        "quote",
        {
          bytes: submission.get("quote") as Uint8Array,
          map: (claims as QuoteClaims | undefined)?.quote.map,
        },
      ],
      ...(eventLog === undefined ? [] : [["event-log", { bytes: eventLog, map: undefined }] as const]),
    ]);
  },
});

/** The first row that fits counts: evidence that contains other evidence stands before it. */
export const kinds: readonly KindRow[] = [
  hclRow,
  svsmRow,
  {
    name: "snp",
    title: "AMD SEV-SNP attestation report",
    main: "snp-report",
    evidence: ["snp-report"],
    fits: (submission) => submission.has("snp-report"),
    verify: (submission, options) =>
      verifySnp(
        {
          report: submission.get("snp-report") as Uint8Array,
          certificates: submission.all("certificate"),
          crls: submission.all("crl"),
          ...identityOf(submission),
        },
        options,
      ),
    shown: (submission, { claims }) => {
      const shown = new Map<string, Shown>([
        [
          "report",
          {
            bytes: submission.get("snp-report") as Uint8Array,
            map: (claims as SnpClaims | undefined)?.report.map,
          },
        ],
      ]);
      for (const role of ["id-block", "id-auth"] as const) {
        const bytes = submission.get(role);
        if (bytes !== undefined) shown.set(role, { bytes, map: undefined });
      }
      return shown;
    },
  },
  quoteRow(
    "sgx",
    "Intel SGX quote",
    (_, evidence, options) => verifySgx(evidence, options),
    (quote) => quote[TEE_TYPE] === 0,
  ),
  quoteRow("tdx", "Intel TDX quote", verifyTdxSubmission, (quote) => quote[TEE_TYPE] !== 0),
];

/** The kind of that name; "snp-report" and "tdx-quote" will do for "snp" and "tdx". Undefined for none. */
export function kindNamed(name: string): KindRow | undefined {
  return kinds.find((row) => row.name === name.replace(/-(report|quote)$/, ""));
}

/** What a submission is; undefined when no kind fits. */
export function kindOf(submission: Submission): KindRow | undefined {
  return kinds.find((row) => row.fits(submission));
}

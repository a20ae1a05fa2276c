import type { ByteMap } from "@entresol/evidence";
import type { VerificationOptions } from "../context.ts";
import type { Outcome } from "../outcome.ts";
import { type SnpClaims, verifySnp } from "../snp/verify.ts";
import { type QuoteClaims, verifySgx, verifyTdx } from "../tdx/verify.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { Role } from "./roles.ts";
import type { Submission } from "./submission.ts";

/** How a submission is to be verified. */
export interface KindOptions extends VerificationOptions {
  /** Roots to trust in place of those that are built in. */
  readonly roots?: readonly TrustAnchor[];
  /** Lowest tcbEvaluationDataNumber of TCB info and QE identity. */
  readonly minimumEvaluationDataNumber?: number;
}

/** The bytes of an input that checks point into, with the names of its fields. */
export interface Shown {
  readonly bytes: Uint8Array;
  readonly map: ByteMap | undefined;
}

/** A kind of evidence that can be judged: one row for each, and everything that reads submissions goes by this table. */
export interface KindRow {
  /** As `--kind` has it. */
  readonly name: string;
  readonly title: string;
  /** The role of evidence of which nothing is known but that it is of this kind. */
  readonly main: Role;
  fits(submission: Submission): boolean;
  /** Called when it fits, or when the kind was asked for and something of the role `main` is there. Never throws because of the evidence. */
  verify(submission: Submission, options: KindOptions): Promise<Outcome>;
  /** By the names of inputs that the checks' places use. */
  shown(submission: Submission, outcome: Outcome): ReadonlyMap<string, Shown>;
}

/** Offset of the TEE type in a quote; its first byte is zero for SGX. */
const TEE_TYPE = 4;

const quoteRow = (
  name: "tdx" | "sgx",
  title: string,
  verify: typeof verifyTdx,
  isKind: (quote: Uint8Array) => boolean,
): KindRow => ({
  name,
  title,
  main: "quote",
  fits: (submission) => {
    const quote = submission.get("quote");
    return quote !== undefined && isKind(quote);
  },
  verify: (submission, options) =>
    verify(
      {
        quote: submission.get("quote") as Uint8Array,
        collateral: submission.collateral(),
        certificates: submission.all("certificate"),
      },
      options,
    ),
  shown: (submission, { claims }) =>
    new Map([
      [
        "quote",
        {
          bytes: submission.get("quote") as Uint8Array,
          map: (claims as QuoteClaims | undefined)?.quote.map,
        },
      ],
    ]),
});

/** The first row that fits counts: evidence that contains other evidence stands before it. */
export const kinds: readonly KindRow[] = [
  {
    name: "snp",
    title: "AMD SEV-SNP attestation report",
    main: "snp-report",
    fits: (submission) => submission.has("snp-report"),
    verify: (submission, options) =>
      verifySnp(
        {
          report: submission.get("snp-report") as Uint8Array,
          certificates: submission.all("certificate"),
          crls: submission.all("crl"),
        },
        options,
      ),
    shown: (submission, { claims }) =>
      new Map([
        [
          "report",
          {
            bytes: submission.get("snp-report") as Uint8Array,
            map: (claims as SnpClaims | undefined)?.report.map,
          },
        ],
      ]),
  },
  quoteRow("sgx", "Intel SGX quote", verifySgx, (quote) => quote[TEE_TYPE] === 0),
  quoteRow("tdx", "Intel TDX quote", verifyTdx, (quote) => quote[TEE_TYPE] !== 0),
];

/** The kind of that name; undefined for none. */
export function kindNamed(name: string): KindRow | undefined {
  return kinds.find((row) => row.name === name);
}

/** What a submission is; undefined when no kind fits. */
export function kindOf(submission: Submission): KindRow | undefined {
  return kinds.find((row) => row.fits(submission));
}

import type { Quote } from "@entresol/evidence";
import type { VerificationOptions } from "../context.ts";
import type { TrustAnchor } from "../x509/anchor.ts";
import type { Taken } from "../x509/cache.ts";
import type { PckExtensions } from "./pck.ts";
import type { Judgement } from "./tcb-level.ts";

/** What Intel publishes about a platform, as its service gives it. */
export interface QuoteCollateral {
  /** JSON, in the very bytes that were sent: the signature is over them. */
  readonly tcbInfo?: Uint8Array;
  readonly qeIdentity?: Uint8Array;
  /** Certificates of TCB-Info-Issuer-Chain: one PEM file, or DER one by one. */
  readonly signers?: readonly Uint8Array[];
  /** DER revocation list of the root, and of the CA that issued the PCK certificate. */
  readonly rootCrl?: Uint8Array;
  readonly pckCrl?: Uint8Array;
}

export interface QuoteEvidence {
  readonly quote: Uint8Array;
  readonly collateral?: QuoteCollateral;
  /** PCK chain (PEM or DER) for quotes that do not carry it. */
  readonly certificates?: readonly Uint8Array[];
}

export interface QuoteOptions extends VerificationOptions {
  /** Roots to trust in place of Intel's. */
  readonly roots?: readonly TrustAnchor[];
  /** Lowest tcbEvaluationDataNumber of TCB info and QE identity. */
  readonly minimumEvaluationDataNumber?: number;
}

/** What a quote says, once it could be read. */
export interface QuoteClaims {
  readonly quote: Quote;
  readonly pck: PckExtensions | undefined;
  /** Common name of the root key that the chain ends at. */
  readonly root: string | undefined;
  /** Of the collateral that was used. */
  readonly evaluationDataNumbers: { readonly tcbInfo: number; readonly qeIdentity: number } | undefined;
  /** Which levels decided. */
  readonly judgement: Judgement | undefined;
}

/** The collateral that was given, copied and hashed. */
export type TakenCollateral = {
  readonly [Name in keyof QuoteCollateral]-?: Name extends "signers" ? readonly Taken[] : Taken | undefined;
};

import type { ByteMap } from "@entresol/evidence";
import type { VerificationOptions } from "../context.ts";
import type { Outcome } from "../outcome.ts";
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
  /** All evidence that is judged by it: what else lies there is not. */
  readonly evidence: readonly Role[];
  fits(submission: Submission): boolean;
  /** Names of files in whose place others would be judged that say something else. */
  contradicted?(submission: Submission): readonly string[];
  /** Called when it fits, or when the kind was asked for and something of the role `main` is there. Never throws because of the evidence. */
  verify(submission: Submission, options: KindOptions): Promise<Outcome>;
  /** By the names of inputs that the checks' places use. */
  shown(submission: Submission, outcome: Outcome): ReadonlyMap<string, Shown>;
}

import type { CheckResult } from "./check.ts";

/** What kind of evidence was judged. */
export type EvidenceKind = "snp" | "tdx" | "sgx" | "hcl-snp" | "hcl-tdx" | "svsm-snp";

/** An input of a judgement, by its hash, so that the judgement can be repeated on the same bytes. */
export interface InputHash {
  readonly name: string;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** TCB statuses as Intel names them, and "Unsupported" where no published level fits. */
export type TcbStatus =
  | "UpToDate"
  | "SWHardeningNeeded"
  | "ConfigurationNeeded"
  | "ConfigurationAndSWHardeningNeeded"
  | "OutOfDate"
  | "OutOfDateConfigurationNeeded"
  | "TDRelaunchAdvised"
  | "TDRelaunchAdvisedConfigurationNeeded"
  | "Revoked"
  | "Unsupported";

/** The state of the trusted computing base, whole and in its parts. */
export interface TcbState {
  /** All parts together. */
  readonly status: TcbStatus;
  readonly platform: TcbStatus;
  /** TDX module; undefined for SGX. */
  readonly module: TcbStatus | undefined;
  readonly qe: TcbStatus;
  readonly advisories: readonly string[];
}

/** The time in which the collateral used is valid, milliseconds since 1970, both ends included. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** What a verification found. */
export interface Outcome<Claims = unknown> {
  readonly kind: EvidenceKind;
  readonly checks: readonly CheckResult[];
  readonly inputs: readonly InputHash[];
  /** For this time, milliseconds since 1970. */
  readonly at: number;
  readonly tcb: TcbState | undefined;
  readonly window: Window | undefined;
  /** What the evidence says, trustworthy or not; undefined when it could not be read. */
  readonly claims: Claims | undefined;
  /** The same, when no check failed: only this can be appraised. Checks that could not run are for the policy to judge. */
  readonly verified: Verified<Claims> | undefined;
}

/** Evidence of which no check failed. Made by the verifiers of this package alone, so that nothing else can be appraised. */
export class Verified<Claims = unknown> {
  /** Private, so that no other object has this type. */
  readonly #outcome: Omit<Outcome<Claims>, "verified"> & { readonly claims: Claims };

  /** @internal */
  constructor(outcome: Omit<Outcome<Claims>, "verified"> & { readonly claims: Claims }) {
    this.#outcome = outcome;
  }
  get kind(): EvidenceKind {
    return this.#outcome.kind;
  }
  get claims(): Claims {
    return this.#outcome.claims;
  }
  get checks(): readonly CheckResult[] {
    return this.#outcome.checks;
  }
  get inputs(): readonly InputHash[] {
    return this.#outcome.inputs;
  }
  get at(): number {
    return this.#outcome.at;
  }
  get tcb(): TcbState | undefined {
    return this.#outcome.tcb;
  }
  get window(): Window | undefined {
    return this.#outcome.window;
  }
}

/** The outcome of these findings: verified when the evidence could be read and nothing failed. */
export function outcomeOf<Claims>(found: Omit<Outcome<Claims>, "verified">): Outcome<Claims> {
  const { claims } = found;
  const sound = claims !== undefined && found.checks.every(({ result }) => result !== "failed");
  return { ...found, verified: sound ? new Verified({ ...found, claims }) : undefined };
}

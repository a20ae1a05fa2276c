import type { CheckResult } from "../check.ts";
import type { TcbState } from "../outcome.ts";
import { isProof } from "./check-ids.ts";
import type { Reason } from "./rules.ts";

/*
 * What a judgement says in the terms of AR4SI (draft-ietf-rats-ar4si, 2.3): one claim for each category that the evidence speaks of, a number
 * from -128 to 127 whose range is its tier. Two tables say which check and which rule speaks of which category.
 */

/** In the order of their keys in CBOR, 0 to 7. */
export const trustCategories = [
  "instance-identity",
  "configuration",
  "executables",
  "file-system",
  "hardware",
  "runtime-opaque",
  "storage-opaque",
  "sourced-data",
] as const;
export type TrustCategory = (typeof trustCategories)[number];

/** Tiers with their numbers in CBOR (draft-ietf-rats-ar4si, 3.2). */
export const trustTiers = { none: 0, affirming: 2, warning: 32, contraindicated: 96 } as const;
export type TrustTier = keyof typeof trustTiers;

/** The tier of a claim's value (2.3.2). */
export function tierOf(value: number): TrustTier {
  if (value >= -1 && value <= 1) return "none";
  const size = value < 0 ? -value - 1 : value;
  return size >= 96 ? "contraindicated" : size >= 32 ? "warning" : "affirming";
}

/** What led to a claim: a check of the verification, or a rule of the policy. */
export interface TrustReason {
  readonly source: { readonly check: string } | { readonly rule: string };
  readonly detail: string;
}
export interface TrustClaim {
  readonly value: number;
  readonly tier: TrustTier;
  readonly reasons: readonly TrustReason[];
}
export type TrustVector = Readonly<Partial<Record<TrustCategory, TrustClaim>>>;

/** Values that are given here (2.3.4). */
const Value = {
  /** What is there does not suffice to tell. */
  insufficient: 0,
  /** There is something that cannot be evaluated. */
  unknown: 1,
  /** As it shall be; for executables: during boot and after. */
  good: 2,
  /** Only approved executables were loaded at boot. */
  approvedBoot: 3,
  /** Genuine, with known weaknesses. */
  weak: 32,
  /** Executables that nobody knows. */
  unrecognized: 33,
  /** Untrustworthy. */
  bad: 96,
  /** Not known, though it should be. */
  stranger: 97,
  /** Cryptographic validation failed. */
  forged: 99,
} as const;

type Effect = readonly [pattern: RegExp, category: TrustCategory, value: number];

/** What evidence of confidential machines speaks of, whatever the policy: where it is forged, all of this is. */
const attested = [
  "configuration",
  "executables",
  "hardware",
  "runtime-opaque",
] as const satisfies readonly TrustCategory[];

/** Failed checks that say something else than that the evidence is forged. The first that fits counts. */
const failedChecks: readonly Effect[] = [
  [/(^|\.)snp\.product$/, "hardware", Value.stranger],
  [/(^|\.)(snp|pck)\.(chain\.rules|revocation)$/, "hardware", Value.bad],
  [/(^|\.)snp\.tcb\.order$/, "hardware", Value.bad],
  [/(^|\.)(tdx\.module|qe\.identity)$/, "hardware", Value.stranger],
  [/(^|\.)tcb\.level$/, "hardware", Value.bad],
  [/(^|\.)tdx\.attributes$/, "configuration", Value.bad],
  // Not the evidence but what was published about it is wrong, or not for it.
  [/(^|\.)(collateral|tcb-info|qe-identity)\.[a-z.-]+$/, "hardware", Value.unknown],
];

/**
 * What a rule of the policy speaks of, what its failure means, and what it affirms when it holds: nothing, where it looks at a part only.
 * Rules that bind evidence to a request (report data, nonces) speak of no category.
 */
const ruleEffects: readonly (readonly [...Effect, affirms: number | undefined])[] = [
  [/^\/snp\/chips$/, "instance-identity", Value.stranger, Value.good],
  [
    /^\/snp\/(products|signingKeys|cspIds|minimumTcb|provisionalFirmware|requiredMitigations|platform)/,
    "hardware",
    Value.bad,
    Value.good,
  ],
  [
    /^\/(tdx|sgx)\/(tcbStatuses|refusedAdvisories|minimumEvaluationDataNumber|fmspcs|dynamicPlatform|cachedKeys|smt|mrSeams|mrSignerSeams|minimumTeeTcbSvn)$/,
    "hardware",
    Value.bad,
    Value.good,
  ],
  [
    /^\/snp\/(measurements|images|idKeyDigests|authorKeyDigests)$|^\/tdx\/(mrTds|images)$|^\/sgx\/(mrEnclaves|mrSigners)$|^\/tpm\/pcrs/,
    "executables",
    Value.unrecognized,
    Value.approvedBoot,
  ],
  [
    /^\/snp\/(measurementsFrom|familyIds|imageIds)$|^\/tdx\/(measurementsFrom|rtmr[0-3])$|^\/sgx\/isvProdIds$|^\/tpm\/(eventLog|quote|requiredEventDigests)/,
    "executables",
    Value.unrecognized,
    undefined,
  ],
  [/^\/snp\/minimumGuestSvn$|^\/sgx\/minimumIsvSvn$/, "executables", Value.weak, undefined],
  [/^\/tpm\/refusedEventDigests/, "executables", Value.bad, undefined],
  [
    /^\/snp\/(guestPolicy|vmpls|hostData)|^\/tdx\/(attributes|xfam|serviceTd|mrServiceTds|mrConfigIds|mrOwners|mrOwnerConfigs)|^\/sgx\/debug$/,
    "configuration",
    Value.bad,
    Value.good,
  ],
];

const effectOf = (rule: string) => ruleEffects.find(([pattern]) => pattern.test(rule));

/** The category that a rule of the policy speaks of, by its pointer. */
export const categoryOfRule = (rule: string): TrustCategory | undefined => effectOf(rule)?.[1];

/** Contraindicated before warning before what cannot be told before affirming (2.3.3; a gap is no affirmation). */
const weight = (value: number): number =>
  ({ contraindicated: 3, warning: 2, none: 1, affirming: 0 })[tierOf(value)];

class Claims {
  readonly #claims = new Map<TrustCategory, { value: number; reasons: TrustReason[] }>();

  add(category: TrustCategory, value: number, reason: TrustReason): void {
    const claim = this.#claims.get(category);
    if (claim === undefined || weight(value) > weight(claim.value))
      this.#claims.set(category, { value, reasons: [reason] });
    else if (value === claim.value) claim.reasons.push(reason);
  }

  vector(): TrustVector {
    const vector: Partial<Record<TrustCategory, TrustClaim>> = {};
    for (const category of trustCategories) {
      const claim = this.#claims.get(category);
      if (claim !== undefined) vector[category] = { ...claim, tier: tierOf(claim.value) };
    }
    return vector;
  }
}

const ofCheck = ({ id, detail }: CheckResult): TrustReason => ({ source: { check: id }, detail });
const ofRule = ({ rule, detail }: Reason): TrustReason => ({ source: { rule }, detail });

/** Checks without which a TCB level is only what the sender of the evidence says. */
const levelProof = /(^|\.)(tcb\.level|(tcb-info|qe-identity)\.signature)$/;

/** False where the level rests on documents that nobody is known to have signed. */
export const isLevelProven = (checks: readonly CheckResult[]): boolean =>
  !checks.some(({ id, result }) => result === "not-run" && levelProof.test(id));

export interface TrustInput {
  readonly checks: readonly CheckResult[];
  readonly reasons: readonly Reason[];
  /** Checks that did not run and had to. */
  readonly missing: readonly CheckResult[];
  readonly tcb: TcbState | undefined;
  /** Somebody outside can look into the memory; undefined when the evidence was not appraised. */
  readonly debuggable: boolean | undefined;
}

/** The trust vector of a judgement, with what led to each claim. It has one claim at least. */
export function trustVectorOf({ checks, reasons, missing, tcb, debuggable }: TrustInput): TrustVector {
  const claims = new Claims();
  for (const check of checks.filter(({ result }) => result === "failed")) {
    const effect = failedChecks.find(([pattern]) => pattern.test(check.id));
    if (effect === undefined)
      for (const category of attested) claims.add(category, Value.forged, ofCheck(check));
    else claims.add(effect[1], effect[2], ofCheck(check));
  }
  for (const check of missing) claims.add("hardware", Value.insufficient, ofCheck(check));
  // Nothing is affirmed of evidence that is not proven.
  if (debuggable === undefined || missing.some(({ id }) => isProof(id))) return claims.vector();

  for (const reason of reasons) {
    const effect = effectOf(reason.rule);
    if (effect === undefined) continue;
    const [, category, value, affirms] = effect;
    const given = reason.unknown ? Value.insufficient : reason.holds ? affirms : value;
    if (given !== undefined) claims.add(category, given, ofRule(reason));
  }
  let signed: CheckResult | undefined;
  for (const check of checks) {
    if (check.result === "passed" && isProof(check.id)) claims.add("hardware", Value.good, ofCheck(check));
    if (check.result === "passed" && /(snp|quote)\.signature$/.test(check.id)) signed ??= check;
    // The policy lets it pass; that does not make it good.
    if (check.result === "not-run" && levelProof.test(check.id))
      claims.add("hardware", Value.insufficient, ofCheck(check));
  }
  if (tcb !== undefined && isLevelProven(checks)) {
    const reason: TrustReason = { source: { check: "tcb.level" }, detail: `the TCB is ${tcb.status}` };
    if (tcb.status !== "UpToDate") claims.add("hardware", Value.weak, reason);
    if (tcb.status.includes("Configuration")) claims.add("configuration", Value.weak, reason);
  }
  if (signed !== undefined)
    claims.add("runtime-opaque", debuggable ? Value.bad : Value.good, {
      source: { check: signed.id },
      detail: debuggable
        ? "a debugger may look into the memory"
        : "the memory is encrypted, and no debugger may look into it",
    });
  return claims.vector();
}

/** The worst tier of the vector: the evidence is not trusted more than that. */
export function worstTier(vector: TrustVector): TrustTier {
  const values = Object.values(vector).map(({ value }) => value);
  const worst = values.reduce((a, b) => (weight(b) > weight(a) ? b : a), Value.good as number);
  return tierOf(worst);
}

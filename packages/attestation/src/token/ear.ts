import { encodeBase64 } from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import * as z from "zod";
import { judge } from "../appraise.ts";
import { EvidenceError } from "../errors.ts";
import type { Outcome } from "../outcome.ts";
import { defaultPolicy, type PolicyInput, parsePolicy } from "../policy/schema.ts";
import {
  isLevelProven,
  type TrustTier,
  trustCategories,
  trustTiers,
  worstTier,
} from "../policy/trust-vector.ts";
import { attesterClaims } from "./attester-claims.ts";
import { canonicalJson, type JsonData } from "./canonical-json.ts";

/*
 * EAT Attestation Results (draft-ietf-rats-ear-04): the claims of a token, as JSON has them. What the verdict rests on (time, policy, hashes
 * of all inputs, checks, reasons) stands in ear_verifier_claims, so that a verdict can be had again from the token and the inputs.
 */

export const earProfile = "tag:ietf.org,2026:rats/ear#04";
/** Who judged (draft-ietf-rats-ar4si, 3.3). */
export const verifierId = { developer: "Entresol", build: "@entresol/attestation 0.1.0" } as const;

const tier = z.enum(Object.keys(trustTiers) as [TrustTier, ...TrustTier[]]);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const time = z.iso.datetime({ precision: 3 });
const seconds = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const whole = z.number().int();
const claim = z.union([z.string(), whole, z.boolean()]);

const evaluation = z.strictObject({
  /** The time judged for; milliseconds. */
  at: time,
  kind: z.string(),
  verdict: z.enum(["accepted", "rejected", "unverified"]),
  /** Of the policy with every default filled in, as canonical JSON. */
  policy: z.strictObject({ name: z.string().optional(), "sha-256": sha256 }),
  /** Everything that was read, in order. */
  inputs: z.array(z.strictObject({ name: z.string(), "sha-256": sha256 })),
  checks: z.record(z.string(), z.enum(["passed", "failed", "not-run"])),
  reasons: z.array(
    z.strictObject({ rule: z.string(), check: z.string(), result: z.enum(["holds", "fails", "unknown"]) }),
  ),
  /** What led to each claim of the trust vector: ids of checks, and pointers of the policy's members. */
  trust: z.partialRecord(z.enum(trustCategories), z.array(z.string())),
  /** Of evidence whose level rests on signed documents. */
  tcb: z
    .strictObject({
      status: z.string(),
      platform: z.string(),
      module: z.string().optional(),
      qe: z.string(),
      advisories: z.array(z.string()),
    })
    .optional(),
  /** In which the collateral that was used is valid. */
  window: z.strictObject({ from: time, to: time }).optional(),
});

const appraisal = z.strictObject({
  ear_status: tier,
  ear_trustworthiness_vector: z.partialRecord(z.enum(trustCategories), z.number().int().min(-128).max(127)),
  ear_appraisal_policy_ids: z.array(z.string()).min(1),
  /** What the evidence says; only of evidence of which no check failed. */
  ear_attester_claims: z.record(z.string(), claim).optional(),
  ear_verifier_claims: evaluation,
});

export const earSchema = z.strictObject({
  eat_profile: z.literal(earProfile),
  /** When the token was made, in seconds since 1970. */
  iat: seconds,
  /** From when on it does not hold. */
  exp: seconds.optional(),
  /** What the asker sent for freshness, 8 to 64 bytes: base64 (RFC 9711, 4.1). */
  eat_nonce: z
    .string()
    .regex(/^[A-Za-z0-9+/]{10,86}={0,2}$/)
    .optional(),
  ear_verifier_id: z.strictObject({ developer: z.string(), build: z.string() }),
  ear_status: tier,
  /** One appraisal, by the kind of evidence. */
  submods: z
    .record(z.string(), appraisal)
    .refine((all) => Object.keys(all).length === 1, "one appraisal is right"),
});

/** The claims of a token. */
export type Ear = z.output<typeof earSchema>;
export type EarAppraisal = z.output<typeof appraisal>;
/** What a verdict rests on. */
export type Evaluation = z.output<typeof evaluation>;

/** The one appraisal of a token. */
export function appraisalOf({ submods }: Ear): EarAppraisal {
  return Object.values(submods)[0] as EarAppraisal;
}

/** What the verdict of a token rests on. */
export const evaluationOf = (ear: Ear): Evaluation => appraisalOf(ear).ear_verifier_claims;

export interface EarOptions {
  /** When the token is made. Default: now. Whole seconds count. */
  readonly issuedAt?: Date | number | string;
  /** For how many seconds it holds. Default: it does not say. */
  readonly lifetime?: number;
  /** What the asker sent for freshness: 8 to 64 bytes. */
  readonly nonce?: Uint8Array;
}

const utf8 = new TextEncoder();
const iso = (at: number): string => new Date(at).toISOString();

/** Hexadecimal. */
export async function sha256Of(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", new Uint8Array(bytes))));
}

/** The hash by which tokens name a policy: SHA-256 of its canonical JSON (RFC 8785) with every default filled in. Hexadecimal. */
export function policyHash(policy: PolicyInput = defaultPolicy): Promise<string> {
  return sha256Of(utf8.encode(canonicalJson(parsePolicy(policy) as unknown as JsonData)));
}

/** Throws `EvidenceError` `bad-argument`. */
function secondsOf(at: EarOptions["issuedAt"]): number {
  const time = at === undefined ? Date.now() : new Date(at).getTime();
  if (!(time >= 0))
    throw new EvidenceError("bad-argument", `"${String(at)}" is no time at which a token is made`);
  return Math.floor(time / 1000);
}

function nonceText(nonce: Uint8Array): string {
  if (nonce.length < 8 || nonce.length > 64)
    throw new EvidenceError(
      "bad-argument",
      `a nonce of ${nonce.length} bytes, 8 to 64 are right (RFC 9711, 4.1)`,
    );
  return encodeBase64(nonce, "base64");
}

/** Judges an outcome, and says so in the claims of a token. The same outcome, policy and options give the same claims. */
export async function earOf(
  outcome: Outcome,
  policy: PolicyInput = defaultPolicy,
  { issuedAt, lifetime, nonce }: EarOptions = {},
): Promise<Ear> {
  const { verdict, reasons, trustVector, policy: held } = judge(outcome, policy);
  const { verified } = outcome;
  const { kind, checks, inputs, at, tcb, window } = verified ?? outcome;
  const hash = await policyHash(held);
  const status = {
    accepted: worstTier(trustVector),
    rejected: "contraindicated",
    unverified: "none",
  } as const;
  const iat = secondsOf(issuedAt);
  const said = verified && attesterClaims(verified);
  const one: EarAppraisal = {
    ear_status: status[verdict],
    ear_trustworthiness_vector: Object.fromEntries(
      Object.entries(trustVector).map(([category, { value }]) => [category, value]),
    ),
    ear_appraisal_policy_ids: [`urn:sha-256:${hash}`],
    ...(said && { ear_attester_claims: said }),
    ear_verifier_claims: {
      at: iso(at),
      kind,
      verdict,
      policy: { ...(held.name !== undefined && { name: held.name }), "sha-256": hash },
      inputs: inputs.map(({ name, sha256 }) => ({ name, "sha-256": sha256 })),
      checks: Object.fromEntries(checks.map(({ id, result }) => [id, result])),
      reasons: reasons.map(({ rule, check, holds, unknown }) => ({
        rule,
        check,
        result: holds ? "holds" : unknown ? "unknown" : "fails",
      })),
      trust: Object.fromEntries(
        Object.entries(trustVector).map(([category, { reasons }]) => [
          category,
          reasons.map(({ source }) => ("check" in source ? source.check : source.rule)),
        ]),
      ),
      ...(tcb &&
        isLevelProven(checks) && {
          tcb: {
            status: tcb.status,
            platform: tcb.platform,
            ...(tcb.module !== undefined && { module: tcb.module }),
            qe: tcb.qe,
            advisories: [...tcb.advisories],
          },
        }),
      ...(window && { window: { from: iso(window.from), to: iso(window.to) } }),
    },
  };
  return {
    eat_profile: earProfile,
    iat,
    ...(lifetime !== undefined && { exp: iat + Math.floor(lifetime) }),
    ...(nonce !== undefined && { eat_nonce: nonceText(nonce) }),
    ear_verifier_id: verifierId,
    ear_status: one.ear_status,
    submods: { [kind]: one },
  };
}

/** Claims that were read out of a token. Throws `EvidenceError` `bad-input` for what is none of ours. */
export function readEar(value: unknown): Ear {
  const result = earSchema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    ({ path, message }) => `/${path.map(String).join("/")}: ${message}`,
  );
  throw new EvidenceError(
    "bad-input",
    `the token's claims are not those of ${earProfile}: ${problems.join("; ")}`,
  );
}

import { jsonValue, parseStrictJson } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import * as z from "zod";
import { EvidenceError } from "../errors.ts";
import type { EvidenceKind } from "../outcome.ts";
import { skippableChecks } from "./check-ids.ts";
import { sgx, snp, tdx, tpm } from "./members.ts";

/*
 * What a relying party demands of verified evidence: a JSON document. Left out, a member means its default; the defaults are the secure ones.
 * The schema is the one definition: validation, types and the published JSON Schema come from it.
 */

/** Checks that may be not-run and still let evidence be accepted. Everything else must have run. */
const mayBeSkipped = z
  .array(
    z.enum(skippableChecks, { error: ({ input }) => `"${String(input)}" is no check that may be skipped` }),
  )
  .default(["snp.revocation"])
  .describe("ids of checks that may be without a result: AMD's list is not always at hand");

export const policySchema = z
  .strictObject({
    version: z.literal(1).default(1).describe("of this schema"),
    name: z.string().max(200).optional().describe("for people; tokens have it"),
    kinds: z
      .array(z.enum(["snp", "tdx", "sgx", "hcl-snp", "hcl-tdx", "svsm-snp"]))
      .min(1)
      .optional()
      .describe(
        "kinds of evidence that are taken; left out: those that the policy has a section for, and all when it has none",
      ),
    mayBeSkipped,
    snp,
    tdx,
    sgx,
    tpm,
  })
  .describe("Entresol appraisal policy, version 1");

type Frozen<T> = T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T;

/** A policy with every default filled in; frozen. */
export type Policy = Frozen<z.output<typeof policySchema>>;
/** A policy as it is written. */
export type PolicyInput = Frozen<z.input<typeof policySchema>>;

/** Policies that came out of `parsePolicy`: nothing else is held against evidence. */
const parsed = new WeakSet<object>();

const pointer = (path: readonly PropertyKey[]): string => `/${path.map(String).join("/")}`;

function refuse(problems: readonly string[]): never {
  throw new EvidenceError("bad-policy", `the policy does not follow its schema: ${problems.join("; ")}`);
}

/**
 * Members that a schema would pass over in silence, and which would make a policy mean less than its author thinks: `undefined` where a list
 * was to be, and names that are no own members when read ("__proto__").
 */
function silent(value: unknown, path: readonly PropertyKey[] = []): string[] {
  if (value === null || typeof value !== "object" || path.length > 16) return [];
  return Reflect.ownKeys(value).flatMap((key) => {
    if (Array.isArray(value) && key === "length") return [];
    const at = [...path, key];
    if (key === "__proto__" || typeof key === "symbol") return [`${pointer(at)}: no member of a policy`];
    const member = (value as Readonly<Record<string, unknown>>)[key];
    if (member === undefined) return [`${pointer(at)}: undefined; leave the member out, or say what it is`];
    return silent(member, at);
  });
}

function frozen<T>(value: T): T {
  if (value !== null && typeof value === "object") {
    for (const member of Object.values(value)) frozen(member);
    Object.freeze(value);
  }
  return value;
}

const kindsOfSection: Readonly<Record<"snp" | "tdx" | "sgx", readonly EvidenceKind[]>> = {
  snp: ["snp", "hcl-snp", "svsm-snp"],
  tdx: ["tdx", "hcl-tdx"],
  sgx: ["sgx"],
};

/** Whoever says what an SNP guest must be has not said that any TD will do: kinds without a section are not taken. */
function kindsOfSections(value: object): EvidenceKind[] | undefined {
  const named = (Object.keys(kindsOfSection) as (keyof typeof kindsOfSection)[]).filter((section) =>
    Object.hasOwn(value, section),
  );
  return named.length === 0 ? undefined : named.flatMap((section) => kindsOfSection[section]);
}

/** Checks a policy and fills in the defaults. Throws `EvidenceError` `bad-policy` that names each path that is wrong. */
export function parsePolicy(value: unknown): Policy {
  if (typeof value === "object" && value !== null && parsed.has(value)) return value as Policy;
  const hidden = silent(value);
  if (hidden.length > 0) refuse(hidden);
  const result = policySchema.safeParse(value);
  if (!result.success) refuse(result.error.issues.map(({ path, message }) => `${pointer(path)}: ${message}`));
  const { kinds = kindsOfSections(value as object), ...rest } = result.data;
  const policy: Policy = frozen(kinds === undefined ? rest : { ...rest, kinds });
  parsed.add(policy);
  return policy;
}

/**
 * The same for a policy as text (UTF-8): strict JSON, in which no member stands twice, since the one that a reader sees need not be the one
 * that counts.
 */
export function parsePolicyText(text: string | Uint8Array): Policy {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  let value: unknown;
  try {
    value = jsonValue(parseStrictJson(bytes));
  } catch (cause) {
    if (!(cause instanceof MalformedError)) throw cause;
    throw new EvidenceError("bad-policy", `the policy is no JSON that can be relied on: ${cause.message}`, {
      cause,
    });
  }
  return parsePolicy(value);
}

/** What holds where nobody says otherwise: no debugging, no migration agent, current TCBs only. */
export const defaultPolicy: Policy = parsePolicy({});

/** The JSON Schema of a policy as it is written; policy.schema.json of this package is this. */
export function policyJsonSchema(): object {
  return {
    ...z.toJSONSchema(policySchema, { io: "input" }),
    title: "Entresol appraisal policy, version 1",
  };
}

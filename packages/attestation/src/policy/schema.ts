import { jsonValue, parseStrictJson } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import { z } from "zod";
import { EvidenceError } from "../errors.ts";
import type { EvidenceKind } from "../outcome.ts";
import { skippableChecks } from "./check-ids.ts";

/*
 * What a relying party demands of verified evidence: a JSON document. Left out, a member means its default; the defaults are the secure ones.
 * The schema is the one definition: validation, types and the published JSON Schema come from it.
 */

const hexOf = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `${bytes} bytes of hexadecimal`)
    .transform((text) => text.toLowerCase());
/** A digest of any bank: what has another length could never be found, and would refuse nothing. */
const digest = z
  .string()
  .regex(
    /^([0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128})$/,
    "20, 32, 48 or 64 bytes of hexadecimal",
  )
  .transform((text) => text.toLowerCase());
/** Any of these values; left out: any at all. */
const oneOf = (bytes: number) => z.array(hexOf(bytes)).min(1).optional();
/** What a flag must be. */
const flag = z.enum(["required", "forbidden", "any"]);
const svn = z.number().int().min(0).max(255);

const snpTcb = z
  .strictObject({ fmc: svn, bootloader: svn, tee: svn, snp: svn, microcode: svn })
  .partial()
  .describe("lowest security patch levels; a component that is left out may be any");
const snpTcbs = z
  .strictObject({ current: snpTcb, reported: snpTcb, committed: snpTcb, launch: snpTcb })
  .partial();
const line = z.enum(["Milan", "Genoa", "Turin"]);

/** What an image is measured as; it has to fit whole, so that no register of one image passes with another's. */
const imageOf = <const Names extends string>(...names: readonly Names[]) =>
  z
    .array(
      z
        .strictObject({
          name: z.string().min(1),
          ...(Object.fromEntries(names.map((name) => [name, hexOf(48).optional()])) as Record<
            Names,
            z.ZodOptional<ReturnType<typeof hexOf>>
          >),
        })
        .refine((image) => names.some((name) => name in image), "an image without any measurement"),
    )
    .min(1)
    .optional()
    .describe("images, one of which must have been launched");
const measurementsFrom = z
  .array(z.string().min(1))
  .min(1)
  .optional()
  .describe("names of images, whose reference values have to be put in before anything is accepted");

const snp = z
  .strictObject({
    products: z.array(line).min(1).optional().describe("product lines, by the chain of the signing key"),
    chips: oneOf(64).describe("CHIP_IDs"),
    signingKeys: z
      .array(z.enum(["vcek", "vlek"]))
      .min(1)
      .default(["vcek", "vlek"]),
    cspIds: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe("cloud providers whose VLEK is taken; a VCEK has none"),
    minimumTcb: snpTcbs.default({}).describe("for every product"),
    minimumTcbOf: z.partialRecord(line, snpTcbs).default({}).describe("for one product, besides"),
    provisionalFirmware: z
      .enum(["allowed", "refused"])
      .default("allowed")
      .describe("current TCB above committed TCB: firmware that can still be taken back"),
    guestPolicy: z
      .strictObject({
        debug: flag.default("forbidden"),
        migrationAgent: flag.default("forbidden"),
        smt: flag.default("any"),
        singleSocket: flag.default("any"),
        cxl: flag.default("any"),
        aes256Xts: flag.default("any"),
        raplDisabled: flag.default("any"),
        ciphertextHiding: flag.default("any"),
        pageSwapDisabled: flag.default("any"),
        unknownBits: z.enum(["allowed", "refused"]).default("allowed"),
        minimumAbi: z
          .string()
          .regex(/^\d{1,3}\.\d{1,3}$/, "major.minor")
          .optional(),
      })
      .prefault({}),
    platform: z
      .strictObject({
        smt: flag.default("any"),
        tsme: flag.default("any"),
        ecc: flag.default("any"),
        raplDisabled: flag.default("any"),
        ciphertextHiding: flag.default("any"),
        aliasCheckComplete: flag.default("any"),
        iommuWriteSafe: flag.default("any"),
        trustedIo: flag.default("any"),
        unknownBits: z.enum(["allowed", "refused"]).default("allowed"),
      })
      .prefault({}),
    requiredMitigations: hexOf(8)
      .optional()
      .describe("bits of the current and launch mitigation vectors, most significant byte first"),
    vmpls: z.array(z.number().int().min(0).max(0xffff_ffff)).min(1).optional(),
    minimumGuestSvn: z.number().int().min(0).max(0xffff_ffff).optional(),
    measurements: oneOf(48),
    images: imageOf("measurement"),
    measurementsFrom,
    hostData: oneOf(32),
    reportData: oneOf(64),
    familyIds: oneOf(16),
    imageIds: oneOf(16),
    idKeyDigests: oneOf(48),
    authorKeyDigests: oneOf(48),
  })
  .prefault({});

const status = z.enum([
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "TDRelaunchAdvised",
  "TDRelaunchAdvisedConfigurationNeeded",
]);

/** What TDX and SGX have in common. */
const quoteRules = {
  tcbStatuses: z.array(status).min(1).default(["UpToDate"]).describe("accepted TCB statuses"),
  graceDays: z
    .number()
    .min(0)
    .max(3650)
    .default(0)
    .describe(
      "what is OutOfDate counts as UpToDate, and OutOfDateConfigurationNeeded as ConfigurationNeeded, until so many days after the date of its level",
    ),
  refusedAdvisories: z
    .array(
      z
        .string()
        .regex(/^[A-Za-z]+(-[A-Za-z0-9]+)+$/, "an advisory, such as INTEL-SA-00837")
        .transform((text) => text.toUpperCase()),
    )
    .default([])
    .describe("advisories that refuse, whatever the status"),
  minimumEvaluationDataNumber: z.number().int().min(0).optional(),
  fmspcs: oneOf(6),
  reportData: oneOf(64),
  dynamicPlatform: flag.default("any"),
  cachedKeys: flag.default("any"),
  smt: flag.default("any"),
};

const tdx = z
  .strictObject({
    ...quoteRules,
    attributes: z
      .strictObject({
        debug: flag.default("forbidden").describe("DEBUG and the other attributes of a TD under debug"),
        septVeDisable: flag.default("any"),
        migratable: flag.default("forbidden"),
        pks: flag.default("any"),
        keyLocker: flag.default("any"),
        perfmon: flag.default("any"),
        lass: flag.default("any"),
        icssd: flag.default("any"),
        tpa: flag.default("any"),
      })
      .prefault({}),
    xfam: z
      .strictObject({ required: hexOf(8).optional(), allowed: hexOf(8).optional() })
      .prefault({})
      .describe("masks, most significant byte first"),
    serviceTd: z
      .enum(["forbidden", "any"])
      .default("forbidden")
      .describe("a service TD, such as a migration TD, is bound; a report of TDX 1.0 does not tell"),
    mrServiceTds: oneOf(48).describe(
      "service TDs, one of which must be bound; `serviceTd` then says nothing",
    ),
    images: imageOf("mrTd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"),
    measurementsFrom,
    mrTds: oneOf(48),
    rtmr0: oneOf(48),
    rtmr1: oneOf(48),
    rtmr2: oneOf(48),
    rtmr3: oneOf(48),
    mrConfigIds: oneOf(48),
    mrOwners: oneOf(48),
    mrOwnerConfigs: oneOf(48),
    mrSeams: oneOf(48),
    mrSignerSeams: oneOf(48),
    minimumTeeTcbSvn: hexOf(16).optional().describe("each of the 16 SVNs, as the report has them"),
  })
  .prefault({});

const sgx = z
  .strictObject({
    ...quoteRules,
    debug: flag.default("forbidden"),
    mrEnclaves: oneOf(32),
    mrSigners: oneOf(32),
    isvProdIds: z.array(z.number().int().min(0).max(65535)).min(1).optional(),
    minimumIsvSvn: z.number().int().min(0).max(65535).optional(),
  })
  .prefault({});

const pcrValues = (bytes: number) =>
  z.record(z.string().regex(/^([0-9]|1[0-9]|2[0-3])$/, "a PCR, 0 to 23"), z.array(hexOf(bytes)).min(1));

const tpm = z
  .strictObject({
    nonces: z
      .array(
        z
          .string()
          .regex(/^([0-9a-fA-F]{2}){1,64}$/, "1 to 64 bytes of hexadecimal")
          .transform((text) => text.toLowerCase()),
      )
      .min(1)
      .optional()
      .describe("extraData of the quote"),
    pcrs: z
      .strictObject({
        sha1: pcrValues(20).optional(),
        sha256: pcrValues(32).optional(),
        sha384: pcrValues(48).optional(),
        sha512: pcrValues(64).optional(),
      })
      .default({})
      .describe("values of PCRs, by bank and number"),
    quote: flag.default("any").describe("a TPM quote must be there"),
    eventLog: flag.default("any").describe("an event log must be there, and replay to the quoted PCRs"),
    refusedEventDigests: z.array(digest).default([]).describe("events that refuse, by their digest"),
    requiredEventDigests: z.array(digest).default([]).describe("events that must be in the log"),
  })
  .prefault({});

/** Checks that may be not-run and still let evidence be accepted. Everything else must have run. */
const mayBeSkipped = z
  .array(
    z.enum(skippableChecks, { error: ({ input }) => `"${String(input)}" is no check that may be skipped` }),
  )
  .default(["snp.revocation"])
  .describe("ids of checks that may be without a result: AMD's list is not always at hand");

export const policySchema = z
  .strictObject({
    version: z.literal(1).default(1),
    name: z.string().max(200).optional(),
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

import {
  namesOfBits,
  type SnpReportFields,
  type SnpTcb,
  snpFlagBits,
  snpPlatformInfoBits,
  snpPolicyBits,
  tdAttributeBits,
} from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import type { Outcome } from "../outcome.ts";
import type { SnpClaims } from "../snp/verify.ts";
import type { QuoteClaims } from "../tdx/verify.ts";

/* What evidence says, as JSON: bytes are hexadecimal in the order in which they stand, 64-bit numbers are "0x…". */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

const reserved = /^reserved|^signature/;
/** Deeper than any claims are. */
const DEEPEST = 12;

/** Any claims as JSON. What is made for machines alone (maps of bytes, views of the whole) is left out. */
export function plainJson(value: unknown, depth = 0): Json | undefined {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return toHex(value);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== "object" || depth > DEEPEST) return undefined;
  if (value instanceof Set) return [...value].flatMap((one) => plainJson(one, depth + 1) ?? []);
  if (Array.isArray(value)) return value.map((one) => plainJson(one, depth + 1) ?? null);
  const entries =
    value instanceof Map
      ? [...value].map(([key, one]) => [String(key), one] as const)
      : Object.entries(value);
  const plain: Record<string, Json> = {};
  for (const [name, one] of entries) {
    const json = machineOnly.has(name) || reserved.test(name) ? undefined : plainJson(one, depth + 1);
    if (json !== undefined) plain[name] = json;
  }
  return plain;
}

const machineOnly: ReadonlySet<string> = new Set([
  "map",
  "bytes",
  "signedBytes",
  "bodyBytes",
  "findings",
  "trailing",
  "der",
]);

const fieldsJson = (fields: object): Record<string, Json> => plainJson(fields) as Record<string, Json>;

function snpJson({
  report,
  line,
  tcb,
  signingKey,
  root,
  cspId,
  provisionalFirmware,
  chipIdMasked,
}: SnpClaims): Json {
  const { fields, product } = report;
  return {
    ...fieldsJson(fields),
    product: product?.name ?? line ?? null,
    line: line ?? null,
    signingKey: signingKey ?? null,
    root: root ?? null,
    cspId: cspId ?? null,
    tcb: (plainJson(tcb) as Json | undefined) ?? null,
    policyBits: [...namesOfBits(snpPolicyBits, (fields as SnpReportFields).policy)],
    platformInfoBits: [...namesOfBits(snpPlatformInfoBits, fields.platformInfo)],
    flagBits: [...namesOfBits(snpFlagBits, fields.flags)],
    provisionalFirmware,
    chipIdMasked,
  };
}

function quoteJson({ quote, pck, root, evaluationDataNumbers, judgement }: QuoteClaims): Json {
  const { body, header, qe } = quote;
  return {
    header: plainJson(header) as Json,
    body: {
      type: body.type,
      ...fieldsJson(body.fields),
      ...(body.tee === "tdx" && {
        tdAttributeBits: [...namesOfBits(tdAttributeBits, body.fields.tdAttributes)],
      }),
    },
    qe: { ...fieldsJson(qe.report), certificationType: qe.certification.type },
    pck: (plainJson(pck) as Json | undefined) ?? null,
    root: root ?? null,
    evaluationDataNumbers: (plainJson(evaluationDataNumbers) as Json | undefined) ?? null,
    judgement: (plainJson(judgement) as Json | undefined) ?? null,
  };
}

/** What the evidence says: trustworthy only as far as the verdict goes. Empty when it could not be read. */
export function claimsJson({ kind, claims }: Pick<Outcome, "kind" | "claims">): Json {
  if (claims === undefined || claims === null) return {};
  switch (kind) {
    case "snp":
      return snpJson(claims as SnpClaims);
    case "tdx":
    case "sgx":
      return quoteJson(claims as QuoteClaims);
    default:
      return plainJson(claims) ?? {};
  }
}

/** "bootloader 4, tee 1, snp 22, microcode 219". */
export function tcbText(tcb: SnpTcb): string {
  return (["fmc", "bootloader", "tee", "snp", "microcode"] as const)
    .filter((name) => tcb[name] !== undefined)
    .map((name) => `${name} ${tcb[name]}`)
    .join(", ");
}

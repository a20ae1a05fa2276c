import {
  eventTypeName,
  namesOfBits,
  type SnpReportFields,
  type SnpTcb,
  snpFlagBits,
  snpPlatformInfoBits,
  snpPolicyBits,
  tdAttributeBits,
} from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import type { TdxLogClaims } from "../ccel/verify.ts";
import type { LogClaims } from "../event-log/replay.ts";
import type { ParavisorClaims } from "../hcl/verify.ts";
import type { Outcome } from "../outcome.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import type { SvsmClaims } from "../svsm/verify.ts";
import type { QuoteClaims } from "../tdx/evidence.ts";
import type { TpmClaims } from "../tpm/quote.ts";

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

function quoteJson({
  quote,
  pck,
  root,
  evaluationDataNumbers,
  judgement,
}: QuoteClaims): Record<string, Json> {
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

/** A quote, and the firmware's log where one was judged with it. */
function tdJson(claims: QuoteClaims | TdxLogClaims): Json {
  return { ...quoteJson(claims), ...("log" in claims && { eventLog: logJson(claims.log) }) };
}

/** A quote of a virtual TPM: PCRs by bank and number, as far as their values are known and quoted. */
function tpmJson(tpm: TpmClaims | undefined): Json {
  if (tpm === undefined) return null;
  const { quote, signedBy, pcrs } = tpm;
  const banks: Record<string, Record<string, Json>> = {};
  for (const { bank, index, value } of pcrs ?? []) {
    const known = banks[bank] ?? {};
    known[index] = toHex(value);
    banks[bank] = known;
  }
  return {
    nonce: toHex(quote.nonce),
    signedBy: signedBy ?? null,
    pcrDigest: toHex(quote.pcrDigest),
    selected: (plainJson(quote.banks) as Json | undefined) ?? [],
    pcrs: banks,
    clock: (plainJson(quote.clockInfo) as Json | undefined) ?? null,
    firmwareVersion: `0x${quote.firmwareVersion.toString(16)}`,
  };
}

/** Data of an event as text, where they are nothing but that: they come from whoever wrote the log. */
function textOf(data: Uint8Array): string | undefined {
  if (data.length === 0 || data.length > LONGEST_TEXT) return undefined;
  // Strings of C end in a zero.
  const end = data.at(-1) === 0 ? data.length - 1 : data.length;
  const letters = data.subarray(0, end);
  return letters.every((byte) => byte >= 0x20 && byte <= 0x7e) ? String.fromCharCode(...letters) : undefined;
}
const LONGEST_TEXT = 512;

/** The events that lead to what is signed. Their data are bytes of any length, and left out but for short text. */
function logJson(log: LogClaims | undefined): Json {
  if (log === undefined) return null;
  return {
    banks: plainJson(log.banks) ?? [],
    events: log.events.map(({ bank, register, event, digest, dataMeasured }) => ({
      bank,
      register,
      type: eventTypeName(event.type),
      digest: toHex(digest),
      dataMeasured,
      text: textOf(event.data) ?? null,
    })),
  };
}

function paravisorJson({ report, hardware, tpm, log }: ParavisorClaims): Json {
  const { claims } = report;
  return {
    hardware:
      hardware === undefined
        ? null
        : hardware.kind === "snp"
          ? snpJson(hardware.claims)
          : quoteJson(hardware.claims),
    keys: [...claims.keys.keys()],
    vm: (plainJson(claims.vmConfiguration) as Json | undefined) ?? {},
    userData: claims.userData === undefined ? null : toHex(claims.userData),
    tpm: tpmJson(tpm),
    eventLog: logJson(log),
  };
}

function svsmJson({ snp, manifest, endorsementKey, tpm, log }: SvsmClaims): Json {
  return {
    hardware: snpJson(snp),
    services: (manifest?.services ?? []).map(({ guid, kind }) => ({ guid, kind: kind ?? null })),
    endorsementKey: (plainJson(endorsementKey) as Json | undefined) ?? null,
    tpm: tpmJson(tpm),
    eventLog: logJson(log),
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
      return tdJson(claims as QuoteClaims | TdxLogClaims);
    case "hcl-snp":
    case "hcl-tdx":
      return paravisorJson(claims as ParavisorClaims);
    case "svsm-snp":
      return svsmJson(claims as SvsmClaims);
    default:
      return kind satisfies never;
  }
}

/** "bootloader 4, tee 1, snp 22, microcode 219". */
export function tcbText(tcb: SnpTcb): string {
  return (["fmc", "bootloader", "tee", "snp", "microcode"] as const)
    .filter((name) => tcb[name] !== undefined)
    .map((name) => `${name} ${tcb[name]}`)
    .join(", ");
}

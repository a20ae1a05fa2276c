import { decodeBase64, encodeBase64, jsonOf, jsonValue, parseStrictJson } from "@entresol/evidence";
import { decodeCbor, encodeCbor, MalformedError, toHex } from "@entresol/wire";
import * as z from "zod";
import { isoTime } from "../context.ts";
import { defaultProvider } from "../crypto/default-provider.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { EvidenceError } from "../errors.ts";
import type { Window } from "../outcome.ts";
import { type CollateralRole, collateralRoles, intersection, windowOf } from "./windows.ts";

/*
 * Collateral in one file, so that evidence can be judged without a network, and judged again: each document in the very bytes that the
 * service gave, with its hash and with the time in which it is valid. A bundle is not signed and vouches for nothing: the documents are
 * verified like any others. Specification: specs/collateral.md.
 */

export const BUNDLE_FORMAT = "entresol-collateral";
export const BUNDLE_VERSION = 1;
const MOST_ENTRIES = 4096;
const SPEC = "Entresol collateral bundle, version 1";

export interface BundleEntry {
  readonly role: CollateralRole;
  /** For people: "tcbinfo.json". */
  readonly name: string;
  readonly data: Uint8Array;
  /** Where it came from. */
  readonly source?: string | undefined;
}

export interface KnownBundleEntry extends BundleEntry {
  /** Hexadecimal. */
  readonly sha256: string;
  readonly window: Window | undefined;
}

export interface CollateralBundle {
  /** Milliseconds since 1970. */
  readonly made: number;
  readonly entries: readonly KnownBundleEntry[];
  /** When all of it is valid; undefined when it holds nothing that ends. */
  readonly window: Window | undefined;
}

function bad(message: string): EvidenceError {
  return new EvidenceError("bad-input", `the bundle cannot be used: ${message}`);
}

function knownWindow(entry: Pick<BundleEntry, "role" | "name" | "data">): Window | undefined {
  try {
    return windowOf(entry.role, entry.data);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw bad(`${entry.name} is no ${entry.role}: ${error.message}`);
  }
}

/** A bundle of these documents. Throws `EvidenceError` `bad-input` for one that is not what its role says. */
export async function makeBundle(
  entries: readonly BundleEntry[],
  {
    made = Date.now(),
    crypto = defaultProvider(),
  }: { readonly made?: number; readonly crypto?: CryptoProvider } = {},
): Promise<CollateralBundle> {
  const known = await Promise.all(
    entries.map(async (entry) => ({
      ...entry,
      sha256: toHex(await crypto.digest("sha256", entry.data)),
      window: knownWindow(entry),
    })),
  );
  return { made, entries: known, window: intersection(known.flatMap(({ window }) => window ?? [])) };
}

const time = z.iso.datetime({ offset: false });
const head = {
  format: z.literal(BUNDLE_FORMAT),
  version: z.literal(BUNDLE_VERSION),
  made: time,
};
const entryHead = {
  role: z.enum(collateralRoles),
  name: z.string().max(200),
  source: z.string().max(2000).optional(),
  from: time.optional(),
  to: time.optional(),
};
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const jsonSchema = z.strictObject({
  ...head,
  entries: z.array(z.strictObject({ ...entryHead, sha256, data: z.string() })).max(MOST_ENTRIES),
});
const cborSchema = z.strictObject({
  ...head,
  entries: z
    .array(z.strictObject({ ...entryHead, sha256: z.instanceof(Uint8Array), data: z.instanceof(Uint8Array) }))
    .max(MOST_ENTRIES),
});

function fileOf<T>(
  { made, entries }: CollateralBundle,
  bytes: (value: Uint8Array, what: "sha256" | "data") => T,
) {
  const hash = (hex: string): Uint8Array =>
    Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  return {
    format: BUNDLE_FORMAT,
    version: BUNDLE_VERSION,
    made: isoTime(made),
    entries: entries.map(({ role, name, source, data, sha256: hex, window }) => ({
      role,
      name,
      ...(source === undefined ? {} : { source }),
      ...(window === undefined ? {} : { from: isoTime(window.from), to: isoTime(window.to) }),
      sha256: bytes(hash(hex), "sha256"),
      data: bytes(data, "data"),
    })),
  };
}

/** The bundle as a file: JSON (bytes in base64, hashes in hexadecimal) or deterministic CBOR (byte strings). */
export function writeBundle(bundle: CollateralBundle, form: "json" | "cbor" = "json"): Uint8Array {
  if (form === "cbor") return encodeCbor(fileOf(bundle, (value) => value));
  const file = fileOf(bundle, (value, what) =>
    what === "data" ? encodeBase64(value, "base64") : toHex(value),
  );
  return new TextEncoder().encode(`${JSON.stringify(file, undefined, 1)}\n`);
}

function parsed<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw bad(
    result.error.issues.map(({ path, message }) => `/${path.map(String).join("/")}: ${message}`).join("; "),
  );
}

interface RawEntry extends BundleEntry {
  readonly sha256: string;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

function rawEntries(bytes: Uint8Array): { readonly made: string; readonly entries: readonly RawEntry[] } {
  try {
    if (bytes[0] !== undefined && bytes[0] >> 5 === 5) {
      const { made, entries } = parsed(cborSchema, decodeCbor(bytes));
      return {
        made,
        entries: entries.map((entry) => ({
          ...entry,
          // Out of the decoder's buffer, which somebody else may hold.
          data: new Uint8Array(entry.data),
          sha256: toHex(entry.sha256),
        })),
      };
    }
    const document = jsonOf(parseStrictJson(bytes), "object", SPEC);
    const { made, entries } = parsed(jsonSchema, jsonValue(document));
    return {
      made,
      entries: entries.map((entry) => ({
        ...entry,
        data: decodeBase64(new TextEncoder().encode(entry.data), "base64", SPEC),
      })),
    };
  } catch (error) {
    if (error instanceof MalformedError) throw bad(error.message);
    throw error;
  }
}

/**
 * Reads a bundle, JSON or CBOR. Hashes and windows are worked out anew: throws `EvidenceError` `bad-input` where the file says otherwise,
 * and for a file that is no bundle.
 */
export async function readBundle(
  bytes: Uint8Array,
  crypto: CryptoProvider = defaultProvider(),
): Promise<CollateralBundle> {
  const { made, entries } = rawEntries(bytes);
  const bundle = await makeBundle(
    entries.map(({ role, name, source, data }) => ({
      role,
      name,
      data,
      ...(source === undefined ? {} : { source }),
    })),
    { made: Date.parse(made), crypto },
  );
  for (const [i, { name, sha256: hash, window }] of bundle.entries.entries()) {
    const said = entries[i] as RawEntry;
    if (said.sha256 !== hash) throw bad(`/entries/${i}: ${name} has the hash ${hash}, not ${said.sha256}`);
    const differs = (found: number | undefined, text: string | undefined): boolean =>
      (found === undefined ? undefined : isoTime(found)) !== text;
    if (differs(window?.from, said.from) || differs(window?.to, said.to))
      throw bad(`/entries/${i}: ${name} is not valid for the time that is stated`);
  }
  return bundle;
}

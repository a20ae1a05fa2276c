import { MalformedError } from "@entresol/wire";
import {
  checkInnerAlgorithm,
  commonName,
  type Extension,
  ExtensionId,
  readExtensions,
  readSigned,
  type Signed,
} from "./certificate.ts";
import { context, DerReader, readDer, Tag } from "./der.ts";

/** More serial numbers than any CA of AMD or Intel has withdrawn; a list cannot make a reader work without end. */
const MOST_ENTRIES = 1_000_000;
const SPEC = "RFC 5280, 5.1";

/** A certificate revocation list taken apart; serial numbers stay where they are and are searched for when asked. */
export interface RevocationList extends Signed {
  readonly der: Uint8Array;
  readonly issuer: Uint8Array;
  /** Its one common name. */
  readonly issuerName: string | undefined;
  /** Milliseconds since 1970. */
  readonly thisUpdate: number;
  /** Undefined when the list does not say, which no verifier here takes. */
  readonly nextUpdate: number | undefined;
  readonly extensions: ReadonlyMap<string, Extension>;
  /** Entries of the list. */
  readonly count: number;
  /** Is this serial number (big-endian, no sign byte) of the list's issuer withdrawn? */
  revokes(serial: Uint8Array): boolean;
}

const entryExtensions = new Set<string>([ExtensionId.reasonCode, "2.5.29.24"]);
const listExtensions = new Set<string>([ExtensionId.crlNumber, ExtensionId.authorityKeyIdentifier]);

/** Lists of another kind: of some certificates only, of another issuer's, or what has changed since another list. */
const partial = [ExtensionId.issuingDistributionPoint, "2.5.29.27"];

/** crlEntryExtensions: no critical one that is not understood, none twice. */
function checkEntryExtensions(list: DerReader, entry: DerReader, at: number): void {
  let before: Uint8Array[] | undefined;
  while (list.more) {
    list.enterInto(entry, Tag.SEQUENCE);
    const from = entry.at;
    entry.pass(Tag.OBJECT_IDENTIFIER);
    const to = entry.at;
    const critical = entry.peek() === Tag.BOOLEAN && entry.boolean();
    entry.pass(Tag.OCTET_STRING);
    entry.close();
    // Nearly all entries have one, which cannot be there twice.
    if (before !== undefined || list.more || critical) {
      const identifier = list.bytes.subarray(from, to);
      if (before?.some((one) => sameBytes(one, identifier)))
        throw new MalformedError("bad-value", at, "RFC 5280, 5.3", "an entry has an extension twice");
      before ??= [];
      before.push(identifier);
      // certificateIssuer makes the list an indirect one: the serial would be another CA's.
      const name = readDer(identifier, (reader) => reader.identifier());
      if (critical && !entryExtensions.has(name))
        throw new MalformedError(
          "bad-value",
          at,
          "RFC 5280, 5.3",
          `an entry with the critical extension ${name}`,
        );
    }
  }
}

/** Walks the entries and checks the form of each. Gives where the serial numbers are: first byte and end, by turns. */
function serialsOf(list: DerReader): number[] {
  const places: number[] = [];
  const entry = new DerReader(list.bytes, 0, 0);
  const extensions = new DerReader(list.bytes, 0, 0);
  const extension = new DerReader(list.bytes, 0, 0);
  while (list.more) {
    if (places.length === 2 * MOST_ENTRIES)
      throw new MalformedError("out-of-range", list.at, SPEC, `more than ${MOST_ENTRIES} entries`);
    list.enterInto(entry, Tag.SEQUENCE);
    places.push(entry.unsignedFrom(), entry.at);
    entry.time();
    if (entry.more) {
      const { at } = entry;
      entry.enterInto(extensions, Tag.SEQUENCE);
      checkEntryExtensions(extensions, extension, at);
    }
    entry.close();
  }
  return places;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Is `wanted` one of the numbers in `der` at these places? */
function isAmong(der: Uint8Array, places: readonly number[], wanted: Uint8Array): boolean {
  const { length } = wanted;
  for (let i = 0; i < places.length; i += 2) {
    const from = places[i] as number;
    if ((places[i + 1] as number) - from !== length) continue;
    let same = 0;
    while (same < length && der[from + same] === wanted[same]) same++;
    if (same === length) return true;
  }
  return false;
}

/**
 * Takes a DER CRL apart. Strict: version 2, whole and nothing after it, every entry well formed, no critical extension that is not understood
 * (an indirect or partial list has one). Nothing is verified. Throws `MalformedError`.
 */
export function parseCrl(der: Uint8Array): RevocationList {
  const { tbs, inner, algorithm, scheme, signature } = readSigned(der);
  const versionAt = inner.at;
  if (inner.peek() !== Tag.INTEGER || inner.smallInteger() !== 1)
    throw new MalformedError("bad-version", versionAt, `${SPEC}.2.1`, "not a version 2 list");
  checkInnerAlgorithm(inner, algorithm);
  const issuer = inner.whole();
  const issuerName = commonName(issuer);
  const thisUpdate = inner.time();
  const next = inner.peek();
  const nextUpdate = next === Tag.UTC_TIME || next === Tag.GENERALIZED_TIME ? inner.time() : undefined;
  const entries = inner.peek() === Tag.SEQUENCE ? inner.enter(Tag.SEQUENCE) : undefined;
  let extensions = new Map<string, Extension>();
  const extensionsAt = inner.at;
  if (inner.more) {
    const wrapper = inner.enter(context(0));
    extensions = readExtensions(wrapper.enter(Tag.SEQUENCE));
    wrapper.close();
  }
  inner.close();
  for (const [identifier, { critical }] of extensions)
    if (critical && !listExtensions.has(identifier))
      throw new MalformedError(
        "bad-value",
        extensionsAt,
        "RFC 5280, 5.2",
        `a list with the critical extension ${identifier}`,
      );
  for (const identifier of partial)
    if (extensions.has(identifier))
      throw new MalformedError(
        "bad-value",
        extensionsAt,
        "RFC 5280, 5.2",
        `a list of a part, or of other issuers, by extension ${identifier}`,
      );
  const places = entries === undefined ? [] : serialsOf(entries);
  return {
    der,
    tbs,
    scheme,
    signature,
    issuer,
    issuerName,
    thisUpdate,
    nextUpdate,
    extensions,
    count: places.length / 2,
    revokes: (serial) => isAmong(der, places, serial),
  };
}

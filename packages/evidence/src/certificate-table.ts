import { hex, MalformedError, Writer } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import { type Finding, trailingFinding } from "./finding.ts";
import { type GuidOrder, guidBytes, guidText } from "./guid.ts";
import { Layout } from "./layout.ts";

/*
 * The table of certificates that the host gives with an extended guest request (GHCB 56421, 4.1.8.1): entries, an entry of zeros, and
 * the certificates, found by offset and length.
 */

const spec = "GHCB 56421, 4.1.8.1";

export type SnpCertificateKind = "vcek" | "vlek" | "ask" | "ark" | "crl";

/** By the text of the GUID. */
export const snpCertificateGuids: ReadonlyMap<string, SnpCertificateKind> = new Map([
  ["63da758d-e664-4564-adc5-f4b93be8accd", "vcek"],
  ["a8074bc2-a25a-483e-aae6-39c045a0b8a1", "vlek"],
  ["4ab7b379-bbac-4fe4-a02f-05aef327c782", "ask"],
  ["c0b406a4-a803-4952-9743-3fb6014cd0ae", "ark"],
  ["92f81bc3-5811-4d3d-97ff-d19f88dc67ea", "crl"],
]);

export const certificateTableEntryLayout = new Layout("certificate table entry", spec, 24, [
  { name: "guid", offset: 0, type: 16, clause: "entry", what: "what kind of certificate it is" },
  { name: "offset", offset: 16, type: "u32", clause: "entry", what: "from the beginning of the table" },
  { name: "length", offset: 20, type: "u32", clause: "entry", what: "in bytes" },
]);

export interface CertificateTableEntry {
  /** Text, lower case. */
  readonly guid: string;
  /** Hosts write both orders. A GUID that is not known is read in the order of its text. */
  readonly guidOrder: GuidOrder;
  /** Undefined for a GUID that is not known. */
  readonly kind: SnpCertificateKind | undefined;
  /** From the beginning of the table. */
  readonly offset: number;
  /** As a rule DER: a view of the table. */
  readonly data: Uint8Array;
}

export interface CertificateTable extends Parsed {
  readonly entries: readonly CertificateTableEntry[];
  /** The first entry of a kind. */
  get(kind: SnpCertificateKind): Uint8Array | undefined;
}

/** More than any host has: six kinds are known. */
export const MAXIMUM_TABLE_ENTRIES = 64;

function identify(bytes: Uint8Array, at: number): Pick<CertificateTableEntry, "guid" | "guidOrder" | "kind"> {
  for (const guidOrder of ["text", "uefi"] as const) {
    const guid = guidText(bytes, guidOrder, at);
    const kind = snpCertificateGuids.get(guid);
    if (kind !== undefined) return { guid, guidOrder, kind };
  }
  return { guid: guidText(bytes, "text", at), guidOrder: "text", kind: undefined };
}

/**
 * A table that fills `bytes`. Throws MalformedError: `truncated` for entries that do not end, `out-of-range` for a certificate outside
 * the table, `bad-value` for certificates that overlap each other or the entries, for one GUID twice, and for too many entries.
 */
export function parseCertificateTable(bytes: Uint8Array): CertificateTable {
  const map = new ByteMap();
  const found: (CertificateTableEntry & { readonly at: number })[] = [];
  let at = 0;
  for (; ; at += certificateTableEntryLayout.size) {
    const { guid, offset, length } = certificateTableEntryLayout.read(bytes, at);
    map.structure(`entries.${found.length}.`, certificateTableEntryLayout, at);
    if (guid.every((byte) => byte === 0)) {
      if (offset !== 0 || length !== 0)
        throw new MalformedError(
          "bad-value",
          at + 16,
          spec,
          "the entry that ends the table has an offset or a length",
        );
      break;
    }
    if (found.length === MAXIMUM_TABLE_ENTRIES)
      throw new MalformedError("bad-value", at, spec, `more than ${MAXIMUM_TABLE_ENTRIES} entries`);
    if (offset + length > bytes.length) {
      throw new MalformedError(
        "out-of-range",
        at + 16,
        spec,
        `${length} bytes at ${hex(offset)}, the table has ${bytes.length}`,
      );
    }
    const entry = identify(bytes, at);
    if (found.some((other) => other.guid === entry.guid))
      throw new MalformedError("bad-value", at, spec, `${entry.guid} stands there twice`);
    found.push({ at, ...entry, offset, data: bytes.subarray(offset, offset + length) });
  }
  const tableEnd = at + certificateTableEntryLayout.size;

  let end = tableEnd;
  for (const entry of found.toSorted((a, b) => a.offset - b.offset)) {
    if (entry.offset < end) {
      throw new MalformedError(
        "bad-value",
        entry.at + 16,
        spec,
        `the certificate at ${hex(entry.offset)} overlaps what ends at ${hex(end)}`,
      );
    }
    end = entry.offset + entry.data.length;
  }
  const findings: Finding[] = [];
  const entries = found.map(({ at: entryAt, ...entry }, i) => {
    map.field(`certificates.${i}`, entry.offset, entry.data.length, spec, entry.kind ?? entry.guid);
    if (entry.kind === undefined) {
      const path = `entries.${i}.guid`;
      findings.push({
        kind: "unknown-value",
        path,
        offset: entryAt,
        length: 16,
        spec,
        detail: `GUID ${entry.guid}`,
      });
    }
    return entry;
  });
  findings.push(...trailingFinding(bytes, end, spec));
  return {
    bytes: bytes.subarray(0, end),
    map,
    findings,
    entries,
    get: (kind) => entries.find((entry) => entry.kind === kind)?.data,
  };
}

export interface CertificateTableInput {
  readonly guid: string;
  readonly guidOrder?: GuidOrder;
  /** Right behind the one before where not given. */
  readonly offset?: number;
  readonly data: Uint8Array;
}

/** A table of these certificates, in the order given. `length` pads it with zeros. */
export function buildCertificateTable(entries: readonly CertificateTableInput[], length = 0): Uint8Array {
  const writer = new Writer();
  const tableEnd = (entries.length + 1) * certificateTableEntryLayout.size;
  let next = tableEnd;
  const placed = entries.map((entry) => {
    const offset = entry.offset ?? next;
    next = offset + entry.data.length;
    writer.bytes(
      certificateTableEntryLayout.build({
        guid: guidBytes(entry.guid, entry.guidOrder ?? "text"),
        offset,
        length: entry.data.length,
      }),
    );
    return { offset, data: entry.data };
  });
  const size = Math.max(length, tableEnd, ...placed.map(({ offset, data }) => offset + data.length));
  const bytes = new Uint8Array(size);
  bytes.set(writer.finish());
  for (const { offset, data } of placed) bytes.set(data, offset);
  return bytes;
}

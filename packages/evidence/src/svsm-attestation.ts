import { MalformedError, Writer } from "@entresol/wire";
import { ByteMap, type Parsed } from "./byte-map.ts";
import { type Finding, trailingFinding } from "./finding.ts";
import { guidBytes, guidText } from "./guid.ts";
import { Layout } from "./layout.ts";
import { parseTpmPublic, type TpmPublic } from "./tpm-evidence.ts";

/*
 * Attestation of an SVSM's services (AMD 58019, chapter 7): a manifest of what each service says of itself, bound to an SNP report by
 * REPORT_DATA = SHA-512(nonce || manifest).
 */

const spec = "SVSM 58019, 7";

export const SVSM_SERVICES_GUID = "63849ebb-3d92-4670-a1ff-58f9c94b87bb";
export type SvsmServiceKind = "vtpm" | "uefi-mm";
export const svsmServiceGuids: ReadonlyMap<string, SvsmServiceKind> = new Map([
  ["c476f1eb-0123-45a5-9641-b4e7dde5bfe3", "vtpm"],
  ["a4453a59-9e1b-4787-a033-1986d6adbe55", "uefi-mm"],
]);

export const svsmManifestHeaderLayout = new Layout("services manifest header", spec, 24, [
  {
    name: "guid",
    offset: 0,
    type: 16,
    clause: "table 12",
    what: `${SVSM_SERVICES_GUID}, in the order of UEFI`,
  },
  { name: "size", offset: 16, type: "u32", clause: "table 12", what: "bytes of the whole manifest" },
  { name: "count", offset: 20, type: "u32", clause: "table 12", what: "services" },
]);
export const svsmServiceEntryLayout = new Layout("services manifest entry", spec, 24, [
  { name: "guid", offset: 0, type: 16, clause: "table 12", what: "of the service, in the order of UEFI" },
  { name: "offset", offset: 16, type: "u32", clause: "table 12", what: "from the beginning of the manifest" },
  { name: "size", offset: 20, type: "u32", clause: "table 12", what: "bytes of the service's own manifest" },
]);

export interface SvsmService {
  readonly guid: string;
  /** Undefined for a service that is not known. */
  readonly kind: SvsmServiceKind | undefined;
  readonly offset: number;
  /** The service's own manifest: a view. */
  readonly data: Uint8Array;
}

export interface SvsmManifest extends Parsed {
  readonly services: readonly SvsmService[];
  /** The endorsement key of the vTPM, when it has a service here (58019, 8.3.1). */
  readonly vtpmEk: TpmPublic | undefined;
}

/** Services that a manifest may have: two are defined. */
export const MAXIMUM_SVSM_SERVICES = 64;

/**
 * A manifest of services that begins `bytes`. What is behind it is a finding, and part of what was hashed when the SVSM said so.
 * Throws MalformedError: `truncated`, `bad-magic`, `out-of-range`, `bad-value` for services that overlap, that stand there twice, or
 * of which there are too many, and what the vTPM's endorsement key throws.
 */
export function parseSvsmManifest(bytes: Uint8Array): SvsmManifest {
  const { guid, size, count } = svsmManifestHeaderLayout.read(bytes);
  if (guidText(guid, "uefi") !== SVSM_SERVICES_GUID)
    throw new MalformedError("bad-magic", 0, `${spec}, table 12`, `begins with ${guidText(guid, "uefi")}`);
  if (size > bytes.length)
    throw new MalformedError(
      "truncated",
      16,
      spec,
      `the manifest has ${size} bytes, ${bytes.length} are there`,
    );
  if (count > MAXIMUM_SVSM_SERVICES)
    throw new MalformedError("bad-value", 20, spec, `${count} services, more than ${MAXIMUM_SVSM_SERVICES}`);
  let end = svsmManifestHeaderLayout.size + count * svsmServiceEntryLayout.size;
  if (size < end) throw new MalformedError("out-of-range", 16, spec, `${size} bytes for ${count} services`);
  const map = new ByteMap().structure("header.", svsmManifestHeaderLayout, 0);
  const findings: Finding[] = [];
  const services: (SvsmService & { readonly at: number })[] = [];
  for (let i = 0; i < count; i++) {
    const at = svsmManifestHeaderLayout.size + i * svsmServiceEntryLayout.size;
    const entry = svsmServiceEntryLayout.read(bytes, at, size);
    map.structure(`services.${i}.`, svsmServiceEntryLayout, at);
    const text = guidText(entry.guid, "uefi");
    if (entry.offset + entry.size > size) {
      throw new MalformedError(
        "out-of-range",
        at + 16,
        spec,
        `${entry.size} bytes at ${entry.offset}, the manifest has ${size}`,
      );
    }
    if (services.some((other) => other.guid === text))
      throw new MalformedError("bad-value", at, spec, `${text} stands there twice`);
    const kind = svsmServiceGuids.get(text);
    if (kind === undefined) {
      const path = `services.${i}.guid`;
      findings.push({ kind: "unknown-value", path, offset: at, length: 16, spec, detail: `service ${text}` });
    }
    const data = bytes.subarray(entry.offset, entry.offset + entry.size);
    services.push({ at, guid: text, kind, offset: entry.offset, data });
    map.field(`services.${i}.manifest`, entry.offset, entry.size, spec, kind ?? "unknown service");
  }
  for (const service of services.toSorted((a, b) => a.offset - b.offset)) {
    if (service.offset < end) {
      throw new MalformedError(
        "bad-value",
        service.at + 16,
        spec,
        `the manifest at ${service.offset} overlaps what ends at ${end}`,
      );
    }
    end = service.offset + service.data.length;
  }
  findings.push(...trailingFinding(bytes, size, spec));
  const vtpm = services.find(({ kind }) => kind === "vtpm");
  return {
    bytes: bytes.subarray(0, size),
    map,
    findings,
    services: services.map(({ at: _, ...service }) => service),
    vtpmEk: vtpm === undefined ? undefined : vtpmEk(vtpm),
  };
}

/** The endorsement key that a vTPM's own manifest is, as a single service gives it. Throws as `parseTpmPublic`. */
export function parseVtpmManifest(bytes: Uint8Array): TpmPublic {
  return parseTpmPublic(bytes);
}

function vtpmEk({ data, offset }: SvsmService): TpmPublic {
  try {
    return parseVtpmManifest(data);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw new MalformedError(
      error.code,
      offset + error.offset,
      error.spec,
      "the vTPM's manifest is no public area",
    );
  }
}

/** What SHA-512 gives REPORT_DATA of. `nonce` has 64 bytes. */
export function svsmReportDataInput(nonce: Uint8Array, manifest: Uint8Array): Uint8Array {
  return new Writer(nonce.length + manifest.length).bytes(nonce).bytes(manifest).finish();
}

/** A manifest of these services, in the order given, one behind the other. */
export function buildSvsmManifest(
  services: readonly { readonly guid: string; readonly data: Uint8Array }[],
): Uint8Array {
  const head = svsmManifestHeaderLayout.size + services.length * svsmServiceEntryLayout.size;
  const size = services.reduce((sum, { data }) => sum + data.length, head);
  const writer = new Writer(size).bytes(
    svsmManifestHeaderLayout.build({
      guid: guidBytes(SVSM_SERVICES_GUID, "uefi"),
      size,
      count: services.length,
    }),
  );
  let offset = head;
  for (const { guid, data } of services) {
    writer.bytes(svsmServiceEntryLayout.build({ guid: guidBytes(guid, "uefi"), offset, size: data.length }));
    offset += data.length;
  }
  for (const { data } of services) writer.bytes(data);
  return writer.finish();
}

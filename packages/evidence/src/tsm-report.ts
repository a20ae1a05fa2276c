import { MalformedError } from "@entresol/wire";
import { type CertificateTable, parseCertificateTable } from "./certificate-table.ts";
import { parseQuote, type Quote } from "./quote.ts";
import { parseSnpReport, type SnpReport } from "./snp-report.ts";
import {
  parseSvsmManifest,
  parseVtpmManifest,
  type SvsmManifest,
  svsmServiceGuids,
} from "./svsm-attestation.ts";
import type { TpmPublic } from "./tpm-evidence.ts";

/*
 * A report as Linux gives it in configfs (Documentation/ABI/testing/configfs-tsm-report): a folder of files, whose meaning depends on
 * the provider.
 */

const spec = "configfs-tsm-report";

/** The files of one report folder that were read, by name. */
export interface TsmFiles {
  readonly provider: Uint8Array;
  readonly outblob: Uint8Array;
  /** SNP: the table of certificates. */
  readonly auxblob?: Uint8Array;
  /** SNP under an SVSM: the manifest. */
  readonly manifestblob?: Uint8Array;
  readonly service_provider?: Uint8Array;
  /** Nothing, or all zeros: all services. */
  readonly service_guid?: Uint8Array;
  readonly generation?: Uint8Array;
}

export type TsmReport =
  | {
      readonly provider: "sev_guest";
      readonly report: SnpReport;
      readonly certificates: CertificateTable | undefined;
      /** What an SVSM says of its services; undefined when there is none. */
      readonly services: SvsmManifest | undefined;
      /** Of one service that was asked for by its GUID: the manifest of the vTPM. */
      readonly vtpmEk: TpmPublic | undefined;
      /** What REPORT_DATA is the hash of, behind the nonce; undefined without an SVSM. */
      readonly manifest: Uint8Array | undefined;
    }
  | { readonly provider: "tdx_guest"; readonly quote: Quote };

/** No attribute of configfs is longer. */
const MAXIMUM_TEXT = 256;

/** The text of an attribute: ASCII, without the line's end. */
function text(name: keyof TsmFiles, bytes: Uint8Array): string {
  if (bytes.length > MAXIMUM_TEXT)
    throw new MalformedError("bad-value", 0, `${spec}, ${name}`, `${bytes.length} bytes of text`);
  const end = bytes.at(-1) === 0x0a ? bytes.length - 1 : bytes.length;
  for (let i = 0; i < end; i++) {
    if (bytes[i]! < 0x20 || bytes[i]! > 0x7e)
      throw new MalformedError("bad-value", i, `${spec}, ${name}`, "not text");
  }
  return String.fromCharCode(...bytes.subarray(0, end));
}

const allServices = "00000000-0000-0000-0000-000000000000";

/**
 * The evidence in the files of a report. Throws MalformedError: `bad-value` for another provider, and what the parsers of its parts
 * throw; offsets are within the file that `spec` names, or within the part.
 */
export function parseTsmReport(files: TsmFiles): TsmReport {
  const provider = text("provider", files.provider);
  if (provider === "tdx_guest") return { provider, quote: parseQuote(files.outblob) };
  if (provider !== "sev_guest")
    throw new MalformedError("bad-value", 0, `${spec}, provider`, `provider ${JSON.stringify(provider)}`);
  const { auxblob, manifestblob, service_guid: serviceGuid } = files;
  const guid = serviceGuid === undefined ? "" : text("service_guid", serviceGuid).toLowerCase();
  const manifest = manifestblob === undefined || manifestblob.length === 0 ? undefined : manifestblob;
  const single = guid !== "" && guid !== allServices;
  return {
    provider,
    report: parseSnpReport(files.outblob),
    // Empty when the host has given no certificates.
    certificates: auxblob === undefined || auxblob.length === 0 ? undefined : parseCertificateTable(auxblob),
    services: manifest === undefined || single ? undefined : parseSvsmManifest(manifest),
    vtpmEk:
      manifest !== undefined && single && svsmServiceGuids.get(guid) === "vtpm"
        ? parseVtpmManifest(manifest)
        : undefined,
    manifest,
  };
}

/** The files of a report by their contents. */
export function buildTsmFiles(provider: TsmReport["provider"], blobs: Omit<TsmFiles, "provider">): TsmFiles {
  return { provider: new TextEncoder().encode(`${provider}\n`), ...blobs };
}

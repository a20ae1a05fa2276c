import { identifyEvidence } from "@entresol/evidence";

/* What a file that somebody hands over is for. */

export type Role =
  | "snp-report"
  | "quote"
  | "td-report"
  | "hcl-report"
  | "vtpm-evidence"
  | "svsm-manifest"
  | "tpm-quote"
  | "tpm-signature"
  | "event-log"
  | "ccel"
  | "ccel-table"
  | "id-block"
  | "id-auth"
  | "nonce"
  | "certificate"
  | "certificate-table"
  | "crl"
  | "root"
  | "tcb-info"
  | "qe-identity"
  | "tcb-signers"
  | "root-crl"
  | "pck-crl"
  | "bundle"
  | "tsm-report"
  | "tsm-certificates"
  | "tsm-provider"
  | "tsm-service";

/** Files by their names, in small letters. The first row that fits counts. */
const names: readonly (readonly [RegExp, Role])[] = [
  [/^((snp|attestation)[-_]?)?report\.(bin|hex|b64|txt)$/, "snp-report"],
  [/^(td|tdx|sgx)?[-_]?quote\.(bin|dat|hex|b64|txt)$/, "quote"],
  [/^td[-_]?report\.bin$/, "td-report"],
  [/^hcl[-_]?report\.bin$/, "hcl-report"],
  [/^evidence\.json$/, "vtpm-evidence"],
  [/^(svsm[-_])?manifest\.bin$|^manifestblob$/, "svsm-manifest"],
  [/^tpm[-_]quote\.(msg|bin)$/, "tpm-quote"],
  [/^tpm[-_]quote\.sig$/, "tpm-signature"],
  [/^(ccel|ccel[-_]data)(\.(bin|dat))?$/, "ccel"],
  [/^ccel[-_]table(\.(bin|dat))?$/, "ccel-table"],
  [/^event[-_]?log\.json$/, "ccel"],
  [/^(event[-_]?log|binary_bios_measurements)(\.(bin|dat))?$/, "event-log"],
  [/^id[-_]block\.(bin|dat)$/, "id-block"],
  [/^id[-_]auth\.(bin|dat)$/, "id-auth"],
  [/^nonce(\.(bin|dat|hex|txt))?$/, "nonce"],
  [/^(root[-_]ca[-_]crl)\.(der|pem|crl)$/, "root-crl"],
  [/^(pck[-_]crl)\.(der|pem|crl)$/, "pck-crl"],
  [/^([a-z]+[-_])?crl\.(der|pem)$|\.crl$/, "crl"],
  [/^(vcek|vlek|ask|asvk|ark|pck)([-_.].*)?\.(der|pem|crt|cer)$/, "certificate"],
  [/^(cert[-_]chain|(pck|vcek|vlek)[-_]chain)\.(pem|crt)$/, "certificate"],
  [/^cert(ificate)?s?[-_]table\.bin$|^certs\.bin$/, "certificate-table"],
  [/^(root[-_]ca)\.(der|pem|crt|cer)$/, "root"],
  [/^(tcb[-_]?info)\.json$/, "tcb-info"],
  [/^(qe[-_]?identity)\.json$/, "qe-identity"],
  [/^(tcb[-_]signing[-_]chain)\.pem$/, "tcb-signers"],
  [/^(collateral|bundle)\.(json|cbor)$/, "bundle"],
  [/^outblob$/, "tsm-report"],
  [/^auxblob$/, "tsm-certificates"],
  [/^provider$/, "tsm-provider"],
  [/^service_guid$/, "tsm-service"],
];

/** What the evidence itself is, and not what goes with it. */
export const evidenceRoles: ReadonlySet<Role> = new Set<Role>([
  "snp-report",
  "quote",
  "td-report",
  "hcl-report",
  "vtpm-evidence",
  "svsm-manifest",
  "tpm-quote",
  "tsm-report",
]);

/** The role that a file's name gives; undefined for a name that is not known. */
export function roleOfName(name: string): Role | undefined {
  const plain = name.toLowerCase();
  return names.find(([pattern]) => pattern.test(plain))?.[1];
}

/** A list of revoked certificates begins with its version and an algorithm, a certificate with its version in a tag of its own. */
function isCrl(der: Uint8Array): boolean {
  let at = 0;
  for (let depth = 0; depth < 2; depth++) {
    if (der[at] !== 0x30) return false;
    const length = der[at + 1] ?? 0;
    at += 2 + (length >= 0x80 ? length & 0x7f : 0);
  }
  return der[at] === 0x02 && der[at + 1] === 1 && der[at + 2] === 1 && der[at + 3] === 0x30;
}

const decoder = new TextDecoder();
/** The members of JSON that tell documents apart, within its first bytes. */
const documents: readonly (readonly [RegExp, Role])[] = [
  [/"format"\s*:\s*"entresol-collateral"/, "bundle"],
  [/"tcbInfo"\s*:/, "tcb-info"],
  [/"enclaveIdentity"\s*:/, "qe-identity"],
  [/"hcl_report"\s*:/, "vtpm-evidence"],
];

/** The role of bytes without a name; undefined when they are nothing that is known. */
export function roleOfBytes(bytes: Uint8Array): Role | undefined {
  const kind = identifyEvidence(bytes);
  switch (kind) {
    case "snp-report":
    case "quote":
    case "td-report":
    case "hcl-report":
    case "svsm-manifest":
    case "tpm-quote":
      return kind;
    case "event-log":
      return "event-log";
    case "snp-certificate-table":
      return "certificate-table";
    case "der":
      return isCrl(bytes) ? "crl" : "certificate";
    case "json": {
      const text = decoder.decode(bytes);
      return documents.find(([pattern]) => pattern.test(text))?.[1];
    }
    case "pem":
      return "certificate";
    case undefined:
      // A CBOR map whose first key is "format" or near it.
      return bytes[0] !== undefined &&
        bytes[0] >> 5 === 5 &&
        decoder.decode(bytes).includes("entresol-collateral")
        ? "bundle"
        : undefined;
    default:
      return kind satisfies never;
  }
}

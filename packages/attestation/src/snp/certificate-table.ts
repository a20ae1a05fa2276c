import { parseCertificateTable } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import type { Checklist } from "../check.ts";
import { sameBytes } from "../x509/chain.ts";
import type { SnpCheckId } from "./checks.ts";

/** DER, sorted by what it is. */
export interface CertificateFiles {
  readonly certificates: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
}

/** The given files and those of a table that a host gave with the report, each once. Unknown kinds are passed over. */
export function withTable(
  checks: Checklist<SnpCheckId>,
  given: CertificateFiles,
  table: Uint8Array | undefined,
): CertificateFiles {
  if (table === undefined) {
    checks.drop("snp.certificate-table");
    return given;
  }
  const certificates = [...given.certificates];
  const crls = [...given.crls];
  const place = { input: "certificate-table", offset: 0, length: table.length };
  try {
    // A host without certificates gives nothing at all.
    const entries = table.length === 0 ? [] : parseCertificateTable(table).entries;
    for (const { kind, data } of entries) {
      if (kind === undefined) continue;
      const files = kind === "crl" ? crls : certificates;
      if (!files.some((other) => sameBytes(other, data))) files.push(data);
    }
    const names = entries.map(({ kind, guid }) => kind?.toUpperCase() ?? guid);
    checks.pass("snp.certificate-table", names.join(", ") || "empty", place);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    checks.fail("snp.certificate-table", error.message, { ...place, offset: error.offset, length: 4 });
  }
  return { certificates, crls };
}

import { certificateTableEntryLayout } from "../certificate-table.ts";
import { certificationLayouts, ppidLayouts } from "../certification-data.ts";
import { hclCapabilityBits, hclCapabilityLayout, hclHeaderLayout, hclRequestLayout } from "../hcl-report.ts";
import { type BitRow, type FieldRow, type Layout, sizeOf } from "../layout.ts";
import { quoteHeader3Layout, quoteHeaderLayout, quoteLayouts } from "../quote.ts";
import { sgxAttributeBits, sgxReportLayout } from "../sgx-report.ts";
import { snpIdAuthLayout, snpIdBlockLayout } from "../snp-id-block.ts";
import { snpFlagBits, snpPlatformInfoBits, snpPolicyBits, snpReportLayout } from "../snp-report.ts";
import { snpProducts, tcbLayout, turinTcbLayout } from "../snp-tcb.ts";
import { svsmManifestHeaderLayout, svsmServiceEntryLayout } from "../svsm-attestation.ts";
import { tdAttributeBits, tdBodyExLayout, tdReportLayout } from "../td-report.ts";

/* The tables of specs/, printed from the layouts that parse. */

const hex = (value: number, digits = 1) => `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

function* fields(layout: Layout, at = 0, path = ""): Iterable<[path: string, offset: number, row: FieldRow]> {
  for (const row of layout.rows) {
    if (typeof row.type === "object") yield* fields(row.type, at + row.offset, `${path}${row.name}.`);
    else yield [`${path}${row.name}`, at + row.offset, row];
  }
}

function layoutTable(layout: Layout): string {
  const rows = [...fields(layout)].map(([path, offset, row]) => [
    hex(offset, 3),
    `${sizeOf(row.type)}`,
    row.reserved === true ? "" : path,
    row.since === undefined ? row.what : `${row.what}; from version ${row.since}`,
  ]);
  return table(["offset", "bytes", "field", "what"], rows);
}

const bitTable = (rows: readonly BitRow[]): string =>
  table(
    ["bits", "name", "what"],
    rows.map(({ bit, width = 1, name, what }) => [
      width === 1 ? `${bit}` : `${bit + width - 1}:${bit}`,
      name,
      what,
    ]),
  );

const productTable = (): string =>
  table(
    ["family", "models", "product", "chain", "TCB layout", "bytes of CHIP_ID"],
    snpProducts.map(({ family, models, name, line, tcbLayout: layout, hwIdLength }) => [
      hex(family),
      models.map((model) => hex(model, 2)).join(" to "),
      name,
      line,
      layout,
      `${hwIdLength}`,
    ]),
  );

/** By the name that a spec has for the table. */
export function layoutTables(): ReadonlyMap<string, string> {
  return new Map([
    ["SNP report", layoutTable(snpReportLayout)],
    ["SNP policy", bitTable(snpPolicyBits)],
    ["SNP platform", bitTable(snpPlatformInfoBits)],
    ["SNP flags", bitTable(snpFlagBits)],
    ["SNP products", productTable()],
    ["SNP TCB", layoutTable(tcbLayout)],
    ["SNP TCB of Turin", layoutTable(turinTcbLayout)],
    ["SNP certificate table", layoutTable(certificateTableEntryLayout)],
    ["SNP ID block", layoutTable(snpIdBlockLayout)],
    ["SNP ID authentication", layoutTable(snpIdAuthLayout)],
    ["quote header 3", layoutTable(quoteHeader3Layout)],
    ["quote header", layoutTable(quoteHeaderLayout)],
    ["quote body descriptor", layoutTable(quoteLayouts.body)],
    ["quote signature", layoutTable(quoteLayouts.signature)],
    ["TD body", layoutTable(tdBodyExLayout)],
    ["TD attributes", bitTable(tdAttributeBits)],
    ["SGX report", layoutTable(sgxReportLayout)],
    ["SGX attributes", bitTable(sgxAttributeBits)],
    ["QE report certification", layoutTable(certificationLayouts.qe)],
    ["certification data", layoutTable(certificationLayouts.head)],
    ["PPID", layoutTable(ppidLayouts[1])],
    ["TDREPORT", layoutTable(tdReportLayout)],
    ["HCL header", layoutTable(hclHeaderLayout)],
    ["HCL request data", layoutTable(hclRequestLayout)],
    ["HCL capabilities", layoutTable(hclCapabilityLayout)],
    ["HCL capability bits", bitTable(hclCapabilityBits)],
    ["SVSM manifest header", layoutTable(svsmManifestHeaderLayout)],
    ["SVSM manifest entry", layoutTable(svsmServiceEntryLayout)],
  ]);
}

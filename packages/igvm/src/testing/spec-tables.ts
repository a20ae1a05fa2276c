import { sevSectionTypes } from "../firmware/sev-metadata.ts";
import { tdxSectionTypes } from "../firmware/tdx-metadata.ts";
import {
  type HeaderName,
  headerRows,
  pageDataTypes,
  pageFlags,
  platformTypes,
} from "../igvm/header-types.ts";
import { snpPageTypes } from "../snp/launch-digest.ts";
import { vmms } from "../snp/vmsa.ts";

/* The tables of specs/igvm.md and specs/launch-digest.md, printed from the code's own. */

const hex = (value: number | bigint) => `0x${value.toString(16).toUpperCase()}`;

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

function headers(): string {
  const rows = (Object.keys(headerRows) as HeaderName[]).map((name) => {
    const { code, section, fields, what } = headerRows[name];
    const members = fields.map(
      ([field, type]) =>
        `${field.startsWith("reserved") ? "reserved" : field} ${typeof type === "number" ? `${type} B` : type}`,
    );
    return [hex(code), name, section, members.join(", "), what];
  });
  return table(["type", "name", "section", "content", "what"], rows);
}

const numbered = (what: string, values: Readonly<Record<string, number>>): string =>
  table(
    ["value", what],
    Object.entries(values).map(([name, value]) => [`${value}`, name]),
  );
const sections = (values: Readonly<Record<number, string>>): string =>
  table(
    ["type", "section"],
    Object.entries(values).map(([value, name]) => [value, name]),
  );

const vmmTable = (): string =>
  table(
    ["VMM", "CS at the reset vector", "SS", "TR", "PAT", "RDX", "MXCSR", "FCW"],
    Object.entries(vmms).map(([name, { bootCs, ss, tr, gPat, rdx, mxcsr, x87Fcw }]) => [
      name,
      hex(bootCs),
      hex(ss),
      hex(tr),
      hex(gPat),
      rdx === undefined ? "CPUID signature" : hex(rdx),
      hex(mxcsr),
      hex(x87Fcw),
    ]),
  );

/** By the name that a spec has for the table. */
export const specTables: ReadonlyMap<string, string> = new Map([
  ["IGVM headers", headers()],
  ["IGVM platforms", numbered("platform", platformTypes)],
  ["IGVM page flags", numbered("flag of a page", pageFlags)],
  ["IGVM page types", numbered("data type of a page", pageDataTypes)],
  ["SNP page types", numbered("PAGE_TYPE", snpPageTypes)],
  ["SEV sections", sections(sevSectionTypes)],
  ["TDX sections", sections(tdxSectionTypes)],
  ["VMMs", vmmTable()],
]);

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { layoutTables } from "./testing/layout-tables.ts";

const specs = fileURLToPath(new URL("../../../specs/", import.meta.url));
const names = ["sev-snp-report.md", "tdx-quote.md", "hcl.md", "svsm-attestation.md"];
const marker = /<!-- layout: (.*?) -->\n[\s\S]*?<!-- end of \1 -->/g;
const tables = layoutTables();

/** The text with its tables printed anew. */
const printed = (text: string): string =>
  text.replace(marker, (_, name: string) => {
    const table = tables.get(name);
    if (table === undefined) throw new Error(`nothing prints the table "${name}"`);
    return `<!-- layout: ${name} -->\n\n${table}\n\n<!-- end of ${name} -->`;
  });

// With ENTRESOL_PRINT_LAYOUTS=1 the tables are written instead.
test.each(names)("the tables in %s are those of the layouts that parse", (name) => {
  const text = readFileSync(specs + name, "utf8");
  const wanted = printed(text);
  if (process.env["ENTRESOL_PRINT_LAYOUTS"] === "1") writeFileSync(specs + name, wanted);
  else expect(text).toBe(wanted);
});

test("every layout has its table in a spec", () => {
  const found = names.flatMap((name) =>
    [...readFileSync(specs + name, "utf8").matchAll(marker)].map((match) => match[1]),
  );
  expect(found.toSorted()).toEqual([...tables.keys()].toSorted());
});

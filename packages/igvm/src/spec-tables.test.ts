import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { specTables } from "./testing/spec-tables.ts";

const specs = fileURLToPath(new URL("../../../specs/", import.meta.url));
const names = ["igvm.md", "launch-digest.md"];
const marker = /<!-- layout: (.*?) -->\n[\s\S]*?<!-- end of \1 -->/g;

// With ENTRESOL_PRINT_LAYOUTS=1 the tables are written instead.
test.each(names)("the tables in %s are those of the code", (name) => {
  const text = readFileSync(specs + name, "utf8");
  const wanted = text.replace(
    marker,
    (_, title: string) =>
      `<!-- layout: ${title} -->\n\n${specTables.get(title) ?? "nothing prints this"}\n\n<!-- end of ${title} -->`,
  );
  if (process.env["ENTRESOL_PRINT_LAYOUTS"] === "1") writeFileSync(specs + name, wanted);
  else expect(text).toBe(wanted);
});

test("every table of the code has its place in a spec", () => {
  const found = names.flatMap((name) =>
    [...readFileSync(specs + name, "utf8").matchAll(marker)].map((match) => match[1]),
  );
  expect(found.toSorted()).toEqual([...specTables.keys()].toSorted());
});

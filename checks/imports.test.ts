import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { importProblems } from "./imports.mjs";

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true });
});

/** A workspace of packages `a` and `b` with these files besides their manifests. */
function workspace(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "entresol-imports-"));
  roots.push(root);
  const all: Record<string, string> = {
    "packages/a/package.json": '{ "dependencies": { "@entresol/b": "1" } }',
    "packages/a/tsconfig.json": '{ "references": [{ "path": "../b" }] }',
    "packages/a/src/index.ts": 'import "@entresol/b";\n',
    "packages/b/package.json": "{}",
    "packages/b/tsconfig.json": "{}",
    "packages/b/src/index.ts": "",
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}
const table = { a: { own: ["b"], others: ["zod"] }, b: { own: [], others: [] } };
const problems = (files: Record<string, string>) => importProblems(workspace(files), table);

it("finds nothing wrong with packages that keep to the table", () => {
  expect(problems({})).toEqual([]);
});

it.each<[string, Record<string, string>, string]>([
  [
    "a package that the row does not name",
    { "packages/b/src/index.ts": 'import "@entresol/a";' },
    "b may not import a",
  ],
  [
    "a circle of packages",
    { "packages/b/src/index.ts": 'import "@entresol/a";' },
    "packages import each other in a circle: a -> b -> a",
  ],
  [
    "a circle of files",
    { "packages/b/src/index.ts": 'import "./x.ts";', "packages/b/src/x.ts": 'import "./index.ts";' },
    "files import each other in a circle",
  ],
  [
    "a third-party package that the row does not name",
    { "packages/b/src/index.ts": 'import x from "left-pad";' },
    "b may not import left-pad",
  ],
  [
    "a package's inside",
    { "packages/a/src/index.ts": 'import "@entresol/b/dist/x.js";' },
    "is not a package's public entry",
  ],
  [
    "a path into another package",
    { "packages/a/src/y.ts": 'export * from "../../b/src/index.ts";' },
    "reaches into another package",
  ],
  [
    "a dependency that is not declared",
    { "packages/a/src/y.ts": 'import { z } from "zod";' },
    "zod is not among the dependencies",
  ],
  [
    "a dependency that nothing imports",
    { "packages/a/src/index.ts": "" },
    "@entresol/b is declared and not imported",
  ],
  ["a reference that is missing", { "packages/a/tsconfig.json": "{}" }, "no reference to b"],
  ["a package without a row", { "packages/c/package.json": "{}" }, "packages/c: not in the table"],
  ["a built-in module without node:", { "packages/b/src/index.ts": 'import "fs";' }, "write node:fs"],
])("finds %s", (_name, files, message) => {
  expect(problems(files).join("\n")).toContain(message);
});

it("takes an optional dependency for a declared one", () => {
  const manifest = '{ "dependencies": { "@entresol/b": "1" }, "optionalDependencies": { "zod": "4" } }';
  const files = {
    "packages/a/package.json": manifest,
    "packages/a/src/index.ts": 'import "@entresol/b"; await import("zod");',
  };
  const rows = { ...table, a: { own: ["b"], others: ["zod"] } };
  expect(importProblems(workspace(files), rows)).toEqual([]);
});

it("lets tests, and what they share, import what the row has for them", () => {
  const manifest = '{ "devDependencies": { "@entresol/b": "1" } }';
  const own = { "packages/a/package.json": manifest, "packages/a/src/index.ts": "" };
  const rows = { ...table, a: { own: [], others: [], testing: ["b"] } };
  const found = (files: Record<string, string>) => importProblems(workspace({ ...own, ...files }), rows);
  const importsB = 'import "@entresol/b";';
  expect(found({ "packages/a/src/x.test.ts": importsB, "packages/a/src/testing/y.ts": importsB })).toEqual(
    [],
  );
  expect(found({ "packages/a/src/x.ts": importsB }).join("\n")).toContain("a may not import b");
  expect(found({ "packages/a/src/x.ts": 'import "./testing/y.ts";' }).join("\n")).toContain(
    "is for tests and campaigns",
  );
  expect(
    found({ "packages/a/src/x.test.ts": importsB, "packages/a/package.json": "{}" }).join("\n"),
  ).toContain("not among the devDependencies");
  expect(
    found({ "packages/a/src/x.test.ts": importsB, "packages/a/tsconfig.json": "{}" }).join("\n"),
  ).toContain("no reference to b");
});

it("keeps what a browser does not have to the command, and to types", () => {
  const manifest = "{}";
  const rows = { ...table, a: { own: [], others: [], browser: true } };
  const found = (files: Record<string, string>) =>
    importProblems(
      workspace({ "packages/a/package.json": manifest, "packages/a/src/index.ts": "", ...files }),
      rows,
    );
  const reads = 'import { readFileSync } from "node:fs";';
  expect(found({ "packages/a/src/x.ts": reads }).join("\n")).toContain("node:fs is not there in a browser");
  const types = 'import type { KeyObject } from "node:crypto";';
  expect(
    found({
      "packages/a/src/cli/x.ts": reads,
      "packages/a/src/x.test.ts": reads,
      "packages/a/src/y.ts": types,
    }),
  ).toEqual([]);
});

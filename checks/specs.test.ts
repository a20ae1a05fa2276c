import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import * as explained from "../packages/cpu/src/differential/explained.ts";
import * as cpuid from "../packages/paravisor/src/cpuid-policy.ts";
import * as msr from "../packages/paravisor/src/msr-policy.ts";
import {
  checkSpecs,
  generatedParts,
  listTree,
  print,
  stale,
  titlesIn,
  tpmModules,
  wrongNames,
} from "./specs.mjs";

// The tables come from the sources here, so that the test does not depend on when the packages were built.
const root = resolve(import.meta.dirname, "..");
const source = (name: string, path: string): Promise<object> =>
  import(/* @vite-ignore */ resolve(root, `packages/${name}/src/${path}.ts`));
const tpm = await tpmModules(source);
const attestation = await source("attestation", "index");
const parts: Map<string, string> = generatedParts({ explained, cpuid, msr, tpm, attestation });
const isStale = (problem: string) => / part /.test(problem);

describe("specs", () => {
  const { problems, counts } = checkSpecs(parts);

  it("what the generated parts say is what the tables of the code say", () => {
    expect(problems.filter(isStale)).toEqual([]);
    for (const name of parts.keys()) {
      const uses = [...listTree(root), "README.md"].filter(
        (path) =>
          /^(specs\/.*|README)\.md$/.test(path) &&
          readFileSync(resolve(root, path), "utf8").includes(`<!-- generated: ${name} -->`),
      );
      expect([name, uses.length]).toEqual([name, 1]);
    }
  });

  it("every file and every test that a table names is there", () => {
    expect(problems.filter((problem) => !isStale(problem))).toEqual([]);
    expect(counts.tested).toBeGreaterThan(300);
  });
});

describe("the check of names", () => {
  const tree = ["packages/x/src/", "packages/x/src/cpu.ts", "packages/x/src/cpu.test.ts", "specs/other.md"];
  const files: Record<string, string> = {
    "packages/x/src/cpu.test.ts":
      'describe("a suite", () => {\n  test.each([\n    ["x"],\n  ])("counts to %i", () => {});\n  it("is \\"quoted\\"", () => {});\n});',
    "specs/other.md": "| `check-name` | rule |",
  };
  const check = (row: string, heading = "test") =>
    wrongNames(
      "cpu.md",
      `| rule | file | ${heading} |\n|---|---|---|\n| r | ${row} |\n`,
      tree,
      (path: string) => files[path] ?? "",
    );

  it.each([
    '`cpu.ts` | "a suite"',
    'x/src/cpu.ts | cpu.test.ts "counts to %i"',
    'cpu.ts | "counts to..."',
    'cpu.ts | cpu.test.ts "a suite", "counts…"',
    'cpu.ts | specs/other.md "check-name"',
    "cpu.ts, `src/` | no test yet",
    "cpu.ts | same",
  ])("takes %s", (row) => {
    expect(check(row)).toEqual([]);
  });

  it.each([
    ['mmu.ts | "a suite"', "specs/cpu.md:3: there is no mmu.ts"],
    ['cpu.ts | "counts"', 'specs/cpu.md:3: no test "counts" in cpu.test.ts'],
    ['cpu.ts | "a suit"', 'specs/cpu.md:3: no test "a suit" in cpu.test.ts'],
    ['cpu.ts | cpu.test.ts "adds…"', 'specs/cpu.md:3: no test "adds…" in cpu.test.ts'],
    ['cpu.ts | specs/other.md "no-check"', 'specs/cpu.md:3: no test "no-check" in other.md'],
    ["`lib/` | no test yet", "specs/cpu.md:3: there is no lib/"],
  ])("refuses %s", (row, problem) => {
    expect(check(row)).toEqual([problem]);
  });

  it("reads titles without quotes under the heading Test", () => {
    expect(check("cpu.ts | a suite: counts…; a suite", "Test")).toEqual([]);
    expect(check("cpu.ts | a suite: adds…", "Test")).toEqual([
      'specs/cpu.md:3: no test "a suite: adds…" in cpu.test.ts',
    ]);
  });

  it("finds titles of suites, tests and tables of tests", () => {
    expect(titlesIn(files["packages/x/src/cpu.test.ts"])).toEqual(["a suite", "counts to %i", 'is "quoted"']);
  });
});

describe("generated parts", () => {
  const table = new Map([["numbers", "| 1 |"]]);
  const printed = "a\n<!-- generated: numbers -->\n\n| 1 |\n\n<!-- end of numbers -->\nb\n";

  it("are printed between their marks, and nowhere else", () => {
    const old = "a\n<!-- generated: numbers -->\nold\n<!-- end of numbers -->\nb\n";
    expect(print(old, table)).toBe(printed);
    expect(print(printed, table)).toBe(printed);
    expect(stale("x.md", printed, table)).toEqual([]);
    expect(stale("x.md", old, table)).toEqual([
      "specs/x.md: a generated part is stale: npm run build && node checks/specs.mjs",
    ]);
  });

  it("that have no end, or that nothing prints, are problems", () => {
    expect(stale("x.md", "<!-- generated: numbers -->\n", table)).toEqual([
      'specs/x.md: the part "numbers" has no end',
    ]);
    expect(stale("x.md", "<!-- generated: none -->\n<!-- end of none -->\n", table)).toEqual([
      'specs/x.md: nothing prints the part "none"',
    ]);
  });
});

// Fails when a package imports one that the table does not allow, when its package.json or tsconfig.json says otherwise than
// its imports, and on any circle of packages or of source files.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { packageTable, testOnly } from "./package-table.mjs";

const builtin = new Set(builtinModules);

function* sources(folder) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* sources(path);
    else if (/\.(ts|mjs|js)$/.test(entry.name) && !entry.name.endsWith(".d.ts")) yield path;
  }
}

const importPattern =
  /^\s*(?:import|export)\s(?:[^"';]*?\sfrom\s)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;
const importsOf = (file) => [...readFileSync(file, "utf8").matchAll(importPattern)].map((m) => m[1] ?? m[2]);
/** Imports that are there when the program runs. */
const runtimeImportsOf = (file) =>
  [...readFileSync(file, "utf8").matchAll(importPattern)]
    .filter((m) => !/^\s*(import|export) type\b/.test(m[0]))
    .map((m) => m[1] ?? m[2]);

/** First circle in a graph of name -> names, as a path; undefined when there is none. */
function circle(graph) {
  const state = new Map();
  const path = [];
  const visit = (node) => {
    state.set(node, 1);
    path.push(node);
    for (const next of graph.get(node) ?? []) {
      if (state.get(next) === 1) return [...path.slice(path.indexOf(next)), next];
      if (!state.has(next)) {
        const found = visit(next);
        if (found) return found;
      }
    }
    path.pop();
    state.set(node, 2);
    return undefined;
  };
  for (const node of graph.keys()) {
    if (!state.has(node)) {
      const found = visit(node);
      if (found) return found;
    }
  }
  return undefined;
}

/** Everything that is wrong with the packages below `root`, a line each. */
export function importProblems(root, table = packageTable) {
  const problems = [];
  const packages = readdirSync(join(root, "packages"));
  const packageGraph = new Map();
  for (const name of packages) {
    const rule = table[name];
    const folder = join(root, "packages", name);
    if (rule === undefined) {
      problems.push(`packages/${name}: not in the table of packages`);
      continue;
    }
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }));
    const declaredForTests = new Set(Object.keys(manifest.devDependencies ?? {}));
    const used = new Set();
    const usedByTests = new Set();
    const files = new Map();
    for (const file of sources(join(folder, "src"))) {
      const test = /\.test\.ts$/.test(file);
      // What tests and campaigns share, and what no user of the package reaches.
      const testing = test || relative(join(folder, "src"), file).startsWith("testing/");
      const local = [];
      if (rule.browser && !testing && !relative(join(folder, "src"), file).startsWith("cli/"))
        for (const target of runtimeImportsOf(file).filter((target) => target.startsWith("node:")))
          problems.push(`${relative(root, file)}: ${target} is not there in a browser`);
      for (const target of importsOf(file)) {
        const where = relative(root, file);
        if (target.startsWith(".")) {
          local.push(resolve(dirname(file), target));
          if (!resolve(dirname(file), target).startsWith(`${folder}/`))
            problems.push(`${where}: ${target} reaches into another package`);
          if (!testing && resolve(dirname(file), target).startsWith(join(folder, "src", "testing/")))
            problems.push(`${where}: ${target} is for tests and campaigns`);
        } else if (target.startsWith("node:") || builtin.has(target)) {
          if (!target.startsWith("node:")) problems.push(`${where}: write node:${target}`);
        } else if (target.startsWith("@entresol/")) {
          const own = target.slice("@entresol/".length);
          if (own.includes("/")) problems.push(`${where}: ${target} is not a package's public entry`);
          else if (testing && rule.testing?.includes(own)) {
            usedByTests.add(own);
            if (!declaredForTests.has(target))
              problems.push(`${where}: ${target} is not among the devDependencies in package.json`);
            continue;
          } else if (own !== "wire" && !rule.own.includes(own))
            problems.push(`${where}: ${name} may not import ${own}`);
          used.add(target);
          if (!declared.has(target))
            problems.push(`${where}: ${target} is not among the dependencies in package.json`);
        } else {
          const other = target
            .split("/")
            .slice(0, target.startsWith("@") ? 2 : 1)
            .join("/");
          if (test && testOnly.includes(other)) continue;
          used.add(other);
          if (!rule.others.includes(other)) problems.push(`${where}: ${name} may not import ${other}`);
          else if (!declared.has(other))
            problems.push(`${where}: ${other} is not among the dependencies in package.json`);
        }
      }
      files.set(file, local);
    }
    for (const dependency of declared) {
      if (!used.has(dependency))
        problems.push(`packages/${name}/package.json: ${dependency} is declared and not imported`);
    }
    const own = [...used].filter((d) => d.startsWith("@entresol/")).map((d) => d.slice("@entresol/".length));
    own.push(...usedByTests);
    const references = JSON.parse(readFileSync(join(folder, "tsconfig.json"), "utf8")).references ?? [];
    const referenced = references.map(({ path }) => path.replace("../", ""));
    for (const missing of own.filter((n) => !referenced.includes(n)))
      problems.push(`packages/${name}/tsconfig.json: no reference to ${missing}`);
    packageGraph.set(name, own);
    const found = circle(files);
    if (found)
      problems.push(
        `packages/${name}: files import each other in a circle: ${found.map((f) => relative(folder, f)).join(" -> ")}`,
      );
  }
  const found = circle(packageGraph);
  if (found) problems.push(`packages import each other in a circle: ${found.join(" -> ")}`);
  return problems;
}

if (process.argv[1] === import.meta.filename) {
  const root = resolve(import.meta.dirname, "..");
  const problems = importProblems(root);
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else
    console.log(
      `imports: ${readdirSync(join(root, "packages")).length} packages keep to the table, no circles`,
    );
}

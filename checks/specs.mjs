// Keeps specs/ true: prints the parts that come from tables in the code, and checks that every file and every test that a
// table names is there.
//
//   node checks/specs.mjs           prints the generated parts anew, then checks
//   node checks/specs.mjs --check   writes nothing; exits with 1 when a generated part is stale or a name is wrong
//
// The tables are imported from the packages' dist/, so `npm run build` comes first.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const here = resolve(import.meta.dirname, "..");

// ---- generated parts ----

const hex = (value, digits = 1) => `0x${value.toString(16).toUpperCase().padStart(digits, "0")}`;
const hex64 = (value) => (value < 10n ? `${value}` : hex(value, value >> 32n === 0n ? 1 : 16));

const table = (head, rows) =>
  [
    `| ${head.join(" | ")} |`,
    `|${head.map(() => "---").join("|")}|`,
    ...rows.map((row) => `| ${row.map((cell) => String(cell).replace(/\|/g, "\\|")).join(" | ")} |`),
  ].join("\n");

/** Features in the order of the leaves; `policy` is the module of the CPUID policy. */
function cpuidFeatures(policy) {
  const registers = [
    ["1 EDX", policy.featuresLeaf1Edx],
    ["1 ECX", policy.featuresLeaf1Ecx],
    ["7.0 EBX", policy.featuresLeaf7Ebx],
    ["7.0 ECX", policy.featuresLeaf7Ecx],
    ["80000001 EDX", policy.featuresExtendedEdx],
    ["80000001 ECX", policy.featuresExtendedEcx],
    ["80000008 EBX", policy.featuresLeaf80000008Ebx],
    ["80000021 EAX", policy.featuresLeaf80000021Eax],
    ["80000021 ECX", policy.featuresLeaf80000021Ecx],
  ];
  const rows = registers.flatMap(([register, features]) =>
    (features ?? []).map(({ bit, name, why }) => [register, bit, name, why]),
  );
  return table(["leaf and register", "bit", "feature", "why"], rows);
}

/** What the leaves that are answered hold, for the third of four processors. */
function cpuidLeaves(policy) {
  const machine = { processors: 4, physicalAddressBits: 40, linearAddressBits: 48 };
  const answer = (leaf, subleaf) => {
    const out = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    policy.answerCpuid(machine, 2, leaf, subleaf, out);
    return [out.eax, out.ebx, out.ecx, out.edx].map((value) => value >>> 0);
  };
  const rows = [];
  for (const first of [0, 0x40000000, 0x80000000]) {
    for (let leaf = first; leaf < first + 0x100; leaf++) {
      const whole = answer(leaf, 0);
      if (whole.every((value) => value === 0)) continue;
      const hasSubleaves = answer(leaf, 1).some((value, i) => value !== whole[i]);
      rows.push([`${hex(leaf)}${hasSubleaves ? ", subleaf 0" : ""}`, ...whole.map((value) => hex(value))]);
      // A list of subleaves ends where EAX and EBX are 0.
      for (let subleaf = 1; hasSubleaves; subleaf++) {
        const values = answer(leaf, subleaf);
        if (values[0] === 0 && values[1] === 0) break;
        rows.push([`${hex(leaf)}, subleaf ${subleaf}`, ...values.map((value) => hex(value))]);
      }
    }
  }
  return table(["leaf", "EAX", "EBX", "ECX", "EDX"], rows);
}

const writes = {
  refuse: () => "#GP",
  ignore: () => "accepted, without effect",
  keep: (rule) => (rule.mask === (1n << 64n) - 1n ? "kept" : `kept within ${hex64(rule.mask)}, else #GP`),
};

/** `policy` is the module of the MSR policy. A rule that the file refuses to read is found by asking it. */
function msrs(policy) {
  const file = new policy.MsrFile();
  const rows = policy.msrRules.map((rule) => {
    const last = rule.msr + (rule.count ?? 1) - 1;
    const readable = file.read(rule.msr, { low: 0, high: 0 });
    return [
      last === rule.msr ? hex(rule.msr) : `${hex(rule.msr)} to ${hex(last)}`,
      rule.name,
      readable ? hex64(rule.reset) : "#GP",
      (writes[rule.write] ?? (() => rule.write))(rule),
      rule.why,
    ];
  });
  return table(["MSR", "name", "reads at first", "a write is", "why"], rows);
}

/** Sizes that an algorithm of the TPM has: of a digest or of keys. */
function algorithmSizes(types, id) {
  const digest = types.digestSizes.get(id);
  if (digest !== undefined) return `${digest} bytes${types.pcrBankHashes.includes(id) ? ", PCR bank" : ""}`;
  const bits = id === types.Alg.RSA ? types.rsaKeyBits : types.symmetricKeyBits.get(id);
  return bits === undefined ? "" : `${bits.join(", ")} bits`;
}

/** The names of `flags`' bits that `value` has. */
const bitNames = (flags, value) =>
  Object.entries(flags).flatMap(([name, bit]) => ((value & bit) === 0 ? [] : [name]));

/** The file of each command's handler: of all that export it, the one that exports the fewest. */
function handlerFiles({ commandFiles, handlers }) {
  const groups = Object.entries(commandFiles)
    .map(([file, module]) => ({ file, own: Object.assign({}, ...Object.values(module)) }))
    .sort((a, b) => Object.keys(a.own).length - Object.keys(b.own).length);
  return new Map(
    Object.entries(handlers).map(([name, handler]) => [
      name,
      groups.find(({ own }) => own[name] === handler)?.file,
    ]),
  );
}

/** Tables of the TPM: from `tpmModules`. */
function tpmParts({ types, pcrGroups, engine, commandFiles }) {
  const { handlers } = commandFiles["index.ts"];
  const { "index.ts": _, ...others } = commandFiles;
  const files = handlerFiles({ commandFiles: others, handlers });
  const implemented = types.commandList.filter(({ name }) => name in handlers);
  const absent = types.commandList.filter(({ name }) => !(name in handlers));

  const flagsOf = (row) =>
    [
      [row.nv, "nv"],
      [row.extensive, "extensive"],
      [row.flushed, "flushed"],
      [row.responseHandle !== undefined, "rHandle"],
      [row.noSessions, "no session"],
      [row.physicalPresence === true, "presence"],
      [row.physicalPresence === false, "may need presence"],
      [row.readOnlyBlocked, "not read-only"],
    ].flatMap(([holds, text]) => (holds ? [text] : []));
  const handlesOf = ({ handleNames, handleList }) =>
    handleNames.map((name, i) => {
      const { role } = handleList[i];
      return role === undefined ? name : `${name} ${role.toUpperCase()}`;
    });
  const commands = implemented.map((row) => [
    hex(row.code, 3),
    row.name,
    row.tier,
    handlesOf(row).join(", "),
    flagsOf(row).join(", "),
    `commands/${files.get(row.name)}`,
  ]);

  const curves = [...types.curveSizes].map(([id, size]) => [
    hex(id, 4),
    Object.entries(types.Curve).find(([, curve]) => curve === id)[0],
    size,
  ]);
  const algorithms = types.implementedAlgorithms.map(({ id, attributes }) => [
    hex(id, 4),
    types.algorithmName(id),
    bitNames(types.AlgAttribute, attributes).join(", "),
    algorithmSizes(types, id),
  ]);

  const ranges = (numbers) => {
    const found = [];
    for (const n of numbers) {
      const last = found.at(-1);
      if (last !== undefined && last[1] === n - 1) last[1] = n;
      else found.push([n, n]);
    }
    return found.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`)).join(", ");
  };
  const pcrNames = new Map(Object.entries(types.PtPcr).map(([name, value]) => [value, name]));
  const pcrs = [...pcrGroups.pcrProperties].map(([property, members]) => [
    hex(property, 2),
    pcrNames.get(property),
    ranges(members),
  ]);

  const bounds = [...Object.entries(engine.defaultLimits), ...Object.entries(types.Max)];
  return [
    ["tpm commands", table(["code", "command", "tier", "handles", "flags", "file"], commands)],
    [
      "tpm commands that are not there",
      table(
        ["code", "command"],
        [...absent, ...types.absentCommands].map(({ name, code }) => [hex(code, 3), name]),
      ),
    ],
    ["tpm algorithms", table(["identifier", "algorithm", "attributes", "sizes"], algorithms)],
    ["tpm curves", table(["identifier", "curve", "bytes of a coordinate"], curves)],
    ["tpm pcr properties", table(["property", "TPM_PT_PCR", "PCR"], pcrs)],
    ["tpm limits", table(["limit", "value"], bounds)],
  ];
}

/** The modules that the TPM's tables come from; `load(package, path)` imports one, its path without an ending. */
export async function tpmModules(load) {
  const files = readdirSync(join(here, "packages/tpm/src/commands"))
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .sort();
  const commandFiles = {};
  for (const file of files) commandFiles[file] = await load("tpm", `commands/${basename(file, ".ts")}`);
  return {
    types: await load("tpm-types", "index"),
    pcrGroups: await load("tpm", "pcr-groups"),
    engine: await load("tpm", "engine"),
    commandFiles,
  };
}

/** Everything that evidence is held against, for people: the tables that the verifiers run by. */
function whatIsChecked({ snpChecks, quoteChecks, hclChecks, svsmChecks, tpmChecks, logChecks }) {
  const groups = [
    ["SEV-SNP reports", snpChecks],
    ["TDX and SGX quotes", quoteChecks],
    ["paravisor (HCL) reports", hclChecks],
    ["SVSM attestation", svsmChecks],
    ["TPM quotes", tpmChecks],
    ["event logs", logChecks],
  ];
  return groups
    .map(
      ([name, checks]) =>
        `<details><summary>${name}: ${Object.keys(checks).length} checks</summary>\n\n${table(
          ["check", "what must hold", "clause"],
          Object.entries(checks).map(([id, { title, spec }]) => [`\`${id}\``, title, spec]),
        )}\n\n</details>`,
    )
    .join("\n\n");
}

/** The generated parts by name. The modules are those of the packages, from dist/ or from the sources. */
export function generatedParts({ explained, cpuid, msr, tpm, attestation }) {
  return new Map([
    ["what is checked", whatIsChecked(attestation)],
    ...tpmParts(tpm),
    ["explained differences", explained.explainedMarkdown().trim()],
    ["cpuid features", cpuidFeatures(cpuid)],
    ["cpuid leaves", cpuidLeaves(cpuid)],
    ["msr rules", msrs(msr)],
  ]);
}

const marker = /<!-- generated: ([^>]*?) -->\n([\s\S]*?)<!-- end of \1 -->/g;

/** `text` with its generated parts printed anew. */
export function print(text, parts) {
  return text.replace(marker, (whole, name) =>
    parts.has(name) ? `<!-- generated: ${name} -->\n\n${parts.get(name)}\n\n<!-- end of ${name} -->` : whole,
  );
}

/** What is wrong with the generated parts of the spec `name`. */
export function stale(name, text, parts) {
  const problems = [];
  const printed = print(text, parts);
  if (printed !== text)
    problems.push(`specs/${name}: a generated part is stale: npm run build && node checks/specs.mjs`);
  const complete = [...text.matchAll(marker)].map((m) => m[1]);
  for (const [, opened] of text.matchAll(/<!-- generated: ([^>]*?) -->/g)) {
    if (!complete.includes(opened)) problems.push(`specs/${name}: the part "${opened}" has no end`);
    else if (!parts.has(opened)) problems.push(`specs/${name}: nothing prints the part "${opened}"`);
  }
  return problems;
}

// ---- files and tests that are named ----

const ignored = new Set(["node_modules", "dist", "build", "coverage"]);

/** All files and folders below `root` that a spec may name, relative to it; folders end in "/". */
export function listTree(root = here) {
  const found = [];
  const walk = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (ignored.has(entry.name) || entry.name.startsWith(".")) continue;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        found.push(`${relative(root, path)}/`);
        walk(path);
      } else found.push(relative(root, path));
    }
  };
  for (const name of ["packages", "checks", "specs", "examples"])
    if (existsSync(join(root, name))) walk(join(root, name));
  return found;
}

const fileName = /(?:[\w.*-]+\/)*[\w.*-]+\.(?:ts|mjs|js|json|md|c|txt|gz)(?![\w.-])/;
const folderName = /(?<=`)(?:[\w.-]+\/)+(?=`)/;
const quoted = /"((?:[^"\\]|\\.)+)"/;

/** The paths of `tree` that `named` may mean: a whole path, or the end of one; `*` stands for part of a name. */
function resolveName(named, tree) {
  const pattern = new RegExp(
    `(?:^|/)${named.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, "[^/]*")}$`,
  );
  return tree.filter((path) => pattern.test(path));
}

/** Titles of the suites and tests in a test file, as they are written. */
export function titlesIn(source) {
  const titles = [];
  // describe("..."), test.each([...])("..."), it.each`...`("..."): a string right behind the parenthesis.
  const call =
    /(?:\b(?:describe|it|test)(?:\.\w+)*|[)`])\s*\(\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)/g;
  for (const [, literal] of source.matchAll(call))
    titles.push(literal.slice(1, -1).replace(/\\(["'`\\])/g, "$1"));
  return titles;
}

const cut = (text) => text.replace(/(?:\.\.\.|…)\s*$/, "");

/** Is `name` a title: whole, its beginning before an ellipsis, or its end behind one? */
function isTitle(name, titles) {
  if (/^(?:\.\.\.|…)/.test(name)) {
    const part = cut(name.replace(/^(?:\.\.\.|…)/, "")).trim();
    return titles.some((title) => title.includes(part));
  }
  const beginning = cut(name).trimEnd();
  return beginning === name ? titles.includes(name) : titles.some((title) => title.startsWith(beginning));
}

/** One line of a table to its cells; `\|` does not part cells. */
function cellsOf(line) {
  return line
    .trim()
    .replace(/^\|/, "")
    .replace(/\|$/, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}

/**
 * What is wrong with the names in the tables of one spec. `read(path)` gives a file's text. `counts` collects how many rows have
 * a test and how many say that they have none.
 */
export function wrongNames(name, text, tree, read, counts = { tested: 0, untested: 0 }) {
  const problems = [];
  const titles = new Map();
  const titlesOf = (path) => {
    if (!titles.has(path)) titles.set(path, titlesIn(read(path)));
    return titles.get(path);
  };
  const testFiles = (names) =>
    names.flatMap((n) => resolveName(n, tree)).filter((path) => path.endsWith(".test.ts"));
  // A test without a file before it is in one of the test files that the spec mentions, or in that of the spec's own name.
  const mentioned = [...new Set([...text.matchAll(/[\w./-]+\.test\.ts/g)].map((m) => m[0]))];
  const byDefault = testFiles([...mentioned, `${basename(name, ".md")}.test.ts`]);
  const everyTest = tree.filter((path) => path.endsWith(".test.ts"));

  const holds = (title, files) => files.some((path) => isTitle(title, titlesOf(path)));
  let columns = [];
  text.split("\n").forEach((line, index, lines) => {
    if (!line.trimStart().startsWith("|")) {
      columns = [];
      return;
    }
    if (/^\s*\|[\s:|-]+\|\s*$/.test(line)) return;
    const cells = cellsOf(line);
    if (columns.length === 0 && /^\s*\|[\s:|-]+\|\s*$/.test(lines[index + 1] ?? "")) {
      columns = cells;
      return;
    }
    const where = `specs/${name}:${index + 1}`;
    cells.forEach((cell, i) => {
      const heading = columns[i] ?? "";
      const isTest = /^test\b/i.test(heading);
      let files = testFiles([...heading.matchAll(new RegExp(fileName, "g"))].map((m) => m[0]));
      if (files.length === 0) files = byDefault.length > 0 ? byDefault : everyTest;
      let other;
      let names = 0;
      const tokens = new RegExp(`${quoted.source}|${folderName.source}|${fileName.source}`, "g");
      for (const [token, title] of cell.matchAll(tokens)) {
        if (title === undefined) {
          const found = resolveName(token, tree);
          if (found.length === 0) problems.push(`${where}: there is no ${token}`);
          const tests = found.filter((path) => path.endsWith(".test.ts"));
          other = tests.length === 0 ? found.filter((path) => !path.endsWith("/")) : undefined;
          if (found.length > 0) files = tests;
          names++;
        } else if (isTest) {
          // Behind a file that is no test file a quoted name is something that the file contains, such as a check's name.
          const right =
            other === undefined
              ? holds(title, files)
              : other.some((path) => read(path).includes(cut(title).trimEnd()));
          if (!right)
            problems.push(
              `${where}: no test "${title}" in ${(other ?? files).map((f) => basename(f)).join(", ") || "any file"}`,
            );
          names++;
        }
      }
      if (!isTest) return;
      if (/\bno test yet\b/.test(cell)) counts.untested++;
      else if (names > 0 || (heading === "Test" && cell !== "")) counts.tested++;
      // "suite: test…; test…": titles without quotes, in the specs of the small devices.
      if (heading === "Test" && names === 0 && cell !== "") {
        for (const item of cell.split(/;\s*/)) {
          const [suite, rest] = item.split(/:\s+(.*)/s);
          const right =
            holds(item, files) || (rest !== undefined && holds(suite, files) && holds(rest, files));
          if (!right)
            problems.push(`${where}: no test "${item}" in ${files.map((f) => basename(f)).join(", ")}`);
        }
      }
    });
  });
  return problems;
}

/** Checks every spec below `root` against `parts`. With `write`, stale parts are printed anew first. */
export function checkSpecs(parts, { root = here, write = false } = {}) {
  const problems = [];
  const counts = { tested: 0, untested: 0 };
  const tree = listTree(root);
  const read = (path) => readFileSync(join(root, path), "utf8");
  const printed = (path) => {
    const text = readFileSync(path, "utf8");
    if (!write) return text;
    const anew = print(text, parts);
    if (anew !== text) writeFileSync(path, anew);
    return anew;
  };
  const readme = join(root, "README.md");
  if (existsSync(readme)) problems.push(...stale("../README.md", printed(readme), parts));
  for (const name of readdirSync(join(root, "specs")).sort()) {
    if (!name.endsWith(".md")) continue;
    const text = printed(join(root, "specs", name));
    problems.push(...stale(name, text, parts), ...wrongNames(name, text, tree, read, counts));
  }
  return { problems, counts };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const write = !process.argv.includes("--check");
  const load = (path) => import(new URL(`../packages/${path}`, import.meta.url).href);
  const parts = generatedParts({
    explained: await load("cpu/dist/src/differential/explained.js"),
    cpuid: await load("paravisor/dist/cpuid-policy.js"),
    msr: await load("paravisor/dist/msr-policy.js"),
    tpm: await tpmModules((name, path) => load(`${name}/dist/${path}.js`)),
    attestation: await load("attestation/dist/index.js"),
  });
  const { problems, counts } = checkSpecs(parts, { write });
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  else
    console.log(
      `specs: every file and test named is there; ${counts.tested} rows name a test, ${counts.untested} say that there is none yet`,
    );
}

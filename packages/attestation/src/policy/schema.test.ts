import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EvidenceError } from "../errors.ts";
import { snpChecks } from "../snp/checks.ts";
import { quoteChecks } from "../tdx/checks.ts";
import { isNamed, isProof, skippableChecks } from "./check-ids.ts";
import { defaultPolicy, parsePolicy, parsePolicyText, policyJsonSchema } from "./schema.ts";

/** The message of the refusal. */
function refusal(policy: unknown): string {
  try {
    if (typeof policy === "string") parsePolicyText(policy);
    else parsePolicy(policy);
  } catch (error) {
    expect(error).toBeInstanceOf(EvidenceError);
    expect(error).toMatchObject({ code: "bad-policy" });
    return (error as EvidenceError).message;
  }
  return "taken";
}

describe("a policy that means something else than it says is refused, by its path", () => {
  const cases: readonly (readonly [what: string, policy: unknown, path: string])[] = [
    ["a member that is not known", { snp: { measurement: ["00"] } }, '/snp: Unrecognized key: "measurement"'],
    ["one on top", { snpp: {} }, 'Unrecognized key: "snpp"'],
    ["a product that is not known", { snp: { minimumTcbOf: { Rome: {} } } }, "/snp/minimumTcbOf"],
    [
      "a component that is not known",
      { snp: { minimumTcb: { current: { ucode: 1 } } } },
      "/snp/minimumTcb/current",
    ],
    ["a bank that is not known", { tpm: { pcrs: { sha3: {} } } }, "/tpm/pcrs"],
    ["a PCR that is none", { tpm: { pcrs: { sha256: { 24: ["00".repeat(32)] } } } }, "/tpm/pcrs/sha256/24"],
    ["a name that is inherited", '{"snp": {"__proto__": {"debug": 1}}}', "/snp/__proto__"],
    [
      "one in a table of names",
      '{"tpm": {"pcrs": {"sha256": {"__proto__": ["00"]}}}}',
      "/tpm/pcrs/sha256/__proto__",
    ],
    ["a member that stands twice", '{"snp": {"vmpls": [0]}, "snp": {}}', "no JSON that can be relied on"],
    ["text behind it", "{} {}", "no JSON that can be relied on"],
    ["no object", "[]", "expected object"],
    ["nothing", undefined, "expected object"],
    ["a list that is undefined", { snp: { chips: undefined } }, "/snp/chips: undefined"],
    ["an empty list", { snp: { chips: [] } }, "/snp/chips"],
    ["a list of images that say nothing", { tdx: { images: [{ name: "image" }] } }, "/tdx/images/0"],
    [
      "a digest that is too short",
      { snp: { measurements: ["00".repeat(47)] } },
      "/snp/measurements/0: 48 bytes",
    ],
    [
      "a digest of another bank",
      { tpm: { pcrs: { sha256: { 0: ["00".repeat(20)] } } } },
      "/tpm/pcrs/sha256/0/0",
    ],
    [
      "an event digest that can match nothing",
      { tpm: { refusedEventDigests: ["0011"] } },
      "/tpm/refusedEventDigests/0",
    ],
    ["a status that is never accepted", { tdx: { tcbStatuses: ["Revoked"] } }, "/tdx/tcbStatuses/0"],
    ["days that are none", { tdx: { graceDays: Number.POSITIVE_INFINITY } }, "/tdx/graceDays"],
    ["a number for a flag", { snp: { guestPolicy: { debug: 0 } } }, "/snp/guestPolicy/debug"],
    ["an advisory that is none", { sgx: { refusedAdvisories: ["SA 837"] } }, "/sgx/refusedAdvisories/0"],
    [
      "a check that does not exist",
      { mayBeSkipped: ["snp.revokation"] },
      '/mayBeSkipped/0: "snp.revokation"',
    ],
    ["a check that is the proof", { mayBeSkipped: ["snp.signature"] }, '/mayBeSkipped/0: "snp.signature"'],
    ["another version", { version: 2 }, "/version"],
  ];
  test.each(cases)("%s", (_what, policy, path) => {
    expect(refusal(policy)).toContain(path);
  });
});

test("what is left out is the secure default", () => {
  expect(parsePolicyText("{}")).toEqual(defaultPolicy);
  expect(defaultPolicy).toMatchObject({
    mayBeSkipped: ["snp.revocation"],
    snp: { guestPolicy: { debug: "forbidden", migrationAgent: "forbidden" } },
    tdx: { tcbStatuses: ["UpToDate"], graceDays: 0, serviceTd: "forbidden" },
    sgx: { tcbStatuses: ["UpToDate"], debug: "forbidden" },
  });
  expect(defaultPolicy.tdx.attributes).toMatchObject({ debug: "forbidden", migratable: "forbidden" });
});

test("kinds that a policy has no section for are not taken, unless it has none or names them", () => {
  expect(defaultPolicy.kinds).toBeUndefined();
  expect(parsePolicy({ mayBeSkipped: [] }).kinds).toBeUndefined();
  expect(parsePolicy({ snp: {} }).kinds).toEqual(["snp", "hcl-snp", "svsm-snp"]);
  expect(parsePolicy({ tdx: {}, sgx: {} }).kinds).toEqual(["tdx", "hcl-tdx", "sgx"]);
  expect(parsePolicy({ snp: {}, kinds: ["snp", "tdx"] }).kinds).toEqual(["snp", "tdx"]);
});

test("hexadecimal is compared in small letters, advisories in capitals", () => {
  const { snp, tpm, tdx } = parsePolicy({
    snp: { hostData: ["AB".repeat(32)] },
    tdx: { refusedAdvisories: ["intel-sa-00837"] },
    tpm: { nonces: ["AB"], refusedEventDigests: ["AB".repeat(20)], pcrs: { sha1: { 7: ["CD".repeat(20)] } } },
  });
  expect(snp.hostData).toEqual(["ab".repeat(32)]);
  expect(tdx.refusedAdvisories).toEqual(["INTEL-SA-00837"]);
  expect(tpm).toMatchObject({
    nonces: ["ab"],
    refusedEventDigests: ["ab".repeat(20)],
    pcrs: { sha1: { 7: ["cd".repeat(20)] } },
  });
});

test("a policy that was taken cannot be changed, and is taken again as it is", () => {
  const policy = parsePolicy({ snp: { vmpls: [0] } });
  expect(() => Object.assign(policy.snp, { vmpls: undefined })).toThrow(TypeError);
  expect(parsePolicy(policy)).toBe(policy);
  expect(parsePolicy(structuredClone(policy))).toEqual(policy);
});

test("any JSON is taken or refused as a policy, and nothing else happens", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (text) => {
      const said = refusal(text);
      expect(said === "taken" || said.includes("policy")).toBe(true);
    }),
    { numRuns: 300 },
  );
});

describe("checks that a policy may let pass", () => {
  test("every check is the proof itself, or may be named", () => {
    for (const id of Object.keys({ ...snpChecks, ...quoteChecks }))
      expect(isProof(id) !== skippableChecks.includes(id), id).toBe(true);
  });
  test("a name holds for evidence that is carried by other evidence, and a longer one for that alone", () => {
    expect(isNamed(["snp.revocation"], "snp.revocation")).toBe(true);
    expect(isNamed(["snp.revocation"], "hcl.snp.revocation")).toBe(true);
    expect(isNamed(["snp.revocation"], "svsm.snp.revocation")).toBe(true);
    expect(isNamed(["hcl.snp.revocation"], "snp.revocation")).toBe(false);
    expect(isNamed(["snp.revocation"], "pck.revocation")).toBe(false);
    expect(isProof("hcl.snp.signature")).toBe(true);
  });
});

/** What is used of JSON Schema (2020-12) in the published schema; anything else there fails the test. */
interface Schema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly propertyNames?: Schema;
  readonly additionalProperties?: Schema | false;
  readonly anyOf?: readonly Schema[];
  readonly description?: string;
  readonly default?: unknown;
}
const annotations = ["$schema", "title", "description", "default"] as const;
type Keyword = Exclude<keyof Schema, (typeof annotations)[number]>;

function conforms(schema: Schema, value: unknown): boolean {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const kind = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  const members = isObject ? Object.entries(value) : [];
  const rules: Readonly<Record<Keyword, () => boolean>> = {
    type: () => kind === schema.type || (schema.type === "integer" && Number.isInteger(value)),
    enum: () => schema.enum?.includes(value) ?? true,
    const: () => value === schema.const,
    pattern: () => typeof value !== "string" || new RegExp(schema.pattern ?? "", "u").test(value),
    minLength: () => typeof value !== "string" || value.length >= (schema.minLength ?? 0),
    maxLength: () => typeof value !== "string" || value.length <= (schema.maxLength ?? 0),
    minimum: () => typeof value !== "number" || value >= (schema.minimum ?? 0),
    maximum: () => typeof value !== "number" || value <= (schema.maximum ?? 0),
    minItems: () => !Array.isArray(value) || value.length >= (schema.minItems ?? 0),
    items: () => !Array.isArray(value) || value.every((item) => conforms(schema.items ?? {}, item)),
    properties: () => members.every(([name, member]) => conforms(schema.properties?.[name] ?? {}, member)),
    required: () => !isObject || (schema.required ?? []).every((name) => Object.hasOwn(value, name)),
    propertyNames: () => members.every(([name]) => conforms(schema.propertyNames ?? {}, name)),
    additionalProperties: () =>
      members
        .filter(([name]) => schema.properties === undefined || !Object.hasOwn(schema.properties, name))
        .every(([, member]) =>
          schema.additionalProperties === false ? false : conforms(schema.additionalProperties ?? {}, member),
        ),
    anyOf: () => (schema.anyOf ?? []).some((one) => conforms(one, value)),
  };
  return Object.keys(schema)
    .filter((keyword) => !(annotations as readonly string[]).includes(keyword))
    .every((keyword) => rules[keyword as Keyword]());
}

/** JSON pointers of every member, down to those that have none, and what the schema lists for it. */
function members(schema: Schema, at: readonly string[] = []): (readonly string[])[] {
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, member]) =>
    members(member, [...at, name]),
  );
  const { additionalProperties: each, propertyNames } = schema;
  if (typeof each === "object")
    for (const name of propertyNames?.enum ?? ["7", "24"])
      below.push(...members(each, [...at, String(name)]));
  return [at, ...below];
}

test("the published schema and the code take and refuse the same values of every member", () => {
  const schema = policyJsonSchema() as Schema;
  const bytes = [6, 8, 16, 20, 32, 48, 64].map((size) => "aB".repeat(size));
  const images = [
    { name: "x" },
    { name: "x", measurement: bytes[5] },
    { name: "x", rtmr1: bytes[5] },
    { name: "x", rtmr9: bytes[5] },
  ];
  const words = [
    "any",
    "required",
    "refused",
    "1.55",
    "1.x",
    "",
    "Milan",
    "UpToDate",
    "Revoked",
    "INTEL-SA-00837",
    "snp",
    "snp.revocation",
    "snp.chain",
  ];
  const values = [
    null,
    true,
    0,
    1,
    1.5,
    -1,
    256,
    65_536,
    4_294_967_296,
    3651,
    {},
    { debug: "any" },
    { x: 1 },
    ...words,
    ...bytes,
  ];
  const pool = [...values, [], ...values.map((value) => [value]), ...images.map((one) => [one])];
  // The levels of all TCBs and products are one schema.
  const repeated = /^snp,minimumTcb(Of,(Milan|Genoa))?,(current|reported|committed),/;
  const pointers = members(schema).filter((path) => path.length > 0 && !repeated.test(path.join()));
  expect(pointers.length).toBeGreaterThan(90);
  const isTaken = (policy: unknown): boolean => {
    try {
      return parsePolicy(policy) !== undefined;
    } catch {
      return false;
    }
  };
  const judged = pointers.flatMap((path) =>
    pool.map((value) => {
      const policy = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
      return { policy, taken: isTaken(policy), conforms: conforms(schema, policy) };
    }),
  );
  expect(judged.filter(({ taken, conforms }) => taken !== conforms)).toEqual([]);
  expect(judged.filter(({ taken }) => taken).length).toBeGreaterThan(pointers.length);
});

// ENTRESOL_PRINT_SCHEMA=1 writes it anew.
test("policy.schema.json is the schema of the code", () => {
  const path = join(import.meta.dirname, "..", "..", "policy.schema.json");
  const schema = `${JSON.stringify(policyJsonSchema(), null, 2)}\n`;
  if (process.env["ENTRESOL_PRINT_SCHEMA"] === "1") writeFileSync(path, schema);
  expect(JSON.parse(readFileSync(path, "utf8"))).toEqual(JSON.parse(schema));
});

/** What a member may be, in words. */
function wordsFor(schema: Schema): string {
  const { type, pattern, items, minimum, maximum } = schema;
  if (schema.enum !== undefined) return schema.enum.join(", ");
  if (schema.const !== undefined) return String(schema.const);
  if (items !== undefined) return items.properties ? "list of objects" : `list of: ${wordsFor(items)}`;
  const hexadecimal = /^\^\[0-9a-fA-F\]\{(\d+)\}\$$/.exec(pattern ?? "")?.[1];
  if (hexadecimal !== undefined) return `${Number(hexadecimal) / 2} bytes, hexadecimal`;
  if (pattern?.includes("0-9a-fA-F")) return "hexadecimal";
  if (type !== "integer" && type !== "number") return "text";
  return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? "number" : `${minimum} to ${maximum}`;
}

/** A row for each member that has no members of its own; levels and PCRs once. */
function memberRows(schema: Schema, at = "", said = ""): string[] {
  const about = schema.description ?? said;
  const below = Object.entries(schema.properties ?? {});
  if (below.length > 0)
    return below.flatMap(([name, member]) => memberRows(member, `${at}/${name}`, at === "" ? "" : about));
  const { additionalProperties: each, propertyNames } = schema;
  if (typeof each === "object") {
    const names = (propertyNames?.enum as readonly string[] | undefined)?.join("\\|") ?? "0…23";
    return memberRows(each, `${at}/(${names})`, about);
  }
  const shown = schema.default === undefined ? "" : `\`${JSON.stringify(schema.default)}\``;
  return [`| ${at} | ${wordsFor(schema)} | ${shown} | ${about} |`];
}

// ENTRESOL_PRINT_SCHEMA=1 writes it anew.
test("the members in specs/policy.md are those of the schema", () => {
  const path = join(import.meta.dirname, "../../../../specs/policy.md");
  const text = readFileSync(path, "utf8");
  const rows = memberRows(policyJsonSchema() as Schema).filter(
    (row) => !/minimumTcb[^,]*\/(reported|committed|launch)\//.test(row),
  );
  const table = ["| member | value | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
  const wanted = text.replace(
    /(<!-- policy members -->\n)[\s\S]*?(\n<!-- end of policy members -->)/,
    (_, from: string, to: string) => `${from}\n${table}\n${to}`,
  );
  if (process.env["ENTRESOL_PRINT_SCHEMA"] === "1") writeFileSync(path, wanted);
  expect(wanted).toContain(rows[0]);
  expect(readFileSync(path, "utf8")).toBe(wanted);
});

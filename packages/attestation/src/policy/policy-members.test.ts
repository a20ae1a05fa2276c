import { describe, expect, test } from "vitest";
import { appraise } from "../appraise.ts";
import type { Outcome, Verified } from "../outcome.ts";
import { verifySnp } from "../snp/verify.ts";
import { verifySgx, verifyTdx } from "../tdx/verify.ts";
import { type PlatformInput, platform, platformTime } from "../testing/quote-evidence.ts";
import { type ChipInput, chip } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import { type PolicyInput, policyJsonSchema } from "./schema.ts";
import { categoryOfRule } from "./trust-vector.ts";

/* Every member of a policy, held against evidence that it lets pass and against evidence that it refuses. */

const repeated = (byte: number, length: number): Uint8Array => new Uint8Array(length).fill(byte);
const hex = (byte: number, length: number): string => byte.toString(16).padStart(2, "0").repeat(length);
const sound = ({ verified, checks }: Outcome): Verified => {
  expect(checks.filter(({ result }) => result === "failed")).toEqual([]);
  return verified as Verified;
};

async function guest(input: ChipInput): Promise<Verified> {
  const made = chip({ crl: {}, ...input });
  return sound(await verifySnp(made, { at: platformTime, roots: [anchorOf(made.certificates[2])] }));
}
async function td(input: PlatformInput): Promise<Verified> {
  const made = platform({ version: 5, bodyType: 3, ...input });
  return sound(await verifyTdx(made, { at: platformTime, roots: made.roots }));
}
async function enclave(input: PlatformInput): Promise<Verified> {
  const made = platform({ version: 3, ...input });
  return sound(await verifySgx(made, { at: platformTime, roots: made.roots }));
}

/** A member by its JSON pointer, a value of it, evidence that it lets pass, evidence that it refuses. */
type Row<Input> = readonly [member: string, value: unknown, good: Input, bad: Input];

const chipIds = [...Array(64).keys()].map((i) => (i + 1).toString(16).padStart(2, "0")).join("");
const policyBit = (bit: number): ChipInput => ({ report: { policy: 0x2_0000n | (1n << BigInt(bit)) } });
const platformBit = (bit: number): ChipInput => ({ report: { platformInfo: 1n << BigInt(bit) } });
/** A flag is tested in both senses. */
const flagRows = <Input>(member: string, on: Input, off: Input): Row<Input>[] => [
  [member, "required", on, off],
  [member, "forbidden", off, on],
];
const noBits: ChipInput = { report: { policy: 0x2_0000n, platformInfo: 0n } };
const high = { bootloader: 4, tee: 1, snp: 22, microcode: 0xdb, fmc: 2 };
const current: ChipInput = { line: "Turin", tcb: high };
/** Every level of every TCB, with the same evidence for all that a component is in. */
const level = (name: keyof typeof high): Row<ChipInput>[] => {
  const old: ChipInput = { line: "Turin", tcb: { ...high, [name]: high[name] - 1 } };
  return (["current", "reported", "committed", "launch"] as const).flatMap((which): Row<ChipInput>[] => [
    [`/snp/minimumTcb/${which}/${name}`, high[name], current, old],
    [`/snp/minimumTcbOf/Turin/${which}/${name}`, high[name], current, old],
  ]);
};

const snpRows: readonly Row<ChipInput>[] = [
  ["/snp/products", ["Genoa", "Turin"], {}, { line: "Milan" }],
  ["/snp/chips", [chipIds.toUpperCase()], {}, { kind: "vlek" }],
  ["/snp/signingKeys", ["vcek"], {}, { kind: "vlek" }],
  ["/snp/signingKeys", ["vlek"], { kind: "vlek" }, {}],
  [
    "/snp/cspIds",
    ["a cloud"],
    { kind: "vlek" },
    {
      kind: "vlek",
      extensions: (good) =>
        good.map((one) =>
          one.id.endsWith(".3704.1.5") ? { ...one, value: Uint8Array.of(0x16, 1, 0x62) } : one,
        ),
    },
  ],
  ...(["bootloader", "tee", "snp", "microcode", "fmc"] as const).flatMap(level),
  [
    "/snp/provisionalFirmware",
    "refused",
    {},
    { report: { currentTcb: Uint8Array.of(5, 1, 0, 0, 0, 0, 22, 0xdb) } },
  ],
  ...flagRows("/snp/guestPolicy/debug", policyBit(19), noBits),
  ...flagRows("/snp/guestPolicy/migrationAgent", policyBit(18), noBits),
  ...flagRows("/snp/guestPolicy/smt", policyBit(16), noBits),
  ...flagRows("/snp/guestPolicy/singleSocket", policyBit(20), noBits),
  ...flagRows("/snp/guestPolicy/cxl", policyBit(21), noBits),
  ...flagRows("/snp/guestPolicy/aes256Xts", policyBit(22), noBits),
  ...flagRows("/snp/guestPolicy/raplDisabled", policyBit(23), noBits),
  ...flagRows("/snp/guestPolicy/ciphertextHiding", policyBit(24), noBits),
  ...flagRows("/snp/guestPolicy/pageSwapDisabled", policyBit(25), noBits),
  ["/snp/guestPolicy/unknownBits", "refused", {}, policyBit(40)],
  [
    "/snp/guestPolicy/minimumAbi",
    "1.55",
    { report: { policy: 0x2_0137n } },
    { report: { policy: 0x2_0136n } },
  ],
  [
    "/snp/guestPolicy/minimumAbi",
    "1.55",
    { report: { policy: 0x2_0200n } },
    { report: { policy: 0x2_00ffn } },
  ],
  ...[
    "smt",
    "tsme",
    "ecc",
    "raplDisabled",
    "ciphertextHiding",
    "aliasCheckComplete",
    "iommuWriteSafe",
    "trustedIo",
  ].flatMap((name, bit) => flagRows(`/snp/platform/${name}`, platformBit(bit), noBits)),
  ["/snp/platform/unknownBits", "refused", {}, platformBit(20)],
  [
    "/snp/requiredMitigations",
    "0000000000000005",
    { report: { version: 5, currentMitigationVector: 7n, launchMitigationVector: 5n } },
    { report: { version: 5, currentMitigationVector: 7n, launchMitigationVector: 4n } },
  ],
  [
    "/snp/requiredMitigations",
    "0000000000000001",
    { report: { version: 5, currentMitigationVector: 1n, launchMitigationVector: 1n } },
    {},
  ],
  ["/snp/vmpls", [0, 1], { report: { vmpl: 1 } }, { report: { vmpl: 2 } }],
  ["/snp/minimumGuestSvn", 3, { report: { guestSvn: 3 } }, { report: { guestSvn: 2 } }],
  ["/snp/measurements", [hex(0xcd, 48)], {}, { report: { measurement: repeated(1, 48) } }],
  [
    "/snp/images",
    [{ name: "image", measurement: hex(0xcd, 48) }],
    {},
    { report: { measurement: repeated(1, 48) } },
  ],
  ["/snp/hostData", [hex(1, 32), hex(2, 32)], { report: { hostData: repeated(2, 32) } }, {}],
  ["/snp/reportData", [hex(0xab, 64)], {}, { report: { reportData: repeated(1, 64) } }],
  ["/snp/familyIds", [hex(3, 16)], { report: { familyId: repeated(3, 16) } }, {}],
  ["/snp/imageIds", [hex(4, 16)], { report: { imageId: repeated(4, 16) } }, {}],
  ["/snp/idKeyDigests", [hex(5, 48)], { report: { idKeyDigest: repeated(5, 48) } }, {}],
  ["/snp/authorKeyDigests", [hex(6, 48)], { report: { flags: 1, authorKeyDigest: repeated(6, 48) } }, {}],
];

const swHardening: PlatformInput = {
  sgx: (sgx) => {
    sgx.components[4] = 3;
    sgx.cpuSvn = Uint8Array.from(sgx.components);
  },
};
const outOfDate: PlatformInput = { qe: { isvSvn: 2 } };
const configured = (
  configuration: Partial<{ dynamic: boolean; cachedKeys: boolean; smt: boolean }>,
): PlatformInput => ({
  sgx: (sgx) => {
    sgx.configuration = { dynamic: false, cachedKeys: false, smt: false, ...configuration };
  },
});
const numbered = (tcbInfo: number, qeIdentity: number): PlatformInput => ({
  tcbInfo: (info) => {
    info.tcbEvaluationDataNumber = tcbInfo;
  },
  qeIdentity: (identity) => {
    identity.tcbEvaluationDataNumber = qeIdentity;
  },
});
const quoteRows = (
  base: "/tdx" | "/sgx",
  reportData: (byte: number) => PlatformInput,
): Row<PlatformInput>[] => [
  [`${base}/tcbStatuses`, ["UpToDate"], {}, swHardening],
  [`${base}/tcbStatuses`, ["UpToDate", "SWHardeningNeeded"], swHardening, outOfDate],
  // 2024-01-01 to 2026-06-01.
  [
    `${base}/graceDays`,
    882,
    outOfDate,
    {
      qe: { isvSvn: 2 },
      qeIdentity: ({ tcbLevels }) => Object.assign(tcbLevels[1] ?? {}, { tcbDate: "2023-12-31T23:59:59Z" }),
    },
  ],
  [`${base}/refusedAdvisories`, ["intel-sa-99970"], {}, { ...outOfDate }],
  [`${base}/minimumEvaluationDataNumber`, 20, {}, numbered(19, 20)],
  [`${base}/minimumEvaluationDataNumber`, 20, numbered(21, 20), numbered(20, 19)],
  [
    `${base}/fmspcs`,
    ["00A0B0C0D0E0"],
    {},
    {
      sgx: (sgx) => {
        sgx.fmspc = repeated(7, 6);
      },
      tcbInfo: (info) => {
        info.fmspc = hex(7, 6);
      },
    },
  ],
  [`${base}/reportData`, [hex(0xab, 64)], reportData(0xab), reportData(1)],
  ...flagRows(`${base}/dynamicPlatform`, configured({ dynamic: true }), configured({})),
  ...flagRows(`${base}/cachedKeys`, configured({ cachedKeys: true }), configured({})),
  ...flagRows(`${base}/smt`, configured({ smt: true }), configured({})),
  // A certificate that does not say is neither.
  [`${base}/smt`, "forbidden", configured({}), { ca: "Processor" }],
  [`${base}/smt`, "required", configured({ smt: true }), { ca: "Processor" }],
];

const tdField = (name: string, byte: number, length = 48): PlatformInput => ({
  td: { [name]: repeated(byte, length) },
});
const attribute = (bit: number): PlatformInput => ({ td: { tdAttributes: 1n << BigInt(bit) } });
const noAttributes: PlatformInput = { td: { tdAttributes: 0n } };
const noServiceTd = [hex(0, 48)];
const tdxRows: readonly Row<PlatformInput>[] = [
  ...quoteRows("/tdx", (byte) => tdField("reportData", byte, 64)),
  ...[0, 4, 5, 6].flatMap((bit) => flagRows("/tdx/attributes/debug", attribute(bit), noAttributes)),
  ...(
    [
      ["icssd", 16],
      ["lass", 27],
      ["septVeDisable", 28],
      ["migratable", 29],
      ["pks", 30],
      ["keyLocker", 31],
      ["tpa", 62],
      ["perfmon", 63],
    ] as const
  ).flatMap(([name, bit]) => flagRows(`/tdx/attributes/${name}`, attribute(bit), noAttributes)),
  ["/tdx/xfam/required", "0000000000000003", { td: { xfam: 7n } }, { td: { xfam: 5n } }],
  ["/tdx/xfam/allowed", "00000000000000e7", { td: { xfam: 0xe7n } }, { td: { xfam: 0x2_00e7n } }],
  ["/tdx/serviceTd", "forbidden", {}, { td: { mrServiceTd: Uint8Array.of(...repeated(0, 47), 1) } }],
  ["/tdx/mrServiceTds", [hex(8, 48)], tdField("mrServiceTd", 8), tdField("mrServiceTd", 9)],
  // A report of TDX 1.0 does not tell.
  ["/tdx/mrServiceTds", noServiceTd, {}, { version: 4, bodyType: 2 }],
  ["/tdx/mrTds", [hex(0x44, 48)], {}, tdField("mrTd", 1)],
  [
    "/tdx/images",
    [{ name: "image", mrTd: hex(0x44, 48), rtmr2: hex(5, 48) }],
    tdField("rtmr2", 5),
    tdField("rtmr2", 6),
  ],
  ...(
    [
      ["rtmr0", "rtmr0"],
      ["rtmr1", "rtmr1"],
      ["rtmr2", "rtmr2"],
      ["rtmr3", "rtmr3"],
      ["mrConfigIds", "mrConfigId"],
      ["mrOwners", "mrOwner"],
      ["mrOwnerConfigs", "mrOwnerConfig"],
      ["mrSeams", "mrSeam"],
    ] as const
  ).map(
    ([member, field]): Row<PlatformInput> => [
      `/tdx/${member}`,
      [hex(9, 48)],
      tdField(field, 9),
      tdField(field, 8),
    ],
  ),
  [
    "/tdx/mrSignerSeams",
    [hex(0, 48)],
    {},
    {
      ...tdField("mrSignerSeam", 2),
      tcbInfo: (info) => {
        for (const identity of info.tdxModuleIdentities ?? []) identity.mrsigner = hex(2, 48);
      },
    },
  ],
  [
    "/tdx/minimumTeeTcbSvn",
    `060103${hex(0, 13)}`,
    {},
    {
      td: { teeTcbSvn: Uint8Array.of(6, 1, 2, ...repeated(0, 13)) },
      tcbInfo: ({ tcbLevels }) => {
        for (const one of tcbLevels) one.tcb.tdxtcbcomponents = repeatedComponents();
      },
    },
  ],
];
function repeatedComponents(): { svn: number }[] {
  return Array.from({ length: 16 }, () => ({ svn: 0 }));
}

const sgxRows: readonly Row<PlatformInput>[] = [
  ...quoteRows("/sgx", (byte) => ({ enclave: { reportData: repeated(byte, 64) } })),
  ...flagRows("/sgx/debug", { enclave: { attributeFlags: 7n } }, {}),
  ["/sgx/mrEnclaves", [hex(0x33, 32)], {}, { enclave: { mrEnclave: repeated(1, 32) } }],
  ["/sgx/mrSigners", [hex(0, 32)], {}, { enclave: { mrSigner: repeated(1, 32) } }],
  ["/sgx/isvProdIds", [1, 2], { enclave: { isvProdId: 2 } }, { enclave: { isvProdId: 3 } }],
  ["/sgx/minimumIsvSvn", 4, { enclave: { isvSvn: 4 } }, { enclave: { isvSvn: 3 } }],
];

/** A policy with one member set, and with what else the row's evidence must not be refused for. */
function policyOf(pointer: string, value: unknown): PolicyInput {
  const policy: Record<string, unknown> = {};
  let at = policy;
  const path = pointer.slice(1).split("/");
  for (const name of path.slice(0, -1)) {
    const inner = {};
    at[name] = inner;
    at = inner;
  }
  at[path.at(-1) as string] = value;
  if (pointer.endsWith("graceDays")) return policy as PolicyInput;
  const tolerant = (section: "tdx" | "sgx") => {
    if (!pointer.startsWith(`/${section}`) || pointer.endsWith("tcbStatuses")) return;
    const own = policy[section] as Record<string, unknown>;
    own["tcbStatuses"] = ["UpToDate", "OutOfDate"];
  };
  tolerant("tdx");
  tolerant("sgx");
  return policy as PolicyInput;
}

/** The rule that gives the reason: grace is part of the rule of statuses. */
const ruleOf = (member: string): string => member.replace("graceDays", "tcbStatuses");

function decides<Input>(rows: readonly Row<Input>[], verify: (input: Input) => Promise<Verified>) {
  const known = new Map<Input, Promise<Verified>>();
  const verified = (input: Input) => {
    const made = known.get(input) ?? verify(input);
    known.set(input, made);
    return made;
  };
  test.each(rows.map((row) => [...row] as const))("%s = %j", async (member, value, good, bad) => {
    const policy = policyOf(member, value);
    const yes = appraise(await verified(good), policy);
    expect(yes.reasons.filter(({ holds }) => !holds)).toEqual([]);
    expect(yes.verdict).toBe("accepted");
    expect(yes.reasons.map(({ rule }) => rule)).toContain(ruleOf(member));
    const no = appraise(await verified(bad), policy);
    expect(no.verdict).toBe("rejected");
    const reasons = no.reasons.filter(({ holds }) => !holds);
    expect([...new Set(reasons.map(({ rule }) => rule))]).toEqual([ruleOf(member)]);
    const checks = (await verified(bad)).checks.map(({ id }) => id);
    for (const { spec, check, unknown, places } of reasons) {
      expect(spec).not.toBe("");
      // Evaluation numbers stand in the collateral; a report of TDX 1.0 has no place for a service TD.
      const hasNone = member.endsWith("minimumEvaluationDataNumber") || value === noServiceTd;
      expect(places.length > 0).toBe(!hasNone);
      expect(checks).toContain(check);
      expect(unknown).toBe(false);
    }
  });
}

describe("a member lets pass what it names, and refuses all else", () => {
  describe("of an SNP guest", () => decides(snpRows, guest));
  describe("of a TD", () => decides(tdxRows, td));
  describe("of an SGX enclave", () => decides(sgxRows, enclave));
});

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | false;
  readonly propertyNames?: { readonly enum?: readonly string[] };
}

/** Pointers of the members of a schema that have no members of their own. */
function leaves(node: SchemaNode, at = ""): string[] {
  if (node.properties !== undefined)
    return Object.entries(node.properties).flatMap(([name, member]) => leaves(member, `${at}/${name}`));
  if (typeof node.additionalProperties === "object")
    return (node.propertyNames?.enum ?? ["*"]).flatMap((name) =>
      leaves(node.additionalProperties as SchemaNode, `${at}/${name}`),
    );
  return [at];
}

test("no member of the schema is without a row above, so none goes unenforced", () => {
  const tested = new Set([...snpRows, ...tdxRows, ...sgxRows].map(([member]) => member));
  // The levels of every product are read by the same lines.
  const members = leaves(policyJsonSchema() as SchemaNode).filter(
    (member) => /^\/(snp|tdx|sgx)\//.test(member) && !/minimumTcbOf\/(Milan|Genoa)/.test(member),
  );
  expect(members.length).toBeGreaterThan(100);
  // Names of images are put in before; what is left of them is refused (appraise.test.ts).
  expect(members.filter((member) => !tested.has(member) && !member.endsWith("/measurementsFrom"))).toEqual(
    [],
  );
});

test("every member speaks of a category of the trust vector, but for those that bind evidence to a request", () => {
  const silent = leaves(policyJsonSchema() as SchemaNode).filter(
    (member) => categoryOfRule(ruleOf(member)) === undefined,
  );
  const general = ["/version", "/name", "/kinds", "/mayBeSkipped"];
  expect(silent).toEqual([
    ...general,
    "/snp/reportData",
    "/tdx/reportData",
    "/sgx/reportData",
    "/tpm/nonces",
  ]);
  expect(categoryOfRule("/tpm/pcrs/sha256/7")).toBe("executables");
  expect(categoryOfRule("/tdx/attributes/debug")).toBe("configuration");
});

test("each reason names the bytes that decide, the clause that gives them their meaning, and the check that vouches for them", async () => {
  const policy: PolicyInput = { snp: { measurements: [hex(0xcd, 48)] } };
  const { reasons } = appraise(await guest({}), policy);
  expect(reasons.find(({ rule }) => rule === "/snp/measurements")).toEqual({
    rule: "/snp/measurements",
    holds: true,
    unknown: false,
    detail: `measurement is ${hex(0xcd, 48)}`,
    places: [{ input: "report", offset: 0x90, length: 48 }],
    spec: expect.stringContaining("ATTESTATION_REPORT"),
    check: "snp.signature",
  });
});

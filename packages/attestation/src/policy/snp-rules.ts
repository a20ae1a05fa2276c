import type { SnpReport } from "@entresol/evidence";
import type { SnpClaims } from "../snp/evidence.ts";
import type { Flag, Rules, Source } from "./rules.ts";
import type { Policy } from "./schema.ts";

type SnpPolicy = Policy["snp"];

const guestBits = {
  debug: "DEBUG",
  migrationAgent: "MIGRATE_MA",
  smt: "SMT",
  singleSocket: "SINGLE_SOCKET",
  cxl: "CXL_ALLOW",
  aes256Xts: "MEM_AES_256_XTS",
  raplDisabled: "RAPL_DIS",
  ciphertextHiding: "CIPHERTEXT_HIDING",
  pageSwapDisabled: "PAGE_SWAP_DISABLE",
} as const;

const platformBits = {
  smt: "SMT_EN",
  tsme: "TSME_EN",
  ecc: "ECC_EN",
  raplDisabled: "RAPL_DIS",
  ciphertextHiding: "CIPHERTEXT_HIDING_DRAM_EN",
  aliasCheckComplete: "ALIAS_CHECK_COMPLETE",
  iommuWriteSafe: "IOMMU_WRITE_SAFE",
  trustedIo: "TIO_EN",
} as const;

/** Fields that a policy lists values of, by the policy's member. */
const listedFields = {
  chips: "chipId",
  measurements: "measurement",
  hostData: "hostData",
  reportData: "reportData",
  familyIds: "familyId",
  imageIds: "imageId",
  idKeyDigests: "idKeyDigest",
  authorKeyDigests: "authorKeyDigest",
} as const;

const tcbFields = {
  current: "currentTcb",
  reported: "reportedTcb",
  committed: "committedTcb",
  launch: "launchTcb",
} as const;

/** The demands of a policy on an SNP report. `input` names the report among the inputs, `prefix` goes before the ids of its checks. */
export function snpRules(
  policy: SnpPolicy,
  claims: SnpClaims,
  rules: Rules,
  input = "report",
  prefix = "",
): void {
  const { report, line, tcb } = claims;
  const { fields } = report;
  const of = (path: string, check = "snp.signature"): Source =>
    sourceOf(report, input, path, `${prefix}${check}`);
  const at = (rule: string) => `/snp/${rule}`;
  if (report.policy.bits.has("DEBUG")) rules.debuggable = true;

  rules.listed(at("products"), policy.products, line, "the product", of("cpuidFamily", "snp.product"));
  rules.listed(
    at("signingKeys"),
    policy.signingKeys,
    claims.signingKey,
    "the signing key",
    of("flags", "snp.signing-key"),
  );
  if (claims.signingKey === "vlek")
    rules.listed(
      at("cspIds"),
      policy.cspIds,
      claims.cspId,
      "the provider of the VLEK",
      of("flags", "snp.key.extensions"),
    );
  for (const [member, name] of Object.entries(guestBits))
    rules.flag(
      at(`guestPolicy/${member}`),
      policy.guestPolicy[member as keyof typeof guestBits] as Flag,
      report.policy.bits.has(name),
      `${name} of the guest's policy`,
      of("policy"),
    );
  for (const [member, name] of Object.entries(platformBits))
    rules.flag(
      at(`platform/${member}`),
      policy.platform[member as keyof typeof platformBits] as Flag,
      report.platformInfo.has(name),
      `${name} of the platform`,
      of("platformInfo"),
    );
  unknownBits(
    at("guestPolicy/unknownBits"),
    policy.guestPolicy.unknownBits,
    report,
    "policy",
    rules,
    of("policy"),
  );
  unknownBits(
    at("platform/unknownBits"),
    policy.platform.unknownBits,
    report,
    "platformInfo",
    rules,
    of("platformInfo"),
  );
  const { minimumAbi } = policy.guestPolicy;
  if (minimumAbi !== undefined) {
    const [major, minor] = minimumAbi.split(".").map(Number) as [number, number];
    const { abiMajor, abiMinor } = report.policy;
    const holds = abiMajor > major || (abiMajor === major && abiMinor >= minor);
    rules.add(
      at("guestPolicy/minimumAbi"),
      holds,
      `the guest's policy demands firmware ABI ${abiMajor}.${abiMinor}${holds ? "" : `, below ${minimumAbi}`}`,
      of("policy"),
    );
  }
  rules.allowed(
    at("provisionalFirmware"),
    policy.provisionalFirmware,
    claims.provisionalFirmware,
    claims.provisionalFirmware
      ? "the current TCB is above the committed one: the firmware can be taken back"
      : "the current TCB is committed",
    of("currentTcb", "snp.tcb.order"),
  );

  for (const which of Object.keys(tcbFields) as (keyof typeof tcbFields)[])
    for (const [from, minimum] of [
      ["minimumTcb", policy.minimumTcb[which]],
      [`minimumTcbOf/${line}`, line && policy.minimumTcbOf[line]?.[which]],
    ] as const)
      for (const name of Object.keys(minimum ?? {}) as (keyof NonNullable<typeof minimum>)[])
        rules.atLeast(
          at(`${from}/${which}/${name}`),
          minimum?.[name],
          tcb?.[which][name],
          `the ${name} level of the ${which} TCB`,
          of(tcbFields[which]),
        );
  if (line === undefined && Object.keys(policy.minimumTcbOf).length > 0)
    rules.open(at("minimumTcbOf"), "the product is not known", of("cpuidFamily", "snp.product"));

  for (const [member, field] of Object.entries(listedFields) as [
    keyof typeof listedFields,
    (typeof listedFields)[keyof typeof listedFields],
  ][])
    rules.oneOf(
      at(member),
      policy[member],
      fields[field],
      field,
      of(field, field === "chipId" && claims.signingKey === "vcek" ? "snp.key.chip" : "snp.signature"),
    );
  rules.image("/snp", policy, { measurement: fields.measurement }, of("measurement"));
  rules.listed(at("vmpls"), policy.vmpls, fields.vmpl, "the VMPL", of("vmpl"));
  rules.atLeast(
    at("minimumGuestSvn"),
    policy.minimumGuestSvn,
    fields.guestSvn,
    "the guest's SVN",
    of("guestSvn"),
  );
  if (policy.requiredMitigations !== undefined) {
    const wanted = BigInt(`0x${policy.requiredMitigations}`);
    for (const field of ["currentMitigationVector", "launchMitigationVector"] as const) {
      const found = fields.version >= 5 ? fields[field] : 0n;
      const holds = (found & wanted) === wanted;
      rules.add(
        at("requiredMitigations"),
        holds,
        `${field} is 0x${found.toString(16)}${holds ? "" : `, without 0x${(wanted & ~found).toString(16)}`}`,
        of(field),
      );
    }
  }
}

function sourceOf(report: SnpReport, input: string, path: string, check: string): Source {
  const field = report.map.get(path);
  if (field === undefined) return { places: [], spec: "SEV-SNP ABI 56860, ATTESTATION_REPORT", check };
  return { places: [{ input, offset: field.offset, length: field.length }], spec: field.spec, check };
}

function unknownBits(
  rule: string,
  wanted: "allowed" | "refused",
  report: SnpReport,
  path: string,
  rules: Rules,
  source: Source,
): void {
  const found = report.findings.find((finding) => finding.kind === "unknown-bits" && finding.path === path);
  rules.allowed(rule, wanted, found !== undefined, found?.detail ?? "no unknown bits", source);
}

import { namesOfBits, type Quote, tdAttributeBits } from "@entresol/evidence";
import type { TcbStatus } from "../outcome.ts";
import { quoteChecks } from "../tdx/checks.ts";
import type { QuoteClaims } from "../tdx/evidence.ts";
import type { Rules, Source } from "./rules.ts";
import type { Policy } from "./schema.ts";

const DAY = 86_400_000;

/** Attributes that let the host look into the TD: bits 0 to 7. */
const UNDER_DEBUG = 0xffn;

const tdFields = {
  mrTds: "mrTd",
  rtmr0: "rtmr0",
  rtmr1: "rtmr1",
  rtmr2: "rtmr2",
  rtmr3: "rtmr3",
  mrConfigIds: "mrConfigId",
  mrOwners: "mrOwner",
  mrOwnerConfigs: "mrOwnerConfig",
  mrSeams: "mrSeam",
  mrSignerSeams: "mrSignerSeam",
  reportData: "reportData",
} as const;

const attributeBits = {
  septVeDisable: "SEPT_VE_DISABLE",
  migratable: "MIGRATABLE",
  pks: "PKS",
  keyLocker: "KL",
  perfmon: "PERFMON",
  lass: "LASS",
  icssd: "ICSSD",
  tpa: "TPA",
} as const;

/** The demands of a policy on a TD quote. `at`: the time judged for. */
export function tdxRules(
  policy: Policy["tdx"],
  claims: QuoteClaims,
  at: number,
  rules: Rules,
  input = "quote",
  prefix = "",
): void {
  const { quote } = claims;
  const { body } = quote;
  if (body.tee !== "tdx") return;
  const of = (path: string, check = "quote.signature"): Source =>
    sourceOf(quote, input, path, `${prefix}${check}`);
  common("/tdx", policy, claims, at, rules, of);
  const { fields } = body;
  const debug = (fields.tdAttributes & UNDER_DEBUG) !== 0n;
  if (debug) rules.debuggable = true;
  rules.flag(
    "/tdx/attributes/debug",
    policy.attributes.debug,
    debug,
    "debugging of the TD",
    of("body.tdAttributes"),
  );
  const names: ReadonlySet<string> = namesOfBits(tdAttributeBits, fields.tdAttributes);
  for (const [member, name] of Object.entries(attributeBits) as [keyof typeof attributeBits, string][])
    rules.flag(
      `/tdx/attributes/${member}`,
      policy.attributes[member],
      names.has(name),
      `${name} of the TD`,
      of("body.tdAttributes"),
    );
  for (const [member, field] of Object.entries(tdFields) as [
    keyof typeof tdFields,
    (typeof tdFields)[keyof typeof tdFields],
  ][])
    rules.oneOf(`/tdx/${member}`, policy[member], fields[field], field, of(`body.${field}`));
  const { mrTd, rtmr0, rtmr1, rtmr2, rtmr3 } = fields;
  const registers = ["mrTd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"].map((name) => of(`body.${name}`));
  rules.image(
    "/tdx",
    policy,
    { mrTd, rtmr0, rtmr1, rtmr2, rtmr3 },
    {
      ...(registers[0] as Source),
      places: registers.flatMap(({ places }) => places),
    },
  );
  const { required, allowed } = policy.xfam;
  if (required !== undefined) {
    const missing = BigInt(`0x${required}`) & ~fields.xfam;
    rules.add(
      "/tdx/xfam/required",
      missing === 0n,
      `XFAM is 0x${fields.xfam.toString(16)}${missing === 0n ? "" : `, without 0x${missing.toString(16)}`}`,
      of("body.xfam"),
    );
  }
  if (allowed !== undefined) {
    const more = fields.xfam & ~BigInt(`0x${allowed}`);
    rules.add(
      "/tdx/xfam/allowed",
      more === 0n,
      `XFAM is 0x${fields.xfam.toString(16)}${more === 0n ? "" : `, with 0x${more.toString(16)} besides`}`,
      of("body.xfam"),
    );
  }
  if (policy.minimumTeeTcbSvn !== undefined) {
    const wanted = policy.minimumTeeTcbSvn;
    const short = [...fields.teeTcbSvn].flatMap((svn, i) => {
      const minimum = Number.parseInt(wanted.slice(2 * i, 2 * i + 2), 16);
      return svn < minimum ? [`[${i}] is ${svn}, below ${minimum}`] : [];
    });
    rules.add(
      "/tdx/minimumTeeTcbSvn",
      short.length === 0,
      `TEE_TCB_SVN ${short.length === 0 ? "is high enough" : short.join(", ")}`,
      of("body.teeTcbSvn"),
    );
  }
  serviceTdRules(
    policy,
    body.type === 2 ? undefined : body.fields.mrServiceTd,
    rules,
    of("body.mrServiceTd"),
  );
}

/** A report of TDX 1.0 has no field for service TDs; its TD can be bound to one only if it is migratable, which has a rule of its own. */
function serviceTdRules(
  policy: Policy["tdx"],
  mrServiceTd: Uint8Array | undefined,
  rules: Rules,
  source: Source,
): void {
  const { mrServiceTds } = policy;
  if (mrServiceTd !== undefined) {
    if (mrServiceTds !== undefined)
      rules.oneOf("/tdx/mrServiceTds", mrServiceTds, mrServiceTd, "MRSERVICETD", source);
    else {
      const bound = mrServiceTd.some((byte) => byte !== 0);
      rules.flag("/tdx/serviceTd", policy.serviceTd, bound, "a service TD", source);
    }
  } else if (mrServiceTds !== undefined)
    rules.add("/tdx/mrServiceTds", false, "a report of TDX 1.0 does not name the service TD", source);
}

/** The demands of a policy on an SGX quote. */
export function sgxRules(
  policy: Policy["sgx"],
  claims: QuoteClaims,
  at: number,
  rules: Rules,
  input = "quote",
  prefix = "",
): void {
  const { quote } = claims;
  const { body } = quote;
  if (body.tee !== "sgx") return;
  const of = (path: string, check = "quote.signature"): Source =>
    sourceOf(quote, input, path, `${prefix}${check}`);
  common("/sgx", policy, claims, at, rules, of);
  const { fields } = body;
  const debug = (fields.attributeFlags & 2n) !== 0n;
  if (debug) rules.debuggable = true;
  rules.flag("/sgx/debug", policy.debug, debug, "debugging of the enclave", of("body.attributeFlags"));
  rules.oneOf("/sgx/mrEnclaves", policy.mrEnclaves, fields.mrEnclave, "MRENCLAVE", of("body.mrEnclave"));
  rules.oneOf("/sgx/mrSigners", policy.mrSigners, fields.mrSigner, "MRSIGNER", of("body.mrSigner"));
  rules.oneOf("/sgx/reportData", policy.reportData, fields.reportData, "report data", of("body.reportData"));
  rules.listed("/sgx/isvProdIds", policy.isvProdIds, fields.isvProdId, "ISVPRODID", of("body.isvProdId"));
  rules.atLeast("/sgx/minimumIsvSvn", policy.minimumIsvSvn, fields.isvSvn, "ISVSVN", of("body.isvSvn"));
}

type QuotePolicy = Policy["tdx"] | Policy["sgx"];
type SourceAt = (path: string, check?: string) => Source;

/** Status, advisories and platform: the same for both. */
function common(
  base: string,
  policy: QuotePolicy,
  claims: QuoteClaims,
  at: number,
  rules: Rules,
  of: SourceAt,
): void {
  const level = levelSource(of);
  // Levels and numbers of documents that nobody is known to have signed are whatever the sender of the evidence likes.
  const unsigned = ["tcb-info.signature", "qe-identity.signature"].some((check) =>
    rules.isUnproven(of("", check).check),
  );
  const judgement = unsigned ? undefined : claims.judgement;
  const evaluationDataNumbers = unsigned ? undefined : claims.evaluationDataNumbers;
  if (judgement !== undefined) {
    statusRule(base, policy, judgement, at, rules, level);
    const { advisories } = judgement.state;
    for (const advisory of policy.refusedAdvisories) {
      const applies = advisories.some((one) => one.toUpperCase() === advisory);
      rules.add(
        `${base}/refusedAdvisories`,
        !applies,
        `${advisory} ${applies ? "applies" : "does not apply"} to this level`,
        level,
      );
    }
  } else {
    // Who lets the check of the level pass lets the status pass with it. A list of advisories is a demand of its own.
    if (!rules.mayBeSkipped(level.check))
      rules.open(`${base}/tcbStatuses`, "no TCB level could be judged", level);
    if (policy.refusedAdvisories.length > 0)
      rules.open(`${base}/refusedAdvisories`, "the advisories of the level are not known", level);
  }
  const wanted = policy.minimumEvaluationDataNumber;
  if (wanted !== undefined) {
    const rule = `${base}/minimumEvaluationDataNumber`;
    // The numbers stand in the documents, not in the quote.
    const source = {
      ...of("", "tcb-info.signature"),
      places: [],
      spec: quoteChecks["collateral.evaluation"].spec,
    };
    if (evaluationDataNumbers === undefined)
      rules.open(rule, "the evaluation numbers of TCB info and QE identity are not known", source);
    else {
      const { tcbInfo, qeIdentity } = evaluationDataNumbers;
      rules.atLeast(rule, wanted, tcbInfo, "the evaluation number of TCB info", source);
      rules.atLeast(rule, wanted, qeIdentity, "the evaluation number of the QE identity", {
        ...source,
        check: of("", "qe-identity.signature").check,
      });
    }
  }
  const platform = of("qe.certification.data", "pck.extensions");
  platformRules(base, policy, claims.pck, rules, { ...platform, spec: quoteChecks["pck.extensions"].spec });
}

const platformFlags = ["dynamicPlatform", "cachedKeys", "smt"] as const;

function platformRules(
  base: string,
  policy: QuotePolicy,
  pck: QuoteClaims["pck"],
  rules: Rules,
  source: Source,
): void {
  if (pck === undefined) {
    if (policy.fmspcs !== undefined) rules.open(`${base}/fmspcs`, "the FMSPC is not known", source);
    for (const member of platformFlags)
      if (policy[member] !== "any") rules.open(`${base}/${member}`, `${member} is not known`, source);
    return;
  }
  rules.oneOf(`${base}/fmspcs`, policy.fmspcs, pck.fmspc, "the FMSPC", source);
  // Only platforms of several packages have these two; a certificate without them is of one that has not.
  rules.flag(
    `${base}/dynamicPlatform`,
    policy.dynamicPlatform,
    pck.dynamicPlatform ?? false,
    "dynamic platform",
    source,
  );
  rules.flag(
    `${base}/cachedKeys`,
    policy.cachedKeys,
    pck.cachedKeys ?? false,
    "caching of platform keys",
    source,
  );
  if (pck.smtEnabled !== undefined) rules.flag(`${base}/smt`, policy.smt, pck.smtEnabled, "SMT", source);
  else if (policy.smt !== "any")
    rules.add(
      `${base}/smt`,
      false,
      `the PCK certificate does not say whether SMT is on; ${policy.smt} is demanded`,
      source,
    );
}

/** Which bytes decide about the level: the TD's SVNs, the platform's certificate, the quoting enclave's SVN. */
function levelSource(of: SourceAt): Source {
  const parts = ["body.teeTcbSvn", "qe.certification.data", "qe.report.isvSvn"].map((path) =>
    of(path, "tcb.level"),
  );
  return {
    places: parts.flatMap(({ places }) => places),
    spec: quoteChecks["tcb.level"].spec,
    check: (parts[0] as Source).check,
  };
}

type Judgement = NonNullable<QuoteClaims["judgement"]>;

function statusRule(
  base: string,
  policy: QuotePolicy,
  judgement: Judgement,
  at: number,
  rules: Rules,
  source: Source,
): void {
  const { state } = judgement;
  const taken: readonly TcbStatus[] = policy.tcbStatuses;
  const parts = `platform ${state.platform}${state.module === undefined ? "" : `, TDX module ${state.module}`}, QE ${state.qe}`;
  const found = `the TCB is ${state.status} (${parts})`;
  const rule = `${base}/tcbStatuses`;
  // Module and QE are current or old as Intel publishes them; any other status of theirs has to be taken by name too.
  const strange = [state.module, state.qe].find(
    (status) => status !== undefined && !currentOrOld.has(status) && !taken.includes(status),
  );
  if (taken.includes(state.status) && strange === undefined) {
    rules.add(rule, true, found, source);
    return;
  }
  const grace = strange === undefined ? graceOf(judgement, policy, at) : undefined;
  const holds = grace?.holds === true;
  rules.add(
    rule,
    holds,
    `${found}${holds ? "" : `; ${taken.join(", ")} is accepted`}${grace === undefined ? "" : `; ${grace.detail}`}`,
    source,
  );
}

const currentOrOld: ReadonlySet<TcbStatus> = new Set<TcbStatus>(["UpToDate", "OutOfDate"]);

/** What a status is when its age is forgiven: only the age, not the configuration. */
const forgiven: Readonly<Partial<Record<TcbStatus, TcbStatus>>> = {
  OutOfDate: "UpToDate",
  OutOfDateConfigurationNeeded: "ConfigurationNeeded",
};

/**
 * Levels that are out of date, within the days of grace after their dates. What else is wrong with the platform is not forgiven: a module
 * that is old hides that the platform wants hardening or configuration, so the platform's own status is looked at again.
 */
function graceOf(
  { state, platform, module, qe }: Judgement,
  { graceDays, tcbStatuses }: QuotePolicy,
  at: number,
): { readonly holds: boolean; readonly detail: string } | undefined {
  if (graceDays === 0 || forgiven[state.status] === undefined) return undefined;
  const taken: readonly TcbStatus[] = tcbStatuses;
  const rest = forgiven[state.platform] ?? state.platform;
  if (!taken.includes(rest))
    return { holds: false, detail: `without its age the platform is ${rest}, which no grace is for` };
  const old = [platform.tdx ?? platform.sgx, module, qe].filter(
    (level) => level !== undefined && forgiven[level.status] !== undefined,
  );
  // No level that is out of date, though the whole is: that cannot be, and nothing is granted for it.
  const since = old.length === 0 ? 0 : Math.min(...old.map((level) => level?.date ?? 0));
  const age = (at - since) / DAY;
  return {
    holds: age <= graceDays,
    detail: `${Math.floor(age)} days after the date of its level, ${graceDays} are granted`,
  };
}

function sourceOf({ map }: Quote, input: string, path: string, check: string): Source {
  const field = map.get(path);
  if (field === undefined) return { places: [], spec: "Intel TDX DCAP Quoting Library API, A.3", check };
  return { places: [{ input, offset: field.offset, length: field.length }], spec: field.spec, check };
}

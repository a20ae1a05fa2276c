import { describe, expect, test } from "vitest";
import { appraise, judge, unappraised } from "./appraise.ts";
import type { Outcome, Verified } from "./outcome.ts";
import { sgxRules, tdxRules } from "./policy/quote-rules.ts";
import { Rules } from "./policy/rules.ts";
import { type PolicyInput, parsePolicy } from "./policy/schema.ts";
import { tierOf, trustCategories, type trustVectorOf, worstTier } from "./policy/trust-vector.ts";
import { verifySnp } from "./snp/verify.ts";
import type { QuoteClaims } from "./tdx/evidence.ts";
import { verifySgx, verifyTdx } from "./tdx/verify.ts";
import { type PlatformInput, platform, platformTime } from "./testing/quote-evidence.ts";
import { type ChipInput, chip } from "./testing/snp-evidence.ts";
import { earOf, evaluationOf } from "./token/ear.ts";
import { anchorOf } from "./x509/anchor.ts";

const at = platformTime;

async function guest(
  input: ChipInput = {},
  options: { certificates?: readonly Uint8Array[] } = {},
): Promise<Outcome> {
  const made = chip(input);
  return verifySnp({ ...made, ...options }, { at, roots: [anchorOf(made.certificates[2])] });
}
async function td(input: PlatformInput = {}, collateral = true): Promise<Outcome<QuoteClaims>> {
  const made = platform(input);
  return verifyTdx(
    { quote: made.quote, ...(collateral && { collateral: made.collateral }) },
    { at, roots: made.roots },
  );
}
const verified = async (input: PlatformInput = {}): Promise<Verified<QuoteClaims>> =>
  (await td(input)).verified as Verified<QuoteClaims>;
const offOf = (reasons: readonly { rule: string; holds: boolean }[]) =>
  reasons.filter(({ holds }) => !holds).map(({ rule }) => rule);

describe("the verdict", () => {
  test("is rejected where a check failed, whatever the policy", async () => {
    const outcome = await guest({ change: (report) => report.set([1], 0x90) });
    const decision = judge(outcome, { mayBeSkipped: [] });
    expect(decision).toMatchObject({ verdict: "rejected", reasons: [] });
    expect(decision.failed.map(({ id }) => id)).toEqual(["snp.signature"]);
  });

  test("is unverified where a check did not run and the policy does not name it, and accepted where it does", async () => {
    const outcome = await guest();
    expect(judge(outcome, { mayBeSkipped: [] })).toMatchObject({
      verdict: "unverified",
      missing: [{ id: "snp.revocation", result: "not-run" }],
    });
    expect(judge(outcome, { mayBeSkipped: ["snp.revocation"] }).verdict).toBe("accepted");
    expect(judge(outcome).verdict).toBe("accepted");
  });

  test("is unverified without the certificate of the signing key, and no policy can change that", async () => {
    const outcome = await guest({}, { certificates: [] });
    expect(judge(outcome).verdict).toBe("unverified");
    const every: PolicyInput = {
      mayBeSkipped: ["snp.product", "snp.revocation", "snp.key.extensions", "snp.key.tcb", "snp.key.chip"],
    };
    expect(judge(outcome, every).verdict).toBe("unverified");
  });

  test("is unverified, not rejected, where a demand cannot be told without what is missing", async () => {
    const outcome = await td({}, false);
    for (const tdx of [{}, { refusedAdvisories: ["INTEL-SA-00837"] }, { minimumEvaluationDataNumber: 17 }])
      expect(judge(outcome, { tdx }).verdict).toBe("unverified");
  });

  test("is rejected where a demand does not hold, also when something is missing besides", async () => {
    const outcome = await td({}, false);
    expect(judge(outcome, { tdx: { mrTds: ["00".repeat(48)] } }).verdict).toBe("rejected");
  });

  test("of evidence that could not be read is rejected, of none at all unverified", async () => {
    expect(judge(await verifySnp({ report: new Uint8Array(7) }, { at })).verdict).toBe("rejected");
    expect(unappraised().verdict).toBe("unverified");
  });

  test("of a kind that the policy does not take is rejected", async () => {
    const evidence = await verified();
    expect(appraise(evidence, { snp: {} })).toMatchObject({ verdict: "rejected" });
    expect(offOf(appraise(evidence, { kinds: ["snp", "sgx"] }).reasons)).toEqual(["/kinds"]);
    const taken = appraise(evidence, { kinds: ["tdx"] });
    expect(taken.verdict).toBe("accepted");
    expect(taken.reasons[0]).toMatchObject({
      rule: "/kinds",
      check: "quote.form",
      places: [{ input: "quote", offset: 0 }],
    });
  });

  test("is not reached with an object that only looks like evidence", async () => {
    const { kind, claims, inputs, at: time, tcb, window } = await verified();
    const forged = { kind, claims, inputs, at: time, tcb, window, checks: [] } as unknown as Verified;
    expect(() => appraise(forged)).toThrow(expect.objectContaining({ code: "bad-argument" }));
    expect(() => judge({ verified: forged } as Outcome)).toThrow(
      expect.objectContaining({ code: "bad-argument" }),
    );
  });

  test("is not reached with a policy that does not follow its schema", async () => {
    const evidence = await verified();
    expect(() => appraise(evidence, { tdx: { mrTd: [] } } as PolicyInput)).toThrow(
      expect.objectContaining({ code: "bad-policy" }),
    );
  });
});

/** Everything about the TCB level is let pass. */
const levelSkipped = [
  "pck.revocation",
  "collateral.signer",
  "tcb-info.signature",
  "tcb-info.form",
  "tcb-info.window",
  "tcb-info.platform",
  "qe-identity.signature",
  "qe-identity.form",
  "qe-identity.window",
  "qe.identity",
  "tdx.module",
  "tcb.level",
] as const;

describe("a policy that lets the TCB level pass", () => {
  const skipped: PolicyInput = { mayBeSkipped: [...levelSkipped] };
  test("accepts a quote without collateral", async () => {
    expect(judge(await td({}, false), skipped).verdict).toBe("accepted");
  });
  test("still refuses a level that is known", async () => {
    expect(judge(await td({ qe: { isvSvn: 2 } }), skipped).verdict).toBe("rejected");
  });
  test("does not believe a level that nobody signed", async () => {
    const made = platform({
      qe: { isvSvn: 2 },
      qeIdentity: ({ tcbLevels }) => Object.assign(tcbLevels[1] ?? {}, { tcbStatus: "UpToDate" }),
    });
    const { signers: _, ...unsigned } = made.collateral;
    const outcome = await verifyTdx({ quote: made.quote, collateral: unsigned }, { at, roots: made.roots });
    expect(outcome.tcb?.status).toBe("UpToDate");
    const some = skipped.mayBeSkipped?.filter((id) => id !== "tcb.level");
    expect(judge(outcome, { mayBeSkipped: some ?? [] }).verdict).toBe("unverified");
    expect(judge(outcome, { ...skipped, tdx: { refusedAdvisories: ["INTEL-SA-99970"] } }).verdict).toBe(
      "unverified",
    );
    expect(judge(outcome, { ...skipped, tdx: { minimumEvaluationDataNumber: 1 } }).verdict).toBe(
      "unverified",
    );
    expect(judge(outcome, skipped).trustVector.hardware).toMatchObject({ value: 0 });
    expect(evaluationOf(await earOf(outcome, skipped)).tcb).toBeUndefined();
  });

  test("does not accept while it has demands that only the level answers", async () => {
    const outcome = await td({}, false);
    for (const tdx of [{ refusedAdvisories: ["INTEL-SA-00837"] }, { minimumEvaluationDataNumber: 1 }]) {
      const decision = judge(outcome, { ...skipped, tdx });
      expect(decision.verdict).toBe("unverified");
      expect(decision.reasons.filter(({ unknown }) => unknown)).toHaveLength(1);
    }
  });
});

describe("days of grace", () => {
  const day = 86_400_000;
  const qeOld: PlatformInput = { qe: { isvSvn: 2 } };
  /** The level's date is 2024-01-01. */
  const since = (Date.parse(at) - Date.parse("2024-01-01T00:00:00Z")) / day;
  const statuses = ["UpToDate"] as const;

  test("count from the date of the level, to the instant", async () => {
    const evidence = await verified(qeOld);
    expect(appraise(evidence, { tdx: { graceDays: since } }).verdict).toBe("accepted");
    expect(appraise(evidence, { tdx: { graceDays: since - 1 / 1440 } }).verdict).toBe("rejected");
  });

  test("count for the platform as well, of a TD and of an enclave", async () => {
    const old: PlatformInput = {
      sgx: (sgx) => {
        sgx.components = [2, 2, 2, 2, 2, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        sgx.cpuSvn = Uint8Array.from(sgx.components);
      },
    };
    const enclave = platform({ version: 3, ...old });
    const outcomes = [await td(old), await verifySgx(enclave, { at, roots: enclave.roots })];
    for (const outcome of outcomes) {
      expect(outcome.tcb).toMatchObject({ status: "OutOfDate", platform: "OutOfDate", qe: "UpToDate" });
      const granted = (graceDays: number) =>
        judge(outcome, { tdx: { graceDays }, sgx: { graceDays } }).verdict;
      expect([granted(since), granted(since - 1 / 1440)]).toEqual(["accepted", "rejected"]);
    }
  });

  test("grant nothing where no level tells its date", async () => {
    const { claims } = await verified();
    const judgement = claims.judgement as NonNullable<QuoteClaims["judgement"]>;
    const state = { ...judgement.state, status: "OutOfDate" as const };
    const rules = new Rules();
    const policy = parsePolicy({ tdx: { graceDays: 3650 } });
    tdxRules(policy.tdx, { ...claims, judgement: { ...judgement, state } }, Date.parse(at), rules);
    expect(offOf(rules.reasons)).toEqual(["/tdx/tcbStatuses"]);
  });

  test("count from the oldest of the levels that are out of date", async () => {
    const { claims } = await verified(qeOld);
    const judgement = claims.judgement as NonNullable<QuoteClaims["judgement"]>;
    const older = {
      ...claims,
      judgement: {
        ...judgement,
        module: { ...(judgement.module ?? (judgement.qe as never)), status: "OutOfDate" as const, date: 0 },
      },
    };
    const rules = new Rules();
    tdxRules(parsePolicy({ tdx: { graceDays: since } }).tdx, older, Date.parse(at), rules);
    expect(offOf(rules.reasons)).toEqual(["/tdx/tcbStatuses"]);
  });

  test("forgive age only: what the platform wants besides has to be accepted by name", async () => {
    const hardening: PlatformInput = {
      ...qeOld,
      sgx: (sgx) => {
        sgx.components[4] = 3;
        sgx.cpuSvn = Uint8Array.from(sgx.components);
      },
    };
    const evidence = await verified(hardening);
    expect(evidence.tcb).toMatchObject({ status: "OutOfDate", platform: "SWHardeningNeeded" });
    expect(appraise(evidence, { tdx: { graceDays: since } }).verdict).toBe("rejected");
    expect(
      appraise(evidence, { tdx: { graceDays: since, tcbStatuses: [...statuses, "SWHardeningNeeded"] } })
        .verdict,
    ).toBe("accepted");
  });

  test("do not forgive the configuration of a level that is both", async () => {
    const configuration: PlatformInput = {
      ...qeOld,
      tcbInfo: ({ tcbLevels }) => Object.assign(tcbLevels[0] ?? {}, { tcbStatus: "ConfigurationNeeded" }),
    };
    const evidence = await verified(configuration);
    expect(evidence.tcb?.status).toBe("OutOfDateConfigurationNeeded");
    expect(appraise(evidence, { tdx: { graceDays: since } }).verdict).toBe("rejected");
    expect(
      appraise(evidence, { tdx: { graceDays: since, tcbStatuses: [...statuses, "ConfigurationNeeded"] } })
        .verdict,
    ).toBe("accepted");
  });

  test("are not for a TD that ought to be relaunched", async () => {
    const { claims } = await verified();
    const judgement = claims.judgement as NonNullable<QuoteClaims["judgement"]>;
    const state = { ...judgement.state, status: "TDRelaunchAdvised" as const };
    const rules = new Rules();
    const policy = parsePolicy({ tdx: { graceDays: 3650 } });
    tdxRules(policy.tdx, { ...claims, judgement: { ...judgement, state } }, Date.parse(at), rules);
    expect(offOf(rules.reasons)).toEqual(["/tdx/tcbStatuses"]);
  });
});

test("a status of the quoting enclave that convergence passes over is refused unless it is listed", async () => {
  const { claims } = await verified();
  const judgement = claims.judgement as NonNullable<QuoteClaims["judgement"]>;
  const state = { ...judgement.state, qe: "ConfigurationNeeded" as const };
  const strange = { ...claims, judgement: { ...judgement, state } };
  const held = (tcbStatuses: readonly ["UpToDate", "ConfigurationNeeded"] | readonly ["UpToDate"]) => {
    const rules = new Rules();
    tdxRules(parsePolicy({ tdx: { tcbStatuses } }).tdx, strange, Date.parse(at), rules);
    return offOf(rules.reasons);
  };
  expect(held(["UpToDate"])).toEqual(["/tdx/tcbStatuses"]);
  expect(held(["UpToDate", "ConfigurationNeeded"])).toEqual([]);
});

test("a reason says what is demanded, what was found, and by how much it falls short", async () => {
  const details = (decision: ReturnType<typeof judge>) =>
    Object.fromEntries(decision.reasons.map(({ rule, detail }) => [rule, detail]));
  const quote = details(
    appraise(await verified({ td: { xfam: 5n } }), {
      tdx: {
        xfam: { required: "0000000000000003", allowed: "0000000000000004" },
        minimumTeeTcbSvn: `070104${"00".repeat(13)}`,
        minimumEvaluationDataNumber: 25,
        fmspcs: ["00".repeat(6), "11".repeat(6)],
      },
    }),
  );
  expect(quote["/tdx/xfam/required"]).toBe("XFAM is 0x5, without 0x2");
  expect(quote["/tdx/xfam/allowed"]).toBe("XFAM is 0x5, with 0x1 besides");
  expect(quote["/tdx/minimumTeeTcbSvn"]).toBe("TEE_TCB_SVN [0] is 6, below 7, [2] is 3, below 4");
  expect(quote["/tdx/minimumEvaluationDataNumber"]).toBe(
    "the evaluation number of the QE identity is 20, 5 below the 25 that is demanded",
  );
  expect(quote["/tdx/fmspcs"]).toBe("the FMSPC is 00a0b0c0d0e0, none of the 2 that are listed");
  const old = details(appraise(await verified({ qe: { isvSvn: 2 } }), { tdx: { graceDays: 30 } }));
  expect(old["/tdx/tcbStatuses"]).toBe(
    "the TCB is OutOfDate (platform UpToDate, TDX module UpToDate, QE OutOfDate); UpToDate is accepted; 882 days after the date of its level, 30 are granted",
  );
  const snp = details(
    judge(await guest(), {
      snp: {
        products: ["Turin"],
        guestPolicy: { smt: "forbidden", minimumAbi: "1.55" },
        minimumTcb: { current: { microcode: 0xdd, fmc: 1 } },
        requiredMitigations: "0000000000000003",
        images: [{ name: "debian", measurement: "00".repeat(48) }],
      },
    }),
  );
  expect(snp).toMatchObject({
    "/snp/products": "the product is Genoa, not Turin",
    "/snp/guestPolicy/smt": "SMT of the guest's policy is on, and forbidden",
    "/snp/guestPolicy/minimumAbi": "the guest's policy demands firmware ABI 0.0, below 1.55",
    "/snp/minimumTcb/current/microcode":
      "the microcode level of the current TCB is 219, 2 below the 221 that is demanded",
    "/snp/minimumTcb/current/fmc":
      "the fmc level of the current TCB is absent, 1 below the 1 that is demanded",
    "/snp/requiredMitigations": "launchMitigationVector is 0x0, without 0x3",
    "/snp/images": `none of debian was launched: measurement is ${"cd".repeat(48)}`,
  });
});

test("names of images that nobody put the values in for accept nothing", async () => {
  const decision = appraise(await verified(), { tdx: { measurementsFrom: ["debian-13"] } });
  expect(decision.verdict).toBe("unverified");
  expect(offOf(decision.reasons)).toEqual(["/tdx/measurementsFrom"]);
});

test("demands on a platform whose certificate was not read are not held to be met", async () => {
  const { claims } = await verified();
  const unread = { ...claims, pck: undefined, judgement: undefined, evaluationDataNumbers: undefined };
  const rules = new Rules();
  const demands = { fmspcs: ["00a0b0c0d0e0"], dynamicPlatform: "forbidden", smt: "required" } as const;
  tdxRules(parsePolicy({ tdx: demands }).tdx, unread, 0, rules);
  expect(rules.reasons.filter(({ unknown }) => unknown).map(({ rule }) => rule)).toEqual([
    "/tdx/tcbStatuses",
    "/tdx/fmspcs",
    "/tdx/dynamicPlatform",
    "/tdx/smt",
  ]);
  sgxRules(parsePolicy({}).sgx, unread, 0, new Rules());
});

describe("the trust vector (draft-ietf-rats-ar4si)", () => {
  const numbers = (vector: ReturnType<typeof trustVectorOf>) =>
    Object.fromEntries(Object.entries(vector).map(([category, { value }]) => [category, value]));

  test("a value's range is its tier", () => {
    const bounds: readonly (readonly [number, string])[] = [
      [-128, "contraindicated"],
      [-97, "contraindicated"],
      [-96, "warning"],
      [-33, "warning"],
      [-32, "affirming"],
      [-2, "affirming"],
      [-1, "none"],
      [1, "none"],
      [2, "affirming"],
      [31, "affirming"],
      [32, "warning"],
      [95, "warning"],
      [96, "contraindicated"],
      [127, "contraindicated"],
    ];
    for (const [value, tier] of bounds) expect(tierOf(value), String(value)).toBe(tier);
    expect(trustCategories.indexOf("hardware")).toBe(4);
  });

  test("affirms what checks and rules vouch for, and claims nothing else", async () => {
    const { trustVector } = appraise(await verified(), { tdx: { mrTds: ["44".repeat(48)] } });
    expect(numbers(trustVector)).toEqual({
      configuration: 2,
      executables: 3,
      hardware: 2,
      "runtime-opaque": 2,
    });
    expect(trustVector.executables?.reasons).toEqual([
      { source: { rule: "/tdx/mrTds" }, detail: `mrTd is ${"44".repeat(48)}` },
    ]);
    expect(trustVector.hardware?.reasons.map(({ source }) => source)).toContainEqual({
      check: "quote.signature",
    });
    expect(trustVector.hardware?.reasons.map(({ source }) => source)).toEqual(
      expect.arrayContaining([{ rule: "/tdx/tcbStatuses" }, { check: "pck.chain" }, { check: "qe.binding" }]),
    );
    expect(trustVector["runtime-opaque"]?.reasons.map(({ source }) => source)).toEqual([
      { check: "quote.signature" },
    ]);
    expect(worstTier(trustVector)).toBe("affirming");
  });

  test("affirms executables by what measures them, not by versions and names", async () => {
    const svn = judge(await guest(), { snp: { minimumGuestSvn: 0, familyIds: ["00".repeat(16)] } });
    expect(svn.verdict).toBe("accepted");
    expect(svn.trustVector.executables).toBeUndefined();
  });

  test("affirms no hardware whose TCB level was let pass", async () => {
    const { verdict, trustVector } = judge(await td({}, false), { mayBeSkipped: [...levelSkipped] });
    expect(verdict).toBe("accepted");
    expect(trustVector.hardware).toMatchObject({ value: 0, tier: "none" });
    expect(trustVector.hardware?.reasons.map(({ source }) => source)).toContainEqual({ check: "tcb.level" });
    expect(worstTier(trustVector)).toBe("none");
  });

  test("says nothing of executables that the policy does not name", async () => {
    expect(appraise(await verified()).trustVector.executables).toBeUndefined();
  });

  test("warns of a TCB that is accepted and not current, and names it", async () => {
    const { verdict, trustVector } = appraise(await verified({ qe: { isvSvn: 2 } }), {
      tdx: { tcbStatuses: ["OutOfDate"] },
    });
    expect(verdict).toBe("accepted");
    expect(trustVector.hardware).toEqual({
      value: 32,
      tier: "warning",
      reasons: [{ source: { check: "tcb.level" }, detail: "the TCB is OutOfDate" }],
    });
    expect(worstTier(trustVector)).toBe("warning");
  });

  test("contraindicates a machine that can be looked into, also when the policy lets it be", async () => {
    const { verdict, trustVector } = appraise(await verified({ td: { tdAttributes: 1n } }), {
      tdx: { attributes: { debug: "any" } },
    });
    expect(verdict).toBe("accepted");
    expect(trustVector["runtime-opaque"]).toMatchObject({ value: 96, tier: "contraindicated" });
    const enclave = platform({ version: 3, enclave: { attributeFlags: 7n } });
    const debugged = judge(await verifySgx(enclave, { at, roots: enclave.roots }), { sgx: { debug: "any" } });
    expect(debugged).toMatchObject({ verdict: "accepted", trustVector: { "runtime-opaque": { value: 96 } } });
  });

  test("says by its values what a rule or a check found", async () => {
    const chips = judge(await guest(), { snp: { chips: ["00".repeat(64)] } });
    expect(numbers(chips.trustVector)["instance-identity"]).toBe(97);
    const measured = judge(await guest(), { snp: { measurements: ["00".repeat(48)] } });
    expect(numbers(measured.trustVector)).toMatchObject({ executables: 33 });
    const debug = judge(await guest({ report: { policy: 0xa_0000n } }));
    expect(numbers(debug.trustVector)).toMatchObject({ configuration: 96, "runtime-opaque": 96 });
    const forged = judge(await guest({ change: (report) => report.set([1], 0x90) }));
    expect(numbers(forged.trustVector)).toEqual({
      configuration: 99,
      executables: 99,
      hardware: 99,
      "runtime-opaque": 99,
    });
    const revoked = judge(await td({ pckCrl: { revoked: [{ serial: 0x300 }] } }));
    expect(numbers(revoked.trustVector)).toEqual({ hardware: 96 });
    const expired = judge(
      await td({ tcbInfo: (info) => Object.assign(info, { nextUpdate: "2026-05-21T00:00:00Z" }) }),
    );
    expect(numbers(expired.trustVector)).toEqual({ hardware: 1 });
  });

  test("affirms nothing where the proof is missing", async () => {
    const { trustVector } = judge(await guest({}, { certificates: [] }));
    expect(numbers(trustVector)).toEqual({ hardware: 0 });
    expect(worstTier(trustVector)).toBe("none");
  });
});

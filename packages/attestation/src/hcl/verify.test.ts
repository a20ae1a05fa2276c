import { webcrypto } from "node:crypto";
import { buildVtpmEvidence, HCL_AK } from "@entresol/evidence";
import { describe, expect, test } from "vitest";
import { appraise, judge } from "../appraise.ts";
import { nativeProvider } from "../crypto/native.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { type Subtle, webProvider } from "../crypto/web.ts";
import { allPcrs, bootLog, goodNonce, pcrsAfter, quotingKey } from "../testing/boot-evidence.ts";
import { goodKeys, modulusOf, type ParavisorInput, paravisor } from "../testing/paravisor-evidence.ts";
import { hclEvidenceOf, verifyHclJson } from "./evidence-json.ts";
import { type HclEvidence, type HclOptions, verifyHcl } from "./verify.ts";

const at = "2026-06-01T00:00:00Z";

/** Verifies what a machine made, trusting its own root. Gives the checks that did not pass. */
async function judged(input: ParavisorInput = {}, more: Partial<HclEvidence> = {}, options: HclOptions = {}) {
  const made = paravisor(input);
  const outcome = await verifyHcl({ ...made, ...more }, { at, roots: made.roots, ...options });
  const off = outcome.checks.filter(({ result }) => result !== "passed");
  return {
    made,
    outcome,
    off: off.map(({ id, result }) => `${id} ${result}`),
    failed: off.filter(({ result }) => result === "failed").map(({ id }) => id),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

const providers = [
  ["node:crypto", nativeProvider()],
  ["WebCrypto", webProvider(webcrypto.subtle as unknown as Subtle)],
] as const satisfies readonly (readonly [string, CryptoProvider | undefined])[];

describe.each(providers)("a chain that is all right is accepted, by %s", (_name, crypto) => {
  const options = crypto && { crypto };
  test("SNP: only revocation is not judged without a list", async () => {
    const { outcome, off } = await judged({}, {}, { ...options, nonce: goodNonce });
    expect(off).toEqual(["hcl.snp.revocation not-run"]);
    expect(outcome.kind).toBe("hcl-snp");
    expect(judge(outcome).verdict).toBe("accepted");
    const { claims } = outcome;
    expect(claims?.tpm?.signedBy).toBe("RSA 2048, RSASSA with SHA256");
    expect(claims?.tpm?.pcrs).toHaveLength(24);
    expect(claims?.log?.banks).toEqual([{ bank: "sha256", explained: [0, 4, 8], unknown: [] }]);
    expect(claims?.log?.events.map(({ register, dataMeasured }) => [register, dataMeasured])).toEqual([
      [0, true],
      [0, true],
      [4, false],
      [8, true],
    ]);
  });

  test("TDX: TCB state and window are those of the quote", async () => {
    const { outcome, off } = await judged({ hardware: "tdx" }, {}, { ...options, nonce: goodNonce });
    expect(off).toEqual([]);
    expect(outcome).toMatchObject({ kind: "hcl-tdx", tcb: { status: "UpToDate" } });
    expect(outcome.window?.from).toBeLessThan(Date.parse(at));
    expect(judge(outcome).verdict).toBe("accepted");
  });
});

test("checks of the hardware report point into the paravisor's report", async () => {
  const { outcome } = await judged();
  const place = outcome.checks.find(({ id }) => id === "hcl.snp.signing-key")?.places[0];
  expect(place).toEqual({ input: "hcl-report", offset: 32 + 0x48, length: 4 });
  expect(outcome.inputs.map(({ name }) => name)).not.toContain("report");
  expect(outcome.inputs[0]?.name).toBe("hcl-report");
});

test("SHA-384 and SHA-512 bind the claims as well", async () => {
  for (const hash of ["SHA-384", "SHA-512"] as const)
    expect((await judged({ hash })).failed, hash).toEqual([]);
});

test("captures of a fixed size end in zeros, and in nothing else", async () => {
  expect((await judged({ length: 4096 })).failed).toEqual([]);
  const { failed } = await judged({ length: 4096, change: (report) => report.set([1], 4095) });
  expect(failed).toEqual(["hcl.report.length"]);
});

const claimsAt = 32 + 1184 + 20;
const key = (change: Partial<ReturnType<typeof goodKeys>[number]>) =>
  goodKeys().map((one) => (one.kid === HCL_AK ? { ...one, ...change } : one));
const otherHash = (report: Uint8Array) => report.set([2], 32 + 1184 + 12);

describe("the report", () => {
  const cases: [string, ParavisorInput, readonly string[]][] = [
    ["whose header has a reserved byte", { change: (r) => r.set([1], 20) }, ["hcl.report.reserved"]],
    ["whose claims are changed", { change: (r) => r.set([0x31], r.length - 3) }, ["hcl.claims.hash"]],
    ["that names another hash", { change: otherHash }, ["hcl.claims.hash"]],
    [
      "with something behind the hash in REPORT_DATA",
      { reportData: (good) => good.with(40, 1) },
      ["hcl.claims.tail"],
    ],
    [
      "with another hash in REPORT_DATA",
      { reportData: (good) => good.with(0, (good[0] as number) ^ 1) },
      ["hcl.claims.hash"],
    ],
    ["without the attestation key", { keys: goodKeys().slice(1) }, ["hcl.claims.key"]],
    ["with two attestation keys", { keys: [...goodKeys(), ...goodKeys()] }, ["hcl.report.form"]],
    ["whose attestation key is for wrapping", { keys: key({ keyOps: ["wrapKey"] }) }, ["hcl.claims.key"]],
    ["whose attestation key is for nothing", { keys: key({ keyOps: [] }) }, ["hcl.claims.key"]],
    [
      "whose attestation key signs and decrypts",
      { keys: key({ keyOps: ["sign", "encrypt"] }) },
      ["hcl.claims.key"],
    ],
    [
      "whose attestation key has exponent 1",
      { keys: key({ e: Uint8Array.of(1) }) },
      ["hcl.claims.key", "tpm.key"],
    ],
    [
      "whose attestation key has exponent 3",
      { keys: key({ e: Uint8Array.of(3) }) },
      ["hcl.claims.key", "tpm.key"],
    ],
    [
      "whose attestation key has an even exponent",
      { keys: key({ e: Uint8Array.of(1, 0, 2) }) },
      ["hcl.claims.key", "tpm.key"],
    ],
    [
      "whose attestation key is short",
      { keys: key({ n: modulusOf(quotingKey("rsa", "ak")).subarray(0, 128) }) },
      ["hcl.claims.key", "tpm.key"],
    ],
    [
      "whose attestation key has an even modulus",
      { keys: key({ n: modulusOf(quotingKey("rsa", "ak")).with(255, 2) }) },
      ["hcl.claims.key", "tpm.key"],
    ],
    [
      "whose attestation key is another",
      { keys: key({ n: modulusOf(quotingKey("rsa", "other")) }) },
      ["tpm.quote.signature"],
    ],
    ["of a guest at VMPL 2", { chip: { report: { vmpl: 2 } } }, ["hcl.paravisor"]],
    [
      "of a machine with a bad signature",
      { chip: { change: (r) => r.set([1], 0x90) } },
      ["hcl.snp.signature"],
    ],
    ["of version 3", { header: { version: 3 } }, ["hcl.report.form"]],
    ["that is not one", { change: (r) => r.set([0], 0) }, ["hcl.report.form"]],
    [
      "whose claims are longer than it",
      { change: (r) => r.set([0xff, 0xff], claimsAt - 4) },
      ["hcl.report.form"],
    ],
    ["of type 5", { change: (r) => r.set([5], claimsAt - 12) }, ["hcl.hardware"]],
    ["of type 9", { change: (r) => r.set([9], claimsAt - 12) }, ["hcl.report.form"]],
  ];
  test.each(cases)("%s is refused", async (_name, input, ids) => {
    const { outcome, failed } = await judged(input);
    expect(failed).toEqual(ids);
    expect(outcome.verified).toBeUndefined();
    expect(judge(outcome).verdict).toBe("rejected");
  });

  test("of virtualization-based security has no hardware behind it", async () => {
    expect((await judged({ hardware: "vbs" })).failed).toContain("hcl.hardware");
  });

  test("of 2022 names an attestation key that encrypts, which is taken", async () => {
    expect((await judged({ keys: key({ keyOps: ["encrypt"] }) })).failed).toEqual([]);
  });

  test("holds the user data that was asked for, padded with zeros", async () => {
    const userData = new Uint8Array(64);
    userData.set([1, 2, 3]);
    expect((await judged({ userData }, {}, { userData: Uint8Array.of(1, 2, 3) })).failed).toEqual([]);
    const { failed } = await judged({ userData }, {}, { userData: Uint8Array.of(1, 2) });
    expect(failed).toEqual(["hcl.claims.user-data"]);
  });
});

describe("a TDREPORT", () => {
  test("without a quote is refused, whatever the policy lets pass", async () => {
    const made = paravisor({ hardware: "tdx" });
    const { report, collateral, roots } = made;
    const outcome = await verifyHcl({ report, ...(collateral && { collateral }) }, { at, roots });
    expect(outcome.checks.find(({ id }) => id === "hcl.td-quote")).toMatchObject({
      result: "failed",
      detail: "there is no quote: the TDREPORT alone is no evidence",
    });
    expect(outcome.verified).toBeUndefined();
  });

  test("of another REPORTDATA than the quote's is refused", async () => {
    const { failed } = await judged({
      hardware: "tdx",
      platform: { td: { reportData: new Uint8Array(64).fill(9) } },
    });
    expect(failed).toEqual(["hcl.td-quote"]);
  });

  test("that a partition within the TD asked for is refused", async () => {
    const { failed } = await judged({ hardware: "tdx", platform: { bodyType: 4, td: { vmId: 1 } } });
    expect(failed).toEqual(["hcl.paravisor"]);
  });
});

describe("what is missing keeps evidence from being accepted", () => {
  test("without the VCEK it is unverified", async () => {
    const { outcome, failed } = await judged({}, { certificates: [] });
    expect(failed).toEqual([]);
    expect(judge(outcome).verdict).toBe("unverified");
  });

  test("without collateral a TD is unverified", async () => {
    const { outcome, failed } = await judged({ hardware: "tdx" }, { collateral: {} });
    expect(failed).toEqual([]);
    expect(judge(outcome).verdict).toBe("unverified");
  });

  test("without a TPM quote nothing is said about it, and a policy that wants one refuses", async () => {
    const { outcome } = await judged({ quote: null, log: null });
    expect(outcome.checks.filter(({ id }) => /^(tpm|log)\./.test(id))).toEqual([]);
    expect(judge(outcome).verdict).toBe("accepted");
    expect(judge(outcome, { tpm: { quote: "required" } }).verdict).toBe("rejected");
  });

  test("a log without a quote leads nowhere", async () => {
    const { outcome, off } = await judged({ quote: null });
    expect(off).toContain("log.replay not-run");
    expect(judge(outcome).verdict).toBe("unverified");
    expect(judge(outcome, { mayBeSkipped: ["snp.revocation", "log.replay"] }).verdict).toBe("accepted");
  });
});

describe("evidence in JSON", () => {
  const made = paravisor({ log: null });
  const pcrs = pcrsAfter(bootLog(), "sha256");
  const { message, signature } = made.tpmQuote ?? {
    message: new Uint8Array(0),
    signature: new Uint8Array(0),
  };
  const json = buildVtpmEvidence({
    hclReport: made.report,
    quote: { message, signature, pcrs },
    vcek: made.certificates?.[0],
    tdQuote: undefined,
  });
  const options = { at, roots: made.roots };

  test("is the same evidence, and what comes besides is taken, too", async () => {
    expect(hclEvidenceOf(json).tpmQuote?.pcrs).toEqual({ sha256: pcrs });
    const besides = { certificates: made.certificates ?? [], eventLog: bootLog() };
    const outcome = await verifyHclJson(json, besides, options);
    expect(outcome.checks.filter(({ result }) => result === "failed")).toEqual([]);
    expect(outcome.claims?.log?.banks).toHaveLength(1);
  });

  test("that is broken is refused with its place, and throws nothing", async () => {
    const outcome = await verifyHclJson(json.subarray(0, 100), {}, options);
    expect(outcome.checks[0]).toMatchObject({ id: "hcl.report.form", result: "failed" });
    expect(outcome.claims).toBeUndefined();
    expect(judge(outcome).verdict).toBe("rejected");
  });
});

describe("the policy", () => {
  const verified = async (input: ParavisorInput = {}, options: HclOptions = {}) => {
    const { outcome, details } = await judged(input, {}, options);
    if (outcome.verified === undefined) throw new Error(details);
    return outcome.verified;
  };
  const broken = ({ reasons }: ReturnType<typeof appraise>) =>
    reasons.filter(({ holds }) => !holds).map(({ rule, unknown }) => `${rule}${unknown ? " ?" : ""}`);
  const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString("hex");
  const pcr = (index: number) => hex(pcrsAfter(bootLog(), "sha256")[index]);
  const sha256 = (text: string) => hex(new Uint8Array(32).fill(text.charCodeAt(0)));

  test("loses no rule of the hardware report: debugging is refused within a paravisor's report, too", async () => {
    const debugged = await verified({ chip: { report: { policy: 0xb_0000n } } });
    const decision = appraise(debugged);
    expect(decision.verdict).toBe("rejected");
    expect(decision.reasons.find(({ holds }) => !holds)).toMatchObject({
      rule: "/snp/guestPolicy/debug",
      check: "hcl.snp.signature",
      places: [{ input: "hcl-report", offset: 32 + 8, length: 8 }],
    });
    const td = await verified({ hardware: "tdx", platform: { td: { tdAttributes: (1n << 28n) | 1n } } });
    expect(broken(appraise(td))).toEqual(["/tdx/attributes/debug"]);
    expect(broken(appraise(await verified(), { snp: { measurements: ["00".repeat(48)] } }))).toEqual([
      "/snp/measurements",
    ]);
  });

  test("wants PCR values that are quoted and known", async () => {
    const evidence = await verified();
    expect(broken(appraise(evidence, { tpm: { pcrs: { sha256: { 4: [pcr(4)] } } } }))).toEqual([]);
    expect(broken(appraise(evidence, { tpm: { pcrs: { sha256: { 4: [pcr(0)] } } } }))).toEqual([
      "/tpm/pcrs/sha256/4",
    ]);
    expect(broken(appraise(evidence, { tpm: { pcrs: { sha384: { 4: ["00".repeat(48)] } } } }))).toEqual([
      "/tpm/pcrs/sha384/4",
    ]);
    const bare = await verified({ quote: { pcrs: null }, log: null });
    expect(broken(appraise(bare, { tpm: { pcrs: { sha256: { 4: [pcr(4)] } } } }))).toEqual([
      "/tpm/pcrs/sha256/4 ?",
    ]);
    const none = await verified({ quote: null, log: null });
    expect(broken(appraise(none, { tpm: { pcrs: { sha256: { 4: [pcr(4)] } } } }))).toEqual([
      "/tpm/pcrs/sha256/4",
    ]);
  });

  test("wants nonces", async () => {
    expect(broken(appraise(await verified(), { tpm: { nonces: [hex(goodNonce)] } }))).toEqual([]);
    expect(broken(appraise(await verified(), { tpm: { nonces: ["00"] } }))).toEqual(["/tpm/nonces"]);
  });

  test("names events that have to be there, and events that must not", async () => {
    const evidence = await verified();
    const separator = hex(
      new Uint8Array(Buffer.from("df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119", "hex")),
    );
    const rules = (tpm: object) => broken(appraise(evidence, { tpm }));
    expect(rules({ eventLog: "required", requiredEventDigests: [separator] })).toEqual([]);
    expect(rules({ requiredEventDigests: [sha256("x")] })).toEqual(["/tpm/requiredEventDigests"]);
    expect(rules({ refusedEventDigests: [sha256("x")] })).toEqual([]);
    expect(rules({ refusedEventDigests: [separator] })).toEqual(["/tpm/refusedEventDigests"]);
    expect(rules({ refusedEventDigests: ["00".repeat(48)] })).toEqual(["/tpm/refusedEventDigests ?"]);
    const without = await verified({ log: null });
    expect(broken(appraise(without, { tpm: { eventLog: "required" } }))).toEqual(["/tpm/eventLog"]);
  });

  test("takes no refused event to be absent where a register was not quoted, or extended behind the log's back", async () => {
    const refused = { tpm: { refusedEventDigests: [sha256("x")] } };
    const without4 = allPcrs.filter((index) => index !== 4);
    const partly = await verified({ quote: { selection: [["sha256", without4]] } });
    expect(broken(appraise(partly, refused))).toEqual(["/tpm/refusedEventDigests ?"]);
    const only = await verified(
      { quote: { selection: [["sha256", without4]] } },
      { eventLogRegisters: [0, 8] },
    );
    expect(broken(appraise(only, refused))).toEqual([]);
  });
});

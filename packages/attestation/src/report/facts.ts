import { toHex } from "@entresol/wire";
import type { TdxLogClaims } from "../ccel/verify.ts";
import type { CheckResult, Place } from "../check.ts";
import type { LogClaims } from "../event-log/replay.ts";
import type { ParavisorClaims } from "../hcl/verify.ts";
import type { Outcome } from "../outcome.ts";
import type { SnpClaims } from "../snp/evidence.ts";
import type { Judgement } from "../submission/judgement.ts";
import type { SvsmClaims } from "../svsm/verify.ts";
import type { QuoteClaims } from "../tdx/evidence.ts";
import type { TpmClaims } from "../tpm/quote.ts";
import { adviceFor } from "./advice.ts";
import { tcbText } from "./claims.ts";
import { shortfallOf } from "./shortfall.ts";

/* What there is to say about a judgement, before anybody lays it out. */

/** Name and value of a line. */
export type Fact = readonly [name: string, value: string];

function snpFacts(claims: SnpClaims): Facts {
  const { report, tcb, line, provisionalFirmware, chipIdMasked } = claims;
  const { fields, policy, platformInfo, product } = report;
  return {
    is: [
      ["processor", product?.name ?? line ?? "not known"],
      ["report", `version ${fields.version}, VMPL ${fields.vmpl}, guest SVN ${fields.guestSvn}`],
      ["measurement", toHex(fields.measurement)],
      ["report data", toHex(fields.reportData)],
      ["host data", toHex(fields.hostData)],
      ["chip", chipIdMasked ? "masked by the host" : toHex(fields.chipId)],
      [
        "guest policy",
        `ABI ${policy.abiMajor}.${policy.abiMinor}; ${[...policy.bits].join(", ") || "no bit set"}`,
      ],
      ["platform", [...platformInfo].join(", ") || "no bit set"],
    ],
    current:
      tcb === undefined
        ? []
        : [
            ["reported TCB", `${tcbText(tcb.reported)} (what the signature stands for)`],
            ["committed TCB", tcbText(tcb.committed)],
            [
              "current TCB",
              `${tcbText(tcb.current)}${provisionalFirmware ? " (provisional: can be taken back)" : ""}`,
            ],
            ["launch TCB", tcbText(tcb.launch)],
          ],
  };
}

function quoteFacts(claims: QuoteClaims, { outcome, collateral }: Judgement): Facts {
  const { quote, pck, evaluationDataNumbers, judgement } = claims;
  const { body, header } = quote;
  const is: Fact[] = [["quote", `version ${header.version}, body type ${body.type}`]];
  if (body.tee === "tdx") {
    const { fields } = body;
    is.push(
      ["MRTD", toHex(fields.mrTd)],
      ["RTMR0", toHex(fields.rtmr0)],
      ["RTMR1", toHex(fields.rtmr1)],
      ["RTMR2", toHex(fields.rtmr2)],
      ["RTMR3", toHex(fields.rtmr3)],
      ["report data", toHex(fields.reportData)],
      ["TEE TCB SVN", toHex(fields.teeTcbSvn)],
    );
  } else {
    const { fields } = body;
    is.push(
      ["MRENCLAVE", toHex(fields.mrEnclave)],
      ["MRSIGNER", toHex(fields.mrSigner)],
      ["product", `${fields.isvProdId}, SVN ${fields.isvSvn}`],
      ["report data", toHex(fields.reportData)],
    );
  }
  if (pck !== undefined) is.push(["platform", `FMSPC ${toHex(pck.fmspc)}, PCEID ${toHex(pck.pceId)}`]);
  const current: Fact[] = [];
  const tcb = outcome?.tcb;
  if (tcb !== undefined) {
    current.push(["TCB status", tcb.status], ["platform", tcb.platform]);
    if (tcb.module !== undefined) current.push(["TDX module", tcb.module]);
    current.push(["QE", tcb.qe], ["advisories", tcb.advisories.join(", ") || "none"]);
  }
  if (tcb !== undefined && tcb.status !== "UpToDate")
    for (const short of shortfallOf(claims, collateral)) current.push(["short by", short]);
  if (judgement !== undefined && evaluationDataNumbers !== undefined)
    current.push([
      "judged by",
      `TCB info ${evaluationDataNumbers.tcbInfo}, QE identity ${evaluationDataNumbers.qeIdentity} (evaluation data numbers)`,
    ]);
  return { is, current };
}

/** A virtual TPM's quote, in few words. */
function tpmFacts(tpm: TpmClaims | undefined): Fact[] {
  if (tpm === undefined) return [["TPM quote", "none"]];
  const { quote, signedBy, pcrs } = tpm;
  const banks = quote.banks.map(({ name, pcrs: numbers }) => `${name ?? "a bank"}: ${numbers.join(" ")}`);
  return [
    ["TPM quote", `${signedBy ?? "not verified"}; nonce ${toHex(quote.nonce) || "empty"}`],
    ["PCRs", `${banks.join("; ") || "none"}${pcrs === undefined ? " (values not known)" : ""}`],
  ];
}

const logFacts = (log: LogClaims | undefined): Fact[] =>
  log === undefined ? [] : [["event log", `${log.events.length} events that replay to what is quoted`]];

/** The quote's claims, by themselves or inside of a paravisor's. */
function quoteClaimsOf(outcome: Outcome | undefined): QuoteClaims | undefined {
  const { kind, claims } = outcome ?? {};
  if (claims === undefined || claims === null) return undefined;
  if (kind === "tdx" || kind === "sgx") return claims as QuoteClaims;
  const hardware = kind === "hcl-tdx" ? (claims as ParavisorClaims).hardware : undefined;
  return hardware?.kind === "tdx" ? hardware.claims : undefined;
}

/** By how much the platform is short of what Intel calls current. */
export function shortOf({ outcome, collateral }: Judgement): readonly string[] {
  const claims = quoteClaimsOf(outcome);
  return claims === undefined || outcome?.tcb === undefined || outcome.tcb.status === "UpToDate"
    ? []
    : shortfallOf(claims, collateral);
}

interface Facts {
  readonly is: Fact[];
  readonly current: Fact[];
}

function paravisorFacts({ report, hardware, tpm, log }: ParavisorClaims, judgement: Judgement): Facts {
  const inner =
    hardware === undefined
      ? { is: [], current: [] }
      : hardware.kind === "snp"
        ? snpFacts(hardware.claims)
        : quoteFacts(hardware.claims, judgement);
  const vm = Object.entries(report.claims.vmConfiguration)
    .filter(([, value]) => typeof value !== "object")
    .map(([name, value]) => `${name} ${String(value)}`);
  return {
    is: [["VM", vm.join(", ") || "not described"], ...tpmFacts(tpm), ...logFacts(log), ...inner.is],
    current: inner.current,
  };
}

function svsmFacts({ snp, manifest, tpm, log }: SvsmClaims): Facts {
  const { is, current } = snpFacts(snp);
  const services = (manifest?.services ?? []).map(({ kind, guid }) => kind ?? guid);
  return {
    is: [["services", services.join(", ") || "one alone"], ...tpmFacts(tpm), ...logFacts(log), ...is],
    current,
  };
}

/** What evidence says, and how current it is. Empty for evidence that could not be read. */
export function factsOf(judgement: Judgement): Facts {
  const { outcome } = judgement;
  if (outcome?.claims === undefined) return { is: [], current: [] };
  const { kind, claims } = outcome;
  switch (kind) {
    case "snp":
      return snpFacts(claims as SnpClaims);
    case "tdx":
    case "sgx": {
      const { is, current } = quoteFacts(claims as QuoteClaims, judgement);
      return { is: [...is, ...logFacts((claims as Partial<TdxLogClaims>).log)], current };
    }
    case "hcl-snp":
    case "hcl-tdx":
      return paravisorFacts(claims as ParavisorClaims, judgement);
    case "svsm-snp":
      return svsmFacts(claims as SvsmClaims);
    default:
      return kind satisfies never;
  }
}

const signers =
  /(^|[./])(tpm\.quote\.signature|snp\.chain|pck\.chain|snp\.signature|quote\.signature|qe\.signature|collateral\.signer)$/;

/** The checks that tell who signed. */
export function signersOf({ outcome }: Judgement): readonly CheckResult[] {
  return (outcome?.checks ?? []).filter(({ id }) => signers.test(id));
}

/** The detail of a check that was not reached: it explains nothing. */
export const BECAUSE = "a check before it did not pass";

/** What somebody can do about the verdict, a sentence each. */
export function todoOf({ outcome, decision }: Judgement): string[] {
  const { verdict, reasons, missing } = decision;
  const todo = new Set<string>();
  for (const check of outcome?.checks ?? []) {
    const wanting = missing.some(({ id }) => id === check.id) && check.detail !== BECAUSE;
    const advice = check.result === "failed" || wanting ? adviceFor(check) : undefined;
    if (advice !== undefined) todo.add(advice);
  }
  if (verdict === "rejected" && reasons.some(({ holds, unknown }) => !holds && !unknown))
    todo.add(
      "The evidence is genuine as far as it was checked; the policy refuses it. Mend what it names, or write a policy that allows it (--policy).",
    );
  return [...todo];
}

export function summaryOf(checks: readonly CheckResult[]): string {
  const count = (result: CheckResult["result"]) => checks.filter((check) => check.result === result).length;
  return [`${count("passed")} passed`, `${count("failed")} failed`, `${count("not-run")} not run`].join(", ");
}

/** Where an explanation looks: at what failed, else at what was demanded, else at what was signed. */
export function decisivePlaces({ outcome, decision }: Judgement): readonly Place[] {
  const failed = (outcome?.checks ?? []).filter(({ result }) => result === "failed");
  const refused = decision.reasons.filter(({ holds }) => !holds);
  const wrong = [...failed, ...refused].flatMap(({ places }) => places);
  if (wrong.length > 0) return wrong;
  const demanded = decision.reasons.flatMap(({ places }) => places);
  return demanded.length > 0 ? demanded : (outcome?.checks ?? []).flatMap(({ places }) => places);
}

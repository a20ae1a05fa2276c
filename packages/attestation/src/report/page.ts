import { toHex } from "@entresol/wire";
import type { CheckResult, Place } from "../check.ts";
import { isoTime } from "../context.ts";
import type { SnpClaims } from "../snp/verify.ts";
import type { Judgement } from "../submission/judgement.ts";
import type { QuoteClaims } from "../tdx/verify.ts";
import { adviceFor } from "./advice.ts";
import { tcbText } from "./claims.ts";
import { hexView, type Marking, plainMarking } from "./hex-view.ts";

/* A judgement for people: what it is, who signed it, what is current, what failed and by how much, what to do. */

/** How words stand out. */
export interface PageStyle {
  good(text: string): string;
  bad(text: string): string;
  doubtful(text: string): string;
  strong(text: string): string;
  dim(text: string): string;
  readonly bytes: Marking;
}

const same = (text: string): string => text;
export const plainStyle: PageStyle = {
  good: same,
  bad: same,
  doubtful: same,
  strong: same,
  dim: same,
  bytes: plainMarking,
};

const CONTROL = 0x20;
/** Evidence writes some of the words: nothing of it may move the cursor. */
function harmless(text: string): string {
  let safe = "";
  for (const letter of text) {
    const code = letter.codePointAt(0) as number;
    safe += code < CONTROL || (code >= 0x7f && code < 0xa0) ? "?" : letter;
  }
  return safe;
}

/** Name and value of a line. */
type Fact = readonly [name: string, value: string];

function snpFacts(claims: SnpClaims): { is: Fact[]; current: Fact[] } {
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

function quoteFacts(
  { quote, pck, evaluationDataNumbers, judgement }: QuoteClaims,
  { outcome }: Judgement,
): { is: Fact[]; current: Fact[] } {
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
  if (judgement !== undefined && evaluationDataNumbers !== undefined)
    current.push([
      "judged by",
      `TCB info ${evaluationDataNumbers.tcbInfo}, QE identity ${evaluationDataNumbers.qeIdentity} (evaluation data numbers)`,
    ]);
  return { is, current };
}

function factsOf(judgement: Judgement): { is: Fact[]; current: Fact[] } {
  const { outcome } = judgement;
  if (outcome?.claims === undefined) return { is: [], current: [] };
  switch (outcome.kind) {
    case "snp":
      return snpFacts(outcome.claims as SnpClaims);
    case "tdx":
    case "sgx":
      return quoteFacts(outcome.claims as QuoteClaims, judgement);
    default:
      return { is: [], current: [] };
  }
}

/** The checks that tell who signed, in this order. */
const signers =
  /(^|[./])(snp\.chain|pck\.chain|snp\.signature|quote\.signature|qe\.signature|collateral\.signer)$/;
const BECAUSE = "a check before it did not pass";

function summary(checks: readonly CheckResult[]): string {
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

export interface PageOptions {
  readonly style?: PageStyle;
  /** Every check with what it found, and the decisive bytes. */
  readonly explain?: boolean;
}

/** The page's lines. */
export function pageOf(
  judgement: Judgement,
  { style = plainStyle, explain = false }: PageOptions = {},
): string[] {
  const { outcome, decision, kind, name, problem, policy, remarks } = judgement;
  const { verdict, reasons, missing } = decision;
  const lines: string[] = [];
  const section = (title: string): void => {
    lines.push("", style.strong(title));
  };
  const facts = (list: readonly Fact[]): void => {
    for (const [what, value] of list) lines.push(`  ${style.dim(what.padEnd(14))} ${harmless(value)}`);
  };
  const colour = { accepted: style.good, rejected: style.bad, unverified: style.doubtful }[verdict];
  lines.push(
    `${colour(style.strong(verdict.toUpperCase()))}  ${kind?.title ?? "nothing that could be judged"}`,
  );
  lines.push(`  ${style.dim("evidence".padEnd(14))} ${harmless(name)}`);
  if (outcome !== undefined)
    facts([
      [
        "judged for",
        `${isoTime(outcome.at)}, by ${policy === undefined ? "the default policy" : `the policy ${policy.name === undefined ? "given" : `"${policy.name}"`}`}`,
      ],
    ]);
  for (const remark of remarks) facts([["remark", `${remark.name}: ${remark.text}`]]);
  if (problem !== undefined) facts([["problem", problem]]);
  if (outcome === undefined) return lines;

  const { is, current } = factsOf(judgement);
  if (is.length > 0) {
    section("What it says");
    facts(is);
  }
  const signed = outcome.checks.filter(({ id }) => signers.test(id));
  if (signed.length > 0) {
    section("Who signed it");
    for (const { id, result, detail } of signed)
      lines.push(`  ${mark(style, result)} ${style.dim(id.padEnd(18))} ${harmless(detail)}`);
  }
  if (current.length > 0 || outcome.window !== undefined) {
    section("What is current");
    facts(current);
    if (outcome.window !== undefined)
      facts([["collateral", `${isoTime(outcome.window.from)} to ${isoTime(outcome.window.to)}`]]);
  }

  section(`What was checked: ${summary(outcome.checks)}`);
  const shown = explain
    ? outcome.checks
    : outcome.checks.filter(({ result, detail }) => result !== "passed" && detail !== BECAUSE);
  if (shown.length === 0) lines.push(style.dim("  (--explain lists the checks and shows the bytes)"));
  for (const check of shown) {
    lines.push(`  ${mark(style, check.result)} ${style.strong(check.id)}: ${check.title}`);
    lines.push(`      ${harmless(check.detail)}`);
    lines.push(style.dim(`      ${check.spec}`));
  }
  const told = explain ? reasons : reasons.filter(({ holds }) => !holds);
  if (told.length > 0) {
    section("What the policy demands");
    for (const { rule, holds, detail, spec } of told) {
      lines.push(`  ${mark(style, holds ? "passed" : "failed")} ${style.strong(rule)}: ${harmless(detail)}`);
      lines.push(style.dim(`      ${spec}`));
    }
  }

  const todo = new Set<string>();
  for (const check of outcome.checks)
    if (check.result === "failed" || missing.some(({ id }) => id === check.id && check.detail !== BECAUSE)) {
      const advice = adviceFor(check);
      if (advice !== undefined) todo.add(advice);
    }
  if (verdict === "rejected" && reasons.some(({ holds }) => !holds))
    todo.add(
      "The evidence is genuine as far as it was checked; the policy refuses it. Mend what it names, or write a policy (--policy) that allows it.",
    );
  if (todo.size > 0) {
    section("What to do");
    for (const one of todo) lines.push(`  - ${one}`);
  }
  if (explain) {
    const view = hexView(judgement.shown, decisivePlaces(judgement), style.bytes);
    if (view.length > 0) {
      section("The bytes that decide");
      lines.push(...view.map((line) => `  ${line}`));
    }
  }
  return lines;
}

function mark(style: PageStyle, result: CheckResult["result"]): string {
  switch (result) {
    case "passed":
      return style.good("ok  ");
    case "failed":
      return style.bad("FAIL");
    case "not-run":
      return style.doubtful("-   ");
    default:
      return result satisfies never;
  }
}

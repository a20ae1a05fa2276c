import { EventType, type LoggedEvent } from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import type { Place } from "../check.ts";
import { hashSizes } from "../crypto/provider.ts";
import type { LogClaims } from "../event-log/replay.ts";
import { HCL_PREFIX, hclWithin, type ParavisorClaims } from "../hcl/verify.ts";
import { outerPlace } from "../inner.ts";
import { SVSM_PREFIX, type SvsmClaims } from "../svsm/verify.ts";
import { placeOf, type TpmClaims } from "../tpm/quote.ts";
import { tdxRules } from "./quote-rules.ts";
import type { Rules, Source } from "./rules.ts";
import type { Policy } from "./schema.ts";
import { snpRules } from "./snp-rules.ts";

/** The demands of a policy on a paravisor's evidence: those on its hardware report, none left out, and those on its TPM. */
export function hclRules(policy: Policy, claims: ParavisorClaims, at: number, rules: Rules): void {
  const { hardware } = claims;
  const { reasons } = rules;
  const before = reasons.length;
  switch (hardware?.kind) {
    case "snp":
      snpRules(policy.snp, hardware.claims, rules, "report", HCL_PREFIX);
      break;
    case "tdx":
      tdxRules(policy.tdx, hardware.claims, at, rules, "quote", HCL_PREFIX);
      break;
    case undefined:
      // Fails closed: nothing is accepted that no rule has looked at.
      rules.add("/kinds", false, "there is no hardware report that rules could look at", {
        places: [],
        spec: "policy",
        check: "hcl.hardware",
      });
      break;
    default:
      hardware satisfies never;
  }
  const inner = reasons.splice(before);
  for (const reason of inner)
    reasons.push({ ...reason, places: reason.places.map((place) => outerPlace(place, hclWithin)) });
  tpmRules(policy.tpm, claims.tpm, claims.log, rules);
}

/** The demands of a policy on an SVSM's attestation: those on its SNP report, none left out, and those on its TPM. */
export function svsmRules(policy: Policy, claims: SvsmClaims, rules: Rules): void {
  snpRules(policy.snp, claims.snp, rules, "report", SVSM_PREFIX);
  tpmRules(policy.tpm, claims.tpm, claims.log, rules);
}

const QUOTE_SPEC = "TPM 2.0 Part 2, 10.12.1 TPMS_QUOTE_INFO";
const LOG_SPEC = "TCG PFP 1.06, 3.3.4";

/**
 * The demands of a policy on a TPM's quote and on a log. For evidence of every kind: who demands PCRs must not get a bare hardware report
 * that somebody cut out of a paravisor's.
 */
export function tpmRules(
  policy: Policy["tpm"],
  tpm: TpmClaims | undefined,
  log: LogClaims | undefined,
  rules: Rules,
): void {
  const quoteSource = (path: string, check: string): Source => ({
    places: tpm === undefined ? [] : [placeOf(tpm.quote, path)],
    spec: QUOTE_SPEC,
    check,
  });
  rules.flag(
    "/tpm/quote",
    policy.quote,
    tpm !== undefined,
    "a TPM quote",
    quoteSource("pcrDigest", "tpm.quote.signature"),
  );
  if (policy.nonces !== undefined) {
    const source = quoteSource("extraData", "tpm.quote.signature");
    if (tpm === undefined) rules.add("/tpm/nonces", false, "there is no TPM quote", source);
    else rules.oneOf("/tpm/nonces", policy.nonces, tpm.quote.nonce, "extraData of the quote", source);
  }
  pcrRules(policy, tpm, quoteSource("pcrDigest", "tpm.quote.pcrs"), rules);
  logRules(policy, log, rules);
}

function pcrRules({ pcrs }: Policy["tpm"], tpm: TpmClaims | undefined, source: Source, rules: Rules): void {
  for (const [bank, registers] of Object.entries(pcrs))
    for (const [index, values] of Object.entries(registers ?? {})) {
      const rule = `/tpm/pcrs/${bank}/${index}`;
      const name = `PCR ${index} of ${bank}`;
      const found = tpm?.pcrs?.find((one) => one.bank === bank && one.index === Number(index));
      if (found !== undefined) rules.oneOf(rule, values, found.value, name, source);
      else if (tpm === undefined)
        rules.add(rule, false, `${name} is not known: there is no TPM quote`, source);
      else if (tpm.pcrs !== undefined) rules.add(rule, false, `${name} is not quoted`, source);
      else
        rules.open(
          rule,
          `${name} is not known: the values that the quote is over did not come along`,
          source,
        );
    }
}

function logRules(policy: Policy["tpm"], log: LogClaims | undefined, rules: Rules): void {
  const source: Source = { places: [], spec: LOG_SPEC, check: "log.replay" };
  // A log that leads nowhere was not verified: it is not one that is required, and one that is forbidden all the same.
  const unproven = log !== undefined && log.banks.length === 0;
  if (policy.eventLog === "required" && unproven)
    rules.open("/tpm/eventLog", "the event log leads to no signed register", source);
  else rules.flag("/tpm/eventLog", policy.eventLog, log !== undefined, "an event log", source);
  for (const digest of policy.requiredEventDigests) {
    const found = log?.events.find((one) => toHex(one.digest) === digest);
    if (found !== undefined)
      rules.add(
        "/tpm/requiredEventDigests",
        true,
        `an event of register ${found.register} has the digest ${digest}`,
        { ...source, places: [placeOfEvent(found.event)] },
      );
    else if (unproven)
      rules.open("/tpm/requiredEventDigests", `the event log leads to no signed register: ${digest}`, source);
    else rules.add("/tpm/requiredEventDigests", false, `no event has the digest ${digest}`, source);
  }
  for (const digest of policy.refusedEventDigests) refusal(digest, log, source, rules);
}

const placeOfEvent = ({ offset, length }: LoggedEvent): Place => ({ input: "event-log", offset, length });

/**
 * An event is known not to have happened only where everything that went into the registers is known, in a bank whose digests are of the
 * kind that is refused.
 */
function refusal(digest: string, log: LogClaims | undefined, source: Source, rules: Rules): void {
  const rule = "/tpm/refusedEventDigests";
  const event = log?.log.events.find(
    ({ type, digests }) =>
      type !== EventType.EV_NO_ACTION && digests.some((one) => toHex(one.digest) === digest),
  );
  if (event !== undefined) {
    rules.add(rule, false, `the log has an event of the digest ${digest}`, {
      ...source,
      places: [placeOfEvent(event)],
    });
    return;
  }
  const banks = log?.banks.filter(({ bank }) => 2 * hashSizes[bank] === digest.length) ?? [];
  const [first] = banks;
  if (banks.some(({ unknown }) => unknown.length === 0))
    rules.add(rule, true, `no event has the digest ${digest}`, source);
  else
    rules.open(
      rule,
      first === undefined
        ? `whether an event had the digest ${digest} is not known: no log leads to signed registers in a bank of such digests`
        : `whether an event had the digest ${digest} is not known, as it is not known what went into register ${first.unknown.join(" ")}`,
      source,
    );
}

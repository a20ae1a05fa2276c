import { Checklist, type CheckResult } from "../check.ts";
import type { Context } from "../context.ts";
import { type TpmCheckId, tpmChecks } from "../tpm/checks.ts";
import type { AttestationKey, KeyFault, KeyMissing } from "../tpm/key.ts";
import { QuoteJudgement, type TpmClaims, type TpmQuoteEvidence } from "../tpm/quote.ts";
import { logChecks } from "./checks.ts";
import type { LogClaims } from "./replay.ts";
import { readLog, TpmLog } from "./tpm-log.ts";

/** What a virtual TPM says of a boot. */
export interface BootEvidence {
  readonly tpmQuote?: TpmQuoteEvidence;
  readonly eventLog?: Uint8Array;
}

export interface BootOptions {
  readonly nonce?: Uint8Array;
  readonly eventLogRegisters?: readonly number[];
}

export interface AttestedBoot {
  readonly tpm: TpmClaims | undefined;
  readonly log: LogClaims | undefined;
  readonly checks: readonly CheckResult[];
}

/**
 * From the attestation key to the boot: quote, PCR values, event log. `key` is what the hardware vouches for; undefined: that could not be
 * found out. What is not there is left out of the checks: whether it has to be there is for the policy.
 */
export async function attestedBoot(
  context: Context,
  { tpmQuote, eventLog }: BootEvidence,
  key: AttestationKey | KeyFault | KeyMissing | undefined,
  { nonce, eventLogRegisters }: BootOptions,
): Promise<AttestedBoot> {
  const logged = new Checklist(logChecks);
  const log = eventLog && readLog(logged, eventLog);
  const unproven = log && { log, banks: [], events: [] };
  if (tpmQuote === undefined) {
    if (log !== undefined) logged.skip("log.replay", "there is no TPM quote that the log could lead to");
    return {
      tpm: undefined,
      log: unproven,
      checks: [...unanswered(nonce), ...(eventLog === undefined ? [] : logged.results())],
    };
  }
  const checks = new Checklist(tpmChecks);
  const results = () => [...checks.results(), ...(eventLog === undefined ? [] : logged.results())];
  const judgement = new QuoteJudgement(context, checks);
  const signed = await judgement.signed(tpmQuote, key, nonce);
  if (signed === undefined) return { tpm: undefined, log: unproven, checks: results() };
  const { quote, hash, signedBy } = signed;
  const tpmLog = log && new TpmLog(context, logged, log);
  const given = tpmQuote.pcrs ?? (tpmLog && (await tpmLog.values(quote)));
  const pcrs = await judgement.pcrs(quote, hash, given);
  const explained = tpmLog && pcrs ? await tpmLog.against(pcrs, eventLogRegisters) : unproven;
  return { tpm: { quote, signedBy, pcrs }, log: explained, checks: results() };
}

/** Who asked with a nonce, and got no quote, has no answer: a quote may have been taken away since it was not fresh. */
function unanswered(nonce: Uint8Array | undefined): readonly CheckResult[] {
  if (nonce === undefined) return [];
  const checks = new Checklist(tpmChecks);
  checks.drop(...(Object.keys(tpmChecks) as TpmCheckId[]).filter((id) => id !== "tpm.quote.nonce"));
  checks.skip("tpm.quote.nonce", "there is no TPM quote that could hold the nonce");
  return checks.results();
}

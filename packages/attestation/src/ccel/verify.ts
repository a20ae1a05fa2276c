import { type EventLog, parseEventLog } from "@entresol/evidence";
import { toHex } from "@entresol/wire";
import { Checklist, type Place } from "../check.ts";
import { contextOf, inputHash } from "../context.ts";
import { type LogCheckId, logChecks } from "../event-log/checks.ts";
import {
  type LogClaims,
  type ProvenBank,
  provenEvents,
  type Replayed,
  replayed,
} from "../event-log/replay.ts";
import { explanation, readLog } from "../event-log/tpm-log.ts";
import { type Outcome, outcomeOf } from "../outcome.ts";
import { ownCopy } from "../own-copy.ts";
import type { QuoteClaims, QuoteEvidence, QuoteOptions } from "../tdx/evidence.ts";
import { verifyTdx } from "../tdx/verify.ts";
import { sameBytes } from "../x509/chain.ts";
import { isLogJson, parseLogJson } from "./log-json.ts";

/** A TD quote and the firmware's log of the same TD (CCEL), which has to lead to the RTMRs of the quote. */
export interface TdxLogEvidence extends QuoteEvidence {
  /** What the CCEL table points to; ones may follow. Or the log as JSON, as dstack gives it. */
  readonly eventLog: Uint8Array;
}

export interface TdxLogOptions extends QuoteOptions {
  /** RTMRs that the log has to lead to, and the only ones that are looked at. By default all that it names. */
  readonly eventLogRegisters?: readonly number[];
}

/** As for a quote alone, and what the log says. */
export interface TdxLogClaims extends QuoteClaims {
  readonly log: LogClaims | undefined;
}

/** TPM_ALG_SHA384: RTMRs have no other bank. */
const SHA384 = 0x000c;
const rtmrs = [0, 1, 2, 3] as const;

/** Verifies a TD quote, and the log of its TD against it, for a given time. Never throws because of the evidence. */
export async function verifyTdxLog(
  given: TdxLogEvidence,
  options: TdxLogOptions = {},
): Promise<Outcome<TdxLogClaims>> {
  const { eventLog, ...evidence } = ownCopy(given);
  const context = contextOf(options);
  const outcome = await verifyTdx(evidence, { ...options, at: context.at, cache: context.cache });
  const checks = new Checklist<LogCheckId>(logChecks);
  const read = readLog(checks, eventLog, isLogJson(eventLog) ? parseLogJson : parseEventLog);
  const { claims } = outcome;
  const judgement = new RtmrJudgement(checks, options.eventLogRegisters);
  let log: LogClaims | undefined = read && { log: read, banks: [], events: [] };
  if (read !== undefined && claims !== undefined) {
    const registers = await replayed(context, read, SHA384, "sha384", () => 0);
    const bank = judgement.against(read, registers, claims);
    if (bank !== undefined) {
      const explained = new Map([...registers].filter(([index]) => bank.explained.includes(index - 1)));
      const events = await provenEvents(context, explained, "sha384", (index) => index - 1);
      log = { log: read, banks: [bank], events };
    }
  }
  const { verified: _, ...found } = outcome;
  return outcomeOf({
    ...found,
    checks: [...outcome.checks, ...checks.results()],
    inputs: [...outcome.inputs, await inputHash(context, "event-log", eventLog)],
    claims: claims && { ...claims, log },
  });
}

/** Holds what a log leads to against the RTMRs of a quote. */
class RtmrJudgement {
  readonly #checks: Checklist<LogCheckId>;
  readonly #wanted: readonly number[];

  constructor(checks: Checklist<LogCheckId>, only: readonly number[] | undefined) {
    this.#checks = checks;
    this.#wanted = only ?? rtmrs;
  }

  /** Gives undefined unless everything agrees. */
  against(
    log: EventLog,
    registers: ReadonlyMap<number, Replayed>,
    { quote }: QuoteClaims,
  ): ProvenBank | undefined {
    const { body } = quote;
    const checks = this.#checks;
    if (body.tee !== "tdx") return undefined;
    if (!log.algorithms.some(({ id }) => id === SHA384)) {
      checks.fail("log.replay", "the log has no SHA-384 digests, which RTMRs are made of");
      return undefined;
    }
    const explained: number[] = [];
    const unknown: number[] = [];
    // Index 0 is MRTD, which nothing is extended into; there are four RTMRs behind it.
    for (const [index, { events }] of registers)
      if (index === 0 || index > rtmrs.length)
        checks.fail(
          "log.replay",
          `an event of measurement register ${index}: RTMR 0 to 3 are 1 to 4`,
          ...placesOf(events),
        );
    for (const number of rtmrs.filter((one) => this.#wanted.includes(one))) {
      const name = `rtmr${number}` as const;
      const signed = body.fields[name];
      const register = registers.get(number + 1);
      if (register === undefined) {
        if (signed.some((byte) => byte !== 0)) unknown.push(number);
      } else if (sameBytes(register.value, signed)) explained.push(number);
      else {
        const field = quote.map.get(`body.${name}`);
        checks.fail(
          "log.replay",
          `RTMR ${number}: the log leads to ${toHex(register.value)}, the quote has ${toHex(signed)}`,
          { input: "quote", offset: field?.offset ?? 0, length: field?.length ?? 0 },
          ...placesOf(register.events),
        );
      }
    }
    if (checks.stateOf("log.replay") === "failed") return undefined;
    const bank: ProvenBank = { bank: "sha384", explained, unknown };
    checks.decide(
      "log.replay",
      explained.length > 0,
      explained.length > 0 ? explanation("RTMR", bank) : "the log has no event of an RTMR",
    );
    return explained.length > 0 ? bank : undefined;
  }
}

/** The last of the events. */
function placesOf(events: Replayed["events"]): Place[] {
  const last = events.at(-1)?.event;
  return last === undefined ? [] : [{ input: "event-log", offset: last.offset, length: last.length }];
}

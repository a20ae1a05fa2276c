import { type EventLog, parseEventLog, type TpmQuote } from "@entresol/evidence";
import { MalformedError, toHex } from "@entresol/wire";
import type { Checklist } from "../check.ts";
import type { Context } from "../context.ts";
import { type HashName, hashSizes } from "../crypto/provider.ts";
import { banks, type PcrValues, type QuotedPcr } from "../tpm/quote.ts";
import { sameBytes } from "../x509/chain.ts";
import type { LogCheckId } from "./checks.ts";
import {
  type LogClaims,
  type ProvenBank,
  type ProvenEvent,
  provenEvents,
  type Replayed,
  replayed,
} from "./replay.ts";

const INPUT = "event-log";
/** PCR that a dynamic launch begins; all ones before (PC Client profile, table 1). */
const isDynamic = (index: number): boolean => index >= 17 && index <= 22;

/** PCR that a boot measures into, and that only a restart sets back. */
const staticPcrs = Array.from({ length: 16 }, (_, index) => index);

/** Reads a log, whoever wrote it, by `parse`. */
export function readLog(
  checks: Checklist<LogCheckId>,
  bytes: Uint8Array,
  parse: (bytes: Uint8Array) => EventLog = parseEventLog,
): EventLog | undefined {
  try {
    const log = parse(bytes);
    checks.pass("log.form", `${log.events.length} events, ${log.format}`, {
      input: INPUT,
      offset: 0,
      length: log.length,
    });
    return log;
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    checks.fail("log.form", error.message, { input: INPUT, offset: error.offset, length: 4 });
    return undefined;
  }
}

/** A TPM's log against the PCRs that a quote holds. */
export class TpmLog {
  readonly #context: Context;
  readonly #checks: Checklist<LogCheckId>;
  readonly #log: EventLog;
  readonly #banks = new Map<HashName, ReadonlyMap<number, Replayed>>();

  constructor(context: Context, checks: Checklist<LogCheckId>, log: EventLog) {
    this.#context = context;
    this.#checks = checks;
    this.#log = log;
  }

  /** Values that all PCRs of the quote's banks would have if the log were all that happened. */
  async values(quote: TpmQuote): Promise<PcrValues> {
    const values: Partial<Record<HashName, (Uint8Array | undefined)[]>> = {};
    for (const { algorithm, pcrs } of quote.banks) {
      const hash = banks.get(algorithm);
      if (hash === undefined || !this.#log.algorithms.some(({ id }) => id === algorithm)) continue;
      const registers = await this.#registers(algorithm, hash);
      const bank = values[hash] ?? [];
      values[hash] = bank;
      for (const index of pcrs) bank[index] = registers.get(index)?.value ?? this.#initial(hash, index);
    }
    return values;
  }

  async #registers(algorithm: number, hash: HashName): Promise<ReadonlyMap<number, Replayed>> {
    let registers = this.#banks.get(hash);
    if (registers === undefined) {
      registers = await replayed(this.#context, this.#log, algorithm, hash);
      this.#banks.set(hash, registers);
    }
    return registers;
  }

  /**
   * Holds the log against the PCRs of a quote, in every bank that both have: whatever the log says of a PCR that is quoted has to lead to
   * its value. `only`: PCRs that count; others are not looked at.
   */
  async against(
    pcrs: readonly QuotedPcr[],
    only: readonly number[] | undefined,
  ): Promise<LogClaims | undefined> {
    const checks = this.#checks;
    const proven: { readonly bank: ProvenBank; readonly registers: ReadonlyMap<number, Replayed> }[] = [];
    for (const [algorithm, hash] of banks) {
      const values = new Map(
        pcrs.filter(({ bank }) => bank === hash).map(({ index, value }) => [index, value]),
      );
      if (values.size === 0 || !this.#log.algorithms.some(({ id }) => id === algorithm)) continue;
      const registers = await this.#registers(algorithm, hash);
      const explained = new Map<number, Replayed>();
      const unknown: number[] = [];
      for (const index of only ?? staticPcrs) if (!values.has(index)) unknown.push(index);
      for (const [index, value] of values) {
        if (only?.includes(index) === false) continue;
        const register = registers.get(index);
        if (register === undefined) {
          if (!sameBytes(value, this.#initial(hash, index))) unknown.push(index);
        } else if (sameBytes(register.value, value)) explained.set(index, register);
        else this.#differs(`PCR ${index} of ${hash}`, register, value);
      }
      proven.push({
        bank: { bank: hash, explained: ordered([...explained.keys()]), unknown: ordered(unknown) },
        registers: explained,
      });
    }
    if (checks.stateOf("log.replay") === "failed") return { log: this.#log, banks: [], events: [] };
    if (proven.every(({ registers }) => registers.size === 0)) {
      checks.fail("log.replay", "the log has no event of a PCR that is quoted, in a bank that is quoted");
      return { log: this.#log, banks: [], events: [] };
    }
    const events: ProvenEvent[] = [];
    for (const { bank, registers } of proven) {
      checks.pass("log.replay", explanation("PCR", bank));
      events.push(...(await provenEvents(this.#context, registers, bank.bank)));
    }
    return { log: this.#log, banks: proven.map(({ bank }) => bank), events };
  }

  #differs(name: string, { value, events }: Replayed, signed: Uint8Array): void {
    const last = events.at(-1)?.event;
    this.#checks.fail("log.replay", `${name}: the log leads to ${toHex(value)}, ${toHex(signed)} is quoted`, {
      input: INPUT,
      offset: last?.offset ?? 0,
      length: last?.length ?? 0,
    });
  }

  /** The value of a PCR that nothing was extended into. */
  #initial(hash: HashName, index: number): Uint8Array {
    const value = new Uint8Array(hashSizes[hash]).fill(isDynamic(index) ? 0xff : 0);
    if (index === 0) value[value.length - 1] = this.#log.startupLocality;
    return value;
  }
}

const ordered = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b);

/** In words, what a bank's log leads to and what it leaves open. */
export function explanation(name: string, { bank, explained, unknown }: ProvenBank): string {
  return `${name} ${explained.join(" ") || "none"} of ${bank}${unknown.length === 0 ? "" : `; what went into ${name} ${unknown.join(" ")} is not known`}`;
}

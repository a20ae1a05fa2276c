import { type EventLog, extensions, type LoggedEvent } from "@entresol/evidence";
import type { Context } from "../context.ts";
import type { HashName } from "../crypto/provider.ts";
import { sameBytes } from "../x509/chain.ts";

/** What a log says of one register. */
export interface Replayed {
  /** The register's value after the last event. */
  readonly value: Uint8Array;
  readonly events: readonly { readonly event: LoggedEvent; readonly digest: Uint8Array }[];
}

/** The registers that a log names, with their final values in one bank. `algorithm`: the bank as TPM_ALG_ID, `hash` the same by name. */
export async function replayed(
  { crypto }: Context,
  log: EventLog,
  algorithm: number,
  hash: HashName,
  initialOf?: (index: number) => number,
): Promise<Map<number, Replayed>> {
  const registers = new Map<number, Replayed>();
  for (const [index, { initial, extends: events }] of extensions(log, algorithm, initialOf)) {
    let value = initial;
    for (const { digest } of events) value = await crypto.digest(hash, value, digest);
    registers.set(index, { value: new Uint8Array(value), events });
  }
  return registers;
}

/** An event of a log that leads to a signed register. */
export interface ProvenEvent {
  readonly bank: HashName;
  /** PCR, or RTMR, by its own number. */
  readonly register: number;
  readonly event: LoggedEvent;
  /** What was extended; signed with the register. */
  readonly digest: Uint8Array;
  /**
   * The event's data are what was hashed, and so as good as its digest. Otherwise they describe it, and anybody may have written them:
   * an image is measured by its own hash, and the event names its path.
   */
  readonly dataMeasured: boolean;
}

/** A bank in which the log was held against signed registers. */
export interface ProvenBank {
  readonly bank: HashName;
  /** Registers that the log leads to. */
  readonly explained: readonly number[];
  /** Registers that should be known and are not: not signed, or extended by something that the log does not have. */
  readonly unknown: readonly number[];
}

/** What a log says that leads to signed registers. */
export interface LogClaims {
  readonly log: EventLog;
  /** Empty unless all that was compared agrees. */
  readonly banks: readonly ProvenBank[];
  /** Events of the registers explained, bank by bank in the order of the log. */
  readonly events: readonly ProvenEvent[];
}

/** The events of these registers, in the order of the log. `numberOf` gives the register's own number. */
export async function provenEvents(
  { crypto }: Context,
  registers: ReadonlyMap<number, Replayed>,
  bank: HashName,
  numberOf: (index: number) => number = (index) => index,
): Promise<ProvenEvent[]> {
  const proven: ProvenEvent[] = [];
  for (const [index, { events }] of registers)
    for (const { event, digest } of events) {
      const dataMeasured = sameBytes(await crypto.digest(bank, event.data), digest);
      proven.push({ bank, register: numberOf(index), event, digest, dataMeasured });
    }
  return proven.sort((a, b) => a.event.offset - b.event.offset);
}

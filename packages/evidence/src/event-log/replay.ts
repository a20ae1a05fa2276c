import type { EventLog, LoggedEvent } from "./event-log.ts";
import { EventType } from "./event-types.ts";

/** What a log says was extended into one register by one algorithm. */
export interface Extensions {
  /** Value of the register before the first. */
  readonly initial: Uint8Array;
  /** In order; each makes value = H(value || digest). */
  readonly extends: readonly { readonly event: LoggedEvent; readonly digest: Uint8Array }[];
}

/** PCRs that a reset sets to ones: those of a dynamic launch (PC Client profile, table 1). */
const FIRST_DYNAMIC = 17;
const LAST_DYNAMIC = 22;

/**
 * The extends of every register that the log names, by register index. EV_NO_ACTION extends nothing. `initialOf` gives the byte that fills
 * register `index` before; by default zeros, ones for PCR 17 to 22, as a platform reset leaves them. PCR 0 begins with the start-up locality.
 * An algorithm that the log does not have gives an empty map.
 */
export function extensions(
  log: EventLog,
  algorithm: number,
  initialOf: (index: number) => number = (index) =>
    index >= FIRST_DYNAMIC && index <= LAST_DYNAMIC ? 0xff : 0,
): Map<number, Extensions> {
  const registers = new Map<
    number,
    { initial: Uint8Array; extends: { event: LoggedEvent; digest: Uint8Array }[] }
  >();
  const size = log.algorithms.find(({ id }) => id === algorithm)?.digestSize;
  if (size === undefined) return registers;
  for (const event of log.events) {
    if (event.type === EventType.EV_NO_ACTION) continue;
    const digest = event.digests.find((one) => one.algorithm === algorithm)?.digest;
    if (digest === undefined) continue;
    let register = registers.get(event.index);
    if (register === undefined) {
      const initial = new Uint8Array(size).fill(initialOf(event.index));
      if (event.index === 0) initial[size - 1] = log.startupLocality;
      register = { initial, extends: [] };
      registers.set(event.index, register);
    }
    register.extends.push({ event, digest });
  }
  return registers;
}

/** The final value of every register that the log names, by register index. `hash` is the algorithm's own, over the two parts one after the other. */
export function replay(
  log: EventLog,
  algorithm: number,
  hash: (value: Uint8Array, digest: Uint8Array) => Uint8Array,
  initialOf?: (index: number) => number,
): Map<number, Uint8Array> {
  const values = new Map<number, Uint8Array>();
  for (const [index, { initial, extends: steps }] of extensions(log, algorithm, initialOf)) {
    let value = initial;
    for (const { digest } of steps) value = hash(value, digest);
    values.set(index, value);
  }
  return values;
}

import { QtestMachine, type QtestMachineOptions } from "../qtest-machine.ts";
import type { QtestOperation } from "../qtest-operation.ts";
import { SequenceRandom } from "./random.ts";
import type { SteppedTime } from "./stepped-time.ts";

/*
 * Our device and QEMU's do the same operations side by side. Operations are drawn in sequences: each begins with an opening that
 * brings a device from any state into one and the same, so that sequences do not depend on each other and a mismatch can be
 * shrunk. What differs is either a known difference, by a rule with a name, or a mismatch.
 */

/** What is done on both sides: an access, a change of an input, or nothing for some time. */
export type Operation = QtestOperation | { readonly kind: "step"; readonly ns: number };

/** What an operation showed. */
export interface Outcome {
  /** What a read gave, 0 for other operations. */
  readonly value: number;
  /** Levels of the lines that are observed, line 0 in bit 0. */
  readonly levels: number;
  /** Interrupt messages that it caused, in order; empty where none are observed. */
  readonly messages: string;
}

export type Aspect = keyof Outcome;
const aspects: readonly Aspect[] = ["value", "levels", "messages"];

/** What our device showed. */
export interface OwnOutcome extends Outcome {
  /** What the rules of this device want to know of it behind the operation; it is not compared. */
  readonly note?: number;
}

/** Our device, wired up for the comparison. */
export interface Subject {
  perform(operation: Operation): OwnOutcome;
}

/** An outcome that differs, and how it came to it. */
export interface Mismatch<S extends Subject = Subject> {
  readonly operations: readonly Operation[];
  readonly index: number;
  readonly operation: Operation;
  readonly ours: OwnOutcome;
  readonly theirs: Outcome;
  /** The note behind the operation before this one; behind the opening undefined. */
  readonly noteBefore: number | undefined;
  /** Our device as it was before the first operation of the sequence. */
  start(): S;
}

/** A difference that has a reason. */
export interface Difference<S extends Subject = Subject> {
  readonly name: string;
  /** What differs, in one sentence. */
  readonly what: string;
  /** The clause of the data sheet that decides, or why none does. */
  readonly clause: string;
  readonly right: "ours" | "QEMU" | "both";
  /** The devices' states are the same afterwards, so that the sequence can go on. */
  readonly goesOn: boolean;
  /** Of the aspects that differ, those that differ for this reason. */
  explains(mismatch: Mismatch<S>): readonly Aspect[];
}

/** How one device is compared. */
export interface DeviceOracle<S extends Subject = Subject> {
  readonly name: string;
  /** What the comparison leaves out, and why. */
  readonly excluded: string;
  /** Operations of one sequence. */
  readonly length: number;
  /** Starts QEMU and prepares it. */
  start(): Promise<Opponent>;
  create(): S;
  readonly opening: readonly Operation[];
  /** A new source of operations for one sequence; it may look at our device, which has done all that it drew before. */
  drawer(random: SequenceRandom, subject: S): () => Operation;
  readonly differences: readonly Difference<S>[];
  /** False when operations cannot be left out one by one; a mismatch is then shown with all that came before. */
  readonly shrinks?: boolean;
}

/** QEMU's device: the machine that it is in, and how that performs operations. */
export interface Opponent {
  readonly machine: QtestMachine;
  perform(operations: readonly Operation[]): Promise<Outcome[]>;
}

/** What some sequences gave. */
export interface LockstepReport {
  /** Operations compared; openings and steps of time are not counted, nor what followed a difference after which the devices' states part. */
  compared: number;
  readonly messages: string[];
  mismatches: number;
  /** How often each known difference was met. */
  readonly explained: Map<string, number>;
}

interface Sequence {
  readonly operations: readonly Operation[];
  readonly ours: readonly OwnOutcome[];
}

/** Sequences that are sent together. */
const together = 40;

/** Holds a QEMU until it is disposed. */
export class Lockstep<S extends Subject> implements AsyncDisposable {
  readonly #oracle: DeviceOracle<S>;
  readonly #opponent: Opponent;

  private constructor(oracle: DeviceOracle<S>, opponent: Opponent) {
    this.#oracle = oracle;
    this.#opponent = opponent;
  }

  static async start<S extends Subject>(oracle: DeviceOracle<S>): Promise<Lockstep<S>> {
    return new Lockstep(oracle, await oracle.start());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opponent.machine.shutdown();
  }

  /** Compares sequences `first` to `first + count - 1` of `seed`. */
  async run(seed: number, first: number, count: number): Promise<LockstepReport> {
    const report: LockstepReport = { compared: 0, messages: [], mismatches: 0, explained: new Map() };
    for (let start = first; start < first + count; start += together) {
      const sequences: Sequence[] = [];
      for (let number = start; number < Math.min(start + together, first + count); number++)
        sequences.push(this.#draw(new SequenceRandom(seed, number)));
      const theirs = await this.#opponent.perform(
        sequences.flatMap(({ operations }) => [...this.#oracle.opening, ...operations]),
      );
      let at = 0;
      for (const [index, { operations, ours }] of sequences.entries()) {
        at += this.#oracle.opening.length;
        const mismatch = this.#compare(operations, ours, theirs, at, report);
        at += operations.length;
        if (mismatch === undefined) continue;
        report.mismatches++;
        if (report.mismatches > 3) continue;
        const shrunk =
          this.#oracle.shrinks === false
            ? undefined
            : await this.#shrink(operations.slice(0, mismatch.index + 1));
        report.messages.push(
          `${this.#oracle.name}, seed ${seed}, sequence ${start + index}: ${textOf(shrunk ?? mismatch)}`,
        );
      }
    }
    return report;
  }

  #draw(random: SequenceRandom): Sequence {
    const subject = this.#opened();
    const draw = this.#oracle.drawer(random, subject);
    const operations: Operation[] = [];
    const ours: OwnOutcome[] = [];
    for (let index = 0; index < this.#oracle.length; index++) {
      const operation = draw();
      operations.push(operation);
      ours.push(subject.perform(operation));
    }
    return { operations, ours };
  }

  #opened(): S {
    const subject = this.#oracle.create();
    for (const operation of this.#oracle.opening) subject.perform(operation);
    return subject;
  }

  /** The first mismatch of a sequence that no rule explains. */
  #compare(
    operations: readonly Operation[],
    ours: readonly OwnOutcome[],
    theirs: readonly Outcome[],
    at: number,
    report?: LockstepReport,
  ): Mismatch<S> | undefined {
    for (let index = 0; index < operations.length; index++) {
      const [a, b] = [ours[index]!, theirs[at + index]!];
      if (report !== undefined && operations[index]!.kind !== "step") report.compared++;
      if (a.value === b.value && a.levels === b.levels && a.messages === b.messages) continue;
      const mismatch: Mismatch<S> = {
        operations,
        index,
        operation: operations[index]!,
        ours: a,
        theirs: b,
        noteBefore: ours[index - 1]?.note,
        start: () => this.#opened(),
      };
      const reasons = this.#reasons(mismatch);
      if (reasons === undefined) return mismatch;
      for (const { name } of reasons) report?.explained.set(name, (report.explained.get(name) ?? 0) + 1);
      if (reasons.some(({ goesOn }) => !goesOn)) return undefined;
    }
    return undefined;
  }

  /** The known differences that explain it together, undefined when something stays unexplained. */
  #reasons(mismatch: Mismatch<S>): readonly Difference<S>[] | undefined {
    const { ours, theirs } = mismatch;
    const open = new Set(aspects.filter((aspect) => ours[aspect] !== theirs[aspect]));
    const reasons = this.#oracle.differences.filter((difference) => {
      const explained = difference.explains(mismatch).filter((aspect) => open.has(aspect));
      for (const aspect of explained) open.delete(aspect);
      return explained.length > 0;
    });
    return open.size === 0 ? reasons : undefined;
  }

  /** Leaves out operations as long as an unexplained mismatch stays. */
  async #shrink(operations: readonly Operation[]): Promise<Mismatch<S> | undefined> {
    let best: Mismatch<S> | undefined;
    let kept = [...operations];
    for (let size = kept.length >> 1; size >= 1; size >>= 1) {
      for (let start = 0; start + size <= kept.length; ) {
        const candidate = withoutRepeatedLevels([...kept.slice(0, start), ...kept.slice(start + size)]);
        const mismatch = await this.#attempt(candidate);
        if (mismatch === undefined) start += size;
        else {
          best = mismatch;
          kept = candidate.slice(0, mismatch.index + 1);
        }
      }
    }
    return best;
  }

  async #attempt(operations: readonly Operation[]): Promise<Mismatch<S> | undefined> {
    if (operations.length === 0) return undefined;
    const subject = this.#opened();
    const ours = operations.map((operation) => subject.perform(operation));
    const theirs = await this.#opponent.perform([...this.#oracle.opening, ...operations]);
    return this.#compare(operations, ours, theirs, this.#oracle.opening.length);
  }
}

/** Without inputs that are driven to the level that they have; the opening leaves them low. */
function withoutRepeatedLevels(operations: readonly Operation[]): Operation[] {
  const high = new Set<string>();
  return operations.filter((operation) => {
    if (operation.kind !== "input") return true;
    const name = `${operation.path} ${operation.line}`;
    if (high.has(name) === operation.level) return false;
    if (operation.level) high.add(name);
    else high.delete(name);
    return true;
  });
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** An operation in one word or two. */
export function operationText(operation: Operation): string {
  switch (operation.kind) {
    case "port read":
      return `in${8 * operation.width} ${hex(operation.port)}`;
    case "port write":
      return `out${8 * operation.width} ${hex(operation.port)}=${hex(operation.value)}`;
    case "memory read":
      return `read${8 * operation.width} ${hex(operation.at)}`;
    case "memory write":
      return `write${8 * operation.width} ${hex(operation.at)}=${hex(operation.value)}`;
    case "input":
      return `${operation.path.replace(/^.*\//, "")} input ${operation.line} ${operation.level ? "up" : "down"}`;
    case "step":
      return `wait ${operation.ns} ns`;
    default:
      return operation satisfies never;
  }
}

function textOf<S extends Subject>({ operations, index, ours, theirs }: Mismatch<S>): string {
  const seen = ({ value, levels, messages }: Outcome): string =>
    `value ${hex(value)}, lines ${hex(levels)}${messages === "" ? "" : `, messages ${messages}`}`;
  const steps = operations.slice(0, index + 1).map(operationText);
  return `${steps.join("; ")} -> ours ${seen(ours)}; QEMU ${seen(theirs)}`;
}

/** Keeps timer and clock from interrupting: with the HPET in legacy replacement, and not counting, their lines are cut off. */
export async function silenceTimers(machine: QtestMachine): Promise<void> {
  await machine.mmioWrite(0xfed0_0010, 4, 2);
}

/** What `startOpponent` needs to know of a machine that it has started. */
export interface Preparation {
  /** Of the intercepted lines those that count. */
  readonly lines?: number;
  /** Moves time; without it no operation may be a step. */
  readonly time?: SteppedTime;
  /** The path of an input that an operation names. */
  readonly pathOf?: (name: string) => string;
  /** Of what a read gave, the bits that are compared; our device leaves out the others itself. */
  readonly compared?: (operation: QtestOperation) => number;
}

/** Starts a machine that `prepare` readies. No messages are seen. */
export async function startOpponent(
  options: QtestMachineOptions,
  prepare: (machine: QtestMachine) => Promise<Preparation>,
): Promise<Opponent> {
  const machine = await QtestMachine.start(options);
  try {
    const { lines = 0, time, pathOf = (name: string) => name, compared } = await prepare(machine);
    const accesses = async (operations: readonly QtestOperation[]): Promise<Outcome[]> => {
      const { values, levels } = await machine.perform(
        operations.map((each) => (each.kind === "input" ? { ...each, path: pathOf(each.path) } : each)),
      );
      return operations.map((operation, index) => ({
        value: compared === undefined ? values[index]! : (values[index]! & compared(operation)) >>> 0,
        levels: levels[index]! & lines,
        messages: "",
      }));
    };
    return {
      machine,
      perform: async (operations) => {
        const outcomes: Outcome[] = [];
        let waiting: QtestOperation[] = [];
        for (const operation of operations) {
          if (operation.kind !== "step") {
            waiting.push(operation);
            continue;
          }
          // Sent together: the answers come in order.
          const [seen] = await Promise.all([accesses(waiting), time!.step(operation.ns)]);
          outcomes.push(...seen);
          waiting = [];
          outcomes.push({ value: 0, levels: machine.levels & lines, messages: "" });
        }
        outcomes.push(...(await accesses(waiting)));
        return outcomes;
      },
    };
  } catch (error) {
    await machine.shutdown();
    throw error;
  }
}

/** Does `happens` hold for the operation of the mismatch or for one before it? It is asked in order. */
export function causeIn(
  { operations, index }: Mismatch,
  happens: (operation: Operation) => boolean,
): boolean {
  return operations.slice(0, index + 1).some(happens);
}

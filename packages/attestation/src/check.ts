/** A rule that evidence is held against: one entry of a table, which drives verification, its report, the documentation and the tests. */
export interface CheckDefinition {
  /** What must hold, in plain words. */
  readonly title: string;
  /** Document and clause. */
  readonly spec: string;
}

export type CheckTable = Readonly<Record<string, CheckDefinition>>;

/** Where in an input the bytes lie that decided. */
export interface Place {
  /** Name of the input, for example "report". */
  readonly input: string;
  /** First byte and number of bytes. */
  readonly offset: number;
  readonly length: number;
}

export type CheckState = "passed" | "failed" | "not-run";

export interface CheckResult {
  readonly id: string;
  readonly result: CheckState;
  readonly title: string;
  readonly spec: string;
  /** What was found: values on success, what is wrong and by how much on failure, what was missing when it could not run. */
  readonly detail: string;
  readonly places: readonly Place[];
}

interface Entry {
  state: CheckState;
  details: string[];
  places: Place[];
}

/**
 * Results as they come in, against a table. A check may be decided several times (each list of a chain): one failure makes it failed, one
 * that could not run makes it not-run unless something failed. What nobody decided is not-run: a verdict never rests on silence.
 */
export class Checklist<Id extends string> {
  readonly #table: Readonly<Record<Id, CheckDefinition>>;
  readonly #entries = new Map<Id, Entry>();
  readonly #dropped = new Set<Id>();

  constructor(table: Readonly<Record<Id, CheckDefinition>>) {
    this.#table = table;
  }

  #add(id: Id, state: CheckState, detail: string, places: readonly Place[]): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      this.#entries.set(id, { state, details: [detail], places: [...places] });
      return;
    }
    if (rank[state] > rank[entry.state]) {
      entry.state = state;
      entry.details = [detail];
      entry.places = [...places];
    } else if (state === entry.state) {
      if (!entry.details.includes(detail)) entry.details.push(detail);
      entry.places.push(...places);
    }
  }

  pass(id: Id, detail: string, ...places: readonly Place[]): void {
    this.#add(id, "passed", detail, places);
  }
  fail(id: Id, detail: string, ...places: readonly Place[]): void {
    this.#add(id, "failed", detail, places);
  }
  /** The check could not run, and why: something is missing. */
  skip(id: Id, why: string): void {
    this.#add(id, "not-run", why, []);
  }
  /** Passes or fails by `holds`; gives `holds`. */
  decide(id: Id, holds: boolean, detail: string, ...places: readonly Place[]): boolean {
    this.#add(id, holds ? "passed" : "failed", detail, places);
    return holds;
  }
  /** The check says nothing about this kind of evidence, and is left out of the report. */
  drop(...ids: readonly Id[]): void {
    for (const id of ids) this.#dropped.add(id);
  }

  stateOf(id: Id): CheckState {
    return this.#entries.get(id)?.state ?? "not-run";
  }
  get failed(): boolean {
    for (const { state } of this.#entries.values()) if (state === "failed") return true;
    return false;
  }

  /** In the table's order. */
  results(): CheckResult[] {
    const results: CheckResult[] = [];
    for (const id of Object.keys(this.#table) as Id[]) {
      const entry = this.#entries.get(id);
      if (entry === undefined && this.#dropped.has(id)) continue;
      const { title, spec } = this.#table[id];
      results.push({
        id,
        result: entry?.state ?? "not-run",
        title,
        spec,
        detail: entry?.details.join("; ") ?? "a check before it did not pass",
        places: entry?.places ?? [],
      });
    }
    return results;
  }
}

const rank: Readonly<Record<CheckState, number>> = { passed: 0, "not-run": 1, failed: 2 };

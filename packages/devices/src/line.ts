import type { InterruptLine } from "./device.ts";

/** Wired-OR: several sources drive one line, which is high while any of them is. */
export class SharedLine {
  readonly #target: InterruptLine;
  #asserted = 0;

  constructor(target: InterruptLine) {
    this.#target = target;
  }

  get level(): boolean {
    return this.#asserted > 0;
  }

  /** A new source, low at first. Only changes of a source count, so driving the same level twice is harmless. */
  source(): InterruptLine {
    let driven = false;
    return {
      set: (level) => {
        if (level === driven) return;
        driven = level;
        this.#asserted += level ? 1 : -1;
        // Only the first source up and the last one down change the wire.
        if (this.#asserted === (level ? 1 : 0)) this.#target.set(level);
      },
    };
  }
}

/** One source, several receivers: an ISA interrupt goes to the 8259 pair and to the IOAPIC alike. */
export class LineFanout implements InterruptLine {
  readonly #targets: readonly InterruptLine[];

  constructor(...targets: readonly InterruptLine[]) {
    this.#targets = targets;
  }

  set(level: boolean): void {
    for (const target of this.#targets) target.set(level);
  }
}

/** A line that leads nowhere, for a device whose interrupt is not wired. */
export const unconnectedLine: InterruptLine = { set() {} };

/** A line that remembers, for tests. */
export class RecordingLine implements InterruptLine {
  level = false;
  /** Changes from low to high. */
  risingEdges = 0;
  /** Changes from high to low. */
  fallingEdges = 0;
  /** Levels in order, without repetitions. */
  readonly history: boolean[] = [];

  set(level: boolean): void {
    if (level === this.level) return;
    this.level = level;
    this.history.push(level);
    if (level) this.risingEdges++;
    else this.fallingEdges++;
  }
}

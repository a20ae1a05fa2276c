import type { InterruptLine } from "./device.ts";

/**
 * A wire with a switch in it, for what legacy replacement cuts off. The source's level is remembered while the switch is open and
 * shows again when it is closed.
 */
export class SwitchedLine implements InterruptLine {
  readonly #target: InterruptLine;
  #level = false;
  #closed = true;

  constructor(target: InterruptLine) {
    this.#target = target;
  }

  set(level: boolean): void {
    this.#level = level;
    if (this.#closed) this.#target.set(level);
  }

  /** `closed`: the source reaches the line. */
  connect(closed: boolean): void {
    if (closed === this.#closed) return;
    this.#closed = closed;
    this.#target.set(closed && this.#level);
  }
}

import { describe, expect, it } from "vitest";
import { Attention } from "./attention.ts";

/** An event loop whose turns take `turn` ms each. */
class Loop {
  time = 0;
  readonly #due: (() => void)[] = [];
  readonly now = (): number => this.time;
  readonly nextTurn = (action: () => void): void => void this.#due.push(action);

  /** Turns until nothing is due, or `until`. Gives their number. */
  run(until = Number.POSITIVE_INFINITY, turn = 0.01): number {
    for (let turns = 0; ; turns++) {
      const action = this.time < until ? this.#due.shift() : undefined;
      if (action === undefined) return turns;
      this.time += turn;
      action();
    }
  }
}

function start(otherProcessors = true): { loop: Loop; attention: Attention; command(): void } {
  const loop = new Loop();
  const attention = new Attention({ now: loop.now, nextTurn: loop.nextTurn, otherProcessors });
  const command = (): void => {
    attention.commandCame();
    loop.time += 0.005;
    attention.responseSent();
  };
  return { loop, attention, command };
}

describe("attention", () => {
  it("is not paid to the first command of a client, or to one that takes its time", () => {
    const { loop, command } = start();
    for (let i = 0; i < 5; i++) {
      command();
      expect(loop.run()).toBe(0);
      loop.time += 0.21;
    }
  });

  it("is paid to a client that has been quick, for a tenth of a millisecond", () => {
    const { loop, command } = start();
    command();
    loop.time += 0.15;
    command();
    const from = loop.time;
    expect(loop.run()).toBeGreaterThanOrEqual(10);
    expect(loop.time - from).toBeGreaterThanOrEqual(0.1);
    expect(loop.time - from).toBeLessThan(0.13);
    // It was not there in that time, and is not waited for once it is slow.
    loop.time += 0.1;
    command();
    expect(loop.run()).toBe(0);
  });

  it("goes on, in one line of turns, as long as commands come", () => {
    const { loop, command } = start();
    for (let i = 0; i < 50; i++) {
      command();
      expect(loop.run(loop.time + 0.05)).toBeLessThanOrEqual(6);
    }
    expect(loop.run()).toBeLessThanOrEqual(12);
  });

  it("ends with the connection", () => {
    const { loop, attention, command } = start();
    command();
    command();
    attention.end();
    expect(loop.run()).toBe(1);
  });

  it("is not paid on a machine where the client could not run meanwhile", () => {
    const { loop, command } = start(false);
    for (let i = 0; i < 5; i++) command();
    expect(loop.run()).toBe(0);
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClockWheel, ManualTime } from "./clock-wheel.ts";

describe("ClockWheel", () => {
  it("fires due alarms in the order of deadline, then creation", () => {
    const wheel = new ManualTime();
    const fired: string[] = [];
    const a = wheel.timer("a", (deadline) => fired.push(`a${deadline}`));
    const b = wheel.timer("b", (deadline) => fired.push(`b${deadline}`));
    const c = wheel.timer("c", (deadline) => fired.push(`c${deadline}`));
    c.arm(5);
    b.arm(7);
    a.arm(7);
    expect(wheel.nextDeadline()).toBe(5);
    wheel.advance(7);
    expect(fired).toEqual(["c5", "a7", "b7"]);
    expect(a.deadline).toBe(Number.POSITIVE_INFINITY);
    expect(wheel.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("does not fire before the deadline, and fires at it", () => {
    const wheel = new ManualTime(100);
    let fired = 0;
    wheel.timer("t", () => fired++).arm(150);
    wheel.advance(49);
    expect(fired).toBe(0);
    wheel.advance(1);
    expect(fired).toBe(1);
    expect(wheel.now()).toBe(150);
  });

  it("replaces a deadline when armed again and forgets it when disarmed", () => {
    const wheel = new ManualTime();
    const timer = wheel.timer("t", () => {});
    timer.arm(10);
    timer.arm(20);
    expect(wheel.nextDeadline()).toBe(20);
    timer.arm(Number.NaN);
    expect(timer.deadline).toBe(Number.POSITIVE_INFINITY);
    timer.arm(30);
    timer.disarm();
    expect(wheel.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("fires an alarm that is armed into the past at the next call, with the deadline that it was given", () => {
    const wheel = new ManualTime(1000);
    const fired: number[] = [];
    wheel.timer("t", (deadline) => fired.push(deadline)).arm(3);
    expect(wheel.nextDeadline()).toBe(3);
    wheel.fireDue();
    expect(fired).toEqual([3]);
  });

  it("fires an alarm that keeps arming itself into the past once per call and lets time go on", () => {
    const wheel = new ManualTime(1000);
    let fired = 0;
    const timer = wheel.timer("t", () => {
      fired++;
      timer.arm(0);
    });
    timer.arm(0);
    wheel.fireDue();
    expect(fired).toBe(1);
    expect(wheel.nextDeadline()).toBe(1001);
    wheel.advance(5);
    expect(fired).toBe(6);
  });

  it("fires in the same call what another alarm arms into the past", () => {
    const wheel = new ManualTime(50);
    const fired: string[] = [];
    const second = wheel.timer("second", () => fired.push("second"));
    wheel
      .timer("first", () => {
        fired.push("first");
        second.arm(10);
      })
      .arm(40);
    wheel.fireDue();
    expect(fired).toEqual(["first", "second"]);
  });

  it("keeps a periodic alarm free of drift when it arms from the deadline that it was given", () => {
    const wheel = new ManualTime();
    const fired: number[] = [];
    const timer = wheel.timer("t", (deadline) => {
      fired.push(deadline);
      timer.arm(deadline + 10);
    });
    timer.arm(10);
    wheel.advance(35);
    expect(fired).toEqual([10, 20, 30]);
    expect(timer.deadline).toBe(40);
  });

  it("calls onEarlier only when an alarm becomes the earliest, and never while it fires", () => {
    const wheel = new ManualTime();
    let earlier = 0;
    wheel.onEarlier = () => earlier++;
    const a = wheel.timer("a", (deadline) => a.arm(deadline + 1));
    const b = wheel.timer("b", () => {});
    a.arm(100);
    expect(earlier).toBe(1);
    b.arm(200);
    expect(earlier).toBe(1);
    a.arm(300); // the earliest moves away: b is next
    expect(earlier).toBe(1);
    a.arm(150); // earlier than b again
    expect(earlier).toBe(2);
    wheel.advance(150);
    expect(earlier).toBe(2);
    expect(wheel.nextDeadline()).toBe(151);
  });

  it("ignores a call of fireDue from inside an alarm", () => {
    const wheel = new ManualTime(10);
    let fired = 0;
    const timer = wheel.timer("t", () => {
      fired++;
      wheel.fireDue();
      if (fired < 5) timer.arm(1);
    });
    timer.arm(1);
    wheel.fireDue();
    expect(fired).toBe(1);
  });

  it("holds as many alarms as devices ask for and tells them by name", () => {
    const wheel = new ClockWheel({ now: () => 0 });
    for (let i = 0; i < 100; i++) wheel.timer(`t${i}`, () => {}).arm(1000 - i);
    expect(wheel.nextDeadline()).toBe(901);
    expect(wheel.inspect()["t99"]).toEqual({ deadline: 901, fired: 0 });
  });

  it("agrees with a plain list of deadlines for any order of arming and firing", () => {
    const step = fc.record({
      timer: fc.nat(4),
      at: fc.oneof(fc.nat(50), fc.constant(Number.POSITIVE_INFINITY)),
      advance: fc.nat(20),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const wheel = new ManualTime();
        const model = [0, 1, 2, 3, 4].map(() => Number.POSITIVE_INFINITY);
        const fired: number[] = [];
        const timers = model.map((_, index) => wheel.timer(`${index}`, () => fired.push(index)));
        for (const { timer, at, advance } of steps) {
          timers[timer]!.arm(at);
          model[timer] = at;
          expect(wheel.nextDeadline()).toBe(Math.min(...model));
          wheel.advance(advance);
          const due = model
            .map((deadline, index) => ({ deadline, index }))
            .filter(({ deadline }) => deadline <= wheel.now())
            .sort((x, y) => x.deadline - y.deadline || x.index - y.index);
          for (const { index } of due) model[index] = Number.POSITIVE_INFINITY;
          expect(fired.splice(0)).toEqual(due.map(({ index }) => index));
        }
      }),
    );
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InterruptQueue } from "./interrupt-queue.ts";
import { VectorSet } from "./vector-set.ts";

describe("VectorSet", () => {
  it("knows its highest member after any additions and removals", () => {
    const step = fc.record({ add: fc.boolean(), vector: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const set = new VectorSet();
        const model = new Set<number>();
        for (const { add, vector } of steps) {
          if (add) {
            set.add(vector);
            model.add(vector);
          } else {
            set.delete(vector);
            model.delete(vector);
          }
          expect(set.highest).toBe(Math.max(-1, ...model));
          expect(set.has(vector)).toBe(model.has(vector));
        }
        const copy = new VectorSet();
        copy.load(set.words);
        expect(copy.highest).toBe(set.highest);
        copy.clear();
        expect([copy.highest, copy.has(255)]).toEqual([-1, false]);
      }),
    );
  });
});

describe("InterruptQueue", () => {
  it("computes APR as the SDM's formula does", () => {
    const queue = new InterruptQueue();
    queue.taskPriority = 0x5a;
    expect(queue.arbitrationPriority).toBe(0x5a); // TPR above IRRV and ISRV: all of it
    queue.request(0x71, false);
    expect(queue.arbitrationPriority).toBe(0x50); // TPR[7:4] AND IRRV[7:4]
    queue.take();
    expect(queue.arbitrationPriority).toBe(0x70); // ISRV
  });

  it("agrees with priorities computed from plain sets, for any order of requests, TPR and EOI", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("request" as const), value: fc.integer({ min: 16, max: 255 }) }),
      fc.record({ kind: fc.constant("priority" as const), value: fc.nat(255) }),
      fc.record({ kind: fc.constantFrom("take" as const, "finish" as const), value: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const queue = new InterruptQueue();
        const requested = new Set<number>();
        const inService = new Set<number>();
        let task = 0;
        const highest = (set: Set<number>) => Math.max(-1, ...set);
        for (const { kind, value } of steps) {
          if (kind === "request") {
            expect(queue.request(value, false)).toBe(!requested.has(value));
            requested.add(value);
          } else if (kind === "priority") {
            queue.taskPriority = value;
            task = value;
          } else if (kind === "take" && queue.deliverable) {
            const vector = queue.take();
            expect(vector).toBe(highest(requested));
            requested.delete(vector);
            inService.add(vector);
          } else if (kind === "finish") {
            expect(queue.finish()).toBe(highest(inService));
            inService.delete(highest(inService));
          }
          const service = Math.max(highest(inService), 0);
          const ppr = task >> 4 >= service >> 4 ? task : service & 0xf0;
          expect(queue.processorPriority).toBe(ppr);
          expect(queue.deliverable).toBe(requested.size > 0 && highest(requested) >> 4 > ppr >> 4);
        }
      }),
    );
  });
});

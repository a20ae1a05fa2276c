import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { InterruptQueue } from "./interrupt-queue.ts";

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
        const copy = new InterruptQueue();
        copy.load([...queue.requested], [...queue.inService], [...queue.levelTriggered], task);
        expect(copy).toEqual(queue);
        expect([copy.deliverable, copy.finish()]).toEqual([queue.deliverable, highest(inService)]);
      }),
    );
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { maximumSavedBytes, ReceiveQueue, receiveQueueLimit } from "./receive-queue.ts";

describe("the receive queue", () => {
  it("gives characters in the order they came, those put back first", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("push", "unread", "shift"), fc.integer({ min: 0, max: 0xffff })), {
          maxLength: 200,
        }),
        (steps) => {
          const queue = new ReceiveQueue();
          const model: number[] = [];
          for (const [step, character] of steps) {
            if (step === "push" && queue.push(character)) model.push(character);
            else if (step === "unread") {
              queue.unread(character);
              model.unshift(character);
            } else if (step === "shift") expect(queue.shift()).toBe(model.shift() ?? 0);
            expect(queue.length).toBe(model.length);
          }
          const copy = new ReceiveQueue();
          copy.restore(queue.save());
          expect(model.map(() => copy.shift())).toEqual(model);
        },
      ),
    );
  });

  it("accepts 64 KiB, and a full receive FIFO can still be put back", () => {
    const queue = new ReceiveQueue();
    let accepted = 0;
    while (queue.push(1)) accepted++;
    expect(accepted).toBe(receiveQueueLimit);
    expect(queue.push(1)).toBe(false);
    for (let count = 0; count < 16; count++) queue.unread(2);
    expect(queue.length).toBe(receiveQueueLimit + 16);
    expect(queue.save().length).toBe(maximumSavedBytes);
    queue.unread(3);
    expect(queue.shift()).toBe(2);
  });

  it("goes around its ring without losing its place", () => {
    const queue = new ReceiveQueue();
    let wrong = 0;
    for (let count = 0; count < 300_000; count++) {
      queue.push(count & 0xffff);
      if (queue.shift() !== (count & 0xffff)) wrong++;
    }
    expect(wrong).toBe(0);
    queue.push(7);
    queue.clear();
    expect([queue.length, queue.shift()]).toEqual([0, 0]);
  });
});

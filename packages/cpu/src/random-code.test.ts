import { describe, expect, test } from "vitest";
import { BareMachine, CODE } from "./testing/bare-machine.ts";

/*
 * Random bytes as code, in every mode: whatever they do, the module must not trap, must come back at its limit and must
 * not count backwards.
 */

function generator(seed: number): () => number {
  let a = seed >>> 0 || 1;
  return () => {
    a ^= a << 13;
    a >>>= 0;
    a ^= a >>> 17;
    a ^= a << 5;
    a >>>= 0;
    return a;
  };
}

describe("random bytes as code", () => {
  test.each([1, 2, 3, 4])("seed %i: 100,000 instructions", async (seed) => {
    const random = generator(seed * 7919);
    const m = await BareMachine.create(2);
    const { processor } = m;
    let executed = 0;
    for (let round = 0; executed < 100_000; round++) {
      m.rebuild();
      for (let at = 0xa000; at < 0x1f_0000; at += 4)
        if (at < 0x20000 || at >= 0x21000) processor.view.setUint32(processor.ram.byteOffset + at, random());
      const mode = round % 5;
      if (mode === 0) m.long(0);
      else if (mode === 1) m.long(3);
      else if (mode === 2) m.compatibility(3);
      else if (mode === 3) m.protected32(0);
      else m.real(random() & 0xffff);
      m.set({
        rax: random(),
        rcx: random() & 0xffff,
        rdx: random(),
        rbx: random() % 0x200000,
        rsi: random() % 0x200000,
        rdi: random() % 0x200000,
        flags: BigInt(random() & 0x40fd5) | 2n,
      });
      if (mode < 4) m.set({ rip: CODE + (random() % 0x8000) });
      for (let slice = 0; slice < 8; slice++) {
        const before = processor.now();
        const stop = processor.run(before + 1000);
        const passed = processor.now() - before;
        expect(passed).toBeGreaterThanOrEqual(0);
        expect(passed).toBeLessThan(100_000);
        executed += 1 + passed;
        if (stop === "shutdown" || (stop === "halt" && !processor.canInterrupt())) break;
        if (processor.canInterrupt()) processor.interrupt(random() & 0xff);
        if ((random() & 7) === 0) {
          processor.select(1);
          processor.select(0);
        }
      }
    }
  });
});

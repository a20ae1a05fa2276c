import { expect, it } from "vitest";
import { randomRegisters } from "./testing/random-registers.ts";

it("registers of a TPM answer a guest that asks at random, and go on when they are restored in the middle", () => {
  const messages = Array.from({ length: 24 }, (_, seed) => randomRegisters(seed + 1, 200)).flat();
  expect(messages).toEqual([]);
});

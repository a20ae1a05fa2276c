import { describe, expect, it } from "vitest";
import { accessTargets, randomAccesses } from "./testing/random-accesses.ts";

describe("the chipset under a guest that asks at random", () => {
  it.each(accessTargets())("never throws, storms or differs after a restore in the middle: %s", (target) => {
    for (let seed = 1; seed <= 2; seed++) expect(randomAccesses(seed, target, 400)).toEqual([]);
  });

  it("reaches every owner of a range on the bus", () => {
    const targets = accessTargets();
    for (const name of ["pic master", "pit", "rtc", "com1", "ioapic", "local-apic 1", "unclaimed"])
      expect(targets).toContain(name);
  });
});

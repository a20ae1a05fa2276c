import fc from "fast-check";
import { expect, test } from "vitest";
import { CorpusError, decodeCorpus, encodeCorpus } from "./corpus.ts";
import { Generator } from "./generate.ts";
import { R_CODE, R_SIZE, R_TAIL } from "./record.ts";

function sample(count: number) {
  const generator = new Generator({ seed: 5, code: [64, 32] });
  return Array.from({ length: count }, (_, index) => {
    const input = new DataView(new ArrayBuffer(R_SIZE));
    generator.generate(index, input);
    const outcome = new DataView(input.buffer.slice(0));
    outcome.setUint32(R_TAIL + 60, index, true);
    outcome.setUint32(0, 0xdeadbeef, true);
    return { seed: 5, index, input, outcome };
  });
}

test("a corpus comes back as it was written", () => {
  const cases = sample(50);
  const { vendor, cases: decoded } = decodeCorpus(encodeCorpus({ vendor: "GenuineIntel", cases }));
  expect(vendor).toBe("GenuineIntel");
  expect(decoded.map((c) => Buffer.from(c.input.buffer).toString("hex"))).toEqual(
    cases.map((c) => Buffer.from(c.input.buffer).toString("hex")),
  );
  expect(decoded.map((c) => Buffer.from(c.outcome.buffer).toString("hex"))).toEqual(
    cases.map((c) => Buffer.from(c.outcome.buffer).toString("hex")),
  );
  expect(decoded[0]?.input.getUint8(R_CODE)).toBe(cases[0]?.input.getUint8(R_CODE));
});

test("damaged bytes give a CorpusError or a corpus, never anything else", () => {
  const good = encodeCorpus({ vendor: "AuthenticAMD", cases: sample(3) });
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, value, keep) => {
      const bad = good.slice(0, keep);
      if (at < bad.length) bad[at] = value;
      try {
        decodeCorpus(bad);
      } catch (error) {
        expect(error).toBeInstanceOf(CorpusError);
      }
    }),
  );
});

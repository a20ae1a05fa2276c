import { MalformedError } from "@entresol/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sampleEvidence } from "./testing/sample-evidence.ts";

const samples = sampleEvidence();

/** Far faster than an assertion, which is asked thousands of times here. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The bytes that builders make of what was parsed; undefined when it is refused as it should be. */
function rebuilt(rebuild: (bytes: Uint8Array) => Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
  const before = bytes.slice();
  let result: Uint8Array | undefined;
  try {
    result = rebuild(bytes);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    if (error.offset < 0 || error.offset > bytes.length || error.spec === "")
      throw new Error(`${error.code} is said of offset ${error.offset}`, { cause: error });
  }
  if (!same(bytes, before)) throw new Error("what was parsed was changed");
  return result;
}

/** Kinds in which a value has one encoding. JSON and PEM have many, a certificate table has gaps that mean nothing. */
const exact = samples.filter(({ name }) => !/HCL claims|JSON|PEM|certificate table|SVSM/.test(name));

/** By its name: a counterexample is printed, and the bytes of a sample fill a screen. */
const names = samples.map(({ name }) => name);
const anyName = fc.constantFrom(...names);
const sampleOf = (name: string) => samples[names.indexOf(name)]!;

describe("evidence of every kind", () => {
  test.each(samples)("is rebuilt to its own bytes: $name", ({ bytes, rebuild }) => {
    expect(same(rebuild(bytes), bytes)).toBe(true);
  });

  // Each block of PEM is whole by itself.
  test.each(samples.filter(({ name }) => name !== "PEM"))(
    "is refused wherever it is cut off, by a code: $name",
    ({ bytes, rebuild, name }) => {
      // Padding may be missing; what counts may not.
      const end = /HCL report of SNP/.test(name) ? 2200 : /certificate table/.test(name) ? 270 : bytes.length;
      const step = Math.max(1, Math.floor(end / 97));
      const accepted: number[] = [];
      for (let length = 0; length < end; length += step)
        if (rebuilt(rebuild, bytes.subarray(0, length)) !== undefined) accepted.push(length);
      expect(accepted).toEqual([]);
    },
  );

  test("with any bytes changed is refused by a code, or is rebuilt to the changed bytes", () => {
    const change = fc.record({ at: fc.nat(), value: fc.nat(255) });
    fc.assert(
      fc.property(anyName, fc.array(change, { minLength: 1, maxLength: 4 }), (name, changes) => {
        const sample = sampleOf(name);
        const bytes = sample.bytes.slice();
        for (const { at, value } of changes) bytes[at % bytes.length] = value;
        const result = rebuilt(sample.rebuild, bytes);
        if (result !== undefined && exact.includes(sample)) expect(same(result, bytes)).toBe(true);
      }),
      { numRuns: 600 },
    );
  });

  test("at the places where sizes stand is refused or read within its bounds", () => {
    fc.assert(
      fc.property(
        anyName,
        fc.nat(),
        fc.constantFrom(0, 1, 0x7fff, 0xffff, 0xffff_ffff),
        (name, at, value) => {
          const sample = sampleOf(name);
          const bytes = sample.bytes.slice();
          const view = new DataView(bytes.buffer);
          const where = at % (bytes.length - 4);
          view.setUint32(where, value, true);
          rebuilt(sample.rebuild, bytes);
          view.setUint16(where, value & 0xffff);
          rebuilt(sample.rebuild, bytes);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("that is any bytes is refused by a code", () => {
    fc.assert(
      fc.property(anyName, fc.uint8Array({ maxLength: 300 }), (name, bytes) => {
        rebuilt(sampleOf(name).rebuild, bytes);
      }),
      { numRuns: 300 },
    );
  });
});

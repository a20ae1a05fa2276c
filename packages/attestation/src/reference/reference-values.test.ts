import { createHash } from "node:crypto";
import { buildIgvm, type Hash, parseIgvm } from "@entresol/igvm";
import { toHex } from "@entresol/wire";
import { describe, expect, it } from "vitest";
import { judge } from "../appraise.ts";
import { parsePolicy } from "../policy/schema.ts";
import { verifySnp } from "../snp/verify.ts";
import { chip } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import type { Corim, CorimMeasurement } from "./corim.ts";
import { readCorim } from "./read-corim.ts";
import {
  type ReferenceValue,
  referenceValuesOf,
  referenceValuesOfIgvm,
  withReferenceValues,
  writeReferenceValues,
} from "./reference-values.ts";

const digest = (fill: number) => new Uint8Array(48).fill(fill);
const values: readonly ReferenceValue[] = [
  { name: "image", tee: "snp", measurements: { measurement: digest(1) } },
  { name: "image", tee: "snp", measurements: { measurement: digest(2) } },
  { name: "image", tee: "tdx", measurements: { mrTd: digest(3), rtmr1: digest(4), rtmr2: digest(5) } },
  { name: "other", tee: "tdx", measurements: { mrTd: digest(6) } },
];
const AT = Date.UTC(2026, 5, 1);
const problem = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return undefined;
};

/** A manifest of one reference. */
const manifest = (
  measurements: readonly Partial<CorimMeasurement>[],
  environment: Partial<Corim["comids"][number]["references"][number]["environment"]> = {},
): Corim => ({
  id: "id",
  profile: undefined,
  validity: undefined,
  otherTags: [],
  comids: [
    {
      id: "part",
      version: 0,
      otherTriples: [],
      references: [
        {
          environment: { vendor: "Intel", model: "TDX", narrowed: false, ...environment },
          measurements: measurements.map((one) => ({ others: [], ...one })),
        },
      ],
    },
  ],
});
const sha384 = (value = digest(7)) => [{ algorithm: "sha-384", value }];

describe("reference values", () => {
  it("go into a manifest, and come out of it as they were", () => {
    const bytes = writeReferenceValues({ id: "images", values });
    expect(referenceValuesOf(readCorim(bytes), AT)).toEqual(values);
    expect(writeReferenceValues({ id: "images", values })).toEqual(bytes);
  });

  it("hold while their manifest does, both ends included", () => {
    const bytes = writeReferenceValues({
      id: "images",
      values,
      validity: { notBefore: AT, notAfter: AT + 1000 },
    });
    const at = (time: number) => problem(() => referenceValuesOf(readCorim(bytes), time));
    expect(at(AT - 1)).toMatch(/^bad-input: .*begins at 2026-06-01T00:00:00Z/);
    expect(at(AT)).toBeUndefined();
    expect(at(AT + 1000)).toBeUndefined();
    expect(at(AT + 1001)).toMatch(/^bad-input: .*ended at 2026-06-01T00:00:01Z/);
  });

  it("may have a register's number for its name, several kinds of digest, and the name of their part", () => {
    const corim = manifest([
      { digests: sha384(digest(1)) },
      {
        registers: new Map([
          [2, [{ algorithm: "sha-256", value: new Uint8Array(32) }, ...sha384(digest(2))]],
        ]),
      },
      { key: "rtmr3", digests: sha384(digest(3)) },
    ]);
    expect(referenceValuesOf(corim, AT)).toEqual([
      { name: "part", tee: "tdx", measurements: { mrTd: digest(1), rtmr2: digest(2), rtmr3: digest(3) } },
    ]);
  });

  it("are of SNP and TDX: those of other environments are left out", () => {
    expect(referenceValuesOf(manifest([{ digests: sha384() }], { vendor: "ACME" }), AT)).toEqual([]);
    expect(
      referenceValuesOf(manifest([{ digests: sha384() }], { vendor: "intel", model: "tdx" }), AT),
    ).toHaveLength(1);
  });

  it.each<[string, Corim, RegExp]>([
    ["is of one instance", manifest([{ digests: sha384() }], { narrowed: true }), /one instance/],
    [
      "demands a security version",
      manifest([{ digests: sha384(), svn: { value: 1, minimum: true } }]),
      /security version/,
    ],
    ["demands what is not known", manifest([{ digests: sha384(), others: [4] }]), /cannot be compared, 4/],
    ["has a register that is not measured", manifest([{ key: "PCR0", digests: sha384() }]), /"PCR0"/],
    [
      "has a name of every object for a register",
      manifest([{ key: "constructor", digests: sha384() }]),
      /"constructor"/,
    ],
    [
      "has a register twice",
      manifest([{ digests: sha384() }, { key: "MRTD", digests: sha384() }]),
      /MRTD twice/,
    ],
    [
      "has no SHA-384",
      manifest([{ digests: [{ algorithm: "sha-256", value: new Uint8Array(32) }] }]),
      /not one SHA-384/,
    ],
    ["has two of them", manifest([{ digests: [...sha384(), ...sha384()] }]), /not one SHA-384/],
    ["has a short one", manifest([{ digests: sha384(new Uint8Array(47)) }]), /47 bytes/],
    [
      "has a measurement without a digest",
      manifest([{ digests: sha384() }, { key: "RTMR0" }]),
      /without a digest/,
    ],
    ["measures nothing", manifest([]), /measures nothing/],
    [
      "has two names",
      manifest([
        { digests: sha384(), name: "a" },
        { key: "RTMR0", digests: sha384(), name: "b" },
      ]),
      /several names/,
    ],
  ])(
    "are refused when a reference %s: to leave it out would take more than was meant",
    (_, corim, message) => {
      expect(problem(() => referenceValuesOf(corim, AT))).toMatch(/^bad-input: /);
      expect(problem(() => referenceValuesOf(corim, AT))).toMatch(message);
    },
  );

  it("are foretold of an IGVM file for each platform that it is for", () => {
    const hash: Hash = (name, ...parts) => {
      const state = createHash(name);
      for (const part of parts) state.update(part);
      return new Uint8Array(state.digest());
    };
    const platform = (mask: number, type: number) =>
      ({
        type: "supportedPlatform",
        mask,
        highestVtl: 0,
        platform: type,
        platformVersion: 1,
        sharedGpaBoundary: 0n,
      }) as const;
    const of = (...platforms: readonly ReturnType<typeof platform>[]) =>
      referenceValuesOfIgvm("svsm", hash, parseIgvm(buildIgvm({ headers: platforms })));
    expect(of(platform(1, 2), platform(2, 3))).toEqual([
      { name: "svsm", tee: "snp", measurements: { measurement: new Uint8Array(48) } },
      { name: "svsm", tee: "tdx", measurements: { mrTd: hash("sha384") } },
    ]);
    expect(of(platform(1, 0))).toEqual([]);
  });
});

describe("a policy that names an image", () => {
  it("gets the image's values, all of them, beside those that it lists", () => {
    const policy = withReferenceValues(
      {
        snp: { measurementsFrom: ["image"], vmpls: [0] },
        tdx: { measurementsFrom: ["other", "image"], images: [{ name: "own", mrTd: toHex(digest(9)) }] },
      },
      values,
    );
    expect(policy).toEqual({
      snp: {
        vmpls: [0],
        images: [
          { name: "image", measurement: toHex(digest(1)) },
          { name: "image", measurement: toHex(digest(2)) },
        ],
      },
      tdx: {
        images: [
          { name: "own", mrTd: toHex(digest(9)) },
          { name: "other", mrTd: toHex(digest(6)) },
          { name: "image", mrTd: toHex(digest(3)), rtmr1: toHex(digest(4)), rtmr2: toHex(digest(5)) },
        ],
      },
    });
    expect(problem(() => parsePolicy(policy))).toBeUndefined();
  });

  it("is as it was when it names none", () => {
    const policy = { name: "mine", snp: { vmpls: [0] } };
    expect(withReferenceValues(policy, values)).toEqual(policy);
  });

  it("is refused when it names one that is not known for its kind", () => {
    expect(
      problem(() => withReferenceValues({ snp: { measurementsFrom: ["image", "other"] } }, values)),
    ).toMatch(/^bad-policy: .*\/snp\/measurementsFrom\/1: "other"/);
  });

  it("accepts what was launched from the image, and nothing else", async () => {
    const launched = async (measurement: Uint8Array) => {
      const evidence = chip({ report: { measurement } });
      return verifySnp(evidence, { at: AT, roots: [anchorOf(evidence.certificates[2])] });
    };
    const policy = { snp: { measurementsFrom: ["image"] } };
    const whole = withReferenceValues(policy, values);
    expect(judge(await launched(digest(2)), whole).verdict).toBe("accepted");
    expect(judge(await launched(digest(3)), whole).verdict).toBe("rejected");
    expect(judge(await launched(digest(2)), policy).verdict).not.toBe("accepted");
  });
});

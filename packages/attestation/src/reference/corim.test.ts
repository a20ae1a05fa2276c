import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EvidenceError } from "../errors.ts";
import { signingKey, verificationKey } from "../token/keys.ts";
import { type CborItem, CborTag, writeCbor } from "./cbor-item.ts";
import { readCorim } from "./read-corim.ts";
import { openSignedCorim, signCorim } from "./signed-corim.ts";
import { type CorimInput, writeCorim } from "./write-corim.ts";

const map = (...entries: readonly (readonly [number, CborItem])[]) => new Map(entries);
const refusal = async (run: () => unknown): Promise<string | undefined> => {
  try {
    await run();
  } catch (error) {
    if (error instanceof EvidenceError && error.code === "bad-input") return error.message;
    throw error;
  }
  return undefined;
};

const input: CorimInput = {
  id: "images of May",
  profile: "tag:example.org,2026:images",
  validity: { notBefore: 1_700_000_000_000, notAfter: 1_800_000_000_000 },
  comids: [
    {
      id: "image-1",
      version: 3,
      references: [
        {
          vendor: "AMD",
          model: "SEV-SNP",
          measurements: [
            {
              key: "MEASUREMENT",
              name: "image",
              svn: { value: 4, minimum: true },
              digests: [
                { algorithm: "sha-384", value: new Uint8Array(48).fill(1) },
                { algorithm: "sha-256", value: new Uint8Array(32).fill(2) },
              ],
            },
            {
              key: 5,
              svn: { value: 1, minimum: false },
              registers: new Map([[0, [{ algorithm: 99, value: Uint8Array.of(1) }]]]),
            },
          ],
        },
      ],
    },
  ],
};
const written = writeCorim(input);

/** A manifest with one part, whose CoMID has this. */
const manifestOf = (comid: CborItem) =>
  writeCbor(new CborTag(501, map([0, "id"], [1, [new CborTag(506, writeCbor(comid))]])));
const triples = (...references: readonly CborItem[]) => map([1, map([0, "tag"])], [4, map([0, references])]);

describe("a manifest of reference values", () => {
  it("is written, and reads as it was", () => {
    const corim = readCorim(written);
    expect(corim).toEqual({
      ...input,
      otherTags: [],
      comids: [
        {
          id: "image-1",
          version: 3,
          otherTriples: [],
          references: [
            {
              environment: { vendor: "AMD", model: "SEV-SNP", narrowed: false },
              measurements: input.comids[0]!.references[0]!.measurements.map((one) => ({
                ...one,
                others: [],
              })),
            },
          ],
        },
      ],
    });
    expect(writeCorim({ ...input, comids: input.comids.toReversed() })).toEqual(written);
  });

  it("may have parts and triples of other kinds, which are named", () => {
    const corim = readCorim(
      writeCbor(
        new CborTag(
          501,
          map(
            [0, new CborTag(37, new Uint8Array(16).fill(0xab))],
            [
              1,
              [
                new CborTag(505, Uint8Array.of(0xa0)),
                new CborTag(506, writeCbor(map([1, map([0, "tag"])], [4, map([8, [] as CborItem])]))),
              ],
            ],
          ),
        ),
      ),
    );
    expect(corim).toEqual({
      id: "ab".repeat(16),
      profile: undefined,
      validity: undefined,
      comids: [{ id: "tag", version: 0, references: [], otherTriples: [8] }],
      otherTags: [505],
    });
  });

  it("says when a reference is of one instance, or has members that are not known", () => {
    const reference: CborItem = [
      map([0, map([1, "AMD"])], [1, new CborTag(550, Uint8Array.of(1))]),
      [map([1, map([4, new CborTag(560, Uint8Array.of(1))], [-1, 2])])],
    ];
    const [comid] = readCorim(manifestOf(triples(reference))).comids;
    expect(comid?.references[0]?.environment.narrowed).toBe(true);
    expect(comid?.references[0]?.measurements[0]?.others).toEqual([4, -1]);
  });

  const environment = map([0, map([1, "AMD"])]);
  it.each<[string, Uint8Array, RegExp]>([
    ["no CBOR", Uint8Array.of(0xff), /at \/:/],
    ["another tag", writeCbor(new CborTag(500, map())), /tag 501/],
    [
      "no name",
      writeCbor(new CborTag(501, map([1, [new CborTag(506, Uint8Array.of(0xa0))]]))),
      /member 1 is missing/,
    ],
    ["no parts", writeCbor(new CborTag(501, map([0, "id"], [1, []]))), /no tags/],
    ["a part without a tag", writeCbor(new CborTag(501, map([0, "id"], [1, [1]]))), /no tag/],
    ["a part that is no CBOR", manifestOf(map()).with(-1, 0xff), /at \/#501\/1\/0\/#506/],
    ["no triples", manifestOf(map([1, map([0, "tag"])])), /member 4 is missing/],
    ["a reference of one thing", manifestOf(triples([environment])), /environment and measurements/],
    [
      "a measurement without a value",
      manifestOf(triples([environment, [map([0, "MRTD"])]])),
      /member 1 is missing/,
    ],
    [
      "a digest of three things",
      manifestOf(triples([environment, [map([1, map([2, [[7, new Uint8Array(48), 0]]])])]])),
      /algorithm and a value/,
    ],
    [
      "a digest that is text",
      manifestOf(triples([environment, [map([1, map([2, [[7, "00"]]])])]])),
      /byte string/,
    ],
    [
      "a vendor that is a number",
      manifestOf(triples([map([0, map([1, 5])]), [map([1, map()])]])),
      /there is no text/,
    ],
  ])("with %s is refused, with its place", async (_, bytes, message) => {
    expect(await refusal(() => readCorim(bytes))).toMatch(message);
  });

  it("is read or refused, and nothing else happens, whatever its bytes", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(written.length - 1), fc.nat(255)), { maxLength: 4 }), (edits) => {
        const bytes = written.slice();
        for (const [at, value] of edits) bytes[at] = value;
        try {
          readCorim(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "bad-input" });
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("a signed manifest", async () => {
  const pem = (key: { export(options: object): string | Buffer }, type: string) =>
    key.export({ type, format: "pem" }) as string;
  const pairOf = async (namedCurve: string) => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve });
    return {
      signer: await signingKey(pem(privateKey, "pkcs8")),
      verifier: await verificationKey(pem(publicKey, "spki")),
    };
  };
  const p256 = await pairOf("P-256");
  const p384 = await pairOf("P-384");
  const signed = await signCorim(written, p384.signer, "ACME");

  it("gives the manifest to whoever has the key", async () => {
    expect(await openSignedCorim(signed, p384.verifier)).toEqual(written);
  });

  it("gives nothing under another key, or changed", async () => {
    expect(await refusal(() => openSignedCorim(signed, p256.verifier))).toMatch(/not signed by ES256/);
    const { verifier } = await pairOf("P-384");
    expect(await refusal(() => openSignedCorim(signed, verifier))).toMatch(/not signed by this key/);
    for (const at of [signed.length - 1, signed.length - 120, 12]) {
      const changed = signed.slice();
      changed[at]! ^= 1;
      expect(await refusal(() => openSignedCorim(changed, p384.verifier))).toBeDefined();
    }
    expect(await refusal(() => openSignedCorim(written, p384.verifier))).toMatch(/tag 18/);
  });

  it("gives what was verified, even when its bytes change meanwhile", async () => {
    const bytes = signed.slice();
    const opening = openSignedCorim(bytes, p384.verifier);
    bytes.fill(0);
    expect(await opening).toEqual(written);
  });

  it("is of a manifest, and has no header that has to be understood", async () => {
    const signedAs = async (...header: readonly (readonly [number, CborItem])[]) => {
      const bytes = writeCbor(map([1, -35], ...header));
      const toBeSigned = writeCbor(["Signature1", bytes, new Uint8Array(), written]);
      const signature = await crypto.subtle.sign(
        { name: "ECDSA", hash: "SHA-384" },
        p384.signer.key,
        new Uint8Array(toBeSigned),
      );
      return writeCbor(new CborTag(18, [bytes, new Map(), written, new Uint8Array(signature)]));
    };
    const open = async (...header: readonly (readonly [number, CborItem])[]) =>
      refusal(async () => openSignedCorim(await signedAs(...header), p384.verifier));
    expect(await open()).toBeUndefined();
    expect(await open([3, "application/corim-unsigned+cbor"])).toBeUndefined();
    expect(await open([3, "application/eat+cwt"])).toMatch(/no application\/rim\+cbor/);
    expect(await open([2, [99]])).toMatch(/have to be understood/);
  });
});

const recorded = [
  process.env["ENTRESOL_VECTORS"],
  resolve(import.meta.dirname, "../../../../../shared/vectors"),
]
  .filter((folder) => folder !== undefined)
  .map((folder) => join(folder, "attest/corim/trustee/unsigned-example-corim.cbor"))
  .find((file) => existsSync(file));

describe.runIf(recorded !== undefined)("a manifest of another project", () => {
  it("with keys out of order and extensions is read", () => {
    const corim = readCorim(readFileSync(recorded!));
    expect(corim).toMatchObject({ id: "test corim id", profile: "http://example.com/example-profile" });
    const [comid] = corim.comids;
    expect(comid?.id).toBe("43bbe37f2e614b33aed353cff1428b16");
    expect(comid?.references).toHaveLength(1);
    const [reference] = comid!.references;
    expect(reference?.environment).toMatchObject({ vendor: "ACME", model: "RoadRunner", narrowed: false });
    expect(reference?.measurements.map(({ key, digests }) => [key, digests?.[0]?.algorithm])).toEqual([
      ["31fb5abf023e4992aa4e95f9c1503bfa", "sha-256"],
      ["31fb5abf023e4992aa4e95f9c1503bfa", "sha-256"],
      ["31fb5abf023e4992aa4e95f9c1503bfa", "sha-256"],
    ]);
  });
});

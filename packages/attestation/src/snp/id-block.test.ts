import { createHash, sign } from "node:crypto";
import { buildCertificateTable, buildSnpIdAuth, buildSnpIdBlock } from "@entresol/evidence";
import { describe, expect, test } from "vitest";
import { crl, type KeyPair, keyPair } from "../testing/pki.ts";
import { type ChipInput, chip } from "../testing/snp-evidence.ts";
import { anchorOf } from "../x509/anchor.ts";
import type { SnpEvidence } from "./evidence.ts";
import { verifySnp } from "./verify.ts";

const at = "2026-06-01T00:00:00Z";
const idKey = keyPair("P-384", "id key");
const authorKey = keyPair("P-384", "author key");
const littleEndian = (bytes: Uint8Array) => bytes.toReversed();

/** As the firmware takes a key: curve, X and Y little-endian. */
const keyOf = ({ spki }: KeyPair) => ({
  curve: 2,
  x: littleEndian(spki.slice(-96, -48)),
  y: littleEndian(spki.slice(-48)),
});
function signatureOf({ privateKey }: KeyPair, data: Uint8Array) {
  const both = new Uint8Array(sign("sha384", data, { key: privateKey, dsaEncoding: "ieee-p1363" }));
  return { r: littleEndian(both.slice(0, 48)), s: littleEndian(both.slice(48)) };
}
const digestOf = (bytes: Uint8Array) => new Uint8Array(createHash("sha384").update(bytes).digest());

const block = {
  launchDigest: new Uint8Array(48).fill(0xcd),
  familyId: new Uint8Array(16).fill(1),
  imageId: new Uint8Array(16).fill(2),
  version: 1,
  guestSvn: 7,
  policy: 0x3_0000n,
};
type Auth = Parameters<typeof buildSnpIdAuth>[0];

interface Change {
  readonly block?: Partial<typeof block>;
  readonly auth?: Auth;
  readonly chip?: ChipInput["report"];
  readonly author?: boolean;
}

/** A report of a guest that was launched with an ID block. Gives the checks of identity that did not pass, and why. */
async function judged({ block: changes, auth, chip: report, author = true }: Change = {}) {
  const idBlock = buildSnpIdBlock({ ...block, ...changes });
  const idAuth = buildSnpIdAuth({ idKey: keyOf(idKey) }).slice(576, 576 + 0x404);
  const authorBytes = buildSnpIdAuth({ idKey: keyOf(authorKey) }).slice(576, 576 + 0x404);
  const authentication = buildSnpIdAuth({
    idKeyAlgorithm: 1,
    authorKeyAlgorithm: 1,
    idBlockSignature: signatureOf(idKey, idBlock),
    idKey: keyOf(idKey),
    ...(author && { idKeySignature: signatureOf(authorKey, idAuth), authorKey: keyOf(authorKey) }),
    ...auth,
  });
  const made = chip({
    report: {
      guestSvn: block.guestSvn,
      familyId: block.familyId,
      imageId: block.imageId,
      idKeyDigest: digestOf(idAuth),
      ...(author && { authorKeyDigest: digestOf(authorBytes), flags: 1 }),
      ...report,
    },
  });
  return run(made, { identity: { idBlock, idAuth: authentication } });
}

async function run(made: ReturnType<typeof chip>, more: Partial<SnpEvidence>) {
  const outcome = await verifySnp({ ...made, ...more }, { at, roots: [anchorOf(made.certificates[2])] });
  const off = outcome.checks.filter(({ id, result }) => result !== "passed" && id !== "snp.revocation");
  return {
    outcome,
    off: off.map(({ id, result }) => `${id} ${result}`),
    details: off.map(({ detail }) => detail).join("; "),
  };
}

describe("an ID block", () => {
  test("is followed from the author's key to the report", async () => {
    const { outcome, off } = await judged();
    expect(off).toEqual([]);
    const ids = outcome.checks.map(({ id }) => id);
    expect(ids.slice(-3)).toEqual(["snp.id-block", "snp.id-key", "snp.author-key"]);
    expect(outcome.inputs.map(({ name }) => name)).toContain("id-auth");
  });

  test("may be without an author's key", async () => {
    expect((await judged({ author: false })).off).toEqual([]);
    const { off } = await judged({ author: false, chip: { authorKeyDigest: new Uint8Array(48).fill(1) } });
    expect(off).toEqual(["snp.author-key failed"]);
  });

  const cases: [string, Change, readonly string[]][] = [
    ["of another measurement", { block: { launchDigest: new Uint8Array(48) } }, ["snp.id-block failed"]],
    ["of another family", { chip: { familyId: new Uint8Array(16) } }, ["snp.id-block failed"]],
    ["of another SVN", { chip: { guestSvn: 8 } }, ["snp.id-block failed"]],
    ["of another policy", { block: { policy: 0xb_0000n } }, ["snp.id-block failed"]],
    ["of version 2", { block: { version: 2 } }, ["snp.id-block failed"]],
    [
      "signed by another key",
      { auth: { idBlockSignature: signatureOf(authorKey, buildSnpIdBlock(block)) } },
      ["snp.id-key failed"],
    ],
    [
      "whose key is another than the report's",
      { chip: { idKeyDigest: new Uint8Array(48) } },
      ["snp.id-key failed"],
    ],
    [
      "whose key is on another curve",
      { auth: { idKey: { ...keyOf(idKey), curve: 1 } } },
      ["snp.id-key failed"],
    ],
    [
      "whose key is no point",
      { auth: { idKey: { curve: 2, x: new Uint8Array(48), y: new Uint8Array(48) } } },
      ["snp.id-key failed"],
    ],
    ["of another algorithm", { auth: { idKeyAlgorithm: 2 } }, ["snp.id-key failed"]],
    ["whose key nobody signed", { auth: { idKeySignature: {} } }, ["snp.author-key failed"]],
    [
      "whose author is another than the report's",
      { chip: { authorKeyDigest: new Uint8Array(48) } },
      ["snp.author-key failed"],
    ],
    [
      "with a reserved byte",
      { auth: { reserved8: new Uint8Array(56).fill(1) } },
      ["snp.id-key failed", "snp.author-key not-run"],
    ],
  ];
  test.each(cases)("%s is refused", async (_name, change, expected) => {
    const { outcome, off } = await judged(change);
    expect(off.filter((line) => line.startsWith(expected[0]?.split(" ")[0] ?? ""))).toEqual(
      expected.slice(0, 1),
    );
    for (const line of expected) expect(off).toContain(line);
    expect(outcome.verified).toBeUndefined();
  });

  test("without its authentication fits the report, and nobody vouches for it", async () => {
    const made = chip({ report: { guestSvn: 7, familyId: block.familyId, imageId: block.imageId } });
    const { off } = await run(made, { identity: { idBlock: buildSnpIdBlock(block) } });
    expect(off).toEqual(["snp.id-key not-run", "snp.author-key not-run"]);
  });

  test("that is cut is refused, and throws nothing", async () => {
    const { off } = await run(chip(), {
      identity: { idBlock: new Uint8Array(95), idAuth: new Uint8Array(4095) },
    });
    expect(off).toEqual(["snp.id-block failed", "snp.id-key failed", "snp.author-key not-run"]);
  });
});

describe("a host's table of certificates", () => {
  const made = chip();
  const [vcek, ask, ark] = made.certificates;
  const list = crl({ issuer: { name: "ARK-Genoa", key: keyPair("rsa-2048", "ark") } });
  const guids = {
    vcek: "63da758d-e664-4564-adc5-f4b93be8accd",
    ask: "4ab7b379-bbac-4fe4-a02f-05aef327c782",
    ark: "c0b406a4-a803-4952-9743-3fb6014cd0ae",
    crl: "92f81bc3-5811-4d3d-97ff-d19f88dc67ea",
  };
  const table = buildCertificateTable([
    { guid: guids.vcek, data: vcek },
    { guid: guids.ask, data: ask },
    { guid: guids.ark, data: ark },
    { guid: guids.crl, data: list },
  ]);

  test("brings the certificates and the list that verify a report", async () => {
    const { outcome, off } = await run(made, { certificates: [], certificateTable: table });
    expect(off).toEqual([]);
    expect(outcome.checks.find(({ id }) => id === "snp.revocation")?.result).toBe("passed");
  });

  test("may hold what was given already", async () => {
    expect((await run(made, { certificateTable: table })).off).toEqual([]);
  });

  test("may be empty, and must be whole", async () => {
    expect((await run(made, { certificateTable: new Uint8Array(0) })).off).toEqual([]);
    const { off } = await run(made, { certificateTable: table.subarray(0, 50) });
    expect(off).toEqual(["snp.certificate-table failed"]);
  });
});

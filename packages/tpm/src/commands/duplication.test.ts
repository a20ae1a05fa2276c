import { constants, createPublicKey, publicEncrypt } from "node:crypto";
import {
  Alg,
  commands,
  noSymmetric,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  type Public,
  Rc,
  Rh,
  type Sensitive,
  TPMT_SENSITIVE,
  TpmWriter,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { aes128Cfb, TpmClient } from "../testing/client.ts";
import { decryptCfb, innerWrap, outerWrap, tpm2b } from "../testing/protection.ts";
import {
  cipherTemplate,
  eccSigningTemplate,
  eccTemplate,
  fixedKey,
  movableKey,
  rsaTemplate,
  sealTemplate,
  sensitiveCreate,
  storageKey,
} from "../testing/templates.ts";

const { encryptedDuplication, fixedParent, userWithAuth, noDA, sign } = ObjectAttribute;
const empty = new Uint8Array(0);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function primary(client: TpmClient, inPublic: Public, hierarchy: number = Rh.OWNER) {
  const parameters = { inSensitive: sensitiveCreate(), inPublic, outsideInfo: empty, creationPCR: [] };
  return client.run("CreatePrimary", { primaryHandle: hierarchy }, parameters);
}

/** PolicyCommandCode(Duplicate), which the objects of these tests have. */
function duplicatePolicy(client: TpmClient): Uint8Array {
  const trial = client.session({ kind: "trial" });
  const policySession = trial.handle;
  client.run("PolicyCommandCode", { policySession }, { code: commands.Duplicate.code });
  const { policyDigest } = client.run("PolicyGetDigest", { policySession }, {});
  client.run("FlushContext", {}, { flushHandle: policySession });
  return policyDigest;
}

/** Sealed data that may move, loaded under a parent. */
function movable(client: TpmClient, parentHandle: number, attributes = userWithAuth | noDA) {
  const inPublic = sealTemplate({ objectAttributes: attributes, authPolicy: duplicatePolicy(client) });
  const made = client.run(
    "Create",
    { parentHandle },
    { inSensitive: sensitiveCreate("auth", "moving"), inPublic, outsideInfo: empty, creationPCR: [] },
  );
  const loaded = client.run(
    "Load",
    { parentHandle },
    { inPrivate: made.outPrivate, inPublic: made.outPublic },
  );
  return { handle: loaded.handle, name: loaded.name, publicArea: made.outPublic };
}

type DuplicateParameters = { encryptionKeyIn?: Uint8Array; symmetricAlg?: typeof aes128Cfb };
function duplicate(
  client: TpmClient,
  objectHandle: number,
  newParentHandle: number,
  { encryptionKeyIn = empty, symmetricAlg = noSymmetric }: DuplicateParameters = {},
) {
  const session = client.session({ kind: "policy" });
  client.run("PolicyCommandCode", { policySession: session.handle }, { code: commands.Duplicate.code });
  try {
    return client.run(
      "Duplicate",
      { objectHandle, newParentHandle },
      { encryptionKeyIn, symmetricAlg },
      { auth: [{ session }] },
    );
  } finally {
    client.run("FlushContext", {}, { flushHandle: session.handle });
  }
}
const rcOf = (action: () => unknown): number => {
  try {
    action();
    return Rc.SUCCESS;
  } catch (error) {
    return (error as { rc: number }).rc;
  }
};
function unseal(
  client: TpmClient,
  parentHandle: number,
  inPrivate: Uint8Array,
  inPublic: Public,
  auth: string,
) {
  const itemHandle = client.run("Load", { parentHandle }, { inPrivate, inPublic }).handle;
  const { outData } = client.run("Unseal", { itemHandle }, {}, { auth: [auth] });
  client.run("FlushContext", {}, { flushHandle: itemHandle });
  return outData;
}
const roomy = { limits: { transientObjects: 6 } };

/** The area of "moving" as it is marshalled in a wrap. */
function sensitiveBytes(sensitive: Sensitive): Uint8Array {
  const writer = new TpmWriter();
  TPMT_SENSITIVE.write(writer, sensitive);
  return tpm2b(writer.finish());
}

describe("Duplicate and Import", () => {
  test.each([
    ["RSA", rsaTemplate()],
    ["ECC", eccTemplate({ unique: { x: bytes("other"), y: empty } })],
  ])("an object moves to another TPM below an %s key, with and without an inner wrap", (_, template) => {
    const [from, to] = [TpmClient.started(roomy), TpmClient.started(roomy)];
    const target = primary(to, template);
    const publicOnly = { inPrivate: undefined, inPublic: target.outPublic, hierarchy: Rh.NULL };
    const newParent = from.run("LoadExternal", {}, publicOnly).handle;
    const object = movable(from, primary(from, eccTemplate()).handle);
    for (const wrap of [
      {},
      { symmetricAlg: aes128Cfb },
      { symmetricAlg: aes128Cfb, encryptionKeyIn: new Uint8Array(16).fill(8) },
    ] as DuplicateParameters[]) {
      const moved = duplicate(from, object.handle, newParent, wrap);
      const generated = wrap.symmetricAlg !== undefined && wrap.encryptionKeyIn === undefined;
      expect(moved.encryptionKeyOut).toHaveLength(generated ? 16 : 0);
      const { outPrivate } = to.run(
        "Import",
        { parentHandle: target.handle },
        {
          encryptionKey: wrap.encryptionKeyIn ?? moved.encryptionKeyOut,
          objectPublic: object.publicArea,
          duplicate: moved.duplicate,
          inSymSeed: moved.outSymSeed,
          symmetricAlg: wrap.symmetricAlg ?? noSymmetric,
        },
      );
      expect(unseal(to, target.handle, outPrivate, object.publicArea, "auth")).toEqual(bytes("moving"));
    }
  });

  test("an object goes to nobody in the clear, its authValue padded to the size of the digest", () => {
    const client = TpmClient.started(roomy);
    const object = movable(client, primary(client, eccTemplate()).handle);
    const { duplicate: blob, outSymSeed } = duplicate(client, object.handle, Rh.NULL);
    expect(outSymSeed).toEqual(empty);
    const authValue = new Uint8Array(32);
    authValue.set(bytes("auth"));
    const size = 2 + 2 + 34 + 34 + 2 + 6;
    expect(blob).toHaveLength(size);
    expect(blob.subarray(4, 38)).toEqual(tpm2b(authValue));
    expect(blob.subarray(size - 8)).toEqual(tpm2b(bytes("moving")));
    const inner = duplicate(client, object.handle, Rh.NULL, { symmetricAlg: aes128Cfb });
    expect(decryptCfb(inner.encryptionKeyOut, inner.duplicate).subarray(34)).toEqual(blob);
  });

  test("a key that was made without a TPM is imported, wrapped as the specification says", () => {
    const client = TpmClient.started(roomy);
    const parent = primary(client, rsaTemplate());
    const secret = bytes("from outside");
    const seedValue = new Uint8Array(32).fill(4);
    const unique = client.run(
      "Hash",
      {},
      {
        data: new Uint8Array([...seedValue, ...secret]),
        hashAlg: Alg.SHA256,
        hierarchy: Rh.NULL,
      },
    ).outHash;
    const objectPublic = sealTemplate({ objectAttributes: userWithAuth, unique });
    const external = client.run(
      "LoadExternal",
      {},
      { inPrivate: undefined, inPublic: objectPublic, hierarchy: Rh.NULL },
    );
    const sensitive = { sensitiveType: Alg.KEYEDHASH, authValue: bytes("a"), seedValue, sensitive: secret };
    const seed = new Uint8Array(32).fill(0x77);
    const n = Buffer.from(parent.outPublic.unique as Uint8Array).toString("base64url");
    const inSymSeed = new Uint8Array(
      publicEncrypt(
        {
          key: createPublicKey({ key: { kty: "RSA", n, e: "AQAB" }, format: "jwk" }),
          padding: constants.RSA_PKCS1_OAEP_PADDING,
          oaepHash: "sha256",
          oaepLabel: Buffer.from("DUPLICATE\0"),
        },
        seed,
      ),
    );
    const key = new Uint8Array(16).fill(0x13);
    const inner = innerWrap(Alg.SHA256, key, external.name, sensitiveBytes(sensitive));
    const parameters = {
      encryptionKey: key,
      objectPublic,
      duplicate: outerWrap(Alg.SHA256, seed, external.name, inner),
      inSymSeed,
      symmetricAlg: aes128Cfb,
    };
    const handles = { parentHandle: parent.handle };
    const { outPrivate } = client.run("Import", handles, parameters);
    expect(unseal(client, parent.handle, outPrivate, objectPublic, "a")).toEqual(secret);

    const rc = (change: Partial<typeof parameters>): number =>
      client.rc("Import", handles, { ...parameters, ...change });
    // What was a size is none any more.
    expect(rc({ encryptionKey: key.with(0, 0) })).toBe(ofParameter(Rc.SIZE, 3));
    const changedInner = outerWrap(Alg.SHA256, seed, external.name, inner.with(40, inner[40]! ^ 1));
    expect(rc({ duplicate: changedInner })).toBe(ofParameter(Rc.INTEGRITY, 3));
    expect(rc({ encryptionKey: new Uint8Array(15) })).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc({ symmetricAlg: noSymmetric })).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc({ duplicate: parameters.duplicate.with(-1, 0) })).toBe(ofParameter(Rc.INTEGRITY, 3));
    expect(rc({ inSymSeed: new Uint8Array(9) })).toBe(ofParameter(Rc.SIZE, 4));
    for (const bit of [ObjectAttribute.fixedTPM, fixedParent])
      expect(rc({ objectPublic: { ...objectPublic, objectAttributes: userWithAuth | bit } })).toBe(
        ofParameter(Rc.ATTRIBUTES, 2),
      );
    const encrypted = { ...objectPublic, objectAttributes: userWithAuth | encryptedDuplication };
    expect(rc({ objectPublic: encrypted, symmetricAlg: noSymmetric, encryptionKey: empty })).toBe(
      ofParameter(Rc.ATTRIBUTES, 1),
    );
    expect(rc({ objectPublic: encrypted, inSymSeed: empty })).toBe(ofParameter(Rc.ATTRIBUTES, 4));
  });

  test("a sensitive area that does not belong to the public one is found out: at Import below fixedTPM, else at Load", () => {
    const client = TpmClient.started(roomy);
    const objectPublic = sealTemplate({ objectAttributes: userWithAuth, unique: new Uint8Array(32) });
    const sensitive = {
      sensitiveType: Alg.KEYEDHASH,
      authValue: empty,
      seedValue: new Uint8Array(32),
      sensitive: bytes("x"),
    };
    const parameters = {
      encryptionKey: empty,
      objectPublic,
      duplicate: sensitiveBytes(sensitive),
      inSymSeed: empty,
      symmetricAlg: noSymmetric,
    };
    const fixed = primary(client, eccTemplate()).handle;
    expect(client.rc("Import", { parentHandle: fixed }, parameters)).toBe(Rc.BINDING);
    const movableParent = primary(client, eccTemplate({ objectAttributes: movableKey | storageKey })).handle;
    const { outPrivate } = client.run("Import", { parentHandle: movableParent }, parameters);
    expect(
      client.rc("Load", { parentHandle: movableParent }, { inPrivate: outPrivate, inPublic: objectPublic }),
    ).toBe(Rc.BINDING);
    // A peer writes past its buffer here.
    const longAuth = { ...sensitive, authValue: new Uint8Array(64).fill(1) };
    const imported = client.run(
      "Import",
      { parentHandle: movableParent },
      { ...parameters, duplicate: sensitiveBytes(longAuth) },
    );
    expect(
      client.rc(
        "Load",
        { parentHandle: movableParent },
        { inPrivate: imported.outPrivate, inPublic: objectPublic },
      ),
    ).toBe(ofParameter(Rc.SIZE, 1));
    const cut = { ...parameters, duplicate: parameters.duplicate.subarray(0, -1) };
    expect(client.rc("Import", { parentHandle: fixed }, cut)).toBe(ofParameter(Rc.SIZE, 3));
  });

  test("a symmetric parent takes no outer wrap, and what is no parent nothing", () => {
    const client = TpmClient.started(roomy);
    const symmetric = primary(client, cipherTemplate({ objectAttributes: fixedKey | storageKey })).handle;
    const parameters = {
      encryptionKey: empty,
      objectPublic: sealTemplate({ objectAttributes: userWithAuth }),
      duplicate: empty,
      inSymSeed: Uint8Array.of(1),
      symmetricAlg: noSymmetric,
    };
    expect(client.rc("Import", { parentHandle: symmetric }, parameters)).toBe(ofHandle(Rc.TYPE, 1));
    const signer = primary(client, eccSigningTemplate()).handle;
    expect(client.rc("Import", { parentHandle: signer }, parameters)).toBe(ofHandle(Rc.TYPE, 1));
  });

  test("what may not move does not, and encryptedDuplication needs an inner wrap and a new parent", () => {
    const client = TpmClient.started(roomy);
    const parent = primary(client, eccTemplate()).handle;
    const target = primary(client, rsaTemplate()).handle;
    const stays = movable(client, parent, userWithAuth | noDA | ObjectAttribute.fixedTPM | fixedParent);
    expect(rcOf(() => duplicate(client, stays.handle, target))).toBe(ofHandle(Rc.ATTRIBUTES, 1));
    const object = movable(client, parent, userWithAuth | noDA | encryptedDuplication);
    const inner = { symmetricAlg: aes128Cfb };
    expect(rcOf(() => duplicate(client, object.handle, target))).toBe(ofParameter(Rc.SYMMETRIC, 2));
    expect(rcOf(() => duplicate(client, object.handle, Rh.NULL, inner))).toBe(ofHandle(Rc.HIERARCHY, 2));
    expect(rcOf(() => duplicate(client, object.handle, target, inner))).toBe(Rc.SUCCESS);
    expect(rcOf(() => duplicate(client, object.handle, object.handle, inner))).toBe(ofHandle(Rc.TYPE, 2));
    const wrongKey = { symmetricAlg: aes128Cfb, encryptionKeyIn: new Uint8Array(15) };
    expect(rcOf(() => duplicate(client, object.handle, target, wrongKey))).toBe(ofParameter(Rc.SIZE, 1));
  });

  test("Duplicate is authorized by a policy and nothing else", () => {
    const client = TpmClient.started(roomy);
    const object = movable(client, primary(client, eccTemplate()).handle);
    const handles = { objectHandle: object.handle, newParentHandle: Rh.NULL };
    const parameters = { encryptionKeyIn: empty, symmetricAlg: noSymmetric };
    expect(client.rc("Duplicate", handles, parameters, { auth: ["auth"] })).toBe(Rc.AUTH_TYPE);
  });
});

describe("Rewrap", () => {
  test("a duplicate changes its outer wrap and is imported below the new key", () => {
    const client = TpmClient.started(roomy);
    const object = movable(client, primary(client, eccTemplate()).handle);
    const old = primary(client, rsaTemplate()).handle;
    const next = primary(client, eccTemplate({ unique: { x: bytes("next"), y: empty } })).handle;
    const moved = duplicate(client, object.handle, old);
    const parameters = { inDuplicate: moved.duplicate, name: object.name, inSymSeed: moved.outSymSeed };
    const rewrapped = client.run("Rewrap", { oldParent: old, newParent: next }, parameters);
    const importing = {
      encryptionKey: empty,
      objectPublic: object.publicArea,
      duplicate: rewrapped.outDuplicate,
      inSymSeed: rewrapped.outSymSeed,
      symmetricAlg: noSymmetric,
    };
    const { outPrivate } = client.run("Import", { parentHandle: next }, importing);
    expect(unseal(client, next, outPrivate, object.publicArea, "auth")).toEqual(bytes("moving"));

    const bare = client.run("Rewrap", { oldParent: old, newParent: Rh.NULL }, parameters);
    expect(bare.outSymSeed).toEqual(empty);
    expect(bare.outDuplicate).toEqual(duplicate(client, object.handle, Rh.NULL).duplicate);
    const wrapped = client.run(
      "Rewrap",
      { oldParent: Rh.NULL, newParent: next },
      { inDuplicate: bare.outDuplicate, name: object.name, inSymSeed: empty },
      { auth: [""] },
    );
    expect(wrapped.outDuplicate).toHaveLength(bare.outDuplicate.length + 34);
  });

  test("refuses what does not fit together", () => {
    const client = TpmClient.started(roomy);
    const key = primary(client, rsaTemplate()).handle;
    const signer = primary(client, eccSigningTemplate(undefined, movableKey | sign)).handle;
    const name = new Uint8Array(34);
    const rc = (oldParent: number, newParent: number, inSymSeed: Uint8Array, size = 10): number =>
      client.rc("Rewrap", { oldParent, newParent }, { inDuplicate: new Uint8Array(size), name, inSymSeed });
    expect(rc(key, Rh.NULL, empty)).toBe(ofHandle(Rc.HANDLE, 1));
    expect(rc(Rh.NULL, key, Uint8Array.of(1))).toBe(ofHandle(Rc.HANDLE, 1));
    expect(rc(signer, key, Uint8Array.of(1))).toBe(ofHandle(Rc.TYPE, 1));
    expect(rc(key, key, Uint8Array.of(1))).toBe(ofParameter(Rc.VALUE, 3));
    expect(rc(Rh.NULL, signer, empty)).toBe(ofHandle(Rc.TYPE, 2));
    expect(rc(Rh.NULL, key, empty, 1900)).toBe(ofParameter(Rc.VALUE, 1));
  });
});

import {
  Alg,
  Curve,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  type Public,
  Rc,
  Rh,
  St,
  TPMS_CREATION_DATA,
  TPMT_PUBLIC,
  TpmError,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, u16, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import {
  bytes,
  create,
  createPrimary,
  createRc,
  flush,
  load,
  type Making,
  marshal,
  nameOf,
  sha256,
} from "../testing/objects.ts";
import {
  cipherTemplate,
  derivationTemplate,
  eccSigningTemplate,
  eccTemplate,
  fixedKey,
  rsaTemplate,
  sealTemplate,
  sensitiveCreate,
  storageKey,
} from "../testing/templates.ts";
import { Tpm } from "../tpm.ts";

const { userWithAuth, noDA, sign } = ObjectAttribute;
const empty = new Uint8Array(0);
const hmacScheme = { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL };

describe("CreatePrimary", () => {
  test("gives an object whose Name is the digest of its public area, and whose qualified Name begins at the hierarchy", () => {
    const client = TpmClient.started();
    const { handle, outPublic, name } = createPrimary(client, eccTemplate());
    expect(handle).toBe(0x8000_0000);
    expect(name).toEqual(nameOf(outPublic));
    const read = client.run("ReadPublic", { objectHandle: handle }, {});
    expect(read.outPublic).toEqual(outPublic);
    expect(read.name).toEqual(name);
    expect(read.qualifiedName).toEqual(concat(u16(Alg.SHA256), sha256(u32(Rh.OWNER), name)));
  });

  test.each([
    ["RSA-2048", rsaTemplate()],
    ["P-256", eccTemplate()],
    ["P-384", eccTemplate({ parameters: { curveID: Curve.NIST_P384 } })],
    ["P-521", eccTemplate({ parameters: { curveID: Curve.NIST_P521 } })],
    ["AES", cipherTemplate()],
    ["HMAC", sealTemplate({ objectAttributes: fixedKey | sign, parameters: { scheme: hmacScheme } })],
  ])(
    "gives the same %s key for the same template, after a restart and on another TPM of the same state",
    (_, template) => {
      const tpm = new Tpm();
      const client = new TpmClient(tpm);
      client.run("Startup", {}, { startupType: 0 });
      const first = createPrimary(client, template);
      const again = createPrimary(client, template);
      expect(again.outPublic).toEqual(first.outPublic);
      const other = TpmClient.started({ permanent: tpm.savePermanent() });
      expect(createPrimary(other, template).outPublic).toEqual(first.outPublic);
      const stranger = TpmClient.started();
      expect(createPrimary(stranger, template).outPublic).not.toEqual(first.outPublic);
    },
  );

  test("gives another key for another hierarchy, unique field or data", () => {
    const client = TpmClient.started();
    const unique = (...values: Making[]): readonly string[] =>
      values.map((making) => {
        const { handle, outPublic } = createPrimary(client, eccTemplate(), making);
        flush(client, handle);
        return JSON.stringify(outPublic.unique);
      });
    const keys = unique(
      {},
      { data: "a" },
      { data: "b" },
      { hierarchy: Rh.ENDORSEMENT },
      { hierarchy: Rh.PLATFORM },
      { hierarchy: Rh.NULL },
    );
    expect(new Set(keys).size).toBe(6);
    const changed = createPrimary(client, eccTemplate({ unique: { x: bytes("x"), y: empty } }));
    expect(keys).not.toContain(JSON.stringify(changed.outPublic.unique));
  });

  test("reports its circumstances: hierarchy as the parent's Names, PCR, locality, what the caller said", () => {
    const client = TpmClient.started();
    const creationPCR = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0x03, 0, 0) }];
    const parameters = { inSensitive: sensitiveCreate(), inPublic: eccTemplate(), creationPCR };
    const result = client.run(
      "CreatePrimary",
      { primaryHandle: Rh.ENDORSEMENT },
      { ...parameters, outsideInfo: bytes("why") },
      { locality: 3 },
    );
    expect(result.creationData).toEqual({
      pcrSelect: creationPCR,
      pcrDigest: sha256(new Uint8Array(64)),
      locality: 0x08,
      parentNameAlg: Alg.NULL,
      parentName: u32(Rh.ENDORSEMENT),
      parentQualifiedName: u32(Rh.ENDORSEMENT),
      outsideInfo: bytes("why"),
    });
    expect(result.creationHash).toEqual(sha256(marshal(TPMS_CREATION_DATA, result.creationData)));
    expect(result.creationTicket).toMatchObject({ tag: St.CREATION, hierarchy: Rh.ENDORSEMENT });
    expect(result.creationTicket.digest).toHaveLength(64);
  });

  test("a creation in the NULL hierarchy has a ticket as well, that certifies it", () => {
    const client = TpmClient.started();
    const { handle, creationHash, creationTicket } = createPrimary(client, eccTemplate(), {
      hierarchy: Rh.NULL,
    });
    expect(creationTicket.hierarchy).toBe(Rh.NULL);
    expect(creationTicket.digest).toHaveLength(64);
    const inScheme = { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };
    const parameters = { qualifyingData: empty, creationHash, inScheme, creationTicket };
    const handles = { signHandle: Rh.NULL, objectHandle: handle };
    expect(client.rc("CertifyCreation", handles, parameters)).toBe(Rc.SUCCESS);
    const forged = { ...creationTicket, hierarchy: Rh.OWNER };
    expect(client.rc("CertifyCreation", handles, { ...parameters, creationTicket: forged })).toBe(
      ofParameter(Rc.TICKET, 4),
    );
  });

  test("answers OBJECT_MEMORY when all slots are taken", () => {
    const client = TpmClient.started({ limits: { transientObjects: 2 } });
    createPrimary(client, eccTemplate());
    const { handle } = createPrimary(client, eccTemplate());
    expect(() => createPrimary(client, eccTemplate())).toThrow(new TpmError(Rc.OBJECT_MEMORY));
    flush(client, handle);
    expect(createPrimary(client, eccTemplate()).handle).toBe(handle);
  });

  test("takes only exponents that are primes from 65537 on", () => {
    const client = TpmClient.started();
    const rc = (exponent: number): number => {
      try {
        createPrimary(client, rsaTemplate({ parameters: { exponent } }));
        return Rc.SUCCESS;
      } catch (error) {
        return (error as TpmError).rc;
      }
    };
    expect(rc(3)).toBe(Rc.RANGE);
    expect(rc(65539 * 3)).toBe(Rc.RANGE);
    expect(rc(65538)).toBe(Rc.RANGE);
    expect(rc(65539)).toBe(Rc.SUCCESS);
  });

  test("makes RSA-1024 keys only where the embedder allows them", () => {
    const small = rsaTemplate({ parameters: { keyBits: 1024 } });
    expect(() => createPrimary(TpmClient.started(), small)).toThrow(new TpmError(ofParameter(Rc.VALUE, 2)));
    expect(createPrimary(TpmClient.started({ weakRsa: true }), small).outPublic.unique).toHaveLength(128);
  });
});

describe("Create and Load", () => {
  test("a sealed secret comes back from Unseal, below parents of every kind", () => {
    const client = TpmClient.started();
    const storageCipher = cipherTemplate({ objectAttributes: fixedKey | storageKey });
    const camellia = { algorithm: Alg.CAMELLIA, keyBits: 256, mode: Alg.CFB, hash: Alg.NULL };
    const byCamellia = eccTemplate({ nameAlg: Alg.SHA3_384, parameters: { symmetric: camellia } });
    for (const template of [rsaTemplate(), eccTemplate(), storageCipher, byCamellia]) {
      const parent = createPrimary(client, template).handle;
      const made = create(client, parent, sealTemplate(), { auth: "open", data: "the secret" });
      const item = load(client, parent, made);
      const { outData } = client.run("Unseal", { itemHandle: item }, {}, { auth: ["open"] });
      expect(outData).toEqual(bytes("the secret"));
      expect(client.rc("Unseal", { itemHandle: item }, {}, { auth: ["shut"] })).not.toBe(Rc.SUCCESS);
      flush(client, item);
      flush(client, parent);
    }
  });

  test("a child is told of its parent in creation data and qualified Name", () => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate());
    const made = create(client, parent.handle, eccSigningTemplate());
    const { qualifiedName: parentQn } = client.run("ReadPublic", { objectHandle: parent.handle }, {});
    expect(made.creationData).toMatchObject({
      parentNameAlg: Alg.SHA256,
      parentName: parent.name,
      parentQualifiedName: parentQn,
      pcrDigest: sha256(),
      locality: 1,
    });
    expect(made.creationTicket.hierarchy).toBe(Rh.OWNER);
    const child = client.run("ReadPublic", { objectHandle: load(client, parent.handle, made) }, {});
    expect(child.name).toEqual(nameOf(made.outPublic));
    expect(child.qualifiedName).toEqual(concat(u16(Alg.SHA256), sha256(parentQn, child.name)));
  });

  test("unique of a symmetric object is the digest of seed and secret: it differs for equal secrets", () => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate()).handle;
    const first = create(client, parent, sealTemplate(), { data: "same" }).outPublic.unique;
    const second = create(client, parent, sealTemplate(), { data: "same" }).outPublic.unique;
    expect(first).toHaveLength(32);
    expect(second).not.toEqual(first);
  });

  test("a private area whose bytes were changed anywhere does not load", () => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate()).handle;
    const { outPrivate, outPublic } = create(client, parent, sealTemplate(), { data: "x" });
    const rcOf = (inPrivate: Uint8Array): number =>
      client.rc("Load", { parentHandle: parent }, { inPrivate, inPublic: outPublic });
    fc.assert(
      fc.property(fc.nat(outPrivate.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = new Uint8Array(outPrivate);
        changed[at]! ^= flip;
        expect([Rc.INTEGRITY, Rc.SIZE, Rc.INSUFFICIENT].map((rc) => ofParameter(rc, 1))).toContain(
          rcOf(changed),
        );
      }),
    );
    expect(rcOf(empty)).toBe(ofParameter(Rc.SIZE, 1));
    expect(rcOf(outPrivate.subarray(0, 20))).toBe(ofParameter(Rc.INSUFFICIENT, 1));
    const other = sealTemplate({
      ...outPublic,
      objectAttributes: outPublic.objectAttributes ^ userWithAuth,
    } as Parameters<typeof sealTemplate>[0]);
    expect(client.rc("Load", { parentHandle: parent }, { inPrivate: outPrivate, inPublic: other })).toBe(
      ofParameter(Rc.INTEGRITY, 1),
    );
  });

  test("what is no parent cannot be created or loaded under", () => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate()).handle;
    const made = create(client, parent, eccSigningTemplate());
    const signer = load(client, parent, made);
    expect(createRc(client, signer, eccSigningTemplate())).toBe(ofHandle(Rc.TYPE, 1));
    const parameters = { inPrivate: made.outPrivate, inPublic: made.outPublic };
    expect(client.rc("Load", { parentHandle: signer }, parameters)).toBe(ofHandle(Rc.TYPE, 1));
    flush(client, signer);
    const deriving = createPrimary(client, derivationTemplate()).handle;
    expect(createRc(client, deriving, eccSigningTemplate())).toBe(ofHandle(Rc.TYPE, 1));
  });
});

describe("Unseal and ObjectChangeAuth", () => {
  test("only sealed data is unsealed", () => {
    const client = TpmClient.started();
    const key = createPrimary(client, eccTemplate()).handle;
    expect(client.rc("Unseal", { itemHandle: key }, {})).toBe(ofHandle(Rc.TYPE, 1));
    const mac = createPrimary(
      client,
      sealTemplate({ objectAttributes: fixedKey | sign, parameters: { scheme: hmacScheme } }),
    ).handle;
    expect(client.rc("Unseal", { itemHandle: mac }, {})).toBe(ofHandle(Rc.ATTRIBUTES, 1));
  });

  test("ObjectChangeAuth gives a private area with the new authValue; the loaded object keeps its own", () => {
    const client = TpmClient.started();
    const parentHandle = createPrimary(client, eccTemplate()).handle;
    const made = create(client, parentHandle, sealTemplate(), { auth: "old", data: "x" });
    const objectHandle = load(client, parentHandle, made);
    const { outPrivate } = client.run(
      "ObjectChangeAuth",
      { objectHandle, parentHandle },
      { newAuth: bytes("new") },
      { auth: ["old"] },
    );
    expect(client.run("Unseal", { itemHandle: objectHandle }, {}, { auth: ["old"] }).outData).toEqual(
      bytes("x"),
    );
    flush(client, objectHandle);
    const itemHandle = load(client, parentHandle, { outPrivate, outPublic: made.outPublic });
    expect(client.run("Unseal", { itemHandle }, {}, { auth: ["new"] }).outData).toEqual(bytes("x"));
    const tooLong = { newAuth: bytes("n".repeat(33)) };
    const handles = { objectHandle: itemHandle, parentHandle };
    expect(client.rc("ObjectChangeAuth", handles, tooLong, { auth: ["new"] })).toBe(ofParameter(Rc.SIZE, 1));
    const stranger = createPrimary(client, eccTemplate(), { hierarchy: Rh.ENDORSEMENT }).handle;
    const wrongParent = { objectHandle: itemHandle, parentHandle: stranger };
    expect(client.rc("ObjectChangeAuth", wrongParent, { newAuth: empty }, { auth: ["new"] })).toBe(
      ofHandle(Rc.TYPE, 2),
    );
  });

  test("an object without a Name has no parent to change its authValue with", () => {
    const client = TpmClient.started();
    const parentHandle = createPrimary(client, eccTemplate()).handle;
    const inPublic = sealTemplate({ objectAttributes: userWithAuth | noDA, nameAlg: Alg.NULL });
    const inPrivate = {
      sensitiveType: Alg.KEYEDHASH,
      authValue: empty,
      seedValue: empty,
      sensitive: bytes("x"),
    };
    const { handle: objectHandle } = client.run(
      "LoadExternal",
      {},
      { inPrivate, inPublic, hierarchy: Rh.NULL },
    );
    expect(client.run("Unseal", { itemHandle: objectHandle }, {}).outData).toEqual(bytes("x"));
    const handles = { objectHandle, parentHandle };
    expect(client.rc("ObjectChangeAuth", handles, { newAuth: empty })).toBe(ofHandle(Rc.TYPE, 2));
  });
});

describe("objects never fall over", () => {
  test("templates of any attributes, algorithms and bytes are answered", () => {
    const client = TpmClient.started({ limits: { transientObjects: 1 } });
    const flushAll = (handle: number): void => flush(client, handle);
    fc.assert(
      fc.property(
        fc.constantFrom<Public>(eccTemplate(), sealTemplate(), cipherTemplate(), derivationTemplate()),
        fc.integer({ min: 0, max: 0xfffff }),
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(60),
        fc.integer({ min: 0, max: 255 }),
        (template, objectAttributes, data, at, value) => {
          const inPublic = marshal(TPMT_PUBLIC, { ...template, objectAttributes } as Public);
          if (at < inPublic.length) inPublic[at] = value;
          try {
            const parameters = { inSensitive: sensitiveCreate("", data), inPublic };
            flushAll(client.run("CreateLoaded", { parentHandle: Rh.OWNER }, parameters).handle);
          } catch (error) {
            expect(error).toBeInstanceOf(TpmError);
            expect((error as TpmError).rc).not.toBe(Rc.FAILURE);
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});

import { createECDH } from "node:crypto";
import {
  Alg,
  noSymmetric,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  ofSession,
  type Public,
  Rc,
  Rh,
  Se,
  SessionAttribute,
  TPMS_ECC_POINT,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { kdfa, kdfe } from "./crypto/kdf.ts";
import { nodeProvider as crypto } from "./crypto/node-provider.ts";
import { aes128Cfb, ClientSession, TpmClient } from "./testing/client.ts";
import {
  eccSigningTemplate,
  eccTemplate,
  rsaTemplate,
  sealTemplate,
  sensitiveCreate,
} from "./testing/templates.ts";

const empty = new Uint8Array(0);
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const extension = { digests: [{ hashAlg: Alg.SHA256, digest: filled(1) }] };
const { continueSession, encrypt } = SessionAttribute;

function create(client: TpmClient, inPublic: Public, auth = "", data = ""): number {
  const inSensitive = sensitiveCreate(auth, data);
  const wanted = { inSensitive, inPublic, outsideInfo: empty, creationPCR: [] };
  return client.run("CreatePrimary", { primaryHandle: Rh.OWNER }, wanted).handle;
}
const request = (encryptedSalt: Uint8Array, symmetric = noSymmetric) => ({
  nonceCaller: filled(1, 16),
  encryptedSalt,
  sessionType: Se.HMAC,
  symmetric,
  authHash: Alg.SHA256,
});
const startCode = (client: TpmClient, tpmKey: number, encryptedSalt: Uint8Array): number =>
  client.rc("StartAuthSession", { tpmKey, bind: Rh.NULL }, request(encryptedSalt));

/** A point of the caller's, and the salt that follows from it and the TPM's key (Part 1, C.6). */
function eccSalt(client: TpmClient, key: number): { salt: Uint8Array; encryptedSalt: Uint8Array } {
  const { outPublic } = client.run("ReadPublic", { objectHandle: key }, {});
  if (outPublic.type !== Alg.ECC) throw new Error("no ECC key");
  const { x, y } = outPublic.unique;
  const caller = createECDH("prime256v1");
  const point = caller.generateKeys();
  const z = caller.computeSecret(Buffer.concat([Uint8Array.of(4), x, y]));
  const own = { x: new Uint8Array(point.subarray(1, 33)), y: new Uint8Array(point.subarray(33)) };
  const writer = new TpmWriter();
  TPMS_ECC_POINT.write(writer, own);
  return { salt: kdfe(crypto, Alg.SHA256, z, "SECRET", own.x, x, 256), encryptedSalt: writer.finish() };
}

describe("a salted session", () => {
  test("has the key that only its caller and an RSA key of the TPM know", () => {
    const client = TpmClient.started();
    const saltKey = create(client, rsaTemplate());
    const session = client.session({ saltKey, symmetric: aes128Cfb });
    client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session }] });
    const attributes = continueSession | encrypt;
    const { randomBytes } = client.run(
      "GetRandom",
      {},
      { bytesRequested: 8 },
      { auth: [{ session, attributes }] },
    );
    expect(randomBytes.length).toBe(8);
    const forged = [{ session, forged: filled(0) }];
    expect(client.rc("PCR_Extend", { pcrHandle: 16 }, extension, { auth: forged })).toBe(
      ofSession(Rc.BAD_AUTH, 1),
    );
  });

  test("has the key that only its caller and an ECC key of the TPM know", () => {
    const client = TpmClient.started();
    const tpmKey = create(client, eccTemplate());
    const { salt, encryptedSalt } = eccSalt(client, tpmKey);
    const { nonceCaller } = request(encryptedSalt);
    const started = client.run("StartAuthSession", { tpmKey, bind: Rh.NULL }, request(encryptedSalt));
    const session = new ClientSession({
      handle: started.handle,
      kind: "hmac",
      hash: Alg.SHA256,
      sessionKey: kdfa(crypto, Alg.SHA256, salt, "ATH", started.nonceTPM, nonceCaller, 256),
      symmetric: noSymmetric,
      nonceCaller,
      nonceTpm: started.nonceTPM,
      bound: Rh.NULL,
    });
    client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session }] });
  });

  test("has both the authValue of what it is bound to and the salt in its key", () => {
    const client = TpmClient.started();
    const saltKey = create(client, rsaTemplate());
    client.run("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: text("owner") });
    const session = client.session({ saltKey, bind: Rh.OWNER, bindAuth: text("owner") });
    const newTime = 1000n;
    expect(client.rc("ClockSet", { auth: Rh.OWNER }, { newTime }, { auth: [{ session }] })).toBe(Rc.SUCCESS);
    const wrong = client.session({ saltKey, bind: Rh.OWNER, bindAuth: text("other") });
    expect(client.rc("ClockSet", { auth: Rh.OWNER }, { newTime }, { auth: [{ session: wrong }] })).toBe(
      ofSession(Rc.BAD_AUTH, 1),
    );
  });

  test("wants a key that can decrypt, whole, and asymmetric", () => {
    const client = TpmClient.started({ limits: { transientObjects: 8 } });
    const salt = filled(1, 256);
    expect(startCode(client, create(client, sealTemplate(), "", "data"), salt)).toBe(ofHandle(Rc.KEY, 1));
    const signing = create(client, eccSigningTemplate());
    expect(startCode(client, signing, salt)).toBe(ofHandle(Rc.ATTRIBUTES, 1));
    const storage = create(client, eccTemplate());
    expect(startCode(client, storage, empty)).toBe(ofParameter(Rc.VALUE, 2));
    const { outPublic } = client.run("ReadPublic", { objectHandle: storage }, {});
    const inPublic = {
      ...outPublic,
      objectAttributes:
        outPublic.objectAttributes & ~(ObjectAttribute.fixedTPM | ObjectAttribute.fixedParent),
    } as Public;
    const external = { inPrivate: undefined, inPublic, hierarchy: Rh.OWNER };
    const publicOnly = client.run("LoadExternal", {}, external).handle;
    expect(startCode(client, publicOnly, salt)).toBe(ofHandle(Rc.HANDLE, 1));
    const sequence = client.run("HashSequenceStart", {}, { auth: empty, hashAlg: Alg.SHA256 }).handle;
    expect(startCode(client, sequence, salt)).toBe(ofHandle(Rc.KEY, 1));
  });

  test("answers every salt that is none in the same way", () => {
    const client = TpmClient.started();
    const keys = [create(client, rsaTemplate()), create(client, eccTemplate())];
    const { encryptedSalt } = eccSalt(client, keys[1]!);
    const notOnCurve = encryptedSalt.map((byte, at) => (at === 20 ? byte ^ 1 : byte));
    expect(startCode(client, keys[1]!, notOnCurve)).toBe(ofParameter(Rc.VALUE, 2));
    expect(startCode(client, keys[1]!, encryptedSalt.subarray(0, 40))).toBe(ofParameter(Rc.VALUE, 2));
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.uint8Array({ minLength: 256, maxLength: 256 }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...keys), bytes, (key, salt) => {
        expect(startCode(client, key, salt)).toBe(ofParameter(Rc.VALUE, 2));
      }),
      { numRuns: 100 },
    );
  });
});

describe("a session bound to an object", () => {
  const protectedSeal = (): Public =>
    sealTemplate({ objectAttributes: sealTemplate().objectAttributes & ~ObjectAttribute.noDA });
  const unseal = (client: TpmClient, itemHandle: number, use: object): number =>
    client.rc("Unseal", { itemHandle }, {}, { auth: [use as never] });

  test("has that object's authValue in its key, and another's in the HMAC", () => {
    const client = TpmClient.started();
    const item = create(client, sealTemplate(), "first", "data");
    const other = create(client, sealTemplate(), "second", "data");
    const session = client.session({ bind: item, bindAuth: text("first") });
    expect(unseal(client, item, { session })).toBe(Rc.SUCCESS);
    expect(unseal(client, other, { session, authValue: text("second") })).toBe(Rc.SUCCESS);
    expect(unseal(client, other, { session, authValue: text("first") })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(client, item, { session })).toBe(Rc.SUCCESS);
  });

  test("is not bound to it any more when its authValue has changed", () => {
    const client = TpmClient.started();
    const session = client.session({ bind: Rh.OWNER });
    let newTime = 0n;
    const set = (use: object): number => {
      newTime += 1_000_000n;
      return client.rc("ClockSet", { auth: Rh.OWNER }, { newTime }, { auth: [use as never] });
    };
    expect(set({ session })).toBe(Rc.SUCCESS);
    client.run("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: text("owner") });
    expect(set({ session })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(set({ session, authValue: text("owner"), hmacAuth: true })).toBe(Rc.SUCCESS);
  });

  test("ignores zero bytes at the end of an authValue", () => {
    const client = TpmClient.started();
    const item = create(client, sealTemplate(), "auth\0\0", "data");
    const session = client.session({ bind: item, bindAuth: text("auth") });
    expect(unseal(client, item, { session })).toBe(Rc.SUCCESS);
  });

  test("counts wrong guesses of a protected authValue, whatever it authorizes", () => {
    const client = TpmClient.started();
    const item = create(client, protectedSeal(), "right", "data");
    const free = create(client, sealTemplate(), "", "data");
    const guess = (): number => {
      const session = client.session({ bind: item, bindAuth: text("wrong") });
      const rc = unseal(client, free, { session });
      client.run("FlushContext", {}, { flushHandle: session.handle });
      return rc;
    };
    expect([guess(), guess(), guess(), guess()]).toEqual([
      ofSession(Rc.AUTH_FAIL, 1),
      ofSession(Rc.AUTH_FAIL, 1),
      ofSession(Rc.AUTH_FAIL, 1),
      Rc.LOCKOUT,
    ]);
    const right = client.session({ bind: item, bindAuth: text("right") });
    expect(unseal(client, free, { session: right })).toBe(Rc.LOCKOUT);
    client.run("DictionaryAttackLockReset", { lockHandle: Rh.LOCKOUT }, {});
    expect(unseal(client, free, { session: right })).toBe(Rc.SUCCESS);
  });

  test("cannot be bound to a public area alone", () => {
    const client = TpmClient.started();
    const { outPublic } = client.run(
      "ReadPublic",
      { objectHandle: create(client, eccSigningTemplate()) },
      {},
    );
    const inPublic = { ...outPublic, objectAttributes: ObjectAttribute.sign } as Public;
    const external = { inPrivate: undefined, inPublic, hierarchy: Rh.OWNER };
    const { handle } = client.run("LoadExternal", {}, external);
    let rc: number = Rc.SUCCESS;
    try {
      client.session({ bind: handle });
    } catch (error) {
      if (error instanceof TpmError) rc = error.rc;
    }
    expect(rc).toBe(ofHandle(Rc.HANDLE, 2));
  });
});

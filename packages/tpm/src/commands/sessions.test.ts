import {
  Alg,
  Cap,
  noSymmetric,
  ofHandle,
  ofParameter,
  ofSession,
  Rc,
  Rh,
  Se,
  SessionAttribute,
  TpmError,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { aes128Cfb, ClientSession, TpmClient } from "../testing/client.ts";

const empty = new Uint8Array(0);
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const extension = { digests: [{ hashAlg: Alg.SHA256, digest: filled(1) }] };

function start(client: TpmClient, fields: object = {}, handles: object = {}): number {
  return client.rc(
    "StartAuthSession",
    { tpmKey: Rh.NULL, bind: Rh.NULL, ...handles },
    {
      nonceCaller: filled(1, 16),
      encryptedSalt: empty,
      sessionType: Se.HMAC,
      symmetric: noSymmetric,
      authHash: Alg.SHA256,
      ...fields,
    },
  );
}

function loadedHandles(client: TpmClient, first = 0x0200_0000): readonly number[] {
  const asked = { capability: Cap.HANDLES, property: first, propertyCount: 100 };
  const { capabilityData } = client.run("GetCapability", {}, asked);
  return capabilityData.capability === Cap.HANDLES ? capabilityData.data : [];
}

describe("TPM2_StartAuthSession", () => {
  test("wants a nonce of 16 bytes at least and of a digest at most", () => {
    const rc = (authHash: number, length: number): number =>
      start(TpmClient.started(), { authHash, nonceCaller: filled(1, length) });
    const size = ofParameter(Rc.SIZE, 1);
    expect([0, 15, 16, 20, 21].map((length) => rc(Alg.SHA1, length))).toEqual([size, size, 0, 0, size]);
    expect([15, 16, 32, 33].map((length) => rc(Alg.SHA256, length))).toEqual([size, 0, 0, size]);
    expect([64, 65].map((length) => rc(Alg.SHA512, length))).toEqual([0, size]);
  });

  test("gives a nonce as long as the caller's, and another one each time", () => {
    const client = TpmClient.started();
    const [a, b] = [client.session({ nonceSize: 20 }), client.session({ nonceSize: 20 })];
    expect([a.nonceTpm.length, b.nonceTpm.length]).toEqual([20, 20]);
    expect(a.nonceTpm).not.toEqual(b.nonceTpm);
  });

  test("takes block ciphers in CFB mode only, and XOR", () => {
    const rc = (symmetric: object): number =>
      start(TpmClient.started(), { symmetric: { ...noSymmetric, ...symmetric } });
    const aes = { algorithm: Alg.AES, keyBits: 128 };
    const mode = ofParameter(Rc.MODE, 4);
    expect(rc({ ...aes, mode: Alg.CFB })).toBe(Rc.SUCCESS);
    expect(rc({ ...aes, mode: Alg.CTR })).toBe(mode);
    expect(rc({ ...aes, mode: Alg.NULL })).toBe(mode);
    expect(rc({ algorithm: Alg.XOR, hash: Alg.SHA256 })).toBe(Rc.SUCCESS);
    expect(rc({ ...aes, keyBits: 512, mode: Alg.CFB })).toBe(ofParameter(Rc.VALUE, 4));
  });

  test("takes no salt without a key for it", () => {
    expect(start(TpmClient.started(), { encryptedSalt: filled(1) })).toBe(ofParameter(Rc.VALUE, 2));
  });

  test("refuses a type that there is none of", () => {
    const client = TpmClient.started();
    expect(start(client, { sessionType: 2 })).toBe(ofParameter(Rc.VALUE, 3));
    expect(start(client, { sessionType: 4 })).toBe(ofParameter(Rc.VALUE, 3));
  });

  test("gives the lowest free number, in the range of the session's kind", () => {
    const client = TpmClient.started();
    const handles = (["hmac", "policy", "trial"] as const).map((kind) => client.session({ kind }).handle);
    expect(handles).toEqual([0x0200_0000, 0x0300_0001, 0x0300_0002]);
    client.run("FlushContext", {}, { flushHandle: 0x0300_0001 });
    expect(client.session().handle).toBe(0x0200_0001);
  });

  test("has room for as many loaded sessions as the limit says", () => {
    const client = TpmClient.started({ limits: { loadedSessions: 2 } });
    client.session();
    client.session();
    expect(start(client)).toBe(Rc.SESSION_MEMORY);
  });

  test("has as many numbers for active sessions as the limit says", () => {
    const client = TpmClient.started({ limits: { loadedSessions: 3, activeSessions: 3 } });
    const first = client.session();
    client.run("ContextSave", { saveHandle: first.handle }, {});
    client.session();
    client.session();
    expect(start(client)).toBe(Rc.SESSION_HANDLES);
  });
});

describe("an HMAC session", () => {
  test("proves the authValue, and rolls its nonces with each command", () => {
    const client = TpmClient.started();
    const session = client.session();
    const before = session.nonceTpm;
    client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session, authValue: empty }] });
    expect(session.nonceTpm).not.toEqual(before);
    client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session }] });
  });

  test.each([Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512])(
    "bound to an entity has a key, by hash %i",
    (hash) => {
      const client = TpmClient.started();
      const session = client.session({ hash, bind: Rh.OWNER });
      expect(session.sessionKey.length).toBeGreaterThan(0);
      client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session }] });
      const forged = { session, forged: filled(0, session.sessionKey.length) };
      expect(client.rc("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [forged] })).toBe(
        Rc.BAD_AUTH | 0x900,
      );
    },
  );

  test("without continueSession ends with its command", () => {
    const client = TpmClient.started();
    const session = client.session({ bind: Rh.OWNER });
    client.run("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session, attributes: 0 }] });
    expect(loadedHandles(client)).toEqual([]);
    expect(client.rc("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session }] })).toBe(
      Rc.REFERENCE_S0,
    );
  });

  test.each([
    ["AES-128", aes128Cfb],
    ["AES-256", { ...aes128Cfb, keyBits: 256 }],
    ["XOR", { ...noSymmetric, algorithm: Alg.XOR, hash: Alg.SHA256 }],
  ])("encrypts a response with %s", (_, symmetric) => {
    const client = TpmClient.started();
    const session = client.session({ bind: Rh.OWNER, symmetric });
    const attributes = SessionAttribute.continueSession | SessionAttribute.encrypt;
    const policySession = client.session({ kind: "policy" }).handle;
    const answer = client.run("PolicyGetDigest", { policySession }, {}, { auth: [{ session, attributes }] });
    expect(answer.policyDigest).toEqual(filled(0));
  });

  test.each([
    ["AES-128", aes128Cfb],
    ["XOR", { ...noSymmetric, algorithm: Alg.XOR, hash: Alg.SHA1 }],
  ])("decrypts a parameter with %s", (_, symmetric) => {
    const client = TpmClient.started();
    const session = client.session({ bind: Rh.OWNER, symmetric });
    const attributes = SessionAttribute.continueSession | SessionAttribute.decrypt;
    const policySession = client.session({ kind: "trial" }).handle;
    client.run(
      "PolicyCpHash",
      { policySession },
      { cpHashA: filled(3) },
      { auth: [{ session, attributes }] },
    );
    const { policyDigest } = client.run("PolicyGetDigest", { policySession }, {});
    expect(Buffer.from(policyDigest).toString("hex")).toBe(
      "0862eef8a0e4f24b6625e5776f1399d33b5d3c210412a344eeec4b17a4844073",
    );
  });
});

describe("TPM2_PolicyRestart", () => {
  test("lifts what was asked for, and keeps key, nonce and binding", () => {
    const client = TpmClient.started();
    const session = client.session({ kind: "policy", bind: Rh.OWNER, symmetric: aes128Cfb });
    const policySession = session.handle;
    client.run("PolicyLocality", { policySession }, { locality: 1 });
    client.run("PolicyCpHash", { policySession }, { cpHashA: filled(1) });
    client.run("PolicyRestart", { sessionHandle: policySession }, {});
    // HMAC and cipher are made with the key and the nonces of before.
    const attributes = SessionAttribute.continueSession | SessionAttribute.encrypt;
    const answer = client.run("PolicyGetDigest", { policySession }, {}, { auth: [{ session, attributes }] });
    expect(answer.policyDigest).toEqual(filled(0));
    expect(client.rc("PolicyLocality", { policySession }, { locality: 2 })).toBe(Rc.SUCCESS);
    expect(client.rc("PolicyNameHash", { policySession }, { nameHash: filled(1) })).toBe(Rc.SUCCESS);
  });

  test("is for a loaded policy session", () => {
    const client = TpmClient.started();
    expect(client.rc("PolicyRestart", { sessionHandle: 0x0300_0000 }, {})).toBe(Rc.REFERENCE_H0);
    const { handle } = client.session();
    expect(client.rc("PolicyRestart", { sessionHandle: handle }, {})).toBe(ofHandle(Rc.VALUE, 1));
  });
});

describe("the handle of a session", () => {
  test("is refused by its kind, when the number is that of a session of the other kind", () => {
    const client = TpmClient.started();
    const session = client.session();
    expect(client.rc("PolicyGetDigest", { policySession: 0x0300_0000 }, {})).toBe(ofHandle(Rc.HANDLE, 1));
    const other = new ClientSession({ ...session, handle: 0x0300_0000 });
    expect(client.rc("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session: other }] })).toBe(
      ofSession(Rc.HANDLE, 1),
    );
  });

  test("is refused by its value, when no session can have the number", () => {
    const client = TpmClient.started();
    expect(client.rc("PolicyGetDigest", { policySession: 0x0300_0040 }, {})).toBe(ofHandle(Rc.VALUE, 1));
    expect(client.rc("PolicyGetDigest", { policySession: 0x0300_003f }, {})).toBe(Rc.REFERENCE_H0);
    const session = client.session();
    const other = new ClientSession({ ...session, handle: 0x0200_0040 });
    expect(client.rc("PCR_Extend", { pcrHandle: 16 }, extension, { auth: [{ session: other }] })).toBe(
      ofSession(Rc.VALUE, 1),
    );
  });

  test("is refused by its value before another handle is found to be absent", () => {
    const client = TpmClient.started();
    const claims = { operandB: empty, offset: 0, operation: 0 };
    const handles = { authHandle: Rh.OWNER, nvIndex: 0x0150_0001, policySession: 0x0300_0040 };
    expect(client.rc("PolicyNV", handles, claims)).toBe(ofHandle(Rc.VALUE, 3));
  });
});

describe("TPM2_FlushContext", () => {
  const flush = (client: TpmClient, flushHandle: number): number =>
    client.rc("FlushContext", {}, { flushHandle });

  test("ends a session, whose number is free then", () => {
    const client = TpmClient.started();
    const { handle } = client.session();
    expect(flush(client, handle)).toBe(Rc.SUCCESS);
    expect(flush(client, handle)).toBe(ofParameter(Rc.HANDLE, 1));
    expect(client.session().handle).toBe(handle);
  });

  test("ends a saved policy session by the handle that TPM_CAP_HANDLES shows", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ kind: "policy" });
    const { context } = client.run("ContextSave", { saveHandle: handle }, {});
    const shown = loadedHandles(client, 0x0300_0000);
    expect(shown).toEqual([0x0200_0000]);
    expect(flush(client, shown[0]!)).toBe(Rc.SUCCESS);
    expect(client.rc("ContextLoad", {}, { context })).toBe(ofParameter(Rc.HANDLE, 1));
  });

  test("tells a handle that cannot be from one that is not there", () => {
    const client = TpmClient.started();
    expect(flush(client, 0x8000_0005)).toBe(ofParameter(Rc.VALUE, 1));
    expect(flush(client, 0x8000_0002)).toBe(ofParameter(Rc.HANDLE, 1));
    expect(flush(client, 0x0200_0040)).toBe(ofParameter(Rc.VALUE, 1));
    expect(flush(client, 0x0300_003f)).toBe(ofParameter(Rc.HANDLE, 1));
    expect(flush(client, Rh.OWNER)).toBe(ofParameter(Rc.VALUE, 1));
    expect(flush(client, 0x8100_0000)).toBe(ofParameter(Rc.VALUE, 1));
  });
});

test("a session is started, used and ended, or refused, whatever is asked for", () => {
  const client = TpmClient.started();
  const session = fc.record({
    nonceCaller: fc.uint8Array({ maxLength: 64 }),
    encryptedSalt: fc.uint8Array({ maxLength: 8 }),
    sessionType: fc.constantFrom(Se.HMAC, Se.POLICY, Se.TRIAL),
    symmetric: fc.constantFrom(noSymmetric, aes128Cfb, { ...aes128Cfb, mode: Alg.CBC }),
    authHash: fc.constantFrom(Alg.SHA1, Alg.SHA256, Alg.SHA384, Alg.SHA512),
  });
  const handle = fc.oneof(fc.constantFrom<number>(Rh.NULL, Rh.OWNER, Rh.LOCKOUT, 0, 23), fc.nat(0xffff_ffff));
  fc.assert(
    fc.property(handle, handle, session, (tpmKey, bind, parameters) => {
      try {
        const started = client.run("StartAuthSession", { tpmKey, bind }, parameters);
        client.run("FlushContext", {}, { flushHandle: started.handle });
      } catch (error) {
        if (!(error instanceof TpmError)) throw error;
        expect(error.rc).not.toBe(Rc.FAILURE);
      }
      expect(loadedHandles(client)).toEqual([]);
    }),
    { numRuns: 300 },
  );
});

import { createHash } from "node:crypto";
import {
  Alg,
  commands,
  ofHandle,
  ofParameter,
  ofSession,
  Rc,
  Rh,
  type Signature,
  St,
  Su,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u16, u32 } from "../engine.ts";
import { type ClientSession, TpmClient } from "../testing/client.ts";
import { Authority, SECRET, sealed, trialDigest } from "../testing/policy-fixture.ts";
import { Tpm } from "../tpm.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const sha256 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const empty = new Uint8Array(0);
const zero = new Uint8Array(32);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const noClaims = { nonceTPM: empty, cpHashA: empty, policyRef: empty, expiration: 0 };

/** A TPM whose time the test sets, in ms. */
function withClock() {
  const clock = { now: 0 };
  const tpm = new Tpm({ now: () => clock.now });
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  return { clock, tpm, client };
}
const unseal = (client: TpmClient, itemHandle: number, session: ClientSession): number =>
  client.rc("Unseal", { itemHandle }, {}, { auth: [{ session }] });
const digestOf = (client: TpmClient, policySession: number): Uint8Array =>
  client.run("PolicyGetDigest", { policySession }, {}).policyDigest;

describe("TPM2_PolicySecret", () => {
  const bySecret = (client: TpmClient, policySession: number, claims: object = {}, auth = "") =>
    client.run(
      "PolicySecret",
      { authHandle: Rh.ENDORSEMENT, policySession },
      { ...noClaims, ...claims },
      { auth: [auth] },
    );
  const code = (client: TpmClient, policySession: number, claims: object): number =>
    client.rc("PolicySecret", { authHandle: Rh.ENDORSEMENT, policySession }, { ...noClaims, ...claims });

  test("of the endorsement hierarchy is the policy of endorsement keys", () => {
    const client = TpmClient.started();
    const policy = trialDigest(client, (policySession) => bySecret(client, policySession));
    expect(hex(policy)).toBe("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa");
  });

  test("takes policyRef in by a second hash, even when it is empty", () => {
    const client = TpmClient.started();
    const policyRef = text("reference");
    const policy = trialDigest(client, (policySession) => bySecret(client, policySession, { policyRef }));
    const first = sha256(zero, u32(commands.PolicySecret.code), u32(Rh.ENDORSEMENT));
    expect(policy).toEqual(sha256(first, policyRef));
  });

  test("opens what its policy protects", () => {
    const client = TpmClient.started();
    const item = sealed(
      client,
      trialDigest(client, (s) => bySecret(client, s)),
    );
    const session = client.session({ kind: "policy" });
    expect(unseal(client, item, session)).toBe(ofSession(Rc.POLICY_FAIL, 1));
    bySecret(client, session.handle);
    const { outData } = client.run("Unseal", { itemHandle: item }, {}, { auth: [{ session }] });
    expect(outData).toEqual(SECRET);
  });

  test("is not given for a wrong secret", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ kind: "policy" });
    const handles = { authHandle: Rh.ENDORSEMENT, policySession: handle };
    expect(client.rc("PolicySecret", handles, noClaims, { auth: ["wrong"] })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(digestOf(client, handle)).toEqual(zero);
  });

  test("wants the session's own nonce when it is given one", () => {
    const client = TpmClient.started();
    const session = client.session({ kind: "policy" });
    expect(code(client, session.handle, { nonceTPM: filled(1) })).toBe(ofParameter(Rc.NONCE, 1));
    expect(code(client, session.handle, { nonceTPM: session.nonceTpm })).toBe(Rc.SUCCESS);
  });

  test("binds the session to a command by a cpHash of the right size, and to one only", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ kind: "policy" });
    expect(code(client, handle, { cpHashA: filled(1, 20) })).toBe(ofParameter(Rc.SIZE, 2));
    expect(code(client, handle, { cpHashA: filled(1) })).toBe(Rc.SUCCESS);
    expect(code(client, handle, { cpHashA: filled(1) })).toBe(Rc.SUCCESS);
    expect(code(client, handle, { cpHashA: filled(2) })).toBe(Rc.CPHASH);
    expect(code(client, handle, {})).toBe(Rc.SUCCESS);
  });

  test("gives no ticket unless one is asked for by a negative expiration", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ kind: "policy" });
    const none = { tag: St.AUTH_SECRET, hierarchy: Rh.NULL, digest: empty };
    for (const expiration of [0, 100]) {
      const { timeout, policyTicket } = bySecret(client, handle, { expiration });
      expect([timeout, policyTicket]).toEqual([empty, none]);
    }
    const { timeout, policyTicket } = bySecret(client, handle, { expiration: -100 });
    expect(timeout.length).toBe(8);
    expect(policyTicket).toMatchObject({ tag: St.AUTH_SECRET, hierarchy: Rh.ENDORSEMENT });
    const trial = client.session({ kind: "trial" }).handle;
    expect(bySecret(client, trial, { expiration: -100 })).toMatchObject({
      timeout: empty,
      policyTicket: none,
    });
  });
});

describe("an expiration", () => {
  test("counts from the start of the session when its nonce is given", () => {
    const { clock, client } = withClock();
    const claims = (session: ClientSession, expiration: number) => ({
      ...noClaims,
      nonceTPM: session.nonceTpm,
      expiration,
    });
    const policy = trialDigest(client, (policySession) =>
      client.run("PolicySecret", { authHandle: Rh.OWNER, policySession }, noClaims),
    );
    const item = sealed(client, policy);
    clock.now = 5_000;
    const session = client.session({ kind: "policy" });
    const handles = { authHandle: Rh.OWNER, policySession: session.handle };
    clock.now = 8_001;
    expect(client.rc("PolicySecret", handles, claims(session, 3))).toBe(ofParameter(Rc.EXPIRED, 4));
    expect(client.rc("PolicySecret", handles, claims(session, 10))).toBe(Rc.SUCCESS);
    clock.now = 15_000;
    expect(unseal(client, item, session)).toBe(Rc.SUCCESS);
    // With its use another interval began.
    clock.now = 17_999;
    expect(client.rc("PolicySecret", handles, claims(session, 3))).toBe(Rc.SUCCESS);
    clock.now = 18_001;
    expect(unseal(client, item, session)).toBe(ofSession(Rc.EXPIRED, 1));
  });

  test("counts from power-on without a nonce", () => {
    const { clock, client } = withClock();
    clock.now = 10_000;
    const { handle } = client.session({ kind: "policy" });
    const handles = { authHandle: Rh.OWNER, policySession: handle };
    const rc = (expiration: number): number =>
      client.rc("PolicySecret", handles, { ...noClaims, expiration });
    const expired = ofParameter(Rc.EXPIRED, 4);
    expect([rc(9), rc(-9), rc(10), rc(-11)]).toEqual([expired, expired, Rc.SUCCESS, Rc.SUCCESS]);
    // The second that has begun is not taken away.
    clock.now = 12_999;
    expect([rc(11), rc(12)]).toEqual([expired, Rc.SUCCESS]);
  });

  test("of several is the earliest", () => {
    const { clock, client } = withClock();
    const [inTime, late] = [client.session({ kind: "policy" }), client.session({ kind: "policy" })];
    const policy = trialDigest(client, (policySession) => {
      for (let i = 0; i < 3; i++)
        client.run("PolicySecret", { authHandle: Rh.OWNER, policySession }, noClaims);
    });
    const item = sealed(client, policy);
    for (const { handle } of [inTime, late])
      for (const expiration of [100, 20, 60])
        client.run(
          "PolicySecret",
          { authHandle: Rh.OWNER, policySession: handle },
          { ...noClaims, expiration },
        );
    clock.now = 20_000;
    expect(unseal(client, item, inTime)).toBe(Rc.SUCCESS);
    clock.now = 20_001;
    expect(unseal(client, item, late)).toBe(ofSession(Rc.EXPIRED, 1));
  });

  test("may be the most negative number that there is", () => {
    const { client } = withClock();
    const { handle } = client.session({ kind: "policy" });
    const claims = { ...noClaims, expiration: -0x8000_0000 };
    const { timeout } = client.run("PolicySecret", { authHandle: Rh.OWNER, policySession: handle }, claims);
    const shown = new DataView(timeout.buffer, timeout.byteOffset).getBigUint64(0);
    expect(shown).toBe((1n << 63n) | (0x8000_0000n * 1000n));
  });
});

describe("TPM2_PolicySigned", () => {
  const run = (client: TpmClient, authObject: number, policySession: number, auth: Signature, claims = {}) =>
    client.rc("PolicySigned", { authObject, policySession }, { ...noClaims, ...claims, auth });

  test("opens what its policy protects, by a signature for this very session", () => {
    const client = TpmClient.started();
    const authority = new Authority();
    const { handle: authObject, name } = authority.load(client);
    const policyRef = text("door 3");
    const unsigned = authority.sign();
    const policy = trialDigest(client, (s) =>
      expect(run(client, authObject, s, unsigned, { policyRef })).toBe(Rc.SUCCESS),
    );
    expect(policy).toEqual(sha256(sha256(zero, u32(commands.PolicySigned.code), name), policyRef));
    const item = sealed(client, policy);
    const session = client.session({ kind: "policy" });
    const { nonceTpm } = session;
    const claims = { nonceTPM: nonceTpm, policyRef };
    const wrong = authority.signPolicy(filled(0), 0, empty, policyRef);
    expect(run(client, authObject, session.handle, wrong, claims)).toBe(ofParameter(Rc.SIGNATURE, 5));
    const right = authority.signPolicy(nonceTpm, 0, empty, policyRef);
    expect(run(client, authObject, session.handle, right, claims)).toBe(Rc.SUCCESS);
    expect(unseal(client, item, session)).toBe(Rc.SUCCESS);
  });

  test("covers expiration, cpHash and reference by the signature", () => {
    const client = TpmClient.started();
    const authority = new Authority();
    const { handle: authObject } = authority.load(client);
    const { handle } = client.session({ kind: "policy" });
    const claims = { expiration: 100, cpHashA: filled(1), policyRef: text("a") };
    const rc = (auth: Signature): number => run(client, authObject, handle, auth, claims);
    const bad = ofParameter(Rc.SIGNATURE, 5);
    expect(rc(authority.signPolicy(empty, 101, filled(1), text("a")))).toBe(bad);
    expect(rc(authority.signPolicy(empty, 100, filled(2), text("a")))).toBe(bad);
    expect(rc(authority.signPolicy(empty, 100, filled(1), text("b")))).toBe(bad);
    expect(rc(new Authority().signPolicy(empty, 100, filled(1), text("a")))).toBe(bad);
    expect(rc(authority.signPolicy(empty, 100, filled(1), text("a")))).toBe(Rc.SUCCESS);
  });

  test("names the signature when its scheme is not the key's", () => {
    const client = TpmClient.started();
    const { handle: authObject } = new Authority().load(client);
    const { handle } = client.session({ kind: "policy" });
    const rsa: Signature = { sigAlg: Alg.RSASSA, hash: Alg.SHA256, sig: filled(1, 256) };
    expect(run(client, authObject, handle, rsa) & 0x0bf).toBe(Rc.SCHEME);
    expect(run(client, authObject, handle, { sigAlg: Alg.NULL })).toBe(ofParameter(Rc.SCHEME, 5));
  });
});

describe("TPM2_PolicyTicket", () => {
  /** A ticket of an authorization that is good for 100 s. */
  function withTicket(hierarchy: number = Rh.OWNER, cpHashA: Uint8Array = empty, policyRef = text("r")) {
    const { clock, tpm, client } = withClock();
    const authority = new Authority();
    const { handle: authObject, name: authName } = authority.load(client, hierarchy);
    const session = client.session({ kind: "policy" });
    const auth = authority.signPolicy(empty, -100, cpHashA, policyRef);
    const claims = { nonceTPM: empty, expiration: -100, cpHashA, policyRef, auth };
    const given = client.run("PolicySigned", { authObject, policySession: session.handle }, claims);
    const digest = digestOf(client, session.handle);
    client.run("FlushContext", {}, { flushHandle: session.handle });
    const { timeout, policyTicket: ticket } = given;
    return { clock, tpm, client, digest, shown: { timeout, cpHashA, policyRef, authName, ticket } };
  }
  const rcOf = (client: TpmClient, shown: ReturnType<typeof withTicket>["shown"]): number => {
    const { handle } = client.session({ kind: "policy" });
    const rc = client.rc("PolicyTicket", { policySession: handle }, shown);
    client.run("FlushContext", {}, { flushHandle: handle });
    return rc;
  };

  test.each([Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.NULL])(
    "stands for the authorization in another session, by a key of hierarchy %i",
    (hierarchy) => {
      const { client, digest, shown } = withTicket(hierarchy);
      const { handle } = client.session({ kind: "policy" });
      client.run("PolicyTicket", { policySession: handle }, shown);
      expect(digestOf(client, handle)).toEqual(digest);
    },
  );

  test("stands for PolicySecret when that gave it", () => {
    const { client } = withClock();
    const first = client.session({ kind: "policy" }).handle;
    const handles = { authHandle: Rh.OWNER, policySession: first };
    const given = client.run("PolicySecret", handles, { ...noClaims, expiration: -10 });
    const { handle } = client.session({ kind: "policy" });
    const { timeout, policyTicket: ticket } = given;
    const shown = { timeout, cpHashA: empty, policyRef: empty, authName: u32(Rh.OWNER), ticket };
    client.run("PolicyTicket", { policySession: handle }, shown);
    expect(digestOf(client, handle)).toEqual(digestOf(client, first));
  });

  test("covers timeout, cpHash, reference, Name and kind of the authorization", () => {
    const { client, shown } = withTicket(Rh.OWNER, filled(1));
    const bad = ofParameter(Rc.TICKET, 5);
    const later = shown.timeout.map((byte, at) => (at === 6 ? byte + 1 : byte));
    const withoutReset = shown.timeout.map((byte, at) => (at === 0 ? byte & 0x7f : byte));
    expect(rcOf(client, { ...shown, timeout: later })).toBe(bad);
    expect(rcOf(client, { ...shown, timeout: withoutReset })).toBe(bad);
    expect(rcOf(client, { ...shown, timeout: new Uint8Array(8) })).toBe(bad);
    expect(rcOf(client, { ...shown, cpHashA: filled(2) })).toBe(bad);
    expect(rcOf(client, { ...shown, policyRef: text("s") })).toBe(bad);
    expect(rcOf(client, { ...shown, authName: shown.authName.map((byte) => byte ^ 1) })).toBe(bad);
    expect(rcOf(client, { ...shown, ticket: { ...shown.ticket, tag: St.AUTH_SECRET } })).toBe(bad);
    expect(rcOf(client, { ...shown, ticket: { ...shown.ticket, hierarchy: Rh.PLATFORM } })).toBe(bad);
    expect(rcOf(client, { ...shown, ticket: { ...shown.ticket, digest: empty } })).toBe(bad);
    expect(rcOf(client, shown)).toBe(Rc.SUCCESS);
  });

  test("keeps cpHash and reference apart, though one follows the other", () => {
    // Approved: any command, with a long reference. Shown: a cpHash that is the reference's first half.
    const { client, shown } = withTicket(Rh.OWNER, empty, concat(filled(7), text("rest")));
    const split = { ...shown, cpHashA: filled(7), policyRef: text("rest") };
    expect(rcOf(client, split)).toBe(ofParameter(Rc.TICKET, 5));
  });

  test("is void after its time", () => {
    const { clock, client, shown } = withTicket();
    clock.now = 100_000;
    expect(rcOf(client, shown)).toBe(Rc.SUCCESS);
    clock.now = 100_001;
    expect(rcOf(client, shown)).toBe(ofParameter(Rc.EXPIRED, 1));
  });

  test("of an authorization without nonce is void after a TPM Reset", () => {
    const { tpm, client, shown } = withTicket();
    client.run("Shutdown", {}, { shutdownType: Su.CLEAR });
    tpm.powerOff();
    tpm.powerOn();
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(rcOf(client, shown)).toBe(ofParameter(Rc.TICKET, 5));
  });

  test("wants a timeout as the TPM gives it", () => {
    const { client, shown } = withTicket();
    expect(rcOf(client, { ...shown, timeout: empty })).toBe(ofParameter(Rc.SIZE, 1));
    expect(rcOf(client, { ...shown, timeout: shown.timeout.subarray(1) })).toBe(ofParameter(Rc.SIZE, 1));
  });

  test("is nothing for a trial session", () => {
    const { client, shown } = withTicket();
    const { handle } = client.session({ kind: "trial" });
    expect(client.rc("PolicyTicket", { policySession: handle }, shown)).toBe(ofHandle(Rc.ATTRIBUTES, 1));
  });
});

describe("TPM2_PolicyAuthorize", () => {
  const policyRef = text("ref");

  /** The authority's word for a policy, as a ticket. */
  function approve(client: TpmClient, authority: Authority, approvedPolicy: Uint8Array) {
    const { handle, name: keySign } = authority.load(client);
    const digest = sha256(approvedPolicy, policyRef);
    const signature = authority.sign(approvedPolicy, policyRef);
    const { validation } = client.run("VerifySignature", { keyHandle: handle }, { digest, signature });
    client.run("FlushContext", {}, { flushHandle: handle });
    return { approvedPolicy, policyRef, keySign, checkTicket: validation };
  }

  test("of a trial session is the one that every TPM has", () => {
    const client = TpmClient.started();
    const claims = {
      approvedPolicy: empty,
      policyRef,
      keySign: concat(u16(Alg.SHA256), filled(8)),
      checkTicket: { tag: St.VERIFIED, hierarchy: Rh.NULL, digest: empty },
    };
    const policy = trialDigest(client, (s) => client.run("PolicyAuthorize", { policySession: s }, claims));
    expect(hex(policy)).toBe("50bd1ed5824f8ff81070271cfad955e630d8c2c4a96152ca8cd8cc799fc94d26");
  });

  test("lets the authority put any policy in the place of another", () => {
    const client = TpmClient.started();
    const authority = new Authority();
    const approved = trialDigest(client, (s) =>
      client.run("PolicyLocality", { policySession: s }, { locality: 1 }),
    );
    const claims = approve(client, authority, approved);
    const policy = trialDigest(client, (s) => client.run("PolicyAuthorize", { policySession: s }, claims));
    const item = sealed(client, policy);
    const session = client.session({ kind: "policy" });
    const policySession = session.handle;
    // Not yet what was approved.
    expect(client.rc("PolicyAuthorize", { policySession }, claims)).toBe(ofParameter(Rc.VALUE, 1));
    client.run("PolicyLocality", { policySession }, { locality: 1 });
    client.run("PolicyAuthorize", { policySession }, claims);
    // What the approved policy asked for is still asked for.
    const elsewhere = { auth: [{ session }], locality: 1 };
    expect(client.rc("Unseal", { itemHandle: item }, {}, elsewhere)).toBe(Rc.LOCALITY);
    expect(unseal(client, item, session)).toBe(Rc.SUCCESS);
  });

  test("wants a ticket for this policy, reference and key", () => {
    const client = TpmClient.started();
    const claims = approve(client, new Authority(), zero);
    const { handle } = client.session({ kind: "policy" });
    const rc = (changed: object): number =>
      client.rc("PolicyAuthorize", { policySession: handle }, { ...claims, ...changed });
    const bad = ofParameter(Rc.VALUE, 4);
    expect(rc({ policyRef: text("other") })).toBe(bad);
    expect(rc({ keySign: claims.keySign.map((byte, at) => (at === 5 ? byte ^ 1 : byte)) })).toBe(bad);
    const { checkTicket } = claims;
    expect(rc({ checkTicket: { ...checkTicket, hierarchy: Rh.ENDORSEMENT } })).toBe(bad);
    expect(rc({ checkTicket: { ...checkTicket, digest: empty } })).toBe(bad);
    expect(rc({})).toBe(Rc.SUCCESS);
  });

  test("wants a Name that a hash has made", () => {
    const client = TpmClient.started();
    const claims = {
      approvedPolicy: empty,
      policyRef,
      checkTicket: { tag: St.VERIFIED, hierarchy: Rh.NULL, digest: empty },
    };
    const { handle } = client.session({ kind: "trial" });
    const rc = (keySign: Uint8Array): number =>
      client.rc("PolicyAuthorize", { policySession: handle }, { ...claims, keySign });
    expect(rc(empty)).toBe(ofParameter(Rc.SIZE, 3));
    expect(rc(Uint8Array.of(0))).toBe(ofParameter(Rc.SIZE, 3));
    expect(rc(concat(u16(Alg.SHA256), filled(1, 31)))).toBe(ofParameter(Rc.SIZE, 3));
    expect(rc(concat(u16(Alg.ECC), filled(1)))).toBe(ofParameter(Rc.HASH, 3));
  });
});

import { createHash } from "node:crypto";
import {
  Alg,
  commands,
  Eo,
  Nt,
  NvAttribute,
  ofHandle,
  ofParameter,
  ofSession,
  Rc,
  Rh,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u16, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import { sealed, trialDigest } from "../testing/policy-fixture.ts";

const { OWNERREAD, OWNERWRITE, AUTHREAD, PPREAD, NO_DA, POLICYREAD, POLICYWRITE, READ_STCLEAR } = NvAttribute;
const sha256 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const empty = new Uint8Array(0);
const zero = new Uint8Array(32);
const INDEX = 0x0150_0001;
const byOwner = { authHandle: Rh.OWNER, nvIndex: INDEX };

/** A TPM with one NV index, and a session that does not ask anything yet. */
function withIndex({
  attributes = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA,
  type = Nt.ORDINARY as number,
  dataSize = 8,
  data = undefined as Uint8Array | undefined,
  authPolicy = empty as Uint8Array,
  kind = "policy" as "policy" | "trial",
}) {
  const client = TpmClient.started();
  const publicInfo = {
    nvIndex: INDEX,
    nameAlg: Alg.SHA256,
    attributes: (attributes | (type << 4)) >>> 0,
    authPolicy,
    dataSize,
  };
  client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: empty, publicInfo });
  if (data !== undefined) client.run("NV_Write", byOwner, { data, offset: 0 });
  const session = client.session({ kind });
  const policySession = session.handle;
  const digest = (): Uint8Array => client.run("PolicyGetDigest", { policySession }, {}).policyDigest;
  return { client, session, policySession, digest };
}

describe("TPM2_PolicyNV", () => {
  const rc = (
    { client, policySession }: ReturnType<typeof withIndex>,
    operandB: Uint8Array,
    offset = 0,
    operation: number = Eo.EQ,
    authHandle: number = Rh.OWNER,
  ): number =>
    client.rc("PolicyNV", { authHandle, nvIndex: INDEX, policySession }, { operandB, offset, operation });
  const data = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

  test("holds or not by what the index contains", () => {
    const fixture = withIndex({ data });
    expect(rc(fixture, data)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Uint8Array.of(3, 4), 2)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Uint8Array.of(3, 5), 2)).toBe(Rc.POLICY);
    expect(rc(fixture, Uint8Array.of(3, 5), 2, Eo.UNSIGNED_LT)).toBe(Rc.SUCCESS);
    expect(rc(fixture, Uint8Array.of(9), 0, Eo.BITSET)).toBe(Rc.POLICY);
    expect(rc(fixture, Uint8Array.of(8), 0, Eo.BITCLEAR)).toBe(Rc.SUCCESS);
    expect(rc(fixture, empty, 8)).toBe(Rc.SUCCESS);
  });

  test("takes the comparison and the index's Name into the digest", () => {
    const fixture = withIndex({ data });
    expect(rc(fixture, Uint8Array.of(3, 4), 2)).toBe(Rc.SUCCESS);
    const argument = sha256(Uint8Array.of(3, 4), u16(2), u16(Eo.EQ));
    const name = fixture.client.nameOf(INDEX);
    expect(fixture.digest()).toEqual(sha256(zero, u32(commands.PolicyNV.code), argument, name));
  });

  test("gives in a trial what it would give, whatever the index contains", () => {
    const fixture = withIndex({ kind: "trial" });
    expect(rc(fixture, filled(1, 64), 60_000)).toBe(Rc.SUCCESS);
    const argument = sha256(filled(1, 64), u16(60_000), u16(Eo.EQ));
    const name = fixture.client.nameOf(INDEX);
    expect(fixture.digest()).toEqual(sha256(zero, u32(commands.PolicyNV.code), argument, name));
  });

  test("stays within the index", () => {
    const fixture = withIndex({ data });
    expect(rc(fixture, empty, 9)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(fixture, filled(0, 2), 7)).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc(fixture, filled(0, 9))).toBe(ofParameter(Rc.SIZE, 1));
  });

  test("wants an index that may be read, before it says anything of its size", () => {
    expect(rc(withIndex({}), empty, 9)).toBe(Rc.NV_UNINITIALIZED);
    const fixture = withIndex({ attributes: OWNERWRITE | PPREAD | NO_DA, data });
    expect(rc(fixture, empty, 9)).toBe(Rc.NV_AUTHORIZATION);
    expect(rc(fixture, data, 0, Eo.EQ, Rh.PLATFORM)).toBe(Rc.SUCCESS);
    const locked = withIndex({ attributes: (OWNERWRITE | OWNERREAD | NO_DA | READ_STCLEAR) >>> 0, data });
    locked.client.run("NV_ReadLock", byOwner, {});
    expect(rc(locked, data)).toBe(Rc.NV_LOCKED);
  });

  test("wants an index that is there", () => {
    const { client, policySession } = withIndex({ data });
    const compare = { operandB: empty, offset: 0, operation: Eo.EQ };
    const handles = { authHandle: Rh.OWNER, nvIndex: INDEX + 1, policySession };
    expect(client.rc("PolicyNV", handles, compare)).toBe(ofHandle(Rc.HANDLE, 2));
  });

  test("can be authorized by the index itself, by a policy session that is asked in it", () => {
    const { client } = withIndex({ data });
    const session = client.session({ kind: "policy" });
    const handles = { authHandle: INDEX, nvIndex: INDEX, policySession: session.handle };
    const compare = { operandB: data, offset: 0, operation: Eo.EQ };
    expect(client.rc("PolicyNV", handles, compare)).toBe(Rc.SUCCESS);
    expect(client.rc("PolicyNV", handles, compare, { auth: ["wrong"] })).toBe(ofSession(Rc.BAD_AUTH, 1));
  });
});

describe("TPM2_PolicyAuthorizeNV", () => {
  const attributes = OWNERREAD | OWNERWRITE | NO_DA;
  const rc = ({ client, policySession }: ReturnType<typeof withIndex>): number =>
    client.rc("PolicyAuthorizeNV", { ...byOwner, policySession }, {});

  test("lets the index's content put a policy in the place of another", () => {
    const fixture = withIndex({ attributes, dataSize: 66 });
    const { client, session, policySession } = fixture;
    const approved = trialDigest(client, (s) => client.run("PolicyAuthValue", { policySession: s }, {}));
    client.run("NV_Write", byOwner, { data: concat(u16(Alg.SHA256), approved), offset: 0 });
    const policy = trialDigest(client, (s) =>
      client.run("PolicyAuthorizeNV", { ...byOwner, policySession: s }, {}),
    );
    const code = u32(commands.PolicyAuthorizeNV.code);
    expect(policy).toEqual(sha256(zero, code, client.nameOf(INDEX)));
    const item = sealed(client, policy, { userAuth: filled(0x61, 4) });
    expect(rc(fixture)).toBe(Rc.VALUE);
    client.run("PolicyAuthValue", { policySession }, {});
    expect(rc(fixture)).toBe(Rc.SUCCESS);
    const auth = { session, authValue: filled(0x61, 4), hmacAuth: true };
    expect(client.rc("Unseal", { itemHandle: item }, {}, { auth: [auth] })).toBe(Rc.SUCCESS);
  });

  test("wants a digest in the index that the session's hash has made", () => {
    const content = (data: Uint8Array | undefined, dataSize = 66): number =>
      rc(withIndex({ attributes, dataSize, data }));
    expect(content(undefined)).toBe(Rc.NV_UNINITIALIZED);
    expect(content(concat(u16(Alg.SHA384), filled(0, 48)))).toBe(Rc.HASH);
    expect(content(concat(u16(Alg.RSA), zero))).toBe(Rc.HASH);
    expect(content(u16(Alg.SHA256), 2)).toBe(Rc.INSUFFICIENT);
    expect(content(Uint8Array.of(0), 1)).toBe(Rc.INSUFFICIENT);
    expect(content(concat(u16(Alg.SHA256), filled(1)))).toBe(Rc.VALUE);
    expect(content(concat(u16(Alg.SHA256), zero), 34)).toBe(Rc.SUCCESS);
  });
});

describe("TPM2_PolicySecret with a PIN", () => {
  const claims = { nonceTPM: empty, cpHashA: empty, policyRef: empty, expiration: -100 };
  const pin = (count: number, limit: number): Uint8Array => concat(u32(count), u32(limit));

  test("that may be used so often gives no ticket, and is counted", () => {
    const attributes = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA;
    const fixture = withIndex({ attributes, type: Nt.PIN_PASS, data: pin(0, 2) });
    const { client, policySession } = fixture;
    const handles = { authHandle: INDEX, policySession };
    const given = client.run("PolicySecret", handles, claims);
    expect([given.timeout.length, given.policyTicket.digest.length]).toEqual([0, 0]);
    expect(client.rc("PolicySecret", handles, claims)).toBe(Rc.SUCCESS);
    expect(client.rc("PolicySecret", handles, claims)).toBe(ofSession(Rc.AUTH_UNAVAILABLE, 1));
    const { data } = client.run("NV_Read", byOwner, { size: 8, offset: 0 });
    expect(data).toEqual(pin(2, 2));
  });

  test("that may be wrong so often gives one by the owner hierarchy", () => {
    const attributes = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA;
    const fixture = withIndex({ attributes, type: Nt.PIN_FAIL, data: pin(0, 2) });
    const { client, policySession } = fixture;
    const { policyTicket } = client.run("PolicySecret", { authHandle: INDEX, policySession }, claims);
    expect(policyTicket.hierarchy).toBe(Rh.OWNER);
    expect(policyTicket.digest.length).toBe(64);
  });

  test("is not asked for in read-only mode", () => {
    const attributes = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA;
    const fixture = withIndex({ attributes, type: Nt.PIN_FAIL, data: pin(0, 2) });
    const { client, policySession } = fixture;
    client.run("ReadOnlyControl", { authHandle: Rh.PLATFORM }, { state: true });
    expect(client.rc("PolicySecret", { authHandle: INDEX, policySession }, claims)).toBe(Rc.READ_ONLY);
    expect(client.rc("PolicySecret", { authHandle: Rh.OWNER, policySession }, claims)).toBe(Rc.SUCCESS);
  });

  test("is nothing that a session can be bound to", () => {
    const attributes = OWNERREAD | OWNERWRITE | AUTHREAD | NO_DA;
    for (const [type, expected] of [
      [Nt.PIN_FAIL, ofHandle(Rc.HANDLE, 2)],
      [Nt.PIN_PASS, ofHandle(Rc.HANDLE, 2)],
      [Nt.ORDINARY, Rc.SUCCESS],
    ] as const) {
      const { client } = withIndex({ attributes, type, data: pin(0, 2) });
      let rc: number = Rc.SUCCESS;
      try {
        client.session({ bind: INDEX });
      } catch (error) {
        rc = (error as { rc: number }).rc;
      }
      expect(rc).toBe(expected);
    }
  });
});

test("TPM2_PolicyNvWritten lets an index be written once: as long as it is not", () => {
  const code = u32(commands.PolicyNvWritten.code);
  const authPolicy = sha256(zero, code, Uint8Array.of(0));
  const attributes = POLICYWRITE | POLICYREAD | AUTHREAD | NO_DA;
  const { client, session, policySession } = withIndex({ attributes, authPolicy });
  const handles = { authHandle: INDEX, nvIndex: INDEX };
  const write = (): number =>
    client.rc("NV_Write", handles, { data: filled(1, 8), offset: 0 }, { auth: [{ session }] });
  client.run("PolicyNvWritten", { policySession }, { writtenSet: false });
  expect(write()).toBe(Rc.SUCCESS);
  expect(write()).toBe(ofSession(Rc.POLICY_FAIL, 1));
});

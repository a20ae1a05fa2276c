import { createHash } from "node:crypto";
import {
  Alg,
  type CommandName,
  commands,
  ObjectAttribute,
  ofSession,
  type Public,
  Rc,
  Rh,
  SessionAttribute,
  Su,
  TPMT_PUBLIC,
  TpmWriter,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u32 } from "./engine.ts";
import { type ClientSession, TpmClient } from "./testing/client.ts";
import { SECRET, sealed, trialDigest } from "./testing/policy-fixture.ts";
import { eccTemplate, movableKey, sealTemplate, sensitiveCreate, storageKey } from "./testing/templates.ts";
import { Tpm } from "./tpm.ts";

/* What a policy session has been told is asked for when it authorizes (Part 1, 19.7; Part 3, 23). */

const sha256 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const empty = new Uint8Array(0);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const failed = ofSession(Rc.POLICY_FAIL, 1);
const { noDA, adminWithPolicy, userWithAuth } = ObjectAttribute;

interface Asserted {
  readonly tpm: Tpm;
  readonly client: TpmClient;
  readonly item: number;
  readonly session: ClientSession;
}
type Assertion = readonly [command: CommandName, parameters: object];

/** A TPM with an object that the assertions protect, and a session in which they were made. */
function asserted(assertions: readonly Assertion[], options: Parameters<typeof sealed>[2] = {}): Asserted {
  const tpm = new Tpm();
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const make = (policySession: number): void => {
    for (const [command, parameters] of assertions)
      client.run(command, { policySession } as never, parameters as never);
  };
  const item = sealed(client, trialDigest(client, make), options);
  const session = client.session({ kind: "policy" });
  make(session.handle);
  return { tpm, client, item, session };
}
const unseal = (
  { client, item, session }: Asserted,
  auth: object = {},
  locality: number | undefined = undefined,
): number =>
  client.rc(
    "Unseal",
    { itemHandle: item },
    {},
    { auth: [{ session, ...auth }], ...(locality === undefined ? {} : { locality }) },
  );

describe("a policy session authorizes", () => {
  test("what has the very digest that was reached, and gives the secret then", () => {
    const { client, item, session } = asserted([["PolicyLocality", { locality: 1 }]]);
    const { outData } = client.run("Unseal", { itemHandle: item }, {}, { auth: [{ session }] });
    expect(outData).toEqual(SECRET);
    const other = client.session({ kind: "policy" });
    expect(client.rc("Unseal", { itemHandle: item }, {}, { auth: [{ session: other }] })).toBe(failed);
  });

  test("nothing as a trial session", () => {
    const fixture = asserted([["PolicyLocality", { locality: 1 }]]);
    const session = fixture.client.session({ kind: "trial" });
    const policySession = session.handle;
    fixture.client.run("PolicyLocality", { policySession }, { locality: 1 });
    expect(unseal({ ...fixture, session })).toBe(ofSession(Rc.ATTRIBUTES, 1));
  });

  test("what has its policy by the session's hash", () => {
    // Zero digests of SHA-256 and SHA3-256 are alike: the algorithm itself must be looked at.
    const client = TpmClient.started();
    const item = sealed(client, filled(0), { nameAlg: Alg.SHA256 });
    const rc = (hash: number): number => {
      const session = client.session({ kind: "policy", hash });
      return client.rc("Unseal", { itemHandle: item }, {}, { auth: [{ session }] });
    };
    expect(rc(Alg.SHA256)).toBe(Rc.SUCCESS);
    expect(rc(Alg.SHA3_256)).toBe(failed);
  });

  test("nothing that has no policy", () => {
    const client = TpmClient.started();
    const item = sealed(client, empty, { attributes: noDA | userWithAuth });
    const session = client.session({ kind: "policy" });
    expect(client.rc("Unseal", { itemHandle: item }, {}, { auth: [{ session }] })).toBe(
      ofSession(Rc.AUTH_UNAVAILABLE, 1),
    );
  });
});

describe("a session with PolicyCommandCode", () => {
  test("is for this command only", () => {
    const right = asserted([["PolicyCommandCode", { code: commands.Unseal.code }]]);
    expect(unseal(right)).toBe(Rc.SUCCESS);
    const wrong = asserted([["PolicyCommandCode", { code: commands.Certify.code }]]);
    expect(unseal(wrong)).toBe(ofSession(Rc.POLICY_CC, 1));
  });

  test("is what the ADMIN role needs where only a policy gives it", () => {
    const change = (assertions: readonly Assertion[]): number => {
      const { client, item, session } = asserted(assertions, { attributes: noDA | adminWithPolicy });
      const handles = { objectHandle: item, signHandle: Rh.NULL };
      const inScheme = { scheme: Alg.NULL, hash: Alg.NULL, count: 0 };
      return client.rc(
        "Certify",
        handles,
        { qualifyingData: empty, inScheme },
        { auth: [{ session }, empty] },
      );
    };
    expect(change([["PolicyLocality", { locality: 1 }]])).toBe(failed);
    expect(change([["PolicyCommandCode", { code: commands.Certify.code }]])).toBe(Rc.SUCCESS);
    expect(change([["PolicyCommandCode", { code: commands.Unseal.code }]])).toBe(ofSession(Rc.POLICY_CC, 1));
  });
});

describe("a policy session begins anew", () => {
  const digestOf = ({ client, session }: Asserted): Uint8Array =>
    client.run("PolicyGetDigest", { policySession: session.handle }, {}).policyDigest;
  const zero = filled(0);
  const both: readonly Assertion[] = [
    ["PolicyAuthValue", {}],
    ["PolicyCommandCode", { code: commands.Unseal.code }],
  ];

  test("when it has authorized, so that everything is to be asserted again", () => {
    const fixture = asserted(both);
    expect(unseal(fixture, { hmacAuth: true })).toBe(Rc.SUCCESS);
    expect(digestOf(fixture)).toEqual(zero);
    expect(unseal(fixture, { hmacAuth: true })).toBe(failed);
    const { client, session } = fixture;
    for (const [command, parameters] of both)
      client.run(command, { policySession: session.handle } as never, parameters as never);
    expect(unseal(fixture, { hmacAuth: true })).toBe(Rc.SUCCESS);
  });

  test("when it only encrypted: its nonce rolls then as well", () => {
    const fixture = asserted([["PolicyLocality", { locality: 1 }]]);
    const symmetric = { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL };
    const session = fixture.client.session({ kind: "policy", symmetric });
    const policySession = session.handle;
    fixture.client.run("PolicyLocality", { policySession }, { locality: 1 });
    const attributes = SessionAttribute.continueSession | SessionAttribute.encrypt;
    fixture.client.run("GetRandom", {}, { bytesRequested: 8 }, { auth: [{ session, attributes }] });
    expect(digestOf({ ...fixture, session })).toEqual(zero);
  });

  test("but not when the command failed", () => {
    const fixture = asserted([["PolicyLocality", { locality: 2 }]]);
    const before = digestOf(fixture);
    expect(unseal(fixture, {}, 0)).toBe(Rc.LOCALITY);
    expect(digestOf(fixture)).toEqual(before);
    expect(unseal(fixture, {}, 1)).toBe(Rc.SUCCESS);
  });
});

describe("a session with PolicyLocality", () => {
  test("is for commands from these localities", () => {
    const codes = [0, 1, 2, 3, 4].map((locality) =>
      unseal(asserted([["PolicyLocality", { locality: 0b1_0010 }]]), {}, locality),
    );
    expect(codes).toEqual([Rc.LOCALITY, Rc.SUCCESS, Rc.LOCALITY, Rc.LOCALITY, Rc.SUCCESS]);
  });

  test("of an extended locality is for that one", () => {
    const fixture = asserted([["PolicyLocality", { locality: 40 }]]);
    expect([0, 3, 39, 40].map((locality) => unseal(fixture, {}, locality))).toEqual([
      Rc.LOCALITY,
      Rc.LOCALITY,
      Rc.LOCALITY,
      Rc.SUCCESS,
    ]);
  });

  test("of localities 0 to 4 is for no extended one", () => {
    const fixture = asserted([["PolicyLocality", { locality: 0b1_1111 }]]);
    expect([32, 33, 64, 255].map((locality) => unseal(fixture, {}, locality))).toEqual(
      Array(4).fill(Rc.LOCALITY),
    );
  });
});

test("a session with PolicyPhysicalPresence is used while somebody is there", () => {
  const fixture = asserted([["PolicyPhysicalPresence", {}]]);
  expect(unseal(fixture)).toBe(ofSession(Rc.PP, 1));
  fixture.tpm.setPhysicalPresence(true);
  expect(unseal(fixture)).toBe(Rc.SUCCESS);
});

test("a session with PolicyTransportSPDM is not used without a secure channel", () => {
  const names = { reqKeyName: empty, tpmKeyName: empty };
  expect(unseal(asserted([["PolicyTransportSPDM", names]]))).toBe(ofSession(Rc.CHANNEL, 1));
});

describe("a session with PolicyPCR", () => {
  const pcrs = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 0, 1) }];
  const assertion: Assertion = ["PolicyPCR", { pcrDigest: empty, pcrs }];
  const extend = ({ client }: Asserted, pcrHandle: number): unknown =>
    client.run("PCR_Extend", { pcrHandle }, { digests: [{ hashAlg: Alg.SHA256, digest: filled(1) }] });

  test("is used as long as no PCR has changed", () => {
    expect(unseal(asserted([assertion]))).toBe(Rc.SUCCESS);
    const fixture = asserted([assertion]);
    extend(fixture, 5);
    expect(unseal(fixture)).toBe(ofSession(Rc.PCR_CHANGED, 1));
  });

  test("reaches another digest when the PCR has another value", () => {
    const fixture = asserted([assertion]);
    extend(fixture, 16);
    const session = fixture.client.session({ kind: "policy" });
    fixture.client.run("PolicyPCR", { policySession: session.handle }, { pcrDigest: empty, pcrs });
    expect(unseal({ ...fixture, session })).toBe(failed);
  });
});

describe("a session with the authValue in its policy", () => {
  const authValue = text("secret");
  const options = { userAuth: authValue };

  test("needs it in the HMAC after PolicyAuthValue", () => {
    const fixture = asserted([["PolicyAuthValue", {}]], options);
    const wrong = { authValue: text("wrong"), hmacAuth: true };
    expect(unseal(fixture, wrong)).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture, { password: authValue })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture)).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture, { authValue, hmacAuth: true })).toBe(Rc.SUCCESS);
  });

  test("needs it in the clear after PolicyPassword", () => {
    const fixture = asserted([["PolicyPassword", {}]], options);
    expect(unseal(fixture, { password: text("wrong") })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture, { authValue, hmacAuth: true })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture, { password: authValue })).toBe(Rc.SUCCESS);
  });

  test("serves one policy by either, for their digests are the same", () => {
    const fixture = asserted([["PolicyAuthValue", {}]], options);
    const { client } = fixture;
    const session = client.session({ kind: "policy" });
    client.run("PolicyPassword", { policySession: session.handle }, {});
    expect(unseal({ ...fixture, session }, { password: authValue })).toBe(Rc.SUCCESS);
  });

  test("is asked for as the last of the two said", () => {
    const fixture = asserted(
      [
        ["PolicyPassword", {}],
        ["PolicyAuthValue", {}],
      ],
      options,
    );
    expect(unseal(fixture, { password: authValue })).toBe(ofSession(Rc.BAD_AUTH, 1));
    expect(unseal(fixture, { authValue, hmacAuth: true })).toBe(Rc.SUCCESS);
  });
});

describe("a session bound to a hash", () => {
  const code = u32(commands.Unseal.code);
  const bySecret = (policySession: number) =>
    [
      { authHandle: Rh.OWNER, policySession },
      { nonceTPM: empty, cpHashA: empty, policyRef: empty, expiration: 0 },
    ] as const;

  test("by PolicySecret's cpHash, which is not in the digest, is for this command and these parameters", () => {
    const client = TpmClient.started();
    const policy = trialDigest(client, (s) => client.run("PolicySecret", ...bySecret(s)));
    const item = sealed(client, policy);
    const rc = (cpHashA: Uint8Array): number => {
      const session = client.session({ kind: "policy" });
      const [handles, claims] = bySecret(session.handle);
      client.run("PolicySecret", handles, { ...claims, cpHashA });
      const answer = client.rc("Unseal", { itemHandle: item }, {}, { auth: [{ session }] });
      client.run("FlushContext", {}, { flushHandle: session.handle });
      return answer;
    };
    expect(rc(sha256(code, client.nameOf(item)))).toBe(Rc.SUCCESS);
    expect(rc(sha256(u32(commands.Certify.code), client.nameOf(item)))).toBe(failed);
    expect(rc(sha256(code, filled(1, 34)))).toBe(failed);
  });

  /** A TPM whose owner has a policy, which is what `assertion` asks for. */
  function ownerWith(assertion: Assertion) {
    const client = TpmClient.started();
    const [command, parameters] = assertion;
    const make = (policySession: number): unknown =>
      client.run(command, { policySession } as never, parameters as never);
    const authPolicy = trialDigest(client, make);
    client.run("SetPrimaryPolicy", { authHandle: Rh.OWNER }, { authPolicy, hashAlg: Alg.SHA256 });
    const create = (inPublic: Public, outsideInfo: Uint8Array = empty, primaryHandle: number = Rh.OWNER) => {
      const session = client.session({ kind: "policy" });
      make(session.handle);
      const inSensitive = sensitiveCreate("", "data");
      const wanted = { inSensitive, inPublic, outsideInfo, creationPCR: [] };
      const rc = client.rc("CreatePrimary", { primaryHandle }, wanted, { auth: [{ session }] });
      client.run("FlushContext", {}, { flushHandle: session.handle });
      return rc;
    };
    return { client, create };
  }

  test("by PolicyTemplate is for objects of this template", () => {
    const template = sealTemplate();
    const writer = new TpmWriter();
    TPMT_PUBLIC.write(writer, template);
    const { create } = ownerWith(["PolicyTemplate", { templateHash: sha256(writer.finish()) }]);
    expect(create(template)).toBe(Rc.SUCCESS);
    expect(create(template, text("something else about it"))).toBe(Rc.SUCCESS);
    expect(create(sealTemplate({ nameAlg: Alg.SHA384 }))).toBe(failed);
  });

  test("by PolicyTemplate is for no command that creates nothing", () => {
    const { client } = ownerWith(["PolicyTemplate", { templateHash: filled(1) }]);
    const session = client.session({ kind: "policy" });
    client.run("PolicyTemplate", { policySession: session.handle }, { templateHash: filled(1) });
    const handles = { authHandle: Rh.OWNER };
    expect(client.rc("NV_GlobalWriteLock", handles, {}, { auth: [{ session }] })).toBe(failed);
  });

  test("by PolicyNameHash is for these handles, whatever the parameters", () => {
    const { create } = ownerWith(["PolicyNameHash", { nameHash: sha256(u32(Rh.OWNER)) }]);
    expect(create(sealTemplate())).toBe(Rc.SUCCESS);
    const other = ownerWith(["PolicyNameHash", { nameHash: sha256(u32(Rh.PLATFORM)) }]);
    expect(other.create(sealTemplate())).toBe(failed);
  });

  test("by PolicyParameters is for these parameters of this command, whatever the handles", () => {
    const { code: lock } = commands.NV_GlobalWriteLock;
    const { client } = ownerWith(["PolicyParameters", { pHash: sha256(u32(lock)) }]);
    const rc = (command: "NV_GlobalWriteLock" | "ClockSet", parameters: object): number => {
      const session = client.session({ kind: "policy" });
      const policySession = session.handle;
      client.run("PolicyParameters", { policySession }, { pHash: sha256(u32(lock)) });
      const handles = { authHandle: Rh.OWNER, auth: Rh.OWNER };
      const answer = client.rc(command, handles as never, parameters as never, { auth: [{ session }] });
      client.run("FlushContext", {}, { flushHandle: session.handle });
      return answer;
    };
    expect(rc("NV_GlobalWriteLock", {})).toBe(Rc.SUCCESS);
    expect(rc("ClockSet", { newTime: 1_000_000n })).toBe(failed);
  });
});

test("PolicyDuplicationSelect lets an object go to the one parent that it names", () => {
  const client = TpmClient.started({ limits: { transientObjects: 8 } });
  const create = (inPublic: Public, data = ""): number =>
    client.run(
      "CreatePrimary",
      { primaryHandle: Rh.OWNER },
      { inSensitive: sensitiveCreate("", data), inPublic, outsideInfo: empty, creationPCR: [] },
    ).handle;
  const parent = create(eccTemplate());
  const other = create(eccTemplate({ objectAttributes: movableKey | storageKey }));
  const newParentName = client.nameOf(parent);
  // The policy leaves the object's Name out, since that has the policy in it.
  const select = (policySession: number, objectName: Uint8Array): unknown =>
    client.run(
      "PolicyDuplicationSelect",
      { policySession },
      { objectName, newParentName, includeObject: false },
    );
  const authPolicy = trialDigest(client, (s) => select(s, empty));
  const item = create(sealTemplate({ objectAttributes: userWithAuth | noDA, authPolicy }), "data");
  const duplicate = (newParentHandle: number, objectName: Uint8Array): number => {
    const session = client.session({ kind: "policy" });
    select(session.handle, objectName);
    const symmetricAlg = { algorithm: Alg.NULL, keyBits: 0, mode: Alg.NULL, hash: Alg.NULL };
    const rc = client.rc(
      "Duplicate",
      { objectHandle: item, newParentHandle },
      { encryptionKeyIn: empty, symmetricAlg },
      { auth: [{ session }] },
    );
    client.run("FlushContext", {}, { flushHandle: session.handle });
    return rc;
  };
  expect(duplicate(other, client.nameOf(item))).toBe(failed);
  expect(duplicate(parent, filled(1, 34))).toBe(failed);
  expect(duplicate(parent, client.nameOf(item))).toBe(Rc.SUCCESS);
});

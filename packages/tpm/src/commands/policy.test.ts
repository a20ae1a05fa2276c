import { createHash } from "node:crypto";
import { Alg, type CommandName, commands, ofParameter, Rc, St } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u16, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const sha256 = (...parts: Uint8Array[]): Uint8Array =>
  new Uint8Array(
    createHash("sha256")
      .update(concat(...parts))
      .digest(),
  );
const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const name = (byte: number): Uint8Array => concat(u16(Alg.SHA256), filled(byte));
const empty = new Uint8Array(0);
const zero = new Uint8Array(32);
const pcr16 = [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 0, 1) }];

/** A started TPM with one policy session. */
function withSession(kind: "policy" | "trial" = "trial", hash: number = Alg.SHA256) {
  const client = TpmClient.started();
  const session = client.session({ kind, hash });
  const policySession = session.handle;
  return {
    client,
    session,
    policySession,
    digest: () => hex(client.run("PolicyGetDigest", { policySession }, {}).policyDigest),
  };
}
type Fixture = ReturnType<typeof withSession>;

describe("a trial session's digest", () => {
  // Recorded from another TPM (libtpms 0.9.2), each from a new session of SHA-256.
  const recorded: readonly (readonly [string, (fixture: Fixture) => unknown, string])[] = [
    [
      "PolicyPCR with the value that the PCR has",
      ({ client, policySession }) =>
        client.run("PolicyPCR", { policySession }, { pcrDigest: empty, pcrs: pcr16 }),
      "bff2d58e9813f97cefc14f72ad8133bc7092d652b7c877959254af140c841f36",
    ],
    [
      "PolicyPCR with a value that is to come",
      ({ client, policySession }) =>
        client.run("PolicyPCR", { policySession }, { pcrDigest: filled(0x11), pcrs: pcr16 }),
      "564430af7613aeaee9b928ce09597f11e0e08562f8d4160c1d7182c91a96d30f",
    ],
    [
      "PolicyCommandCode",
      ({ client, policySession }) =>
        client.run("PolicyCommandCode", { policySession }, { code: commands.NV_Read.code }),
      "47ce3032d8bad1f3089cb0c09088de43501491d460402b90cd1b7fc0b68ca92f",
    ],
    [
      "PolicyAuthValue",
      ({ client, policySession }) => client.run("PolicyAuthValue", { policySession }, {}),
      "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e",
    ],
    [
      "PolicyPassword, which is that of PolicyAuthValue",
      ({ client, policySession }) => client.run("PolicyPassword", { policySession }, {}),
      "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e",
    ],
    [
      "PolicyLocality of localities 0 and 1",
      ({ client, policySession }) => client.run("PolicyLocality", { policySession }, { locality: 3 }),
      "7794f6c3e3a87b98111a7b2e04429e241b7ab16235732336a971c170e375af3a",
    ],
    [
      "PolicyLocality of an extended locality",
      ({ client, policySession }) => client.run("PolicyLocality", { policySession }, { locality: 32 }),
      "a153946fc187cfef29c7abecc7f8636b95e160e09985949bef796c7afc191058",
    ],
    [
      "PolicyOR",
      ({ client, policySession }) =>
        client.run("PolicyOR", { policySession }, { pHashList: [filled(1), filled(2)] }),
      "b7f2739ce512b4d913cf42f92ce548cec940017dd3149d7c38ab236ff8e50fc3",
    ],
    [
      "PolicyCpHash",
      ({ client, policySession }) => client.run("PolicyCpHash", { policySession }, { cpHashA: filled(3) }),
      "0862eef8a0e4f24b6625e5776f1399d33b5d3c210412a344eeec4b17a4844073",
    ],
    [
      "PolicyNameHash",
      ({ client, policySession }) => client.run("PolicyNameHash", { policySession }, { nameHash: filled(4) }),
      "d91fcbff6cf909f84eda1b004078ec7ab58ac11e2b07b2eec9ff0285f1c243f1",
    ],
    [
      "PolicyDuplicationSelect with the object",
      ({ client, policySession }) =>
        client.run(
          "PolicyDuplicationSelect",
          { policySession },
          { objectName: name(5), newParentName: name(6), includeObject: true },
        ),
      "314e4589a0ac8e77206f959e35d2eea043488d06fdc9ce88d8e75d1f142571e5",
    ],
    [
      "PolicyNvWritten",
      ({ client, policySession }) => client.run("PolicyNvWritten", { policySession }, { writtenSet: true }),
      "f7887d158ae8d38be0ac5319f37a9e07618bf54885453c7a54ddb0c6a6193beb",
    ],
    [
      "PolicyTemplate",
      ({ client, policySession }) =>
        client.run("PolicyTemplate", { policySession }, { templateHash: filled(7) }),
      "5e7536fd8987bc52cbfc7195a87b6f5ccb64360d9dfad733d48baa376122cd9e",
    ],
    [
      "PolicyPhysicalPresence",
      ({ client, policySession }) => client.run("PolicyPhysicalPresence", { policySession }, {}),
      "0d7c6747b1b9facbba03492097aa9d5af792e5efc07346e05f9daa8b3d9e13b5",
    ],
    [
      "PolicyPCR, PolicyAuthValue and PolicyCommandCode one after the other",
      ({ client, policySession }) => {
        client.run("PolicyPCR", { policySession }, { pcrDigest: empty, pcrs: pcr16 });
        client.run("PolicyAuthValue", { policySession }, {});
        client.run("PolicyCommandCode", { policySession }, { code: commands.Unseal.code });
      },
      "727148ad8d857d684d4f273723cbcc2839cd3f2e3dc42920da67c17deb3a183d",
    ],
  ];

  test.each(recorded)("of %s is the one that every TPM has", (_, run, expected) => {
    const fixture = withSession();
    run(fixture);
    expect(fixture.digest()).toBe(expected);
  });

  test("of PolicyParameters takes in the hash", () => {
    const { client, policySession, digest } = withSession();
    client.run("PolicyParameters", { policySession }, { pHash: filled(8) });
    expect(digest()).toBe(hex(sha256(zero, u32(commands.PolicyParameters.code), filled(8))));
  });

  test("of PolicyDuplicationSelect without the object leaves its Name out", () => {
    const { client, policySession, digest } = withSession();
    const names = { objectName: name(5), newParentName: name(6), includeObject: false };
    client.run("PolicyDuplicationSelect", { policySession }, names);
    const code = u32(commands.PolicyDuplicationSelect.code);
    expect(digest()).toBe(hex(sha256(zero, code, name(6), Uint8Array.of(0))));
  });

  test("of Policy_AC_SendSelect takes in the Names, the object's when it is included", () => {
    const code = u32(commands.Policy_AC_SendSelect.code);
    for (const includeObject of [true, false]) {
      const { client, policySession, digest } = withSession();
      const names = { objectName: name(1), authHandleName: name(2), acName: name(3), includeObject };
      client.run("Policy_AC_SendSelect", { policySession }, names);
      const object = includeObject ? name(1) : empty;
      const flag = Uint8Array.of(includeObject ? 1 : 0);
      expect(digest()).toBe(hex(sha256(zero, code, object, name(2), name(3), flag)));
    }
  });

  test("of PolicyTransportSPDM takes in a hash of both Names, or nothing when there are none", () => {
    const code = u32(commands.PolicyTransportSPDM.code);
    const without = withSession();
    const { policySession } = without;
    without.client.run("PolicyTransportSPDM", { policySession }, { reqKeyName: empty, tpmKeyName: empty });
    expect(without.digest()).toBe(hex(sha256(zero, code)));
    const { client, digest } = withSession();
    client.run("PolicyTransportSPDM", { policySession }, { reqKeyName: name(9), tpmKeyName: empty });
    const keys = sha256(u16(34), name(9), u16(0));
    expect(digest()).toBe(hex(sha256(zero, code, keys)));
  });

  test("is made by the session's hash", () => {
    const { client, policySession, digest } = withSession("trial", Alg.SHA384);
    client.run("PolicyAuthValue", { policySession }, {});
    expect(digest()).toBe(
      "0eb13321e885c9603d394e1c33976d4660517111f440d377585f66a94a0eee0a7f73d10b68edc48f61bd3c8385dcddf5",
    );
  });

  test("is all zero again after PolicyRestart", () => {
    const { client, policySession, digest } = withSession();
    client.run("PolicyAuthValue", { policySession }, {});
    expect(digest()).not.toBe(hex(zero));
    client.run("PolicyRestart", { sessionHandle: policySession }, {});
    expect(digest()).toBe(hex(zero));
  });
});

describe("a policy session", () => {
  test("takes PolicyOR only with its digest among the alternatives", () => {
    const { client, policySession, digest } = withSession("policy");
    const pHashList = [filled(1), filled(2)];
    expect(client.rc("PolicyOR", { policySession }, { pHashList })).toBe(ofParameter(Rc.VALUE, 1));
    expect(digest()).toBe(hex(zero));
    client.run("PolicyOR", { policySession }, { pHashList: [filled(1), zero] });
    expect(digest()).toBe(hex(sha256(zero, u32(commands.PolicyOR.code), filled(1), zero)));
  });

  test("takes PolicyPCR only with the digest that the PCR have", () => {
    const { client, policySession, digest } = withSession("policy");
    const wrong = { pcrDigest: filled(1), pcrs: pcr16 };
    expect(client.rc("PolicyPCR", { policySession }, wrong)).toBe(ofParameter(Rc.VALUE, 1));
    expect(digest()).toBe(hex(zero));
    client.run("PolicyPCR", { policySession }, { pcrDigest: sha256(zero), pcrs: pcr16 });
    expect(digest()).toBe("bff2d58e9813f97cefc14f72ad8133bc7092d652b7c877959254af140c841f36");
  });

  test("takes a second PolicyPCR only while no PCR has changed", () => {
    const { client, policySession } = withSession("policy");
    const now = { pcrDigest: empty, pcrs: pcr16 };
    client.run("PolicyPCR", { policySession }, now);
    client.run("PolicyPCR", { policySession }, now);
    const digests = [{ hashAlg: Alg.SHA256, digest: filled(1) }];
    client.run("PCR_Extend", { pcrHandle: 5 }, { digests });
    expect(client.rc("PolicyPCR", { policySession }, now)).toBe(Rc.PCR_CHANGED);
    client.run("PolicyRestart", { sessionHandle: policySession }, {});
    expect(client.rc("PolicyPCR", { policySession }, now)).toBe(Rc.SUCCESS);
  });

  test("names only banks that are allocated in the digest of PolicyPCR", () => {
    const { client, policySession, digest } = withSession("trial");
    const pcrs = [{ hash: Alg.SHA3_256, pcrSelect: Uint8Array.of(0, 0, 1) }];
    client.run("PolicyPCR", { policySession }, { pcrDigest: empty, pcrs });
    const selection = concat(u32(1), u16(Alg.SHA3_256), Uint8Array.of(3, 0, 0, 0));
    expect(digest()).toBe(hex(sha256(zero, u32(commands.PolicyPCR.code), selection, sha256())));
  });

  test("is restricted to the localities that all PolicyLocality agree on", () => {
    const { client, policySession } = withSession("policy");
    const range = ofParameter(Rc.RANGE, 1);
    const rc = (locality: number): number => client.rc("PolicyLocality", { policySession }, { locality });
    expect(rc(0)).toBe(range);
    expect(rc(0b11)).toBe(Rc.SUCCESS);
    expect(rc(0b110)).toBe(Rc.SUCCESS);
    // Locality 1 is left.
    expect(rc(0b101)).toBe(range);
    expect(rc(32)).toBe(range);
    expect(rc(0b010)).toBe(Rc.SUCCESS);
  });

  test("is restricted to one extended locality", () => {
    const { client, policySession } = withSession("policy");
    const rc = (locality: number): number => client.rc("PolicyLocality", { policySession }, { locality });
    expect(rc(200)).toBe(Rc.SUCCESS);
    expect(rc(200)).toBe(Rc.SUCCESS);
    expect(rc(201)).toBe(ofParameter(Rc.RANGE, 1));
    expect(rc(1)).toBe(ofParameter(Rc.RANGE, 1));
  });

  test("is restricted to one command, and that must be one", () => {
    const { client, policySession } = withSession("policy");
    const rc = (code: number): number => client.rc("PolicyCommandCode", { policySession }, { code });
    expect(rc(0x1ff)).toBe(ofParameter(Rc.POLICY_CC, 1));
    expect(rc(commands.Sign.code)).toBe(Rc.SUCCESS);
    expect(rc(commands.Sign.code)).toBe(Rc.SUCCESS);
    expect(rc(commands.Quote.code)).toBe(ofParameter(Rc.VALUE, 1));
  });

  test("takes PolicyNvWritten twice only with the same state", () => {
    const { client, policySession } = withSession("policy");
    const rc = (writtenSet: boolean): number =>
      client.rc("PolicyNvWritten", { policySession }, { writtenSet });
    expect(rc(false)).toBe(Rc.SUCCESS);
    expect(rc(false)).toBe(Rc.SUCCESS);
    expect(rc(true)).toBe(ofParameter(Rc.VALUE, 1));
  });

  test("takes PolicyTransportSPDM once, with Names that are some", () => {
    const { client, policySession } = withSession("policy");
    const rc = (reqKeyName: Uint8Array, tpmKeyName: Uint8Array): number =>
      client.rc("PolicyTransportSPDM", { policySession }, { reqKeyName, tpmKeyName });
    expect(rc(Uint8Array.of(0), empty)).toBe(ofParameter(Rc.SIZE, 1));
    expect(rc(empty, concat(u16(Alg.RSA), filled(1)))).toBe(ofParameter(Rc.HASH, 2));
    expect(rc(empty, concat(u16(Alg.SHA384), filled(1)))).toBe(ofParameter(Rc.SIZE, 2));
    expect(rc(name(1), name(2))).toBe(Rc.SUCCESS);
    expect(rc(name(1), name(2))).toBe(Rc.VALUE);
  });

  test("is no HMAC session: its commands refuse one", () => {
    const { client } = withSession();
    const { handle } = client.session();
    expect(client.rc("PolicyAuthValue", { policySession: handle }, {})).toBe(Rc.VALUE | 0x100);
  });
});

describe("the hash that a policy session is bound to", () => {
  const bindings = {
    cpHash: (byte: number): [CommandName, object] => ["PolicyCpHash", { cpHashA: filled(byte) }],
    nameHash: (byte: number): [CommandName, object] => ["PolicyNameHash", { nameHash: filled(byte) }],
    templateHash: (byte: number): [CommandName, object] => ["PolicyTemplate", { templateHash: filled(byte) }],
    parameterHash: (byte: number): [CommandName, object] => ["PolicyParameters", { pHash: filled(byte) }],
    duplication: (byte: number): [CommandName, object] => [
      "PolicyDuplicationSelect",
      { objectName: name(byte), newParentName: name(byte), includeObject: true },
    ],
    sending: (byte: number): [CommandName, object] => [
      "Policy_AC_SendSelect",
      { objectName: name(byte), authHandleName: name(byte), acName: name(byte), includeObject: true },
    ],
  };
  const kinds = Object.keys(bindings) as (keyof typeof bindings)[];
  const repeatable = new Set(["cpHash", "templateHash"]);
  const rcOf = ({ client, policySession }: Fixture, [command, parameters]: [CommandName, object]): number =>
    client.rc(command, { policySession } as never, parameters as never);

  test.each(kinds)("is only one, once it is set by %s", (first) => {
    for (const second of kinds) {
      const fixture = withSession("policy");
      expect(rcOf(fixture, bindings[first](1))).toBe(Rc.SUCCESS);
      const same = first === second && repeatable.has(first);
      expect(rcOf(fixture, bindings[second](1))).toBe(same ? Rc.SUCCESS : Rc.CPHASH);
      expect(rcOf(fixture, bindings[second](2))).toBe(Rc.CPHASH);
    }
  });

  test("has the size of the session's hash", () => {
    for (const [command, parameter] of [
      ["PolicyCpHash", "cpHashA"],
      ["PolicyNameHash", "nameHash"],
      ["PolicyTemplate", "templateHash"],
      ["PolicyParameters", "pHash"],
    ] as const) {
      for (const length of [0, 31, 33, 64]) {
        const fixture = withSession("policy");
        const parameters = { [parameter]: filled(1, length) };
        expect(rcOf(fixture, [command, parameters])).toBe(ofParameter(Rc.SIZE, 1));
      }
    }
  });

  test("of PolicyDuplicationSelect comes with a command, and none may be set before", () => {
    const fixture = withSession("policy");
    const { client, policySession } = fixture;
    client.run("PolicyCommandCode", { policySession }, { code: commands.Sign.code });
    expect(rcOf(fixture, bindings.duplication(1))).toBe(Rc.COMMAND_CODE);
    client.run("PolicyRestart", { sessionHandle: policySession }, {});
    expect(rcOf(fixture, bindings.duplication(1))).toBe(Rc.SUCCESS);
    const rc = (code: number): number => client.rc("PolicyCommandCode", { policySession }, { code });
    expect(rc(commands.Sign.code)).toBe(ofParameter(Rc.VALUE, 1));
    expect(rc(commands.Duplicate.code)).toBe(Rc.SUCCESS);
  });
});

test("an assertion that is refused leaves the digest as it was", () => {
  const { client, policySession, digest } = withSession("policy");
  client.run("PolicyAuthValue", { policySession }, {});
  const before = digest();
  const ticket = { tag: St.VERIFIED, hierarchy: 0x4000_0001, digest: filled(1, 64) };
  client.rc("PolicyOR", { policySession }, { pHashList: [filled(1), filled(2)] });
  client.rc("PolicyLocality", { policySession }, { locality: 0 });
  client.rc("PolicyCpHash", { policySession }, { cpHashA: filled(1, 5) });
  client.rc("PolicyPCR", { policySession }, { pcrDigest: filled(1), pcrs: pcr16 });
  const forged = { approvedPolicy: filled(1), policyRef: empty, keySign: name(1), checkTicket: ticket };
  client.rc("PolicyAuthorize", { policySession }, forged);
  expect(digest()).toBe(before);
});

import { createHash, createPublicKey, verify as nodeVerify } from "node:crypto";
import {
  Alg,
  type Attest,
  type CommandName,
  Curve,
  commands,
  NvAttribute,
  noScheme,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type Scheme,
  SessionAttribute,
  type Signature,
  St,
  TPM_GENERATED,
  TPMS_ATTEST,
  TpmReader,
} from "@entresol/tpm-types";
import { beforeEach, describe, expect, it } from "vitest";
import { modulo, toBytes, toInteger } from "../crypto/integers.ts";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import { concat, u16, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import { eccKey, loadKey, signing } from "../testing/external-keys.ts";
import { bytes, createPrimary, flush, sha256 } from "../testing/objects.ts";
import { eccSigningTemplate, fixedKey } from "../testing/templates.ts";

const empty = new Uint8Array(0);
const qualifyingData = bytes("nonce of the verifier");
const { sign, restricted } = ObjectAttribute;
const ecdsa: Scheme = { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 };
const attestationKey = eccSigningTemplate(ecdsa, fixedKey | sign | restricted);
const common = { qualifyingData, inScheme: noScheme };

let client: TpmClient;
/** An attestation key of the endorsement hierarchy. */
let key: ReturnType<typeof createPrimary>;
beforeEach(() => {
  client = TpmClient.started();
  key = createPrimary(client, attestationKey, { hierarchy: Rh.ENDORSEMENT });
});

/** Reads an attestation, whose signature must be the key's. */
function opened(attestation: Uint8Array, signature: Signature): Attest {
  const { outPublic } = key;
  if (outPublic.type !== Alg.ECC || signature.sigAlg !== Alg.ECDSA) throw new Error("not by ECDSA");
  const text = (value: Uint8Array): string => Buffer.from(value).toString("base64url");
  const { x, y } = outPublic.unique;
  const publicKey = createPublicKey({
    key: { kty: "EC", crv: "P-256", x: text(x), y: text(y) },
    format: "jwk",
  });
  const raw = concat(signature.r, signature.s);
  if (!nodeVerify("sha256", attestation, { key: publicKey, dsaEncoding: "ieee-p1363" }, raw))
    throw new Error("the signature is another's");
  return read(attestation);
}
function read(attestation: Uint8Array): Attest {
  const reader = new TpmReader(attestation);
  const attest = TPMS_ATTEST.read(reader);
  expect(reader.remaining).toBe(0);
  return attest;
}

describe("an attestation", () => {
  const time = (signHandle: number, inScheme = noScheme) =>
    client.run("GetTime", { privacyAdminHandle: Rh.ENDORSEMENT, signHandle }, { qualifyingData, inScheme });

  it("says who signed it, what the caller wanted in it, and when it was", () => {
    const { timeInfo, signature } = time(key.handle);
    const clock = client.run("ReadClock", {}, {}).currentTime;
    const attest = opened(timeInfo, signature);
    expect(attest.magic).toBe(TPM_GENERATED);
    const { qualifiedName } = client.run("ReadPublic", { objectHandle: key.handle }, {});
    expect(attest.qualifiedSigner).toEqual(qualifiedName);
    expect(attest.extraData).toEqual(qualifyingData);
    expect(attest.clockInfo.resetCount).toBe(clock.clockInfo.resetCount);
    expect(attest.clockInfo.restartCount).toBe(clock.clockInfo.restartCount);
    expect(clock.clockInfo.clock - attest.clockInfo.clock).toBeLessThan(10_000n);
  });

  it("hides the counters and the firmware of a key that is not the platform's or endorsement's, in one way for each key", () => {
    const honest = read(time(key.handle).timeInfo);
    const platform = createPrimary(client, attestationKey, { hierarchy: Rh.PLATFORM });
    const ofPlatform = read(time(platform.handle).timeInfo);
    flush(client, platform.handle);
    expect(ofPlatform.firmwareVersion).toBe(honest.firmwareVersion);
    expect(ofPlatform.clockInfo.resetCount).toBe(honest.clockInfo.resetCount);

    const owner = createPrimary(client, attestationKey);
    const [first, second, unsigned] = [owner.handle, owner.handle, Rh.NULL].map((handle) =>
      read(time(handle).timeInfo),
    );
    expect(first!.firmwareVersion).not.toBe(honest.firmwareVersion);
    expect(first!.clockInfo.resetCount).not.toBe(honest.clockInfo.resetCount);
    expect(first!.clockInfo.restartCount).not.toBe(honest.clockInfo.restartCount);
    expect(second!.firmwareVersion).toBe(first!.firmwareVersion);
    expect(second!.clockInfo.resetCount).toBe(first!.clockInfo.resetCount);
    expect(unsigned!.firmwareVersion).not.toBe(first!.firmwareVersion);
    // What GetTime is asked for is told as it is: it takes the endorsement's authorization.
    expect(first!.attested).toMatchObject({ firmwareVersion: honest.firmwareVersion });
  });

  it("without a key names the NULL hierarchy as signer and has no signature", () => {
    const { timeInfo, signature } = time(Rh.NULL);
    expect(signature).toEqual({ sigAlg: Alg.NULL });
    expect(read(timeInfo).qualifiedSigner).toEqual(u32(Rh.NULL));
  });

  it("is refused to keys that do not sign, and to schemes that are not the key's", () => {
    const handles = { privacyAdminHandle: Rh.ENDORSEMENT };
    const storage = loadKey(client, eccKey(Curve.NIST_P256, Uint8Array.of(5)));
    expect(client.rc("GetTime", { ...handles, signHandle: storage }, common)).toBe(ofHandle(Rc.KEY, 2));
    const other = { qualifyingData, inScheme: { ...ecdsa, hash: Alg.SHA384 } };
    expect(client.rc("GetTime", { ...handles, signHandle: key.handle }, other)).toBe(
      ofParameter(Rc.SCHEME, 2),
    );
    expect(client.rc("Quote", { signHandle: storage }, { ...common, PCRselect: [] })).toBe(
      ofHandle(Rc.KEY, 1),
    );
  });

  it("by an anonymous scheme tells no names, and binds the caller's data into the digest", () => {
    const scalar = Uint8Array.of(2, 7, 1, 8);
    const ecdaa: Scheme = { scheme: Alg.ECDAA, hash: Alg.SHA256, count: 0 };
    const signHandle = loadKey(client, eccKey(Curve.NIST_P256, scalar, ecdaa, signing));
    const nothing = { P1: { x: empty, y: empty }, s2: empty, y2: empty };
    const n = toInteger(crypto.eccOrder(Curve.NIST_P256));
    for (const data of [qualifyingData, empty]) {
      const { E, counter } = client.run("Commit", { signHandle }, nothing);
      const { certifyInfo, signature } = client.run(
        "Certify",
        { objectHandle: key.handle, signHandle },
        { qualifyingData: data, inScheme: { ...ecdaa, count: counter } },
      );
      const attest = read(certifyInfo);
      expect(attest.qualifiedSigner).toEqual(empty);
      expect(attest.extraData).toEqual(empty);
      expect(attest.attested).toEqual({ name: key.name, qualifiedName: empty });
      if (signature.sigAlg !== Alg.ECDAA) throw new Error("another signature");
      const plain = sha256(certifyInfo);
      const digest = data.length > 0 ? sha256(data, plain) : plain;
      const t = modulo(toInteger(sha256(signature.r, digest)), n);
      const k = modulo(toInteger(signature.s) - t * toInteger(scalar), n);
      expect(crypto.eccPublic(Curve.NIST_P256, toBytes(k, 32))).toEqual(E);
    }
  });
});

describe("TPM2_Certify", () => {
  it("tells the Name and qualified Name of an object that is loaded", () => {
    const object = createPrimary(client, eccSigningTemplate());
    const { certifyInfo, signature } = client.run(
      "Certify",
      { objectHandle: object.handle, signHandle: key.handle },
      common,
    );
    const attest = opened(certifyInfo, signature);
    expect(attest.type).toBe(St.ATTEST_CERTIFY);
    const { name, qualifiedName } = client.run("ReadPublic", { objectHandle: object.handle }, {});
    expect(attest.attested).toEqual({ name, qualifiedName });
  });
});

describe("TPM2_CertifyCreation", () => {
  it("tells of the creation that the ticket proves, and of no other", () => {
    const { handle, name, creationHash, creationTicket } = createPrimary(client, eccSigningTemplate());
    const handles = { signHandle: key.handle, objectHandle: handle };
    const parameters = { ...common, creationHash, creationTicket };
    const { certifyInfo, signature } = client.run("CertifyCreation", handles, parameters);
    const attest = opened(certifyInfo, signature);
    expect(attest.type).toBe(St.ATTEST_CREATION);
    expect(attest.attested).toEqual({ objectName: name, creationHash });

    const rc = (change: object, object = handle): number =>
      client.rc("CertifyCreation", { ...handles, objectHandle: object }, { ...parameters, ...change });
    const WRONG = ofParameter(Rc.TICKET, 4);
    expect(rc({ creationHash: sha256(creationHash) })).toBe(WRONG);
    expect(rc({ creationTicket: { ...creationTicket, hierarchy: Rh.ENDORSEMENT } })).toBe(WRONG);
    expect(rc({ creationTicket: { ...creationTicket, digest: empty } })).toBe(WRONG);
    expect(rc({}, key.handle)).toBe(WRONG);
    expect(rc({ inScheme: { ...ecdsa, hash: Alg.SHA1 } })).toBe(ofParameter(Rc.SCHEME, 3));
  });
});

describe("TPM2_Quote", () => {
  const quote = (PCRselect: readonly { hash: number; pcrSelect: Uint8Array }[]) => {
    const { quoted, signature } = client.run("Quote", { signHandle: key.handle }, { ...common, PCRselect });
    const attest = opened(quoted, signature);
    if (attest.type !== St.ATTEST_QUOTE) throw new Error("no quote");
    return attest.attested;
  };

  it("digests the PCR in the order of banks asked for, by the hash of the signature", () => {
    const digests = [{ hashAlg: Alg.SHA256, digest: sha256(bytes("measured")) }];
    client.run("PCR_Extend", { pcrHandle: 9 }, { digests });
    const zero = new Uint8Array(32);
    const ninth = sha256(zero, digests[0]!.digest);
    const both = [
      { hash: Alg.SHA256, pcrSelect: Uint8Array.of(0, 3, 0) },
      { hash: Alg.SHA384, pcrSelect: Uint8Array.of(1, 0, 0) },
    ];
    expect(quote(both)).toEqual({ pcrSelect: both, pcrDigest: sha256(zero, ninth, new Uint8Array(48)) });
    expect(quote([...both].reverse()).pcrDigest).toEqual(sha256(new Uint8Array(48), zero, ninth));
  });

  it("of no PCR is the digest of nothing", () => {
    expect(quote([])).toEqual({ pcrSelect: [], pcrDigest: sha256() });
  });

  it("needs a key, for there is no hash without one", () => {
    const rc = (inScheme: Scheme): number =>
      client.rc("Quote", { signHandle: Rh.NULL }, { qualifyingData, inScheme, PCRselect: [] });
    expect(rc(noScheme)).toBe(ofParameter(Rc.SCHEME, 2));
    expect(rc(ecdsa)).toBe(ofParameter(Rc.SCHEME, 2));
  });
});

describe("TPM2_NV_Certify", () => {
  const { OWNERREAD, OWNERWRITE, AUTHREAD, AUTHWRITE, PPREAD } = NvAttribute;
  const content = bytes("sixteen bytes...");
  function define(nvIndex: number, attributes: number, dataSize = content.length, written = true): number {
    const publicInfo = { nvIndex, nameAlg: Alg.SHA256, attributes, authPolicy: empty, dataSize };
    client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: empty, publicInfo });
    const data = content.subarray(0, dataSize);
    if (written) client.run("NV_Write", { authHandle: Rh.OWNER, nvIndex }, { data, offset: 0 });
    return nvIndex;
  }
  const certify = (nvIndex: number, authHandle: number, size: number, offset: number) =>
    client.run("NV_Certify", { signHandle: key.handle, authHandle, nvIndex }, { ...common, size, offset });
  const rc = (nvIndex: number, authHandle: number, size: number, offset: number, signHandle = key.handle) =>
    client.rc("NV_Certify", { signHandle, authHandle, nvIndex }, { ...common, size, offset });

  it("tells a part of an index, or with no size and offset the digest of all of it", () => {
    const nvIndex = define(0x01000001, OWNERREAD | OWNERWRITE);
    const { nvName: indexName } = client.run("NV_ReadPublic", { nvIndex }, {});
    const part = certify(nvIndex, Rh.OWNER, 5, 3);
    expect(opened(part.certifyInfo, part.signature)).toMatchObject({
      type: St.ATTEST_NV,
      attested: { indexName, offset: 3, nvContents: content.subarray(3, 8) },
    });
    const whole = certify(nvIndex, Rh.OWNER, 0, 0);
    expect(opened(whole.certifyInfo, whole.signature)).toMatchObject({
      type: St.ATTEST_NV_DIGEST,
      attested: { indexName, nvDigest: sha256(content) },
    });
    const end = certify(nvIndex, Rh.OWNER, 0, content.length);
    expect(read(end.certifyInfo).attested).toMatchObject({ nvContents: empty });
  });

  it("is for who may read the index", () => {
    const nvIndex = define(0x01000002, OWNERREAD | OWNERWRITE);
    expect(rc(nvIndex, Rh.PLATFORM, 4, 0)).toBe(Rc.NV_AUTHORIZATION);
    expect(rc(nvIndex, Rh.PLATFORM, 0, 0)).toBe(Rc.NV_AUTHORIZATION);
    const byItself = define(0x01000003, AUTHREAD | AUTHWRITE | OWNERWRITE);
    expect(rc(byItself, byItself, 4, 0)).toBe(Rc.SUCCESS);
    expect(rc(byItself, Rh.OWNER, 4, 0)).toBe(Rc.NV_AUTHORIZATION);
    const byPlatform = define(0x01000004, PPREAD | OWNERREAD | OWNERWRITE);
    expect(rc(byPlatform, Rh.PLATFORM, 0, 0)).toBe(Rc.SUCCESS);
  });

  it("stays in the index, and in what has been written", () => {
    const nvIndex = define(0x01000005, OWNERREAD | OWNERWRITE);
    expect(rc(nvIndex, Rh.OWNER, 16, 0)).toBe(Rc.SUCCESS);
    expect(rc(nvIndex, Rh.OWNER, 16, 1)).toBe(Rc.NV_RANGE);
    expect(rc(nvIndex, Rh.OWNER, 0, 17)).toBe(Rc.NV_RANGE);
    expect(rc(nvIndex, Rh.OWNER, 65535, 65535)).toBe(Rc.NV_RANGE);
    const unwritten = define(0x01000006, OWNERREAD | OWNERWRITE, 8, false);
    expect(rc(unwritten, Rh.OWNER, 4, 0)).toBe(Rc.NV_UNINITIALIZED);
    expect(rc(unwritten, Rh.OWNER, 0, 0)).toBe(Rc.NV_UNINITIALIZED);
    const large = define(0x01000007, OWNERREAD | OWNERWRITE, 2048);
    expect(rc(large, Rh.OWNER, 1024, 0)).toBe(Rc.SUCCESS);
    expect(rc(large, Rh.OWNER, 1025, 0)).toBe(ofParameter(Rc.VALUE, 3));
  });
});

/** cpHash and rpHash of a command with its parameters as bytes, extended to a digest. */
function extended(
  digest: Uint8Array,
  code: number,
  names: readonly Uint8Array[],
  parameters: Uint8Array,
  response: Uint8Array,
): Uint8Array {
  const cpHash = sha256(u32(code), ...names, parameters);
  return sha256(digest, cpHash, sha256(u32(Rc.SUCCESS), u32(code), response));
}

describe("TPM2_GetSessionAuditDigest", () => {
  const digestOf = (sessionHandle: number, signHandle = key.handle) =>
    client.run(
      "GetSessionAuditDigest",
      { privacyAdminHandle: Rh.ENDORSEMENT, signHandle, sessionHandle },
      common,
    );

  it("tells what a session has audited, and whether nothing else came between", () => {
    const session = client.session();
    const { continueSession, audit } = SessionAttribute;
    const use = { session, attributes: continueSession | audit };
    const { randomBytes } = client.run("GetRandom", {}, { bytesRequested: 8 }, { auth: [use] });
    const sessionDigest = extended(
      new Uint8Array(32),
      commands.GetRandom.code,
      [],
      u16(8),
      concat(u16(8), randomBytes),
    );
    const told = digestOf(session.handle);
    const attest = opened(told.auditInfo, told.signature);
    expect(attest.type).toBe(St.ATTEST_SESSION_AUDIT);
    // The command itself came without the session; it is exclusive up to then.
    expect(attest.attested).toEqual({ exclusiveSession: true, sessionDigest });
    client.run("PCR_Reset", { pcrHandle: 16 }, {});
    const later = digestOf(session.handle);
    expect(read(later.auditInfo).attested).toEqual({ exclusiveSession: false, sessionDigest });
  });

  it("is for sessions that audit, and finds the key and scheme wrong before", () => {
    const { handle: sessionHandle } = client.session();
    const handles = { privacyAdminHandle: Rh.ENDORSEMENT, signHandle: key.handle, sessionHandle };
    expect(client.rc("GetSessionAuditDigest", handles, common)).toBe(ofHandle(Rc.TYPE, 3));
    const other = { qualifyingData, inScheme: { ...ecdsa, hash: Alg.SHA1 } };
    expect(client.rc("GetSessionAuditDigest", handles, other)).toBe(ofParameter(Rc.SCHEME, 2));
  });
});

describe("TPM2_GetCommandAuditDigest", () => {
  const digestOf = (signHandle = key.handle) =>
    client.run("GetCommandAuditDigest", { privacyHandle: Rh.ENDORSEMENT, signHandle }, common);
  const auditOf = (attestation: Uint8Array) => {
    const attest = read(attestation);
    if (attest.type !== St.ATTEST_COMMAND_AUDIT) throw new Error("no command audit");
    return attest.attested;
  };
  const audit = (auditAlg: number, names: readonly CommandName[]): void => {
    const setList = names.map((name) => commands[name].code);
    client.run("SetCommandCodeAuditStatus", { auth: Rh.OWNER }, { auditAlg, setList, clearList: [] });
  };

  it("tells the digest of audited commands and of their list, and begins anew only when signed", () => {
    audit(Alg.SHA256, []);
    audit(Alg.NULL, ["GetRandom"]);
    // Setting the list is audited always.
    digestOf();
    const { randomBytes } = client.run("GetRandom", {}, { bytesRequested: 4 });
    const expected = extended(
      new Uint8Array(32),
      commands.GetRandom.code,
      [],
      u16(4),
      concat(u16(4), randomBytes),
    );
    const list = [commands.SetCommandCodeAuditStatus.code, commands.GetRandom.code].sort((a, b) => a - b);
    const unsigned = auditOf(digestOf(Rh.NULL).auditInfo);
    expect(unsigned).toMatchObject({
      digestAlg: Alg.SHA256,
      auditDigest: expected,
      commandDigest: sha256(...list.map(u32)),
    });
    const { auditInfo, signature } = digestOf();
    expect(opened(auditInfo, signature).type).toBe(St.ATTEST_COMMAND_AUDIT);
    expect(auditOf(auditInfo).auditDigest).toEqual(expected);
    const next = auditOf(digestOf().auditInfo);
    expect(next.auditDigest).toEqual(empty);
    expect(next.auditCounter).toBe(unsigned.auditCounter);
    client.run("GetRandom", {}, { bytesRequested: 4 });
    expect(auditOf(digestOf(Rh.NULL).auditInfo).auditCounter).toBe(unsigned.auditCounter + 1n);
  });

  it("tells of a TPM that was just made that setting the list is audited, by SHA-512", () => {
    const code = u32(commands.SetCommandCodeAuditStatus.code);
    const { digestAlg, commandDigest, auditDigest } = auditOf(digestOf(Rh.NULL).auditInfo);
    expect(digestAlg).toBe(Alg.SHA512);
    expect(commandDigest).toEqual(new Uint8Array(createHash("sha512").update(code).digest()));
    expect(auditDigest).toEqual(empty);
  });
});

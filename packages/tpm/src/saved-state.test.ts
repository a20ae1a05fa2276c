import { Alg, Cap, commandList, NvAttribute, Rc, Rh, Su, TpmReader } from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodePermanent,
  decodeRunning,
  encodePermanent,
  encodeRunning,
  TpmStateError,
} from "./saved-state.ts";
import { TpmClient } from "./testing/client.ts";
import { eccTemplate, sealTemplate, sensitiveCreate } from "./testing/templates.ts";
import { Tpm } from "./tpm.ts";

const empty = new Uint8Array(0);
const nothingMore = { outsideInfo: empty, creationPCR: [] };
const { AUTHREAD, AUTHWRITE, OWNERREAD, OWNERWRITE } = NvAttribute;

/** A TPM that has something of everything: objects, sequences, sessions loaded and saved, NV indices, policies, a Shutdown. */
function fullTpm(): { tpm: Tpm; client: TpmClient; handles: number[] } {
  const tpm = new Tpm();
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const storage = client.run(
    "CreatePrimary",
    { primaryHandle: Rh.OWNER },
    { inSensitive: sensitiveCreate(), inPublic: eccTemplate(), ...nothingMore },
  ).handle;
  client.run("EvictControl", { auth: Rh.OWNER, objectHandle: storage }, { persistentHandle: 0x8100_0001 });
  const sealed = client.run(
    "CreatePrimary",
    { primaryHandle: Rh.NULL },
    { inSensitive: sensitiveCreate("pw", "secret"), inPublic: sealTemplate(), ...nothingMore },
  ).handle;
  const sequence = client.run("HashSequenceStart", {}, { auth: empty, hashAlg: Alg.SHA384 }).handle;
  client.run("SequenceUpdate", { sequenceHandle: sequence }, { buffer: Uint8Array.of(1, 2, 3) });
  for (const [at, type] of [0, 1, 2, 4].entries())
    client.run(
      "NV_DefineSpace",
      { authHandle: Rh.OWNER },
      {
        auth: empty,
        publicInfo: {
          nvIndex: 0x0150_0000 + at,
          nameAlg: Alg.SHA256,
          attributes: AUTHREAD | AUTHWRITE | OWNERREAD | OWNERWRITE | (type << 4),
          authPolicy: empty,
          dataSize: type === 0 || type === 4 ? 32 : 8,
        },
      },
    );
  client.run(
    "NV_Write",
    { authHandle: Rh.OWNER, nvIndex: 0x0150_0000 },
    { data: Uint8Array.of(9), offset: 3 },
  );
  const digest = new Uint8Array(32).fill(1);
  client.run("SetPrimaryPolicy", { authHandle: Rh.OWNER }, { authPolicy: digest, hashAlg: Alg.SHA256 });
  client.run("PCR_Extend", { pcrHandle: 5 }, { digests: [{ hashAlg: Alg.SHA256, digest }] });
  client.session();
  const policy = client.session({ kind: "policy" });
  client.run(
    "PolicyPCR",
    { policySession: policy.handle },
    { pcrDigest: empty, pcrs: [{ hash: Alg.SHA256, pcrSelect: Uint8Array.of(32, 0, 0) }] },
  );
  const away = client.session({ bind: 0x0150_0000 });
  client.run("ContextSave", { saveHandle: away.handle }, {});
  return { tpm, client, handles: [storage, sealed, sequence] };
}

/** Asks the TPM for all kinds of things; what it answers does not matter, only that it does. */
function exercise(tpm: Tpm): void {
  const send = (...bytes: readonly number[]): Uint8Array => {
    const command = Uint8Array.from(bytes);
    new DataView(command.buffer).setUint32(2, command.length);
    return tpm.execute(command);
  };
  const plain = (code: number, ...more: readonly number[]) =>
    send(0x80, 1, 0, 0, 0, 0, 0, 0, code >>> 8, code & 255, ...more);
  const words = (...values: readonly number[]): number[] =>
    values.flatMap((value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
  plain(0x144, 0, 0);
  for (const capability of Object.values(Cap))
    for (const property of [
      0, 0x0100_0000, 0x0200_0000, 0x0300_0000, 0x4000_0000, 0x8000_0000, 0x8100_0000, 0x200,
    ])
      plain(0x17a, ...words(capability, property, 100));
  const handles = [
    0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8100_0001, 0x0150_0000, 0x0150_0001, 0x0150_0002, 0x0150_0003,
  ];
  const password = [...words(9), ...words(Rh.PW), 0, 0, 1, 0, 0];
  const authorized = (code: number, handles: readonly number[], ...more: readonly number[]) =>
    send(0x80, 2, 0, 0, 0, 0, 0, 0, code >>> 8, code & 255, ...words(...handles), ...password, ...more);
  for (const handle of handles) {
    plain(0x173, ...words(handle));
    plain(0x169, ...words(handle));
    authorized(0x14e, [Rh.OWNER, handle], 0, 8, 0, 0);
    authorized(0x134, [handle, handle]);
    authorized(0x136, [handle, handle], 0, 1, 7);
    authorized(0x135, [handle, handle], 0, 0, 0, 0, 0, 0, 0, 1);
    authorized(0x15e, [handle]);
    authorized(0x15c, [handle], 0, 1, 7);
    plain(0x162, ...words(handle));
  }
  // PCR 0 to 7 of SHA-256, an event into PCR 5, and the policy sessions.
  plain(0x17e, ...words(1), 0, 0x0b, 3, 0xff, 0, 0);
  authorized(0x13c, [5], 0, 1, 7);
  for (const session of [0x0300_0000, 0x0300_0001, 0x0200_0000]) {
    plain(0x189, ...words(session));
    plain(0x16b, ...words(session));
    plain(0x17f, ...words(session), 0, 0, ...words(1), 0, 0x0b, 3, 0xff, 0, 0);
    plain(0x162, ...words(session));
  }
  plain(0x181);
  plain(0x145, 0, 1);
  tpm.powerOff();
  tpm.powerOn();
  plain(0x144, 0, 1);
  plain(0x17e, ...words(1), 0, 0x0b, 3, 0xff, 0, 0);
}

const full = fullTpm();
const permanentBytes = full.tpm.savePermanent();
const runningBytes = full.tpm.saveVolatile();

describe("a saved state", () => {
  it("gives a TPM that goes on as the first one would have", () => {
    const tpm = new Tpm({ permanent: permanentBytes });
    tpm.restoreVolatile(runningBytes);
    expect(tpm.savePermanent()).toEqual(permanentBytes);
    expect(tpm.saveVolatile()).toEqual(runningBytes);
    const client = new TpmClient(tpm);
    const [, sealed, sequence] = full.handles;
    expect(client.run("Unseal", { itemHandle: sealed! }, {}, { auth: ["pw"] }).outData).toEqual(
      new TextEncoder().encode("secret"),
    );
    const rest = { buffer: Uint8Array.of(4), hierarchy: Rh.NULL };
    expect(client.run("SequenceComplete", { sequenceHandle: sequence! }, rest).result).toEqual(
      client.run("Hash", {}, { data: Uint8Array.of(1, 2, 3, 4), hashAlg: Alg.SHA384, hierarchy: Rh.NULL })
        .outHash,
    );
    const read = client.run(
      "NV_Read",
      { authHandle: Rh.OWNER, nvIndex: 0x0150_0000 },
      { size: 2, offset: 3 },
    );
    expect(read.data).toEqual(Uint8Array.of(9, 0xff));
    expect(client.rc("Startup", {}, { startupType: Su.CLEAR })).toBe(Rc.INITIALIZE);
  });

  it("with a Shutdown in it is read back as it was written", () => {
    const { tpm, client } = fullTpm();
    client.run("Shutdown", {}, { shutdownType: Su.STATE });
    const bytes = tpm.savePermanent();
    const permanent = decodePermanent(bytes);
    expect(permanent.kept).toBeDefined();
    expect(encodePermanent(permanent)).toEqual(bytes);
    const next = new TpmClient({ permanent: bytes });
    next.run("Startup", {}, { startupType: Su.STATE });
  });

  it("of a running TPM is read back as it was written", () => {
    expect(encodeRunning(decodeRunning(runningBytes))).toEqual(runningBytes);
  });

  it.each([
    ["cut short", permanentBytes.slice(0, -1), "malformed"],
    ["with a byte too many", Uint8Array.from([...permanentBytes, 0]), "malformed"],
    ["empty", empty, "malformed"],
    ["of something else", new TextEncoder().encode("something else"), "bad-magic"],
    ["of a later version", permanentBytes.map((byte, i) => (i === 5 ? 99 : byte)), "bad-version"],
    ["of the other kind", runningBytes, "bad-magic"],
    [
      "of a later way of deriving keys",
      permanentBytes.map((byte, i) => (i === 8 ? 99 : byte)),
      "bad-version",
    ],
  ])("%s is refused", (_, bytes, code) => {
    expect(() => new Tpm({ permanent: bytes })).toThrow(
      expect.objectContaining({ name: "TpmStateError", code }),
    );
  });

  it("has trial sessions with a cpHash of any size, which PolicySecret lets them have", () => {
    const client = TpmClient.started();
    const { handle } = client.session({ kind: "trial" });
    for (const cpHashA of [Uint8Array.of(1), new Uint8Array(64).fill(2)]) {
      const claims = { nonceTPM: empty, cpHashA, policyRef: empty, expiration: 0 };
      client.run("PolicySecret", { authHandle: Rh.OWNER, policySession: handle }, claims);
      const tpm = client.tpm as Tpm;
      const restored = new Tpm({ permanent: tpm.savePermanent() });
      restored.restoreVolatile(tpm.saveVolatile());
      expect(restored.saveVolatile()).toEqual(tpm.saveVolatile());
    }
  });

  it("has public keys with a policy of any size, which LoadExternal lets them have", () => {
    const client = TpmClient.started();
    const { handle, outPublic } = client.run(
      "CreatePrimary",
      { primaryHandle: Rh.OWNER },
      { inSensitive: sensitiveCreate(), inPublic: eccTemplate(), ...nothingMore },
    );
    client.run("FlushContext", {}, { flushHandle: handle });
    const inPublic = { ...outPublic, authPolicy: Uint8Array.of(1, 2, 3) };
    client.run("LoadExternal", {}, { inPrivate: undefined, inPublic, hierarchy: Rh.NULL });
    const tpm = client.tpm as Tpm;
    const restored = new Tpm({ permanent: tpm.savePermanent() });
    restored.restoreVolatile(tpm.saveVolatile());
    expect(restored.saveVolatile()).toEqual(tpm.saveVolatile());
  });

  it("that does not fit the TPM or its permanent state is refused, and nothing is changed", () => {
    const small = new Tpm({ permanent: permanentBytes, limits: { transientObjects: 2 } });
    const unchanged = small.saveVolatile();
    expect(() => small.restoreVolatile(runningBytes)).toThrow("more transient objects");
    expect(small.saveVolatile()).toEqual(unchanged);
    const permanent = decodePermanent(permanentBytes);
    permanent.pcrAllocation.pop();
    const other = new Tpm({ permanent: encodePermanent(permanent) });
    expect(() => other.restoreVolatile(runningBytes)).toThrow("PCR banks");
  });

  it("of a TPM in failure mode is one of a TPM in failure mode", () => {
    const store = {
      fails: false,
      commit() {
        if (this.fails) throw new Error("full");
      },
    };
    const tpm = new Tpm({ store });
    const client = new TpmClient(tpm);
    store.fails = true;
    expect(client.rc("Startup", {}, { startupType: Su.CLEAR })).toBe(Rc.FAILURE);
    const next = new Tpm();
    next.restoreVolatile(tpm.saveVolatile());
    expect(next.failed).toBe(true);
  });
});

describe("a saved state that was tampered with", () => {
  const tampered = (bytes: Uint8Array) =>
    fc
      .array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      })
      .map((changes) => {
        const changed = bytes.slice();
        // The first eight bytes say what it is: another test's matter.
        for (const [at, value] of changes) if (at >= 8) changed[at] = value;
        return changed;
      });

  it("is refused, or gives a TPM that answers everything", () => {
    fc.assert(
      fc.property(tampered(permanentBytes), tampered(runningBytes), (permanent, running) => {
        let tpm: Tpm;
        try {
          tpm = new Tpm({ permanent });
        } catch (error) {
          expect(error).toBeInstanceOf(TpmStateError);
          tpm = new Tpm({ permanent: permanentBytes });
        }
        try {
          tpm.restoreVolatile(running);
        } catch (error) {
          expect(error).toBeInstanceOf(TpmStateError);
        }
        // It may say itself that it has failed.
        if (tpm.failed) return;
        exercise(tpm);
        expect(tpm.failed).toBe(false);
      }),
    );
  });

  it("is exercised by commands that a sound one carries out", () => {
    const tpm = new Tpm({ permanent: permanentBytes });
    tpm.restoreVolatile(runningBytes);
    const seen = new Map<number, number>();
    const execute = tpm.execute.bind(tpm);
    tpm.execute = (command, locality) => {
      const response = execute(command, locality);
      const code = new TpmReader(command, 6).u32();
      if (new TpmReader(response, 6).u32() === Rc.SUCCESS) seen.set(code, (seen.get(code) ?? 0) + 1);
      return response;
    };
    exercise(tpm);
    const names = commandList.filter(({ code }) => seen.has(code)).map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(15);
    expect(tpm.failed).toBe(false);
  });
});

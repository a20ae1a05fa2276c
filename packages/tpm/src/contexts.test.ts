import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  type Context,
  ObjectAttribute,
  ofParameter,
  Pt,
  type Public,
  Rc,
  Rh,
  SessionAttribute,
  Su,
  TpmError,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CONTEXT_CIPHER, CONTEXT_GAP_MAX, CONTEXT_KEY_BITS } from "./contexts.ts";
import { decodeRunning, encodeRunning, type RunningState } from "./saved-state.ts";
import { TpmClient } from "./testing/client.ts";
import { sealTemplate, sensitiveCreate } from "./testing/templates.ts";
import { Tpm, type TpmOptions } from "./tpm.ts";

const filled = (byte: number, length = 32): Uint8Array => new Uint8Array(length).fill(byte);
const empty = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function started(options: TpmOptions = {}): { tpm: Tpm; client: TpmClient } {
  const tpm = new Tpm(options);
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  return { tpm, client };
}
const save = (client: TpmClient, saveHandle: number): Context =>
  client.run("ContextSave", { saveHandle }, {}).context;
const load = (client: TpmClient, context: Context): number =>
  client.run("ContextLoad", {}, { context }).handle;
const loadCode = (client: TpmClient, context: Context): number => client.rc("ContextLoad", {}, { context });

/** Changes what a running TPM has in its memory. */
function tamper(tpm: Tpm, change: (state: RunningState) => void): void {
  const state = decodeRunning(tpm.saveVolatile());
  change(state);
  tpm.restoreVolatile(encodeRunning(state));
}

/** Power goes and comes, with or without a shutdown before. */
function powerCycle(tpm: Tpm, client: TpmClient, shutdown: number | undefined, startup: number): void {
  if (shutdown !== undefined) client.run("Shutdown", {}, { shutdownType: shutdown });
  tpm.powerOff();
  tpm.powerOn();
  client.run("Startup", {}, { startupType: startup });
}

describe("a session's context", () => {
  test("brings the session back as it was, under its handle", () => {
    const { client } = started();
    const session = client.session({ kind: "policy", bind: Rh.OWNER });
    const policySession = session.handle;
    client.run("PolicyCpHash", { policySession }, { cpHashA: filled(1) });
    const { policyDigest } = client.run("PolicyGetDigest", { policySession }, {});
    const context = save(client, policySession);
    expect(context).toMatchObject({ sequence: 1n, savedHandle: policySession, hierarchy: Rh.NULL });
    expect(client.rc("PolicyGetDigest", { policySession }, {})).toBe(Rc.REFERENCE_H0);
    expect(load(client, context)).toBe(policySession);
    expect(client.run("PolicyGetDigest", { policySession }, {}).policyDigest).toEqual(policyDigest);
    expect(client.rc("PolicyCpHash", { policySession }, { cpHashA: filled(2) })).toBe(Rc.CPHASH);
  });

  test("does not show the session's key or digest", () => {
    const { client } = started();
    const session = client.session({ kind: "policy", bind: Rh.OWNER });
    client.run("PolicyCpHash", { policySession: session.handle }, { cpHashA: filled(0xab) });
    const blob = hex(save(client, session.handle).contextBlob);
    expect(blob).not.toContain(hex(session.sessionKey));
    expect(blob).not.toContain("abababab");
  });

  test("is loaded once: there is one form of a session at a time", () => {
    const { client } = started();
    const { handle } = client.session();
    const context = save(client, handle);
    load(client, context);
    expect(loadCode(client, context)).toBe(ofParameter(Rc.HANDLE, 1));
    const later = save(client, handle);
    expect(loadCode(client, context)).toBe(ofParameter(Rc.HANDLE, 1));
    expect(load(client, later)).toBe(handle);
  });

  test("keeps the session's number from others", () => {
    const { client } = started();
    const first = client.session();
    save(client, first.handle);
    expect(client.session().handle).toBe(first.handle + 1);
  });

  test("leaves an exclusive audit session the exclusive one", () => {
    const { client } = started();
    const session = client.session();
    const { continueSession, audit, auditExclusive } = SessionAttribute;
    const rc = (attributes: number): number =>
      client.rc("ReadClock", {}, {}, { auth: [{ session, attributes: continueSession | attributes }] });
    expect(rc(audit)).toBe(Rc.SUCCESS);
    load(client, save(client, session.handle));
    expect(rc(audit | auditExclusive)).toBe(Rc.SUCCESS);
    client.run("ReadClock", {}, {});
    expect(rc(audit | auditExclusive)).toBe(Rc.EXCLUSIVE);
  });

  test("needs a free slot", () => {
    const { client } = started({ limits: { loadedSessions: 1 } });
    const context = save(client, client.session().handle);
    const { handle } = client.session();
    expect(loadCode(client, context)).toBe(Rc.SESSION_MEMORY);
    client.run("FlushContext", {}, { flushHandle: handle });
    load(client, context);
  });

  test("is refused when a byte of it was changed, wherever it is", () => {
    const { client } = started();
    const { handle } = client.session({ bind: Rh.OWNER });
    const context = save(client, handle);
    const { length } = context.contextBlob;
    fc.assert(
      fc.property(fc.nat(length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const contextBlob = context.contextBlob.map((byte, i) => (i === at ? byte ^ change : byte));
        expect([Rc.SIZE, Rc.INTEGRITY, Rc.INSUFFICIENT]).toContain(
          loadCode(client, { ...context, contextBlob }) & 0x0bf,
        );
      }),
      { numRuns: 200 },
    );
    expect(loadCode(client, { ...context, sequence: 2n })).toBe(ofParameter(Rc.INTEGRITY, 1));
    expect(loadCode(client, { ...context, hierarchy: Rh.OWNER })).toBe(ofParameter(Rc.INTEGRITY, 1));
    expect(loadCode(client, { ...context, savedHandle: handle + 1 })).toBe(ofParameter(Rc.INTEGRITY, 1));
    expect(load(client, context)).toBe(handle);
  });

  test("is refused when it is cut short, and bytes of any kind are", () => {
    const { client } = started();
    const context = save(client, client.session().handle);
    const refused = (contextBlob: Uint8Array): void => {
      const rc = loadCode(client, { ...context, contextBlob });
      expect([Rc.SIZE, Rc.INTEGRITY, Rc.INSUFFICIENT]).toContain(rc & 0x0bf);
    };
    for (let length = 0; length < context.contextBlob.length; length++)
      refused(context.contextBlob.subarray(0, length));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), refused), { numRuns: 100 });
  });

  test("is unmarshalled only with a handle and a hierarchy that can be", () => {
    const { client } = started();
    const context = save(client, client.session().handle);
    for (const savedHandle of [Rh.OWNER, 0x8000_0003, 0x8100_0000, 0])
      expect(loadCode(client, { ...context, savedHandle })).toBe(ofParameter(Rc.VALUE, 1));
    expect(loadCode(client, { ...context, hierarchy: Rh.LOCKOUT })).toBe(ofParameter(Rc.VALUE, 1));
  });

  test("is not another TPM's", () => {
    const { client } = started();
    const context = save(client, client.session().handle);
    expect(loadCode(started().client, context)).toBe(ofParameter(Rc.INTEGRITY, 1));
  });

  test("outlives a Resume and a Restart, but no Reset", () => {
    const { tpm, client } = started();
    const contexts = [1, 2, 3].map(() => save(client, client.session().handle));
    powerCycle(tpm, client, Su.STATE, Su.STATE);
    expect(load(client, contexts[0]!)).toBe(0x0200_0000);
    powerCycle(tpm, client, Su.STATE, Su.CLEAR);
    expect(load(client, contexts[1]!)).toBe(0x0200_0001);
    powerCycle(tpm, client, Su.CLEAR, Su.CLEAR);
    expect(loadCode(client, contexts[2]!)).toBe(ofParameter(Rc.INTEGRITY, 1));
  });

  test("that was loaded after Shutdown(STATE) is not loaded again by a Resume: the shutdown is void", () => {
    const { tpm, client } = started();
    const context = save(client, client.session().handle);
    client.run("Shutdown", {}, { shutdownType: Su.STATE });
    load(client, context);
    tpm.powerOff();
    tpm.powerOn();
    expect(client.rc("Startup", {}, { startupType: Su.STATE })).toBe(ofParameter(Rc.VALUE, 1));
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(loadCode(client, context)).toBe(ofParameter(Rc.INTEGRITY, 1));
  });
});

describe("the gap between contexts", () => {
  /** A TPM whose oldest saved session is as far behind as it may be. */
  function withFullGap() {
    const { tpm, client } = started();
    const [oldest, second] = [client.session(), client.session()].map(({ handle }) => save(client, handle));
    const age = (saves: number): void =>
      tamper(tpm, ({ reset }) => {
        reset.contextCounter = 1n + BigInt(saves);
      });
    return { client, oldest: oldest!, second: second!, age };
  }

  test("stops saving when it is full, until the oldest one is loaded", () => {
    const { client, oldest, age } = withFullGap();
    age(CONTEXT_GAP_MAX);
    save(client, client.session().handle);
    const { handle } = client.session();
    expect(client.rc("ContextSave", { saveHandle: handle }, {})).toBe(Rc.CONTEXT_GAP);
    load(client, oldest);
    save(client, handle);
  });

  test("keeps the last slot for the oldest one when it is full", () => {
    const { client, oldest, second, age } = withFullGap();
    client.session();
    client.session();
    age(CONTEXT_GAP_MAX + 1);
    expect(loadCode(client, second)).toBe(Rc.CONTEXT_GAP);
    const started = {
      nonceCaller: filled(1, 16),
      encryptedSalt: new Uint8Array(0),
      sessionType: 0,
      symmetric: { algorithm: 0x10, keyBits: 0, mode: 0x10, hash: 0x10 },
      authHash: 0x0b,
    };
    const handles = { tpmKey: Rh.NULL, bind: Rh.NULL };
    expect(client.rc("StartAuthSession", handles, started)).toBe(Rc.CONTEXT_GAP);
    load(client, oldest);
  });

  test("is made free by flushing the oldest one as well", () => {
    const { client, oldest, age } = withFullGap();
    const { handle } = client.session();
    age(CONTEXT_GAP_MAX + 1);
    expect(client.rc("ContextSave", { saveHandle: handle }, {})).toBe(Rc.CONTEXT_GAP);
    client.run("FlushContext", {}, { flushHandle: oldest.savedHandle });
    save(client, handle);
  });
});

describe("an object's context", () => {
  const create = (client: TpmClient, inPublic: Public, primaryHandle: number = Rh.OWNER): number =>
    client.run(
      "CreatePrimary",
      { primaryHandle },
      { inSensitive: sensitiveCreate("", "data"), inPublic, outsideInfo: empty, creationPCR: [] },
    ).handle;
  const unseal = (client: TpmClient, itemHandle: number): string =>
    Buffer.from(client.run("Unseal", { itemHandle }, {}).outData).toString();

  test("is loaded as often as one likes, into any slot, while the object stays", () => {
    const { client } = started();
    const handle = create(client, sealTemplate());
    const name = client.nameOf(handle);
    const context = save(client, handle);
    expect(context).toMatchObject({ savedHandle: 0x8000_0000, hierarchy: Rh.OWNER });
    expect([load(client, context), load(client, context)]).toEqual([handle + 1, handle + 2]);
    expect(client.nameOf(handle + 2)).toEqual(name);
    expect(unseal(client, handle + 2)).toBe("data");
    expect(loadCode(client, context)).toBe(Rc.OBJECT_MEMORY);
  });

  test("has another sequence number and other bytes each time", () => {
    const { client } = started();
    const handle = create(client, sealTemplate());
    const [a, b] = [save(client, handle), save(client, handle)];
    expect(b.sequence).toBe(a.sequence + 1n);
    expect(b.contextBlob).not.toEqual(a.contextBlob);
  });

  test("does not show what is sealed in it", () => {
    const { client } = started();
    const blob = hex(save(client, create(client, sealTemplate())).contextBlob);
    expect(blob).not.toContain(hex(new TextEncoder().encode("data")));
  });

  test("of a hierarchy is not loaded while that is disabled", () => {
    const { client } = started();
    const context = save(client, create(client, sealTemplate(), Rh.ENDORSEMENT));
    const control = { enable: Rh.ENDORSEMENT, state: false };
    client.run("HierarchyControl", { authHandle: Rh.ENDORSEMENT }, control);
    expect(loadCode(client, context)).toBe(ofParameter(Rc.HIERARCHY, 1));
  });

  test("is void with the proof of its hierarchy, as after TPM2_Clear", () => {
    const { client } = started();
    const [owner, platform] = [Rh.OWNER, Rh.PLATFORM].map((hierarchy) =>
      save(client, create(client, sealTemplate(), hierarchy)),
    );
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    expect(loadCode(client, owner!)).toBe(ofParameter(Rc.INTEGRITY, 1));
    expect(loadCode(client, platform!)).toBe(Rc.SUCCESS);
    client.run("ChangePPS", { authHandle: Rh.PLATFORM }, {});
    expect(loadCode(client, platform!)).toBe(ofParameter(Rc.INTEGRITY, 1));
  });

  test("outlives a Restart unless the object has stClear, and no Reset", () => {
    const { tpm, client } = started();
    const stClear = sealTemplate({
      objectAttributes: sealTemplate().objectAttributes | ObjectAttribute.stClear,
    });
    const lasting = save(client, create(client, sealTemplate()));
    const passing = save(client, create(client, stClear));
    expect(passing.savedHandle).toBe(0x8000_0002);
    powerCycle(tpm, client, Su.STATE, Su.STATE);
    expect(loadCode(client, passing)).toBe(Rc.SUCCESS);
    powerCycle(tpm, client, Su.STATE, Su.CLEAR);
    expect(loadCode(client, passing)).toBe(ofParameter(Rc.INTEGRITY, 1));
    // The same bytes under the handle of an object that lasts.
    expect(loadCode(client, { ...passing, savedHandle: 0x8000_0000 })).toBe(ofParameter(Rc.INTEGRITY, 1));
    expect(loadCode(client, lasting)).toBe(Rc.SUCCESS);
    powerCycle(tpm, client, undefined, Su.CLEAR);
    expect(loadCode(client, lasting)).toBe(ofParameter(Rc.INTEGRITY, 1));
  });

  test("goes on with a hash sequence where it was", () => {
    const { client } = started();
    const abc = new TextEncoder().encode("abc");
    const sequence = { auth: empty, hashAlg: Alg.SHA256 };
    const first = client.run("HashSequenceStart", {}, sequence).handle;
    client.run("SequenceUpdate", { sequenceHandle: first }, { buffer: abc });
    const context = save(client, first);
    expect(context).toMatchObject({ savedHandle: 0x8000_0001, hierarchy: Rh.NULL });
    client.run("FlushContext", {}, { flushHandle: first });
    const sequenceHandle = load(client, context);
    const end = { buffer: abc, hierarchy: Rh.NULL };
    const { result } = client.run("SequenceComplete", { sequenceHandle }, end);
    expect(hex(result)).toBe(createHash("sha256").update("abcabc").digest("hex"));
  });

  test("is no larger than the TPM says", () => {
    const { client } = started();
    const property = (pt: number): number => {
      const asked = { capability: Cap.TPM_PROPERTIES, property: pt, propertyCount: 1 };
      const { capabilityData } = client.run("GetCapability", {}, asked);
      if (capabilityData.capability !== Cap.TPM_PROPERTIES) throw new Error("another capability");
      return capabilityData.data[0]!.value;
    };
    const size = ({ contextBlob }: Context): number => contextBlob.length;
    const events = client.run("HashSequenceStart", {}, { auth: filled(1, 64), hashAlg: Alg.NULL }).handle;
    client.run(
      "SequenceUpdate",
      { sequenceHandle: events },
      { buffer: filled(1, 200) },
      { auth: [filled(1, 64)] },
    );
    expect(size(save(client, events))).toBeLessThanOrEqual(property(Pt.MAX_OBJECT_CONTEXT));
    const policySession = client.session({ kind: "policy", hash: Alg.SHA512, bind: Rh.OWNER }).handle;
    client.run("PolicyCpHash", { policySession }, { cpHashA: filled(1, 64) });
    const authHandle = client.session({ hash: Alg.SHA512, bind: events, bindAuth: filled(1, 64) }).handle;
    const limit = property(Pt.MAX_SESSION_CONTEXT);
    expect(size(save(client, policySession))).toBeLessThanOrEqual(limit);
    expect(size(save(client, authHandle))).toBeLessThanOrEqual(limit);
    expect(property(Pt.CONTEXT_GAP_MAX)).toBe(CONTEXT_GAP_MAX);
    expect(property(Pt.CONTEXT_SYM)).toBe(CONTEXT_CIPHER);
    expect(property(Pt.CONTEXT_SYM_SIZE)).toBe(CONTEXT_KEY_BITS);
  });
});

test("sessions are saved, loaded and flushed in any order, and never are two of one", () => {
  const { client } = started({ limits: { loadedSessions: 3, activeSessions: 5 } });
  const contexts: Context[] = [];
  const loaded = new Set<number>();
  const step = fc.tuple(fc.constantFrom("start", "save", "load", "flush"), fc.nat(30));
  const pick = (n: number): number => [...loaded][n % Math.max(1, loaded.size)] ?? 0x0200_0000;
  fc.assert(
    fc.property(step, ([action, n]) => {
      try {
        if (action === "start") loaded.add(client.session().handle);
        if (action === "save") {
          const handle = pick(n);
          contexts.push(save(client, handle));
          loaded.delete(handle);
        }
        if (action === "load" && contexts.length > 0) {
          const handle = load(client, contexts[n % contexts.length]!);
          expect(loaded.has(handle)).toBe(false);
          loaded.add(handle);
        }
        if (action === "flush") {
          const handle = pick(n);
          client.run("FlushContext", {}, { flushHandle: handle });
          loaded.delete(handle);
        }
      } catch (error) {
        if (!(error instanceof TpmError)) throw error;
      }
      const asked = { capability: 1, property: 0x0200_0000, propertyCount: 10 };
      const { capabilityData } = client.run("GetCapability", {}, asked as never);
      expect([...capabilityData.data]).toEqual([...loaded].sort());
    }),
    { numRuns: 500 },
  );
});

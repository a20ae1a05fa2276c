import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  NvAttribute,
  ofHandle,
  ofParameter,
  ofSession,
  PermanentAttribute,
  Pt,
  Rc,
  Rh,
  StartupClearAttribute,
  Su,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { decodePermanent } from "../saved-state.ts";
import { TpmClient } from "../testing/client.ts";
import { createPrimary } from "../testing/objects.ts";
import { eccTemplate } from "../testing/templates.ts";
import { Tpm } from "../tpm.ts";

const none = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const permanentHandles = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.LOCKOUT];

function bench() {
  const tpm = new Tpm();
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const property = (tag: number): number => {
    const { data } = client.run(
      "GetCapability",
      {},
      { capability: Cap.TPM_PROPERTIES, property: tag, propertyCount: 1 },
    ).capabilityData;
    return (data[0] as { value: number }).value;
  };
  return {
    tpm,
    client,
    property,
    permanent: () => decodePermanent(tpm.savePermanent()),
    restart(shutdownType: number | undefined, startupType: number): void {
      if (shutdownType !== undefined) client.run("Shutdown", {}, { shutdownType });
      tpm.powerOff();
      tpm.powerOn();
      client.run("Startup", {}, { startupType });
    },
    control: (authHandle: number, enable: number, state: boolean): number =>
      client.rc("HierarchyControl", { authHandle }, { enable, state }),
    changeAuth: (authHandle: number, newAuth: Uint8Array, old: Uint8Array = none): number =>
      client.rc("HierarchyChangeAuth", { authHandle }, { newAuth }, { auth: [old] }),
    setPolicy: (authHandle: number, authPolicy: Uint8Array, hashAlg: number): number =>
      client.rc("SetPrimaryPolicy", { authHandle }, { authPolicy, hashAlg }),
    /** Handle and Name of a primary ECC key. */
    primary(hierarchy: number): { handle: number; name: string } {
      const { handle, name } = createPrimary(client, eccTemplate(), { hierarchy });
      return { handle, name: hex(name) };
    },
    loaded: (objectHandle: number): number => client.rc("ReadPublic", { objectHandle }, {}),
    nameNow(hierarchy: number): string {
      const { handle, name } = createPrimary(client, eccTemplate(), { hierarchy });
      client.run("FlushContext", {}, { flushHandle: handle });
      return hex(name);
    },
    define(authHandle: number, nvIndex: number): void {
      const platform = authHandle === Rh.PLATFORM ? NvAttribute.PLATFORMCREATE : 0;
      const attributes = NvAttribute.AUTHREAD | NvAttribute.AUTHWRITE | NvAttribute.NO_DA | platform;
      const publicInfo = { nvIndex, nameAlg: Alg.SHA256, attributes, authPolicy: none, dataSize: 8 };
      client.run("NV_DefineSpace", { authHandle }, { auth: none, publicInfo });
    },
  };
}
const OWNERS = 0x0180_0001;
const PLATFORMS = 0x0180_0002;
const PERSISTENT = 0x8100_0001;

describe("TPM2_HierarchyControl", () => {
  const platform = Rh.PLATFORM;
  const rules: readonly (readonly [rule: string, by: number, enable: number, state: boolean, rc: number])[] =
    [
      ["lets the owner turn his own off", Rh.OWNER, Rh.OWNER, false, Rc.SUCCESS],
      ["lets endorsement turn its own off", Rh.ENDORSEMENT, Rh.ENDORSEMENT, false, Rc.SUCCESS],
      ["lets the platform turn the owner's off", platform, Rh.OWNER, false, Rc.SUCCESS],
      ["lets the platform turn endorsement off", platform, Rh.ENDORSEMENT, false, Rc.SUCCESS],
      ["lets the platform turn itself off", platform, Rh.PLATFORM, false, Rc.SUCCESS],
      ["lets the platform turn its NV indices off", platform, Rh.PLATFORM_NV, false, Rc.SUCCESS],
      ["does not let the owner touch endorsement", Rh.OWNER, Rh.ENDORSEMENT, false, Rc.AUTH_TYPE],
      ["does not let endorsement touch the owner's", Rh.ENDORSEMENT, Rh.OWNER, true, Rc.AUTH_TYPE],
      ["does not let the owner touch the platform's", Rh.OWNER, Rh.PLATFORM, false, Rc.AUTH_TYPE],
      ["does not let the owner touch platform NV", Rh.OWNER, Rh.PLATFORM_NV, false, Rc.AUTH_TYPE],
      ["turns on what is on", Rh.OWNER, Rh.OWNER, true, Rc.SUCCESS],
      ["knows no NULL hierarchy", platform, Rh.NULL, false, ofParameter(Rc.VALUE, 1)],
      ["knows no lockout hierarchy", platform, Rh.LOCKOUT, false, ofParameter(Rc.VALUE, 1)],
      ["takes no authorization of lockout", Rh.LOCKOUT, Rh.OWNER, false, ofHandle(Rc.VALUE, 1)],
    ];
  it.each(rules)("%s", (_, by, enable, state, rc) => {
    expect(bench().control(by, enable, state)).toBe(rc);
  });

  it("flushes what is loaded of it; what is persistent comes back with it, and only the platform brings it back", () => {
    const { client, control, primary, loaded } = bench();
    const owners = primary(Rh.OWNER).handle;
    const endorsements = primary(Rh.ENDORSEMENT).handle;
    client.run("EvictControl", { auth: Rh.OWNER, objectHandle: owners }, { persistentHandle: PERSISTENT });
    control(Rh.OWNER, Rh.OWNER, false);
    expect(loaded(owners)).toBe(Rc.REFERENCE_H0);
    expect(loaded(PERSISTENT)).toBe(ofHandle(Rc.HANDLE, 1));
    expect(loaded(endorsements)).toBe(Rc.SUCCESS);
    expect(control(Rh.OWNER, Rh.OWNER, true)).toBe(ofHandle(Rc.HIERARCHY, 1));
    expect(control(Rh.PLATFORM, Rh.OWNER, true)).toBe(Rc.SUCCESS);
    expect(loaded(PERSISTENT)).toBe(Rc.SUCCESS);
  });

  it("shows in TPMA_STARTUP_CLEAR, until the next Reset or Restart", () => {
    const { control, property, restart } = bench();
    const { shEnable, phEnable, phEnableNV, ehEnable } = StartupClearAttribute;
    const all = shEnable | phEnable | phEnableNV | ehEnable;
    const enabled = (): number => property(Pt.STARTUP_CLEAR) & all;
    expect(enabled()).toBe(all);
    control(Rh.PLATFORM, Rh.OWNER, false);
    control(Rh.PLATFORM, Rh.PLATFORM_NV, false);
    control(Rh.PLATFORM, Rh.PLATFORM, false);
    expect(enabled()).toBe(ehEnable);
    restart(Su.STATE, Su.STATE);
    // The platform has started up: its hierarchy is its own again.
    expect(enabled()).toBe(ehEnable | phEnable);
    restart(Su.STATE, Su.CLEAR);
    expect(enabled()).toBe(all);
  });

  it("leaves a platform that is off no way to come back but a start-up", () => {
    const { control } = bench();
    control(Rh.PLATFORM, Rh.PLATFORM, false);
    expect(control(Rh.PLATFORM, Rh.PLATFORM, true)).toBe(ofHandle(Rc.HIERARCHY, 1));
  });
});

describe("TPM2_HierarchyChangeAuth", () => {
  it("sets an authValue, whose trailing zeros do not count", () => {
    for (const handle of permanentHandles) {
      const { changeAuth } = bench();
      expect(changeAuth(handle, Uint8Array.of(1, 0, 2, 0, 0))).toBe(Rc.SUCCESS);
      const wrong = handle === Rh.LOCKOUT ? Rc.AUTH_FAIL : Rc.BAD_AUTH;
      expect(changeAuth(handle, Uint8Array.of(3), Uint8Array.of(1, 0, 2))).toBe(Rc.SUCCESS);
      expect(changeAuth(handle, none)).toBe(ofSession(wrong, 1));
    }
  });

  it("takes no more bytes than the largest digest has", () => {
    const { changeAuth } = bench();
    expect(changeAuth(Rh.OWNER, new Uint8Array(65).fill(1))).toBe(ofParameter(Rc.SIZE, 1));
    expect(changeAuth(Rh.OWNER, new Uint8Array(64).fill(1))).toBe(Rc.SUCCESS);
  });

  it("answers with an HMAC by the new value", () => {
    const { client } = bench();
    const session = client.session();
    // The client computes the response's HMAC by what it holds for the authValue, the old one, and so finds it wrong.
    const change = (): unknown =>
      client.run(
        "HierarchyChangeAuth",
        { authHandle: Rh.OWNER },
        { newAuth: Uint8Array.of(9) },
        { auth: [{ session }] },
      );
    expect(change).toThrow(/HMAC of session 1 is wrong/u);
    expect(client.rc("NV_GlobalWriteLock", { authHandle: Rh.OWNER }, {}, { auth: [Uint8Array.of(9)] })).toBe(
      Rc.SUCCESS,
    );
  });

  it("lasts over a Reset for all but the platform", () => {
    for (const handle of permanentHandles) {
      const { changeAuth, restart } = bench();
      changeAuth(handle, Uint8Array.of(1));
      restart(Su.CLEAR, Su.CLEAR);
      expect(changeAuth(handle, none, handle === Rh.PLATFORM ? none : Uint8Array.of(1))).toBe(Rc.SUCCESS);
    }
  });

  it("shows in TPMA_PERMANENT that there is a value", () => {
    const { changeAuth, property } = bench();
    const { ownerAuthSet, endorsementAuthSet, lockoutAuthSet } = PermanentAttribute;
    const set = (): number => property(Pt.PERMANENT) & (ownerAuthSet | endorsementAuthSet | lockoutAuthSet);
    expect(set()).toBe(0);
    changeAuth(Rh.OWNER, Uint8Array.of(1));
    expect(set()).toBe(ownerAuthSet);
    changeAuth(Rh.LOCKOUT, Uint8Array.of(1));
    changeAuth(Rh.ENDORSEMENT, Uint8Array.of(0));
    expect(set()).toBe(ownerAuthSet | lockoutAuthSet);
  });
});

describe("TPM2_SetPrimaryPolicy", () => {
  it("wants a digest of the algorithm's size, and none without an algorithm", () => {
    const { setPolicy } = bench();
    const wrong = ofParameter(Rc.SIZE, 1);
    expect(setPolicy(Rh.OWNER, new Uint8Array(20), Alg.SHA256)).toBe(wrong);
    expect(setPolicy(Rh.OWNER, none, Alg.SHA256)).toBe(wrong);
    expect(setPolicy(Rh.OWNER, new Uint8Array(32), Alg.NULL)).toBe(wrong);
    expect(setPolicy(Rh.OWNER, new Uint8Array(32), Alg.SHA256)).toBe(Rc.SUCCESS);
    expect(setPolicy(Rh.OWNER, none, Alg.NULL)).toBe(Rc.SUCCESS);
    expect(setPolicy(Rh.NULL, none, Alg.NULL)).toBe(ofHandle(Rc.VALUE, 1));
  });

  it("gives each hierarchy and timer a policy of its own, by which it is authorized", () => {
    for (const handle of [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.LOCKOUT, Rh.ACT_0 + 1]) {
      const { client, setPolicy } = bench();
      // PolicyAuthValue once: the digest of zeros and the command code.
      const digest = new Uint8Array(
        createHash("sha256").update(new Uint8Array(32)).update(Buffer.from("0000016b", "hex")).digest(),
      );
      expect(setPolicy(handle, digest, Alg.SHA256)).toBe(Rc.SUCCESS);
      const session = client.session({ kind: "policy" });
      client.run("PolicyAuthValue", { policySession: session.handle }, {});
      const again = client.rc(
        "SetPrimaryPolicy",
        { authHandle: handle },
        { authPolicy: none, hashAlg: Alg.NULL },
        { auth: [{ session, hmacAuth: true }] },
      );
      expect(again).toBe(Rc.SUCCESS);
    }
  });
});

describe("TPM2_Clear", () => {
  it("gives the owner new keys, and keeps endorsement's and the platform's", () => {
    const { client, nameNow } = bench();
    const before = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM].map(nameNow);
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    const after = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM].map(nameNow);
    expect(after[0]).not.toBe(before[0]);
    expect(after.slice(1)).toEqual(before.slice(1));
  });

  it("takes away what was the owner's and endorsement's, and leaves what is the platform's", () => {
    const { client, primary, loaded, define } = bench();
    const handles = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM].map((hierarchy) => primary(hierarchy).handle);
    const keep = (auth: number, objectHandle: number, persistentHandle: number): unknown =>
      client.run("EvictControl", { auth, objectHandle }, { persistentHandle });
    keep(Rh.OWNER, handles[0]!, PERSISTENT);
    keep(Rh.OWNER, handles[1]!, PERSISTENT + 1);
    keep(Rh.PLATFORM, handles[2]!, 0x8180_0000);
    define(Rh.OWNER, OWNERS);
    define(Rh.PLATFORM, PLATFORMS);
    client.run("Clear", { authHandle: Rh.PLATFORM }, {});
    expect(handles.map(loaded)).toEqual([Rc.REFERENCE_H0, Rc.REFERENCE_H0, Rc.SUCCESS]);
    const gone = ofHandle(Rc.HANDLE, 1);
    expect([PERSISTENT, PERSISTENT + 1, 0x8180_0000].map(loaded)).toEqual([gone, gone, Rc.SUCCESS]);
    const there = (nvIndex: number): number => client.rc("NV_ReadPublic", { nvIndex }, {});
    expect([OWNERS, PLATFORMS].map(there)).toEqual([gone, Rc.SUCCESS]);
  });

  it("empties authValues and policies but the platform's, and enables both hierarchies", () => {
    const { client, changeAuth, setPolicy, control, permanent } = bench();
    for (const handle of permanentHandles) setPolicy(handle, new Uint8Array(32), Alg.SHA256);
    for (const handle of permanentHandles) changeAuth(handle, Uint8Array.of(1));
    client.run(
      "HierarchyControl",
      { authHandle: Rh.ENDORSEMENT },
      { enable: Rh.ENDORSEMENT, state: false },
      { auth: [Uint8Array.of(1)] },
    );
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {}, { auth: [Uint8Array.of(1)] });
    expect(control(Rh.ENDORSEMENT, Rh.ENDORSEMENT, true)).toBe(Rc.SUCCESS);
    const none16 = { alg: Alg.NULL, digest: none };
    const { ownerAuth, endorsementAuth, lockoutAuth, ownerPolicy, endorsementPolicy, lockoutPolicy } =
      permanent();
    expect([ownerAuth, endorsementAuth, lockoutAuth]).toEqual([none, none, none]);
    expect([ownerPolicy, endorsementPolicy, lockoutPolicy]).toEqual([none16, none16, none16]);
    expect(changeAuth(Rh.PLATFORM, none, Uint8Array.of(1))).toBe(Rc.SUCCESS);
  });

  it("sets Clock, its counters and the dictionary attack parameters back, and counts as a change of PCR", () => {
    let now = 0;
    const tpm = new Tpm({ now: () => now });
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    client.run(
      "DictionaryAttackParameters",
      { lockHandle: Rh.LOCKOUT },
      { newMaxTries: 9, newRecoveryTime: 8, lockoutRecovery: 7 },
    );
    now = 10_000;
    const counter = (): number => client.run("PCR_Read", {}, { pcrSelectionIn: [] }).pcrUpdateCounter;
    const before = counter();
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    const { time, clockInfo } = client.run("ReadClock", {}, {}).currentTime;
    expect(clockInfo).toEqual({ clock: 0n, resetCount: 0, restartCount: 0, safe: true });
    expect(time).toBe(10_000n);
    const { maxTries, recoveryTime, lockoutRecovery } = decodePermanent(tpm.savePermanent());
    expect([maxTries, recoveryTime, lockoutRecovery]).toEqual([3, 1000, 1000]);
    expect(counter()).toBe(before + 1);
  });

  it("makes saved contexts of both hierarchies void", () => {
    const { client, primary } = bench();
    const saved = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM].map((hierarchy) => {
      const { handle } = primary(hierarchy);
      const { context } = client.run("ContextSave", { saveHandle: handle }, {});
      client.run("FlushContext", {}, { flushHandle: handle });
      return context;
    });
    client.run("Clear", { authHandle: Rh.LOCKOUT }, {});
    const integrity = ofParameter(Rc.INTEGRITY, 1);
    expect(saved.map((context) => client.rc("ContextLoad", {}, { context }))).toEqual([
      integrity,
      integrity,
      Rc.SUCCESS,
    ]);
  });

  it("is refused when disabled, which lockout can only do and the platform also undo", () => {
    const { client, property } = bench();
    const control = (auth: number, disable: boolean): number =>
      client.rc("ClearControl", { auth }, { disable });
    const clear = (authHandle: number): number => client.rc("Clear", { authHandle }, {});
    expect(control(Rh.LOCKOUT, true)).toBe(Rc.SUCCESS);
    expect(property(Pt.PERMANENT) & PermanentAttribute.disableClear).not.toBe(0);
    expect(clear(Rh.LOCKOUT)).toBe(Rc.DISABLED);
    expect(clear(Rh.PLATFORM)).toBe(Rc.DISABLED);
    expect(control(Rh.LOCKOUT, false)).toBe(Rc.AUTH_FAIL);
    expect(control(Rh.PLATFORM, false)).toBe(Rc.SUCCESS);
    expect(clear(Rh.LOCKOUT)).toBe(Rc.SUCCESS);
    expect(clear(Rh.OWNER)).toBe(ofHandle(Rc.VALUE, 1));
  });
});

describe("TPM2_ChangePPS and TPM2_ChangeEPS", () => {
  it("give the one hierarchy new keys, and no other", () => {
    for (const [command, hierarchy] of [
      ["ChangePPS", Rh.PLATFORM],
      ["ChangeEPS", Rh.ENDORSEMENT],
    ] as const) {
      const { client, nameNow, primary, loaded } = bench();
      const all = [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM];
      const before = all.map(nameNow);
      const { handle } = primary(hierarchy);
      const other = primary(Rh.OWNER).handle;
      expect(client.rc(command, { authHandle: Rh.PLATFORM }, {})).toBe(Rc.SUCCESS);
      expect([loaded(handle), loaded(other)]).toEqual([Rc.REFERENCE_H0, Rc.SUCCESS]);
      const changed = all.map((of, i) => nameNow(of) !== before[i]);
      expect(changed).toEqual(all.map((of) => of === hierarchy));
    }
  });

  it("take the endorsement's authorization away, but not the platform's", () => {
    const { client, changeAuth, control } = bench();
    changeAuth(Rh.ENDORSEMENT, Uint8Array.of(1));
    control(Rh.PLATFORM, Rh.ENDORSEMENT, false);
    client.run("ChangeEPS", { authHandle: Rh.PLATFORM }, {});
    expect(changeAuth(Rh.ENDORSEMENT, none)).toBe(Rc.SUCCESS);
    changeAuth(Rh.PLATFORM, Uint8Array.of(2));
    expect(client.rc("ChangePPS", { authHandle: Rh.PLATFORM }, {}, { auth: [Uint8Array.of(2)] })).toBe(
      Rc.SUCCESS,
    );
    expect(changeAuth(Rh.PLATFORM, none, Uint8Array.of(2))).toBe(Rc.SUCCESS);
  });

  it("take the platform's policy and that of PCR away with its seed", () => {
    const { client, setPolicy, permanent } = bench();
    const policy = { authPolicy: new Uint8Array(32), hashAlg: Alg.SHA256 };
    client.run("PCR_SetAuthPolicy", { authHandle: Rh.PLATFORM }, { ...policy, pcrNum: 20 });
    setPolicy(Rh.PLATFORM, policy.authPolicy, policy.hashAlg);
    expect(permanent().pcrPolicy.alg).toBe(Alg.SHA256);
    client.run("ChangePPS", { authHandle: Rh.PLATFORM }, {});
    expect(permanent().pcrPolicy).toEqual({ alg: Alg.NULL, digest: none });
    const { data } = client.run(
      "GetCapability",
      {},
      { capability: Cap.AUTH_POLICIES, property: Rh.PLATFORM, propertyCount: 1 },
    ).capabilityData;
    expect(data).toEqual([{ handle: Rh.PLATFORM, policyHash: { hashAlg: Alg.NULL, digest: none } }]);
  });

  it("leave the NV indices of both owners", () => {
    const { client, define } = bench();
    define(Rh.OWNER, OWNERS);
    define(Rh.PLATFORM, PLATFORMS);
    client.run("ChangePPS", { authHandle: Rh.PLATFORM }, {});
    client.run("ChangeEPS", { authHandle: Rh.PLATFORM }, {});
    for (const nvIndex of [OWNERS, PLATFORMS])
      expect(client.rc("NV_ReadPublic", { nvIndex }, {})).toBe(Rc.SUCCESS);
  });
});

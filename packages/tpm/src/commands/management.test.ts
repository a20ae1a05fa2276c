import { createHash } from "node:crypto";
import {
  Alg,
  Cap,
  commands,
  NvAttribute,
  ofHandle,
  ofParameter,
  ofSession,
  Pt,
  Rc,
  Rh,
  Su,
} from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { concat, u32 } from "../engine.ts";
import { decodePermanent, decodeRunning } from "../saved-state.ts";
import { TpmClient } from "../testing/client.ts";
import { Tpm } from "../tpm.ts";

const none = new Uint8Array(0);
const code = {
  Clear: commands.Clear.code,
  ClockSet: commands.ClockSet.code,
  GetRandom: commands.GetRandom.code,
  PP_Commands: commands.PP_Commands.code,
  SetCommandCodeAuditStatus: commands.SetCommandCodeAuditStatus.code,
  Shutdown: commands.Shutdown.code,
} as const;

function bench() {
  const tpm = new Tpm();
  const client = new TpmClient(tpm);
  client.run("Startup", {}, { startupType: Su.CLEAR });
  const list = (capability: typeof Cap.PP_COMMANDS | typeof Cap.AUDIT_COMMANDS): readonly unknown[] =>
    client.run("GetCapability", {}, { capability, property: 0, propertyCount: 254 }).capabilityData.data;
  return {
    tpm,
    client,
    list,
    permanent: () => decodePermanent(tpm.savePermanent()),
    auditDigest: () => decodeRunning(tpm.saveVolatile()).reset.commandAuditDigest,
    presence: (setList: readonly number[], clearList: readonly number[] = []): number =>
      client.rc("PP_Commands", { auth: Rh.PLATFORM }, { setList, clearList }),
    audit: (auditAlg: number, setList: readonly number[] = [], clearList: readonly number[] = []): number =>
      client.rc("SetCommandCodeAuditStatus", { auth: Rh.OWNER }, { auditAlg, setList, clearList }),
    readOnly: (state: boolean): number =>
      client.rc("ReadOnlyControl", { authHandle: Rh.PLATFORM }, { state }),
    powerCycle(shutdownType: number, startupType: number): void {
      client.run("Shutdown", {}, { shutdownType });
      tpm.powerOff();
      tpm.powerOn();
      client.run("Startup", {}, { startupType });
    },
  };
}

describe("TPM2_PP_Commands", () => {
  it("needs physical presence itself, always", () => {
    const { tpm, presence, list } = bench();
    expect(presence([])).toBe(ofSession(Rc.PP, 1));
    tpm.setPhysicalPresence(true);
    expect(presence([], [code.PP_Commands])).toBe(Rc.SUCCESS);
    expect(list(Cap.PP_COMMANDS)).toContain(code.PP_Commands);
  });

  it("makes commands of the platform need it, and no others", () => {
    const { tpm, client, presence, list } = bench();
    const clear = (authHandle: number): number => client.rc("Clear", { authHandle }, {});
    tpm.setPhysicalPresence(true);
    presence([code.Clear, code.GetRandom, 0x999]);
    expect(list(Cap.PP_COMMANDS)).toEqual([code.Clear, code.PP_Commands]);
    tpm.setPhysicalPresence(false);
    expect(clear(Rh.PLATFORM)).toBe(ofSession(Rc.PP, 1));
    expect(clear(Rh.LOCKOUT)).toBe(Rc.SUCCESS);
    tpm.setPhysicalPresence(true);
    expect(clear(Rh.PLATFORM)).toBe(Rc.SUCCESS);
    presence([], [code.Clear]);
    tpm.setPhysicalPresence(false);
    expect(clear(Rh.PLATFORM)).toBe(Rc.SUCCESS);
  });

  it("adds before it takes away", () => {
    const { tpm, presence, list } = bench();
    tpm.setPhysicalPresence(true);
    presence([code.Clear, code.ClockSet], [code.Clear]);
    expect(list(Cap.PP_COMMANDS)).toEqual([code.ClockSet, code.PP_Commands]);
  });
});

describe("TPM2_SetCommandCodeAuditStatus", () => {
  const sha512 = (...parts: readonly Uint8Array[]): Uint8Array =>
    new Uint8Array(
      createHash("sha512")
        .update(concat(...parts))
        .digest(),
    );

  it("chooses commands; itself always, Shutdown never", () => {
    const { audit, list } = bench();
    expect(audit(Alg.NULL, [code.GetRandom, code.Shutdown, 0x999, code.Clear])).toBe(Rc.SUCCESS);
    const sorted = [code.Clear, code.SetCommandCodeAuditStatus, code.GetRandom];
    expect(list(Cap.AUDIT_COMMANDS)).toEqual(sorted);
    expect(audit(Alg.NULL, [], [code.Clear, code.SetCommandCodeAuditStatus])).toBe(Rc.SUCCESS);
    expect(list(Cap.AUDIT_COMMANDS)).toEqual(sorted.slice(1));
  });

  it("is audited, and so is what it chose: cpHash and rpHash extend one digest", () => {
    const { client, audit, auditDigest, permanent } = bench();
    const { code: getClock } = commands.ReadClock;
    audit(Alg.NULL, [getClock]);
    const parameters = concat(Uint8Array.of(0, Alg.NULL), u32(1), u32(getClock), u32(0));
    const own = sha512(u32(code.SetCommandCodeAuditStatus), u32(Rh.OWNER), parameters);
    const answer = sha512(u32(0), u32(code.SetCommandCodeAuditStatus));
    const first = sha512(new Uint8Array(64), own, answer);
    expect(auditDigest()).toEqual(first);
    expect(permanent().auditCounter).toBe(1n);
    const { parameters: time } = client.runBytes("ReadClock", [], none);
    expect(auditDigest()).toEqual(sha512(first, sha512(u32(getClock)), sha512(u32(0), u32(getClock), time)));
    expect(permanent().auditCounter).toBe(1n);
  });

  it("changes the hash alone, and begins a new digest without being in it", () => {
    const { audit, auditDigest, permanent } = bench();
    audit(Alg.NULL, [code.GetRandom]);
    expect(auditDigest()).toHaveLength(64);
    expect(audit(Alg.SHA256, [code.Clear])).toBe(ofParameter(Rc.VALUE, 1));
    expect(audit(Alg.SHA256)).toBe(Rc.SUCCESS);
    expect(permanent().auditHash).toBe(Alg.SHA256);
    expect(auditDigest()).toHaveLength(0);
    // The same hash once more is no change, so the list may come with it.
    expect(audit(Alg.SHA256, [code.Clear])).toBe(Rc.SUCCESS);
    expect(auditDigest()).toHaveLength(32);
    expect(permanent().auditCounter).toBe(2n);
  });

  it("is for owner and platform", () => {
    const { client } = bench();
    const by = (auth: number): number =>
      client.rc("SetCommandCodeAuditStatus", { auth }, { auditAlg: Alg.NULL, setList: [], clearList: [] });
    expect(by(Rh.PLATFORM)).toBe(Rc.SUCCESS);
    expect(by(Rh.ENDORSEMENT)).toBe(ofHandle(Rc.VALUE, 1));
  });
});

describe("TPM2_ReadOnlyControl", () => {
  const OPEN = NvAttribute.OWNERREAD | NvAttribute.OWNERWRITE | NvAttribute.NO_DA;
  const { ORDERLY, CLEAR_STCLEAR, READ_STCLEAR, WRITE_STCLEAR } = NvAttribute;
  const locks = READ_STCLEAR | WRITE_STCLEAR;

  it("blocks commands that change what lasts, and is undone by itself", () => {
    const { client, readOnly } = bench();
    const change = (): number =>
      client.rc("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: none });
    expect(readOnly(true)).toBe(Rc.SUCCESS);
    expect(change()).toBe(Rc.READ_ONLY);
    expect(client.rc("GetRandom", {}, { bytesRequested: 4 })).toBe(Rc.SUCCESS);
    expect(readOnly(false)).toBe(Rc.SUCCESS);
    expect(change()).toBe(Rc.SUCCESS);
  });

  it("leaves NV indices alone but those that no start-up leaves anything in", () => {
    for (const [attributes, allowed] of [
      [OPEN | locks, false],
      [OPEN | locks | ORDERLY, false],
      [OPEN | locks | CLEAR_STCLEAR, false],
      [OPEN | locks | ORDERLY | CLEAR_STCLEAR, true],
    ] as const) {
      const { client, readOnly } = bench();
      const nvIndex = 0x0100_0001;
      const handles = { authHandle: Rh.OWNER, nvIndex };
      const publicInfo = {
        nvIndex,
        nameAlg: Alg.SHA256,
        attributes: attributes >>> 0,
        authPolicy: none,
        dataSize: 1,
      };
      client.run("NV_DefineSpace", { authHandle: Rh.OWNER }, { auth: none, publicInfo });
      client.run("NV_Write", handles, { data: Uint8Array.of(5), offset: 0 });
      readOnly(true);
      const rc = allowed ? Rc.SUCCESS : Rc.READ_ONLY;
      expect(client.rc("NV_Write", handles, { data: Uint8Array.of(6), offset: 0 })).toBe(rc);
      expect(client.run("NV_Read", handles, { size: 1, offset: 0 }).data).toEqual(
        Uint8Array.of(allowed ? 6 : 5),
      );
      expect(client.rc("NV_WriteLock", handles, {})).toBe(rc);
      expect(client.rc("NV_ReadLock", handles, {})).toBe(rc);
      expect(client.rc("NV_Increment", handles, {})).toBe(Rc.READ_ONLY);
    }
  });

  it("lasts over a Resume, and ends with a Reset or Restart", () => {
    const { client, readOnly, powerCycle } = bench();
    const blocked = (): boolean =>
      client.rc("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: none }) === Rc.READ_ONLY;
    readOnly(true);
    powerCycle(Su.STATE, Su.STATE);
    expect(blocked()).toBe(true);
    powerCycle(Su.STATE, Su.CLEAR);
    expect(blocked()).toBe(false);
  });
});

describe("TPM2_SetAlgorithmSet", () => {
  it("is remembered and told", () => {
    const { client, powerCycle } = bench();
    client.run("SetAlgorithmSet", { authHandle: Rh.PLATFORM }, { algorithmSet: 0x1234_5678 });
    powerCycle(Su.CLEAR, Su.CLEAR);
    const { data } = client.run(
      "GetCapability",
      {},
      { capability: Cap.TPM_PROPERTIES, property: Pt.ALGORITHM_SET, propertyCount: 1 },
    ).capabilityData;
    expect(data).toEqual([{ property: Pt.ALGORITHM_SET, value: 0x1234_5678 }]);
  });
});

describe("TPM2_SetCapability", () => {
  it("finds nothing that could be set", () => {
    const { client } = bench();
    const setCapabilityData = concat(u32(Cap.HANDLES), u32(0));
    expect(client.rc("SetCapability", { authHandle: Rh.OWNER }, { setCapabilityData })).toBe(
      ofParameter(Rc.VALUE, 1),
    );
  });
});

import {
  Alg,
  Cap,
  type CapabilityData,
  commandList,
  curveSizes,
  Ht,
  implementedAlgorithms,
  ofParameter,
  PCR_COUNT,
  Pt,
  PtPcr,
  pcrBankHashes,
  Rc,
  Rh,
  Su,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pcrProperties } from "../pcr-groups.ts";
import { TpmClient } from "../testing/client.ts";

type DataOf<C extends CapabilityData["capability"]> = Extract<CapabilityData, { capability: C }>["data"];

/** A list, and whether there is more. */
function list<C extends CapabilityData["capability"]>(
  client: TpmClient,
  capability: C,
  property: number,
  propertyCount = 1000,
): { moreData: boolean; data: DataOf<C> } {
  const answer = client.run("GetCapability", {}, { capability, property, propertyCount });
  expect(answer.capabilityData.capability).toBe(capability);
  return { moreData: answer.moreData, data: answer.capabilityData.data as DataOf<C> };
}
function property(client: TpmClient, tag: number): number | undefined {
  const [first] = list(client, Cap.TPM_PROPERTIES, tag, 1).data;
  return first?.property === tag ? first.value : undefined;
}
const handles = (client: TpmClient, from: number): readonly number[] => list(client, Cap.HANDLES, from).data;

const everyList = Object.values(Cap);
/** Where each list begins, as a caller that wants all of it asks. */
function firstOf(capability: number): number {
  if (capability === Cap.AUTH_POLICIES) return Rh.OWNER;
  return capability === Cap.ACT ? Rh.ACT_0 : 0;
}

describe("TPM2_GetCapability", () => {
  it("lists what the tables of types say that there is", () => {
    const client = TpmClient.started();
    expect(list(client, Cap.ALGS, 0).data.map(({ alg }) => alg)).toEqual(
      implementedAlgorithms.map(({ id }) => id),
    );
    expect(list(client, Cap.COMMANDS, 0).data.map((attributes) => attributes & 0xffff)).toEqual(
      commandList.map(({ code }) => code),
    );
    expect(list(client, Cap.ECC_CURVES, 0).data).toEqual([...curveSizes.keys()]);
    expect(list(client, Cap.PCRS, 0).data.map(({ hash }) => hash)).toEqual(pcrBankHashes);
    expect(list(client, Cap.PCR_PROPERTIES, 0).data.map(({ tag }) => tag)).toEqual([...pcrProperties.keys()]);
  });

  it("tells PCR properties as bits", () => {
    const client = TpmClient.started();
    const [reset] = list(client, Cap.PCR_PROPERTIES, PtPcr.RESET_L4, 1).data;
    expect(reset).toEqual({ tag: PtPcr.RESET_L4, pcrSelect: Uint8Array.of(0, 0, 0x7e) });
  });

  // Banks come all at once.
  it.each(everyList.filter((capability) => capability !== Cap.PCRS))(
    "gives list %i in pieces as it gives it at once",
    (capability) => {
      const client = TpmClient.started();
      const all = list(client, capability, firstOf(capability));
      expect(all.moreData).toBe(false);
      expect(all.data.length).toBeGreaterThan(0);
      const keyOf = (item: unknown): number => {
        if (typeof item === "number") return capability === Cap.COMMANDS ? item & 0xffff : item;
        const row = item as { alg?: number; property?: number; tag?: number; handle?: number };
        return row.alg ?? row.property ?? row.tag ?? row.handle ?? Number.NaN;
      };
      const pieces: unknown[] = [];
      let from = firstOf(capability);
      for (let more = true; more; ) {
        const piece = list(client, capability, from, 2);
        expect(piece.data.length).toBeLessThanOrEqual(2);
        pieces.push(...piece.data);
        more = piece.moreData;
        if (more) from = keyOf(piece.data.at(-1)) + 1;
      }
      expect(pieces).toEqual(all.data);
    },
  );

  it.each(everyList)(
    "gives nothing of list %i when nothing is asked for, and says that there is more",
    (capability) => {
      const client = TpmClient.started();
      expect(list(client, capability, firstOf(capability), 0)).toEqual({ moreData: true, data: [] });
    },
  );

  it.each([
    [Cap.ALGS, 0xffff],
    [Cap.COMMANDS, 0xffff_ffff],
    [Cap.PP_COMMANDS, 0xffff_ffff],
    [Cap.TPM_PROPERTIES, 0x300],
    [Cap.PCR_PROPERTIES, 0x100],
    [Cap.ECC_CURVES, 0xffff],
    [Cap.HANDLES, PCR_COUNT],
    [Cap.HANDLES, Rh.ACT_F],
    [Cap.AUTH_POLICIES, 0x40ff_ffff],
    [Cap.ACT, Rh.ACT_F],
  ] as const)("beyond the end of list %i is empty", (capability, from) => {
    expect(list(TpmClient.started(), capability, from)).toEqual({ moreData: false, data: [] });
  });

  it("refuses a property that the list cannot begin at", () => {
    const client = TpmClient.started();
    const rc = (capability: number, from: number): number =>
      client.rc("GetCapability", {}, { capability, property: from, propertyCount: 1 });
    expect(rc(Cap.PCRS, 1)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(Cap.AUTH_POLICIES, 0)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rc(Cap.ACT, Rh.ACT_0 - 1)).toBe(ofParameter(Rc.VALUE, 2));
    for (const type of [0x04, 0x11, 0x90, 0xff])
      expect(rc(Cap.HANDLES, (type << 24) >>> 0)).toBe(ofParameter(Rc.HANDLE, 2));
  });

  it("of a capability that there is not is TPM_RC_VALUE of the first parameter", () => {
    const client = TpmClient.started();
    expect(client.rc("GetCapability", {}, { capability: 0x100, property: 0, propertyCount: 1 })).toBe(
      ofParameter(Rc.VALUE, 1),
    );
  });

  it("never answers more than 1024 bytes, and never fails, whatever is asked", () => {
    const client = TpmClient.started();
    fc.assert(
      fc.property(
        fc.constantFrom(...everyList),
        fc.oneof(
          fc.nat(),
          fc.integer({ min: 0, max: 0xffff_ffff }),
          fc.constantFrom(0x4000_0000, Rh.ACT_0, 0x100),
        ),
        fc.oneof(fc.nat({ max: 300 }), fc.constant(0xffff_ffff)),
        (capability, from, propertyCount) => {
          const writer = Uint8Array.from([
            0x80,
            1,
            0,
            0,
            0,
            22,
            0,
            0,
            1,
            0x7a,
            ...words(capability, from, propertyCount),
          ]);
          const response = client.tpm.execute(writer);
          expect(response.length).toBeLessThanOrEqual(10 + 1 + 1024);
          expect([Rc.SUCCESS, ofParameter(Rc.VALUE, 2), ofParameter(Rc.HANDLE, 2)]).toContain(
            new DataView(response.buffer).getUint32(6),
          );
        },
      ),
    );
  });
});

const words = (...values: readonly number[]): number[] =>
  values.flatMap((value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);

describe("TPM_CAP_TPM_PROPERTIES", () => {
  it("has fixed and variable properties, each list within its group", () => {
    const client = TpmClient.started();
    const fixed = list(client, Cap.TPM_PROPERTIES, 0);
    expect(fixed.data[0]).toEqual({ property: Pt.FAMILY_INDICATOR, value: 0x322e_3000 });
    expect(fixed.data.at(-1)?.property).toBe(Pt.MAX_CAP_BUFFER);
    const variable = list(client, Cap.TPM_PROPERTIES, Pt.PERMANENT);
    expect(variable.data.at(-1)?.property).toBe(Pt.AUDIT_COUNTER_1);
    expect([...fixed.data, ...variable.data].map((row) => row.property)).toEqual(Object.values(Pt));
  });

  it("names the vendor, software first", () => {
    const client = TpmClient.started({ identity: { manufacturer: "ABC", vendorString: "SW  something" } });
    expect(property(client, Pt.MANUFACTURER)).toBe(0x4142_4300);
    expect(property(client, Pt.VENDOR_STRING_1)).toBe(0x5357_2020);
    expect(property(client, Pt.VENDOR_STRING_4)).toBe(0x6700_0000);
    expect(property(TpmClient.started(), Pt.VENDOR_STRING_1)).toBe(0x5357_2020);
  });

  it("counts sessions and timers of the moment", () => {
    const client = TpmClient.started();
    expect(property(client, Pt.HR_LOADED_AVAIL)).toBe(3);
    const session = client.session();
    expect(property(client, Pt.HR_LOADED)).toBe(1);
    expect(property(client, Pt.HR_LOADED_AVAIL)).toBe(2);
    expect(property(client, Pt.HR_ACTIVE_AVAIL)).toBe(63);
    expect(handles(client, Ht.HMAC_SESSION << 24)).toEqual([session.handle]);
    client.run("ContextSave", { saveHandle: session.handle }, {});
    expect(property(client, Pt.HR_LOADED)).toBe(0);
    expect(property(client, Pt.HR_ACTIVE)).toBe(1);
    expect(handles(client, Ht.HMAC_SESSION << 24)).toEqual([]);
    expect(handles(client, Ht.POLICY_SESSION << 24)).toEqual([session.handle]);
  });

  it("shows a policy session under its own handle while it is loaded", () => {
    const client = TpmClient.started();
    const hmac = client.session();
    const policy = client.session({ kind: "policy" });
    expect(handles(client, Ht.HMAC_SESSION << 24)).toEqual([hmac.handle, policy.handle]);
    expect(policy.handle >>> 24).toBe(Ht.POLICY_SESSION);
  });

  it("tells which authorizations are set, and what is enabled", () => {
    const client = TpmClient.started();
    expect(property(client, Pt.PERMANENT)).toBe(0x400);
    expect(property(client, Pt.STARTUP_CLEAR)).toBe(0x8000_000f);
    client.run("HierarchyChangeAuth", { authHandle: Rh.OWNER }, { newAuth: Uint8Array.of(1) });
    client.run("HierarchyControl", { authHandle: Rh.ENDORSEMENT }, { enable: Rh.ENDORSEMENT, state: false });
    expect(property(client, Pt.PERMANENT)).toBe(0x401);
    expect(property(client, Pt.STARTUP_CLEAR)).toBe(0x8000_000b);
  });

  it("follows the size of the interface's buffer", () => {
    const client = TpmClient.started();
    const tpm = client.tpm as { bufferSize?: number };
    tpm.bufferSize = 3968;
    expect(property(client, Pt.MAX_COMMAND_SIZE)).toBe(3968);
    expect(property(client, Pt.MAX_RESPONSE_SIZE)).toBe(3968);
    tpm.bufferSize = 100_000;
    expect(property(client, Pt.MAX_COMMAND_SIZE)).toBe(4096);
    tpm.bufferSize = 1;
    expect(property(client, Pt.MAX_COMMAND_SIZE)).toBe(2808);
    expect(client.raw(new Uint8Array(2809))).toBe(Rc.COMMAND_SIZE);
  });
});

describe("TPM_CAP_AUTH_POLICIES", () => {
  it("gives the policy of each hierarchy", () => {
    const client = TpmClient.started();
    const authPolicy = new Uint8Array(32).fill(3);
    client.run("SetPrimaryPolicy", { authHandle: Rh.LOCKOUT }, { authPolicy, hashAlg: Alg.SHA256 });
    const { data } = list(client, Cap.AUTH_POLICIES, Rh.OWNER);
    expect(data.slice(0, 4)).toEqual([
      { handle: Rh.OWNER, policyHash: { hashAlg: Alg.NULL, digest: new Uint8Array(0) } },
      { handle: Rh.LOCKOUT, policyHash: { hashAlg: Alg.SHA256, digest: authPolicy } },
      { handle: Rh.ENDORSEMENT, policyHash: { hashAlg: Alg.NULL, digest: new Uint8Array(0) } },
      { handle: Rh.PLATFORM, policyHash: { hashAlg: Alg.NULL, digest: new Uint8Array(0) } },
    ]);
  });
});

describe("before TPM2_Startup", () => {
  it("nothing is told", () => {
    const client = new TpmClient();
    const ask = (): number =>
      client.rc("GetCapability", {}, { capability: Cap.ALGS, property: 0, propertyCount: 1 });
    expect(ask()).toBe(Rc.INITIALIZE);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(ask()).toBe(Rc.SUCCESS);
  });
});

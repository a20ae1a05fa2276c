import { Alg, Cap, noScheme, ofParameter, Pt, Rc, Rh, StartupClearAttribute, Su } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { nodeProvider } from "../crypto/node-provider.ts";
import { decodePermanent, decodeRunning } from "../saved-state.ts";
import { TpmClient } from "../testing/client.ts";
import { createPrimary } from "../testing/objects.ts";
import { eccSigningTemplate } from "../testing/templates.ts";
import { Tpm, type TpmOptions } from "../tpm.ts";

/** A TPM, its client and what goes on inside. */
function bench(options: TpmOptions = {}) {
  const tpm = new Tpm(options);
  const client = new TpmClient(tpm);
  const startup = (startupType: number, locality = 0): number =>
    client.rc("Startup", {}, { startupType }, { locality });
  const shutdown = (shutdownType: number): number => client.rc("Shutdown", {}, { shutdownType });
  const powerCycle = (): void => {
    tpm.powerOff();
    tpm.powerOn();
  };
  const extend = (pcrHandle: number): void =>
    void client.run("PCR_Extend", { pcrHandle }, { digests: [{ hashAlg: Alg.SHA256, digest: measurement }] });
  const read = (pcr: number): Uint8Array => {
    const pcrSelect = new Uint8Array(3);
    pcrSelect[pcr >>> 3] = 1 << (pcr & 7);
    return client.run("PCR_Read", {}, { pcrSelectionIn: [{ hash: Alg.SHA256, pcrSelect }] }).pcrValues[0]!;
  };
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
    startup,
    shutdown,
    powerCycle,
    extend,
    read,
    property,
    permanent: () => decodePermanent(tpm.savePermanent()),
    running: () => decodeRunning(tpm.saveVolatile()),
  };
}
const measurement = new Uint8Array(32).fill(0x5a);
const zeros = new Uint8Array(32);
const ones = new Uint8Array(32).fill(0xff);
const { CLEAR, STATE } = Su;

describe("TPM2_Startup", () => {
  it("comes first, and once", () => {
    const { client, startup } = bench();
    const test = (): number => client.rc("GetTestResult", {}, {});
    expect(test()).toBe(Rc.INITIALIZE);
    expect(startup(CLEAR)).toBe(Rc.SUCCESS);
    expect(test()).toBe(Rc.SUCCESS);
    expect(startup(CLEAR)).toBe(Rc.INITIALIZE);
  });

  it("with STATE needs a Shutdown with STATE before it, and says so as often as it is tried", () => {
    const { startup, shutdown, powerCycle } = bench();
    expect(startup(STATE)).toBe(ofParameter(Rc.VALUE, 1));
    expect(startup(CLEAR)).toBe(Rc.SUCCESS);
    for (const end of [() => shutdown(CLEAR), () => Rc.SUCCESS]) {
      expect(end()).toBe(Rc.SUCCESS);
      powerCycle();
      expect(startup(STATE)).toBe(ofParameter(Rc.VALUE, 1));
      expect(startup(CLEAR)).toBe(Rc.SUCCESS);
    }
  });

  it("is a Reset without such a Shutdown: counted, with new secrets, and all counters at the start", () => {
    const { startup, shutdown, powerCycle, permanent, running } = bench();
    startup(CLEAR);
    expect(permanent().resetCount).toBe(1);
    const before = running().reset;
    shutdown(CLEAR);
    powerCycle();
    startup(CLEAR);
    expect(permanent()).toMatchObject({ resetCount: 2, totalResetCount: 2, orderly: undefined });
    const { reset } = running();
    expect(reset.nullProof).not.toEqual(before.nullProof);
    expect(reset.nullSeed).not.toEqual(before.nullSeed);
    expect(reset).toMatchObject({ restartCount: 0, clearCount: 0 });
  });

  it("with CLEAR after Shutdown with STATE is a Restart: secrets stay, PCR and platform values do not", () => {
    const { client, startup, shutdown, powerCycle, permanent, running, extend, read } = bench();
    startup(CLEAR);
    extend(4);
    client.run("PCR_SetAuthValue", { pcrHandle: 20 }, { auth: measurement });
    const before = running().reset;
    shutdown(STATE);
    powerCycle();
    expect(startup(CLEAR)).toBe(Rc.SUCCESS);
    const { reset, clear } = running();
    expect(reset.nullProof).toEqual(before.nullProof);
    expect(reset).toMatchObject({ restartCount: 1, clearCount: 1 });
    expect(clear.pcrAuth).toHaveLength(0);
    expect(permanent().resetCount).toBe(1);
    expect(read(4)).toEqual(zeros);
  });

  it("with STATE is a Resume: what Shutdown kept comes back, PCR 0 to 15 among it", () => {
    const { client, startup, shutdown, powerCycle, permanent, running, extend, read } = bench();
    startup(CLEAR);
    extend(4);
    extend(15);
    extend(16);
    client.run("PCR_SetAuthValue", { pcrHandle: 20 }, { auth: measurement });
    const before = { reset: running().reset, value: read(4) };
    shutdown(STATE);
    powerCycle();
    expect(startup(STATE)).toBe(Rc.SUCCESS);
    expect(read(4)).toEqual(before.value);
    expect(read(15)).toEqual(before.value);
    expect(read(16)).toEqual(zeros);
    expect(read(17)).toEqual(ones);
    const { reset, clear } = running();
    expect(reset.nullProof).toEqual(before.reset.nullProof);
    expect(reset).toMatchObject({ restartCount: 1, clearCount: 0 });
    // 16 to 23 were set anew; four of them are not counted.
    expect(reset.pcrCounter).toBe(before.reset.pcrCounter + 4);
    expect(clear.pcrAuth).toEqual(measurement);
    expect(permanent()).toMatchObject({ resetCount: 1, orderly: undefined, kept: undefined });
  });

  it("works across processes: the store has all that a Resume needs", () => {
    const commits: Uint8Array[] = [];
    const store = {
      commit(permanent: Uint8Array) {
        commits.push(permanent);
      },
    };
    const first = bench({ store });
    first.startup(CLEAR);
    first.extend(4);
    const value = first.read(4);
    first.shutdown(STATE);
    const second = bench({ permanent: commits.at(-1)! });
    expect(second.startup(STATE)).toBe(Rc.SUCCESS);
    expect(second.read(4)).toEqual(value);
  });

  it("at locality 3 shows in PCR[0]; other localities may not start the TPM", () => {
    const { startup, read } = bench();
    for (const locality of [1, 2, 4, 32]) expect(startup(CLEAR, locality)).toBe(Rc.LOCALITY);
    expect(startup(CLEAR, 3)).toBe(Rc.SUCCESS);
    expect(read(0)).toEqual(Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? 3 : 0)));
  });

  it("resumes only at the locality of the boot, and with a measurement before it if there was one", () => {
    const { tpm, startup, shutdown, powerCycle } = bench();
    startup(CLEAR, 3);
    shutdown(STATE);
    powerCycle();
    expect(startup(STATE, 0)).toBe(Rc.LOCALITY);
    expect(startup(STATE, 3)).toBe(Rc.SUCCESS);
    shutdown(CLEAR);
    powerCycle();
    tpm.hashStart();
    tpm.hashEnd();
    startup(CLEAR);
    shutdown(STATE);
    powerCycle();
    expect(startup(STATE)).toBe(ofParameter(Rc.VALUE, 1));
    tpm.hashStart();
    tpm.hashEnd();
    expect(startup(STATE)).toBe(Rc.SUCCESS);
  });

  it("tells whether the time before ended in order", () => {
    const { startup, shutdown, powerCycle, property, permanent } = bench();
    const orderly = (): boolean => (property(Pt.STARTUP_CLEAR) & StartupClearAttribute.orderly) !== 0;
    startup(CLEAR);
    expect(orderly()).toBe(true);
    shutdown(CLEAR);
    powerCycle();
    startup(CLEAR);
    expect(orderly()).toBe(true);
    powerCycle();
    startup(CLEAR);
    expect(orderly()).toBe(false);
    expect(permanent().clockSafe).toBe(false);
  });
});

describe("TPM2_Shutdown", () => {
  it.each<[string, (parts: ReturnType<typeof bench>) => unknown]>([
    ["a PCR that is saved", ({ extend }) => extend(4)],
    [
      "an authValue of PCR",
      ({ client }) => client.run("PCR_SetAuthValue", { pcrHandle: 20 }, { auth: measurement }),
    ],
    [
      "a platform policy",
      ({ client }) =>
        client.run(
          "SetPrimaryPolicy",
          { authHandle: Rh.PLATFORM },
          { authPolicy: measurement, hashAlg: Alg.SHA256 },
        ),
    ],
    [
      "which contexts are out",
      ({ client }) => client.run("ContextSave", { saveHandle: client.session().handle }, {}),
    ],
    [
      "what somebody can show of Clock: it signs an attestation",
      ({ client }) => {
        const inPublic = eccSigningTemplate({ scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 });
        const signHandle = createPrimary(client, inPublic).handle;
        const asked = { qualifyingData: new Uint8Array(0), inScheme: noScheme };
        client.run("GetTime", { privacyAdminHandle: Rh.ENDORSEMENT, signHandle }, asked);
      },
    ],
    ["a timer", ({ client }) => client.run("ACT_SetTimeout", { actHandle: Rh.ACT_0 }, { startTimeout: 100 })],
  ])("is void after a command that changes %s", (_, change) => {
    const parts = bench();
    const { startup, shutdown, powerCycle, permanent } = parts;
    startup(CLEAR);
    shutdown(STATE);
    change(parts);
    expect(permanent()).toMatchObject({ orderly: undefined, kept: undefined });
    powerCycle();
    expect(startup(STATE)).toBe(ofParameter(Rc.VALUE, 1));
  });

  it("with CLEAR is void after such a command, too: the time did not end in order", () => {
    const { startup, shutdown, powerCycle, extend, property } = bench();
    startup(CLEAR);
    shutdown(CLEAR);
    extend(4);
    powerCycle();
    startup(CLEAR);
    expect(property(Pt.STARTUP_CLEAR) & StartupClearAttribute.orderly).toBe(0);
  });

  it("holds after a change of PCR that no start-up brings back", () => {
    const { startup, shutdown, powerCycle, extend, read } = bench();
    startup(CLEAR);
    shutdown(STATE);
    extend(16);
    powerCycle();
    expect(startup(STATE)).toBe(Rc.SUCCESS);
    expect(read(16)).toEqual(zeros);
  });

  it("holds after commands that only look", () => {
    const { client, startup, shutdown, powerCycle, read } = bench();
    startup(CLEAR);
    shutdown(STATE);
    read(0);
    client.run("GetCapability", {}, { capability: Cap.ALGS, property: 0, propertyCount: 1 });
    client.run("SelfTest", {}, { fullTest: true });
    const unsigned = { qualifyingData: new Uint8Array(0), inScheme: noScheme };
    client.run("GetTime", { privacyAdminHandle: Rh.ENDORSEMENT, signHandle: Rh.NULL }, unsigned);
    powerCycle();
    expect(startup(STATE)).toBe(Rc.SUCCESS);
  });

  it("holds after a command that fails", () => {
    const { client, startup, shutdown, powerCycle } = bench();
    startup(CLEAR);
    shutdown(STATE);
    expect(client.rc("PCR_Reset", { pcrHandle: 0 }, {})).toBe(Rc.LOCALITY);
    powerCycle();
    expect(startup(STATE)).toBe(Rc.SUCCESS);
  });

  it("keeps a copy: what happens after it does not get in", () => {
    const { startup, shutdown, powerCycle, extend, read } = bench();
    startup(CLEAR);
    shutdown(STATE);
    extend(4);
    shutdown(STATE);
    const value = read(4);
    powerCycle();
    startup(STATE);
    expect(read(4)).toEqual(value);
    expect(value).not.toEqual(zeros);
  });
});

describe("self test", () => {
  it("passes, and leaves nothing to do", () => {
    const { client, startup } = bench();
    startup(CLEAR);
    const todo = client.run("IncrementalSelfTest", {}, { toTest: [] }).toDoList;
    expect(todo).toContain(Alg.SHA256);
    expect(client.run("IncrementalSelfTest", {}, { toTest: [Alg.SHA256] }).toDoList).toEqual([]);
    expect(client.rc("SelfTest", {}, { fullTest: false })).toBe(Rc.SUCCESS);
    expect(client.run("GetTestResult", {}, {})).toMatchObject({
      outData: new Uint8Array(0),
      testResult: Rc.SUCCESS,
    });
  });

  it("of an algorithm that there is not is TPM_RC_VALUE", () => {
    const { client, startup } = bench();
    startup(CLEAR);
    expect(client.rc("IncrementalSelfTest", {}, { toTest: [Alg.SHA256, Alg.SM4] })).toBe(
      ofParameter(Rc.VALUE, 1),
    );
  });

  it.each([
    ["a hash", { hash: (alg: number) => new Uint8Array(alg) }],
    ["HMAC", { hmac: () => new Uint8Array(32) }],
    ["a cipher", { cipher: () => new Uint8Array(16) }],
    ["a curve", { eccPublic: () => undefined }],
    ["ECDSA that signs", { ecdsaSign: () => ({ r: Uint8Array.of(1), s: Uint8Array.of(1) }) }],
    ["ECDSA that verifies everything", { ecdsaVerify: () => true }],
    ["RSA with the public key", { rsaPublic: () => undefined }],
    ["RSA with the private key", { rsaPrivate: () => new Uint8Array(128) }],
  ])("of %s that gives wrong answers ends in failure mode", (_, broken) => {
    const { tpm, client, startup } = bench({ crypto: { ...nodeProvider, ...broken } });
    startup(CLEAR);
    expect(client.rc("SelfTest", {}, { fullTest: true })).toBe(Rc.FAILURE);
    expect(tpm.failed).toBe(true);
  });

  it("that fails is told to whoever made the TPM", () => {
    const faults: unknown[] = [];
    const crypto = { ...nodeProvider, hmac: () => new Uint8Array(32) };
    const { client, startup } = bench({ crypto, onFailure: (error) => faults.push(error) });
    startup(CLEAR);
    client.rc("SelfTest", {}, { fullTest: true });
    expect(faults).toEqual([new Error("self test of HMAC failed")]);
  });
});

describe("failure mode", () => {
  /** A store that fails when it is told to. */
  function failingStore() {
    let broken = false;
    return {
      commit(): void {
        if (broken) throw new Error("no space left on device");
      },
      break: (): void => {
        broken = true;
      },
      repair: (): void => {
        broken = false;
      },
    };
  }

  function failed() {
    const store = failingStore();
    const parts = bench({ store });
    parts.startup(CLEAR);
    parts.client.run("PCR_SetAuthPolicy", { authHandle: Rh.PLATFORM }, policy(1));
    store.break();
    const rc = parts.client.rc("PCR_SetAuthPolicy", { authHandle: Rh.PLATFORM }, policy(2));
    return { ...parts, store, rc };
  }
  const policy = (fill: number) => ({
    authPolicy: new Uint8Array(32).fill(fill),
    hashAlg: Alg.SHA256,
    pcrNum: 20,
  });

  it("begins when NV cannot be written: the command that wanted it does not succeed", () => {
    const { tpm, rc } = failed();
    expect(rc).toBe(Rc.FAILURE);
    expect(tpm.failed).toBe(true);
  });

  it("answers GetTestResult and who made the TPM, and all else by TPM_RC_FAILURE", () => {
    const { client, startup, shutdown, property } = failed();
    expect(client.run("GetTestResult", {}, {})).toMatchObject({
      outData: Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
      testResult: Rc.FAILURE,
    });
    expect(property(Pt.VENDOR_STRING_1)).toBe(0x5357_2020);
    const told = client.run(
      "GetCapability",
      {},
      { capability: Cap.TPM_PROPERTIES, property: 0, propertyCount: 100 },
    );
    expect((told.capabilityData.data as readonly { property: number }[]).map((row) => row.property)).toEqual([
      Pt.MANUFACTURER,
      Pt.VENDOR_STRING_1,
      Pt.VENDOR_STRING_2,
      Pt.VENDOR_STRING_3,
      Pt.VENDOR_STRING_4,
      Pt.VENDOR_TPM_TYPE,
      Pt.FIRMWARE_VERSION_1,
      Pt.FIRMWARE_VERSION_2,
    ]);
    expect(client.rc("GetCapability", {}, { capability: Cap.PCRS, property: 0, propertyCount: 1 })).toBe(
      Rc.FAILURE,
    );
    expect(startup(CLEAR)).toBe(Rc.FAILURE);
    expect(shutdown(CLEAR)).toBe(Rc.FAILURE);
    expect(client.raw(Uint8Array.of(0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0xff))).toBe(Rc.FAILURE);
  });

  it("ends with power, in the state that was written last", () => {
    const { tpm, powerCycle, startup, permanent, store } = failed();
    powerCycle();
    expect(tpm.failed).toBe(true);
    store.repair();
    powerCycle();
    expect(tpm.failed).toBe(false);
    expect(permanent().pcrPolicy.digest).toEqual(policy(1).authPolicy);
    expect(startup(CLEAR)).toBe(Rc.SUCCESS);
  });
});

describe("power", () => {
  it("that is off leaves every command unanswered but by TPM_RC_INITIALIZE", () => {
    const { tpm, startup } = bench();
    tpm.powerOff();
    expect(startup(CLEAR)).toBe(Rc.INITIALIZE);
    tpm.powerOn();
    expect(startup(CLEAR)).toBe(Rc.SUCCESS);
  });

  it("that comes when it is there changes nothing", () => {
    const { tpm, startup, extend, read } = bench();
    startup(CLEAR);
    extend(4);
    const value = read(4);
    tpm.powerOn();
    expect(read(4)).toEqual(value);
  });
});

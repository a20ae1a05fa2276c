import { createHash } from "node:crypto";
import { Alg, ofHandle, ofParameter, PCR_COUNT, PtPcr, pcrBankHashes, Rc, Rh, Su } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { pcrProperties } from "../pcr-groups.ts";
import { TpmClient } from "../testing/client.ts";
import { Tpm } from "../tpm.ts";

const sha256 = (...parts: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(createHash("sha256").update(Buffer.concat(parts)).digest());
const zeros = new Uint8Array(32);
const ones = new Uint8Array(32).fill(0xff);
const measurement = new Uint8Array(32).fill(0x5a);
const digests = [{ hashAlg: Alg.SHA256, digest: measurement }];

function select(...pcrs: readonly number[]): Uint8Array {
  const bits = new Uint8Array(PCR_COUNT / 8);
  for (const pcr of pcrs) bits[pcr >>> 3]! |= 1 << (pcr & 7);
  return bits;
}
function read(client: TpmClient, pcr: number, hash: number = Alg.SHA256): Uint8Array | undefined {
  const pcrSelectionIn = [{ hash, pcrSelect: select(pcr) }];
  return client.run("PCR_Read", {}, { pcrSelectionIn }).pcrValues[0];
}
function counter(client: TpmClient): number {
  return client.run("PCR_Read", {}, { pcrSelectionIn: [] }).pcrUpdateCounter;
}
const extended = (value: Uint8Array, by: Uint8Array): Uint8Array => sha256(value, by);
const all = Array.from({ length: PCR_COUNT }, (_, pcr) => pcr);

describe("PCR", () => {
  it("begin at zero, those of the dynamic root of trust at all ones", () => {
    const client = TpmClient.started();
    for (const pcr of all)
      expect(read(client, pcr), `PCR[${pcr}]`).toEqual(pcr >= 17 && pcr <= 22 ? ones : zeros);
  });

  it("are extended by hashing the digest behind the old value, in the digest's bank only", () => {
    const client = TpmClient.started();
    client.run("PCR_Extend", { pcrHandle: 3 }, { digests });
    const once = extended(zeros, measurement);
    expect(read(client, 3)).toEqual(once);
    client.run("PCR_Extend", { pcrHandle: 3 }, { digests: [...digests, ...digests] });
    expect(read(client, 3)).toEqual(extended(extended(once, measurement), measurement));
    expect(read(client, 3, Alg.SHA1)).toEqual(new Uint8Array(20));
    expect(read(client, 4)).toEqual(zeros);
  });

  it("take an event in every bank, and give its digests", () => {
    const client = TpmClient.started();
    const eventData = Uint8Array.of(1, 2, 3);
    const given = client.run("PCR_Event", { pcrHandle: 9 }, { eventData }).digests;
    expect(given.map(({ hashAlg }) => hashAlg)).toEqual(pcrBankHashes);
    expect(given[1]?.digest).toEqual(sha256(eventData));
    expect(read(client, 9)).toEqual(extended(zeros, sha256(eventData)));
    expect(read(client, 9, Alg.SHA512)).not.toEqual(new Uint8Array(64));
  });

  it("with the NULL handle are left alone", () => {
    const client = TpmClient.started();
    const before = counter(client);
    client.run("PCR_Extend", { pcrHandle: Rh.NULL }, { digests });
    expect(client.run("PCR_Event", { pcrHandle: Rh.NULL }, { eventData: zeros }).digests).toHaveLength(4);
    expect(counter(client)).toBe(before);
  });

  it("are extended and reset at the localities that TPM_CAP_PCR_PROPERTIES tells", () => {
    const has = (property: number, pcr: number): boolean => pcrProperties.get(property)!.includes(pcr);
    const extendAt = [PtPcr.EXTEND_L0, PtPcr.EXTEND_L1, PtPcr.EXTEND_L2, PtPcr.EXTEND_L3, PtPcr.EXTEND_L4];
    const resetAt = [PtPcr.RESET_L0, PtPcr.RESET_L1, PtPcr.RESET_L2, PtPcr.RESET_L3];
    for (const [locality, property] of extendAt.entries()) {
      const client = TpmClient.started();
      for (const pcrHandle of all) {
        const before = read(client, pcrHandle)!;
        const allowed = has(property, pcrHandle);
        const rc = client.rc("PCR_Extend", { pcrHandle }, { digests }, { locality });
        expect(rc, `PCR[${pcrHandle}] at locality ${locality}`).toBe(allowed ? Rc.SUCCESS : Rc.LOCALITY);
        expect(read(client, pcrHandle)).toEqual(allowed ? extended(before, measurement) : before);
        const reset = resetAt[locality];
        const resettable = reset !== undefined && has(reset, pcrHandle);
        const answer = client.rc("PCR_Reset", { pcrHandle }, {}, { locality });
        expect(answer, `reset of PCR[${pcrHandle}] at locality ${locality}`).toBe(
          resettable ? Rc.SUCCESS : Rc.LOCALITY,
        );
        if (resettable) expect(read(client, pcrHandle)).toEqual(zeros);
      }
    }
  });

  it("at a locality beyond 4 are neither extended nor reset", () => {
    const client = TpmClient.started();
    expect(client.rc("PCR_Extend", { pcrHandle: 16 }, { digests }, { locality: 32 })).toBe(Rc.LOCALITY);
    expect(client.rc("PCR_Reset", { pcrHandle: 16 }, {}, { locality: 32 })).toBe(Rc.LOCALITY);
  });

  it("count their changes, but for 16 and 21 to 23", () => {
    const client = TpmClient.started();
    const changed = all.filter((pcrHandle) => {
      const before = counter(client);
      if (client.rc("PCR_Extend", { pcrHandle }, { digests }, { locality: 2 }) !== Rc.SUCCESS) return false;
      return counter(client) !== before;
    });
    expect(changed).toEqual(all.slice(0, 21).filter((pcr) => pcr !== 16));
    const before = counter(client);
    client.run(
      "PCR_Extend",
      { pcrHandle: 0 },
      { digests: [...digests, ...digests, { hashAlg: Alg.SHA3_256, digest: zeros }] },
    );
    expect(counter(client)).toBe(before + 2);
  });

  it("are read eight at a time, the selection saying which", () => {
    const client = TpmClient.started();
    const everything = select(...all);
    const pcrSelectionIn = [
      { hash: Alg.SHA1, pcrSelect: select(1, 2, 3) },
      { hash: Alg.SHA3_256, pcrSelect: everything },
      { hash: Alg.SHA256, pcrSelect: everything },
      { hash: Alg.SHA384, pcrSelect: everything },
    ];
    const { pcrSelectionOut, pcrValues } = client.run("PCR_Read", {}, { pcrSelectionIn });
    expect(pcrSelectionOut).toEqual([
      { hash: Alg.SHA1, pcrSelect: select(1, 2, 3) },
      { hash: Alg.SHA3_256, pcrSelect: select() },
      { hash: Alg.SHA256, pcrSelect: select(0, 1, 2, 3, 4) },
      { hash: Alg.SHA384, pcrSelect: select() },
    ]);
    expect(pcrValues.map(({ length }) => length)).toEqual([20, 20, 20, 32, 32, 32, 32, 32]);
  });
});

describe("allocation of PCR", () => {
  const only = (hash: number): { hash: number; pcrSelect: Uint8Array }[] =>
    pcrBankHashes.map((bank) => ({ hash: bank, pcrSelect: bank === hash ? select(...all) : select() }));

  it("waits for power to go and come, and stays then", () => {
    const tpm = new Tpm();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    const pcrAllocation = only(Alg.SHA384);
    const answer = client.run("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation });
    expect(answer).toMatchObject({
      allocationSuccess: true,
      maxPCR: 24,
      sizeNeeded: 24 * 48,
      sizeAvailable: 24 * (20 + 32 + 48 + 64),
    });
    expect(read(client, 0)).toEqual(zeros);
    // PCR of another allocation could not be brought back.
    expect(client.rc("Shutdown", {}, { shutdownType: Su.STATE })).toBe(ofParameter(Rc.TYPE, 1));
    for (let boot = 0; boot < 2; boot++) {
      tpm.powerOff();
      tpm.powerOn();
      client.run("Startup", {}, { startupType: Su.CLEAR });
      expect(read(client, 0)).toBeUndefined();
      expect(read(client, 0, Alg.SHA384)).toEqual(new Uint8Array(48));
      const list = client.run("GetCapability", {}, { capability: 5, property: 0, propertyCount: 1 });
      expect(list.capabilityData.data).toEqual(pcrAllocation);
    }
  });

  it("survives a process that ends before power comes", () => {
    const commits: Uint8Array[] = [];
    const store = {
      commit(permanent: Uint8Array) {
        commits.push(permanent);
      },
    };
    const client = new TpmClient({ store });
    client.run("Startup", {}, { startupType: Su.CLEAR });
    client.run("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation: only(Alg.SHA256) });
    const again = TpmClient.started({ permanent: commits.at(-1)! });
    expect(read(again, 0, Alg.SHA1)).toBeUndefined();
    expect(read(again, 0)).toEqual(zeros);
  });

  it("leaves banks alone that it does not name, and takes the last of two rows of one bank", () => {
    const tpm = new Tpm();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    const pcrAllocation = [
      { hash: Alg.SHA1, pcrSelect: select(...all) },
      { hash: Alg.SHA1, pcrSelect: select(7) },
    ];
    const { sizeNeeded } = client.run("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation });
    expect(sizeNeeded).toBe(20 + 24 * (32 + 48 + 64));
    tpm.powerOff();
    tpm.powerOn();
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(read(client, 7, Alg.SHA1)).toEqual(new Uint8Array(20));
    expect(read(client, 8, Alg.SHA1)).toBeUndefined();
    expect(read(client, 8)).toEqual(zeros);
  });

  it("without PCR[0] or PCR[17] is refused, and changes nothing", () => {
    const client = TpmClient.started();
    for (const left of [0, 17]) {
      const pcrSelect = select(...all.filter((pcr) => pcr !== left));
      const pcrAllocation = pcrBankHashes.map((hash) => ({ hash, pcrSelect }));
      expect(client.rc("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation })).toBe(Rc.PCR);
    }
    expect(client.rc("Shutdown", {}, { shutdownType: Su.STATE })).toBe(Rc.SUCCESS);
  });

  it("with a bank of a hash that has none does not succeed, and changes nothing", () => {
    const client = TpmClient.started();
    const pcrAllocation = [{ hash: Alg.SHA3_256, pcrSelect: select(1) }];
    const answer = client.run("PCR_Allocate", { authHandle: Rh.PLATFORM }, { pcrAllocation });
    expect(answer.allocationSuccess).toBe(false);
    expect(client.rc("Shutdown", {}, { shutdownType: Su.STATE })).toBe(Rc.SUCCESS);
  });

  it("needs platform authorization", () => {
    const client = TpmClient.started();
    const wrong = client.rc(
      "PCR_Allocate",
      { authHandle: Rh.PLATFORM },
      { pcrAllocation: only(Alg.SHA256) },
      { auth: ["wrong"] },
    );
    expect(wrong & 0xff).toBe(Rc.BAD_AUTH & 0xff);
    expect(client.rc("PCR_Allocate", { authHandle: Rh.OWNER }, { pcrAllocation: [] })).toBe(
      ofHandle(Rc.VALUE, 1),
    );
  });
});

describe("authorization of PCR", () => {
  const policyOfCommand = (code: number): Uint8Array =>
    sha256(zeros, Uint8Array.of(0, 0, 1, 0x6c), Uint8Array.of(0, 0, code >>> 8, code & 0xff));

  it("by value is for 20 to 22, one value for all three, until the next start-up", () => {
    const tpm = new Tpm();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    const auth = new TextEncoder().encode("secret\0\0");
    client.run("PCR_SetAuthValue", { pcrHandle: 20 }, { auth });
    const at2 = (password: string) => ({ auth: [password], locality: 2 });
    for (const pcrHandle of [20, 21, 22]) {
      expect(client.rc("PCR_Extend", { pcrHandle }, { digests }, at2("")) & 0xff).toBe(Rc.BAD_AUTH & 0xff);
      expect(client.rc("PCR_Extend", { pcrHandle }, { digests }, at2("secret"))).toBe(Rc.SUCCESS);
    }
    expect(client.rc("PCR_Extend", { pcrHandle: 19 }, { digests }, at2(""))).toBe(Rc.SUCCESS);
    tpm.powerOff();
    tpm.powerOn();
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(client.rc("PCR_Extend", { pcrHandle: 20 }, { digests }, at2(""))).toBe(Rc.SUCCESS);
  });

  it("by value is refused for the others", () => {
    const client = TpmClient.started();
    expect(client.rc("PCR_SetAuthValue", { pcrHandle: 16 }, { auth: zeros })).toBe(Rc.VALUE);
  });

  it("by policy leaves no other way to change 20 to 22", () => {
    const client = TpmClient.started();
    const authPolicy = policyOfCommand(0x182);
    client.run(
      "PCR_SetAuthPolicy",
      { authHandle: Rh.PLATFORM },
      { authPolicy, hashAlg: Alg.SHA256, pcrNum: 21 },
    );
    const password = client.rc("PCR_Extend", { pcrHandle: 22 }, { digests }, { locality: 2 });
    expect(password & 0xff).toBe(Rc.AUTH_TYPE & 0xff);
    const session = client.session({ kind: "policy" });
    client.run("PolicyCommandCode", { policySession: session.handle }, { code: 0x182 });
    const before = read(client, 22)!;
    client.run("PCR_Extend", { pcrHandle: 22 }, { digests }, { auth: [{ session }], locality: 2 });
    expect(read(client, 22)).toEqual(extended(before, measurement));
  });

  it("by policy takes a digest of the algorithm's size, and PCR of the group only", () => {
    const client = TpmClient.started();
    const set = (authPolicy: Uint8Array, hashAlg: number, pcrNum: number): number =>
      client.rc("PCR_SetAuthPolicy", { authHandle: Rh.PLATFORM }, { authPolicy, hashAlg, pcrNum });
    expect(set(zeros, Alg.SHA384, 20)).toBe(ofParameter(Rc.SIZE, 1));
    expect(set(zeros, Alg.NULL, 20)).toBe(ofParameter(Rc.SIZE, 1));
    expect(set(zeros, Alg.SHA256, 19)).toBe(ofParameter(Rc.VALUE, 3));
    expect(set(new Uint8Array(0), Alg.NULL, 20)).toBe(Rc.SUCCESS);
  });
});

describe("measurement by the platform (_TPM_Hash_*)", () => {
  const measured = sha256(Uint8Array.of(1, 2, 3, 4, 5));
  function measure(tpm: Tpm): void {
    tpm.hashStart();
    tpm.hashData(Uint8Array.of(1, 2, 3));
    tpm.hashData(Uint8Array.of(4, 5));
    tpm.hashEnd();
  }
  const fourth = Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? 4 : 0));

  it("before start-up goes into PCR[0], which begins at locality 4", () => {
    const tpm = new Tpm();
    measure(tpm);
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(read(client, 0)).toEqual(extended(fourth, measured));
    expect(read(client, 17)).toEqual(ones);
  });

  it("after start-up resets PCR 17 to 22, and goes into 17", () => {
    const tpm = new Tpm();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    measure(tpm);
    expect(read(client, 17)).toEqual(extended(zeros, measured));
    for (const pcr of [18, 19, 20, 21, 22]) expect(read(client, pcr)).toEqual(zeros);
    expect(read(client, 0)).toEqual(zeros);
  });

  it("is given up when a command comes between", () => {
    const tpm = new Tpm();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    tpm.hashStart();
    tpm.hashData(zeros);
    counter(client);
    tpm.hashEnd();
    expect(read(client, 17)).toEqual(ones);
  });

  it("without a beginning has no effect", () => {
    const tpm = new Tpm();
    tpm.hashData(zeros);
    tpm.hashEnd();
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: Su.CLEAR });
    expect(read(client, 0)).toEqual(zeros);
  });
});

import { Alg, Cap, ofParameter, Rc, Rh, TPMT_PUBLIC, TpmWriter } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { TpmClient } from "./testing/client.ts";
import { createPrimary } from "./testing/objects.ts";
import { eccTemplate } from "./testing/templates.ts";

const sha3: readonly number[] = [Alg.SHA3_256, Alg.SHA3_384, Alg.SHA3_512];
const empty = new Uint8Array(0);
const named = eccTemplate({ nameAlg: Alg.SHA3_256 });

function listed(client: TpmClient): readonly number[] {
  const { capabilityData } = client.run(
    "GetCapability",
    {},
    { capability: Cap.ALGS, property: 0, propertyCount: 100 },
  );
  return capabilityData.capability === Cap.ALGS ? capabilityData.data.map(({ alg }) => alg) : [];
}

describe("a TPM without SHA3", () => {
  const client = TpmClient.started({ sha3: false });

  test("lists every other algorithm, and nothing in place of these", () => {
    const all = listed(TpmClient.started());
    expect(all.filter((alg) => sha3.includes(alg))).toEqual(sha3);
    expect(listed(client)).toEqual(all.filter((alg) => !sha3.includes(alg)));
  });

  test("answers TPM_RC_HASH for a Name, a hash or a template by it", () => {
    expect(() => createPrimary(client, named)).toThrow(
      expect.objectContaining({ rc: ofParameter(Rc.HASH, 2) }),
    );
    expect(createPrimary(TpmClient.started(), named).outPublic.nameAlg).toBe(Alg.SHA3_256);
    for (const hashAlg of sha3)
      expect(client.rc("Hash", {}, { data: empty, hashAlg, hierarchy: Rh.NULL })).toBe(
        ofParameter(Rc.HASH, 2),
      );
    const writer = new TpmWriter();
    TPMT_PUBLIC.write(writer, named);
    const template = { inSensitive: { userAuth: empty, data: empty }, inPublic: writer.finish() };
    expect(client.rc("CreateLoaded", { parentHandle: Rh.OWNER }, template, { auth: [empty] })).toBe(
      ofParameter(Rc.HASH, 2),
    );
  });

  test("is never about to test it", () => {
    const untested = TpmClient.started({ sha3: false });
    const { toDoList } = untested.run("IncrementalSelfTest", {}, { toTest: [] });
    expect(toDoList.filter((alg) => sha3.includes(alg))).toEqual([]);
    expect(untested.rc("IncrementalSelfTest", {}, { toTest: sha3 })).toBe(ofParameter(Rc.VALUE, 1));
  });
});

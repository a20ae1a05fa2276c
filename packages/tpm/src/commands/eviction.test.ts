import { ObjectAttribute, ofHandle, ofParameter, Rc, Rh } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { TpmClient } from "../testing/client.ts";
import { create, createPrimary, flush, load } from "../testing/objects.ts";
import {
  eccTemplate,
  fixedKey,
  rsaTemplate,
  sealTemplate,
  sensitiveCreate,
  storageKey,
} from "../testing/templates.ts";
import { Tpm } from "../tpm.ts";

const { stClear } = ObjectAttribute;
const empty = new Uint8Array(0);

describe("EvictControl", () => {
  test("a persistent object is there after a power cycle, and gone once evicted", () => {
    const kept: Uint8Array[] = [];
    const store = { commit: (permanent: Uint8Array) => void kept.push(permanent) };
    const tpm = new Tpm({ store });
    const client = new TpmClient(tpm);
    client.run("Startup", {}, { startupType: 0 });
    const { handle, name } = createPrimary(client, rsaTemplate(), { auth: "key" });
    client.run("EvictControl", { auth: Rh.OWNER, objectHandle: handle }, { persistentHandle: 0x8100_0001 });
    const after = TpmClient.started({ permanent: kept.at(-1)!, store });
    expect(after.run("ReadPublic", { objectHandle: 0x8100_0001 }, {}).name).toEqual(name);
    const made = after.run(
      "Create",
      { parentHandle: 0x8100_0001 },
      {
        inSensitive: sensitiveCreate("", "x"),
        inPublic: sealTemplate(),
        outsideInfo: empty,
        creationPCR: [],
      },
      { auth: ["key"] },
    );
    expect(made.creationData.parentName).toEqual(name);
    after.run(
      "EvictControl",
      { auth: Rh.OWNER, objectHandle: 0x8100_0001 },
      { persistentHandle: 0x8100_0001 },
    );
    expect(after.rc("ReadPublic", { objectHandle: 0x8100_0001 }, {})).toBe(ofHandle(Rc.HANDLE, 1));
  });

  test("owner and platform have their own ranges, and the owner cannot touch what is the platform's", () => {
    const client = TpmClient.started();
    const evict = (auth: number, objectHandle: number, persistentHandle: number): number =>
      client.rc("EvictControl", { auth, objectHandle }, { persistentHandle });
    const owned = createPrimary(client, eccTemplate()).handle;
    const platforms = createPrimary(client, eccTemplate(), { hierarchy: Rh.PLATFORM }).handle;
    const temporary = createPrimary(client, eccTemplate(), { hierarchy: Rh.NULL }).handle;
    expect(evict(Rh.OWNER, temporary, 0x8100_0000)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    expect(evict(Rh.OWNER, owned, 0x8180_0000)).toBe(ofParameter(Rc.RANGE, 1));
    expect(evict(Rh.OWNER, platforms, 0x8100_0000)).toBe(ofHandle(Rc.HIERARCHY, 2));
    expect(evict(Rh.PLATFORM, owned, 0x8180_0000)).toBe(ofHandle(Rc.HIERARCHY, 2));
    expect(evict(Rh.PLATFORM, platforms, 0x8100_0000)).toBe(ofParameter(Rc.RANGE, 1));
    expect(evict(Rh.PLATFORM, platforms, 0x8180_0000)).toBe(Rc.SUCCESS);
    expect(evict(Rh.OWNER, owned, 0x8100_0000)).toBe(Rc.SUCCESS);
    expect(evict(Rh.OWNER, owned, 0x8100_0000)).toBe(Rc.NV_DEFINED);
    expect(evict(Rh.OWNER, 0x8100_0000, 0x8100_0001)).toBe(ofHandle(Rc.HANDLE, 2));
    expect(evict(Rh.OWNER, 0x8180_0000, 0x8180_0000)).toBe(ofHandle(Rc.HIERARCHY, 2));
    expect(evict(Rh.PLATFORM, 0x8100_0000, 0x8100_0000)).toBe(Rc.SUCCESS);
  });

  test("an object that goes at start-up, or of which only the public area is there, is not made persistent", () => {
    const client = TpmClient.started({ limits: { persistentObjects: 1 } });
    const evict = (objectHandle: number, persistentHandle: number): number =>
      client.rc("EvictControl", { auth: Rh.OWNER, objectHandle }, { persistentHandle });
    const clearing = createPrimary(
      client,
      eccTemplate({ objectAttributes: fixedKey | storageKey | stClear }),
    );
    expect(evict(clearing.handle, 0x8100_0000)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    const parameters = { inPrivate: undefined, inPublic: clearing.outPublic, hierarchy: Rh.OWNER };
    const publicOnly = client.run("LoadExternal", {}, parameters).handle;
    expect(evict(publicOnly, 0x8100_0000)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    const made = create(client, clearing.handle, sealTemplate(), { data: "x" });
    flush(client, publicOnly);
    // Below a parent that goes.
    const child = load(client, clearing.handle, made);
    expect(evict(child, 0x8100_0000)).toBe(ofHandle(Rc.ATTRIBUTES, 2));
    flush(client, child);
    const lasting = createPrimary(client, eccTemplate()).handle;
    expect(evict(lasting, 0x8100_0000)).toBe(Rc.SUCCESS);
    expect(evict(lasting, 0x8100_0001)).toBe(Rc.NV_SPACE);
  });
});

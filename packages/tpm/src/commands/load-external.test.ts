import { Alg, ObjectAttribute, ofParameter, type Public, Rc, Rh } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { TpmClient } from "../testing/client.ts";
import { bytes, createPrimary, flush, nameOf, sha256 } from "../testing/objects.ts";
import {
  eccSigningTemplate,
  eccTemplate,
  movableKey,
  rsaTemplate,
  sealTemplate,
} from "../testing/templates.ts";

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, decrypt, sign } =
  ObjectAttribute;
const empty = new Uint8Array(0);

describe("LoadExternal", () => {
  const loadExternal = (client: TpmClient, inPublic: Public, hierarchy: number = Rh.OWNER) =>
    client.run("LoadExternal", {}, { inPrivate: undefined, inPublic, hierarchy });
  const rcOf = (
    client: TpmClient,
    inPublic: Public,
    sensitive?: { sensitive: Uint8Array; seedValue?: Uint8Array; sensitiveType?: number },
    hierarchy: number = Rh.NULL,
  ): number =>
    client.rc(
      "LoadExternal",
      {},
      {
        inPrivate:
          sensitive === undefined
            ? undefined
            : { sensitiveType: inPublic.type, authValue: empty, seedValue: empty, ...sensitive },
        inPublic,
        hierarchy,
      },
    );

  test("a public area alone is loaded into any hierarchy, its qualified Name is its Name", () => {
    const client = TpmClient.started();
    const { outPublic, handle } = createPrimary(client, eccTemplate());
    flush(client, handle);
    for (const hierarchy of [Rh.OWNER, Rh.ENDORSEMENT, Rh.PLATFORM, Rh.NULL]) {
      const loaded = loadExternal(client, outPublic, hierarchy);
      const read = client.run("ReadPublic", { objectHandle: loaded.handle }, {});
      expect(read.qualifiedName).toEqual(loaded.name);
      expect(read.name).toEqual(nameOf(outPublic));
      flush(client, loaded.handle);
    }
  });

  test("a public area without a Name algorithm has an empty Name", () => {
    const client = TpmClient.started();
    const { outPublic } = createPrimary(client, eccTemplate());
    const { handle, name } = loadExternal(client, { ...outPublic, nameAlg: Alg.NULL } as Public);
    expect(name).toEqual(empty);
    expect(client.run("ReadPublic", { objectHandle: handle }, {}).name).toEqual(empty);
  });

  test("a public point or modulus that is none is refused", () => {
    const client = TpmClient.started();
    const point = { x: new Uint8Array(32).fill(1), y: new Uint8Array(32).fill(2) };
    expect(rcOf(client, { ...eccTemplate(), unique: point })).toBe(ofParameter(Rc.ECC_POINT, 2));
    expect(rcOf(client, { ...eccTemplate(), unique: { ...point, x: new Uint8Array(31) } })).toBe(
      ofParameter(Rc.KEY, 2),
    );
    const odd = { ...rsaTemplate(), unique: new Uint8Array(256).fill(0x7f) };
    expect(rcOf(client, odd)).toBe(ofParameter(Rc.KEY, 2));
    const even = rsaTemplate({ unique: new Uint8Array(256).fill(0xff), parameters: { exponent: 3 } });
    expect(rcOf(client, even)).toBe(ofParameter(Rc.VALUE, 2));
    expect(rcOf(client, { ...sealTemplate(), unique: new Uint8Array(31) })).toBe(ofParameter(Rc.KEY, 2));
  });

  test("with a sensitive area it must be in the NULL hierarchy and not look like a key of this TPM", () => {
    const client = TpmClient.started();
    const secret = { sensitive: bytes("s"), seedValue: new Uint8Array(32) };
    const unique = sha256(secret.seedValue, secret.sensitive);
    const good = sealTemplate({ objectAttributes: userWithAuth, unique });
    expect(rcOf(client, good, secret, Rh.OWNER)).toBe(ofParameter(Rc.HIERARCHY, 3));
    for (const bit of [fixedTPM, fixedParent, restricted])
      expect(rcOf(client, { ...good, objectAttributes: userWithAuth | bit }, secret)).toBe(
        ofParameter(Rc.ATTRIBUTES, 2),
      );
    expect(rcOf(client, { ...good, unique: new Uint8Array(32) }, secret)).toBe(Rc.BINDING);
    expect(rcOf(client, good, { ...secret, seedValue: new Uint8Array(33) })).toBe(
      ofParameter(Rc.KEY_SIZE, 1),
    );
    expect(
      rcOf(client, good, { ...secret, sensitiveType: Alg.SYMCIPHER, sensitive: new Uint8Array(16) }),
    ).toBe(ofParameter(Rc.TYPE, 1));
    expect(rcOf(client, good, secret)).toBe(Rc.SUCCESS);
  });

  test("an ECC scalar must be below the order and make the point", () => {
    const client = TpmClient.started();
    const { outPublic } = createPrimary(client, eccSigningTemplate());
    const external = { ...outPublic, objectAttributes: userWithAuth | sign } as Public;
    expect(rcOf(client, external, { sensitive: new Uint8Array(32) })).toBe(Rc.KEY_SIZE);
    expect(rcOf(client, external, { sensitive: new Uint8Array(32).fill(0xff) })).toBe(Rc.KEY_SIZE);
    expect(rcOf(client, external, { sensitive: Uint8Array.of(1) })).toBe(Rc.BINDING);
  });

  test("an RSA prime must divide the modulus", () => {
    const client = TpmClient.started();
    const attributes = (movableKey | decrypt) & ~sensitiveDataOrigin;
    const { outPublic } = createPrimary(client, rsaTemplate());
    const noCipher = { algorithm: Alg.NULL, keyBits: 0, mode: Alg.NULL, hash: Alg.NULL };
    const external = rsaTemplate({
      objectAttributes: attributes,
      unique: outPublic.unique as Uint8Array,
      parameters: { symmetric: noCipher },
    });
    expect(rcOf(client, external, { sensitive: new Uint8Array(128).fill(0xff) })).toBe(Rc.BINDING);
    expect(rcOf(client, external, { sensitive: new Uint8Array(127).fill(0xff) })).toBe(
      ofParameter(Rc.KEY_SIZE, 1),
    );
  });

  test("a hierarchy that is disabled takes nothing", () => {
    const client = TpmClient.started();
    const { outPublic } = createPrimary(client, eccTemplate());
    client.run("HierarchyControl", { authHandle: Rh.OWNER }, { enable: Rh.OWNER, state: false });
    expect(rcOf(client, outPublic, undefined, Rh.OWNER)).toBe(ofParameter(Rc.HIERARCHY, 3));
  });
});

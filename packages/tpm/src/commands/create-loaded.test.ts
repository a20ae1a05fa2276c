import { createHmac } from "node:crypto";
import {
  Alg,
  Curve,
  type Derive,
  noScheme,
  noSymmetric,
  ObjectAttribute,
  ofParameter,
  type Public,
  Rc,
  Rh,
  TPMS_DERIVE,
  TPMT_PUBLIC,
  TPMT_SENSITIVE,
} from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { concat, u16, u32 } from "../engine.ts";
import { TpmClient } from "../testing/client.ts";
import {
  bytes,
  create,
  createPrimary,
  flush,
  load,
  type Making,
  marshal,
  sha256,
} from "../testing/objects.ts";
import {
  cipherTemplate,
  derivationTemplate,
  eccSigningTemplate,
  eccTemplate,
  movableKey,
  rsaTemplate,
  sealTemplate,
  sensitiveCreate,
  storageKey,
} from "../testing/templates.ts";

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, decrypt, sign } = ObjectAttribute;
const empty = new Uint8Array(0);
const hmacScheme = { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL };

describe("CreateLoaded", () => {
  const createLoaded = (client: TpmClient, parentHandle: number, template: Uint8Array, making: Making = {}) =>
    client.run(
      "CreateLoaded",
      { parentHandle },
      { inSensitive: sensitiveCreate(making.auth, making.data), inPublic: template },
    );

  test("under a hierarchy gives what CreatePrimary gives, and no private area", () => {
    const client = TpmClient.started();
    const primary = createPrimary(client, eccTemplate());
    const loaded = createLoaded(client, Rh.OWNER, marshal(TPMT_PUBLIC, eccTemplate()));
    expect(loaded.outPrivate).toEqual(empty);
    expect(loaded.outPublic).toEqual(primary.outPublic);
    expect(loaded.name).toEqual(primary.name);
  });

  test("under a parent gives a loaded object and a private area that loads", () => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate()).handle;
    const made = createLoaded(client, parent, marshal(TPMT_PUBLIC, sealTemplate()), {
      auth: "a",
      data: "sealed",
    });
    const again = load(client, parent, made);
    for (const itemHandle of [made.handle, again])
      expect(client.run("Unseal", { itemHandle }, {}, { auth: ["a"] }).outData).toEqual(bytes("sealed"));
  });

  /** A template with label and context in place of the unique field. */
  function derivedTemplate(template: Public, derive: Derive): Uint8Array {
    const whole = marshal(TPMT_PUBLIC, template);
    const unique = template.type === Alg.ECC ? 4 : 2;
    return concat(whole.subarray(0, whole.length - unique), marshal(TPMS_DERIVE, derive));
  }
  const derivedAttributes = fixedTPM | fixedParent | userWithAuth | noDA;
  const derivable = sealTemplate({
    objectAttributes: derivedAttributes | sign,
    parameters: { scheme: hmacScheme },
  });
  /** A derivation parent whose key is known. */
  function knownParent(client: TpmClient): { handle: number; fixed: number } {
    const attributes = (movableKey | storageKey) & ~sensitiveDataOrigin;
    const top = createPrimary(client, eccTemplate()).handle;
    const made = create(client, top, derivationTemplate({ objectAttributes: attributes }), {
      data: "parent key",
    });
    const handle = load(client, top, made);
    flush(client, top);
    return { handle, fixed: userWithAuth | noDA | fixedParent };
  }
  /** KDFa with the key of `knownParent`. */
  function stream(label: string, context: string, length: number): Uint8Array {
    const blocks = [1, 2, 3, 4].map((counter) =>
      createHmac("sha256", "parent key")
        .update(concat(u32(counter), bytes(`${label}\0${context}`), u32(8192)))
        .digest(),
    );
    return concat(...blocks).subarray(0, length);
  }

  test("a derived key follows from the parent's key, label and context by KDFa", () => {
    const client = TpmClient.started();
    const { handle, fixed } = knownParent(client);
    const template = { ...derivable, objectAttributes: fixed | sign };
    const made = createLoaded(
      client,
      handle,
      derivedTemplate(template, { label: bytes("one"), context: bytes("two") }),
    );
    const material = stream("one", "two", 64);
    // First the key, then the seed that hides it.
    expect(made.outPublic.unique).toEqual(sha256(material.subarray(32), material.subarray(0, 32)));
    expect(made.outPrivate).toEqual(empty);
  });

  test("a derived ECC key is the KDF's 8 bytes more than the order, modulo the order less one", () => {
    const client = TpmClient.started();
    const { handle, fixed } = knownParent(client);
    const template = { ...eccSigningTemplate(), objectAttributes: fixed | sign };
    const made = createLoaded(
      client,
      handle,
      derivedTemplate(template, { label: bytes("ecc"), context: empty }),
    );
    const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const c = BigInt(`0x${Buffer.from(stream("ecc", "", 40)).toString("hex")}`);
    const scalar = (c % (n - 1n)) + 1n;
    const external = client.run(
      "LoadExternal",
      {},
      {
        inPrivate: {
          sensitiveType: Alg.ECC,
          authValue: empty,
          seedValue: empty,
          sensitive: new Uint8Array(Buffer.from(scalar.toString(16).padStart(64, "0"), "hex")),
        },
        inPublic: { ...made.outPublic, objectAttributes: userWithAuth | sign } as Public,
        hierarchy: Rh.NULL,
      },
    );
    // It only loads when the scalar makes the point.
    expect(external.handle).toBe(0x8000_0002);
  });

  const derivedSign = userWithAuth | noDA | fixedParent | sign;
  const onCurve = (curveID: number): Public => {
    // That curve is for its own scheme only, on other TPMs.
    const scheme = curveID === Curve.SM2_P256 ? { scheme: Alg.SM2, hash: Alg.SHA256, count: 0 } : noScheme;
    const template = eccSigningTemplate(scheme, derivedSign);
    return { ...template, parameters: { ...template.parameters, curveID } };
  };
  const longHmac = { scheme: Alg.HMAC, hash: Alg.SHA384, kdf: Alg.NULL };
  // As swtpm 0.7.1 derived them from the same parent.
  test.each([
    [
      "HMAC",
      sealTemplate({ objectAttributes: derivedSign, parameters: { scheme: longHmac } }),
      "6311d3e7fabc329320b3e661494db68a82f882a8246b677c9e5d031cce58358d",
    ],
    [
      "AES",
      cipherTemplate({ objectAttributes: derivedSign | decrypt }),
      "cd39d9869e85c5181bf12a7f6a73f03bd656631bd48049b682f4da9b5c375076",
    ],
    [
      "data",
      sealTemplate({ objectAttributes: derivedSign & ~sign }),
      "4f90c803555bb893cf0d2852d8f71c2fddc070541507aa61f53706308d50b19b",
    ],
    ["P-192", onCurve(Curve.NIST_P192), "40da4942ba6a1fad4c5e324b24d85cc2912279a53ed966a8f1c996ff4f5c007d"],
    ["P-224", onCurve(Curve.NIST_P224), "bd0f611d4d023eae9de23af68e1e41142b53953bd4e4a94b133b998c44edbdfe"],
    ["P-256", onCurve(Curve.NIST_P256), "7d8c768d074bf848428f1a997c948ea2c9f3516c185451820aee601c17149df0"],
    ["P-384", onCurve(Curve.NIST_P384), "9a841c5676fd76b87760b1353aaf091729d3d482fabd537655c9e3c6727b15a5"],
    ["P-521", onCurve(Curve.NIST_P521), "7fd87792428148c83a653c5a4824d5e59c9bc6a1c25698db5befe1856976d3be"],
    ["BN P-256", onCurve(Curve.BN_P256), "b7f99b71a67a698f8aa8ca455f8ffc8e4d4e353c05934d5074c2b15641270210"],
    ["SM2", onCurve(Curve.SM2_P256), "22137b84a333bb0f82e3437a82213d48c6cd8c58d994d27b448a56b119bb7f7e"],
  ])("a derived %s object is the one that other TPMs derive", (_, template, digest) => {
    const client = TpmClient.started();
    const top = createPrimary(client, eccTemplate()).handle;
    const sensitive = {
      sensitiveType: Alg.KEYEDHASH,
      authValue: empty,
      seedValue: new Uint8Array(32).fill(9),
      sensitive: new Uint8Array(32).fill(7),
    };
    const objectPublic = derivationTemplate({
      objectAttributes: userWithAuth | noDA | storageKey,
      unique: new Uint8Array(createHmac("sha256", sensitive.seedValue).update(sensitive.sensitive).digest()),
    });
    const area = marshal(TPMT_SENSITIVE, sensitive);
    const imported = client.run(
      "Import",
      { parentHandle: top },
      {
        encryptionKey: empty,
        objectPublic,
        duplicate: concat(u16(area.length), area),
        inSymSeed: empty,
        symmetricAlg: noSymmetric,
      },
    );
    const parent = load(client, top, { ...imported, outPublic: objectPublic });
    const made = createLoaded(
      client,
      parent,
      derivedTemplate(template, { label: bytes("lab"), context: bytes("ctx") }),
    );
    expect(Buffer.from(made.name).toString("hex")).toBe(`000b${digest}`);
  });

  test("label and context that the template leaves out come from the sensitive data", () => {
    const client = TpmClient.started();
    const parentHandle = createPrimary(client, derivationTemplate()).handle;
    const uniqueOf = (inTemplate: Derive, data?: Derive): Uint8Array => {
      const making = data === undefined ? {} : { data: marshal(TPMS_DERIVE, data) };
      const made = createLoaded(client, parentHandle, derivedTemplate(derivable, inTemplate), making);
      flush(client, made.handle);
      return made.outPublic.unique as Uint8Array;
    };
    const both = { label: bytes("l"), context: bytes("c") };
    const expected = uniqueOf(both);
    expect(uniqueOf({ label: empty, context: empty }, both)).toEqual(expected);
    expect(uniqueOf({ label: bytes("l"), context: empty }, { ...both, label: bytes("other") })).toEqual(
      expected,
    );
    expect(uniqueOf({ label: bytes("l2"), context: bytes("c") })).not.toEqual(expected);
  });

  test("a derived key is no RSA key, does not come from the TPM, and is as fixed as its parent", () => {
    const client = TpmClient.started();
    const parentHandle = createPrimary(client, derivationTemplate()).handle;
    const rcOf = (template: Public): number =>
      client.rc(
        "CreateLoaded",
        { parentHandle },
        {
          inSensitive: sensitiveCreate(),
          inPublic: derivedTemplate(template, { label: empty, context: empty }),
        },
      );
    const rsa = rsaTemplate({ objectAttributes: derivedAttributes | decrypt });
    expect(rcOf(rsa)).toBe(ofParameter(Rc.TYPE, 2));
    expect(rcOf({ ...derivable, objectAttributes: derivedAttributes | sensitiveDataOrigin | sign })).toBe(
      Rc.ATTRIBUTES,
    );
    expect(rcOf({ ...derivable, objectAttributes: userWithAuth | sign })).toBe(ofParameter(Rc.ATTRIBUTES, 2));
    expect(rcOf(derivable)).toBe(Rc.SUCCESS);
  });

  test("a template with bytes behind it or without its end is refused", () => {
    const client = TpmClient.started();
    const whole = marshal(TPMT_PUBLIC, eccTemplate());
    const rcOf = (inPublic: Uint8Array): number =>
      client.rc("CreateLoaded", { parentHandle: Rh.OWNER }, { inSensitive: sensitiveCreate(), inPublic });
    expect(rcOf(concat(whole, empty, Uint8Array.of(0)))).toBe(ofParameter(Rc.SIZE, 2));
    expect(rcOf(whole.subarray(0, whole.length - 1))).toBe(ofParameter(Rc.INSUFFICIENT, 2));
  });
});

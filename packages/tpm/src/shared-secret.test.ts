import { constants, createECDH, generateKeyPairSync, privateDecrypt, publicEncrypt } from "node:crypto";
import {
  Alg,
  Curve,
  ObjectAttribute,
  Rc,
  Rh,
  TPMS_ECC_POINT,
  type TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nodeProvider } from "./crypto/node-provider.ts";
import type { Engine } from "./engine.ts";
import { loadedObject } from "./objects.ts";
import { decryptSecret, encryptSecret, padOaep, unpadOaep } from "./shared-secret.ts";
import { oneBlockKdfe } from "./testing/protection.ts";
import { cipherTemplate, eccTemplate, rsaTemplate, sealTemplate } from "./testing/templates.ts";

const empty = new Uint8Array(0);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** All that secrets need of an engine. */
const engine = { crypto: nodeProvider } as Engine;

const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = privateKey.export({ format: "jwk" });
const fromBase64 = (text: string | undefined): Uint8Array => new Uint8Array(Buffer.from(text!, "base64url"));

function rsaKey(publicArea = rsaTemplate()) {
  const sensitive = {
    sensitiveType: Alg.RSA,
    authValue: empty,
    seedValue: empty,
    sensitive: fromBase64(jwk.p),
  };
  return loadedObject(engine, Rh.NULL, { ...publicArea, unique: fromBase64(jwk.n) }, sensitive, "external");
}
const oaep = {
  padding: constants.RSA_PKCS1_OAEP_PADDING,
  oaepHash: "sha256",
  oaepLabel: Buffer.from("IDENTITY\0"),
};

function eccKey() {
  const ecdh = createECDH("prime256v1");
  ecdh.generateKeys();
  const point = ecdh.getPublicKey();
  const unique = { x: new Uint8Array(point.subarray(1, 33)), y: new Uint8Array(point.subarray(33)) };
  const sensitive = {
    sensitiveType: Alg.ECC,
    authValue: empty,
    seedValue: empty,
    sensitive: new Uint8Array(ecdh.getPrivateKey()),
  };
  const key = loadedObject(engine, Rh.NULL, { ...eccTemplate(), unique }, sensitive, "external");
  return { ecdh, unique, key };
}
const rcOf = (action: () => unknown): number => {
  try {
    action();
    return Rc.SUCCESS;
  } catch (error) {
    return (error as TpmError).rc;
  }
};

describe("secrets of RSA keys", () => {
  test("go by OAEP with the Name hash and a label that ends with a zero byte, in both directions", () => {
    const key = rsaKey();
    const { secret, data } = encryptSecret(engine, key, "IDENTITY");
    expect(data).toHaveLength(32);
    expect(new Uint8Array(privateDecrypt({ key: privateKey, ...oaep }, secret))).toEqual(data);
    const sent = new Uint8Array(publicEncrypt({ key: publicKey, ...oaep }, bytes("a seed")));
    expect(decryptSecret(engine, key, "IDENTITY", sent)).toEqual(bytes("a seed"));
    expect(rcOf(() => decryptSecret(engine, key, "DUPLICATE", sent))).toBe(Rc.VALUE);
  });

  test("of another size, above the modulus, badly padded or longer than the digest are refused by their codes", () => {
    const key = rsaKey();
    const decrypt = (secret: Uint8Array): number =>
      rcOf(() => decryptSecret(engine, key, "IDENTITY", secret));
    expect(decrypt(new Uint8Array(255))).toBe(Rc.SIZE);
    expect(decrypt(new Uint8Array(256).fill(0xff))).toBe(Rc.VALUE);
    expect(decrypt(new Uint8Array(256).fill(1))).toBe(Rc.VALUE);
    expect(decrypt(new Uint8Array(publicEncrypt({ key: publicKey, ...oaep }, new Uint8Array(33))))).toBe(
      Rc.VALUE,
    );
    expect(decrypt(new Uint8Array(publicEncrypt({ key: publicKey, ...oaep }, new Uint8Array(32))))).toBe(
      Rc.SUCCESS,
    );
  });

  test("need a key that decrypts by OAEP, has a Name algorithm and, to be read, its sensitive area", () => {
    const signing = rsaKey(rsaTemplate({ objectAttributes: ObjectAttribute.sign }));
    expect(rcOf(() => decryptSecret(engine, signing, "SECRET", new Uint8Array(256)))).toBe(Rc.ATTRIBUTES);
    expect(rcOf(() => encryptSecret(engine, signing, "SECRET"))).toBe(Rc.ATTRIBUTES);
    const scheme = { scheme: Alg.RSAES, hash: Alg.NULL, count: 0 };
    const rsaes = rsaKey(rsaTemplate({ parameters: { scheme } }));
    expect(rcOf(() => decryptSecret(engine, rsaes, "SECRET", new Uint8Array(256)))).toBe(Rc.SCHEME);
    const nameless = rsaKey(rsaTemplate({ nameAlg: Alg.NULL }));
    expect(rcOf(() => decryptSecret(engine, nameless, "SECRET", new Uint8Array(256)))).toBe(Rc.SCHEME);
    expect(rcOf(() => encryptSecret(engine, nameless, "SECRET"))).toBe(Rc.SCHEME);
    const open = { ...rsaKey(), sensitive: undefined };
    expect(rcOf(() => decryptSecret(engine, open, "SECRET", new Uint8Array(256)))).toBe(Rc.HANDLE);
  });
});

describe("secrets of ECC keys", () => {
  test("are agreed on by ECDH and KDFe over the x coordinates, in both directions", () => {
    const { ecdh, unique, key } = eccKey();
    const other = createECDH("prime256v1");
    const point = other.generateKeys();
    const x = new Uint8Array(point.subarray(1, 33));
    const writer = new TpmWriter();
    TPMS_ECC_POINT.write(writer, { x, y: new Uint8Array(point.subarray(33)) });
    const z = new Uint8Array(other.computeSecret(ecdh.getPublicKey()));
    expect(decryptSecret(engine, key, "SECRET", writer.finish())).toEqual(
      oneBlockKdfe(Alg.SHA256, z, "SECRET", x, unique.x),
    );
    const { secret, data } = encryptSecret(engine, key, "DUPLICATE");
    expect(decryptSecret(engine, key, "DUPLICATE", secret)).toEqual(data);
    expect(decryptSecret(engine, key, "IDENTITY", secret)).not.toEqual(data);
  });

  test("are points of the key's curve, or refused", () => {
    const { key } = eccKey();
    const decrypt = (secret: Uint8Array): number => rcOf(() => decryptSecret(engine, key, "SECRET", secret));
    const writer = new TpmWriter();
    TPMS_ECC_POINT.write(writer, { x: new Uint8Array(32).fill(5), y: new Uint8Array(32).fill(6) });
    expect(decrypt(writer.finish())).toBe(Rc.ECC_POINT);
    expect(decrypt(writer.finish().subarray(0, 40))).toBe(Rc.INSUFFICIENT);
    expect(decrypt(Uint8Array.of(0, 67))).toBe(Rc.SIZE);
    const astray = {
      ...key,
      publicArea: { ...eccTemplate(), unique: { x: Uint8Array.of(1), y: Uint8Array.of(1) } },
    };
    expect(rcOf(() => encryptSecret(engine, astray, "SECRET"))).toBe(Rc.KEY);
  });

  test.each([
    ...[Curve.NIST_P192, Curve.NIST_P224, Curve.NIST_P384, Curve.NIST_P521, Curve.BN_P256, Curve.SM2_P256],
  ])("work on curve 0x%s", (curveID) => {
    const scalar = nodeProvider.eccScalar(curveID);
    const unique = nodeProvider.eccPublic(curveID, scalar)!;
    const sensitive = { sensitiveType: Alg.ECC, authValue: empty, seedValue: empty, sensitive: scalar };
    const template = eccTemplate({ nameAlg: Alg.SHA384, parameters: { curveID } });
    const key = loadedObject(engine, Rh.NULL, { ...template, unique }, sensitive, "external");
    const { secret, data } = encryptSecret(engine, key, "IDENTITY");
    expect(data).toHaveLength(48);
    expect(decryptSecret(engine, key, "IDENTITY", secret)).toEqual(data);
  });
});

describe("secrets of symmetric keys", () => {
  test("are encrypted by the key, with the caller's nonce as vector, and no longer than the Name digest", () => {
    const secretKey = new Uint8Array(16).fill(7);
    const sensitive = {
      sensitiveType: Alg.SYMCIPHER,
      authValue: empty,
      seedValue: empty,
      sensitive: secretKey,
    };
    const key = loadedObject(engine, Rh.NULL, cipherTemplate(), sensitive, "external");
    const nonce = new Uint8Array(20).fill(9);
    const secret = nodeProvider.cipher(
      Alg.AES,
      Alg.CFB,
      secretKey,
      nonce.subarray(0, 16),
      bytes("salt"),
      true,
    );
    expect(decryptSecret(engine, key, "SECRET", secret, nonce)).toEqual(bytes("salt"));
    expect(rcOf(() => decryptSecret(engine, key, "SECRET", new Uint8Array(33), nonce))).toBe(Rc.VALUE);
    expect(rcOf(() => encryptSecret(engine, key, "SECRET"))).toBe(Rc.KEY);
  });

  test("of a keyed hash are masked by KDFa with the caller's nonce, and obfuscating twice gives them back", () => {
    const sensitive = {
      sensitiveType: Alg.KEYEDHASH,
      authValue: empty,
      seedValue: empty,
      sensitive: bytes("key"),
    };
    const key = loadedObject(engine, Rh.NULL, sealTemplate(), sensitive, "external");
    const nonce = new Uint8Array(16).fill(3);
    const masked = decryptSecret(engine, key, "SECRET", bytes("salt"), nonce);
    expect(masked).not.toEqual(bytes("salt"));
    expect(decryptSecret(engine, key, "SECRET", masked, nonce)).toEqual(bytes("salt"));
    expect(decryptSecret(engine, key, "SECRET", empty, nonce)).toEqual(empty);
    expect(rcOf(() => decryptSecret(engine, key, "SECRET", new Uint8Array(33), nonce))).toBe(Rc.VALUE);
  });
});

describe("OAEP", () => {
  test("what is padded is unpadded, for every message that fits and no other", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), fc.uint8Array({ maxLength: 8 }), (message, label) => {
        const block = padOaep(nodeProvider, Alg.SHA256, label, message, 128);
        if (message.length > 62) expect(block).toBeUndefined();
        else expect(unpadOaep(nodeProvider, Alg.SHA256, label, block!)).toEqual(message);
      }),
    );
  });

  test("a block with any bit changed is refused, but for the masked message itself", () => {
    const label = bytes("L\0");
    const block = padOaep(nodeProvider, Alg.SHA256, label, bytes("message"), 128)!;
    fc.assert(
      fc.property(fc.nat(block.length - 8), fc.nat(7), (at, bit) => {
        const changed = new Uint8Array(block);
        changed[at]! ^= 1 << bit;
        const found = unpadOaep(nodeProvider, Alg.SHA256, label, changed);
        expect(found).toBeUndefined();
      }),
    );
    expect(unpadOaep(nodeProvider, Alg.SHA256, label, block.subarray(0, 60))).toBeUndefined();
  });
});

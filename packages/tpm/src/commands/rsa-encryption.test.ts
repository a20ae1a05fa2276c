import {
  constants,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from "node:crypto";
import { Alg, noScheme, ObjectAttribute, ofHandle, ofParameter, Rc, type Scheme } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { nodeProvider as crypto } from "../crypto/node-provider.ts";
import { padRsaes } from "../crypto/rsaes.ts";
import { padOaep } from "../shared-secret.ts";
import { TpmClient } from "../testing/client.ts";
import { decrypting, keyedHash, loadKey, rsaKey, signing, withKey } from "../testing/external-keys.ts";

const empty = new Uint8Array(0);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const oaep = (hash: number): Scheme => ({ scheme: Alg.OAEP, hash, count: 0 });
const rsaes: Scheme = { scheme: Alg.RSAES, hash: Alg.NULL, count: 0 };
const client = TpmClient.started();
const SIZE = 256;
const key = crypto.rsaDerive(2048, 0, 1, crypto.random);
const theirs: KeyObject = (() => {
  const publicKey = createPublicKey({
    key: { kty: "RSA", n: Buffer.from(key.modulus).toString("base64url"), e: "AQAB" },
    format: "jwk",
  });
  return publicKey;
})();
const keyHandle = loadKey(client, rsaKey(key, noScheme, decrypting));

const encrypt = (message: Uint8Array, inScheme: Scheme, label: Uint8Array = empty) =>
  client.run("RSA_Encrypt", { keyHandle }, { message, inScheme, label }).outData;
const decrypt = (cipherText: Uint8Array, inScheme: Scheme, label: Uint8Array = empty) =>
  client.run("RSA_Decrypt", { keyHandle }, { cipherText, inScheme, label }).message;
const decryptCode = (cipherText: Uint8Array, inScheme: Scheme, label: Uint8Array = empty) =>
  client.rc("RSA_Decrypt", { keyHandle }, { cipherText, inScheme, label });
/** A ciphertext of any block. */
const raised = (block: Uint8Array): Uint8Array => crypto.rsaPublic(key.modulus, 0, block)!;

describe("TPM2_RSA_Encrypt and RSA_Decrypt", () => {
  const schemes: [string, Scheme, number][] = [
    ["RSAES", rsaes, SIZE - 11],
    ["OAEP SHA-1", oaep(Alg.SHA1), SIZE - 42],
    ["OAEP SHA-256", oaep(Alg.SHA256), SIZE - 66],
    ["OAEP SHA3-512", oaep(Alg.SHA3_512), SIZE - 130],
  ];
  it.each(schemes)("%s takes back what it made, up to its longest message", (_, scheme, longest) => {
    for (const length of [0, 1, longest]) {
      const message = crypto.random(length);
      const secret = encrypt(message, scheme, text("label\0"));
      expect(secret.length).toBe(SIZE);
      expect(decrypt(secret, scheme, text("label\0"))).toEqual(message);
    }
    const tooLong = { message: new Uint8Array(longest + 1), inScheme: scheme, label: empty };
    expect(client.rc("RSA_Encrypt", { keyHandle }, tooLong)).toBe(Rc.VALUE);
  });

  it("decrypts what node:crypto encrypts, the label's zero byte included", () => {
    const message = text("from outside");
    const byOaep = publicEncrypt(
      {
        key: theirs,
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: "sha256",
        oaepLabel: Buffer.from("DUPLICATE\0"),
      },
      message,
    );
    expect(decrypt(byOaep, oaep(Alg.SHA256), text("DUPLICATE\0"))).toEqual(message);
    expect(decryptCode(byOaep, oaep(Alg.SHA256), text("IDENTITY\0"))).toBe(Rc.VALUE);
    expect(decryptCode(byOaep, oaep(Alg.SHA384), text("DUPLICATE\0"))).toBe(Rc.VALUE);
    const byRsaes = publicEncrypt({ key: theirs, padding: constants.RSA_PKCS1_PADDING }, message);
    expect(decrypt(byRsaes, rsaes)).toEqual(message);
  });

  it("encrypts what node:crypto decrypts", () => {
    const n = BigInt(`0x${Buffer.from(key.modulus).toString("hex")}`);
    const p = BigInt(`0x${Buffer.from(key.prime).toString("hex")}`);
    const q = n / p;
    const power = (base: bigint, exponent: bigint, modulus: bigint): bigint => {
      let result = 1n;
      for (const bit of exponent.toString(2)) {
        result = (result * result) % modulus;
        if (bit === "1") result = (result * base) % modulus;
      }
      return result;
    };
    const phi = (p - 1n) * (q - 1n);
    // 1 / 65537 by Fermat, 65537 being prime.
    const d = (1n + phi * (65537n - power(phi % 65537n, 65535n, 65537n))) / 65537n;
    const number = (value: bigint): string => {
      const digits = value.toString(16);
      return Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, "hex").toString("base64url");
    };
    const privateKey = createPrivateKey({
      key: {
        kty: "RSA",
        n: number(n),
        e: "AQAB",
        d: number(d),
        p: number(p),
        q: number(q),
        dp: number(d % (p - 1n)),
        dq: number(d % (q - 1n)),
        qi: number(power(q, p - 2n, p)),
      },
      format: "jwk",
    });
    const secret = encrypt(text("to outside"), oaep(Alg.SHA384), text("x\0"));
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const options = { key: privateKey, padding, oaepHash: "sha384", oaepLabel: Buffer.from("x\0") };
    expect(privateDecrypt(options, secret).toString()).toBe("to outside");
  });

  it("without a scheme takes numbers below the modulus, and gives whole blocks", () => {
    const secret = encrypt(Uint8Array.of(0, 0, 7), noScheme);
    const message = decrypt(secret, noScheme);
    expect(message).toEqual(Uint8Array.from({ length: SIZE }, (_, i) => (i === SIZE - 1 ? 7 : 0)));
    const rc = (value: Uint8Array) =>
      client.rc("RSA_Encrypt", { keyHandle }, { message: value, inScheme: noScheme, label: empty });
    expect(rc(key.modulus)).toBe(Rc.VALUE);
    expect(rc(Uint8Array.of(1, ...key.modulus))).toBe(Rc.VALUE);
    expect(rc(Uint8Array.of(0, 0, ...key.modulus))).toBe(Rc.VALUE);
    expect(rc(Uint8Array.of(0, 0, ...key.modulus.subarray(0, 255), 0))).toBe(Rc.SUCCESS);
    expect(decryptCode(key.modulus, noScheme)).toBe(Rc.SIZE);
    expect(decryptCode(new Uint8Array(SIZE - 1), noScheme)).toBe(Rc.SIZE);
    expect(decryptCode(new Uint8Array(SIZE + 1), noScheme)).toBe(Rc.SIZE);
  });

  it("tells every fault of an RSAES padding by the one code, and takes every good one", () => {
    const good = (): Uint8Array => padRsaes(crypto.random, text("message"), SIZE)!;
    const with_ = (change: (block: Uint8Array) => void): Uint8Array => {
      const block = good();
      change(block);
      return raised(block);
    };
    expect(decrypt(raised(good()), rsaes)).toEqual(text("message"));
    const faults: [string, (block: Uint8Array) => void][] = [
      ["first byte", (b) => (b[0] = 1)],
      ["type of a signature", (b) => (b[1] = 1)],
      ["type 0", (b) => (b[1] = 0)],
      ["zero at once", (b) => (b[2] = 0)],
      ["zero after seven bytes", (b) => (b[9] = 0)],
      ["no zero at all", (b) => b.fill(1, 2)],
    ];
    for (const [name, change] of faults)
      expect([name, decryptCode(with_(change), rsaes)]).toEqual([name, Rc.VALUE]);
    // Eight bytes of padding are just enough.
    const shortest = with_((b) => (b[10] = 0));
    expect(decrypt(shortest, rsaes).length).toBe(SIZE - 11);
    const nothing = with_((b) => {
      b.fill(1, 2);
      b[SIZE - 1] = 0;
    });
    expect(decrypt(nothing, rsaes)).toEqual(empty);
  });

  it("tells every fault of an OAEP padding by the same code", () => {
    const hash = Alg.SHA256;
    const good = (): Uint8Array => padOaep(crypto, hash, empty, text("message"), SIZE)!;
    expect(decrypt(raised(good()), oaep(hash))).toEqual(text("message"));
    for (const at of [0, 1, 32, 33, 64, 65, 100, SIZE - 9, SIZE - 8]) {
      const block = good();
      block[at]! ^= 1;
      expect([at, decryptCode(raised(block), oaep(hash))]).toEqual([at, Rc.VALUE]);
    }
    expect(decryptCode(raised(good()), rsaes)).toBe(Rc.VALUE);
  });

  it("refuses keys, labels and schemes with the codes of their places", () => {
    const codes = (loaded: Parameters<typeof withKey>[1], inScheme: Scheme, label: Uint8Array = empty) =>
      withKey(client, loaded, (handle) => [
        client.rc("RSA_Encrypt", { keyHandle: handle }, { message: text("m"), inScheme, label }),
        client.rc("RSA_Decrypt", { keyHandle: handle }, { cipherText: empty, inScheme, label }),
      ]);
    const same = (rc: number) => [rc, rc];
    expect(codes(keyedHash(crypto.random(20)), rsaes)).toEqual(same(ofHandle(Rc.KEY, 1)));
    expect(codes(rsaKey(key, noScheme, signing), rsaes)).toEqual(same(ofHandle(Rc.ATTRIBUTES, 1)));
    expect(codes(rsaKey(key), rsaes, text("no end"))).toEqual(same(ofParameter(Rc.VALUE, 3)));
    const own = rsaKey(key, oaep(Alg.SHA256), decrypting);
    expect(codes(own, rsaes)).toEqual(same(ofParameter(Rc.SCHEME, 2)));
    expect(codes(own, oaep(Alg.SHA1))).toEqual(same(ofParameter(Rc.SCHEME, 2)));
    expect(codes(own, noScheme)).toEqual([Rc.SUCCESS, Rc.SIZE]);
    expect(codes(own, oaep(Alg.SHA256))).toEqual([Rc.SUCCESS, Rc.SIZE]);
  });

  it("encrypts by a public area alone, whose key is not to be decrypted by", () => {
    const handle = loadKey(client, rsaKey(key, noScheme, decrypting), true);
    const secret = client.run(
      "RSA_Encrypt",
      { keyHandle: handle },
      { message: text("m"), inScheme: rsaes, label: empty },
    );
    expect(decrypt(secret.outData, rsaes)).toEqual(text("m"));
    client.run("FlushContext", {}, { flushHandle: handle });
  });

  it("does not decrypt by a restricted key, though anybody may encrypt to it", () => {
    const { restricted, sensitiveDataOrigin, fixedTPM, fixedParent } = ObjectAttribute;
    const { publicArea } = rsaKey(key, noScheme, decrypting);
    const storage = TpmClient.started();
    const objectAttributes = decrypting | restricted | sensitiveDataOrigin | fixedTPM | fixedParent;
    const symmetric = { algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB, hash: Alg.NULL };
    const { handle } = storage.run(
      "CreatePrimary",
      { primaryHandle: 0x4000_0001 },
      {
        inSensitive: { userAuth: empty, data: empty },
        inPublic: {
          ...publicArea,
          objectAttributes,
          parameters: { ...publicArea.parameters, symmetric },
          unique: empty,
        },
        outsideInfo: empty,
        creationPCR: [],
      },
    );
    const message = { message: text("m"), inScheme: rsaes, label: empty };
    const { outData } = storage.run("RSA_Encrypt", { keyHandle: handle }, message);
    const rc = storage.rc(
      "RSA_Decrypt",
      { keyHandle: handle },
      { cipherText: outData, inScheme: rsaes, label: empty },
    );
    expect(rc).toBe(ofHandle(Rc.ATTRIBUTES, 1));
  });
});

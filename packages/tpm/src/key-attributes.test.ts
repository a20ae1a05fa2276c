import { Alg, ObjectAttribute, ofParameter, type Public, Rc } from "@entresol/tpm-types";
import { describe, expect, test } from "vitest";
import { TpmClient } from "./testing/client.ts";
import { createPrimary, createRc, type Making } from "./testing/objects.ts";
import {
  cipherTemplate,
  eccSigningTemplate,
  eccTemplate,
  fixedKey,
  movableKey,
  rsaTemplate,
  sealTemplate,
  storageKey,
} from "./testing/templates.ts";

const { fixedParent, sensitiveDataOrigin, encryptedDuplication, firmwareLimited, restricted, decrypt, sign } =
  ObjectAttribute;
const hmacScheme = { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL };

describe("attributes and schemes of a new object", () => {
  const under = (attributes: number, made: Partial<Making> & { readonly template: Public }, rc: number) =>
    [attributes, made, rc] as const;
  const p2 = (rc: number): number => ofParameter(rc, 2);
  const seal = (objectAttributes: number): Public => sealTemplate({ objectAttributes });
  const keyed = (objectAttributes: number, scheme: number, kdf: number = Alg.NULL): Public =>
    sealTemplate({
      objectAttributes,
      parameters: { scheme: { scheme, hash: scheme === Alg.NULL ? Alg.NULL : Alg.SHA256, kdf } },
    });
  const signing = (scheme: number, objectAttributes = fixedKey | sign): Public =>
    eccSigningTemplate({ scheme, hash: Alg.SHA256, count: 0 }, objectAttributes);
  const rsaDecrypt = (scheme: number): Public =>
    rsaTemplate({
      objectAttributes: fixedKey | decrypt,
      parameters: {
        symmetric: { algorithm: Alg.NULL, keyBits: 0, mode: Alg.NULL, hash: Alg.NULL },
        scheme: { scheme, hash: scheme === Alg.RSAES ? Alg.NULL : Alg.SHA256, count: 0 },
      },
    });
  const aes256 = { algorithm: Alg.AES, keyBits: 256, mode: Alg.CFB, hash: Alg.NULL };
  const none = { algorithm: Alg.NULL, keyBits: 0, mode: Alg.NULL, hash: Alg.NULL };

  test.each([
    ["no data and not from the TPM", under(fixedKey, { template: sealTemplate() }, p2(Rc.ATTRIBUTES))],
    [
      "data and from the TPM",
      under(fixedKey, { template: keyed(fixedKey | sign, Alg.HMAC), data: "k" }, p2(Rc.ATTRIBUTES)),
    ],
    ["sealed data from the TPM", under(fixedKey, { template: seal(fixedKey) }, p2(Rc.ATTRIBUTES))],
    [
      "an asymmetric key from the caller",
      under(
        fixedKey,
        { template: eccSigningTemplate(undefined, (fixedKey | sign) & ~sensitiveDataOrigin), data: "k" },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "a restricted fixed symmetric key from the caller",
      under(
        fixedKey,
        { template: keyed((fixedKey | restricted | sign) & ~sensitiveDataOrigin, Alg.HMAC), data: "k" },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "fixedParent without fixedTPM under fixedTPM",
      under(
        fixedKey,
        { template: eccSigningTemplate(undefined, movableKey | fixedParent | sign) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "fixedTPM under one that is not",
      under(movableKey, { template: eccSigningTemplate() }, p2(Rc.ATTRIBUTES)),
    ],
    [
      "fixedParent under one that is not fixedTPM",
      under(
        movableKey,
        { template: eccSigningTemplate(undefined, movableKey | fixedParent | sign) },
        Rc.SUCCESS,
      ),
    ],
    [
      "fixedTPM and encryptedDuplication",
      under(
        fixedKey,
        { template: eccSigningTemplate(undefined, fixedKey | encryptedDuplication | sign) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "another encryptedDuplication than the parent's",
      under(
        movableKey,
        { template: eccSigningTemplate(undefined, movableKey | encryptedDuplication | sign) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "bound to a firmware version that no hierarchy has",
      under(
        fixedKey,
        { template: eccSigningTemplate(undefined, fixedKey | firmwareLimited | sign) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "restricted for signing and decrypting",
      under(
        fixedKey,
        { template: eccTemplate({ objectAttributes: fixedKey | restricted | sign | decrypt }) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "a key for nothing",
      under(
        fixedKey,
        { template: eccTemplate({ objectAttributes: fixedKey, parameters: { symmetric: none } }) },
        p2(Rc.ATTRIBUTES),
      ),
    ],
    [
      "a policy of another size",
      under(fixedKey, { template: eccTemplate({ authPolicy: new Uint8Array(20) }) }, p2(Rc.SIZE)),
    ],
    [
      "a storage key of another cipher than its parent",
      under(fixedKey, { template: eccTemplate({ parameters: { symmetric: aes256 } }) }, p2(Rc.SYMMETRIC)),
    ],
    [
      "a storage key of another Name hash than its parent",
      under(fixedKey, { template: eccTemplate({ nameAlg: Alg.SHA384 }) }, p2(Rc.HASH)),
    ],
    [
      "a movable storage key of another cipher",
      under(
        fixedKey,
        {
          template: eccTemplate({
            objectAttributes: movableKey | storageKey,
            parameters: { symmetric: aes256 },
          }),
        },
        Rc.SUCCESS,
      ),
    ],
    [
      "a storage key without a cipher",
      under(fixedKey, { template: eccTemplate({ parameters: { symmetric: none } }) }, p2(Rc.SYMMETRIC)),
    ],
    [
      "a signing key with a cipher",
      under(fixedKey, { template: eccTemplate({ objectAttributes: fixedKey | sign }) }, p2(Rc.SYMMETRIC)),
    ],
    [
      "a KDF",
      under(
        fixedKey,
        {
          template: eccTemplate({
            objectAttributes: fixedKey | sign,
            parameters: { symmetric: none, kdf: { scheme: Alg.KDF2, hash: Alg.SHA256 } },
          }),
        },
        p2(Rc.KDF),
      ),
    ],
    [
      "a restricted signing key without a scheme",
      under(
        fixedKey,
        { template: eccSigningTemplate(undefined, fixedKey | restricted | sign) },
        p2(Rc.SCHEME),
      ),
    ],
    [
      "a signing key with a key exchange scheme",
      under(fixedKey, { template: signing(Alg.ECDH) }, p2(Rc.SCHEME)),
    ],
    [
      "a restricted signing key with a scheme",
      under(fixedKey, { template: signing(Alg.ECDSA, fixedKey | restricted | sign) }, Rc.SUCCESS),
    ],
    [
      "a decryption key with a signing scheme",
      under(fixedKey, { template: rsaDecrypt(Alg.RSASSA) }, p2(Rc.SCHEME)),
    ],
    ["a decryption key with its scheme", under(fixedKey, { template: rsaDecrypt(Alg.RSAES) }, Rc.SUCCESS)],
    [
      "both uses and a scheme",
      under(fixedKey, { template: signing(Alg.ECDSA, fixedKey | sign | decrypt) }, p2(Rc.SCHEME)),
    ],
    [
      "sealed data with a scheme",
      under(
        fixedKey,
        { template: sealTemplate({ parameters: { scheme: hmacScheme } }), data: "x" },
        p2(Rc.SCHEME),
      ),
    ],
    [
      "an HMAC key without a scheme",
      under(fixedKey, { template: keyed(fixedKey | sign, Alg.NULL) }, p2(Rc.SCHEME)),
    ],
    [
      "a derivation parent of another KDF",
      under(fixedKey, { template: keyed(fixedKey | storageKey, Alg.XOR, Alg.KDF2) }, p2(Rc.SCHEME)),
    ],
    [
      "a decrypting cipher key of a MAC mode",
      under(
        fixedKey,
        { template: cipherTemplate({ parameters: { sym: { ...aes256, mode: Alg.CMAC } } }) },
        p2(Rc.SCHEME),
      ),
    ],
    [
      "a cipher key of another size",
      under(
        fixedKey,
        {
          template: cipherTemplate({ objectAttributes: (fixedKey | decrypt) & ~sensitiveDataOrigin }),
          data: new Uint8Array(15),
        },
        Rc.KEY_SIZE,
      ),
    ],
    [
      "an HMAC key longer than a block",
      under(
        fixedKey,
        { template: keyed((fixedKey | sign) & ~sensitiveDataOrigin, Alg.HMAC), data: new Uint8Array(65) },
        Rc.SIZE,
      ),
    ],
    [
      "an authValue longer than the Name digest",
      under(fixedKey, { template: sealTemplate(), data: "x", auth: "a".repeat(33) }, ofParameter(Rc.SIZE, 1)),
    ],
    [
      "an authValue that only zeros make longer",
      under(fixedKey, { template: sealTemplate(), data: "x", auth: `a${"\0".repeat(40)}` }, Rc.SUCCESS),
    ],
  ])("%s: the answer is the reference's", (_, [attributes, { template, ...made }, rc]) => {
    const client = TpmClient.started();
    const parent = createPrimary(client, eccTemplate({ objectAttributes: attributes | storageKey })).handle;
    expect(createRc(client, parent, template, made)).toBe(rc);
  });
});

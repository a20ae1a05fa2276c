/* Templates of the keys that the rows use. Name algorithm SHA-256, empty authValues. */
import { Alg, Curve, noScheme, noSymmetric, ObjectAttribute, Rh } from "@entresol/tpm-types";

const { fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt, sign } =
  ObjectAttribute;
const empty = new Uint8Array(0);
const given = fixedTPM | fixedParent | userWithAuth | noDA;
const made = given | sensitiveDataOrigin;
const storage = { objectAttributes: made | restricted | decrypt };
const signing = { objectAttributes: made | sign };
const common = { nameAlg: Alg.SHA256, authPolicy: empty };
export const aes128Cfb = { ...noSymmetric, algorithm: Alg.AES, keyBits: 128, mode: Alg.CFB };

const ecc = (attributes, symmetric, scheme = noScheme) => ({
  ...common,
  ...attributes,
  type: Alg.ECC,
  parameters: { symmetric, scheme, curveID: Curve.NIST_P256, kdf: { scheme: Alg.NULL, hash: Alg.NULL } },
  unique: { x: empty, y: empty },
});
const rsa = (attributes, symmetric, scheme = noScheme) => ({
  ...common,
  ...attributes,
  type: Alg.RSA,
  parameters: { symmetric, scheme, keyBits: 2048, exponent: 0 },
  unique: empty,
});
const keyedHash = (attributes, scheme) => ({
  ...common,
  ...attributes,
  type: Alg.KEYEDHASH,
  parameters: { scheme },
  unique: empty,
});

export const ecdsaSha256 = { scheme: Alg.ECDSA, hash: Alg.SHA256, count: 0 };
export const templates = {
  eccStorage: ecc(storage, aes128Cfb),
  eccSigning: ecc(signing, noSymmetric, ecdsaSha256),
  eccAttestation: ecc({ objectAttributes: made | restricted | sign }, noSymmetric, ecdsaSha256),
  rsaStorage: rsa(storage, aes128Cfb),
  rsaSigning: rsa(signing, noSymmetric, { scheme: Alg.RSASSA, hash: Alg.SHA256, count: 0 }),
  rsaDecryption: rsa({ objectAttributes: made | decrypt }, noSymmetric),
  sealed: keyedHash({ objectAttributes: given }, { scheme: Alg.NULL, hash: Alg.NULL, kdf: Alg.NULL }),
  hmac: keyedHash(signing, { scheme: Alg.HMAC, hash: Alg.SHA256, kdf: Alg.NULL }),
  cipher: {
    ...common,
    objectAttributes: made | decrypt | sign,
    type: Alg.SYMCIPHER,
    parameters: { sym: aes128Cfb },
    unique: empty,
  },
};

/** Parameters of Create and CreatePrimary. */
export const creation = (inPublic, data = empty) => ({
  inSensitive: { userAuth: empty, data },
  inPublic,
  outsideInfo: empty,
  creationPCR: [],
});

const owner = { primaryHandle: Rh.OWNER };

/** Makes a primary key and gives its handle. */
export async function primary(client, template) {
  return (await client.run("CreatePrimary", owner, creation(template))).handle;
}

/** Makes an object below a new primary key, loads it and gives its handle; the parent is flushed. */
export async function child(client, template, data) {
  const parentHandle = await primary(client, templates.eccStorage);
  const made = await client.run("Create", { parentHandle }, creation(template, data));
  const { handle } = await client.run(
    "Load",
    { parentHandle },
    { inPrivate: made.outPrivate, inPublic: made.outPublic },
  );
  await client.flush(parentHandle);
  return handle;
}

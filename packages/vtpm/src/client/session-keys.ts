import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  createPublicKey,
  constants as cryptoConstants,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import {
  Alg,
  Curve,
  curveSizes,
  digestSizes,
  type EccPoint,
  type EccPublic,
  type Public,
  type RsaPublic,
  type SymmetricDefinition,
  TPMS_ECC_POINT,
  TpmWriter,
} from "@entresol/tpm-types";
import { TpmClientError } from "./transport.ts";

/* The caller's half of the cryptography of sessions (Part 1, 11.4.10, 19.6, 21). */

export const noBytes: Uint8Array = new Uint8Array(0);

const hashNames = new Map<number, string>([
  [Alg.SHA1, "sha1"],
  [Alg.SHA256, "sha256"],
  [Alg.SHA384, "sha384"],
  [Alg.SHA512, "sha512"],
  [Alg.SHA3_256, "sha3-256"],
  [Alg.SHA3_384, "sha3-384"],
  [Alg.SHA3_512, "sha3-512"],
]);

/** node:crypto's name of a TPM hash. Throws "unsupported". */
export function hashName(hash: number): string {
  const name = hashNames.get(hash);
  if (name === undefined) throw new TpmClientError("unsupported", `no hash 0x${hash.toString(16)} here`);
  return name;
}

/** Throws "unsupported". */
export function digestSize(hash: number): number {
  hashName(hash);
  return digestSizes.get(hash)!;
}

export function digest(hash: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash(hashName(hash));
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
}

export function hmac(hash: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHmac(hashName(hash), key);
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
}

export function bigEndian(value: number, bytes: 2 | 4): Uint8Array {
  const out = new Uint8Array(bytes);
  const view = new DataView(out.buffer);
  if (bytes === 2) view.setUint16(0, value);
  else view.setUint32(0, value);
  return out;
}

/** authValues count without their trailing zeros (Part 1, 19.6.4.3). */
export function authKey(value: Uint8Array): Uint8Array {
  let length = value.length;
  while (length > 0 && value[length - 1] === 0) length--;
  return value.subarray(0, length);
}

function label(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

function firstBytes(length: number, block: (counter: number) => Uint8Array): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0, counter = 1; at < length; counter++) {
    const part = block(counter).subarray(0, length - at);
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** KDFa (Part 1, 11.4.10.2), whole bytes. */
export function kdfa(
  hash: number,
  key: Uint8Array,
  use: string,
  contextU: Uint8Array,
  contextV: Uint8Array,
  length: number,
): Uint8Array {
  return firstBytes(length, (counter) =>
    hmac(hash, key, bigEndian(counter, 4), label(use), contextU, contextV, bigEndian(8 * length, 4)),
  );
}

/** KDFe (Part 1, 11.4.10.3), whole bytes. */
function kdfe(
  hash: number,
  z: Uint8Array,
  use: string,
  partyU: Uint8Array,
  partyV: Uint8Array,
  length: number,
): Uint8Array {
  return firstBytes(length, (counter) => digest(hash, bigEndian(counter, 4), z, label(use), partyU, partyV));
}

const ciphers = new Map<number, string>([
  [Alg.AES, "aes"],
  [Alg.CAMELLIA, "camellia"],
]);

/** En- or decrypts a first parameter (Part 1, 21.2 and 21.3) by AES or Camellia in CFB mode, or XOR. Throws "unsupported". */
export function cryptParameter(
  hash: number,
  symmetric: SymmetricDefinition,
  key: Uint8Array,
  newer: Uint8Array,
  older: Uint8Array,
  data: Uint8Array,
  encrypting: boolean,
): Uint8Array {
  const { algorithm, keyBits, mode } = symmetric;
  if (algorithm === Alg.XOR) {
    const mask = kdfa(symmetric.hash, key, "XOR", newer, older, data.length);
    return data.map((byte, i) => byte ^ mask[i]!);
  }
  const cipher = ciphers.get(algorithm);
  if (cipher === undefined || mode !== Alg.CFB)
    throw new TpmClientError("unsupported", "the session has no cipher that encrypts parameters");
  const material = kdfa(hash, key, "CFB", newer, older, keyBits / 8 + 16);
  const make = encrypting ? createCipheriv : createDecipheriv;
  const state = make(
    `${cipher}-${keyBits}-cfb`,
    material.subarray(0, keyBits / 8),
    material.subarray(keyBits / 8),
  );
  return new Uint8Array(Buffer.concat([state.update(data), state.final()]));
}

/** A salt, and how it is told to the holder of a key. */
export interface Salt {
  readonly salt: Uint8Array;
  readonly encryptedSalt: Uint8Array;
}

/** A salt that only the holder of `key`, a decryption key, learns (Part 1, B.10.2 and C.6.1). Throws "unsupported". */
export function makeSalt(key: Public): Salt {
  if (key.type === Alg.RSA) return rsaSalt(key);
  if (key.type === Alg.ECC) return eccSalt(key);
  throw new TpmClientError("unsupported", "only RSA and ECC keys take a salt");
}

function rsaSalt({ nameAlg, parameters, unique }: RsaPublic): Salt {
  const salt = new Uint8Array(randomBytes(digestSize(nameAlg)));
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  const key = createPublicKey({
    key: { kty: "RSA", n: text(unique), e: text(bigEndian(parameters.exponent || 65_537, 4)) },
    format: "jwk",
  });
  const encryptedSalt = publicEncrypt(
    {
      key,
      padding: cryptoConstants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: hashName(nameAlg),
      oaepLabel: Buffer.from(label("SECRET")),
    },
    salt,
  );
  return { salt, encryptedSalt: new Uint8Array(encryptedSalt) };
}

const curveNames = new Map<number, string>([
  [Curve.NIST_P256, "prime256v1"],
  [Curve.NIST_P384, "secp384r1"],
  [Curve.NIST_P521, "secp521r1"],
]);

function eccSalt({ nameAlg, parameters, unique }: EccPublic): Salt {
  const curve = curveNames.get(parameters.curveID);
  if (curve === undefined) throw new TpmClientError("unsupported", "no salt on this curve");
  const size = curveSizes.get(parameters.curveID)!;
  const ephemeral = createECDH(curve);
  const own = new Uint8Array(ephemeral.generateKeys());
  const point: EccPoint = { x: own.slice(1, 1 + size), y: own.slice(1 + size) };
  const z = new Uint8Array(ephemeral.computeSecret(uncompressed(unique, size)));
  const salt = kdfe(nameAlg, z, "SECRET", point.x, padded(unique.x, size), digestSize(nameAlg));
  const writer = new TpmWriter();
  TPMS_ECC_POINT.write(writer, point);
  return { salt, encryptedSalt: writer.finish() };
}

/** With leading zeros to `size` bytes. */
export function padded(value: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  out.set(value.subarray(Math.max(0, value.length - size)), Math.max(0, size - value.length));
  return out;
}

function uncompressed({ x, y }: EccPoint, size: number): Uint8Array {
  const out = new Uint8Array(1 + 2 * size);
  out[0] = 4;
  out.set(padded(x, size), 1);
  out.set(padded(y, size), 1 + size);
  return out;
}

import { jsonValue, parsePem, parseStrictJson } from "@entresol/evidence";
import { MalformedError } from "@entresol/wire";
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  importJWK,
  importPKCS8,
  importSPKI,
  type JWK,
} from "jose";
import { EvidenceError } from "../errors.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { readDer, Tag } from "../x509/der.ts";

/** Signature algorithms of tokens, by their names in JOSE (RFC 7518, RFC 8037), with their numbers in COSE (RFC 9053) and WebCrypto's parameters. */
export const tokenAlgorithms = {
  ES256: { cose: -7, curve: "P-256", web: { name: "ECDSA", hash: "SHA-256" } },
  ES384: { cose: -35, curve: "P-384", web: { name: "ECDSA", hash: "SHA-384" } },
  ES512: { cose: -36, curve: "P-521", web: { name: "ECDSA", hash: "SHA-512" } },
  EdDSA: { cose: -8, curve: "Ed25519", web: { name: "Ed25519" } },
} as const;
export type TokenAlgorithm = keyof typeof tokenAlgorithms;

interface TokenKey {
  readonly algorithm: TokenAlgorithm;
  /** Thumbprint of the public key: SHA-256, base64url (RFC 7638). */
  readonly keyId: string;
  readonly key: CryptoKey;
}
/** A private key that signs tokens. */
export interface SigningKey extends TokenKey {
  readonly use: "sign";
}
/** A public key that tokens are verified by. */
export interface VerificationKey extends TokenKey {
  readonly use: "verify";
}

const curves: Readonly<Record<string, TokenAlgorithm>> = {
  "1.2.840.10045.3.1.7": "ES256",
  "1.3.132.0.34": "ES384",
  "1.3.132.0.35": "ES512",
};
const EC = "1.2.840.10045.2.1";
const ED25519 = "1.3.101.112";
const kinds = "P-256, P-384, P-521 and Ed25519 are known";

function fault(message: string, cause?: unknown): never {
  throw new EvidenceError("unsupported-key", message, { cause });
}

/** The algorithm that PKCS#8 (RFC 5958) or SubjectPublicKeyInfo names: the first SEQUENCE inside, behind a version if there is one. */
function algorithmOf(der: Uint8Array, isPrivate: boolean): TokenAlgorithm {
  return readDer(der, (reader) => {
    const outer = reader.enter(Tag.SEQUENCE);
    if (isPrivate) outer.unsigned();
    const identifier = outer.enter(Tag.SEQUENCE);
    const type = identifier.identifier();
    if (type === ED25519) return "EdDSA";
    const curve = type === EC ? curves[identifier.identifier()] : undefined;
    return curve ?? fault(`a key of type ${type}: ${kinds}`);
  });
}

/** The key as JWK, with its private part if there is one. */
async function jwkOf(text: string): Promise<JWK> {
  const bytes = new TextEncoder().encode(text);
  if (text.trimStart().startsWith("{")) return jsonValue(parseStrictJson(bytes)) as JWK;
  const block = parsePem(bytes).find(({ label }) => /KEY$|^CERTIFICATE$/.test(label));
  switch (block?.label) {
    case "PRIVATE KEY":
      return exportJWK(await importPKCS8(text, algorithmOf(block.data, true), { extractable: true }));
    case "PUBLIC KEY":
      return exportJWK(await importSPKI(text, algorithmOf(block.data, false), { extractable: true }));
    case "CERTIFICATE": {
      const { spki } = parseCertificate(block.data);
      const pem = `-----BEGIN PUBLIC KEY-----\n${btoa(String.fromCharCode(...spki))}\n-----END PUBLIC KEY-----`;
      return exportJWK(await importSPKI(pem, algorithmOf(spki, false), { extractable: true }));
    }
    case undefined:
      return fault("no key among the PEM");
    default:
      return fault(`PEM of "${block?.label}": take PKCS#8, as "openssl pkcs8 -topk8 -nocrypt" writes it`);
  }
}

async function tokenKey(text: string, isPrivate: boolean): Promise<TokenKey> {
  try {
    const jwk = await jwkOf(text);
    const { kty, crv, x, y, d } = jwk;
    const algorithm = (Object.keys(tokenAlgorithms) as TokenAlgorithm[]).find(
      (name) => tokenAlgorithms[name].curve === crv,
    );
    if ((kty !== "EC" && kty !== "OKP") || algorithm === undefined || crv === undefined || x === undefined)
      return fault(`a key of type ${String(kty)} ${crv ?? ""}: ${kinds}`);
    if (isPrivate && d === undefined) return fault("the key has no private part, and cannot sign");
    const whole: JWK = { kty, crv, x, ...(y !== undefined && { y }) };
    const keyId = await calculateJwkThumbprint(whole, "sha256");
    const own = isPrivate && d !== undefined ? { ...whole, d } : whole;
    return { algorithm, keyId, key: (await importJWK(own, algorithm)) as CryptoKey };
  } catch (cause) {
    if (cause instanceof EvidenceError) throw cause;
    if (cause instanceof MalformedError) return fault(`the key cannot be read: ${cause.message}`, cause);
    return fault("the text is no key", cause);
  }
}

/** From PKCS#8 PEM or a private JWK. Throws `EvidenceError` `unsupported-key`. */
export async function signingKey(text: string): Promise<SigningKey> {
  return { ...(await tokenKey(text, true)), use: "sign" };
}

/** From the PEM of a public key, of a certificate or of a private key, or from a JWK. Throws `EvidenceError` `unsupported-key`. */
export async function verificationKey(text: string): Promise<VerificationKey> {
  return { ...(await tokenKey(text, false)), use: "verify" };
}

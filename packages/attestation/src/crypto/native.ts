import type * as nodeCrypto from "node:crypto";
import { encodeBase64 } from "@entresol/evidence";
import { EvidenceError } from "../errors.ts";
import {
  type CryptoProvider,
  type CurveName,
  curveSizes,
  type HashName,
  type PublicKey,
  type SignatureScheme,
} from "./provider.ts";
import { bitLength, readSpki } from "./spki.ts";

type NodeCrypto = typeof nodeCrypto;
type KeyObject = nodeCrypto.KeyObject;

interface NativeKey extends PublicKey {
  readonly handle: KeyObject;
}

const base64url = (bytes: Uint8Array): string => encodeBase64(bytes, "base64url");

function guarded(kind: PublicKey, make: () => KeyObject): NativeKey {
  try {
    return { ...kind, handle: make() };
  } catch (cause) {
    throw new EvidenceError("unsupported-key", "the bytes are no public key", { cause });
  }
}

/** Bytes of a SubjectPublicKeyInfo whose point is not compressed. */
const uncompressed: Readonly<Record<CurveName, number>> = { "P-256": 91, "P-384": 120, "P-521": 158 };

/** A SubjectPublicKeyInfo of P-256 up to its point: id-ecPublicKey, prime256v1, a BIT STRING of 66 bytes, not compressed (RFC 5480, 2). */
const P256_HEAD = Uint8Array.of(
  ...[0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06],
  ...[0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04],
);

/** The form that all of Intel's keys have. */
function isPlainP256(spki: Uint8Array): boolean {
  if (spki.length !== P256_HEAD.length + 64) return false;
  for (let i = 0; i < P256_HEAD.length; i++) if (spki[i] !== P256_HEAD[i]) return false;
  return true;
}

/** OpenSSL through Node's crypto: verifies synchronously, and is twice as fast as WebCrypto. */
class NativeProvider implements CryptoProvider {
  readonly name = "node:crypto";
  readonly #crypto: NodeCrypto;

  constructor(crypto: NodeCrypto) {
    this.#crypto = crypto;
  }

  digest(hash: HashName, ...parts: readonly Uint8Array[]): Uint8Array {
    const state = this.#crypto.createHash(hash);
    for (const part of parts) state.update(part);
    return state.digest();
  }

  fingerprint(bytes: Uint8Array): string {
    const { hash } = this.#crypto;
    return hash === undefined
      ? this.#crypto.createHash("sha256").update(bytes).digest("hex")
      : hash("sha256", bytes, "hex");
  }

  importSpki(spki: Uint8Array): PublicKey | Promise<PublicKey> {
    if (isPlainP256(spki)) return this.importPoint("P-256", spki.subarray(P256_HEAD.length));
    const kind = readSpki(spki);
    const { curve } = kind;
    if (curve !== undefined && spki.length === uncompressed[curve]) {
      const point = spki.length - 2 * curveSizes[curve];
      if (spki[point - 1] === 4) return this.importPoint(curve, spki.subarray(point));
    }
    const key = spki as Buffer;
    return guarded(kind, () => this.#crypto.createPublicKey({ key, format: "der", type: "spki" }));
  }

  async importPoint(curve: CurveName, xy: Uint8Array): Promise<PublicKey> {
    const size = curveSizes[curve];
    if (xy.length !== 2 * size)
      throw new EvidenceError(
        "unsupported-key",
        `a ${curve} point of ${xy.length} bytes, ${2 * size} are right`,
      );
    const raw = new Uint8Array(1 + xy.length);
    raw[0] = 4;
    raw.set(xy, 1);
    const { subtle, KeyObject } = this.#crypto;
    try {
      // WebCrypto's import takes the point as it stands. As a JWK, or in a SubjectPublicKeyInfo, OpenSSL multiplies it by the curve's order,
      // which says nothing on a curve of prime order; that it lies on the curve is checked either way.
      const key = await subtle.importKey("raw", raw, { name: "ECDSA", namedCurve: curve }, false, ["verify"]);
      const made: NativeKey = { type: "ec", curve, bits: undefined, handle: KeyObject.from(key) };
      return made;
    } catch (cause) {
      throw new EvidenceError("unsupported-key", "the bytes are no public key", { cause });
    }
  }

  importRsa(modulus: Uint8Array, exponent: Uint8Array): PublicKey {
    const key = { kty: "RSA", n: base64url(modulus), e: base64url(exponent) };
    return guarded({ type: "rsa", curve: undefined, bits: bitLength(modulus) }, () =>
      this.#crypto.createPublicKey({ key, format: "jwk" }),
    );
  }

  verify(key: PublicKey, scheme: SignatureScheme, signature: Uint8Array, data: Uint8Array): boolean {
    const { handle, curve } = key as NativeKey;
    const { constants, verify } = this.#crypto;
    if ((scheme.name === "ecdsa") !== (key.type === "ec")) return false;
    switch (scheme.name) {
      case "ecdsa":
        if (curve === undefined || signature.length !== 2 * curveSizes[curve]) return false;
        return verify(scheme.hash, data, { key: handle, dsaEncoding: "ieee-p1363" }, signature);
      case "rsa-pss":
        return verify(
          scheme.hash,
          data,
          { key: handle, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: scheme.saltLength },
          signature,
        );
      case "rsa-pkcs1":
        return verify(scheme.hash, data, { key: handle, padding: constants.RSA_PKCS1_PADDING }, signature);
      default:
        return scheme satisfies never;
    }
  }
}

/** Native cryptography where this runs on Node; found without an import, so that a browser's bundle does not look for it. */
export function nativeProvider(): CryptoProvider | undefined {
  const runtime = (globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }).process;
  const crypto = runtime?.getBuiltinModule?.("node:crypto") as NodeCrypto | undefined;
  return crypto && new NativeProvider(crypto);
}

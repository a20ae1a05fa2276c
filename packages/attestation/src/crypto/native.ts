import type * as nodeCrypto from "node:crypto";
import { EvidenceError } from "../errors.ts";
import {
  type CryptoProvider,
  type CurveName,
  curveSizes,
  type HashName,
  type PublicKey,
  type SignatureScheme,
} from "./provider.ts";

type NodeCrypto = typeof nodeCrypto;
type KeyObject = nodeCrypto.KeyObject;

interface NativeKey extends PublicKey {
  readonly handle: KeyObject;
}

const curves: Readonly<Record<string, CurveName>> = {
  prime256v1: "P-256",
  secp384r1: "P-384",
  secp521r1: "P-521",
};

const base64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

function keyOf(handle: KeyObject): NativeKey {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = handle;
  const curve = details?.namedCurve === undefined ? undefined : curves[details.namedCurve];
  if (type === "ec" && curve !== undefined) return { type: "ec", curve, bits: undefined, handle };
  if (type === "rsa") return { type: "rsa", curve: undefined, bits: details?.modulusLength, handle };
  throw new EvidenceError(
    "unsupported-key",
    `a key of type ${type ?? "unknown"} ${details?.namedCurve ?? ""}`,
  );
}

function guarded(make: () => KeyObject): NativeKey {
  let handle: KeyObject;
  try {
    handle = make();
  } catch (cause) {
    throw new EvidenceError("unsupported-key", "the bytes are no public key", { cause });
  }
  return keyOf(handle);
}

/** OpenSSL through Node's crypto: synchronous, and twice as fast as WebCrypto. */
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

  importSpki(spki: Uint8Array): PublicKey {
    const key = spki as Buffer;
    return guarded(() => this.#crypto.createPublicKey({ key, format: "der", type: "spki" }));
  }

  importPoint(curve: CurveName, xy: Uint8Array): PublicKey {
    const size = curveSizes[curve];
    if (xy.length !== 2 * size)
      throw new EvidenceError(
        "unsupported-key",
        `a ${curve} point of ${xy.length} bytes, ${2 * size} are right`,
      );
    const key = {
      kty: "EC",
      crv: curve,
      x: base64url(xy.subarray(0, size)),
      y: base64url(xy.subarray(size)),
    };
    return guarded(() => this.#crypto.createPublicKey({ key, format: "jwk" }));
  }

  importRsa(modulus: Uint8Array, exponent: Uint8Array): PublicKey {
    const key = { kty: "RSA", n: base64url(modulus), e: base64url(exponent) };
    return guarded(() => this.#crypto.createPublicKey({ key, format: "jwk" }));
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

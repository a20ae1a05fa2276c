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
import { readSpki } from "./spki.ts";

const webHashes: Readonly<Record<HashName, string>> = {
  sha1: "SHA-1",
  sha256: "SHA-256",
  sha384: "SHA-384",
  sha512: "SHA-512",
};

/** What is used of WebCrypto's SubtleCrypto (W3C Web Cryptography, 14). */
export interface Subtle {
  digest(hash: string, data: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>;
  importKey(
    format: string,
    data: object,
    algorithm: object,
    extractable: boolean,
    uses: readonly string[],
  ): Promise<object>;
  verify(
    algorithm: object,
    key: object,
    signature: Uint8Array<ArrayBuffer>,
    data: Uint8Array<ArrayBuffer>,
  ): Promise<boolean>;
}

/** WebCrypto binds a key to a scheme when it is imported, so the bytes are kept and imported for each scheme that is asked for. */
interface WebKey extends PublicKey {
  readonly import: (algorithm: object) => Promise<object>;
  readonly made: Map<string, Promise<object>>;
}

const base64url = (bytes: Uint8Array): string => encodeBase64(bytes, "base64url");

/** A view of one's own bytes, as WebCrypto's types ask for. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** WebCrypto: what every browser has, and every other runtime that is not Node. */
class WebProvider implements CryptoProvider {
  readonly name = "WebCrypto";
  readonly #subtle: Subtle;

  constructor(subtle: Subtle) {
    this.#subtle = subtle;
  }

  async digest(hash: HashName, ...parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return new Uint8Array(await this.#subtle.digest(webHashes[hash], concatenated(parts)));
  }

  async importSpki(spki: Uint8Array): Promise<PublicKey> {
    const kind = readSpki(spki);
    const bytes = own(spki);
    return this.#checked({
      ...kind,
      import: (algorithm) => this.#subtle.importKey("spki", bytes, algorithm, false, ["verify"]),
      made: new Map(),
    });
  }

  async importPoint(curve: CurveName, xy: Uint8Array): Promise<PublicKey> {
    const size = curveSizes[curve];
    if (xy.length !== 2 * size)
      throw new EvidenceError(
        "unsupported-key",
        `a ${curve} point of ${xy.length} bytes, ${2 * size} are right`,
      );
    const raw = concatenated([Uint8Array.of(4), xy]);
    return this.#checked({
      type: "ec",
      curve,
      bits: undefined,
      import: (algorithm) => this.#subtle.importKey("raw", raw, algorithm, false, ["verify"]),
      made: new Map(),
    });
  }

  async importRsa(modulus: Uint8Array, exponent: Uint8Array): Promise<PublicKey> {
    const jwk = { kty: "RSA", n: base64url(modulus), e: base64url(exponent) };
    return this.#checked({
      type: "rsa",
      curve: undefined,
      bits: modulus.length * 8,
      import: (algorithm) => this.#subtle.importKey("jwk", jwk, algorithm, false, ["verify"]),
      made: new Map(),
    });
  }

  async verify(
    key: PublicKey,
    scheme: SignatureScheme,
    signature: Uint8Array,
    data: Uint8Array,
  ): Promise<boolean> {
    if ((scheme.name === "ecdsa") !== (key.type === "ec")) return false;
    if (key.curve !== undefined && signature.length !== 2 * curveSizes[key.curve]) return false;
    const handle = await this.#handle(key as WebKey, scheme);
    return this.#subtle.verify(operation(scheme), handle, own(signature), own(data));
  }

  /** Imports the key once, so that bytes that are no key are refused now. */
  async #checked(key: WebKey): Promise<WebKey> {
    try {
      await this.#handle(
        key,
        key.type === "ec" ? { name: "ecdsa", hash: "sha256" } : { name: "rsa-pkcs1", hash: "sha256" },
      );
    } catch (cause) {
      throw new EvidenceError("unsupported-key", "the bytes are no public key", { cause });
    }
    return key;
  }

  #handle(key: WebKey, scheme: SignatureScheme): Promise<object> {
    const name = scheme.name === "ecdsa" ? scheme.name : `${scheme.name} ${scheme.hash}`;
    let made = key.made.get(name);
    if (made === undefined) {
      made = key.import(importParameters(key, scheme));
      key.made.set(name, made);
    }
    return made;
  }
}

function importParameters(key: PublicKey, scheme: SignatureScheme): object {
  switch (scheme.name) {
    case "ecdsa":
      return { name: "ECDSA", namedCurve: key.curve };
    case "rsa-pss":
      return { name: "RSA-PSS", hash: webHashes[scheme.hash] };
    case "rsa-pkcs1":
      return { name: "RSASSA-PKCS1-v1_5", hash: webHashes[scheme.hash] };
    default:
      return scheme satisfies never;
  }
}

function operation(scheme: SignatureScheme): object {
  switch (scheme.name) {
    case "ecdsa":
      return { name: "ECDSA", hash: webHashes[scheme.hash] };
    case "rsa-pss":
      return { name: "RSA-PSS", saltLength: scheme.saltLength };
    case "rsa-pkcs1":
      return { name: "RSASSA-PKCS1-v1_5" };
    default:
      return scheme satisfies never;
  }
}

/** `crypto.subtle`, or another that is given, for example @peculiar/webcrypto's. */
export function webProvider(
  subtle: Subtle | undefined = globalThis.crypto?.subtle as Subtle | undefined,
): CryptoProvider | undefined {
  return subtle && new WebProvider(subtle);
}

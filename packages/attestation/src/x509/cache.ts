import { toHex } from "@entresol/wire";
import { type CryptoProvider, curveSizes, type PublicKey } from "../crypto/provider.ts";
import { type Certificate, parseCertificate, plainSignature, type Signed } from "./certificate.ts";
import { parseCrl, type RevocationList } from "./crl.ts";

/** A map that forgets what was used least recently. */
export class BoundedMap<Value> {
  readonly #most: number;
  readonly #entries = new Map<string, Value>();

  constructor(most: number) {
    this.#most = most;
  }
  get size(): number {
    return this.#entries.size;
  }
  get(key: string): Value | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }
  set(key: string, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size > this.#most)
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
  }
}

/** A certificate with the hash of its bytes. */
export interface KnownCertificate {
  readonly certificate: Certificate;
  /** SHA-256 of the DER, hexadecimal. */
  readonly hash: string;
}

/** A CRL with the hash of its bytes. */
export interface KnownCrl {
  readonly list: RevocationList;
  readonly hash: string;
}

/**
 * What does not depend on the time of a judgement: certificates and lists taken apart, keys imported, signatures of certificates found good.
 * Keyed by the hash of the bytes, never by issuer and serial number (AMD's VCEKs all have serial 0), and bounded. May serve any number of
 * verifications; of failures nothing is kept.
 */
export class CertificateCache {
  readonly crypto: CryptoProvider;
  readonly #certificates: BoundedMap<KnownCertificate>;
  readonly #lists: BoundedMap<KnownCrl>;
  readonly #keys: BoundedMap<PublicKey>;
  readonly #signatures: BoundedMap<true>;
  readonly #others: BoundedMap<object>;

  /** `most` entries of each kind. */
  constructor(crypto: CryptoProvider, most = 512) {
    this.crypto = crypto;
    this.#certificates = new BoundedMap(most);
    this.#lists = new BoundedMap(most);
    this.#keys = new BoundedMap(most);
    this.#signatures = new BoundedMap(2 * most);
    this.#others = new BoundedMap(most);
  }

  async #hash(bytes: Uint8Array): Promise<string> {
    return toHex(await this.crypto.digest("sha256", bytes));
  }

  /**
   * What `make` gives for these bytes, made once. `kind` keeps apart what different readers make of the same bytes. `make` gets a copy of
   * them; what it throws is not remembered.
   */
  async derived<T extends object>(
    kind: string,
    bytes: Uint8Array,
    make: (own: Uint8Array) => T | Promise<T>,
  ): Promise<T> {
    const name = `${kind} ${await this.#hash(bytes)}`;
    const known = this.#others.get(name);
    if (known !== undefined) return known as T;
    const made = await make(new Uint8Array(bytes));
    this.#others.set(name, made);
    return made;
  }

  /** Takes a certificate apart. Throws `MalformedError`. */
  async certificate(der: Uint8Array): Promise<KnownCertificate> {
    const hash = await this.#hash(der);
    let known = this.#certificates.get(hash);
    if (known === undefined) {
      // A copy: the caller's bytes may change, and the cache must not.
      known = { certificate: parseCertificate(new Uint8Array(der)), hash };
      this.#certificates.set(hash, known);
    }
    return known;
  }

  /** Takes a CRL apart. Throws `MalformedError`. */
  async crl(der: Uint8Array): Promise<KnownCrl> {
    const hash = await this.#hash(der);
    let known = this.#lists.get(hash);
    if (known === undefined) {
      known = { list: parseCrl(new Uint8Array(der)), hash };
      this.#lists.set(hash, known);
    }
    return known;
  }

  /** The public key of a SubjectPublicKeyInfo. Throws `EvidenceError` `unsupported-key`. */
  async key(spki: Uint8Array): Promise<PublicKey> {
    const hash = await this.#hash(spki);
    let key = this.#keys.get(hash);
    if (key === undefined) {
      key = await this.crypto.importSpki(spki);
      this.#keys.set(hash, key);
    }
    return key;
  }

  /** Did the holder of `spki` sign this certificate or list (whose bytes have `hash`)? A good signature is remembered. */
  async signedBy(signed: Signed, hash: string, spki: Uint8Array): Promise<boolean> {
    const name = `${hash} ${await this.#hash(spki)}`;
    if (this.#signatures.get(name)) return true;
    const key = await this.key(spki);
    const signature = plainSignature(signed, key.curve && curveSizes[key.curve]);
    if (signature === undefined) return false;
    const good = await this.crypto.verify(key, signed.scheme, signature, signed.tbs);
    if (good) this.#signatures.set(name, true);
    return good;
  }
}

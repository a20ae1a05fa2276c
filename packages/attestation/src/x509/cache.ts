import { fingerprint } from "../crypto/fingerprint.ts";
import { type CryptoProvider, type CurveName, curveSizes, type PublicKey } from "../crypto/provider.ts";
import { type Certificate, parseCertificate, plainSignature, type Signed } from "./certificate.ts";
import { parseCrl, type RevocationList } from "./crl.ts";

/**
 * A map of at most so many entries, which forgets what has not been used for long: entries are in two generations, and the older one goes
 * when the younger one has half of all.
 */
export class BoundedMap<Value> {
  readonly #half: number;
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();

  constructor(most: number) {
    this.#half = Math.max(1, most >> 1);
  }
  get size(): number {
    return this.#young.size + this.#old.size;
  }
  get(key: string): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.set(key, old);
    }
    return old;
  }
  set(key: string, value: Value): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
    this.#old.delete(key);
  }
}

/** A certificate with the hash of its bytes. */
export interface KnownCertificate {
  readonly certificate: Certificate;
  /** SHA-256 of the DER, hexadecimal. */
  readonly hash: string;
}

/** Bytes that nobody else can write to, with their hash. */
export interface Taken {
  readonly bytes: Uint8Array;
  /** SHA-256, hexadecimal. */
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
  /** Hashes of the copies that were taken: nobody else writes to them. */
  readonly #taken = new WeakMap<Uint8Array, string>();

  /** `most` entries of each kind. */
  constructor(crypto: CryptoProvider, most = 512) {
    this.crypto = crypto;
    this.#certificates = new BoundedMap(most);
    this.#lists = new BoundedMap(most);
    this.#keys = new BoundedMap(most);
    this.#signatures = new BoundedMap(2 * most);
    this.#others = new BoundedMap(most);
  }

  /**
   * The bytes as they are now, in a copy of the cache's own, and their SHA-256. What is judged is the copy: whoever still has the bytes may
   * write to them while a verification waits, and would else have other bytes used than were hashed or verified.
   */
  async take(bytes: Uint8Array): Promise<Taken> {
    const own = new Uint8Array(bytes);
    const hash = await fingerprint(this.crypto, own);
    this.#taken.set(own, hash);
    return { bytes: own, hash };
  }

  /** The same, for bytes that may have been taken already. */
  async taken(bytes: Uint8Array): Promise<Taken> {
    const hash = this.#taken.get(bytes);
    return hash === undefined ? this.take(bytes) : { bytes, hash };
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
    const taken = await this.taken(bytes);
    const name = `${kind} ${taken.hash}`;
    const known = this.#others.get(name);
    if (known !== undefined) return known as T;
    const made = await make(taken.bytes);
    this.#others.set(name, made);
    return made;
  }

  /** Does `check` hold? Asked once for each `name`, which has to say everything that it depends on; only what holds is remembered. */
  async holds(name: string, check: () => boolean | Promise<boolean>): Promise<boolean> {
    if (this.#signatures.get(name) !== undefined) return true;
    const good = await check();
    if (good) this.#signatures.set(name, true);
    return good;
  }

  /** Takes a certificate apart. Throws `MalformedError`. */
  async certificate(der: Uint8Array): Promise<KnownCertificate> {
    const { bytes, hash } = await this.taken(der);
    let known = this.#certificates.get(hash);
    if (known === undefined) {
      known = { certificate: parseCertificate(bytes), hash };
      this.#certificates.set(hash, known);
    }
    return known;
  }

  /** Takes a CRL apart. Throws `MalformedError`. */
  async crl(der: Uint8Array): Promise<KnownCrl> {
    const { bytes, hash } = await this.taken(der);
    let known = this.#lists.get(hash);
    if (known === undefined) {
      known = { list: parseCrl(bytes), hash };
      this.#lists.set(hash, known);
    }
    return known;
  }

  /** The public key of a SubjectPublicKeyInfo. Throws `EvidenceError` `unsupported-key`. */
  async key(spki: Uint8Array): Promise<PublicKey> {
    const name = contentName(spki);
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = await this.crypto.importSpki(new Uint8Array(spki));
      this.#keys.set(name, key);
    }
    return key;
  }

  /** The public key of a point, X || Y. Throws `EvidenceError` `unsupported-key`. */
  async point(curve: CurveName, xy: Uint8Array): Promise<PublicKey> {
    const name = `${curve} ${contentName(xy)}`;
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = await this.crypto.importPoint(curve, new Uint8Array(xy));
      this.#keys.set(name, key);
    }
    return key;
  }

  /** Did the holder of `spki` sign this certificate or list (whose bytes have `hash`)? A good signature is remembered. */
  async signedBy(signed: Signed, hash: string, spki: Uint8Array): Promise<boolean> {
    return this.holds(`${hash} ${contentName(spki)}`, async () => {
      const key = await this.key(spki);
      const signature = plainSignature(signed, key.curve && curveSizes[key.curve]);
      if (signature === undefined) return false;
      return this.crypto.verify(key, signed.scheme, signature, signed.tbs);
    });
  }
}

/** Names of keys; a view that is gone takes its name along. */
const names = new WeakMap<Uint8Array, string>();

/** Bytes of a key as a name, which is cheaper than their hash. They must not change: views of what was taken, or constants. */
export function contentName(bytes: Uint8Array): string {
  let name = names.get(bytes);
  if (name === undefined) {
    name = String.fromCharCode.apply(null, bytes as unknown as number[]);
    names.set(bytes, name);
  }
  return name;
}

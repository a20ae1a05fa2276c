import { fingerprint } from "../crypto/fingerprint.ts";
import { type CryptoProvider, type CurveName, curveSizes, type PublicKey } from "../crypto/provider.ts";
import { type Certificate, parseCertificate, plainSignature, type Signed } from "./certificate.ts";
import { parseCrl, type RevocationList } from "./crl.ts";

/**
 * A map of at most so many entries, which forgets what has not been used for long: entries are in two generations, and the older one goes
 * when the younger one has half of all. An entry may count for several.
 */
export class BoundedMap<Value> {
  readonly #half: number;
  #young = new Map<string, Weighed<Value>>();
  #old = new Map<string, Weighed<Value>>();
  /** Of the younger generation. */
  #weight = 0;

  constructor(most: number) {
    this.#half = Math.max(1, most >> 1);
  }
  get size(): number {
    return this.#young.size + this.#old.size;
  }
  get(key: string): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young.value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.set(key, old.value, old.weight);
    return old.value;
  }
  set(key: string, value: Value, weight = 1): void {
    this.#weight -= this.#young.get(key)?.weight ?? 0;
    if (this.#weight + weight > this.#half && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#weight = 0;
    }
    this.#young.set(key, { value, weight });
    this.#weight += weight;
    this.#old.delete(key);
  }
}

interface Weighed<Value> {
  readonly value: Value;
  readonly weight: number;
}

/** Bytes that count for one entry: no certificate of AMD or Intel is larger, with all that it comes with. */
const UNIT = 16 << 10;
/** A document taken apart is larger than its bytes. */
const TREE = 8;
/** Two places for each serial number. */
const CRL_ENTRY = 16;

/**
 * What an entry keeps in memory. Strangers choose what is parsed, and the memory that all of their files were copied into stays with each of
 * them.
 */
const weightOf = ({ buffer }: Uint8Array, more = 0): number =>
  Math.max(1, Math.ceil((buffer.byteLength + more) / UNIT));

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

  /** `most` entries of each kind, of up to 16 KB each: what is larger counts for several. */
  constructor(crypto: CryptoProvider, most = 512) {
    this.crypto = crypto;
    this.#certificates = new BoundedMap(most);
    this.#lists = new BoundedMap(most);
    this.#keys = new BoundedMap(most);
    this.#signatures = new BoundedMap(2 * most);
    this.#others = new BoundedMap(most);
  }

  /**
   * The bytes as they are now, in copies of the cache's own made at once, and their SHA-256. What is judged are the copies: whoever still has
   * the bytes may write to them while a verification waits, and would else have other bytes used than were hashed or verified.
   */
  async take(list: readonly Uint8Array[]): Promise<Taken[]> {
    let size = 0;
    for (const { length } of list) size += length;
    // One piece of memory for all: each is work for the garbage collector.
    const all = new Uint8Array(size);
    const own: Uint8Array[] = [];
    let at = 0;
    for (const bytes of list) {
      all.set(bytes, at);
      own.push(all.subarray(at, at + bytes.length));
      at += bytes.length;
    }
    const taken: Taken[] = [];
    for (const bytes of own) taken.push({ bytes, hash: await fingerprint(this.crypto, bytes) });
    return taken;
  }

  async #taken(bytes: Uint8Array | Taken): Promise<Taken> {
    return bytes instanceof Uint8Array ? ((await this.take([bytes]))[0] as Taken) : bytes;
  }

  /**
   * What `make` gives for these bytes, made once. `kind` keeps apart what different readers make of the same bytes. `make` gets bytes that
   * nobody else writes to; what it throws is not remembered.
   */
  async derived<T extends object>(
    kind: string,
    bytes: Uint8Array | Taken,
    make: (own: Uint8Array) => T | Promise<T>,
  ): Promise<T> {
    const taken = await this.#taken(bytes);
    const name = `${kind} ${taken.hash}`;
    const known = this.#others.get(name);
    if (known !== undefined) return known as T;
    const made = await make(taken.bytes);
    this.#others.set(name, made, weightOf(taken.bytes, (TREE - 1) * taken.bytes.length));
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
  async certificate(der: Uint8Array | Taken): Promise<KnownCertificate> {
    const { bytes, hash } = await this.#taken(der);
    let known = this.#certificates.get(hash);
    if (known === undefined) {
      known = { certificate: parseCertificate(bytes), hash };
      this.#certificates.set(hash, known, weightOf(bytes));
    }
    return known;
  }

  /** Takes a CRL apart. Throws `MalformedError`. */
  async crl(der: Uint8Array | Taken): Promise<KnownCrl> {
    const { bytes, hash } = await this.#taken(der);
    let known = this.#lists.get(hash);
    if (known === undefined) {
      known = { list: parseCrl(bytes), hash };
      this.#lists.set(hash, known, weightOf(bytes, known.list.count * CRL_ENTRY));
    }
    return known;
  }

  /**
   * The public key of a SubjectPublicKeyInfo. `name`: of what holds it, where that has a hash of its own; else the key's bytes are its name.
   * Throws `EvidenceError` `unsupported-key`.
   */
  async key(spki: Uint8Array, name = contentName(spki)): Promise<PublicKey> {
    const constant = builtIn.get(spki);
    let key = constant === undefined ? this.#keys.get(name) : constant.get(this.crypto);
    if (key === undefined) {
      key = await this.crypto.importSpki(spki);
      if (constant === undefined) this.#keys.set(name, key);
      else constant.set(this.crypto, key);
    }
    return key;
  }

  /** The public key of a point, X || Y, whose `name` says which. Throws `EvidenceError` `unsupported-key`. */
  async point(curve: CurveName, xy: Uint8Array, name: string): Promise<PublicKey> {
    let key = this.#keys.get(name);
    if (key === undefined) {
      key = await this.crypto.importPoint(curve, xy);
      this.#keys.set(name, key);
    }
    return key;
  }

  /** Did the holder of `spki` sign this certificate or list (whose bytes have `hash`)? A good signature is remembered. `name`: as for `key`. */
  async signedBy(signed: Signed, hash: string, spki: Uint8Array, name = contentName(spki)): Promise<boolean> {
    return this.holds(`${hash} ${name}`, async () => {
      const key = await this.key(spki, name);
      const signature = plainSignature(signed, key.curve && curveSizes[key.curve]);
      if (signature === undefined) return false;
      return this.crypto.verify(key, signed.scheme, signature, signed.tbs);
    });
  }
}

/** Keys of the product itself, by the provider that made them: they do not have to be made again for each cache. */
const builtIn = new WeakMap<Uint8Array, WeakMap<CryptoProvider, PublicKey>>();

/** Marks a SubjectPublicKeyInfo that is a constant of this package. */
export function builtInKey(spki: Uint8Array): Uint8Array {
  builtIn.set(spki, new WeakMap());
  return spki;
}

/** Names of keys; a view that is gone takes its name along. */
const names = new WeakMap<Uint8Array, string>();

/** Bytes of a key as a name, which is cheaper than their hash. They must not change: views of what was taken, or constants. */
export function contentName(bytes: Uint8Array): string {
  let name = names.get(bytes);
  if (name === undefined) {
    name = `key ${String.fromCharCode.apply(null, bytes as unknown as number[])}`;
    names.set(bytes, name);
  }
  return name;
}

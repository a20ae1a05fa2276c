import {
  Alg,
  type CreationData,
  type Derive,
  digestSizes,
  localityBit,
  ObjectAttribute,
  type PcrSelection,
  type Public,
  Rc,
  Rh,
  type RsaPublic,
  type Sensitive,
  type SensitiveCreate,
  type Ticket,
  TPMS_CREATION_DATA,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import { seededDraw } from "./crypto/drbg.ts";
import type { Draw, RsaPrivate } from "./crypto/provider.ts";
import { CONTEXT_HASH, concat, type Engine, u16, u32 } from "./engine.ts";
import { keyedHashAlgorithm, keyedHashCreationLimit, symmetricUnique } from "./key-attributes.ts";
import { KeySearchNeeded, SEARCH_DRAWS } from "./key-search.ts";
import { CURRENT_DERIVATION } from "./manufacture.ts";
import { type Ancestor, hasAttributes, hierarchyOf, isAsymmetric, objectName } from "./objects.ts";
import { pcrDigest } from "./pcr.ts";
import type { StoredObject } from "./state.ts";
import { creationTicket } from "./tickets.ts";

/* How new objects come by their keys: from randomness, from a primary seed, or from a derivation parent (Part 1, 25 to 28). */

const { sensitiveDataOrigin, restricted, sign } = ObjectAttribute;
const empty: Uint8Array = new Uint8Array(0);

/** Where the secrets of a new object come from. */
export interface KeySource {
  /** Key material. */
  readonly key: Draw;
  /** The seed that protects an object's children, or hides a symmetric key behind `unique`. */
  readonly seed: Draw;
  rsa(bits: number, exponent: number): RsaPrivate;
}

/** Of an ordinary object: nothing follows from anything. */
export function randomSource(engine: Engine): KeySource {
  const { crypto } = engine;
  const draw: Draw = (length) => crypto.random(length);
  return {
    key: draw,
    seed: draw,
    rsa: (bits, exponent) => searchRsa(engine, bits, exponent, CURRENT_DERIVATION, draw),
  };
}

/**
 * Searches for a key, unless somebody wants the command to end: that is looked at before each prime. Throws TPM_RC_CANCELED, and `KeySearchNeeded`
 * when long searches are put off.
 */
function searchRsa(
  engine: Engine,
  bits: number,
  exponent: number,
  derivation: number,
  draw: Draw,
): RsaPrivate {
  const next: Draw = (length) => {
    if (engine.canceled()) throw new TpmError(Rc.CANCELED);
    return draw(length);
  };
  const { keySearch } = engine;
  if (keySearch === undefined || bits <= keySearch.longest)
    return engine.crypto.rsaDerive(bits, exponent, derivation, next);
  if (keySearch.found !== undefined) return keySearch.found;
  const draws = Array.from({ length: SEARCH_DRAWS }, () => next(bits >>> 4));
  throw new KeySearchNeeded({ bits, exponent, derivation, draws });
}

/** Primary RSA keys that were found lately, by all that they follow from. Searching costs tens of milliseconds; the answer is always the same. */
const primaryKeys = new WeakMap<Engine, Map<string, RsaPrivate>>();
const PRIMARY_KEYS_KEPT = 16;

function primarySeed({ state: { permanent, reset } }: Engine, hierarchy: number): Uint8Array {
  switch (hierarchy) {
    case Rh.OWNER:
      return permanent.ownerSeed;
    case Rh.ENDORSEMENT:
      return permanent.endorsementSeed;
    case Rh.PLATFORM:
      return permanent.platformSeed;
    default:
      return reset.nullSeed;
  }
}

/**
 * Of a primary object: all follows from the hierarchy's seed, the template and the data that the caller stirs in, by the rules of the state's
 * `derivation` (1: HMAC_DRBG with SHA-512 over seed, label, sizes, Name of the template and data). The seed for children of an endorsement key follows
 * from the proofs as well, so that what was under it is lost when the owner changes (Part 1, 14.4).
 */
export function primarySource(
  engine: Engine,
  hierarchy: number,
  template: Public,
  data: Uint8Array,
): KeySource {
  const { crypto, state } = engine;
  const { permanent } = state;
  const seed = primarySeed(engine, hierarchy);
  const templateName = objectName(engine, template);
  const parts = [u16(templateName.length), templateName, u16(data.length), data];
  const proofs = hierarchy === Rh.ENDORSEMENT ? [permanent.ownerProof, permanent.endorsementProof] : [];
  const key = seededDraw(crypto, seed, "Primary Object Creation", ...parts);
  return {
    key,
    seed: seededDraw(crypto, seed, "Primary Object Seed", ...parts, ...proofs),
    rsa(bits, exponent) {
      const known = primaryKeys.get(engine) ?? new Map<string, RsaPrivate>();
      primaryKeys.set(engine, known);
      const { derivation } = permanent;
      // The seed is part of what is hashed: with a new one, nothing old is found.
      const digest = crypto.hmac(CONTEXT_HASH, seed, u32(derivation), u16(bits), u32(exponent), ...parts);
      const id = Buffer.from(digest).toString("base64");
      const found = known.get(id) ?? searchRsa(engine, bits, exponent, derivation, key);
      known.delete(id);
      known.set(id, found);
      for (const oldest of known.keys()) {
        if (known.size <= PRIMARY_KEYS_KEPT) break;
        known.delete(oldest);
      }
      return found;
    },
  };
}

/** Bits that one derivation could give at most: the number goes into the KDF. */
const MAX_DERIVATION_BITS = 8192;

/**
 * Of a derived object (Part 1, 28): KDFa in counter mode by the parent's key, taken from as it is needed. Other TPMs with the same parent give the same
 * object. There are no derived RSA keys.
 */
export function derivedSource(engine: Engine, parent: StoredObject, { label, context }: Derive): KeySource {
  const { publicArea, sensitive } = parent;
  if (publicArea.type !== Alg.KEYEDHASH || sensitive === undefined) throw new TpmError(Rc.TYPE);
  const { hash } = publicArea.parameters.scheme;
  // Ends the label, where it does not do so itself.
  const end = label.at(-1) === 0 ? empty : Uint8Array.of(0);
  const tail = concat(label, end, context, u32(MAX_DERIVATION_BITS));
  let counter = 0;
  let rest: Uint8Array = empty;
  const draw: Draw = (length) => {
    while (rest.length < length)
      rest = concat(rest, engine.crypto.hmac(hash, sensitive.sensitive, u32(++counter), tail));
    const drawn = rest.slice(0, length);
    rest = rest.slice(length);
    return drawn;
  };
  return {
    key: draw,
    seed: draw,
    rsa() {
      throw new TpmError(Rc.TYPE);
    },
  };
}

/** An object that does not hang anywhere yet. */
export interface NewObject {
  readonly publicArea: Public;
  readonly sensitive: Sensitive;
}

/**
 * Makes the object of a template that was validated. Throws, without a place, TPM_RC_SIZE and TPM_RC_KEY_SIZE for data that does not
 * fit and TPM_RC_RANGE for an exponent that is not supported.
 */
export function createObject(
  engine: Engine,
  template: Public,
  { userAuth, data }: SensitiveCreate,
  source: KeySource,
): NewObject {
  const { crypto } = engine;
  const given = hasAttributes(template, sensitiveDataOrigin) ? empty : data;
  const { publicArea, secret } = createKey(engine, template, given, source);
  const seedSize = digestSizes.get(template.nameAlg)!;
  // Drawn in any case, so that what follows from a generator does not depend on what is kept.
  const seed = source.seed(seedSize);
  const isStorage = hasAttributes(template, restricted) && !hasAttributes(template, sign);
  const sensitive: Sensitive = {
    sensitiveType: template.type,
    authValue: userAuth,
    seedValue: isAsymmetric(template) && !isStorage ? empty : seed,
    sensitive: secret,
  };
  if (publicArea.type !== Alg.KEYEDHASH && publicArea.type !== Alg.SYMCIPHER)
    return { publicArea, sensitive };
  return { publicArea: { ...publicArea, unique: symmetricUnique(crypto, publicArea, sensitive) }, sensitive };
}

/** The secret part of an object and its public area, with `unique` where that is a public key. */
function createKey(
  { crypto }: Engine,
  template: Public,
  given: Uint8Array,
  source: KeySource,
): { readonly publicArea: Public; readonly secret: Uint8Array } {
  switch (template.type) {
    case Alg.RSA: {
      requireExponent(template);
      const { keyBits, exponent } = template.parameters;
      const { modulus, prime } = source.rsa(keyBits, exponent);
      return { publicArea: { ...template, unique: modulus }, secret: prime };
    }
    case Alg.ECC: {
      const { curveID } = template.parameters;
      const scalar = crypto.eccScalar(curveID, source.key);
      return { publicArea: { ...template, unique: crypto.eccPublic(curveID, scalar)! }, secret: scalar };
    }
    case Alg.SYMCIPHER: {
      const size = template.parameters.sym.keyBits / 8;
      if (given.length !== 0 && given.length !== size) throw new TpmError(Rc.KEY_SIZE);
      return { publicArea: template, secret: given.length === 0 ? source.key(size) : given };
    }
    case Alg.KEYEDHASH: {
      if (given.length > keyedHashCreationLimit(template)) throw new TpmError(Rc.SIZE);
      const size = digestSizes.get(keyedHashAlgorithm(template))!;
      return { publicArea: template, secret: given.length === 0 ? source.key(size) : given };
    }
    default:
      return template satisfies never;
  }
}

/** Exponents are primes from 65537 on. */
function requireExponent({ parameters: { exponent } }: RsaPublic): void {
  if (exponent === 0) return;
  if (exponent < 65537 || exponent % 2 === 0) throw new TpmError(Rc.RANGE);
  for (let factor = 3; factor * factor <= exponent; factor += 2)
    if (exponent % factor === 0) throw new TpmError(Rc.RANGE);
}

/** What is told of the circumstances of a creation, with its digest and the ticket that this TPM says so by. */
export interface Creation {
  readonly creationData: CreationData;
  readonly creationHash: Uint8Array;
  readonly creationTicket: Ticket;
}

/** Part 2, 15.1; Part 1, 30.6. `ancestor` is the parent, or the hierarchy of a primary object; `nameAlg` and `name` are the object's. */
export function describeCreation(
  engine: Engine,
  ancestor: Ancestor,
  nameAlg: number,
  name: Uint8Array,
  creationPcr: readonly PcrSelection[],
  outsideInfo: Uint8Array,
): Creation {
  const { crypto } = engine;
  const { digest, selections } = pcrDigest(engine, nameAlg, creationPcr);
  const ofHierarchy = typeof ancestor === "number";
  const parentName = ofHierarchy ? u32(ancestor) : ancestor.name;
  const creationData: CreationData = {
    pcrSelect: selections,
    pcrDigest: digest,
    locality: localityBit(engine.locality),
    parentNameAlg: ofHierarchy ? Alg.NULL : ancestor.publicArea.nameAlg,
    parentName,
    parentQualifiedName: ofHierarchy ? parentName : ancestor.qualifiedName,
    outsideInfo,
  };
  const writer = new TpmWriter();
  TPMS_CREATION_DATA.write(writer, creationData);
  const creationHash = crypto.hash(nameAlg, writer.finish());
  const ticket = creationTicket(engine, hierarchyOf(ancestor), name, creationHash);
  return { creationData, creationHash, creationTicket: ticket };
}

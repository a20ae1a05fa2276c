import {
  Alg,
  ObjectAttribute,
  ofParameter,
  type Public,
  Rc,
  Rh,
  type Sensitive,
  type SymmetricDefinition,
  TPMT_PUBLIC_NULL,
  TpmError,
  TpmWriter,
} from "@entresol/tpm-types";
import type { RsaPrivate } from "./crypto/provider.ts";
import { concat, type Engine, u16, u32, withoutTrailingZeros } from "./engine.ts";
import { slotAt } from "./entities.ts";
import type { Slot, StoredObject } from "./state.ts";

/* Objects in their slots: handles, Names, and what an object may be used for (Part 1, clauses 16, 23 and 27). */

const { fixedTPM, restricted, decrypt, sign, stClear } = ObjectAttribute;
/** Handle of the first transient slot. */
const TRANSIENT_FIRST = 0x8000_0000;

/** Is there a slot for one more transient object? Throws TPM_RC_OBJECT_MEMORY when there is none, before any work is put into an object. */
export function requireFreeSlot(engine: Engine): void {
  if (engine.state.volatile.transients.length >= engine.limits.transientObjects)
    throw new TpmError(Rc.OBJECT_MEMORY);
}

/** Puts an object or a sequence into the first free slot and gives its handle. Throws TPM_RC_OBJECT_MEMORY. */
export function allocateSlot(engine: Engine, slot: Slot): number {
  requireFreeSlot(engine);
  const { transients } = engine.state.volatile;
  let handle = TRANSIENT_FIRST;
  while (transients.some((entry) => entry.handle === handle)) handle++;
  transients.push({ handle, slot });
  return handle;
}

/** Puts an object into the first free slot and gives its handle. Throws TPM_RC_OBJECT_MEMORY. */
export function allocateObject(engine: Engine, object: StoredObject): number {
  return allocateSlot(engine, { kind: "object", object });
}

/** Frees the slot of a transient handle. Without effect when nothing is there. */
export function flushObject(engine: Engine, handle: number): void {
  const { volatile } = engine.state;
  volatile.transients = volatile.transients.filter((entry) => entry.handle !== handle);
}

/** Frees the slots of all transient objects of a hierarchy, as when it is disabled or its seed changes. */
export function flushHierarchy(engine: Engine, hierarchy: number): void {
  const { volatile } = engine.state;
  volatile.transients = volatile.transients.filter(
    ({ slot }) => slot.kind !== "object" || slot.object.hierarchy !== hierarchy,
  );
}

/** The object of a transient or persistent handle. Throws `rc` when there is none, or a sequence. */
export function objectOf(engine: Engine, handle: number, rc: number = Rc.HANDLE): StoredObject {
  const slot = slotAt(engine, handle);
  if (slot?.kind !== "object") throw new TpmError(rc);
  return slot.object;
}

/** The public area in the form that Names are made of (TPMT_PUBLIC). */
export function marshalPublic(publicArea: Public): Uint8Array {
  const writer = new TpmWriter(512);
  TPMT_PUBLIC_NULL.write(writer, publicArea);
  return writer.finish();
}

/** Name of an object: Name algorithm and digest of the public area. Empty without a Name algorithm. */
export function objectName(engine: Pick<Engine, "crypto">, publicArea: Public): Uint8Array {
  const { nameAlg } = publicArea;
  if (nameAlg === Alg.NULL) return new Uint8Array(0);
  return concat(u16(nameAlg), engine.crypto.hash(nameAlg, marshalPublic(publicArea)));
}

/** Qualified Name of an object of Name `name` below a parent of Qualified Name `parentQn` (Part 1, 16.6). */
export function qualifiedName(
  engine: Engine,
  parentQn: Uint8Array,
  name: Uint8Array,
  nameAlg: number,
): Uint8Array {
  return concat(u16(nameAlg), engine.crypto.hash(nameAlg, parentQn, name));
}

/** Are all of the attributes set? */
export function hasAttributes(publicArea: Public, attributes: number): boolean {
  return (publicArea.objectAttributes & attributes) === attributes;
}

export function isAsymmetric(publicArea: Public): boolean {
  return publicArea.type === Alg.RSA || publicArea.type === Alg.ECC;
}

/** Is it a loaded object that others can be protected or derived by: restricted, decrypting, with its sensitive area and a place in a hierarchy? */
function isAnyParent({ publicArea, sensitive, external }: StoredObject): boolean {
  return (
    !external &&
    sensitive !== undefined &&
    publicArea.nameAlg !== Alg.NULL &&
    hasAttributes(publicArea, restricted | decrypt)
  );
}

/** Can objects be created and loaded under it? */
export function isParent(object: StoredObject): boolean {
  return isAnyParent(object) && object.publicArea.type !== Alg.KEYEDHASH;
}

/** Can objects be derived from it (Part 1, 28)? */
export function isDerivationParent(object: StoredObject): boolean {
  return isAnyParent(object) && object.publicArea.type === Alg.KEYEDHASH;
}

/** Can something be duplicated to it: an asymmetric storage key, of which the public area is enough? */
export function isStorageKey({ publicArea }: StoredObject): boolean {
  return (
    isAsymmetric(publicArea) &&
    hasAttributes(publicArea, restricted | decrypt) &&
    !hasAttributes(publicArea, sign)
  );
}

/** Is it an asymmetric key that may decrypt only what the TPM understands, as credentials need it? Then it has a symmetric algorithm. */
export function isRestrictedDecryptionKey({ publicArea }: StoredObject): boolean {
  return isAsymmetric(publicArea) && hasAttributes(publicArea, restricted | decrypt);
}

export function isFixedToTpm({ publicArea }: StoredObject): boolean {
  return hasAttributes(publicArea, fixedTPM);
}

/** The cipher by which a key protects other objects; undefined for a keyed hash. */
export function protectionCipher(publicArea: Public): SymmetricDefinition | undefined {
  switch (publicArea.type) {
    case Alg.RSA:
    case Alg.ECC:
      return publicArea.parameters.symmetric;
    case Alg.SYMCIPHER:
      return publicArea.parameters.sym;
    default:
      return undefined;
  }
}

/** What an object hangs from: a parent, or the hierarchy of a primary or external one. */
export type Ancestor = StoredObject | number;

export function hierarchyOf(ancestor: Ancestor): number {
  return typeof ancestor === "number" ? ancestor : ancestor.hierarchy;
}

/** An object as it is once loaded, with its Names. `origin` says how it came; `name` saves a digest when it is known. authValues are kept without trailing zeros. */
export function loadedObject(
  engine: Engine,
  ancestor: Ancestor,
  publicArea: Public,
  sensitive: Sensitive | undefined,
  origin: "created" | "derived" | "external",
  name = objectName(engine, publicArea),
): StoredObject {
  const external = origin === "external";
  const ofHierarchy = typeof ancestor === "number";
  const parentQn = ofHierarchy ? u32(ancestor) : ancestor.qualifiedName;
  return {
    publicArea,
    sensitive:
      sensitive === undefined
        ? undefined
        : { ...sensitive, authValue: withoutTrailingZeros(sensitive.authValue) },
    name,
    qualifiedName: external ? name : qualifiedName(engine, parentQn, name, publicArea.nameAlg),
    hierarchy: hierarchyOf(ancestor),
    primary: ofHierarchy && !external && ancestor !== Rh.NULL,
    external,
    stClear: hasAttributes(publicArea, stClear) || (!ofHierarchy && ancestor.stClear),
    derived: origin === "derived",
  };
}

const rsaKeys = new WeakMap<StoredObject, RsaPrivate>();

/** The private key of an RSA object, the same value for as long as the object lives; undefined for another object or a public one. */
export function rsaPrivateOf(object: StoredObject): RsaPrivate | undefined {
  const { publicArea, sensitive } = object;
  if (publicArea.type !== Alg.RSA || sensitive === undefined) return undefined;
  let key = rsaKeys.get(object);
  if (key === undefined) {
    key = {
      modulus: publicArea.unique,
      exponent: publicArea.parameters.exponent,
      prime: sensitive.sensitive,
    };
    rsaKeys.set(object, key);
  }
  return key;
}

/** What `action` gives; a code that it throws is said of parameter `n`, from 1 on. Not for codes that have their place already. */
export function inParameter<T>(n: number, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw error instanceof TpmError ? new TpmError(ofParameter(error.rc, n)) : error;
  }
}

import {
  Alg,
  type Derive,
  digestSizes,
  Ht,
  handleType,
  Max,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  type Public,
  Rc,
  Rh,
  type Sensitive,
  type SensitiveCreate,
  structure,
  TPM2B_DIGEST,
  TPMA_OBJECT,
  TPMI_ALG_HASH,
  TPMI_ALG_PUBLIC,
  TPMS_DERIVE,
  TPMT_PUBLIC,
  TPMT_PUBLIC_PARMS,
  TpmError,
  TpmReader,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { createObject, derivedSource, describeCreation, primarySource, randomSource } from "../creation.ts";
import { concat, type Engine, u16, withoutTrailingZeros } from "../engine.ts";
import { hierarchyEnabled } from "../entities.ts";
import { validatePublic, validateTemplate } from "../key-attributes.ts";
import { validateLoaded, validateRsaPrime } from "../key-binding.ts";
import {
  allocateObject,
  hasAttributes,
  inParameter,
  isDerivationParent,
  isParent,
  loadedObject,
  objectName,
  objectOf,
  qualifiedName,
  requireFreeSlot,
} from "../objects.ts";
import { privateToSensitive, sensitiveToPrivate } from "../private-blob.ts";
import type { StoredObject } from "../state.ts";
import { credentialCommands } from "./credentials.ts";
import { duplicationCommands } from "./duplication.ts";
import { evictionCommands } from "./eviction.ts";

/* Objects: making, loading, reading (Part 3, clauses 12 and 24.1). */

const { fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt, sign } = ObjectAttribute;

/** Is the authValue, without trailing zeros, no longer than the Name digest? Throws TPM_RC_SIZE of parameter `n`. */
function requireAuthSize(authValue: Uint8Array, nameAlg: number, n: number): void {
  if (withoutTrailingZeros(authValue).length > (digestSizes.get(nameAlg) ?? Max.DIGEST))
    throw new TpmError(ofParameter(Rc.SIZE, n));
}

/** A parent to create or load under. Throws TPM_RC_TYPE of handle `n`. */
export function parentOf(engine: Engine, handle: number, n: number): StoredObject {
  const parent = objectOf(engine, handle, ofHandle(Rc.TYPE, n));
  if (!isParent(parent)) throw new TpmError(ofHandle(Rc.TYPE, n));
  return parent;
}

function createPrimary(
  engine: Engine,
  hierarchy: number,
  template: Public,
  sensitive: SensitiveCreate,
): StoredObject {
  const source = primarySource(engine, hierarchy, template, sensitive.data);
  const made = createObject(engine, template, sensitive, source);
  return loadedObject(engine, hierarchy, made.publicArea, made.sensitive, "created");
}

/** What comes before the parameters in a template. */
const templateHead = structure("TPMT_TEMPLATE", {
  type: TPMI_ALG_PUBLIC,
  nameAlg: TPMI_ALG_HASH,
  objectAttributes: TPMA_OBJECT,
  authPolicy: TPM2B_DIGEST,
});

/** The template of CreateLoaded: a public area, where a derived object has label and context in place of `unique`. */
function readTemplate(
  bytes: Uint8Array,
  derivation: boolean,
  without: ReadonlySet<number>,
): { readonly template: Public; readonly derive: Derive } {
  const reader = new TpmReader(bytes);
  reader.without = without;
  if (!derivation) {
    const template = TPMT_PUBLIC.read(reader);
    if (reader.remaining !== 0) throw new TpmError(Rc.SIZE);
    return { template, derive: { label: new Uint8Array(0), context: new Uint8Array(0) } };
  }
  const head = templateHead.read(reader);
  // The selector of the parameters comes first where they are a type of their own.
  const rest = new TpmReader(concat(u16(head.type), bytes.subarray(reader.offset)));
  rest.without = without;
  const parameters = TPMT_PUBLIC_PARMS.read(rest);
  const derive = TPMS_DERIVE.read(rest);
  if (rest.remaining !== 0) throw new TpmError(Rc.SIZE);
  const { nameAlg, objectAttributes, authPolicy } = head;
  const common = { nameAlg, objectAttributes, authPolicy };
  const unique = new Uint8Array(0);
  const template: Public =
    parameters.type === Alg.ECC
      ? { ...common, ...parameters, unique: { x: unique, y: unique } }
      : { ...common, ...parameters, unique };
  return { template, derive };
}

/** The label and context of a derived object: the template's, and what it leaves out from the sensitive data. */
function completeDerive(derive: Derive, data: Uint8Array): Derive {
  if (data.length === 0) return derive;
  const { label, context } = TPMS_DERIVE.read(new TpmReader(data));
  return {
    label: derive.label.length === 0 ? label : derive.label,
    context: derive.context.length === 0 ? context : derive.context,
  };
}

function createDerived(
  engine: Engine,
  parent: StoredObject,
  template: Public,
  derive: Derive,
  { userAuth, data }: SensitiveCreate,
): StoredObject {
  if (template.type === Alg.RSA) throw new TpmError(ofParameter(Rc.TYPE, 2));
  if (hasAttributes(template, sensitiveDataOrigin)) throw new TpmError(Rc.ATTRIBUTES);
  inParameter(2, () => validatePublic(parent, template, engine.weakRsa));
  const source = derivedSource(engine, parent, completeDerive(derive, data));
  const made = createObject(engine, template, { userAuth, data: new Uint8Array(0) }, source);
  return loadedObject(engine, parent, made.publicArea, made.sensitive, "derived");
}

export const objectCommands = {
  ...credentialCommands,
  ...duplicationCommands,
  ...evictionCommands,

  CreatePrimary(engine, { handles, parameters }) {
    const { inSensitive, inPublic, outsideInfo, creationPCR } = parameters;
    requireFreeSlot(engine);
    inParameter(2, () => validateTemplate(undefined, inPublic, inSensitive.data.length, engine.weakRsa));
    requireAuthSize(inSensitive.userAuth, inPublic.nameAlg, 1);
    const object = createPrimary(engine, handles.primaryHandle, inPublic, inSensitive);
    const { publicArea, name } = object;
    const { primaryHandle } = handles;
    const creation = describeCreation(
      engine,
      primaryHandle,
      publicArea.nameAlg,
      name,
      creationPCR,
      outsideInfo,
    );
    return { responseHandle: allocateObject(engine, object), outPublic: publicArea, ...creation, name };
  },

  Create(engine, { handles, parameters }) {
    const { inSensitive, inPublic, outsideInfo, creationPCR } = parameters;
    const parent = parentOf(engine, handles.parentHandle, 1);
    inParameter(2, () => validateTemplate(parent, inPublic, inSensitive.data.length, engine.weakRsa));
    requireAuthSize(inSensitive.userAuth, inPublic.nameAlg, 1);
    const { publicArea, sensitive } = createObject(engine, inPublic, inSensitive, randomSource(engine));
    const name = objectName(engine, publicArea);
    const creation = describeCreation(engine, parent, publicArea.nameAlg, name, creationPCR, outsideInfo);
    return {
      outPrivate: sensitiveToPrivate(engine, parent, name, publicArea, keptSensitive(sensitive)),
      outPublic: publicArea,
      ...creation,
    };
  },

  CreateLoaded(engine, { handles: { parentHandle }, parameters: { inSensitive, inPublic } }) {
    const ofHierarchy = handleType(parentHandle) === Ht.PERMANENT;
    const parent = ofHierarchy ? undefined : objectOf(engine, parentHandle, ofHandle(Rc.TYPE, 1));
    const derivation = parent !== undefined && isDerivationParent(parent);
    if (parent !== undefined && !derivation && !isParent(parent)) throw new TpmError(ofHandle(Rc.TYPE, 1));
    requireFreeSlot(engine);
    const { template, derive } = inParameter(2, () => readTemplate(inPublic, derivation, engine.without));
    requireAuthSize(inSensitive.userAuth, template.nameAlg, 1);
    if (parent !== undefined && derivation) {
      const object = createDerived(engine, parent, template, derive, inSensitive);
      return loadedResult(engine, object, new Uint8Array(0));
    }
    inParameter(2, () => validateTemplate(parent, template, inSensitive.data.length, engine.weakRsa));
    if (parent === undefined) {
      const object = createPrimary(engine, parentHandle, template, inSensitive);
      return loadedResult(engine, object, new Uint8Array(0));
    }
    const made = createObject(engine, template, inSensitive, randomSource(engine));
    const object = loadedObject(engine, parent, made.publicArea, made.sensitive, "created");
    const { name, publicArea, sensitive } = object;
    return loadedResult(engine, object, sensitiveToPrivate(engine, parent, name, publicArea, sensitive!));
  },

  Load(engine, { handles, parameters: { inPrivate, inPublic } }) {
    requireFreeSlot(engine);
    if (inPrivate.length === 0) throw new TpmError(ofParameter(Rc.SIZE, 1));
    const parent = parentOf(engine, handles.parentHandle, 1);
    const name = objectName(engine, inPublic);
    const sensitive = inParameter(1, () => privateToSensitive(engine, parent, name, inPrivate));
    validateLoaded(engine, parent, inPublic, sensitive, { publicArea: 2, sensitive: 1 });
    if (inPublic.type === Alg.RSA) validateRsaPrime(engine, inPublic, sensitive.sensitive);
    const object = loadedObject(engine, parent, inPublic, sensitive, "created", name);
    return { responseHandle: allocateObject(engine, object), name };
  },

  LoadExternal(engine, { parameters: { inPrivate, inPublic, hierarchy } }) {
    requireFreeSlot(engine);
    if (!hierarchyEnabled(engine, hierarchy)) throw new TpmError(ofParameter(Rc.HIERARCHY, 3));
    if (inPrivate !== undefined) {
      if (hierarchy !== Rh.NULL) throw new TpmError(ofParameter(Rc.HIERARCHY, 3));
      // It shall not look like a key that this TPM made, or that signs only what the TPM made.
      if ((inPublic.objectAttributes & (fixedTPM | fixedParent | restricted)) !== 0)
        throw new TpmError(ofParameter(Rc.ATTRIBUTES, 2));
    }
    validateLoaded(engine, undefined, inPublic, inPrivate, { publicArea: 2, sensitive: 1 });
    if (inPublic.type === Alg.RSA && inPrivate !== undefined)
      validateRsaPrime(engine, inPublic, inPrivate.sensitive);
    const object = loadedObject(engine, hierarchy, inPublic, inPrivate, "external");
    return { responseHandle: allocateObject(engine, object), name: object.name };
  },

  ReadPublic(engine, { handles }) {
    const { publicArea, name, qualifiedName } = objectOf(engine, handles.objectHandle, Rc.SEQUENCE);
    return { outPublic: publicArea, name, qualifiedName };
  },

  Unseal(engine, { handles }) {
    const { publicArea, sensitive } = objectOf(engine, handles.itemHandle, ofHandle(Rc.TYPE, 1));
    if (publicArea.type !== Alg.KEYEDHASH) throw new TpmError(ofHandle(Rc.TYPE, 1));
    if ((publicArea.objectAttributes & (decrypt | sign | restricted)) !== 0 || sensitive === undefined)
      throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    return { outData: sensitive.sensitive };
  },

  ObjectChangeAuth(engine, { handles, parameters: { newAuth } }) {
    const object = objectOf(engine, handles.objectHandle, ofHandle(Rc.TYPE, 1));
    const { publicArea, sensitive, name } = object;
    if (sensitive === undefined) throw new TpmError(ofHandle(Rc.TYPE, 1));
    requireAuthSize(newAuth, publicArea.nameAlg, 1);
    const parent = parentOf(engine, handles.parentHandle, 2);
    // Without a Name there is no parent either.
    if (publicArea.nameAlg === Alg.NULL) throw new TpmError(ofHandle(Rc.TYPE, 2));
    const expected = qualifiedName(engine, parent.qualifiedName, name, publicArea.nameAlg);
    if (!engine.crypto.equal(object.qualifiedName, expected)) throw new TpmError(ofHandle(Rc.TYPE, 2));
    const changed = keptSensitive({ ...sensitive, authValue: newAuth });
    return { outPrivate: sensitiveToPrivate(engine, parent, name, publicArea, changed) };
  },
} satisfies Handlers;

function keptSensitive(sensitive: Sensitive): Sensitive {
  return { ...sensitive, authValue: withoutTrailingZeros(sensitive.authValue) };
}

function loadedResult(engine: Engine, object: StoredObject, outPrivate: Uint8Array) {
  const { publicArea, name } = object;
  return { responseHandle: allocateObject(engine, object), outPrivate, outPublic: publicArea, name };
}

import {
  Alg,
  Max,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  Rh,
  type SymmetricDefinition,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import type { Engine } from "../engine.ts";
import { validateLoaded } from "../key-binding.ts";
import {
  hasAttributes,
  inParameter,
  isFixedToTpm,
  isParent,
  isStorageKey,
  objectName,
  objectOf,
} from "../objects.ts";
import {
  duplicateToSensitive,
  sensitiveToDuplicate,
  sensitiveToPrivate,
  unwrapOuter,
  wrapOuter,
} from "../private-blob.ts";
import { decryptSecret, encryptSecret } from "../shared-secret.ts";
import type { StoredObject } from "../state.ts";

/* Duplication: objects move to another parent (Part 1, 23.3; Part 3, clause 13). */

const { fixedTPM, fixedParent, encryptedDuplication } = ObjectAttribute;
const LABEL = "DUPLICATE";
const empty: Uint8Array = new Uint8Array(0);

/** A key to duplicate to, of a handle that is not NULL. Throws TPM_RC_TYPE of handle `n`. */
function storageKeyOf(engine: Engine, handle: number, n: number): StoredObject {
  const key = objectOf(engine, handle, ofHandle(Rc.TYPE, n));
  if (!isStorageKey(key)) throw new TpmError(ofHandle(Rc.TYPE, n));
  return key;
}

function keySize({ keyBits }: SymmetricDefinition): number {
  return keyBits / 8;
}

export const duplicationCommands = {
  Duplicate(engine, { handles, parameters: { encryptionKeyIn, symmetricAlg } }) {
    const { publicArea, sensitive, name } = objectOf(engine, handles.objectHandle, ofHandle(Rc.TYPE, 1));
    const { newParentHandle } = handles;
    const inner = symmetricAlg.algorithm !== Alg.NULL;
    if (hasAttributes(publicArea, fixedParent)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    if (publicArea.nameAlg === Alg.NULL || sensitive === undefined) throw new TpmError(ofHandle(Rc.TYPE, 1));
    const parent = newParentHandle === Rh.NULL ? undefined : storageKeyOf(engine, newParentHandle, 2);
    if (hasAttributes(publicArea, encryptedDuplication)) {
      if (!inner) throw new TpmError(ofParameter(Rc.SYMMETRIC, 2));
      if (parent === undefined) throw new TpmError(ofHandle(Rc.HIERARCHY, 2));
    }
    const given = encryptionKeyIn.length !== 0;
    if (given && (!inner || encryptionKeyIn.length !== keySize(symmetricAlg)))
      throw new TpmError(ofParameter(Rc.SIZE, 1));

    const key = given || !inner ? encryptionKeyIn : engine.crypto.random(keySize(symmetricAlg));
    const shared = parent === undefined ? undefined : encryptSecret(engine, parent, LABEL);
    const plain = sensitiveToDuplicate(engine, name, publicArea, sensitive, { cipher: symmetricAlg, key });
    return {
      // The caller knows a key that it chose.
      encryptionKeyOut: given ? empty : key,
      duplicate:
        parent === undefined || shared === undefined
          ? plain
          : wrapOuter(engine, parent, name, shared.data, plain),
      outSymSeed: shared?.secret ?? empty,
    };
  },

  Rewrap(engine, { handles, parameters: { inDuplicate, name, inSymSeed } }) {
    const { oldParent, newParent } = handles;
    if ((inSymSeed.length === 0) !== (oldParent === Rh.NULL)) throw new TpmError(ofHandle(Rc.HANDLE, 1));
    let plain = inDuplicate;
    if (oldParent !== Rh.NULL) {
      const key = storageKeyOf(engine, oldParent, 1);
      const seed = rewrapSeed(engine, key, inSymSeed);
      plain = inParameter(1, () => unwrapOuter(engine, key, name, seed, inDuplicate));
    }
    if (newParent === Rh.NULL) return { outDuplicate: plain, outSymSeed: empty };
    const key = storageKeyOf(engine, newParent, 2);
    const { secret, data } = encryptSecret(engine, key, LABEL);
    const outDuplicate = wrapOuter(engine, key, name, data, plain);
    if (outDuplicate.length > Max.PRIVATE) throw new TpmError(ofParameter(Rc.VALUE, 1));
    return { outDuplicate, outSymSeed: secret };
  },

  Import(engine, { handles, parameters }) {
    const { encryptionKey, objectPublic, duplicate, inSymSeed, symmetricAlg } = parameters;
    if ((objectPublic.objectAttributes & (fixedTPM | fixedParent)) !== 0)
      throw new TpmError(ofParameter(Rc.ATTRIBUTES, 2));
    const parent = objectOf(engine, handles.parentHandle, ofHandle(Rc.TYPE, 1));
    if (!isParent(parent)) throw new TpmError(ofHandle(Rc.TYPE, 1));
    const inner = symmetricAlg.algorithm !== Alg.NULL;
    if (encryptionKey.length !== (inner ? keySize(symmetricAlg) : 0))
      throw new TpmError(ofParameter(Rc.SIZE, 1));
    const encrypted = hasAttributes(objectPublic, encryptedDuplication);
    if (encrypted && !inner) throw new TpmError(ofParameter(Rc.ATTRIBUTES, 1));
    let seed = empty;
    if (inSymSeed.length !== 0) {
      // A symmetric parent cannot share a secret with anybody.
      if (parent.publicArea.type === Alg.SYMCIPHER) throw new TpmError(ofHandle(Rc.TYPE, 1));
      seed = inParameter(4, () => decryptSecret(engine, parent, LABEL, inSymSeed));
    } else if (encrypted) {
      throw new TpmError(ofParameter(Rc.ATTRIBUTES, 4));
    }
    const name = objectName(engine, objectPublic);
    const sensitive = inParameter(3, () => {
      const plain = inSymSeed.length === 0 ? duplicate : unwrapOuter(engine, parent, name, seed, duplicate);
      return duplicateToSensitive(engine, name, objectPublic, plain, {
        cipher: symmetricAlg,
        key: encryptionKey,
      });
    });
    // What a parent that is fixedTPM protects is not looked at again when it is loaded.
    if (isFixedToTpm(parent))
      validateLoaded(engine, undefined, objectPublic, sensitive, { publicArea: 2, sensitive: 3 });
    return { outPrivate: sensitiveToPrivate(engine, parent, name, objectPublic, sensitive) };
  },
} satisfies Handlers;

/** Every fault of the seed is TPM_RC_VALUE here. */
function rewrapSeed(engine: Engine, key: StoredObject, inSymSeed: Uint8Array): Uint8Array {
  try {
    return decryptSecret(engine, key, LABEL, inSymSeed);
  } catch (error) {
    throw error instanceof TpmError ? new TpmError(ofParameter(Rc.VALUE, 3)) : error;
  }
}

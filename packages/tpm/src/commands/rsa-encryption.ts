import {
  Alg,
  ObjectAttribute,
  ofHandle,
  ofParameter,
  Rc,
  type RsaPublic,
  type Scheme,
  TpmError,
} from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import { padRsaes, unpadRsaes } from "../crypto/rsaes.ts";
import type { Engine } from "../engine.ts";
import { hasAttributes, objectOf, rsaPrivateOf } from "../objects.ts";
import { padOaep, unpadOaep } from "../shared-secret.ts";
import type { StoredObject } from "../state.ts";

/* TPM2_RSA_Encrypt and TPM2_RSA_Decrypt (Part 3, 14.2 and 14.3; Part 1, annex B). */

const { decrypt, restricted } = ObjectAttribute;

function rsaKey(engine: Engine, handle: number): { object: StoredObject; publicArea: RsaPublic } {
  const object = objectOf(engine, handle, ofHandle(Rc.KEY, 1));
  const { publicArea } = object;
  if (publicArea.type !== Alg.RSA) throw new TpmError(ofHandle(Rc.KEY, 1));
  return { object, publicArea };
}

/** A label ends in a zero byte, or there is none. */
function requireLabel(label: Uint8Array): void {
  if (label.length > 0 && label.at(-1) !== 0) throw new TpmError(ofParameter(Rc.VALUE, 3));
}

/** The key's scheme, or the caller's where the key has none. */
function schemeFor({ parameters }: RsaPublic, wanted: Scheme): Scheme {
  const own = parameters.scheme;
  if (own.scheme === Alg.NULL) return wanted;
  if (wanted.scheme === Alg.NULL || (wanted.scheme === own.scheme && wanted.hash === own.hash)) return own;
  throw new TpmError(ofParameter(Rc.SCHEME, 2));
}

function paddedBlock(
  { crypto }: Engine,
  scheme: Scheme,
  message: Uint8Array,
  label: Uint8Array,
  size: number,
): Uint8Array | undefined {
  switch (scheme.scheme) {
    case Alg.NULL:
      return message;
    case Alg.RSAES:
      return padRsaes(crypto.random, message, size);
    case Alg.OAEP:
      return padOaep(crypto, scheme.hash, label, message, size);
    default:
      throw new TpmError(Rc.SCHEME);
  }
}

export const rsaCommands = {
  RSA_Encrypt(engine, { handles: { keyHandle }, parameters: { message, inScheme, label } }) {
    const { publicArea } = rsaKey(engine, keyHandle);
    if (!hasAttributes(publicArea, decrypt)) throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    requireLabel(label);
    const scheme = schemeFor(publicArea, inScheme);
    const { unique, parameters } = publicArea;
    const block = paddedBlock(engine, scheme, message, label, unique.length);
    const outData = block && engine.crypto.rsaPublic(unique, parameters.exponent, block);
    if (outData === undefined) throw new TpmError(Rc.VALUE);
    return { outData };
  },

  RSA_Decrypt(engine, { handles: { keyHandle }, parameters: { cipherText, inScheme, label } }) {
    const { object, publicArea } = rsaKey(engine, keyHandle);
    if (hasAttributes(publicArea, restricted) || !hasAttributes(publicArea, decrypt))
      throw new TpmError(ofHandle(Rc.ATTRIBUTES, 1));
    requireLabel(label);
    const scheme = schemeFor(publicArea, inScheme);
    if (cipherText.length !== publicArea.unique.length) throw new TpmError(Rc.SIZE);
    const block = engine.crypto.rsaPrivate(rsaPrivateOf(object)!, cipherText);
    if (block === undefined) throw new TpmError(Rc.SIZE);
    const message = opened(engine, scheme, block, label);
    // One code for every fault of a padding: another one would be an oracle (Manger's and Bleichenbacher's attacks).
    if (message === undefined) throw new TpmError(Rc.VALUE);
    return { message };
  },
} satisfies Handlers;

function opened(
  { crypto }: Engine,
  scheme: Scheme,
  block: Uint8Array,
  label: Uint8Array,
): Uint8Array | undefined {
  switch (scheme.scheme) {
    case Alg.NULL:
      return block;
    case Alg.RSAES:
      return unpadRsaes(block);
    case Alg.OAEP:
      return unpadOaep(crypto, scheme.hash, label, block);
    default:
      throw new TpmError(Rc.SCHEME);
  }
}

import { digestSizes, ObjectAttribute, ofHandle, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import type { Handlers } from "../command.ts";
import {
  bitsOf,
  type DerElement,
  element,
  objectIdentifier,
  readElement,
  readElements,
  Tag,
  unsigned,
} from "../der.ts";
import { concat } from "../engine.ts";
import { hasAttributes, objectOf } from "../objects.ts";
import { isSigningKey, selectScheme, sign } from "../signatures.ts";
import type { StoredObject } from "../state.ts";
import { signatureAlgorithm, subjectPublicKeyInfo } from "../x509.ts";

/*
 * TPM2_CertifyX509 (Part 3, 18.8): signs a certificate of which the caller brings names, validity and extensions, and the TPM adds what it vouches
 * for. The key usage must be one that the key's attributes allow.
 */

/** Handles as response codes number them: the other way round than they are sent, in the reference and so everywhere. */
const SIGN_HANDLE = 1;
const OBJECT_HANDLE = 2;
const SERIAL_NUMBER_MAXIMUM = 20;
const EXTENSIONS = Tag.CONTEXT + 3;
/** [0] with INTEGER 2: version 3. */
const version = element(Tag.CONTEXT, unsigned(Uint8Array.of(2)));
const keyUsageIdentifier = objectIdentifier("2.5.29.15");
const attributesIdentifier = objectIdentifier("2.23.133.10.1.1.1");

const { sign: signs, decrypt, restricted, fixedTPM } = ObjectAttribute;
/** Bits of TPMA_X509_KEY_USAGE, and the attributes that a key must have to be used so (Part 2, 8.9). */
const keyUsages: readonly (readonly [bit: number, attributes: number])[] = [
  [31, signs], // digitalSignature
  [30, fixedTPM], // nonRepudiation
  [29, decrypt | restricted], // keyEncipherment
  [28, decrypt], // dataEncipherment
  [27, decrypt], // keyAgreement
  [26, signs], // keyCertSign
  [25, signs], // cRLSign
  [24, decrypt], // encipherOnly
  [23, decrypt], // decipherOnly
];
/** Bits that are no key usage. */
const RESERVED_USAGES = 0x007f_ffff;

/** What the caller brings, in the order of a certificate. */
interface PartialCertificate {
  /** AlgorithmIdentifier, where the caller chose to say it. */
  readonly signature: Uint8Array | undefined;
  /** Issuer, validity and subject. */
  readonly names: Uint8Array;
  readonly extensions: DerElement;
}

const malformed = (): TpmError => new TpmError(ofParameter(Rc.VALUE, 3));

/** Throws TPM_RC_SIZE for what is not one SEQUENCE, TPM_RC_VALUE for one of other elements and for nothing at all. */
function readPartial(data: Uint8Array): PartialCertificate {
  if (data.length === 0) throw malformed();
  const outer = readElement(data, Tag.SEQUENCE);
  if (outer === undefined) throw new TpmError(ofParameter(Rc.SIZE, 3));
  const elements = readElements(outer.content);
  const sequences = elements?.filter(({ tag }) => tag === Tag.SEQUENCE);
  const extensions = elements?.at(-1);
  if (elements === undefined || sequences === undefined || extensions?.tag !== EXTENSIONS) throw malformed();
  const count = sequences.length;
  if (count !== elements.length - 1 || count < 3 || count > 4) throw malformed();
  const names = sequences.slice(-3).map(({ whole }) => whole);
  return { signature: count === 4 ? sequences[0]!.whole : undefined, names: concat(...names), extensions };
}

/** The bits in an extension that has a BIT STRING for its value, undefined when it is not among them. Throws TPM_RC_VALUE for any other value, or a second one. */
function extensionBits(extensions: readonly DerElement[], identifier: Uint8Array): number | undefined {
  let found: number | undefined;
  for (const { tag, content } of extensions) {
    const fields = tag === Tag.SEQUENCE ? readElements(content) : undefined;
    if (fields === undefined) throw malformed();
    const [name] = fields;
    if (name === undefined || Buffer.compare(name.whole, identifier) !== 0) continue;
    const value = fields.at(-1)!;
    const criticality = fields.slice(1, -1);
    const isSound = criticality.length <= 1 && criticality.every((field) => field.tag === Tag.BOOLEAN);
    const string = value.tag === Tag.OCTET_STRING ? readElement(value.content, Tag.BIT_STRING) : undefined;
    const bits = string && bitsOf(string.content);
    if (!isSound || bits === undefined || found !== undefined) throw malformed();
    found = bits;
  }
  return found;
}

/** Throws TPM_RC_ATTRIBUTES, TPM_RC_RESERVED_BITS or TPM_RC_VALUE unless the extensions say of the key what is so. */
function requireTrue(extensions: DerElement, { publicArea }: StoredObject): void {
  const list = readElement(extensions.content, Tag.SEQUENCE);
  const elements = list && readElements(list.content);
  if (elements === undefined) throw malformed();
  const attributes = extensionBits(elements, attributesIdentifier);
  if (attributes !== undefined && attributes !== publicArea.objectAttributes >>> 0)
    throw new TpmError(ofHandle(Rc.ATTRIBUTES, OBJECT_HANDLE));
  const usage = extensionBits(elements, keyUsageIdentifier);
  if (usage === undefined) throw malformed();
  if ((usage & RESERVED_USAGES) !== 0) throw new TpmError(ofParameter(Rc.RESERVED_BITS, 3));
  for (const [bit, needed] of keyUsages)
    if (((usage >>> bit) & 1) !== 0 && !hasAttributes(publicArea, needed)) throw malformed();
}

export const certificateCommands = {
  CertifyX509(engine, { handles, parameters }) {
    const { crypto } = engine;
    if (parameters.reserved.length > 0) throw new TpmError(ofParameter(Rc.SIZE, 1));
    // There is no certificate without a signature, and so no NULL key here.
    const key = objectOf(engine, handles.signHandle, ofHandle(Rc.KEY, SIGN_HANDLE));
    if (!isSigningKey(key) || !digestSizes.has(key.publicArea.nameAlg))
      throw new TpmError(ofHandle(Rc.KEY, SIGN_HANDLE));
    const scheme = selectScheme(key, parameters.inScheme);
    if (scheme === undefined) throw new TpmError(ofParameter(Rc.SCHEME, 2));
    const object = objectOf(engine, handles.objectHandle, ofHandle(Rc.HANDLE, OBJECT_HANDLE));
    const publicKey = subjectPublicKeyInfo(object.publicArea);
    if (publicKey === undefined) throw new TpmError(ofHandle(Rc.ASYMMETRIC, OBJECT_HANDLE));
    const { signature: given, names, extensions } = readPartial(parameters.partialCertificate);
    const algorithm = given ?? signatureAlgorithm(key.publicArea, scheme);
    if (algorithm === undefined) throw new TpmError(ofHandle(Rc.SCHEME, SIGN_HANDLE));
    requireTrue(extensions, object);

    const { whole } = extensions;
    const hash = key.publicArea.nameAlg;
    const serial = crypto.hash(hash, algorithm, names, publicKey, whole, key.name, object.name);
    const serialNumber = unsigned(serial.subarray(0, SERIAL_NUMBER_MAXIMUM));
    const certificate = element(Tag.SEQUENCE, version, serialNumber, algorithm, names, publicKey, whole);
    const tbsDigest = crypto.hash(scheme.hash, certificate);
    const added = given === undefined ? [algorithm, publicKey] : [publicKey];
    return {
      addedToCertificate: element(Tag.SEQUENCE, version, serialNumber, ...added),
      tbsDigest,
      signature: sign(engine, key, scheme, tbsDigest),
    };
  },
} satisfies Handlers;

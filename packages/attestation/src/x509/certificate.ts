import { MalformedError } from "@entresol/wire";
import type { HashName, SignatureScheme } from "../crypto/provider.ts";
import { context, DerReader, ecdsaSignature, readDer, Tag } from "./der.ts";

const SPEC = "RFC 5280, 4.1";

export interface Extension {
  readonly critical: boolean;
  /** Content of extnValue, and where it begins in the file. */
  readonly value: Uint8Array;
  readonly offset: number;
}

/** KeyUsage bits (RFC 5280, 4.2.1.3), as masks. */
export const KeyUsage = { digitalSignature: 1 << 0, keyCertSign: 1 << 5, crlSign: 1 << 6 } as const;

/** Object identifiers of extensions that are looked at here. */
export const ExtensionId = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  crlNumber: "2.5.29.20",
  reasonCode: "2.5.29.21",
  issuingDistributionPoint: "2.5.29.28",
  certificateIssuer: "2.5.29.29",
  crlDistributionPoints: "2.5.29.31",
  certificatePolicies: "2.5.29.32",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
} as const;

/** What was signed, by what scheme, and the signature, of a certificate or CRL. */
export interface Signed {
  /** The signed bytes, header included. */
  readonly tbs: Uint8Array;
  readonly scheme: SignatureScheme;
  /** As it stands: DER for ECDSA, plain for RSA. */
  readonly signature: Uint8Array;
}

/** A certificate taken apart. All byte fields are views of `der`. */
export interface Certificate extends Signed {
  readonly der: Uint8Array;
  /** Big-endian, without a sign byte. */
  readonly serial: Uint8Array;
  /** Names whole, for comparison byte by byte (RFC 5280, 7.1 asks for no more of CAs that encode as they did before). */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Their one common name, undefined for none or several. */
  readonly issuerName: string | undefined;
  readonly subjectName: string | undefined;
  /** Milliseconds since 1970; valid from `notBefore` to `notAfter`, both included. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** SubjectPublicKeyInfo, whole. */
  readonly spki: Uint8Array;
  readonly extensions: ReadonlyMap<string, Extension>;
  /** From basicConstraints: may it issue certificates, and how many CAs may follow (undefined: any number). */
  readonly ca: boolean;
  readonly pathLength: number | undefined;
  /** Mask of `KeyUsage`, undefined when the certificate does not say. */
  readonly keyUsage: number | undefined;
}

const ecdsaSchemes: Readonly<Record<string, HashName>> = {
  "1.2.840.10045.4.3.2": "sha256",
  "1.2.840.10045.4.3.3": "sha384",
  "1.2.840.10045.4.3.4": "sha512",
};
const rsaSchemes: Readonly<Record<string, HashName>> = {
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.113549.1.1.12": "sha384",
  "1.2.840.113549.1.1.13": "sha512",
};
const hashIdentifiers: Readonly<Record<string, HashName>> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};
const PSS = "1.2.840.113549.1.1.10";
const MGF1 = "1.2.840.113549.1.1.8";

function hashOf(reader: DerReader): HashName {
  const at = reader.at;
  const algorithm = reader.enter(Tag.SEQUENCE);
  const hash = hashIdentifiers[algorithm.identifier()];
  algorithm.skip(Tag.NULL);
  algorithm.close();
  if (hash === undefined)
    throw new MalformedError("bad-value", at, "RFC 4055, 3.1", "a hash that is not SHA-2");
  return hash;
}

/** RSASSA-PSS-params (RFC 4055, 3.1): one hash for all, and no default, which would be SHA-1. */
function pssScheme(parameters: DerReader): SignatureScheme {
  const at = parameters.at;
  const wrong = (message: string): never => {
    throw new MalformedError("bad-value", at, "RFC 4055, 3.1 RSASSA-PSS-params", message);
  };
  const inner = parameters.enter(Tag.SEQUENCE);
  const hash = hashOf(inner.enter(context(0)));
  const mask = inner.enter(context(1)).enter(Tag.SEQUENCE);
  if (mask.identifier() !== MGF1 || hashOf(mask) !== hash)
    wrong("a mask generation function that is not MGF1 with the same hash");
  const saltLength = inner.enter(context(2)).smallInteger();
  if (inner.more && inner.enter(context(3)).smallInteger() !== 1) wrong("a trailer field other than 1");
  inner.close();
  return { name: "rsa-pss", hash, saltLength };
}

/** ecdsa-with-SHA256 without parameters: what all of Intel's certificates and lists have. */
const ECDSA_SHA256 = Uint8Array.of(0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02);
const ecdsaSha256: SignatureScheme = { name: "ecdsa", hash: "sha256" };

/** AlgorithmIdentifier of a signature. */
export function signatureScheme(algorithm: Uint8Array, offset: number): SignatureScheme {
  if (sameBytes(algorithm, ECDSA_SHA256)) return ecdsaSha256;
  return readDer(algorithm, (outer) => {
    const reader = outer.enter(Tag.SEQUENCE);
    const identifier = reader.identifier();
    const ecdsa = ecdsaSchemes[identifier];
    const rsa = rsaSchemes[identifier];
    let scheme: SignatureScheme;
    if (ecdsa !== undefined) scheme = { name: "ecdsa", hash: ecdsa };
    else if (rsa !== undefined) {
      reader.skip(Tag.NULL);
      scheme = { name: "rsa-pkcs1", hash: rsa };
    } else if (identifier === PSS) scheme = pssScheme(reader);
    else
      throw new MalformedError(
        "bad-value",
        offset,
        "RFC 5280, 4.1.1.2",
        `signature algorithm ${identifier} is not one of SHA-2`,
      );
    reader.close();
    return scheme;
  });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Extensions ::= SEQUENCE OF Extension, each at most once (RFC 5280, 4.2). */
export function readExtensions(list: DerReader): Map<string, Extension> {
  const extensions = new Map<string, Extension>();
  while (list.more) {
    const start = list.at;
    const entry = list.enter(Tag.SEQUENCE);
    const identifier = entry.identifier();
    const critical = entry.peek() === Tag.BOOLEAN ? entry.boolean() : false;
    const value = entry.value(Tag.OCTET_STRING);
    const offset = entry.at - value.length;
    entry.close();
    if (extensions.has(identifier))
      throw new MalformedError("bad-value", start, "RFC 5280, 4.2", `extension ${identifier} is there twice`);
    extensions.set(identifier, { critical, value, offset });
  }
  return extensions;
}

/** TBS, algorithm and signature of a SIGNED structure; the algorithm inside the TBS must be the same one. */
export function readSigned(
  der: Uint8Array,
): Signed & { readonly inner: DerReader; readonly algorithm: Uint8Array; readonly offset: number } {
  return readDer(der, (reader) => {
    const outer = reader.enter(Tag.SEQUENCE);
    const start = outer.at;
    const inner = outer.enter(Tag.SEQUENCE);
    const tbs = der.subarray(start, outer.at);
    const offset = outer.at;
    const algorithm = outer.whole();
    const signature = outer.bits();
    outer.close();
    return { tbs, inner, algorithm, offset, scheme: signatureScheme(algorithm, offset), signature };
  });
}

/** The `signature` field inside the signed part must say what the outer one says, else the outer one could be swapped (RFC 5280, 4.1.1.2). */
export function checkInnerAlgorithm(inner: DerReader, algorithm: Uint8Array): void {
  const at = inner.at;
  if (!sameBytes(inner.whole(), algorithm))
    throw new MalformedError(
      "bad-value",
      at,
      "RFC 5280, 4.1.1.2",
      "the signed part names another signature algorithm",
    );
}

function basicConstraints(extension: Extension | undefined, der: Uint8Array) {
  if (extension === undefined) return { ca: false, pathLength: undefined };
  const reader = new DerReader(der, extension.offset, extension.offset + extension.value.length);
  const inner = reader.enter(Tag.SEQUENCE);
  const ca = inner.peek() === Tag.BOOLEAN ? inner.boolean() : false;
  const pathLength = inner.more ? inner.smallInteger() : undefined;
  inner.close();
  reader.close();
  return { ca, pathLength };
}

function keyUsage(extension: Extension | undefined, der: Uint8Array): number | undefined {
  if (extension === undefined) return undefined;
  const reader = new DerReader(der, extension.offset, extension.offset + extension.value.length);
  const content = reader.value(Tag.BIT_STRING);
  reader.close();
  const unused = content[0];
  if (unused === undefined || unused > 7 || content.length < 2 || content.length > 3)
    throw new MalformedError(
      "bad-value",
      extension.offset,
      "RFC 5280, 4.2.1.3",
      "a KeyUsage that is no BIT STRING of 1 to 9 bits",
    );
  const first = content[1] as number;
  let mask = 0;
  for (let bit = 0; bit < 8; bit++) if (first & (0x80 >> bit)) mask |= 1 << bit;
  return mask;
}

/**
 * Takes a DER certificate apart. Strict: version 3, nothing after it, no extension twice, shortest lengths. Nothing is verified.
 * Throws `MalformedError` with the offset in `der`.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  const { tbs, inner, algorithm, scheme, signature } = readSigned(der);
  const versionAt = inner.at;
  if (inner.peek() !== context(0) || inner.enter(context(0)).smallInteger() !== 2)
    throw new MalformedError("bad-version", versionAt, `${SPEC}.2.1`, "not a version 3 certificate");
  // AMD's VCEKs have serial 0, which RFC 5280 does not want of a CA and every reader takes.
  const serial = inner.unsigned();
  checkInnerAlgorithm(inner, algorithm);
  const issuer = inner.whole();
  // Read now, so that a name that is none makes the certificate unreadable and not its use.
  const issuerName = commonName(issuer);
  const validity = inner.enter(Tag.SEQUENCE);
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.close();
  const subject = inner.whole();
  const subjectName = commonName(subject);
  const spki = inner.whole();
  inner.skip(context(1, false));
  inner.skip(context(2, false));
  let extensions = new Map<string, Extension>();
  if (inner.more) {
    const wrapper = inner.enter(context(3));
    extensions = readExtensions(wrapper.enter(Tag.SEQUENCE));
    wrapper.close();
  }
  inner.close();
  return {
    der,
    tbs,
    scheme,
    signature,
    serial,
    issuer,
    issuerName,
    subject,
    subjectName,
    notBefore,
    notAfter,
    spki,
    extensions,
    ...basicConstraints(extensions.get(ExtensionId.basicConstraints), der),
    keyUsage: keyUsage(extensions.get(ExtensionId.keyUsage), der),
  };
}

const attributeNames: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
};
const text = new TextDecoder("utf-8", { fatal: false });

/** A Name as attributes in their order: [["CN", "SEV-Milan"], …]. Types without a usual short name stay in dots. */
export function nameAttributes(name: Uint8Array): [string, string][] {
  return readDer(name, (reader) => {
    const found: [string, string][] = [];
    const list = reader.enter(Tag.SEQUENCE);
    while (list.more) {
      const set = list.enter(Tag.SET);
      while (set.more) {
        const pair = set.enter(Tag.SEQUENCE);
        const type = pair.identifier();
        const value = pair.value(pair.peek());
        pair.close();
        found.push([attributeNames[type] ?? type, text.decode(value)]);
      }
    }
    return found;
  });
}

/** Undefined when a byte is none of ASCII, or there are many. */
function asciiOf(bytes: Uint8Array): string | undefined {
  if (bytes.length > 64) return undefined;
  for (let i = 0; i < bytes.length; i++) if ((bytes[i] as number) > 0x7f) return undefined;
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}

const COMMON_NAME = Uint8Array.of(0x55, 0x04, 0x03);
/** The one CN of a Name, undefined when it has none or several. Throws `MalformedError`. */
export function commonName(name: Uint8Array): string | undefined {
  let found: string | undefined;
  let count = 0;
  readDer(name, (reader) => {
    const list = reader.enter(Tag.SEQUENCE);
    while (list.more) {
      const set = list.enter(Tag.SET);
      while (set.more) {
        const pair = set.enter(Tag.SEQUENCE);
        const isName = pair.isIdentifier(COMMON_NAME);
        const tag = pair.peek();
        if (!isName) {
          pair.pass(tag);
          pair.close();
          continue;
        }
        const value = pair.value(tag);
        pair.close();
        count++;
        found = asciiOf(value) ?? text.decode(value);
      }
    }
  });
  return count === 1 ? found : undefined;
}

/** The signature in the form that a `CryptoProvider` takes, undefined when it cannot be one. */
export function plainSignature(signed: Signed, curveSize: number | undefined): Uint8Array | undefined {
  if (signed.scheme.name !== "ecdsa") return signed.signature;
  return curveSize === undefined ? undefined : ecdsaSignature(signed.signature, curveSize);
}

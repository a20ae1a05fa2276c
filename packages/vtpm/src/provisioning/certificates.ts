import {
  createHash,
  createPublicKey,
  type KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from "node:crypto";
import { fromBER, Integer, Utf8String } from "asn1js";
import { AttributeTypeAndValue, Certificate, CryptoEngine, type Extension, PublicKeyInfo, Time } from "pkijs";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  type KeyUsage,
  keyUsage,
  type MakerNames,
  makerName,
  subjectKeyIdentifier,
  TcgOid,
  type TpmSpecification,
  tpmSpecification,
} from "./tcg-extensions.ts";

/* Certificates of endorsement keys, of platforms and of the authority that signs them: built with pkijs, signed by WebCrypto. */

/** Who signs. `certificate` is undefined for a root, which signs itself. */
export interface Issuer {
  /** RSA of 2048 bits or more, or a key on P-256, P-384 or P-521. */
  readonly privateKey: KeyObject;
  readonly certificate: X509Certificate | undefined;
}

/** "No well-defined expiration date" (RFC 5280, 4.1.2.5): the key lives as long as its TPM. */
const NEVER = new Date("9999-12-31T23:59:59Z");
const COMMON_NAME = "2.5.4.3";
const SERIAL_SIZE = 16;

const crypto = new CryptoEngine({ name: "node", crypto: webcrypto });

/** How a key signs in WebCrypto, with the hash of its strength. */
interface SigningAlgorithm {
  readonly name: "RSASSA-PKCS1-v1_5" | "ECDSA";
  readonly namedCurve?: string;
  readonly hash: "SHA-256" | "SHA-384" | "SHA-512";
}

const signingCurves = new Map<string | undefined, SigningAlgorithm>([
  ["prime256v1", { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }],
  ["secp384r1", { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" }],
  ["secp521r1", { name: "ECDSA", namedCurve: "P-521", hash: "SHA-512" }],
]);

/** Undefined for a key that signs no certificates here. */
export function signingAlgorithm(key: KeyObject): SigningAlgorithm | undefined {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ec") return signingCurves.get(namedCurve);
  const strong = key.asymmetricKeyType === "rsa" && (modulusLength ?? 0) >= 2048;
  return strong ? { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } : undefined;
}

function spki(key: KeyObject): Uint8Array<ArrayBuffer> {
  return new Uint8Array(key.export({ type: "spki", format: "der" }));
}

function keyIdentifier(info: PublicKeyInfo): Uint8Array {
  return createHash("sha1").update(info.subjectPublicKey.valueBlock.valueHexView).digest();
}

/** The identifier that a certificate has for its key, or the one that it would have. */
function identifierOf(certificate: Certificate): Uint8Array {
  const own = certificate.extensions?.find(({ extnID }) => extnID === "2.5.29.14");
  return own === undefined
    ? keyIdentifier(certificate.subjectPublicKeyInfo)
    : own.extnValue.valueBlock.valueHexView.subarray(2);
}

function setName(name: Certificate["subject"], commonName: string): void {
  const value = new Utf8String({ value: commonName });
  name.typesAndValues.push(new AttributeTypeAndValue({ type: COMMON_NAME, value }));
}

function instant(date: Date): Time {
  // UTCTime through 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5).
  return new Time({ type: date.getUTCFullYear() < 2050 ? 0 : 1, value: date });
}

/** Positive, 16 bytes, random: no count has to be kept, and nobody can tell how many there are. */
function serialNumber(): Integer {
  const bytes = new Uint8Array(randomBytes(SERIAL_SIZE));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return new Integer({ valueHex: bytes.buffer });
}

interface Subject {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly extensions: readonly Extension[];
}

/** DER. The signature has been verified. Throws a `RangeError` for an issuer's key of another kind. */
async function issue({ privateKey, certificate: issuer }: Issuer, subject: Subject): Promise<Uint8Array> {
  const algorithm = signingAlgorithm(privateKey);
  if (algorithm === undefined)
    throw new RangeError(
      "certificates are signed by RSA keys of 2048 bits or more, or keys on P-256, P-384, P-521",
    );
  const made = new Certificate();
  made.version = 2;
  made.serialNumber = serialNumber();
  made.notBefore = instant(new Date(Math.floor(Date.now() / 1000) * 1000));
  made.notAfter = instant(NEVER);
  setName(made.subject, subject.commonName);
  made.subjectPublicKeyInfo = new PublicKeyInfo({ schema: fromBER(spki(subject.publicKey)).result });
  const own = keyIdentifier(made.subjectPublicKeyInfo);
  let authority = own;
  if (issuer === undefined) setName(made.issuer, subject.commonName);
  else {
    const parsed = Certificate.fromBER(new Uint8Array(issuer.raw));
    made.issuer = parsed.subject;
    authority = identifierOf(parsed);
  }
  made.extensions = [...subject.extensions, subjectKeyIdentifier(own), authorityKeyIdentifier(authority)];
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" });
  const { hash, ...use } = algorithm;
  const key = await webcrypto.subtle.importKey("pkcs8", pkcs8, { ...use, hash }, false, ["sign"]);
  await made.sign(key, hash, crypto);
  const der = new Uint8Array(made.toSchema(true).toBER());
  if (!new X509Certificate(der).verify(createPublicKey(privateKey)))
    throw new Error("a certificate was signed, and its signature does not verify");
  return der;
}

/** A certificate for an authority: certificate signing and revocation lists, no more. */
export function issueAuthority(
  issuer: Issuer,
  commonName: string,
  publicKey: KeyObject,
): Promise<Uint8Array> {
  return issue(issuer, {
    commonName,
    publicKey,
    extensions: [basicConstraints(true), keyUsage(["certificateSign", "crlSign"])],
  });
}

/** What is certified of a TPM. */
export interface TpmDescription extends MakerNames {
  readonly specification: TpmSpecification;
}

export interface EndorsementRequest {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  readonly tpm: TpmDescription;
  readonly signing: boolean;
  readonly decryption: boolean;
}

/** How a key decrypts: RSA by itself, ECC by agreement (EK Credential Profile, 3.2.15). */
function usesOf({ publicKey, signing, decryption }: Omit<EndorsementRequest, "tpm">): KeyUsage[] {
  const decrypting = publicKey.asymmetricKeyType === "rsa" ? "keyEncipherment" : "keyAgreement";
  return [...(signing ? ["digitalSignature" as const] : []), ...(decryption ? [decrypting as KeyUsage] : [])];
}

/** A certificate of an endorsement key (TCG EK Credential Profile for TPM 2.0, 2.5, clause 3.2). DER. */
export function issueEndorsement(issuer: Issuer, request: EndorsementRequest): Promise<Uint8Array> {
  const { commonName, publicKey, tpm } = request;
  return issue(issuer, {
    commonName,
    publicKey,
    extensions: [
      makerName([
        [TcgOid.tpmManufacturer, tpm.manufacturer],
        [TcgOid.tpmModel, tpm.model],
        [TcgOid.tpmVersion, tpm.version],
      ]),
      basicConstraints(false),
      tpmSpecification(tpm.specification),
      extendedKeyUsage(TcgOid.endorsementKeyCertificate),
      keyUsage(usesOf(request)),
    ],
  });
}

/**
 * A platform certificate in the form of a public key certificate, for the endorsement key of the platform's TPM, as swtpm_localca makes it
 * (TCG Platform Certificate Profile 1.1, 3.3). DER.
 */
export function issuePlatform(
  issuer: Issuer,
  request: Omit<EndorsementRequest, "tpm"> & { readonly platform: MakerNames },
): Promise<Uint8Array> {
  const { commonName, publicKey, platform } = request;
  return issue(issuer, {
    commonName,
    publicKey,
    extensions: [
      makerName([
        [TcgOid.platformManufacturer, platform.manufacturer],
        [TcgOid.platformModel, platform.model],
        [TcgOid.platformVersion, platform.version],
      ]),
      basicConstraints(false),
      extendedKeyUsage(TcgOid.platformKeyCertificate),
      keyUsage(usesOf(request)),
    ],
  });
}

import { MalformedError } from "@entresol/wire";
import { type Context, isoTime } from "../context.ts";
import { EvidenceError } from "../errors.ts";
import type { TrustAnchor } from "./anchor.ts";
import type { CertificateCache, KnownCertificate, KnownCrl, Taken } from "./cache.ts";
import { commonName, ExtensionId, KeyUsage } from "./certificate.ts";

/** Certificates from the leaf up to, and without, the anchor. */
export interface Chain {
  readonly links: readonly KnownCertificate[];
  readonly anchor: TrustAnchor;
}

/** What is wrong with a chain, in words; nothing when it is good. */
export type Fault = string | undefined;

/** Extensions that are acted on here, and so may be critical. */
const understood = new Set<string>([
  ExtensionId.basicConstraints,
  ExtensionId.keyUsage,
  ExtensionId.subjectKeyIdentifier,
  ExtensionId.authorityKeyIdentifier,
  ExtensionId.crlDistributionPoints,
  ExtensionId.certificatePolicies,
]);

/** No chain of AMD or Intel has more than three certificates. */
const LONGEST = 6;

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** "SEV-VCEK", for a report. */
export function nameOf({ certificate }: KnownCertificate): string {
  return certificate.subjectName ?? "a certificate without a common name";
}

/** Is the certificate valid at this time? */
export function validity(known: KnownCertificate, at: number): Fault {
  const { notBefore, notAfter } = known.certificate;
  if (at < notBefore) return `${nameOf(known)} is valid from ${isoTime(notBefore)} only`;
  if (at > notAfter) return `${nameOf(known)} expired at ${isoTime(notAfter)}`;
  return undefined;
}

/** May the certificate issue others, with `below` CAs between it and the leaf (RFC 5280, 6.1.4 k to n)? */
export function mayIssue(known: KnownCertificate, below: number): Fault {
  const { ca, pathLength, keyUsage } = known.certificate;
  if (!ca) return `${nameOf(known)} is not a CA`;
  if (pathLength !== undefined && below > pathLength)
    return `${nameOf(known)} allows ${pathLength} CAs below it, ${below} are there`;
  if (keyUsage !== undefined && (keyUsage & KeyUsage.keyCertSign) === 0)
    return `${nameOf(known)} may not sign certificates (key usage)`;
  return undefined;
}

/** May the key of a leaf sign what is no certificate (RFC 5280, 4.2.1.3)? */
function maySign(known: KnownCertificate): Fault {
  const { keyUsage } = known.certificate;
  return keyUsage !== undefined && (keyUsage & KeyUsage.digitalSignature) === 0
    ? `${nameOf(known)} may not sign (key usage)`
    : undefined;
}

/** Are all critical extensions known (RFC 5280, 4.2)? `also`: those that the caller acts on. */
export function criticalExtensions(known: KnownCertificate, also: ReadonlySet<string> = new Set()): Fault {
  for (const [identifier, { critical }] of known.certificate.extensions)
    if (critical && !understood.has(identifier) && !also.has(identifier))
      return `${nameOf(known)} has the critical extension ${identifier}, which is not known here`;
  return undefined;
}

/**
 * Finds the chain from `leaf` over `others` (any order, any number of strangers among them) to one of `anchors`, by issuer name and signature.
 * Only signatures and issuer names are judged: gives the chain, or what was missing. Certificates of the anchors themselves are passed over.
 */
export async function findChain(
  { cache }: Context,
  leaf: KnownCertificate,
  others: readonly KnownCertificate[],
  anchors: readonly TrustAnchor[],
): Promise<Chain | { readonly fault: string }> {
  const links = [leaf];
  for (let current = leaf; links.length <= LONGEST; ) {
    for (const anchor of anchors)
      if (issuerName(current) === anchor.name && (await signedBy(cache, current, anchor.spki)))
        return { links, anchor };
    let next: KnownCertificate | undefined;
    for (const other of others) {
      if (links.includes(other) || !sameBytes(other.certificate.subject, current.certificate.issuer))
        continue;
      if (!(await signedBy(cache, current, other.certificate.spki, other.hash))) continue;
      next = other;
      break;
    }
    if (next === undefined) return { fault: missing(current, others, anchors) };
    links.push(next);
    current = next;
  }
  return { fault: `more than ${LONGEST} certificates in a chain` };
}

function issuerName({ certificate }: KnownCertificate): string | undefined {
  return certificate.issuerName;
}

function missing(
  of: KnownCertificate,
  others: readonly KnownCertificate[],
  anchors: readonly TrustAnchor[],
): string {
  const issuer = issuerName(of) ?? "its issuer";
  const named =
    anchors.some(({ name }) => name === issuer) ||
    others.some(
      ({ certificate }) =>
        sameBytes(certificate.subject, of.certificate.issuer) && certificate !== of.certificate,
    );
  return named
    ? `${nameOf(of)} names ${issuer} as its issuer, whose key did not sign it`
    : `the certificate of ${issuer}, which issued ${nameOf(of)}, is missing`;
}

/** A key that cannot be imported signs nothing. */
async function signedBy(
  cache: CertificateCache,
  known: KnownCertificate,
  spki: Uint8Array,
  name?: string,
): Promise<boolean> {
  try {
    return await cache.signedBy(known.certificate, known.hash, spki, name);
  } catch (error) {
    if (error instanceof EvidenceError && error.code === "unsupported-key") return false;
    throw error;
  }
}

/** Everything about a chain that its signatures do not say: time, roles, path lengths, critical extensions. The anchor has none of them. */
export function chainFault(chain: Chain, at: number, leafExtensions?: ReadonlySet<string>): Fault {
  let place = -1;
  for (const link of chain.links) {
    place++;
    const fault =
      validity(link, at) ??
      criticalExtensions(link, place === 0 ? leafExtensions : undefined) ??
      (place === 0 ? maySign(link) : mayIssue(link, place - 1));
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** Reads a certificate, or says what is wrong with its bytes. */
export async function readCertificate(
  { cache }: Context,
  der: Uint8Array | Taken,
): Promise<KnownCertificate | { readonly fault: string }> {
  try {
    return await cache.certificate(der);
  } catch (error) {
    if (error instanceof MalformedError) return { fault: error.message };
    throw error;
  }
}

/** Reads a CRL, or says what is wrong with its bytes. */
export async function readCrl(
  { cache }: Context,
  der: Uint8Array | Taken,
): Promise<KnownCrl | { readonly fault: string }> {
  try {
    return await cache.crl(der);
  } catch (error) {
    if (error instanceof MalformedError) return { fault: error.message };
    throw error;
  }
}

/** The issuer of a CRL: its name as it stands in the certificates that it speaks of, and its key. */
export interface CrlIssuer {
  readonly name: Uint8Array;
  readonly spki: Uint8Array;
  /** Its own certificate, when there is one: then it must be allowed to sign lists. */
  readonly certificate?: KnownCertificate | undefined;
}

/** Is this a list of that issuer, signed by its key, and of this time (RFC 5280, 6.3.3)? */
export async function crlFault(
  { cache, at }: Context,
  { list, hash }: KnownCrl,
  issuer: CrlIssuer,
): Promise<Fault> {
  const who = commonName(issuer.name) ?? "the issuer";
  if (!sameBytes(list.issuer, issuer.name))
    return `the revocation list is of ${list.issuerName ?? "somebody without a name"}, not of ${who}`;
  const usage = issuer.certificate?.certificate.keyUsage;
  if (usage !== undefined && (usage & KeyUsage.crlSign) === 0)
    return `${who} may not sign revocation lists (key usage)`;
  const { certificate, spki } = issuer;
  const name = certificate?.certificate.spki === spki ? certificate?.hash : undefined;
  if (!(await cache.signedBy(list, hash, spki, name))) return `the revocation list is not signed by ${who}`;
  if (at < list.thisUpdate)
    return `the revocation list of ${who} is of ${isoTime(list.thisUpdate)}, after the time judged for`;
  if (list.nextUpdate === undefined) return `the revocation list of ${who} has no end of validity`;
  if (at > list.nextUpdate) return `the revocation list of ${who} ran out at ${isoTime(list.nextUpdate)}`;
  return undefined;
}

import { commonName, parseCertificate } from "./certificate.ts";

/** A public key that is trusted as it stands, and the name under which it issues. */
export interface TrustAnchor {
  /** Common name of the subject, for example "ARK-Milan". */
  readonly name: string;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Serial number of its certificate, big-endian: a list of its own may name it. */
  readonly serial?: Uint8Array;
}

/** An anchor of a certificate that the caller trusts. Throws `MalformedError`. */
export function anchorOf(der: Uint8Array): TrustAnchor {
  const { subject, spki, serial } = parseCertificate(new Uint8Array(der));
  return { name: commonName(subject) ?? "a root without a common name", spki, serial };
}

import { constants, createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { ExtensionId } from "../x509/certificate.ts";
import {
  bits,
  boolean,
  explicit,
  identifier,
  integer,
  nothing,
  octets,
  sequence,
  set,
  time,
  utf8,
} from "./der-writer.ts";

/* A PKI for tests: certificates and revocation lists of any shape, good and bad, signed by real keys. */

export type KeyKind = "P-256" | "P-384" | "rsa-2048";
export interface KeyPair {
  readonly kind: KeyKind;
  readonly privateKey: KeyObject;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

const pairs = new Map<string, KeyPair>();

/** A key pair; the same one for the same name, since RSA keys take long to find. */
export function keyPair(kind: KeyKind, name: string): KeyPair {
  const known = pairs.get(`${kind} ${name}`);
  if (known !== undefined) return known;
  const { privateKey, publicKey } =
    kind === "rsa-2048"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: kind });
  const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  const pair = { kind, privateKey, spki };
  pairs.set(`${kind} ${name}`, pair);
  return pair;
}

export type SchemeName = "ecdsa-sha256" | "ecdsa-sha384" | "pss-sha384" | "pkcs1-sha256" | "ecdsa-sha1";

const SHA384 = "2.16.840.1.101.3.4.2.2";

/** AlgorithmIdentifier of a signature. */
function algorithm(scheme: SchemeName): Uint8Array {
  const hash = sequence(identifier(SHA384), nothing());
  switch (scheme) {
    case "ecdsa-sha1":
      return sequence(identifier("1.2.840.10045.4.1"));
    case "ecdsa-sha256":
      return sequence(identifier("1.2.840.10045.4.3.2"));
    case "ecdsa-sha384":
      return sequence(identifier("1.2.840.10045.4.3.3"));
    case "pkcs1-sha256":
      return sequence(identifier("1.2.840.113549.1.1.11"), nothing());
    case "pss-sha384":
      return sequence(
        identifier("1.2.840.113549.1.1.10"),
        sequence(
          explicit(0, hash),
          explicit(1, sequence(identifier("1.2.840.113549.1.1.8"), hash)),
          explicit(2, integer(48)),
          explicit(3, integer(1)),
        ),
      );
    default:
      return scheme satisfies never;
  }
}

function signature(scheme: SchemeName, key: KeyObject, data: Uint8Array): Uint8Array {
  switch (scheme) {
    case "pss-sha384":
      return sign("sha384", data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 });
    case "ecdsa-sha384":
      return sign("sha384", data, key);
    case "ecdsa-sha1":
      return sign("sha1", data, key);
    default:
      return sign("sha256", data, key);
  }
}

export const schemeOf = ({ kind }: KeyPair): SchemeName =>
  kind === "rsa-2048" ? "pss-sha384" : kind === "P-256" ? "ecdsa-sha256" : "ecdsa-sha384";

/** A Name of one common name, or of several attributes by their object identifiers. */
export function name(common: string, more: Readonly<Record<string, string>> = {}): Uint8Array {
  const attribute = (type: string, value: string) => set(sequence(identifier(type), utf8(value)));
  return sequence(
    ...Object.entries(more).map(([type, value]) => attribute(type, value)),
    attribute("2.5.4.3", common),
  );
}

export interface ExtensionInput {
  readonly id: string;
  readonly critical?: boolean;
  /** Content of extnValue. */
  readonly value: Uint8Array;
}

export function extension({ id, critical = false, value }: ExtensionInput): Uint8Array {
  return sequence(identifier(id), ...(critical ? [boolean(true)] : []), octets(value));
}

export const basicConstraints = (ca: boolean, pathLength?: number): ExtensionInput => ({
  id: ExtensionId.basicConstraints,
  critical: true,
  value: sequence(...(ca ? [boolean(true)] : []), ...(pathLength === undefined ? [] : [integer(pathLength)])),
});

/** `mask`: of KeyUsage in certificate.ts. */
export function keyUsage(mask: number): ExtensionInput {
  let byte = 0;
  for (let bit = 0; bit < 8; bit++) if (mask & (1 << bit)) byte |= 0x80 >> bit;
  return { id: ExtensionId.keyUsage, critical: true, value: bits(Uint8Array.of(byte)) };
}

export interface CertificateInput {
  readonly subject: string | Uint8Array;
  readonly key: KeyPair;
  /** Who signs, and under what name. Left out: self-signed. */
  readonly issuer?: { readonly name: string | Uint8Array; readonly key: KeyPair };
  readonly serial?: number | Uint8Array;
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly scheme?: SchemeName;
  /** The algorithm that the signed part names, when it shall differ. */
  readonly innerScheme?: SchemeName;
  readonly extensions?: readonly ExtensionInput[];
  /** Bytes of the signature are changed. */
  readonly forged?: boolean;
}

export const nameOf = (value: string | Uint8Array): Uint8Array =>
  typeof value === "string" ? name(value) : value;

/** A DER certificate. */
export function certificate(input: CertificateInput): Uint8Array {
  const issuer = input.issuer ?? { name: input.subject, key: input.key };
  const scheme = input.scheme ?? schemeOf(issuer.key);
  const tbs = sequence(
    explicit(0, integer(2)),
    integer(input.serial ?? 1),
    algorithm(input.innerScheme ?? scheme),
    nameOf(issuer.name),
    sequence(time(input.notBefore ?? "2025-01-01T00:00:00Z"), time(input.notAfter ?? "2035-01-01T00:00:00Z")),
    nameOf(input.subject),
    input.key.spki,
    ...(input.extensions === undefined || input.extensions.length === 0
      ? []
      : [explicit(3, sequence(...input.extensions.map(extension)))]),
  );
  return signed(tbs, scheme, issuer.key, input.forged);
}

function signed(tbs: Uint8Array, scheme: SchemeName, key: KeyPair, forged = false): Uint8Array {
  const value = new Uint8Array(signature(scheme, key.privateKey, tbs));
  if (forged) value[value.length - 1] = (value[value.length - 1] as number) ^ 1;
  return sequence(tbs, algorithm(scheme), bits(value));
}

export interface CrlInput {
  readonly issuer: { readonly name: string | Uint8Array; readonly key: KeyPair };
  readonly revoked?: readonly {
    readonly serial: number | Uint8Array;
    readonly extensions?: readonly ExtensionInput[];
  }[];
  readonly thisUpdate?: string;
  /** null: the list does not say. */
  readonly nextUpdate?: string | null;
  readonly extensions?: readonly ExtensionInput[];
  readonly scheme?: SchemeName;
  readonly forged?: boolean;
}

/** A DER certificate revocation list, version 2. */
export function crl(input: CrlInput): Uint8Array {
  const scheme = input.scheme ?? schemeOf(input.issuer.key);
  const entries = (input.revoked ?? []).map(({ serial, extensions }) =>
    sequence(
      integer(serial),
      time("2026-01-01T00:00:00Z"),
      ...(extensions === undefined ? [] : [sequence(...extensions.map(extension))]),
    ),
  );
  const extensions = input.extensions ?? [{ id: ExtensionId.crlNumber, value: integer(1) }];
  const tbs = sequence(
    integer(1),
    algorithm(scheme),
    nameOf(input.issuer.name),
    time(input.thisUpdate ?? "2026-05-01T00:00:00Z"),
    ...(input.nextUpdate === null ? [] : [time(input.nextUpdate ?? "2026-07-01T00:00:00Z")]),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    ...(extensions.length === 0 ? [] : [explicit(0, sequence(...extensions.map(extension)))]),
  );
  return signed(tbs, scheme, input.issuer.key, input.forged);
}

/** SHA-256, hexadecimal. */
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

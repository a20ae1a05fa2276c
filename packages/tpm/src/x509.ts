import { Alg, Curve, digestSizes, type Public, type Scheme } from "@entresol/tpm-types";
import { bitString, derNull, element, objectIdentifier, Tag, unsigned } from "./der.ts";
import { u32 } from "./engine.ts";
import { pssSaltSize } from "./signatures.ts";

/* What a certificate says of keys and signatures (RFC 3279, 4055, 5480 and 5758; SHA-3 by NIST's identifiers). */

interface HashIdentifiers {
  readonly hash: string;
  readonly rsassa: string;
  readonly ecdsa: string;
}
const rsa = "1.2.840.113549.1.1";
const ecdsa = "1.2.840.10045.4";
const nist = "2.16.840.1.101.3.4";

const identifiers: ReadonlyMap<number, HashIdentifiers> = new Map([
  [Alg.SHA1, { hash: "1.3.14.3.2.26", rsassa: `${rsa}.5`, ecdsa: `${ecdsa}.1` }],
  [Alg.SHA256, { hash: `${nist}.2.1`, rsassa: `${rsa}.11`, ecdsa: `${ecdsa}.3.2` }],
  [Alg.SHA384, { hash: `${nist}.2.2`, rsassa: `${rsa}.12`, ecdsa: `${ecdsa}.3.3` }],
  [Alg.SHA512, { hash: `${nist}.2.3`, rsassa: `${rsa}.13`, ecdsa: `${ecdsa}.3.4` }],
  [Alg.SHA3_256, { hash: `${nist}.2.8`, rsassa: `${nist}.3.14`, ecdsa: `${nist}.3.10` }],
  [Alg.SHA3_384, { hash: `${nist}.2.9`, rsassa: `${nist}.3.15`, ecdsa: `${nist}.3.11` }],
  [Alg.SHA3_512, { hash: `${nist}.2.10`, rsassa: `${nist}.3.16`, ecdsa: `${nist}.3.12` }],
]);

const curves: ReadonlyMap<number, string> = new Map([
  [Curve.NIST_P192, "1.2.840.10045.3.1.1"],
  [Curve.NIST_P224, "1.3.132.0.33"],
  [Curve.NIST_P256, "1.2.840.10045.3.1.7"],
  [Curve.NIST_P384, "1.3.132.0.34"],
  [Curve.NIST_P521, "1.3.132.0.35"],
  [Curve.SM2_P256, "1.2.156.10197.1.301"],
]);

function algorithm(identifier: string, ...parameters: readonly Uint8Array[]): Uint8Array {
  return element(Tag.SEQUENCE, objectIdentifier(identifier), ...parameters);
}

/** RSASSA-PSS-params (RFC 4055, 3.1). What is the default is not written: with SHA-1 that is everything. */
function pssParameters(hash: number, identifier: string, modulusSize: number): Uint8Array {
  if (hash === Alg.SHA1) return element(Tag.SEQUENCE);
  const hashAlgorithm = algorithm(identifier, derNull);
  const saltSize = unsigned(Uint8Array.of(pssSaltSize(digestSizes.get(hash)!, modulusSize)));
  return element(
    Tag.SEQUENCE,
    element(Tag.CONTEXT, hashAlgorithm),
    element(Tag.CONTEXT + 1, algorithm(`${rsa}.8`, hashAlgorithm)),
    element(Tag.CONTEXT + 2, saltSize),
  );
}

/** AlgorithmIdentifier of signatures by the key; undefined for a scheme that certificates have no name for. */
export function signatureAlgorithm(key: Public, { scheme, hash }: Scheme): Uint8Array | undefined {
  const known = identifiers.get(hash);
  if (known === undefined) return undefined;
  if (key.type === Alg.ECC && scheme === Alg.ECDSA) return algorithm(known.ecdsa);
  if (key.type !== Alg.RSA) return undefined;
  if (scheme === Alg.RSASSA) return algorithm(known.rsassa, derNull);
  if (scheme !== Alg.RSAPSS) return undefined;
  return algorithm(`${rsa}.10`, pssParameters(hash, known.hash, key.unique.length));
}

/** SubjectPublicKeyInfo; undefined for a key that certificates are not made of. */
export function subjectPublicKeyInfo(key: Public): Uint8Array | undefined {
  if (key.type === Alg.RSA) {
    const exponent = unsigned(u32(key.parameters.exponent || 65537));
    const pair = element(Tag.SEQUENCE, unsigned(key.unique), exponent);
    return element(Tag.SEQUENCE, algorithm(`${rsa}.1`, derNull), bitString(pair));
  }
  if (key.type !== Alg.ECC) return undefined;
  const curve = curves.get(key.parameters.curveID);
  if (curve === undefined) return undefined;
  const { x, y } = key.unique;
  const point = bitString(Uint8Array.of(4), x, y);
  return element(Tag.SEQUENCE, algorithm("1.2.840.10045.2.1", objectIdentifier(curve)), point);
}

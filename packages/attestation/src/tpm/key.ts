import { Alg, Curve, ObjectAttribute, type Public, type Scheme } from "@entresol/tpm-types";
import type { Context } from "../context.ts";
import { type CurveName, curveSizes, type PublicKey } from "../crypto/provider.ts";
import { EvidenceError } from "../errors.ts";

/** A key that may sign quotes. */
export interface AttestationKey {
  readonly key: PublicKey;
  /** For people, for example "RSA 2048". */
  readonly text: string;
  /** The one scheme that the key signs by, as TPM_ALG_ID; undefined where what names the key does not say. */
  readonly scheme: { readonly scheme: number; readonly hash: number } | undefined;
}

/** Why a key is none that quotes are believed from. */
export interface KeyFault {
  readonly fault: string;
}

/** What is not there to tell whose key it is. */
export interface KeyMissing {
  readonly missing: string;
}

const LEAST_BITS = 2048;
/** Larger ones are no TPM's; verifying with them costs time that somebody else decides on. */
const MOST_BITS = 4096;
const LEAST_EXPONENT = 65537;
const MOST_EXPONENT = 0xffff_ffff;

const curves: ReadonlyMap<number, CurveName> = new Map([
  [Curve.NIST_P256, "P-256"],
  [Curve.NIST_P384, "P-384"],
  [Curve.NIST_P521, "P-521"],
]);

async function imported(
  make: () => PublicKey | Promise<PublicKey>,
  text: string,
  scheme: AttestationKey["scheme"],
): Promise<AttestationKey | KeyFault> {
  try {
    return { key: await make(), text, scheme };
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    return { fault: `${text}: ${error.message}` };
  }
}

/**
 * An RSA key by modulus and exponent, big-endian. With exponent 1 anybody could sign, with a small one padding that is checked badly
 * somewhere can be forged, and an even modulus is no product of two primes: none of them is a TPM's.
 */
export async function rsaKey(
  { crypto }: Context,
  n: Uint8Array,
  e: Uint8Array,
  scheme?: AttestationKey["scheme"],
): Promise<AttestationKey | KeyFault> {
  const bits = 8 * n.length - Math.clz32(n[0] ?? 0) + 24;
  if (n.length === 0 || n[0] === 0) return { fault: "the modulus begins with zeros, or is empty" };
  if (bits < LEAST_BITS || bits > MOST_BITS)
    return { fault: `a modulus of ${bits} bits, ${LEAST_BITS} to ${MOST_BITS} are right` };
  if (((n[n.length - 1] as number) & 1) === 0) return { fault: "the modulus is even" };
  const exponent = e.length > 4 ? Number.POSITIVE_INFINITY : e.reduce((sum, byte) => sum * 256 + byte, 0);
  if (exponent < LEAST_EXPONENT || exponent > MOST_EXPONENT || exponent % 2 === 0)
    return { fault: `exponent ${exponent}: an odd one from ${LEAST_EXPONENT} on is right` };
  return imported(() => crypto.importRsa(n, e), `RSA ${bits}`, scheme);
}

const required = {
  fixedTPM: ObjectAttribute.fixedTPM,
  restricted: ObjectAttribute.restricted,
  sign: ObjectAttribute.sign,
} as const;

/** Does the public area say that it only signs what its TPM made itself? Only then does the magic of a quote mean anything. */
export function signsQuotes({ objectAttributes }: Public): boolean {
  const wanted = Object.values(required).reduce((mask, bit) => mask | bit, 0);
  return (objectAttributes & wanted) === wanted && (objectAttributes & ObjectAttribute.decrypt) === 0;
}

/** A key by its public area. */
export async function publicAreaKey(
  context: Context,
  publicArea: Public,
): Promise<AttestationKey | KeyFault> {
  const lacking = Object.entries(required)
    .filter(([, bit]) => (publicArea.objectAttributes & bit) === 0)
    .map(([name]) => name);
  if (lacking.length > 0) return { fault: `without ${lacking.join(", ")} the key signs what others make up` };
  if ((publicArea.objectAttributes & ObjectAttribute.decrypt) !== 0)
    return { fault: "a key that decrypts signs no quotes" };
  switch (publicArea.type) {
    case Alg.RSA: {
      const { exponent, scheme } = publicArea.parameters;
      const e = new Uint8Array(4);
      new DataView(e.buffer).setUint32(0, exponent === 0 ? LEAST_EXPONENT : exponent);
      return rsaKey(
        context,
        publicArea.unique,
        e.subarray(e.findIndex((byte) => byte !== 0)),
        schemeOf(scheme),
      );
    }
    case Alg.ECC: {
      const { curveID, scheme } = publicArea.parameters;
      const curve = curves.get(curveID);
      if (curve === undefined)
        return { fault: `curve 0x${curveID.toString(16)} is not one that is verified here` };
      const { x, y } = publicArea.unique;
      const xy = rightAligned(curveSizes[curve], x, y);
      if (xy === undefined) return { fault: `the point is not one of ${curve}` };
      return imported(() => context.crypto.importPoint(curve, xy), `ECC ${curve}`, schemeOf(scheme));
    }
    default:
      return { fault: "a key that is not asymmetric signs no quotes" };
  }
}

function schemeOf({ scheme, hash }: Scheme): AttestationKey["scheme"] {
  return scheme === Alg.NULL ? undefined : { scheme, hash };
}

/** Two numbers, big-endian with leading zeros or without, each on `size` bytes; undefined when one is larger. */
export function rightAligned(size: number, first: Uint8Array, second: Uint8Array): Uint8Array | undefined {
  const both = new Uint8Array(2 * size);
  for (const [end, number] of [
    [size, first],
    [2 * size, second],
  ] as const) {
    const from = number.findIndex((byte) => byte !== 0);
    const plain = from < 0 ? number.subarray(0, 0) : number.subarray(from);
    if (plain.length > size) return undefined;
    both.set(plain, end - plain.length);
  }
  return both;
}

import type { EccPoint } from "@entresol/tpm-types";
import { inverse, modulo, toBytes, toInteger } from "./crypto/integers.ts";
import type { Engine } from "./engine.ts";

/*
 * Signature schemes over elliptic curves that no library on this platform has: ECSCHNORR, SM2 and ECDAA (Part 1, annex C.4). Points are the
 * provider's; only scalars modulo the order are worked on here, in BigInt, which does not run in constant time: a secret scalar is used
 * multiplied by a fresh random factor.
 */

export interface EccSignature {
  readonly r: Uint8Array;
  readonly s: Uint8Array;
}

/** (a + b * d) mod n with the secret `d` blinded: b * (d * f) / f. */
function addProduct(engine: Engine, curve: number, a: bigint, b: bigint, secret: Uint8Array): bigint {
  const n = orderOf(engine, curve);
  const factor = toInteger(engine.crypto.eccScalar(curve));
  const blinded = modulo(toInteger(secret) * factor, n);
  return modulo(a + modulo(b * blinded, n) * inverse(factor, n)!, n);
}

const orderOf = (engine: Engine, curve: number): bigint => toInteger(engine.crypto.eccOrder(curve));

/** The hash of a point's x coordinate and the digest, cut to the order's size from the left (Part 1, C.4.3). */
function schnorrHash(
  engine: Engine,
  curve: number,
  hash: number,
  point: EccPoint,
  digest: Uint8Array,
): Uint8Array {
  const size = engine.crypto.eccOrder(curve).length;
  const x = toBytes(toInteger(point.x), Math.max(size, point.x.length));
  const e = engine.crypto.hash(hash, x, digest);
  return e.length > size ? e.subarray(0, size) : e;
}

export function schnorrSign(
  engine: Engine,
  curve: number,
  scalar: Uint8Array,
  hash: number,
  digest: Uint8Array,
): EccSignature {
  const n = orderOf(engine, curve);
  const size = engine.crypto.eccOrder(curve).length;
  for (;;) {
    const k = engine.crypto.eccScalar(curve);
    const r = schnorrHash(engine, curve, hash, engine.crypto.eccPublic(curve, k)!, digest);
    const s = addProduct(engine, curve, toInteger(k), toInteger(r), scalar);
    if (s !== 0n && modulo(toInteger(r), n) !== 0n) return { r, s: toBytes(s, size) };
  }
}

export function schnorrVerify(
  engine: Engine,
  curve: number,
  point: EccPoint,
  hash: number,
  digest: Uint8Array,
  r: Uint8Array,
  s: Uint8Array,
): boolean {
  const { crypto } = engine;
  const n = orderOf(engine, curve);
  const size = crypto.eccOrder(curve).length;
  const sInteger = toInteger(s);
  if (sInteger === 0n || sInteger >= n) return false;
  const minusR = modulo(-toInteger(r), n);
  const sG = crypto.eccPublic(curve, s);
  const rP = crypto.eccMultiply(curve, toBytes(minusR, size), point);
  if (sG === undefined || rP === undefined) return false;
  const e = crypto.eccAdd(curve, sG, rP);
  if (e === undefined) return false;
  return toInteger(schnorrHash(engine, curve, hash, e, digest)) === toInteger(r);
}

/** GB/T 32918.2, 6.1: over the digest as it is given, with no user's identity mixed in. */
export function sm2Sign(engine: Engine, curve: number, scalar: Uint8Array, digest: Uint8Array): EccSignature {
  const n = orderOf(engine, curve);
  const size = engine.crypto.eccOrder(curve).length;
  const e = toInteger(digest);
  for (;;) {
    const k = engine.crypto.eccScalar(curve);
    const r = modulo(e + toInteger(engine.crypto.eccPublic(curve, k)!.x), n);
    if (r === 0n || r + toInteger(k) === n) continue;
    // s = (k - r d) / (1 + d), with numerator and denominator blinded by the same factor.
    const factor = toInteger(engine.crypto.eccScalar(curve));
    const d = modulo(toInteger(scalar) * factor, n);
    const denominator = inverse(modulo(factor + d, n), n);
    if (denominator === undefined) continue;
    const s = modulo(modulo(toInteger(k) * factor - r * d, n) * denominator, n);
    if (s !== 0n) return { r: toBytes(r, size), s: toBytes(s, size) };
  }
}

export function sm2Verify(
  engine: Engine,
  curve: number,
  point: EccPoint,
  digest: Uint8Array,
  rBytes: Uint8Array,
  sBytes: Uint8Array,
): boolean {
  const { crypto } = engine;
  const n = orderOf(engine, curve);
  const size = crypto.eccOrder(curve).length;
  const r = toInteger(rBytes);
  const s = toInteger(sBytes);
  if (r === 0n || r >= n || s === 0n || s >= n) return false;
  const t = modulo(r + s, n);
  if (t === 0n) return false;
  const sG = crypto.eccPublic(curve, toBytes(s, size));
  const tP = crypto.eccMultiply(curve, toBytes(t, size), point);
  if (sG === undefined || tP === undefined) return false;
  const sum = crypto.eccAdd(curve, sG, tP);
  return sum !== undefined && modulo(toInteger(digest) + toInteger(sum.x), n) === r;
}

/** ECDAA (Part 1, C.4.2): `commit` is the scalar of the Commit that this ends. */
export function ecdaaSign(
  engine: Engine,
  curve: number,
  scalar: Uint8Array,
  hash: number,
  digest: Uint8Array,
  commit: Uint8Array,
): EccSignature {
  const n = orderOf(engine, curve);
  const size = engine.crypto.eccOrder(curve).length;
  for (;;) {
    const nonce = engine.crypto.eccScalar(curve);
    const t = modulo(toInteger(engine.crypto.hash(hash, nonce, digest)), n);
    const s = addProduct(engine, curve, toInteger(commit), t, scalar);
    if (s !== 0n) return { r: nonce, s: toBytes(s, size) };
  }
}

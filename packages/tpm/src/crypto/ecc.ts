import { createECDH, type ECDH, randomBytes } from "node:crypto";
import type { EccPoint } from "@entresol/tpm-types";
import { type CurveParameters, parametersOf } from "./curves.ts";
import { inverse, modulo, toBytes, toInteger } from "./integers.ts";
import { add, basePoint, multiply, negated, onCurve, type Point } from "./points.ts";
import type { CryptoProvider, Draw } from "./provider.ts";

/*
 * Elliptic curves. OpenSSL multiplies (`createECDH`) on every curve but BN_P256, which is done in BigInt; what node:crypto has no call for is put
 * together from what it has:
 * - a product with both coordinates from two with x alone,
 * - ECDSA over a digest, which `sign` and `verify` would hash again.
 */

/** Uncompressed (SEC 1, 2.3.3). */
const UNCOMPRESSED = 4;

function pointOf({ x, y }: EccPoint): Point {
  return { x: toInteger(x), y: toInteger(y) };
}

function coordinates({ size }: CurveParameters, point: Point | undefined): EccPoint | undefined {
  if (point === undefined) return undefined;
  return { x: toBytes(point.x, size), y: toBytes(point.y, size) };
}

function encoded({ size }: CurveParameters, { x, y }: Point): Uint8Array {
  const bytes = new Uint8Array(1 + 2 * size);
  bytes[0] = UNCOMPRESSED;
  bytes.set(toBytes(x, size), 1);
  bytes.set(toBytes(y, size), 1 + size);
  return bytes;
}

function decoded({ size }: CurveParameters, bytes: Uint8Array): EccPoint {
  return { x: new Uint8Array(bytes.subarray(1, 1 + size)), y: new Uint8Array(bytes.subarray(1 + size)) };
}

/** Uniform from 1 to n - 1, by 64 bits more than the order has (FIPS 186-5, A.2.1). */
function scalarFrom({ n, orderSize }: CurveParameters, draw: Draw): bigint {
  return (toInteger(draw(orderSize + 8)) % (n - 1n)) + 1n;
}

/** Not zero modulo the curve's p and n. */
function blind({ size, p, n }: CurveParameters): bigint {
  for (;;) {
    const value = toInteger(randomBytes(size + 8));
    if (value % p !== 0n && value % n !== 0n) return value;
  }
}

/** A holder of the private scalar, not zero modulo n. OpenSSL wipes it when it goes. */
function holder(curve: CurveParameters, scalar: bigint): ECDH {
  const ecdh = createECDH(curve.opensslName!);
  ecdh.setPrivateKey(toBytes(scalar, curve.orderSize));
  return ecdh;
}

function timesBase(curve: CurveParameters, scalar: bigint): Point | undefined {
  if (scalar === 0n) return undefined;
  if (curve.opensslName === undefined)
    return multiply(curve, blinded(curve, scalar), basePoint(curve), blind(curve));
  return pointOf(decoded(curve, holder(curve, scalar).getPublicKey()));
}

/** Another number for the same multiple: a random multiple of the order is added, so that no two runs go through the same bits. */
function blinded({ n }: CurveParameters, scalar: bigint): bigint {
  return scalar + n * toInteger(randomBytes(8));
}

function times(curve: CurveParameters, scalar: bigint, point: Point): Point | undefined {
  if (scalar === 0n) return undefined;
  if (curve.opensslName === undefined) return multiply(curve, blinded(curve, scalar), point, blind(curve));
  const { n, p, a, b } = curve;
  if (scalar === 1n) return point;
  if (scalar === n - 1n) return negated(curve, point);
  // The order is odd and prime, so that no point has y = 0, and neither neighbour of the scalar is zero here.
  const other = encoded(curve, point);
  const x1 = toInteger(holder(curve, scalar).computeSecret(other));
  const x2 = toInteger(holder(curve, scalar + 1n).computeSecret(other));
  // y of k * P from x of k * P and of (k + 1) * P (Okeya and Sakurai, CHES 2001).
  const { x, y } = point;
  const difference = x - x1;
  const rise = 2n * b + (a + x * x1) * (x + x1) - x2 * difference * difference;
  return { x: x1, y: modulo(rise * inverse(2n * y, p)!, p) };
}

/** x of `scalar` * `point`, the scalar from 1 to n - 1. */
function xOfProduct(curve: CurveParameters, scalar: bigint, point: Point): bigint {
  if (curve.opensslName === undefined) return times(curve, scalar, point)!.x;
  return toInteger(holder(curve, scalar).computeSecret(encoded(curve, point)));
}

/** The leftmost bits of the digest, as many as the order has (FIPS 186-5, 6.4.1). */
function digestNumber({ orderBits }: CurveParameters, digest: Uint8Array): bigint {
  const excess = 8 * digest.length - orderBits;
  const value = toInteger(digest);
  return excess > 0 ? value >> BigInt(excess) : value;
}

/**
 * The signature is good when z/s G + r/s Q has the x coordinate r (FIPS 186-5, 6.4.2). That point is r/s times the point z/r G + Q; so its x coordinate comes
 * from one multiplication of the base point, one addition and one ECDH, which gives no more than x.
 */
function ecdsaVerify(
  id: number,
  publicPoint: EccPoint,
  digest: Uint8Array,
  r: Uint8Array,
  s: Uint8Array,
): boolean {
  const curve = parametersOf(id);
  const { n } = curve;
  const point = pointOf(publicPoint);
  const rNumber = toInteger(r);
  const sNumber = toInteger(s);
  if (rNumber === 0n || rNumber >= n || sNumber === 0n || sNumber >= n) return false;
  if (!onCurve(curve, point)) return false;
  const z = digestNumber(curve, digest) % n;
  // 1 / (r s) has both inverses in it.
  const product = inverse((rNumber * sNumber) % n, n)!;
  const zOverR = (((z * sNumber) % n) * product) % n;
  const rOverS = (((rNumber * rNumber) % n) * product) % n;
  const sum = add(curve, point, timesBase(curve, zOverR));
  return sum !== undefined && xOfProduct(curve, rOverS, sum) % n === rNumber;
}

function ecdsaSign(
  id: number,
  scalar: Uint8Array,
  digest: Uint8Array,
  draw: Draw = randomBytes,
): { r: Uint8Array; s: Uint8Array } {
  const curve = parametersOf(id);
  const { n, orderSize } = curve;
  const d = toInteger(scalar) % n;
  const z = digestNumber(curve, digest) % n;
  for (;;) {
    const k = scalarFrom(curve, draw);
    const r = timesBase(curve, k)!.x % n;
    // s = (z + r d) / k, with a random factor above and below, so that neither d nor k stands alone in a product or an inversion.
    const factor = blind(curve) % n;
    const above = (factor * z + ((((factor * d) % n) * r) % n)) % n;
    const s = (above * inverse((factor * k) % n, n)!) % n;
    if (r !== 0n && s !== 0n) return { r: toBytes(r, orderSize), s: toBytes(s, orderSize) };
  }
}

/** Elliptic curves for the provider. */
export const nodeEcc = {
  eccPublic(id, scalar) {
    const curve = parametersOf(id);
    const value = toInteger(scalar) % curve.n;
    return coordinates(curve, timesBase(curve, value));
  },
  eccOnCurve: (id, point) => onCurve(parametersOf(id), pointOf(point)),
  eccMultiply(id, scalar, point) {
    const curve = parametersOf(id);
    const from = pointOf(point);
    if (!onCurve(curve, from)) return undefined;
    return coordinates(curve, times(curve, toInteger(scalar) % curve.n, from));
  },
  eccAgree(id, scalar, point) {
    const curve = parametersOf(id);
    const from = pointOf(point);
    const value = toInteger(scalar) % curve.n;
    if (value === 0n || !onCurve(curve, from)) return undefined;
    return toBytes(xOfProduct(curve, value, from), curve.size);
  },
  eccAdd(id, a, b) {
    const curve = parametersOf(id);
    const [first, second] = [pointOf(a), pointOf(b)];
    if (!onCurve(curve, first) || !onCurve(curve, second)) return undefined;
    return coordinates(curve, add(curve, first, second));
  },
  eccOrder(id) {
    const { n, orderSize } = parametersOf(id);
    return toBytes(n, orderSize);
  },
  eccScalar(id, draw = randomBytes) {
    const curve = parametersOf(id);
    return toBytes(scalarFrom(curve, draw), curve.orderSize);
  },
  ecdsaSign,
  ecdsaVerify,
} satisfies Partial<CryptoProvider>;

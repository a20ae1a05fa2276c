import type { CurveParameters } from "./curves.ts";
import { inverse, modulo } from "./integers.ts";

/* Points of a curve in BigInt: what OpenSSL has no function for. Undefined is the point at infinity. */

export interface Point {
  readonly x: bigint;
  readonly y: bigint;
}

export function basePoint({ gx, gy }: CurveParameters): Point {
  return { x: gx, y: gy };
}

/** Coordinates below p that fulfil the equation. The cofactor is 1, so that every such point is in the group. */
export function onCurve({ p, a, b }: CurveParameters, { x, y }: Point): boolean {
  if (x >= p || y >= p) return false;
  return (y * y - (x * x + a) * x - b) % p === 0n;
}

export function negated({ p }: CurveParameters, { x, y }: Point): Point {
  return { x, y: y === 0n ? 0n : p - y };
}

export function add(
  curve: CurveParameters,
  first: Point | undefined,
  second: Point | undefined,
): Point | undefined {
  if (first === undefined) return second;
  if (second === undefined) return first;
  const { p, a } = curve;
  const same = first.x === second.x;
  // A chord through a point and its mirror image meets the curve at infinity.
  if (same && (first.y !== second.y || first.y === 0n)) return undefined;
  const rise = same ? 3n * first.x * first.x + a : second.y - first.y;
  const run = same ? 2n * first.y : second.x - first.x;
  const slope = modulo(rise, p) * inverse(run, p)!;
  const x = modulo(slope * slope - first.x - second.x, p);
  return { x, y: modulo(slope * (first.x - x) - first.y, p) };
}

/** Jacobian coordinates: (x / z², y / z³); z is zero at infinity. */
interface Jacobian {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
}

function doubled({ p, a }: CurveParameters, { x, y, z }: Jacobian): Jacobian {
  const yy = (y * y) % p;
  const s = (4n * x * yy) % p;
  const zz = (z * z) % p;
  const m = (3n * x * x + (a === 0n ? 0n : a * ((zz * zz) % p))) % p;
  const x3 = modulo(m * m - 2n * s, p);
  return { x: x3, y: modulo(m * (s - x3) - 8n * yy * yy, p), z: (2n * y * z) % p };
}

function added(curve: CurveParameters, first: Jacobian, second: Jacobian): Jacobian {
  if (first.z === 0n) return second;
  if (second.z === 0n) return first;
  const { p } = curve;
  const z1 = (first.z * first.z) % p;
  const z2 = (second.z * second.z) % p;
  const u1 = (first.x * z2) % p;
  const u2 = (second.x * z1) % p;
  const s1 = (((first.y * z2) % p) * second.z) % p;
  const s2 = (((second.y * z1) % p) * first.z) % p;
  const h = modulo(u2 - u1, p);
  const r = modulo(s2 - s1, p);
  if (h === 0n) return r === 0n ? doubled(curve, first) : { x: 1n, y: 1n, z: 0n };
  const hh = (h * h) % p;
  const hhh = (h * hh) % p;
  const v = (u1 * hh) % p;
  const x = modulo(r * r - hhh - 2n * v, p);
  return { x, y: modulo(r * (v - x) - s1 * hhh, p), z: (((h * first.z) % p) * second.z) % p };
}

/**
 * `scalar` * `point`. Every bit of the scalar costs a doubling and an addition, so that their number does not tell the scalar; `mask` (not zero
 * modulo p) is multiplied into the coordinates, so that the same multiplication never meets the same numbers twice.
 */
export function multiply(
  curve: CurveParameters,
  scalar: bigint,
  point: Point,
  mask: bigint,
): Point | undefined {
  const { p } = curve;
  const mm = (mask * mask) % p;
  const start: Jacobian = { x: (point.x * mm) % p, y: (((point.y * mm) % p) * mask) % p, z: mask % p };
  // Montgomery's ladder: `above` is always `below` + `point`.
  let below: Jacobian = { x: 1n, y: 1n, z: 0n };
  let above = start;
  for (const bit of scalar.toString(2)) {
    const sum = added(curve, below, above);
    if (bit === "1") {
      above = doubled(curve, above);
      below = sum;
    } else {
      below = doubled(curve, below);
      above = sum;
    }
  }
  if (below.z === 0n) return undefined;
  const z = inverse(below.z, p)!;
  const zz = (z * z) % p;
  return { x: (below.x * zz) % p, y: (((below.y * zz) % p) * z) % p };
}

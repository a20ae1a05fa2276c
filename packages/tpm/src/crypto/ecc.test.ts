import { createHash, createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { Curve, curveSizes } from "@entresol/tpm-types";
import { describe, expect, it } from "vitest";
import { curveParameters, parametersOf } from "./curves.ts";
import { seededDraw } from "./drbg.ts";
import { power, toBytes, toInteger } from "./integers.ts";
import { nodeProvider as crypto } from "./node-provider.ts";
import { add, basePoint, multiply, onCurve } from "./points.ts";

const curves = [...curveSizes.keys()];
const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString("hex");
const bytes = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"));
const sha = (text: string): Uint8Array => crypto.hash(0x000b, new TextEncoder().encode(text));

describe("curves", () => {
  it.each(curves)("curve 0x%i has a prime field, a base point on it, and its order", (id) => {
    const curve = parametersOf(id);
    expect(power(2n, curve.p - 1n, curve.p)).toBe(1n);
    expect(power(2n, curve.n - 1n, curve.n)).toBe(1n);
    expect(onCurve(curve, basePoint(curve))).toBe(true);
    expect(multiply(curve, curve.n, basePoint(curve), 1n)).toBeUndefined();
    expect(multiply(curve, curve.n - 1n, basePoint(curve), 12345n)).toEqual({
      x: curve.gx,
      y: curve.p - curve.gy,
    });
    expect(curve.size).toBe(Math.ceil(curve.p.toString(2).length / 8));
  });
  it("are the ones that the engine lists", () => {
    expect([...curveParameters.keys()].sort()).toEqual([...curves].sort());
    expect(() => parametersOf(0x99)).toThrow(RangeError);
  });
});

describe.each(curves)("on curve %i", (id) => {
  const curve = parametersOf(id);
  const scalarOf = (value: bigint): Uint8Array => toBytes(value, curve.orderSize);
  const key = sha(`key on ${id}`);
  const scalar = scalarOf((toInteger(key) % (curve.n - 1n)) + 1n);
  const point = crypto.eccPublic(id, scalar)!;
  const base = { x: toBytes(curve.gx, curve.size), y: toBytes(curve.gy, curve.size) };

  it("the public point is the multiple of the base point that BigInt finds", () => {
    const found = multiply(curve, toInteger(scalar), basePoint(curve), 3n)!;
    expect([hex(point.x), hex(point.y)]).toEqual([
      hex(toBytes(found.x, curve.size)),
      hex(toBytes(found.y, curve.size)),
    ]);
    expect(crypto.eccOnCurve(id, point)).toBe(true);
  });

  it("a product has both coordinates, for scalars next to 0 and to the order as well", () => {
    const affine = { x: toInteger(point.x), y: toInteger(point.y) };
    for (const k of [1n, 2n, 3n, curve.n - 1n, curve.n - 2n, curve.n - 3n, toInteger(sha("k"))]) {
      const found = multiply(curve, k % curve.n, affine, 7n)!;
      const product = crypto.eccMultiply(id, scalarOf(k % curve.n), point)!;
      expect([toInteger(product.x), toInteger(product.y)]).toEqual([found.x, found.y]);
    }
    expect(crypto.eccMultiply(id, scalarOf(0n), point)).toBeUndefined();
    expect(crypto.eccMultiply(id, scalarOf(curve.n), point)).toBeUndefined();
    expect(crypto.eccPublic(id, scalarOf(0n))).toBeUndefined();
  });

  it("both sides of an ECDH agree", () => {
    const other = crypto.eccScalar(id);
    const theirs = crypto.eccMultiply(id, other, point);
    const ours = crypto.eccMultiply(id, scalar, crypto.eccPublic(id, other)!);
    expect(theirs).toEqual(ours);
    expect(crypto.eccAgree(id, other, point)).toEqual(ours!.x);
    expect(crypto.eccAgree(id, scalarOf(0n), point)).toBeUndefined();
  });

  it("points are added, doubled, and cancelled", () => {
    const twice = crypto.eccAdd(id, base, base)!;
    expect(twice).toEqual(crypto.eccPublic(id, scalarOf(2n)));
    expect(crypto.eccAdd(id, twice, base)).toEqual(crypto.eccPublic(id, scalarOf(3n)));
    const minus = crypto.eccPublic(id, scalarOf(curve.n - 1n))!;
    expect(crypto.eccAdd(id, base, minus)).toBeUndefined();
  });

  it("points off the curve and coordinates that are too large are refused", () => {
    const off = { x: point.x, y: toBytes((toInteger(point.y) + 1n) % curve.p, curve.size) };
    const large = { x: toBytes(toInteger(point.x) + curve.p, curve.size + 1), y: point.y };
    const empty = { x: new Uint8Array(0), y: new Uint8Array(0) };
    for (const wrong of [off, large, empty]) {
      expect(crypto.eccOnCurve(id, wrong)).toBe(false);
      expect(crypto.eccMultiply(id, scalar, wrong)).toBeUndefined();
      expect(crypto.eccAgree(id, scalar, wrong)).toBeUndefined();
      expect(crypto.eccAdd(id, wrong, point)).toBeUndefined();
      expect(crypto.ecdsaVerify(id, wrong, key, scalarOf(1n), scalarOf(1n))).toBe(false);
    }
  });

  it("coordinates may come with and without leading zeros", () => {
    const longer = { x: Uint8Array.of(0, 0, ...point.x), y: Uint8Array.of(0, ...point.y) };
    expect(crypto.eccOnCurve(id, longer)).toBe(true);
    expect(crypto.eccMultiply(id, scalar, longer)).toEqual(crypto.eccMultiply(id, scalar, point));
  });

  it("ECDSA verifies what it signed, for digests of every length, and nothing next to it", () => {
    for (const length of [0, 1, 20, 28, 32, 48, 64]) {
      const digest = crypto.random(length);
      const { r, s } = crypto.ecdsaSign(id, scalar, digest);
      expect(crypto.ecdsaVerify(id, point, digest, r, s)).toBe(true);
      expect(crypto.ecdsaVerify(id, point, digest, Uint8Array.of(0, ...r), s)).toBe(true);
      expect(crypto.ecdsaVerify(id, point, digest, r, scalarOf((toInteger(s) % (curve.n - 1n)) + 1n))).toBe(
        false,
      );
      if (length < 20) continue;
      const other = Uint8Array.from(digest);
      other[0]! ^= 1;
      expect(crypto.ecdsaVerify(id, point, other, r, s)).toBe(false);
      // Not for the digest's negative either, under which the mirror image of the point verifies.
      const negative = toBytes(
        curve.n - (toInteger(digest.subarray(0, curve.orderSize)) % curve.n),
        curve.orderSize,
      );
      expect(crypto.ecdsaVerify(id, point, negative, r, s)).toBe(false);
    }
  });

  it("r and s that are zero, the order or above it are refused", () => {
    const digest = sha("digest");
    const { r, s } = crypto.ecdsaSign(id, scalar, digest);
    const above = (value: Uint8Array): Uint8Array => toBytes(toInteger(value) + curve.n, curve.orderSize + 1);
    for (const [wrongR, wrongS] of [
      [scalarOf(0n), s],
      [r, scalarOf(0n)],
      [new Uint8Array(0), s],
      [above(r), s],
      [r, above(s)],
      [crypto.eccOrder(id), s],
      [r, crypto.eccOrder(id)],
      [Uint8Array.of(1, ...r), s],
    ] as const)
      expect(crypto.ecdsaVerify(id, point, digest, wrongR, wrongS)).toBe(false);
  });

  it("a scalar follows from the generator that it is drawn from", () => {
    const draw = () => seededDraw(crypto, key, "ECC", Uint8Array.of(id));
    const first = crypto.eccScalar(id, draw());
    expect(crypto.eccScalar(id, draw())).toEqual(first);
    expect(toInteger(first)).toBe((toInteger(draw()(curve.orderSize + 8)) % (curve.n - 1n)) + 1n);
    expect(first.length).toBe(curve.orderSize);
    const highest = crypto.eccScalar(id, (length) => toBytes(curve.n - 2n, length));
    expect(toInteger(highest)).toBe(curve.n - 1n);
    expect(toInteger(crypto.eccScalar(id, (length) => new Uint8Array(length)))).toBe(1n);
  });
});

describe("ECDSA and node:crypto", () => {
  it.each([
    [Curve.NIST_P256, "P-256", "sha256"],
    [Curve.NIST_P256, "P-256", "sha512"],
    [Curve.NIST_P384, "P-384", "sha384"],
    [Curve.NIST_P521, "P-521", "sha512"],
    [Curve.NIST_P224, "secp224r1", "sha256"],
    [Curve.NIST_P192, "prime192v1", "sha256"],
  ] as const)("agree on curve %i (%s) with %s", (id, namedCurve, hash) => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve });
    const size = curveSizes.get(id)!;
    const spki = new Uint8Array(publicKey.export({ format: "der", type: "spki" }));
    const point = { x: spki.slice(-2 * size, -size), y: spki.slice(-size) };
    const text = Buffer.from("what was signed");
    const digest = createHash(hash).update(text).digest();
    const theirs = sign(hash, text, { key: privateKey, dsaEncoding: "ieee-p1363" });
    const [r, s] = [theirs.subarray(0, size), theirs.subarray(size)];
    expect(crypto.ecdsaVerify(id, point, digest, r, s)).toBe(true);
    expect(crypto.ecdsaVerify(id, point, createHash(hash).update("other").digest(), r, s)).toBe(false);

    const scalar = crypto.eccScalar(id);
    const ours = crypto.ecdsaSign(id, scalar, digest);
    const own = crypto.eccPublic(id, scalar)!;
    const key = Buffer.concat([spki.subarray(0, -2 * size), own.x, own.y]);
    const imported = createPublicKey({ key, format: "der", type: "spki" });
    const signature = Buffer.concat([ours.r, ours.s]);
    expect(verify(hash, text, { key: imported, dsaEncoding: "ieee-p1363" }, signature)).toBe(true);
  });

  it("agree where the digest adds nothing to the key; and where it takes the key to infinity, no signature is good", () => {
    const id = Curve.NIST_P256;
    const curve = parametersOf(id);
    const scalar = crypto.eccScalar(id);
    const point = crypto.eccPublic(id, scalar)!;
    const zero = new Uint8Array(32);
    const { r, s } = crypto.ecdsaSign(id, scalar, zero);
    expect(crypto.ecdsaVerify(id, point, zero, r, s)).toBe(true);
    expect(crypto.ecdsaVerify(id, point, Uint8Array.of(...zero.subarray(1), 1), r, s)).toBe(false);

    // z = -r d: then z / r G + Q is at infinity.
    const z = curve.n - ((toInteger(r) * toInteger(scalar)) % curve.n);
    expect(crypto.ecdsaVerify(id, point, toBytes(z, 32), r, s)).toBe(false);
  });

  it('agree on RFC 6979\'s signature of "sample" on P-256', () => {
    const point = {
      x: bytes("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"),
      y: bytes("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"),
    };
    const scalar = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    expect(crypto.eccPublic(Curve.NIST_P256, scalar)).toEqual(point);
    const r = bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
    const s = bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
    expect(crypto.ecdsaVerify(Curve.NIST_P256, point, sha("sample"), r, s)).toBe(true);
    expect(crypto.ecdsaVerify(Curve.NIST_P256, point, sha("test"), r, s)).toBe(false);
  });
});

describe("point arithmetic", () => {
  it("treats infinity as nothing", () => {
    const curve = parametersOf(Curve.BN_P256);
    const g = basePoint(curve);
    expect(add(curve, undefined, g)).toEqual(g);
    expect(add(curve, g, undefined)).toEqual(g);
    expect(multiply(curve, 0n, g, 5n)).toBeUndefined();
  });
});

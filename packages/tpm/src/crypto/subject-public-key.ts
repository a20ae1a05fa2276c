import type { JsonWebKeyInput, PublicKeyInput } from "node:crypto";
import { Curve } from "@entresol/tpm-types";
import type { CurveParameters } from "./curves.ts";
import { toBytes } from "./integers.ts";
import type { Point } from "./points.ts";

/* Public points in a form that `createPublicKey` reads, for the curves that OpenSSL does ECDSA on. */

/**
 * JSON Web Key (RFC 7518, 6.2.1.1) is read in less time than DER, but a point in it is checked by a whole multiplication with the order, which takes
 * long for all curves but this one. Our points are checked already.
 */
const webNames: ReadonlyMap<number, string> = new Map([[Curve.NIST_P256, "P-256"]]);

/** SubjectPublicKeyInfo up to the point: id-ecPublicKey with prime192v1, secp224r1, secp384r1 and secp521r1 (RFC 5480, 2.1.1). */
const prefixes: ReadonlyMap<number, string> = new Map([
  [Curve.NIST_P192, "3049301306072a8648ce3d020106082a8648ce3d030101033200"],
  [Curve.NIST_P224, "304e301006072a8648ce3d020106052b81040021033a00"],
  [Curve.NIST_P384, "3076301006072a8648ce3d020106052b81040022036200"],
  [Curve.NIST_P521, "30819b301006072a8648ce3d020106052b8104002303818600"],
]);

/** Undefined for a curve on which OpenSSL has no ECDSA. */
export function subjectPublicKey({
  id,
  size,
}: CurveParameters): ((point: Point) => JsonWebKeyInput | PublicKeyInput) | undefined {
  const crv = webNames.get(id);
  const coordinate = (value: bigint): Buffer => Buffer.from(toBytes(value, size));
  if (crv !== undefined) {
    const text = (value: bigint): string => coordinate(value).toString("base64url");
    return ({ x, y }) => ({ key: { kty: "EC", crv, x: text(x), y: text(y) }, format: "jwk" });
  }
  const prefix = prefixes.get(id);
  if (prefix === undefined) return undefined;
  const start = Buffer.from(`${prefix}04`, "hex");
  return ({ x, y }) => ({
    key: Buffer.concat([start, coordinate(x), coordinate(y)]),
    format: "der",
    type: "spki",
  });
}

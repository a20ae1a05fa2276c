import { createPublicKey, type KeyObject } from "node:crypto";
import { Alg, Curve, curveSizes, type Public } from "@entresol/tpm-types";
import { padded } from "../client/session-keys.ts";

const webCurves = new Map<number, string>([
  [Curve.NIST_P256, "P-256"],
  [Curve.NIST_P384, "P-384"],
  [Curve.NIST_P521, "P-521"],
]);

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

/** The public key of an RSA or NIST curve object as others know it. Throws a `RangeError` for an object of another kind. */
export function publicKeyOf(publicArea: Public): KeyObject {
  if (publicArea.type === Alg.RSA) {
    const exponent = publicArea.parameters.exponent || 65_537;
    const e = text(Uint8Array.of(exponent >>> 24, exponent >>> 16, exponent >>> 8, exponent));
    return createPublicKey({ key: { kty: "RSA", n: text(publicArea.unique), e }, format: "jwk" });
  }
  const crv = publicArea.type === Alg.ECC ? webCurves.get(publicArea.parameters.curveID) : undefined;
  if (publicArea.type !== Alg.ECC || crv === undefined)
    throw new RangeError("only RSA keys and keys on P-256, P-384 and P-521 have a common form");
  const size = curveSizes.get(publicArea.parameters.curveID)!;
  const { x, y } = publicArea.unique;
  return createPublicKey({
    key: { kty: "EC", crv, x: text(padded(x, size)), y: text(padded(y, size)) },
    format: "jwk",
  });
}

import { Alg, Curve, type EccDetail, noScheme } from "@entresol/tpm-types";
import { parametersOf } from "./curves.ts";
import { bitLength, toBytes } from "./integers.ts";

/** Default KDF hash of each curve (TCG Algorithm Registry): BN_P256 has no KDF; SM3 is named for SM2 though the TPM may not have it. */
const kdfHashes: ReadonlyMap<number, number> = new Map([
  [Curve.NIST_P192, Alg.SHA256],
  [Curve.NIST_P224, Alg.SHA256],
  [Curve.NIST_P256, Alg.SHA256],
  [Curve.NIST_P384, Alg.SHA384],
  [Curve.NIST_P521, Alg.SHA512],
  [Curve.SM2_P256, Alg.SM3_256],
]);

/** What TPM2_ECC_Parameters tells of a curve. Numbers have the size of a coordinate, but for a that is zero, and for the cofactor. */
export function curveDetail(id: number): EccDetail {
  const { p, a, b, gx, gy, n, size, orderSize } = parametersOf(id);
  const kdfHash = kdfHashes.get(id);
  return {
    curveID: id,
    keySize: bitLength(p),
    kdf:
      kdfHash === undefined
        ? { scheme: Alg.NULL, hash: Alg.NULL }
        : { scheme: Alg.KDF1_SP800_56A, hash: kdfHash },
    sign: noScheme,
    p: toBytes(p, size),
    a: toBytes(a, a === 0n ? 1 : size),
    b: toBytes(b, size),
    gX: toBytes(gx, size),
    gY: toBytes(gy, size),
    n: toBytes(n, orderSize),
    h: Uint8Array.of(1),
  };
}

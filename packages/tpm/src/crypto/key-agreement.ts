import type { EccPoint } from "@entresol/tpm-types";
import { parametersOf } from "./curves.ts";
import { toBytes, toInteger } from "./integers.ts";
import type { CryptoProvider } from "./provider.ts";

/* Key agreement with a static and an ephemeral key on either side, and one implicit signature (Part 1, C.8). The curves' cofactor is 1. */

/** What party A, the TPM, knows: both of its scalars, and the points of party B, which are on the curve. */
export interface TwoPhase {
  readonly curve: number;
  readonly staticA: Uint8Array;
  readonly ephemeralA: Uint8Array;
  readonly staticB: EccPoint;
  readonly ephemeralB: EccPoint;
}

/** The associate value of a point: the lower `bits` bits of its x coordinate, and a bit above them. */
function associate({ x }: EccPoint, bits: number): bigint {
  const top = 1n << BigInt(bits);
  return (toInteger(x) % top) + top;
}

/** `multiplier` * (`first` + `by` * `second`). */
function combined(
  crypto: CryptoProvider,
  curve: number,
  multiplier: bigint,
  first: EccPoint,
  by: bigint,
  second: EccPoint,
): EccPoint | undefined {
  const { orderSize, n } = parametersOf(curve);
  const product = crypto.eccMultiply(curve, toBytes(by % n, orderSize), second);
  const sum = product === undefined ? first : crypto.eccAdd(curve, first, product);
  return sum === undefined ? undefined : crypto.eccMultiply(curve, toBytes(multiplier, orderSize), sum);
}

/** Full MQV (SP 800-56A, 5.7.2.3.1): the shared point; undefined when it is infinity. */
export function fullMqv(crypto: CryptoProvider, parties: TwoPhase): EccPoint | undefined {
  const { curve, staticA, ephemeralA, staticB, ephemeralB } = parties;
  const { n, orderBits } = parametersOf(curve);
  const bits = Math.ceil(orderBits / 2);
  const own = crypto.eccPublic(curve, ephemeralA);
  if (own === undefined) return undefined;
  const signature = (toInteger(ephemeralA) + associate(own, bits) * toInteger(staticA)) % n;
  return combined(crypto, curve, signature, ephemeralB, associate(ephemeralB, bits), staticB);
}

/** SM2 key exchange (GM/T 0003.3, 6.1) up to the shared point; undefined when it is infinity. */
export function sm2Exchange(crypto: CryptoProvider, parties: TwoPhase): EccPoint | undefined {
  const { curve, staticA, ephemeralA, staticB, ephemeralB } = parties;
  const { n, orderBits } = parametersOf(curve);
  const bits = Math.ceil(orderBits / 2) - 1;
  const own = crypto.eccPublic(curve, ephemeralA);
  if (own === undefined) return undefined;
  const signature = (toInteger(staticA) + associate(own, bits) * toInteger(ephemeralA)) % n;
  return combined(crypto, curve, signature, staticB, associate(ephemeralB, bits), ephemeralB);
}

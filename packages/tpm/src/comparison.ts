import { Eo, ofParameter, Rc, TpmError } from "@entresol/tpm-types";
import { type Engine, u16 } from "./engine.ts";
import type { SessionState } from "./state.ts";

/* Comparisons of what the TPM has with an operand, as policies ask for them (Part 3, 23.9). */

/** Operand of a comparison, and which bytes of the other side it is compared with. */
export interface Comparison {
  readonly operandB: Uint8Array;
  readonly offset: number;
  readonly operation: number;
}

/** Big-endian, of equal length: negative, zero or positive. */
function compareUnsigned(a: Uint8Array, b: Uint8Array): number {
  for (const [at, byte] of a.entries()) {
    const difference = byte - b[at]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** As two's complement: with the sign bit inverted, the order is that of unsigned numbers. */
function compareSigned(a: Uint8Array, b: Uint8Array): number {
  const biased = (value: Uint8Array): Uint8Array => value.map((byte, at) => (at === 0 ? byte ^ 0x80 : byte));
  return compareUnsigned(biased(a), biased(b));
}

/** TPM_EO (Part 2, 6.8). Both operands have the same length. */
export function holds(operation: number, a: Uint8Array, b: Uint8Array): boolean {
  switch (operation) {
    case Eo.EQ:
      return compareUnsigned(a, b) === 0;
    case Eo.NEQ:
      return compareUnsigned(a, b) !== 0;
    case Eo.SIGNED_GT:
      return compareSigned(a, b) > 0;
    case Eo.UNSIGNED_GT:
      return compareUnsigned(a, b) > 0;
    case Eo.SIGNED_LT:
      return compareSigned(a, b) < 0;
    case Eo.UNSIGNED_LT:
      return compareUnsigned(a, b) < 0;
    case Eo.SIGNED_GE:
      return compareSigned(a, b) >= 0;
    case Eo.UNSIGNED_GE:
      return compareUnsigned(a, b) >= 0;
    case Eo.SIGNED_LE:
      return compareSigned(a, b) <= 0;
    case Eo.UNSIGNED_LE:
      return compareUnsigned(a, b) <= 0;
    case Eo.BITSET:
      return b.every((byte, at) => (a[at]! & byte) === byte);
    case Eo.BITCLEAR:
      return b.every((byte, at) => (a[at]! & byte) === 0);
    default:
      // Unmarshalling has let nothing else through.
      return false;
  }
}

/** H(operandB || offset || operation || more): what the digest keeps of the comparison. */
export function argumentHash(
  engine: Engine,
  { hash }: SessionState,
  { operandB, offset, operation }: Comparison,
  ...more: readonly Uint8Array[]
): Uint8Array {
  return engine.crypto.hash(hash, operandB, u16(offset), u16(operation), ...more);
}

/** Does the operand lie within `size` bytes? TPM_RC_VALUE of the offset, TPM_RC_SIZE of the operand. */
export function requireWithin({ operandB, offset }: Comparison, size: number): void {
  if (offset > size) throw new TpmError(ofParameter(Rc.VALUE, 2));
  if (size - offset < operandB.length) throw new TpmError(ofParameter(Rc.SIZE, 1));
}

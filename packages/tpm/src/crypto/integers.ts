/*
 * Whole numbers as TPM structures hold them, big-endian, and what little arithmetic the engine does on them itself. BigInt does not run in constant
 * time: secrets that come here are blinded first, or short-lived.
 */

export function toInteger(bytes: Uint8Array): bigint {
  if (bytes.length === 0) return 0n;
  return BigInt(`0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex")}`);
}

/** Big-endian in `length` bytes. `value` must fit. */
export function toBytes(value: bigint, length: number): Uint8Array {
  return new Uint8Array(Buffer.from(value.toString(16).padStart(2 * length, "0"), "hex"));
}

/** Big-endian in as few bytes as will do, one for zero. */
export function toShortBytes(value: bigint): Uint8Array {
  const digits = value.toString(16);
  return new Uint8Array(Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, "hex"));
}

/** Number of bits, 0 for zero. */
export function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  const digits = value.toString(16);
  return 4 * (digits.length - 1) + (32 - Math.clz32(Number.parseInt(digits[0]!, 16)));
}

/** The remainder that is not negative. */
export function modulo(value: bigint, modulus: bigint): bigint {
  const remainder = value % modulus;
  return remainder < 0n ? remainder + modulus : remainder;
}

/** Bits of the two remainders that Lehmer's steps look at, and of the factors that they may grow to: all exact in a double. */
const LEADING_BITS = 48;
const LEADING_LEAST = 2 ** 32;
const LARGEST_FACTOR = 2 ** 24;

/**
 * Several steps of Euclid's algorithm at once (Knuth, The Art of Computer Programming, 4.5.2, algorithm L): as many as follow from the leading bits `x` and
 * `y` of the two remainders alone. Gives the factors [a, b, c, d] by which the remainders become a r0 + b r1 and c r0 + d r1; undefined: not even one step.
 */
function leadingSteps(x: number, y: number): readonly [bigint, bigint, bigint, bigint] | undefined {
  let [a, b, c, d] = [1, 0, 0, 1];
  for (;;) {
    if (y + c <= 0 || y + d <= 0) break;
    const quotient = Math.floor((x + a) / (y + c));
    if (quotient !== Math.floor((x + b) / (y + d))) break;
    const nextC = a - quotient * c;
    const nextD = b - quotient * d;
    if (Math.abs(nextC) > LARGEST_FACTOR || Math.abs(nextD) > LARGEST_FACTOR) break;
    [a, b, c, d] = [c, d, nextC, nextD];
    [x, y] = [y, x - quotient * y];
  }
  return b === 0 ? undefined : [BigInt(a), BigInt(b), BigInt(c), BigInt(d)];
}

/** 1 / `value` modulo `modulus`; undefined when they have a common divisor. */
export function inverse(value: bigint, modulus: bigint): bigint | undefined {
  let [r0, r1] = [modulus, modulo(value, modulus)];
  let [t0, t1] = [0n, 1n];
  let shift = BigInt(Math.max(0, bitLength(modulus) - LEADING_BITS));
  while (r1 !== 0n) {
    let leading = 0;
    while (shift > 0n) {
      leading = Number(r0 >> shift);
      if (leading >= LEADING_LEAST) break;
      shift = shift > 16n ? shift - 16n : 0n;
    }
    const factors = shift > 0n ? leadingSteps(leading, Number(r1 >> shift)) : undefined;
    if (factors === undefined) {
      const quotient = r0 / r1;
      [r0, r1] = [r1, r0 - quotient * r1];
      [t0, t1] = [t1, t0 - quotient * t1];
    } else {
      const [a, b, c, d] = factors;
      [r0, r1] = [a * r0 + b * r1, c * r0 + d * r1];
      [t0, t1] = [a * t0 + b * t1, c * t0 + d * t1];
    }
  }
  if (r0 !== 1n) return undefined;
  return t0 < 0n ? t0 + modulus : t0;
}

/** `base`^`exponent` modulo `modulus`, from the highest bit down. */
export function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n % modulus;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus;
    if (bit === "1") result = (result * base) % modulus;
  }
  return result;
}

/** The bytes at the end of `length`: leading zeros are added or taken away. Undefined when others would be lost. */
export function ofLength(bytes: Uint8Array, length: number): Uint8Array | undefined {
  if (bytes.length === length) return bytes;
  if (bytes.length < length) {
    const longer = new Uint8Array(length);
    longer.set(bytes, length - bytes.length);
    return longer;
  }
  const excess = bytes.length - length;
  for (let i = 0; i < excess; i++) if (bytes[i] !== 0) return undefined;
  return bytes.slice(excess);
}

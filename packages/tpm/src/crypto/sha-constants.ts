/* The constants of SHA-2 are fractions of roots of primes: computed here, and so not to be mistyped. */

function primes(count: number): bigint[] {
  const found: bigint[] = [];
  for (let n = 2n; found.length < count; n++) if (found.every((prime) => n % prime !== 0n)) found.push(n);
  return found;
}

/** The whole part of the `degree`th root. */
function root(value: bigint, degree: number): bigint {
  let low = 0n;
  let high = 1n << BigInt(Math.ceil(value.toString(2).length / degree));
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle ** BigInt(degree) <= value) low = middle;
    else high = middle - 1n;
  }
  return low;
}

/** First `bits` bits of the fractions of the `degree`th roots of the primes from number `first` on (FIPS 180-4, 4.2 and 5.3). */
export function fractions(degree: number, first: number, count: number, bits: number): bigint[] {
  return primes(first + count)
    .slice(first)
    .map((prime) => root(prime << BigInt(degree * bits), degree) & ((1n << BigInt(bits)) - 1n));
}

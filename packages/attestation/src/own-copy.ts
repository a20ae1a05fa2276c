/**
 * A copy whose bytes nobody else can write to, of bytes, lists and plain objects of such. Taken before a verification waits for the first
 * time: whoever kept the buffers could else have other bytes used than were hashed or verified.
 */
export function ownCopy<T>(value: T): T {
  if (value instanceof Uint8Array) return new Uint8Array(value) as T;
  if (Array.isArray(value)) return value.map((one) => ownCopy(one)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, ownCopy(one)])) as T;
}

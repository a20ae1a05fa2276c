/** Hash functions that launch measurements use. */
export type HashName = "sha256" | "sha384";

/**
 * The hash over the parts, one after the other: 32 or 48 bytes. Given by the caller, so that this package needs neither Node nor a
 * browser. Node: `(name, ...parts) => { const hash = createHash(name); for (const part of parts) hash.update(part); return hash.digest(); }`.
 */
export type Hash = (name: HashName, ...parts: readonly Uint8Array[]) => Uint8Array;

/** Bytes of a page, the unit of every launch. */
export const PAGE_SIZE = 4096;
/** Bytes of a launch digest, of SEV-SNP and of TDX alike: SHA-384. */
export const DIGEST_SIZE = 48;

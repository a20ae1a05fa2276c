import type { CryptoProvider } from "./provider.ts";

const pairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Hexadecimal, from a table: hashes are made by the dozen. */
export function hexOf(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += pairs[bytes[i] as number] as string;
  return text;
}

/** SHA-256, hexadecimal. */
export function fingerprint(crypto: CryptoProvider, bytes: Uint8Array): string | Promise<string> {
  if (crypto.fingerprint !== undefined) return crypto.fingerprint(bytes);
  const digest = crypto.digest("sha256", bytes);
  return digest instanceof Uint8Array ? hexOf(digest) : digest.then(hexOf);
}

import { createHash } from "node:crypto";
import type { Hash } from "../hash.ts";

/** The hash for tests, by Node. */
export const nodeHash: Hash = (name, ...parts) => {
  const hash = createHash(name);
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};

import { createHash } from "node:crypto";
import { basename, extname } from "node:path";
import { parseIgvm } from "@entresol/igvm";
import { type Policy, parsePolicy } from "../policy/schema.ts";
import { readCorim } from "../reference/read-corim.ts";
import {
  type ReferenceValue,
  referenceValuesOf,
  referenceValuesOfIgvm,
  withReferenceValues,
} from "../reference/reference-values.ts";
import { readBounded } from "./evidence-files.ts";
import { CommandError } from "./exit-status.ts";
import { explain } from "./failure.ts";

const startsWith = (bytes: Uint8Array, ...first: readonly number[]): boolean =>
  first.every((byte, i) => bytes[i] === byte);

/** Tag 501 (CoRIM), tag 18 (COSE_Sign1), "IGVM". */
const CORIM = [0xd9, 0x01, 0xf5] as const;
const SIGNED = [0xd2] as const;
const IGVM = [0x49, 0x47, 0x56, 0x4d] as const;

const hash = (name: string, ...parts: readonly Uint8Array[]): Uint8Array => {
  const digest = createHash(name);
  for (const part of parts) digest.update(part);
  return new Uint8Array(digest.digest());
};

/** What images are measured as: a CoRIM says it, an IGVM file is measured here (its name is the file's, without extension). */
export function referenceValuesIn(path: string, bytes: Uint8Array, at: number): readonly ReferenceValue[] {
  try {
    if (startsWith(bytes, ...CORIM)) return referenceValuesOf(readCorim(bytes), at);
    if (startsWith(bytes, ...IGVM))
      return referenceValuesOfIgvm(basename(path, extname(path)), hash, parseIgvm(bytes));
  } catch (error) {
    throw new CommandError(`--reference ${path}: ${explain(error)}`);
  }
  throw new CommandError(
    `--reference ${path}: ${startsWith(bytes, ...SIGNED) ? "a signed CoRIM needs the key of who signed it: open it with the library" : "neither a CoRIM nor an IGVM file"}`,
  );
}

/** The policy with the images that it names (`measurementsFrom`) replaced by their values. */
export async function policyWithReferences(
  policy: Policy,
  files: readonly { readonly path: string; readonly bytes: Uint8Array }[],
  at: number,
): Promise<Policy> {
  const values = files.flatMap(({ path, bytes }) => referenceValuesIn(path, bytes, at));
  return parsePolicy(withReferenceValues(policy, values));
}

export const readReferences = (paths: readonly string[]) =>
  Promise.all(paths.map(async (path) => ({ path, bytes: await readBounded(path) })));

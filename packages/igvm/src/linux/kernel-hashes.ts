import { MalformedError, Writer } from "@entresol/wire";
import { guidBytes } from "../firmware/guid.ts";
import { type Hash, PAGE_SIZE } from "../hash.ts";

/*
 * Measured direct boot: QEMU puts the hashes of kernel, initial RAM disk and command line into a page that is measured, and OVMF loads
 * no others (QEMU docs/system/i386/amd-memory-encryption, "kernel-hashes").
 */

const TABLE_GUID = "9438d606-4f22-4cc9-b479-a793d411fd21";
/** In the order in which QEMU writes them. */
const entries = [
  ["commandLine", "97d02dd8-bd20-4c94-aa78-e7714d36ab2a"],
  ["initrd", "44baf731-3a2f-4bd7-9af1-41e29169781d"],
  ["kernel", "4de79437-abd2-427f-b835-d5b172d2045b"],
] as const;
const ENTRY_SIZE = 16 + 2 + 32;
const TABLE_SIZE = 16 + 2 + entries.length * ENTRY_SIZE;

/** What a guest boots directly. */
export interface DirectBoot {
  /** The file's bytes. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  /** Without its terminating zero. */
  readonly commandLine?: string;
}

/** The table of hashes, padded to 16 bytes. */
export function buildKernelHashes(hash: Hash, { kernel, initrd, commandLine = "" }: DirectBoot): Uint8Array {
  const inputs = {
    commandLine: new TextEncoder().encode(`${commandLine}\0`),
    initrd: initrd ?? new Uint8Array(),
    kernel,
  };
  const table = new Writer(192).bytes(guidBytes(TABLE_GUID)).u16(TABLE_SIZE);
  for (const [name, guid] of entries)
    table.bytes(guidBytes(guid)).u16(ENTRY_SIZE).bytes(hash("sha256", inputs[name]));
  return table.align(16).finish();
}

/** The page that has the table at `offset`, zeros around it. Throws MalformedError `out-of-range` when it does not fit. */
export function kernelHashesPage(hash: Hash, boot: DirectBoot, offset: number): Uint8Array {
  const table = buildKernelHashes(hash, boot);
  if (offset + table.length > PAGE_SIZE)
    throw new MalformedError(
      "out-of-range",
      offset,
      "OVMF, SEV hash table",
      `the table has ${table.length} bytes and does not fit into its page`,
    );
  const page = new Uint8Array(PAGE_SIZE);
  page.set(table, offset);
  return page;
}

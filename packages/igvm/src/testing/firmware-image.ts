import { Writer } from "@entresol/wire";
import { firmwareGuids } from "../firmware/footer.ts";
import { guidBytes } from "../firmware/guid.ts";

/* A firmware image that has nothing but its tables. */

export interface SectionInput {
  readonly gpa: number;
  readonly size: number;
  readonly type: number;
}
export interface TdxSectionInput extends SectionInput {
  readonly offset?: number;
  readonly rawSize?: number;
  readonly attributes?: number;
}
export interface FirmwareInput {
  /** Default: one page. */
  readonly size?: number;
  readonly fill?: (bytes: Uint8Array) => void;
  readonly sev?: readonly SectionInput[];
  readonly tdx?: readonly TdxSectionInput[];
  readonly resetVector?: number;
  readonly hashTable?: { readonly gpa: number; readonly size: number };
}

const u32s = (...values: readonly number[]): Uint8Array => {
  const writer = new Writer();
  for (const value of values) writer.u32(value);
  return writer.finish();
};

/** The image: metadata at its start, the GUIDed table at its end. */
export function firmwareImage({
  size = 4096,
  fill,
  sev,
  tdx,
  resetVector,
  hashTable,
}: FirmwareInput): Uint8Array {
  const image = new Uint8Array(size);
  fill?.(image);
  const metadata = new Writer();
  const entries: [string, Uint8Array][] = [];
  const base = size - 2048;
  const offsetFromEnd = () => u32s(size - base - metadata.length);
  if (resetVector !== undefined) entries.push([firmwareGuids.sevResetVector, u32s(resetVector)]);
  if (hashTable !== undefined)
    entries.push([firmwareGuids.sevHashTable, u32s(hashTable.gpa, hashTable.size)]);
  if (sev !== undefined) {
    entries.push([firmwareGuids.sevMetadata, offsetFromEnd()]);
    metadata
      .ascii("ASEV")
      .u32(16 + 12 * sev.length)
      .u32(1)
      .u32(sev.length);
    for (const section of sev) metadata.u32(section.gpa).u32(section.size).u32(section.type);
  }
  if (tdx !== undefined) {
    entries.push([firmwareGuids.tdxMetadata, offsetFromEnd()]);
    metadata
      .ascii("TDVF")
      .u32(16 + 32 * tdx.length)
      .u32(1)
      .u32(tdx.length);
    for (const section of tdx)
      metadata
        .u32(section.offset ?? 0)
        .u32(section.rawSize ?? 0)
        .u64(section.gpa)
        .u64(section.size)
        .u32(section.type)
        .u32(section.attributes ?? 0);
  }
  image.set(metadata.finish(), base);
  const table = new Writer();
  for (const [guid, data] of entries.toReversed())
    table
      .bytes(data)
      .u16(data.length + 18)
      .bytes(guidBytes(guid));
  table.u16(table.length + 18).bytes(guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d"));
  image.set(table.finish(), size - 32 - table.length);
  return image;
}

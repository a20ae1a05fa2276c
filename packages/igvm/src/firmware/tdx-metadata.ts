import { MalformedError } from "@entresol/wire";
import { PAGE_SIZE } from "../hash.ts";
import { type Firmware, firmwareGuids, readerAtEntry } from "./footer.ts";

const spec = "TDX Virtual Firmware Design Guide, 11 TDVF metadata";

/** What a section is (TDVF Design Guide, table 11-3). */
export const tdxSectionTypes = {
  0: "boot-firmware-volume",
  1: "configuration-firmware-volume",
  2: "td-hob",
  3: "temporary-memory",
  4: "permanent-memory",
  5: "payload",
  6: "payload-parameters",
  7: "td-info",
  8: "td-parameters",
} as const;
export type TdxSectionType = (typeof tdxSectionTypes)[keyof typeof tdxSectionTypes];

export interface TdxSection {
  readonly type: TdxSectionType;
  /** What of the image goes there: empty for memory that begins as zeros, or is filled by the host. */
  readonly data: Uint8Array;
  readonly gpa: number;
  /** Bytes of memory, a whole number of pages, no less than the data. */
  readonly size: number;
  /** Its contents are measured, by TDH.MR.EXTEND. */
  readonly measured: boolean;
  /** Its pages are added after the start and are no part of the measurement, by TDH.MEM.PAGE.AUG. */
  readonly augmented: boolean;
}

/**
 * The sections in the order in which they are added; undefined when the image has no such metadata. Throws MalformedError, among
 * others for an image that lacks what a section names: OVMF without its variable store, for example.
 */
export function parseTdxMetadata(firmware: Firmware): readonly TdxSection[] | undefined {
  const reader = readerAtEntry(firmware, firmwareGuids.tdxMetadata, spec);
  if (reader === undefined) return undefined;
  const start = reader.offset;
  if (reader.u32() !== 0x4656_4454)
    throw new MalformedError("bad-magic", start, spec, "the metadata does not begin with TDVF");
  const length = reader.u32();
  const version = reader.u32();
  if (version !== 1)
    throw new MalformedError("bad-version", start + 8, spec, `version ${version} is not known`);
  const count = reader.u32();
  if (length !== 16 + 32 * count)
    throw new MalformedError(
      "out-of-range",
      start + 4,
      spec,
      `${count} sections do not have ${length} bytes in all`,
    );
  const sections: TdxSection[] = [];
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    const offset = reader.u32();
    const dataSize = reader.u32();
    const gpa = reader.u64Number();
    const size = reader.u64Number();
    const code = reader.u32();
    const attributes = reader.u32();
    if (!Object.hasOwn(tdxSectionTypes, code))
      throw new MalformedError("bad-value", at + 24, spec, `a section has the unknown type ${code}`);
    if (attributes > 3)
      throw new MalformedError(
        "bad-value",
        at + 28,
        spec,
        `a section has unknown attributes, 0x${attributes.toString(16)}`,
      );
    if (gpa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0 || gpa + size > 0x1_0000_0000 || dataSize > size)
      throw new MalformedError(
        "out-of-range",
        at + 8,
        spec,
        `a section of 0x${size.toString(16)} bytes does not lie at 0x${gpa.toString(16)}`,
      );
    if (dataSize > 0 && offset + dataSize > firmware.bytes.length)
      throw new MalformedError(
        "out-of-range",
        at,
        spec,
        `a section's 0x${dataSize.toString(16)} bytes at 0x${offset.toString(16)} are not all in the image`,
      );
    sections.push({
      type: tdxSectionTypes[code as keyof typeof tdxSectionTypes],
      data: firmware.bytes.subarray(offset, offset + dataSize),
      gpa,
      size,
      measured: (attributes & 1) !== 0,
      augmented: (attributes & 2) !== 0,
    });
  }
  return sections;
}

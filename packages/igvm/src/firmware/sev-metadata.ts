import { MalformedError, Reader } from "@entresol/wire";
import { PAGE_SIZE } from "../hash.ts";
import { type Firmware, firmwareGuids, readerAtEntry } from "./footer.ts";

const spec = "OVMF, SEV metadata";

/** What a range of guest memory is to the launch (edk2 OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm). */
export const sevSectionTypes = {
  /** Validated before the start, zeros. */
  1: "memory",
  2: "secrets",
  3: "cpuid",
  /** Calling area of an SVSM: zeros. */
  4: "calling-area",
  /** Hashes of a directly booted kernel, or zeros. */
  16: "kernel-hashes",
} as const;
export type SevSectionType = (typeof sevSectionTypes)[keyof typeof sevSectionTypes];

export interface SevSection {
  readonly type: SevSectionType;
  readonly gpa: number;
  /** Bytes, a whole number of pages. */
  readonly size: number;
}

/** The sections in the order in which they are launched; undefined when the image has no such metadata. Throws MalformedError. */
export function parseSevMetadata(firmware: Firmware): readonly SevSection[] | undefined {
  const reader = readerAtEntry(firmware, firmwareGuids.sevMetadata, spec);
  if (reader === undefined) return undefined;
  const start = reader.offset;
  if (reader.u32() !== 0x5645_5341)
    throw new MalformedError("bad-magic", start, spec, "the metadata does not begin with ASEV");
  const length = reader.u32();
  const version = reader.u32();
  if (version !== 1)
    throw new MalformedError("bad-version", start + 8, spec, `version ${version} is not known`);
  const count = reader.u32();
  if (length !== 16 + 12 * count)
    throw new MalformedError(
      "out-of-range",
      start + 4,
      spec,
      `${count} sections do not have ${length} bytes in all`,
    );
  const sections: SevSection[] = [];
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    const gpa = reader.u32();
    const size = reader.u32();
    const code = reader.u32();
    if (!Object.hasOwn(sevSectionTypes, code))
      throw new MalformedError("bad-value", at + 8, spec, `a section has the unknown type ${code}`);
    if (gpa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0 || gpa + size > firmware.gpa)
      throw new MalformedError(
        "out-of-range",
        at,
        spec,
        `a section of 0x${size.toString(16)} bytes does not lie at 0x${gpa.toString(16)}`,
      );
    sections.push({ type: sevSectionTypes[code as keyof typeof sevSectionTypes], gpa, size });
  }
  return sections;
}

/** Where the hashes of a directly booted kernel go; undefined when this build takes none. */
export function sevHashTableGpa({ entries }: Firmware): number | undefined {
  const entry = entries.get(firmwareGuids.sevHashTable);
  const gpa = entry === undefined ? 0 : new Reader(entry, spec).u32();
  return gpa === 0 ? undefined : gpa;
}

/** Where every vCPU but the first starts; undefined when the image does not say. */
export function sevResetVector({ entries }: Firmware): number | undefined {
  const entry = entries.get(firmwareGuids.sevResetVector);
  return entry === undefined ? undefined : new Reader(entry, spec).u32();
}

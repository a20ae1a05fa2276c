import { MalformedError, Reader } from "@entresol/wire";
import { readGuid } from "./guid.ts";

/*
 * The table at the end of OVMF's image, before the reset vector, which is found from behind: a GUID and a length stand after what they
 * describe (edk2 OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
 */

const spec = "OVMF, GUIDed table at the reset vector";
const FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d";
/** Bytes between the table and the end of the image. */
const RESET_VECTOR_SIZE = 32;
const HEAD_SIZE = 16 + 2;
const FOUR_GIB = 0x1_0000_0000;

/** Bytes that the metadata of an image may add to a launch: more than any firmware has, and few enough to be measured at once. */
export const MOST_LAUNCH_BYTES = 0x800_0000;

/** GUIDs of entries that measurements need. */
export const firmwareGuids = {
  /** AP reset vector of SEV-ES guests: u32. */
  sevResetVector: "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
  /** Where the hashes of a directly booted kernel go: base u32, size u32; zeros when this build has no such place. */
  sevHashTable: "7255371f-3a3b-4b04-927b-1da6efa8d454",
  /** Offset of the SEV metadata from the end of the image: u32. */
  sevMetadata: "dc886566-984a-4798-a75e-5585a7bf67cc",
  /** Offset of the TDX metadata from the end of the image: u32. */
  tdxMetadata: "e47a6535-984a-4798-865e-4685a7bf8ec2",
} as const;

/** A firmware image that is mapped to end at 4 GiB. */
export interface Firmware {
  readonly bytes: Uint8Array;
  /** Where its first byte lies. */
  readonly gpa: number;
  /** Contents of the entries of the table by GUID, lower case; empty when there is no table. */
  readonly entries: ReadonlyMap<string, Uint8Array>;
}

/** Reads an image's table. Throws MalformedError for an image that is no whole number of pages, or has a table that does not hold together. */
export function parseFirmware(bytes: Uint8Array): Firmware {
  if (bytes.length === 0 || bytes.length % 4096 !== 0 || bytes.length > 0x1000_0000)
    throw new MalformedError(
      "bad-value",
      0,
      spec,
      `${bytes.length} bytes are no whole number of pages up to 256 MiB`,
    );
  const gpa = FOUR_GIB - bytes.length;
  const entries = new Map<string, Uint8Array>();
  const end = bytes.length - RESET_VECTOR_SIZE;
  if (readGuid(bytes, end - 16) !== FOOTER) return { bytes, gpa, entries };
  const sizeAt = (at: number) => bytes[at]! | (bytes[at + 1]! << 8);
  const start = end - sizeAt(end - HEAD_SIZE);
  if (start < 0 || start > end - HEAD_SIZE)
    throw new MalformedError("out-of-range", end - HEAD_SIZE, spec, "the table is larger than the image");
  let at = end - HEAD_SIZE;
  while (at - HEAD_SIZE >= start) {
    const size = sizeAt(at - HEAD_SIZE);
    if (size < HEAD_SIZE || at - size < start)
      throw new MalformedError(
        "out-of-range",
        at - HEAD_SIZE,
        spec,
        `an entry of ${size} bytes does not fit the table`,
      );
    const guid = readGuid(bytes, at - 16);
    if (entries.has(guid))
      throw new MalformedError("bad-value", at - 16, spec, `two entries have the GUID ${guid}`);
    entries.set(guid, bytes.subarray(at - size, at - HEAD_SIZE));
    at -= size;
  }
  return { bytes, gpa, entries };
}

/** A reader at what an entry points to from the end of the image; undefined when there is no such entry. */
export function readerAtEntry(
  { bytes, entries }: Firmware,
  guid: string,
  clause: string,
): Reader | undefined {
  const entry = entries.get(guid);
  if (entry === undefined) return undefined;
  const offset = new Reader(entry, clause).u32();
  if (offset > bytes.length)
    throw new MalformedError(
      "out-of-range",
      0,
      clause,
      `the metadata would begin ${offset} bytes before the end`,
    );
  return new Reader(bytes, clause).seek(bytes.length - offset);
}

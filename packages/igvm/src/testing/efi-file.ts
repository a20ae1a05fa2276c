import { Writer } from "@entresol/wire";

export interface EfiFileInput {
  readonly sections: readonly Uint8Array[];
  readonly checksum?: number;
  /** What a signer puts behind the image. */
  readonly certificates?: Uint8Array;
  /** Bytes behind the sections that belong to none. */
  readonly rest?: Uint8Array;
}

const HEADERS_SIZE = 0x200;
const OPTIONAL_SIZE = 112 + 16 * 8;

/** A PE32+ image for x64 with these sections, 0x200 bytes aligned. */
export function efiFile({ sections, checksum = 0, certificates, rest }: EfiFileInput): Uint8Array {
  const writer = new Writer().ascii("MZ").zeros(0x3a).u32(0x40).ascii("PE").zeros(2);
  const total = HEADERS_SIZE + sections.reduce((sum, { length }) => sum + length, 0) + (rest?.length ?? 0);
  writer.u16(0x8664).u16(sections.length).zeros(12).u16(OPTIONAL_SIZE).u16(0x22);
  writer.u16(0x20b).zeros(14).u32(0x1000).u32(0x1000).u64(0).u32(0x1000).u32(0x200).zeros(16);
  writer.u32(0x1_0000).u32(HEADERS_SIZE).u32(checksum).u16(10).zeros(38).u32(16);
  writer
    .zeros(4 * 8)
    .u32(certificates === undefined ? 0 : total)
    .u32(certificates?.length ?? 0);
  writer.zeros(11 * 8);
  let at = HEADERS_SIZE;
  for (const section of sections) {
    writer
      .ascii(".text", 8, 0)
      .u32(section.length)
      .u32(0x1000)
      .u32(section.length)
      .u32(at)
      .zeros(12)
      .u32(0x60000020);
    at += section.length;
  }
  writer.zeros(HEADERS_SIZE - writer.length);
  for (const section of sections) writer.bytes(section);
  if (rest !== undefined) writer.bytes(rest);
  if (certificates !== undefined) writer.bytes(certificates);
  return writer.finish();
}

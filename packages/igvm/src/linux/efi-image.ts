import { MalformedError, Reader } from "@entresol/wire";
import type { Hash, HashName } from "../hash.ts";

/*
 * The digest that UEFI firmware measures of an application before it starts it: not that of the file, but of the image without what a
 * signature changes (Windows Authenticode Portable Executable Signature Format; TCG PC Client Platform Firmware Profile, 3.3.4.1).
 */

const spec = "Authenticode PE signature format";

interface PeImage {
  readonly checksumAt: number;
  /** Where the directory entry of the certificate table is; undefined when there is none. */
  readonly certificateEntryAt: number | undefined;
  readonly certificateSize: number;
  readonly headersSize: number;
  /** Raw data of the sections by their place in the file. */
  readonly sections: readonly { readonly at: number; readonly size: number }[];
}

function parsePe(bytes: Uint8Array): PeImage {
  const reader = new Reader(bytes, spec);
  if (reader.u16() !== 0x5a4d) throw new MalformedError("bad-magic", 0, spec, "no MZ: this is no EFI image");
  const peAt = reader.seek(0x3c).u32();
  if (reader.seek(peAt).u32() !== 0x4550) throw new MalformedError("bad-magic", peAt, spec, "no PE header");
  const sectionCount = reader.seek(peAt + 6).u16();
  const optionalSize = reader.seek(peAt + 20).u16();
  const optionalAt = peAt + 24;
  const magic = reader.seek(optionalAt).u16();
  if (magic !== 0x10b && magic !== 0x20b)
    throw new MalformedError("bad-magic", optionalAt, spec, `0x${magic.toString(16)} is no optional header`);
  const headersSize = reader.seek(optionalAt + 60).u32();
  const directoriesAt = optionalAt + (magic === 0x20b ? 112 : 96);
  const directories = reader.seek(directoriesAt - 4).u32();
  const certificateEntryAt = directories > 4 ? directoriesAt + 4 * 8 : undefined;
  const certificateSize = certificateEntryAt === undefined ? 0 : reader.seek(certificateEntryAt + 4).u32();
  const headersEnd = optionalAt + optionalSize + 40 * sectionCount;
  if (headersSize < headersEnd || headersSize > bytes.length)
    throw new MalformedError("out-of-range", optionalAt + 60, spec, "the headers do not have this size");
  const sections: { at: number; size: number }[] = [];
  for (let i = 0; i < sectionCount; i++) {
    const size = reader.seek(optionalAt + optionalSize + 40 * i + 16).u32();
    const at = reader.u32();
    if (size === 0) continue;
    if (at + size > bytes.length)
      throw new MalformedError("out-of-range", reader.offset - 8, spec, "a section is not all in the file");
    sections.push({ at, size });
  }
  sections.sort((a, b) => a.at - b.at);
  return { checksumAt: optionalAt + 64, certificateEntryAt, certificateSize, headersSize, sections };
}

/** Authenticode digest of an EFI image, such as a Linux kernel with its EFI stub. Throws MalformedError for a file that is none. */
export function efiImageDigest(hash: Hash, bytes: Uint8Array, name: HashName = "sha384"): Uint8Array {
  const { checksumAt, certificateEntryAt, certificateSize, headersSize, sections } = parsePe(bytes);
  const parts = [bytes.subarray(0, checksumAt)];
  if (certificateEntryAt === undefined) parts.push(bytes.subarray(checksumAt + 4, headersSize));
  else
    parts.push(
      bytes.subarray(checksumAt + 4, certificateEntryAt),
      bytes.subarray(certificateEntryAt + 8, headersSize),
    );
  let hashed = headersSize;
  for (const { at, size } of sections) {
    parts.push(bytes.subarray(at, at + size));
    hashed += size;
  }
  const rest = bytes.length - certificateSize - hashed;
  if (rest < 0)
    throw new MalformedError("out-of-range", headersSize, spec, "sections and certificates overlap");
  parts.push(bytes.subarray(hashed, hashed + rest));
  // A signer pads the file to 8 bytes before it signs; firmware that measures an unsigned one does likewise.
  if (certificateSize === 0 && bytes.length % 8 !== 0) parts.push(new Uint8Array(8 - (bytes.length % 8)));
  return hash(name, ...parts);
}

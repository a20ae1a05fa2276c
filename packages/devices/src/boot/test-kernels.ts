import { Writer } from "@entresol/wire";
import { field } from "./setup-header.ts";

/*
 * Kernel files as small as they get, for tests: right in every field, with nothing that could run.
 */

const MiB = 2 ** 20;
const setupSectors = 3;
/** Bytes before the kernel's code. */
export const setupSize = (setupSectors + 1) * 512;

/** A bzImage of boot protocol 2.15: 64-bit, 0x1230 bytes of code, the given fields changed. */
export function bzImage(change: Partial<Record<keyof typeof field, number>> = {}): Uint8Array {
  const file = new Uint8Array(setupSize + 0x1230).fill(0xcc, setupSize);
  const values: Partial<Record<keyof typeof field, number>> = {
    setupSectors,
    codeParagraphs: 0x123,
    bootFlag: 0xaa55,
    header: 0x53726448,
    version: 0x20f,
    loadFlags: 1,
    initrdAddressMaximum: 0x7fffffff,
    kernelAlignment: 0x200000,
    xloadFlags: 0x2b,
    commandLineSize: 2047,
    preferredAddress: 16 * MiB,
    initSize: 32 * MiB,
    ...change,
  };
  file[0x200] = 0xeb;
  file[0x201] = 0x6a;
  for (const [name, value] of Object.entries(values)) field[name as keyof typeof field].write(file, value);
  return file;
}

/** A program header and its bytes; what is not given follows from them. */
export interface TestSegment {
  type?: number;
  physical: number | bigint;
  virtual?: bigint;
  bytes: Uint8Array;
  memorySize?: number | bigint;
  offset?: number | bigint;
  fileSize?: number | bigint;
}

/** An ELF-64 executable of the given segments, laid out one after the other. */
export function elfFile(entry: bigint, segments: readonly TestSegment[]): Uint8Array {
  const writer = new Writer();
  writer.u32(0x464c457f).u8(2).u8(1).u8(1).zeros(9);
  writer.u16(2).u16(62).u32(1).u64(entry).u64(64).u64(0).u32(0);
  writer.u16(64).u16(56).u16(segments.length).u16(0).u16(0).u16(0);
  let offset = 64 + 56 * segments.length;
  for (const segment of segments) {
    writer.u32(segment.type ?? 1).u32(5);
    writer
      .u64(segment.offset ?? offset)
      .u64(segment.virtual ?? BigInt(segment.physical))
      .u64(segment.physical);
    writer.u64(segment.fileSize ?? segment.bytes.length).u64(segment.memorySize ?? segment.bytes.length);
    writer.u64(4096);
    offset += segment.bytes.length;
  }
  for (const { bytes } of segments) writer.bytes(bytes);
  return writer.finish();
}

import { Writer } from "@entresol/wire";
import type { MemoryRegion } from "./entry-state.ts";

/*
 * What a PC's firmware leaves about the memory below 1 MiB for kernels that were not told otherwise: the BIOS data area at 0x400
 * and, between the end of that RAM and 640 KiB, the extended one.
 */

export const biosDataArea = {
  /** Segment of the extended area, u16. */
  extendedSegment: 0x40e,
  /** RAM from 0 in KiB, u16. */
  memorySize: 0x413,
} as const;

const conventionalEnd = 0xa0000;

/** The two areas of a machine whose RAM below 1 MiB ends at `lowEnd`, a multiple of 1024 below 640 KiB. */
export function biosDataAreas(lowEnd: number): readonly [MemoryRegion, MemoryRegion] {
  const { extendedSegment, memorySize } = biosDataArea;
  const fields = new Writer(memorySize + 2 - extendedSegment)
    .u16(lowEnd / 16)
    .zeros(memorySize - extendedSegment - 2)
    .u16(lowEnd / 1024);
  // The extended area begins with its own size in KiB.
  const extended = new Writer(1).u8((conventionalEnd - lowEnd) / 1024);
  return [
    { gpa: extendedSegment, bytes: fields.finish() },
    { gpa: lowEnd, bytes: extended.finish() },
  ];
}

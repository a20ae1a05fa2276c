import { ADDRESS_16, ADDRESS_CHECKED, U_SEGMENT } from "./uop";
import { segmentedUnchecked, sum } from "./operand";
import { checkAccess } from "./segments";

/*
 * Addresses of x87, MMX and SSE memory operands. Their length does not follow from the operand size of the uop, so
 * the check against the segment (outside 64-bit mode, with segments that are not flat) is made here.
 */

/** Linear address of an operand of `length` bytes that will be read. */
@inline export function addressToRead(p: usize, length: u32): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmentedAddress(sum(p), segment, length, false) : sum(p);
}
/** The same for one that will be written. */
@inline export function addressToWrite(p: usize, length: u32): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmentedAddress(sum(p), segment, length, true) : sum(p);
}
function segmentedAddress(offset: u64, segment: u32, length: u32, write: bool): u64 {
  if (segment & ADDRESS_CHECKED) checkAccess(segment & 7, segment & ADDRESS_16 ? <u64><u16>offset : <u64><u32>offset, length, write);
  return segmentedUnchecked(offset, segment);
}

/**
 * Linear address of the part of an operand that begins `at` bytes in: far pointers, BOUND's pair and descriptor-table registers
 * are accesses of their own, so the second may wrap to offset 0 where the address size ends.
 */
export function partToRead(p: usize, at: u32, length: u32): u64 {
  return segmentedAddress(sum(p) + at, load<u8>(p, U_SEGMENT), length, false);
}
/** The same for one that will be written. */
export function partToWrite(p: usize, at: u32, length: u32): u64 { return offsetToWrite(p, sum(p) + at, length); }

/** Linear address of `length` bytes that will be written at an offset that ModRM does not give, in the segment of the instruction. */
export function offsetToWrite(p: usize, offset: u64, length: u32): u64 {
  return segmentedAddress(offset, load<u8>(p, U_SEGMENT), length, true);
}

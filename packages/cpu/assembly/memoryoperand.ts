import { ADDRESS_CHECKED, U_SEGMENT } from "./uop";
import { addressOffset, segmentedUnchecked, sum } from "./operand";
import { checkAccess } from "./segments";

/*
 * Addresses of x87, MMX and SSE memory operands. Their length does not follow from the operand size of the uop, so
 * the check against the segment (outside 64-bit mode, with segments that are not flat) is made here.
 */

/** Linear address of an operand of `length` bytes that will be read. */
@inline export function addressToRead(p: usize, length: u32): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmentedAddress(p, segment, length, false) : sum(p);
}
/** The same for one that will be written. */
@inline export function addressToWrite(p: usize, length: u32): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmentedAddress(p, segment, length, true) : sum(p);
}
function segmentedAddress(p: usize, segment: u32, length: u32, write: bool): u64 {
  if (segment & ADDRESS_CHECKED) checkAccess(segment & 7, addressOffset(p), length, write);
  return segmentedUnchecked(sum(p), segment);
}

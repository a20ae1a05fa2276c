import { EntresolError } from "@entresol/wire";

/** What can be wrong with a program that is being assembled. */
export type AssemblerCode =
  /** The instruction exists, but not with operands of these kinds. */
  | "no-such-form"
  /** A memory operand without a size, where no register tells the size. */
  | "ambiguous-size"
  /** The form exists, but not in 16-, 32- or 64-bit code. */
  | "not-in-this-mode"
  | "immediate-out-of-range"
  | "displacement-out-of-range"
  /** Registers that cannot form an address together, or a scale that is not 1, 2, 4 or 8. */
  | "bad-address"
  /** AH, CH, DH or BH together with anything that needs a REX prefix. */
  | "high-byte-with-rex"
  /** A branch whose target is too far for the only form it has. */
  | "branch-out-of-range"
  | "undefined-label"
  | "duplicate-label"
  /** An `org` behind the current position, an alignment that is no power of two, a negative reservation. */
  | "bad-layout"
  /** A data value that does not fit its width. */
  | "data-out-of-range"
  /** A name that none of the test guest's checks has. */
  | "no-such-check";

/** Thrown for a program that cannot be assembled; the message names the instruction or label. */
export class AssemblerError extends EntresolError<AssemblerCode> {
  override readonly name = "AssemblerError";
}

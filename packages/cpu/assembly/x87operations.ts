import {
  C0, C2, C3, control, pop, precision, record, setConditions, stackUnderflow,
} from "./x87stack";
import * as soft from "./softfloat";
import * as arithmetic from "./softarithmetic";

/*
 * What the register forms and the memory forms of x87 arithmetic and comparison share: X = ST(0), Y = the other operand.
 */

/** R = X op Y, rounded by precision control. The reversed forms exchange the operands. */
export function operate(operation: u32): void {
  switch (operation) {
    case 0: arithmetic.add(0); break;
    case 1: arithmetic.multiply(); break;
    case 4: arithmetic.add(1); break;
    case 5: soft.swapOperands(); arithmetic.add(1); break;
    case 6: arithmetic.divide(); break;
    default: soft.swapOperands(); arithmetic.divide(); break;
  }
  soft.roundTo80(precision());
}

export function relationConditions(relation: u32): u16 {
  return relation == arithmetic.UNORDERED ? C3 | C2 | C0 : relation == arithmetic.EQUAL ? C3 : relation == arithmetic.LESS ? C0 : 0;
}

function popTimes(count: u32): void { for (; count > 0; count--) pop(); }

/** Compares X with Y into the condition codes. An unmasked exception prevents only the pops. */
export function finishCompare(signaling: bool, pops: u32): void {
  setConditions(relationConditions(arithmetic.compare(signaling)));
  if (!record(soft.flags, soft.INVALID | soft.DENORMAL)) popTimes(pops);
}
export function compareEmpty(pops: u32): void {
  setConditions(C3 | C2 | C0);
  if (stackUnderflow()) popTimes(pops);
}

// Pushes, pops and near transfers of every mode and size, except the 64-bit ones, which the run loop does itself.
import { GPR, BLOCK_LINEAR, MODE, MODE_SIZE, MODE_STACK16, MODE_CHECKED, SEGMENT_BASE, SEGMENT_LIMIT } from "./layout";
import { U_SIZE, U_RM, U_SEGMENT, U_IMMEDIATE, U_SUB, U_IS_REG, U_AUX, U_NEXT } from "./uop";
import { sum, segmented, readRegister, writeRegister, readMemory, writeMemory, readOperand } from "./operand";
import { checkLimit } from "./segments";
import { condition, zero } from "./flags";
import { generalProtection } from "./fault";
import { probeWrite } from "./mmu";
import { Stack, Near } from "./ops";
import * as state from "./state";

const RSP: usize = GPR + 32, RBP: usize = GPR + 40;
const CODE_BASE: usize = SEGMENT_BASE + 16, CODE_LIMIT: usize = SEGMENT_LIMIT + 8;
const SS: u32 = 3;

function stackMask(): u64 {
  const mode = load<u32>(MODE);
  return mode & MODE_SIZE ? (mode & MODE_STACK16 ? 0xffff : 0xffffffff) : <u64>-1;
}
/** Linear address of `offset` in the stack segment, after the limit check. */
function stackAddress(offset: u64, bytes: u32): u64 {
  const mode = load<u32>(MODE);
  if (!(mode & MODE_SIZE)) return offset;
  if (mode & MODE_CHECKED) checkLimit(SS, offset, bytes);
  return (offset + load<u64>(SEGMENT_BASE + 24)) & 0xffffffff;
}
/** RSP with the bits of the stack width replaced; a 32-bit stack pointer has no upper half. */
function stackPointer(v: u64, mask: u64): u64 { return mask == 0xffff ? (load<u64>(RSP) & ~mask) | (v & mask) : v & mask; }

function push(v: u64, size: u32): void {
  const mask = stackMask(), bytes = <u32>1 << size;
  const sp = (load<u64>(RSP) - bytes) & mask;
  writeMemory(stackAddress(sp, bytes), size, v);
  store<u64>(RSP, stackPointer(sp, mask));
}
/** The word on top of the stack; RSP still has to move by `1 << size`. */
function top(size: u32): u64 { return readMemory(stackAddress(load<u64>(RSP) & stackMask(), 1 << size), size); }
function dropped(bytes: u64): u64 { const mask = stackMask(); return stackPointer((load<u64>(RSP) & mask) + bytes, mask); }

export function stackOperation(p: usize): void {
  const size = <u32>load<u8>(p, U_SIZE);
  switch (<i32>load<u8>(p, U_SUB)) {
    case Stack.PUSH: push(readOperand(p, size), size); break;
    case Stack.PUSH_I: push(load<u64>(p, U_IMMEDIATE), size); break;
    case Stack.POP: {
      const v = top(size), after = dropped(<u64>1 << size);
      if (load<u8>(p, U_IS_REG)) { store<u64>(RSP, after); writeRegister(load<u8>(p, U_RM), size, v); break; }
      // An address made from RSP uses its value after the pop; a fault must still see the one before.
      const before = load<u64>(RSP);
      store<u64>(RSP, after);
      const offset = sum(p);
      store<u64>(RSP, before);
      const segment = <u32>load<u8>(p, U_SEGMENT);
      writeMemory(segment ? segmented(p, offset, segment) : offset, size, v);
      store<u64>(RSP, after);
      break;
    }
    default: { // LEAVE
      const mask = stackMask(), frame = load<u64>(RBP) & mask;
      const v = readMemory(stackAddress(frame, 1 << size), size);
      store<u64>(RSP, stackPointer(frame + (<u64>1 << size), mask));
      writeRegister(40, size, v);
    }
  }
}

/** Offset in CS of the instruction after `p`. */
function following(p: usize): u64 { return (load<u64>(BLOCK_LINEAR) + <u64>load<u16>(p, U_NEXT) - codeBase()) & codeMask(); }
function codeBase(): u64 { return load<u32>(MODE) & MODE_SIZE ? load<u64>(CODE_BASE) : 0; }
function codeMask(): u64 { return load<u32>(MODE) & MODE_SIZE ? 0xffffffff : <u64>-1; }
/** An offset cut to the operand size. */
function truncated(offset: u64, size: u32): u64 {
  return load<u32>(MODE) & MODE_SIZE ? offset & (size == 1 ? 0xffff : 0xffffffff) : offset;
}
/** Within CS's limit; in 64-bit code: canonical. */
function reachable(offset: u64, size: u32): bool {
  const mode = load<u32>(MODE);
  if (!(mode & MODE_SIZE)) return <u64>(<i64>(offset << 16) >> 16) == offset;
  return !(mode & MODE_CHECKED) || truncated(offset, size) <= <u64>load<u32>(CODE_LIMIT);
}
function checkedOffset(offset: u64, size: u32): u64 {
  if (!reachable(offset, size)) generalProtection();
  return truncated(offset, size);
}
/** The same for CALL: a stack that cannot take the return address is reported first, as AMD's processors do. Nothing is written. */
function checkedCallOffset(offset: u64, size: u32): u64 {
  if (!reachable(offset, size)) {
    const bytes = <u32>1 << size;
    probeWrite(stackAddress((load<u64>(RSP) - bytes) & stackMask(), bytes), bytes);
  }
  return checkedOffset(offset, size);
}
function go(offset: u64): void { state.rip = load<u32>(MODE) & MODE_SIZE ? (load<u64>(CODE_BASE) + offset) & 0xffffffff : offset; }
function relativeOffset(p: usize): u64 { return load<u64>(BLOCK_LINEAR) + load<u64>(p, U_IMMEDIATE) - codeBase(); }
function relativeTarget(p: usize, size: u32): u64 { return checkedOffset(relativeOffset(p), size); }

/** Sets state.rip. */
export function nearTransfer(p: usize): void {
  const size = <u32>load<u8>(p, U_SIZE), sub = <u32>load<u8>(p, U_SUB);
  switch (sub) {
    case Near.JCC: go(condition(load<u8>(p, U_AUX)) ? relativeTarget(p, size) : following(p)); break;
    case Near.JMP: go(relativeTarget(p, size)); break;
    case Near.JMP_INDIRECT: go(checkedOffset(readOperand(p, size), size)); break;
    case Near.CALL: { const target = checkedCallOffset(relativeOffset(p), size); push(following(p), size); go(target); break; }
    case Near.CALL_INDIRECT: { const target = checkedCallOffset(readOperand(p, size), size); push(following(p), size); go(target); break; }
    case Near.RET: {
      const target = checkedOffset(top(size), size);
      store<u64>(RSP, dropped((<u64>1 << size) + load<u64>(p, U_IMMEDIATE)));
      go(target);
      break;
    }
    default: {
      // LOOP and JCXZ count in a register of the address size.
      const width = <u32>load<u8>(p, U_AUX);
      let n = readRegister(8, width);
      let taken = n == 0;
      if (sub != Near.JCXZ) {
        n = width == 3 ? n - 1 : width == 2 ? <u64>(<u32>n - 1) : <u64>(<u16>n - 1);
        taken = n != 0 && (sub == Near.LOOP || zero() == (sub == Near.LOOPE));
      }
      const target = taken ? relativeTarget(p, size) : following(p);
      if (sub != Near.JCXZ) writeRegister(8, width, n);
      go(target);
    }
  }
}

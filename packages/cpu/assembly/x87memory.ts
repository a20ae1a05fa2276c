import { X87_CONTROL, X87_STATUS } from "./layout";
import { U_SIZE } from "./uop";
import { invalidOpcode } from "./fault";
import { addressToRead, addressToWrite } from "./memoryoperand";
import { requireNoX87Exception } from "./availability";
import {
  C1, clearC1, control, isEmpty, moveTop, pop, pushRaw, record, rememberOperand, setStatus, settle, setXFromStack, stackOverflow, stackRegister,
  stackUnderflow, status, storeIndefinite, storeResult,
} from "./x87stack";
import { compareEmpty, finishCompare, operate } from "./x87operations";
import * as soft from "./softfloat";
import * as arithmetic from "./softarithmetic";
import * as environment from "./x87environment";
import { loadDecimal, storeDecimal } from "./x87decimal";
import * as mmu from "./mmu";

/*
 * x87 instructions with a memory operand: loads, stores, arithmetic, environment.
 *
 * Memory is read before and written after everything else that can fail, so a page fault leaves the x87 state as
 * it was; the instruction and operand pointers change only with the rest.
 */

// ---- arithmetic ----

/** D8/DC/DE/DA operation by ModRM.reg. */
const COM: u32 = 2, COMP: u32 = 3;

/** Arithmetic with the memory operand that the caller put in Y after beginX87. */
function arithmeticMemory(operation: u32): void {
  if ((operation & 6) == COM) { compareMemory(operation == COMP); return; }
  if (isEmpty(0)) {
    if (stackUnderflow()) storeIndefinite(0);
    return;
  }
  setXFromStack(0);
  operate(operation);
  if (settle()) storeResult(0);
}

function compareMemory(popping: bool): void {
  if (isEmpty(0)) { compareEmpty(popping ? 1 : 0); return; }
  setXFromStack(0);
  finishCompare(true, popping ? 1 : 0);
}
// ---- loads ----

/** Pushes X after a conversion that may raise IE (signaling NaN) or DE; the number is there even if DE is unmasked. */
function pushConverted(): void {
  if (!isEmpty(7)) {
    if (stackOverflow()) { moveTop(-1); storeIndefinite(0); }
    return;
  }
  if (!soft.propagateX()) {
    soft.checkDenormalX();
    soft.copyXToResult();
  }
  clearC1();
  if (record(soft.flags, soft.INVALID)) return;
  moveTop(-1);
  storeResult(0);
}
function pushInteger(value: i64): void {
  soft.setX64Integer(value);
  soft.copyXToResult();
  pushRaw(soft.pack80SignExponent(), soft.pack80Significand());
}

/** Faults now if the 80 bits at `at` cannot be accessed: they are two accesses, of 64 bits and of 16. */
function probe10(at: u64, write: bool): void {
  const top = mmu.wrap(at + 8);
  if (write) {
    mmu.probeWrite(at, 8);
    mmu.probeWrite(top, 2);
  } else {
    mmu.probeRead(at, 8);
    mmu.probeRead(top, 2);
  }
}

// ---- stores to memory ----

/** What a store raised that keeps it from storing: a memory operand takes no wrapped result. */
const STORE_FATAL: u32 = soft.INVALID | soft.OVERFLOW | soft.UNDERFLOW;

/** Ends a store: flags, C1, instruction pointers, pop. The memory was written already, unless something was fatal. */
function finishStore(p: usize, at: u64, popping: bool): void {
  rememberOperand(p, at);
  const blocked = (soft.flags & ~control() & STORE_FATAL) != 0;
  setStatus(soft.roundedUp && !blocked ? status() | C1 : status() & ~C1);
  record(blocked ? soft.flags & ~soft.INEXACT : soft.flags, 0);
  if (popping && !blocked) pop();
}
/** Whether the store may write: nothing fatal is unmasked. */
@inline function mayStore(): bool { return (soft.flags & ~control() & STORE_FATAL) == 0; }

/** Begins a store with an empty ST(0). True: write the indefinite, then call endEmptyStore. */
@inline function emptyMasked(): bool { return (control() & soft.INVALID) != 0; }
function endEmptyStore(p: usize, at: u64, popping: bool): void {
  rememberOperand(p, at);
  if (stackUnderflow() && popping) pop();
}

function storeReal(p: usize, at: u64, wide: bool, popping: bool): void {
  if (isEmpty(0)) {
    if (emptyMasked()) {
      if (wide) mmu.write64(at, 0xfff8000000000000);
      else mmu.write32(at, 0xffc00000);
    }
    endEmptyStore(p, at, popping);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  if (!soft.propagateX()) soft.copyXToResult();
  if (wide) soft.roundTo64();
  else soft.roundTo32();
  if (mayStore()) {
    if (wide) mmu.write64(at, soft.pack64());
    else mmu.write32(at, soft.pack32());
  }
  finishStore(p, at, popping);
}

/** FIST, FISTP of 16, 32 or 64 bits. */
function storeInteger(p: usize, at: u64, bits: u32, popping: bool): void {
  const empty = isEmpty(0);
  let value: i64 = 0 - (<i64>1 << (bits - 1));
  if (!empty) {
    soft.beginX87(control());
    setXFromStack(0);
    value = arithmetic.toSigned(bits);
    soft.setRoundedUp(arithmetic.integerUp && !(soft.flags & soft.INVALID));
  }
  if (empty ? emptyMasked() : mayStore()) {
    if (bits == 16) mmu.write16(at, <u16>value);
    else if (bits == 32) mmu.write32(at, <u32>value);
    else mmu.write64(at, value);
  }
  if (empty) endEmptyStore(p, at, popping);
  else finishStore(p, at, popping);
}

/** FSTP of 80 bits: copies without looking. */
function storeExtended(p: usize, at: u64): void {
  probe10(at, true);
  if (isEmpty(0)) {
    if (emptyMasked()) {
      mmu.write64(at, soft.INDEFINITE_SIG);
      mmu.write16(mmu.wrap(at + 8), 0xffff);
    }
    endEmptyStore(p, at, true);
    return;
  }
  const register = stackRegister(0);
  mmu.write64(at, load<u64>(register));
  mmu.write16(mmu.wrap(at + 8), load<u16>(register, 8));
  rememberOperand(p, at);
  clearC1();
  pop();
}

/** FBSTP: 18 packed decimal digits. */
function storePackedDecimal(p: usize, at: u64): void {
  probe10(at, true);
  const empty = isEmpty(0);
  if (empty) {
    if (emptyMasked()) {
      mmu.write64(at, 0xc000000000000000);
      mmu.write16(mmu.wrap(at + 8), 0xffff);
    }
    endEmptyStore(p, at, true);
    return;
  }
  soft.beginX87(control());
  setXFromStack(0);
  storeDecimal(at);
  finishStore(p, at, true);
}

// ---- memory forms ----

/** Bytes of the operand of a form that is not a control instruction, by first opcode byte and ModRM.reg. */
function operandLength(code: u32): u32 {
  switch (code >> 3) {
    case 0: case 1: case 2: return 4;
    case 3: return code & 4 ? 10 : 4;
    case 4: case 5: return 8;
    case 6: return 2;
    default: return code & 4 ? (code & 1 ? 8 : 10) : 2;
  }
}
/** FST FSTP (D9, DD /2 /3), FIST FISTP (DB, DF /2 /3, DF /7), FSTP m80 (DB /7), FBSTP (DF /6). */
@inline function writesMemory(code: u32): bool {
  return (code & 8) != 0 && ((code & 6) == 2 || code == 0x1f || code >= 0x3e);
}

/** Executes a memory form; `code` is the low bits of the first opcode byte, then ModRM.reg. */
export function memoryForm(p: usize, code: u32): void {
  const reg = code & 7;
  switch (code) {
    // Control instructions do not touch the instruction pointers, and those that store do not wait.
    case 0x0c: { // FLDENV
      requireNoX87Exception();
      const wide = load<u8>(p, U_SIZE) != 1, size = environment.environmentSize(wide), at = addressToRead(p, size);
      mmu.probeRead(at, size);
      environment.loadEnvironment(at, wide);
      return;
    }
    case 0x0d: // FLDCW
      requireNoX87Exception();
      environment.setControl(mmu.read16(addressToRead(p, 2)));
      return;
    case 0x0e: { // FNSTENV
      const wide = load<u8>(p, U_SIZE) != 1, size = environment.environmentSize(wide), at = addressToWrite(p, size);
      mmu.probeWrite(at, size);
      environment.storeEnvironment(at, wide);
      environment.maskAll();
      return;
    }
    case 0x0f: // FNSTCW
      mmu.write16(addressToWrite(p, 2), load<u16>(X87_CONTROL));
      return;
    case 0x2c: { // FRSTOR
      requireNoX87Exception();
      const wide = load<u8>(p, U_SIZE) != 1, size = environment.imageSize(wide), at = addressToRead(p, size);
      mmu.probeRead(at, size);
      environment.loadImage(at, wide);
      return;
    }
    case 0x2e: { // FNSAVE
      const wide = load<u8>(p, U_SIZE) != 1, size = environment.imageSize(wide), at = addressToWrite(p, size);
      mmu.probeWrite(at, size);
      environment.storeImage(at, wide);
      environment.initialize();
      return;
    }
    case 0x2f: // FNSTSW
      mmu.write16(addressToWrite(p, 2), load<u16>(X87_STATUS));
      return;
    case 0x09: case 0x19: case 0x1c: case 0x1e: case 0x29: case 0x2d: case 0x39:
      invalidOpcode();
      return;
    default:
      break;
  }
  requireNoX87Exception();
  // The operand is checked for writing even when an unmasked exception will keep it from being written.
  const at = writesMemory(code) ? addressToWrite(p, operandLength(code)) : addressToRead(p, operandLength(code));
  if (writesMemory(code) && (control() & 0x3f) != 0x3f) {
    if (operandLength(code) == 10) probe10(at, true);
    else mmu.probeWrite(at, operandLength(code));
  }
  switch (code) {
    case 0x00: case 0x01: case 0x02: case 0x03: case 0x04: case 0x05: case 0x06: case 0x07: { // D8: m32
      const bits = mmu.read32(at);
      rememberOperand(p, at);
      soft.beginX87(control());
      soft.setY32(bits);
      arithmeticMemory(reg);
      return;
    }
    case 0x20: case 0x21: case 0x22: case 0x23: case 0x24: case 0x25: case 0x26: case 0x27: { // DC: m64
      const bits = mmu.read64(at);
      rememberOperand(p, at);
      soft.beginX87(control());
      soft.setY64(bits);
      arithmeticMemory(reg);
      return;
    }
    case 0x10: case 0x11: case 0x12: case 0x13: case 0x14: case 0x15: case 0x16: case 0x17: // DA: 32-bit integer
    case 0x30: case 0x31: case 0x32: case 0x33: case 0x34: case 0x35: case 0x36: case 0x37: { // DE: 16-bit integer
      const value: i64 = code < 0x20 ? <i64><i32>mmu.read32(at) : <i64><i16>mmu.read16(at);
      rememberOperand(p, at);
      soft.beginX87(control());
      soft.setX64Integer(value);
      soft.copyXToY();
      arithmeticMemory(reg);
      return;
    }
    case 0x08: { // FLD m32
      const bits = mmu.read32(at);
      rememberOperand(p, at);
      soft.beginX87(control());
      soft.setX32(bits);
      pushConverted();
      return;
    }
    case 0x28: { // FLD m64
      const bits = mmu.read64(at);
      rememberOperand(p, at);
      soft.beginX87(control());
      soft.setX64(bits);
      pushConverted();
      return;
    }
    case 0x1d: { // FLD m80
      probe10(at, false);
      const sig = mmu.read64(at), signExponent = <u32>mmu.read16(mmu.wrap(at + 8));
      rememberOperand(p, at);
      pushRaw(signExponent, sig);
      return;
    }
    case 0x18: case 0x38: case 0x3d: { // FILD m32, m16, m64
      const value: i64 = code == 0x18 ? <i64><i32>mmu.read32(at) : code == 0x38 ? <i64><i16>mmu.read16(at) : <i64>mmu.read64(at);
      rememberOperand(p, at);
      pushInteger(value);
      return;
    }
    case 0x3c: { // FBLD
      probe10(at, false);
      const digits = mmu.read64(at), top = <u32>mmu.read16(mmu.wrap(at + 8));
      rememberOperand(p, at);
      loadDecimal(digits, top);
      return;
    }
    case 0x0a: storeReal(p, at, false, false); return;
    case 0x0b: storeReal(p, at, false, true); return;
    case 0x2a: storeReal(p, at, true, false); return;
    case 0x2b: storeReal(p, at, true, true); return;
    case 0x1f: storeExtended(p, at); return;
    case 0x3e: storePackedDecimal(p, at); return;
    case 0x1a: storeInteger(p, at, 32, false); return;
    case 0x1b: storeInteger(p, at, 32, true); return;
    case 0x3a: storeInteger(p, at, 16, false); return;
    case 0x3b: storeInteger(p, at, 16, true); return;
    default: storeInteger(p, at, 64, true); return; // 0x3f
  }
}

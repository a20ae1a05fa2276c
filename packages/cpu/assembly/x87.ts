import { GPR, X87_CONTROL, X87_STATUS } from "./layout";
import { U_AUX, U_IS_REG, U_RM, U_SIZE, U_SUB } from "./uop";
import { invalidOpcode } from "./fault";
import { effectiveAddress } from "./operand";
import { condition, setArithmetic } from "./flags";
import { requireNoX87Exception, requireWait, requireX87 } from "./availability";
import {
  C0, C1, C2, C3, clearC1, control, isEmpty, markEmpty, moveTop, pop, precision, pushRaw, record, rememberInstruction, rememberOperand,
  setConditions, setRaw, setStatus, settle, setXFromStack, setYFromStack, stackOverflow, stackRegister, stackUnderflow, status, storeIndefinite,
  storeResult,
} from "./x87stack";
import * as soft from "./softfloat";
import * as arithmetic from "./softarithmetic";
import * as environment from "./x87environment";
import * as unary from "./x87unary";
import { loadDecimal, storeDecimal } from "./x87decimal";
import { relationFlags } from "./ssefloat";
import * as mmu from "./mmu";

/*
 * x87 instructions: dispatch by first opcode byte D8-DF and ModRM, memory operands, arithmetic and comparison.
 * Everything is computed in the 80-bit format by softfloat.ts. Undocumented aliases (DC D0 = FCOM, ...) work as on
 * hardware; FISTTP is SSE3 and #UD here.
 */

/** D8/DC/DE/DA operation by ModRM.reg. */
const COM: u32 = 2, COMP: u32 = 3;

// ---- arithmetic ----

/** X = ST(0), Y = the other operand: R = X op Y, rounded by precision control. The reversed forms exchange the operands. */
function operate(operation: u32): void {
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

/** FADD ... FDIVR between registers; `destination` is 0 or the ST(i) of the instruction. */
function arithmeticRegisters(operation: u32, i: u32, destination: u32, popping: bool): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (!stackUnderflow()) return;
    storeIndefinite(destination);
  } else {
    soft.beginX87(control());
    setXFromStack(0);
    setYFromStack(i);
    operate(operation);
    if (!settle()) return;
    storeResult(destination);
  }
  if (popping) pop();
}

/** The same with a memory operand that the caller put in Y after beginX87. */
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

// ---- comparison ----

function relationConditions(relation: u32): u16 {
  return relation == arithmetic.UNORDERED ? C3 | C2 | C0 : relation == arithmetic.EQUAL ? C3 : relation == arithmetic.LESS ? C0 : 0;
}

function popTimes(count: u32): void { for (; count > 0; count--) pop(); }

/** Compares X with Y into the condition codes. An unmasked exception prevents only the pops. */
function finishCompare(signaling: bool, pops: u32): void {
  setConditions(relationConditions(arithmetic.compare(signaling)));
  if (!record(soft.flags, soft.INVALID | soft.DENORMAL)) popTimes(pops);
}
function compareEmpty(pops: u32): void {
  setConditions(C3 | C2 | C0);
  if (stackUnderflow()) popTimes(pops);
}
function compareRegisters(i: u32, signaling: bool, pops: u32): void {
  if (isEmpty(0) || isEmpty(i)) { compareEmpty(pops); return; }
  soft.beginX87(control());
  setXFromStack(0);
  setYFromStack(i);
  finishCompare(signaling, pops);
}
function compareMemory(popping: bool): void {
  if (isEmpty(0)) { compareEmpty(popping ? 1 : 0); return; }
  setXFromStack(0);
  finishCompare(true, popping ? 1 : 0);
}
/** FCOMI, FUCOMI and their popping forms: the relation goes to ZF, PF and CF. */
function compareToFlags(i: u32, signaling: bool, popping: bool): void {
  let relation = arithmetic.UNORDERED, blocked: bool;
  if (isEmpty(0) || isEmpty(i)) blocked = !stackUnderflow();
  else {
    soft.beginX87(control());
    setXFromStack(0);
    setYFromStack(i);
    relation = arithmetic.compare(signaling);
    blocked = record(soft.flags, soft.INVALID | soft.DENORMAL);
  }
  setArithmetic(relationFlags(relation));
  if (popping && !blocked) pop();
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

/** FLD ST(i). */
function loadRegister(i: u32): void {
  if (isEmpty(i)) {
    if (!stackUnderflow()) return;
    moveTop(-1);
    storeIndefinite(0);
    return;
  }
  const register = stackRegister(i);
  pushRaw(load<u16>(register, 8), load<u64>(register));
}

/** FXCH. An empty register counts as indefinite when IE is masked. */
function exchange(i: u32): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (!stackUnderflow()) return;
    if (isEmpty(0)) storeIndefinite(0);
    if (isEmpty(i)) storeIndefinite(i);
  } else clearC1();
  const a = stackRegister(0), b = stackRegister(i);
  const value = v128.load(a);
  v128.store(a, v128.load(b));
  v128.store(b, value);
}

/** FST, FSTP ST(i). */
function storeRegister(i: u32, popping: bool): void {
  if (isEmpty(0)) {
    if (!stackUnderflow()) return;
    storeIndefinite(i);
  } else {
    clearC1();
    const register = stackRegister(0);
    setRaw(i, load<u16>(register, 8), load<u64>(register));
  }
  if (popping) pop();
}

/** FCMOVcc: `holds` has been read from the flags already; an empty register is an underflow either way. */
function conditionalMove(i: u32, holds: bool): void {
  if (isEmpty(0) || isEmpty(i)) {
    if (stackUnderflow()) storeIndefinite(0);
    return;
  }
  if (holds) v128.store(stackRegister(0), v128.load(stackRegister(i)));
}
/** The FCMOV conditions by ModRM.reg: B, E, BE, U as numbers of Jcc conditions. */
@inline function moveCondition(reg: u32): u32 {
  return reg == 0 ? 2 : reg == 1 ? 4 : reg == 2 ? 6 : 10;
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
  mmu.probeWrite(at, 10);
  if (isEmpty(0)) {
    if (emptyMasked()) {
      mmu.write64(at, soft.INDEFINITE_SIG);
      mmu.write16(at + 8, 0xffff);
    }
    endEmptyStore(p, at, true);
    return;
  }
  const register = stackRegister(0);
  mmu.write64(at, load<u64>(register));
  mmu.write16(at + 8, load<u16>(register, 8));
  rememberOperand(p, at);
  clearC1();
  pop();
}

/** FBSTP: 18 packed decimal digits. */
function storePackedDecimal(p: usize, at: u64): void {
  mmu.probeWrite(at, 10);
  const empty = isEmpty(0);
  if (empty) {
    if (emptyMasked()) {
      mmu.write64(at, 0xc000000000000000);
      mmu.write16(at + 8, 0xffff);
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

function memoryForm(p: usize, code: u32): void {
  const reg = code & 7;
  switch (code) {
    // Control instructions do not touch the instruction pointers, and those that store do not wait.
    case 0x0c: { // FLDENV
      requireNoX87Exception();
      const at = effectiveAddress(p), wide = load<u8>(p, U_SIZE) != 1;
      mmu.probeRead(at, environment.environmentSize(wide));
      environment.loadEnvironment(at, wide);
      return;
    }
    case 0x0d: // FLDCW
      requireNoX87Exception();
      environment.setControl(mmu.read16(effectiveAddress(p)));
      return;
    case 0x0e: { // FNSTENV
      const at = effectiveAddress(p), wide = load<u8>(p, U_SIZE) != 1;
      mmu.probeWrite(at, environment.environmentSize(wide));
      environment.storeEnvironment(at, wide);
      environment.maskAll();
      return;
    }
    case 0x0f: // FNSTCW
      mmu.write16(effectiveAddress(p), load<u16>(X87_CONTROL));
      return;
    case 0x2c: { // FRSTOR
      requireNoX87Exception();
      const at = effectiveAddress(p), wide = load<u8>(p, U_SIZE) != 1;
      mmu.probeRead(at, environment.imageSize(wide));
      environment.loadImage(at, wide);
      return;
    }
    case 0x2e: { // FNSAVE
      const at = effectiveAddress(p), wide = load<u8>(p, U_SIZE) != 1;
      mmu.probeWrite(at, environment.imageSize(wide));
      environment.storeImage(at, wide);
      environment.initialize();
      return;
    }
    case 0x2f: // FNSTSW
      mmu.write16(effectiveAddress(p), load<u16>(X87_STATUS));
      return;
    case 0x09: case 0x19: case 0x1c: case 0x1e: case 0x29: case 0x2d: case 0x39:
      invalidOpcode();
      return;
    default:
      break;
  }
  requireNoX87Exception();
  const at = effectiveAddress(p);
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
      mmu.probeRead(at, 10);
      const sig = mmu.read64(at), signExponent = <u32>mmu.read16(at + 8);
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
      mmu.probeRead(at, 10);
      const digits = mmu.read64(at), top = <u32>mmu.read16(at + 8);
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

// ---- register forms ----

function registerForm(p: usize, code: u32, i: u32): void {
  const reg = code & 7;
  switch (code) {
    case 0x1c: // DB E0-E7
      switch (i) {
        case 2: // FNCLEX
          setStatus(status() & 0x7f00);
          return;
        case 3: environment.initialize(); return;
        case 0: case 1: case 4: return; // FNENI, FNDISI, FNSETPM of the 8087 and 80287: no operation since the 387
        default: invalidOpcode(); return;
      }
    case 0x3c: // FNSTSW AX
      if (i != 0) invalidOpcode();
      store<u16>(GPR, status());
      return;
    default:
      break;
  }
  requireNoX87Exception();
  switch (code) {
    case 0x09: // FXCH
    case 0x29: // and its aliases
    case 0x39:
      rememberInstruction(p);
      exchange(i);
      return;
    case 0x08: rememberInstruction(p); loadRegister(i); return;
    case 0x0a: // FNOP
      if (i != 0) invalidOpcode();
      rememberInstruction(p);
      return;
    case 0x0c: case 0x0d: case 0x0e: case 0x0f:
      unary.execute(p, (reg & 3) << 3 | i);
      return;
    case 0x10: case 0x11: case 0x12: case 0x13: // FCMOVB E BE U
      rememberInstruction(p);
      conditionalMove(i, condition(moveCondition(reg)));
      return;
    case 0x18: case 0x19: case 0x1a: case 0x1b: // FCMOVNB NE NBE NU
      rememberInstruction(p);
      conditionalMove(i, !condition(moveCondition(reg)));
      return;
    case 0x15: // FUCOMPP
      if (i != 1) invalidOpcode();
      rememberInstruction(p);
      compareRegisters(1, false, 2);
      return;
    case 0x1d: rememberInstruction(p); compareToFlags(i, false, false); return; // FUCOMI
    case 0x1e: rememberInstruction(p); compareToFlags(i, true, false); return; // FCOMI
    case 0x3d: rememberInstruction(p); compareToFlags(i, false, true); return;
    case 0x3e: rememberInstruction(p); compareToFlags(i, true, true); return;
    case 0x02: case 0x22: rememberInstruction(p); compareRegisters(i, true, 0); return; // FCOM
    case 0x03: case 0x23: case 0x32: rememberInstruction(p); compareRegisters(i, true, 1); return; // FCOMP
    case 0x33: // FCOMPP
      if (i != 1) invalidOpcode();
      rememberInstruction(p);
      compareRegisters(1, true, 2);
      return;
    case 0x2c: rememberInstruction(p); compareRegisters(i, false, 0); return; // FUCOM
    case 0x2d: rememberInstruction(p); compareRegisters(i, false, 1); return; // FUCOMP
    case 0x28: rememberInstruction(p); clearC1(); markEmpty(i); return; // FFREE
    case 0x38: rememberInstruction(p); clearC1(); markEmpty(i); pop(); return; // FFREEP
    case 0x2a: rememberInstruction(p); storeRegister(i, false); return; // FST
    case 0x0b: // the alias D9 D8 of FSTP: with an empty ST(0) it only pops, without an exception
      rememberInstruction(p);
      if (isEmpty(0)) { clearC1(); pop(); }
      else storeRegister(i, true);
      return;
    case 0x2b: case 0x3a: case 0x3b: rememberInstruction(p); storeRegister(i, true); return; // FSTP
    case 0x00: case 0x01: case 0x04: case 0x05: case 0x06: case 0x07:
      rememberInstruction(p);
      arithmeticRegisters(reg, i, 0, false);
      return;
    case 0x20: case 0x21: case 0x24: case 0x25: case 0x26: case 0x27:
      rememberInstruction(p);
      arithmeticRegisters(reg, i, i, false);
      return;
    case 0x30: case 0x31: case 0x34: case 0x35: case 0x36: case 0x37:
      rememberInstruction(p);
      arithmeticRegisters(reg, i, i, true);
      return;
    default:
      invalidOpcode();
  }
}

/** Executes Op.X87. */
export function x87(p: usize): void {
  requireX87();
  const code = <u32>(load<u8>(p, U_SUB) & 7) << 3 | <u32>load<u8>(p, U_AUX) & 7;
  if (load<u8>(p, U_IS_REG) != 0) registerForm(p, code, load<u8>(p, U_RM) >> 3 & 7);
  else memoryForm(p, code);
}

/** Executes Op.FWAIT. */
export function fwait(): void { requireWait(); }

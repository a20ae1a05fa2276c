import { GPR } from "./layout";
import { U_AUX, U_IS_REG, U_RM, U_SUB } from "./uop";
import { invalidOpcode } from "./fault";
import { condition, setArithmetic } from "./flags";
import { requireNoX87Exception, requireWait, requireX87 } from "./availability";
import {
  clearC1, control, isEmpty, markEmpty, moveTop, pop, pushRaw, record, rememberInstruction, setRaw, setStatus, settle, setXFromStack,
  setYFromStack, stackRegister, stackUnderflow, status, storeIndefinite, storeResult,
} from "./x87stack";
import { compareEmpty, finishCompare, operate } from "./x87operations";
import * as soft from "./softfloat";
import * as arithmetic from "./softarithmetic";
import * as environment from "./x87environment";
import * as unary from "./x87unary";
import { memoryForm } from "./x87memory";
import { relationFlags } from "./ssefloat";

/*
 * x87 instructions: dispatch by first opcode byte D8-DF and ModRM, and the forms between registers.
 * Everything is computed in the 80-bit format by softfloat.ts. Undocumented aliases (DC D0 = FCOM, ...) work as on
 * hardware; FISTTP is SSE3 and #UD here.
 */

// ---- arithmetic ----

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

// ---- comparison ----

function compareRegisters(i: u32, signaling: bool, pops: u32): void {
  if (isEmpty(0) || isEmpty(i)) { compareEmpty(pops); return; }
  soft.beginX87(control());
  setXFromStack(0);
  setYFromStack(i);
  finishCompare(signaling, pops);
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

// ---- moves ----

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

// ---- register forms ----

/** Holes in the opcode map: per `code` a bit for each i that is no instruction. */
function isUndefined(code: u32, i: u32): bool {
  let holes: u32 = 0;
  switch (code) {
    case 0x0a: holes = 0xfe; break; // D9 D1-D7
    case 0x0c: holes = 0xcc; break; // D9 E2 E3 E6 E7
    case 0x0d: holes = 0x80; break; // D9 EF
    case 0x14: case 0x16: case 0x17: case 0x1f: case 0x2e: case 0x2f: case 0x3f: holes = 0xff; break;
    case 0x15: case 0x33: holes = 0xfd; break; // DA E9, DE D9
    default: break;
  }
  return (holes >> i & 1) != 0;
}

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
  if (isUndefined(code, i)) invalidOpcode(); // before an exception that waits
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

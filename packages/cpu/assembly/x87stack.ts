import {
  BLOCK_LINEAR, MODE, MODE_SIZE, SEGMENT_BASE, SEGMENT_SELECTOR, X87, X87_CODE, X87_CODE_SELECTOR, X87_CONTROL, X87_DATA, X87_DATA_SELECTOR,
  X87_OPCODE, X87_STATUS, X87_TAG,
} from "./layout";
import { U_AUX, U_IMMEDIATE, U_IS_REG, U_OFFSET, U_RM, U_SEGMENT, U_SUB } from "./uop";
import * as soft from "./softfloat";

/*
 * The x87 register stack, its status word and the rules of exceptions that all x87 instructions share.
 *
 * A masked exception delivers a default result; an unmasked one sets ES, and #MF comes at the next waiting
 * instruction. IE, DE and ZE are found before computing: unmasked, they leave stack and registers alone.
 * OE, UE and PE are found after: a register result is then stored (OE and UE: with its exponent wrapped).
 * SDM volume 1, 8.4 to 8.7.
 */

export const C0: u16 = 0x100;
export const C1: u16 = 0x200;
export const C2: u16 = 0x400;
export const C3: u16 = 0x4000;
const STACK_FAULT: u16 = 0x40;
const SUMMARY: u16 = 0x8080;

@inline export function status(): u16 { return load<u16>(X87_STATUS); }
@inline export function setStatus(value: u16): void { store<u16>(X87_STATUS, value); }
@inline export function control(): u32 { return load<u16>(X87_CONTROL); }

/** Significand bits that add, subtract, multiply, divide and square root round to (precision control; the reserved value acts as 64). */
export function precision(): u32 {
  const pc = control() >> 8 & 3;
  return pc == 0 ? 24 : pc == 2 ? 53 : 64;
}

@inline function physical(i: u32): u32 { return ((status() >> 11) + i) & 7; }
/** Address of ST(i): significand u64, then sign and exponent u16. */
@inline export function stackRegister(i: u32): usize { return X87 + (<usize>physical(i) << 4); }
@inline export function isEmpty(i: u32): bool { return (load<u8>(X87_TAG) >> physical(i) & 1) == 0; }
@inline export function markValid(i: u32): void { store<u8>(X87_TAG, load<u8>(X87_TAG) | <u8>(<u32>1 << physical(i))); }
@inline export function markEmpty(i: u32): void { store<u8>(X87_TAG, load<u8>(X87_TAG) & ~<u8>(<u32>1 << physical(i))); }

export function moveTop(by: i32): void {
  const value = <u32>status();
  setStatus(<u16>((value & 0xc7ff) | (value + (<u32>by << 11) & 0x3800)));
}
export function pop(): void {
  markEmpty(0);
  moveTop(1);
}

export function setXFromStack(i: u32): void {
  const register = stackRegister(i);
  soft.setX80(load<u16>(register, 8), load<u64>(register));
}
export function setYFromStack(i: u32): void {
  const register = stackRegister(i);
  soft.setY80(load<u16>(register, 8), load<u64>(register));
}
/** ST(i) = raw 80 bits. */
export function setRaw(i: u32, signExponent: u32, sig: u64): void {
  const register = stackRegister(i);
  store<u64>(register, sig);
  store<u64>(register, <u64>signExponent, 8);
  markValid(i);
}
/** ST(i) = the rounded R. */
export function storeResult(i: u32): void { setRaw(i, soft.pack80SignExponent(), soft.pack80Significand()); }
export function storeIndefinite(i: u32): void { setRaw(i, 0xffff, soft.INDEFINITE_SIG); }

/** Replaces the condition codes. */
@inline export function setConditions(codes: u16): void { setStatus(status() & ~(C0 | C1 | C2 | C3) | codes); }
@inline export function clearC1(): void { setStatus(status() & ~C1); }

/** Records exception flags; true when one of `fatal` is unmasked, so that the instruction must deliver nothing. */
export function record(raised: u32, fatal: u32): bool {
  const unmasked = raised & ~control() & 0x3f;
  setStatus(status() | <u16>raised | (unmasked ? SUMMARY : 0));
  return (unmasked & fatal) != 0;
}

/** The IE of an empty source. True when it is masked: the caller then delivers an indefinite. */
export function stackUnderflow(): bool {
  setStatus(status() & ~C1 | STACK_FAULT);
  return !record(soft.INVALID, soft.INVALID);
}
/** The IE of a full stack: as above, C1 = 1 tells it from underflow. */
export function stackOverflow(): bool {
  setStatus(status() | C1 | STACK_FAULT);
  return !record(soft.INVALID, soft.INVALID);
}

const BEFORE_COMPUTING: u32 = 7;
/** Ends an operation with a register result: records what the soft operation raised and C1. True when R is to be stored. */
export function settle(): bool {
  let raised = soft.flags;
  const blocked = (raised & ~control() & BEFORE_COMPUTING) != 0;
  if (blocked) raised &= BEFORE_COMPUTING;
  setStatus(soft.roundedUp && !blocked ? status() | C1 : status() & ~C1);
  record(raised, 0);
  return !blocked;
}

/**
 * Pushes raw 80 bits (loads). A full stack gives the indefinite instead, when IE is masked.
 */
export function pushRaw(signExponent: u32, sig: u64): void {
  if (!isEmpty(7)) {
    if (stackOverflow()) { moveTop(-1); storeIndefinite(0); }
    return;
  }
  clearC1();
  moveTop(-1);
  setRaw(0, signExponent, sig);
}

/**
 * Remembers instruction, opcode and operand pointers for exception handlers; done by every instruction but the
 * control ones. `linear` is the address of the memory operand.
 */
export function rememberInstruction(p: usize): void {
  let code = load<u64>(BLOCK_LINEAR) + load<u16>(p, U_OFFSET);
  if ((load<u32>(MODE) & MODE_SIZE) != 0) code = <u32>(code - load<u64>(SEGMENT_BASE, 2 * 8));
  store<u64>(X87_CODE, code);
  store<u16>(X87_CODE_SELECTOR, load<u16>(SEGMENT_SELECTOR, 2 * 2));
  // U_IMMEDIATE holds the ModRM byte; a register form can do without.
  const modrm = load<u8>(p, U_IS_REG) ? 0xc0 | <u32>(load<u8>(p, U_AUX) & 7) << 3 | <u32>(load<u8>(p, U_RM) >> 3 & 7) : <u32>load<u8>(p, U_IMMEDIATE);
  store<u16>(X87_OPCODE, <u16>(<u32>(load<u8>(p, U_SUB) & 7) << 8 | modrm));
}
export function rememberOperand(p: usize, linear: u64): void {
  rememberInstruction(p);
  const segment = <usize>(load<u8>(p, U_SEGMENT) & 7);
  const data = linear - load<u64>(SEGMENT_BASE + (segment << 3));
  const legacy = (load<u32>(MODE) & MODE_SIZE) != 0;
  store<u64>(X87_DATA, legacy ? <u32>data : data);
  // In 64-bit code the data segment has no meaning and processors record 0.
  store<u16>(X87_DATA_SELECTOR, legacy ? load<u16>(SEGMENT_SELECTOR + (segment << 1)) : 0);
}

/*
 * Arithmetic flags, lazily: two words, computed without branches, read only when somebody asks.
 *
 *   FLAGS_RESULT (R)  the result, sign-extended to 64 bits: ZF = (R == 0), SF = sign, PF = parity of the low byte
 *   FLAGS_CARRY  (C)  bit 63 = CF; bit 63 ^ bit 62 = OF; AF = bit 3 | bit 35
 *                     bit 0: inverts SF; bits 8-15: inverts PF once per set bit (POPF and SAHF know flag sets that no result has)
 *
 * A 32-bit addition or subtraction done in 64 bits leaves its carries in a ^ b ^ r: bit 32 is CF, bit 31 the carry into
 * the sign, bit 4 AF. Shifted left by 31 they stand at 63, 62 and 35; bits 36-61 are then carries that nobody reads, bits
 * 0-30 are clear. All other widths keep only bits 63, 62 and 3, so "3 or 35" is never ambiguous.
 */
import { FLAGS_RESULT, FLAGS_CARRY, FLAGS_AUX, FLAGS_SYSTEM } from "./layout";

export const CF: u64 = 1, PF: u64 = 4, AF: u64 = 0x10, ZF: u64 = 0x40, SF: u64 = 0x80, OF: u64 = 0x800;
export const TF: u64 = 0x100, IF: u64 = 0x200, DF: u64 = 0x400;
export const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/** Everything that RFLAGS can hold: bits 1, 3, 5, 15 and 22 up are fixed. */
const WRITABLE: u64 = 0x3f7fd5;
const KEPT: u64 = 0xc000000000000008;

@inline export function result(): u64 { return load<u64>(FLAGS_RESULT); }
@inline export function carries(): u64 { return load<u64>(FLAGS_CARRY); }
@inline export function put(r: u64, c: u64): void { store<u64>(FLAGS_RESULT, r); store<u64>(FLAGS_CARRY, c); }

@inline export function carry(): bool { return <i64>carries() < 0; }
@inline export function carryBit(): u64 { return carries() >> 63; }
@inline export function zero(): bool { return result() == 0; }
@inline export function overflow(): bool { const c = carries(); return <i64>(c ^ (c << 1)) < 0; }
@inline export function sign(): bool { return <i64>(result() ^ (carries() << 63)) < 0; }
/** SF != OF */
@inline export function less(): bool { const c = carries(); return <i64>(result() ^ (c << 63) ^ c ^ (c << 1)) < 0; }
@inline export function parity(): bool { return (popcnt<u32>((<u32>result() ^ <u32>(carries() >> 8)) & 0xff) & 1) == 0; }
@inline function adjust(): bool { const c = carries(); return ((<u32>(c >> 3) | <u32>(c >> 35)) & 1) != 0; }

/** Condition code `cc`, 0 to 15, as in Jcc. */
export function condition(cc: u32): bool {
  let holds: bool;
  switch (cc >> 1) {
    case 0: holds = overflow(); break;
    case 1: holds = carry(); break;
    case 2: holds = zero(); break;
    case 3: holds = carry() || zero(); break;
    case 4: holds = sign(); break;
    case 5: holds = parity(); break;
    case 6: holds = less(); break;
    default: holds = zero() || less();
  }
  return holds != ((cc & 1) != 0);
}

export function getArithmetic(): u64 {
  return (carry() ? CF : 0) | (parity() ? PF : 0) | (adjust() ? AF : 0) | (zero() ? ZF : 0) | (sign() ? SF : 0) | (overflow() ? OF : 0);
}
/** Sets the six arithmetic flags from a value laid out as RFLAGS; other bits are ignored. */
export function setArithmetic(v: u64): void {
  const cf = v & 1, over = (v >> 11) & 1;
  // A non-zero result with even parity and no sign, or 0; both have PF = 1 and SF = 0.
  put(v & ZF ? 0 : 0x100, (cf << 63) | ((cf ^ over) << 62) | ((v & AF) >> 1) | ((v >> 7) & 1) | ((v & PF) ? 0 : 0x100));
}
export function getFlags(): u64 { return load<u64>(FLAGS_SYSTEM) | getArithmetic() | 2; }
/** Whole RFLAGS: bit 1 stays set, fixed bits stay clear. */
export function setFlags(v: u64): void {
  v &= WRITABLE;
  store<u64>(FLAGS_SYSTEM, (v & ~ARITHMETIC) | 2);
  store<u64>(FLAGS_AUX, 0);
  setArithmetic(v);
}
export function setZero(z: bool): void { const v = getArithmetic(); setArithmetic(z ? v | ZF : v & ~ZF); }
/** CF alone; OF keeps its value, so bit 62 moves with bit 63. */
export function setCarryOnly(cf: bool): void {
  const c = carries();
  if ((<i64>c < 0) != cf) store<u64>(FLAGS_CARRY, c ^ 0xc000000000000000);
}
/** CF and OF; SF, ZF, AF and PF keep their values (rotates). */
export function setCarryOverflow(cf: u64, over: u64): void {
  const c = carries();
  const af = ((c >> 3) | (c >> 35)) & 1;
  store<u64>(FLAGS_CARRY, (c & 0xff01) | (af << 3) | (cf << 63) | ((cf ^ over) << 62));
}

@inline export function signExtend<T>(v: u64): u64 {
  if (sizeof<T>() == 8) return v;
  if (sizeof<T>() == 4) return <u64><i64><i32>v;
  if (sizeof<T>() == 2) return <u64><i64><i16>v;
  return <u64><i64><i8>v;
}
/** Flags of r = a + b (+ carry), operands zero-extended. */
@inline export function added<T>(a: u64, b: u64, r: u64): void {
  if (sizeof<T>() == 4) put(signExtend<T>(r), (a ^ b ^ r) << 31);
  else if (sizeof<T>() == 8) put(r, ((a & b) | ((a | b) & ~r)) & KEPT);
  else { const x = a ^ b ^ r; put(signExtend<T>(r), ((x << (63 - 8 * <u64>sizeof<T>())) & 0xc000000000000000) | ((x >> 1) & 8)); }
}
/** Flags of r = a - b (- carry), operands zero-extended. */
@inline export function subtracted<T>(a: u64, b: u64, r: u64): void {
  if (sizeof<T>() == 8) put(r, ((~a & b) | ((~a | b) & r)) & KEPT);
  else added<T>(a, b, r);
}
@inline export function logical<T>(r: u64): void { put(signExtend<T>(r), 0); }
/** Result flags and CF, OF; AF clear (shifts, multiplications). */
@inline export function putCarryOverflow(r: u64, cf: u64, over: u64): void { put(r, (cf << 63) | ((cf ^ over) << 62)); }
/** Flags of INC (r = a + 1): CF keeps its value. */
@inline export function incremented<T>(a: u64, r: u64): void {
  const w: u64 = 8 * sizeof<T>(), over = ((r & ~a) >> (w - 1)) & 1;
  put(signExtend<T>(r), (<u64>(<i64>carries() >> 63) & 0xc000000000000000) ^ (over << 62) | (((a ^ r) >> 1) & 8));
}
/** Flags of DEC (r = a - 1): CF keeps its value. */
@inline export function decremented<T>(a: u64, r: u64): void { incremented<T>(r, a); store<u64>(FLAGS_RESULT, signExtend<T>(r)); }

export function addedSize(size: u32, a: u64, b: u64, r: u64): void {
  switch (size) { case 0: added<u8>(a, b, r); break; case 1: added<u16>(a, b, r); break; case 2: added<u32>(a, b, r); break; default: added<u64>(a, b, r); }
}
export function subtractedSize(size: u32, a: u64, b: u64, r: u64): void {
  switch (size) { case 0: subtracted<u8>(a, b, r); break; case 1: subtracted<u16>(a, b, r); break; case 2: subtracted<u32>(a, b, r); break; default: subtracted<u64>(a, b, r); }
}

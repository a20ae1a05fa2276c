// Integer operations that are too irregular or too rare for the run loop. Each commits nothing before its last possible fault.
import { GPR, FLAGS_SYSTEM, SEGMENT_BASE } from "./layout";
import { U_SIZE, U_REG, U_RM, U_SEGMENT, U_IMMEDIATE, U_SUB, U_IS_REG, U_AUX } from "./uop";
import {
  addedSize, subtractedSize, carry, carryBit, condition, getArithmetic, setArithmetic, setCarryOnly, setCarryOverflow, putCarryOverflow, setZero,
  ZF, OF, DF,
} from "./flags";
import {
  effectiveAddress, segmented, sum, readRegister, writeRegister, readMemory, writeMemory, readForWrite, readOperand, writeOperand, gpr, setGpr, sizeMask, extend, ADDRESS_LEGACY,
} from "./operand";
import { fault, generalProtection, DE } from "./fault";
import { checkAlignment, probeWrite } from "./mmu";
import { Bit, Flag } from "./ops";

const RAX: usize = 0, RCX: usize = 8, RDX: usize = 16, RBX: usize = 24;

/** Linear address of the operand that is being modified. */
let destination: u64 = 0;
function modify(p: usize, size: u32): u64 {
  if (load<u8>(p, U_IS_REG)) return readRegister(load<u8>(p, U_RM), size);
  destination = effectiveAddress(p);
  return readForWrite(destination, size);
}
function modified(p: usize, size: u32, v: u64): void {
  if (load<u8>(p, U_IS_REG)) writeRegister(load<u8>(p, U_RM), size, v);
  else writeMemory(destination, size, v);
}
@inline function sizeOf(p: usize): u32 { return load<u8>(p, U_SIZE); }
@inline function widthOf(size: u32): u64 { return <u64>8 << <u64>size; }

export function setcc(p: usize): void { writeOperand(p, 0, condition(load<u8>(p, U_SUB)) ? 1 : 0); }
export function cmov(p: usize): void {
  const size = sizeOf(p), at = <usize>load<u8>(p, U_REG);
  const v = readOperand(p, size); // read even when not moved: it may fault
  writeRegister(at, size, condition(load<u8>(p, U_SUB)) ? v : readRegister(at, size));
}
/** U_SUB: 0 INC, 1 DEC. */
export function incdec(p: usize): void {
  const size = sizeOf(p), down = load<u8>(p, U_SUB) != 0;
  const a = modify(p, size);
  const r = (down ? a - 1 : a + 1) & sizeMask(size);
  modified(p, size, r);
  const cf = carry();
  if (down) subtractedSize(size, a, 1, a - 1); else addedSize(size, a, 1, a + 1);
  setCarryOnly(cf);
}

// ---- multiplication and division ----
@inline export function multiplyHigh(a: u64, b: u64): u64 {
  const al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
  const middle = ah * bl + ((al * bl) >> 32);
  const low = al * bh + (middle & 0xffffffff);
  return ah * bh + (middle >> 32) + (low >> 32);
}
@inline export function multiplyHighSigned(a: u64, b: u64): u64 {
  let high = multiplyHigh(a, b);
  if (<i64>a < 0) high -= b;
  if (<i64>b < 0) high -= a;
  return high;
}
let quotient: u64 = 0, remainder: u64 = 0;
/** (high : low) / d for high < d, in two steps of 32-bit digits (Knuth, algorithm D). */
function divide128(high: u64, low: u64, d: u64): void {
  if (high == 0) { quotient = low / d; remainder = low % d; return; }
  const s = clz<u64>(d);
  const v = d << s, vh = v >> 32, vl = v & 0xffffffff;
  const u = s ? (high << s) | (low >> (64 - s)) : high;
  const w = low << s;
  const w1 = w >> 32, w0 = w & 0xffffffff;
  let q1 = u / vh, r = u % vh;
  while (q1 >> 32 || q1 * vl > ((r << 32) | w1)) { q1--; r += vh; if (r >> 32) break; }
  const t = ((u << 32) | w1) - q1 * v;
  let q0 = t / vh;
  r = t % vh;
  while (q0 >> 32 || q0 * vl > ((r << 32) | w0)) { q0--; r += vh; if (r >> 32) break; }
  quotient = (q1 << 32) + q0;
  remainder = (((t << 32) | w0) - q0 * v) >> s;
}
function divideError(): void { fault(DE, 0); }
function commitDivision(size: u32, q: u64, r: u64): void {
  if (size == 0) { store<u8>(GPR, <u8>q); store<u8>(GPR + 1, <u8>r); return; }
  writeRegister(RAX, size, q);
  writeRegister(RDX, size, r);
}
function divide(size: u32, d: u64): void {
  if (!d) divideError();
  if (size == 3) {
    if (gpr(2) >= d) divideError();
    divide128(gpr(2), gpr(0), d);
  } else {
    const a = size == 0 ? readRegister(RAX, 1) : (readRegister(RDX, size) << widthOf(size)) | readRegister(RAX, size);
    quotient = a / d;
    remainder = a % d;
    if (quotient > sizeMask(size)) divideError();
  }
  commitDivision(size, quotient, remainder);
}
function divideSigned(size: u32, raw: u64): void {
  const d = extend(raw, size);
  if (d == 0) divideError();
  const ud: u64 = d < 0 ? 0 - <u64>d : <u64>d;
  let low: u64, high: u64;
  if (size == 3) { low = gpr(0); high = gpr(2); }
  else {
    low = size == 0 ? <u64>extend(readRegister(RAX, 1), 1)
      : size == 1 ? <u64><i64><i32>((readRegister(RDX, 1) << 16) | readRegister(RAX, 1))
      : (readRegister(RDX, 2) << 32) | readRegister(RAX, 2);
    high = <u64>(<i64>low >> 63);
  }
  const negative = <i64>high < 0;
  if (negative) { low = 0 - low; high = ~high + (low == 0 ? 1 : 0); }
  if (high >= ud) divideError();
  divide128(high, low, ud);
  const negativeQuotient = negative != (d < 0);
  const most = <u64>1 << (widthOf(size) - 1);
  if (negativeQuotient ? quotient > most : quotient >= most) divideError();
  commitDivision(size, negativeQuotient ? 0 - quotient : quotient, negative ? 0 - remainder : remainder);
}
function multiply(size: u32, b: u64, signed: bool): void {
  const a = readRegister(RAX, size);
  let over: bool, low: u64;
  if (size == 3) {
    low = a * b;
    const high = signed ? multiplyHighSigned(a, b) : multiplyHigh(a, b);
    over = signed ? <i64>high != <i64>low >> 63 : high != 0;
    setGpr(0, low);
    setGpr(2, high);
  } else {
    low = signed ? <u64>(extend(a, size) * extend(b, size)) : a * b;
    over = signed ? extend(low, size) != <i64>low : low >> widthOf(size) != 0;
    if (size == 0) writeRegister(RAX, 1, low);
    else { writeRegister(RAX, size, low); writeRegister(RDX, size, low >> widthOf(size)); }
  }
  putCarryOverflow(<u64>extend(low, size), over ? 1 : 0, over ? 1 : 0);
}
/** F6, F7: NOT NEG MUL IMUL DIV IDIV (TEST has operations of its own). */
export function group3(p: usize): void {
  const size = sizeOf(p);
  switch (<i32>load<u8>(p, U_SUB)) {
    case 2: { const a = modify(p, size); modified(p, size, ~a); break; }
    case 3: { const a = modify(p, size); modified(p, size, 0 - a); subtractedSize(size, 0, a, 0 - a); break; }
    case 4: multiply(size, readOperand(p, size), false); break;
    case 5: multiply(size, readOperand(p, size), true); break;
    case 6: divide(size, readOperand(p, size)); break;
    default: divideSigned(size, readOperand(p, size));
  }
}
/** IMUL with a destination register: U_AUX 1: rm * immediate, 0: register * rm. */
export function imul(p: usize): void {
  const size = sizeOf(p), at = <usize>load<u8>(p, U_REG);
  const b = readOperand(p, size);
  const a = load<u8>(p, U_AUX) ? load<u64>(p, U_IMMEDIATE) : readRegister(at, size);
  imulTo(at, size, a, b);
}
function imulTo(at: usize, size: u32, a: u64, b: u64): void {
  let over: bool;
  let low = a * b;
  if (size == 3) over = <i64>multiplyHighSigned(a, b) != <i64>low >> 63;
  else { low = <u64>(extend(a, size) * extend(b, size)); over = extend(low, size) != <i64>low; }
  writeRegister(at, size, low);
  putCarryOverflow(<u64>extend(low, size), over ? 1 : 0, over ? 1 : 0);
}
// ---- shifts and rotates ----
/** ROL ROR RCL RCR SHL SHR SAL SAR by U_SUB; count: immediate (U_AUX 1) or CL. */
export function shift(p: usize): void {
  const size = sizeOf(p), w = widthOf(size), top = w - 1, m = sizeMask(size);
  const n: u64 = <u64>(load<u8>(p, U_AUX) ? load<u8>(p, U_IMMEDIATE) : load<u8>(GPR + RCX)) & (size == 3 ? 63 : 31);
  const a = modify(p, size);
  if (!n) { modified(p, size, a); return; }
  let r: u64 = a, c: u64 = 0;
  switch (<i32>load<u8>(p, U_SUB)) {
    case 0: {
      const q = n & top;
      if (q) r = ((a << q) | (a >> (w - q))) & m;
      modified(p, size, r);
      setCarryOverflow(r & 1, (r ^ (r >> top)) & 1);
      return;
    }
    case 1: {
      const q = n & top;
      if (q) r = ((a >> q) | (a << (w - q))) & m;
      modified(p, size, r);
      setCarryOverflow((r >> top) & 1, ((r >> top) ^ (r >> (top - 1))) & 1);
      return;
    }
    case 2: {
      c = carryBit();
      for (let q = n % (w + 1); q; q--) { const out = r >> top; r = ((r << 1) | c) & m; c = out; }
      modified(p, size, r);
      setCarryOverflow(c, (c ^ (r >> top)) & 1);
      return;
    }
    case 3: {
      c = carryBit();
      for (let q = n % (w + 1); q; q--) { const out = r & 1; r = (r >> 1) | (c << top); c = out; }
      modified(p, size, r);
      setCarryOverflow(c, ((r >> top) ^ (r >> (top - 1))) & 1);
      return;
    }
    case 4: case 6:
      r = (a << n) & m;
      c = n > w ? 0 : (a >> (w - n)) & 1;
      modified(p, size, r);
      putCarryOverflow(<u64>extend(r, size), c, (c ^ (r >> top)) & 1);
      return;
    case 5:
      r = n >= w ? 0 : a >> n;
      c = n > w ? 0 : (a >> (n - 1)) & 1;
      modified(p, size, r);
      putCarryOverflow(<u64>extend(r, size), c, n == 1 ? a >> top : 0);
      return;
    default: {
      const s = extend(a, size);
      r = <u64>(s >> <i64>n) & m;
      c = <u64>(s >> <i64>(n - 1)) & 1;
      modified(p, size, r);
      putCarryOverflow(<u64>extend(r, size), c, 0);
    }
  }
}
/** SHLD (U_SUB 0) and SHRD (1). */
export function doubleShift(p: usize): void {
  const size = sizeOf(p), w = widthOf(size), m = sizeMask(size), right = load<u8>(p, U_SUB) != 0;
  const n: u64 = <u64>(load<u8>(p, U_AUX) ? load<u8>(p, U_IMMEDIATE) : load<u8>(GPR + RCX)) & (size == 3 ? 63 : 31);
  const a = modify(p, size), b = readRegister(load<u8>(p, U_REG), size);
  if (!n) { modified(p, size, a); return; }
  let r: u64, c: u64;
  if (size == 1) {
    // Counts above 16 are undefined by the manuals; processors rotate through the three words a, b, a.
    const wide = right ? a | (b << 16) | (a << 32) : (a << 32) | (b << 16) | a;
    r = (right ? wide >> n : wide >> (32 - n)) & m;
    c = (right ? wide >> (n - 1) : wide >> (48 - n)) & 1;
  } else if (right) { r = ((a >> n) | (b << (w - n))) & m; c = (a >> (n - 1)) & 1; }
  else { r = ((a << n) | (b >> (w - n))) & m; c = (a >> (w - n)) & 1; }
  modified(p, size, r);
  putCarryOverflow(<u64>extend(r, size), c, ((a ^ r) >> (w - 1)) & 1);
}

// ---- bits ----
/** BT BTS BTR BTC by U_SUB. A register index reaches memory beyond the operand, a bit string in both directions. */
export function bit(p: usize): void {
  const size = sizeOf(p), sub = load<u8>(p, U_SUB), byImmediate = load<u8>(p, U_AUX) != 0;
  let n = byImmediate ? load<u64>(p, U_IMMEDIATE) : readRegister(load<u8>(p, U_REG), size);
  let v: u64;
  if (load<u8>(p, U_IS_REG)) v = readRegister(load<u8>(p, U_RM), size);
  else {
    const away: u64 = byImmediate ? 0 : <u64>(extend(n, size) >> <i64>(3 + size)) << <u64>size;
    destination = segmented(p, sum(p) + away, load<u8>(p, U_SEGMENT));
    v = sub == Bit.TEST ? readMemory(destination, size) : readForWrite(destination, size);
  }
  n &= widthOf(size) - 1;
  const one = <u64>1 << n;
  if (sub != Bit.TEST) modified(p, size, sub == Bit.SET ? v | one : sub == Bit.RESET ? v & ~one : v ^ one);
  setCarryOnly(((v >> n) & 1) != 0);
}
/** BSF BSR POPCNT by U_SUB. BSF and BSR of 0 leave the destination alone, as on AMD. */
export function bitScan(p: usize): void {
  const size = sizeOf(p), sub = load<u8>(p, U_SUB), at = <usize>load<u8>(p, U_REG);
  const v = readOperand(p, size);
  if (sub == 2) { writeRegister(at, size, popcnt<u64>(v)); setArithmetic(v ? 0 : ZF); return; }
  if (v) writeRegister(at, size, sub ? 63 - clz<u64>(v) : ctz<u64>(v));
  setZero(v == 0);
}
export function byteSwap(p: usize): void {
  const at = <usize>load<u8>(p, U_RM);
  switch (sizeOf(p)) {
    case 1: store<u16>(at, 0, GPR); break; // undefined; processors give 0
    case 2: store<u64>(at, <u64>bswap<u32>(load<u32>(at, GPR)), GPR); break;
    default: store<u64>(at, bswap<u64>(load<u64>(at, GPR)), GPR);
  }
}

// ---- exchanges ----
export function cmpxchg(p: usize): void {
  const size = sizeOf(p);
  const d = modify(p, size), a = readRegister(RAX, size);
  const equal = a == d;
  // Memory is written in either case; a register that is not exchanged keeps even its upper half.
  if (equal || !load<u8>(p, U_IS_REG)) modified(p, size, equal ? readRegister(load<u8>(p, U_REG), size) : d);
  if (!equal) writeRegister(RAX, size, d);
  subtractedSize(size, a, d, a - d);
}
/** CMPXCHG8B, and CMPXCHG16B with REX.W. */
export function cmpxchgWide(p: usize): void {
  const size: u32 = sizeOf(p) == 3 ? 3 : 2, bytes: u64 = 1 << size;
  const at = effectiveAddress(p);
  if (size == 3 && at & 15) generalProtection();
  checkAlignment(at, 2 * <u32>bytes);
  if ((<u32>at & 0xfff) + 2 * <u32>bytes > 0x1000) probeWrite(at, 2 * <u32>bytes); // both halves or neither
  const low = readForWrite(at, size), high = readForWrite(second(p, at, bytes), size);
  const equal = low == readRegister(RAX, size) && high == readRegister(RDX, size);
  if (equal) {
    const newLow = readRegister(RBX, size), newHigh = readRegister(RCX, size);
    writeMemory(at, size, newLow);
    writeMemory(second(p, at, bytes), size, newHigh);
  } else {
    writeMemory(at, size, low);
    writeMemory(second(p, at, bytes), size, high);
    writeRegister(RAX, size, low);
    writeRegister(RDX, size, high);
  }
  setZero(equal);
}
function second(p: usize, at: u64, bytes: u64): u64 {
  return load<u8>(p, U_SEGMENT) & ADDRESS_LEGACY ? (at + bytes) & 0xffffffff : at + bytes;
}
export function xadd(p: usize): void {
  const size = sizeOf(p), at = <usize>load<u8>(p, U_REG);
  const d = modify(p, size), s = readRegister(at, size);
  const r = d + s;
  if (load<u8>(p, U_IS_REG)) { writeRegister(at, size, d); modified(p, size, r); }
  else { modified(p, size, r); writeRegister(at, size, d); }
  addedSize(size, d, s, r);
}
export function xchg(p: usize): void {
  const size = sizeOf(p), at = <usize>load<u8>(p, U_REG);
  const d = modify(p, size), s = readRegister(at, size);
  modified(p, size, s);
  writeRegister(at, size, d);
}

// ---- moves with a twist ----
/** CBW CWDE CDQE */
export function widen(p: usize): void { const size = sizeOf(p); writeRegister(RAX, size, <u64>extend(gpr(0), size - 1)); }
/** CWD CDQ CQO */
export function signFill(p: usize): void { const size = sizeOf(p); writeRegister(RDX, size, extend(gpr(0), size) < 0 ? <u64>-1 : 0); }
/** MOVZX, MOVSX to 16 bits: U_SUB bit 0 source size, bit 1 signed. */
export function extend16(p: usize): void {
  const from = <u32>load<u8>(p, U_SUB) & 1;
  const v = readOperand(p, from);
  writeRegister(load<u8>(p, U_REG), 1, load<u8>(p, U_SUB) & 2 ? <u64>extend(v, from) : v);
}
/** MOV between the accumulator and a 64-bit address. U_AUX: 1 = store. */
export function moveAbsolute(p: usize): void {
  const size = sizeOf(p), at = load<u64>(p, U_IMMEDIATE) + load<u64>(<usize>(load<u8>(p, U_SEGMENT) & 7) << 3, SEGMENT_BASE);
  if (load<u8>(p, U_AUX)) writeMemory(at, size, readRegister(RAX, size));
  else writeRegister(RAX, size, readMemory(at, size));
}
export function flag(p: usize): void {
  switch (<i32>load<u8>(p, U_SUB)) {
    case Flag.CMC: setCarryOnly(!carry()); break;
    case Flag.CLC: setCarryOnly(false); break;
    case Flag.STC: setCarryOnly(true); break;
    case Flag.CLD: store<u64>(FLAGS_SYSTEM, load<u64>(FLAGS_SYSTEM) & ~DF); break;
    case Flag.STD: store<u64>(FLAGS_SYSTEM, load<u64>(FLAGS_SYSTEM) | DF); break;
    case Flag.SALC: store<u8>(GPR, carry() ? 0xff : 0); break;
    case Flag.LAHF: store<u8>(GPR + 1, <u8>((getArithmetic() & 0xd5) | 2)); break;
    default: setArithmetic((getArithmetic() & OF) | (<u64>load<u8>(GPR + 1) & 0xd5));
  }
}

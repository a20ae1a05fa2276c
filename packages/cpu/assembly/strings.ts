/*
 * String operations. REP is interruptible: after a page's worth of work the limit is looked at, and the instruction
 * starts again later with the registers as they stand. Iterations cost virtual time (one per element, a sixteenth per byte where a
 * whole page is moved at once), so no count can hold the processor up.
 */
import { COUNT, LIMIT, MODE, MODE_SIZE, MODE_STEP, MODE_CHECKED, FLAGS_SYSTEM, DEBUG_PENDING } from "./layout";
import { U_SIZE, U_SEGMENT, U_SUB, U_AUX, ADDRESS_16, ADDRESS_32 } from "./uop";
import { DF, subtractedSize, zero } from "./flags";
import { readRegister, writeRegister, readMemory, writeMemory, segmented, segmentedFor } from "./operand";
import { hostForRead, hostForWrite, probeWrite } from "./mmu";
import { portIn, portOut } from "./host";
import { checkPort } from "./system";
import { Str } from "./ops";

const RAX: usize = 0, RCX: usize = 8, RDX: usize = 16, RSI: usize = 48, RDI: usize = 56;
const ES: u32 = 1;
/** Elements between two looks at the limit. */
const ROUND: u32 = 4096;

let addressSize: u32 = 3;
function at(register: usize): u64 { return readRegister(register, addressSize); }
/** Moves an index or count register; a 16-bit one keeps its upper bits. */
function move(register: usize, by: u64): void { writeRegister(register, addressSize, readRegister(register, addressSize) + by); }
function spend(ns: u64): void { store<i64>(COUNT, load<i64>(COUNT) + <i64>ns); }

/** The source operand: DS or an override. */
function source(p: usize): u64 {
  const segment = <u32>load<u8>(p, U_SEGMENT);
  return segment ? segmented(p, at(RSI), segment) : at(RSI);
}
/** The destination operand: always ES, whose base is 0 in 64-bit mode. */
function target(p: usize): u64 {
  if (!(load<u32>(MODE) & MODE_SIZE)) return at(RDI);
  const kind = load<u8>(p, U_SUB);
  return segmentedFor(at(RDI), (<u32>load<u8>(p, U_SEGMENT) & ~7) | ES, 1 << load<u8>(p, U_SIZE), kind != Str.CMPS && kind != Str.SCAS);
}

/** One element. False: the repetition ends here (CMPS, SCAS). */
function element(p: usize, kind: i32, size: u32, repeat: u32, step: u64): bool {
  switch (kind) {
    case Str.MOVS: {
      writeMemory(target(p), size, readMemory(source(p), size));
      move(RSI, step);
      move(RDI, step);
      return true;
    }
    case Str.CMPS: {
      const b = readMemory(target(p), size); // first, as on AMD, when both fault
      const a = readMemory(source(p), size);
      move(RSI, step);
      move(RDI, step);
      subtractedSize(size, a, b, a - b);
      return zero() == (repeat == 1);
    }
    case Str.STOS: writeMemory(target(p), size, readRegister(RAX, size)); move(RDI, step); return true;
    case Str.LODS: writeRegister(RAX, size, readMemory(source(p), size)); move(RSI, step); return true;
    case Str.SCAS: {
      const a = readRegister(RAX, size), b = readMemory(target(p), size);
      move(RDI, step);
      subtractedSize(size, a, b, a - b);
      return zero() == (repeat == 1);
    }
    case Str.INS: {
      const port = <u32>readRegister(RDX, 1), width = <u32>1 << size;
      checkPort(port, width);
      const to = target(p);
      probeWrite(to, width); // a device is read once, so the store must not fault afterwards
      writeMemory(to, size, <u64>portIn(port, width));
      move(RDI, step);
      return true;
    }
    default: {
      const port = <u32>readRegister(RDX, 1), width = <u32>1 << size;
      checkPort(port, width);
      portOut(port, width, <u32>readMemory(source(p), size));
      move(RSI, step);
      return true;
    }
  }
}

/** Elements that lie in the page of `linear` from there on, at most `most`; 0 when one crosses. */
function room(linear: u64, size: u32, most: u64): u64 {
  const n = (0x1000 - (linear & 0xfff)) >> <u64>size;
  return n < most ? n : most;
}
/** REP MOVS, STOS upwards: up to a page at once. Returns the elements done; 0: go the slow way. */
function bulk(p: usize, kind: i32, size: u32, count: u64): u64 {
  if (load<u32>(MODE) & MODE_CHECKED && load<u32>(MODE) & MODE_SIZE) return 0;
  // An index that wraps inside the run goes the slow way.
  if (addressSize != 3) {
    const last: u64 = addressSize == 2 ? 0xffffffff : 0xffff;
    if (at(RDI) + 0x1000 > last || at(RSI) + 0x1000 > last) return 0;
  }
  const to = target(p);
  let n = room(to, size, count);
  if (n < 2) return 0;
  if (kind == Str.STOS) {
    const host = hostForWrite(to);
    if (!host) return 0;
    const v = readRegister(RAX, size);
    const bytes = <usize>(n << <u64>size);
    switch (size) {
      case 0: memory.fill(host, <u8>v, bytes); break;
      case 1: for (let i: usize = 0; i < bytes; i += 2) store<u16>(host + i, <u16>v); break;
      case 2: if (v) { for (let i: usize = 0; i < bytes; i += 4) store<u32>(host + i, <u32>v); } else memory.fill(host, 0, bytes); break;
      default: if (v) { for (let i: usize = 0; i < bytes; i += 8) store<u64>(host + i, v); } else memory.fill(host, 0, bytes);
    }
  } else {
    const from = source(p);
    n = room(from, size, n);
    if (n < 2) return 0;
    const hostFrom = hostForRead(from);
    if (!hostFrom) return 0;
    const hostTo = hostForWrite(to);
    if (!hostTo) return 0;
    const bytes = <usize>(n << <u64>size);
    // Overlapping upwards: elements written are read again, which a block copy would not show.
    if (hostTo - hostFrom >= bytes) memory.copy(hostTo, hostFrom, bytes);
    else switch (size) {
      case 0: for (let i: usize = 0; i < bytes; i++) store<u8>(hostTo + i, load<u8>(hostFrom + i)); break;
      case 1: for (let i: usize = 0; i < bytes; i += 2) store<u16>(hostTo + i, load<u16>(hostFrom + i)); break;
      case 2: for (let i: usize = 0; i < bytes; i += 4) store<u32>(hostTo + i, load<u32>(hostFrom + i)); break;
      default: for (let i: usize = 0; i < bytes; i += 8) store<u64>(hostTo + i, load<u64>(hostFrom + i));
    }
    move(RSI, n << <u64>size);
  }
  move(RDI, n << <u64>size);
  move(RCX, 0 - n);
  spend((n << <u64>size) >> 4);
  return n;
}

/** Executes the string instruction at `p`. False: it is not finished and is to be started again. */
export function string(p: usize): bool {
  const size = <u32>load<u8>(p, U_SIZE), kind = <i32>load<u8>(p, U_SUB), repeat = <u32>load<u8>(p, U_AUX);
  const segment = <u32>load<u8>(p, U_SEGMENT);
  addressSize = segment & ADDRESS_16 ? 1 : segment & ADDRESS_32 ? 2 : 3;
  const down = (load<u64>(FLAGS_SYSTEM) & DF) != 0;
  const step: u64 = down ? 0 - (<u64>1 << <u64>size) : <u64>1 << <u64>size;
  if (!repeat) { element(p, kind, size, 0, step); return true; }
  if (at(RCX) == 0) {
    // Permission for the port is asked for even when nothing is done.
    if (kind >= Str.INS) {
      const pending = load<u32>(DEBUG_PENDING);
      checkPort(<u32>readRegister(RDX, 1), <u32>1 << size);
      store<u32>(DEBUG_PENDING, pending);
    }
    return true;
  }
  const single = (load<u32>(MODE) & MODE_STEP) != 0;
  while (true) {
    if (!single && !down && (kind == Str.MOVS || kind == Str.STOS) && bulk(p, kind, size, at(RCX))) {
      if (at(RCX) == 0) return true;
    } else {
      for (let i: u32 = 0; i < ROUND; i++) {
        const goes = element(p, kind, size, repeat, step);
        move(RCX, <u64>-1);
        spend(1);
        if (at(RCX) == 0 || ((kind == Str.CMPS || kind == Str.SCAS) && !goes)) return true;
        if (single) return false;
        // Port I/O may have asked for the loop to be left; a move may have reached a place where bulk works again.
        if (kind >= Str.INS && load<i64>(COUNT) >= load<i64>(LIMIT)) return false;
        if (kind == Str.MOVS && !down && i == 7) break;
      }
    }
    if (load<i64>(COUNT) >= load<i64>(LIMIT)) return false;
  }
}

import { Random } from "./random.ts";
import {
  A_CROSS,
  CS_64,
  DS_USER,
  FX_CONTROL,
  FX_MXCSR,
  FX_MXCSR_MASK,
  FX_ST,
  FX_STATUS,
  FX_TAG,
  FX_XMM,
  R_CROSS,
  R_CROSS_SIZE,
  R_FLAGS,
  R_FS_BASE,
  R_GPR,
  R_GS_BASE,
  R_HEAD,
  R_HEAD_SIZE,
  R_SELECTORS,
  R_SIZE,
  R_TAIL,
  R_TAIL_SIZE,
} from "./record.ts";
import { fill, type Kind, putInteger } from "./values.ts";

/**
 * The random state that a case starts from before the generator bends it to the chosen instructions.
 *
 * The recorded corpus stores a case as a seed of this function and the differences to it. So a change here, or in
 * values.ts or random.ts, makes the corpus unreadable: raise BACKGROUND_VERSION and record it again.
 */
export const BACKGROUND_VERSION = 1;

/** Most of a case is never looked at, so it is copied from pools; the operands themselves are drawn afresh. */
const POOL_SIZE = 0x10000;

function pool(seed: number, kind: Kind, stride: number): Uint8Array {
  const random = new Random(BACKGROUND_VERSION, seed);
  const bytes = new Uint8Array(POOL_SIZE);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + stride <= POOL_SIZE; at += stride)
    fill(random, view, at, stride === 16 ? 10 : stride, kind);
  return bytes;
}

const MIXED_POOL = pool(1, "mixed", 64);
const SINGLE_POOL = pool(2, "f32", 64);
const DOUBLE_POOL = pool(3, "f64", 64);
const EXTENDED_POOL = pool(4, "f80", 16);

/** Copies `length` bytes from a random 16-byte boundary of a pool. */
function copy(random: Random, from: Uint8Array, to: Uint8Array, at: number, length: number): void {
  const start = random.below((POOL_SIZE - length) >> 4) << 4;
  to.set(from.subarray(start, start + length), at);
}

export function background(random: Random, record: DataView): void {
  const bytes = new Uint8Array(record.buffer, record.byteOffset, R_SIZE);
  bytes.fill(0);
  for (let i = 0; i < 16; i++) putInteger(random, record, R_GPR + 8 * i);
  // RSP: mostly 16-byte aligned in the middle of the data, so that pushes and pops stay inside.
  const stack = A_CROSS + 128 + 16 * random.below(16) + (random.oneIn(4) ? random.below(16) : 0);
  record.setUint32(R_GPR + 32, stack, true);
  record.setUint32(R_GPR + 36, 0, true);

  let flags = (random.word() & 0x8d5) | 0x202;
  if (random.oneIn(4)) flags |= 0x400;
  if (random.oneIn(50)) flags |= 0x100;
  record.setUint32(R_FLAGS, flags, true);
  record.setUint32(R_FS_BASE, A_CROSS + random.below(64), true);
  record.setUint32(R_GS_BASE, A_CROSS + random.below(64) * 8, true);
  record.setUint16(R_SELECTORS, DS_USER, true);
  record.setUint16(R_SELECTORS + 2, CS_64, true);
  record.setUint16(R_SELECTORS + 4, DS_USER, true);
  record.setUint16(R_SELECTORS + 6, DS_USER, true);

  floatState(random, record, bytes);
  copy(random, MIXED_POOL, bytes, R_CROSS, R_CROSS_SIZE);
  copy(random, MIXED_POOL, bytes, R_HEAD, R_HEAD_SIZE);
  copy(random, MIXED_POOL, bytes, R_TAIL, R_TAIL_SIZE);
}

function floatState(random: Random, record: DataView, bytes: Uint8Array): void {
  let control = 0x37f;
  if (random.oneIn(2)) {
    const masks = random.oneIn(3) ? random.below(64) : 0x3f;
    control = masks | 0x40 | (random.pick([0, 2, 3, 3]) << 8) | (random.below(4) << 10);
  }
  // Sticky exception flags that are not masked would be a pending #MF; wanted, but seldom.
  const sticky = random.oneIn(8) ? random.below(64) & (random.oneIn(4) ? 63 : control) : 0;
  let status = sticky | (random.oneIn(4) ? random.word() & 0x4700 : 0) | (random.below(8) << 11);
  if (sticky & ~control & 0x3f) status |= 0x8080;
  record.setUint16(FX_CONTROL, control, true);
  record.setUint16(FX_STATUS, status, true);
  record.setUint8(FX_TAG, random.pick([0xff, 0xff, 0xff, 0, random.below(256), random.below(256)]));
  copy(random, EXTENDED_POOL, bytes, FX_ST, 128);
  let mxcsr = 0x1f80;
  if (random.oneIn(2)) {
    mxcsr = (random.below(4) << 13) | (random.oneIn(3) ? random.below(64) << 7 : 0x1f80);
    if (random.oneIn(4)) mxcsr |= random.below(64);
    if (random.oneIn(4)) mxcsr |= 0x8000; // flush to zero
    if (random.oneIn(4)) mxcsr |= 0x40; // denormals are zeros
  }
  record.setUint32(FX_MXCSR, mxcsr, true);
  record.setUint32(FX_MXCSR_MASK, 0, true);
  for (let i = 0; i < 16; i += 4) {
    copy(random, random.pick([MIXED_POOL, SINGLE_POOL, DOUBLE_POOL]), bytes, FX_XMM + 16 * i, 64);
  }
}

import type { Random } from "./random.ts";
import {
  A_CODE,
  A_CODE_SIZE,
  A_CONSTANT,
  A_CROSS,
  A_DATA,
  A_DATA_SIZE,
  A_HEAD,
  A_MODIFIABLE,
  A_MODIFIABLE_SIZE,
  A_SEGMENT,
  A_TAIL,
  CODE_LIMIT,
  CS_16,
  CS_32,
  CS_64,
  FX_XMM,
  PAGE,
  R_CODE_SIZE,
  R_CROSS,
  R_CROSS_SIZE,
  R_GPR,
  R_HEAD,
  R_HEAD_SIZE,
  R_TAIL,
  R_TAIL_SIZE,
} from "./record.ts";

/**
 * A case being put together: code bytes at a start address, and the initial state in a record.
 *
 * Addresses are plain numbers: a canonical upper-half address is negative. The initial value of a register may be
 * chosen as long as no earlier instruction names it; `touched` remembers which are no longer free.
 */
export class CaseBuilder {
  readonly code = new Uint8Array(R_CODE_SIZE + 32);
  length = 0;
  start = 0;
  bits: 64 | 32 | 16 = 64;
  /** Base of DS and ES: not 0 when the case runs with the limited data segment. */
  dataBase = 0;
  touched = 0;
  touchedVector = 0;
  /** Several instructions: faults then are wanted less often, since they end the case. */
  sequence = false;

  readonly random: Random;
  record: DataView;

  constructor(random: Random, record: DataView) {
    this.random = random;
    this.record = record;
  }

  begin(record: DataView, bits: 64 | 32 | 16, segmented: boolean, sequence: boolean, index: number): void {
    this.record = record;
    this.length = 0;
    this.bits = bits;
    this.dataBase = segmented ? A_SEGMENT : 0;
    this.touched = 0;
    this.touchedVector = 0;
    this.sequence = sequence;
    this.start = this.#place(index);
  }

  /** Mostly one slot after another; sometimes across pages, against the end of the region, or where code may be written. */
  #place(index: number): number {
    const random = this.random;
    // 16-bit code starts at an offset in its segment, sometimes close to its end.
    if (this.bits === 16)
      return random.oneIn(48) ? CODE_LIMIT - random.below(24) : 128 * (index % 510) + random.below(16);
    switch (random.below(48)) {
      case 0:
        return A_CODE + PAGE * (1 + random.below(62)) - random.below(20);
      case 1:
        return A_CODE + A_CODE_SIZE - 1 - random.below(24);
      case 2:
        return A_MODIFIABLE + random.below(A_MODIFIABLE_SIZE - 128);
      default:
        return A_CODE + 128 * (index % (A_CODE_SIZE / 128)) + random.below(16);
    }
  }

  /** Bytes that fit between the start and the end of the region. */
  get room(): number {
    if (this.bits === 16) return CODE_LIMIT + 1 - this.start;
    const end = this.start >= A_MODIFIABLE ? A_MODIFIABLE + A_MODIFIABLE_SIZE : A_CODE + A_CODE_SIZE;
    return end - this.start;
  }

  get wide(): boolean {
    return this.bits === 64;
  }

  /** Bytes of a near return address, and of a pointer. */
  get pointerBytes(): number {
    return this.bits / 8;
  }

  /** Selector of the code segment. */
  get codeSelector(): number {
    return this.bits === 64 ? CS_64 : this.bits === 32 ? CS_32 : CS_16;
  }

  /** Offset of the next byte in the code segment. */
  get here(): number {
    return this.start + this.length;
  }

  byte(value: number): void {
    this.code[this.length++] = value;
  }

  /** `width` bytes, little-endian, of a number below 2^53 in magnitude. */
  little(value: number, width: number): void {
    this.patch(this.length, value, width);
    this.length += width;
  }

  patch(at: number, value: number, width: number): void {
    const high = Math.floor(value / 0x100000000);
    for (let i = 0; i < width; i++) {
      this.code[at + i] = i < 4 ? (value >>> (8 * i)) & 0xff : (high >>> (8 * (i - 4))) & 0xff;
    }
  }

  isFree(register: number): boolean {
    return (this.touched & (1 << register)) === 0;
  }

  touch(register: number): void {
    this.touched |= 1 << register;
  }

  setRegister(register: number, value: number): void {
    const at = R_GPR + 8 * register;
    this.record.setUint32(at, value >>> 0, true);
    this.record.setUint32(at + 4, Math.floor(value / 0x100000000) >>> 0, true);
  }

  lowRegister(register: number): number {
    return this.record.getUint32(R_GPR + 8 * register, true);
  }

  setLow16(register: number, value: number): void {
    this.record.setUint16(R_GPR + 8 * register, value, true);
  }

  setLow8(register: number, value: number): void {
    this.record.setUint8(R_GPR + 8 * register, value);
  }

  /** An address of `bytes` bytes in a register; what is above them is noise that must not matter. */
  setAddress(register: number, value: number, bytes: number): void {
    this.setRegister(register, value);
    const at = R_GPR + 8 * register;
    if (bytes === 2) this.record.setUint16(at + 2, this.random.below(0x10000), true);
    if (!this.wide) this.record.setUint32(at + 4, 0, true);
    else if (bytes < 8) this.record.setUint32(at + 4, this.random.word(), true);
  }

  xmmAt(register: number): number {
    return FX_XMM + 16 * register;
  }

  /** A register below `count`, seldom RSP, since without a stack pointer much of the rest of a sequence would fault. */
  anyRegister(): number {
    const count = this.wide ? 16 : 8;
    const register = this.random.below(count);
    return register === 4 && !this.random.oneIn(8) ? 0 : register;
  }

  /** A register that is still free and not in `avoid`, never RSP; -1 when there is none. */
  freeRegister(avoid: number): number {
    const count = this.wide ? 16 : 8;
    const first = this.random.below(count);
    for (let i = 0; i < count; i++) {
      const register = (first + i) % count;
      if (register !== 4 && ((this.touched | avoid) & (1 << register)) === 0) return register;
    }
    return -1;
  }

  /** Where in the record the initial content of `length` bytes at `address` is; -1 outside the windows. */
  content(address: number, length: number): number {
    if (address >= A_CROSS && address + length <= A_CROSS + R_CROSS_SIZE) return R_CROSS + address - A_CROSS;
    if (address >= A_HEAD && address + length <= A_HEAD + R_HEAD_SIZE) return R_HEAD + address - A_HEAD;
    if (address >= A_TAIL && address + length <= A_TAIL + R_TAIL_SIZE) return R_TAIL + address - A_TAIL;
    return -1;
  }

  setMemory(address: number, value: number, width: number): void {
    const at = this.content(address, width);
    if (at < 0) return;
    const high = Math.floor(value / 0x100000000);
    for (let i = 0; i < width; i++) {
      this.record.setUint8(at + i, i < 4 ? (value >>> (8 * i)) & 0xff : (high >>> (8 * (i - 4))) & 0xff);
    }
  }

  /** An address for `size` bytes: mostly inside the windows, sometimes where the access must fault. */
  target(size: number, aligned: boolean): number {
    const random = this.random;
    const step = aligned || random.oneIn(2) ? Math.min(size, 16) : 1;
    const inside = A_CROSS + step * random.below(Math.floor((R_CROSS_SIZE - size) / step) + 1);
    if (size > 16)
      return random.oneIn(16)
        ? A_DATA + A_DATA_SIZE - 1
        : A_CROSS + 16 * random.below(1 + ((R_CROSS_SIZE - size) >> 4));
    const kind = random.below(this.sequence ? 96 : 40);
    if (aligned) {
      if (kind === 0) return inside + 1 + random.below(15);
      if (kind === 1) return A_TAIL + 48;
      if (kind === 2) return A_CONSTANT + 16 * random.below(256);
      if (kind === 3) return A_DATA + A_DATA_SIZE;
      if (kind === 4) return A_CODE + 16 * random.below(256);
      if (kind === 5 && this.wide) return 0x800000000000;
      return inside;
    }
    switch (kind) {
      case 0:
        return A_DATA + A_DATA_SIZE - random.below(size);
      case 1:
        return A_DATA - 1 - random.below(size + 1);
      case 2:
        return A_CONSTANT + random.below(PAGE - size);
      case 3:
        return random.oneIn(4) ? random.below(0x10000) : A_CODE + random.below(PAGE);
      case 4:
        // Ten bytes are stored in two parts, and processors differ in what they say about the boundary.
        if (size === 10) return this.wide ? 0x800000000000 : random.below(0x10000);
        return this.wide ? 0x800000000000 - random.below(2 * size) : random.below(0x10000);
      case 5:
        return this.wide && random.oneIn(2)
          ? -0x800000000000 + random.below(0x1000) - (random.oneIn(4) ? 0x1004 : 0)
          : inside;
      case 6:
        return this.start >= A_MODIFIABLE
          ? this.start + random.below(40)
          : A_CONSTANT + random.below(PAGE - size);
      case 7:
      case 8:
      case 9:
        return A_DATA + PAGE - random.below(size + 1);
      case 10:
        return A_HEAD + random.below(R_HEAD_SIZE - size + 1);
      case 11:
      case 12:
        return A_TAIL + R_TAIL_SIZE - size - random.below(8);
      default:
        if (this.start >= A_MODIFIABLE && random.oneIn(3)) return this.start + random.below(40);
        return inside;
    }
  }
}

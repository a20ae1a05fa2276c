import type { CaseBuilder } from "./builder.ts";
import { RSP } from "./form.ts";
import type { Random } from "./random.ts";
import { A_CODE, A_CROSS, R_FS_BASE, R_GS_BASE } from "./record.ts";

/** Segment override prefixes. */
export const FS = 0x64;
export const GS = 0x65;
/** Those that mean nothing in 64-bit code: CS, SS, DS, ES. In 32-bit code CS makes writes fault. */
export const IGNORED_SEGMENTS = [0x2e, 0x36, 0x3e, 0x26];

/** ModRM.rm of 16-bit addressing and its registers: BX+SI, BX+DI, SI, DI, BX. */
const PAIRS_16 = [
  [0, 3, 6],
  [1, 3, 7],
  [4, 6],
  [5, 7],
  [7, 3],
] as const;

/** Chooses how a memory operand is addressed, and gives the registers that make up the address their values. */
export class Addressing {
  readonly #random: Random;
  readonly #builder: CaseBuilder;
  /** The segment override prefix of the instruction, 0 = none. */
  segment = 0;
  /** Address size in bytes. */
  bytes = 8;
  /** REX bits that the registers need. */
  rex = 0;
  /** The general registers of the address, one bit each. */
  used = 0;
  /** Position of a RIP-relative displacement, -1 = none, and the address that it shall reach. */
  relativeAt = -1;
  relativeTo = 0;

  constructor(random: Random, builder: CaseBuilder) {
    this.#random = random;
    this.#builder = builder;
  }

  begin(segment: number, bytes: number): void {
    this.segment = segment;
    this.bytes = bytes;
    this.rex = 0;
    this.used = 0;
    this.relativeAt = -1;
  }

  /** Base of the segment that an address with this base register (-1 = none) goes through. */
  segmentBase(register: number): number {
    const { record, wide, dataBase, bits } = this.#builder;
    switch (this.segment) {
      case FS:
        return record.getUint32(R_FS_BASE, true);
      case GS:
        return record.getUint32(R_GS_BASE, true);
      case 0x2e:
        return bits === 16 ? A_CODE : 0;
      case 0x36:
        return 0;
      case 0:
        return wide || register === 4 || register === 5 ? 0 : dataBase;
      default:
        return dataBase;
    }
  }

  /** ModRM.mod and rm, SIB and displacement for `target`; chooses the registers that make it up. */
  choose(at: number, target: number, avoid: number): void {
    const random = this.#random;
    const builder = this.#builder;
    if (this.bytes === 2) {
      this.#addressing16(at, target, avoid);
      return;
    }
    const low = target >= 0 && target < 0x80000000;
    const way = random.below(8);
    const base = builder.freeRegister(avoid);
    if (base < 0 || (low && way === 0)) {
      this.#fixedAddress(at, (low ? target : A_CROSS + 128) - this.segmentBase(-1));
      return;
    }
    if (way === 1 && low && builder.isFree(4) && (avoid & RSP) === 0) {
      // RSP as the base: its value is the one that is not chosen here.
      builder.code[at] = 0x84;
      builder.byte(0x24);
      builder.little(target - this.segmentBase(4) - builder.lowRegister(4), 4);
      return;
    }
    const index = way < 4 ? builder.freeRegister(avoid | (1 << base)) : -1;
    const scale = random.below(4);
    let rest = target - this.segmentBase(base);
    if (base > 7) this.rex |= 0x41;
    this.used |= 1 << base;
    if (index >= 0) {
      const value = random.oneIn(4) ? random.below(0x10000000) : random.below(256) - 128;
      builder.setAddress(index, value, this.bytes);
      rest -= value * (1 << scale);
      if (index > 7) this.rex |= 0x42;
      this.used |= 1 << index;
    }
    const mode = (base & 7) === 5 ? 1 + random.below(2) : random.below(3);
    const displacement =
      mode === 0 ? 0 : mode === 1 ? random.below(256) - 128 : (random.word() | 0) >> random.below(24);
    builder.setAddress(base, rest - displacement, this.bytes);
    const needsSib = index >= 0 || (base & 7) === 4;
    builder.code[at] = (mode << 6) | (needsSib ? 4 : base & 7);
    if (needsSib) builder.byte((scale << 6) | ((index >= 0 ? index & 7 : 4) << 3) | (base & 7));
    if (mode === 1) builder.byte(displacement & 0xff);
    if (mode === 2) builder.little(displacement, 4);
  }

  /** 16-bit addressing: a displacement, or one or two of BX, SI and DI; BP would go through SS, where nothing is that low. */
  #addressing16(at: number, target: number, avoid: number): void {
    const random = this.#random;
    const builder = this.#builder;
    if (this.segment === 0 && random.oneIn(16)) {
      builder.code[at] = 0x40 | random.pick([2, 3, 6]);
      builder.byte(random.below(256));
      return;
    }
    const offset = target - this.segmentBase(-1);
    const [rm, ...registers] = random.pick(PAIRS_16);
    if (registers.some((register) => !builder.isFree(register) || (avoid & (1 << register)) !== 0)) {
      builder.code[at] = 6;
      builder.little(offset, 2);
      return;
    }
    const mode = random.below(3);
    const displacement = mode === 0 ? 0 : mode === 1 ? random.below(256) - 128 : random.below(0x10000);
    const [first, second] = registers;
    const part = second === undefined ? 0 : random.below(0x10000);
    builder.setAddress(first as number, offset - displacement - part, 2);
    if (second !== undefined) builder.setAddress(second, part, 2);
    for (const register of registers) this.used |= 1 << register;
    builder.code[at] = (mode << 6) | (rm as number);
    if (mode === 1) builder.byte(displacement & 0xff);
    if (mode === 2) builder.little(displacement, 2);
  }

  /** An address without registers: relative to RIP, or absolute. */
  #fixedAddress(at: number, target: number): void {
    const builder = this.#builder;
    const relative = builder.wide && this.#random.oneIn(2);
    if (relative || !builder.wide) {
      builder.code[at] = 5;
      if (relative) this.relativeAt = builder.length;
      this.relativeTo = target;
    } else {
      builder.code[at] = 4;
      builder.byte(0x25 | (this.#random.below(4) << 6));
    }
    builder.little(target, 4);
  }
}

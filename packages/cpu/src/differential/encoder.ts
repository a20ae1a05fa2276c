import type { CaseBuilder } from "./builder.ts";
import { type Form, type Immediate, RCX, RSP } from "./form.ts";
import { prepareOperand, prepareRegisters, prepareReturn } from "./prepare.ts";
import type { Random } from "./random.ts";
import { A_CONSTANT, A_CROSS, A_DATA, A_DATA_SIZE, R_FS_BASE, R_GPR, R_GS_BASE } from "./record.ts";
import { fill, putInteger } from "./values.ts";

/** A relative branch whose displacement waits for the place of its target. */
export interface Branch {
  /** Position of the displacement in the code and its width in bytes. */
  readonly at: number;
  readonly width: number;
  /** Index of the instruction that is branched to. */
  readonly to: number;
}

/** What the generator must know about an instruction that was appended. */
export interface Encoded {
  /** The arithmetic flags that it leaves undefined. */
  readonly undefined: number;
  /** Where its memory operand is in the record, 0 = nowhere. */
  readonly operandAt: number;
  readonly branch: Branch | undefined;
}

const FS = 0x64;
const GS = 0x65;
/** Segment prefixes that mean nothing in 64-bit code; in 32-bit code CS makes writes fault. */
const IGNORED_SEGMENTS = [0x2e, 0x36, 0x3e, 0x26];
/** Where FXSAVE and FXRSTOR must fault without having stored anything: misaligned, not present, read-only. */
const BAD_IMAGES = [A_CROSS + 8, A_DATA - 512, A_DATA + A_DATA_SIZE, A_CONSTANT];
const SCRATCH = new DataView(new ArrayBuffer(8));

/** Appends instructions to a case: chooses prefixes, operands, addressing and immediates, and sets up what they need. */
export class Encoder {
  readonly #random: Random;
  readonly #builder: CaseBuilder;

  // The instruction under way.
  #bytes = 0; // operand size
  #memory = false;
  #reg = 0;
  #rm = 0;
  #segment = 0;
  #shortAddress = false;
  #rex = 0;
  #used = 0; // general registers that it names
  #address: number | undefined; // of the memory operand
  #relativeAt = -1; // position of a RIP-relative displacement
  #relativeTo = 0;
  #operandAt = 0;
  #undefined = 0;
  #branch: Branch | undefined;

  constructor(random: Random, builder: CaseBuilder) {
    this.#random = random;
    this.#builder = builder;
  }

  /** `index` is the instruction's place in the case, `remaining` how many follow at most, this one included. */
  encode(form: Form, index: number, remaining: number): Encoded {
    const builder = this.#builder;
    this.#used = form.uses;
    this.#address = undefined;
    this.#relativeAt = -1;
    this.#operandAt = 0;
    this.#undefined = form.undefined;
    this.#branch = undefined;
    this.#chooseSize(form);
    this.#chooseOperands(form);
    prepareRegisters(builder, form, this.#bytes, this.#shortAddress);
    if (form.prepare === "popf") this.#clearStackFlags();
    this.#prefixes(form);
    const rexAt = builder.length;
    builder.byte(0); // the place of REX
    this.#opcode(form);
    if (form.modrm !== "none") this.#modrm(form);
    for (const immediate of form.immediates) this.#immediate(form, immediate, index, remaining);
    builder.touched |= this.#used;
    this.#placeRex(rexAt);
    if (this.#relativeAt >= 0) builder.patch(this.#relativeAt, this.#relativeTo - builder.here, 4);
    this.#linkControl(form, index);
    return { undefined: this.#undefined, operandAt: this.#operandAt, branch: this.#branch };
  }

  #chooseSize(form: Form): void {
    const { wide } = this.#builder;
    const random = this.#random;
    const full = wide ? 8 : 4;
    switch (form.size) {
      case "b":
        this.#bytes = 1;
        break;
      case "w":
        this.#bytes = 2;
        break;
      case "v":
        this.#bytes = random.pick(wide ? [2, 4, 4, 8, 8] : [2, 4, 4]);
        break;
      case "y":
        this.#bytes = random.pick(wide ? [4, 8] : [4]);
        break;
      case "s":
        this.#bytes = random.oneIn(4) ? 2 : full;
        break;
      default:
        this.#bytes = form.prepare === "indirect" ? full : 4;
    }
    // A count in CL that cannot be chosen may exceed 16.
    if (form.prepare === "narrow-count" && this.#bytes === 2 && form.uses === RCX && !this.#builder.isFree(1)) this.#bytes = 4;
  }

  #chooseOperands(form: Form): void {
    const random = this.#random;
    const builder = this.#builder;
    this.#memory = form.modrm === "memory" || (form.modrm === "any" && random.oneIn(2));
    this.#reg = form.extension >= 0 ? form.extension : this.#operand(form.operands.charAt(0));
    this.#rm = this.#operand(form.operands.charAt(1));
    // A bit offset in a register that cannot be chosen could reach any address.
    if (form.prepare === "bit-offset" && this.#memory && (!builder.isFree(this.#reg) || this.#reg === 4)) {
      const free = builder.freeRegister(0);
      this.#memory = free >= 0;
      this.#reg = Math.max(free, 0);
    }
    if (form.prepare === "indirect" && !this.#memory) {
      const free = builder.freeRegister(0);
      if (free >= 0) this.#rm = free;
    }
    const addresses = this.#memory || form.immediates.includes("mo") || form.group === "string";
    this.#shortAddress = addresses && random.oneIn(builder.wide ? 14 : 60);
    this.#segment = 0;
    if (addresses) {
      if (random.oneIn(builder.wide ? 10 : 80)) this.#segment = random.pick([FS, GS]);
      else if (random.oneIn(40)) this.#segment = random.pick(IGNORED_SEGMENTS);
    }
  }

  #operand(kind: string): number {
    switch (kind) {
      case "g":
        return this.#builder.anyRegister();
      case "x":
        return this.#random.below(this.#builder.wide ? 16 : 8);
      default:
        return this.#random.below(8);
    }
  }

  get #long(): boolean {
    return this.#bytes === 8;
  }

  /** Legacy prefixes, those without an effect now and then included. */
  #prefixes(form: Form): void {
    const random = this.#random;
    const builder = this.#builder;
    const environment = form.group === "x87" && form.memory >= 28;
    if ((form.lock && this.#memory && random.oneIn(5)) || random.oneIn(400)) builder.byte(0xf0);
    const sized = form.size === "v" || form.size === "s";
    // Beside REX.W, and for operands of one byte, the operand-size prefix means nothing.
    const idle = form.size === "b" || (sized && this.#long && form.prefix === 0 && form.opcode[0] !== 0x0f && form.size === "v");
    if ((sized && this.#bytes === 2) || form.prefix === 0x66 || (environment && random.oneIn(6)) || (idle && random.oneIn(30))) {
      builder.byte(0x66);
    }
    if (this.#segment) builder.byte(this.#segment);
    if (this.#shortAddress) builder.byte(0x67);
    if (form.prefix === 0xf2 || form.prefix === 0xf3) builder.byte(form.prefix);
    else if (form.group === "string" && !random.oneIn(3)) builder.byte(random.pick([0xf2, 0xf3]));

    const fixed = form.size === "b" || form.size === "n";
    this.#rex = this.#long && !fixed && form.size !== "s" ? 0x48 : 0;
    if (form.size === "b" && random.oneIn(2)) this.#rex |= 0x40;
    const plain = form.group !== "branch" && form.group !== "system";
    if (plain && (form.size === "n" || (form.size === "s" && this.#long)) && random.oneIn(20)) this.#rex |= 0x40;
    if (!builder.wide) this.#rex = 0;
  }

  #opcode(form: Form): void {
    const builder = this.#builder;
    for (const byte of form.opcode) builder.byte(byte);
    if (form.plus === "condition") builder.code[builder.length - 1]! |= this.#random.below(16);
    if (form.plus === "register") {
      this.#rm = builder.anyRegister();
      // POP RSP now and then only: without a stack pointer the rest faults.
      if (form.size === "s" && this.#rm === 4 && this.#random.oneIn(2)) this.#rm = 3;
      builder.code[builder.length - 1]! |= this.#rm & 7;
      if (this.#rm > 7) this.#rex |= 0x41;
      this.#used |= 1 << this.#rm;
    }
  }

  #modrm(form: Form): void {
    const builder = this.#builder;
    const at = builder.length;
    builder.byte(0);
    if (this.#memory) this.#memoryOperand(form, at);
    else this.#registerOperand(form, at);
    builder.code[at]! |= (this.#reg & 7) << 3;
    if (this.#reg > 7) this.#rex |= 0x44;
    if (form.extension >= 0) return;
    const kind = form.operands.charAt(0);
    if (kind === "g") this.#used |= this.#generalMask(form, this.#reg);
    if (kind === "x") {
      this.#fillVector(form, this.#reg);
      if (form.kind !== "int" && !this.#memory && this.#random.oneIn(8)) this.#relate(this.#reg, this.#rm);
    }
  }

  #registerOperand(form: Form, at: number): void {
    this.#builder.code[at] = 0xc0 | (this.#rm & 7);
    if (this.#rm > 7) this.#rex |= 0x41;
    const kind = form.operands.charAt(1);
    if (kind === "g" || kind === "s") {
      prepareOperand(this.#builder, form, this.#bytes, form.memory || this.#bytes, undefined, this.#rm);
      this.#used |= this.#generalMask(form, this.#rm);
    }
    if (kind === "x") this.#fillVector(form, this.#rm);
  }

  /** The register that an 8-bit register number means: without REX 4 to 7 are AH to BH. */
  #generalMask(form: Form, register: number): number {
    return 1 << (form.size === "b" && this.#rex === 0 && register > 3 && register < 8 ? register - 4 : register);
  }

  #memoryOperand(form: Form, at: number): void {
    const builder = this.#builder;
    const record = builder.record;
    const exchange = form.opcode[1] === 0xc7; // CMPXCHG8B and 16B: twice the operand size
    const size = exchange ? 2 * this.#bytes : form.memory || this.#bytes;
    const misaligned = form.name.startsWith("MOVU") || form.name === "MOVDQU";
    const aligned = form.group === "sse" ? size === 16 && !misaligned : exchange && this.#long;
    let target = builder.target(size, aligned);
    if (form.prepare === "aligned-image") target = this.#random.oneIn(10) ? this.#random.pick(BAD_IMAGES) : A_CROSS;
    const content = builder.content(target, size);
    this.#operandAt = Math.max(content, 0);
    if (content >= 0 && form.kind !== "int" && form.prepare === "") {
      fill(this.#random, record, content, size, form.kind);
    }
    prepareOperand(builder, form, this.#bytes, size, target, -1);
    let shift = 0;
    let avoid = form.uses;
    if (form.prepare === "bit-offset") {
      target = A_CROSS + 128 + this.#random.below(256);
      shift = this.#bitOffset(this.#reg);
      avoid |= 1 << this.#reg;
    }
    let base = 0;
    if (this.#segment === FS || this.#segment === GS) {
      // AMD wants the offset to be canonical as well as the sum.
      if (target < 0 || target > 0x7fffffff) target = A_CROSS + 128;
      base = record.getUint32(this.#segment === FS ? R_FS_BASE : R_GS_BASE, true);
    }
    this.#address = target;
    this.#addressing(at, target - base - shift, avoid);
  }

  /** ModRM.mod and rm, SIB and displacement for `target`; chooses the registers that make it up. */
  #addressing(at: number, target: number, avoid: number): void {
    const random = this.#random;
    const builder = this.#builder;
    if (!builder.wide && this.#shortAddress) {
      this.#addressing16(at);
      return;
    }
    const low = target >= 0 && target < 0x80000000;
    const way = random.below(8);
    const base = builder.freeRegister(avoid);
    if (base < 0 || (low && way === 0)) {
      this.#fixedAddress(at, low ? target : A_CROSS + 128);
      return;
    }
    if (way === 1 && low && builder.isFree(4) && (avoid & RSP) === 0) {
      // RSP as the base: its value is the one that is not chosen here.
      builder.code[at] = 0x84;
      builder.byte(0x24);
      builder.little(target - builder.lowRegister(4), 4);
      return;
    }
    const index = way < 4 ? builder.freeRegister(avoid | (1 << base)) : -1;
    const scale = random.below(4);
    let rest = target;
    if (base > 7) this.#rex |= 0x41;
    this.#used |= 1 << base;
    if (index >= 0) {
      const value = random.oneIn(4) ? random.below(0x10000000) : random.below(256) - 128;
      this.#setAddressRegister(index, value);
      rest -= value * (1 << scale);
      if (index > 7) this.#rex |= 0x42;
      this.#used |= 1 << index;
    }
    const mode = (base & 7) === 5 ? 1 + random.below(2) : random.below(3);
    const displacement = mode === 0 ? 0 : mode === 1 ? random.below(256) - 128 : (random.word() | 0) >> random.below(24);
    this.#setAddressRegister(base, rest - displacement);
    const needsSib = index >= 0 || (base & 7) === 4;
    builder.code[at] = (mode << 6) | (needsSib ? 4 : base & 7);
    if (needsSib) builder.byte((scale << 6) | ((index >= 0 ? index & 7 : 4) << 3) | (base & 7));
    if (mode === 1) builder.byte(displacement & 0xff);
    if (mode === 2) builder.little(displacement, 4);
  }

  /** 16-bit addressing reaches nothing that is mapped, so any form will do. */
  #addressing16(at: number): void {
    const mode = this.#random.below(3);
    const rm = this.#random.below(8);
    this.#builder.code[at] = (mode << 6) | rm;
    if (mode === 1) this.#builder.byte(this.#random.below(256));
    else if (mode === 2 || rm === 6) this.#builder.little(this.#random.below(0x10000), 2);
  }

  /** An address without registers: relative to RIP, or absolute. */
  #fixedAddress(at: number, target: number): void {
    const builder = this.#builder;
    const relative = builder.wide && this.#random.oneIn(2);
    if (relative || !builder.wide) {
      builder.code[at] = 5;
      if (relative) this.#relativeAt = builder.length;
      this.#relativeTo = target;
    } else {
      builder.code[at] = 4;
      builder.byte(0x25 | (this.#random.below(4) << 6));
    }
    builder.little(target, 4);
  }

  /** With 32-bit addresses the upper half of the register must not matter. */
  #setAddressRegister(register: number, value: number): void {
    const builder = this.#builder;
    builder.setRegister(register, value);
    if (!builder.wide) builder.record.setUint32(R_GPR + 8 * register + 4, 0, true);
    else if (this.#shortAddress) builder.scrambleHigh(register);
  }

  /** Chooses the bit offset in register `reg` and returns the bytes that it adds to the address. */
  #bitOffset(reg: number): number {
    const random = this.#random;
    const far = this.#long && random.oneIn(6);
    const bit = random.below(64);
    const offset = far ? (random.below(0x20000000) - 0x10000000) * 64 + bit : random.below(2048) - 1024;
    if (this.#bytes === 2) this.#builder.setLow16(reg, offset & 0xffff);
    else this.#builder.setRegister(reg, offset);
    if (!this.#builder.wide) this.#builder.record.setUint32(R_GPR + 8 * reg + 4, 0, true);
    return Math.floor(offset / (8 * this.#bytes)) * this.#bytes;
  }

  /** Fills a vector register that is still free with values of the kind that the form works on. */
  #fillVector(form: Form, register: number): void {
    const builder = this.#builder;
    if (builder.touchedVector & (1 << register)) return;
    builder.touchedVector |= 1 << register;
    if (form.kind === "int" || this.#random.oneIn(8)) return;
    fill(this.#random, builder.record, builder.xmmAt(register), 16, form.kind);
  }

  /** Makes one operand equal to the other up to signs: cancellation, equality, 0 times infinity. */
  #relate(first: number, second: number): void {
    const { record } = this.#builder;
    const sign = this.#random.oneIn(2) ? 0x80 : 0;
    for (let i = 0; i < 16; i++) {
      const byte = record.getUint8(this.#builder.xmmAt(second) + i);
      record.setUint8(this.#builder.xmmAt(first) + i, (i & 3) === 3 ? byte ^ sign : byte);
    }
  }

  #immediate(form: Form, kind: Immediate, index: number, remaining: number): void {
    const random = this.#random;
    const builder = this.#builder;
    putInteger(random, SCRATCH, 0);
    const value = SCRATCH.getInt32(0, true);
    switch (kind) {
      case "ib":
        builder.byte(this.#byteImmediate(form, value & 0xff));
        break;
      case "iw":
        // What RET and ENTER add to RSP should leave it in the data.
        builder.little(form.group === "stack" || form.group === "branch" ? 8 * random.below(20) : value & 0xffff, 2);
        break;
      case "iz":
        builder.little(value, Math.min(this.#bytes, 4));
        break;
      case "iv":
        builder.little(value, Math.min(this.#bytes, 4));
        if (this.#long) builder.little(SCRATCH.getInt32(4, true), 4);
        break;
      case "mo": {
        const full = builder.wide ? 8 : 4;
        const address = builder.target(this.#bytes, false);
        builder.little(address, this.#shortAddress ? full / 2 : full);
        break;
      }
      default: {
        const width = kind === "cb" ? 1 : 4;
        this.#branch = { at: builder.length, width, to: index + 1 + random.below(Math.min(3, remaining)) };
        builder.little(0, width);
      }
    }
  }

  #byteImmediate(form: Form, value: number): number {
    const random = this.#random;
    if (form.prepare === "narrow-count" && this.#bytes === 2) return random.below(17);
    if (form.prepare === "frame") return random.oneIn(3) ? random.below(40) : 0;
    const [key] = form.explained;
    const shift = key === "shift-count" || key === "shift-narrow" || key === "rotate";
    const result = form.explained.length > 0 && random.oneIn(2) ? random.below(66) : value;
    // A count of 0 leaves all flags alone.
    if (shift && (result & (this.#long ? 63 : 31)) === 0) this.#undefined = 0;
    return result;
  }

  /** POPF must not set AC, and TF only now and then: `and dword [rsp], mask` in front of it. */
  #clearStackFlags(): void {
    const random = this.#random;
    const builder = this.#builder;
    const mask = ~0x40000 & (random.oneIn(20) ? -1 : ~0x100) & (random.oneIn(8) ? -1 : ~0x4000);
    for (const byte of [0x81, 0x24, 0x24]) builder.byte(byte);
    builder.little(mask, 4);
  }

  /** Fills in REX, or closes up its place when there is none. */
  #placeRex(at: number): void {
    const builder = this.#builder;
    if (this.#rex !== 0) {
      builder.code[at] = this.#rex;
      return;
    }
    builder.code.copyWithin(at, at + 1, builder.length);
    builder.length--;
    if (this.#relativeAt >= 0) this.#relativeAt--;
    if (this.#branch !== undefined) this.#branch = { ...this.#branch, at: this.#branch.at - 1 };
  }

  /** Targets of indirect transfers and returns are known once the instruction is complete. */
  #linkControl(form: Form, index: number): void {
    const builder = this.#builder;
    const next = builder.here;
    if (form.prepare === "indirect" && !this.#random.oneIn(16)) {
      if (this.#address !== undefined) builder.setMemory(this.#address, next, builder.wide ? 8 : 4);
      else if (this.#rm !== 4) builder.setRegister(this.#rm, next);
    }
    if (form.prepare === "return" || form.prepare === "far-return" || form.prepare === "interrupt-return") {
      // The return itself has just marked RSP as used; in front of it only the first instruction leaves it known.
      if (index === 0) prepareReturn(builder, form, this.#bytes, next);
    }
  }
}

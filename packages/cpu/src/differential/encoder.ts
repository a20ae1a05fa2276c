import { Addressing, FS, GS, IGNORED_SEGMENTS } from "./addressing.ts";
import type { CaseBuilder } from "./builder.ts";
import { type Form, type Immediate, RCX, RDI, RSI } from "./form.ts";
import {
  prepareFarTarget,
  prepareOperand,
  prepareRegisters,
  prepareReturn,
  prepareStackedSelector,
} from "./prepare.ts";
import type { Random } from "./random.ts";
import { A_CONSTANT, A_CROSS, A_DATA, A_DATA_SIZE, R_GPR } from "./record.ts";
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

/** Where FXSAVE and FXRSTOR must fault without having stored anything: misaligned, not present, read-only. */
const BAD_IMAGES = [A_CROSS + 8, A_DATA - 512, A_DATA + A_DATA_SIZE, A_CONSTANT];
const SCRATCH = new DataView(new ArrayBuffer(8));

/** Appends instructions to a case: chooses prefixes, operands, addressing and immediates, and sets up what they need. */
export class Encoder {
  readonly #random: Random;
  readonly #builder: CaseBuilder;
  readonly #addressing: Addressing;

  // The instruction under way.
  #bytes = 0; // operand size
  #memory = false;
  #reg = 0;
  #rm = 0;
  #rex = 0;
  #used = 0; // general registers that it names
  #address: number | undefined; // of the memory operand
  #operandAt = 0;
  #undefined = 0;
  #branch: Branch | undefined;

  constructor(random: Random, builder: CaseBuilder) {
    this.#random = random;
    this.#builder = builder;
    this.#addressing = new Addressing(random, builder);
  }

  /** `index` is the instruction's place in the case, `remaining` how many follow at most, this one included. */
  encode(form: Form, index: number, remaining: number): Encoded {
    const builder = this.#builder;
    this.#used = form.uses;
    this.#address = undefined;
    this.#operandAt = 0;
    this.#undefined = form.undefined;
    this.#branch = undefined;
    this.#chooseSize(form);
    this.#chooseOperands(form);
    prepareRegisters(builder, form, this.#bytes, this.#addressing.bytes, this.#addressing.segmentBase(-1));
    if (form.prepare === "popf") this.#clearStackFlags();
    this.#prefixes(form);
    const rexAt = builder.length;
    builder.byte(0); // the place of REX
    this.#opcode(form);
    if (form.modrm !== "none") this.#modrm(form);
    for (const immediate of form.immediates) this.#immediate(form, immediate, index, remaining);
    builder.touched |= this.#used;
    this.#placeRex(rexAt);
    if (this.#addressing.relativeAt >= 0)
      builder.patch(this.#addressing.relativeAt, this.#addressing.relativeTo - builder.here, 4);
    this.#linkControl(form, index);
    return { undefined: this.#undefined, operandAt: this.#operandAt, branch: this.#branch };
  }

  #chooseSize(form: Form): void {
    const { wide, pointerBytes } = this.#builder;
    const random = this.#random;
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
        this.#bytes = random.oneIn(4) ? (pointerBytes === 2 ? 4 : 2) : pointerBytes;
        break;
      default:
        this.#bytes = form.prepare === "indirect" ? pointerBytes : 4;
    }
    // A count in CL that cannot be chosen may exceed 16.
    if (form.prepare === "narrow-count" && this.#bytes === 2 && form.uses === RCX && !this.#builder.isFree(1))
      this.#bytes = 4;
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
    const implicit = form.group === "string" || form.prepare === "table" || form.prepare === "mask-move";
    const addresses = this.#memory || implicit || form.immediates.includes("mo");
    const flat32 = builder.bits === 32 && builder.dataBase === 0;
    const twoOperands = form.group === "string" && (form.uses & RSI) !== 0 && (form.uses & RDI) !== 0;
    let other = addresses && random.oneIn(flat32 ? 60 : 14);
    let segment = 0;
    if (addresses) {
      // FS and GS are null in code that is not 64-bit.
      if (random.oneIn(builder.wide ? 10 : 80)) segment = random.pick([FS, GS]);
      else if (random.oneIn(40)) segment = random.pick(IGNORED_SEGMENTS);
    }
    // Masked stores must not fault, nor both operands of a string instruction: such addresses may miss the data.
    if (flat32 && twoOperands) other = false;
    if (form.prepare === "mask-move") {
      if (!builder.wide) segment = 0;
      if (flat32 || segment !== 0) other = false;
    }
    this.#addressing.begin(segment, other ? (builder.bits === 32 ? 2 : 4) : builder.pointerBytes);
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
    if ((form.lock && this.#memory && random.oneIn(5)) || (form.group !== "system" && random.oneIn(400)))
      builder.byte(0xf0);
    const sized = form.size === "v" || form.size === "s";
    // Beside REX.W, and for operands of one byte, the operand-size prefix means nothing.
    const narrow = builder.bits === 16 ? 4 : 2;
    const idle =
      form.size === "b" ||
      (sized && this.#long && form.prefix === 0 && form.opcode[0] !== 0x0f && form.size === "v");
    if (
      (sized && this.#bytes === narrow) ||
      form.prefix === 0x66 ||
      (environment && random.oneIn(6)) ||
      (idle && random.oneIn(30))
    ) {
      builder.byte(0x66);
    }
    if (this.#addressing.segment) builder.byte(this.#addressing.segment);
    if (this.#addressing.bytes !== builder.pointerBytes) builder.byte(0x67);
    if (form.prefix === 0xf2 || form.prefix === 0xf3) builder.byte(form.prefix);
    else if (form.group === "string" && !random.oneIn(3)) builder.byte(random.pick([0xf2, 0xf3]));

    const fixed = form.size === "b" || form.size === "n";
    this.#rex = this.#long && !fixed && form.size !== "s" ? 0x48 : 0;
    if (form.size === "b" && random.oneIn(2)) this.#rex |= 0x40;
    const plain = form.group !== "branch" && form.group !== "system";
    if (plain && (form.size === "n" || (form.size === "s" && this.#long)) && random.oneIn(20))
      this.#rex |= 0x40;
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
    return (
      1 << (form.size === "b" && this.#rex === 0 && register > 3 && register < 8 ? register - 4 : register)
    );
  }

  #memoryOperand(form: Form, at: number): void {
    const builder = this.#builder;
    const { record } = builder;
    const exchange = form.opcode[1] === 0xc7; // CMPXCHG8B and 16B: twice the operand size
    const size = exchange ? 2 * this.#bytes : form.memory || this.#bytes;
    const misaligned = form.name.startsWith("MOVU") || form.name === "MOVDQU";
    const aligned = form.group === "sse" ? size === 16 && !misaligned : exchange && this.#long;
    let target = builder.target(size, aligned);
    if (form.prepare === "aligned-image")
      target = this.#random.oneIn(10) ? this.#random.pick(BAD_IMAGES) : A_CROSS;
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
    target = this.#reachable(target);
    this.#address = target;
    this.#addressing.choose(at, target - shift, avoid);
    this.#rex |= this.#addressing.rex;
    this.#used |= this.#addressing.used;
  }

  /** Through FS and GS AMD wants the offset to be canonical as well as the sum. */
  #reachable(target: number): number {
    const based = this.#addressing.segment === FS || this.#addressing.segment === GS;
    return based && (target < 0 || target > 0x7fffffff) ? A_CROSS + 128 : target;
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
        builder.little(
          form.group === "stack" || form.group === "branch" ? 8 * random.below(20) : value & 0xffff,
          2,
        );
        break;
      case "iz":
        builder.little(value, Math.min(this.#bytes, 4));
        break;
      case "iv":
        builder.little(value, Math.min(this.#bytes, 4));
        if (this.#long) builder.little(SCRATCH.getInt32(4, true), 4);
        break;
      case "mo": {
        const address = this.#reachable(builder.target(this.#bytes, false));
        builder.little(address - this.#addressing.segmentBase(-1), this.#addressing.bytes);
        break;
      }
      default: {
        const width = kind === "cb" ? 1 : builder.bits === 16 ? 2 : 4;
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
    // 16-bit code needs both size prefixes for it.
    for (const byte of builder.bits === 16 ? [0x66, 0x67, 0x81, 0x24, 0x24] : [0x81, 0x24, 0x24])
      builder.byte(byte);
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
    if (this.#addressing.relativeAt >= 0) this.#addressing.relativeAt--;
    if (this.#branch !== undefined) this.#branch = { ...this.#branch, at: this.#branch.at - 1 };
  }

  /** Targets of indirect transfers and returns are known once the instruction is complete. */
  #linkControl(form: Form, index: number): void {
    const builder = this.#builder;
    const next = builder.here;
    if (form.prepare === "indirect" && !this.#random.oneIn(16)) {
      if (this.#address !== undefined) builder.setMemory(this.#address, next, builder.pointerBytes);
      else if (this.#rm !== 4) builder.setRegister(this.#rm, next);
    }
    if (form.prepare === "far-target") prepareFarTarget(builder, this.#bytes, next, this.#address);
    if (form.prepare === "pop-selector" && index === 0) prepareStackedSelector(builder);
    if (form.prepare === "return" || form.prepare === "far-return" || form.prepare === "interrupt-return") {
      // The return itself has just marked RSP as used; in front of it only the first instruction leaves it known.
      if (index === 0) prepareReturn(builder, form, this.#bytes, next);
    }
  }
}

import { background } from "./background.ts";
import { CaseBuilder } from "./builder.ts";
import { type Form, type Group, RCX, RSP } from "./form.ts";
import { INTEGER_FORMS } from "./integer-forms.ts";
import { prepareOperand, prepareRegisters, prepareReturn } from "./prepare.ts";
import { Random } from "./random.ts";
import {
  A_CONSTANT,
  A_CROSS,
  A_DATA,
  A_DATA_SIZE,
  CS_32,
  DS_USER,
  R_CODE,
  R_CODE_SIZE,
  R_FS_BASE,
  R_GPR,
  R_GS_BASE,
  R_LENGTH,
  R_RIP,
  R_RULE,
  R_RULE_AT,
  R_SELECTORS,
  R_UNDEFINED_ANY,
  R_UNDEFINED_END,
  RULE_ENVIRONMENT,
  RULE_ENVIRONMENT_16,
  RULE_FXSAVE,
  RULE_NONE,
  RULE_RECIPROCAL,
  RULE_TRANSCENDENTAL,
} from "./record.ts";
import { SSE_FORMS } from "./sse-forms.ts";
import { fill, putInteger } from "./values.ts";
import { X87_FORMS } from "./x87-forms.ts";

export const FORMS: readonly Form[] = [...INTEGER_FORMS, ...SSE_FORMS, ...X87_FORMS];
export const GROUPS: readonly Group[] = [...new Set(FORMS.map((f) => f.group))];

export interface GeneratorOptions {
  readonly seed: number;
  /** Code segments to generate for; both when the kernel offers 32-bit code. */
  readonly code: readonly (64 | 32)[];
  /** Only these groups; all when absent. */
  readonly groups?: readonly Group[] | undefined;
  /** Groups to leave out. */
  readonly without?: readonly Group[] | undefined;
}

interface Branch {
  /** Position of the displacement in the code and its width. */
  readonly at: number;
  readonly width: number;
  /** Index of the instruction that is branched to. */
  readonly to: number;
}

/** What a session takes its cases from. */
export interface CaseSource {
  /** Writes case `index` into a record. */
  generate(index: number, record: DataView): void;
  /** Names of the instructions of the case written last. */
  names(): string[];
}

/** Writes case after case. A case depends on the seed and its index only, so any position can be resumed. */
export class Generator implements CaseSource {
  readonly #seed: number;
  readonly #random = new Random(0);
  readonly #builder: CaseBuilder;
  readonly #codes: readonly (64 | 32)[];
  readonly #weighted: Readonly<Record<64 | 32, readonly Form[]>>;
  #undefinedNow = 0;
  #undefinedAny = 0;
  #branches: Branch[] = [];
  #starts: number[] = [];
  /** Forms of the case generated last. */
  forms: Form[] = [];

  constructor(options: GeneratorOptions) {
    this.#seed = options.seed;
    this.#codes = options.code;
    this.#builder = new CaseBuilder(this.#random, new DataView(new ArrayBuffer(8)));
    const { groups, without = [] } = options;
    const chosen = FORMS.filter((f) => (groups?.includes(f.group) ?? true) && !without.includes(f.group));
    const weighted = (code: "64" | "32") =>
      chosen
        .filter((f) => f.code === "both" || f.code === code)
        .flatMap((f) => new Array<Form>(f.weight).fill(f));
    this.#weighted = { 64: weighted("64"), 32: weighted("32") };
  }

  names(): string[] {
    return this.forms.map((form) => form.name);
  }

  generate(index: number, record: DataView): void {
    const random = this.#random;
    random.reseed(this.#seed, index);
    background(random, record);
    const wide = random.pick(this.#codes) === 64;
    const count = random.oneIn(2) ? 1 : 2 + random.below(5);
    const builder = this.#builder;
    builder.begin(record, wide, count > 1, index);
    if (!wide) this.#narrow(record);
    this.#undefinedNow = 0;
    this.#undefinedAny = 0;
    this.#branches = [];
    this.#starts = [];
    this.forms = [];
    this.#operandAt = 0;
    let rule = RULE_NONE;
    let skippedTo = 0;
    for (let i = 0; i < count; i++) {
      const form = this.#choose(wide, i, count);
      if (form === undefined) continue;
      const at = this.#starts.length;
      this.#starts.push(builder.length);
      this.forms.push(form);
      const masked = this.#encode(form, count - i);
      for (const branch of this.#branches) skippedTo = Math.max(skippedTo, branch.to);
      this.#undefinedAny |= masked;
      if (at >= skippedTo) this.#undefinedNow &= ~form.defines;
      this.#undefinedNow |= masked;
      rule = ruleOf(form, builder.code[0] === 0x66);
      if (form.alone) break;
    }
    this.#starts.push(builder.length);
    for (const { at, width, to } of this.#branches) {
      const target = this.#starts[Math.min(to, this.#starts.length - 1)] as number;
      builder.patch(at, target - (at + width), width);
    }
    const length = Math.min(builder.length, builder.room, R_CODE_SIZE);
    record.setUint32(R_LENGTH, length, true);
    record.setUint32(R_RIP, builder.start, true);
    for (let i = 0; i < length; i++) record.setUint8(R_CODE + i, builder.code[i] as number);
    record.setUint16(R_UNDEFINED_END, this.#undefinedNow, true);
    record.setUint16(R_UNDEFINED_ANY, this.#undefinedAny, true);
    record.setUint8(R_RULE, rule);
    record.setUint16(R_RULE_AT, this.#operandAt, true);
  }

  /** 32-bit code: the upper halves of the registers are not architectural there. */
  #narrow(record: DataView): void {
    for (let i = 0; i < 8; i++) record.setUint32(R_GPR + 8 * i + 4, 0, true);
    record.setUint16(R_SELECTORS + 2, CS_32, true);
    // FS and GS stay null: their bases mean nothing then.
    record.setUint32(R_FS_BASE, 0, true);
    record.setUint32(R_GS_BASE, 0, true);
    record.setUint16(R_SELECTORS, DS_USER, true);
  }

  #choose(wide: boolean, position: number, count: number): Form | undefined {
    const forms = this.#weighted[wide ? 64 : 32];
    for (let attempt = 0; attempt < 8; attempt++) {
      const form = this.#random.pick(forms);
      if (form.alone && (position > 0 || count > 1)) continue;
      if (form.reads & this.#undefinedNow) continue;
      if (form.prepare === "mask-move" && !this.#builder.isFree(7)) continue;
      // Few of these end in anything but their fault.
      if ((form.group === "invalid" || form.group === "system") && !this.#random.oneIn(4)) continue;
      return form;
    }
    return position === 0 ? forms.find((f) => !f.alone && f.reads === 0) : undefined;
  }

  /** Appends one instruction; returns the flags that it leaves undefined. */
  #encode(form: Form, remaining: number): number {
    const random = this.#random;
    const builder = this.#builder;
    const wide = builder.wide;
    let bytes = operandBytes(form, wide, random);
    if (form.prepare === "narrow-count" && bytes === 2 && form.uses === RCX && !builder.isFree(1)) bytes = 4;
    const is64 = bytes === 8 && form.size !== "b" && form.size !== "n";
    const needs66 = bytes === 2 && (form.size === "v" || form.size === "s");
    const environment = form.group === "x87" && form.memory >= 28;

    let memory = form.modrm === "memory" || (form.modrm === "any" && random.oneIn(2));
    const address = form.immediates.includes("mo");
    // A bit offset in a register that cannot be chosen could reach any address.
    const bitOffset = form.prepare === "bit-offset";
    let reg = form.extension >= 0 ? form.extension : this.#operand(form.operands.charAt(0));
    let rm = this.#operand(form.operands.charAt(1));
    if (bitOffset && memory) {
      if (!builder.isFree(reg) || reg === 4) reg = builder.freeRegister(0);
      if (reg < 0) {
        memory = false;
        reg = 0;
      }
    }
    if (form.prepare === "indirect" && !memory) {
      const free = builder.freeRegister(0);
      if (free >= 0) rm = free;
    }
    const shortAddress = (memory || address || form.group === "string") && random.oneIn(wide ? 14 : 60);
    prepareRegisters(builder, form, bytes, shortAddress);
    if (form.prepare === "popf") this.#clearStackFlags();

    // Legacy prefixes, in any order that means the same.
    const lock = (form.lock && memory && random.oneIn(5)) || random.oneIn(400);
    if (lock) builder.byte(0xf0);
    let segment = 0;
    if (memory || address || form.group === "string") {
      if (random.oneIn(wide ? 10 : 80)) segment = random.oneIn(2) ? 0x64 : 0x65;
      else if (random.oneIn(40)) segment = random.pick([0x2e, 0x36, 0x3e, 0x26]);
    }
    if (needs66 || (environment && random.oneIn(6))) builder.byte(0x66);
    else if (form.prefix === 0x66) builder.byte(0x66);
    else if (
      (form.size === "b" && random.oneIn(30)) ||
      (is64 && form.prefix === 0 && form.opcode[0] !== 0x0f && random.oneIn(30))
    ) {
      builder.byte(0x66);
    }
    if (segment) builder.byte(segment);
    if (shortAddress) builder.byte(0x67);
    if (form.prefix === 0xf2 || form.prefix === 0xf3) builder.byte(form.prefix);
    else if (form.group === "string" && !random.oneIn(3)) builder.byte(random.oneIn(2) ? 0xf3 : 0xf2);

    const rexAt = builder.length;
    let rex = is64 && form.size !== "s" ? 0x48 : 0;
    if (
      wide &&
      (form.size === "s" || form.size === "n") &&
      random.oneIn(20) &&
      form.group !== "branch" &&
      form.group !== "system"
    ) {
      rex = form.size === "s" && bytes === 2 ? 0 : 0x40;
    }
    if (wide && form.size === "b" && random.oneIn(2)) rex |= 0x40;
    builder.byte(0); // the place of REX
    for (let i = 0; i < form.opcode.length; i++) builder.byte(form.opcode[i] as number);
    if (form.plus === "condition") builder.code[builder.length - 1]! |= random.below(16);
    if (form.plus === "register") {
      rm = builder.anyRegister();
      if (form.size === "s" && builder.isFree(4) && rm === 4 && random.oneIn(2)) rm = 3;
      builder.code[builder.length - 1]! |= rm & 7;
      if (rm > 7) rex |= 0x41;
      builder.touch(rm);
    }

    let used = form.uses;
    let relativeAt = -1;
    let targetAddress = 0;
    let shift = 0;
    const size =
      form.memory > 16 && form.group === "x87"
        ? form.memory
        : form.memory === 16 && form.opcode[1] === 0xc7
          ? 2 * bytes
          : form.memory || bytes;
    if (form.modrm !== "none") {
      const modrmAt = builder.length;
      builder.byte(0);
      if (memory) {
        const aligned =
          form.group === "sse"
            ? size === 16 && !form.name.startsWith("MOVU") && form.name !== "MOVDQU"
            : form.opcode[1] === 0xc7 && bytes === 8;
        let target = builder.target(size, aligned);
        if (form.prepare === "aligned-image") target = random.oneIn(10) ? random.pick(BAD_IMAGES) : A_CROSS;
        const holder = builder.content(target, size);
        this.#operandAt = Math.max(holder, 0);
        if (holder >= 0 && form.kind !== "int" && form.prepare === "")
          fill(random, builder.record, holder, size & ~3 || size, form.kind);
        prepareOperand(builder, form, bytes, size, target, -1);
        if (bitOffset) {
          target = A_CROSS + 128 + random.below(256);
          shift = this.#bitOffset(reg, bytes);
        }
        if ((segment === 0x64 || segment === 0x65) && (target < 0 || target > 0x7fffffff))
          target = A_CROSS + 128;
        targetAddress = target;
        const base =
          segment === 0x64
            ? builder.record.getUint32(R_FS_BASE, true)
            : segment === 0x65
              ? builder.record.getUint32(R_GS_BASE, true)
              : 0;
        const avoid = form.uses | (bitOffset ? 1 << reg : 0);
        const encoded = this.#memory(modrmAt, target - base - shift, shortAddress, avoid);
        rex |= encoded.rex;
        used |= encoded.used;
        relativeAt = encoded.relativeAt;
      } else {
        builder.code[modrmAt] = 0xc0 | (rm & 7);
        if (rm > 7) rex |= 0x41;
        const kind = form.operands.charAt(1);
        if (kind === "g" || kind === "s") {
          prepareOperand(builder, form, bytes, size, undefined, rm);
          used |= 1 << (form.size === "b" && rex === 0 && rm > 3 && rm < 8 ? rm - 4 : rm);
        }
        if (kind === "x") this.#vector(form, rm);
      }
      builder.code[modrmAt]! |= (reg & 7) << 3;
      if (reg > 7) rex |= 0x44;
      if (form.extension < 0) {
        const kind = form.operands.charAt(0);
        if (kind === "g") used |= 1 << (form.size === "b" && rex === 0 && reg > 3 && reg < 8 ? reg - 4 : reg);
        if (kind === "x") this.#vector(form, reg);
        if (kind === "x" && form.kind !== "int" && !memory && random.oneIn(8)) this.#related(reg, rm);
      }
    }
    let masked = form.undefined;
    for (const immediate of form.immediates) {
      const value = this.#immediate(form, immediate, bytes, shortAddress, remaining);
      if (
        immediate === "ib" &&
        (form.explained[0] === "shift-count" ||
          form.explained[0] === "shift-narrow" ||
          form.explained[0] === "rotate")
      ) {
        if ((value & (bytes === 8 ? 63 : 31)) === 0) masked = 0;
      }
    }
    builder.touched |= used;

    // Close up the place of REX when there is none.
    if (!wide) rex = 0;
    if (rex === 0) {
      builder.code.copyWithin(rexAt, rexAt + 1, builder.length);
      builder.length--;
      if (relativeAt >= 0) relativeAt--;
      this.#branches = this.#branches.map((b) => (b.at > rexAt ? { ...b, at: b.at - 1 } : b));
    } else {
      builder.code[rexAt] = rex;
    }
    if (relativeAt >= 0) builder.patch(relativeAt, this.#relativeTo - builder.here, 4);
    this.#linkControl(form, memory ? targetAddress : undefined, rm, bytes);
    return masked;
  }

  #relativeTo = 0;
  /** Where the memory operand of the instruction encoded last is in the record. */
  #operandAt = 0;

  #operand(kind: string): number {
    const random = this.#random;
    switch (kind) {
      case "g":
        return this.#builder.anyRegister();
      case "x":
        return random.below(this.#builder.wide ? 16 : 8);
      default:
        return random.below(8);
    }
  }

  /** ModRM, SIB and displacement for `target`; the caller adds the reg field. */
  #memory(
    modrmAt: number,
    target: number,
    shortAddress: boolean,
    avoid: number,
  ): { rex: number; used: number; relativeAt: number } {
    const random = this.#random;
    const builder = this.#builder;
    const none = { rex: 0, used: 0, relativeAt: -1 };
    if (!builder.wide && shortAddress) {
      const rm = random.below(8);
      const mode = random.below(3);
      builder.code[modrmAt] = (mode << 6) | rm;
      if (mode === 1) builder.byte(random.word());
      else if (mode === 2 || rm === 6) builder.little(random.word() & 0xffff, 2);
      return none;
    }
    const low = target >= 0 && target < 0x80000000;
    const way = random.below(8);
    if (low && (way === 0 || builder.freeRegister(avoid) < 0)) {
      if (random.oneIn(2) || !builder.wide) {
        // RIP-relative in 64-bit code; the displacement is known when the instruction is complete.
        builder.code[modrmAt] = 5;
        builder.little(target, 4);
        this.#relativeTo = target;
        return { ...none, relativeAt: builder.wide ? builder.length - 4 : -1 };
      }
      builder.code[modrmAt] = 4;
      builder.byte(0x25 | (random.below(4) << 6));
      builder.little(target, 4);
      return none;
    }
    // RSP as the base: its value is the one thing that is not chosen here.
    if (way === 1 && low && builder.isFree(4) && (avoid & RSP) === 0) {
      const displacement = target - builder.lowRegister(4);
      builder.code[modrmAt] = 0x84;
      builder.byte(0x24);
      builder.little(displacement, 4);
      return { ...none, used: 0 };
    }
    const base = builder.freeRegister(avoid);
    if (base < 0) {
      // Nothing is free and the target is far away: settle for the middle of the data.
      builder.code[modrmAt] = 4;
      builder.byte(0x25);
      builder.little(A_CROSS + 128, 4);
      return none;
    }
    const index = way < 4 ? builder.freeRegister(avoid | (1 << base)) : -1;
    const scale = random.below(4);
    let rest = target;
    let rex = base > 7 ? 0x41 : 0;
    let used = 1 << base;
    if (index >= 0) {
      const step = random.oneIn(4) ? random.below(0x10000000) : random.below(256) - 128;
      const value = builder.wide ? step : step;
      builder.setRegister(index, value);
      if (!builder.wide) builder.record.setUint32(R_GPR + 8 * index + 4, 0, true);
      rest -= value * (1 << scale);
      if (index > 7) rex |= 0x42;
      used |= 1 << index;
    }
    const mode = (base & 7) === 5 ? 1 + random.below(2) : random.below(3);
    const displacement =
      mode === 0 ? 0 : mode === 1 ? random.below(256) - 128 : (random.word() | 0) >> random.below(24);
    builder.setRegister(base, rest - displacement);
    if (!builder.wide) builder.record.setUint32(R_GPR + 8 * base + 4, 0, true);
    if (shortAddress) {
      builder.scrambleHigh(base);
      if (index >= 0) builder.scrambleHigh(index);
    }
    if (index >= 0) {
      builder.code[modrmAt] = (mode << 6) | 4;
      builder.byte((scale << 6) | ((index & 7) << 3) | (base & 7));
    } else if ((base & 7) === 4) {
      builder.code[modrmAt] = (mode << 6) | 4;
      builder.byte((scale << 6) | 0x24);
    } else {
      builder.code[modrmAt] = (mode << 6) | (base & 7);
    }
    if (mode === 1) builder.byte(displacement & 0xff);
    if (mode === 2) builder.little(displacement, 4);
    return { rex, used, relativeAt: -1 };
  }

  /** Chooses the bit offset in register `reg` and returns the bytes that it adds to the address. */
  #bitOffset(reg: number, bytes: number): number {
    const random = this.#random;
    const far = bytes === 8 && random.oneIn(6);
    const offset = far
      ? (random.below(0x20000000) - 0x10000000) * 64 + random.below(64)
      : random.below(2048) - 1024;
    if (bytes === 2) this.#builder.setLow16(reg, offset & 0xffff);
    else this.#builder.setRegister(reg, offset);
    if (!this.#builder.wide) this.#builder.record.setUint32(R_GPR + 8 * reg + 4, 0, true);
    return Math.floor(offset / (8 * bytes)) * bytes;
  }

  /** Fills a vector register that is still free with values of the kind that the form works on. */
  #vector(form: Form, register: number): void {
    const builder = this.#builder;
    if (builder.touchedVector & (1 << register)) return;
    builder.touchedVector |= 1 << register;
    if (form.kind !== "int" && !this.#random.oneIn(8))
      fill(this.#random, builder.record, builder.xmmAt(register), 16, form.kind);
  }

  /** Makes one operand equal to the other up to signs: cancellation, equality, 0 times infinity. */
  #related(first: number, second: number): void {
    const record = this.#builder.record;
    const sign = this.#random.oneIn(2) ? 0x80 : 0;
    for (let i = 0; i < 16; i++) {
      const byte = record.getUint8(this.#builder.xmmAt(second) + i);
      record.setUint8(this.#builder.xmmAt(first) + i, (i & 3) === 3 ? byte ^ sign : byte);
    }
  }

  #immediate(
    form: Form,
    kind: Form["immediates"][number],
    bytes: number,
    shortAddress: boolean,
    remaining: number,
  ): number {
    const random = this.#random;
    const builder = this.#builder;
    putInteger(random, SCRATCH, 0);
    const value = SCRATCH.getInt32(0, true);
    switch (kind) {
      case "ib": {
        let byte = value & 0xff;
        if (form.prepare === "narrow-count" && bytes === 2) byte = random.below(17);
        else if (form.prepare === "frame") byte = random.oneIn(3) ? random.below(40) : 0;
        else if (form.explained.length > 0 && random.oneIn(2)) byte = random.below(66);
        builder.byte(byte);
        return byte;
      }
      case "iw":
        builder.little(
          form.group === "stack" || form.group === "branch" ? 8 * random.below(20) : value & 0xffff,
          2,
        );
        return value;
      case "iz":
        builder.little(value, bytes === 2 ? 2 : 4);
        return value;
      case "iv":
        builder.little(value, Math.min(bytes, 4));
        if (bytes === 8) builder.little(SCRATCH.getInt32(4, true), 4);
        return value;
      case "mo": {
        const target = builder.target(form.size === "b" ? 1 : bytes, false);
        builder.little(target, builder.wide ? (shortAddress ? 4 : 8) : shortAddress ? 2 : 4);
        return value;
      }
      default: {
        const width = kind === "cb" ? 1 : 4;
        const to = this.#starts.length + random.below(Math.min(3, remaining));
        this.#branches.push({ at: builder.length, width, to });
        builder.little(0, width);
        return value;
      }
    }
  }

  /** POPF must not set AC, and TF only now and then: `and dword [rsp], mask` in front of it. */
  #clearStackFlags(): void {
    const random = this.#random;
    const builder = this.#builder;
    const mask = ~0x40000 & (random.oneIn(20) ? -1 : ~0x100) & (random.oneIn(8) ? -1 : ~0x4000);
    for (const byte of [0x81, 0x24, 0x24]) builder.byte(byte);
    builder.little(mask, 4);
  }

  /** Targets of indirect transfers are known once the instruction is complete. */
  #linkControl(form: Form, target: number | undefined, rm: number, bytes: number): void {
    const builder = this.#builder;
    const next = builder.here;
    if (form.prepare === "indirect" && !this.#random.oneIn(16)) {
      if (target !== undefined) builder.setMemory(target, next, builder.wide ? 8 : 4);
      else if ((builder.touched & (1 << rm)) !== 0 && rm !== 4) builder.setRegister(rm, next);
    }
    if (form.prepare === "return" || form.prepare === "far-return" || form.prepare === "interrupt-return") {
      const touched = builder.touched;
      if (this.#starts.length === 1) builder.touched &= ~RSP;
      prepareReturn(builder, form, bytes, next);
      builder.touched = touched;
    }
  }
}

/** Where FXSAVE and FXRSTOR must fault without having stored anything: misaligned, not present, and for FXSAVE read-only. */
const BAD_IMAGES = [A_CROSS + 8, A_DATA - 512, A_DATA + A_DATA_SIZE, A_CONSTANT];

const SCRATCH = new DataView(new ArrayBuffer(8));

function operandBytes(form: Form, wide: boolean, random: Random): number {
  switch (form.size) {
    case "b":
      return 1;
    case "w":
      return 2;
    case "v":
      return wide ? random.pick([2, 4, 4, 8, 8]) : random.pick([2, 4, 4]);
    case "y":
      return wide ? random.pick([4, 8]) : 4;
    case "s":
      return random.oneIn(4) ? 2 : wide ? 8 : 4;
    default:
      return form.prepare === "indirect" ? (wide ? 8 : 4) : 4;
  }
}

function ruleOf(form: Form, short: boolean): number {
  switch (form.explained[0]) {
    case "transcendental":
      return RULE_TRANSCENDENTAL;
    case "reciprocal":
      return RULE_RECIPROCAL;
    case "fxsave-reserved":
      return RULE_FXSAVE;
    case "float-pointers":
      return short ? RULE_ENVIRONMENT_16 : RULE_ENVIRONMENT;
    default:
      return RULE_NONE;
  }
}

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

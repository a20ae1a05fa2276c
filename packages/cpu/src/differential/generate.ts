import { background } from "./background.ts";
import { CaseBuilder } from "./builder.ts";
import { type Branch, Encoder } from "./encoder.ts";
import { type Form, type Group, RDI, RSI } from "./form.ts";
import { INTEGER_FORMS } from "./integer-forms.ts";
import { Random } from "./random.ts";
import {
  DS_LIMITED,
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
  R_SIZE,
  R_UNDEFINED_ANY,
  R_UNDEFINED_END,
  RULE_ACCESS_RIGHTS,
  RULE_ENVIRONMENT,
  RULE_ENVIRONMENT_16,
  RULE_FXSAVE,
  RULE_NONE,
  RULE_RECIPROCAL,
  RULE_TRANSCENDENTAL,
} from "./record.ts";
import { SSE_FORMS } from "./sse-forms.ts";
import { X87_FORMS } from "./x87-forms.ts";

export const FORMS: readonly Form[] = [...INTEGER_FORMS, ...SSE_FORMS, ...X87_FORMS];

export type CodeWidth = 64 | 32 | 16;

export interface GeneratorOptions {
  readonly seed: number;
  /** Code segments to generate for; both when the kernel offers 32-bit code. */
  readonly code: readonly CodeWidth[];
  /** Whether the limited data segment of the LDT exists; 16-bit code needs it. */
  readonly segments?: boolean;
  /** Only these groups; all when absent. */
  readonly groups?: readonly Group[] | undefined;
  /** Groups to leave out. */
  readonly without?: readonly Group[] | undefined;
  /** False leaves out the forms whose result is AMD's choice. Default true. */
  readonly amd?: boolean;
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
  readonly #encoder: Encoder;
  readonly #codes: readonly CodeWidth[];
  readonly #segments: boolean;
  readonly #weighted: Readonly<Record<CodeWidth, readonly Form[]>>;
  #undefinedNow = 0;
  /** Forms of the case generated last. */
  forms: Form[] = [];

  constructor(options: GeneratorOptions) {
    this.#seed = options.seed;
    this.#codes = options.code;
    this.#segments = options.segments ?? false;
    this.#builder = new CaseBuilder(this.#random, new DataView(new ArrayBuffer(R_SIZE)));
    this.#encoder = new Encoder(this.#random, this.#builder);
    const { groups, without = [], amd = true } = options;
    const chosen = FORMS.filter(
      (f) => (groups?.includes(f.group) ?? true) && !without.includes(f.group) && (amd || !f.amd),
    );
    const weighted = (code: "64" | "32") =>
      chosen
        .filter((f) => f.code === "both" || f.code === code)
        .flatMap((f) => new Array<Form>(f.weight).fill(f));
    const narrow = weighted("32");
    this.#weighted = { 64: weighted("64"), 32: narrow, 16: narrow.filter((f) => f.code16) };
  }

  names(): string[] {
    return this.forms.map((form) => form.name);
  }

  generate(index: number, record: DataView): void {
    const random = this.#random;
    random.reseed(this.#seed, index);
    background(random, record);
    const bits = random.pick(this.#codes);
    const segmented = bits === 16 || (bits === 32 && this.#segments && random.oneIn(3));
    const count = random.oneIn(2) ? 1 : 2 + random.below(5);
    const builder = this.#builder;
    builder.begin(record, bits, segmented, count > 1, index);
    if (bits !== 64) this.#narrow(record, segmented);
    this.#undefinedNow = 0;
    this.forms = [];
    let undefinedAny = 0;
    let rule = RULE_NONE;
    let operandAt = 0;
    // Instructions before this index may be skipped by a branch, so what they define is not certain.
    let skippedTo = 0;
    const starts: number[] = [];
    const branches: Branch[] = [];
    for (let i = 0; i < count; i++) {
      const form = this.#choose(bits, i, count);
      if (form === undefined) continue;
      const at = starts.length;
      starts.push(builder.length);
      this.forms.push(form);
      const encoded = this.#encoder.encode(form, at, count - i);
      operandAt = encoded.operandAt;
      if (encoded.branch !== undefined) {
        branches.push(encoded.branch);
        skippedTo = Math.max(skippedTo, encoded.branch.to);
      }
      if (at >= skippedTo) this.#undefinedNow &= ~form.defines;
      this.#undefinedNow |= encoded.undefined;
      undefinedAny |= encoded.undefined;
      rule = ruleOf(form, (builder.code[0] === 0x66) !== (bits === 16));
      if (form.alone) break;
    }
    starts.push(builder.length);
    for (const { at, width, to } of branches) {
      const target = starts[Math.min(to, starts.length - 1)] as number;
      builder.patch(at, target - (at + width), width);
    }
    const length = Math.min(builder.length, builder.room, R_CODE_SIZE);
    record.setUint32(R_LENGTH, length, true);
    record.setUint32(R_RIP, builder.start, true);
    for (let i = 0; i < length; i++) record.setUint8(R_CODE + i, builder.code[i] as number);
    // What does not fit is cut off, and the end then is somewhere in the middle.
    const cut = length < builder.length;
    record.setUint16(R_UNDEFINED_END, cut ? undefinedAny : this.#undefinedNow, true);
    record.setUint16(R_UNDEFINED_ANY, undefinedAny, true);
    record.setUint8(R_RULE, rule);
    record.setUint16(R_RULE_AT, operandAt, true);
  }

  /** Not 64-bit code: the upper halves of the registers are not architectural there. */
  #narrow(record: DataView, segmented: boolean): void {
    for (let i = 0; i < 8; i++) record.setUint32(R_GPR + 8 * i + 4, 0, true);
    record.setUint16(R_SELECTORS + 2, this.#builder.codeSelector, true);
    // FS and GS stay null: their bases mean nothing then.
    record.setUint32(R_FS_BASE, 0, true);
    record.setUint32(R_GS_BASE, 0, true);
    const data = segmented ? DS_LIMITED : DS_USER;
    record.setUint16(R_SELECTORS, data, true);
    record.setUint16(R_SELECTORS + 6, data, true);
  }

  #choose(bits: CodeWidth, position: number, count: number): Form | undefined {
    const forms = this.#weighted[bits];
    for (let attempt = 0; attempt < 8; attempt++) {
      const form = this.#random.pick(forms);
      if (form.alone && (position > 0 || count > 1)) continue;
      if (form.reads & this.#undefinedNow) continue;
      if (!this.#isPossible(form)) continue;
      // Few of these end in anything but their fault.
      if ((form.group === "invalid" || form.group === "system") && !this.#random.oneIn(4)) continue;
      return form;
    }
    return position === 0 ? forms.find((f) => !f.alone && f.reads === 0) : undefined;
  }

  /** What cannot be set up at this point of the case is left for another one. */
  #isPossible(form: Form): boolean {
    const builder = this.#builder;
    // An earlier instruction may have loaded DS.
    if (form.prepare === "mask-move") return builder.isFree(7) && (builder.wide || builder.length === 0);
    // Which of two operands faults first is left to the processor, so one of them must be good.
    if (form.prepare === "string" && (form.uses & RSI) !== 0 && (form.uses & RDI) !== 0) {
      return builder.isFree(6) && builder.isFree(7);
    }
    // How much of an encoding without a meaning is fetched is too.
    return form.group !== "invalid" || builder.room > 64;
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
    case "access-rights":
      return RULE_ACCESS_RIGHTS;
    default:
      return RULE_NONE;
  }
}

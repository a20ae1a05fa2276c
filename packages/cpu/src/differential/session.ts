import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Comparison, codeText, type Difference } from "./compare.ts";
import { Core } from "./core.ts";
import type { Group } from "./form.ts";
import { type CaseSource, type CodeWidth, Generator, type GeneratorOptions } from "./generate.ts";
import { Native } from "./native.ts";
import { RandomBytes } from "./random-bytes.ts";
import { CS_16, CS_32, CS_64, R_RIP, R_SELECTORS, R_SIZE } from "./record.ts";

/** A case about which the two processors disagree. */
export interface Mismatch {
  readonly seed: number;
  readonly index: number;
  /** Names of the instruction forms. */
  readonly forms: readonly string[];
  /** Code bytes, hexadecimal. */
  readonly code: string;
  readonly bits: CodeWidth;
  readonly address: number;
  readonly differences: readonly Difference[];
}

export interface SessionOptions {
  readonly seed: number;
  readonly groups?: readonly Group[] | undefined;
  /** Cases that are in flight at once, at most. */
  readonly batch?: number;
  /** Only code of this width; both (32 where the kernel can) when absent. */
  readonly bits?: CodeWidth | undefined;
  /** Random bytes, single-stepped, in place of generated instructions. */
  readonly randomBytes?: boolean;
}

const WIDTHS = new Map<number, CodeWidth>([
  [CS_64, 64],
  [CS_32, 32],
  [CS_16, 16],
]);
const AMD = "AuthenticAMD";
const DEFAULT_BATCH = 4096;
/** Mismatches kept with all details; the rest is only counted. */
const DETAILED = 200;

export interface Tally {
  cases: number;
  mismatches: number;
  readonly details: Mismatch[];
}

/** Generator, real processor and software processor side by side. */
export class Session {
  readonly native: Native;
  readonly core: Core;
  readonly source: CaseSource;
  readonly #comparison = new Comparison();
  readonly #seed: number;
  readonly #batch: number;
  readonly #sets: [RecordSet, RecordSet];

  private constructor(native: Native, core: Core, options: SessionOptions, batch: number) {
    this.native = native;
    this.core = core;
    this.#seed = options.seed;
    this.#batch = batch;
    const code = options.bits === undefined ? codeWidths(native) : [options.bits];
    this.source = options.randomBytes
      ? new RandomBytes(options.seed, code)
      : generatorFor(native, options.seed, { code, groups: options.groups });
    this.#sets = [new RecordSet(batch), new RecordSet(batch)];
  }

  static async create(options: SessionOptions): Promise<Session> {
    const batch = options.batch ?? DEFAULT_BATCH;
    return new Session(await Native.start(nativeSource(), batch), await Core.create(), options, batch);
  }

  /**
   * Runs the cases `from` to `from + count` - 1. While the child process runs one batch, this thread generates the next
   * one and runs it on the software processor.
   */
  async run(from: number, count: number): Promise<Tally> {
    const tally: Tally = { cases: 0, mismatches: 0, details: [] };
    let pending: { set: RecordSet; from: number; count: number; done: Promise<void> } | undefined;
    for (
      let at = from, which = 0;
      at < from + count || pending !== undefined;
      at += this.#batch, which ^= 1
    ) {
      const previous = pending;
      pending = undefined;
      const size = Math.min(this.#batch, from + count - at);
      if (size > 0) {
        const set = this.#sets[which as 0 | 1];
        this.#prepare(set, at, size);
        if (previous !== undefined) await previous.done;
        const done = this.native.run(set.native, size);
        // A failure surfaces at the await; without this the gap until then would be an unhandled rejection.
        done.catch(() => {});
        pending = { set, from: at, count: size, done };
        for (let i = 0; i < size; i++) this.core.run(set.oursViews[i] as DataView);
      } else if (previous !== undefined) {
        await previous.done;
      }
      if (previous !== undefined) this.#compare(previous.set, previous.from, previous.count, tally);
    }
    return tally;
  }

  close(): void {
    this.native.close();
  }

  #prepare(set: RecordSet, from: number, count: number): void {
    for (let i = 0; i < count; i++) this.source.generate(from + i, set.inputViews[i] as DataView);
    const used = count * R_SIZE;
    set.native.set(set.input.subarray(0, used));
    set.ours.set(set.input.subarray(0, used));
  }

  #compare(set: RecordSet, from: number, count: number, tally: Tally): void {
    for (let i = 0; i < count; i++) {
      const input = set.inputViews[i] as DataView;
      const native = set.nativeViews[i] as DataView;
      const ours = set.oursViews[i] as DataView;
      if (this.#comparison.agree(input, native, ours)) continue;
      tally.mismatches++;
      if (tally.details.length < DETAILED) tally.details.push(this.#describe(from + i, input, native, ours));
    }
    tally.cases += count;
  }

  #describe(index: number, input: DataView, native: DataView, ours: DataView): Mismatch {
    const scratch = new DataView(new ArrayBuffer(R_SIZE));
    this.source.generate(index, scratch);
    return {
      seed: this.#seed,
      index,
      forms: this.source.names(),
      code: codeText(input),
      bits: WIDTHS.get(input.getUint16(R_SELECTORS + 2, true)) ?? 64,
      address: input.getUint32(R_RIP, true),
      differences: this.#comparison.differences(input, native, ours),
    };
  }
}

/** The same records three times: as generated, and for each side to overwrite. */
class RecordSet {
  readonly input: Uint8Array;
  readonly native: Uint8Array;
  readonly ours: Uint8Array;
  readonly inputViews: readonly DataView[];
  readonly nativeViews: readonly DataView[];
  readonly oursViews: readonly DataView[];

  constructor(count: number) {
    const views = (bytes: Uint8Array) =>
      Array.from({ length: count }, (_, i) => new DataView(bytes.buffer, i * R_SIZE, R_SIZE));
    this.input = new Uint8Array(count * R_SIZE);
    this.native = new Uint8Array(count * R_SIZE);
    this.ours = new Uint8Array(count * R_SIZE);
    this.inputViews = views(this.input);
    this.nativeViews = views(this.native);
    this.oursViews = views(this.ours);
  }
}

/** Mostly 64-bit code, with a share of what else the kernel offers. */
export function codeWidths(native: Native): CodeWidth[] {
  const widths: CodeWidth[] = [64, 64, 64, 64, 64, 64];
  if (native.code32) widths.push(32, 32);
  if (native.code32 && native.segments) widths.push(16);
  return widths;
}

/** A generator of what `native` can run. */
export function generatorFor(
  native: Native,
  seed: number,
  options: Partial<Pick<GeneratorOptions, "code" | "groups">>,
): Generator {
  return new Generator({
    seed,
    code: options.code ?? codeWidths(native),
    groups: options.groups,
    without: native.baseInstructions ? [] : ["base"],
    segments: native.segments,
    amd: native.vendor === AMD,
  });
}

/** packages/cpu/differential, from the sources as well as from the compiled files. */
export function differentialFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (let i = 0; i < 5; i++) {
    const candidate = join(folder, "differential", "native.c");
    if (existsSync(candidate)) return dirname(candidate);
    folder = dirname(folder);
  }
  throw new Error("packages/cpu/differential is not beside this module");
}

export function nativeSource(): string {
  return join(differentialFolder(), "native.c");
}

/** One line per mismatch: what ran, and what each side made of it. */
export function mismatchText(mismatch: Mismatch): string {
  const { seed, index, forms, code, bits, address, differences } = mismatch;
  const values = differences
    .slice(0, 6)
    .map((d) => `${d.field}: ours ${trim(d.ours)} native ${trim(d.native)}`);
  if (differences.length > 6) values.push(`and ${differences.length - 6} more`);
  return `seed ${seed} case ${index}: ${forms.join("; ")} | ${bits}-bit ${code} at ${address.toString(16)} | ${values.join(", ")}`;
}

function trim(hexadecimal: string): string {
  return hexadecimal.replace(/^0+(?=.)/, "");
}

import { hex } from "@entresol/wire";
import { AssemblerError } from "./assembler-error.ts";
import { type Encoding, encode, littleEndian } from "./encode.ts";
import type { Bits, Form } from "./forms.ts";
import { INSTRUCTIONS, MNEMONICS, type Mnemonic } from "./instructions.ts";
import { type Mismatch, mismatch, NEARNESS } from "./match.ts";
import { type LabelAddress, type Operand, operandText } from "./operands.ts";

/** One method per mnemonic of the table; an impossible operand throws AssemblerError. */
export type Instructions = { readonly [M in Mnemonic]: (...operands: Operand[]) => void };

/** What the program consists of, in order; addresses are given when everything is known. */
type Item =
  | { readonly type: "code"; readonly encoding: Encoding; readonly text: string }
  | {
      readonly type: "branch";
      readonly short: Encoding;
      readonly near: Encoding;
      readonly text: string;
      isNear: boolean;
    }
  | { readonly type: "label"; readonly name: string }
  | { readonly type: "align"; readonly boundary: number; readonly fill: number }
  | { readonly type: "org"; readonly address: number; readonly fill: number }
  | { readonly type: "reserve"; readonly length: number }
  | { readonly type: "phase"; readonly address: number | undefined }
  | { readonly type: "uninitialized" };

export interface Program {
  readonly bytes: Uint8Array;
  /** Address of the first byte. */
  readonly origin: number;
  /** First address behind the program, uninitialised memory included. */
  readonly end: number;
  readonly labels: ReadonlyMap<string, number>;
}

/** Finds the first form of `mnemonic` that takes the operands; throws with the reason of the nearest miss. */
export function selectForm(mnemonic: Mnemonic, operands: readonly Operand[], bits: Bits): Form {
  let nearest: Mismatch = "no-such-form";
  for (const form of INSTRUCTIONS[mnemonic]) {
    const reason = mismatch(form, operands, bits);
    if (reason === undefined) return form;
    if (NEARNESS[reason] > NEARNESS[nearest]) nearest = reason;
  }
  throw new AssemblerError(nearest, `${instructionText(mnemonic, operands)}: ${nearest} in ${bits}-bit code`);
}

/** The instruction in Intel syntax. */
export function instructionText(mnemonic: Mnemonic, operands: readonly Operand[]): string {
  return `${mnemonic} ${operands.map(operandText).join(", ")}`.trim();
}

/**
 * Collects instructions, labels and data, and lays them out at `origin`.
 *
 * Labels may be used before they are defined. Branches start short and grow until all reach their targets, so equal
 * programs give equal bytes. Nothing is emitted before `assemble()`.
 */
export class Assembler {
  readonly origin: number;
  /** The instructions: `op.mov(rax, 1)`. */
  readonly op: Instructions;
  #bits: Bits;
  #names = 0;
  readonly #items: Item[] = [];

  constructor(options: { readonly origin?: number; readonly bits?: Bits } = {}) {
    this.origin = options.origin ?? 0;
    this.#bits = options.bits ?? 64;
    this.op = Object.fromEntries(
      MNEMONICS.map((mnemonic) => [mnemonic, (...operands: Operand[]) => this.#emit(mnemonic, operands)]),
    ) as unknown as Instructions;
  }

  get bits(): Bits {
    return this.#bits;
  }

  /** The kind of code segment that the following instructions will run in. */
  use(bits: Bits): void {
    this.#bits = bits;
  }

  label(name: string): void {
    this.#items.push({ type: "label", name });
  }

  /** A label name that nothing else uses; the caller defines it with `label()`. */
  unique(hint: string): string {
    this.#names++;
    return `${hint}.${this.#names}`;
  }

  /** Bytes, each -128 to 255. */
  db(...values: number[]): void {
    this.#data(1, values);
  }

  dw(...values: (number | LabelAddress)[]): void {
    this.#data(2, values);
  }

  dd(...values: (number | LabelAddress)[]): void {
    this.#data(4, values);
  }

  dq(...values: (number | bigint | LabelAddress)[]): void {
    this.#data(8, values);
  }

  bytes(bytes: Iterable<number>): void {
    this.#items.push({ type: "code", encoding: { bytes: [...bytes], fixups: [] }, text: "bytes" });
  }

  /** UTF-8 and a final zero byte. */
  text(text: string): void {
    this.bytes([...new TextEncoder().encode(text), 0]);
  }

  /** `length` bytes of zero, or of address space after `uninitialized()`. */
  reserve(length: number): void {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw new AssemblerError("bad-layout", `cannot reserve ${length} bytes`);
    }
    this.#items.push({ type: "reserve", length });
  }

  /** Fills up to a multiple of `boundary`, a power of two. */
  align(boundary: number, fill = 0): void {
    if (!Number.isSafeInteger(boundary) || boundary < 1 || (boundary & (boundary - 1)) !== 0) {
      throw new AssemblerError("bad-layout", `alignment ${boundary} is not a power of two`);
    }
    this.#items.push({ type: "align", boundary, fill });
  }

  /** Fills up to `address`, which must not lie behind the current position. */
  org(address: number, fill = 0): void {
    this.#items.push({ type: "org", address, fill });
  }

  /** What follows is stored here but will run at `address`, where the program copies it; undefined ends that. */
  phase(address: number | undefined): void {
    this.#items.push({ type: "phase", address });
  }

  /** From here on only labels, alignment and reservations: memory behind the image that the image does not carry. */
  uninitialized(): void {
    this.#items.push({ type: "uninitialized" });
  }

  #data(width: 1 | 2 | 4 | 8, values: readonly (number | bigint | LabelAddress)[]): void {
    const bytes: number[] = [];
    const fixups: Encoding["fixups"][number][] = [];
    for (const value of values) {
      if (typeof value === "object")
        fixups.push({ offset: bytes.length, width, kind: "unsigned", target: value });
      else if (!fits(value, width)) {
        throw new AssemblerError("data-out-of-range", `${value} does not fit in ${width} bytes`);
      }
      bytes.push(...littleEndian(typeof value === "object" ? 0 : value, width));
    }
    this.#items.push({ type: "code", encoding: { bytes, fixups }, text: "data" });
  }

  #emit(mnemonic: Mnemonic, operands: readonly Operand[]): void {
    const bits = this.#bits;
    const text = instructionText(mnemonic, operands);
    const form = selectForm(mnemonic, operands, bits);
    const encoding = encode(form, operands, bits);
    if (form.operands[0] === "rel8") {
      const near = INSTRUCTIONS[mnemonic].find(
        (other) => other.operands[0] === "rel" && !mismatch(other, operands, bits),
      );
      if (near) {
        this.#items.push({
          type: "branch",
          short: encoding,
          near: encode(near, operands, bits),
          text,
          isNear: false,
        });
        return;
      }
    }
    this.#items.push({ type: "code", encoding, text });
  }

  /** Gives every item its address, growing branches that do not reach, and returns the bytes. */
  assemble(): Program {
    for (;;) {
      const layout = layOut(this.#items, this.origin);
      let grown = false;
      for (const [index, item] of this.#items.entries()) {
        if (item.type !== "branch" || item.isNear) continue;
        const fixup = item.short.fixups[0]!;
        const from = layout.addresses[index]! + item.short.bytes.length;
        const offset = resolve(fixup.target, layout.labels, item.text) - from;
        if (offset < -128 || offset > 127) {
          item.isNear = true;
          grown = true;
        }
      }
      if (!grown) return this.#write(layout);
    }
  }

  #write(layout: Layout): Program {
    const bytes = new Uint8Array(layout.stored);
    for (const [index, item] of this.#items.entries()) {
      const at = layout.positions[index]! - this.origin;
      if (item.type === "align" || item.type === "org") {
        if (at < bytes.length)
          bytes.fill(item.fill, at, (layout.positions[index + 1] ?? this.origin + at) - this.origin);
        continue;
      }
      const encoding = encodingOf(item);
      if (encoding === undefined) continue;
      const text = item.type === "code" || item.type === "branch" ? item.text : "";
      if (at + encoding.bytes.length > bytes.length) {
        throw new AssemblerError("bad-layout", `${text}: bytes behind uninitialized()`);
      }
      bytes.set(encoding.bytes, at);
      for (const fixup of encoding.fixups) {
        const target = resolve(fixup.target, layout.labels, text);
        const relative = fixup.kind === "relative";
        const value = relative ? target - (layout.addresses[index]! + encoding.bytes.length) : target;
        if (!fits(value, fixup.width, fixup.kind !== "unsigned")) {
          throw new AssemblerError(
            relative ? "branch-out-of-range" : "immediate-out-of-range",
            `${text}: ${value} does not fit in ${fixup.width} bytes`,
          );
        }
        bytes.set(littleEndian(value, fixup.width), at + fixup.offset);
      }
    }
    return { bytes, origin: this.origin, end: layout.end, labels: layout.labels };
  }
}

interface Layout {
  /** Per item: where its bytes are stored, and the address that it believes to be at. They differ inside a phase. */
  readonly positions: readonly number[];
  readonly addresses: readonly number[];
  readonly labels: ReadonlyMap<string, number>;
  readonly end: number;
  /** Length of the image in bytes. */
  readonly stored: number;
}

function layOut(items: readonly Item[], origin: number): Layout {
  const positions: number[] = [];
  const addresses: number[] = [];
  const labels = new Map<string, number>();
  let position = origin;
  let shift = 0;
  let stored: number | undefined;
  for (const item of items) {
    positions.push(position);
    addresses.push(position + shift);
    switch (item.type) {
      case "label":
        if (labels.has(item.name))
          throw new AssemblerError("duplicate-label", `label ${item.name} is defined twice`);
        labels.set(item.name, position + shift);
        break;
      case "align":
        position = Math.ceil((position + shift) / item.boundary) * item.boundary - shift;
        break;
      case "org":
        if (item.address < position + shift) {
          throw new AssemblerError(
            "bad-layout",
            `org ${hex(item.address)} lies behind ${hex(position + shift)}`,
          );
        }
        position = item.address - shift;
        break;
      case "phase":
        shift = item.address === undefined ? 0 : item.address - position;
        break;
      case "uninitialized":
        stored ??= position - origin;
        break;
      case "reserve":
        position += item.length;
        break;
      case "code":
      case "branch":
        position += encodingOf(item)?.bytes.length ?? 0;
        break;
    }
  }
  return { positions, addresses, labels, end: position, stored: stored ?? position - origin };
}

function encodingOf(item: Item): Encoding | undefined {
  if (item.type === "code") return item.encoding;
  if (item.type === "branch") return item.isNear ? item.near : item.short;
  return undefined;
}

function resolve(target: LabelAddress, labels: ReadonlyMap<string, number>, text: string): number {
  const find = (name: string): number => {
    const address = labels.get(name);
    if (address === undefined)
      throw new AssemblerError("undefined-label", `${text}: label ${name} is not defined`);
    return address;
  };
  return find(target.label) + target.addend - (target.minus === undefined ? 0 : find(target.minus));
}

/** Whether the value fits as signed or (unless `signed`) unsigned in `width` bytes. */
function fits(value: number | bigint, width: number, signed = false): boolean {
  if (typeof value === "number" && !Number.isSafeInteger(value)) return false;
  const half = 1n << BigInt(width * 8 - 1);
  const wide = BigInt(value);
  return wide >= -half && wide < (signed ? half : half * 2n);
}

import { background } from "./background.ts";
import { DECODED_BYTES, isExcluded, PREFIXES } from "./excluded.ts";
import { ARITHMETIC } from "./explained.ts";
import type { CaseSource, CodeWidth } from "./generate.ts";
import { Random } from "./random.ts";
import {
  A_CODE,
  A_CROSS,
  A_SEGMENT,
  CS_16,
  CS_32,
  DS_LIMITED,
  R_CODE,
  R_FLAGS,
  R_FS_BASE,
  R_GPR,
  R_GS_BASE,
  R_LENGTH,
  R_RIP,
  R_SELECTORS,
  R_UNDEFINED_ANY,
  R_UNDEFINED_END,
} from "./record.ts";

/**
 * Random bytes as code, with TF set so that exactly one instruction runs. It finds what no table of forms lists: holes in
 * the opcode maps, prefixes in odd places, encodings that are too long. Which flags are defined is not known, so none
 * of the six is compared; what explained.ts excludes is skipped by opcode.
 */
export class RandomBytes implements CaseSource {
  readonly #random = new Random(0);
  readonly #seed: number;
  readonly #codes: readonly CodeWidth[];

  constructor(seed: number, codes: readonly CodeWidth[]) {
    this.#seed = seed;
    this.#codes = codes;
  }

  names(): string[] {
    return ["bytes"];
  }

  generate(index: number, record: DataView): void {
    const random = this.#random;
    random.reseed(this.#seed, index);
    background(random, record);
    const bits = random.pick(this.#codes);
    const wide = bits === 64;
    const code = new Uint8Array(record.buffer, record.byteOffset + R_CODE, DECODED_BYTES);
    do {
      this.#fill(code, wide);
    } while (isExcluded(code, bits));
    // 16-bit code reaches the data through the limited segment only.
    const base = bits === 16 ? A_SEGMENT : 0;
    for (let i = 0; i < 16; i++) {
      // RSI and RDI always: of two operands one at most may fault.
      if (i === 4 || (i !== 6 && i !== 7 && random.oneIn(2))) continue;
      record.setUint32(R_GPR + 8 * i, A_CROSS - base + random.below(400), true);
      record.setUint32(R_GPR + 8 * i + 4, 0, true);
    }
    if (!wide) {
      for (let i = 0; i < 8; i++) record.setUint32(R_GPR + 8 * i + 4, 0, true);
      record.setUint16(R_SELECTORS + 2, bits === 16 ? CS_16 : CS_32, true);
      if (bits === 16) {
        record.setUint16(R_SELECTORS, DS_LIMITED, true);
        record.setUint16(R_SELECTORS + 6, DS_LIMITED, true);
      }
      record.setUint32(R_FS_BASE, 0, true);
      record.setUint32(R_GS_BASE, 0, true);
    }
    record.setUint32(R_FLAGS, record.getUint32(R_FLAGS, true) | 0x100, true);
    record.setUint32(R_RIP, bits === 16 ? 128 * (index % 510) : A_CODE + 128 * (index % 2048), true);
    record.setUint32(R_LENGTH, DECODED_BYTES, true);
    record.setUint16(R_UNDEFINED_END, ARITHMETIC, true);
    record.setUint16(R_UNDEFINED_ANY, ARITHMETIC, true);
  }

  #fill(code: Uint8Array, wide: boolean): void {
    const random = this.#random;
    let at = 0;
    const prefixes = random.oneIn(3) ? random.below(3) : random.oneIn(50) ? random.below(15) : 0;
    for (; at < prefixes; at++) code[at] = random.pick(PREFIXES);
    if (wide && random.oneIn(3)) code[at++] = 0x40 | random.below(16);
    if (random.oneIn(2)) code[at++] = 0x0f;
    for (; at < DECODED_BYTES; at++) code[at] = random.below(256);
  }
}

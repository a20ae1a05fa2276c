import type { Inspection } from "../device.ts";
import type { SavedFields } from "../saved-state.ts";

/** What a write to a register does beyond keeping bits. At most one per dword. */
export type ConfigEffect =
  | "command"
  | "bar"
  | "bus numbers"
  | "windows"
  | "bridge control"
  | "power"
  | "device control"
  | "link"
  | "slot"
  | "msi"
  | "msi-x"
  | "pirq";

/**
 * One register of a function's configuration space. Access, reset, saved state, inspection and `specs/` take from here. Bits that
 * no mask names read as `reset` has them, which is 0 for reserved ones.
 */
export interface ConfigRegister {
  readonly name: string;
  /** Offset in configuration space; the register lies in one dword. */
  readonly at: number;
  readonly bytes: 1 | 2 | 3 | 4;
  /** Value after power-on. */
  readonly reset: number;
  /** Bits that keep what is written. */
  readonly writable: number;
  /** Bits that writing 1 clears. */
  readonly clear?: number;
  /** Bits that the function itself changes. */
  readonly status?: number;
  /** Writable bits that a function-level reset leaves alone. */
  readonly sticky?: number;
  readonly effect?: ConfigEffect;
  /** What the bits mean, in the specification's words. */
  readonly bits: string;
  /** The clause, or the software that depends on it. */
  readonly why: string;
}

/** Told of a write: the dword's offset, its value before, what was written, and the bits of the bytes that were written. */
export type ConfigWritten = (
  effect: ConfigEffect,
  at: number,
  before: number,
  value: number,
  lanes: number,
) => void;

/** Bytes of configuration space that a conventional and a PCI Express function have. */
export const configSizes = { conventional: 256, express: 4096 } as const;

/**
 * Configuration space of one function: a table of registers, spread over dwords so that an access costs a few operations. Reads
 * have no side effect; what the function changes it puts here when it changes.
 */
export class ConfigSpace {
  readonly registers: readonly ConfigRegister[];
  /** Bytes that answer; above it reads give all ones. */
  readonly size: number;
  readonly #values: Uint32Array;
  readonly #reset: Uint32Array;
  readonly #writable: Uint32Array;
  readonly #clear: Uint32Array;
  readonly #status: Uint32Array;
  readonly #sticky: Uint32Array;
  readonly #effects: (ConfigEffect | undefined)[];
  readonly #written: ConfigWritten;

  /** Throws RangeError for a table that contradicts itself. */
  constructor(registers: readonly ConfigRegister[], size: number, written: ConfigWritten) {
    this.registers = registers.toSorted((a, b) => a.at - b.at);
    this.size = size;
    this.#written = written;
    const end = this.registers.reduce((last, { at, bytes }) => Math.max(last, at + bytes), 256);
    const dwords = Math.ceil(end / 4);
    this.#values = new Uint32Array(dwords);
    this.#reset = new Uint32Array(dwords);
    this.#writable = new Uint32Array(dwords);
    this.#clear = new Uint32Array(dwords);
    this.#status = new Uint32Array(dwords);
    this.#sticky = new Uint32Array(dwords);
    this.#effects = Array.from({ length: dwords }, () => undefined);
    let free = 0;
    for (const register of this.registers) {
      const { name, at, bytes } = register;
      if (at < free) throw new RangeError(`register ${name} at 0x${at.toString(16)} overlaps the one before`);
      if ((at & 3) + bytes > 4 || at + bytes > size)
        throw new RangeError(`register ${name} at 0x${at.toString(16)} leaves its dword or the space`);
      free = at + bytes;
      this.#spread(register);
    }
    this.#values.set(this.#reset);
  }

  /** `width` bytes at `at`, any alignment, little-endian; all ones beyond `size`. */
  read(at: number, width: 1 | 2 | 4): number {
    const shift = 8 * (at & 3);
    if ((at & 3) + width > 4) return this.#readBytes(at, width);
    const index = at >>> 2;
    if (index >= this.#values.length) return at < this.size ? 0 : 0xffff_ffff >>> (32 - 8 * width);
    const value = this.#values[index]! >>> shift;
    return width === 4 ? value : value & (width === 1 ? 0xff : 0xffff);
  }

  /** What a guest writes: bits keep, clear or ignore it as their registers say. */
  write(at: number, width: 1 | 2 | 4, value: number): void {
    if ((at & 3) + width > 4) {
      for (let i = 0; i < width; i++) this.write(at + i, 1, value >>> (8 * i));
      return;
    }
    const index = at >>> 2;
    if (index >= this.#values.length) return;
    const shift = 8 * (at & 3);
    const lanes = ((0xffff_ffff >>> (32 - 8 * width)) << shift) >>> 0;
    const written = (value << shift) & lanes;
    const before = this.#values[index]!;
    const keep = this.#writable[index]! & lanes;
    this.#values[index] = ((before & ~keep) | (written & keep)) & ~(this.#clear[index]! & written);
    const effect = this.#effects[index];
    if (effect !== undefined) this.#written(effect, at & ~3, before, written >>> 0, lanes);
  }

  /** The dword at `at`, a multiple of 4, as a number from 0. */
  dword(at: number): number {
    return this.#values[at >>> 2]!;
  }

  /** Sets the bits `mask` of the dword at `at` to those of `value`, as the function itself: no effect, no write mask. */
  put(at: number, mask: number, value: number): void {
    const index = at >>> 2;
    this.#values[index] = (this.#values[index]! & ~mask) | (value & mask);
  }

  /** Power-on values. A function-level reset leaves sticky bits as they are. */
  reset(kind: "power-on" | "function"): void {
    for (let index = 0; index < this.#values.length; index++) {
      const sticky = kind === "function" ? this.#sticky[index]! : 0;
      this.#values[index] = (this.#reset[index]! & ~sticky) | (this.#values[index]! & sticky);
    }
  }

  /** The dwords that can differ from their reset values, lowest first. */
  save(): number[] {
    return [...this.#values].filter((_, index) => this.#variable(index) !== 0);
  }

  /** Reads what `save` gave from `field`; the result puts it into place. Throws `DeviceStateError`. */
  prepare(fields: SavedFields, field: string): () => void {
    const count = this.#values.reduce((n, _, index) => n + (this.#variable(index) === 0 ? 0 : 1), 0);
    const saved = fields.integers(field, count, 0xffff_ffff);
    const values = Uint32Array.from(this.#reset);
    let next = 0;
    for (let index = 0; index < values.length; index++) {
      const variable = this.#variable(index);
      if (variable === 0) continue;
      const value = saved[next++]!;
      fields.require(
        ((value ^ this.#reset[index]!) & ~variable) === 0,
        `${field}: configuration dword 0x${(4 * index).toString(16)} holds bits that cannot change`,
      );
      values[index] = value;
    }
    return () => this.#values.set(values);
  }

  /** Registers by name; those that read 0 and hold nothing are left out. */
  inspect(): Inspection {
    const rows: Record<string, string> = {};
    for (const { name, at, bytes, reset, writable, clear, status } of this.registers) {
      if (reset === 0 && writable === 0 && (clear ?? 0) === 0 && (status ?? 0) === 0) continue;
      const value = (this.dword(at & ~3) >>> (8 * (at & 3))) & (0xffff_ffff >>> (32 - 8 * bytes));
      rows[`${at.toString(16).padStart(2, "0")} ${name}`] =
        `0x${(value >>> 0).toString(16).padStart(2 * bytes, "0")}`;
    }
    return rows;
  }

  #variable(index: number): number {
    return this.#writable[index]! | this.#clear[index]! | this.#status[index]!;
  }

  #spread(register: ConfigRegister): void {
    const { name, at, reset, writable, clear = 0, status = 0, sticky = 0, effect } = register;
    const index = at >>> 2;
    const shift = 8 * (at & 3);
    this.#reset[index]! |= reset << shift;
    this.#writable[index]! |= writable << shift;
    this.#clear[index]! |= clear << shift;
    this.#status[index]! |= status << shift;
    this.#sticky[index]! |= sticky << shift;
    if (effect === undefined) return;
    const other = this.#effects[index];
    if (other !== undefined && other !== effect)
      throw new RangeError(`register ${name}: its dword has the effect "${other}" already`);
    this.#effects[index] = effect;
  }

  #readBytes(at: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.read(at + i, 1) << (8 * i);
    return value >>> 0;
  }
}

const hex = (value: number, bytes: number): string =>
  `0x${(value >>> 0).toString(16).padStart(2 * bytes, "0")}`;

/** Registers as the rows of a Markdown table; `base` is taken off the offsets, for capabilities. */
export function configLines(registers: readonly ConfigRegister[], base = 0): string[] {
  return registers.map(
    ({ name, at, bytes, reset, writable, clear = 0, bits, why }) =>
      `| ${hex(at - base, 1)} | ${bytes} | ${name} | ${hex(reset, bytes)} | ${hex(writable, bytes)} | ` +
      `${clear === 0 ? "–" : hex(clear, bytes)} | ${bits} | ${why} |`,
  );
}

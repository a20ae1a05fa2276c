import type { Inspection, MmioDevice } from "../device.ts";
import type { SavedFields } from "../saved-state.ts";
import type { Capability } from "./capabilities.ts";
import type { ConfigRegister, ConfigSpace } from "./config-space.ts";

/** Sends an interrupt message: the dword `data` to the 64-bit `address` in two halves. */
export type SendMessage = (low: number, high: number, data: number) => void;

const enableBit = 1 << 16;

/** MSI with 64-bit addresses and a mask bit per vector (PCI 3.0, 6.8.1). `vectors`: 1, 2, 4, 8, 16 or 32. */
export class MsiCapability implements Capability {
  readonly name = "MSI";
  readonly id = 0x05;
  readonly length = 0x18;
  readonly vectors: number;
  readonly #all: number;
  #at = 0;

  constructor(vectors: number) {
    if (![1, 2, 4, 8, 16, 32].includes(vectors))
      throw new RangeError(`MSI has 1, 2, 4, 8, 16 or 32 vectors, not ${vectors}`);
    this.vectors = vectors;
    this.#all = vectors === 32 ? 0xffff_ffff : 2 ** vectors - 1;
  }

  registers(at: number): ConfigRegister[] {
    this.#at = at;
    const log = 31 - Math.clz32(this.vectors);
    return [
      {
        name: "MSI control",
        at: at + 0x02,
        bytes: 2,
        reset: 0x0180 | (log << 1),
        writable: 0x0071,
        effect: "msi",
        bits: "0 enable, 3:1 vectors asked for, 6:4 given, 7 64 bits, 8 masks",
        why: "6.8.1.3",
      },
      {
        name: "MSI address",
        at: at + 0x04,
        bytes: 4,
        reset: 0,
        writable: 0xffff_fffc,
        bits: "31:2 address",
        why: "6.8.1.4",
      },
      {
        name: "MSI address, upper half",
        at: at + 0x08,
        bytes: 4,
        reset: 0,
        writable: 0xffff_ffff,
        bits: "31:0 address 63:32",
        why: "6.8.1.5",
      },
      {
        name: "MSI data",
        at: at + 0x0c,
        bytes: 2,
        reset: 0,
        writable: 0xffff,
        bits: "15:0; the low bits give way to the vector",
        why: "6.8.1.6",
      },
      { name: "MSI reserved", at: at + 0x0e, bytes: 2, reset: 0, writable: 0, bits: "–", why: "6.8.1.6" },
      {
        name: "MSI mask",
        at: at + 0x10,
        bytes: 4,
        reset: 0,
        writable: this.#all,
        effect: "msi",
        bits: "n masks vector n",
        why: "6.8.1.7",
      },
      {
        name: "MSI pending",
        at: at + 0x14,
        bytes: 4,
        reset: 0,
        writable: 0,
        status: this.#all,
        bits: "n: vector n waits",
        why: "6.8.1.8: sent when unmasked",
      },
    ];
  }

  enabled(config: ConfigSpace): boolean {
    return (config.dword(this.#at) & enableBit) !== 0;
  }

  /** Sends `vector`, or keeps it pending while it is masked. A vector beyond those given counts modulo their number. */
  raise(config: ConfigSpace, vector: number, send: SendMessage): void {
    const given = this.#given(config);
    const chosen = vector & (given - 1);
    if ((config.dword(this.#at + 0x10) & (1 << chosen)) !== 0)
      config.put(this.#at + 0x14, 1 << chosen, 1 << chosen);
    else this.#send(config, chosen, given, send);
  }

  /** A write may have unmasked or enabled. */
  written(config: ConfigSpace, send: SendMessage): void {
    if (!this.enabled(config)) return;
    let ready = config.dword(this.#at + 0x14) & ~config.dword(this.#at + 0x10);
    const given = this.#given(config);
    for (; ready !== 0; ready &= ready - 1) {
      const vector = 31 - Math.clz32(ready & -ready);
      config.put(this.#at + 0x14, 1 << vector, 0);
      this.#send(config, vector & (given - 1), given, send);
    }
  }

  /** 6.8.1.3: what is reserved or more than asked for counts as all. */
  #given(config: ConfigSpace): number {
    return Math.min(1 << ((config.dword(this.#at) >>> 20) & 7), this.vectors);
  }

  #send(config: ConfigSpace, vector: number, given: number, send: SendMessage): void {
    const data = (config.dword(this.#at + 0x0c) & 0xffff & -given) | vector;
    send(config.dword(this.#at + 4), config.dword(this.#at + 8), data);
  }
}

export interface MsixOptions {
  /** 1 to 2048. */
  readonly vectors: number;
  /** BAR with the table and the pending bits, which must not overlap. */
  readonly bar: number;
  /** Offset of the table in the BAR, a multiple of 8. */
  readonly table: number;
  /** Offset of the pending bits, a multiple of 8. */
  readonly pending: number;
}

const msixEnable = 1 << 31;
const msixMaskAll = 1 << 30;
const entryDwords = 4;

/** MSI-X (PCI 3.0, 6.8.2): a table of messages in a BAR, each with its own mask, and pending bits beside it. */
export class MsixCapability implements Capability {
  readonly name = "MSI-X";
  readonly id = 0x11;
  readonly length = 12;
  readonly options: MsixOptions;
  readonly #entries: Uint32Array;
  readonly #pending: Uint32Array;
  #at = 0;
  #send: SendMessage = () => {};
  #config: ConfigSpace | undefined;

  constructor(options: MsixOptions) {
    const { vectors, bar, table, pending } = options;
    if (!Number.isInteger(vectors) || vectors < 1 || vectors > 2048)
      throw new RangeError(`MSI-X has 1 to 2048 vectors, not ${vectors}`);
    if (bar < 0 || bar > 5 || ((table | pending) & 7) !== 0)
      throw new RangeError("MSI-X table and pending bits lie on 8 bytes of a BAR");
    this.options = options;
    this.#entries = new Uint32Array(entryDwords * vectors);
    // Whole quadwords: that is how the bits may be read.
    this.#pending = new Uint32Array(2 * Math.ceil(vectors / 64));
    this.reset();
  }

  registers(at: number): ConfigRegister[] {
    this.#at = at;
    const { vectors, bar, table, pending } = this.options;
    return [
      {
        name: "MSI-X control",
        at: at + 2,
        bytes: 2,
        reset: vectors - 1,
        writable: 0xc000,
        effect: "msi-x",
        bits: "10:0 last vector, 14 mask all, 15 enable",
        why: "6.8.2.3",
      },
      {
        name: "MSI-X table",
        at: at + 4,
        bytes: 4,
        reset: table | bar,
        writable: 0,
        bits: "2:0 BAR, 31:3 offset",
        why: "6.8.2.4",
      },
      {
        name: "MSI-X pending bits",
        at: at + 8,
        bytes: 4,
        reset: pending | bar,
        writable: 0,
        bits: "2:0 BAR, 31:3 offset",
        why: "6.8.2.5",
      },
    ];
  }

  /** Connects the table to its function. */
  connect(config: ConfigSpace, send: SendMessage): void {
    this.#config = config;
    this.#send = send;
  }

  enabled(config: ConfigSpace): boolean {
    return (config.dword(this.#at) & msixEnable) !== 0;
  }

  /** Sends `vector`, or sets its pending bit while it or the function is masked. A vector that the table lacks is nothing. */
  raise(vector: number): void {
    if (!(vector >= 0 && vector < this.options.vectors)) return;
    if (this.#masked(vector)) this.#pending[vector >>> 5]! |= 1 << (vector & 31);
    else this.#sendEntry(vector);
  }

  /** A write to the control register may have unmasked the function. */
  written(): void {
    for (let word = 0; word < this.#pending.length; word++) {
      for (let left = this.#pending[word]!; left !== 0; left &= left - 1) {
        this.#serve(32 * word + 31 - Math.clz32(left & -left));
      }
    }
  }

  /** `device` with the table and the pending bits laid over it. */
  over(device: MmioDevice): MmioDevice {
    return new MsixOverlay(this, device);
  }

  /** Bytes of the table. */
  get tableLength(): number {
    return 4 * this.#entries.length;
  }

  get pendingLength(): number {
    return 4 * this.#pending.length;
  }

  readTable(offset: number, width: 1 | 2 | 4): number {
    return readDwords(this.#entries, offset, width);
  }

  readPending(offset: number, width: 1 | 2 | 4): number {
    return readDwords(this.#pending, offset, width);
  }

  /** 6.8.2: whole dwords are for software to use; of a narrower write the bytes count. */
  writeTable(offset: number, width: 1 | 2 | 4, value: number): void {
    if ((offset & 3) + width > 4) {
      for (let i = 0; i < width && offset + i < this.tableLength; i++)
        this.writeTable(offset + i, 1, value >>> (8 * i));
      return;
    }
    const shift = 8 * (offset & 3);
    const index = offset >>> 2;
    const kind = index % entryDwords;
    const keep = kind === 0 ? 0xffff_fffc : kind === 3 ? 1 : 0xffff_ffff;
    const lanes = ((0xffff_ffff >>> (32 - 8 * width)) << shift) & keep;
    this.#entries[index] = (this.#entries[index]! & ~lanes) | ((value << shift) & lanes);
    if (kind === 3) this.#serve(index >>> 2);
  }

  /** 6.8.2.9: every vector is masked. */
  reset(): void {
    this.#pending.fill(0);
    for (let i = 0; i < this.#entries.length; i++) this.#entries[i] = i % entryDwords === 3 ? 1 : 0;
  }

  save(): { readonly entries: number[]; readonly pending: number[] } {
    return { entries: [...this.#entries], pending: [...this.#pending] };
  }

  prepare(fields: SavedFields): () => void {
    const entries = fields.integers("entries", this.#entries.length, 0xffff_ffff);
    const pending = fields.integers("pending", this.#pending.length, 0xffff_ffff);
    fields.end();
    const fits = entries.every((value, i) =>
      i % entryDwords === 3 ? value < 2 : i % entryDwords !== 0 || (value & 3) === 0,
    );
    fields.require(fits, "an entry holds reserved bits");
    const { vectors } = this.options;
    const known = pending.every((word, i) => word === keepLow(word, vectors - 32 * i));
    fields.require(known, "a vector is pending that the table lacks");
    return () => {
      this.#entries.set(entries);
      this.#pending.set(pending);
    };
  }

  inspect(): Inspection {
    const rows: Record<string, string> = {};
    for (let vector = 0; vector < this.options.vectors; vector++) {
      const [low, high, data, control] = this.#entries.subarray(
        entryDwords * vector,
        entryDwords * (vector + 1),
      );
      const waits = ((this.#pending[vector >>> 5]! >>> (vector & 31)) & 1) !== 0;
      if (low === 0 && high === 0 && data === 0 && control === 1 && !waits) continue;
      const state = `${(control! & 1) === 0 ? "" : " masked"}${waits ? " pending" : ""}`;
      rows[`${vector}`] = `0x${(high! * 2 ** 32 + low!).toString(16)} <- 0x${data!.toString(16)}${state}`;
    }
    return rows;
  }

  #masked(vector: number): boolean {
    if ((this.#entries[entryDwords * vector + 3]! & 1) !== 0) return true;
    return this.#config === undefined || (this.#config.dword(this.#at) & msixMaskAll) !== 0;
  }

  #serve(vector: number): void {
    const bit = 1 << (vector & 31);
    const word = vector >>> 5;
    if ((this.#pending[word]! & bit) === 0 || this.#masked(vector)) return;
    if (this.#config === undefined || !this.enabled(this.#config)) return;
    this.#pending[word]! &= ~bit;
    this.#sendEntry(vector);
  }

  #sendEntry(vector: number): void {
    const at = entryDwords * vector;
    this.#send(this.#entries[at]!, this.#entries[at + 1]!, this.#entries[at + 2]!);
  }
}

class MsixOverlay implements MmioDevice {
  readonly #msix: MsixCapability;
  readonly #device: MmioDevice;

  constructor(msix: MsixCapability, device: MmioDevice) {
    this.#msix = msix;
    this.#device = device;
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    const { table, pending } = this.#msix.options;
    if (offset >= table && offset < table + this.#msix.tableLength)
      return this.#msix.readTable(offset - table, width);
    if (offset >= pending && offset < pending + this.#msix.pendingLength)
      return this.#msix.readPending(offset - pending, width);
    return this.#device.mmioRead(offset, width);
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    const { table, pending } = this.#msix.options;
    if (offset >= table && offset < table + this.#msix.tableLength)
      this.#msix.writeTable(offset - table, width, value);
    // Pending bits are read only.
    else if (offset < pending || offset >= pending + this.#msix.pendingLength)
      this.#device.mmioWrite(offset, width, value);
  }
}

/** The lowest `count` bits of `dword`: none below 0, all beyond 32. */
function keepLow(dword: number, count: number): number {
  if (count >= 32) return dword;
  return count <= 0 ? 0 : (dword & ((1 << count) - 1)) >>> 0;
}

/** `width` bytes at any alignment; 0 behind the end. */
function readDwords(dwords: Uint32Array, offset: number, width: 1 | 2 | 4): number {
  const shift = 8 * (offset & 3);
  const low = dwords[offset >>> 2]! >>> shift;
  const value = shift === 0 ? low : low | ((dwords[(offset >>> 2) + 1] ?? 0) << (32 - shift));
  return width === 4 ? value >>> 0 : value & (width === 1 ? 0xff : 0xffff);
}

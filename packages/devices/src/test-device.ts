import type { Device, Inspection, InterruptLine, MmioDevice, PortDevice } from "./device.ts";
import type { Register } from "./register-table.ts";
import { SavedFields } from "./saved-state.ts";

/*
 * What test kernels for QEMU expect of the machine: `isa-debug-exit` to tell the result by, and `pc-testdev` with interrupt
 * lines that they can move, a latch to read back, and memory that is a device.
 */

export interface TestDeviceOptions {
  readonly name: string;
  /** The lines that the guest moves, by interrupt; a missing one is not wired. */
  readonly lines: readonly (InterruptLine | undefined)[];
  /** The guest wrote its result. Called inside the guest's write: take note, do not act on the vCPU. */
  readonly exit: (value: number) => void;
}

export interface TestDeviceState {
  readonly version: 1;
  readonly latch: number;
  /** One bit per line, line 0 in bit 0: those that the guest has set. */
  readonly lines: number;
  /** Up to the last byte that is not zero. */
  readonly memory: Uint8Array;
}

/** Every range, to be registered under the given names. */
export const testDeviceRanges = {
  latch: { name: "test latch", first: 0xe0, count: 4 },
  flush: { name: "test flush", first: 0xe4, count: 4 },
  latchBytes: { name: "test latch bytes", first: 0xe8, count: 4 },
  exit: { name: "test exit", first: 0xf4, count: 4 },
  lines: { name: "test lines", first: 0x2000, count: 24 },
  memory: { name: "test memory", first: 0xff00_0000, count: 0x1_0000 },
} as const;

export const testDeviceRegisters = {
  latch: {
    name: "Latch",
    at: "0xE0-0xE3",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 value",
    why: "pc-testdev: what is written reads back, in any width and at any of the four ports",
  },
  flush: {
    name: "Flush",
    at: "0xE4-0xE7",
    access: "wo",
    reset: 0xffff_ffff,
    writable: 0,
    bits: "31:0 address",
    why: "pc-testdev: has the host forget how it reaches a page; there is nothing to forget here, so it is accepted",
  },
  latchBytes: {
    name: "Latch, by bytes",
    at: "0xE8-0xEB",
    access: "rw",
    reset: 0,
    writable: 0xffff_ffff,
    bits: "31:0 value",
    why: "pc-testdev: the latch again, reached a byte at a time, which makes no difference to the guest",
  },
  exit: {
    name: "Exit",
    at: "0xF4-0xF7",
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "31:0 result",
    why: "isa-debug-exit, iobase 0xF4, iosize 4: a write ends the VM with this result; reads as 0",
  },
  lines: {
    name: "Interrupt line n",
    at: "0x2000 + n, n 0 to 23, byte access only",
    access: "wo",
    reset: 0xff,
    writable: 0,
    bits: "0 is low, all else high",
    why: "pc-testdev: drives global system interrupt n; line 2, the cascade's, is not wired",
  },
  memory: {
    name: "Memory",
    at: "0xFF000000-0xFF00FFFF, memory",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "7:0 value",
    why: "pc-testdev: bytes that are a device and no RAM, so that each access to them is an exit",
  },
} as const satisfies Readonly<Record<string, Register>>;

/** Interrupt lines that there are ports for. */
export const testLineCount = testDeviceRanges.lines.count;

const { latch, latchBytes, exit, lines, memory } = testDeviceRanges;
const allOnes = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;

const within = (range: { readonly first: number; readonly count: number }, port: number): boolean =>
  port >= range.first && port < range.first + range.count;

/** The status that a process ends with for the result `value`: what `isa-debug-exit` makes of it, always odd. */
export function exitStatus(value: number): number {
  return ((value << 1) | 1) & 0xff;
}

/** All of it in one device: it is there as a whole or not at all. */
export class TestDevice implements Device<TestDeviceState>, PortDevice, MmioDevice {
  readonly name: string;
  readonly #lines: readonly (InterruptLine | undefined)[];
  readonly #exit: (value: number) => void;
  readonly #memory = new Uint8Array(memory.count);
  #latch = 0;
  #levels = 0;

  constructor(options: TestDeviceOptions) {
    this.name = options.name;
    this.#lines = options.lines;
    this.#exit = options.exit;
  }

  /** Takes all its ranges on `bus`. The debug console, which is at a port in the midst of the latch's bytes, gives way. */
  register(bus: {
    unregister(name: string): boolean;
    registerPorts(name: string, first: number, count: number, device: PortDevice): void;
    registerMmio(name: string, base: number, length: number, device: MmioDevice): void;
  }): void {
    bus.unregister("debug console");
    const { memory: area, ...ports } = testDeviceRanges;
    for (const { name, first, count } of Object.values(ports)) bus.registerPorts(name, first, count, this);
    bus.registerMmio(area.name, area.first, area.count, this);
  }

  portRead(port: number, width: 1 | 2 | 4): number {
    if (within(latch, port) || within(latchBytes, port)) return this.#latch >>> (8 * (port & 3));
    // Nothing can be read of a result.
    if (within(exit, port)) return 0;
    return allOnes[width];
  }

  portWrite(port: number, width: 1 | 2 | 4, value: number): void {
    if (within(latch, port) || within(latchBytes, port)) {
      const shift = 8 * (port & 3);
      const mask = allOnes[width] << shift;
      this.#latch = ((this.#latch & ~mask) | ((value << shift) & mask)) >>> 0;
    } else if (within(exit, port)) this.#exit(value);
    // A byte for each line: what is wider moves none.
    else if (within(lines, port) && width === 1) this.#drive(port - lines.first, value !== 0);
    // The rest is the flush port: there is no translation of the host's to be flushed.
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = ((value << 8) | this.#memory[offset + i]!) >>> 0;
    return value;
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < width; i++) this.#memory[offset + i] = value >>> (8 * i);
  }

  #drive(line: number, level: boolean): void {
    const bit = 1 << line;
    this.#levels = level ? this.#levels | bit : this.#levels & ~bit;
    this.#lines[line]?.set(level);
  }

  reset(): void {
    for (let line = 0; line < testLineCount; line++) this.#drive(line, false);
    this.#latch = 0;
    this.#memory.fill(0);
  }

  save(): TestDeviceState {
    const used = this.#memory.findLastIndex((byte) => byte !== 0) + 1;
    return { version: 1, latch: this.#latch, lines: this.#levels, memory: this.#memory.slice(0, used) };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const latchValue = fields.dword("latch");
    const levels = fields.integer("lines", 0, 2 ** testLineCount - 1);
    const bytes = fields.bytes("memory", memory.count, 0);
    fields.end();
    this.#latch = latchValue;
    this.#memory.fill(0).set(bytes);
    for (let line = 0; line < testLineCount; line++) this.#drive(line, ((levels >>> line) & 1) !== 0);
  }

  inspect(): Inspection {
    return { latch: this.#latch, lines: this.#levels };
  }
}

import {
  ACTIVITY,
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  DEBUG_PENDING,
  DR,
  EFER,
  FLAGS_SYSTEM,
  GDTR_BASE,
  GDTR_LIMIT,
  GPR,
  IDTR_BASE,
  IDTR_LIMIT,
  INTERRUPT_WAITING,
  LSTAR,
  NMI_BLOCKED,
  NMI_PENDING,
  RAM,
  RIP,
  SEGMENT_ATTRIBUTES,
  SEGMENT_BASE,
  SEGMENT_LIMIT,
  SEGMENT_SELECTOR,
  SFMASK,
  SHADOW,
  STAR,
  TR_ATTRIBUTES,
  TR_BASE,
  TR_LIMIT,
  TR_SELECTOR,
} from "../../assembly/layout.ts";
import { Processor, type ProcessorHost } from "../processor.ts";

/*
 * A processor with tables in memory and nothing else: for tests that run a few hand-assembled instructions.
 *
 * Every vector's handler is one HLT, so a test sees which handler was reached, on which stack, with what frame.
 */

/** `48 89 c8 ; mov rax, rcx`: hexadecimal bytes, comments after a semicolon. */
export function code(text: string): number[] {
  const digits = text.replaceAll(/;.*$/gm, " ").trim();
  return digits === "" ? [] : digits.split(/\s+/).map((byte) => Number.parseInt(byte, 16));
}

// ---- memory ----
export const PML4 = 0x1000;
/** 4 KiB pages of the first 2 MiB. */
export const PAGE_TABLE = 0x4000;
export const GDT = 0x6000;
/** 16-byte gates. */
export const IDT = 0x7000;
/** 8-byte gates of 32-bit protected mode. */
export const IDT32 = 0x8000;
export const TSS = 0x9000;
export const CODE = 0x10000;
export const USER_CODE = 0x18000;
export const HANDLERS = 0x20000;
export const STACK = 0x30000;
export const USER_STACK = 0x38000;
/** RSP0 (and SS0:ESP0 of the 32-bit TSS), IST1 and IST2. */
export const STACK0 = 0x40000;
export const IST1 = 0x42000;
export const IST2 = 0x44000;
export const DATA = 0x50000;

// ---- selectors ----
export const KERNEL_CODE = 0x08;
export const KERNEL_DATA = 0x10;
/** SYSRET's three in a row: 32-bit code, data, 64-bit code of DPL 3. */
export const USER_CODE32 = 0x1b;
export const USER_DATA = 0x23;
export const USER_CODE64 = 0x2b;
export const CODE32 = 0x30;
export const CODE16 = 0x38;
export const TASK = 0x40;
/** Free for a test; gates of 16 bytes take two. */
export const FREE = 0x60;
const TSS_LIMIT = 0x88;

/** Bits of a descriptor's attribute word as in layout.ts. */
export const ACCESS = { CODE64: 0xa09b, CODE32: 0xc09b, CODE16: 0x009b, DATA: 0xc093, USER: 0x60 } as const;

/** A code or data descriptor. */
export function descriptor(attributes: number, base = 0, limit = 0xfffff): bigint {
  const b = BigInt(base);
  return (
    BigInt(limit & 0xffff) |
    ((b & 0xffffffn) << 16n) |
    (BigInt(attributes & 0xf0ff) << 40n) |
    (BigInt((limit >> 16) & 15) << 48n) |
    ((b >> 24n) << 56n)
  );
}

/** A gate: `type` is the whole access byte, `extra` the parameter count or IST index. Low and high half. */
export function gate(selector: number, offset: bigint, type: number, extra = 0): [bigint, bigint] {
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(extra) << 32n) |
    (BigInt(type) << 40n) |
    ((offset & 0xffff0000n) << 32n);
  return [low, offset >> 32n];
}

export type Register =
  | "rax"
  | "rcx"
  | "rdx"
  | "rbx"
  | "rsp"
  | "rbp"
  | "rsi"
  | "rdi"
  | "r8"
  | "r9"
  | "r10"
  | "r11"
  | "r12"
  | "r13"
  | "r14"
  | "r15";
const REGISTERS: readonly string[] = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(
  " ",
);
const SEGMENTS = ["none", "es", "cs", "ss", "ds", "fs", "gs"] as const;
export type Segment = "es" | "cs" | "ss" | "ds" | "fs" | "gs";

export const CONTROL = {
  cr0: CR0,
  cr2: CR2,
  cr3: CR3,
  cr4: CR4,
  efer: EFER,
  star: STAR,
  lstar: LSTAR,
  sfmask: SFMASK,
  dr0: DR,
  dr1: DR + 8,
  dr6: DR + 48,
  dr7: DR + 56,
} as const;

/** What an interrupt in long mode pushed. */
export interface Frame {
  readonly error: bigint | undefined;
  readonly rip: bigint;
  readonly cs: number;
  readonly rflags: bigint;
  readonly rsp: bigint;
  readonly ss: number;
}

const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

export class BareMachine {
  /** Port writes: port, width, value. */
  readonly written: [number, number, number][] = [];
  /** What any port reads. */
  portValue = 0x55;
  taskPriority = 0;
  readonly msrs = new Map<number, bigint>();
  readonly processor: Processor;

  private constructor(processor: Processor) {
    this.processor = processor;
  }

  /** With vCPU 0 in 64-bit mode, CPL 0, IF = 0, at CODE. */
  static async create(vcpus = 1): Promise<BareMachine> {
    let machine: BareMachine | undefined;
    const host: ProcessorHost = {
      portIn: () => machine?.portValue ?? 0,
      portOut: (port, width, value) => machine?.written.push([port, width, value]),
      mmioRead: () => 0xffffffff,
      mmioWrite: () => {},
      cpuid: (leaf, subleaf, out) => out.set([leaf, subleaf, 0x1234, 0x5678]),
      readMsr: (msr, out) => {
        const value = machine?.msrs.get(msr);
        if (value === undefined) return false;
        out.set([Number(value & 0xffffffffn), Number(value >> 32n)]);
        return true;
      },
      writeMsr: (msr, low, high) => {
        if (machine?.msrs.has(msr) !== true) return false;
        machine.msrs.set(msr, BigInt(low) | (BigInt(high) << 32n));
        return true;
      },
      readTaskPriority: () => machine?.taskPriority ?? 0,
      writeTaskPriority: (value) => {
        if (machine) machine.taskPriority = value;
      },
      hypercall: (kind) => kind === 1,
      random: () => 0x0123456789abcdefn,
    };
    machine = new BareMachine(await Processor.create({ ramSize: 4 << 20, vcpus, host }));
    machine.processor.select(0);
    machine.#tables();
    machine.long();
    return machine;
  }

  // ---- memory ----

  store(address: number, bytes: readonly number[]): void {
    this.processor.ram.set(bytes, address);
    this.processor.codeWritten(address, bytes.length);
  }
  read(address: number | bigint, bytes: 1 | 2 | 4 | 8 = 8): bigint {
    const at = RAM + Number(address);
    const { view } = this.processor;
    if (bytes === 8) return view.getBigUint64(at, true);
    return BigInt(
      bytes === 4 ? view.getUint32(at, true) : bytes === 2 ? view.getUint16(at, true) : view.getUint8(at),
    );
  }
  write(address: number, value: bigint | number): void {
    this.processor.view.setBigUint64(RAM + address, BigInt.asUintN(64, BigInt(value)), true);
    this.processor.codeWritten(address, 8);
  }
  setDescriptor(selector: number, ...values: readonly bigint[]): void {
    values.forEach((value, i) => {
      this.write(GDT + (selector & ~7) + 8 * i, value);
    });
  }
  setGate(vector: number, selector: number, offset: bigint, type: number, ist = 0): void {
    const [low, high] = gate(selector, offset, type, ist);
    this.write(IDT + 16 * vector, low);
    this.write(IDT + 16 * vector + 8, high);
  }
  /** Rights of the 4 KiB page of `address`: 1 present, 2 writable, 4 user; bit 63 no-execute. */
  setPage(address: number, rights: bigint): void {
    this.write(PAGE_TABLE + 8 * (address >> 12), (BigInt(address) & ~0xfffn) | rights);
  }

  /** Zeroes the first 2 MiB and writes page tables, GDT, IDTs, handlers and TSS anew. */
  rebuild(): void {
    this.processor.ram.fill(0, 0, 0x200000);
    this.processor.codeWritten(0, 0x200000);
    this.#tables();
  }

  #tables(): void {
    this.write(PML4, 0x2007n);
    this.write(0x2000, 0x3007n);
    this.write(0x3000, BigInt(PAGE_TABLE) | 7n);
    this.write(0x3008, 0x200087n);
    for (let page = 0; page < 512; page++) this.setPage(page << 12, 7n);
    this.setDescriptor(KERNEL_CODE, descriptor(ACCESS.CODE64));
    this.setDescriptor(KERNEL_DATA, descriptor(ACCESS.DATA));
    this.setDescriptor(USER_CODE32, descriptor(ACCESS.CODE32 | ACCESS.USER));
    this.setDescriptor(USER_DATA, descriptor(ACCESS.DATA | ACCESS.USER));
    this.setDescriptor(USER_CODE64, descriptor(ACCESS.CODE64 | ACCESS.USER));
    this.setDescriptor(CODE32, descriptor(ACCESS.CODE32));
    this.setDescriptor(CODE16, descriptor(ACCESS.CODE16, 0, 0xffff));
    this.setDescriptor(TASK, descriptor(0x008b, TSS, TSS_LIMIT), 0n);
    for (let vector = 0; vector < 256; vector++) {
      const handler = HANDLERS + 16 * vector;
      this.setGate(vector, KERNEL_CODE, BigInt(handler), 0x8e);
      this.write(IDT32 + 8 * vector, gate(CODE32, BigInt(handler), 0x8e)[0]);
      this.store(handler, [0xf4, 0xeb, 0xfd]);
    }
    this.write(TSS + 4, BigInt(STACK0));
    this.write(TSS + 0x24, BigInt(IST1));
    this.write(TSS + 0x2c, BigInt(IST2));
    this.write(TSS + 0x60, BigInt(TSS_LIMIT + 1) << 48n); // the I/O bitmap lies outside: all ports closed
  }

  // ---- registers ----

  gpr(name: Register): bigint {
    return this.processor.view.getBigUint64(GPR + 8 * REGISTERS.indexOf(name), true);
  }
  control(name: keyof typeof CONTROL): bigint {
    return this.processor.view.getBigUint64(CONTROL[name], true);
  }
  rip(): bigint {
    return this.processor.view.getBigUint64(RIP, true);
  }
  cpl(): number {
    return this.processor.view.getUint32(CPL, true);
  }
  selector(name: Segment): number {
    return this.processor.view.getUint16(SEGMENT_SELECTOR + 2 * SEGMENTS.indexOf(name), true);
  }
  segmentBase(name: Segment): bigint {
    return this.processor.view.getBigUint64(SEGMENT_BASE + 8 * SEGMENTS.indexOf(name), true);
  }
  segmentLimit(name: Segment): number {
    return this.processor.view.getUint32(SEGMENT_LIMIT + 4 * SEGMENTS.indexOf(name), true);
  }
  attributes(name: Segment): number {
    return this.processor.view.getUint16(SEGMENT_ATTRIBUTES + 2 * SEGMENTS.indexOf(name), true);
  }
  systemFlags(): bigint {
    return this.processor.view.getBigUint64(FLAGS_SYSTEM, true);
  }
  word(offset: number): number {
    return this.processor.view.getUint32(offset, true);
  }

  /** Writes registers and derives the rest. */
  set(values: Partial<Record<Register | keyof typeof CONTROL | "rip" | "flags", bigint | number>>): void {
    const { view } = this.processor;
    for (const [name, value] of Object.entries(values)) {
      const at =
        name === "rip"
          ? RIP
          : name === "flags"
            ? FLAGS_SYSTEM
            : name in CONTROL
              ? CONTROL[name as keyof typeof CONTROL]
              : GPR + 8 * REGISTERS.indexOf(name);
      view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    }
    this.processor.applyRegisters();
  }

  setSegment(name: Segment, selector: number, attributes: number, base = 0, limit = 0xffffffff): void {
    const { view } = this.processor;
    const i = SEGMENTS.indexOf(name);
    view.setUint16(SEGMENT_SELECTOR + 2 * i, selector, true);
    view.setUint16(SEGMENT_ATTRIBUTES + 2 * i, attributes, true);
    view.setBigUint64(SEGMENT_BASE + 8 * i, BigInt(base), true);
    view.setUint32(SEGMENT_LIMIT + 4 * i, limit, true);
  }

  #segments(codeSelector: number, codeAttributes: number, dataSelector: number): void {
    const level = codeSelector & 3 ? ACCESS.USER : 0;
    this.setSegment("cs", codeSelector, codeAttributes | level);
    for (const name of ["es", "ss", "ds", "fs", "gs"] as const)
      this.setSegment(name, dataSelector, ACCESS.DATA | level);
    const { view } = this.processor;
    view.setBigUint64(GDTR_BASE, BigInt(GDT), true);
    view.setUint32(GDTR_LIMIT, 0xff, true);
    view.setBigUint64(TR_BASE, BigInt(TSS), true);
    view.setUint32(TR_LIMIT, TSS_LIMIT, true);
    view.setUint16(TR_SELECTOR, TASK, true);
    view.setUint16(TR_ATTRIBUTES, 0x8b, true);
  }
  #tableOf(base: number): void {
    this.processor.view.setBigUint64(IDTR_BASE, BigInt(base), true);
    this.processor.view.setUint32(IDTR_LIMIT, base === IDT ? 0xfff : 0x7ff, true);
    this.#awake();
  }

  #awake(): void {
    this.processor.view.setUint32(ACTIVITY, 0, true);
    for (const word of [SHADOW, NMI_BLOCKED, NMI_PENDING, INTERRUPT_WAITING, DEBUG_PENDING])
      this.processor.view.setUint32(word, 0, true);
  }

  /** 64-bit mode at CPL 0 or 3. */
  long(level: 0 | 3 = 0): void {
    this.#segments(level ? USER_CODE64 : KERNEL_CODE, ACCESS.CODE64, level ? USER_DATA : KERNEL_DATA);
    this.#tableOf(IDT);
    this.set({
      cr0: 0x80050033n,
      cr3: PML4,
      cr4: 0x620,
      efer: 0xd01,
      star: 0x0018_0008_0000_0000n,
      flags: 2,
      rsp: level ? USER_STACK : STACK,
      rip: level ? USER_CODE : CODE,
    });
  }
  /** Compatibility mode, 32-bit code. */
  compatibility(level: 0 | 3 = 0): void {
    this.long(level);
    this.setSegment("cs", level ? USER_CODE32 : CODE32, level ? ACCESS.CODE32 | ACCESS.USER : ACCESS.CODE32);
    this.processor.applyRegisters();
  }
  /** 32-bit protected mode without paging. */
  protected32(level: 0 | 3 = 0): void {
    this.#segments(level ? USER_CODE32 : CODE32, ACCESS.CODE32, level ? USER_DATA : KERNEL_DATA);
    this.#tableOf(IDT32);
    this.write(TSS + 4, BigInt(STACK0) | (BigInt(KERNEL_DATA) << 32n));
    this.set({
      cr0: 0x33,
      cr3: 0,
      cr4: 0,
      efer: 0,
      flags: 2,
      rsp: level ? USER_STACK : STACK,
      rip: level ? USER_CODE : CODE,
    });
  }
  /** Real mode: CS:IP = 0000:`ip`, all segments 0, SP = 0x8000. */
  real(ip = 0xc000): void {
    for (const name of ["es", "cs", "ss", "ds", "fs", "gs"] as const)
      this.setSegment(name, 0, 0x93, 0, 0xffff);
    this.processor.view.setBigUint64(IDTR_BASE, 0n, true);
    this.processor.view.setUint32(IDTR_LIMIT, 0x3ff, true);
    this.#awake();
    this.set({ cr0: 0x10, cr3: 0, cr4: 0, efer: 0, flags: 2, rsp: 0x8000, rip: ip });
  }

  // ---- running ----

  /** Puts `program` where RIP points and runs until HLT, shutdown or 10,000 instructions. */
  run(program: readonly number[] = [], limit = 10_000): "halt" | "shutdown" | "limit" | "pause" {
    if (program.length > 0) this.store(Number(this.rip()), program);
    const end = this.processor.now() + limit;
    let stop: ReturnType<Processor["run"]>;
    do stop = this.processor.run(end);
    while (stop === "limit" && this.processor.now() < end && this.processor.activity(0) === 0);
    return stop;
  }
  /** Runs; the vector of the handler that was reached, or what else happened. */
  vectorOf(program: readonly number[] = []): number | string {
    const stop = this.run(program);
    const offset = Number(this.rip()) - 1 - HANDLERS;
    return stop === "halt" && offset >= 0 && offset < 0x1000 && offset % 16 === 0 ? offset / 16 : stop;
  }
  /** The frame on top of the stack of the handler that was reached. */
  frame(): Frame {
    const vector = (Number(this.rip()) - 1 - HANDLERS) / 16;
    const words = WITH_ERROR.has(vector) ? 1 : 0;
    const at = Number(this.gpr("rsp")) + 8 * words;
    return {
      error: words ? this.read(this.gpr("rsp")) : undefined,
      rip: this.read(at),
      cs: Number(this.read(at + 8)),
      rflags: this.read(at + 16),
      rsp: this.read(at + 24),
      ss: Number(this.read(at + 32)),
    };
  }
  /** Vector and error code: `"#13(0x10)"`, or the reason of the stop. */
  outcome(program: readonly number[] = []): string {
    const vector = this.vectorOf(program);
    if (typeof vector === "string") return vector;
    const stackBytes = this.word(EFER) & 0x400 ? 8 : 4;
    return WITH_ERROR.has(vector)
      ? `#${vector}(0x${this.read(this.gpr("rsp"), stackBytes).toString(16)})`
      : `#${vector}`;
  }
  /** Continues after a HLT in the program itself. */
  wake(): void {
    this.processor.wake(0);
  }
}

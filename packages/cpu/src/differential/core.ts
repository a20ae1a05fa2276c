import {
  CONTEXT,
  CPL,
  CR0,
  CR3,
  CR4,
  EFER,
  CR2 as FAULT_ADDRESS,
  GDTR_BASE,
  GDTR_LIMIT,
  GPR,
  IDTR_BASE,
  IDTR_LIMIT,
  LDTR_ATTRIBUTES,
  LDTR_LIMIT,
  LDTR_SELECTOR,
  LSTAR,
  MXCSR,
  RIP,
  SEGMENT_ATTRIBUTES,
  SEGMENT_BASE,
  SEGMENT_LIMIT,
  SEGMENT_SELECTOR,
  SFMASK,
  STAR,
  TR_ATTRIBUTES,
  TR_BASE,
  TR_LIMIT,
  TR_SELECTOR,
  X87,
  X87_CODE,
  X87_CONTROL,
  X87_DATA,
  X87_OPCODE,
  X87_STATUS,
  X87_TAG,
  XMM,
} from "../../assembly/layout.ts";
import { Processor, type ProcessorHost } from "../processor.ts";
import {
  A_BASE,
  A_CODE,
  A_CODE_SIZE,
  A_CONSTANT,
  A_CROSS,
  A_DATA,
  A_DATA_SIZE,
  A_HEAD,
  A_MODIFIABLE,
  A_MODIFIABLE_SIZE,
  A_TAIL,
  constantByte,
  END_MARKER,
  FX_CODE,
  FX_CONTROL,
  FX_DATA,
  FX_MXCSR,
  FX_OPCODE,
  FX_ST,
  FX_STATUS,
  FX_TAG,
  FX_XMM,
  PAGE,
  R_CODE,
  R_CR2,
  R_CROSS,
  R_CROSS_SIZE,
  R_ERROR,
  R_FLAGS,
  R_FS_BASE,
  R_GPR,
  R_GS_BASE,
  R_HEAD,
  R_HEAD_SIZE,
  R_LENGTH,
  R_RIP,
  R_SELECTORS,
  R_STRAY,
  R_TAIL,
  R_TAIL_SIZE,
  R_VECTOR,
  R_VECTOR_SYSCALL,
  R_VECTOR_TIMEOUT,
  strayHash,
} from "./record.ts";

/*
 * A system made to look, from user code, like the Linux process on the native side: same selectors, same CR0 and CR4 as
 * far as user code can tell, same pages. IRETQ enters a case and the IDT ends it: each handler is one HLT.
 *
 * Guest physical memory: tables and handlers below 1 MiB (supervisor, mapped at KERNEL), the pages of the case at PAGES.
 */
const KERNEL_HIGH = 0xffffff80; // upper half of the linear address of guest physical 0
const PAGES = 0x200000;
const PML4 = 0x1000;
const GDT = 0x8000;
const IDT = 0x9000;
const TSS = 0xa000;
const STACK_TOP = 0xc000;
const HANDLERS = 0xd000; // 16 bytes each
const ENTRY = 0xe000; // IRETQ
const SYSTEM_CALL = 0xf000;
const RAM_SIZE = 0x800000;

/** The GDT of Linux, entries 1 to 6: kernel 32-bit code, kernel code, kernel data, user 32-bit code, user data, user code. */
const DESCRIPTORS: readonly [high: number, low: number][] = [
  [0, 0],
  [0x00cf9b00, 0xffff],
  [0x00af9b00, 0xffff],
  [0x00cf9300, 0xffff],
  [0x00cffb00, 0xffff],
  [0x00cff300, 0xffff],
  [0x00affb00, 0xffff],
];
const TASK_SELECTOR = 0x40;
/** #BP and #OF can be raised by INT n from user code, as in Linux. */
const USER_GATES = new Set([3, 4]);
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** Enough for the longest REP; what runs longer is in a loop. */
const INSTRUCTION_LIMIT = 20_000;

const SILENT_HOST: ProcessorHost = {
  portIn: () => 0xffffffff,
  portOut: () => {},
  mmioRead: () => 0xffffffff,
  mmioWrite: () => {},
  cpuid: (_leaf, _subleaf, out) => {
    out.fill(0);
  },
  readMsr: () => false,
  writeMsr: () => false,
  readTaskPriority: () => 0,
  writeTaskPriority: () => {},
  hypercall: () => false,
  random: () => 0n,
};

/** Runs records on the software processor, in place, as native.c does on the real one. */
export class Core {
  readonly #processor: Processor;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #view: DataView;
  readonly #ram: number;
  readonly #data: Int32Array;
  /** The context page as it is in a handler, to start over from after a case that did not end. */
  readonly #clean: Uint8Array;

  private constructor(processor: Processor) {
    this.#processor = processor;
    this.#view = processor.view;
    this.#bytes = new Uint8Array(processor.view.buffer, processor.view.byteOffset, processor.view.byteLength);
    this.#words = new Uint32Array(
      processor.view.buffer,
      processor.view.byteOffset,
      processor.view.byteLength >> 2,
    );
    this.#ram = processor.ram.byteOffset - processor.view.byteOffset;
    this.#data = new Int32Array(
      processor.view.buffer,
      processor.ram.byteOffset + this.#physical(A_DATA),
      A_DATA_SIZE / 4,
    );
    this.#buildTables();
    this.#buildContext();
    this.#clean = this.#bytes.slice(CONTEXT, CONTEXT + PAGE);
  }

  static async create(): Promise<Core> {
    return new Core(await Processor.create({ ramSize: RAM_SIZE, vcpus: 1, host: SILENT_HOST }));
  }

  /** Runs the case in `record` (bytes of one record) and overwrites it with the outcome. */
  run(record: DataView): void {
    const bytes = new Uint8Array(record.buffer, record.byteOffset, record.byteLength);
    const start = record.getUint32(R_RIP, true);
    const length = record.getUint32(R_LENGTH, true);
    const code = this.#codeAddress(start);
    this.#loadMemory(bytes, code, length);
    this.#loadRegisters(record, bytes);
    const processor = this.#processor;
    const stop = processor.run(processor.now() + INSTRUCTION_LIMIT);
    let vector = R_VECTOR_TIMEOUT;
    if (stop === "halt") {
      const handler = this.#words[RIP >> 2] as number;
      vector = (handler & 0xf000) === (SYSTEM_CALL & 0xf000) ? R_VECTOR_SYSCALL : (handler - HANDLERS) >> 4;
      processor.wake(0);
    }
    this.#storeRegisters(record, bytes, vector);
    this.#storeMemory(record, bytes, code, length);
    if (stop !== "halt") this.reset();
  }

  /** Back to the state between two cases. */
  reset(): void {
    this.#bytes.set(this.#clean, CONTEXT);
    this.#processor.applyRegisters();
  }

  /** Guest physical address of a linear one inside the pages of the case. */
  #physical(linear: number): number {
    return PAGES + linear - A_BASE;
  }

  /** Wasm address of `start` when it is in a code region, else 0. */
  #codeAddress(start: number): number {
    const inside =
      (start >= A_CODE && start < A_CODE + A_CODE_SIZE) ||
      (start >= A_MODIFIABLE && start < A_MODIFIABLE + A_MODIFIABLE_SIZE);
    return inside ? this.#ram + this.#physical(start) : 0;
  }

  #loadMemory(record: Uint8Array, code: number, length: number): void {
    const bytes = this.#bytes;
    const at = (linear: number) => this.#ram + this.#physical(linear);
    bytes.set(record.subarray(R_CROSS, R_CROSS + R_CROSS_SIZE), at(A_CROSS));
    bytes.set(record.subarray(R_HEAD, R_HEAD + R_HEAD_SIZE), at(A_HEAD));
    bytes.set(record.subarray(R_TAIL, R_TAIL + R_TAIL_SIZE), at(A_TAIL));
    if (code === 0) return;
    for (let i = 0; i < length; i++) bytes[code + i] = record[R_CODE + i] as number;
    this.#processor.codeWritten(code - this.#ram, length);
  }

  #storeMemory(record: DataView, to: Uint8Array, code: number, length: number): void {
    const bytes = this.#bytes;
    const take = (linear: number, offset: number, size: number) => {
      const at = this.#ram + this.#physical(linear);
      to.set(bytes.subarray(at, at + size), offset);
      bytes.fill(0, at, at + size);
    };
    take(A_CROSS, R_CROSS, R_CROSS_SIZE);
    take(A_HEAD, R_HEAD, R_HEAD_SIZE);
    take(A_TAIL, R_TAIL, R_TAIL_SIZE);
    const stray = strayHash(this.#data);
    if (stray !== 0) this.#data.fill(0);
    record.setUint32(R_STRAY, stray, true);
    record.setUint32(R_STRAY + 4, 0, true);
    if (code === 0) return;
    for (let i = 0; i < length; i++) {
      to[R_CODE + i] = bytes[code + i] as number;
      bytes[code + i] = END_MARKER;
    }
    this.#processor.codeWritten(code - this.#ram, length);
  }

  #loadRegisters(record: DataView, bytes: Uint8Array): void {
    const view = this.#view;
    const words = this.#words;
    for (let i = 0; i < 32; i++) words[(GPR >> 2) + i] = record.getUint32(R_GPR + 4 * i, true);
    // IRETQ takes RIP, CS, RFLAGS, RSP and SS from this frame.
    const frame = this.#ram + STACK_TOP - 40;
    view.setUint32(frame, record.getUint32(R_RIP, true), true);
    view.setUint32(frame + 4, record.getUint32(R_RIP + 4, true), true);
    view.setUint32(frame + 8, record.getUint16(R_SELECTORS + 2, true), true);
    view.setUint32(frame + 12, 0, true);
    view.setUint32(frame + 16, record.getUint32(R_FLAGS, true), true);
    view.setUint32(frame + 20, 0, true);
    view.setUint32(frame + 24, record.getUint32(R_GPR + 32, true), true);
    view.setUint32(frame + 28, record.getUint32(R_GPR + 36, true), true);
    view.setUint32(frame + 32, record.getUint16(R_SELECTORS + 4, true), true);
    view.setUint32(frame + 36, 0, true);
    words[(GPR + 32) >> 2] = STACK_TOP - 40;
    words[(GPR + 36) >> 2] = KERNEL_HIGH;
    words[RIP >> 2] = ENTRY;
    words[(RIP + 4) >> 2] = KERNEL_HIGH;
    this.#loadSegment(1, record.getUint16(R_SELECTORS, true));
    this.#loadSegment(4, record.getUint16(R_SELECTORS + 6, true));
    this.#loadSegment(5, record.getUint16(R_SELECTORS + 8, true));
    this.#loadSegment(6, record.getUint16(R_SELECTORS + 10, true));
    for (let i = 0; i < 2; i++) {
      words[((SEGMENT_BASE + 40) >> 2) + i] = record.getUint32(R_FS_BASE + 4 * i, true);
      words[((SEGMENT_BASE + 48) >> 2) + i] = record.getUint32(R_GS_BASE + 4 * i, true);
    }
    this.#loadFloat(record, bytes);
  }

  /** A flat user data segment, or a null one. */
  #loadSegment(index: number, selector: number): void {
    const view = this.#view;
    view.setUint16(SEGMENT_SELECTOR + 2 * index, selector, true);
    const present = (selector & ~3) !== 0;
    view.setUint16(SEGMENT_ATTRIBUTES + 2 * index, present ? 0xc0f3 : 0, true);
    view.setUint32(SEGMENT_LIMIT + 4 * index, present ? 0xffffffff : 0, true);
    view.setUint32(SEGMENT_BASE + 8 * index, 0, true);
    view.setUint32(SEGMENT_BASE + 8 * index + 4, 0, true);
  }

  /** FXSAVE lists the x87 registers from the top of the stack, the context by number. */
  #loadFloat(record: DataView, bytes: Uint8Array): void {
    const view = this.#view;
    const words = this.#words;
    const status = record.getUint16(FX_STATUS, true);
    const top = (status >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const to = (X87 + 16 * ((top + i) & 7)) >> 2;
      const from = FX_ST + 16 * i;
      words[to] = record.getUint32(from, true);
      words[to + 1] = record.getUint32(from + 4, true);
      words[to + 2] = record.getUint16(from + 8, true);
      words[to + 3] = 0;
    }
    view.setUint16(X87_CONTROL, record.getUint16(FX_CONTROL, true), true);
    view.setUint16(X87_STATUS, status, true);
    view.setUint8(X87_TAG, record.getUint8(FX_TAG));
    view.setUint16(X87_OPCODE, 0, true);
    view.setUint32(MXCSR, record.getUint32(FX_MXCSR, true), true);
    this.#bytes.set(bytes.subarray(FX_XMM, FX_XMM + 256), XMM);
  }

  #storeRegisters(record: DataView, bytes: Uint8Array, vector: number): void {
    const view = this.#view;
    const words = this.#words;
    for (let i = 0; i < 32; i++) record.setUint32(R_GPR + 4 * i, words[(GPR >> 2) + i] as number, true);
    // RIP, CS, RFLAGS, RSP and SS are what the exception pushed.
    const frame = this.#ram + STACK_TOP - 40;
    const error = WITH_ERROR.has(vector) ? view.getUint32(frame - 8, true) : 0;
    for (let i = 0; i < 8; i += 4) {
      record.setUint32(R_RIP + i, view.getUint32(frame + i, true), true);
      record.setUint32(R_FLAGS + i, view.getUint32(frame + 16 + i, true), true);
      record.setUint32(R_GPR + 32 + i, view.getUint32(frame + 24 + i, true), true);
      record.setUint32(R_FS_BASE + i, words[(SEGMENT_BASE + 40 + i) >> 2] as number, true);
      record.setUint32(R_GS_BASE + i, words[(SEGMENT_BASE + 48 + i) >> 2] as number, true);
      record.setUint32(R_CR2 + i, vector === 14 ? (words[(FAULT_ADDRESS + i) >> 2] as number) : 0, true);
    }
    record.setUint32(R_VECTOR, vector, true);
    record.setUint32(R_ERROR, error, true);
    record.setUint16(R_SELECTORS, this.#selector(1), true);
    record.setUint16(R_SELECTORS + 2, view.getUint16(frame + 8, true), true);
    record.setUint16(R_SELECTORS + 4, view.getUint16(frame + 32, true), true);
    for (let i = 4; i < 7; i++) {
      record.setUint16(R_SELECTORS + 2 * i - 2, this.#selector(i), true);
    }
    const status = view.getUint16(X87_STATUS, true);
    const top = (status >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const from = (X87 + 16 * ((top + i) & 7)) >> 2;
      const to = FX_ST + 16 * i;
      record.setUint32(to, words[from] as number, true);
      record.setUint32(to + 4, words[from + 1] as number, true);
      record.setUint32(to + 8, words[from + 2] as number, true);
    }
    record.setUint16(FX_CONTROL, view.getUint16(X87_CONTROL, true), true);
    record.setUint16(FX_STATUS, status, true);
    record.setUint8(FX_TAG, view.getUint8(X87_TAG));
    record.setUint16(FX_OPCODE, view.getUint16(X87_OPCODE, true), true);
    for (let i = 0; i < 8; i += 4) {
      record.setUint32(FX_CODE + i, words[(X87_CODE + i) >> 2] as number, true);
      record.setUint32(FX_DATA + i, words[(X87_DATA + i) >> 2] as number, true);
    }
    record.setUint32(FX_MXCSR, view.getUint32(MXCSR, true), true);
    bytes.set(this.#bytes.subarray(XMM, XMM + 256), FX_XMM);
  }

  /** As a signal handler sees it: the kernel's IRET has made 0 of any null selector. */
  #selector(index: number): number {
    const value = this.#view.getUint16(SEGMENT_SELECTOR + 2 * index, true);
    return value < 4 ? 0 : value;
  }

  #buildTables(): void {
    const ram = this.#ram;
    const put64 = (at: number, low: number, high: number) => {
      this.#view.setUint32(ram + at, low, true);
      this.#view.setUint32(ram + at + 4, high, true);
    };
    // Paging: the lower half holds the pages of the case only, PML4 entry 511 maps guest physical 0 for the system.
    put64(PML4, 0x2007, 0);
    put64(0x2000, 0x3007, 0);
    put64(0x3000 + 8 * (A_BASE >> 21), 0x4007, 0);
    put64(PML4 + 8 * 511, 0x5003, 0);
    put64(0x5000, 0x6003, 0);
    put64(0x6000, 0x83, 0);
    const map = (from: number, size: number, low: number, high: number) => {
      for (let at = from; at < from + size; at += PAGE) {
        put64(0x4000 + 8 * ((at - A_BASE) >> 12), (this.#physical(at) | low) >>> 0, high);
      }
    };
    map(A_CODE, A_CODE_SIZE, 5, 0);
    map(A_MODIFIABLE, A_MODIFIABLE_SIZE, 7, 0);
    map(A_DATA, A_DATA_SIZE, 7, 0x80000000);
    map(A_CONSTANT, PAGE, 5, 0x80000000);
    const fill = (from: number, size: number) => {
      this.#bytes.fill(END_MARKER, ram + this.#physical(from), ram + this.#physical(from) + size);
    };
    fill(A_CODE, A_CODE_SIZE);
    fill(A_MODIFIABLE, A_MODIFIABLE_SIZE);
    for (let i = 0; i < PAGE; i++) this.#bytes[ram + this.#physical(A_CONSTANT) + i] = constantByte(i);

    for (const [index, [high, low]] of DESCRIPTORS.entries()) put64(GDT + 8 * index, low, high);
    put64(GDT + TASK_SELECTOR, (((TSS & 0xffff) << 16) | 0x67) >>> 0, 0x8b00);
    put64(GDT + TASK_SELECTOR + 8, KERNEL_HIGH, 0);
    put64(TSS + 4, STACK_TOP, KERNEL_HIGH);
    this.#view.setUint16(ram + TSS + 0x66, 0x68, true); // no I/O bitmap
    for (let vector = 0; vector < 256; vector++) {
      const handler = HANDLERS + 16 * vector;
      const type = USER_GATES.has(vector) ? 0xee00 : 0x8e00;
      put64(IDT + 16 * vector, ((0x10 << 16) | (handler & 0xffff)) >>> 0, type);
      put64(IDT + 16 * vector + 8, KERNEL_HIGH, 0);
      this.#bytes[ram + handler] = 0xf4;
    }
    this.#bytes[ram + ENTRY] = 0x48;
    this.#bytes[ram + ENTRY + 1] = 0xcf;
    this.#bytes[ram + SYSTEM_CALL] = 0xf4;
  }

  #buildContext(): void {
    const view = this.#view;
    const processor = this.#processor;
    const set = (at: number, low: number, high = 0) => {
      view.setUint32(at, low, true);
      view.setUint32(at + 4, high, true);
    };
    processor.resetVcpu(0, "power-on");
    set(CR0, 0x80050033);
    set(CR3, PML4);
    // DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT UMIP FSGSBASE SMEP SMAP
    set(CR4, 0x310ef8);
    set(EFER, 0xd01);
    set(GDTR_BASE, GDT, KERNEL_HIGH);
    view.setUint32(GDTR_LIMIT, 0x7f, true);
    set(IDTR_BASE, IDT, KERNEL_HIGH);
    view.setUint32(IDTR_LIMIT, 0xfff, true);
    set(TR_BASE, TSS, KERNEL_HIGH);
    view.setUint32(TR_LIMIT, 0x67, true);
    view.setUint16(TR_SELECTOR, TASK_SELECTOR, true);
    view.setUint16(TR_ATTRIBUTES, 0x8b, true);
    view.setUint16(LDTR_SELECTOR, 0, true);
    view.setUint16(LDTR_ATTRIBUTES, 0, true);
    view.setUint32(LDTR_LIMIT, 0, true);
    set(LSTAR, SYSTEM_CALL, KERNEL_HIGH);
    set(STAR, 0, 0x00230010);
    set(SFMASK, 0x47700);
    view.setUint32(CPL, 0, true);
    for (let index = 1; index < 7; index++) {
      const attributes = index === 2 ? 0xa09b : index === 3 ? 0xc093 : 0;
      view.setUint16(SEGMENT_SELECTOR + 2 * index, index === 2 ? 0x10 : index === 3 ? 0x18 : 0, true);
      view.setUint16(SEGMENT_ATTRIBUTES + 2 * index, attributes, true);
      view.setUint32(SEGMENT_LIMIT + 4 * index, attributes === 0 ? 0 : 0xffffffff, true);
      set(SEGMENT_BASE + 8 * index, 0);
    }
    set(RIP, ENTRY, KERNEL_HIGH);
    processor.applyRegisters();
  }
}

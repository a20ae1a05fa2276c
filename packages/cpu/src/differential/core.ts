import {
  CONTEXT,
  CR2 as FAULT_ADDRESS,
  GPR,
  MXCSR,
  RIP,
  SEGMENT_ATTRIBUTES,
  SEGMENT_BASE,
  SEGMENT_LIMIT,
  SEGMENT_SELECTOR,
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
  buildProcessImage,
  ENTRY,
  HANDLERS,
  KERNEL_HIGH,
  physical,
  RAM_SIZE,
  STACK_TOP,
  SYSTEM_CALL,
} from "./process-image.ts";
import {
  A_CODE,
  A_CODE_SIZE,
  A_CROSS,
  A_DATA,
  A_DATA_SIZE,
  A_HEAD,
  A_MODIFIABLE,
  A_MODIFIABLE_SIZE,
  A_SEGMENT,
  A_TAIL,
  CS_16,
  DATA_LIMIT,
  DS_LIMITED,
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

/** The error code is pushed for these vectors. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** Enough for the longest REP; what runs longer is in a loop. */
const INSTRUCTION_LIMIT = 500_000;

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
  readonly #modifiable: Int32Array;
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
    const words = (linear: number, size: number) =>
      new Int32Array(processor.view.buffer, processor.ram.byteOffset + physical(linear), size / 4);
    this.#data = words(A_DATA, A_DATA_SIZE);
    this.#modifiable = words(A_MODIFIABLE, A_MODIFIABLE_SIZE);
    buildProcessImage(processor);
    this.#clean = this.#bytes.slice(CONTEXT, CONTEXT + PAGE);
  }

  static async create(): Promise<Core> {
    return new Core(await Processor.create({ ramSize: RAM_SIZE, vcpus: 1, host: SILENT_HOST }));
  }

  /** Runs the case in `record` (bytes of one record) and overwrites it with the outcome. */
  run(record: DataView): void {
    const bytes = new Uint8Array(record.buffer, record.byteOffset, record.byteLength);
    const code16 = record.getUint16(R_SELECTORS + 2, true) === CS_16;
    const start = record.getUint32(R_RIP, true) + (code16 ? A_CODE : 0);
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

  /** Wasm address of `start` when it is in a code region, else 0. */
  #codeAddress(start: number): number {
    const inside =
      (start >= A_CODE && start < A_CODE + A_CODE_SIZE) ||
      (start >= A_MODIFIABLE && start < A_MODIFIABLE + A_MODIFIABLE_SIZE);
    return inside ? this.#ram + physical(start) : 0;
  }

  #loadMemory(record: Uint8Array, code: number, length: number): void {
    const bytes = this.#bytes;
    const at = (linear: number) => this.#ram + physical(linear);
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
      const at = this.#ram + physical(linear);
      to.set(bytes.subarray(at, at + size), offset);
      bytes.fill(0, at, at + size);
    };
    take(A_CROSS, R_CROSS, R_CROSS_SIZE);
    take(A_HEAD, R_HEAD, R_HEAD_SIZE);
    take(A_TAIL, R_TAIL, R_TAIL_SIZE);
    let stray = strayHash(this.#data, 0);
    if (stray !== 0) this.#data.fill(0);
    if (code !== 0) {
      for (let i = 0; i < length; i++) {
        to[R_CODE + i] = bytes[code + i] as number;
        bytes[code + i] = END_MARKER;
      }
      this.#processor.codeWritten(code - this.#ram, length);
      if (code >= this.#ram + physical(A_MODIFIABLE)) stray ^= this.#takeModifiable();
    }
    record.setUint32(R_STRAY, stray >>> 0, true);
    record.setUint32(R_STRAY + 4, 0, true);
  }

  /** Code that may modify itself may also have written beside itself. */
  #takeModifiable(): number {
    const idle = END_MARKER * 0x01010101;
    const stray = strayHash(this.#modifiable, idle | 0);
    if (stray === 0) return 0;
    this.#modifiable.fill(idle);
    this.#processor.codeWritten(physical(A_MODIFIABLE), A_MODIFIABLE_SIZE);
    return stray;
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

  /** A flat user data segment, the limited one, or a null one. */
  #loadSegment(index: number, selector: number): void {
    const view = this.#view;
    view.setUint16(SEGMENT_SELECTOR + 2 * index, selector, true);
    const present = (selector & ~3) !== 0;
    const limited = selector === DS_LIMITED;
    view.setUint16(SEGMENT_ATTRIBUTES + 2 * index, limited ? 0x00f3 : present ? 0xc0f3 : 0, true);
    view.setUint32(SEGMENT_LIMIT + 4 * index, limited ? DATA_LIMIT : present ? 0xffffffff : 0, true);
    view.setUint32(SEGMENT_BASE + 8 * index, limited ? A_SEGMENT : 0, true);
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
}

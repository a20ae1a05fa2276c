import * as layout from "../assembly/layout.ts";
import { instantiate, type ProcessorModule } from "./module.ts";

/** What the processor asks of the machine around it. Every call answers at once and must not call the Processor, except `codeWritten`, `stopSoon`, `setInterruptWaiting`, `pendNmi`, `wake`, `resetVcpu`, `startup`, `skipTo` and the reading methods. */
export interface ProcessorHost {
  /** `width` in bytes: 1, 2 or 4. */
  portIn(port: number, width: number): number;
  portOut(port: number, width: number, value: number): void;
  /** `at` is a guest physical address outside RAM, exact below 2^52. 64-bit accesses arrive as two of 4 bytes, low first. */
  mmioRead(at: number, width: number): number;
  mmioWrite(at: number, width: number, value: number): void;
  /** Fills EAX, EBX, ECX, EDX. */
  cpuid(leaf: number, subleaf: number, out: Uint32Array): void;
  /** Fills the low and the high half; false gives the guest #GP(0). */
  readMsr(msr: number, out: Uint32Array): boolean;
  writeMsr(msr: number, low: number, high: number): boolean;
  /** CR8: bits 4 to 7 of the local APIC's task priority register. */
  readTaskPriority(): number;
  writeTaskPriority(value: number): void;
  /** VMCALL (0) or VMMCALL (1); false gives the guest #UD. */
  hypercall(kind: 0 | 1): boolean;
  /** 64 random bits for RDRAND and RDSEED. */
  random(): bigint;
}

export interface ProcessorOptions {
  /** Bytes of RAM from guest physical 0: a multiple of 4096, at most 4 GiB - 128 MiB. */
  readonly ramSize: number;
  /** 1 to 16. */
  readonly vcpus: number;
  readonly host: ProcessorHost;
  /** Physical address width, 32 to 52; default 40. */
  readonly physicalBits?: number;
}

/** Why `run` came back: `limit` time is up or the host asked, `halt` HLT or waiting for a start-up IPI, `pause` a spinning vCPU among several, `shutdown` triple fault. */
export type StopReason = "limit" | "halt" | "pause" | "shutdown";

const STOP_REASONS: readonly StopReason[] = ["limit", "halt", "shutdown", "pause"];
const PAGE = 0x1000;
const WASM_PAGE = 0x10000;
const SAVE_MAGIC = 0x31435345; // "ESC1"
/** Thrown by `raise` and caught here: one object, so that a guest fault costs no stack trace. */
const FAULT: unique symbol = Symbol("guest fault");
const RESET_KINDS = { "power-on": 0, init: 1 } as const;

/** One software processor with up to 16 vCPUs that take turns. The guest's RAM is `ram`. */
export class Processor {
  readonly ram: Uint8Array;
  /** The module's whole memory: see `layout`. */
  readonly view: DataView;
  readonly vcpus: number;
  #selected = 0;
  #running = false;
  /** What a device asked for while an instruction was under way: done when it is over. */
  #deferred: (() => void)[] = [];
  readonly #module: ProcessorModule;
  readonly #bytes: Uint8Array;
  /** The memory below the block arena as 32-bit words: the halves of 64-bit ones. */
  readonly #low: Uint32Array;
  readonly #high: Int32Array;

  private constructor(module: ProcessorModule, memory: WebAssembly.Memory, options: ProcessorOptions) {
    this.#module = module;
    this.vcpus = options.vcpus;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#low = new Uint32Array(memory.buffer, 0, layout.ARENA >>> 2);
    this.#high = new Int32Array(memory.buffer, 0, layout.ARENA >>> 2);
    this.view = new DataView(memory.buffer);
    this.ram = this.#bytes.subarray(layout.RAM, layout.RAM + options.ramSize);
    this.#setWord(layout.RAM_SIZE, options.ramSize);
    this.view.setUint32(layout.VCPU_COUNT, options.vcpus, true);
    this.view.setUint32(layout.PHYSICAL_BITS, options.physicalBits ?? 40, true);
    module.forgetAll();
    for (let i = 0; i < options.vcpus; i++) {
      this.select(i);
      this.view.setUint32(layout.VCPU_INDEX, i, true);
      module.resetContext(RESET_KINDS["power-on"]);
    }
    this.select(0);
  }

  /** Compiles the module on first use and builds a processor in its reset state. */
  static async create(options: ProcessorOptions): Promise<Processor> {
    const { ramSize, vcpus, host, physicalBits = 40 } = options;
    if (!Number.isInteger(ramSize) || ramSize <= 0 || ramSize % PAGE !== 0 || ramSize > 2 ** 32 - layout.RAM)
      throw new RangeError(`RAM must be a multiple of 4096 bytes, at most 4 GiB - 128 MiB: ${ramSize}`);
    if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > 16) throw new RangeError(`1 to 16 vCPUs: ${vcpus}`);
    if (!Number.isInteger(physicalBits) || physicalBits < 32 || physicalBits > 52)
      throw new RangeError(`32 to 52 physical address bits: ${physicalBits}`);
    const pages = Math.ceil((layout.RAM + ramSize) / WASM_PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const scratch = new Uint32Array(memory.buffer, layout.SCRATCH, 4);
    const scratch64 = new BigUint64Array(memory.buffer, layout.SCRATCH, 1);
    const module = await instantiate(memory, {
      raise: () => {
        throw FAULT;
      },
      portIn: (port, width) => host.portIn(port!, width!),
      portOut: (port, width, value) => void host.portOut(port!, width!, value! >>> 0),
      mmioRead: (at, width) => host.mmioRead(at!, width!),
      mmioWrite: (at, width, value) => void host.mmioWrite(at!, width!, value! >>> 0),
      cpuid: (leaf, subleaf) => {
        scratch.fill(0);
        host.cpuid(leaf! >>> 0, subleaf! >>> 0, scratch);
        return undefined;
      },
      readMsr: (msr) => {
        scratch.fill(0);
        return host.readMsr(msr! >>> 0, scratch) ? 1 : 0;
      },
      writeMsr: (msr, low, high) => (host.writeMsr(msr! >>> 0, low! >>> 0, high! >>> 0) ? 1 : 0),
      readTaskPriority: () => host.readTaskPriority(),
      writeTaskPriority: (value) => void host.writeTaskPriority(value!),
      hypercall: (kind) => (host.hypercall(kind === 0 ? 0 : 1) ? 1 : 0),
      random: () => {
        scratch64[0] = BigInt.asUintN(64, host.random());
        return undefined;
      },
    });
    return new Processor(module, memory, options);
  }

  // ---- vCPUs ----

  get selected(): number {
    return this.#selected;
  }

  /** Is vCPU `i` in the middle of `run`, as inside one of its exits? */
  isRunning(i: number): boolean {
    return this.#running && i === this.#selected;
  }

  /** Address in `view` of vCPU `i`'s context page: offsets are those of `layout` less `layout.CONTEXT`. */
  context(i: number): number {
    this.#check(i);
    return i === this.#selected ? layout.CONTEXT : layout.CONTEXTS + i * PAGE;
  }

  /** Puts vCPU `i`'s context in place. Its translations and blocks from an earlier turn stay good. */
  select(i: number): void {
    this.#check(i);
    if (this.#running) throw new Error("A vCPU cannot be selected while one runs.");
    if (i !== this.#selected) {
      this.#bytes.copyWithin(layout.CONTEXTS + this.#selected * PAGE, layout.CONTEXT, layout.CONTEXT + PAGE);
      this.#bytes.copyWithin(layout.CONTEXT, layout.CONTEXTS + i * PAGE, layout.CONTEXTS + (i + 1) * PAGE);
      this.#selected = i;
    }
    this.#module.adoptContext();
  }

  /** Runs the selected vCPU until virtual time `until` (ns) or until something stops it. */
  run(until: number): StopReason {
    this.#setWord(
      layout.LIMIT,
      Math.min(Math.ceil(until), Number.MAX_SAFE_INTEGER) - this.#word(layout.SKEW),
    );
    this.view.setUint32(layout.STOP, layout.STOP_LIMIT, true);
    this.#running = true;
    let stop: number;
    try {
      stop = this.#guarded(() => this.#module.run(), true);
    } finally {
      this.#running = false;
    }
    for (const action of this.#deferred.splice(0)) action();
    return STOP_REASONS[stop] ?? "limit";
  }

  /** Makes `run` return at the next block boundary. */
  stopSoon(): void {
    this.#setWord(layout.LIMIT, 0);
  }

  /** ACTIVITY_* of vCPU `i`. */
  activity(i: number): number {
    return this.view.getUint32(this.context(i) + layout.ACTIVITY - layout.CONTEXT, true);
  }

  /** Ends a HLT: something is there for the vCPU. */
  wake(i: number): void {
    if (this.activity(i) === layout.ACTIVITY_HALTED)
      this.#setContext(i, layout.ACTIVITY, layout.ACTIVITY_RUNNING);
  }

  /** INIT or power-on. While an instruction runs it takes effect when `run` returns, which is soon. */
  resetVcpu(i: number, kind: "power-on" | "init"): void {
    this.#onContext(i, () => this.#module.resetContext(RESET_KINDS[kind]));
  }

  /** Start-up IPI: real mode at `vector` << 12; ignored unless the vCPU waits for one. */
  startup(i: number, vector: number): void {
    this.#onContext(i, () => this.#module.startup(vector));
  }

  // ---- interrupts ----

  /** The selected vCPU would take an external interrupt now. */
  canInterrupt(): boolean {
    return this.#module.canInterrupt() !== 0;
  }

  /** Delivers an external interrupt to the selected vCPU; `canInterrupt()` must hold. */
  interrupt(vector: number): void {
    this.#guarded(() => this.#module.interrupt(vector), false);
  }

  /** The selected vCPU leaves `run` as soon as it could take an interrupt. */
  setInterruptWaiting(waiting: boolean): void {
    this.view.setUint32(layout.INTERRUPT_WAITING, waiting ? 1 : 0, true);
  }

  /** Latches an NMI for vCPU `i`: delivered when it next runs and may take it. */
  pendNmi(i: number): void {
    this.#setContext(i, layout.NMI_PENDING, 1);
    // A halted vCPU whose handler of an earlier NMI has not returned stays halted: this one waits for the IRET.
    if (this.view.getUint32(this.context(i) + layout.NMI_BLOCKED - layout.CONTEXT, true) === 0) this.wake(i);
    if (i === this.#selected) this.stopSoon();
  }

  // ---- time ----

  /** Virtual time in ns: instructions plus time that passed without any. */
  now(): number {
    return this.#word(layout.COUNT) + this.#word(layout.SKEW);
  }

  /** Instructions executed by all vCPUs. */
  get instructions(): number {
    return this.#word(layout.COUNT);
  }

  /** Lets time pass without instructions, up to `ns`; never backwards. */
  skipTo(ns: number): void {
    const skew = Math.ceil(ns) - this.#word(layout.COUNT);
    if (skew > this.#word(layout.SKEW)) this.#setWord(layout.SKEW, skew);
  }

  // ---- memory and registers ----

  /** RAM was written from outside (disk, loader): decoded code there is void. */
  codeWritten(at: number, length: number): void {
    this.#module.codeWritten(at, length);
  }

  /** RFLAGS of the selected vCPU, arithmetic flags included. */
  get flags(): bigint {
    return BigInt.asUintN(64, this.#module.getFlags());
  }

  set flags(value: bigint) {
    this.#module.setFlags(BigInt.asIntN(64, value));
  }

  /** After registers were written into the live context page: derives mode and privilege anew, forgets translations. */
  applyRegisters(): void {
    this.#module.applyRegisters();
  }

  /** Contexts, counts and the selected vCPU; not RAM. Valid between runs. */
  save(): Uint8Array {
    const selected = this.#selected;
    const out = new Uint8Array(32 + this.vcpus * PAGE);
    const header = new DataView(out.buffer);
    header.setUint32(0, SAVE_MAGIC, true);
    header.setUint32(4, this.vcpus, true);
    header.setUint32(8, selected, true);
    header.setBigInt64(16, this.view.getBigInt64(layout.COUNT, true), true);
    header.setBigInt64(24, this.view.getBigInt64(layout.SKEW, true), true);
    for (let i = 0; i < this.vcpus; i++) {
      const at = this.context(i);
      out.set(this.#bytes.subarray(at, at + PAGE), 32 + i * PAGE);
    }
    return out;
  }

  /** Takes back what `save` gave, for the same number of vCPUs. RAM must be in place already. Throws RangeError for anything else. */
  restore(bytes: Uint8Array): void {
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length !== 32 + this.vcpus * PAGE || header.getUint32(0, true) !== SAVE_MAGIC)
      throw new RangeError("Not a saved processor of this shape.");
    const selected = header.getUint32(8, true);
    if (header.getUint32(4, true) !== this.vcpus || selected >= this.vcpus)
      throw new RangeError("Not a saved processor of this shape.");
    this.view.setBigInt64(layout.COUNT, header.getBigInt64(16, true), true);
    this.view.setBigInt64(layout.SKEW, header.getBigInt64(24, true), true);
    for (let i = 0; i < this.vcpus; i++) {
      this.#bytes.set(bytes.subarray(32 + i * PAGE, 32 + (i + 1) * PAGE), this.context(i));
      // Tags are this processor's own: the saved ones mean nothing here.
      for (const tag of [layout.TLB_TAG, layout.TLB_EPOCH, layout.BLOCK_TAG, layout.CODE_EPOCH])
        this.#setContext(i, tag, 0);
      this.#setContext(i, layout.VCPU_INDEX, i);
    }
    this.#module.forgetAll();
    for (let i = 0; i < this.vcpus; i++) {
      this.select(i);
      this.#module.applyRegisters();
    }
    this.select(selected);
  }

  /** Event counts since creation. */
  counters(): Record<string, number> {
    const names = [
      "walks",
      "decoded",
      "blockMisses",
      "tlbFlushes",
      "codeInvalidations",
      "faults",
      "interrupts",
    ];
    return Object.fromEntries(names.map((name, i) => [name, this.#word(layout.COUNTERS + 8 * i)]));
  }

  // ---- inside ----

  #check(i: number): void {
    if (!Number.isInteger(i) || i < 0 || i >= this.vcpus) throw new RangeError(`There is no vCPU ${i}.`);
  }

  /** A signed 64-bit word as a number: exact below 2^53 in size, which virtual time reaches after a hundred days. */
  #word(at: number): number {
    return (this.#high[(at >>> 2) + 1] ?? 0) * 2 ** 32 + (this.#low[at >>> 2] ?? 0);
  }

  /** `value` is a whole number below 2^63 in size. */
  #setWord(at: number, value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#high[(at >>> 2) + 1] = high;
    this.#low[at >>> 2] = value - high * 2 ** 32;
  }

  #setContext(i: number, field: number, value: number): void {
    this.view.setUint32(this.context(i) + field - layout.CONTEXT, value, true);
  }

  /** Calls into the module; a guest fault unwinds to here, is delivered, and with `again` the call is repeated. */
  #guarded(call: () => unknown, again: boolean): number {
    let pending = call;
    while (true) {
      try {
        const result = pending();
        if (pending === call || !again) return typeof result === "number" ? result : 0;
        pending = call;
      } catch (error) {
        if (error !== FAULT) throw error;
        pending = () => this.#module.resolveFault();
      }
    }
  }

  #onContext(i: number, action: () => void): void {
    this.#check(i);
    if (this.#running) {
      this.#deferred.push(() => this.#onContext(i, action));
      this.stopSoon();
      return;
    }
    const before = this.#selected;
    this.select(i);
    action();
    this.select(before);
  }
}

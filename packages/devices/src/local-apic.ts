import type { Msr64 } from "@entresol/hypervisor";
import { ApicBase } from "./apic-base.ts";
import { accessRead, accessWrite, apicAccess, apicRegisterCount, apicRegisters } from "./apic-registers.ts";
import { ApicTimer } from "./apic-timer.ts";
import { deliveryMode } from "./delivery-mode.ts";
import type { Device, Inspection, MmioDevice, Timebase } from "./device.ts";
import { InterruptQueue } from "./interrupt-queue.ts";
import { checkLocalApicState, type LocalApicState } from "./local-apic-state.ts";
import { LocalVectorTable, lvtEntry } from "./local-vector-table.ts";

/** What a local APIC asks of the machine around it; all of it is answered within the call. */
export interface LocalApicBus {
  /** ICR write of APIC `source`. `wide`: the destination has 32 bits (x2APIC), else 8. */
  send(source: number, command: number, destination: number, wide: boolean): void;
  /** A level-triggered interrupt was finished and the guest did not suppress the broadcast. */
  endOfInterrupt(vector: number): void;
  /** INTA to the 8259 pair. */
  acknowledgeExternal(): number;
  /** vCPU `index` has a deliverable interrupt that it did not have before. */
  ready(index: number): void;
  /** A local pin asks for NMI. */
  nmi(index: number): void;
  /** A local pin asks for INIT. */
  init(index: number): void;
}

export interface LocalApicOptions {
  /** The vCPU, from 0; also the APIC id. vCPU 0 is the bootstrap processor. */
  readonly index: number;
  readonly time: Timebase;
  readonly bus: LocalApicBus;
  /** Does CPUID offer x2APIC? If not, IA32_APIC_BASE bit 10 is reserved. Default true. */
  readonly x2apic?: boolean;
  /** CPUID 0x80000008 EAX[7:0], at least 32; bounds IA32_APIC_BASE. Default 40. */
  readonly physicalAddressBits?: number;
  /** TSC ticks per second, a multiple of 1000. Default 10^9. */
  readonly tscFrequency?: number;
  /** What the guest added to the TSC, modulo 2^64; the result may be reused between calls. Default 0. */
  readonly tscOffset?: () => Msr64;
}

/** ESR bits (SDM 3A, "Error Handling"). */
export const apicError = {
  sendIllegalVector: 0x20,
  receiveIllegalVector: 0x40,
  illegalRegister: 0x80,
} as const;

/** The MSRs that a local APIC answers: these two and 0x800 to 0x8FF. */
export const apicBaseMsr = 0x1b;
export const tscDeadlineMsr = 0x6e0;
const firstX2apicMsr = 0x800;

const softwareEnable = 1 << 8;
const suppressBroadcast = 1 << 12;
const { xapic, x2apic, writable, legal } = apicAccess;

// The registers that the code treats by name.
const { index: id } = apicRegisters.id;
const { index: taskPriority } = apicRegisters.taskPriority;
const { index: arbitrationPriority } = apicRegisters.arbitrationPriority;
const { index: processorPriority } = apicRegisters.processorPriority;
const { index: endOfInterrupt } = apicRegisters.endOfInterrupt;
const { index: logicalDestination } = apicRegisters.logicalDestination;
const { index: destinationFormat } = apicRegisters.destinationFormat;
const { index: spuriousVector } = apicRegisters.spuriousVector;
const { index: inService } = apicRegisters.inService;
const { index: triggerMode } = apicRegisters.triggerMode;
const { index: interruptRequest } = apicRegisters.interruptRequest;
const { index: errorStatus } = apicRegisters.errorStatus;
const { index: commandLow } = apicRegisters.commandLow;
const { index: commandHigh } = apicRegisters.commandHigh;
const { index: lvtTimer } = apicRegisters.timer;
const { index: lvtError } = apicRegisters.error;
const { index: initialCount } = apicRegisters.initialCount;
const { index: currentCount } = apicRegisters.currentCount;
const { index: divide } = apicRegisters.divide;
const { index: selfIpi } = apicRegisters.selfIpi;

/**
 * One vCPU's local APIC (Intel SDM volume 3A, chapter "APIC"): xAPIC registers at `base`, x2APIC registers as MSRs, CR8, timer.
 * Interrupts come in by `accept` and the pins, and are pulled out by `interruptReady` and `acknowledge`.
 */
export class LocalApic implements Device<LocalApicState>, MmioDevice {
  readonly name: string;
  readonly index: number;
  /** Interrupts accepted into the IRR since the start, by vector. One that merges with a waiting one is not counted. */
  readonly accepted = new Uint32Array(256);

  readonly #bus: LocalApicBus;
  readonly #base: ApicBase;
  readonly #timer: ApicTimer;
  readonly #lvt: LocalVectorTable;
  readonly #queue = new InterruptQueue();
  /** By index: what software writes and the parts above do not keep. */
  readonly #registers = new Uint32Array(apicRegisterCount);
  /** Errors since ESR was last written. */
  #pendingErrors = 0;
  /** An ExtINT message waits. */
  #externalPending = false;
  // These follow from all of the above and are kept because they are asked for at every interrupt or exit.
  #accepts = false;
  #external = false;
  #ready = false;

  constructor(options: LocalApicOptions) {
    const { index, time, bus } = options;
    this.index = index;
    this.name = `local-apic ${index}`;
    this.#bus = bus;
    this.#base = new ApicBase(index === 0, options.x2apic ?? true, options.physicalAddressBits ?? 40);
    this.#lvt = new LocalVectorTable({
      accept: (vector, level) => this.accept(vector, level),
      nmi: () => bus.nmi(index),
      init: () => bus.init(index),
    });
    const atStart: Msr64 = { low: 0, high: 0 };
    const tsc = { frequency: options.tscFrequency ?? 1e9, offset: options.tscOffset ?? (() => atStart) };
    this.#timer = new ApicTimer(`${this.name} timer`, time, tsc, () => this.#lvt.fire(lvtEntry.timer));
    this.reset();
  }

  // --- State that routing needs -------------------------------------------------------------------------------------

  /** Guest physical address of the register page, a multiple of 4096; decoded while `decodesMmio`. */
  get base(): number {
    return this.#base.address;
  }

  /** xAPIC mode: the page at `base` answers. In x2APIC mode and while disabled it belongs to whatever lies below. */
  get decodesMmio(): boolean {
    return this.#base.isXapic;
  }

  /** IA32_APIC_BASE.EN: messages and pins reach it. */
  get hardwareEnabled(): boolean {
    return this.#base.enabled;
  }

  get isX2apic(): boolean {
    return this.#base.isX2apic;
  }

  /** SVR.8: does it take fixed and lowest-priority interrupts? Never while IA32_APIC_BASE.EN is 0, which resets SVR. */
  get acceptsInterrupts(): boolean {
    return this.#accepts;
  }

  /** PPR, which arbitration for a lowest-priority interrupt compares. */
  get processorPriority(): number {
    return this.#queue.processorPriority;
  }

  /** Is it meant by the physical id `destination`? In xAPIC mode only the low 8 bits of the id exist. */
  matchesPhysical(destination: number): boolean {
    return destination === (destination > 0xff || this.#base.isX2apic ? this.index : this.index & 0xff);
  }

  /** Is it meant by the logical destination (SDM, "Logical Destination Mode")? Broadcast is the fabric's business. */
  matchesLogical(destination: number): boolean {
    if (this.#base.isX2apic) {
      const own = this.#logicalId();
      return own >>> 16 === destination >>> 16 && (own & destination & 0xffff) !== 0;
    }
    const own = this.#registers[logicalDestination]! >>> 24;
    if (this.#registers[destinationFormat]! >>> 28 === 0xf) return (own & destination & 0xff) !== 0;
    // The guest can write any model, but only 1111 and 0000 are defined. All but 1111 mean clusters.
    return own >>> 4 === destination >>> 4 && (own & destination & 0xf) !== 0;
  }

  // --- Interrupts in ------------------------------------------------------------------------------------------------

  /**
   * A fixed interrupt for this APIC. False when it is not taken: disabled, or a vector below 16, which is an error instead.
   * True also when it merges with one that waits already.
   */
  accept(vector: number, level: boolean): boolean {
    if (!this.#accepts) return false;
    if (vector < 16) {
      this.#raiseError(apicError.receiveIllegalVector);
      return false;
    }
    if (this.#queue.request(vector, level)) this.accepted[vector]!++;
    this.#update();
    return true;
  }

  /** An ExtINT message: the vector comes from the 8259 pair when the processor asks. */
  acceptExternal(): void {
    this.#externalPending = true;
    this.#update();
  }

  /** LINT0: the 8259 pair's INTR. While the APIC is disabled it goes straight to the bootstrap processor. */
  setLint0(level: boolean): void {
    this.#setPin(0, level);
  }

  /** LINT1: the platform's NMI, also straight to the bootstrap processor while disabled. */
  setLint1(level: boolean): void {
    this.#setPin(1, level);
  }

  // --- Interrupts out -----------------------------------------------------------------------------------------------

  interruptReady(): boolean {
    return this.#ready;
  }

  /** The vector to deliver, now in service; the spurious vector when nothing is deliverable. */
  acknowledge(): number {
    if (!this.#ready) return this.#registers[spuriousVector]! & 0xff;
    let vector: number;
    // The 8259 pair first: ExtINT has no priority that could be compared, and it waits for its own EOI.
    if (this.#external) {
      this.#externalPending = false;
      vector = this.#bus.acknowledgeExternal() & 0xff;
    } else {
      vector = this.#queue.take();
    }
    // What is still deliverable after this one is news to the processor.
    this.#ready = false;
    this.#update();
    return vector;
  }

  /** CR8: 0 to 15. */
  readTaskPriority(): number {
    return this.#queue.taskPriority >>> 4;
  }

  writeTaskPriority(priority: number): void {
    this.#queue.taskPriority = (priority & 15) << 4;
    this.#update();
  }

  // --- Registers ----------------------------------------------------------------------------------------------------

  /** A read in the register page. Registers are dwords at multiples of 16; what lies between reads 0. */
  mmioRead(offset: number, width: 1 | 2 | 4): number {
    if (!this.#base.isXapic) return width === 4 ? 0xffff_ffff : width === 2 ? 0xffff : 0xff;
    const byte = offset & 15;
    if (byte + width > 4) return 0;
    const index = offset >>> 4;
    if (!this.#exists(index) || (xapic[index]! & accessRead) === 0) return 0;
    const value = this.#read(index);
    if (width === 4) return value;
    return (value >>> (8 * byte)) & (width === 1 ? 0xff : 0xffff);
  }

  /** A write in the register page. Only aligned dwords are defined (SDM, "The Local APIC Block Diagram"); the rest is ignored. */
  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    if (!this.#base.isXapic || width !== 4 || (offset & 15) !== 0) return;
    const index = offset >>> 4;
    if (!this.#exists(index) || (xapic[index]! & accessWrite) === 0) return;
    this.#write(index, value >>> 0, 0);
  }

  /** RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE and 0x800 to 0x8FF; false is #GP(0). */
  readMsr(msr: number, out: Msr64): boolean {
    const index = msr - firstX2apicMsr;
    if (index >= 0 && index < apicRegisterCount) {
      if (!this.#base.isX2apic || (x2apic[index]! & accessRead) === 0) return false;
      out.low = this.#read(index);
      out.high = index === commandLow ? this.#registers[commandHigh]! : 0;
      return true;
    }
    if (msr === apicBaseMsr) this.readBase(out);
    else if (msr === tscDeadlineMsr) this.readDeadline(out);
    else return false;
    return true;
  }

  /** WRMSR; false is #GP(0) and nothing has changed. */
  writeMsr(msr: number, low: number, high: number): boolean {
    const index = msr - firstX2apicMsr;
    if (index >= 0 && index < apicRegisterCount) {
      if (!this.#base.isX2apic || (x2apic[index]! & accessWrite) === 0) return false;
      // SDM "x2APIC Register Address Space": reserved bits fault, and only ICR has an upper half.
      if ((low & ~legal[index]!) !== 0) return false;
      if (high !== 0 && index !== commandLow) return false;
      this.#write(index, low >>> 0, high >>> 0);
      return true;
    }
    if (msr === apicBaseMsr) return this.writeBase(low, high);
    if (msr !== tscDeadlineMsr) return false;
    this.writeDeadline(low, high);
    return true;
  }

  /** IA32_APIC_BASE. */
  readBase(out: Msr64): void {
    this.#base.read(out);
  }

  /** False is #GP: see `ApicBase`. Disabling returns the registers to their reset values. */
  writeBase(low: number, high: number): boolean {
    const transition = this.#base.write(low, high);
    if (transition === "refused") return false;
    if (transition === "disabled") this.init();
    // ICR's upper half has another shape in x2APIC mode.
    if (transition === "to-x2apic") this.#registers[commandHigh] = 0;
    this.#update();
    return true;
  }

  /** IA32_TSC_DEADLINE; 0 in other timer modes. */
  readDeadline(out: Msr64): void {
    this.#timer.readDeadline(out);
  }

  writeDeadline(low: number, high: number): void {
    this.#timer.writeDeadline(low >>> 0, high >>> 0);
  }

  /** To be called after the guest moved its TSC: a deadline that is armed stays where it is on the TSC's scale. */
  tscChanged(): void {
    this.#timer.tscChanged();
  }

  // --- Life ---------------------------------------------------------------------------------------------------------

  /** As after power-on. The levels of the pins stay: they belong to who drives them. */
  reset(): void {
    this.#base.reset();
    this.init();
  }

  /** INIT: as after power-on, but base, mode and id stay (SDM, "Local APIC State After It Receives an INIT Reset"). */
  init(): void {
    this.#registers.set(apicAccess.reset);
    this.#lvt.reset();
    this.#accepts = false;
    this.#queue.clear();
    this.#pendingErrors = 0;
    this.#externalPending = false;
    this.#timer.reset();
    this.#ready = false;
    this.#update();
  }

  /**
   * Virtual wire mode, as firmware hands a PC over (MP specification 3.6.2.2): software enabled, the 8259 pair on LINT0 as
   * ExtINT, NMI on LINT1. For machines that start a kernel without firmware.
   */
  enterVirtualWire(): void {
    this.#write(spuriousVector, softwareEnable | 0xff, 0);
    this.#write(lvtTimer + lvtEntry.lint0, deliveryMode.external << 8, 0);
    this.#write(lvtTimer + lvtEntry.lint1, deliveryMode.nmi << 8, 0);
  }

  save(): LocalApicState {
    const registers = this.#registers;
    const base: Msr64 = { low: 0, high: 0 };
    this.#base.read(base);
    return {
      version: 1,
      index: this.index,
      baseLow: base.low,
      baseHigh: base.high,
      taskPriority: this.#queue.taskPriority,
      logicalDestination: registers[logicalDestination]!,
      destinationFormat: registers[destinationFormat]!,
      spuriousVector: registers[spuriousVector]!,
      errorStatus: registers[errorStatus]!,
      pendingErrors: this.#pendingErrors,
      commandLow: registers[commandLow]!,
      commandHigh: registers[commandHigh]!,
      lvt: [...this.#lvt.entries],
      inService: [...this.#queue.inService],
      triggerMode: [...this.#queue.levelTriggered],
      interruptRequest: [...this.#queue.requested],
      lint0: this.#lvt.pins[0]!,
      lint1: this.#lvt.pins[1]!,
      externalPending: this.#externalPending,
      timer: this.#timer.save(),
    };
  }

  restore(state: unknown): void {
    const checked = checkLocalApicState(this.name, this.index, this.#base, state);
    const startTimer = this.#timer.prepare(checked.timerFields, (checked.lvt[0]! >>> 17) & 3);
    const registers = this.#registers;
    this.#base.load(checked.baseLow, checked.baseHigh);
    registers[logicalDestination] = checked.logicalDestination;
    registers[destinationFormat] = checked.destinationFormat;
    registers[spuriousVector] = checked.spuriousVector;
    this.#accepts = (checked.spuriousVector & softwareEnable) !== 0;
    registers[errorStatus] = checked.errorStatus;
    registers[commandLow] = checked.commandLow;
    registers[commandHigh] = checked.commandHigh;
    this.#lvt.entries.set(checked.lvt);
    this.#lvt.pins[0] = checked.lint0;
    this.#lvt.pins[1] = checked.lint1;
    this.#pendingErrors = checked.pendingErrors;
    this.#queue.load(checked.interruptRequest, checked.inService, checked.triggerMode, checked.taskPriority);
    this.#externalPending = checked.externalPending;
    startTimer();
    // So that the processor hears of what waits.
    this.#ready = false;
    this.#update();
  }

  inspect(): Inspection {
    const text = (value: number) => `0x${value.toString(16)}`;
    const registers: Record<string, string> = {};
    for (const { index, title, xapic } of Object.values(apicRegisters)) {
      if (xapic !== "r" && xapic !== "rw") continue;
      const isBank = index === inService || index === triggerMode || index === interruptRequest;
      registers[title] = isBank ? vectorList(this.#bank(index)) : text(this.#read(index));
    }
    const accepted: Record<string, number> = {};
    this.accepted.forEach((count, vector) => {
      if (count !== 0) accepted[text(vector)] = count;
    });
    return {
      mode: this.#base.isX2apic ? "x2APIC" : this.#base.enabled ? "xAPIC" : "disabled",
      base: text(this.base),
      ready: this.#ready,
      lint0: this.#lvt.pins[0]!,
      lint1: this.#lvt.pins[1]!,
      "timer due": this.#timer.due === Number.POSITIVE_INFINITY ? "stopped" : this.#timer.due,
      registers,
      accepted,
    };
  }

  // --- Inside -------------------------------------------------------------------------------------------------------

  /** An access to a register that does not exist is an error; one in the wrong direction is only ignored. */
  #exists(index: number): boolean {
    if (index < apicRegisterCount && xapic[index] !== 0) return true;
    this.#raiseError(apicError.illegalRegister);
    return false;
  }

  #read(index: number): number {
    switch (index) {
      case id:
        return this.#base.isX2apic ? this.index : (this.index << 24) >>> 0;
      case taskPriority:
        return this.#queue.taskPriority;
      case arbitrationPriority:
        return this.#queue.arbitrationPriority;
      case processorPriority:
        return this.#queue.processorPriority;
      case logicalDestination:
        return this.#base.isX2apic ? this.#logicalId() : this.#registers[index]!;
      case initialCount:
        return this.#timer.initialCount;
      case currentCount:
        return this.#timer.currentCount;
      case divide:
        return this.#timer.divide;
      default:
        if (index >= lvtTimer && index <= lvtError) return this.#lvt.entries[index - lvtTimer]!;
        if (index < inService || index >= interruptRequest + 8) return this.#registers[index]!;
        return this.#bank(index)[index & 7]!;
    }
  }

  #bank(index: number): Uint32Array {
    if (index < triggerMode) return this.#queue.inService;
    return index < interruptRequest ? this.#queue.levelTriggered : this.#queue.requested;
  }

  #write(index: number, value: number, high: number): void {
    const kept = (value & writable[index]!) >>> 0;
    switch (index) {
      case endOfInterrupt:
        this.#endOfInterrupt();
        break;
      case taskPriority:
        this.#queue.taskPriority = kept;
        this.#update();
        break;
      case destinationFormat:
        this.#registers[index] = kept | ~writable[index]!;
        break;
      case spuriousVector:
        this.#registers[index] = kept;
        this.#accepts = (kept & softwareEnable) !== 0;
        if (!this.#accepts) {
          this.#lvt.maskAll();
          this.#update();
        }
        break;
      case errorStatus:
        this.#registers[index] = this.#pendingErrors;
        this.#pendingErrors = 0;
        break;
      case commandLow: {
        const wide = this.#base.isX2apic;
        this.#registers[index] = kept;
        if (wide) this.#registers[commandHigh] = high;
        this.#command(kept, wide ? high : this.#registers[commandHigh]! >>> 24, wide);
        break;
      }
      case selfIpi:
        this.#command((1 << 18) | kept, 0, true);
        break;
      case initialCount:
        this.#timer.initialCount = kept;
        break;
      case divide:
        this.#timer.divide = kept;
        break;
      default:
        if (index >= lvtTimer && index <= lvtError) this.#writeLvt(index - lvtTimer, kept);
        else this.#registers[index] = kept;
    }
  }

  #writeLvt(entry: number, value: number): void {
    this.#lvt.write(entry, value, this.#accepts);
    if (entry === lvtEntry.timer) this.#timer.setMode(this.#lvt.timerMode);
    else this.#update();
  }

  #command(command: number, destination: number, wide: boolean): void {
    const mode = (command >>> 8) & 7;
    if ((mode === deliveryMode.fixed || mode === deliveryMode.lowestPriority) && (command & 0xff) < 16) {
      this.#raiseError(apicError.sendIllegalVector);
    }
    this.#bus.send(this.index, command, destination, wide);
  }

  #endOfInterrupt(): void {
    const vector = this.#queue.finish();
    if (vector < 0) return;
    this.#update();
    if (!this.#queue.isLevelTriggered(vector)) return;
    this.#lvt.endOfInterrupt(vector);
    if ((this.#registers[spuriousVector]! & suppressBroadcast) === 0) this.#bus.endOfInterrupt(vector);
  }

  #raiseError(bit: number): void {
    // SDM "Error Handling": a write to ESR arms the error interrupt again, so only the first error since then fires.
    const first = this.#pendingErrors === 0;
    this.#pendingErrors |= bit;
    if (first) this.#lvt.fire(lvtEntry.error);
  }

  #setPin(pin: number, level: boolean): void {
    if (level === this.#lvt.pins[pin]) return;
    if (this.#base.enabled) {
      this.#lvt.setPin(pin, level);
    } else {
      // SDM "Enabling or Disabling the Local APIC": LINT0 is INTR, which #update looks at, and LINT1 is NMI.
      this.#lvt.pins[pin] = level;
      if (pin === 1 && level && this.#base.isBootstrap) this.#bus.nmi(this.index);
    }
    this.#update();
  }

  #logicalId(): number {
    return ((this.index >>> 4) << 16) | (1 << (this.index & 15));
  }

  /** Recomputes what follows from the registers and tells the processor when something became deliverable. */
  #update(): void {
    this.#external = this.#lvt.pins[0]! && this.#takesExternal();
    const before = this.#ready;
    this.#ready = this.#external || this.#queue.deliverable;
    if (this.#ready && !before) this.#bus.ready(this.index);
  }

  /** Would the 8259 pair's INTR reach the processor? */
  #takesExternal(): boolean {
    if (!this.#base.enabled) return this.#base.isBootstrap;
    if (this.#externalPending) return true;
    return this.#lvt.passesExternal;
  }
}

/** Vectors of a bank for people: "0x31 0xec". */
function vectorList(words: Uint32Array): string {
  const vectors: string[] = [];
  words.forEach((word, i) => {
    for (let bit = 0; bit < 32; bit++) {
      if ((word >>> bit) & 1) vectors.push(`0x${(i * 32 + bit).toString(16)}`);
    }
  });
  return vectors.join(" ");
}

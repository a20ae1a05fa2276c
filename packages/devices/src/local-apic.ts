import type { Msr64 } from "@entresol/hypervisor";
import { ApicBase } from "./apic-base.ts";
import { accessRead, accessWrite, apicAccess, apicRegisterCount, apicRegisters } from "./apic-registers.ts";
import { ApicTimer } from "./apic-timer.ts";
import type { Device, Inspection, MmioDevice, Timebase } from "./device.ts";
import { InterruptQueue } from "./interrupt-queue.ts";
import { checkLocalApicState, type LocalApicState } from "./local-apic-state.ts";

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

/** ICR and LVT bits 10:8, also of IOAPIC entries and MSI data. */
export const deliveryMode = {
  fixed: 0,
  lowestPriority: 1,
  smi: 2,
  nmi: 4,
  init: 5,
  startup: 6,
  external: 7,
} as const;

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
const masked = 1 << 16;
const levelTriggered = 1 << 15;
const remoteIrr = 1 << 14;
const activeLow = 1 << 13;

const { xapic, x2apic, writable, legal } = apicAccess;

// Bound to constants so that switches over them compile to jumps.
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
const { index: lvtLint0 } = apicRegisters.lint0;
const { index: lvtLint1 } = apicRegisters.lint1;
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
  readonly #queue = new InterruptQueue();
  /** By index: what software writes and the parts above do not keep. */
  readonly #registers = new Uint32Array(apicRegisterCount);
  /** Errors since ESR was last written. */
  #pendingErrors = 0;
  #lint0 = false;
  #lint1 = false;
  /** An ExtINT message waits. */
  #externalPending = false;
  // These two follow from all of the above; #update keeps them, since the processor asks on every exit.
  #external = false;
  #ready = false;

  constructor(options: LocalApicOptions) {
    const { index, time, bus } = options;
    this.index = index;
    this.name = `local-apic ${index}`;
    this.#bus = bus;
    this.#base = new ApicBase(index === 0, options.x2apic ?? true, options.physicalAddressBits ?? 40);
    const atStart: Msr64 = { low: 0, high: 0 };
    const tsc = { frequency: options.tscFrequency ?? 1e9, offset: options.tscOffset ?? (() => atStart) };
    this.#timer = new ApicTimer(`${this.name} timer`, time, tsc, () => this.#local(lvtTimer));
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
    return (this.#registers[spuriousVector]! & softwareEnable) !== 0;
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
    if (!this.acceptsInterrupts) return false;
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
    if (level === this.#lint0) return;
    this.#lint0 = level;
    this.#serveLint(lvtLint0, level, true);
  }

  /** LINT1: the platform's NMI. */
  setLint1(level: boolean): void {
    if (level === this.#lint1) return;
    this.#lint1 = level;
    this.#serveLint(lvtLint1, level, true);
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
    this.#write(lvtLint0, deliveryMode.external << 8, 0);
    this.#write(lvtLint1, deliveryMode.nmi << 8, 0);
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
      lvt: [...registers.subarray(lvtTimer, lvtError + 1)],
      inService: [...this.#queue.inService],
      triggerMode: [...this.#queue.levelTriggered],
      interruptRequest: [...this.#queue.requested],
      lint0: this.#lint0,
      lint1: this.#lint1,
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
    registers[errorStatus] = checked.errorStatus;
    registers[commandLow] = checked.commandLow;
    registers[commandHigh] = checked.commandHigh;
    registers.set(checked.lvt, lvtTimer);
    this.#pendingErrors = checked.pendingErrors;
    this.#queue.taskPriority = checked.taskPriority;
    this.#queue.load(checked.interruptRequest, checked.inService, checked.triggerMode);
    this.#lint0 = checked.lint0;
    this.#lint1 = checked.lint1;
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
      lint0: this.#lint0,
      lint1: this.#lint1,
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
      case taskPriority:
        this.#queue.taskPriority = kept;
        this.#update();
        break;
      case endOfInterrupt:
        this.#endOfInterrupt();
        break;
      case destinationFormat:
        this.#registers[index] = kept | ~writable[index]!;
        break;
      case spuriousVector:
        this.#registers[index] = kept;
        if ((kept & softwareEnable) === 0) {
          for (let lvt = lvtTimer; lvt <= lvtError; lvt++) this.#registers[lvt]! |= masked;
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
        if (index >= lvtTimer && index <= lvtError) this.#writeLvt(index, kept);
        else this.#registers[index] = kept;
    }
  }

  #writeLvt(index: number, kept: number): void {
    // While software disabled the mask bits cannot be cleared.
    const enabled = (this.#registers[spuriousVector]! & softwareEnable) !== 0;
    // Remote IRR belongs to the hardware and has no meaning for an edge.
    const remote = (kept & levelTriggered) !== 0 ? this.#registers[index]! & remoteIrr : 0;
    this.#registers[index] = kept | remote | (enabled ? 0 : masked);
    if (index === lvtTimer) this.#timer.setMode((kept >>> 17) & 3);
    else if (index === lvtLint0) this.#serveLint(lvtLint0, this.#lint0, false);
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
    const lint0 = this.#registers[lvtLint0]!;
    if ((lint0 & remoteIrr) !== 0 && (lint0 & 0xff) === vector) {
      this.#registers[lvtLint0] = lint0 & ~remoteIrr;
      this.#serveLint(lvtLint0, this.#lint0, false);
    }
    if ((this.#registers[spuriousVector]! & suppressBroadcast) === 0) this.#bus.endOfInterrupt(vector);
  }

  /** An interrupt of an LVT entry without delivery mode: timer and error. */
  #local(index: number): void {
    const entry = this.#registers[index]!;
    if ((entry & masked) === 0) this.accept(entry & 0xff, false);
  }

  #raiseError(bit: number): void {
    // SDM "Error Handling": a write to ESR arms the error interrupt again, so only the first error since then fires.
    const first = this.#pendingErrors === 0;
    this.#pendingErrors |= bit;
    if (first) this.#local(lvtError);
  }

  /** A local pin (`moved`) or its LVT entry has changed. */
  #serveLint(index: number, level: boolean, moved: boolean): void {
    if (this.#base.enabled) {
      const entry = this.#registers[index]!;
      const active = level !== ((entry & activeLow) !== 0);
      if (active && (entry & masked) === 0) this.#lintActive(index, entry, moved);
    } else if (index === lvtLint1 && moved && level && this.#base.isBootstrap) {
      // SDM "Enabling or Disabling the Local APIC": LINT0 is INTR, which #update looks at, and LINT1 is NMI.
      this.#bus.nmi(this.index);
    }
    this.#update();
  }

  #lintActive(index: number, entry: number, moved: boolean): void {
    switch ((entry >>> 8) & 7) {
      case deliveryMode.fixed:
        // LINT1 is edge-triggered whatever its bit 15 says.
        if (index === lvtLint0 && (entry & levelTriggered) !== 0) {
          if ((entry & remoteIrr) === 0 && this.accept(entry & 0xff, true)) {
            this.#registers[index] = entry | remoteIrr;
          }
        } else if (moved) this.accept(entry & 0xff, false);
        break;
      case deliveryMode.nmi:
        if (moved) this.#bus.nmi(this.index);
        break;
      case deliveryMode.init:
        if (moved) this.#bus.init(this.index);
        break;
      default: // ExtINT is a level that #update looks at; there is no SMM for SMI to enter; the rest is reserved.
    }
  }

  #logicalId(): number {
    return ((this.index >>> 4) << 16) | (1 << (this.index & 15));
  }

  /** Recomputes what follows from the registers and tells the processor when something became deliverable. */
  #update(): void {
    this.#external = this.#lint0 && this.#takesExternal();
    const before = this.#ready;
    this.#ready = this.#external || this.#queue.deliverable;
    if (this.#ready && !before) this.#bus.ready(this.index);
  }

  /** Would the 8259 pair's INTR reach the processor? */
  #takesExternal(): boolean {
    if (!this.#base.enabled) return this.#base.isBootstrap;
    if (this.#externalPending) return true;
    return (this.#registers[lvtLint0]! & (masked | 0x700)) === deliveryMode.external << 8;
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

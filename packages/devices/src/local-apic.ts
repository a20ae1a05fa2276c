import type { Msr64 } from "@entresol/hypervisor";
import { ApicBase } from "./apic-base.ts";
import { accessRead, accessWrite, apicAccess, apicRegisterCount, apicRegisters } from "./apic-registers.ts";
import { ApicTimer } from "./apic-timer.ts";
import { deliveryMode } from "./delivery-mode.ts";
import type { Device, Inspection, MmioDevice } from "./device.ts";
import { type EoiAssist, EoiOffer } from "./eoi-assist.ts";
import { InterruptQueue } from "./interrupt-queue.ts";
import type { LocalApicBus, LocalApicOptions } from "./local-apic-bus.ts";
import { checkLocalApicState, type LocalApicState } from "./local-apic-state.ts";
import { LocalVectorTable, lvtEntry } from "./local-vector-table.ts";

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
  readonly #offer = new EoiOffer(this.#queue);
  /** By index: what software writes and the parts above do not keep. */
  readonly #registers = new Uint32Array(apicRegisterCount);
  /** The physical id of xAPIC mode, 8 bits. */
  #id = 0;
  /** Errors since ESR was last written. */
  #pendingErrors = 0;
  /** An ExtINT message waits. */
  #externalPending = false;
  // These follow from all of the above and are kept because they are asked for at every interrupt or exit.
  /** May an EOI be left out? */
  #assisted = false;
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
      smi: () => bus.smi(index),
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
    if (this.#assisted) this.#offer.notice();
    return this.#queue.processorPriority;
  }

  /** Does it answer to its index and to nothing else? */
  get hasInitialId(): boolean {
    return this.#id === this.index;
  }

  /**
   * Is it meant by the physical id `destination`? An xAPIC has 8 bits of id, all ones of which mean everybody. It answers to its
   * initial id as well where that is wider, so that every processor can be reached before it has entered x2APIC mode.
   */
  matchesPhysical(destination: number): boolean {
    if (destination > 0xff || this.#base.isX2apic) return destination === this.index;
    return destination === this.#id || destination === 0xff;
  }

  /**
   * Is it meant by the logical destination (SDM, "Logical Destination Mode")? Each APIC reads it by its own mode and model: an xAPIC
   * the low 8 bits, an x2APIC all 32. Broadcast is the fabric's business.
   */
  matchesLogical(destination: number): boolean {
    if (this.#base.isX2apic) {
      const own = this.#logicalId();
      return own >>> 16 === destination >>> 16 && (own & destination & 0xffff) !== 0;
    }
    const meant = destination & 0xff;
    const own = this.#registers[logicalDestination]! >>> 24;
    if (this.#registers[destinationFormat]! >>> 28 === 0xf) return (own & meant) !== 0;
    // The guest can write any model, but only 1111 and 0000 are defined. All but 1111 mean clusters.
    return own >>> 4 === meant >>> 4 && (own & meant & 0xf) !== 0;
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
    // What has come needs an EOI before it, or has one already.
    if (this.#assisted) this.#offer.withdraw();
    if (this.#queue.request(vector, level)) this.accepted[vector] = (this.accepted[vector]! + 1) | 0;
    this.#raise();
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
    if (this.#external) return this.#acknowledgeExternal();
    const vector = this.#queue.take();
    this.#ready = false;
    // Only a vector that needs no EOI leaves others deliverable, or is finished here.
    if (this.#queue.deliverable) this.#raise();
    if (this.#assisted) this.#offer.make();
    if (this.#queue.isLevelTriggered(vector) && !this.#queue.isInService(vector)) this.#finished(vector);
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

  // --- EOI that the guest need not write ----------------------------------------------------------------------------

  /**
   * Has the guest a flag by which an EOI can be left out? It is offered for an edge-triggered interrupt that is alone in service with
   * nothing waiting, and withdrawn when something comes. Not part of the saved state: the layer that knows the page sets it again.
   */
  setEoiAssist(assist: EoiAssist | undefined): void {
    this.#offer.use(assist);
    this.#assisted = assist !== undefined;
  }

  /**
   * Vectors 16 to 255 that are finished in the moment in which the processor takes them, as a synthetic interrupt source with
   * automatic EOI wants it. They never show in ISR.
   */
  setAutoEoi(vector: number, automatic: boolean): void {
    this.#queue.setAutoEoi(vector, automatic);
  }

  // --- Registers ----------------------------------------------------------------------------------------------------

  /** A read in the register page. Registers are dwords at multiples of 16; what lies between reads 0. */
  mmioRead(offset: number, width: 1 | 2 | 4): number {
    if (!this.#base.isXapic) return width === 4 ? 0xffff_ffff : width === 2 ? 0xffff : 0xff;
    const byte = offset & 15;
    if (byte + width > 4) return 0;
    const index = offset >>> 4;
    if (!this.#exists(index) || (xapic[index]! & accessRead) === 0) return 0;
    if (this.#assisted) this.#offer.notice();
    const value = this.#read(index);
    if (width === 4) return value;
    return (value >>> (8 * byte)) & (width === 1 ? 0xff : 0xffff);
  }

  /** A write in the register page. Only aligned dwords are defined (SDM, "The Local APIC Block Diagram"); the rest is ignored. */
  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    if (!this.#base.isXapic || width !== 4 || (offset & 15) !== 0) return;
    const index = offset >>> 4;
    // Written at every interrupt, with any value.
    if (index === endOfInterrupt) {
      this.#endOfInterrupt();
      return;
    }
    if (!this.#exists(index) || (xapic[index]! & accessWrite) === 0) return;
    this.#write(index, value >>> 0, 0);
  }

  /** RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE and 0x800 to 0x8FF; false is #GP(0). */
  readMsr(msr: number, out: Msr64): boolean {
    const index = msr - firstX2apicMsr;
    if (index >= 0 && index < apicRegisterCount) {
      if (!this.#base.isX2apic || (x2apic[index]! & accessRead) === 0) return false;
      if (this.#assisted) this.#offer.notice();
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
      if (index === endOfInterrupt) {
        if (low !== 0 || high !== 0) return false;
        this.#endOfInterrupt();
        return true;
      }
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
    if (transition === "disabled") this.#powerOn();
    // ICR's upper half has another shape in x2APIC mode.
    if (transition === "to-x2apic") this.#registers[commandHigh] = 0;
    this.#update();
    this.#bus.reachable();
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
    this.#queue.loadAutoEoi([]);
    this.#powerOn();
  }

  /** INIT: as after power-on, but base, mode and id stay (SDM, "Local APIC State After It Receives an INIT Reset"). */
  init(): void {
    if (this.#assisted) this.#offer.withdraw();
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
      version: 2,
      index: this.index,
      id: this.#id,
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
      autoEoi: [...this.#queue.autoEoi],
      eoiOffered: this.#offer.standing,
      timer: this.#timer.save(),
    };
  }

  restore(state: unknown): void {
    const checked = checkLocalApicState(this.name, this.index, this.#base, state);
    const startTimer = this.#timer.prepare(checked.timerFields, (checked.lvt[0]! >>> 17) & 3);
    const registers = this.#registers;
    this.#base.load(checked.baseLow, checked.baseHigh);
    this.#id = checked.id;
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
    this.#queue.loadAutoEoi(checked.autoEoi);
    this.#externalPending = checked.externalPending;
    this.#offer.standing = checked.eoiOffered;
    this.#assisted ||= checked.eoiOffered;
    this.#bus.idChanged();
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
        return this.#base.isX2apic ? this.index : (this.#id << 24) >>> 0;
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
      case id:
        this.#id = kept >>> 24;
        this.#bus.idChanged();
        this.#bus.reachable();
        break;
      case taskPriority:
        this.#queue.taskPriority = kept;
        this.#update();
        break;
      case destinationFormat:
        this.#registers[index] = kept | ~writable[index]!;
        this.#bus.reachable();
        break;
      case logicalDestination:
        this.#registers[index] = kept;
        this.#bus.reachable();
        break;
      case spuriousVector:
        this.#registers[index] = kept;
        this.#accepts = (kept & softwareEnable) !== 0;
        if (this.#accepts) this.#bus.reachable();
        else {
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
    // A guest that has used the flag already ends nothing more: what is in service was alone.
    if (this.#assisted) this.#offer.withdraw();
    const vector = this.#queue.finish();
    if (vector < 0) return;
    this.#raise();
    if (this.#queue.isLevelTriggered(vector)) this.#finished(vector);
  }

  /** A level-triggered interrupt has ended. */
  #finished(vector: number): void {
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
    // All processors but one in a running system, at every interrupt of the 8259 pair.
    if (this.#base.enabled && !this.#externalPending && this.#lvt.isMasked(pin)) {
      this.#lvt.pins[pin] = level;
      return;
    }
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

  /** The 8259 pair first: ExtINT has no priority that could be compared, and it waits for its own EOI. */
  #acknowledgeExternal(): number {
    this.#externalPending = false;
    const vector = this.#bus.acknowledgeExternal() & 0xff;
    // What is still deliverable after this one is news to the processor.
    this.#ready = false;
    this.#update();
    return vector;
  }

  /** As after power-on, but for base and mode: INIT keeps the id, this does not. */
  #powerOn(): void {
    this.#id = this.index & 0xff;
    this.#bus.idChanged();
    this.init();
  }

  /** Tells the processor when a request became deliverable. */
  #raise(): void {
    if (this.#ready || !this.#queue.deliverable) return;
    this.#ready = true;
    this.#bus.ready(this.index);
  }

  /** Recomputes what follows from the registers and tells the processor when something became deliverable. */
  #update(): void {
    this.#external = this.#takesExternal();
    const before = this.#ready;
    this.#ready = this.#external || this.#queue.deliverable;
    if (this.#ready && !before) this.#bus.ready(this.index);
  }

  /** Would the 8259 pair's INTR reach the processor? */
  #takesExternal(): boolean {
    if (!this.#base.enabled) return this.#base.isBootstrap && this.#lvt.pins[0]!;
    if (this.#externalPending && this.#lvt.pins[0]!) return true;
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

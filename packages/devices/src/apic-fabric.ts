import { deliveryMode } from "./delivery-mode.ts";
import type { Inspection, InterruptLine } from "./device.ts";
import type { LocalApic } from "./local-apic.ts";
import type { LocalApicBus } from "./local-apic-bus.ts";

/** What messages do to processors beyond their local APIC. Each is called synchronously and only notes. */
export interface VcpuSignals {
  /** INIT: the vCPU waits for SIPI. Its local APIC has been reset already. */
  init(index: number): void;
  /** SIPI: start at `vector << 12`, if it waits for one. */
  startup(index: number, vector: number): void;
  nmi(index: number): void;
  /** SMI. Left out by machines without system management mode, which lose it. */
  smi?(index: number): void;
  /** The vCPU may have a new deliverable interrupt: one that is halted wakes, one that runs looks soon. */
  ready(index: number): void;
}

/** The 8259 pair as the APICs see it. */
export interface ExternalController {
  /** INTA: the vector, 0 to 255. */
  acknowledge(): number;
}

/** Where IOAPIC and MSI messages go. `destination` has 15 bits: 8, and 7 more where the sender knows extended destination ids. */
export interface InterruptMessages {
  /**
   * Sends to every APIC that matches, or with lowest priority to one of them. `level`: trigger mode of the message.
   * True when at least one APIC took it.
   */
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean;
}

/** What an IOAPIC hears from the local APICs. */
export interface EndOfInterruptListener {
  /** A level-triggered interrupt was finished. */
  endOfInterrupt(vector: number): void;
  /** An APIC has been enabled or given another address: what nobody took may be sent again. */
  retry(): void;
}

/** Broadcast ids (SDM "Determining IPI Destination"): all ones, as wide as the message's destination field. */
const narrowBroadcast = 0xff;
const wideBroadcast = 0xffff_ffff;

const shorthandSelf = 1;
const shorthandAll = 2;

/**
 * The interconnect between local APICs, IOAPICs, MSI sources and the 8259 pair. It holds nothing: a message is matched and handed
 * over in the call that sends it.
 */
export class ApicFabric implements LocalApicBus, InterruptMessages {
  readonly apics: LocalApic[] = [];
  /** The 8259 pair's INTR output, wired to LINT0 of every local APIC. */
  readonly external: InterruptLine = { set: (level) => this.#setLint0(level) };
  /** The platform's NMI, wired to LINT1 of every local APIC. */
  readonly platformNmi: InterruptLine = { set: (level) => this.#setLint1(level) };

  readonly #signals: VcpuSignals;
  readonly #listeners: EndOfInterruptListener[] = [];
  #controller: ExternalController | undefined;
  /** Every APIC answers to its index alone, so that a physical destination is an index. */
  #direct = true;
  // Counters for people.
  #messages = 0;
  #lost = 0;
  #interprocessor = 0;

  constructor(signals: VcpuSignals) {
    this.#signals = signals;
  }

  /** Adds the local APIC of the next vCPU; its index must be the number of APICs so far. */
  attach(apic: LocalApic): void {
    if (apic.index !== this.apics.length)
      throw new RangeError(`local APIC ${apic.index} attached out of order`);
    this.apics.push(apic);
    this.idChanged();
  }

  /** Connects the 8259 pair, whose output drives `external`. */
  attachExternal(controller: ExternalController): void {
    this.#controller = controller;
  }

  /** Connects an IOAPIC's end of interrupt. */
  attachListener(listener: EndOfInterruptListener): void {
    this.#listeners.push(listener);
  }

  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean {
    this.#messages++;
    const taken = this.#route(destination, destination === narrowBroadcast, logical, mode, vector, level);
    if (!taken) this.#lost++;
    return taken;
  }

  /**
   * A message signalled interrupt (SDM "Message Signalled Interrupts"): a dword written to 0xFEExxxxx. `address` is bits 31:0; the
   * destination has 15 bits, of which 11:5 are 14:8. Bit 4 would ask for remapping, and there is no unit for that. False when it is
   * no interrupt address or nobody took it.
   */
  message(address: number, data: number): boolean {
    if (address >>> 20 !== 0xfee) return false;
    const destination = ((address >>> 12) & 0xff) | (((address >>> 5) & 0x7f) << 8);
    const logical = (address & 4) !== 0;
    const redirectable = (address & 8) !== 0;
    const level = (data & 0x8000) !== 0;
    // A level-triggered message comes in pairs; the second, with level 0, says that the source is quiet.
    if (level && (data & 0x4000) === 0) return true;
    let mode = (data >>> 8) & 7;
    if (redirectable && mode === deliveryMode.fixed) mode = deliveryMode.lowestPriority;
    return this.deliver(destination, logical, mode, data & 0xff, level);
  }

  // --- What local APICs ask -----------------------------------------------------------------------------------------

  send(source: number, command: number, destination: number, wide: boolean): void {
    this.#interprocessor++;
    const mode = (command >>> 8) & 7;
    const vector = command & 0xff;
    const level = (command & 0x4000) !== 0;
    const levelTriggered = (command & 0x8000) !== 0;
    // INIT level de-assert synchronised arbitration ids on a bus that is gone (SDM "Interrupt Command Register").
    if (mode === deliveryMode.init && levelTriggered && !level) return;
    // ExtINT and the reserved mode cannot be sent.
    if (mode === deliveryMode.external || mode === 3) return;
    const shorthand = (command >>> 18) & 3;
    if (shorthand === 0) {
      const broadcast = destination === (wide ? wideBroadcast : narrowBroadcast);
      this.#route(destination, broadcast, (command & 0x800) !== 0, mode, vector, false);
      return;
    }
    // SDM table "Valid Combinations for the APIC's Local ICR": to itself only fixed, whatever the trigger mode says.
    if (shorthand === shorthandSelf || shorthand === shorthandAll) {
      if (mode !== deliveryMode.fixed) return;
      if (shorthand === shorthandSelf) this.apics[source]?.accept(vector, false);
      else for (const apic of this.apics) apic.accept(vector, false);
      return;
    }
    if (mode === deliveryMode.lowestPriority) {
      this.#lowest(0, true, false, source)?.accept(vector, false);
      return;
    }
    for (const apic of this.apics) if (apic.index !== source) this.#hand(apic, mode, vector, false);
  }

  idChanged(): void {
    const { apics } = this;
    // From 256 processors on, ids of xAPIC mode repeat.
    this.#direct = apics.length <= narrowBroadcast && apics.every((apic) => apic.hasInitialId);
  }

  reachable(): void {
    for (const listener of this.#listeners) listener.retry();
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.#listeners) listener.endOfInterrupt(vector);
  }

  acknowledgeExternal(): number {
    // 0xFF floats on the bus when nobody answers INTA.
    return this.#controller?.acknowledge() ?? 0xff;
  }

  ready(index: number): void {
    this.#signals.ready(index);
  }

  nmi(index: number): void {
    this.#signals.nmi(index);
  }

  smi(index: number): void {
    this.#signals.smi?.(index);
  }

  init(index: number): void {
    this.apics[index]?.init();
    this.#signals.init(index);
  }

  inspect(): Inspection {
    return { messages: this.#messages, lost: this.#lost, "interprocessor commands": this.#interprocessor };
  }

  // --- Inside -------------------------------------------------------------------------------------------------------

  #route(
    destination: number,
    broadcast: boolean,
    logical: boolean,
    mode: number,
    vector: number,
    level: boolean,
  ): boolean {
    if (this.#direct && !logical && !broadcast && destination !== narrowBroadcast) {
      // Nearly all there is: one APIC by its id. A lowest-priority interrupt has no choice then.
      if (destination >= this.apics.length) return false;
      const apic = this.apics[destination]!;
      return mode <= deliveryMode.lowestPriority
        ? apic.accept(vector, level)
        : this.#hand(apic, mode, vector, level);
    }
    if (mode === deliveryMode.lowestPriority) {
      return this.#lowest(destination, broadcast, logical, -1)?.accept(vector, level) ?? false;
    }
    let taken = false;
    for (const apic of this.apics) {
      if (!broadcast && !matches(apic, destination, logical)) continue;
      if (this.#hand(apic, mode, vector, level)) taken = true;
    }
    return taken;
  }

  /** Lowest PPR wins; among equals the first (SDM "Lowest Priority Delivery Mode" leaves ties to the platform). */
  #lowest(destination: number, broadcast: boolean, logical: boolean, except: number): LocalApic | undefined {
    let chosen: LocalApic | undefined;
    for (const apic of this.apics) {
      if (apic.index === except || !apic.acceptsInterrupts) continue;
      if (!broadcast && !matches(apic, destination, logical)) continue;
      if (chosen === undefined || apic.processorPriority < chosen.processorPriority) chosen = apic;
    }
    return chosen;
  }

  /** All modes but lowest priority. An APIC that is disabled by IA32_APIC_BASE hears nothing. */
  #hand(apic: LocalApic, mode: number, vector: number, level: boolean): boolean {
    if (mode === deliveryMode.fixed) return apic.accept(vector, level);
    if (!apic.hardwareEnabled) return false;
    switch (mode) {
      case deliveryMode.nmi:
        this.#signals.nmi(apic.index);
        return true;
      case deliveryMode.init:
        this.init(apic.index);
        return true;
      case deliveryMode.startup:
        this.#signals.startup(apic.index, vector);
        return true;
      case deliveryMode.external:
        apic.acceptExternal();
        return true;
      case deliveryMode.smi:
        if (this.#signals.smi === undefined) return false;
        this.#signals.smi(apic.index);
        return true;
      default: // 3 is reserved.
        return false;
    }
  }

  #setLint0(level: boolean): void {
    const { apics } = this;
    for (let n = 0; n < apics.length; n++) apics[n]!.setLint0(level);
  }

  #setLint1(level: boolean): void {
    for (const apic of this.apics) apic.setLint1(level);
  }
}

function matches(apic: LocalApic, destination: number, logical: boolean): boolean {
  return logical ? apic.matchesLogical(destination) : apic.matchesPhysical(destination);
}

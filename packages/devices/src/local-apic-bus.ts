import type { Msr64 } from "@entresol/hypervisor";
import type { Timebase } from "./device.ts";

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
  /** A local pin asks for SMI. */
  smi(index: number): void;
  /** An APIC's physical id has changed. */
  idChanged(): void;
  /** An APIC may now take messages that nobody took before. */
  reachable(): void;
}

export interface LocalApicOptions {
  /** The vCPU, from 0; also the APIC id after reset, and always in x2APIC mode. vCPU 0 is the bootstrap processor. */
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

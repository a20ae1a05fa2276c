import type { Bus, LocalApic } from "@entresol/devices";
import type {
  CpuidResult,
  ExitHandler,
  Gpa,
  HypercallAbi,
  MmioWidth,
  Msr64,
  PortWidth,
  Registers,
} from "@entresol/hypervisor";
import { answerCpuid, type CpuidMachine } from "./cpuid-policy.ts";
import { answerKvmHypercall, type InterruptTargets } from "./kvm-hypercalls.ts";
import { MsrFile } from "./msr-policy.ts";

const APIC_BASE = 0x1b;
const TSC_DEADLINE = 0x6e0;
const TSC = 0x10;
const X2APIC_FIRST = 0x800;
const X2APIC_LAST = 0x8ff;
const APIC_PAGE = 0x1000;

/** Exits by kind, for people. Index into a typed array, so that counting costs nothing. */
export const exitKinds = [
  "port in",
  "port out",
  "mmio read",
  "mmio write",
  "cpuid",
  "msr read",
  "msr write",
  "task priority",
  "hypercall",
  "interrupt",
] as const;
export type ExitKind = (typeof exitKinds)[number];

/**
 * What a vCPU's exits meet: its own local APIC first, then the machine's bus, CPUID and MSR policy. One object per vCPU.
 * Nothing in here may throw or allocate for what a guest does.
 */
export class ExitDispatcher implements ExitHandler {
  readonly msrs = new MsrFile();
  /** Counts in the order of `exitKinds`. */
  readonly counts = new Float64Array(exitKinds.length);
  /** Accesses to the local APIC's page or MSRs; they are in `counts` too. */
  apicReads = 0;
  apicWrites = 0;
  readonly #bus: Bus;
  readonly #apic: LocalApic;
  readonly #machine: CpuidMachine;
  readonly #index: number;
  readonly #targets: InterruptTargets | undefined;

  /** With `targets` KVM's hypercalls are answered; test kernels want them, and nobody else. */
  constructor(
    bus: Bus,
    apic: LocalApic,
    machine: CpuidMachine,
    index: number,
    targets?: InterruptTargets | undefined,
  ) {
    this.#bus = bus;
    this.#apic = apic;
    this.#machine = machine;
    this.#index = index;
    this.#targets = targets;
  }

  portIn(port: number, width: PortWidth): number {
    this.counts[0]!++;
    return this.#bus.portRead(port, width);
  }

  portOut(port: number, width: PortWidth, value: number): void {
    this.counts[1]!++;
    this.#bus.portWrite(port, width, value);
  }

  mmioRead(at: Gpa, width: MmioWidth): number {
    this.counts[2]!++;
    const offset = at - this.#apic.base;
    if (offset >= 0 && offset < APIC_PAGE && this.#apic.decodesMmio) {
      this.apicReads++;
      return this.#apic.mmioRead(offset, width);
    }
    return this.#bus.mmioRead(at, width);
  }

  mmioWrite(at: Gpa, width: MmioWidth, value: number): void {
    this.counts[3]!++;
    const offset = at - this.#apic.base;
    if (offset >= 0 && offset < APIC_PAGE && this.#apic.decodesMmio) {
      this.apicWrites++;
      this.#apic.mmioWrite(offset, width, value);
    } else this.#bus.mmioWrite(at, width, value);
  }

  cpuid(leaf: number, subleaf: number, out: CpuidResult): void {
    this.counts[4]!++;
    answerCpuid(this.#machine, this.#index, leaf, subleaf, out);
    // Leaf 1 EDX bit 9 follows IA32_APIC_BASE.EN (APM volume 2, 16.3.1).
    if (leaf === 1 && !this.#apic.hardwareEnabled) out.edx = (out.edx & ~(1 << 9)) >>> 0;
  }

  readMsr(msr: number, out: Msr64): boolean {
    this.counts[5]!++;
    const number = msr >>> 0;
    if (number >= X2APIC_FIRST && number <= X2APIC_LAST) {
      this.apicReads++;
      return this.#apic.readMsr(number, out);
    }
    if (number === APIC_BASE) {
      this.#apic.readBase(out);
      return true;
    }
    if (number === TSC_DEADLINE) {
      this.#apic.readDeadline(out);
      return true;
    }
    return this.msrs.read(number, out);
  }

  writeMsr(msr: number, low: number, high: number): boolean {
    this.counts[6]!++;
    const number = msr >>> 0;
    if (number >= X2APIC_FIRST && number <= X2APIC_LAST) {
      this.apicWrites++;
      return this.#apic.writeMsr(number, low, high);
    }
    if (number === APIC_BASE) return this.#apic.writeBase(low, high);
    if (number === TSC_DEADLINE) {
      this.apicWrites++;
      this.#apic.writeDeadline(low, high);
      return true;
    }
    if (number === TSC) {
      // The backend keeps the TSC and tells that the guest moved it: an armed deadline is on the TSC's scale.
      this.#apic.tscChanged();
      return true;
    }
    return this.msrs.write(number, low, high);
  }

  readTaskPriority(): number {
    this.counts[7]!++;
    return this.#apic.readTaskPriority();
  }

  writeTaskPriority(priority: number): void {
    this.counts[7]!++;
    this.#apic.writeTaskPriority(priority);
  }

  /** No hypercall interface is offered (CPUID 0x40000000 says so): #UD, but for test kernels. */
  hypercall(_abi: HypercallAbi, registers: Registers): boolean {
    this.counts[8]!++;
    if (this.#targets === undefined) return false;
    answerKvmHypercall(registers, this.#targets);
    return true;
  }

  interruptReady(): boolean {
    return this.#apic.interruptReady();
  }

  acknowledgeInterrupt(): number {
    this.counts[9]!++;
    return this.#apic.acknowledge();
  }
}

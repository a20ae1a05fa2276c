import type { ProcessorHost } from "@entresol/cpu";
import {
  asGpa,
  type CpuidResult,
  type ExitHandler,
  type MmioWidth,
  type Msr64,
  type PortWidth,
  type Registers,
} from "@entresol/hypervisor";

/** What the partition can do to the processor while it is inside an exit. */
export interface RunControl {
  /** The next deliverable interrupt is taken as soon as the guest allows. */
  interruptArrived(): void;
  random(): bigint;
  registers(): Registers;
}

/**
 * Turns the processor's calls out into the layer's exits. One object serves all vCPUs of a partition, since one runs at a
 * time: `handler` is the one of the running vCPU. Results travel in two reused records, so that an exit allocates nothing.
 */
export class ExitBridge implements ProcessorHost {
  handler: ExitHandler | undefined;
  readonly #control: RunControl;
  readonly #cpuid: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  readonly #msr: Msr64 = { low: 0, high: 0 };

  constructor(control: RunControl) {
    this.#control = control;
  }

  /** Interrupts are pulled: after whatever may have moved a line, ask. */
  #pull(handler: ExitHandler): void {
    if (handler.interruptReady()) this.#control.interruptArrived();
  }

  portIn(port: number, width: number): number {
    const handler = this.handler!;
    const value = handler.portIn(port, width as PortWidth);
    this.#pull(handler);
    return value;
  }

  portOut(port: number, width: number, value: number): void {
    const handler = this.handler!;
    handler.portOut(port, width as PortWidth, value);
    this.#pull(handler);
  }

  mmioRead(at: number, width: number): number {
    const handler = this.handler!;
    const value = handler.mmioRead(asGpa(at), width as MmioWidth);
    this.#pull(handler);
    return value;
  }

  mmioWrite(at: number, width: number, value: number): void {
    const handler = this.handler!;
    handler.mmioWrite(asGpa(at), width as MmioWidth, value);
    this.#pull(handler);
  }

  cpuid(leaf: number, subleaf: number, out: Uint32Array): void {
    const result = this.#cpuid;
    this.handler!.cpuid(leaf, subleaf, result);
    out[0] = result.eax;
    out[1] = result.ebx;
    out[2] = result.ecx;
    out[3] = result.edx;
  }

  readMsr(msr: number, out: Uint32Array): boolean {
    const value = this.#msr;
    if (!this.handler!.readMsr(msr, value)) return false;
    out[0] = value.low;
    out[1] = value.high;
    return true;
  }

  writeMsr(msr: number, low: number, high: number): boolean {
    const handler = this.handler!;
    const done = handler.writeMsr(msr, low, high);
    this.#pull(handler);
    return done;
  }

  readTaskPriority(): number {
    return this.handler!.readTaskPriority();
  }

  writeTaskPriority(priority: number): void {
    const handler = this.handler!;
    handler.writeTaskPriority(priority);
    this.#pull(handler);
  }

  hypercall(kind: 0 | 1): boolean {
    return this.handler!.hypercall(kind === 0 ? "vmcall" : "vmmcall", this.#control.registers());
  }

  random(): bigint {
    return this.#control.random();
  }
}

import { layout, type Processor } from "@entresol/cpu";
import type { ExitHandler, Msr64, Registers, Stop, Vcpu, VcpuActivity } from "@entresol/hypervisor";
import type { ExitBridge } from "./exits.ts";
import { SoftwareRegisters } from "./registers.ts";

const DEADLINE: Stop = { kind: "deadline" };
const KICKED: Stop = { kind: "kicked" };
const HALTED: Stop = { kind: "halted" };
const YIELDED: Stop = { kind: "yielded" };
const SHUTDOWN: Stop = { kind: "shutdown", reason: "triple fault" };

const INTERRUPT_FLAG = 0x200;

const activities: Record<number, VcpuActivity> = {
  [layout.ACTIVITY_RUNNING]: "running",
  [layout.ACTIVITY_HALTED]: "halted",
  [layout.ACTIVITY_WAIT_SIPI]: "wait-for-sipi",
  [layout.ACTIVITY_SHUTDOWN]: "shutdown",
};

/** One virtual CPU of a software partition. All of them share one processor, which holds one context at a time. */
export class SoftwareVcpu implements Vcpu {
  readonly index: number;
  readonly registers: Registers;
  readonly #processor: Processor;
  readonly #bridge: ExitBridge;
  readonly #enter: () => void;
  #kicked = false;

  /** `enter` is called once per `run`, before guest time is read. */
  constructor(processor: Processor, bridge: ExitBridge, index: number, enter: () => void) {
    this.#enter = enter;
    this.#processor = processor;
    this.#bridge = bridge;
    this.index = index;
    this.registers = new SoftwareRegisters(processor, index);
  }

  /** The low 32 bits of a field of this vCPU's context, whether it is the selected one or not. */
  #word(field: number): number {
    return this.#processor.view.getUint32(this.#processor.context(this.index) + field - layout.CONTEXT, true);
  }

  get activity(): VcpuActivity {
    return activities[this.#processor.activity(this.index)] ?? "shutdown";
  }

  canRun(exits: ExitHandler): boolean {
    const activity = this.#processor.activity(this.index);
    if (activity === layout.ACTIVITY_RUNNING) return true;
    if (activity !== layout.ACTIVITY_HALTED) return false;
    return (
      this.#word(layout.NMI_PENDING) !== 0 ||
      (exits.interruptReady() && (this.#word(layout.FLAGS_SYSTEM) & INTERRUPT_FLAG) !== 0)
    );
  }

  kick(): void {
    this.#kicked = true;
    this.#processor.stopSoon();
  }

  pendNmi(): void {
    this.#processor.pendNmi(this.index);
  }

  tscOffset(out: Msr64): void {
    out.low = this.#word(layout.TSC_OFFSET);
    out.high = this.#word(layout.TSC_OFFSET + 4);
  }

  init(): void {
    this.#processor.resetVcpu(this.index, "init");
  }

  startup(vector: number): void {
    this.#processor.startup(this.index, vector);
  }

  run(exits: ExitHandler, until: number): Stop {
    const processor = this.#processor;
    // In this order: an exit that calls run() of another vCPU is refused before anything has changed.
    processor.select(this.index);
    this.#bridge.handler = exits;
    this.#enter();
    for (;;) {
      if (this.#kicked) {
        this.#kicked = false;
        return KICKED;
      }
      if (exits.interruptReady()) {
        if (processor.canInterrupt()) {
          processor.interrupt(exits.acknowledgeInterrupt());
          processor.setInterruptWaiting(exits.interruptReady());
        } else {
          processor.setInterruptWaiting(true);
        }
      } else {
        processor.setInterruptWaiting(false);
      }
      if (processor.now() >= until) return DEADLINE;
      switch (processor.run(until)) {
        case "limit":
          break;
        case "halt":
          // An interrupt that came with the HLT, or an NMI, keeps it going.
          if (!this.#kicked && !(exits.interruptReady() && processor.canInterrupt())) return HALTED;
          break;
        case "pause":
          return YIELDED;
        case "shutdown":
          return SHUTDOWN;
      }
    }
  }
}

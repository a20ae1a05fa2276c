import {
  type Abilities,
  asGpa,
  type Clock,
  type CpuidResult,
  type ExitHandler,
  type Gpa,
  type GuestMemory,
  type Hypervisor,
  type MmioWidth,
  type Msr64,
  type Partition,
  type PartitionConfig,
  type PortWidth,
  type Registers,
  type Stop,
  type TimeSource,
  type Vcpu,
  type VcpuActivity,
} from "./boundary.ts";
import { HypervisorError } from "./errors.ts";

/** One thing that a scripted guest does. `expect` compares a read's answer; the comparison's outcome is in the trace. */
export type ScriptStep =
  | { readonly do: "portIn"; readonly port: number; readonly width: PortWidth; readonly expect?: number }
  | { readonly do: "portOut"; readonly port: number; readonly width: PortWidth; readonly value: number }
  | { readonly do: "mmioRead"; readonly at: number; readonly width: MmioWidth; readonly expect?: number }
  | { readonly do: "mmioWrite"; readonly at: number; readonly width: MmioWidth; readonly value: number }
  | { readonly do: "cpuid"; readonly leaf: number; readonly subleaf: number }
  | { readonly do: "readMsr"; readonly msr: number }
  | { readonly do: "writeMsr"; readonly msr: number; readonly low: number; readonly high: number }
  | { readonly do: "readTaskPriority" }
  | { readonly do: "writeTaskPriority"; readonly priority: number }
  /** Guest time passes. */
  | { readonly do: "work"; readonly ns: number }
  /** RFLAGS.IF. While it is set, a ready interrupt is taken before the next step. */
  | { readonly do: "enableInterrupts"; readonly on: boolean }
  /** HLT: the run ends with "halted" unless an interrupt is taken; the next run goes on behind it. */
  | { readonly do: "halt" }
  | { readonly do: "yield" }
  | { readonly do: "shutdown"; readonly reason: string };

/** What happened at one step, or between two: the trace is what a test compares. */
export type TraceEntry =
  | {
      readonly step: ScriptStep["do"];
      readonly answer?: number | boolean | readonly number[];
      readonly differs?: true;
    }
  | { readonly step: "interrupt"; readonly answer: number }
  | { readonly step: "nmi" };

const KICKED: Stop = { kind: "kicked" };
const HALTED: Stop = { kind: "halted" };
const YIELDED: Stop = { kind: "yielded" };
const DEADLINE: Stop = { kind: "deadline" };

class ScriptedMemory implements GuestMemory {
  readonly #bytes: Uint8Array;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  get size(): number {
    return this.#bytes.length;
  }

  #check(at: number, length: number): void {
    if (!Number.isSafeInteger(at) || at < 0 || length > this.size - at) {
      throw new HypervisorError(
        "bad-address",
        `${length} bytes at ${at} are not within ${this.size} bytes of RAM`,
      );
    }
  }

  read(at: Gpa, target: Uint8Array): void {
    this.#check(at, target.length);
    target.set(this.#bytes.subarray(at, at + target.length));
  }
  write(at: Gpa, source: Uint8Array): void {
    this.#check(at, source.length);
    this.#bytes.set(source, at);
  }
  fill(at: Gpa, length: number, value: number): void {
    this.#check(at, length);
    this.#bytes.fill(value, at, at + length);
  }
}

/** A vCPU that follows a script instead of executing code. */
export class ScriptedVcpu implements Vcpu {
  readonly index: number;
  readonly trace: TraceEntry[] = [];
  activity: VcpuActivity;
  readonly #script: readonly ScriptStep[];
  readonly #time: { ns: number };
  #at = 0;
  #interrupts = false;
  #kicked = false;
  #nmi = false;
  readonly #cpuid: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  readonly #msr: Msr64 = { low: 0, high: 0 };

  constructor(index: number, script: readonly ScriptStep[], time: { ns: number }) {
    this.index = index;
    this.activity = index === 0 ? "running" : "wait-for-sipi";
    this.#script = script;
    this.#time = time;
  }

  get registers(): Registers {
    throw new HypervisorError("unavailable", "a scripted vCPU has no registers");
  }

  canRun(exits: ExitHandler): boolean {
    if (this.activity === "running") return true;
    return this.activity === "halted" && (this.#nmi || (this.#interrupts && exits.interruptReady()));
  }
  tscOffset(out: Msr64): void {
    out.low = 0;
    out.high = 0;
  }
  kick(): void {
    this.#kicked = true;
  }
  pendNmi(): void {
    this.#nmi = true;
  }
  init(): void {
    this.activity = this.index === 0 ? "running" : "wait-for-sipi";
    this.#at = 0;
    this.#interrupts = false;
  }
  startup(_vector: number): void {
    if (this.activity === "wait-for-sipi") this.activity = "running";
  }

  run(exits: ExitHandler, until: number): Stop {
    for (;;) {
      if (this.#kicked) {
        this.#kicked = false;
        return KICKED;
      }
      if (this.activity === "wait-for-sipi") return HALTED;
      if (this.#nmi) {
        this.#nmi = false;
        this.activity = "running";
        this.trace.push({ step: "nmi" });
      }
      if (this.#interrupts && exits.interruptReady()) {
        this.activity = "running";
        this.trace.push({ step: "interrupt", answer: exits.acknowledgeInterrupt() });
      }
      if (this.activity === "halted") return HALTED;
      if (this.#time.ns >= until) return DEADLINE;
      const step = this.#script[this.#at];
      if (step === undefined) {
        this.activity = "shutdown";
        return { kind: "shutdown", reason: "end of script" };
      }
      this.#at++;
      const stop = this.#perform(step, exits);
      this.#time.ns++;
      if (stop !== undefined) return stop;
    }
  }

  #answer(step: ScriptStep["do"], answer: number, expected: number | undefined): void {
    this.trace.push(
      expected === undefined || expected === answer ? { step, answer } : { step, answer, differs: true },
    );
  }

  #perform(step: ScriptStep, exits: ExitHandler): Stop | undefined {
    switch (step.do) {
      case "portIn":
        this.#answer(step.do, exits.portIn(step.port, step.width), step.expect);
        return undefined;
      case "portOut":
        exits.portOut(step.port, step.width, step.value);
        return undefined;
      case "mmioRead":
        this.#answer(step.do, exits.mmioRead(asGpa(step.at), step.width), step.expect);
        return undefined;
      case "mmioWrite":
        exits.mmioWrite(asGpa(step.at), step.width, step.value);
        return undefined;
      case "cpuid": {
        const out = this.#cpuid;
        exits.cpuid(step.leaf, step.subleaf, out);
        this.trace.push({ step: step.do, answer: [out.eax, out.ebx, out.ecx, out.edx] });
        return undefined;
      }
      case "readMsr":
        this.trace.push({
          step: step.do,
          answer: exits.readMsr(step.msr, this.#msr) ? [this.#msr.low, this.#msr.high] : false,
        });
        return undefined;
      case "writeMsr":
        this.trace.push({ step: step.do, answer: exits.writeMsr(step.msr, step.low, step.high) });
        return undefined;
      case "readTaskPriority":
        this.trace.push({ step: step.do, answer: exits.readTaskPriority() });
        return undefined;
      case "writeTaskPriority":
        exits.writeTaskPriority(step.priority);
        return undefined;
      case "work":
        this.#time.ns += step.ns;
        return undefined;
      case "enableInterrupts":
        this.#interrupts = step.on;
        return undefined;
      case "halt":
        this.activity = "halted";
        return undefined;
      case "yield":
        return YIELDED;
      case "shutdown":
        this.activity = "shutdown";
        return { kind: "shutdown", reason: step.reason };
      default:
        return step satisfies never;
    }
  }
}

/** A partition whose vCPUs follow scripts: for tests of everything above the boundary. */
export class ScriptedPartition implements Partition {
  readonly memory: GuestMemory;
  readonly vcpus: readonly ScriptedVcpu[];
  readonly clock: Clock;
  time: TimeSource = "virtual";
  readonly instructions = undefined;
  readonly physicalAddressBits = 40;
  readonly tscFrequency = 1_000_000_000;
  readonly #time = { ns: 0 };

  constructor(config: PartitionConfig, scripts: readonly (readonly ScriptStep[])[]) {
    this.memory = new ScriptedMemory(config.memory);
    this.vcpus = Array.from(
      { length: config.vcpus },
      (_, i) => new ScriptedVcpu(i, scripts[i] ?? [], this.#time),
    );
    this.clock = { now: () => this.#time.ns };
  }

  idle(until: number, wake: Promise<void>): Promise<void> | undefined {
    if (!Number.isFinite(until)) return wake;
    this.#time.ns = Math.max(this.#time.ns, until);
    return undefined;
  }
  reset(): void {
    for (const vcpu of this.vcpus) vcpu.init();
  }
  save(): Uint8Array {
    throw new HypervisorError("unavailable", "a scripted partition is not saved");
  }
  restore(_state: Uint8Array): void {
    throw new HypervisorError("unavailable", "a scripted partition is not restored");
  }
  inspect(): Record<string, number> {
    return { now: this.#time.ns };
  }
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

const abilities: Abilities = {
  maximumVcpus: 16,
  maximumMemory: 2 ** 30,
  deterministic: true,
  cpuidExits: true,
  saveRestore: false,
};

/** A hypervisor for tests: vCPU n follows `scripts[n]`. */
export class ScriptedHypervisor implements Hypervisor {
  readonly name = "scripted";
  readonly abilities = abilities;
  readonly #scripts: readonly (readonly ScriptStep[])[];

  constructor(scripts: readonly (readonly ScriptStep[])[]) {
    this.#scripts = scripts;
  }

  createPartition(config: PartitionConfig): Promise<ScriptedPartition> {
    return Promise.resolve(new ScriptedPartition(config, this.#scripts));
  }
}

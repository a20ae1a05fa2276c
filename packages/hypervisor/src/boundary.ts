/*
 * The boundary between Entresol and whatever runs the guest. Like a real processor, a backend asks and the layer above
 * answers at once: everything in ExitHandler is synchronous, and nothing on these paths allocates.
 */

declare const gpa: unique symbol;

/** A guest physical address in bytes, an integer from 0 to 2^52 - 1. A `number`, since bigint look-ups cost three times as much. */
export type Gpa = number & { readonly [gpa]: true };

/** Brands a number that is known to be a whole address below 2^52. */
export function asGpa(address: number): Gpa {
  return address as Gpa;
}

export type PortWidth = 1 | 2 | 4;
export type MmioWidth = 1 | 2 | 4;

/** Receives the four registers of a CPUID leaf. Reused between calls: the handler fills it and keeps no reference. */
export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** A 64-bit MSR value as two unsigned 32-bit halves. Reused between calls. */
export interface Msr64 {
  low: number;
  high: number;
}

export type HypercallAbi = "vmcall" | "vmmcall";

/**
 * What the privileged layer answers. Values are unsigned; a read returns `width` bytes in the low bits and a backend masks
 * what it gets. The handler must not throw for anything a guest does: the guest's mistakes are answers (all-ones, false).
 */
export interface ExitHandler {
  /** IN. `port` 0 to 65535. */
  portIn(port: number, width: PortWidth): number;
  /** OUT. `value` has its upper bits clear. */
  portOut(port: number, width: PortWidth, value: number): void;
  /** A read of a physical address that is not RAM. A backend splits 8-byte and unaligned accesses, low part first. */
  mmioRead(at: Gpa, width: MmioWidth): number;
  mmioWrite(at: Gpa, width: MmioWidth, value: number): void;
  cpuid(leaf: number, subleaf: number, out: CpuidResult): void;
  /** RDMSR of a register that the backend does not keep itself; false gives the guest #GP(0). */
  readMsr(msr: number, out: Msr64): boolean;
  /** WRMSR; false gives the guest #GP(0). Also told, answer unused, when the guest wrote the TSC (0x10), which the backend keeps. */
  writeMsr(msr: number, low: number, high: number): boolean;
  /** CR8 read: the local APIC's task priority class, 0 to 15. */
  readTaskPriority(): number;
  /** CR8 write, 0 to 15. */
  writeTaskPriority(priority: number): void;
  /** VMCALL / VMMCALL; false gives the guest #UD. */
  hypercall(abi: HypercallAbi, registers: Registers): boolean;
  /** INTR: does an interrupt wait that the local APIC or 8259 would deliver now? RFLAGS.IF is the backend's business. */
  interruptReady(): boolean;
  /** INTA: takes the interrupt, 0 to 255. Only called when `interruptReady()` was true and the guest takes it at once. */
  acknowledgeInterrupt(): number;
}

/** General registers by name, in the order of their encoding, then RIP and RFLAGS. */
export const generalRegisters = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "rip",
  "rflags",
] as const;
export type GeneralRegister = (typeof generalRegisters)[number];

export const controlRegisters = ["cr0", "cr2", "cr3", "cr4", "efer"] as const;
export type ControlRegister = (typeof controlRegisters)[number];

export const segmentNames = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"] as const;
export type SegmentName = (typeof segmentNames)[number];

/** A segment register with its hidden part. */
export interface Segment {
  selector: number;
  base: bigint;
  /** In bytes, scaled by G. */
  limit: number;
  /** Descriptor attributes: bits 0-7 type, S, DPL, P; bits 12-15 AVL, L, D/B, G. 0 = unusable. */
  attributes: number;
}

/** GDTR or IDTR. */
export interface DescriptorTable {
  base: bigint;
  limit: number;
}

/** Register access while the vCPU does not run. Values are unsigned 64-bit. */
export interface Registers {
  get(name: GeneralRegister | ControlRegister): bigint;
  set(name: GeneralRegister | ControlRegister, value: bigint): void;
  segment(name: SegmentName): Segment;
  setSegment(name: SegmentName, value: Segment): void;
  table(name: "gdtr" | "idtr"): DescriptorTable;
  setTable(name: "gdtr" | "idtr", value: DescriptorTable): void;
}

/** Why `Vcpu.run` came back. A closed union: end every switch over `kind` in `never`. */
export type Stop =
  | { readonly kind: "deadline" }
  | { readonly kind: "kicked" }
  | { readonly kind: "halted" }
  | { readonly kind: "yielded" }
  | { readonly kind: "shutdown"; readonly reason: string }
  | { readonly kind: "host-violation"; readonly rule: string; readonly detail: string };

export type VcpuActivity = "running" | "halted" | "wait-for-sipi" | "shutdown";

export interface Vcpu {
  /** 0-based; also its initial APIC id. */
  readonly index: number;
  /**
   * Runs guest code until guest time `until` (ns) or an earlier reason to stop. Pulls interrupts from `exits` whenever the
   * guest can take one. "deadline": time is up. "kicked": `kick()` was called. "halted": HLT and nothing to deliver.
   * "yielded": PAUSE, another vCPU should run. Must not be called from inside an exit.
   */
  run(exits: ExitHandler, until: number): Stop;
  /** Makes the current or next `run` return soon with "kicked". Callable from inside an exit. */
  kick(): void;
  readonly activity: VcpuActivity;
  /** Would `run` execute anything? False while it waits for a SIPI, is shut down, or is halted with nothing that wakes it. */
  canRun(exits: ExitHandler): boolean;
  /** Non-maskable interrupt: latched, at most one. Wakes a halted vCPU. */
  pendNmi(): void;
  /** INIT: back to wait-for-SIPI (index 0 goes to the reset vector instead). */
  init(): void;
  /** SIPI: starts at `vector << 12` in real mode. Ignored unless it waits for one. */
  startup(vector: number): void;
  /** What the guest added to the TSC by writing it, modulo 2^64. `out` is filled. */
  tscOffset(out: Msr64): void;
  readonly registers: Registers;
}

/** Guest RAM. Copies in, copies out; ranges that leave RAM throw `HypervisorError` `bad-address`. */
export interface GuestMemory {
  /** Bytes, from guest physical 0. */
  readonly size: number;
  /** Copies `target.length` bytes from the guest. */
  read(at: Gpa, target: Uint8Array): void;
  /** Copies `source` into the guest; decoded code there is dropped. */
  write(at: Gpa, source: Uint8Array): void;
  /** Sets `length` bytes to `value`. */
  fill(at: Gpa, length: number, value: number): void;
}

/** Guest time in nanoseconds since the partition started: a safe integer that never goes back. The only clock above the boundary. */
export interface Clock {
  now(): number;
}

/** What drives guest time; see `Partition.time`. */
export type TimeSource = "virtual" | "real";

export interface Abilities {
  /** Largest number of vCPUs. */
  readonly maximumVcpus: number;
  /** Largest RAM size in bytes. */
  readonly maximumMemory: number;
  /** Guest time follows the work done, so that equal inputs give equal runs. */
  readonly deterministic: boolean;
  /** CPUID is asked of the layer above. */
  readonly cpuidExits: boolean;
  /** `Partition.save` and `restore` are complete. */
  readonly saveRestore: boolean;
}

export interface PartitionConfig {
  /** Bytes of RAM, a multiple of 4096. */
  readonly memory: number;
  readonly vcpus: number;
  readonly time: TimeSource;
  /** Seeds RDRAND. The same seed gives the same run. */
  readonly seed: bigint;
}

export interface Partition extends AsyncDisposable {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  readonly clock: Clock;
  /**
   * "virtual": time follows the work done and jumps over idle spells. "real": it follows the wall clock, from the moment it is set.
   * Setting it never makes time go back.
   */
  time: TimeSource;
  /** Guest instructions executed so far, all vCPUs; undefined where the backend cannot count. */
  readonly instructions: number | undefined;
  /** Bits of a guest physical address, for CPUID 0x80000008. */
  readonly physicalAddressBits: number;
  /** TSC ticks per second. TSC = clock at this rate, from 0 at start, plus what the guest writes. */
  readonly tscFrequency: number;
  /**
   * Nothing can run before guest time `until` (ns; Infinity when no timer is armed). Virtual time jumps there at once; real
   * time waits, at most until then or until `wake` resolves. Returns a promise only when it has to wait.
   */
  idle(until: number, wake: Promise<void>): Promise<void> | undefined;
  /** Power-on: every vCPU as new, the first at the reset vector, the others waiting for a SIPI. RAM and guest time stay. */
  reset(): void;
  /** CPU and clock state, RAM excluded, versioned. */
  save(): Uint8Array;
  /** Puts back what `save` gave, into a partition of the same shape. Throws `MalformedError` or `HypervisorError` `bad-state`. */
  restore(state: Uint8Array): void;
  /** Counters for people: name to value. */
  inspect(): Record<string, number>;
}

export interface Hypervisor {
  readonly name: string;
  readonly abilities: Abilities;
  createPartition(config: PartitionConfig): Promise<Partition>;
}

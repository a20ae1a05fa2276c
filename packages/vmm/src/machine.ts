import { createHash } from "node:crypto";
import { softwareHypervisor } from "@entresol/backend-software";
import {
  Chipset,
  type Device,
  type EntryState,
  enter,
  entryTables,
  linuxEntryState,
  loadLinux,
} from "@entresol/devices";
import {
  asGpa,
  type Hypervisor,
  type Msr64,
  type Partition,
  type Stop,
  type Vcpu,
} from "@entresol/hypervisor";
import { ExitDispatcher, exitKinds } from "@entresol/paravisor";
import { EntresolError, encodeCbor } from "@entresol/wire";
import {
  type CheckedConfig,
  checkConfig,
  MAXIMUM_CPUS,
  MAXIMUM_SERIAL_PORTS,
  MINIMUM_MEMORY,
  type ResumeConfig,
  type VmConfig,
  VmError,
} from "./config.ts";
import { SerialPort } from "./serial-port.ts";
import { readSnapshot, type Snapshot, writeSnapshot } from "./snapshot.ts";

/** Why a VM stopped. A closed union: end every switch over `kind` in `never`. */
export type VmStop =
  | { readonly kind: "power-off" }
  | { readonly kind: "reset" }
  | { readonly kind: "paused" }
  | { readonly kind: "crashed"; readonly vcpu: number; readonly detail: string }
  | { readonly kind: "halted"; readonly detail: string }
  | { readonly kind: "host-violation"; readonly rule: string; readonly detail: string };

/** Figures of a run, for people and for `--json`. */
export interface VmStatistics {
  /** Guest instructions, all vCPUs. Undefined where the backend cannot count. */
  readonly instructions: number | undefined;
  /** Guest time in ns. */
  readonly guestTime: number;
  /** Exits by kind. */
  readonly exits: Record<string, number>;
  /** Accesses by device. */
  readonly devices: {
    readonly name: string;
    readonly kind: string;
    readonly reads: number;
    readonly writes: number;
  }[];
  /** Interrupts accepted by local APICs, by vector; those above 0 only. */
  readonly interrupts: Record<string, number>;
  /** Counters of the backend. */
  readonly backend: Record<string, number>;
}

/**
 * Guest time that a vCPU runs before the others and the host have their turn, in ns. It bounds how long a guest can keep the host
 * waiting that makes each of its instructions cost a microsecond or more, by faults or accesses to devices.
 */
const SLICE = 50_000;
/** Wall-clock time between two looks at the host's event loop, in ms. */
const HOST_TURN = 8;
/** Guest time after which output is handed on, in ns. Counted in guest time, so that who answers output answers at the same moment in every run. */
const OUTPUT_INTERVAL = 1_000_000;
/** Guest time up to which all arithmetic on it is exact, with room for what is armed beyond, in ns: 104 days. */
const END_OF_TIME = 2 ** 53 - 2 ** 42;

interface SavedMachine {
  version: 1;
  memory: number;
  cpus: number;
  serialPorts: number;
  partition: Uint8Array;
  chipset: unknown;
  msrs: unknown[];
  extra: unknown;
}

/** The state in which a flat image is entered: Linux's 64-bit entry, with RSI at the ACPI root pointer instead of boot parameters. */
function flatEntry(entry: number, rsdp: number): EntryState {
  const state = linuxEntryState(entry);
  return { ...state, general: { ...state.general, rsi: BigInt(rsdp) } };
}

function isWhole(value: unknown, minimum: number, maximum: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
}

/** The header of a snapshot file, checked as far as its shape goes: whoever wrote it may have known how to make the digest. */
function savedMachine(header: unknown, path: string): SavedMachine {
  const state = header as Partial<SavedMachine> | null;
  if (
    state === null ||
    typeof state !== "object" ||
    state.version !== 1 ||
    !isWhole(state.memory, MINIMUM_MEMORY, Number.MAX_SAFE_INTEGER) ||
    state.memory! % 4096 !== 0 ||
    !isWhole(state.cpus, 1, MAXIMUM_CPUS) ||
    !isWhole(state.serialPorts, 1, MAXIMUM_SERIAL_PORTS) ||
    !(state.partition instanceof Uint8Array) ||
    !Array.isArray(state.msrs) ||
    state.msrs.length !== state.cpus
  ) {
    throw new VmError(
      "bad-snapshot",
      `${path} is no usable snapshot: its header is not that of a VM, version 1`,
    );
  }
  return state as SavedMachine;
}

/**
 * A VM: partition, chipset and the privileged layer between them. One thread; `run` gives the host's event loop a turn every
 * few milliseconds and resolves when the VM stops.
 */
export class Vm implements AsyncDisposable {
  readonly config: CheckedConfig;
  /** COM1 first. */
  readonly serial: readonly SerialPort[];
  /** Called when every vCPU is idle, before time is moved on to `next`: guest time (ns) of the next alarm, Infinity for none. */
  onIdle: ((next: number) => void) | undefined;
  /**
   * Asked between turns: a promise holds the guest until it resolves. For a host that cannot take the guest's output as fast as
   * it comes; guest time stands still meanwhile, so a run is the same whether it was held or not.
   */
  holdBack: (() => Promise<void> | undefined) | undefined;
  readonly #partition: Partition;
  readonly #chipset: Chipset;
  readonly #dispatchers: readonly ExitDispatcher[];
  #running = false;
  #resumed = false;
  #stop: VmStop | undefined;
  /** The vCPU whose slice is under way. */
  #current: Vcpu | undefined;
  /** Resolves when `run` has come back; of the last run. */
  #ended: Promise<unknown> = Promise.resolve();
  #disposed = false;
  /** Something above the guest threw in the middle of an instruction: the vCPU cannot go on. */
  #failed = false;
  #pauseTime = Number.POSITIVE_INFINITY;
  #nextFlush = 0;
  #turn = 0;
  readonly #offset: Msr64 = { low: 0, high: 0 };
  #wake: () => void = () => {};
  #woken: Promise<void>;

  /** Makes a VM at its power-on state with the guest loaded. Throws `VmError`, `HypervisorError` or `BootError`. */
  static async create(config: VmConfig): Promise<Vm> {
    const checked = checkConfig(config);
    const vm = await Vm.#assemble(config, checked);
    vm.#load();
    return vm;
  }

  /**
   * Makes a VM that goes on where a snapshot file left off, of the snapshot's shape, and gives what `snapshot` was told to keep.
   * Throws `VmError` `bad-snapshot` for a damaged file, `snapshot-mismatch` when `config` asks for another shape.
   */
  static async resume(path: string, config: ResumeConfig = {}): Promise<{ vm: Vm; extra: unknown }> {
    const snapshot = readSnapshot(path);
    const state = savedMachine(snapshot.header, path);
    for (const [field, asked, saved] of [
      ["memory", config.memory, state.memory],
      ["cpus", config.cpus, state.cpus],
    ] as const) {
      if (asked !== undefined && asked !== saved) {
        throw new VmError("snapshot-mismatch", `${path} was taken with ${field} ${saved}, not ${asked}`);
      }
    }
    const { memory, cpus, serialPorts } = state;
    const shape: VmConfig = { ...config, memory, cpus, serialPorts, boot: { kind: "none" } };
    const vm = await Vm.#assemble(shape, checkConfig(shape));
    try {
      vm.#restore(snapshot, state, path);
    } catch (error) {
      // The file is whole, but what it holds does not fit this machine: another version wrote it, or somebody who knew the digest.
      if (error instanceof VmError || !(error instanceof EntresolError)) throw error;
      throw new VmError("bad-snapshot", `${path} is no usable snapshot: ${error.message}`, { cause: error });
    }
    return { vm, extra: state.extra };
  }

  static async #assemble(config: VmConfig, checked: CheckedConfig): Promise<Vm> {
    const hypervisor: Hypervisor = config.hypervisor ?? softwareHypervisor;
    const { abilities } = hypervisor;
    if (checked.cpus > abilities.maximumVcpus) {
      throw new VmError(
        "bad-config",
        `cpus: ${checked.cpus} is more than the ${abilities.maximumVcpus} of backend ${hypervisor.name}`,
      );
    }
    if (checked.memory > abilities.maximumMemory) {
      throw new VmError(
        "bad-config",
        `memory: ${checked.memory} bytes is more than the ${abilities.maximumMemory} of backend ${hypervisor.name}`,
      );
    }
    const partition = await hypervisor.createPartition({
      memory: checked.memory,
      vcpus: checked.cpus,
      time: checked.time,
      seed: checked.seed,
    });
    return new Vm(partition, checked, config);
  }

  private constructor(partition: Partition, checked: CheckedConfig, config: VmConfig) {
    this.config = checked;
    this.#partition = partition;
    this.#woken = new Promise((resolve) => {
      this.#wake = resolve;
    });
    const ports: SerialPort[] = [];
    const chipset = new Chipset({
      clock: partition.clock,
      processors: checked.cpus,
      tscFrequency: partition.tscFrequency,
      physicalAddressBits: partition.physicalAddressBits,
      tscOffset: (i) => {
        partition.vcpus[i]!.tscOffset(this.#offset);
        return this.#offset;
      },
      rtcStart: checked.rtcStart,
      serialOutputs: Array.from(
        { length: checked.serialPorts },
        (_, i) => (byte: number) => ports[i]!.put(byte),
      ),
      powerOff: () => this.#finish({ kind: "power-off" }),
      reset: () => this.#finish({ kind: "reset" }),
      signals: {
        // Both swap whole processor contexts: the sender's slice ends, so that no slice can hold thousands of them.
        init: (i) => {
          partition.vcpus[i]!.init();
          this.#current?.kick();
        },
        startup: (i, vector) => {
          partition.vcpus[i]!.startup(vector);
          this.#current?.kick();
        },
        nmi: (i) => {
          partition.vcpus[i]!.pendNmi();
          this.#disturb(i);
        },
        ready: (i) => this.#disturb(i),
      },
    });
    this.#chipset = chipset;
    chipset.wheel.onEarlier = () => this.#current?.kick();
    for (let i = 0; i < checked.serialPorts; i++) {
      ports.push(
        new SerialPort(
          (bytes) => {
            const taken = chipset.serial[i]!.receive(bytes);
            this.#wakeUp();
            return taken;
          },
          () => this.#current?.kick(),
        ),
      );
    }
    this.serial = ports;
    const machine = {
      processors: checked.cpus,
      physicalAddressBits: partition.physicalAddressBits,
      linearAddressBits: 48,
    };
    this.#dispatchers = chipset.apics.map((apic, i) => new ExitDispatcher(chipset.bus, apic, machine, i));
    for (const factory of config.devices ?? []) {
      const device: Device | undefined = factory({
        bus: chipset.bus,
        time: chipset.wheel,
        line: (n) => chipset.line(n),
      });
      if (typeof device?.name !== "string")
        throw new VmError(
          "bad-config",
          "devices: a function must give the device that it makes, with its name",
        );
      chipset.attach(device);
    }
  }

  /** Something happened that vCPU `index` may have to act on: if another one is running, it gives way. */
  #disturb(index: number): void {
    if (this.#current !== undefined && this.#current.index !== index) this.#current.kick();
  }

  #wakeUp(): void {
    this.#wake();
    this.#renewWake();
    this.#current?.kick();
  }

  /** What has waited for the old promise does not wait any more, or has been woken. */
  #renewWake(): void {
    this.#woken = new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #finish(stop: VmStop): void {
    this.#stop ??= stop;
    this.#current?.kick();
    this.#wakeUp();
  }

  /** Writes the guest into RAM and sets vCPU 0 to enter it. */
  #load(): void {
    const { boot, memory } = this.config;
    const acpi = this.#chipset.acpiTables();
    switch (boot.kind) {
      case "linux": {
        const image = loadLinux({
          kernel: boot.kernel,
          ...(boot.initrd === undefined ? {} : { initrd: boot.initrd }),
          commandLine: boot.commandLine,
          memorySize: memory,
          acpi,
        });
        for (const { gpa, bytes } of image.image) this.#partition.memory.write(asGpa(gpa), bytes);
        enter(this.#partition.vcpus[0]!.registers, image.registers);
        return;
      }
      case "flat":
        if (boot.loadAddress + boot.image.length > memory) {
          throw new VmError(
            "bad-config",
            `boot.image: ${boot.image.length} bytes at ${boot.loadAddress} do not fit ${memory} bytes of RAM`,
          );
        }
        for (const { gpa, bytes } of [...entryTables(), ...acpi.regions])
          this.#partition.memory.write(asGpa(gpa), bytes);
        this.#partition.memory.write(asGpa(boot.loadAddress), boot.image);
        enter(this.#partition.vcpus[0]!.registers, flatEntry(boot.entry, acpi.rsdp));
        return;
      case "none":
        return;
      default:
        boot satisfies never;
    }
  }

  /** False for a VM that was resumed: it has no images to start from. */
  get canRestart(): boolean {
    return !this.#resumed;
  }

  /** Back to power-on with the guest loaded anew. Not while it runs, and not for a VM that was resumed. */
  restart(): void {
    this.#refuseUnusable();
    if (!this.canRestart)
      throw new VmError("bad-config", "a VM that was resumed has no guest image to start from");
    if (this.#running) throw new VmError("already-running", "pause the VM before it is restarted");
    this.#partition.memory.fill(asGpa(0), this.#partition.memory.size, 0);
    this.#partition.reset();
    this.#chipset.reset();
    for (const { msrs } of this.#dispatchers) msrs.reset();
    this.#stop = undefined;
    this.#pauseTime = Number.POSITIVE_INFINITY;
    this.#load();
  }

  #refuseUnusable(): void {
    if (this.#disposed) throw new VmError("disposed", "the VM was disposed of");
    if (this.#failed)
      throw new VmError("failed", "the VM cannot go on: an exception came out of a device or a callback");
  }

  /** The processor's state is whole only between slices. */
  #refuseInSlice(what: string): void {
    if (this.#current !== undefined)
      throw new VmError(
        "already-running",
        `${what} while the guest is in the middle of an instruction: call it between slices, as from onIdle or when paused`,
      );
  }

  /**
   * Lets the guest run until it stops, `pause` is called, or guest time `until` (ns) has come: "paused". Rejects with what a
   * device or a callback of the embedder's throws; after a device has, the VM is of no further use.
   */
  async run({ until = Number.POSITIVE_INFINITY }: { readonly until?: number } = {}): Promise<VmStop> {
    this.#refuseUnusable();
    if (this.#running) throw new VmError("already-running", "the VM is already running");
    if (typeof until !== "number" || Number.isNaN(until))
      throw new VmError("bad-config", `until: ${String(until)} is no guest time`);
    this.#running = true;
    if (this.#stop?.kind === "paused") this.#stop = undefined;
    const run = this.#runToStop(until);
    this.#ended = run.catch(() => undefined);
    return run;
  }

  async #runToStop(until: number): Promise<VmStop> {
    try {
      while (this.#stop === undefined) {
        const idle = this.#runForATurn(until);
        if (idle !== undefined) await idle;
        const held = this.holdBack?.();
        // A host that does not take output must not keep the VM from being paused.
        if (held !== undefined && this.#stop === undefined) await Promise.race([held, this.#woken]);
        // Else each wait would leave something behind on a promise that may live as long as the VM.
        if (idle !== undefined || held !== undefined) this.#renewWake();
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      this.#flushSerial();
      return this.#stop;
    } catch (error) {
      if (this.#current !== undefined) this.#failed = true;
      throw error;
    } finally {
      this.#current = undefined;
      this.#running = false;
    }
  }

  /** Makes `run` return with "paused" when guest time `time` (ns) has come: in every run at the same instruction, unlike `pause`. */
  pauseAt(time: number): void {
    this.#pauseTime = time;
  }

  /** Guest time, ns. */
  get now(): number {
    return this.#partition.clock.now();
  }

  /** Makes `run` return soon with "paused". */
  pause(): void {
    this.#finish({ kind: "paused" });
  }

  /** Guest time from now on; see `Partition.time`. */
  setTime(source: "virtual" | "real"): void {
    this.#partition.time = source;
  }

  #flushSerial(): void {
    for (const port of this.serial) port.flush();
  }

  /** Runs vCPUs in turn for about HOST_TURN ms, or until the partition has to wait: then gives what to wait for. */
  #runForATurn(until: number): Promise<void> | undefined {
    const { vcpus, clock } = this.#partition;
    const wheel = this.#chipset.wheel;
    const turnEnd = performance.now() + HOST_TURN;
    for (let slices = 1; this.#stop === undefined; slices++) {
      wheel.fireDue();
      const now = clock.now();
      const end = Math.min(until, this.#pauseTime);
      if (now >= end) {
        this.#pauseTime = Number.POSITIVE_INFINITY;
        this.pause();
        return undefined;
      }
      if (now >= END_OF_TIME) {
        this.#finish({ kind: "halted", detail: "guest time has come to its end, 104 days after power-on" });
        return undefined;
      }
      if (now >= this.#nextFlush || this.serial.some((port) => port.isFull)) {
        this.#nextFlush = now + OUTPUT_INTERVAL;
        this.#flushSerial();
        if (this.#stop !== undefined) return undefined;
      }
      const vcpu = this.#nextRunnable();
      if (vcpu === undefined) {
        if (this.#deadForEver() && !this.#chipset.reachesHalted) {
          this.#finish({ kind: "halted", detail: "every processor is halted with interrupts disabled" });
          return undefined;
        }
        this.#flushSerial();
        // At idle, not at any turn's end: so that the guest gets its input at the same guest time in every run.
        for (const port of this.serial) port.pump();
        this.onIdle?.(wheel.nextDeadline());
        if (this.#stop !== undefined) return undefined;
        // What came in may have woken a vCPU: time does not move on over its head.
        if (vcpus.some((each) => each.canRun(this.#dispatchers[each.index]!))) continue;
        const next = Math.min(wheel.nextDeadline(), until, this.#pauseTime);
        const wait = this.#partition.idle(
          Number.isFinite(next) ? Math.min(next, END_OF_TIME) : next,
          this.#woken,
        );
        if (wait !== undefined) return wait;
      } else {
        this.#current = vcpu;
        const stop = vcpu.run(
          this.#dispatchers[vcpu.index]!,
          Math.min(wheel.nextDeadline(), now + SLICE, end),
        );
        this.#current = undefined;
        this.#answer(vcpu, stop);
      }
      // The host's clock costs more than what an idle guest does: look at it now and then.
      if ((vcpu !== undefined || (slices & 15) === 0) && performance.now() >= turnEnd) return undefined;
    }
    return undefined;
  }

  #answer(vcpu: Vcpu, stop: Stop): void {
    switch (stop.kind) {
      case "deadline":
      case "kicked":
      case "halted":
      case "yielded":
        return;
      case "shutdown": {
        const at = vcpu.registers.get("rip").toString(16);
        this.#finish({
          kind: "crashed",
          vcpu: vcpu.index,
          detail: `${stop.reason} on processor ${vcpu.index} at RIP 0x${at}`,
        });
        return;
      }
      case "host-violation":
        this.#finish({ kind: "host-violation", rule: stop.rule, detail: stop.detail });
        return;
      default:
        stop satisfies never;
    }
  }

  /** The next vCPU in turn that has something to do. */
  #nextRunnable(): Vcpu | undefined {
    const { vcpus } = this.#partition;
    for (let i = 0; i < vcpus.length; i++) {
      const vcpu = vcpus[(this.#turn + i) % vcpus.length]!;
      if (vcpu.canRun(this.#dispatchers[vcpu.index]!)) {
        this.#turn = (vcpu.index + 1) % vcpus.length;
        return vcpu;
      }
    }
    return undefined;
  }

  /** No vCPU will run again by what a maskable interrupt can do: those that were started are halted with RFLAGS.IF clear. */
  #deadForEver(): boolean {
    const IF = 0x200n;
    return this.#partition.vcpus.every(
      (vcpu) =>
        vcpu.activity === "wait-for-sipi" ||
        vcpu.activity === "shutdown" ||
        (vcpu.activity === "halted" && (vcpu.registers.get("rflags") & IF) === 0n),
    );
  }

  /** Writes a snapshot file. Not while a slice runs: call it between turns, as from `onIdle` or when paused. `extra` comes back from `resume`. */
  snapshot(path: string, extra: unknown = null): void {
    this.#refuseUnusable();
    this.#refuseInSlice("snapshot");
    const { memory, cpus, serialPorts } = this.config;
    const header: SavedMachine = {
      version: 1,
      memory,
      cpus,
      serialPorts,
      partition: this.#partition.save(),
      chipset: this.#chipset.save(),
      msrs: this.#dispatchers.map(({ msrs }) => msrs.save()),
      extra,
    };
    writeSnapshot(path, header, this.#partition.memory);
    // Writing took time of the host's that is none of the guest's: real time starts anew from here.
    this.#partition.time = this.#partition.time;
  }

  #restore(snapshot: Snapshot, state: SavedMachine, path: string): void {
    this.#resumed = true;
    snapshot.load(this.#partition.memory);
    this.#partition.restore(state.partition);
    this.#chipset.restore(state.chipset);
    for (const [i, { msrs }] of this.#dispatchers.entries()) {
      if (!msrs.restore(state.msrs[i])) {
        throw new VmError(
          "bad-snapshot",
          `${path} is no usable snapshot: processor ${i} has an MSR that cannot be restored`,
        );
      }
    }
  }

  /** SHA-256 of guest RAM, lower-case hexadecimal. */
  ramDigest(): string {
    const { memory } = this.#partition;
    const digest = createHash("sha256");
    const chunk = new Uint8Array(2 ** 20);
    for (let at = 0; at < memory.size; at += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, memory.size - at));
      memory.read(asGpa(at), part);
      digest.update(part);
    }
    return digest.digest("hex");
  }

  /** SHA-256 of the saved state of every device and MSR, lower-case hexadecimal. */
  deviceDigest(): string {
    const state = { chipset: this.#chipset.save(), msrs: this.#dispatchers.map(({ msrs }) => msrs.save()) };
    return createHash("sha256").update(encodeCbor(state)).digest("hex");
  }

  statistics(): VmStatistics {
    const exits: Record<string, number> = {};
    exitKinds.forEach((kind, i) => {
      exits[kind] = this.#dispatchers.reduce((sum, { counts }) => sum + counts[i]!, 0);
    });
    const interrupts: Record<string, number> = {};
    for (let vector = 0; vector < 256; vector++) {
      const count = this.#chipset.apics.reduce((sum, apic) => sum + apic.accepted[vector]!, 0);
      if (count > 0) interrupts[`0x${vector.toString(16).padStart(2, "0")}`] = count;
    }
    return {
      instructions: this.#partition.instructions,
      guestTime: this.#partition.clock.now(),
      exits,
      devices: [...this.#chipset.bus.statistics(), ...this.#localApicAccesses()],
      interrupts,
      backend: this.#partition.inspect(),
    };
  }

  /** Local APICs are not on the bus, since each vCPU has its own: all of them as one row, when they were used. */
  #localApicAccesses(): VmStatistics["devices"] {
    const reads = this.#dispatchers.reduce((sum, { apicReads }) => sum + apicReads, 0);
    const writes = this.#dispatchers.reduce((sum, { apicWrites }) => sum + apicWrites, 0);
    return reads + writes > 0 ? [{ name: "local apic", kind: "mmio", reads, writes }] : [];
  }

  /** Registers and counters of every device, for people. */
  inspect(): Record<string, unknown> {
    this.#refuseInSlice("inspect");
    return {
      processors: this.#partition.vcpus.map((vcpu) => ({
        activity: vcpu.activity,
        rip: `0x${vcpu.registers.get("rip").toString(16)}`,
        rflags: `0x${vcpu.registers.get("rflags").toString(16)}`,
        cr3: `0x${vcpu.registers.get("cr3").toString(16)}`,
        refusedMsrs: [...this.#dispatchers[vcpu.index]!.msrs.refusals].map(
          ([msr, count]) => `0x${msr.toString(16)}: ${count}`,
        ),
      })),
      ...this.#chipset.inspect(),
    };
  }

  /** Ends a run that is under way and gives everything back. Once is enough, more do no harm. Not to be awaited inside a callback of the VM's. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#running) this.pause();
    await this.#ended;
    await this.#partition[Symbol.asyncDispose]();
  }
}

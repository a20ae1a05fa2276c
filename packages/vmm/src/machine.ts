import { createHash } from "node:crypto";
import { encodeCbor } from "@entresol/wire";
import { loadGuest } from "./boot.ts";
import { type CheckedConfig, checkConfig, type ResumeConfig, type VmConfig, VmError } from "./config.ts";
import { assembleHardware, type Hardware, resetHardware } from "./hardware.ts";
import { inspect, ramDigest, statisticsOf, type VmStatistics } from "./inspection.ts";
import { RunControl, type VmStop } from "./run-control.ts";
import { RunLoop } from "./run-loop.ts";
import { readMachine, saveDevices, writeMachine } from "./saved-machine.ts";
import type { SerialPort } from "./serial-port.ts";
import { testDevices } from "./test-devices.ts";

/**
 * A VM: partition, chipset and the privileged layer between them. One thread; `run` gives the host's event loop a turn every
 * few milliseconds and resolves when the VM stops.
 */
export class Vm implements AsyncDisposable {
  readonly config: CheckedConfig;
  /** COM1 first. */
  readonly serial: readonly SerialPort[];
  /** False for a VM that was resumed: it has no images to start from. */
  readonly canRestart: boolean;
  /** Called when every vCPU is idle, before time is moved on to `next`: guest time (ns) of the next alarm, Infinity for none. */
  onIdle: ((next: number) => void) | undefined;
  /**
   * Asked between turns: a promise holds the guest until it resolves. For a host that cannot take the guest's output as fast as
   * it comes; guest time stands still meanwhile, so a run is the same whether it was held or not.
   */
  holdBack: (() => Promise<void> | undefined) | undefined;
  readonly #hardware: Hardware;
  readonly #control: RunControl;
  readonly #loop: RunLoop;
  /** Resolves when `run` has come back; of the last run. */
  #ended: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** Makes a VM at its power-on state with the guest loaded. Throws `VmError`, `HypervisorError` or `BootError`. */
  static async create(config: VmConfig): Promise<Vm> {
    const vm = await Vm.#assemble(config, true);
    return vm.#prepared((hardware) => {
      hardware.tpm?.reset();
      loadGuest(hardware, vm.config.boot);
    });
  }

  /**
   * Makes a VM that goes on where a snapshot file left off, of the snapshot's shape, and gives what `snapshot` was told to keep.
   * Throws `VmError` `bad-snapshot` for a damaged file, `snapshot-mismatch` when `config` asks for another shape.
   */
  static async resume(path: string, config: ResumeConfig = {}): Promise<{ vm: Vm; extra: unknown }> {
    const { shape, extra, restore } = readMachine(path);
    for (const field of ["memory", "cpus"] as const) {
      const asked = config[field];
      if (asked !== undefined && asked !== shape[field]) {
        throw new VmError(
          "snapshot-mismatch",
          `${path} was taken with ${field} ${shape[field]}, not ${asked}`,
        );
      }
    }
    const { tpm, ...rest } = shape;
    const asked = config.tpm?.interface;
    if (asked !== undefined && asked !== (tpm ?? "none")) {
      throw new VmError("snapshot-mismatch", `${path} was taken with tpm ${tpm ?? "none"}, not ${asked}`);
    }
    const state = config.tpm?.state;
    if (state !== undefined && tpm === undefined)
      throw new VmError("snapshot-mismatch", `${path} has no TPM whose state could stay in ${state}`);
    const tpmConfig =
      tpm === undefined ? {} : { tpm: { interface: tpm, ...(state === undefined ? {} : { state }) } };
    const { tpm: _, ...others } = config;
    const vm = await Vm.#assemble({ ...others, ...rest, ...tpmConfig, boot: { kind: "none" } }, false);
    return {
      vm: await vm.#prepared((hardware) => {
        vm.#loop.schedule = restore(hardware);
      }),
      extra,
    };
  }

  /** This VM with `prepare` done; when that fails the partition is given back, since nobody else will. */
  async #prepared(prepare: (hardware: Hardware) => void): Promise<this> {
    try {
      prepare(this.#hardware);
      return this;
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #assemble(config: VmConfig, canRestart: boolean): Promise<Vm> {
    const checked = checkConfig(config);
    const control = new RunControl();
    const devices = [...(checked.testDevice ? testDevices(checked, control) : []), ...(config.devices ?? [])];
    const hardware = await assembleHardware({ ...config, devices }, checked, control);
    return new Vm(checked, hardware, control, canRestart);
  }

  private constructor(config: CheckedConfig, hardware: Hardware, control: RunControl, canRestart: boolean) {
    this.config = config;
    this.serial = hardware.serial;
    this.canRestart = canRestart;
    this.#hardware = hardware;
    this.#control = control;
    this.#loop = new RunLoop(hardware, control, {
      onIdle: (next) => this.onIdle?.(next),
      holdBack: () => this.holdBack?.(),
    });
  }

  /**
   * Lets the guest run until it stops, `pause` is called, or guest time `until` (ns) has come: "paused". Rejects with what a
   * device or a callback of the embedder's throws; after a device has, the VM is of no further use.
   */
  async run({ until = Number.POSITIVE_INFINITY }: { readonly until?: number } = {}): Promise<VmStop> {
    this.#refuseUnusable();
    if (this.#loop.running) throw new VmError("already-running", "the VM is already running");
    if (typeof until !== "number" || Number.isNaN(until))
      throw new VmError("bad-config", `until: ${String(until)} is no guest time`);
    const run = this.#loop.run(until);
    this.#ended = run.catch(() => undefined);
    return run;
  }

  /** Makes `run` return soon with "paused". */
  pause(): void {
    this.#control.finish({ kind: "paused" });
  }

  /** Makes `run` return with "paused" when guest time `time` (ns) has come: in every run at the same instruction, unlike `pause`. */
  pauseAt(time: number): void {
    this.#loop.pauseAt(time);
  }

  /** The user pushes the power button: a guest that listens to ACPI's fixed button shuts itself down, soon or never. */
  pressPowerButton(): void {
    this.#refuseUnusable();
    this.#hardware.chipset.pressPowerButton();
    this.#control.wakeUp();
  }

  /** The user pushes the sleep button: for a guest to do as it likes, since the platform has no sleep state. */
  pressSleepButton(): void {
    this.#refuseUnusable();
    this.#hardware.chipset.pressSleepButton();
    this.#control.wakeUp();
  }

  /** Back to power-on with the guest loaded anew. Not while it runs, and not for a VM that was resumed. */
  restart(): void {
    this.#refuseUnusable();
    if (!this.canRestart)
      throw new VmError("bad-config", "a VM that was resumed has no guest image to start from");
    if (this.#loop.running) throw new VmError("already-running", "pause the VM before it is restarted");
    resetHardware(this.#hardware);
    this.#control.clearStop();
    this.#loop.pauseAt(Number.POSITIVE_INFINITY);
    loadGuest(this.#hardware, this.config.boot);
  }

  /** Guest time, ns. */
  get now(): number {
    return this.#hardware.partition.clock.now();
  }

  /** Guest time from now on; see `Partition.time`. */
  setTime(source: "virtual" | "real"): void {
    this.#hardware.partition.time = source;
  }

  /** Writes a snapshot file. Not while a slice runs: call it between turns, as from `onIdle` or when paused. `extra` comes back from `resume`. */
  snapshot(path: string, extra: unknown = null): void {
    this.#refuseUnusable();
    this.#refuseInSlice("snapshot");
    writeMachine(path, this.#hardware, this.#loop.schedule, extra);
    // Writing took time of the host's that is none of the guest's: real time starts anew from here.
    this.setTime(this.#hardware.partition.time);
  }

  statistics(): VmStatistics {
    return statisticsOf(this.#hardware);
  }

  /** Registers and counters of every device, for people. */
  inspect(): Record<string, unknown> {
    this.#refuseInSlice("inspect");
    return inspect(this.#hardware);
  }

  /** SHA-256 of guest RAM, lower-case hexadecimal. */
  ramDigest(): string {
    return ramDigest(this.#hardware.partition.memory);
  }

  /** SHA-256 of the saved state of every device and MSR, lower-case hexadecimal. */
  deviceDigest(): string {
    return createHash("sha256")
      .update(encodeCbor(saveDevices(this.#hardware)))
      .digest("hex");
  }

  /** Ends a run that is under way and gives everything back. Once is enough, more do no harm. Not to be awaited inside a callback of the VM's. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#loop.running) this.pause();
    await this.#ended;
    await this.#hardware.tpm?.close();
    await this.#hardware.partition[Symbol.asyncDispose]();
  }

  #refuseUnusable(): void {
    if (this.#disposed) throw new VmError("disposed", "the VM was disposed of");
    if (this.#loop.failed)
      throw new VmError("failed", "the VM cannot go on: an exception came out of a device or a callback");
  }

  /** The processor's state is whole only between slices. */
  #refuseInSlice(what: string): void {
    if (this.#control.current !== undefined)
      throw new VmError(
        "already-running",
        `${what} while the guest is in the middle of an instruction: call it between slices, as from onIdle or when paused`,
      );
  }
}

import { existsSync } from "node:fs";
import { BootError } from "@entresol/devices";
import { type ResumeConfig, type VmConfig, VmError } from "../config.ts";
import { Vm } from "../machine.ts";
import { type BootOptions, usualTpm } from "./boot-options.ts";
import { CommandError, EXIT_FAILURE } from "./exit-status.ts";
import { messageOf } from "./failure.ts";
import { chooseGuest, testMachine } from "./guest-choice.ts";
import { serialPortCount } from "./serial-options.ts";
import { discard, promptSnapshotPath } from "./snapshot-cache.ts";
import { type GuestIdentity, readNote } from "./snapshot-note.ts";

/** A VM that is ready to run. */
export interface StartedVm {
  readonly vm: Vm;
  readonly guest: GuestIdentity;
  /** It goes on from a snapshot. */
  readonly resumed: boolean;
  /** What stood on the console behind the last line end. */
  readonly openLine: string;
}

/** A session's VM and what else was found out on the way to it. */
export interface SessionStart extends StartedVm {
  /** How to start again from the beginning; undefined for a guest that came out of `--resume`. */
  readonly config: VmConfig | undefined;
  /** When the VM began to be made or resumed: `performance.now()`, ms. */
  readonly powerOn: number;
  /** Where the snapshot at the prompt goes; undefined: none. */
  readonly promptSnapshot: string | undefined;
}

/** Makes the VM that the options ask for: from `--resume`, from the cached snapshot at the prompt, or from its start. */
export async function startVm(options: BootOptions): Promise<SessionStart> {
  const shape = {
    memory: options.memory,
    cpus: options.cpus,
    time: options.realTime === true ? "real" : "virtual",
    x2apic: options.x2apic !== false,
    testDevice: options.testDevice === true,
  } as const;
  if (options.resume !== undefined) {
    const powerOn = performance.now();
    const tpm = {
      ...(options.tpm === undefined ? {} : { interface: options.tpm }),
      ...(options.tpmState === undefined ? {} : { state: options.tpmState }),
    };
    const started = await resumeAny(options.resume, { ...shape, tpm });
    return { ...started, config: undefined, powerOn, promptSnapshot: undefined };
  }
  const { boot, extras, ...guest } = await chooseGuest(options);
  const config: VmConfig = {
    ...shape,
    ...extras,
    boot,
    serialPorts: serialPortCount(options.serial),
    ...(options.realTime === true ? { rtcStart: Math.floor(Date.now() / 1000) } : {}),
    ...tpmOf(options, boot),
  };
  // What is cached is of the usual machine.
  const caches =
    guest.agent &&
    options.kernel === undefined &&
    options.cold !== true &&
    options.x2apic !== false &&
    // A TPM that stays has gone on since.
    options.tpmState === undefined;
  const cached = caches ? cachePlace(config, guest.name) : undefined;
  const powerOn = performance.now();
  const resumed = cached === undefined ? undefined : await resumeCached(cached, shape);
  if (resumed !== undefined) return { ...resumed, config, powerOn, promptSnapshot: options.snapshot };
  const vm = await createVm(config, guest.title);
  return {
    vm,
    guest,
    resumed: false,
    openLine: "",
    config,
    powerOn,
    promptSnapshot: options.snapshot ?? cached,
  };
}

/** The guest that came in the place of one that could not be had is of another kind. */
function tpmOf(options: BootOptions, boot: VmConfig["boot"]): Pick<VmConfig, "tpm"> {
  const kind = options.tpm ?? (boot.kind === "linux" ? usualTpm(options) : "none");
  if (kind === "none") return {};
  return { tpm: { interface: kind, ...(options.tpmState === undefined ? {} : { state: options.tpmState }) } };
}

async function createVm(config: VmConfig, title: string): Promise<Vm> {
  try {
    return await Vm.create(config);
  } catch (error) {
    // The loader knows what is wrong with which bytes; which file they came from is known here.
    if (error instanceof BootError) throw new CommandError(EXIT_FAILURE, `${title}: ${error.message}`);
    throw error;
  }
}

/** Which guest a snapshot holds is told behind the machine's state, and the test guest's machine has more devices than others. */
async function resumeAny(path: string, shape: Shape): Promise<StartedVm> {
  try {
    return await resume(path, shape);
  } catch (error) {
    if (!(error instanceof VmError) || error.code === "bad-config") throw error;
    return resume(path, { ...shape, ...testMachine }).catch(() => {
      throw error;
    });
  }
}

type Shape = Pick<ResumeConfig, "time" | "x2apic" | "testDevice" | "devices" | "tpm"> & {
  readonly memory: number;
  readonly cpus: number;
};

async function resume(path: string, shape: Shape): Promise<StartedVm> {
  const { vm, extra } = await Vm.resume(path, shape);
  const { guest, openLine } = readNote(extra, path);
  // Busybox asks the terminal for its cursor behind each prompt; the answer to an old question would be typed into the shell.
  return { vm, guest, resumed: true, openLine: openLine.replaceAll("\x1b[6n", "") };
}

/** Undefined when there is no snapshot, or none that can be used. */
async function resumeCached(path: string, shape: Shape): Promise<StartedVm | undefined> {
  if (!existsSync(path)) return undefined;
  try {
    return await resume(path, shape);
  } catch (error) {
    // Another process may have tidied it away just now, which is no news to anybody.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
      process.stderr.write(`entresol: ${messageOf(error)}; booting from the start\n`);
      if (error instanceof VmError) discard(path);
    }
    return undefined;
  }
}

/** A cache that cannot be used costs the next start's time and nothing else. */
function cachePlace(config: VmConfig, name: string): string | undefined {
  try {
    return promptSnapshotPath(config, name);
  } catch (error) {
    process.stderr.write(`entresol: no snapshot at the prompt is kept: ${messageOf(error)}\n`);
    return undefined;
  }
}

import { EntresolError } from "@entresol/wire";
import { MAXIMUM_CPUS, MAXIMUM_SERIAL_PORTS, MINIMUM_MEMORY, VmError } from "./config.ts";
import type { Hardware } from "./hardware.ts";
import type { Schedule } from "./run-loop.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";

/** What a VM must be like to take over a saved one. */
export interface MachineShape {
  /** Bytes of RAM. */
  readonly memory: number;
  readonly cpus: number;
  readonly serialPorts: number;
  /** Interface of the TPM; absent without one. */
  readonly tpm?: "crb" | "tis";
}

/** State of the devices and of the MSRs that are not the backend's. */
export interface SavedDevices {
  readonly chipset: unknown;
  /** One per vCPU. */
  readonly msrs: readonly unknown[];
}

/** The header of a snapshot file; specs/snapshot.md describes its fields. */
interface SavedMachine extends MachineShape, SavedDevices {
  readonly version: 1;
  /** What `Partition.save` gave. */
  readonly partition: Uint8Array;
  /** Absent in snapshots of builds that forgot whose turn it was. */
  readonly schedule?: Schedule;
  /** What the caller of `Vm.snapshot` wants back. */
  readonly extra: unknown;
}

/** State of everything but processors and RAM. */
export function saveDevices({ chipset, dispatchers }: Hardware): SavedDevices {
  return { chipset: chipset.save(), msrs: dispatchers.map(({ msrs }) => msrs.save()) };
}

/** Writes a VM whose run loop remembers `schedule` to a snapshot file, with `extra` for whoever reads it. Throws `VmError` `bad-snapshot` and file system errors. */
export function writeMachine(path: string, hardware: Hardware, schedule: Schedule, extra: unknown): void {
  const { partition, serial } = hardware;
  const header: SavedMachine = {
    version: 1,
    memory: partition.memory.size,
    cpus: partition.vcpus.length,
    serialPorts: serial.length,
    ...(hardware.tpm === undefined ? {} : { tpm: hardware.tpm.interface }),
    partition: partition.save(),
    ...saveDevices(hardware),
    schedule,
    extra,
  };
  writeSnapshot(path, header, partition.memory);
}

/** A VM that was read from a snapshot file. */
export interface StoredMachine {
  readonly shape: MachineShape;
  readonly extra: unknown;
  /** Puts the state into a VM of this shape, as it is at power-on; gives what its run loop is to go on from. Throws `VmError` `bad-snapshot`; then some may be there already. */
  restore(hardware: Hardware): Schedule;
}

/** Reads a snapshot file. Throws `VmError` `bad-snapshot` for a file that is damaged or not of a VM; file system errors pass through. */
export function readMachine(path: string): StoredMachine {
  const snapshot = readSnapshot(path);
  const state = savedMachine(snapshot.header, path);
  const { memory, cpus, serialPorts, tpm, extra } = state;
  return {
    shape: { memory, cpus, serialPorts, ...(tpm === undefined ? {} : { tpm }) },
    extra,
    restore: (hardware) => {
      try {
        snapshot.load(hardware.partition.memory);
        restoreState(state, hardware, path);
        return state.schedule ?? { turn: 0, unfinished: null, nextFlush: 0 };
      } catch (error) {
        // The file is whole, but what it holds does not fit this machine: another version wrote it, or somebody who knew the digest.
        if (error instanceof VmError || !(error instanceof EntresolError)) throw error;
        throw new VmError("bad-snapshot", `${path} is no usable snapshot: ${error.message}`, {
          cause: error,
        });
      }
    },
  };
}

function isWhole(value: unknown, minimum: number, maximum: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum;
}

function isSchedule(value: unknown, cpus: number): boolean {
  if (value === undefined) return true;
  const { turn, unfinished, nextFlush } = (value ?? {}) as Partial<Schedule>;
  const wholeNs = (time: unknown): boolean => isWhole(time, 0, Number.MAX_SAFE_INTEGER);
  if (!isWhole(turn, 0, cpus - 1) || !wholeNs(nextFlush) || unfinished === undefined) return false;
  return unfinished === null || (isWhole(unfinished.vcpu, 0, cpus - 1) && wholeNs(unfinished.end));
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
    !(state.tpm === undefined || state.tpm === "crb" || state.tpm === "tis") ||
    !(state.partition instanceof Uint8Array) ||
    !Array.isArray(state.msrs) ||
    state.msrs.length !== state.cpus ||
    !isSchedule(state.schedule, state.cpus)
  ) {
    throw new VmError(
      "bad-snapshot",
      `${path} is no usable snapshot: its header is not that of a VM, version 1`,
    );
  }
  return state as SavedMachine;
}

function restoreState(
  state: SavedMachine,
  { partition, chipset, dispatchers }: Hardware,
  path: string,
): void {
  partition.restore(state.partition);
  chipset.restore(state.chipset);
  for (const [i, { msrs }] of dispatchers.entries()) {
    if (!msrs.restore(state.msrs[i])) {
      throw new VmError(
        "bad-snapshot",
        `${path} is no usable snapshot: processor ${i} has an MSR that cannot be restored`,
      );
    }
  }
}

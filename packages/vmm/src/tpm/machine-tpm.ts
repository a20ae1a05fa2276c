import { createHash, randomBytes } from "node:crypto";
import {
  type AcpiTables,
  type AcpiTpm,
  type Chipset,
  type Device,
  DeviceStateError,
  eventLogArea,
  type Inspection,
  type MemoryRegion,
  SavedFields,
  type Timebase,
} from "@entresol/devices";
import { type KeySearch, nodeProvider, openState, StateKind, searchKey } from "@entresol/tpm";
import {
  CrbDevice,
  type KeySearcher,
  type KeySearchInProgress,
  MemoryStore,
  PhysicalPresence,
  presenceBase,
  presenceLength,
  type StateStore,
  searchOnThread,
  ThreadExecutor,
  TisDevice,
  TpmHost,
  tpmBase,
  tpmLength,
} from "@entresol/vtpm";
import { type CheckedConfig, VmError } from "../config.ts";
import { FirmwareTpm } from "./firmware-tpm.ts";
import { measureBoot, startTpm } from "./measured-boot.ts";
import { measurements } from "./measurements.ts";
import { RANDOM_STATE_SIZE, SeededRandom, seededProvider } from "./seeded-random.ts";
import { StateFolder } from "./state-folder.ts";

const NS_PER_MS = 1e6;
/** Of the CRB's control area, from the base of its locality's registers. */
const CONTROL_AREA = 0x40;

/** What the ACPI tables say about the TPM of a config. */
export function acpiTpm({ interface: kind }: NonNullable<CheckedConfig["tpm"]>): AcpiTpm {
  return {
    interface: kind,
    base: tpmBase,
    length: tpmLength,
    controlArea: CONTROL_AREA,
    log: eventLogArea,
    presence: presenceBase,
  };
}

/**
 * Guest time for the TPM: milliseconds. The engine counts from what it was told last, which its saved state does not have: so this remembers
 * it, and says it once more to an engine that was restored.
 */
class TpmClock {
  readonly #guest: Timebase;
  #last = 0;
  #held = false;

  constructor(guest: Timebase) {
    this.#guest = guest;
  }

  readonly now = (): number => {
    if (!this.#held) this.#last = Math.floor(this.#guest.now() / NS_PER_MS);
    return this.#last;
  };

  get last(): number {
    return this.#last;
  }

  /** Time stands still at `last` while `action` runs. */
  holdAt(last: number, action: () => void): void {
    this.#last = last;
    this.#held = true;
    try {
      action();
    } finally {
      this.#held = false;
    }
  }
}

/** A search that is made at once, by who asks for it: in virtual time nothing may depend on how long another thread takes. */
function searchHere(search: KeySearch): KeySearchInProgress {
  const key = searchKey(nodeProvider, search);
  return { poll: () => key, wait: () => key, whenFound: (tell) => tell(key), cancel() {} };
}

/**
 * Runs each command when it comes, and lets its bytes have a part in the randomness: machines that go on from one snapshot with different
 * commands part there. In real time the search for a long key does not hold the guest up, and the guest may cancel it.
 */
class MachineExecutor extends ThreadExecutor {
  readonly #random: SeededRandom;

  constructor(
    makeHost: ConstructorParameters<typeof ThreadExecutor>[0],
    random: SeededRandom,
    inRealTime: () => boolean,
  ) {
    super(makeHost, (search) => (inRealTime() ? searchOnThread(search) : searchHere(search)));
    this.#random = random;
  }

  override start(command: Uint8Array, locality: number): void {
    this.#random.stir(command, Uint8Array.of(locality));
    super.start(command, locality);
  }
}

/**
 * The TPM of a machine: engine, registers on the bus, and firmware's part at boot. Its time is the guest's and its randomness follows from the
 * machine's seed, so that a run can be repeated.
 */
export class MachineTpm implements Device {
  readonly name = "tpm";
  readonly interface: "crb" | "tis";
  readonly #random: SeededRandom;
  readonly #clock: TpmClock;
  readonly #store: StateStore;
  readonly #folder: StateFolder | undefined;
  #host!: TpmHost;
  readonly #executor: MachineExecutor;
  readonly #registers: CrbDevice | TisDevice;
  /** What the guest asks of firmware; it outlives a reset. */
  readonly #presence = new PhysicalPresence();

  /** Puts a TPM without power into a machine. Throws `VmError` `bad-config` for a state folder that cannot be used, and what bus and chipset throw. */
  static async attach(
    config: NonNullable<CheckedConfig["tpm"]>,
    chipset: Chipset,
    seed: bigint,
    inRealTime: () => boolean = () => false,
  ): Promise<MachineTpm> {
    const folder = config.state === undefined ? undefined : await StateFolder.open(config.state);
    try {
      const tpm = new MachineTpm(config.interface, chipset.wheel, seedOf(seed, folder), folder, inRealTime);
      chipset.bus.registerMmio(tpm.name, tpmBase, tpmLength, tpm.#registers);
      chipset.bus.registerMmio(tpm.#presence.name, presenceBase, presenceLength, tpm.#presence);
      chipset.attach(tpm);
      return tpm;
    } catch (error) {
      await folder?.close();
      throw error;
    }
  }

  private constructor(
    kind: "crb" | "tis",
    timebase: Timebase,
    random: SeededRandom,
    folder: StateFolder | undefined,
    inRealTime: () => boolean,
  ) {
    this.interface = kind;
    this.#random = random;
    this.#clock = new TpmClock(timebase);
    this.#folder = folder;
    this.#store = folder ?? new MemoryStore();
    const makeHost = (search: KeySearcher): TpmHost => {
      const tpm = { crypto: seededProvider(random), now: this.#clock.now };
      this.#host = new TpmHost({ store: this.#store, tpm, searchKey: search });
      return this.#host;
    };
    this.#executor = new MachineExecutor(makeHost, random, inRealTime);
    const options = { name: this.name, executor: this.#executor, timebase };
    this.#registers = kind === "crb" ? new CrbDevice(options) : new TisDevice(options);
  }

  /** _TPM_Init: power goes, if it was there, and comes. Throws `VmError` `bad-config` when the state cannot be read. */
  reset(): void {
    try {
      this.#presence.reset();
      this.#registers.reset();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new VmError("bad-config", `tpm: it cannot be given power: ${why}`, { cause: error });
    }
  }

  /** Starts the TPM and measures what is about to be booted; the event log is for `AcpiTables.kept`. Right after `reset`. Throws `VmError`. */
  measureBoot(boot: CheckedConfig["boot"], acpi: AcpiTables): MemoryRegion {
    const firmware = new FirmwareTpm(this.#executor);
    startTpm(firmware);
    // What was asked for may need one more start: of the TPM, not of the machine, whose guest asked before it was reset.
    if (this.#presence.perform(this.#executor)) {
      this.reset();
      startTpm(firmware);
    }
    const log = measureBoot(firmware, measurements(boot, acpi), eventLogArea.length);
    return { gpa: eventLogArea.gpa, bytes: log };
  }

  save(): SavedTpm {
    return {
      version: 1,
      interface: this.interface,
      random: this.#random.state,
      clock: this.#clock.last,
      registers: this.#registers.save(),
      presence: this.#presence.save(),
    };
  }

  restore(state: unknown): void {
    const saved = SavedFields.open(this.name, state, 1);
    saved.choice("interface", [this.interface]);
    const random = saved.bytes("random", RANDOM_STATE_SIZE);
    const clock = saved.integer("clock", 0, Number.MAX_SAFE_INTEGER);
    const { registers, presence } = state as SavedTpm;
    // Throws for what is wrong before anything is changed.
    new PhysicalPresence(`${this.name}.presence`).restore(presence);
    this.#refuseOtherState(registers);
    this.#clock.holdAt(clock, () => {
      this.#registers.restore(registers);
      // A command that is none: the engine looks at the clock, and nothing else happens.
      this.#host.execute(new Uint8Array(0), 0);
    });
    // The engine has drawn from it meanwhile.
    this.#random.state = random;
    this.#presence.restore(presence);
  }

  /** A state in a folder that has gone on since must not be put back: counters would count again, and what was taken back would be valid again. */
  #refuseOtherState(registers: unknown): void {
    const kept = this.#folder?.load();
    if (kept === undefined) return;
    const { permanent } = (registers as { readonly tpm?: { readonly permanent?: Uint8Array } }).tpm ?? {};
    const saved = permanent === undefined ? undefined : openState(StateKind.permanent, permanent, undefined);
    if (saved === undefined || Buffer.compare(saved.state, kept) !== 0)
      throw new DeviceStateError(
        "out-of-range",
        "tpm: the state folder is not as it was when the snapshot was taken: go on without it, or boot anew",
      );
  }

  inspect(): Inspection {
    return { ...this.#registers.inspect(), presence: this.#presence.inspect() };
  }

  /** Takes power away, as a machine that is switched off, and lets go of the state folder. */
  async close(): Promise<void> {
    this.#executor.power(false);
    await this.#folder?.close();
  }
}

interface SavedTpm {
  readonly version: 1;
  readonly interface: "crb" | "tis";
  readonly random: Uint8Array;
  /** What the TPM was told last, ms of guest time. */
  readonly clock: number;
  /** Of the interface, with the TPM behind it. */
  readonly registers: unknown;
  readonly presence: unknown;
}

/**
 * A TPM that is gone with its machine is made from the seed alone. One that stays is nobody else's: it is made from the operating system's
 * randomness, and later runs start from what it holds, which is secret and another one at each start.
 */
function seedOf(seed: bigint, folder: StateFolder | undefined): SeededRandom {
  const text = Buffer.from(`entresol tpm ${seed}`);
  if (folder === undefined) return new SeededRandom(text);
  const state = folder.load();
  return new SeededRandom(
    text,
    state === undefined ? randomBytes(RANDOM_STATE_SIZE) : createHash("sha512").update(state).digest(),
  );
}

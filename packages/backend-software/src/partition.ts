import { Processor } from "@entresol/cpu";
import {
  type Clock,
  HypervisorError,
  type Partition,
  type PartitionConfig,
  type TimeSource,
} from "@entresol/hypervisor";
import { decodeCbor, encodeCbor } from "@entresol/wire";
import { ExitBridge } from "./exits.ts";
import { SoftwareMemory } from "./memory.ts";
import { SeededRandom } from "./random.ts";
import { SoftwareVcpu } from "./vcpu.ts";

/** Guest RAM must fit beside the processor's tables in 4 GiB of wasm memory and stay below the chipset's addresses. */
export const MAXIMUM_MEMORY = 3072 * 2 ** 20;
export const MAXIMUM_VCPUS = 16;
const PHYSICAL_ADDRESS_BITS = 40;

/** One instruction takes one virtual nanosecond. */
const TSC_FREQUENCY = 1_000_000_000;

/** The longest that real-time idling sleeps before it looks again, in ms; bounds the harm of a lost wake-up. */
const LONGEST_SLEEP = 1000;

interface SavedPartition {
  version: 1;
  random: Uint8Array;
  processor: Uint8Array;
}

/** A partition on the software processor: RAM, up to sixteen vCPUs on one thread, and virtual time. */
export class SoftwarePartition implements Partition {
  readonly memory: SoftwareMemory;
  readonly vcpus: readonly SoftwareVcpu[];
  readonly clock: Clock;
  readonly physicalAddressBits = PHYSICAL_ADDRESS_BITS;
  readonly tscFrequency = TSC_FREQUENCY;
  readonly #processor: Processor;
  readonly #random: SeededRandom;
  #time: TimeSource;
  /** Real time: guest time 0 in wall-clock ns. */
  #wallOrigin = 0;

  static async create(config: PartitionConfig): Promise<SoftwarePartition> {
    const { memory, vcpus } = config;
    if (!Number.isSafeInteger(memory) || memory <= 0 || memory % 4096 !== 0 || memory > MAXIMUM_MEMORY) {
      throw new HypervisorError(
        "bad-config",
        `memory of ${memory} bytes: must be a multiple of 4096, at most ${MAXIMUM_MEMORY}`,
      );
    }
    if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAXIMUM_VCPUS) {
      throw new HypervisorError("bad-config", `${vcpus} vCPUs: must be 1 to ${MAXIMUM_VCPUS}`);
    }
    const random = new SeededRandom(config.seed);
    // The bridge needs the partition's vCPUs, which need the processor, which needs the bridge.
    let partition: SoftwarePartition | undefined;
    const bridge = new ExitBridge({
      interruptArrived: () => {
        const processor = partition!.#processor;
        processor.setInterruptWaiting(true);
        if (processor.canInterrupt()) processor.stopSoon();
      },
      random: () => random.next(),
      registers: () => partition!.vcpus[partition!.#processor.selected]!.registers,
    });
    const processor = await Processor.create({
      ramSize: memory,
      vcpus,
      host: bridge,
      physicalBits: PHYSICAL_ADDRESS_BITS,
    }).catch((error: unknown) => {
      // The sizes are right, so it is the host that has no room.
      if (!(error instanceof RangeError)) throw error;
      throw new HypervisorError(
        "unavailable",
        `the host cannot give ${memory / 2 ** 20} MiB of address space for the guest's RAM`,
        { cause: error },
      );
    });
    partition = new SoftwarePartition(processor, bridge, random, config);
    return partition;
  }

  private constructor(
    processor: Processor,
    bridge: ExitBridge,
    random: SeededRandom,
    config: PartitionConfig,
  ) {
    this.#processor = processor;
    this.#random = random;
    this.memory = new SoftwareMemory(processor);
    this.vcpus = Array.from(
      { length: config.vcpus },
      (_, i) => new SoftwareVcpu(processor, bridge, i, () => this.#followWallClock()),
    );
    this.clock = { now: () => processor.now() };
    this.#time = "virtual";
    this.time = config.time;
  }

  get time(): TimeSource {
    return this.#time;
  }

  set time(source: TimeSource) {
    this.#time = source;
    if (source === "real") this.#wallOrigin = performance.now() * 1e6 - this.clock.now();
  }

  get instructions(): number {
    return this.#processor.instructions;
  }

  idle(until: number, wake: Promise<void>): Promise<void> | undefined {
    if (this.#time === "virtual") {
      if (Number.isFinite(until)) {
        this.#processor.skipTo(until);
        return undefined;
      }
      return wake;
    }
    this.#followWallClock();
    const wait = (until - this.clock.now()) / 1e6;
    if (wait <= 0) return undefined;
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(wait, LONGEST_SLEEP));
      void wake.then(() => {
        clearTimeout(timer);
        resolve();
      });
    }).then(() => this.#followWallClock());
  }

  /** Real time: moves guest time up to the wall clock. A guest that ran ahead of it keeps its time until the wall catches up. */
  #followWallClock(): void {
    if (this.#time !== "real") return;
    const wall = Math.floor(performance.now() * 1e6 - this.#wallOrigin);
    if (wall > this.clock.now()) this.#processor.skipTo(wall);
  }

  reset(): void {
    for (const { index } of this.vcpus) this.#processor.resetVcpu(index, "power-on");
  }

  save(): Uint8Array {
    const random = new Uint8Array(8);
    new DataView(random.buffer).setBigUint64(0, this.#random.state, true);
    const state: SavedPartition = { version: 1, random, processor: this.#processor.save() };
    return encodeCbor(state);
  }

  restore(bytes: Uint8Array): void {
    const state = decodeCbor(bytes) as Partial<SavedPartition> | null;
    if (
      state === null ||
      typeof state !== "object" ||
      state.version !== 1 ||
      !(state.random instanceof Uint8Array) ||
      state.random.length !== 8 ||
      !(state.processor instanceof Uint8Array)
    ) {
      throw new HypervisorError("bad-state", "not the saved state of a software partition, version 1");
    }
    try {
      this.#processor.restore(state.processor);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new HypervisorError("bad-state", "the saved processor does not fit this partition", {
        cause: error,
      });
    }
    if (!Number.isSafeInteger(this.clock.now()) || this.clock.now() < 0 || this.instructions < 0)
      throw new HypervisorError("bad-state", "the saved guest time is none that a partition reaches");
    this.#random.state = new DataView(state.random.buffer, state.random.byteOffset).getBigUint64(0, true);
    this.time = this.#time;
  }

  inspect(): Record<string, number> {
    return this.#processor.counters();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

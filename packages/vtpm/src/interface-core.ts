import {
  DeviceStateError,
  type InterruptLine,
  type SavedFields,
  type Timebase,
  unconnectedLine,
} from "@entresol/devices";
import { TpmStateError } from "@entresol/tpm";
import { CommandRun } from "./command-run.ts";
import type { ExecutorState, TpmExecutor } from "./executor.ts";
import { HashSequence, hardwareLocality } from "./hash-sequence.ts";
import { defaultIdentity, type InterfaceIdentity, localityShift } from "./interface-registers.ts";
import { type ArbiterState, LocalityArbiter, localityCount } from "./locality-arbiter.ts";

/** What a TPM's registers are made with. */
export interface InterfaceOptions {
  readonly name: string;
  readonly executor: TpmExecutor;
  readonly timebase: Timebase;
  /** High while an interrupt that is enabled was not taken note of; leads nowhere if left out. */
  readonly line?: InterruptLine;
  /** Localities: 5 if left out, or 1 as some virtual TPMs have it. What the others' pages are is then an empty bus. */
  readonly localities?: 1 | 5;
  /**
   * Guests may write to locality 4. False if left out: on a PC only the processor reaches it, and only to start a dynamic root of trust; a
   * guest that does could say of itself what it likes in PCR 17.
   */
  readonly hardwareLocality?: boolean;
  readonly identity?: InterfaceIdentity;
  /** Told why a TPM did not come up at a reset (its state could not be read). Its registers then say so. */
  readonly onPowerFailure?: (error: unknown) => void;
}

/** What the registers of one kind do of their own. */
export interface InterfaceHooks {
  /** A command has ended; nothing: nobody is to get its response. */
  readonly ended: (response: Uint8Array | undefined) => void;
  /** The active locality is another one. */
  readonly changed: (from: number, to: number) => void;
}

/** The part of a saved interface that all kinds share. */
export interface SavedInterface {
  readonly arbiter: ArbiterState;
  readonly executing: boolean;
  readonly abandoned: boolean;
  readonly measuring: boolean;
  readonly tpm: ExecutorState;
}

/** What CRB and FIFO share: the TPM behind, the locality that has it, the command that runs, the sequence of locality 4. */
export class InterfaceCore {
  readonly executor: TpmExecutor;
  readonly arbiter: LocalityArbiter;
  readonly run: CommandRun;
  readonly hash: HashSequence;
  readonly line: InterruptLine;
  readonly identity: InterfaceIdentity;
  readonly localities: 1 | 5;
  readonly #name: string;
  readonly #hardwareLocality: boolean;
  readonly #onPowerFailure: ((error: unknown) => void) | undefined;

  constructor(options: InterfaceOptions, hooks: InterfaceHooks) {
    const { name, executor, localities = localityCount } = options;
    this.#name = name;
    this.executor = executor;
    this.line = options.line ?? unconnectedLine;
    this.identity = options.identity ?? defaultIdentity;
    this.localities = localities;
    this.#hardwareLocality = (options.hardwareLocality ?? false) && localities > hardwareLocality;
    this.#onPowerFailure = options.onPowerFailure;
    this.run = new CommandRun(name, executor, options.timebase, (response) => {
      hooks.ended(response);
      this.arbiter.settled();
    });
    this.arbiter = new LocalityArbiter({
      executing: () => this.run.executing,
      abort: () => this.run.abandon(),
      changed: (from, to) => {
        if (from === hardwareLocality && to !== from) this.hash.close();
        hooks.changed(from, to);
      },
    });
    this.hash = new HashSequence(executor, this.arbiter);
  }

  /** Whose page an offset is in; undefined: nobody's. */
  localityAt(offset: number): number | undefined {
    const locality = offset >>> localityShift;
    return locality < this.localities ? locality : undefined;
  }

  /** Do writes to the locality's page arrive? */
  reachable(locality: number): boolean {
    return locality !== hardwareLocality || this.#hardwareLocality;
  }

  /** _TPM_Init, and nobody has the TPM. */
  reset(): void {
    this.run.reset();
    this.arbiter.reset();
    this.hash.close();
    try {
      this.executor.power(true);
    } catch (error) {
      this.#onPowerFailure?.(error);
    }
  }

  save(): SavedInterface {
    return {
      arbiter: this.arbiter.save(),
      executing: this.run.executing,
      abandoned: this.run.abandoned,
      measuring: this.hash.open,
      tpm: this.executor.save(),
    };
  }

  /**
   * Reads what `save` gave. What it returns puts it in place, the TPM first: that throws `DeviceStateError` when the TPM refuses its state, and
   * nothing has changed then.
   */
  prepare(fields: SavedFields): () => void {
    const arbiter = readArbiter(fields.nested("arbiter"), this.localities);
    const executing = fields.boolean("executing");
    const abandoned = fields.boolean("abandoned");
    const measuring = fields.boolean("measuring");
    const tpm = readExecutor(fields.nested("tpm"));
    fields.require(
      executing === (tpm.response !== undefined),
      "a command that ran has a response, and no other",
    );
    fields.require(executing || !abandoned, "only a command that runs can be abandoned");
    fields.require(executing || arbiter.pending === -2, "a locality waits only for a command that runs");
    fields.require(!measuring || arbiter.active === hardwareLocality, "locality 4 measures");
    return () => {
      try {
        this.executor.restore(tpm);
      } catch (error) {
        if (!(error instanceof TpmStateError)) throw error;
        throw new DeviceStateError("out-of-range", `${this.#name}.tpm: ${error.message}`, { cause: error });
      }
      this.arbiter.put(arbiter);
      this.run.put(executing, abandoned);
      this.hash.put(measuring);
    };
  }
}

function readArbiter(fields: SavedFields, localities: number): ArbiterState {
  const all = 2 ** localities - 1;
  const state = {
    active: fields.integer("active", -1, localities - 1),
    requests: fields.integer("requests", 0, all),
    seized: fields.integer("seized", 0, all),
    pending: fields.integer("pending", -2, localities - 1),
  };
  fields.end();
  fields.require(state.pending < 0 || state.pending > state.active, "only a higher locality seizes");
  fields.require(state.active >= 0 || state.requests === 0, "nobody waits for a TPM that nobody has");
  return state;
}

/** More than any state of a TPM takes. */
const stateLimit = 16 << 20;

function readExecutor(fields: SavedFields): ExecutorState {
  fields.integer("version", 1, 1);
  const optional = (field: string, limit: number): Uint8Array | undefined =>
    fields.has(field) ? fields.bytes(field, limit, 0) : undefined;
  const state: ExecutorState = {
    version: 1,
    powered: fields.boolean("powered"),
    established: fields.boolean("established"),
    bufferSize: fields.integer("bufferSize", 0, 0xffff),
    permanent: optional("permanent", stateLimit),
    volatile: optional("volatile", stateLimit),
    response: optional("response", 0x1_0000),
  };
  fields.end();
  return state;
}

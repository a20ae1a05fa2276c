import {
  decodePermanent,
  decodeRunning,
  type KeySearch,
  openState,
  StateKind,
  sealState,
  Tpm,
  type TpmOptions,
  TpmStateError,
} from "@entresol/tpm";
import { commands, Rc, Su } from "@entresol/tpm-types";
import { bareResponse, COMMAND_HEADER, commandCode, powerCommand, responseCode } from "./command-header.ts";
import type { KeySearcher, KeySearchInProgress } from "./key-search-thread.ts";
import type { StateStore } from "./state-store.ts";

/** Largest command and response in bytes, smallest that a command buffer may be made, as swtpm says them. */
export const BUFFER_LIMITS = { minimum: 0xaf8, maximum: 4096 } as const;

/** What a TPM is told by its surroundings. */
export interface HostOptions {
  readonly store: StateStore;
  readonly tpm?: Omit<TpmOptions, "permanent" | "store">;
  /** States leave under this key only, 16 bytes or more. */
  readonly migrationKey?: Uint8Array;
  /** States leave under this key when they are not asked for in the clear, and may come back under it. */
  readonly stateKey?: Uint8Array;
  /** Commands come from here until somebody chooses another locality. */
  readonly locality?: number;
  readonly rejectLocality4?: boolean;
  /** The vendor command TPM2_SetLocality of swtpm is taken from the data channel. */
  readonly allowSetLocality?: boolean;
  /** Power is taken away without TPM2_Shutdown. */
  readonly abrupt?: boolean;
  /** Who searches for long keys of commands that were submitted; undefined: the command itself. */
  readonly searchKey?: KeySearcher;
}

/** A command that stands in line. */
interface Submitted {
  readonly command: Uint8Array;
  readonly locality: number | undefined;
  readonly reply: (response: Uint8Array) => void;
}

/** The command in front, while a key is searched for it. */
interface Search {
  readonly tpm: Tpm;
  readonly progress: KeySearchInProgress;
  readonly reply: (response: Uint8Array) => void;
}

/** A state as it leaves. */
export interface StateBlob {
  readonly bytes: Uint8Array;
  readonly encrypted: boolean;
}

/** Is this a kind of state that a TPM 2.0 has? swtpm numbers them as the engine does, and has a third that only TPM 1.2 uses. */
export function isStateKind(kind: number): kind is StateKind {
  return kind === StateKind.permanent || kind === StateKind.volatile;
}

const HIGHEST_LOCALITY = 4;
/** Of swtpm: TPM2_CC_SET_LOCALITY. */
const SET_LOCALITY_COMMAND = 0x2000_1000;
/**
 * The board that a TPM sits on: its power, its locality, its state. All front ends of a process share one. A TPM is made from its store each
 * time that power comes, so what a command answered before is what is there.
 */
export class TpmHost {
  readonly #options: HostOptions;
  #tpm: Tpm | undefined;
  #locality: number;
  #established = false;
  #bufferSize: number = BUFFER_LIMITS.maximum;
  #lastCommand: number | undefined;
  /** The state of the running TPM was handed over, and nothing has happened since: it is not this one that will be shut down. */
  #handedOver = false;
  #commands = 0;
  #errors = 0;
  #starts = 0;
  #milliseconds = 0;
  #searches = 0;
  #search: Search | undefined;
  /** A search is ended for something that goes before all that stands in line. */
  #interrupted = false;
  readonly #line: Submitted[] = [];
  #cancelHeld = false;
  readonly #tpmOptions: Omit<TpmOptions, "permanent" | "store">;

  constructor(options: HostOptions) {
    this.#options = options;
    const asked = options.tpm?.canceled;
    this.#tpmOptions = { ...options.tpm, canceled: () => this.#cancelHeld || asked?.() === true };
    this.#locality = options.locality ?? 0;
  }

  get running(): boolean {
    return this.#tpm !== undefined;
  }
  /** tpmEstablished: a dynamic root of trust was measured, and nobody at locality 3 or 4 took note of it yet. */
  get established(): boolean {
    return this.#established;
  }
  get bufferSize(): number {
    return this.#bufferSize;
  }
  get hasStateKey(): boolean {
    return this.#options.stateKey !== undefined;
  }
  get hasMigrationKey(): boolean {
    return this.#options.migrationKey !== undefined;
  }
  /** Commands that were run since the host began. */
  get commandCount(): number {
    return this.#commands;
  }

  /** Of them, those that were not answered with TPM_RC_SUCCESS. */
  get errorCount(): number {
    return this.#errors;
  }
  /** Time that they took. */
  get commandSeconds(): number {
    return this.#milliseconds / 1000;
  }
  /** Keys that were searched for beside the commands of others. */
  get searchCount(): number {
    return this.#searches;
  }
  /** How often the TPM was given power. */
  get startCount(): number {
    return this.#starts;
  }

  /**
   * Power goes and comes. The TPM goes on where a volatile state was stored; with `deleteVolatile` that state is good for this once.
   * Throws what the store does, and `TpmStateError` for a state that is none: then there is no power.
   */
  start(deleteVolatile = false): void {
    this.stop();
    const { store } = this.#options;
    const permanent = store.load();
    const running = store.loadVolatile();
    const tpm = new Tpm({ ...this.#tpmOptions, ...(permanent && { permanent }), store });
    if (running !== undefined) tpm.restoreVolatile(running);
    tpm.bufferSize = this.#bufferSize;
    if (deleteVolatile) store.deleteVolatile();
    this.#tpm = tpm;
    this.#starts++;
    this.#lastCommand = undefined;
    this.#handedOver = false;
  }

  /** Sends TPM2_Startup. Gives its response code. */
  startup(type: number): number {
    return responseCode(this.execute(powerCommand(commands.Startup.code, type)));
  }

  /**
   * Takes power away. A TPM that nobody shut down is shut down first, as a guest that is cut off cannot: otherwise every reset of a machine
   * would count as an attack on what dictionary attack protection covers.
   */
  stop(): void {
    this.#endSearch();
    const tpm = this.#tpm;
    if (tpm === undefined) return;
    if (this.#wantsShutdown()) {
      for (const type of [Su.STATE, Su.CLEAR]) {
        const rc = responseCode(tpm.execute(powerCommand(commands.Shutdown.code, type), 0));
        if (rc === 0 || rc === Rc.INITIALIZE) break;
      }
    }
    tpm.powerOff();
    this.#tpm = undefined;
    this.#runLine();
  }

  #wantsShutdown(): boolean {
    if (this.#options.abrupt === true || this.#handedOver) return false;
    return this.#lastCommand !== commands.Shutdown.code;
  }

  /** Runs a command, at the chosen locality when none is given. Never throws. One that was submitted and waits for a key is ended first. */
  execute(command: Uint8Array, locality = this.#locality): Uint8Array {
    this.#endSearch();
    const response = this.#withoutEngine(command) ?? this.#timed(command, locality);
    this.#runLine();
    return response;
  }

  #timed(command: Uint8Array, locality: number): Uint8Array {
    const began = performance.now();
    return this.#counted(this.#tpm!.execute(command, locality), began);
  }

  /**
   * The same for commands that may take long: `reply` gets the response, as a rule before this returns. While a key is searched for one command the
   * others stand in line; the caller may do what else it likes.
   */
  submit(command: Uint8Array, locality: number | undefined, reply: (response: Uint8Array) => void): void {
    if (this.#search === undefined && !this.#interrupted) this.#run(command, locality, reply);
    // The bytes are the caller's.
    else this.#line.push({ command: command.slice(), locality, reply });
  }

  #run(command: Uint8Array, locality: number | undefined, reply: (response: Uint8Array) => void): void {
    const known = this.#withoutEngine(command);
    if (known !== undefined) {
      reply(known);
      return;
    }
    const tpm = this.#tpm!;
    const { searchKey } = this.#options;
    const began = performance.now();
    const outcome =
      searchKey === undefined
        ? tpm.execute(command, locality ?? this.#locality)
        : tpm.begin(command, locality ?? this.#locality);
    if (outcome instanceof Uint8Array) reply(this.#counted(outcome, began));
    else this.#wait(tpm, searchKey!, outcome, reply);
  }

  #wait(tpm: Tpm, searchKey: KeySearcher, search: KeySearch, reply: Search["reply"]): void {
    const began = performance.now();
    const progress = searchKey(search);
    this.#searches++;
    this.#search = { tpm, progress, reply };
    progress.whenFound((key) => {
      this.#search = undefined;
      const outcome = tpm.resume(key);
      if (outcome instanceof Uint8Array) reply(this.#counted(outcome, began));
      else this.#wait(tpm, searchKey, outcome, reply);
      this.#runLine();
    });
  }

  /** The command that waits for a key is answered TPM_RC_CANCELED. Who hears that and sends the next one at once has to wait until `#runLine`. */
  #endSearch(): void {
    const search = this.#search;
    if (search === undefined) return;
    this.#search = undefined;
    search.progress.cancel();
    const response = search.tpm.resume(undefined);
    if (!(response instanceof Uint8Array)) return;
    this.#interrupted = true;
    try {
      search.reply(this.#counted(response, performance.now()));
    } finally {
      this.#interrupted = false;
    }
  }

  #runLine(): void {
    while (this.#search === undefined) {
      const next = this.#line.shift();
      if (next === undefined) return;
      this.#run(next.command, next.locality, next.reply);
    }
  }

  /** The response to what the engine is not asked: undefined when it is. */
  #withoutEngine(command: Uint8Array): Uint8Array | undefined {
    if (this.#tpm === undefined) return bareResponse(Rc.INITIALIZE);
    this.#commands++;
    const code = commandCode(command);
    if (code === SET_LOCALITY_COMMAND && this.#options.allowSetLocality === true)
      return bareResponse(this.#localityCommand(command));
    if (code !== undefined) this.#lastCommand = code;
    this.#handedOver = false;
    return undefined;
  }

  #counted(response: Uint8Array, began: number): Uint8Array {
    this.#milliseconds += performance.now() - began;
    if (responseCode(response) !== Rc.SUCCESS) this.#errors++;
    return response;
  }

  #localityCommand(command: Uint8Array): number {
    const locality = command[COMMAND_HEADER];
    if (locality === undefined) return Rc.INSUFFICIENT;
    return this.setLocality(locality) ? Rc.SUCCESS : Rc.LOCALITY;
  }

  /** False: there is no such locality, or it is refused here. */
  setLocality(locality: number): boolean {
    if (locality > HIGHEST_LOCALITY) return false;
    if (locality === HIGHEST_LOCALITY && this.#options.rejectLocality4 === true) return false;
    this.#locality = locality;
    return true;
  }

  /** Ends the command that runs, when it is one that can be ended. */
  cancel(): void {
    this.#endSearch();
    this.#tpm?.cancel();
    this.#runLine();
  }

  /** While it is held, every long command is ended. */
  holdCancel(held: boolean): void {
    this.#cancelHeld = held;
    if (held) this.cancel();
  }

  /** Failure mode until power goes. */
  forceFailure(): void {
    this.#tpm?.forceFailure();
  }

  isActSignaled(handle: number): boolean {
    return this.#tpm?.isActSignaled(handle) ?? false;
  }

  setPhysicalPresence(present: boolean): void {
    this.#tpm?.setPhysicalPresence(present);
  }

  hashStart(): void {
    this.cancel();
    this.#tpm?.hashStart();
  }
  hashData(data: Uint8Array): void {
    this.#tpm?.hashData(data);
  }
  hashEnd(): void {
    this.#tpm?.hashEnd();
    if (this.#tpm !== undefined) this.#established = true;
  }

  /** False: only localities 3 and 4 may. */
  resetEstablished(locality: number): boolean {
    if (locality !== 3 && locality !== 4) return false;
    this.#established = false;
    return true;
  }

  /** Sets the size of the command buffer, kept within `BUFFER_LIMITS`; gives what it is now. */
  setBufferSize(size: number): number {
    this.#bufferSize = Math.min(Math.max(size, BUFFER_LIMITS.minimum), BUFFER_LIMITS.maximum);
    return this.#bufferSize;
  }

  /** Writes the state of the running TPM down, so that the next start goes on from it. Throws what the store does. */
  storeVolatile(): void {
    if (this.#tpm === undefined) return;
    this.#options.store.saveVolatile(this.#tpm.saveVolatile());
    this.#handedOver = true;
  }

  /**
   * The state of the TPM, or of its store while it has no power; undefined: there is none of this kind. The TPM whose volatile state leaves is taken
   * to go on elsewhere, unless `handOver` is false. Throws what the store does.
   */
  getState(kind: number, clear: boolean, handOver = true): StateBlob | undefined {
    if (!isStateKind(kind)) return undefined;
    const state = this.#plainState(kind, handOver);
    if (state === undefined) return undefined;
    const { migrationKey, stateKey } = this.#options;
    const key = migrationKey ?? (clear ? undefined : stateKey);
    return { bytes: sealState(kind, 0n, state, key), encrypted: key !== undefined };
  }

  #plainState(kind: StateKind, handOver: boolean): Uint8Array | undefined {
    const { store } = this.#options;
    if (kind === StateKind.permanent) return this.#tpm?.savePermanent() ?? store.load();
    if (this.#tpm === undefined) return store.loadVolatile();
    if (handOver) this.#handedOver = true;
    return this.#tpm.saveVolatile();
  }

  /**
   * Stores a state that came from elsewhere, for the next start: the permanent one first, for a volatile one goes with what is there when it
   * comes. Throws `TpmStateError` and what the store throws; what was stored before is then still there.
   */
  setState(kind: StateKind, encrypted: boolean, blob: Uint8Array): void {
    const { store } = this.#options;
    const state = this.#openBlob(kind, encrypted, blob);
    if (kind === StateKind.permanent) {
      decodePermanent(state);
      store.commit(state);
    } else {
      decodeRunning(state);
      store.saveVolatile(state);
    }
  }

  #openBlob(kind: StateKind, encrypted: boolean, blob: Uint8Array): Uint8Array {
    if (!encrypted) return openState(kind, blob, undefined).state;
    const { migrationKey, stateKey } = this.#options;
    const keys = [migrationKey, stateKey].filter((key) => key !== undefined);
    for (const key of keys) {
      try {
        return openState(kind, blob, key).state;
      } catch (error) {
        if (!(error instanceof TpmStateError) || error.code !== "wrong-key") throw error;
      }
    }
    throw new TpmStateError("wrong-key", "the state is encrypted, and no key that is here opens it");
  }
}

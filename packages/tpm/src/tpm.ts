import { Alg, Max, Rc, Rh, TpmError } from "@entresol/tpm-types";
import { advanceClock } from "./clock.ts";
import { nodeProvider } from "./crypto/node-provider.ts";
import type { CryptoProvider, RsaPrivate } from "./crypto/provider.ts";
import { dispatch, errorResponse } from "./dispatch.ts";
import { defaultLimits, type Engine, type Identity, type Limits } from "./engine.ts";
import { abandonMeasurement, hashData, hashEnd, hashStart } from "./hash-interface.ts";
import { type KeySearch, KeySearchNeeded } from "./key-search.ts";
import { manufacture, poweredOn } from "./manufacture.ts";
import { decodePermanent, decodeRunning, encodePermanent, encodeRunning } from "./saved-state.ts";
import { checkPermanent, checkRunning } from "./state-checks.ts";

/**
 * Where NV goes. `commit` returns when the bytes are as durable as they will get; the engine gives no answer before. It is called with the
 * whole permanent state, and throws when that could not be kept: then the TPM enters failure mode, for what it answered would not be true.
 */
export interface NvStore {
  commit(permanent: Uint8Array): void;
}

export interface TpmOptions {
  /** The permanent state that a store was given last; a new TPM is made when there is none. */
  readonly permanent?: Uint8Array;
  readonly store?: NvStore;
  readonly crypto?: CryptoProvider;
  readonly limits?: Partial<Limits>;
  readonly identity?: Partial<Identity>;
  /** Allows RSA keys of 1024 bits. */
  readonly weakRsa?: boolean;
  /**
   * false: SHA3 is neither listed nor taken, for clients that use every hash they find listed and cannot compute Names by this one. What NV
   * holds by it from before can still be used.
   */
  readonly sha3?: boolean;
  /** Asked by long commands now and then: shall this one end early (TPM_RC_CANCELED)? For a flag in memory that another thread shares. */
  readonly canceled?: () => boolean;
  /** Told what put the TPM into failure mode, for a log. What it throws is passed over. */
  readonly onFailure?: (error: unknown) => void;
  /** Milliseconds that never go back, for Clock, Time and timers. */
  readonly now?: () => number;
}

const defaultIdentity: Identity = {
  manufacturer: "ENTR",
  vendorString: "SW  Entresol",
  firmwareVersion: [0x0001_0000, 0],
};

/** Why the TPM is in failure mode: the last of the three numbers that TPM2_GetTestResult gives. */
const Failure = { internal: 1, store: 2, forced: 3 } as const;

/** What the largest command needs: an Import of an RSA key. */
const SMALLEST_BUFFER = 2808;

/** RSA keys of up to this many bits are found in some 20 ms, which is no time to go to another thread for. */
const LONGEST_SEARCH = 2048;

/** A command that was begun and needs a key. */
interface WaitingCommand {
  readonly command: Uint8Array;
  readonly locality: number;
  readonly longest: number;
}

const sha3 = [Alg.SHA3_256, Alg.SHA3_384, Alg.SHA3_512];

const nowhere: NvStore = { commit() {} };

/** A TPM 2.0. Powered on when made, and not started: the first command must be TPM2_Startup. */
export class Tpm {
  readonly #engine: Engine;
  readonly #store: NvStore;
  /** What the store was given last: all that is left when something goes wrong. */
  #committed: Uint8Array;
  readonly #onFailure: (error: unknown) => void;
  #failed = false;
  #powered = true;
  #canceled = false;
  #waiting: WaitingCommand | undefined;

  /** Throws `TpmStateError` for a permanent state that is none. */
  constructor(options: TpmOptions = {}) {
    const crypto = options.crypto ?? nodeProvider;
    this.#store = options.store ?? nowhere;
    this.#onFailure = options.onFailure ?? (() => {});
    const started = performance.now();
    const limits = { ...defaultLimits, ...options.limits };
    const permanent =
      options.permanent === undefined ? manufacture(crypto) : decodePermanent(options.permanent);
    checkPermanent({ crypto, limits }, permanent);
    // Power-on itself changes NV then.
    const allocationWaits = permanent.pcrAllocationPending !== undefined;
    this.#engine = {
      crypto,
      limits,
      identity: { ...defaultIdentity, ...options.identity },
      state: poweredOn(crypto, permanent),
      locality: 0,
      nvDirty: options.permanent === undefined || allocationWaits,
      bufferSize: Max.COMMAND,
      weakRsa: options.weakRsa ?? false,
      without: new Set(options.sha3 === false ? sha3 : []),
      canceled: () => this.#canceled || (options.canceled?.() ?? false),
      now: options.now ?? (() => performance.now() - started),
    };
    this.#committed = encodePermanent(permanent);
    if (this.#engine.nvDirty) this.#commit();
  }

  /** Is the TPM in failure mode? Then only a power cycle helps. */
  get failed(): boolean {
    return this.#failed;
  }

  /**
   * Runs one command and gives its response, always a whole one. Never throws, whatever the bytes. `locality` 0 to 4, or 32 to 255.
   * What the command changed in NV is committed to the store when this returns. A command of more than `bufferSize` bytes is TPM_RC_COMMAND_SIZE.
   */
  execute(command: Uint8Array, locality = 0): Uint8Array {
    this.#waiting = undefined;
    return this.#execute(command, locality);
  }

  /**
   * The same for callers that cannot stand still for a long search: gives the response, or what key (of more than `longest` bits) the command
   * waits for. Then nothing has changed, and a state that is saved meanwhile is one without it. Another command before `resume` takes its place.
   */
  begin(command: Uint8Array, locality = 0, longest = LONGEST_SEARCH): Uint8Array | KeySearch {
    return this.#attempt({ command, locality, longest }, undefined);
  }

  /**
   * Runs the command that waits, with the key of `searchKey`; undefined: nobody goes on searching, the response is TPM_RC_CANCELED. The response is
   * that of a TPM without power when that has gone. Throws `RangeError` when no command waits.
   */
  resume(key: RsaPrivate | undefined): Uint8Array | KeySearch {
    const waiting = this.#waiting;
    if (waiting === undefined) throw new RangeError("no command waits for a key");
    if (key !== undefined) return this.#attempt(waiting, key);
    this.#waiting = undefined;
    return errorResponse(this.#powered ? Rc.CANCELED : Rc.INITIALIZE);
  }

  #attempt(waiting: WaitingCommand, found: RsaPrivate | undefined): Uint8Array | KeySearch {
    const engine = this.#engine;
    this.#waiting = undefined;
    engine.keySearch = { longest: waiting.longest, found };
    try {
      return this.#execute(waiting.command, waiting.locality);
    } catch (error) {
      if (!(error instanceof KeySearchNeeded)) throw error;
      // The bytes are the caller's, who goes on.
      this.#waiting = { ...waiting, command: waiting.command.slice() };
      return error.search;
    } finally {
      engine.keySearch = undefined;
    }
  }

  /** Throws `KeySearchNeeded` only, when the engine puts searches off. */
  #execute(command: Uint8Array, locality: number): Uint8Array {
    if (!this.#powered) return errorResponse(Rc.INITIALIZE);
    const engine = this.#engine;
    engine.locality = locality;
    this.#canceled = false;
    let response: Uint8Array;
    try {
      if (command.length > engine.bufferSize) throw new TpmError(Rc.COMMAND_SIZE);
      abandonMeasurement(engine);
      advanceClock(engine);
      response = dispatch(engine, command, this.#failed);
    } catch (error) {
      if (error instanceof KeySearchNeeded) throw error;
      response = errorResponse(error instanceof TpmError ? error.rc : this.#fail(Failure.internal, error));
    }
    if (engine.nvDirty && !this.#failed && !this.#commit()) return errorResponse(Rc.FAILURE);
    return response;
  }

  /** Bytes of the largest command and response, as the interface in front carries them: 2808 to 4096. What is set is brought into that range. */
  get bufferSize(): number {
    return this.#engine.bufferSize;
  }
  set bufferSize(size: number) {
    this.#engine.bufferSize = Math.min(Max.COMMAND, Math.max(SMALLEST_BUFFER, Math.trunc(size)));
  }

  /** Asks the command that runs to end: TPM_RC_CANCELED. The next one is not concerned. */
  cancel(): void {
    this.#canceled = true;
  }

  /** Power goes, orderly or not: all volatile state with it. */
  powerOff(): void {
    this.#powered = false;
  }

  /** Power comes (_TPM_Init). Without effect on a TPM that has power. */
  powerOn(): void {
    if (this.#powered) return;
    this.#waiting = undefined;
    const engine = this.#engine;
    // After a failure what is in memory may be half of something; what the store has is whole.
    const permanent = this.#failed ? decodePermanent(this.#committed) : engine.state.permanent;
    engine.nvDirty ||= this.#failed || permanent.pcrAllocationPending !== undefined;
    engine.state = poweredOn(engine.crypto, permanent);
    this.#failed = false;
    this.#powered = true;
    if (engine.nvDirty) this.#commit();
  }

  /** _TPM_Hash_Start, _Data, _End (Part 1, 34.3): H-CRTM before start-up, else a DRTM at locality 4. */
  hashStart(): void {
    this.#guard(() => hashStart(this.#engine));
  }
  hashData(data: Uint8Array): void {
    this.#guard(() => hashData(this.#engine, data));
  }
  hashEnd(): void {
    this.#guard(() => hashEnd(this.#engine));
  }

  /** Has this timer (TPM_RH_ACT_0 and on) run out, and was not set again since? */
  isActSignaled(handle: number): boolean {
    const engine = this.#engine;
    if (!this.#powered) return false;
    this.#guard(() => advanceClock(engine));
    return engine.state.clear.acts.some(({ number, signaled }) => number === handle - Rh.ACT_0 && signaled);
  }

  /** Failure mode, as after a self test that found something, until power goes. For tests of what happens then. */
  forceFailure(): void {
    if (this.#powered && !this.#failed) this.#fail(Failure.forced, new Error("failure mode was asked for"));
  }

  setPhysicalPresence(present: boolean): void {
    this.#engine.state.volatile.physicalPresence = present;
  }

  /** The permanent state, as a store is given it. */
  savePermanent(): Uint8Array {
    return encodePermanent(this.#engine.state.permanent);
  }

  /** Everything that goes with power, so that a running TPM can move. */
  saveVolatile(): Uint8Array {
    return encodeRunning(this.#engine.state);
  }

  /** Puts `saveVolatile`'s result back, beside the permanent state of the same moment. Throws `TpmStateError` and changes nothing when it does not fit. */
  restoreVolatile(bytes: Uint8Array): void {
    const engine = this.#engine;
    const { permanent } = engine.state;
    const running = decodeRunning(bytes);
    checkRunning(engine, permanent, running);
    this.#waiting = undefined;
    engine.state = { permanent, ...running };
    this.#failed = running.volatile.lastFailure !== undefined;
    this.#powered = true;
  }

  #guard(action: () => void): void {
    if (!this.#powered || this.#failed) return;
    try {
      action();
    } catch (error) {
      if (!(error instanceof TpmError)) this.#fail(Failure.internal, error);
    }
    if (this.#engine.nvDirty && !this.#failed) this.#commit();
  }

  #fail(code: number, error: unknown): number {
    this.#failed = true;
    try {
      this.#onFailure(error);
    } catch {
      // The TPM has failed already, and whoever asked gets that answer.
    }
    this.#engine.state.volatile.lastFailure = { function: 0, line: 0, code };
    return Rc.FAILURE;
  }

  #commit(): boolean {
    try {
      const permanent = encodePermanent(this.#engine.state.permanent);
      this.#store.commit(permanent);
      this.#committed = permanent;
      this.#engine.nvDirty = false;
      return true;
    } catch (error) {
      this.#fail(Failure.store, error);
      return false;
    }
  }
}

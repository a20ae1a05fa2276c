import { type Device, type Inspection, type MmioDevice, SavedFields } from "@entresol/devices";
import { hashRegisters } from "./crb-registers.ts";
import { hardwareLocality } from "./hash-sequence.ts";
import { InterfaceCore, type InterfaceOptions, type SavedInterface } from "./interface-core.ts";
import { accessMask, InterfaceId, localityLength, widthMask } from "./interface-registers.ts";
import { localityCount, noLocality } from "./locality-arbiter.ts";
import {
  extendedFifoAt,
  extendedFifoLength,
  TisAccess,
  TisInterrupt,
  TisStatus,
  tisBufferLength,
  tisRegisters,
} from "./tis-registers.ts";

const phases = ["idle", "ready", "reception", "executing", "complete"] as const;
type TisPhase = (typeof phases)[number];

export interface TisOptions extends InterfaceOptions {
  /** What INT_VECTOR reads: the ISA interrupt that `line` leads to, 1 to 15; 0 if left out: none. */
  readonly vector?: number;
}

export interface TisState extends SavedInterface {
  readonly version: 1;
  readonly phase: TisPhase;
  /** The locality that was active last; -1: none was. */
  readonly owner: number;
  readonly selectorLocked: boolean;
  /** By locality. */
  readonly interruptEnable: readonly number[];
  readonly interruptStatus: readonly number[];
  /** As much of a command as has come. */
  readonly command: Uint8Array;
  readonly response: Uint8Array;
  /** Bytes of the response that were read. */
  readonly readCount: number;
}

/** A command says how long it is in 4 bytes, big-endian, at offset 2. */
const sizeAt = 2;
const sizeKnownAt = 6;
const allOnes = 0xffff_ffff;
const nothing = new Uint8Array(0);

/**
 * The FIFO interface of a TPM 2.0, also called TIS: software gives a command byte by byte, says go, and reads the response byte by byte. The
 * state is that of the active locality; another one that comes next finds it idle.
 */
export class TisDevice implements MmioDevice, Device<TisState> {
  readonly name: string;
  readonly #core: InterfaceCore;
  readonly #vector: number;
  readonly #command = new Uint8Array(tisBufferLength);
  readonly #view = new DataView(this.#command.buffer);
  #received = 0;
  #response: Uint8Array = nothing;
  #readCount = 0;
  #phase: TisPhase = "idle";
  #owner: number = noLocality;
  #selectorLocked = false;
  readonly #interruptEnable = new Uint32Array(localityCount).fill(tisRegisters.interruptEnable.reset);
  readonly #interruptStatus = new Uint32Array(localityCount);

  /** The TPM gets this interface's buffer size, from its next power-on. Throws RangeError for a vector that there cannot be. */
  constructor(options: TisOptions) {
    const { vector = 0 } = options;
    if (!Number.isInteger(vector) || vector < 0 || vector > 15)
      throw new RangeError(`${options.name}: interrupts are 0 to 15, not ${vector}`);
    this.name = options.name;
    this.#vector = vector;
    this.#core = new InterfaceCore(options, {
      ended: (response) => this.#ended(response),
      changed: (_, to) => this.#localityChanged(to),
    });
    options.executor.setBufferSize(tisBufferLength);
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    const core = this.#core;
    const locality = core.localityAt(offset);
    if (locality === undefined) return widthMask(allOnes, width);
    core.run.settle();
    const at = offset & (localityLength - 1);
    const shift = at & 3;
    if (shift + width <= 4 && !isFifo(at)) {
      const dword = this.#readRegister(locality, at - shift, width === 1);
      return widthMask(dword >>> (8 * shift), width);
    }
    if (width === 1) return this.#readFifo(locality);
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.mmioRead(offset + i, 1) << (8 * i);
    return value >>> 0;
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    const core = this.#core;
    const locality = core.localityAt(offset);
    if (locality === undefined || !core.reachable(locality)) return;
    core.run.settle();
    const at = offset & (localityLength - 1);
    if (locality === hardwareLocality && this.#writeHash(at, width, value)) return;
    const shift = at & 3;
    if (shift + width <= 4 && !isFifo(at)) {
      const mask = accessMask(shift, width);
      this.#writeRegister(locality, at - shift, ((value << (8 * shift)) & mask) >>> 0, mask);
      return;
    }
    if (width === 1) this.#writeFifo(locality, value);
    else for (let i = 0; i < width; i++) this.mmioWrite(offset + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** `at` is that of a dword; `byte`: one byte of it is read. */
  #readRegister(locality: number, at: number, byte: boolean): number {
    const { identity, localities } = this.#core;
    switch (at) {
      case tisRegisters.access.at:
        return this.#access(locality);
      case tisRegisters.interruptEnable.at:
        return this.#interruptEnable[locality]!;
      case tisRegisters.interruptVector.at:
        return this.#vector;
      case tisRegisters.interruptStatus.at:
        return this.#interruptStatus[locality]!;
      case tisRegisters.capability.at:
        return tisRegisters.capability.reset;
      case tisRegisters.status.at:
        return this.#core.arbiter.active === locality ? this.#status(byte) : allOnes;
      case tisRegisters.interfaceId.at: {
        let id: number = tisRegisters.interfaceId.reset | (identity.revision << InterfaceId.revisionShift);
        if (localities === 1) id &= ~InterfaceId.fiveLocalities;
        if (this.#selectorLocked) id |= InterfaceId.selectorLock;
        return id >>> 0;
      }
      case tisRegisters.vendor.at:
        return (identity.vendor | (identity.device << 16)) >>> 0;
      case tisRegisters.revision.at:
        return identity.revision;
      default:
        return allOnes;
    }
  }

  #access(locality: number): number {
    const { arbiter, executor } = this.#core;
    let access: number = TisAccess.valid;
    if (!executor.established) access |= TisAccess.notEstablished;
    if (arbiter.requests(locality)) access |= TisAccess.requestUse;
    if (arbiter.othersRequest(locality)) access |= TisAccess.pendingRequest;
    if (arbiter.wasSeized(locality)) access |= TisAccess.beenSeized;
    if (arbiter.active === locality) access |= TisAccess.active;
    return access;
  }

  #status(byte: boolean): number {
    let status: number = tisRegisters.status.reset;
    let burst = tisBufferLength - this.#received;
    switch (this.#phase) {
      case "idle":
        break;
      case "ready":
        status |= TisStatus.commandReady;
        break;
      case "reception":
        status |= TisStatus.valid | (this.#expects() ? TisStatus.expect : 0);
        break;
      case "executing":
        status |= TisStatus.valid;
        break;
      case "complete":
        status |= TisStatus.valid;
        burst = this.#response.length - this.#readCount;
        if (burst > 0) return (status | TisStatus.dataAvailable | (burst << TisStatus.burstShift)) >>> 0;
        burst = tisBufferLength - this.#readCount;
        break;
      default:
        return this.#phase satisfies never;
    }
    // 0x100 free bytes must not look like none to who reads the low byte alone.
    if (byte) burst = Math.min(burst, 0xff);
    return (status | (Math.max(burst, 0) << TisStatus.burstShift)) >>> 0;
  }

  /** Are bytes of the command missing? A command that is longer than the FIFO is taken up to there: the TPM refuses it. */
  #expects(): boolean {
    if (this.#received < sizeKnownAt) return true;
    return this.#received < Math.min(this.#view.getUint32(sizeAt), tisBufferLength);
  }

  /** `bits` is what was written, 0 outside `mask`. */
  #writeRegister(locality: number, at: number, bits: number, mask: number): void {
    if (at === tisRegisters.access.at) {
      this.#writeAccess(locality, bits);
      return;
    }
    if (at === tisRegisters.interfaceId.at) {
      if ((bits & InterfaceId.selectorLock) !== 0) this.#selectorLocked = true;
      return;
    }
    if (this.#core.arbiter.active !== locality) return;
    switch (at) {
      case tisRegisters.interruptEnable.at: {
        const { writable } = tisRegisters.interruptEnable;
        this.#interruptEnable[locality] = (this.#interruptEnable[locality]! & ~mask) | (bits & writable);
        this.#driveLine();
        return;
      }
      case tisRegisters.interruptStatus.at:
        this.#interruptStatus[locality]! &= ~bits;
        this.#driveLine();
        return;
      case tisRegisters.status.at:
        this.#writeStatus(locality, bits);
        return;
      default:
    }
  }

  #writeAccess(locality: number, bits: number): void {
    const { arbiter } = this.#core;
    switch (bits & (TisAccess.requestUse | TisAccess.seize | TisAccess.beenSeized | TisAccess.active)) {
      case TisAccess.requestUse:
        arbiter.request(locality);
        return;
      case TisAccess.seize:
        arbiter.seize(locality);
        return;
      case TisAccess.beenSeized:
        arbiter.clearSeized(locality);
        return;
      case TisAccess.active:
        arbiter.relinquish(locality);
        return;
      default:
    }
  }

  #writeStatus(locality: number, bits: number): void {
    const { run, executor } = this.#core;
    if ((bits & TisStatus.resetEstablishment) !== 0) executor.resetEstablished(locality);
    if ((bits & TisStatus.cancel) !== 0) run.cancel();
    switch (bits & (TisStatus.commandReady | TisStatus.go | TisStatus.responseRetry)) {
      case TisStatus.commandReady:
        this.#commandReady();
        return;
      case TisStatus.go:
        if (this.#phase === "reception" && !this.#expects()) this.#execute(locality);
        return;
      case TisStatus.responseRetry:
        if (this.#phase === "complete") this.#readCount = 0;
        return;
      default:
    }
  }

  /** Aborts what there is: a command half given, one that runs, a response half read. */
  #commandReady(): void {
    if (this.#phase === "executing") {
      this.#core.run.abandon();
      return;
    }
    const was = this.#phase;
    this.#forget();
    this.#phase = "ready";
    if (was !== "ready") this.#interrupt(TisInterrupt.commandReady);
  }

  #execute(locality: number): void {
    this.#phase = "executing";
    this.#core.run.start(this.#command.slice(0, this.#received), locality);
  }

  #ended(response: Uint8Array | undefined): void {
    this.#forget();
    if (response === undefined) {
      this.#phase = "ready";
      // Aborted by commandReady, and not by a locality that takes over.
      if (!this.#core.arbiter.changing) this.#interrupt(TisInterrupt.commandReady);
      return;
    }
    this.#response = response.subarray(0, tisBufferLength);
    this.#phase = "complete";
    this.#interrupt(TisInterrupt.dataAvailable | TisInterrupt.statusValid);
  }

  #readFifo(locality: number): number {
    if (this.#core.arbiter.active !== locality || this.#phase !== "complete") return 0xff;
    const byte = this.#response[this.#readCount];
    if (byte === undefined) return 0xff;
    this.#readCount++;
    if (this.#readCount === this.#response.length) this.#interrupt(TisInterrupt.statusValid);
    return byte;
  }

  #writeFifo(locality: number, value: number): void {
    if (this.#core.arbiter.active !== locality) return;
    if (this.#phase === "ready") this.#phase = "reception";
    if (this.#phase === "reception" && this.#expects()) this.#command[this.#received++] = value;
  }

  /** True: the write was one to the registers of locality 4. */
  #writeHash(at: number, width: 1 | 2 | 4, value: number): boolean {
    const { hash, run, arbiter } = this.#core;
    if (at === hashRegisters.hashStart.at) {
      if (arbiter.active === hardwareLocality) run.abandon();
      hash.start();
    } else if (at === hashRegisters.hashEnd.at) hash.end();
    else if (at === hashRegisters.hashData.at && hash.open) {
      hash.data(Uint8Array.from({ length: width }, (_, i) => value >>> (8 * i)));
    } else return false;
    return true;
  }

  #localityChanged(to: number): void {
    this.#forget();
    // Who gave the TPM up ready for a command finds it so when nobody else had it: Linux looks, and does not ask again.
    if (this.#phase !== "ready" || (to !== noLocality && to !== this.#owner)) this.#phase = "idle";
    if (to === noLocality) return;
    this.#owner = to;
    this.#interrupt(TisInterrupt.localityChange);
  }

  /** What was given and answered is not for who comes next. */
  #forget(): void {
    this.#command.fill(0, 0, this.#received);
    this.#received = 0;
    this.#response = nothing;
    this.#readCount = 0;
  }

  #interrupt(causes: number): void {
    const locality = this.#core.arbiter.active;
    if (locality === noLocality) return;
    const enable = this.#interruptEnable[locality]!;
    if ((enable & TisInterrupt.global) !== 0)
      this.#interruptStatus[locality]! |= causes & enable & TisInterrupt.all;
    this.#driveLine();
  }

  #driveLine(): void {
    const high = this.#interruptStatus.some(
      (status, locality) => status !== 0 && (this.#interruptEnable[locality]! & TisInterrupt.global) !== 0,
    );
    this.#core.line.set(high);
  }

  reset(): void {
    this.#core.reset();
    this.#forget();
    this.#phase = "idle";
    this.#owner = noLocality;
    this.#selectorLocked = false;
    this.#interruptEnable.fill(tisRegisters.interruptEnable.reset);
    this.#interruptStatus.fill(0);
    this.#driveLine();
  }

  save(): TisState {
    return {
      version: 1,
      phase: this.#phase,
      owner: this.#owner,
      selectorLocked: this.#selectorLocked,
      interruptEnable: [...this.#interruptEnable],
      interruptStatus: [...this.#interruptStatus],
      command: this.#command.slice(0, this.#received),
      response: this.#response.slice(),
      readCount: this.#readCount,
      ...this.#core.save(),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const phase = fields.choice("phase", phases);
    const owner = fields.integer("owner", noLocality, this.#core.localities - 1);
    const selectorLocked = fields.boolean("selectorLocked");
    const { writable } = tisRegisters.interruptEnable;
    const interruptEnable = fields.integers("interruptEnable", localityCount, writable);
    fields.require(
      interruptEnable.every((enable) => (enable & ~writable) === 0),
      "an interrupt that there is not is enabled",
    );
    const interruptStatus = fields.integers("interruptStatus", localityCount, TisInterrupt.all);
    const command = fields.bytes("command", tisBufferLength, 0);
    const response = fields.bytes("response", tisBufferLength, 0);
    const readCount = fields.integer("readCount", 0, response.length);
    const putCore = this.#core.prepare(fields);
    fields.require(
      (phase === "executing") === fields.boolean("executing"),
      "the phase is that of the command",
    );
    fields.require(
      command.length === 0 || phase === "reception" || phase === "executing",
      "bytes of a command belong to one that comes or runs",
    );
    fields.require(
      response.length === 0 || phase === "complete",
      "a response belongs to a command that ended",
    );
    fields.end();
    putCore();
    this.#forget();
    this.#phase = phase;
    this.#owner = owner;
    this.#selectorLocked = selectorLocked;
    this.#interruptEnable.set(interruptEnable);
    this.#interruptStatus.set(interruptStatus);
    this.#command.set(command);
    this.#received = command.length;
    this.#response = response;
    this.#readCount = readCount;
    this.#driveLine();
  }

  inspect(): Inspection {
    const { arbiter, executor, hash } = this.#core;
    return {
      phase: this.#phase,
      locality: arbiter.active === noLocality ? "none" : arbiter.active,
      received: this.#received,
      unread: this.#response.length - this.#readCount,
      powered: executor.powered,
      established: executor.established,
      measuring: hash.open,
      interruptEnable: [...this.#interruptEnable],
      interruptStatus: [...this.#interruptStatus],
    };
  }
}

function isFifo(at: number): boolean {
  if (at >= extendedFifoAt && at < extendedFifoAt + extendedFifoLength) return true;
  return at >= tisRegisters.fifo.at && at < tisRegisters.fifo.at + 4;
}

import { type Device, type Inspection, type MmioDevice, SavedFields } from "@entresol/devices";
import { Rc, St, TpmWriter } from "@entresol/tpm-types";
import {
  CrbInterrupt,
  CrbLocality,
  CrbLocalityState,
  CrbLocalityStatus,
  CrbRequest,
  CrbStatus,
  crbBufferAt,
  crbBufferLength,
  crbRegisters,
  hashRegisters,
} from "./crb-registers.ts";
import { hardwareLocality } from "./hash-sequence.ts";
import { InterfaceCore, type InterfaceOptions, type SavedInterface } from "./interface-core.ts";
import { accessMask, InterfaceId, localityLength, localityShift, widthMask } from "./interface-registers.ts";
import { noLocality } from "./locality-arbiter.ts";

export interface CrbState extends SavedInterface {
  readonly version: 1;
  readonly idle: boolean;
  /** The locality whose bytes are in the buffer; -1: nobody's. */
  readonly owner: number;
  readonly goIdle: boolean;
  readonly cancel: boolean;
  readonly selectorLocked: boolean;
  readonly interruptEnable: number;
  readonly interruptStatus: number;
  /** Up to the last byte that is not 0. */
  readonly buffer: Uint8Array;
}

/** Size field of a command or response: 4 bytes, big-endian, at offset 2. */
const sizeAt = 2;
const headerLength = 10;

/** The answer to a command that was canceled before it began. */
const canceled: Uint8Array = new TpmWriter(headerLength)
  .u16(St.NO_SESSIONS)
  .u32(headerLength)
  .u32(Rc.CANCELED)
  .finish();

const resets: ReadonlyMap<number, number> = new Map(
  Object.values(crbRegisters).map((register) => [register.at, register.reset]),
);
const allOnes = 0xffff_ffff;

/**
 * The command response buffer interface of a TPM 2.0 (PC Client Platform TPM Profile 1.05): software writes a command into a buffer in the
 * locality's page, sets START, and finds the response in the same buffer when START reads as 0.
 */
export class CrbDevice implements MmioDevice, Device<CrbState> {
  readonly name: string;
  readonly #core: InterfaceCore;
  readonly #buffer = new Uint8Array(crbBufferLength);
  readonly #view = new DataView(this.#buffer.buffer);
  /** Only CRB_CTRL_REQ changes it, and who takes the TPM over. Whether a command runs is the core's to know. */
  #idle = true;
  #owner: number = noLocality;
  #goIdle = false;
  #cancel = false;
  #selectorLocked = false;
  #interruptEnable = 0;
  #interruptStatus = 0;

  /** The TPM gets this interface's buffer size, from its next power-on. */
  constructor(options: InterfaceOptions) {
    this.name = options.name;
    this.#core = new InterfaceCore(options, {
      ended: (response) => this.#ended(response),
      changed: (_, to) => this.#localityChanged(to),
    });
    options.executor.setBufferSize(crbBufferLength);
  }

  mmioRead(offset: number, width: 1 | 2 | 4): number {
    const core = this.#core;
    const locality = core.localityAt(offset);
    if (locality === undefined) return widthMask(allOnes, width);
    core.run.settle();
    const at = offset & (localityLength - 1);
    if (at >= crbBufferAt && at + width <= localityLength) return this.#readBuffer(locality, at, width);
    const shift = at & 3;
    if (at + width <= crbBufferAt && shift + width <= 4)
      return widthMask(this.#readRegister(locality, at - shift) >>> (8 * shift), width);
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
    if (at >= crbBufferAt && at + width <= localityLength) {
      this.#writeBuffer(locality, at, width, value);
      return;
    }
    const shift = at & 3;
    if (at + width <= crbBufferAt && shift + width <= 4) {
      const mask = accessMask(shift, width);
      this.#writeRegister(locality, at - shift, ((value << (8 * shift)) & mask) >>> 0, mask);
      return;
    }
    for (let i = 0; i < width; i++) this.mmioWrite(offset + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** Who has not the TPM does not see what another locality says to it: all ones, and writes are lost. */
  #readBuffer(locality: number, at: number, width: 1 | 2 | 4): number {
    if (this.#core.arbiter.active !== locality) return widthMask(allOnes, width);
    const index = at - crbBufferAt;
    if (width === 4) return this.#view.getUint32(index, true);
    return width === 2 ? this.#view.getUint16(index, true) : this.#buffer[index]!;
  }

  #writeBuffer(locality: number, at: number, width: 1 | 2 | 4, value: number): void {
    // The command was copied out; what is written now would be overwritten by its response anyhow.
    if (this.#core.arbiter.active !== locality || this.#core.run.executing) return;
    const index = at - crbBufferAt;
    if (width === 4) this.#view.setUint32(index, value, true);
    else if (width === 2) this.#view.setUint16(index, value, true);
    else this.#buffer[index] = value;
  }

  /** `at` is that of a dword. */
  #readRegister(locality: number, at: number): number {
    const { arbiter, run, identity, executor, localities } = this.#core;
    switch (at) {
      case crbRegisters.localityState.at:
        return this.#localityState();
      case crbRegisters.localityStatus.at: {
        const granted = arbiter.active === locality ? CrbLocalityStatus.granted : 0;
        return granted | (arbiter.wasSeized(locality) ? CrbLocalityStatus.beenSeized : 0);
      }
      case crbRegisters.interfaceId.at: {
        let id: number = crbRegisters.interfaceId.reset | (identity.revision << InterfaceId.revisionShift);
        if (localities === 1) id &= ~InterfaceId.fiveLocalities;
        if (this.#selectorLocked) id |= InterfaceId.selectorLock;
        return id >>> 0;
      }
      case crbRegisters.interfaceVendor.at:
        return (identity.vendor | (identity.device << 16)) >>> 0;
      case crbRegisters.request.at:
        return this.#goIdle ? CrbRequest.goIdle : 0;
      case crbRegisters.status.at:
        return (this.#idle ? CrbStatus.idle : 0) | (executor.powered ? 0 : CrbStatus.fatal);
      case crbRegisters.cancel.at:
        return this.#cancel ? 1 : 0;
      case crbRegisters.start.at:
        return run.executing ? 1 : 0;
      case crbRegisters.interruptEnable.at:
        return this.#interruptEnable;
      case crbRegisters.interruptStatus.at:
        return this.#interruptStatus;
      case crbRegisters.commandAddressLow.at:
      case crbRegisters.responseAddressLow.at:
        return (crbRegisters.commandAddressLow.reset + (locality << localityShift)) >>> 0;
      default:
        return resets.get(at) ?? 0;
    }
  }

  #localityState(): number {
    const { arbiter, executor } = this.#core;
    let state: number = CrbLocalityState.valid;
    if (!executor.established) state |= CrbLocalityState.notEstablished;
    if (arbiter.active !== noLocality)
      state |= CrbLocalityState.assigned | (arbiter.active << CrbLocalityState.activeShift);
    return state;
  }

  /** `bits` is what was written, 0 outside `mask`. */
  #writeRegister(locality: number, at: number, bits: number, mask: number): void {
    if (at === crbRegisters.localityControl.at) {
      this.#controlLocality(locality, bits);
      return;
    }
    if (at === crbRegisters.interfaceId.at) {
      if ((bits & InterfaceId.selectorLock) !== 0) this.#selectorLocked = true;
      return;
    }
    if (this.#core.arbiter.active !== locality) return;
    switch (at) {
      case crbRegisters.request.at:
        this.#request(bits);
        return;
      case crbRegisters.cancel.at:
        if ((mask & crbRegisters.cancel.writable) === 0) return;
        this.#cancel = (bits & 1) !== 0;
        if (this.#cancel) this.#core.run.cancel();
        return;
      case crbRegisters.start.at:
        if ((bits & 1) !== 0) this.#start(locality);
        return;
      case crbRegisters.interruptEnable.at: {
        const { writable } = crbRegisters.interruptEnable;
        this.#interruptEnable = ((this.#interruptEnable & ~mask) | (bits & writable)) >>> 0;
        this.#driveLine();
        return;
      }
      case crbRegisters.interruptStatus.at:
        this.#interruptStatus &= ~bits;
        this.#driveLine();
        return;
      default:
    }
  }

  #controlLocality(locality: number, bits: number): void {
    const { arbiter, executor } = this.#core;
    const reset = (bits & CrbLocality.resetEstablishment) !== 0;
    if (reset && executor.resetEstablished(locality)) this.#interrupt(CrbInterrupt.establishmentClear);
    switch (bits & (CrbLocality.request | CrbLocality.relinquish | CrbLocality.seize)) {
      case CrbLocality.request:
        arbiter.clearSeized(locality);
        arbiter.request(locality);
        return;
      case CrbLocality.relinquish:
        arbiter.relinquish(locality);
        return;
      case CrbLocality.seize:
        arbiter.seize(locality);
        return;
      default:
    }
  }

  /** Both bits at once ask for nothing. */
  #request(bits: number): void {
    const { executing } = this.#core.run;
    if (bits === CrbRequest.commandReady && !executing) {
      this.#idle = false;
      this.#interrupt(CrbInterrupt.commandReady);
    } else if (bits === CrbRequest.goIdle) {
      if (executing) this.#goIdle = true;
      else this.#idle = true;
    }
  }

  /** From idle too, and idle it stays: SeaBIOS sends its first command without cmdReady. */
  #start(locality: number): void {
    if (this.#core.run.executing) return;
    if (this.#cancel) {
      this.#complete(canceled);
      return;
    }
    // Once and whole: what another processor writes to the buffer from now on is not what is checked and not what is run. A size that is
    // longer than the buffer or shorter than a header is the TPM's to refuse.
    const size = this.#view.getUint32(sizeAt);
    const command = this.#buffer.slice(0, Math.min(Math.max(size, headerLength), crbBufferLength));
    this.#core.run.start(command, locality);
  }

  #ended(response: Uint8Array | undefined): void {
    if (response !== undefined) this.#complete(response);
    if (response === undefined || this.#goIdle) this.#idle = true;
    this.#goIdle = false;
  }

  #complete(response: Uint8Array): void {
    // A TPM that was not restarted since the buffer size was set may have longer ones; the header then tells the driver.
    this.#buffer.set(response.subarray(0, crbBufferLength));
    this.#interrupt(CrbInterrupt.start);
  }

  #localityChanged(to: number): void {
    this.#cancel = false;
    if (to === noLocality) return;
    if (to !== this.#owner) {
      this.#idle = true;
      // What one locality said to the TPM is not for another one to read.
      this.#buffer.fill(0);
    }
    this.#owner = to;
    this.#interrupt(CrbInterrupt.localityChange);
  }

  /** True: the write was one to the registers of locality 4. */
  #writeHash(at: number, width: 1 | 2 | 4, value: number): boolean {
    const { hash, run, arbiter } = this.#core;
    if (at === hashRegisters.hashStart.at) {
      if (arbiter.active === hardwareLocality) run.abandon();
      hash.start();
    } else if (at === hashRegisters.hashData.at) {
      hash.data(Uint8Array.from({ length: width }, (_, i) => value >>> (8 * i)));
    } else if (at === hashRegisters.hashEnd.at) hash.end();
    else return false;
    return true;
  }

  #interrupt(cause: number): void {
    const enabled = (this.#interruptEnable & CrbInterrupt.global) !== 0;
    if (enabled && (this.#interruptEnable & cause) !== 0) this.#interruptStatus |= cause;
    this.#driveLine();
  }

  #driveLine(): void {
    const enabled = (this.#interruptEnable & CrbInterrupt.global) !== 0;
    this.#core.line.set(enabled && this.#interruptStatus !== 0);
  }

  reset(): void {
    this.#core.reset();
    this.#idle = true;
    this.#owner = noLocality;
    this.#goIdle = false;
    this.#cancel = false;
    this.#selectorLocked = false;
    this.#interruptEnable = 0;
    this.#interruptStatus = 0;
    this.#buffer.fill(0);
    this.#driveLine();
  }

  save(): CrbState {
    return {
      version: 1,
      idle: this.#idle,
      owner: this.#owner,
      goIdle: this.#goIdle,
      cancel: this.#cancel,
      selectorLocked: this.#selectorLocked,
      interruptEnable: this.#interruptEnable,
      interruptStatus: this.#interruptStatus,
      buffer: this.#buffer.slice(0, this.#buffer.findLastIndex((byte) => byte !== 0) + 1),
      ...this.#core.save(),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const idle = fields.boolean("idle");
    const owner = fields.integer("owner", noLocality, this.#core.localities - 1);
    const goIdle = fields.boolean("goIdle");
    const cancel = fields.boolean("cancel");
    const selectorLocked = fields.boolean("selectorLocked");
    const interruptEnable = fields.dword("interruptEnable");
    fields.require(
      (interruptEnable & ~crbRegisters.interruptEnable.writable) === 0,
      "an interrupt that there is not is enabled",
    );
    const interruptStatus = fields.integer("interruptStatus", 0, CrbInterrupt.all);
    const buffer = fields.bytes("buffer", crbBufferLength, 0);
    const putCore = this.#core.prepare(fields);
    fields.end();
    fields.require(fields.boolean("executing") || !goIdle, "goIdle waits only for a command that runs");
    putCore();
    this.#idle = idle;
    this.#owner = owner;
    this.#goIdle = goIdle;
    this.#cancel = cancel;
    this.#selectorLocked = selectorLocked;
    this.#interruptEnable = interruptEnable;
    this.#interruptStatus = interruptStatus;
    this.#buffer.fill(0);
    this.#buffer.set(buffer);
    this.#driveLine();
  }

  inspect(): Inspection {
    const { arbiter, run, executor, hash } = this.#core;
    return {
      idle: this.#idle,
      executing: run.executing,
      locality: arbiter.active === noLocality ? "none" : arbiter.active,
      powered: executor.powered,
      established: executor.established,
      measuring: hash.open,
      interruptEnable: this.#interruptEnable,
      interruptStatus: this.#interruptStatus,
    };
  }
}

import type { Inspection, InterruptLine, MmioDevice } from "../device.ts";
import type { SavedFields } from "../saved-state.ts";
import { type BarOptions, PciBar, romIndex } from "./bar.ts";
import { type Capability, chain, firstCapabilityAt, powerControlAt, powerStateMask } from "./capabilities.ts";
import { type ConfigEffect, type ConfigRegister, ConfigSpace, configSizes } from "./config-space.ts";
import { expressOffsets, initiateReset } from "./express.ts";
import {
  bridgeHeader,
  commandBits,
  endpointHeader,
  headerOffsets,
  multiFunction,
  type PciIdentity,
} from "./header.ts";
import { MsiCapability, MsixCapability, type SendMessage } from "./messages.ts";

export interface PciFunctionOptions extends PciIdentity {
  /** For people; need not be unique. */
  readonly name: string;
  readonly bars?: readonly BarOptions[];
  /** In the order of the list. */
  readonly capabilities?: readonly Capability[];
  /** Registers of the function's own, behind the header and away from the capabilities. */
  readonly registers?: readonly ConfigRegister[];
}

/** RAM as a function's DMA reaches it: from address 0, `size` bytes. */
export interface DmaMemory {
  readonly size: number;
  read(at: number, target: Uint8Array): void;
  write(at: number, source: Uint8Array): void;
}

/** What a function is plugged into. */
export interface PciAttachment {
  /** Places from bus 0 down: "03.0", "1c.0/00.0". Unique, whatever bus numbers the guest gives. */
  readonly path: string;
  /** Where its interrupt pin leads. */
  readonly pin: InterruptLine;
  readonly memory: DmaMemory;
  message(address: number, data: number): void;
  /** Do all bridges above pass on what the function sends? */
  upstreamOpen(): boolean;
  /** What the function decodes has changed. */
  remap(): void;
}

/** Without a version of its own: `PciState` has one for all. */
export interface PciFunctionState {
  /** Dwords of configuration space that can change, lowest first. */
  readonly config: readonly number[];
  /** Level that the function drives on its pin, before INTx disable. */
  readonly intx: boolean;
  readonly msix?: { readonly entries: readonly number[]; readonly pending: readonly number[] };
  /** What `saveDevice` gave. */
  readonly device?: Readonly<Record<string, unknown>>;
}

const messageRegion = 0xfee;

/**
 * One function in the PCI hierarchy: configuration space, BARs, interrupts and DMA. A device model extends it: it names its BARs and
 * capabilities, answers accesses to the BARs, calls `raiseInterrupt`, `setIntx` and the DMA methods, and overrides `resetDevice` and the methods about its state.
 *
 * Everything is synchronous, and nothing that a guest writes throws.
 */
export class PciFunction {
  readonly name: string;
  readonly config: ConfigSpace;
  readonly bars: readonly PciBar[];
  readonly interruptPin: number;
  readonly #offsets: ReadonlyMap<Capability, number>;
  readonly #msi: MsiCapability | undefined;
  readonly #msix: MsixCapability | undefined;
  readonly #powerAt: number;
  readonly #expressAt: number;
  readonly #send: SendMessage;
  readonly #dword = new Uint8Array(4);
  #attachment: PciAttachment | undefined;
  #intx = false;
  #multiFunction = false;
  // Counters for people.
  #sent = 0;
  #dropped = 0;

  /** Throws RangeError for options that no function can have. */
  constructor(options: PciFunctionOptions, kind: "endpoint" | "bridge" = "endpoint") {
    const { capabilities = [] } = options;
    this.name = options.name;
    this.interruptPin = options.interruptPin ?? 0;
    const { registers, offsets } = chain(capabilities);
    this.#offsets = offsets;
    this.#msi = capabilities.find((capability) => capability instanceof MsiCapability);
    this.#msix = capabilities.find((capability) => capability instanceof MsixCapability);
    this.bars = (options.bars ?? []).map((bar) => new PciBar(bar, this.#behind(bar)));
    const header = kind === "endpoint" ? endpointHeader : bridgeHeader;
    const expressAt = this.#offsetOf(0x10);
    this.#powerAt = this.#offsetOf(0x01);
    this.#expressAt = expressAt;
    this.config = new ConfigSpace(
      [
        ...header(options, capabilities.length === 0 ? 0 : firstCapabilityAt),
        ...this.bars.flatMap((bar) => bar.registers()),
        ...registers,
        ...(options.registers ?? []),
      ],
      expressAt === 0 ? configSizes.conventional : configSizes.express,
      (effect, at, before, value, lanes) => this.written(effect, at, before, value, lanes),
    );
    this.#send = (low, high, data) => this.#sendMessage(low, high, data);
    this.#msix?.connect(this.config, this.#send);
  }

  /** Offset of a capability in configuration space. */
  offsetOf(capability: Capability): number {
    return this.#offsets.get(capability) ?? 0;
  }

  get attached(): boolean {
    return this.#attachment !== undefined;
  }

  get path(): string {
    return this.#attachment?.path ?? "–";
  }

  /** In D0: only then does a function decode addresses and send anything. */
  get powered(): boolean {
    return this.#powerAt === 0 || (this.config.dword(this.#powerAt + powerControlAt) & powerStateMask) === 0;
  }

  /** Plugs the function in, as after power-on. Called by the host. */
  attach(attachment: PciAttachment): void {
    this.#attachment = attachment;
    this.reset();
  }

  /** Pulls it out: it drives nothing any more. Called by the host. */
  detach(): void {
    this.#attachment?.pin.set(false);
    this.#attachment = undefined;
    this.#intx = false;
  }

  /** Sets bit 7 of the header type: its device has more functions. Called by the host. */
  setMultiFunction(several: boolean): void {
    this.#multiFunction = several;
    this.config.put(headerOffsets.cacheLine, multiFunction, several ? multiFunction : 0);
  }

  // --- What a device model does ---------------------------------------------------------------------------------------

  /** True while MSI or MSI-X is on, so that interrupts are messages and not levels. */
  get usesMessages(): boolean {
    return this.#msix?.enabled(this.config) === true || this.#msi?.enabled(this.config) === true;
  }

  /** Sends the message of `vector` by MSI-X or MSI, or leaves it pending while it is masked. False when neither is on. */
  raiseInterrupt(vector: number): boolean {
    if (this.#msix?.enabled(this.config) === true) this.#msix.raise(vector);
    else if (this.#msi?.enabled(this.config) === true) this.#msi.raise(this.config, vector, this.#send);
    else return false;
    return true;
  }

  /** Drives the interrupt pin. The level is remembered while INTx is disabled or messages are on. */
  setIntx(level: boolean): void {
    this.#intx = level;
    this.config.put(
      headerOffsets.command,
      commandBits.interruptStatus,
      level ? commandBits.interruptStatus : 0,
    );
    this.#drivePin();
  }

  /** Copies from guest memory. False, and nothing is copied, without bus master or when the range is not RAM. */
  dmaRead(at: number, target: Uint8Array): boolean {
    const attachment = this.#reachable(at, target.length);
    if (attachment === undefined) return false;
    attachment.memory.read(at, target);
    return true;
  }

  /** Copies into guest memory; a dword to 0xFEExxxxx is an interrupt message. False as `dmaRead`. */
  dmaWrite(at: number, source: Uint8Array): boolean {
    if (Math.floor(at / 0x10_0000) === messageRegion && source.length === 4 && this.#mayMaster()) {
      const data = source[0]! | (source[1]! << 8) | (source[2]! << 16) | (source[3]! << 24);
      this.#attachment!.message(at, data >>> 0);
      return true;
    }
    const attachment = this.#reachable(at, source.length);
    if (attachment === undefined) return false;
    attachment.memory.write(at, source);
    return true;
  }

  /** A read at `offset` of BAR `index`, when its options name no device. Gives at most `width` bytes. */
  protected readBar(_index: number, _offset: number, _width: 1 | 2 | 4): number {
    return 0;
  }

  /** A write, as `readBar`. */
  protected writeBar(_index: number, _offset: number, _width: 1 | 2 | 4, _value: number): void {}

  /** The model's own state goes back to power-on. */
  protected resetDevice(): void {}

  /** The model's own state, plain and without a version of its own; undefined when there is none. */
  protected saveDevice(): Readonly<Record<string, unknown>> | undefined {
    return undefined;
  }

  /** Reads what `saveDevice` gave; the result puts it into place. Throws `DeviceStateError`. */
  protected prepareDevice(_fields: SavedFields): () => void {
    return () => {};
  }

  protected inspectDevice(): Inspection {
    return {};
  }

  // --- What the host asks ---------------------------------------------------------------------------------------------

  /** Where `bar` wants to answer, as far as this function decides; -1 when nowhere. */
  decoded(bar: PciBar): number {
    if (!this.powered) return -1;
    const command = this.config.dword(headerOffsets.command);
    const low = this.config.dword(bar.at);
    if (bar.isPorts) {
      const first = (low & ~3) >>> 0;
      // Address 0 is where a BAR stands that nobody has set.
      return (command & commandBits.io) === 0 || first === 0 || first + bar.size > 0x1_0000 ? -1 : first;
    }
    if ((command & commandBits.memory) === 0) return -1;
    if (bar.kind === "rom" && (low & 1) === 0) return -1;
    const high = bar.kind === "memory64" ? this.config.dword(bar.at + 4) : 0;
    const first = high * 2 ** 32 + ((low & (bar.kind === "rom" ? ~0x7ff : ~0xf)) >>> 0);
    return first === 0 || first + bar.size > 2 ** 52 ? -1 : first;
  }

  /** As after power-on or a reset of its bus. */
  reset(): void {
    this.#reset("power-on");
  }

  save(): PciFunctionState {
    const device = this.saveDevice();
    return {
      config: this.config.save(),
      intx: this.#intx,
      ...(this.#msix === undefined ? {} : { msix: this.#msix.save() }),
      ...(device === undefined ? {} : { device }),
    };
  }

  /** Reads a saved state; the result puts it into place, after which the host maps and routes anew. Throws `DeviceStateError`. */
  prepare(fields: SavedFields): () => void {
    const config = this.config.prepare(fields, "config");
    const intx = fields.boolean("intx");
    const msix = this.#msix?.prepare(fields.nested("msix"));
    let device: (() => void) | undefined;
    if (this.saveDevice() !== undefined) {
      const own = fields.nested("device");
      device = this.prepareDevice(own);
      own.end();
    }
    fields.end();
    return () => {
      config();
      msix?.();
      device?.();
      this.#intx = intx;
      this.restored();
      this.#drivePin();
    };
  }

  /** The configuration space has just been replaced by a saved one. */
  protected restored(): void {}

  inspect(): Inspection {
    return {
      name: this.name,
      config: this.config.inspect(),
      "interrupt pin driven": this.#intx,
      "messages sent": this.#sent,
      "messages dropped": this.#dropped,
      ...(this.#msix === undefined ? {} : { "msi-x": this.#msix.inspect() }),
      ...this.inspectDevice(),
    };
  }

  // --- What a guest's write does --------------------------------------------------------------------------------------

  /** A write to a register with an effect; see `ConfigWritten`. A bridge adds its own. */
  protected written(effect: ConfigEffect, at: number, before: number, value: number, lanes: number): void {
    switch (effect) {
      case "command": {
        const changed = before ^ this.config.dword(at);
        if ((changed & commandBits.interruptDisable) !== 0) this.#drivePin();
        if ((changed & (commandBits.io | commandBits.memory)) !== 0) this.remap();
        return;
      }
      case "bar":
        // Sizing and assignment happen while the function decodes nothing.
        if (before !== this.config.dword(at) && this.#decodes) this.remap();
        return;
      case "msi":
        this.#drivePin();
        this.#msi?.written(this.config, this.#send);
        return;
      case "msi-x":
        this.#drivePin();
        this.#msix?.written();
        return;
      case "power":
        if ((lanes & powerStateMask) !== 0) this.#setPower(value & powerStateMask);
        return;
      case "device control":
        // Only those with the capability have the bit (PCIe 7.5.3.3); it is not kept.
        if ((value & initiateReset) !== 0 && this.#hasFunctionReset()) this.#reset("function");
        return;
      default: // what only bridges have
        return;
    }
  }

  /** What the function decodes has changed. */
  protected remap(): void {
    this.#attachment?.remap();
  }

  /** The configuration space has its reset values again; what stands for the outside goes back in. */
  protected configReset(): void {
    this.setMultiFunction(this.#multiFunction);
  }

  #reset(kind: "power-on" | "function"): void {
    this.config.reset(kind);
    this.#msix?.reset();
    this.#intx = false;
    this.configReset();
    this.resetDevice();
    this.#drivePin();
    this.remap();
  }

  /** PCI Power Management 3.2.4: D1 and D2 are not supported, so a write of them is discarded. */
  #setPower(state: number): void {
    const at = this.#powerAt + powerControlAt;
    const before = this.config.dword(at);
    if ((state !== 0 && state !== 3) || state === (before & powerStateMask)) return;
    this.config.put(at, powerStateMask, state);
    // Without "no soft reset" the way back to D0 is a reset.
    if (state === 0 && (before & 8) === 0) this.#reset("function");
    else {
      this.#drivePin();
      this.remap();
    }
  }

  get #decodes(): boolean {
    return (this.config.dword(headerOffsets.command) & (commandBits.io | commandBits.memory)) !== 0;
  }

  #hasFunctionReset(): boolean {
    return (this.config.dword(this.#expressAt + expressOffsets.deviceControl - 4) & 0x1000_0000) !== 0;
  }

  #drivePin(): void {
    const disabled = (this.config.dword(headerOffsets.command) & commandBits.interruptDisable) !== 0;
    this.#attachment?.pin.set(this.#intx && !disabled && !this.usesMessages && this.powered);
  }

  #mayMaster(): boolean {
    if (this.#attachment === undefined || !this.powered) return false;
    if ((this.config.dword(headerOffsets.command) & commandBits.busMaster) === 0) return false;
    return this.#attachment.upstreamOpen();
  }

  #reachable(at: number, length: number): PciAttachment | undefined {
    if (!this.#mayMaster()) return undefined;
    const attachment = this.#attachment!;
    if (Number.isSafeInteger(at) && at >= 0 && at + length <= attachment.memory.size) return attachment;
    // PCI 3.0 6.2.3: nobody answered.
    this.config.put(headerOffsets.command, commandBits.receivedMasterAbort, commandBits.receivedMasterAbort);
    return undefined;
  }

  /** A message is a write like any other: to the interrupt addresses, or to wherever the guest pointed it. */
  #sendMessage(low: number, high: number, data: number): void {
    const bytes = this.#dword;
    for (let i = 0; i < 4; i++) bytes[i] = data >>> (8 * i);
    if (this.dmaWrite(high * 2 ** 32 + low, bytes)) this.#sent++;
    else this.#dropped++;
  }

  /** What answers at `bar`, with the MSI-X table laid over it. */
  #behind(bar: BarOptions): MmioDevice {
    const { index, kind, size } = bar;
    const device = bar.device ?? {
      mmioRead: (offset, width) => this.readBar(index, offset, width),
      mmioWrite: (offset, width, value) => this.writeBar(index, offset, width, value),
    };
    const msix = this.#msix;
    if (msix === undefined || msix.options.bar !== index || index === romIndex) return device;
    const { table, pending } = msix.options;
    if (Math.max(table + msix.tableLength, pending + msix.pendingLength) > size || kind === "io")
      throw new RangeError(`BAR ${index} does not hold the MSI-X table and pending bits`);
    return msix.over(device);
  }

  #offsetOf(id: number): number {
    for (const [capability, at] of this.#offsets) if (capability.id === id) return at;
    return 0;
  }
}

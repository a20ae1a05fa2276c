import type { Inspection } from "../device.ts";
import { PciBridge } from "./bridge.ts";
import { type Capability, powerCapability, subsystemCapability } from "./capabilities.ts";
import type { ConfigEffect } from "./config-space.ts";
import { expressOffsets, linkBits, rootPortExpress, slotBits } from "./express.ts";
import { MsiCapability } from "./messages.ts";

export interface RootPortOptions {
  /** 0 to 7: which of the ports. Its slot has this number + 1. */
  readonly index: number;
  /** A button that asks the system to take the slot in or out of use. On by default. */
  readonly attentionButton?: boolean;
  /** The system switches the slot's power; otherwise it is always on. Off by default: what is plugged in is found at once. */
  readonly powerController?: boolean;
}

export type Indicator = "on" | "blink" | "off";

/** Values of an indicator's two bits; 0 is reserved (PCIe 7.5.3.10). */
const indicators: readonly Indicator[] = ["off", "on", "blink", "off"];

/** A PCI Express root port with a slot into which functions are plugged at run time (PCIe 5.0, 6.7). */
export class RootPort extends PciBridge {
  readonly index: number;
  readonly #express: Capability;
  readonly #hasButton: boolean;
  readonly #hasPower: boolean;
  /** A hot-plug message was sent: its condition must go away before the next. */
  #notified = false;

  constructor(options: RootPortOptions) {
    const attentionButton = options.attentionButton ?? true;
    const powerController = options.powerController ?? false;
    const express = rootPortExpress({ number: options.index + 1, attentionButton, powerController });
    super({
      name: `root port ${options.index}`,
      vendor: 0x1b36,
      device: 0x000c,
      classCode: 0x060400,
      interruptPin: (options.index & 3) + 1,
      capabilities: [
        express,
        powerCapability(false),
        new MsiCapability(1),
        subsystemCapability(0x1b36, 0x0000),
      ],
    });
    this.index = options.index;
    this.#express = express;
    this.#hasButton = attentionButton;
    this.#hasPower = powerController;
  }

  /** Is something in the slot? */
  get occupied(): boolean {
    return this.secondary.functions.some((fn) => fn !== undefined);
  }

  get linkActive(): boolean {
    return (this.config.dword(this.#linkAt) & linkBits.active) !== 0;
  }

  get powerIndicator(): Indicator {
    return indicators[(this.config.dword(this.#slotAt) >>> 8) & 3]!;
  }

  get attentionIndicator(): Indicator {
    return indicators[(this.config.dword(this.#slotAt) >>> 6) & 3]!;
  }

  override get open(): boolean {
    return super.open && this.linkActive;
  }

  /** Somebody pushes the slot's button. False when it has none. */
  pressAttentionButton(): boolean {
    if (!this.#hasButton) return false;
    this.#event(slotBits.attentionPressed);
    return true;
  }

  /** Something was plugged in or pulled out, which the system is told when it is `running`. */
  presenceChanged(running: boolean): void {
    const present = this.occupied ? slotBits.present : 0;
    if ((this.config.dword(this.#slotAt) & slotBits.present) === present) {
      // Another function of the device that is there already.
      this.onReroute?.();
      this.remap();
      return;
    }
    this.config.put(this.#slotAt, slotBits.present, present);
    if (running) this.config.put(this.#slotAt, slotBits.presenceChanged, slotBits.presenceChanged);
    this.#train(running);
    this.#notify();
  }

  protected override written(
    effect: ConfigEffect,
    at: number,
    before: number,
    value: number,
    lanes: number,
  ): void {
    if (effect === "link") this.#train(true);
    else if (effect === "slot") {
      // PCIe 6.7.3.2: a write to slot control is a command; here each is done at once.
      if ((lanes & 0xffff) !== 0) {
        this.config.put(this.#slotAt, slotBits.commandCompleted, slotBits.commandCompleted);
        this.#train(true);
      }
    } else super.written(effect, at, before, value, lanes);
    // Whatever was written may have changed the condition or the way it is told.
    this.#notify();
  }

  protected override configReset(): void {
    // What is in the slot is there after a reset too, and is no change.
    this.config.put(this.#slotAt, slotBits.present, this.occupied ? slotBits.present : 0);
    this.#notified = false;
    this.#train(false);
    super.configReset();
  }

  protected override restored(): void {
    this.#notified = this.#condition && this.usesMessages;
  }

  protected override inspectDevice(): Inspection {
    return {
      slot: {
        occupied: this.occupied,
        "link active": this.linkActive,
        "power indicator": this.powerIndicator,
        "attention indicator": this.attentionIndicator,
      },
    };
  }

  get #slotAt(): number {
    return this.offsetOf(this.#express) + expressOffsets.slot;
  }

  get #linkAt(): number {
    return this.offsetOf(this.#express) + expressOffsets.link;
  }

  /** The link is up while something is there that has power and nobody disabled it. What loses its link is reset. */
  #train(tell: boolean): void {
    const off = this.#hasPower && (this.config.dword(this.#slotAt) & slotBits.powerOff) !== 0;
    const disabled = (this.config.dword(this.#linkAt) & linkBits.disable) !== 0;
    const up = this.occupied && !off && !disabled;
    if (up === this.linkActive) return;
    const all = linkBits.active | linkBits.speedAndWidth;
    this.config.put(this.#linkAt, all, up ? linkBits.active | linkBits.trained : 0);
    if (tell) this.config.put(this.#slotAt, slotBits.linkChanged, slotBits.linkChanged);
    if (!up) this.resetBehind();
    this.onReroute?.();
    this.remap();
  }

  #event(bit: number): void {
    this.config.put(this.#slotAt, bit, bit);
    this.#notify();
  }

  /** PCIe 6.7.3.4: an event that is enabled, and hot-plug interrupts are. */
  get #condition(): boolean {
    const slot = this.config.dword(this.#slotAt);
    if ((slot & slotBits.interruptEnable) === 0) return false;
    if ((slot & slotBits.eventEnables & (slot >>> 16)) !== 0) return true;
    return (slot & slotBits.linkChangeEnable) !== 0 && (slot & slotBits.linkChanged) !== 0;
  }

  /** A level on the pin, or a message each time that the condition becomes true. */
  #notify(): void {
    const condition = this.#condition;
    this.setIntx(condition);
    const message = condition && this.usesMessages;
    if (message && !this.#notified) this.raiseInterrupt(0);
    this.#notified = message;
  }
}

import type { Device, Inspection, InterruptLine, MmioDevice, Timebase } from "./device.ts";
import { HpetCounter, type HpetCounterState } from "./hpet-counter.ts";
import { HpetConfiguration, hpetRegisters, hpetTimersAtMost } from "./hpet-registers.ts";
import { HpetTimer, type HpetTimerState, hex64 } from "./hpet-timer.ts";
import { SavedFields } from "./saved-state.ts";

export { hpetTick } from "./hpet-counter.ts";
export { SwitchedLine } from "./hpet-legacy.ts";
export { hpetLength } from "./hpet-registers.ts";

/** Where PCs have the HPET in guest physical memory. */
export const hpetBase = 0xfed0_0000;

export interface HpetOptions {
  readonly name: string;
  readonly timebase: Timebase;
  /** Comparators: 3 if left out, 2 to 24. The specification wants three at least (2.1); with two, nothing but 0 and 1 is there. */
  readonly timers?: number;
  /** Bit n: timers can be routed to IOAPIC input n, 1 to 31; inputs 20 to 23 if left out. */
  readonly routes?: number;
  /** A new source on IOAPIC input `input`. Called once per timer and route while the HPET is made. */
  readonly line: (input: number) => InterruptLine;
  /** Lines of timers 0 and 1 in legacy replacement: ISA interrupts 0 and 8, behind what cuts off PIT and RTC. */
  readonly legacyLines: readonly [InterruptLine, InterruptLine];
  /** Called at reset, restore and whenever GEN_CONF is written: PIT and RTC are cut off from interrupts 0 and 8 while `active`. */
  readonly legacyReplacement: (active: boolean) => void;
  /** A dword written by a timer with FSB delivery: a message signalled interrupt. */
  readonly message: (address: number, data: number) => void;
}

export interface HpetState {
  readonly version: 1;
  readonly configuration: number;
  readonly counter: HpetCounterState;
  readonly timers: readonly HpetTimerState[];
}

const defaultRoutes: number = hpetRegisters.timerRoutes.reset;
const firstTimer = 0x100;
/** Mask of an access to all of a dword. Masks are signed: V8 passes those without an allocation. */
const whole = -1;
const timerShift = 5;
const timerLength = 1 << timerShift;

/** The high precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter of 100 MHz and comparators on it. */
export class Hpet implements MmioDevice, Device<HpetState> {
  readonly name: string;
  /** Bits 31:0 of GCAP_ID, which the ACPI table repeats. */
  readonly capabilities: number;
  readonly #timebase: Timebase;
  readonly #legacyReplacement: (active: boolean) => void;
  readonly #counter = new HpetCounter();
  readonly #timers: readonly HpetTimer[];
  #configuration: number = hpetRegisters.configuration.reset;

  /** Throws RangeError for a number of timers or a route that there cannot be. */
  constructor(options: HpetOptions) {
    const { name, timebase, timers = 3, routes = defaultRoutes } = options;
    if (!Number.isInteger(timers) || timers < 2 || timers > hpetTimersAtMost)
      throw new RangeError(`${name}: 2 to ${hpetTimersAtMost} timers, not ${timers}`);
    if (!Number.isInteger(routes) || routes < 0 || routes >= 2 ** 32 || routes % 2 !== 0)
      throw new RangeError(`${name}: routes are a mask of IOAPIC inputs 1 to 31`);
    this.name = name;
    this.capabilities = ((hpetRegisters.capabilities.reset & ~0x1f00) | ((timers - 1) << 8)) >>> 0;
    this.#timebase = timebase;
    this.#legacyReplacement = options.legacyReplacement;
    this.#timers = Array.from({ length: timers }, (_, index) => {
      const lines = new Map<number, InterruptLine>();
      for (let input = 1; input < 32; input++)
        if (((routes >>> input) & 1) !== 0) lines.set(input, options.line(input));
      return new HpetTimer({
        name: `${name} timer ${index}`,
        timebase,
        counter: this.#counter,
        legacyLine: options.legacyLines[index],
        routes: lines,
        message: options.message,
      });
    });
  }

  /** The registers want aligned accesses of 32 or 64 bits (2.3.2); others are given the bytes that they name. */
  mmioRead(offset: number, width: 1 | 2 | 4): number {
    const shift = offset & 3;
    if (shift === 0 && width === 4) return this.#readDword(offset);
    let value = this.#readDword(offset - shift) >>> (8 * shift);
    if (shift + width > 4) value |= this.#readDword(offset - shift + 4) << (8 * (4 - shift));
    return width === 1 ? value & 0xff : width === 2 ? value & 0xffff : value >>> 0;
  }

  mmioWrite(offset: number, width: 1 | 2 | 4, value: number): void {
    const shift = offset & 3;
    if (shift === 0 && width === 4) {
      this.#writeDword(offset, value, whole);
      return;
    }
    const mask = whole >>> (32 - 8 * width);
    this.#writeDword(offset - shift, (value << (8 * shift)) >>> 0, mask << (8 * shift));
    if (shift + width <= 4) return;
    const rest = 8 * (4 - shift);
    this.#writeDword(offset - shift + 4, (value & mask) >>> rest, mask >>> rest);
  }

  #readDword(at: number): number {
    // The counter is what guests read all the time.
    if (at === 0xf0) return this.#counter.low(this.#timebase.now());
    if (at === 0xf4) return this.#counter.high(this.#timebase.now());
    if (at >= firstTimer) {
      const timer = this.#timers[(at - firstTimer) >> timerShift];
      if (timer === undefined) return 0;
      timer.settle(this.#timebase.now());
      return readTimer(timer, at & (timerLength - 1));
    }
    switch (at) {
      case 0x00:
        return this.capabilities;
      case 0x04:
        return hpetRegisters.period.reset;
      case 0x10:
        return this.#configuration;
      case 0x20:
        return this.#readStatus();
      default:
        return 0;
    }
  }

  #readStatus(): number {
    const now = this.#timebase.now();
    let status = 0;
    this.#timers.forEach((timer, index) => {
      timer.settle(now);
      if (timer.status) status |= 1 << index;
    });
    return status;
  }

  /** Writes the bits of `mask`; the others stay. */
  #writeDword(at: number, value: number, mask: number): void {
    const now = this.#timebase.now();
    if (at >= firstTimer) {
      const timer = this.#timers[(at - firstTimer) >> timerShift];
      if (timer === undefined) return;
      // Up to now the old settings held.
      timer.settle(now);
      const register = at & (timerLength - 1);
      const merged = mask === whole ? value : merge(readTimer(timer, register), value, mask);
      writeTimer(timer, register, merged, now);
      return;
    }
    switch (at) {
      case 0x10: {
        const configuration = merge(this.#configuration, value, mask);
        this.#configure(configuration & hpetRegisters.configuration.writable, now);
        return;
      }
      case 0x20:
        this.#clearStatus(value & mask, now);
        return;
      case 0xf0:
        this.#counter.write(false, merge(this.#counter.low(now), value, mask));
        return;
      case 0xf4:
        this.#counter.write(true, merge(this.#counter.high(now), value, mask));
        return;
      default:
    }
  }

  #clearStatus(bits: number, now: number): void {
    for (let index = 0; index < this.#timers.length; index++) {
      const timer = this.#timers[index]!;
      timer.settle(now);
      if (((bits >>> index) & 1) !== 0) timer.clearStatus(now);
    }
  }

  #configure(configuration: number, now: number): void {
    for (const timer of this.#timers) timer.settle(now);
    const changed = configuration ^ this.#configuration;
    this.#configuration = configuration;
    const legacy = this.#isLegacy();
    if ((changed & HpetConfiguration.enable) !== 0) {
      if (this.#counter.running) this.#counter.stop(now);
      else this.#counter.start(now);
    }
    // A line is let go before another takes it over: PIT and RTC first, or the timers first.
    if (legacy) this.#legacyReplacement(true);
    for (const timer of this.#timers)
      timer.generalChange(now, legacy, (changed & HpetConfiguration.enable) !== 0);
    if (!legacy) this.#legacyReplacement(false);
  }

  #isLegacy(): boolean {
    return isLegacy(this.#configuration);
  }

  reset(): void {
    this.#configuration = hpetRegisters.configuration.reset;
    this.#counter.reset();
    for (const timer of this.#timers) timer.reset();
    this.#legacyReplacement(false);
  }

  save(): HpetState {
    return {
      version: 1,
      configuration: this.#configuration,
      counter: this.#counter.save(),
      timers: this.#timers.map((timer) => timer.save()),
    };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const configuration = fields.integer("configuration", 0, hpetRegisters.configuration.writable);
    const running = (configuration & HpetConfiguration.enable) !== 0;
    const legacy = isLegacy(configuration);
    const counter = this.#counter.prepare(fields.nested("counter"), running, this.#timebase.now());
    const timers = fields
      .list("timers", this.#timers.length)
      .map((timer, index) => this.#timers[index]!.prepare(timer, counter.origin, running, legacy));
    fields.end();
    this.#configuration = configuration;
    counter.putInPlace();
    this.#legacyReplacement(legacy);
    for (const putInPlace of timers) putInPlace();
  }

  inspect(): Inspection {
    const now = this.#timebase.now();
    return {
      counter: hex64(this.#counter.high(now), this.#counter.low(now)),
      running: this.#counter.running,
      legacyReplacement: this.#isLegacy(),
      ...Object.fromEntries(this.#timers.map((timer, index) => [`timer${index}`, timer.inspect()])),
    };
  }
}

/** Lines are replaced only while the HPET is enabled: "if ENABLE_CNF and LEG_RT_CNF are both set" (2.3.5). */
function isLegacy(configuration: number): boolean {
  const both = HpetConfiguration.enable | HpetConfiguration.legacyReplacement;
  return (configuration & both) === both;
}

/** `value` with the bits outside `mask` as in `old`. */
function merge(old: number, value: number, mask: number): number {
  return ((old & ~mask) | (value & mask)) >>> 0;
}

/** `register` is the offset in the timer's block. */
function readTimer(timer: HpetTimer, register: number): number {
  switch (register) {
    case 0x00:
      return timer.configuration;
    case 0x04:
      return timer.routeCapability;
    case 0x08:
      return timer.comparatorLow;
    case 0x0c:
      return timer.comparatorHigh;
    case 0x10:
      return timer.messageData;
    case 0x14:
      return timer.messageAddress;
    default:
      return 0;
  }
}

function writeTimer(timer: HpetTimer, register: number, value: number, now: number): void {
  switch (register) {
    case 0x00:
      timer.writeConfiguration(value, now);
      return;
    case 0x08:
    case 0x0c:
      timer.writeComparator(register === 0x0c, value, now);
      return;
    case 0x10:
    case 0x14:
      timer.writeMessage(register === 0x14, value);
      return;
    default:
  }
}

import type { Uart16550 } from "@entresol/devices";
import { SerialAttachment } from "./serial/serial-attachment.ts";
import type { SerialEnd } from "./serial/serial-end.ts";
import { DEFAULT_KEEP, type SerialLineSetting } from "./serial/serial-setting.ts";

/** Output is handed on when this many bytes wait, or after a while. */
const CAPACITY = 16 * 1024;
/** The longest time that a timer of the host can be set to, ms. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** As a port is before anything is attached to it. */
const plainLine: SerialLineSetting = {
  policy: { kind: "ring" },
  keep: DEFAULT_KEEP,
  pacing: false,
  input: "wait",
};

/**
 * The host's side of one serial port. The guest's bytes are gathered while it runs, so that no write of the host's ever stands
 * between a vCPU and its next instruction, and handed on between slices: to `onOutput`, and to the end that is attached.
 */
export class SerialPort {
  /** Gets the guest's output in order. The bytes are not to be changed. */
  onOutput: ((bytes: Uint8Array) => void) | undefined;
  readonly #feed: (bytes: Uint8Array) => number;
  readonly #full: () => void;
  #uart: Uart16550 | undefined;
  #wakeUp: () => void = () => {};
  #attachment: SerialAttachment | undefined;
  #gathered = new Uint8Array(CAPACITY);
  #count = 0;
  #waiting: Uint8Array = new Uint8Array(0);
  /** Bytes that came by `input`. */
  #taken = 0;
  /** The host is given time, and was given it, for the wait that the UART is in. */
  #patience: Promise<void> | undefined;
  #waited = false;
  #endPatience: () => void = () => {};

  /** `feed` gives bytes to the UART and returns how many it took; `full` asks for a `flush` soon, from inside an instruction. */
  constructor(feed: (bytes: Uint8Array) => number, full: () => void) {
    this.#feed = feed;
    this.#full = full;
  }

  /** The UART behind the port, and how to end a wait of the machine's. Called once, when the machine is put together. */
  join(uart: Uart16550, wakeUp: () => void): void {
    this.#uart = uart;
    this.#wakeUp = wakeUp;
  }

  /**
   * Joins an end to the port, as `line` says. Its output comes also to `onOutput`. What was attached before is closed. The port does not
   * close the end when the VM is disposed of: `detach` does.
   */
  attach(end: SerialEnd, line: SerialLineSetting): void {
    void this.detach();
    const attachment = new SerialAttachment(end, line, {
      feed: (bytes) => this.input(bytes),
      behind: () => (this.#uart?.waiting ?? 0) > 0,
      roomier: () => this.#resume(),
    });
    this.#attachment = attachment;
    this.#wire(line, attachment);
  }

  /** Gives the attached end bytes as if the guest had just sent them: what stood on the screen when a snapshot was taken. */
  show(bytes: Uint8Array): void {
    this.#attachment?.push(bytes, 0);
  }

  /** Sets how the line behaves without an end, or with the one that is there. */
  setLine(line: Pick<SerialLineSetting, "pacing" | "input">): void {
    this.#wire({ ...(this.#attachment?.line ?? plainLine), ...line }, this.#attachment);
  }

  /** Gives what waits for the end some time to leave, then closes the end. Gives the number of bytes that never arrived. */
  async detach(): Promise<number> {
    const attachment = this.#attachment;
    if (attachment === undefined) return 0;
    this.#attachment = undefined;
    this.#wire(plainLine, undefined);
    await attachment.close();
    return attachment.dropped;
  }

  /** Bytes of output that the attached end did not get. */
  get dropped(): number {
    return this.#attachment?.dropped ?? 0;
  }

  #wire(line: SerialLineSetting, attachment: SerialAttachment | undefined): void {
    const { policy, pacing, input } = line;
    const ready = (): boolean => {
      if (attachment?.takes(this.#count) !== false) return true;
      // The end may have room that what was gathered can go to.
      if (this.#count > 0) this.#full();
      return false;
    };
    this.#uart?.wire({
      pacing,
      input,
      stallLimit: policy.kind === "stall" ? policy.limit : 0,
      // Without it the UART need not ask for each byte.
      ready: attachment !== undefined && policy.kind === "stall" ? ready : undefined,
    });
  }

  /** A byte from the UART, which a vCPU is just writing: nobody may be called who wants the machine at rest. */
  readonly put = (byte: number): void => {
    if (this.#count === this.#gathered.length) {
      const larger = new Uint8Array(2 * this.#count);
      larger.set(this.#gathered);
      this.#gathered = larger;
    }
    this.#gathered[this.#count++] = byte;
    if (this.#count >= CAPACITY) this.#full();
  };

  /** Enough has been gathered that it should be handed on. */
  get isFull(): boolean {
    return this.#count >= CAPACITY || (this.#count > 0 && this.#uart?.stalled === true);
  }

  /** Hands on what was gathered until guest time `now`, ns. */
  flush(now = 0): void {
    if (this.#count > 0) {
      const bytes = this.#gathered.slice(0, this.#count);
      this.#count = 0;
      if (this.#gathered.length > CAPACITY) this.#gathered = new Uint8Array(CAPACITY);
      this.onOutput?.(bytes);
      this.#attachment?.push(bytes, now);
    }
    if (this.#uart?.stalled === true) this.#resume();
  }

  /** While the attached end does not take output and the machine is to rest until it does. */
  get held(): Promise<void> | undefined {
    return this.#attachment?.held;
  }

  /**
   * While the UART waits for the end and the guest for the UART: what to wait for, once for each such wait, before virtual time is
   * moved on to the moment at which the UART gives the end up. It would else be given up without having had any time.
   */
  get patience(): Promise<void> | undefined {
    const policy = this.#attachment?.line.policy;
    if (this.#uart?.stalled !== true || policy?.kind !== "stall") {
      this.#waited = false;
      return undefined;
    }
    if (this.#waited) return undefined;
    this.#patience ??= new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waited = true;
        this.#patience = undefined;
        resolve();
      };
      const timer = setTimeout(end, Math.min(policy.limit / 1e6, LONGEST_TIMER));
      this.#endPatience = end;
    });
    return this.#patience;
  }

  /** The end has room again. */
  #resume(): void {
    this.#endPatience();
    if (this.#uart?.stalled !== true || this.#attachment?.takes(this.#count) === false) return;
    this.#uart.resume();
    this.#wakeUp();
  }

  /** Sends bytes to the guest. Returns how many were taken; the rest did not fit the input queue. */
  input(bytes: Uint8Array): number {
    const taken = this.#waiting.length > 0 ? 0 : this.#feed(bytes);
    this.#taken += taken;
    return taken;
  }

  /** Somebody has typed: `input` or the attached end brought bytes. */
  get wasTypedAt(): boolean {
    return this.#taken > 0;
  }

  /** Sends bytes to the guest, all of them: what does not fit its queue waits here until the guest is idle. */
  send(bytes: Uint8Array): void {
    this.#waiting = Buffer.concat([this.#waiting, bytes]);
    this.pump();
  }

  /** The far end sends a break (Linux's SysRq key). False when the input queue is full. */
  sendBreak(): boolean {
    const taken = this.#uart?.receiveBreak() ?? false;
    this.#wakeUp();
    return taken;
  }

  /** Levels of CTS, DSR, RI and DCD: bits 4 to 7, set = asserted. All but RI are, as long as nobody says otherwise. */
  setModemLines(lines: number): void {
    this.#uart?.setModemLines(lines);
    this.#wakeUp();
  }

  /** Hands on what waits, as far as it fits. */
  pump(): void {
    if (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(this.#feed(this.#waiting));
  }

  /** Hands on what the attached end sent and had no room. Unlike `pump` at any turn: what comes from outside comes at any time. */
  pumpEnd(idle: boolean): void {
    this.#attachment?.pump(idle);
  }
}

import { BytePorts } from "./byte-ports.ts";
import { debugPortRegisters } from "./debug-port-registers.ts";
import type { Device, Inspection } from "./device.ts";
import { SavedFields } from "./saved-state.ts";

/** The debug console, one port; the POST code, one port. */
export const debugPorts = { console: 0xe9, post: 0x80 } as const;

export interface DebugPortOptions {
  readonly name: string;
  /** Takes each byte that the guest writes to the debug console. */
  readonly output: (byte: number) => void;
}

export interface DebugPortState {
  readonly version: 1;
  /** The last POST code. */
  readonly post: number;
}

/**
 * The debug console that emulators have at port 0xE9, and the latch of a POST card at port 0x80, which Linux also writes to pass
 * a microsecond.
 */
export class DebugPort extends BytePorts implements Device<DebugPortState> {
  readonly name: string;
  readonly #output: (byte: number) => void;
  #post: number = debugPortRegisters.post.reset;
  #written = 0;

  constructor(options: DebugPortOptions) {
    super();
    this.name = options.name;
    this.#output = options.output;
  }

  protected override readByte(port: number): number {
    if (port === debugPorts.console) return debugPortRegisters.console.reset;
    return port === debugPorts.post ? this.#post : 0xff;
  }

  protected override writeByte(port: number, value: number): void {
    if (port === debugPorts.post) this.#post = value;
    if (port !== debugPorts.console) return;
    this.#written++;
    this.#output(value);
  }

  reset(): void {
    this.#post = debugPortRegisters.post.reset;
  }

  save(): DebugPortState {
    return { version: 1, post: this.#post };
  }

  restore(state: unknown): void {
    const fields = SavedFields.open(this.name, state, 1);
    const post = fields.byte("post");
    fields.end();
    this.#post = post;
  }

  inspect(): Inspection {
    return { post: this.#post, written: this.#written };
  }
}

import type { Vm } from "../machine.ts";
import { openSerialEnd, type SerialEnd, type SerialSetting } from "../serial/index.ts";
import { CommandError, EXIT_USAGE } from "./exit-status.ts";
import type { SerialBootOptions } from "./serial-options.ts";

/** The port over which the guest's init is spoken to. */
const AGENT_PORT = 1;
/** Ends at which somebody may turn up who types. */
const interactiveKinds: ReadonlySet<string> = new Set(["socket", "pty", "websocket"]);

/** One port and the end that it is joined to; the console has none but the session's. */
interface Line {
  readonly setting: SerialSetting;
  readonly end: SerialEnd | undefined;
}

const nameOf = (port: number): string => `com${port + 1}`;

/** The serial ports of one run of `entresol boot`, as `--serial` joined them. */
export class SerialLines {
  readonly #lines: readonly Line[];
  /** The VM whose ports are joined. */
  #vm: Vm | undefined;

  /** Throws `CommandError` for what does not go together, and rejects with `SerialEndError`. */
  static async open(options: SerialBootOptions & { readonly exec?: string }): Promise<SerialLines> {
    const settings = options.serial ?? [];
    if (options.exec !== undefined && settings.some(({ port }) => port === AGENT_PORT))
      throw new CommandError(EXIT_USAGE, "--exec speaks to the guest over com2: join another port");
    const lines: Line[] = [];
    try {
      for (const setting of settings) {
        // The terminal is shared with the rest of the session.
        const own = setting.end.kind !== "console" || setting.policy.kind !== "hold";
        lines.push({ setting, end: own ? await openSerialEnd(setting.end) : undefined });
      }
    } catch (error) {
      for (const { end } of lines) await end?.close();
      throw error;
    }
    return new SerialLines(lines);
  }

  private constructor(lines: readonly Line[]) {
    this.#lines = lines;
  }

  /** The port that the terminal is joined to: COM1 if nothing else is said. Undefined: none. */
  get consolePort(): number | undefined {
    const chosen = this.#lines.find(({ setting }) => setting.end.kind === "console");
    if (chosen !== undefined) return chosen.setting.port;
    return this.#takes(0) ? undefined : 0;
  }

  /** Is there a policy for the console's output other than that the guest waits for its reader? */
  get consoleHasPolicy(): boolean {
    return this.#lines.some(({ setting, end }) => setting.end.kind === "console" && end !== undefined);
  }

  /** Can the guest's init be spoken to? */
  get agentPortFree(): boolean {
    return !this.#takes(AGENT_PORT);
  }

  /** Somebody may come who types, although nobody sits at the terminal. */
  get interactive(): boolean {
    return this.#lines.some(({ setting }) => interactiveKinds.has(setting.end.kind));
  }

  #takes(port: number): boolean {
    return this.#lines.some(({ setting }) => setting.port === port);
  }

  /** Joins the ports of `vm`, once for each VM. `news` hears where the ends are, and who comes and goes. Throws `CommandError`. */
  attach(vm: Vm, showConsole: boolean, news: (text: string) => void): void {
    if (this.#vm === vm) return;
    this.#vm = vm;
    for (const { setting, end } of this.#lines) {
      const port = vm.serial[setting.port];
      if (port === undefined)
        throw new CommandError(EXIT_USAGE, `the snapshot's machine has no ${nameOf(setting.port)}`);
      if (end !== undefined && (setting.end.kind !== "console" || showConsole)) {
        end.onNews = (text) => news(`${nameOf(setting.port)}: ${text}`);
        port.attach(end, setting);
        if (interactiveKinds.has(setting.end.kind)) news(`${nameOf(setting.port)} is ${end.description}`);
      } else port.setLine(setting);
    }
  }

  /** Parts the ports of `vm` from their ends and closes those. Gives one line for each that did not get all output. Twice does no harm. */
  async close(vm?: Vm): Promise<string[]> {
    const lines: string[] = [];
    await Promise.all(
      this.#lines.map(async ({ setting, end }) => {
        const lost = (await vm?.serial[setting.port]?.detach()) ?? 0;
        await end?.close();
        if (lost > 0) lines.push(`${nameOf(setting.port)}: ${lost} bytes of output did not arrive`);
      }),
    );
    return lines;
  }
}

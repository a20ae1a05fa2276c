import pc from "picocolors";
import { GuestAgent } from "../agent.ts";
import type { VmConfig } from "../config.ts";
import { Vm } from "../machine.ts";
import type { VmStop } from "../run-control.ts";
import { type BootOptions, failureStatus } from "./boot-options.ts";
import { ConsoleLog } from "./console-log.ts";
import { messageOf } from "./failure.ts";
import type { RunFigures } from "./report.ts";
import { SerialLines } from "./serial-lines.ts";
import { chooseMode, hasTerminal, type SessionMode } from "./session-mode.ts";
import { type SessionOutcome, tellOutcome } from "./session-outcome.ts";
import { SessionScript } from "./session-script.ts";
import { type SessionStart, startVm } from "./session-start.ts";
import { trimPromptSnapshots } from "./snapshot-cache.ts";
import { type GuestIdentity, writeNote } from "./snapshot-note.ts";
import { KeyFilter, rawTerminal } from "./terminal.ts";

/** Time to reach the prompt when `--timeout` does not say, in s. */
const DEFAULT_BOOT_TIMEOUT = 300;
/** The longest time that a timer of the host can be set to, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** Output of the console that is kept, in bytes: with `--json` it is printed, else some of it explains a failure. */
const KEPT_CONSOLE_JSON = 8 * 2 ** 20;
const KEPT_CONSOLE = 64 * 2 ** 10;
/** Output that may wait for the reader of stdout, in bytes. */
const OUTPUT_BACKLOG = 2 ** 20;

/** While stdout is behind: resolves when its reader has caught up or is gone. */
function outputDrained(): Promise<void> | undefined {
  const { stdout } = process;
  if (stdout.destroyed || stdout.writableLength < OUTPUT_BACKLOG) return undefined;
  return new Promise((resolve) => {
    const go = (): void => {
      stdout.off("drain", go);
      stdout.off("close", go);
      resolve();
    };
    stdout.once("drain", go);
    stdout.once("close", go);
  });
}

/** One run of `entresol boot`. */
export class BootSession {
  readonly #options: BootOptions;
  /** When the command began: `performance.now()`, ms. */
  readonly #began: number;
  readonly #log: ConsoleLog;
  readonly #guest: GuestIdentity;
  readonly #mode: SessionMode;
  /** Somebody sits there who can type. */
  readonly #terminal: boolean;
  readonly #script: SessionScript;
  readonly #lines: SerialLines;
  /** How to start again from the beginning; undefined for a guest that came out of `--resume`. */
  readonly #config: VmConfig | undefined;
  #vm: Vm;
  #agent: GuestAgent;
  #resumed: boolean;
  /** `performance.now()`, ms. */
  #powerOn: number;
  /** From power-on to the prompt; undefined before it is reached. */
  #bootSeconds: number | undefined;
  /** Where the snapshot at the prompt goes; undefined: none. */
  #promptSnapshot: string | undefined;
  /** Why the snapshot that was asked for by `--snapshot` is not there. */
  #snapshotFailure: string | undefined;
  #gaveUp: SessionOutcome["gaveUp"];
  #outputClosed = false;

  /** Boots, serves the guest until it ends, and gives the exit status. */
  static async run(options: BootOptions): Promise<number> {
    const began = performance.now();
    const lines = await SerialLines.open(options);
    try {
      const session = new BootSession(options, began, await startVm(options), lines);
      try {
        const stop = await session.#serve();
        await session.#closeLines();
        return session.#conclude(stop);
      } finally {
        await session.#vm[Symbol.asyncDispose]();
      }
    } finally {
      await lines.close();
    }
  }

  private constructor(options: BootOptions, began: number, start: SessionStart, lines: SerialLines) {
    this.#options = options;
    this.#lines = lines;
    this.#began = began;
    this.#log = new ConsoleLog(options.json === true ? KEPT_CONSOLE_JSON : KEPT_CONSOLE);
    this.#log.push(Buffer.from(start.openLine));
    this.#guest = { ...start.guest, agent: start.guest.agent && lines.agentPortFree };
    const atConsole = lines.consolePort !== undefined;
    const mode = chooseMode(options, this.#guest.agent);
    // Who will come to the guest over a line of his own finds it running.
    const waits = (mode === "tour" && lines.interactive) || (mode === "console" && !atConsole);
    this.#mode = waits ? "watch" : mode;
    this.#terminal = atConsole && hasTerminal(this.#mode, options);
    this.#script = new SessionScript(options);
    this.#config = start.config;
    this.#vm = start.vm;
    this.#agent = this.#newAgent();
    this.#resumed = start.resumed;
    this.#powerOn = start.powerOn;
    this.#promptSnapshot = start.promptSnapshot;
    if (options.snapshot !== undefined && start.promptSnapshot !== undefined)
      this.#snapshotFailure = "the guest did not get to where it is taken";
  }

  async #serve(): Promise<VmStop> {
    this.#connect();
    this.#endWithReader();
    let stopTimer = this.#startTimer();
    const leaveTerminal = this.#terminal ? this.#enterTerminal() : undefined;
    try {
      let stop = await this.#vm.run();
      // Who uses the guest over a line of his own expects it back as well.
      const stays = this.#mode === "console" || this.#lines.interactive;
      while (stop.kind === "reset" && stays && (await this.#restart())) {
        stopTimer();
        stopTimer = this.#startTimer();
        stop = await this.#vm.run();
      }
      return stop;
    } finally {
      stopTimer();
      leaveTerminal?.();
    }
  }

  /** From the beginning, as a PC does when its guest reboots. False when there is nothing to begin with. */
  async #restart(): Promise<boolean> {
    if (this.#config === undefined) return false;
    this.#note("the guest restarts");
    this.#powerOn = performance.now();
    if (this.#vm.canRestart) {
      this.#vm.restart();
      this.#vm.setTime(this.#config.time ?? "virtual");
    } else {
      await this.#vm[Symbol.asyncDispose]();
      this.#vm = await Vm.create(this.#config);
    }
    this.#agent = this.#newAgent();
    this.#resumed = false;
    this.#bootSeconds = undefined;
    this.#promptSnapshot = undefined;
    this.#connect();
    return true;
  }

  #newAgent(): GuestAgent {
    // A snapshot may come from a machine with one port, which has no agent.
    return new GuestAgent((bytes) => this.#vm.serial[1]?.send(bytes));
  }

  /** Puts the session's ends to those of the VM. */
  #connect(): void {
    const { consolePort, consoleHasPolicy, agentPortFree } = this.#lines;
    const shows = (this.#mode === "console" || this.#mode === "watch") && this.#options.json !== true;
    const show = shows && consolePort !== undefined;
    const direct = show && !consoleHasPolicy;
    this.#lines.attach(this.#vm, show, (text) => this.#note(text));
    this.#vm.serial[consolePort ?? 0]!.onOutput = (bytes) => {
      this.#log.push(bytes);
      if (direct) process.stdout.write(bytes);
    };
    const control = this.#vm.serial[1];
    if (control !== undefined && agentPortFree) control.onOutput = (bytes) => this.#agent.receive(bytes);
    // Who looks at the console by an end of its own sees the prompt that was there.
    if (this.#resumed) this.#vm.serial[consolePort ?? 0]!.show(Buffer.from(this.#log.openLine()));
    if (this.#resumed && this.#guest.agent) {
      this.#agent.markReady();
      if (show) {
        this.#note(`resumed ${this.#guest.title}; Ctrl-A x leaves, --cold boots it again`);
        if (direct) process.stdout.write(this.#log.openLine());
      }
    }
    // What the console's policy decides is not decided here as well.
    this.#vm.holdBack = show && !direct ? undefined : outputDrained;
    this.#followScript();
  }

  /** Ends with the reader of stdout (`entresol boot | head`). */
  #endWithReader(): void {
    process.stdout.on("error", () => {
      this.#outputClosed = true;
      this.#vm.pause();
    });
  }

  #giveUp(why: "timeout" | "no-input"): void {
    this.#gaveUp ??= why;
    this.#vm.pause();
  }

  /** Gives up on a guest that does not get where it should in time. */
  #startTimer(): () => void {
    const { timeout } = this.#options;
    const seconds = timeout ?? (this.#guest.agent ? DEFAULT_BOOT_TIMEOUT : undefined);
    if (seconds === undefined) return () => {};
    const timer = setTimeout(
      () => {
        if (timeout !== undefined || this.#bootSeconds === undefined) this.#giveUp("timeout");
      },
      Math.min(seconds * 1000, LONGEST_TIMER),
    );
    return () => clearTimeout(timer);
  }

  /**
   * What the session does with the guest is done when the guest is idle, at the same guest time in every run: so a run with
   * the same inputs is the same run.
   */
  #followScript(): void {
    const steps = this.#script.steps(this.#mode, this.#vm, this.#agent);
    let done = false;
    this.#vm.onIdle = (next) => {
      if (this.#agent.ready) {
        if (this.#bootSeconds === undefined) this.#atPrompt();
        if (!done && !this.#agent.busy) {
          done = steps.next().done === true;
          return;
        }
      }
      if (next === Number.POSITIVE_INFINITY && !this.#terminal && !this.#lines.interactive)
        this.#giveUp("no-input");
    };
  }

  #atPrompt(): void {
    this.#bootSeconds = (performance.now() - this.#powerOn) / 1000;
    // What somebody typed while this guest booted must not come up in the next one.
    const typed = this.#vm.serial.some((port) => port.wasTypedAt);
    if (this.#promptSnapshot !== undefined && (!typed || this.#options.snapshot !== undefined)) {
      const written = this.#writeSnapshot(this.#promptSnapshot);
      if (written && this.#options.snapshot === undefined) trimPromptSnapshots();
    }
    if (this.#mode === "console" || (this.#mode === "watch" && this.#lines.interactive))
      this.#vm.setTime("real");
    if (this.#mode === "console") this.#tellSize();
  }

  /** Tells the guest how large the terminal is. */
  #tellSize(): void {
    this.#agent.resize(process.stdout.rows ?? 24, process.stdout.columns ?? 80);
  }

  /** False when it could not be written, which is told and is no reason to stop. */
  #writeSnapshot(path: string): boolean {
    const guest = { ...this.#guest, agent: this.#guest.agent && this.#agent.ready };
    const asked = path === this.#options.snapshot;
    try {
      this.#vm.snapshot(path, writeNote(guest, this.#log.openLine()));
      if (asked) this.#snapshotFailure = undefined;
      return true;
    } catch (error) {
      const why = messageOf(error);
      this.#note(`no snapshot: ${why}`);
      if (asked) this.#snapshotFailure = why;
      return false;
    }
  }

  /** A line of our own, in between the guest's. */
  #note(text: string): void {
    const end = process.stdin.isRaw === true ? "\r\n" : "\n";
    process.stderr.write(`${this.#mode === "console" ? end : ""}${pc.dim(`entresol: ${text}`)}${end}`);
  }

  /** Gives the keyboard to the guest; the returned function takes it back. */
  #enterTerminal(): () => void {
    const filter = new KeyFilter({
      input: (bytes) => {
        if (this.#vm.serial[this.#lines.consolePort ?? 0]!.input(bytes) < bytes.length)
          process.stderr.write("\x07");
      },
      leave: () => this.#vm.pause(),
      snapshot: () => {
        const path = this.#options.snapshot ?? "entresol.snapshot";
        if (this.#writeSnapshot(path))
          this.#note(`snapshot written to ${path}; entresol boot --resume ${path} goes on from it`);
      },
      inspect: () => {
        const text = JSON.stringify(this.#vm.inspect(), null, 1).replaceAll("\n", "\r\n");
        process.stderr.write(`\r\n${text}\r\n`);
      },
      help: () => this.#note("Ctrl-A x leaves, s writes a snapshot, i inspects, a sends Ctrl-A"),
    });
    const leave = rawTerminal(
      (bytes) => filter.push(bytes),
      () => this.#vm.pause(),
    );
    const resize = (): void => {
      if (this.#agent.ready) this.#tellSize();
    };
    process.stdout.on("resize", resize);
    if (!this.#resumed) this.#note("Ctrl-A x leaves the console");
    return () => {
      process.stdout.removeListener("resize", resize);
      leave();
    };
  }

  /** Before the outcome is told, which also goes to stdout. */
  async #closeLines(): Promise<void> {
    for (const line of await this.#lines.close(this.#vm)) this.#note(line);
  }

  #conclude(stop: VmStop): number {
    if (this.#outputClosed) return failureStatus(this.#options);
    return tellOutcome({
      options: this.#options,
      mode: this.#mode,
      vm: this.#vm,
      guest: this.#guest,
      stop,
      gaveUp: this.#gaveUp,
      snapshotFailure: this.#snapshotFailure,
      script: this.#script,
      log: this.#log,
      figures: this.#figures(),
    });
  }

  #figures(): RunFigures {
    const cpu = process.cpuUsage();
    return {
      guest: this.#guest.title,
      bootSeconds: this.#bootSeconds,
      resumed: this.#resumed,
      wallSeconds: (performance.now() - this.#began) / 1000,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      residentBytes: process.resourceUsage().maxRSS * 1024,
      statistics: this.#vm.statistics(),
    };
  }
}

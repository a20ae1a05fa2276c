import { existsSync } from "node:fs";
import { BootError } from "@entresol/devices";
import pc from "picocolors";
import { type ExecResult, GuestAgent } from "../agent.ts";
import { type VmConfig, VmError } from "../config.ts";
import { Vm, type VmStop } from "../machine.ts";
import type { BootOptions } from "./boot-options.ts";
import { ConsoleLog, KeptOutput } from "./console-log.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK } from "./exit-status.ts";
import { type ChosenGuest, chooseGuest } from "./guest-choice.ts";
import { formatReport, type RunFigures } from "./report.ts";
import { discard, promptSnapshotPath, trimPromptSnapshots } from "./snapshot-cache.ts";
import { KeyFilter, rawTerminal } from "./terminal.ts";
import { tour } from "./tour.ts";

/** Time to reach the prompt when `--timeout` does not say. */
const DEFAULT_BOOT_TIMEOUT = 300;
/** Guest time between a command's end and the machine's, at most, in ns: background jobs may keep it from idling. */
const SETTLE_TIME = 20_000_000;

/** The longest time that a timer of the host can be set to, in ms. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Output that may wait for the reader of stdout, in bytes. */
const OUTPUT_BACKLOG = 2 ** 20;
/** Output of a command that is kept for `--json`, and of one of the tour's, in bytes. */
const KEPT_EXEC_OUTPUT = 16 * 2 ** 20;
const KEPT_TOUR_OUTPUT = 2 ** 20;

/**
 * How a session uses its guest.
 *  exec: one command, its output, its status.   tour: a few commands, then power off.
 *  console: a terminal.                         watch: the console's output until the guest ends.
 */
type Mode = "exec" | "tour" | "console" | "watch";

/** What a snapshot tells about the guest in it. */
interface SnapshotNote {
  title: string;
  name: string;
  kernelVersion: string | null;
  agent: boolean;
  openLine: string;
}

/** Reads a note that anybody may have written: what is missing or of another type is as if the snapshot said nothing. */
function snapshotNote(extra: unknown, path: string): SnapshotNote {
  const note = (typeof extra === "object" && extra !== null ? extra : {}) as Record<string, unknown>;
  const text = (field: keyof SnapshotNote): string | undefined => {
    const value = note[field];
    return typeof value === "string" ? value : undefined;
  };
  return {
    title: text("title") ?? path,
    name: text("name") ?? path,
    kernelVersion: text("kernelVersion") ?? null,
    agent: note["agent"] === true,
    openLine: text("openLine") ?? "",
  };
}

/** One run of `entresol boot`. */
export class BootSession {
  readonly #options: BootOptions;
  readonly #log: ConsoleLog;
  readonly #started = performance.now();
  #guest!: Pick<ChosenGuest, "title" | "name" | "kernelVersion" | "agent">;
  #vm!: Vm;
  /** How to start again from the beginning; undefined for a guest that came out of `--resume`. */
  #config: VmConfig | undefined;
  #agent!: GuestAgent;
  #mode!: Mode;
  #resumed = false;
  #powerOn = 0;
  #bootSeconds: number | undefined;
  /** Where the snapshot at the prompt goes; undefined: none. */
  #promptSnapshot: string | undefined;
  #timedOut = false;
  /** The guest waits for input, and there is nobody to type. */
  #starved = false;
  /** Why the snapshot that was asked for by `--snapshot` is not there. */
  #snapshotFailure: string | undefined;
  #outputClosed = false;
  #execResult: ExecResult | undefined;
  readonly #execOutput = new KeptOutput(KEPT_EXEC_OUTPUT);
  readonly #tourOutput: { title: string; command: string; output: string }[] = [];

  constructor(options: BootOptions) {
    this.#options = options;
    this.#log = new ConsoleLog(options.json === true ? 8 * 2 ** 20 : 64 * 2 ** 10);
  }

  /** Boots, serves the guest until it ends, and gives the exit status. */
  async run(): Promise<number> {
    await this.#open();
    try {
      return this.#conclude(await this.#serve());
    } finally {
      await this.#vm[Symbol.asyncDispose]();
    }
  }

  async #serve(): Promise<VmStop> {
    this.#mode = this.#chooseMode();
    if (this.#options.snapshot !== undefined && this.#promptSnapshot !== undefined)
      this.#snapshotFailure = "the guest did not get to where it is taken";
    this.#connect();
    this.#endWithReader();
    let stopTimer = this.#startTimer();
    const leaveTerminal = this.#hasTerminal() ? this.#enterTerminal() : undefined;
    try {
      let stop = await this.#vm.run();
      while (stop.kind === "reset" && this.#mode === "console" && (await this.#restart())) {
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

  /** Does somebody sit there who can type? */
  #hasTerminal(): boolean {
    return (
      this.#mode === "console" ||
      (this.#mode === "watch" && process.stdin.isTTY === true && this.#options.json !== true)
    );
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
    this.#resumed = false;
    this.#bootSeconds = undefined;
    this.#promptSnapshot = undefined;
    this.#connect();
    return true;
  }

  /** Makes the VM: from a snapshot or from its start. */
  async #open(): Promise<void> {
    const options = this.#options;
    const shape = {
      memory: options.memory,
      cpus: options.cpus,
      time: options.realTime === true ? "real" : "virtual",
    } as const;
    if (options.resume !== undefined) {
      this.#powerOn = performance.now();
      await this.#resume(options.resume, shape);
      this.#promptSnapshot = undefined;
      return;
    }
    const guest = await chooseGuest(options);
    this.#guest = guest;
    const config: VmConfig = {
      ...shape,
      boot: guest.boot,
      ...(options.realTime === true ? { rtcStart: Math.floor(Date.now() / 1000) } : {}),
    };
    this.#config = config;
    const caches = guest.agent && options.kernel === undefined && options.cold !== true;
    const cached = caches ? this.#cachePlace(config) : undefined;
    this.#powerOn = performance.now();
    if (cached !== undefined && (await this.#resumeCached(cached, shape))) {
      this.#promptSnapshot = options.snapshot;
      return;
    }
    try {
      this.#vm = await Vm.create(config);
    } catch (error) {
      // The loader knows what is wrong with which bytes; which file they came from is known here.
      if (error instanceof BootError)
        throw new CommandError(EXIT_FAILURE, `${guest.title}: ${error.message}`);
      throw error;
    }
    this.#promptSnapshot = options.snapshot ?? cached;
  }

  /** A cache that cannot be used costs the next start's time and nothing else. */
  #cachePlace(config: VmConfig): string | undefined {
    try {
      return promptSnapshotPath(config, this.#guest.name);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      process.stderr.write(`entresol: no snapshot at the prompt is kept: ${why}\n`);
      return undefined;
    }
  }

  /** False when there is no snapshot, or none that can be used. */
  async #resumeCached(
    path: string,
    shape: { memory: number; cpus: number; time: "real" | "virtual" },
  ): Promise<boolean> {
    if (!existsSync(path)) return false;
    const guest = this.#guest;
    try {
      await this.#resume(path, shape);
      return true;
    } catch (error) {
      // Another process may have tidied it away just now, which is no news to anybody.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        const why = error instanceof Error ? error.message : String(error);
        process.stderr.write(`entresol: ${why}; booting from the start\n`);
        if (error instanceof VmError) discard(path);
      }
      this.#guest = guest;
      this.#resumed = false;
      return false;
    }
  }

  async #resume(
    path: string,
    shape: { memory: number; cpus: number; time: "real" | "virtual" },
  ): Promise<void> {
    const { vm, extra } = await Vm.resume(path, shape);
    const note = snapshotNote(extra, path);
    this.#vm = vm;
    this.#resumed = true;
    this.#guest = { ...note, kernelVersion: note.kernelVersion ?? undefined };
    // Busybox asks the terminal for its cursor behind each prompt; the answer to an old question would be typed into the shell.
    this.#log.push(Buffer.from(note.openLine.replaceAll("\x1b[6n", "")));
  }

  #chooseMode(): Mode {
    const options = this.#options;
    if (options.exec !== undefined) return "exec";
    if (!this.#guest.agent) return "watch";
    return process.stdin.isTTY === true && process.stdout.isTTY === true && options.json !== true
      ? "console"
      : "tour";
  }

  /** Puts the session's ends to those of the VM. */
  #connect(): void {
    this.#connectSerial();
    this.#holdForReader();
    this.#script();
  }

  #connectSerial(): void {
    const [console_, control] = this.#vm.serial;
    const show = (this.#mode === "console" || this.#mode === "watch") && this.#options.json !== true;
    console_!.onOutput = (bytes) => {
      this.#log.push(bytes);
      if (show) process.stdout.write(bytes);
    };
    this.#agent = new GuestAgent((bytes) => control?.send(bytes));
    // A snapshot may come from a machine with one port, which has no agent.
    if (control !== undefined) control.onOutput = (bytes) => this.#agent.receive(bytes);
    if (this.#resumed && this.#guest.agent) {
      this.#agent.markReady();
      if (show) {
        this.#note(`resumed ${this.#guest.title}; --cold boots it again`);
        process.stdout.write(this.#log.openLine());
      }
    }
  }

  /** Holds the guest while stdout is behind. */
  #holdForReader(): void {
    const { stdout } = process;
    this.#vm.holdBack = () => {
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
    };
  }

  /** Ends with the reader of stdout (`entresol boot | head`). */
  #endWithReader(): void {
    process.stdout.on("error", () => {
      this.#outputClosed = true;
      this.#vm.pause();
    });
  }

  /** Gives up on a guest that does not get where it should in time. */
  #startTimer(): () => void {
    const { timeout } = this.#options;
    const seconds = timeout ?? (this.#guest.agent ? DEFAULT_BOOT_TIMEOUT : undefined);
    if (seconds === undefined) return () => {};
    const timer = setTimeout(
      () => {
        if (timeout === undefined && this.#bootSeconds !== undefined) return;
        this.#timedOut = true;
        this.#vm.pause();
      },
      Math.min(seconds * 1000, LONGEST_TIMER),
    );
    return () => clearTimeout(timer);
  }

  /**
   * What the session does with the guest is done when the guest is idle, at the same guest time in every run: so a run with
   * the same inputs is the same run.
   */
  #script(): void {
    const vm = this.#vm;
    const steps = this.#steps();
    const typing = this.#hasTerminal();
    let done = false;
    vm.onIdle = (next) => {
      if (this.#agent.ready) {
        if (this.#bootSeconds === undefined) this.#atPrompt();
        if (!done && !this.#agent.busy) {
          done = steps.next().done === true;
          return;
        }
      }
      if (next === Number.POSITIVE_INFINITY && !typing) {
        this.#starved = true;
        vm.pause();
      }
    };
  }

  #atPrompt(): void {
    this.#bootSeconds = (performance.now() - this.#powerOn) / 1000;
    if (this.#promptSnapshot !== undefined) {
      this.#snapshotFailure = undefined;
      const written = this.#writeSnapshot(this.#promptSnapshot);
      if (written && this.#options.snapshot === undefined) trimPromptSnapshots();
    }
    if (this.#mode === "console") {
      this.#vm.setTime("real");
      this.#agent.resize(process.stdout.rows ?? 24, process.stdout.columns ?? 80);
    }
  }

  *#steps(): Generator<void> {
    switch (this.#mode) {
      case "exec":
        void this.#agent.exec(
          this.#options.exec!,
          (bytes) => this.#takeExecOutput(bytes),
          (result) => {
            this.#execResult = result;
            this.#vm.pauseAt(this.#vm.now + SETTLE_TIME);
          },
        );
        yield;
        this.#vm.pause();
        return;
      case "tour":
        for (const stop of tour) {
          const kept = new KeptOutput(KEPT_TOUR_OUTPUT);
          void this.#agent.exec(stop.command, (bytes) => kept.push(bytes));
          yield;
          const output = kept.text();
          this.#tourOutput.push({ ...stop, output });
          if (this.#options.json !== true)
            process.stdout.write(`${pc.bold(stop.title)}\n${output.replace(/^/gm, "  ").trimEnd()}\n\n`);
        }
        this.#agent.powerOff();
        return;
      case "console":
      case "watch":
        return;
      default:
        this.#mode satisfies never;
    }
  }

  #takeExecOutput(bytes: Uint8Array): void {
    if (this.#options.json === true) this.#execOutput.push(bytes);
    else process.stdout.write(bytes);
  }

  /** False when it could not be written, which is told and is no reason to stop. */
  #writeSnapshot(path: string): boolean {
    const note: SnapshotNote = {
      title: this.#guest.title,
      name: this.#guest.name,
      kernelVersion: this.#guest.kernelVersion ?? null,
      agent: this.#guest.agent && this.#agent.ready,
      openLine: this.#log.openLine(),
    };
    try {
      this.#vm.snapshot(path, note);
      return true;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#note(`no snapshot: ${why}`);
      if (path === this.#options.snapshot) this.#snapshotFailure = why;
      return false;
    }
  }

  /** A line of our own, in between the guest's. */
  #note(text: string): void {
    const end = process.stdin.isRaw === true ? "\r\n" : "\n";
    process.stderr.write(`${this.#mode === "console" ? end : ""}${pc.dim(`entresol: ${text}`)}${end}`);
  }

  #enterTerminal(): () => void {
    const filter = new KeyFilter({
      input: (bytes) => {
        if (this.#vm.serial[0]!.input(bytes) < bytes.length) process.stderr.write("\x07");
      },
      leave: () => this.#vm.pause(),
      snapshot: () => {
        const path = this.#options.snapshot ?? "entresol.snapshot";
        if (!this.#writeSnapshot(path)) return;
        this.#snapshotFailure = undefined;
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
      if (this.#agent.ready) this.#agent.resize(process.stdout.rows ?? 24, process.stdout.columns ?? 80);
    };
    process.stdout.on("resize", resize);
    this.#note("Ctrl-A x leaves the console");
    return () => {
      process.stdout.removeListener("resize", resize);
      leave();
    };
  }

  #figures(): RunFigures {
    const cpu = process.cpuUsage();
    return {
      guest: this.#guest.title,
      bootSeconds: this.#bootSeconds,
      resumed: this.#resumed,
      wallSeconds: (performance.now() - this.#started) / 1000,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      residentBytes: process.resourceUsage().maxRSS * 1024,
      statistics: this.#vm.statistics(),
    };
  }

  /** Did the guest do what it was started for? */
  #failure(stop: VmStop): string | undefined {
    switch (stop.kind) {
      case "power-off":
        return this.#mode === "exec" && this.#execResult === undefined
          ? "the guest powered off before the command ended"
          : undefined;
      case "paused":
        if (this.#execResult?.lost === true) return "the command ended the guest's agent, and with it itself";
        if (this.#starved) return "the guest waits for input that cannot come";
        if (!this.#timedOut) return undefined;
        return this.#bootSeconds === undefined && this.#guest.agent
          ? "the guest did not reach its prompt in time (--timeout)"
          : "time is up (--timeout)";
      case "reset":
        return this.#mode === "console"
          ? "the guest asked for a reset, and a snapshot holds no image to start from"
          : "the guest asked for a reset";
      case "crashed":
      case "halted":
        return `the guest stopped: ${stop.detail}`;
      case "host-violation":
        return `the host broke rule ${stop.rule}: ${stop.detail}`;
      default:
        return stop satisfies never;
    }
  }

  #conclude(stop: VmStop): number {
    const missing = this.#snapshotFailure;
    const failure =
      this.#failure(stop) ??
      (missing === undefined ? undefined : `no snapshot at ${this.#options.snapshot}: ${missing}`);
    if (this.#outputClosed) return EXIT_FAILURE;
    const status = failure !== undefined ? EXIT_FAILURE : (this.#execResult?.status ?? EXIT_OK);
    const figures = this.#figures();
    if (this.#options.json === true) {
      process.stdout.write(`${JSON.stringify(this.#json(figures, stop, failure, status))}\n`);
      return status;
    }
    if (failure !== undefined) {
      if (this.#mode === "exec" || this.#mode === "tour") {
        for (const line of this.#log.lastLines(12)) process.stderr.write(`  | ${line}\n`);
      }
      process.stderr.write(`entresol: ${failure}\n`);
    }
    if (this.#mode !== "exec") process.stdout.write(`\n${formatReport(figures)}`);
    return status;
  }

  #json(figures: RunFigures, stop: VmStop, failure: string | undefined, status: number): unknown {
    const { statistics } = figures;
    return {
      ok: failure === undefined,
      ...(failure === undefined ? {} : { error: failure }),
      status,
      stop: stop.kind,
      guest: this.#guest.name,
      kernelVersion: this.#guest.kernelVersion ?? null,
      resumed: figures.resumed,
      bootSeconds: figures.bootSeconds ?? null,
      wallSeconds: figures.wallSeconds,
      cpuSeconds: figures.cpuSeconds,
      residentBytes: figures.residentBytes,
      instructions: statistics.instructions ?? null,
      guestTime: statistics.guestTime,
      exits: statistics.exits,
      devices: statistics.devices,
      interrupts: statistics.interrupts,
      backend: statistics.backend,
      ramDigest: this.#vm.ramDigest(),
      deviceDigest: this.#vm.deviceDigest(),
      ...(this.#options.exec === undefined
        ? {}
        : {
            exec: {
              command: this.#options.exec,
              status: this.#execResult?.status ?? null,
              output: this.#execOutput.text(),
              complete: this.#execOutput.complete,
            },
          }),
      ...(this.#mode === "tour" ? { tour: this.#tourOutput } : {}),
      serial: this.#log.text(),
    };
  }
}

import { existsSync, rmSync } from "node:fs";
import { BootError } from "@entresol/devices";
import pc from "picocolors";
import { type ExecResult, GuestAgent } from "../agent.ts";
import { type VmConfig, VmError } from "../config.ts";
import { Vm, type VmStop } from "../machine.ts";
import type { BootOptions } from "./boot-options.ts";
import { ConsoleLog } from "./console-log.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK } from "./exit-status.ts";
import { type ChosenGuest, chooseGuest } from "./guest-choice.ts";
import { formatReport, type RunFigures } from "./report.ts";
import { promptSnapshotPath, trimPromptSnapshots } from "./snapshot-cache.ts";
import { KeyFilter, rawTerminal } from "./terminal.ts";
import { tour } from "./tour.ts";

/** Time to reach the prompt when `--timeout` does not say. */
const DEFAULT_BOOT_TIMEOUT = 300;
/** Guest time between a command's end and the machine's, at most, in ms of the host: background jobs may keep it from idling. */
const SETTLE_TIME = 1000;

/** Output that may wait for the reader of stdout, in bytes. */
const OUTPUT_BACKLOG = 2 ** 20;

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

/** One run of `entresol boot`. */
export class BootSession {
  readonly #options: BootOptions;
  readonly #log: ConsoleLog;
  readonly #started = performance.now();
  #guest!: Pick<ChosenGuest, "title" | "name" | "kernelVersion" | "agent">;
  #vm!: Vm;
  #agent!: GuestAgent;
  #mode!: Mode;
  #resumed = false;
  #powerOn = 0;
  #bootSeconds: number | undefined;
  /** Where the snapshot at the prompt goes; undefined: none. */
  #promptSnapshot: string | undefined;
  #timedOut = false;
  #outputClosed = false;
  #execResult: ExecResult | undefined;
  readonly #execOutput: Uint8Array[] = [];
  readonly #tourOutput: { title: string; command: string; output: string }[] = [];

  constructor(options: BootOptions) {
    this.#options = options;
    this.#log = new ConsoleLog(options.json === true ? 8 * 2 ** 20 : 64 * 2 ** 10);
  }

  /** Boots, serves the guest until it ends, and gives the exit status. */
  async run(): Promise<number> {
    await this.#open();
    await using vm = this.#vm;
    this.#mode = this.#chooseMode();
    this.#connectSerial();
    this.#followOutput();
    const stopTimer = this.#startTimer();
    const leaveTerminal =
      this.#mode === "console" ||
      (this.#mode === "watch" && process.stdin.isTTY === true && this.#options.json !== true)
        ? this.#enterTerminal()
        : undefined;
    let stop: VmStop;
    try {
      this.#script();
      stop = await vm.run();
      while (stop.kind === "reset" && this.#mode === "console" && vm.canRestart) {
        this.#note("the guest restarts");
        vm.restart();
        stop = await vm.run();
      }
    } finally {
      stopTimer();
      leaveTerminal?.();
    }
    return this.#conclude(stop);
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
    const cached =
      guest.agent && options.kernel === undefined ? promptSnapshotPath(config, guest.name) : undefined;
    this.#powerOn = performance.now();
    if (cached !== undefined && options.cold !== true && existsSync(cached)) {
      try {
        await this.#resume(cached, shape);
        return;
      } catch (error) {
        if (!(error instanceof VmError)) throw error;
        process.stderr.write(`entresol: ${error.message}; booting from the start\n`);
        rmSync(cached, { force: true });
      }
    }
    try {
      this.#vm = await Vm.create(config);
    } catch (error) {
      // The loader knows what is wrong with which bytes; which file they came from is known here.
      if (error instanceof BootError)
        throw new CommandError(EXIT_FAILURE, `${guest.title}: ${error.message}`);
      throw error;
    }
    this.#promptSnapshot = options.snapshot ?? (options.cold === true ? undefined : cached);
  }

  async #resume(
    path: string,
    shape: { memory: number; cpus: number; time: "real" | "virtual" },
  ): Promise<void> {
    const { vm, extra } = await Vm.resume(path, shape);
    const note = extra as Partial<SnapshotNote> | null;
    this.#vm = vm;
    this.#resumed = true;
    this.#guest = {
      title: note?.title ?? path,
      name: note?.name ?? path,
      kernelVersion: note?.kernelVersion ?? undefined,
      agent: note?.agent === true,
    };
    // Busybox asks the terminal for its cursor behind each prompt; the answer to an old question would be typed into the shell.
    if (note?.openLine) this.#log.push(Buffer.from(note.openLine.replaceAll("\x1b[6n", "")));
  }

  #chooseMode(): Mode {
    const options = this.#options;
    if (options.exec !== undefined) return "exec";
    if (!this.#guest.agent) return "watch";
    return process.stdin.isTTY === true && process.stdout.isTTY === true && options.json !== true
      ? "console"
      : "tour";
  }

  #connectSerial(): void {
    const [console_, control] = this.#vm.serial;
    const show = (this.#mode === "console" || this.#mode === "watch") && this.#options.json !== true;
    console_!.onOutput = (bytes) => {
      this.#log.push(bytes);
      if (show) process.stdout.write(bytes);
    };
    this.#agent = new GuestAgent((bytes) => control!.send(bytes));
    control!.onOutput = (bytes) => this.#agent.receive(bytes);
    if (this.#resumed && this.#guest.agent) {
      this.#agent.markReady();
      if (show) {
        this.#note(`resumed ${this.#guest.title}; --cold boots it again`);
        process.stdout.write(this.#log.openLine());
      }
    }
  }

  /** Holds the guest while stdout is behind, and ends with the reader of stdout (`entresol boot | head`). */
  #followOutput(): void {
    const { stdout } = process;
    this.#vm.holdBack = () => {
      if (stdout.destroyed || stdout.writableLength < OUTPUT_BACKLOG) return undefined;
      return new Promise((resolve) => {
        stdout.once("drain", resolve);
        stdout.once("close", resolve);
      });
    };
    stdout.on("error", () => {
      this.#outputClosed = true;
      this.#vm.pause();
    });
  }

  /** Gives up on a guest that does not get where it should in time. */
  #startTimer(): () => void {
    const { timeout } = this.#options;
    const seconds = timeout ?? (this.#guest.agent ? DEFAULT_BOOT_TIMEOUT : undefined);
    if (seconds === undefined) return () => {};
    const timer = setTimeout(() => {
      if (timeout === undefined && this.#bootSeconds !== undefined) return;
      this.#timedOut = true;
      this.#vm.pause();
    }, seconds * 1000);
    return () => clearTimeout(timer);
  }

  /**
   * What the session does with the guest is done when the guest is idle, at the same guest time in every run: so a run with
   * the same inputs is the same run.
   */
  #script(): void {
    const vm = this.#vm;
    const steps = this.#steps();
    vm.onIdle = () => {
      if (!this.#agent.ready) return;
      if (this.#bootSeconds === undefined) this.#atPrompt();
      if (!this.#agent.busy) steps.next();
    };
  }

  #atPrompt(): void {
    this.#bootSeconds = (performance.now() - this.#powerOn) / 1000;
    if (
      this.#promptSnapshot !== undefined &&
      this.#writeSnapshot(this.#promptSnapshot) &&
      this.#options.snapshot === undefined
    ) {
      trimPromptSnapshots();
    }
    if (this.#mode === "console") {
      this.#vm.setTime("real");
      this.#agent.resize(process.stdout.rows ?? 24, process.stdout.columns ?? 80);
    }
  }

  *#steps(): Generator<void> {
    switch (this.#mode) {
      case "exec":
        this.#agent
          .exec(this.#options.exec!, (bytes) => this.#takeExecOutput(bytes))
          .then((result) => {
            this.#execResult = result;
            setTimeout(() => this.#vm.pause(), SETTLE_TIME).unref();
          });
        yield;
        this.#vm.pause();
        return;
      case "tour":
        for (const stop of tour) {
          const chunks: Uint8Array[] = [];
          void this.#agent.exec(stop.command, (bytes) => chunks.push(bytes));
          yield;
          const output = Buffer.concat(chunks).toString("utf8");
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
      this.#note(`no snapshot: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  }

  /** A line of our own, in between the guest's. */
  #note(text: string): void {
    const end = process.stdin.isRaw === true ? "\r\n" : "\n";
    process.stderr.write(`${this.#mode === "console" ? end : ""}${pc.dim(`entresol: ${text}`)}${end}`);
  }

  #enterTerminal(): () => void {
    const vm = this.#vm;
    const filter = new KeyFilter({
      input: (bytes) => {
        if (vm.serial[0]!.input(bytes) < bytes.length) process.stderr.write("\x07");
      },
      leave: () => vm.pause(),
      snapshot: () => {
        const path = this.#options.snapshot ?? "entresol.snapshot";
        if (!this.#writeSnapshot(path)) return;
        this.#note(`snapshot written to ${path}; entresol boot --resume ${path} goes on from it`);
      },
      inspect: () => {
        const text = JSON.stringify(vm.inspect(), null, 1).replaceAll("\n", "\r\n");
        process.stderr.write(`\r\n${text}\r\n`);
      },
      help: () => this.#note("Ctrl-A x leaves, s writes a snapshot, i inspects, a sends Ctrl-A"),
    });
    const leave = rawTerminal((bytes) => filter.push(bytes));
    const resize = (): void => {
      if (this.#agent.ready) this.#agent.resize(process.stdout.rows, process.stdout.columns);
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
        if (!this.#timedOut) return undefined;
        return this.#bootSeconds === undefined && this.#guest.agent
          ? "the guest did not reach its prompt in time (--timeout)"
          : "time is up (--timeout)";
      case "reset":
        return "the guest asked for a reset";
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
    const failure = this.#failure(stop);
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
              output: Buffer.concat(this.#execOutput).toString("utf8"),
            },
          }),
      ...(this.#mode === "tour" ? { tour: this.#tourOutput } : {}),
      serial: this.#log.text(),
    };
  }
}

import pc from "picocolors";
import type { ExecResult, GuestAgent } from "../agent.ts";
import type { Vm } from "../machine.ts";
import type { BootOptions } from "./boot-options.ts";
import { KeptOutput } from "./console-log.ts";
import type { SessionMode } from "./session-mode.ts";
import { type TourStop, tour } from "./tour.ts";

/** Guest time between a command's end and the machine's, at most, in ns: background jobs may keep it from idling. */
const SETTLE_TIME = 20_000_000;
/** Output of a command that is kept for `--json`, and of one of the tour's, in bytes. */
const KEPT_EXEC_OUTPUT = 16 * 2 ** 20;
const KEPT_TOUR_OUTPUT = 2 ** 20;

/** What a session has the guest do of its own accord, and what came of it. */
export class SessionScript {
  readonly #options: BootOptions;
  /** Of `--exec`; undefined until the command has ended. */
  execResult: ExecResult | undefined;
  /** Of `--exec`, kept with `--json`. */
  readonly execOutput = new KeptOutput(KEPT_EXEC_OUTPUT);
  readonly tourOutput: (TourStop & { readonly output: string })[] = [];

  constructor(options: BootOptions) {
    this.#options = options;
  }

  /** Goes one step when the guest is idle at its prompt and no command runs; is over when the guest has nothing more to do. */
  *steps(mode: SessionMode, vm: Vm, agent: GuestAgent): Generator<void> {
    switch (mode) {
      case "exec":
        yield* this.#exec(vm, agent);
        return;
      case "tour":
        yield* this.#tour(agent);
        return;
      case "console":
      case "watch":
        return;
      default:
        mode satisfies never;
    }
  }

  *#exec(vm: Vm, agent: GuestAgent): Generator<void> {
    void agent.exec(
      this.#options.exec!,
      (bytes) => {
        if (this.#options.json === true) this.execOutput.push(bytes);
        else process.stdout.write(bytes);
      },
      (result) => {
        this.execResult = result;
        vm.pauseAt(vm.now + SETTLE_TIME);
      },
    );
    yield;
    vm.pause();
  }

  *#tour(agent: GuestAgent): Generator<void> {
    for (const stop of tour) {
      const kept = new KeptOutput(KEPT_TOUR_OUTPUT);
      void agent.exec(stop.command, (bytes) => kept.push(bytes));
      yield;
      const output = kept.text();
      this.tourOutput.push({ ...stop, output });
      if (this.#options.json !== true)
        process.stdout.write(`${pc.bold(stop.title)}\n${output.replace(/^/gm, "  ").trimEnd()}\n\n`);
    }
    agent.powerOff();
  }
}

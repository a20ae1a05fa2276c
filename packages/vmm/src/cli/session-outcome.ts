import { exitStatus } from "@entresol/devices";
import type { Vm } from "../machine.ts";
import type { VmStop } from "../run-control.ts";
import { type BootOptions, failureStatus, TEST_GUEST } from "./boot-options.ts";
import type { ConsoleLog } from "./console-log.ts";
import { EXIT_OK } from "./exit-status.ts";
import { formatReport, type RunFigures } from "./report.ts";
import type { SessionMode } from "./session-mode.ts";
import type { SessionScript } from "./session-script.ts";
import type { GuestIdentity } from "./snapshot-note.ts";

/** How a session has ended, and what there is to tell of it. */
export interface SessionOutcome {
  readonly options: BootOptions;
  readonly mode: SessionMode;
  readonly vm: Vm;
  readonly guest: GuestIdentity;
  readonly stop: VmStop;
  /** Why the session paused a guest that had not done its work; undefined when it did not. */
  readonly gaveUp: "timeout" | "no-input" | undefined;
  /** Why the snapshot that was asked for by `--snapshot` is not there. */
  readonly snapshotFailure: string | undefined;
  readonly script: SessionScript;
  readonly log: ConsoleLog;
  readonly figures: RunFigures;
}

/** Tells what came of the session, and gives its exit status. */
export function tellOutcome(outcome: SessionOutcome): number {
  const { options, mode, figures, log } = outcome;
  const failure = guestFailure(outcome) ?? snapshotFailure(outcome);
  const status = failure !== undefined ? failureStatus(options) : resultStatus(outcome);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(outcomeJson(outcome, failure, status))}\n`);
    return status;
  }
  if (failure !== undefined) {
    if (mode === "exec" || mode === "tour") {
      for (const line of log.lastLines(12)) process.stderr.write(`  | ${line}\n`);
    }
    process.stderr.write(`entresol: ${failure}\n`);
  }
  // What a test kernel prints may be read by another program, as what a command prints.
  if (mode !== "exec" && options.multiboot === undefined) process.stdout.write(`\n${formatReport(figures)}`);
  return status;
}

/** What the guest itself has to say of how it went. */
function resultStatus({ stop, script }: SessionOutcome): number {
  if (stop.kind === "test-exit") return exitStatus(stop.value);
  return script.execResult?.status ?? EXIT_OK;
}

/** Did the guest do what it was started for? */
function guestFailure({
  stop,
  mode,
  script,
  gaveUp,
  guest,
  figures,
  log,
}: SessionOutcome): string | undefined {
  switch (stop.kind) {
    case "power-off":
      if (guest.name === TEST_GUEST) return failedChecks(log.text());
      return mode === "exec" && script.execResult === undefined
        ? "the guest powered off before the command ended"
        : undefined;
    case "test-exit":
      return undefined;
    case "paused":
      if (script.execResult?.lost === true) return "the command ended the guest's agent, and with it itself";
      if (gaveUp === "no-input") return "the guest waits for input that cannot come";
      if (gaveUp === undefined) return undefined;
      return figures.bootSeconds === undefined && guest.agent
        ? "the guest did not reach its prompt in time (--timeout)"
        : "time is up (--timeout)";
    case "reset":
      return mode === "console"
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

/** By the test guest's last line, where the console came this way. */
function failedChecks(text: string): string | undefined {
  const failed = /^DONE \d+ (\d+)\r?$/m.exec(text)?.[1];
  if (failed === undefined || failed === "0") return undefined;
  return failed === "1" ? "a check failed" : `${failed} checks failed`;
}

function snapshotFailure({ options, snapshotFailure: why }: SessionOutcome): string | undefined {
  return why === undefined ? undefined : `no snapshot at ${options.snapshot}: ${why}`;
}

function outcomeJson(outcome: SessionOutcome, failure: string | undefined, status: number): unknown {
  const { options, mode, vm, guest, stop, script, log, figures } = outcome;
  const { statistics } = figures;
  return {
    ok: failure === undefined,
    ...(failure === undefined ? {} : { error: failure }),
    status,
    stop: stop.kind,
    ...(stop.kind === "test-exit" ? { testResult: stop.value } : {}),
    guest: guest.name,
    kernelVersion: guest.kernelVersion ?? null,
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
    ramDigest: vm.ramDigest(),
    deviceDigest: vm.deviceDigest(),
    ...(options.exec === undefined
      ? {}
      : {
          exec: {
            command: options.exec,
            status: script.execResult?.status ?? null,
            output: script.execOutput.text(),
            complete: script.execOutput.complete,
          },
        }),
    ...(mode === "tour" ? { tour: script.tourOutput } : {}),
    serial: log.text(),
  };
}

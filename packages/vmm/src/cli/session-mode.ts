import type { BootOptions } from "./boot-options.ts";

/**
 * How a session uses its guest.
 *  exec: one command, its output, its status.   tour: a few commands, then power off.
 *  console: a terminal.                         watch: the console's output until the guest ends.
 */
export type SessionMode = "exec" | "tour" | "console" | "watch";

/** `agent`: the guest can be told to run commands. */
export function chooseMode(options: BootOptions, agent: boolean): SessionMode {
  if (options.exec !== undefined) return "exec";
  if (!agent) return "watch";
  return process.stdin.isTTY === true && process.stdout.isTTY === true && options.json !== true
    ? "console"
    : "tour";
}

/** Does somebody sit there who can type? */
export function hasTerminal(mode: SessionMode, options: BootOptions): boolean {
  return mode === "console" || (mode === "watch" && process.stdin.isTTY === true && options.json !== true);
}

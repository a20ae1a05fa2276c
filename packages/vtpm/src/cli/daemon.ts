import { type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { CommandError, EXIT_FAILURE } from "./exit-status.ts";
import { explain } from "./failure.ts";

/*
 * `--daemon`: the command ends when the service in the background is ready, with its failure when it is not. Node cannot fork, so the service
 * is another process, started with the descriptors that the options name under the same numbers.
 */

const MARK = "ENTRESOL_VTPM_DAEMON";

/** What the process in the background says of its start. */
type Started =
  | { readonly ready: true }
  | { readonly ready: false; readonly status: number; readonly text: string };

/** Is this the process in the background? */
export function isDaemon(): boolean {
  return process.env[MARK] !== undefined && process.send !== undefined;
}

function inherited(args: readonly string[]): number[] {
  const named = args.flatMap((arg) =>
    [...arg.matchAll(/(?:^|,|=)(?:client|pwd)?fd=(\d+)/g)].map((m) => Number(m[1])),
  );
  const alone = args.flatMap((arg, i) => (arg === "--fd" || arg === "-f" ? [Number(args[i + 1])] : []));
  return [...named, ...alone].filter((descriptor) => descriptor > 2 && descriptor < 1024);
}

/** Starts `program` with `args` in the background; resolves when it serves. Throws its failure as `CommandError`. */
export async function startDaemon(program: string, args: readonly string[]): Promise<void> {
  const descriptors = inherited(args);
  const channel = Math.max(2, ...descriptors) + 1;
  const stdio = Array.from({ length: channel }, (_, i) => (descriptors.includes(i) ? i : "ignore"));
  const child = spawn(process.execPath, [program, ...args], {
    detached: true,
    stdio: [...stdio, "ipc"] as StdioOptions,
    env: { ...process.env, [MARK]: "1" },
  });
  const message = once(child, "message").then(([started]) => started as Started);
  const exit = once(child, "exit").then(
    ([code]): Started => ({
      ready: false,
      status: EXIT_FAILURE,
      text: `the service ended with status ${code}`,
    }),
  );
  const started = await Promise.race([message, exit]);
  if (!started.ready) throw new CommandError(started.status, started.text);
  child.disconnect();
  child.unref();
}

/** In the background: tells how the start went, and lets go of who asked. */
export function tellStarted(started: Started): Promise<void> {
  return new Promise((resolve) => {
    process.send!(started, () => {
      process.disconnect();
      resolve();
    });
  });
}

/** In the background: the failure goes to who asked for the service. */
export async function tellFailure(error: unknown): Promise<void> {
  if (isDaemon()) await tellStarted({ ready: false, ...explain(error) });
}

import { type ChildProcess, spawn } from "node:child_process";
import { LineReader } from "./line-reader.ts";
import { QtestError } from "./qtest-error.ts";

/*
 * QEMU behind a watchdog. It does not notice that the program which drives it is gone: a killed test run would leave it behind.
 * So a shell holds the other end of a pipe from this process, and when the pipe closes, for whatever reason, it kills QEMU.
 */
const watchdog = `
exec 3<&0 </dev/null
"$@" 3<&- &
qemu=$!
{ read -r _ <&3; kill -KILL $qemu; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait $qemu
status=$?
kill $guard 2>/dev/null
exit $status
`;

/** Of what QEMU says on its standard error, bytes that an error message may quote. */
const keptText = 2000;
/** A line of trace is short; a longer one ends the trace. */
const longestLine = 1 << 16;

export interface QemuProcessOptions {
  readonly program: string;
  readonly arguments: readonly string[];
  /** Takes each line of standard error. */
  readonly onLine?: ((line: string) => void) | undefined;
}

export class QemuProcess {
  /** Resolves when it has ended, never rejects. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #isEnded = false;
  #text = "";

  constructor(options: QemuProcessOptions) {
    // A session of its own: an interrupt from the terminal is for the program that drives QEMU.
    const child = spawn("/bin/sh", ["-c", watchdog, "sh", options.program, ...options.arguments], {
      detached: true,
      stdio: ["pipe", "ignore", "pipe"],
    });
    this.#child = child;
    let reader: LineReader | undefined = new LineReader(longestLine, (line) => options.onLine?.(line));
    child.stderr!.on("data", (bytes: Buffer) => {
      this.#text = (this.#text + bytes.toString("latin1")).slice(-keptText);
      try {
        reader?.push(bytes);
      } catch {
        reader = undefined;
      }
    });
    // Writing to it is not what the pipe is for; that it breaks when the shell has ended is no news.
    child.stdin!.on("error", () => {});
    this.ended = new Promise((resolve) => {
      const end = (): void => {
        this.#isEnded = true;
        child.stdin!.destroy();
        resolve();
      };
      child.once("error", end);
      child.once("close", end);
    });
  }

  /** Nothing of QEMU is left. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** How it ended, as an error: "no-qemu" when the shell did not find the program. */
  failure(code: "start-failed" | "exited"): QtestError {
    const status = this.#child.exitCode;
    if (status === 127 || status === 126)
      return new QtestError("no-qemu", `QEMU cannot be run: ${this.#text.trim()}`);
    return new QtestError(code, `QEMU ended with status ${status}: ${this.#text.trim()}`);
  }

  /** Kills it and waits until it is gone. */
  async kill(): Promise<void> {
    this.#child.stdin!.destroy();
    await this.ended;
  }
}

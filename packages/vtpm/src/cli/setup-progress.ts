import { appendFileSync } from "node:fs";
import { SingleBar } from "cli-progress";

/** Shows how far a setup is. */
export interface SetupProgress {
  readonly step: (title: string, done: number, total: number) => void;
  /** Leaves the terminal as it was. May be called again. */
  end(): void;
}

/** A bar on a terminal, one line a step elsewhere and in a log file, nothing with `quiet` or `json`. */
export function setupProgress(options: {
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly logfile?: string;
}): SetupProgress {
  const { logfile } = options;
  if (logfile !== undefined) {
    const step = (title: string): void => appendFileSync(logfile, `setup: ${title}\n`, { mode: 0o640 });
    return { step, end() {} };
  }
  if (options.quiet === true || options.json === true) return { step() {}, end() {} };
  if (!process.stderr.isTTY) {
    const step = (title: string): void => void process.stderr.write(`setup: ${title}\n`);
    return { step, end() {} };
  }
  let bar: SingleBar | undefined;
  return {
    step(title, done, total) {
      if (bar === undefined) {
        bar = new SingleBar({
          format: "{bar} {value}/{total} {title}",
          barCompleteChar: "=",
          barIncompleteChar: " ",
          hideCursor: true,
          clearOnComplete: true,
          stream: process.stderr,
        });
        bar.start(total, done, { title });
      } else bar.update(done, { title });
    },
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}

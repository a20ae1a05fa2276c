import { SingleBar } from "cli-progress";
import type { GuestProgress } from "../guest/index.ts";

/** Shows the steps of a fetch on stderr: a bar on a terminal, one line a step elsewhere, nothing for what is done at once. */
export function showProgress(): { progress: GuestProgress; end: () => void } {
  let step = "";
  let bar: SingleBar | undefined;
  const end = (): void => {
    bar?.stop();
    bar = undefined;
  };
  const progress: GuestProgress = (name, done, total) => {
    // The initramfs is built in well under a second each time.
    if (name === "initramfs") return;
    if (name !== step) {
      end();
      step = name;
      if (process.stderr.isTTY) {
        bar = new SingleBar({
          format: `${name.padEnd(14)} {bar} {percentage}%`,
          barCompleteChar: "=",
          barIncompleteChar: " ",
          hideCursor: true,
          stopOnComplete: true,
          noTTYOutput: false,
          stream: process.stderr,
        });
        bar.start(Math.max(total, 1), done);
      } else {
        process.stderr.write(`guest: ${name}\n`);
      }
    }
    if (total > 0) bar?.setTotal(total);
    bar?.update(done);
  };
  return { progress, end };
}

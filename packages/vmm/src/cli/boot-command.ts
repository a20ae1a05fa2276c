import type { Command } from "commander";
import {
  type BootOptions,
  bootOptions,
  checkBootOptions,
  failureStatus,
  LIST_CHECKS,
} from "./boot-options.ts";
import { BootSession } from "./boot-session.ts";
import { CommandError, EXIT_FAILURE, EXIT_OK } from "./exit-status.ts";
import { explain } from "./failure.ts";
import { describeChecks } from "./guest-choice.ts";

/** `entresol boot …`. `finish` gets the exit status. */
export function bootCommand(finish: (status: number) => void): Command {
  return bootOptions().action(async (options: BootOptions) => {
    try {
      checkBootOptions(options);
      if (options.check === LIST_CHECKS) {
        process.stdout.write(await describeChecks());
        finish(EXIT_OK);
        return;
      }
      finish(await BootSession.run(options));
    } catch (error) {
      const { status: why, text } = explain(error);
      const status = why === EXIT_FAILURE ? failureStatus(options) : why;
      // Who asked for JSON reads JSON, also of what never came to run.
      if (options.json === true)
        process.stdout.write(`${JSON.stringify({ ok: false, error: text, status })}\n`);
      throw status === why ? error : new CommandError(status, text);
    }
  });
}

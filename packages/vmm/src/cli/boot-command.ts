import type { Command } from "commander";
import { type BootOptions, bootOptions, checkBootOptions } from "./boot-options.ts";
import { BootSession } from "./boot-session.ts";
import { explain } from "./failure.ts";

/** `entresol boot …`. `finish` gets the exit status. */
export function bootCommand(finish: (status: number) => void): Command {
  return bootOptions().action(async (options: BootOptions) => {
    try {
      checkBootOptions(options);
      finish(await BootSession.run(options));
    } catch (error) {
      // Who asked for JSON reads JSON, also of what never came to run.
      if (options.json === true) {
        const { status, text } = explain(error);
        process.stdout.write(`${JSON.stringify({ ok: false, error: text, status })}\n`);
      }
      throw error;
    }
  });
}

import type { Command } from "commander";
import { type BootOptions, bootOptions, checkBootOptions } from "./boot-options.ts";
import { BootSession } from "./boot-session.ts";

/** `entresol boot …`. `finish` gets the exit status. */
export function bootCommand(finish: (status: number) => void): Command {
  return bootOptions().action(async (options: BootOptions) => {
    checkBootOptions(options);
    finish(await new BootSession(options).run());
  });
}

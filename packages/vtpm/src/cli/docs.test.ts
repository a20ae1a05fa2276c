import { readdirSync, readFileSync } from "node:fs";
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { controlOption, serverOption } from "./channel-options.ts";
import { inspectCommand } from "./inspect-command.ts";
import { KeyValues } from "./key-values.ts";
import { mssimCommand } from "./mssim-command.ts";
import { profileOption } from "./profile.ts";
import { setupCommand } from "./setup-command.ts";
import { socketCommand } from "./socket-command.ts";
import { stateFolder } from "./state-folder.ts";

/* Every command that the documentation shows is one that is understood. */

const folder = new URL("../../docs/", import.meta.url);
const text = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), "utf8"));
const shown = text
  .flatMap((content) => content.split("\n"))
  .map((line) => /^(?:ExecStart=\S*\/)?entresol-vtpm ([a-z]+ .*)$/.exec(line)?.[1])
  .filter((line) => line !== undefined);

const invocation = { name: "entresol-vtpm", program: "entresol-vtpm", args: [] } as const;
const finish = (): void => {};
const commands = [
  socketCommand(invocation, finish),
  mssimCommand(invocation, finish),
  inspectCommand(invocation, finish),
  setupCommand(invocation, finish),
];
/** How the options of `socket` are read on. */
const readers: Readonly<Record<string, (value: string) => unknown>> = {
  server: serverOption,
  ctrl: controlOption,
  tpmstate: stateFolder,
  profile: profileOption,
  flags: (value) => new KeyValues("--flags", value, ["not-need-init", "startup-clear"]),
  migration: (value) => new KeyValues("--migration", value, ["incoming", "release-lock-outgoing"]),
};

describe("the documentation", () => {
  it.each(shown.map((line) => [line]))("shows a command that is understood: %s", (line) => {
    const [name, ...args] = line.split(" ");
    const command = commands.find((each) => each.name() === name);
    expect(command).toBeInstanceOf(Command);
    const { operands, unknown } = command!.parseOptions(args);
    expect([operands, unknown]).toEqual([[], []]);
    for (const [option, value] of Object.entries(command!.opts()))
      if (typeof value === "string") readers[option]?.(value);
  });

  it("shows commands at all", () => {
    expect(shown.length).toBeGreaterThan(8);
  });
});

import { Command } from "commander";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SerialSetting } from "../serial/serial-setting.ts";
import {
  parseSerialSetting,
  type SerialBootOptions,
  serialOptions,
  serialPortCount,
} from "./serial-options.ts";

const plain = { keep: 65_536, pacing: false, input: "wait" } as const;
const ring = { ...plain, policy: { kind: "ring" } } as const;
const hold = { ...plain, policy: { kind: "hold" } } as const;

/** What the command line gives, or the message it is refused with. */
function parse(...args: string[]): readonly SerialSetting[] | string {
  const command = new Command("boot").exitOverride().configureOutput({ writeErr: () => {} });
  for (const option of serialOptions()) command.addOption(option);
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    return (error as Error).message;
  }
  return command.opts<SerialBootOptions>().serial ?? [];
}

describe("--serial", () => {
  it.each<[string, SerialSetting]>([
    ["com1=console", { port: 0, end: { kind: "console" }, ...hold }],
    ["COM4=null", { port: 3, end: { kind: "null" }, ...ring }],
    ["com2=pty", { port: 1, end: { kind: "pty" }, ...ring }],
    ["com3=file:a b.log", { port: 2, end: { kind: "file", path: "a b.log" }, ...hold }],
    ["com3=file:a,,b=c", { port: 2, end: { kind: "file", path: "a,b=c" }, ...hold }],
    [
      "com1=socket:unix:/run/line",
      {
        port: 0,
        end: { kind: "socket", address: { family: "unix", path: "/run/line" }, connect: false },
        ...ring,
      },
    ],
    [
      "com1=socket:tcp:4000,connect",
      {
        port: 0,
        end: { kind: "socket", address: { family: "tcp", host: "127.0.0.1", port: 4000 }, connect: true },
        ...ring,
      },
    ],
    [
      "com1=socket:tcp:[::1]:0",
      {
        port: 0,
        end: { kind: "socket", address: { family: "tcp", host: "::1", port: 0 }, connect: false },
        ...ring,
      },
    ],
    [
      "com2=websocket:localhost:8080,origin=http://localhost:3000",
      {
        port: 1,
        end: { kind: "websocket", host: "localhost", port: 8080, origins: ["http://localhost:3000"] },
        ...ring,
      },
    ],
    [
      "com1=console,policy=stall,limit=250,keep=1M,pacing,input=now",
      {
        port: 0,
        end: { kind: "console" },
        policy: { kind: "stall", limit: 250_000_000 },
        keep: 2 ** 20,
        pacing: true,
        input: "now",
      },
    ],
    [
      "com1=console,policy=budget,rate=1K,burst=2K",
      { port: 0, end: { kind: "console" }, ...plain, policy: { kind: "budget", rate: 1024, burst: 2048 } },
    ],
  ])("%s", (text, expected) => {
    expect(parseSerialSetting(text)).toEqual(expected);
  });

  it.each([
    ["com5=null", "com1= to com4="],
    ["ttyS0=null", "com1= to com4="],
    ["com1=", "com1= to com4="],
    ["com1=modem", '"modem" is no end'],
    ["com1=null:x", "null stands alone"],
    ["com1=file:", "needs a path"],
    ["com1=socket:4000", "unix:PATH or tcp:"],
    [`com1=socket:unix:${"x".repeat(108)}`, "at most 107 bytes"],
    ["com1=socket:tcp:host:65536", "not PORT or HOST:PORT"],
    ["com1=socket:tcp:::1:80", "not PORT or HOST:PORT"],
    ["com1=websocket:80,origin=http://a/b", "not what a browser sends"],
    ["com1=null,speed=9600", '"speed=9600" is not known'],
    ["com1=null,pacing,pacing", "stands twice"],
    ["com1=null,pacing=1", "takes no value"],
    ["com1=null,keep", "keep needs a value"],
    ["com1=null,keep=0", "no size from 1"],
    ["com1=null,keep=65M", "no size from 1"],
    ["com1=null,policy=drop", "not hold, stall, budget or ring"],
    ["com1=null,policy=stall,limit=0", "no number of milliseconds"],
    ["com1=null,input=later", "not wait or now"],
    ["com1=null,connect", "connect does not go with null"],
    ["com1=null,limit=5", "limit does not go with null and its policy"],
    ["com1=pty,origin=http://a", "origin does not go with pty"],
  ])("%s is refused: %s", (text, message) => {
    expect(parse("--serial", text)).toContain(message);
  });

  it("may stand once for each port, and one of them may be the console", () => {
    expect(parse("--serial", "com3=null", "--serial", "com1=pty")).toHaveLength(2);
    expect(parse("--serial", "com3=null", "--serial", "COM3=pty")).toContain("com3 is joined twice");
    expect(parse("--serial", "com1=console", "--serial", "com2=console")).toContain("one console");
  });

  it("whatever text it is, gives a setting or says what is wrong", () => {
    const parts = fc.constantFrom(
      "com1=",
      "file:",
      "socket:",
      "tcp:",
      ",",
      "=",
      ",,",
      "pacing",
      "keep",
      "9",
      "[",
      "]",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(parts, fc.string({ maxLength: 5 })), { maxLength: 12 }), (all) => {
        const result = parse("--serial", all.join(""));
        if (typeof result === "string") expect(result).toMatch(/error: /);
        else expect(result[0]!.port).toBe(0);
      }),
    );
  });
});

it("a machine has COM1 and COM2, and the ports up to the last that is joined", () => {
  expect(serialPortCount(undefined)).toBe(2);
  expect(serialPortCount([parseSerialSetting("com1=null")])).toBe(2);
  expect(serialPortCount([parseSerialSetting("com4=null"), parseSerialSetting("com3=null")])).toBe(4);
});

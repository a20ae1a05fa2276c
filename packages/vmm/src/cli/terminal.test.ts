import { describe, expect, it } from "vitest";
import { ConsoleLog, KeptOutput } from "./console-log.ts";
import { KeyFilter } from "./terminal.ts";

function filter() {
  const events: string[] = [];
  const keys = new KeyFilter({
    input: (bytes) => events.push(`input ${Buffer.from(bytes).toString("latin1")}`),
    leave: () => events.push("leave"),
    snapshot: () => events.push("snapshot"),
    inspect: () => events.push("inspect"),
    help: () => events.push("help"),
  });
  return { events, type: (text: string) => keys.push(Buffer.from(text, "latin1")) };
}

describe("console keys", () => {
  it("sends what is typed to the guest", () => {
    const { events, type } = filter();
    type("ls\r");
    expect(events).toEqual(["input ls\r"]);
  });

  it("takes the key behind Ctrl-A as a command, also when they come apart", () => {
    const { events, type } = filter();
    type("a\x01");
    type("sb\x01i\x01?");
    expect(events).toEqual(["input a", "snapshot", "inspect", "help", "input b"]);
  });

  it("sends one Ctrl-A for Ctrl-A a and for Ctrl-A Ctrl-A", () => {
    const { events, type } = filter();
    type("\x01a\x01\x01");
    expect(events).toEqual(["input \x01\x01"]);
  });

  it("leaves at once, and drops what was typed behind", () => {
    const { events, type } = filter();
    type("x\x01xrm -rf /\r");
    expect(events).toEqual(["input x", "leave"]);
  });
});

describe("console log", () => {
  it("keeps the newest output within its limit", () => {
    const log = new ConsoleLog(100);
    for (let i = 0; i < 1000; i++) log.push(Buffer.from(`line ${i}\n`));
    expect(log.text().length).toBeLessThanOrEqual(100);
    expect(log.lastLines(2)).toEqual(["line 998", "line 999"]);
  });

  it("does not make an object of each byte", () => {
    const log = new ConsoleLog(2 ** 20);
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 500_000; i++) log.push(Uint8Array.of(0x30 + (i % 10)));
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20 * 2 ** 20);
    expect(log.text().length).toBe(500_000);
    expect(log.text().slice(-10)).toBe("0123456789");
    for (let i = 0; i < 40; i++) log.push(Buffer.alloc(2 ** 17, "x"));
    expect(log.text()).toBe("x".repeat(2 ** 20));
  });

  it("knows the prompt", () => {
    const log = new ConsoleLog(100);
    log.push(Buffer.from("motd\r\nentresol:~# "));
    expect(log.openLine()).toBe("entresol:~# ");
    log.push(Buffer.from("\r\n"));
    expect(log.openLine()).toBe("");
  });
});

describe("kept output", () => {
  it("keeps the beginning, and says whether that is all", () => {
    const kept = new KeptOutput(200_000);
    for (let i = 0; i < 20; i++) kept.push(Buffer.alloc(10_000, "a"));
    expect(kept.complete).toBe(true);
    kept.push(Buffer.from("b"));
    kept.push(Buffer.alloc(0));
    expect(kept.complete).toBe(false);
    expect(kept.text()).toBe("a".repeat(200_000));
  });
});

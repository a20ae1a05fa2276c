import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bus, Uart16550 } from "@entresol/devices";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { FileEnd } from "./serial/file-end.ts";
import { NullEnd, type SerialEnd } from "./serial/serial-end.ts";
import { defaultSetting, type SerialLineSetting } from "./serial/serial-setting.ts";
import { SerialPort } from "./serial-port.ts";

/** An end whose peer the test plays. */
class PlayedEnd implements SerialEnd {
  readonly description = "played";
  connected = true;
  writable = true;
  lost = 0;
  closed = 0;
  inputPaused = false;
  got = "";
  onChange: (() => void) | undefined;
  onInput: ((bytes: Uint8Array) => void) | undefined;
  onNews: ((text: string) => void) | undefined;

  write(bytes: Uint8Array): void {
    expect(this.writable).toBe(true);
    this.got += Buffer.from(bytes).toString("latin1");
  }

  pauseInput(paused: boolean): void {
    this.inputPaused = paused;
  }

  async close(): Promise<void> {
    this.closed++;
  }

  /** The peer comes, goes, reads or stops to. */
  become(state: { connected?: boolean; writable?: boolean }): void {
    Object.assign(this, state);
    this.onChange?.();
  }
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A port with its UART, outside any machine: the test is the guest, the run loop and the clock. */
function machine(line: Partial<SerialLineSetting> = {}) {
  const clock = { now: 0, alarms: [] as { at: number; fire: (at: number) => void }[] };
  const timebase = {
    now: () => clock.now,
    timer: (_: string, fire: (at: number) => void) => {
      const alarm = { at: Number.POSITIVE_INFINITY, fire };
      clock.alarms.push(alarm);
      return {
        arm: (at: number) => {
          alarm.at = at;
        },
        disarm: () => {
          alarm.at = Number.POSITIVE_INFINITY;
        },
        get deadline() {
          return alarm.at;
        },
      };
    },
  };
  let wakes = 0;
  const port = new SerialPort(
    (data) => uart.receive(data),
    () => {},
  );
  const uart = new Uart16550({ name: "com1", base: 0x3f8, timebase, line: { set() {} }, output: port.put });
  port.join(uart, () => wakes++);
  const end = new PlayedEnd();
  port.attach(end, { ...defaultSetting({ kind: "null" }), ...line });
  return {
    port,
    uart,
    end,
    clock,
    get wakes() {
      return wakes;
    },
    print: (text: string) => {
      for (const byte of bytes(text)) uart.portWrite(0x3f8, 1, byte);
    },
    /** Lets guest time pass. */
    pass: (ns: number) => {
      clock.now += ns;
      for (const alarm of clock.alarms) {
        const { at } = alarm;
        if (at > clock.now) continue;
        alarm.at = Number.POSITIVE_INFINITY;
        alarm.fire(at);
      }
    },
    status: () => uart.portRead(0x3fd, 1),
  };
}

describe("output", () => {
  it("reaches the end and onOutput in order, between slices only", () => {
    const { port, end, print } = machine();
    let seen = "";
    port.onOutput = (data) => {
      seen += Buffer.from(data).toString();
    };
    print("one ");
    expect(end.got).toBe("");
    port.flush();
    print("two");
    port.flush();
    expect([end.got, seen]).toEqual(["one two", "one two"]);
  });

  it("waits for a peer that is not there yet, the newest bytes of it", () => {
    const { port, end, print } = machine({ keep: 8 });
    end.become({ connected: false, writable: false });
    print("0123456789");
    port.flush();
    end.become({ connected: true, writable: true });
    expect(end.got).toBe("23456789");
    expect(port.dropped).toBe(2);
  });
});

describe("the policy", () => {
  it("ring drops the oldest bytes of a peer that does not read, and counts them", () => {
    const { port, end, print, status } = machine({ keep: 4 });
    end.become({ writable: false });
    for (const text of ["abc", "def", "ghi"]) {
      print(text);
      port.flush();
      expect(status()).toBe(0x60);
    }
    end.become({ writable: true });
    expect(end.got).toBe("fghi");
    expect([port.dropped, port.held]).toEqual([5, undefined]);
  });

  it("hold asks for rest while the peer is behind, until it has caught up, and drops nothing", async () => {
    const { port, end, print } = machine({ policy: { kind: "hold" }, keep: 4 });
    end.become({ writable: false });
    print("abc");
    port.flush();
    expect(port.held).toBeUndefined();
    print("def");
    port.flush();
    const held = port.held;
    expect(held).toBeDefined();
    end.become({ writable: true });
    await held;
    expect([end.got, port.held, port.dropped]).toEqual(["abcdef", undefined, 0]);
  });

  it("hold does not rest for a peer that goes away", async () => {
    const { port, end, print } = machine({ policy: { kind: "hold" }, keep: 4 });
    end.become({ writable: false });
    print("abcdef");
    port.flush();
    const held = port.held;
    end.become({ connected: false });
    await held;
    expect([port.held, port.dropped]).toEqual([undefined, 2]);
  });

  it("budget lets a rate of guest time and a burst through, and drops what is above", () => {
    const { port, end, print, clock } = machine({ policy: { kind: "budget", rate: 1000, burst: 10 } });
    print("0123456789ABCDEF");
    port.flush(clock.now);
    expect([end.got, port.dropped]).toEqual(["0123456789", 6]);
    clock.now += 5_000_000;
    print("abcdefgh");
    port.flush(clock.now);
    expect([end.got, port.dropped]).toEqual(["0123456789abcde", 9]);
    clock.now += 1e12;
    print("0123456789ABCDEF");
    port.flush(clock.now);
    expect(end.got.length).toBe(25);
  });

  it("stall keeps the transmitter busy while the peer is behind, wakes the machine when it is not, and drops nothing", () => {
    const guest = machine({ policy: { kind: "stall", limit: 1_000_000 }, keep: 4 });
    const { port, end, print, status } = guest;
    end.become({ writable: false });
    print("abcde");
    expect(status()).toBe(0x20);
    port.flush();
    expect(status()).toBe(0x20);
    end.become({ writable: true });
    expect([status(), guest.wakes]).toEqual([0x60, 1]);
    port.flush();
    expect([end.got, port.dropped]).toEqual(["abcde", 0]);
  });

  it("stall gives a dead peer up after its limit of guest time, and comes back to it", () => {
    const { port, end, print, pass, status, uart } = machine({
      policy: { kind: "stall", limit: 1_000_000 },
      keep: 4,
    });
    end.become({ writable: false });
    print("abcde");
    port.flush();
    pass(1_000_000);
    print("f");
    expect([status(), uart.inspect()["lost"]]).toEqual([0x60, 2]);
    end.become({ writable: true });
    print("g");
    port.flush();
    expect(end.got).toBe("abcdg");
  });

  it("stall gives the host one spell of real time before virtual time jumps to the limit", async () => {
    const { port, end, print } = machine({ policy: { kind: "stall", limit: 60_000_000_000 }, keep: 2 });
    expect(port.patience).toBeUndefined();
    end.become({ writable: false });
    print("abc");
    const patience = port.patience;
    expect(patience).toBeDefined();
    expect(port.patience).toBe(patience);
    end.become({ writable: true });
    port.flush();
    await patience;
    expect(port.patience).toBeUndefined();
  });

  it("never waits for a peer that is not there", () => {
    for (const policy of [{ kind: "hold" }, { kind: "stall", limit: 1e9 }] as const) {
      const { port, end, print, status } = machine({ policy, keep: 4 });
      end.become({ connected: false, writable: false });
      print("0123456789");
      port.flush();
      expect([status(), port.held]).toEqual([0x60, undefined]);
    }
  });
});

describe("input", () => {
  it("that the UART has no room for waits here, and asks the end for no more", () => {
    const { port, end, uart, pass } = machine();
    const sent = Uint8Array.from({ length: 70_000 }, (_, n) => n & 0xff);
    end.onInput?.(sent);
    expect([end.inputPaused, port.wasTypedAt]).toEqual([true, true]);
    for (const [at, value] of [
      [0x3fa, 0x01],
      [0x3fc, 0x03],
    ] as const)
      uart.portWrite(at, 1, value);
    const got: number[] = [];
    while (got.length < sent.length) {
      while ((uart.portRead(0x3fd, 1) & 1) !== 0) got.push(uart.portRead(0x3f8, 1));
      // The gap behind a long streak.
      pass(2_000_000);
      port.pumpEnd(false);
    }
    expect(end.inputPaused).toBe(false);
    expect(Buffer.from(got).equals(Buffer.from(sent))).toBe(true);
  });
});

describe("an end whose input rests", () => {
  it("is asked for input when it is attached, also to the port of the next machine", () => {
    const { end } = machine();
    end.onInput?.(new Uint8Array(70_000));
    expect(end.inputPaused).toBe(true);
    machine().port.attach(end, defaultSetting({ kind: "null" }));
    expect(end.inputPaused).toBe(false);
  });
});

describe("the far end", () => {
  it("sends a break and moves the modem's lines, and wakes the machine", () => {
    const guest = machine();
    const { port, uart, status } = guest;
    uart.portWrite(0x3fa, 1, 0x01);
    uart.portWrite(0x3fc, 1, 0x03);
    expect(port.sendBreak()).toBe(true);
    expect(status()).toBe(0xf1);
    port.setModemLines(0x10);
    expect(uart.portRead(0x3fe, 1)).toBe(0x1a);
    expect(guest.wakes).toBe(2);
  });
});

describe("ends come and go", () => {
  it("one that takes another's place closes it", async () => {
    const { port, end, print } = machine();
    const next = new PlayedEnd();
    port.attach(next, defaultSetting({ kind: "null" }));
    print("x");
    port.flush();
    await Promise.resolve();
    expect([end.closed, end.got, next.got]).toEqual([1, "", "x"]);
  });

  it("detached, what waits has time to leave; what did not is told", async () => {
    const { port, end, print } = machine();
    end.become({ writable: false });
    print("last words");
    port.flush();
    const detached = port.detach();
    setTimeout(() => end.become({ writable: true }), 5);
    expect(await detached).toBe(0);
    expect([end.got, end.closed]).toEqual(["last words", 1]);
    expect(await port.detach()).toBe(0);
  });

  it("detached with nobody there does not wait", async () => {
    const { port, end, print } = machine();
    end.become({ connected: false, writable: false });
    print("unheard");
    port.flush();
    expect(await port.detach()).toBe(7);
  });

  it("a line without an end can be paced", () => {
    const { port, print, status, pass } = machine();
    port.attach(new NullEnd(), defaultSetting({ kind: "null" }));
    port.setLine({ pacing: true, input: "wait" });
    print("a");
    expect(status()).toBe(0x20);
    pass(2_000_000);
    expect(status()).toBe(0x60);
  });
});

describe("whatever guest and peer do", () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ print: fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 }) }),
      fc.record({ connected: fc.boolean(), writable: fc.boolean() }),
      fc.record({ pass: fc.integer({ min: 0, max: 2_000_000 }) }),
      fc.record({ input: fc.uint8Array({ maxLength: 40 }) }),
    ),
    { maxLength: 60 },
  );
  const lines: fc.Arbitrary<SerialLineSetting> = fc.record({
    policy: fc.oneof(
      fc.constant({ kind: "hold" as const }),
      fc.constant({ kind: "ring" as const }),
      fc.record({ kind: fc.constant("stall" as const), limit: fc.integer({ min: 1, max: 3_000_000 }) }),
      fc.record({
        kind: fc.constant("budget" as const),
        rate: fc.integer({ min: 1, max: 100_000 }),
        burst: fc.integer({ min: 1, max: 100 }),
      }),
    ),
    keep: fc.integer({ min: 1, max: 100 }),
    pacing: fc.constant(false),
    input: fc.constantFrom("wait" as const, "now" as const),
  });

  it("every byte arrives in order or is counted, and what waits stays within the limit", async () => {
    await fc.assert(
      fc.asyncProperty(lines, steps, async (line, all) => {
        const guest = machine(line);
        const { port, uart, end } = guest;
        let printed = "";
        for (const step of all) {
          if ("print" in step) {
            guest.print(step.print);
            printed += step.print;
          } else if ("pass" in step) guest.pass(step.pass);
          else if ("input" in step) end.onInput?.(step.input);
          // Who is not there takes nothing.
          else end.become({ connected: step.connected, writable: step.connected && step.writable });
          port.flush(guest.clock.now);
          // A machine rests while it is asked to: here it does not, and the one flush is over the limit.
          if (line.policy.kind === "hold" && port.held !== undefined) end.become({ writable: true });
        }
        guest.pass(10_000_000);
        port.flush(guest.clock.now);
        end.become({ connected: true, writable: true });
        port.flush(guest.clock.now);
        const lost = port.dropped + (uart.inspect()["lost"] as number);
        expect(end.got.length + lost).toBe(printed.length);
        let at = 0;
        for (const character of end.got) {
          at = printed.indexOf(character, at) + 1;
          expect(at).toBeGreaterThan(0);
        }
        if (line.policy.kind === "hold" && lost > 0)
          expect(all.some((step) => "connected" in step)).toBe(true);
        await port.detach();
      }),
    );
  });
});

describe("a file", () => {
  let folder: string | undefined;

  afterEach(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  it("gets ten million bytes in order, whatever the size of the pieces", async () => {
    folder = mkdtempSync(join(tmpdir(), "entresol-port-"));
    const { port } = machine();
    const path = join(folder, "log");
    port.attach(new FileEnd(path), defaultSetting({ kind: "file", path }));
    const size = 10_000_000;
    let at = 0;
    for (let piece = 1; at < size; piece = (piece * 7) % 65_537) {
      for (const end = Math.min(size, at + piece); at < end; at++) port.put(at % 251);
      port.flush();
      await port.held;
    }
    expect(await port.detach()).toBe(0);
    const file = readFileSync(path);
    expect(file.length).toBe(size);
    expect(file.every((byte, n) => byte === n % 251)).toBe(true);
  });
});

it("a bus finds the port behind its eight registers", () => {
  const { uart, port, end } = machine();
  const bus = new Bus();
  bus.registerPorts("com1", 0x3f8, 8, uart);
  bus.portWrite(0x3f8, 1, 0x41);
  port.flush();
  expect(end.got).toBe("A");
});

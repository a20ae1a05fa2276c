import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ManualTime } from "./clock-wheel.ts";
import { RecordingLine } from "./line.ts";
import { answersInWidth, goesOnAfterRestore } from "./testing/device-contract.ts";
import { Uart16550, type UartWiring } from "./uart16550.ts";

const [data, ier, iir, lcr, mcr, lsr] = [0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd] as const;
const fcr = iir;
/** Guest time of a character of 10 bits at 115200 baud, ns, and its stop bit's share. */
const character = 86_806;
const stopBit = 8_680;
const stallLimit = 1_000_000;

/** A port at 115200 8N1 with OUT2 on, whose host's end is ready or not. */
function machine(wiring: Partial<UartWiring>, start = 0) {
  const time = new ManualTime(start);
  const line = new RecordingLine();
  /** Bytes with the guest time at which they left. */
  const output: (readonly [number, number])[] = [];
  const host = { ready: true };
  const uart = new Uart16550({
    name: "com1",
    base: 0x3f8,
    timebase: time,
    line,
    output: (byte) => output.push([byte, time.now()]),
  });
  uart.wire({ pacing: false, stallLimit, input: "wait", ...wiring });
  const read = (port: number): number => uart.portRead(port, 1);
  const write = (port: number, value: number): void => uart.portWrite(port, 1, value);
  write(lcr, 0x83);
  write(data, 1);
  write(ier, 0);
  write(lcr, 0x03);
  write(mcr, 0x0b);
  return { time, line, output, uart, read, write, host };
}

/** A machine whose line waits for `host.ready`. */
function stalling(start = 0) {
  const guest = machine({}, start);
  guest.uart.wire({ pacing: false, stallLimit, input: "wait", ready: () => guest.host.ready });
  return guest;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("a paced line", () => {
  it("sends a character in its time: THRE when it moves to the shift register, TEMT when it is out", () => {
    const { read, write, time, output } = machine({ pacing: true });
    write(data, 0x41);
    expect(read(lsr)).toBe(0x20);
    time.advance(character - 1);
    expect(output).toEqual([]);
    time.advance(1);
    expect(output).toEqual([[0x41, character]]);
    expect(read(lsr)).toBe(0x60);
  });

  it("without FIFO holds one character behind the one that is sent; another one overwrites it", () => {
    const { read, write, time, output, uart } = machine({ pacing: true });
    write(data, 1);
    write(data, 2);
    expect(read(lsr)).toBe(0x00);
    write(data, 3);
    time.advance(10 * character);
    expect(output).toEqual([
      [1, character],
      [3, 2 * character],
    ]);
    expect(uart.inspect()["lost"]).toBe(1);
  });

  it("with FIFO holds 16 behind the one that is sent, drops the next, and sends all without a gap", () => {
    const { read, write, time, output, uart } = machine({ pacing: true });
    write(fcr, 0x01);
    for (let byte = 0; byte < 18; byte++) write(data, byte);
    expect(read(lsr)).toBe(0x00);
    expect(uart.inspect()["lost"]).toBe(1);
    time.advance(16 * character);
    expect(read(lsr)).toBe(0x20);
    time.advance(character);
    expect(read(lsr)).toBe(0x60);
    expect(output).toEqual(Array.from({ length: 17 }, (_, n) => [n, (n + 1) * character]));
  });

  it("raises THRE's interrupt when the FIFO has become empty, once", () => {
    const { read, write, time, line } = machine({ pacing: true });
    write(fcr, 0x01);
    write(ier, 0x02);
    expect(read(iir)).toBe(0xc2);
    for (const byte of [1, 2, 3]) write(data, byte);
    expect(line.level).toBe(false);
    time.advance(2 * character - 1);
    expect(line.level).toBe(false);
    time.advance(1);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0xc2);
    time.advance(character);
    expect(read(iir)).toBe(0xc1);
  });

  it("tells an empty FIFO a character less its stop bit later when it held one byte only", () => {
    const { read, write, time, line } = machine({ pacing: true });
    write(fcr, 0x01);
    write(ier, 0x02);
    read(iir);
    write(data, 1);
    expect(read(lsr)).toBe(0x00);
    time.advance(character - stopBit - 1);
    expect([line.level, read(lsr)]).toEqual([false, 0x00]);
    time.advance(1);
    expect([line.level, read(lsr)]).toEqual([true, 0x20]);
  });

  it("loses what its FIFO holds when the guest clears it, not the character that is sent", () => {
    const { write, time, output, uart, read } = machine({ pacing: true });
    write(fcr, 0x01);
    for (const byte of [1, 2, 3]) write(data, byte);
    write(fcr, 0x05);
    expect(read(lsr)).toBe(0x20);
    time.advance(10 * character);
    expect(output).toEqual([[1, character]]);
    expect(uart.inspect()["lost"]).toBe(2);
  });

  it("loops characters in their time as well", () => {
    const { read, write, time } = machine({ pacing: true });
    write(mcr, 0x10);
    write(data, 0x55);
    expect(read(lsr) & 1).toBe(0);
    time.advance(character);
    expect(read(lsr)).toBe(0x61);
    expect(read(data)).toBe(0x55);
  });

  it("brings one character of input in each character time, and loses none to a slow guest", () => {
    const { read, write, time, uart } = machine({ pacing: true });
    write(fcr, 0x01);
    uart.receive(bytes("ab and more than sixteen"));
    expect(read(data)).toBe(0x61);
    expect(read(lsr) & 1).toBe(0);
    time.advance(character);
    expect(read(data)).toBe(0x62);
    time.advance(100 * character);
    let text = "";
    while ((read(lsr) & 1) !== 0 || uart.waiting > 0) {
      text += String.fromCharCode(read(data));
      time.advance(character);
    }
    expect(text).toBe(" and more than sixteen");
    expect(uart.inspect()["overruns"]).toBe(0);
  });

  it("sends at once what is on its way when the pacing ends", () => {
    const { write, output, uart, read, time } = machine({ pacing: true });
    write(fcr, 0x01);
    for (const byte of [1, 2, 3]) write(data, byte);
    uart.wire({ pacing: false, stallLimit, input: "wait" });
    expect(output.map(([byte]) => byte)).toEqual([1, 2, 3]);
    expect(read(lsr)).toBe(0x60);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("a line whose host's end is full", () => {
  it("keeps THRE clear until the end takes bytes again, then raises the interrupt", () => {
    const { read, write, output, uart, host, line } = stalling();
    write(ier, 0x02);
    read(iir);
    host.ready = false;
    write(data, 1);
    write(data, 2);
    expect([read(lsr), line.level, uart.stalled]).toEqual([0x00, false, true]);
    expect(read(iir)).toBe(0x01);
    host.ready = true;
    uart.resume();
    expect(output.map(([byte]) => byte)).toEqual([1, 2]);
    expect([read(lsr), line.level, uart.stalled]).toEqual([0x60, true, false]);
    expect(read(iir)).toBe(0x02);
  });

  it("takes bytes at once while the end is ready", () => {
    const { read, write, output } = stalling();
    for (const byte of [1, 2, 3]) {
      write(data, byte);
      expect(read(lsr)).toBe(0x60);
    }
    expect(output.length).toBe(3);
  });

  it("waits the limit of guest time and not longer, then drops and counts until the end takes again", () => {
    const { read, write, output, uart, host, time } = stalling();
    write(fcr, 0x01);
    host.ready = false;
    for (const byte of [1, 2, 3]) write(data, byte);
    time.advance(stallLimit - 1);
    expect([read(lsr), uart.inspect()["lost"]]).toEqual([0x00, 0]);
    time.advance(1);
    expect([read(lsr), uart.inspect()["lost"]]).toEqual([0x60, 3]);
    // It does not wait for each byte anew.
    write(data, 4);
    expect([read(lsr), uart.inspect()["lost"]]).toEqual([0x60, 4]);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    host.ready = true;
    write(data, 5);
    expect(output.map(([byte]) => byte)).toEqual([5]);
    host.ready = false;
    write(data, 6);
    expect(uart.stalled).toBe(true);
  });

  it("does not lose its place by a reset of the chip's, which empties it", () => {
    const { read, write, uart, host, time } = stalling();
    host.ready = false;
    write(data, 1);
    write(data, 2);
    uart.reset();
    expect([read(lsr), uart.stalled, uart.inspect()["lost"]]).toEqual([0x60, false, 2]);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("input that does not wait for the guest", () => {
  it("arrives without DTR and RTS, a character at a time, and what finds the FIFO full is an overrun", () => {
    const { read, write, uart, time } = machine({ input: "now" });
    write(mcr, 0);
    write(fcr, 0x01);
    uart.receive(Uint8Array.from({ length: 20 }, (_, n) => n));
    expect(read(lsr)).toBe(0x61);
    time.advance(19 * character);
    expect(read(lsr)).toBe(0x63);
    expect(uart.inspect()["overruns"]).toBe(4);
    expect(Array.from({ length: 16 }, () => read(data))).toEqual(Array.from({ length: 16 }, (_, n) => n));
    expect(read(lsr)).toBe(0x60);
  });

  it("is lost when the guest clears the FIFO, as on a wire", () => {
    const { read, write, uart } = machine({ input: "now" });
    write(fcr, 0x01);
    uart.receive(bytes("a"));
    write(fcr, 0x03);
    expect([read(lsr), uart.waiting]).toEqual([0x60, 0]);
  });

  it("waits for the end of loop mode, which takes the receiver off the line", () => {
    const { read, write, uart } = machine({ input: "now" });
    write(mcr, 0x10);
    uart.receive(bytes("a"));
    expect(read(lsr)).toBe(0x60);
    write(mcr, 0x00);
    expect(read(data)).toBe(0x61);
  });
});

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("read" as const),
      port: fc.integer({ min: 0x3f8, max: 0x3ff }),
      width: fc.constant(1 as const),
    }),
    fc.record({
      kind: fc.constant("write" as const),
      // The data register more often than the others.
      port: fc.oneof(fc.constant(0x3f8), fc.integer({ min: 0x3f8, max: 0x3ff })),
      value: fc.integer({ min: 0, max: 255 }),
    }),
    fc.record({ kind: fc.constant("input" as const), bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ kind: fc.constant("ready" as const), ready: fc.boolean() }),
    fc.record({ kind: fc.constant("wait" as const), ns: fc.integer({ min: 0, max: 2_000_000 }) }),
  ),
  { maxLength: 120 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;
type Guest = ReturnType<typeof machine>;

function perform({ uart, time, host }: Guest, step: Step): number {
  switch (step.kind) {
    case "read":
      return uart.portRead(step.port, step.width);
    case "write":
      uart.portWrite(step.port, 1, step.value);
      return 0;
    case "input":
      return uart.receive(step.bytes);
    case "ready":
      host.ready = step.ready;
      if (step.ready) uart.resume();
      return 0;
    case "wait":
      time.advance(step.ns);
      return 0;
    default:
      return step satisfies never;
  }
}

/** Any line at all, beginning at guest time `start`. */
function anyLine(wiring: UartWiring, start = 0): Guest {
  const guest = machine({}, start);
  guest.uart.wire({ ...wiring, ready: () => guest.host.ready });
  return guest;
}

const wirings: fc.Arbitrary<UartWiring> = fc.record({
  pacing: fc.boolean(),
  stallLimit: fc.integer({ min: 1, max: 3_000_000 }),
  input: fc.constantFrom("wait" as const, "now" as const),
});

describe("whatever a guest and a host do to any line", () => {
  it("answers values of the access's width, never throws, and accounts for each byte", () => {
    fc.assert(
      fc.property(wirings, steps, (wiring, all) => {
        const guest = anyLine(wiring);
        answersInWidth(guest, all, perform);
        guest.uart.reset();
        const { sent } = guest.uart.inspect();
        expect(guest.output.length).toBe(sent);
      }),
    );
  });

  it("is at rest a limit after the guest's last byte", () => {
    fc.assert(
      fc.property(wirings, steps, (wiring, all) => {
        const guest = anyLine({ ...wiring, pacing: false });
        for (const step of all) perform(guest, step);
        guest.time.advance(wiring.stallLimit);
        expect(guest.read(lsr) & 0x60).toBe(0x60);
      }),
    );
  });

  it("goes on after save and restore as if nothing had happened", () => {
    fc.assert(
      fc.property(wirings, steps, steps, (wiring, before, after) =>
        goesOnAfterRestore(before, after, {
          start: () => anyLine(wiring),
          perform,
          copyOf: (guest) => {
            const copy = anyLine(wiring, guest.time.now());
            copy.host.ready = guest.host.ready;
            copy.line.set(guest.line.level);
            return copy;
          },
          device: ({ uart }) => uart,
          seen: ({ line, time }) => [line.level, time.nextDeadline()],
        }),
      ),
    );
  });
});

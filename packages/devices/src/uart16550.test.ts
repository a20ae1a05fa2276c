import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ManualTime } from "./clock-wheel.ts";
import { RecordingLine } from "./line.ts";
import { receiveQueueLimit } from "./receive-queue.ts";
import {
  answersInWidth,
  expectGolden,
  expectRegistersInSpec,
  goesOnAfterRestore,
  refusesStates,
} from "./testing/device-contract.ts";
import { Uart16550 } from "./uart16550.ts";
import { ModemLine, uartRegisters } from "./uart16550-registers.ts";

const base = 0x3f8;
const [data, ier, iir, lcr, mcr, lsr, msr, scr] = [0, 1, 2, 3, 4, 5, 6, 7].map((offset) => base + offset) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];
const fcr = iir;
/** Guest time of one character at 9600 baud, 8 bits without parity; and at 115200. */
const slowCharacter = 1_041_667;
const fastCharacter = 86_806;

function machine(start = 0) {
  const time = new ManualTime(start);
  const line = new RecordingLine();
  const output: number[] = [];
  const uart = new Uart16550({
    name: "com1",
    base,
    timebase: time,
    line,
    output: (byte) => output.push(byte),
  });
  const read = (port: number): number => uart.portRead(port, 1);
  const write = (port: number, value: number): void => uart.portWrite(port, 1, value);
  /** What a driver does before it waits for input: 115200 8N1, FIFO with trigger 8, DTR, RTS and OUT2. */
  const listen = (enabled = 0x01, control = 0x81): void => {
    write(lcr, 0x83);
    write(data, 1);
    write(ier, 0);
    write(lcr, 0x03);
    write(fcr, control);
    write(mcr, 0x0b);
    write(ier, enabled);
  };
  return { time, line, output, uart, read, write, listen };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("after power-on", () => {
  it("reads the reset values of its table", () => {
    const { read, line } = machine();
    expect([ier, iir, lcr, mcr, lsr, msr, scr].map(read)).toEqual([0, 0x01, 0, 0, 0x60, 0xb0, 0]);
    expect(read(data)).toBe(0);
    expect(line.level).toBe(false);
  });

  it("reads 0 past its last register and ignores writes there", () => {
    const { read, write } = machine();
    write(base + 8, 0xff);
    expect(read(base + 8)).toBe(0);
    expect(read(base - 1)).toBe(0);
  });
});

describe("registers", () => {
  it("keeps only the valid bits of IER and MCR, and all of LCR and SCR", () => {
    const { read, write } = machine();
    for (const port of [ier, mcr, scr]) write(port, 0xff);
    expect([ier, mcr, scr].map(read)).toEqual([0x0f, 0x1f, 0xff]);
    write(lcr, 0x7f);
    expect(read(lcr)).toBe(0x7f);
  });

  it("hides data and IER behind DLAB, and the divisor behind its absence", () => {
    const { read, write, output } = machine();
    write(ier, 0x01);
    write(lcr, 0x80);
    write(data, 0x34);
    write(ier, 0x12);
    expect([read(data), read(ier)]).toEqual([0x34, 0x12]);
    write(lcr, 0x03);
    expect(read(ier)).toBe(0x01);
    expect(output).toEqual([]);
  });

  it("ignores writes to LSR and MSR", () => {
    const { read, write } = machine();
    write(lsr, 0xff);
    write(msr, 0xff);
    expect([read(lsr), read(msr)]).toEqual([0x60, 0xb0]);
  });

  it("takes a wide access for bytes at consecutive registers, lowest first", () => {
    const { uart, output } = machine();
    uart.portWrite(data, 2, 0x0541);
    expect(output).toEqual([0x41]);
    expect(uart.portRead(ier, 1)).toBe(0x05);
    expect(uart.portRead(lcr, 4)).toBe(0xb0_60_00_00);
  });
});

describe("output", () => {
  it("hands each byte over at once and stays empty", () => {
    const { read, write, output } = machine();
    for (const byte of bytes("boot\n")) {
      write(data, byte);
      expect(read(lsr)).toBe(0x60);
    }
    expect(output).toEqual([...bytes("boot\n")]);
  });

  it("raises THRE when enabled and after each byte; reading IIR takes it back", () => {
    const { read, write, line } = machine();
    write(mcr, 0x08);
    write(ier, 0x02);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0x02);
    expect(line.level).toBe(false);
    expect(read(iir)).toBe(0x01);
    write(data, 0x41);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0x02);
  });

  it("raises THRE when the transmitter is cleared", () => {
    const { read, write } = machine();
    write(ier, 0x02);
    read(iir);
    write(fcr, 0x01);
    expect(read(iir)).toBe(0xc2);
    expect(read(iir)).toBe(0xc1);
    write(fcr, 0x05);
    expect(read(iir)).toBe(0xc2);
  });

  it("loses bytes during a break", () => {
    const { write, output, uart } = machine();
    write(lcr, 0x43);
    write(data, 0x41);
    write(lcr, 0x03);
    write(data, 0x42);
    expect(output).toEqual([0x42]);
    expect(uart.inspect()["lost"]).toBe(1);
  });

  it("counts what a failing sink loses and still raises THRE", () => {
    const time = new ManualTime();
    const line = new RecordingLine();
    const uart = new Uart16550({
      name: "com1",
      base,
      timebase: time,
      line,
      output: () => {
        throw new Error("the host's disk is full");
      },
    });
    uart.portWrite(mcr, 1, 0x08);
    uart.portWrite(ier, 1, 0x02);
    uart.portRead(iir, 1);
    uart.portWrite(data, 1, 0x41);
    expect(line.level).toBe(true);
    expect(uart.inspect()["lost"]).toBe(1);
  });
});

describe("the tests of Linux's 8250 driver", () => {
  /** The steps of its autoconfig, in their order; the chip it takes this one for. */
  function identify({ read, write }: ReturnType<typeof machine>): string {
    const [savedIer, savedMcr, savedLcr] = [read(ier), read(mcr), read(lcr)];
    write(ier, 0x00);
    const none = read(ier) & 0x0f;
    write(ier, 0x0f);
    const all = read(ier) & 0x0f;
    write(ier, savedIer);
    if (none !== 0 || all !== 0x0f) return "nothing";
    write(mcr, 0x1a);
    const looped = read(msr) & 0xf0;
    write(mcr, savedMcr);
    if (looped !== 0x90) return "nothing";
    write(lcr, 0xbf);
    write(fcr, 0x00);
    write(lcr, 0x00);
    write(fcr, 0x01);
    const fifo = read(iir) >> 6;
    write(lcr, savedLcr);
    if (fifo === 0) return "8250 or 16450";
    if (fifo !== 3) return "16550";
    // A chip with an enhanced feature register has it at offset 2, with DLAB or LCR 0xBF, and it reads 0.
    write(lcr, 0x80);
    if (read(iir) === 0) return "16650";
    write(lcr, 0xbf);
    if (read(iir) === 0) return "16850";
    // National's later chips show MCR's loop bit in a register that LCR 0xE0 selects.
    write(lcr, 0x00);
    const before = read(mcr);
    write(lcr, 0xe0);
    const extended = read(iir);
    write(lcr, 0x00);
    if (((extended ^ before) & 0x10) === 0) {
      write(mcr, before ^ 0x10);
      write(lcr, 0xe0);
      const after = read(iir);
      write(lcr, 0x00);
      write(mcr, before);
      if (((after ^ before) & 0x10) !== 0) return "NS16550A";
    }
    write(lcr, 0x00);
    write(fcr, 0x21);
    const plain = read(iir) >> 5;
    write(lcr, 0x80);
    write(fcr, 0x21);
    const latched = read(iir) >> 5;
    write(fcr, 0x01);
    write(lcr, 0x00);
    if (plain === 7 || latched === 7) return "16750";
    write(ier, 0x40);
    const unit = read(ier) & 0x40;
    write(ier, savedIer);
    if (unit !== 0) return "XScale";
    write(lcr, savedLcr);
    write(mcr, savedMcr);
    return "16550A";
  }

  it("takes it for a 16550A, and what was typed meanwhile is still there when the driver has started", () => {
    const guest = machine();
    const { read, write, uart, line } = guest;
    uart.receive(bytes("typed "));
    expect(identify(guest)).toBe("16550A");
    uart.receive(bytes("while "));
    // Its startup: clear the FIFOs and all pending sources, then the THRE tests, then interrupts and FIFOs on.
    for (const control of [0x01, 0x07, 0x00]) write(fcr, control);
    for (const port of [lsr, data, iir, msr]) read(port);
    write(lcr, 0x03);
    write(mcr, 0x08);
    write(ier, 0x02);
    const first = read(iir);
    write(ier, 0x00);
    write(ier, 0x02);
    const second = read(iir);
    write(ier, 0x00);
    expect([first & 1, second & 1]).toEqual([0, 0]);
    for (const port of [lsr, data, iir, msr]) read(port);
    write(ier, 0x05);
    uart.receive(bytes("it starts"));
    write(mcr, 0x0b);
    write(fcr, 0x01);
    write(fcr, 0x81);
    guest.time.advance(slowCharacter);
    expect(line.level).toBe(true);
    let text = "";
    while ((read(lsr) & 1) !== 0) text += String.fromCharCode(read(data));
    expect(text).toBe("typed while it starts");
  });

  it("finds a 16550A: IIR bits 7:6 appear with the FIFO, and no other chip's marks", () => {
    const { read, write } = machine();
    write(fcr, 0x01);
    expect(read(iir) >> 6).toBe(3);
    // 16750: FCR bit 5 would show in IIR bit 5.
    write(lcr, 0x80);
    write(fcr, 0x21);
    expect(read(iir) & 0xe0).toBe(0xc0);
    // ST16650 and ST16850 would answer 0 at offset 2, the latter with LCR 0xBF.
    write(lcr, 0xbf);
    expect(read(iir)).not.toBe(0);
    // XScale would keep IER bit 6.
    write(lcr, 0);
    write(ier, 0x40);
    expect(read(ier)).toBe(0);
  });

  it("sees its modem outputs in loop mode: 0x0A gives DCD and CTS", () => {
    const { read, write } = machine();
    write(mcr, 0x1a);
    expect(read(msr) & 0xf0).toBe(0x90);
  });

  it("has no THRE bug: enabling THRE interrupts again reports again", () => {
    const { read, write } = machine();
    write(ier, 0x02);
    expect(read(iir)).toBe(0x02);
    write(ier, 0);
    write(ier, 0x02);
    expect(read(iir)).toBe(0x02);
  });

  it("has no TXEN bug: an enabled interrupt is there while TEMT is set", () => {
    const { read, write } = machine();
    write(ier, 0x02);
    expect(read(lsr) & 0x40).toBe(0x40);
    expect(read(iir) & 0x01).toBe(0);
  });
});

describe("the modem", () => {
  it("maps DTR, RTS, OUT1, OUT2 to DSR, CTS, RI, DCD in loop mode and returns to the real lines", () => {
    const { read, write } = machine();
    const expected = { 1: 0x20, 2: 0x10, 4: 0x40, 8: 0x80 };
    for (const [output, input] of Object.entries(expected)) {
      write(mcr, 0x10 | Number(output));
      expect(read(msr) & 0xf0).toBe(input);
    }
    write(mcr, 0);
    expect(read(msr) & 0xf0).toBe(0xb0);
  });

  it("latches changes of the looped lines as well, and reports them by the modem interrupt", () => {
    const { read, write } = machine();
    write(ier, 0x08);
    write(mcr, 0x10);
    // CTS, DSR and DCD of the terminal are gone.
    expect(read(iir)).toBe(0x00);
    expect(read(msr)).toBe(0x0b);
    expect(read(iir)).toBe(0x01);
    write(mcr, 0x16);
    expect(read(msr)).toBe(0x51);
    // OUT1 is RI: only its end counts.
    write(mcr, 0x12);
    expect(read(msr)).toBe(0x14);
    write(mcr, 0x02);
    expect(read(msr)).toBe(0xba);
    expect(read(msr)).toBe(0xb0);
  });

  it("does not see the real lines move while it loops, and finds them moved behind", () => {
    const { read, write, uart } = machine();
    write(mcr, 0x10);
    read(msr);
    uart.setModemLines(ModemLine.dcd);
    expect(read(msr)).toBe(0x00);
    write(mcr, 0x00);
    expect(read(msr)).toBe(0x88);
  });

  it("reports changed lines once, RI only when it ends", () => {
    const { read, write, uart, line } = machine();
    write(mcr, 0x08);
    write(ier, 0x08);
    uart.setModemLines(ModemLine.dcd | ModemLine.ri);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0x00);
    expect(read(msr)).toBe(0xc3);
    expect(line.level).toBe(false);
    uart.setModemLines(ModemLine.dcd);
    expect(read(msr)).toBe(0x84);
    expect(read(msr)).toBe(0x80);
  });
});

describe("input", () => {
  it("waits until DTR, RTS and the FIFO are on, through the clears of a driver that starts", () => {
    const { read, write, uart } = machine();
    expect(uart.receive(bytes("typed early"))).toBe(11);
    expect(read(lsr)).toBe(0x60);
    write(fcr, 0x01);
    write(fcr, 0x07);
    write(fcr, 0x00);
    expect(read(data)).toBe(0);
    write(mcr, 0x01);
    write(fcr, 0x01);
    expect(read(lsr)).toBe(0x60);
    write(mcr, 0x03);
    let text = "";
    while ((read(lsr) & 1) !== 0) text += String.fromCharCode(read(data));
    expect(text).toBe("typed early");
  });

  it("reaches a driver without FIFO once it enables the data interrupt", () => {
    const { read, write, uart, line } = machine();
    write(mcr, 0x0b);
    uart.receive(bytes("ab"));
    expect(read(lsr) & 1).toBe(0);
    write(ier, 0x01);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0x04);
    expect([read(data), read(data)]).toEqual([0x61, 0x62]);
    expect(line.level).toBe(false);
    expect(read(data)).toBe(0x62);
  });

  it("raises one event for many bytes, and loses none of them", () => {
    const { read, uart, line, listen } = machine();
    listen();
    const sent = Uint8Array.from({ length: 1000 }, (_, index) => index & 0xff);
    expect(uart.receive(sent)).toBe(1000);
    expect(line.risingEdges).toBe(1);
    const got: number[] = [];
    while ((read(lsr) & 1) !== 0) got.push(read(data));
    expect(got).toEqual([...sent]);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])("with FCR %i reports data from %i bytes on", (control, trigger) => {
    const { read, uart, listen } = machine();
    listen(0x01, control);
    uart.receive(new Uint8Array(trigger - 1));
    expect(read(iir)).toBe(0xc1);
    uart.receive(new Uint8Array(1));
    expect(read(iir)).toBe(0xc4);
  });

  it("reports bytes below the trigger after four character times of the programmed rate", () => {
    const { read, uart, line, listen, time } = machine();
    listen();
    uart.receive(bytes("ab"));
    time.advance(4 * fastCharacter - 1);
    expect(line.level).toBe(false);
    time.advance(1);
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0xcc);
    // Reading a byte ends the timeout and starts it again for the other one.
    expect(read(data)).toBe(0x61);
    expect(read(iir)).toBe(0xc1);
    time.advance(4 * fastCharacter);
    expect(read(iir)).toBe(0xcc);
    expect(read(data)).toBe(0x62);
    expect(line.level).toBe(false);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("counts the timeout from the last byte, also when the interrupt is enabled later", () => {
    const { read, write, uart, listen, time, line } = machine();
    listen(0);
    uart.receive(bytes("a"));
    time.advance(10 * fastCharacter);
    expect(line.level).toBe(false);
    write(ier, 0x01);
    expect(read(iir)).toBe(0xcc);
  });

  it("puts the bytes of a cleared FIFO back to the queue and delivers them one character time later", () => {
    const { read, write, uart, listen, time } = machine();
    listen(0);
    uart.receive(bytes("abc"));
    expect(read(data)).toBe(0x61);
    write(fcr, 0x83);
    expect(read(lsr)).toBe(0x60);
    expect(uart.waiting).toBe(2);
    time.advance(fastCharacter);
    expect([read(data), read(data)]).toEqual([0x62, 0x63]);
  });

  it("accepts 64 KiB and tells how much did not fit", () => {
    const { uart } = machine();
    expect(uart.receive(new Uint8Array(receiveQueueLimit - 1))).toBe(receiveQueueLimit - 1);
    expect(uart.receive(bytes("xyz"))).toBe(1);
    expect(uart.receive(bytes("xyz"))).toBe(0);
    expect(uart.receiveBreak()).toBe(false);
    expect(uart.waiting).toBe(receiveQueueLimit);
  });

  it("lets a driver that reads until nothing is left come to an end, however fast the host refills", () => {
    const { read, uart, line, listen, time } = machine();
    listen();
    const piece = new Uint8Array(1000).fill(0x61);
    uart.receive(piece);
    let count = 0;
    while ((read(lsr) & 1) !== 0) {
      read(data);
      // Before the FIFO is empty, so the line never goes low.
      if (++count % 1000 === 990) uart.receive(piece);
    }
    expect(count).toBe(32_768);
    // The line goes low, so what comes next is an edge.
    expect([line.level, uart.waiting]).toEqual([false, 33_000 - 32_768]);
    time.advance(fastCharacter);
    expect(line.level).toBe(true);
    while ((read(lsr) & 1) !== 0) {
      read(data);
      count++;
    }
    expect(count).toBe(33_000);
  });

  it("stops while the guest drops RTS", () => {
    const { read, write, uart, listen } = machine();
    listen();
    write(mcr, 0x09);
    uart.receive(bytes("a"));
    expect(read(lsr) & 1).toBe(0);
    write(mcr, 0x0b);
    expect(read(data)).toBe(0x61);
  });

  it("reports a break with the character it came with, before data", () => {
    const { read, uart, listen } = machine();
    listen(0x05);
    uart.receive(bytes("a"));
    uart.receiveBreak();
    expect(read(lsr)).toBe(0xe1);
    expect(read(data)).toBe(0x61);
    expect(read(iir)).toBe(0xc6);
    expect(read(lsr)).toBe(0xf1);
    expect(read(lsr)).toBe(0x61);
    expect(read(data)).toBe(0);
    expect(read(lsr)).toBe(0x60);
  });
});

describe("loop mode", () => {
  it("fills the FIFO and reports what comes after as an overrun", () => {
    const { read, write, output } = machine();
    write(fcr, 0x01);
    write(mcr, 0x10);
    for (let byte = 0; byte < 17; byte++) write(data, byte);
    expect(output).toEqual([]);
    expect(read(lsr)).toBe(0x63);
    expect(read(lsr)).toBe(0x61);
    for (let byte = 0; byte < 16; byte++) expect(read(data)).toBe(byte);
    expect(read(lsr)).toBe(0x60);
  });

  it("overwrites the one register of a chip without FIFO", () => {
    const { read, write } = machine();
    write(mcr, 0x10);
    write(data, 0x41);
    write(data, 0x42);
    expect(read(lsr)).toBe(0x63);
    expect(read(data)).toBe(0x42);
    expect(read(lsr)).toBe(0x60);
  });

  it("forgets what it sent itself when the FIFO is cleared", () => {
    const { read, write, uart } = machine();
    write(fcr, 0x01);
    write(mcr, 0x10);
    write(data, 0x41);
    write(fcr, 0x03);
    expect(read(lsr)).toBe(0x60);
    expect(uart.waiting).toBe(0);
  });
});

describe("the interrupt line", () => {
  it("follows OUT2, and is low in loop mode", () => {
    const { write, line } = machine();
    write(ier, 0x02);
    expect(line.level).toBe(false);
    write(mcr, 0x08);
    expect(line.level).toBe(true);
    write(mcr, 0x18);
    expect(line.level).toBe(false);
    write(mcr, 0x08);
    expect(line.level).toBe(true);
  });

  it("reports line status before data before THRE before modem", () => {
    const { read, write, uart, listen } = machine();
    listen(0x0f, 0x01);
    uart.setModemLines(0);
    uart.receiveBreak();
    expect(read(iir)).toBe(0xc6);
    read(lsr);
    expect(read(iir)).toBe(0xc4);
    read(data);
    expect(read(iir)).toBe(0xc2);
    expect(read(iir)).toBe(0xc0);
    read(msr);
    expect(read(iir)).toBe(0xc1);
    write(data, 0);
    expect(read(iir)).toBe(0xc2);
  });
});

/** One step of a hostile guest or host. */
const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("read" as const),
      port: fc.integer({ min: base - 2, max: base + 9 }),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    fc.record({
      kind: fc.constant("write" as const),
      port: fc.integer({ min: base - 2, max: base + 9 }),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
    }),
    fc.record({ kind: fc.constant("input" as const), bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ kind: fc.constant("break" as const) }),
    fc.record({ kind: fc.constant("lines" as const), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ kind: fc.constant("wait" as const), ns: fc.integer({ min: 0, max: 5_000_000 }) }),
  ),
  { maxLength: 120 },
);
type Step = typeof steps extends fc.Arbitrary<readonly (infer One)[]> ? One : never;

function perform({ uart, time }: ReturnType<typeof machine>, step: Step): number {
  switch (step.kind) {
    case "read":
      return uart.portRead(step.port, step.width);
    case "write":
      uart.portWrite(step.port, step.width, step.value);
      return 0;
    case "input":
      return uart.receive(step.bytes);
    case "break":
      return uart.receiveBreak() ? 1 : 0;
    case "lines":
      uart.setModemLines(step.value);
      return 0;
    case "wait":
      time.advance(step.ns);
      return 0;
    default:
      return step satisfies never;
  }
}

describe("whatever a guest does", () => {
  it("answers values of the access's width and never throws", () => {
    fc.assert(fc.property(steps, (all) => answersInWidth(machine(), all, perform)));
  });

  it("goes on after save and restore as if nothing had happened", () => {
    fc.assert(
      fc.property(steps, steps, (before, after) =>
        goesOnAfterRestore(before, after, {
          start: () => machine(),
          perform,
          copyOf: (guest) => {
            const copy = machine(guest.time.now());
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

function busy() {
  const guest = machine(5_000);
  guest.listen(0x0f, 0xc1);
  guest.write(scr, 0x5a);
  guest.uart.receive(bytes("golden input of more than sixteen bytes"));
  guest.uart.receiveBreak();
  guest.uart.setModemLines(ModemLine.cts);
  guest.read(data);
  return guest;
}

describe("saved state", () => {
  it("is the golden one", () => {
    expectGolden("uart16550", busy().uart.save());
  });

  it("comes back from the golden file, interrupt included", () => {
    const { uart, line, read } = machine(5_000);
    uart.restore(expectGolden("uart16550", busy().uart.save()));
    expect(uart.save()).toEqual(busy().uart.save());
    expect(line.level).toBe(true);
    expect(read(iir)).toBe(0xc4);
  });

  it("of version 1 comes back with a transmitter at rest", () => {
    const { uart, line, read } = machine(5_000);
    const golden = readFileSync(new URL("./golden/uart16550-v1.json", import.meta.url), "utf8");
    uart.restore(JSON.parse(golden));
    const { receiver, ...rest } = busy().uart.save();
    expect(uart.save()).toEqual({ ...rest, receiver: { ...receiver, streak: 0 } });
    expect(line.level).toBe(true);
    expect(read(lsr)).toBe(0x61);
  });

  it("is refused when it does not fit, and changes nothing", () => {
    const good = busy().uart.save();
    refusesStates(
      () => machine(5_000).uart,
      [
        [{ ...good, version: 3 }, "bad-version"],
        [{ ...good, transmitter: { ...good.transmitter, fifo: [1], shift: 2 } }, "out-of-range"],
        [{ ...good, transmitter: { ...good.transmitter, fifo: [1], empty: false } }, "out-of-range"],
        [{ ...good, transmitter: { ...good.transmitter, empty: false } }, "out-of-range"],
        [{ ...good, transmitter: { ...good.transmitter, waitEnd: 1 } }, "out-of-range"],
        [{ ...good, transmitter: { ...good.transmitter, fifo: new Array(17).fill(0) } }, "bad-shape"],
        [{ ...good, receiver: { ...good.receiver, fifo: new Array(17).fill(0) } }, "bad-shape"],
        [{ ...good, ier: 0x10 }, "out-of-range"],
        [{ ...good, fcr: 0x80 }, "out-of-range"],
        [{ ...good, receiver: { ...good.receiver, queue: new Uint8Array(3) } }, "out-of-range"],
        [{ ...good, receiver: { ...good.receiver, queue: Uint8Array.of(0x41, 0x20) } }, "out-of-range"],
        [{ ...good, receiver: { ...good.receiver, queue: new Uint8Array(200_000) } }, "bad-shape"],
        [{ ...good, extra: 1 }, "bad-shape"],
        [null, "bad-shape"],
      ],
    );
  });
});

describe("reset", () => {
  it("clears the chip but neither SCR nor what waits to be received", () => {
    const { uart, read, line, time } = busy();
    const waiting = uart.waiting;
    uart.reset();
    expect([ier, iir, lcr, mcr, lsr, msr, scr].map(read)).toEqual([0, 0x01, 0, 0, 0x60, 0xb0, 0x5a]);
    expect(line.level).toBe(false);
    expect(uart.waiting).toBe(waiting);
    expect(time.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(uart.save().dll).toBe(Math.round((slowCharacter / 1e9 / 10) * 115_200));
  });
});

it("specs/uart16550.md holds the register table", () => {
  expectRegistersInSpec("uart16550", uartRegisters);
});

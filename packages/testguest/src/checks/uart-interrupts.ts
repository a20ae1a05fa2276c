/* The 16550's interrupts in their order, its FIFO and its modem lines, all in loop mode, where it talks to itself. */
import { al, dx, eax, ebx, edx } from "../assembler/index.ts";
import { COM1, UART } from "../runtime/console.ts";
import type { GuestProgram } from "../runtime/guest-program.ts";
import { inByte, outByte } from "../runtime/interrupt-controllers.ts";
import { waitMicroseconds } from "../runtime/time.ts";
import type { Check, CheckGroup } from "./check.ts";

const MODEM_STATUS = 6;
const LOOP = 0x10;
/** Loop mode with OUT2, as the port is set up otherwise. */
const LOOP_ONLY = LOOP | 0x08;
/** Interrupt enables, and what the identification register says of each, FIFOs on. */
const ENABLE = { received: 1, transmitter: 2, line: 4, modem: 8 } as const;
const ASKS = {
  none: 0xc1,
  line: 0xc6,
  received: 0xc4,
  timeout: 0xcc,
  transmitter: 0xc2,
  modem: 0xc0,
} as const;
/** FIFO control: on, both cleared, and the trigger level. */
const FIFO = { trigger1: 0x07, trigger4: 0x47, trigger14: 0xc7 } as const;

function write(guest: GuestProgram, register: number, value: number): void {
  outByte(guest, COM1 + register, value);
}

function read(guest: GuestProgram, register: number): void {
  inByte(guest, COM1 + register);
}

function expectRead(guest: GuestProgram, register: number, wanted: number, mask = 0xff): void {
  read(guest, register);
  if (mask !== 0xff) guest.op.and(eax, mask);
  guest.expect(wanted);
}

/** What asks for an interrupt, and must be `wanted`. */
function expectAsking(guest: GuestProgram, wanted: number): void {
  expectRead(guest, UART.fifoControl, wanted);
}

function send(guest: GuestProgram, count: number): void {
  const { op } = guest;
  op.mov(ebx, count);
  guest.repeat(
    () => {
      op.mov(edx, COM1);
      op.mov(eax, ebx);
      op.out(dx, al);
      waitMicroseconds(guest, 5);
    },
    (again) => {
      op.dec(ebx);
      op.jnz(again);
    },
  );
}

/** In loop mode with nothing pending and no interrupt enabled; what was there of console output has gone out before. */
function looped(name: string, rule: string, clause: string, body: (guest: GuestProgram) => void): Check {
  return {
    name,
    rule,
    clause,
    write: (guest) => {
      waitMicroseconds(guest, 2000);
      write(guest, UART.interruptEnable, 0);
      write(guest, UART.modemControl, LOOP_ONLY);
      write(guest, UART.fifoControl, FIFO.trigger1);
      for (const register of [UART.data, UART.lineStatus, MODEM_STATUS, UART.fifoControl])
        read(guest, register);
      body(guest);
      write(guest, UART.lineControl, 0x03);
      write(guest, UART.interruptEnable, 0);
      write(guest, UART.fifoControl, FIFO.trigger1);
      write(guest, UART.modemControl, 0x0b);
      for (const register of [UART.data, UART.lineStatus, MODEM_STATUS, UART.fifoControl])
        read(guest, register);
    },
  };
}

export const UART_INTERRUPTS: CheckGroup = {
  title: "Serial port COM1: interrupts, FIFO, modem lines",
  checks: [
    looped(
      "uart-interrupt-order",
      "Of several reasons the identification register names line status, received data, transmitter, modem, in this order",
      "PC16550D, 8.5 (table IV)",
      (guest) => {
        // Sixteen bytes fill the FIFO, the next one is an overrun; DTR moves DSR.
        send(guest, 17);
        write(guest, UART.modemControl, LOOP_ONLY | 1);
        write(guest, UART.interruptEnable, 0x0f);
        expectAsking(guest, ASKS.line);
        expectRead(guest, UART.lineStatus, 0x03, 0x1f);
        expectAsking(guest, ASKS.received);
        for (let i = 0; i < 16; i++) read(guest, UART.data);
        expectAsking(guest, ASKS.transmitter);
        expectAsking(guest, ASKS.modem);
        read(guest, MODEM_STATUS);
        expectAsking(guest, ASKS.none);
      },
    ),
    looped(
      "uart-transmitter-interrupt",
      "The transmitter asks as soon as its interrupt is enabled; naming it once ends it; the next byte brings it again",
      "PC16550D, 8.5 and 8.6",
      (guest) => {
        write(guest, UART.interruptEnable, ENABLE.transmitter);
        expectAsking(guest, ASKS.transmitter);
        expectAsking(guest, ASKS.none);
        send(guest, 1);
        waitMicroseconds(guest, 500);
        expectAsking(guest, ASKS.transmitter);
        expectAsking(guest, ASKS.none);
      },
    ),
    looped(
      "uart-trigger-level",
      "Received data asks from the trigger level on, and until the FIFO is below it",
      "PC16550D, 8.4 and 8.11",
      (guest) => {
        write(guest, UART.fifoControl, FIFO.trigger4);
        write(guest, UART.interruptEnable, ENABLE.received);
        send(guest, 3);
        expectAsking(guest, ASKS.none);
        send(guest, 1);
        expectAsking(guest, ASKS.received);
        read(guest, UART.data);
        expectAsking(guest, ASKS.none);
      },
    ),
    looped(
      "uart-receive-timeout",
      "Fewer bytes than the trigger level ask after four characters' time, until they are read",
      "PC16550D, 8.11 (FIFO interrupt mode)",
      (guest) => {
        write(guest, UART.fifoControl, FIFO.trigger14);
        write(guest, UART.interruptEnable, ENABLE.received);
        send(guest, 2);
        expectAsking(guest, ASKS.none);
        // Four characters at 115200 baud are 350 us.
        waitMicroseconds(guest, 1000);
        expectAsking(guest, ASKS.timeout);
        read(guest, UART.data);
        expectAsking(guest, ASKS.none);
        read(guest, UART.data);
        expectRead(guest, UART.lineStatus, 0, 1);
      },
    ),
    looped(
      "uart-overrun",
      "A byte for which there is no room sets the overrun bit, which reading clears; the FIFO keeps what it had",
      "PC16550D, 8.3 (bit 1)",
      (guest) => {
        send(guest, 18);
        expectRead(guest, UART.lineStatus, 0x03, 0x03);
        expectRead(guest, UART.lineStatus, 0x01, 0x03);
        // They were sent from 18 down.
        expectRead(guest, UART.data, 18);
        expectRead(guest, UART.data, 17);
      },
    ),
    looped(
      "uart-fifo-clears",
      "Clearing the receive FIFO drops its bytes; turning FIFOs off and on shows in the identification register",
      "PC16550D, 8.4",
      (guest) => {
        send(guest, 3);
        write(guest, UART.fifoControl, 0x03);
        expectRead(guest, UART.lineStatus, 0, 1);
        write(guest, UART.fifoControl, 0);
        expectAsking(guest, 0x01);
        write(guest, UART.fifoControl, 1);
        expectAsking(guest, ASKS.none);
      },
    ),
    looped(
      "uart-modem-lines",
      "In loop mode DTR, RTS, OUT1 and OUT2 are DSR, CTS, RI and DCD",
      "PC16550D, 8.7 (bit 4)",
      (guest) => {
        for (const [control, status] of [
          [0x01, 0x20],
          [0x02, 0x10],
          [0x04, 0x40],
          [0x08, 0x80],
          [0x0f, 0xf0],
          [0x00, 0x00],
        ] as const) {
          write(guest, UART.modemControl, LOOP | control);
          expectRead(guest, MODEM_STATUS, status, 0xf0);
        }
      },
    ),
    looped(
      "uart-modem-changes",
      "A modem line that moves sets its change bit, RI when it falls; reading clears them",
      "PC16550D, 8.8",
      (guest) => {
        for (const [control, changes] of [
          [0x0b, 0x03],
          [0x03, 0x08],
          [0x07, 0x00],
          [0x03, 0x04],
        ] as const) {
          write(guest, UART.modemControl, LOOP | control);
          expectRead(guest, MODEM_STATUS, changes, 0x0f);
          expectRead(guest, MODEM_STATUS, 0, 0x0f);
        }
      },
    ),
    looped(
      "uart-break",
      "A break is on the line out alone: in loop mode nothing is received of it, and bytes still are",
      "PC16550D, 8.1 (bit 6)",
      (guest) => {
        write(guest, UART.lineControl, 0x43);
        waitMicroseconds(guest, 500);
        expectRead(guest, UART.lineStatus, 0, 0x1f);
        send(guest, 1);
        expectRead(guest, UART.data, 1);
      },
    ),
    looped(
      "uart-divisor-latch",
      "Behind DLAB are the two bytes of the divisor; they hide data and interrupt enable, and change neither",
      "PC16550D, 8.2",
      (guest) => {
        write(guest, UART.interruptEnable, 0x05);
        write(guest, UART.lineControl, 0x83);
        write(guest, UART.data, 0x34);
        write(guest, UART.interruptEnable, 0x12);
        expectRead(guest, UART.data, 0x34);
        expectRead(guest, UART.interruptEnable, 0x12);
        write(guest, UART.data, 1);
        write(guest, UART.interruptEnable, 0);
        write(guest, UART.lineControl, 0x03);
        expectRead(guest, UART.interruptEnable, 0x05);
        expectRead(guest, UART.lineStatus, 0, 1);
      },
    ),
    looped(
      "uart-reserved-bits",
      "Interrupt enable keeps bits 3:0, modem control bits 4:0",
      "PC16550D, 8.6 and 8.7",
      (guest) => {
        write(guest, UART.interruptEnable, 0xf0);
        expectRead(guest, UART.interruptEnable, 0);
        write(guest, UART.modemControl, 0xe0 | LOOP_ONLY);
        expectRead(guest, UART.modemControl, LOOP_ONLY);
      },
    ),
  ],
};

import type { Register } from "./register-table.ts";

/** Registers of the 16550A (National PC16550D, section 8). Offsets are from the base port. */
export const uartRegisters = {
  rbr: {
    name: "RBR",
    at: "+0 read, DLAB 0",
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "received byte",
    why: "8.0: takes the oldest byte out of the receive FIFO",
  },
  thr: {
    name: "THR",
    at: "+0 write, DLAB 0",
    access: "wo",
    reset: 0,
    writable: 0xff,
    bits: "byte to send",
    why: "8.0: it leaves while it is written, unless the line is paced or the host's end is full",
  },
  dll: {
    name: "DLL",
    at: "+0, DLAB 1",
    access: "rw",
    reset: 0x0c,
    writable: 0xff,
    bits: "divisor 7:0",
    why: "8.3: baud rate 115200 / divisor; 9600 after power-on as firmware leaves it",
  },
  ier: {
    name: "IER",
    at: "+1, DLAB 0",
    access: "rw",
    reset: 0,
    writable: 0x0f,
    bits: "0 ERBFI, 1 ETBEI, 2 ELSI, 3 EDSSI",
    why: "8.7: bits 7:4 are always 0; Linux takes a chip that keeps them for another one",
  },
  dlm: {
    name: "DLM",
    at: "+1, DLAB 1",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "divisor 15:8",
    why: "8.3",
  },
  iir: {
    name: "IIR",
    at: "+2 read",
    access: "ro",
    reset: 0x01,
    writable: 0,
    bits: "3:0 06 line status, 04 data, 0C timeout, 02 THR empty, 00 modem, 01 none; 7:6 FIFOs on",
    why: "8.6: reading it takes back the THR-empty interrupt when that is what it reports",
  },
  fcr: {
    name: "FCR",
    at: "+2 write",
    access: "wo",
    reset: 0,
    writable: 0xc9,
    bits: "0 FIFOs on, 1 clear receiver, 2 clear transmitter, 3 DMA mode, 7:6 trigger 1, 4, 8, 14",
    why: "8.5: without bit 0 the others are not programmed; changing bit 0 clears both FIFOs",
  },
  lcr: {
    name: "LCR",
    at: "+3",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "1:0 word length, 2 stop bits, 5:3 parity, 6 break, 7 DLAB",
    why: "8.1: format only sets the character time; a break keeps the line low, so bytes sent meanwhile are lost",
  },
  mcr: {
    name: "MCR",
    at: "+4",
    access: "rw",
    reset: 0,
    writable: 0x1f,
    bits: "0 DTR, 1 RTS, 2 OUT1, 3 OUT2, 4 loop",
    why: "8.8: on a PC the interrupt line passes a gate that OUT2 opens; in loop mode the pin is inactive",
  },
  lsr: {
    name: "LSR",
    at: "+5",
    access: "ro",
    reset: 0x60,
    writable: 0,
    bits: "0 DR, 1 OE, 2 PE, 3 FE, 4 BI, 5 THRE, 6 TEMT, 7 error in FIFO",
    why: "8.4: reading clears OE, PE, FE and BI",
  },
  msr: {
    name: "MSR",
    at: "+6",
    access: "ro",
    reset: 0xb0,
    writable: 0,
    bits: "3:0 changes of CTS, DSR, RI (trailing edge), DCD; 4 CTS, 5 DSR, 6 RI, 7 DCD",
    why: "8.9: reading clears the changes, also those of loop mode; a terminal is attached, so CTS, DSR and DCD are on",
  },
  scr: {
    name: "SCR",
    at: "+7",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "any",
    why: "8.10: no function; Linux tells a 16450 from an 8250 by it",
  },
} as const satisfies Record<string, Register>;

export const Ier = { receive: 0x01, transmit: 0x02, lineStatus: 0x04, modem: 0x08 } as const;
export const Iir = {
  lineStatus: 0x06,
  timeout: 0x0c,
  receive: 0x04,
  transmit: 0x02,
  modem: 0x00,
  none: 0x01,
} as const;
export const Fcr = {
  enable: 0x01,
  clearReceiver: 0x02,
  clearTransmitter: 0x04,
  kept: uartRegisters.fcr.writable,
} as const;
export const Lcr = { break: 0x40, dlab: 0x80 } as const;
export const Mcr = { dtr: 0x01, rts: 0x02, out1: 0x04, out2: 0x08, loop: 0x10 } as const;
export const Lsr = {
  ready: 0x01,
  overrun: 0x02,
  errors: 0x1c,
  break: 0x10,
  /** THRE, and THRE with TEMT. */
  holdingEmpty: 0x20,
  idle: 0x60,
  inFifo: 0x80,
} as const;

/** Bytes in the receive FIFO that raise the data interrupt, by FCR bits 7:6 (8.5). */
export const receiveTriggers = [1, 4, 8, 14] as const;

/** What the line inputs look like: MSR bits 7:4. */
export const ModemLine = { cts: 0x10, dsr: 0x20, ri: 0x40, dcd: 0x80 } as const;

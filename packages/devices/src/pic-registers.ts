import type { Register } from "./register-table.ts";

/** Registers of the two 8259As (Intel 8259A data sheet) and of the chipset's ELCR. A0 = 0 is port 0x20 / 0xA0. */
export const picRegisters = {
  icw1: {
    name: "ICW1",
    at: "A0 0 write, bit 4 set",
    access: "wo",
    reset: 0,
    writable: 0x0b,
    bits: "0 IC4, 1 SNGL, 3 LTIM, 4 = 1",
    why: "Initialization command words: clears edge latches, ISR, IMR, special mask, AEOI; IR7 becomes lowest. LTIM gives way to ELCR",
  },
  icw2: {
    name: "ICW2",
    at: "A0 1 write, after ICW1",
    access: "wo",
    reset: 0,
    writable: 0xf8,
    bits: "7:3 vector base",
    why: "ICW2: the chip adds the input's number in 8086 mode, which a PC always uses",
  },
  icw3: {
    name: "ICW3",
    at: "A0 1 write, after ICW2 unless SNGL",
    access: "wo",
    reset: 0,
    writable: 0xff,
    bits: "master: inputs with slaves; slave: its number",
    why: "ICW3: kept only; in a PC the slave is wired to input 2",
  },
  icw4: {
    name: "ICW4",
    at: "A0 1 write, last, if IC4",
    access: "wo",
    reset: 0,
    writable: 0x1f,
    bits: "0 8086 mode, 1 AEOI, 3:2 buffered, 4 SFNM",
    why: "ICW4: all functions are off when IC4 was 0; mode and buffering are wiring and only kept",
  },
  imr: {
    name: "OCW1 / IMR",
    at: "A0 1",
    access: "rw",
    reset: 0,
    writable: 0xff,
    bits: "7:0 input masked",
    why: "Operation command word 1; Linux finds the chip by reading back what it wrote",
  },
  ocw2: {
    name: "OCW2",
    at: "A0 0 write, bits 4:3 = 0",
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "7 R, 6 SL, 5 EOI, 2:0 level",
    why: "Operation command word 2: end of interrupt and rotation, one row of `ocw2Commands` each",
  },
  ocw3: {
    name: "OCW3",
    at: "A0 0 write, bits 4:3 = 1",
    access: "wo",
    reset: 0,
    writable: 0,
    bits: "6 ESMM, 5 SMM, 2 P, 1 RR, 0 RIS",
    why: "Operation command word 3: special mask mode, poll, which register A0 0 reads",
  },
  irr: {
    name: "IRR",
    at: "A0 0 read, RIS 0",
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "7:0 input requests",
    why: "Interrupt request register: an edge request lasts only while the input stays high",
  },
  isr: {
    name: "ISR",
    at: "A0 0 read, RIS 1",
    access: "ro",
    reset: 0,
    writable: 0,
    bits: "7:0 input in service",
    why: "In-service register; Linux recognizes spurious interrupts 7 and 15 by a clear bit",
  },
  elcr1: {
    name: "ELCR1",
    at: "0x4D0",
    access: "rw",
    reset: 0,
    writable: 0xf8,
    bits: "7:3 input 7:3 level triggered",
    why: "Chipset: the timer, the keyboard and the cascade are always edges",
  },
  elcr2: {
    name: "ELCR2",
    at: "0x4D1",
    access: "rw",
    reset: 0,
    writable: 0xde,
    bits: "7:6, 4:1 input 15:14, 12:9 level triggered",
    why: "Chipset: the RTC and the FPU are always edges",
  },
} as const satisfies Record<string, Register>;

/** What OCW2 bits 7:5 command (8259A, "Operation Command Word 2"). */
export interface Ocw2Command {
  readonly name: string;
  /** Which in-service bit ends: the highest in service, the one in bits 2:0, or none. */
  readonly end: "highest" | "specific" | "none";
  /** Which input gets the lowest priority: the one that ended, the one in bits 2:0, or no change. */
  readonly lowest: "ended" | "specific" | "none";
  /** New value of rotation in automatic EOI mode, if it changes. */
  readonly rotateOnAutoEoi?: boolean;
}

/** Indexed by OCW2 bits 7:5. */
export const ocw2Commands: readonly Ocw2Command[] = [
  { name: "rotate in automatic EOI mode: off", end: "none", lowest: "none", rotateOnAutoEoi: false },
  { name: "non-specific EOI", end: "highest", lowest: "none" },
  { name: "no operation", end: "none", lowest: "none" },
  { name: "specific EOI", end: "specific", lowest: "none" },
  { name: "rotate in automatic EOI mode: on", end: "none", lowest: "none", rotateOnAutoEoi: true },
  { name: "rotate on non-specific EOI", end: "highest", lowest: "ended" },
  { name: "set priority", end: "none", lowest: "specific" },
  { name: "rotate on specific EOI", end: "specific", lowest: "ended" },
];
